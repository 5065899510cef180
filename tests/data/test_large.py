"""A table that memory does not hold, from its folder to the predictions of another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autoimb import AutoImbClassifier, load, read
from autoimb.budget import Budget
from autoimb.cli import main
from autoimb.cli.searching import next_run_dir
from autoimb.data.sample import Sample, reweighted
from autoimb.errors import OptionError, TargetError
from autoimb.policy import SearchPolicy, Sizes, Training
from autoimb.search.prepare import Preparation, Table, prepare
from autoimb.search.request import read_request
from autoimb.search.search import search
from tests.support.searches import minimal_work
from tests.support.tables import ONE_TRIAL, in_parts

RATE = 0.02
SMALL = Sizes(min_training_rows=1_000, max_scored_rows=2_000)
POLICY = SearchPolicy(sizes=Sizes(min_training_rows=3_000, max_scored_rows=2_000))
LITTLE = 1_000  # bytes: as many rows as are drawn at least


def simulated(n_rows: int, seed: int) -> pd.DataFrame:
    """Numbers, and a label with the rate of 2 % that a logistic model of them gives."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n_rows, 4))
    noisy = 2.0 * x[:, 0] + x[:, 1] + random.logistic(size=n_rows)
    frame = pd.DataFrame(x, columns=list("abcd"))
    return frame.assign(y=np.where(noisy > np.quantile(noisy, 1 - RATE), "yes", "no"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ends = list(range(9_000, 60_000, 9_000))
    return in_parts(tmp_path_factory.mktemp("large") / "t", simulated(60_000, 0), ends)


@pytest.fixture(scope="module")
def rows(folder: Path) -> Sample:
    return read(folder, "y", max_memory=LITTLE, policy=POLICY)


def prepared(rows: Sample, **given: object) -> Preparation:
    request = read_request({**ONE_TRIAL, **given}, ["no", "yes"])
    table = Table(rows.frame, rows.y, rows.weight, class_counts=rows.class_counts)
    return prepare(table, request, policy=POLICY)


# --- what a study is told of a sample ---


def test_a_sample_weighs_as_the_table(rows: Sample) -> None:
    found = prepared(rows)
    assert found.profile.n_rows == 60_000
    assert found.profile.class_counts == (58_800, 1_200)
    assert found.profile.minority_count == 1_200
    share = np.bincount(found.dataset.y, found.dataset.weight) / found.dataset.weight.sum()
    np.testing.assert_allclose(share, [1 - RATE, RATE], rtol=1e-12)
    np.testing.assert_allclose(found.dataset.sampled_shares, [1_800 / 58_800, 1.0], rtol=1e-12)
    assert any("3,000 rows were drawn from the 60,000" in notice for notice in found.notices)


def test_a_sample_that_is_sampled_again_weighs_as_the_table(rows: Sample) -> None:
    policy = SearchPolicy(sizes=Sizes(min_training_rows=1_000, max_scored_rows=600))
    task = replace(prepared(rows), policy=policy, time_budget=0.01).task
    few = task.dataset
    assert len(few.y) == 1_000
    counts = np.bincount(few.y)
    np.testing.assert_allclose(few.sampled_shares, counts / [58_800, 1_200], rtol=1e-12)
    for y, weight in ((few.y, few.weight), (task.judge.y, task.judge.weight)):
        share = np.bincount(y, weight) / weight.sum()
        np.testing.assert_allclose(share, [1 - RATE, RATE], rtol=1e-12)


def test_the_positive_class_and_balanced_costs_are_those_of_the_table() -> None:
    frame = pd.DataFrame({"a": np.arange(400.0) % 7})
    y = np.array(["fraud", "usual"] * 200)
    rows = Sample(frame, y, class_counts={"fraud": 200, "usual": 19_800})
    found = prepared(rows, class_weight="balanced")
    assert found.target.classes[found.target.positive] == "fraud"
    assert found.costs is not None
    assert found.costs.class_costs == pytest.approx((1.98, 0.02))


def test_missing_cells_are_those_of_the_table() -> None:
    frame = pd.DataFrame({"a": [np.nan, 1.0] * 100, "b": np.arange(200.0)})
    y = np.arange(200) % 2
    found = prepared(Sample(frame, y, class_counts={0: 5_000, 1: 100}))
    assert found.profile.missing == {"a": 5_000}


def test_rows_held_out_of_a_sample_stand_for_the_table(rows: Sample) -> None:
    found = prepared(rows, holdout=0.25).test
    assert found is not None
    assert found.weight is not None
    np.testing.assert_allclose(np.bincount(found.codes, found.weight), [58_800, 1_200])
    _, y, weight = reweighted(rows)
    given = prepare(
        Table(rows.frame, rows.y, class_counts=rows.class_counts, test=(rows.frame, y, weight)),
        read_request(ONE_TRIAL, ["no", "yes"]),
        policy=POLICY,
    ).test
    assert given is not None
    assert given.weight is not None
    np.testing.assert_allclose(np.bincount(given.codes, given.weight), [58_800, 1_200])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"yes": 90}, r"of the class 'no' there are 540 here, got 0\."),
        ({"yes": 90, "on": 9_000}, r"Unknown class in class_counts 'on'\. Choices: no, yes\."),
        ({"yes": 90.5, "no": 9_000}, r"whole numbers; got \{'yes': 90\.5, 'no': 9000\}\."),
        ({"yes": "many", "no": 9_000}, "class_counts must map each class to its rows"),
    ],
)
@pytest.mark.parametrize("holdout", [None, 0.2])
def test_counts_that_are_none_of_the_table(
    counts: object, message: str, holdout: float | None
) -> None:
    frame = simulated(600, 0)
    y = np.where(np.arange(600) < 60, "yes", "no")
    model = AutoImbClassifier(**ONE_TRIAL, holdout=holdout)
    with pytest.raises(TargetError, match=message):
        model.fit(frame[list("abcd")], y, class_counts=counts)


def test_an_eval_set_does_not_go_with_a_sample() -> None:
    frame = simulated(600, 0)
    X, y = frame[list("abcd")], frame["y"]
    with pytest.raises(OptionError, match="class_counts and eval_set exclude each other"):
        AutoImbClassifier(**ONE_TRIAL).fit(
            X, y, eval_set=(X, y), class_counts={"yes": 600, "no": 60_000}
        )


# --- what comes out ---


def test_rows_that_no_network_saw_give_the_rate(rows: Sample) -> None:
    small = SearchPolicy(training=Training(operations_per_second=4e7), sizes=SMALL)
    made = replace(prepared(rows), policy=small)
    assert made.unseen is not None
    assert len(made.unseen) == 2_000
    unseen = made.dataset.take(made.unseen)
    trained = {row.tobytes() for row in made.task.dataset.columns.numbers}
    assert not trained & {row.tobytes() for row in unseen.columns.numbers}
    pipeline = search(made, budget=Budget.start(None)).pipeline
    proba = pipeline.calibrator.apply(pipeline.blended(unseen.columns))
    shares = np.bincount(made.dataset.y, made.dataset.weight) / made.dataset.weight.sum()
    weight = (shares / np.bincount(unseen.y))[unseen.y]
    assert weight @ proba[:, 1] == pytest.approx(RATE, rel=0.01)
    others = simulated(60_000, 1)
    assert pipeline.predict_proba(others)[:, 1].mean() == pytest.approx(RATE, rel=0.15)


@pytest.mark.parametrize(
    ("given", "moved"),
    [({"class_weight": "balanced"}, True), ({"cost_matrix": [[0, 1], [9, 0]]}, False)],
)
def test_weights_of_classes_move_probabilities_off_the_rates(
    rows: Sample, given: dict[str, object], moved: bool
) -> None:
    small = SearchPolicy(sizes=SMALL)
    made = replace(prepared(rows, **given), policy=small)
    assert (replace(made, time_budget=0.01).unseen is None) == moved


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    words = f"search {folder} --target y --max-memory 1MB --trials 1 --jobs 1 --network mlp -q"
    with minimal_work():
        assert main([*words.split(), "--partners", "none", "--out", str(out)]) == 0
    return out


def test_a_folder_is_searched_and_the_report_says_what_was_drawn(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))["results"]
    assert facts["profile"]["rows"] == 60_000
    assert any("20,000 rows were drawn from the 60,000" in n for n in facts["notices"])
    assert "20,000 rows were drawn from the 60,000" in (run / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("data", "name"),
    [("in/parts", "parts"), ("in/2024-*.parquet", "2024-"), ("in/*.csv", "table")],
)
def test_a_run_is_named_by_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert next_run_dir(Path(data)) == Path("runs") / name


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_a_folder_is_predicted_in_the_order_of_its_rows(
    run: Path, tmp_path: Path, ending: str
) -> None:
    frame = simulated(2_500, 5)
    parts = in_parts(tmp_path / "t", frame, [0, 100, 100, 2_000])
    out = tmp_path / f"out.{ending}"
    assert main(["predict", str(run / "pipeline.autoimb"), str(parts), "-o", str(out)]) == 0
    got = pd.read_parquet(out) if ending == "parquet" else pd.read_csv(out)
    wanted = load(run / "pipeline.autoimb").predict_proba(frame)
    np.testing.assert_allclose(got["proba_yes"], wanted[:, 1], rtol=1e-5)


def test_a_folder_is_evaluated_by_a_sample_that_stands_for_it(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(run / "pipeline.autoimb")]
    scores = []
    for memory in ("1MB", "1GB"):
        assert main([*words, str(folder), "--target", "y", "--max-memory", memory]) == 0
        lines = capsys.readouterr().out.splitlines()
        words_of = (line.split() for line in lines[1:])  # a name, a score, perhaps an interval
        scores.append({own[0]: float(own[1]) for own in words_of})
    for name in ("average_precision", "brier", "balanced_accuracy"):
        assert scores[0][name] == pytest.approx(scores[1][name], rel=0.15)


@pytest.mark.usefixtures("minimal_work")
def test_a_refit_takes_a_folder(run: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.autoimb"
    assert main(["refit", str(run), str(folder), "-o", str(out), "--max-memory", "1MB"]) == 0
    pipeline = load(out)
    assert pipeline.info["rows"] == 60_000
    mean = pipeline.predict_proba(simulated(60_000, 1))[:, 1].mean()
    assert mean == pytest.approx(RATE, rel=0.1)
