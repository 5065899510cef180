"""The benchmarks' command line, rows and reports; nothing is measured."""

from __future__ import annotations

import json
import re
from dataclasses import make_dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoimb.assessment.judge import Judge
from autoimb.assessment.metrics import get_metric
from autoimb.evaluation.blend import blend
from autoimb.evaluation.trial import Scored
from autoimb.policy import DEFAULT_POLICY
from autoimb.space.draw import Space
from autoimb.space.portfolio import first_methods, first_networks
from autoimb.training.pruning import Bar
from autoimb.training.schedule import Schedule
from reports.benchmarks import cases, project
from reports.benchmarks.__main__ import QUESTIONS, main, module, report
from reports.benchmarks.few_rare_rows.ways import shrunk
from reports.benchmarks.large import table as large
from reports.benchmarks.portfolio import again, lists, portfolio
from reports.benchmarks.reported import drawn, reported
from reports.benchmarks.rows import BEFORE, Row, Rows, by, sources
from reports.benchmarks.speed import stepping

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent.name for path in cases.ROOT.glob("reports/benchmarks/*/*.jsonl"))
CITING = [
    ROOT / "README.md",
    *ROOT.glob("reports/benchmarks/*.md"),
    *ROOT.glob("reports/decisions/*.md"),
]
CITED = re.compile(r"(?<!:)\breports/[\w./-]*\w")  # `git show COMMIT:reports/...` is of the history

every_question = pytest.mark.parametrize("question", QUESTIONS)


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question of one thread says so to all of its process; other tests keep theirs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_every_folder_is_a_question_that_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    assert set(FOLDERS) == set(QUESTIONS)
    assert [name for name in QUESTIONS if f"  {name} " not in listed] == []
    guide = (ROOT / "reports" / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert [name for name in QUESTIONS if f"| `{name}` |" not in guide] == []


@every_question
def test_a_report_is_what_its_rows_say(question: str) -> None:
    asked = module(question)
    text = asked.render(asked.ROWS.read())
    assert text == report(question).read_text(encoding="utf-8")


@every_question
def test_a_run_has_help(question: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([question, "run", "--help"])
    assert ended.value.code == 0
    assert "--again" in capsys.readouterr().out


def test_a_table_of_any_length_is_made_of_parts_that_are_always_the_same(tmp_path: Path) -> None:
    rate = large.make(tmp_path / "one", 3_000)
    other = large.make(tmp_path / "other", 3_000, first=1)
    one, again, two = (
        pd.read_parquet(tmp_path / name)
        for name in ("one", "one/part-0000.parquet", "other/part-0000.parquet")
    )
    assert one.shape == (3_000, large.COLUMNS + 1)
    assert rate == (one["target"] == "yes").mean() != other
    np.testing.assert_array_equal(one["n00"], again["n00"])
    assert not np.array_equal(one["n00"], two["n00"])
    numbers, positive = large.rows_of(0, 3_000)
    np.testing.assert_array_equal(numbers[:, 0], one["n00"])
    assert positive.mean() == rate
    assert large.rows_of(5, 200_000)[1].mean() == pytest.approx(0.005, rel=0.1)


def test_a_search_of_a_folder_is_held_against_one_in_memory() -> None:
    one = {"search": [300.0, 2_000.0], "predict": [9.0, 600.0], "mean": 0.0051}
    one |= {"true_rate": 0.005, "precision": [0.18, 0.2], "notices": ["Drawn."]}
    row = {"rows": 50_000_000, "rate": 0.005, "time": 300.0, "trials": None, "memory": "4GB"}
    text = module("large").render(
        [row | {"others": 5_000_000, "folder": one, "million": one | {"precision": [0.17, 0.18]}}]
    )
    assert "| 50,000,000 (folder, 4GB) | 300 | 2,000 | 9 | 600 | +2.0% | 0.1900 ± 0.0100 |" in text
    assert "paired: +0.0150 ± 0.0050." in text
    assert "- Drawn." in text


def test_an_ablation_says_what_a_part_costs_who_predicts() -> None:
    def row(data: str, variant: str, size: int | None, predicting: float | None) -> Row:
        found = {"data": data, "variant": variant, "seed": 0, "time": 20.0, "trials": 9}
        return found | {"score": 0.5 + (size or 0) / 1e4, "bytes": size, "predicting": predicting}

    text = module("ablation").render(
        [
            row("ecoli", "everything", 200, 0.4),
            row("glass", "everything", 800, 0.4),
            row("ecoli", "no partners", 100, 0.1),
            row("glass", "no partners", 100, 0.4),
            row("ecoli", "no screening", None, None) | {"score": None},
        ]
    )
    assert "| no partners | 4.00 (8.00) | 2.00 (4.00) |" in text
    assert "no screening" not in text


def test_an_unknown_question_is_an_error() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["wealth", "run"])
    assert ended.value.code == 2


@pytest.mark.parametrize("path", CITING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_that_are_cited_exist(path: Path) -> None:
    cited = set(CITED.findall(path.read_text(encoding="utf-8")))
    assert [name for name in cited if not (ROOT / name).exists()] == []


def test_a_row_carries_where_it_comes_from(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.jsonl", by("data", "seed"))
    rows.append([{"data": "ecoli", "seed": 0, "score": 0.5}])
    (row,) = rows.read()
    assert row["commit"]
    assert {"python", "autoimb", "torch"} <= row["versions"].keys()
    assert row["cores"] >= 1


def test_the_last_row_counts_and_another_commits_can_be_run_again(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.jsonl", by("data"))
    old = [{"data": name, "score": 0.1, "commit": "0000000"} for name in ("ecoli", "glass")]
    rows.path.write_text("".join(json.dumps(row) + "\n" for row in old))
    assert rows.known() == {("ecoli",), ("glass",)}
    assert rows.known(again=True) == set()
    rows.append([{"data": "ecoli", "score": 0.2}])
    assert rows.known(again=True) == {("ecoli",)}
    assert {row["data"]: row["score"] for row in rows.read()} == {"ecoli": 0.2, "glass": 0.1}


def test_a_table_of_several_commits_says_so() -> None:
    assert sources([{"commit": "aaaaaaa"}]) == "Its 1 rows are from commit aaaaaaa."
    assert BEFORE in sources([{}])
    mixed = sources([{}, {"commit": "aaaaaaa"}, {"commit": "bbbbbbb+changes"}])
    assert "several commits" in mixed
    assert all(part in mixed for part in (BEFORE, "aaaaaaa", "bbbbbbb+changes"))


@pytest.mark.parametrize(("part", "blended"), [(None, True), ("blend", False)])
def test_without_a_blend_a_search_gives_the_best_strategy(part: str | None, blended: bool) -> None:
    random, y = np.random.default_rng(0), np.repeat([0, 1], [150, 100])
    judge = Judge(get_metric("average_precision", n_classes=2, positive=1), y, np.arange(250) % 5)
    results = {}
    for number in range(4):
        positive = 1 / (1 + np.exp(2 - 2 * y - random.normal(size=250)))
        oof = np.column_stack([1 - positive, positive])
        score = judge.score(oof, oof.argmax(axis=1))
        results[number] = Scored(score, oof, fitted=object())  # type: ignore[arg-type]  # is only counted
    policy = project.PARTS[part].policy(DEFAULT_POLICY) if part else DEFAULT_POLICY
    found = blend(judge, results, policy=policy)
    assert found.kept == blended
    best = max(results, key=lambda number: results[number].score.utility)
    assert blended or found.numbers == (best,)


def test_without_pruning_no_trial_is_given_up() -> None:
    hopeless, curve = -100.0, (0.5, 0.6, 0.7, 0.8)
    for part in project.PARTS.values():
        bar = Bar.of(curve, curve, len(curve), part.policy(DEFAULT_POLICY))
        given_up = any(bar.above(checkpoint, 4, hopeless) for checkpoint in range(4))
        assert given_up == (part is not project.PARTS["pruning"])


def test_without_the_portfolio_one_network_is_tried_first() -> None:
    policy, space = project.PARTS["portfolio"].policy(DEFAULT_POLICY), Space.restricted()
    assert first_networks(space, policy) == first_networks(space)[:1]
    assert first_methods(space, project.first_networks()[0], policy) == []


def test_a_part_of_the_encoding_is_of_use_where_the_table_has_what_it_is_for() -> None:
    random = np.random.default_rng(0)
    y = np.arange(400) % 5 == 0
    levels = pd.DataFrame({"x": random.normal(size=400), "code": random.integers(0, 40, 400)})
    repeated = pd.DataFrame({"a": np.arange(4_000) % 7 / 3, "b": np.arange(4_000) % 3 / 7})
    wide = pd.DataFrame(random.normal(size=(400, 60))).add_prefix("x")
    rare = np.arange(400) % 10 == 0
    tables = {
        "statistics of levels": (levels.astype({"code": str}), y),
        "statistics of rows": (repeated, np.arange(4_000) % 5 == 0),
        "screening": (wide, rare),
    }
    for without in (None, "rungs", *tables):
        for part, table in tables.items():
            alike = project.encodes_alike(table, without=without)
            assert alike == (without in tables and without != part), (without, part)


def test_a_score_is_shrunk_the_more_the_noisier_it_is() -> None:
    def measured(first: float, error: float) -> pd.DataFrame:
        return pd.DataFrame({"merit": [first, -first], "error": [error, error]}, index=["a", "b"])

    others = [measured(first, 0.01) for first in (0.2, 0.3, 0.4)]
    sure, unsure = (shrunk(measured(-0.1, error), others)["a"] for error in (1e-6, 1e6))
    assert (sure, unsure) == pytest.approx((-0.1, 0.3))
    agreed = [measured(0.3, 0.5)] * 3  # they differ by less than their errors: all is noise
    assert shrunk(measured(-0.1, 0.1), agreed)["a"] == pytest.approx(0.3)


FIRST = [project.network_of(one) for one in project.first_networks()[:2]]


def listed(scores: np.ndarray, **fields: float) -> list[Row]:
    """Rows of tables by networks."""
    return [
        {"data": table, "strategy": network, "score": score, "seconds": 1.0} | fields
        for table, own in zip(cases.TABLES.index, scores)
        for network, score in zip(FIRST, own)
    ]


def test_scores_at_a_rung_do_not_reach_the_list_that_a_search_starts_with() -> None:
    scores = np.random.default_rng(0).random((len(cases.TABLES), 2))
    whole, begun = listed(scores), listed(1 - scores, rung=project.FIRST_RUNG, test=0.5)
    assert lists.measured(whole + begun).equals(lists.measured(whole))
    at_rung = lists.measured(whole + begun, rung=project.FIRST_RUNG)
    assert np.allclose(at_rung, 1 - lists.measured(whole))


def test_a_list_is_learned_again_without_the_table_that_it_is_held_against() -> None:
    scores = np.tile([0.0, 1.0], (len(cases.TABLES), 1))
    scores[0] = 1.0, 0.0  # the first table alone prefers the first network
    values = lists.measured(listed(scores, rung=1.0), rung=1.0)
    small = cases.TABLES["rows"].reindex(values.index) < cases.SMALL
    quick = FIRST[0]
    orders = again.orders_without(values, values, small, quick=quick, most=1)
    first = {name: orders[cases.TABLES.index[0], name][0][0] for name in (again.AGAIN, again.TODAY)}
    assert values.columns[first[again.AGAIN]] == lists.short(FIRST[1])
    assert values.columns[first[again.TODAY]] == lists.short(quick)


def test_a_network_at_the_first_rung_has_a_score_on_test_rows(tmp_path: Path) -> None:
    path = cases.simulated(400, tmp_path, rate=0.2)
    (row,) = portfolio.at_first_rung(path, FIRST[:1], budget=5.0)
    assert row["rung"] == project.FIRST_RUNG
    assert 0.0 < row["score"] <= 1.0
    assert 0.0 < row["test"] <= 1.0


def test_a_step_is_timed_so_often_in_this_checkout_and_in_an_older_one() -> None:
    today = Schedule(
        ends=(3, 9), unit=3, steps=7, batch_size=8, learning_rate=0.1, weight_decay=0.0
    )
    timed = stepping.lasting(today, batch=64, rounds=4)
    assert (timed.checkpoints, timed.steps) == (5, stepping.STEPS)
    assert (timed.unit, timed.batch_size) == (timed.checkpoints, 64)
    older = make_dataclass("older", ["checkpoints", "steps", "batch_size"])(9, 7, 8)
    assert stepping.lasting(older, batch=64, rounds=4).checkpoints == timed.checkpoints


@pytest.mark.parametrize(
    ("words", "culprit"),
    [(["--steps"], "--against"), (["--steps", "--against", ".", "--rows", "7"], "[7]")],
)
def test_steps_that_cannot_be_compared_are_refused(words: list[str], culprit: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(culprit)):
        main(["speed", "run", *words])


def test_ten_drawn_searches_report_what_new_rows_give() -> None:
    rows = []
    for seed in range(10):
        case = {"rare": 40 + 10 * seed, "rate": 0.1, "signal": 1.0}
        metric = reported.METRICS[seed % 2]
        rows.append(drawn.measured(seed, metric=metric, **case))  # type: ignore[arg-type]  # one mapping of two types
    gap, before = (np.mean([row[n] - row["true"] for row in rows]) for n in ("reported", "before"))
    assert abs(gap) < 0.03
    assert abs(gap) < before
    inside = [row["reported_low"] <= row["true"] <= row["reported_high"] for row in rows]
    assert np.mean(inside) >= 0.7


def test_a_searched_table_tells_what_was_reported_and_what_new_rows_give() -> None:
    case = reported.Case(9, rare=30, rate=0.1, signal=1.6, classes=3, metric="")
    found = case.searched("average_precision")
    assert [one.metric for one in found] == ["average_precision", "balanced_accuracy", "f1"]
    rows = list(reported.searched(found))
    assert len({row["reported"] for row in rows}) == 3
    for row in rows:
        assert row["reported_low"] < row["reported"] < row["reported_high"]
        assert 0 < row["true"] < 1
