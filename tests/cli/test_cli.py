"""The command line, from a table to predictions."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import autoimb
import autoimb.cli.app as program
from autoimb import load
from autoimb.cli import main
from autoimb.cli.options import seconds
from autoimb.cli.tables import CELLS, cells_of_piece, in_order, read_chunks, writer
from autoimb.runs.folder import RunFolder
from tests.support.programs import ENVIRONMENT
from tests.support.searches import minimal_work
from tests.support.studies import PATIENCE

SEARCH = ["--target", "fraud", "--jobs", "1", "--network", "mlp"]
FAST = [*SEARCH, "--cv", "2", "--partners", "none", "--kind", "size=categorical", "--quiet"]

pytestmark = pytest.mark.usefixtures("minimal_work")


def table(n_rows: int = 120, *, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    amount = rng.normal(size=n_rows).round(3)
    code = np.where(rng.random(n_rows) < 0.8, rng.integers(100, 104, n_rows).astype(str), "A1")
    fraud = np.where(amount + rng.normal(size=n_rows) * 0.5 > 1.0, "yes", "no")
    size = np.arange(n_rows) % 3 * 1.25 + 1  # 1, 2.25 and 3.5
    return pd.DataFrame({"amount": amount, "code": code, "size": size, "fraud": fraud})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "train.csv"
    table().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    folder = data.parent / "run"
    words = ["search", str(data), "--trials", "2", "--out", str(folder)]
    with minimal_work():
        assert main([*words, *FAST]) == 0
    return folder


def test_public_names_exist() -> None:
    assert all(getattr(autoimb, name) for name in autoimb.__all__)
    assert set(autoimb.__all__) < set(dir(autoimb))
    with pytest.raises(AttributeError, match="nothing"):
        _ = autoimb.nothing


def test_version_and_bare_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"autoimb {autoimb.__version__}\n"
    assert main([]) == 0
    assert "search" in capsys.readouterr().out


def test_search_leaves_everything_in_its_folder(run: Path) -> None:
    names = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    assert {"pipeline.autoimb", "report.html", "leaderboard.csv", "run.json", "study.db"} <= names
    assert len(pd.read_csv(run / "leaderboard.csv")) == 2
    written = json.loads((run / "run.json").read_text())
    assert written["request"]["target"] == "fraud"
    assert written["versions"]["torch"]
    assert written["results"]["winner"]
    assert written["plan"]["folds"] == 2
    oof = pd.read_parquet(run / "oof.parquet")
    assert list(oof.columns) == ["row", "fold", "proba_no", "proba_yes", "label"]
    assert oof["row"].tolist() == list(range(120))
    assert written["results"]["confusion"]["matrix"] == (
        pd.crosstab(table()["fraud"], oof["label"]).to_numpy().tolist()
    )
    assert load(run / "pipeline.autoimb").classes_.tolist() == ["no", "yes"]


def test_search_ends_with_a_summary_and_repeats_itself(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search", str(data), "--trials", "2", "--out", str(tmp_path)]
    assert main([*words, *FAST[:-1]]) == 0
    out, err = capsys.readouterr()
    winner, score, *_, files = out.splitlines()
    assert "mlp" in winner
    reported = json.loads((tmp_path / "run.json").read_text("utf-8"))["results"]["reported"]
    interval = "(95 % interval {low:.3f} to {high:.3f})".format_map(reported)
    assert score == f"Expected average precision on new data: {reported['value']:.3f} {interval}."
    assert load(tmp_path / "pipeline.autoimb").info["score"] == reported["value"]
    assert "pipeline.autoimb" in files
    assert "trial" in err
    boards = [pd.read_csv(folder / "leaderboard.csv") for folder in (run, tmp_path)]
    pd.testing.assert_series_equal(boards[0]["score"], boards[1]["score"])
    assert boards[1]["reported"].dropna().to_numpy() == pytest.approx(reported["value"])


def test_the_default_folder_is_a_free_one(data: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["search", str(data), "--trials", "1", *FAST]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["train", "train-2"]


def test_options_of_the_search_reach_it(data: Path, tmp_path: Path) -> None:
    words = ["search", str(data), "--trials", "1", "--out", str(tmp_path)]
    more = ["--metric", "f1", "--loss", "focal", "--kind", "amount=categorical", "--drop", "code"]
    costs = ["--class-weight", '{"yes": 5}', "--pos-label", "no", "--seed", "3"]
    assert main([*words, *FAST, *more, *costs]) == 0
    asked = json.loads((tmp_path / "run.json").read_text())["request"]
    assert asked["metric"] == "f1"
    assert asked["costs"] == [1.0, 5.0]
    assert asked["random_state"] == 3
    pipeline = load(tmp_path / "pipeline.autoimb")
    kinds = {column.name: column.kind for column in pipeline.schema.columns}
    assert kinds == {"amount": "categorical", "size": "categorical"}
    assert pipeline.classes[pipeline.positive] == "no"
    assert pipeline.strategies[0].strategy["loss"]["name"] == "focal"


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_predict(run: Path, data: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"out{ending}"
    assert main(["predict", str(run / "pipeline.autoimb"), str(data), "-o", str(out)]) == 0
    answer = pd.read_parquet(out) if ending == ".parquet" else pd.read_csv(out)
    assert list(answer.columns) == ["prediction", "proba_no", "proba_yes"]
    pipeline, frame = load(run / "pipeline.autoimb"), pd.read_csv(data)
    np.testing.assert_allclose(answer.iloc[:, 1:], pipeline.predict_proba(frame), rtol=1e-12)
    assert list(answer["prediction"]) == list(pipeline.predict(frame))
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def predicted(run: Path, frame: pd.DataFrame, tmp_path: Path, *words: str) -> Path:
    """Predict rows from a text file into another one."""
    frame.to_csv(tmp_path / "new.csv", index=False)
    out = tmp_path / "out.csv"
    command = ["predict", str(run / "pipeline.autoimb"), str(tmp_path / "new.csv")]
    assert main([*command, "-o", str(out), *words]) == 0
    return out


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [("1e-9", {"yes"}), ("0.999999", {"no"}), ("recall>=0.5", {"no", "yes"})],
)
def test_predict_with_a_threshold(
    threshold: str, expected: set[str], run: Path, tmp_path: Path
) -> None:
    out = predicted(run, table(), tmp_path, "--threshold", threshold)
    assert set(pd.read_csv(out)["prediction"]) == expected


def test_text_that_looks_like_numbers_in_a_piece_stays_text(
    run: Path, data: Path, tmp_path: Path
) -> None:
    pipeline, frame = load(run / "pipeline.autoimb"), pd.read_csv(data)
    ordered = frame.sort_values("code", kind="stable")  # the first pieces hold no "A1"
    ordered.to_csv(tmp_path / "ordered.csv.gz", index=False, sep=";")
    pieces = list(read_chunks(tmp_path / "ordered.csv.gz", pipeline, cells=14))
    assert len(pieces) > 10
    proba = np.concatenate([pipeline.predict_proba(piece) for piece in pieces])
    np.testing.assert_allclose(proba, pipeline.predict_proba(ordered), rtol=1e-12)


def test_a_table_without_rows_predicts_nothing(run: Path, tmp_path: Path) -> None:
    out = predicted(run, table(0), tmp_path)
    assert out.read_text() == "prediction,proba_no,proba_yes\n"


def test_predict_copies_columns(run: Path, data: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(data).drop(columns="fraud")
    names = ["007", 'Zoë, "the first"', "", "=1+1"] * (len(frame) // 4)
    frame = frame.assign(customer=names, month="01")
    plain = pd.read_csv(predicted(run, frame, tmp_path))
    copied = [*frame.columns[:2], "customer", "month"]
    out = pd.read_csv(predicted(run, frame, tmp_path, "--keep", ",".join(copied)), dtype=str)
    assert list(out.columns) == [*copied, *plain.columns]
    assert out["customer"].fillna("").tolist() == names
    assert out["month"].tolist() == ["01"] * len(frame)
    again = pd.read_csv(tmp_path / "out.csv")
    pd.testing.assert_frame_equal(again[frame.columns[:2]], frame[frame.columns[:2]])
    pd.testing.assert_frame_equal(again[plain.columns], plain)
    guarded = predicted(run, frame, tmp_path, "--keep", "customer", "--guard-formulas")
    assert "'=1+1" in guarded.read_text()


def test_predict_copies_columns_of_parquet(run: Path, tmp_path: Path) -> None:
    frame = table().assign(key=range(120), note=None)
    frame["part"] = pd.Categorical(["a", "b", None] * 40)
    frame.to_csv(tmp_path / "new.csv", index=False)
    frame.to_parquet(tmp_path / "new.parquet")
    for name in ("new.parquet", "new.csv"):
        out = tmp_path / "out.parquet"
        command = ["predict", str(run / "pipeline.autoimb"), str(tmp_path / name), "-o", str(out)]
        assert main([*command, "--keep", "key,note,part"]) == 0
        copied = pd.read_parquet(out)
        assert copied["key"].astype(int).tolist() == list(range(120))
        assert copied["note"].isna().all()
        assert copied["part"].fillna("").tolist() == ["a", "b", ""] * 40


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ("custom", "Unknown column to keep 'custom'. Did you mean 'customer'?"),
        ("prediction", "two columns 'prediction'"),
        ("customer,customer", "two columns 'customer'"),
    ],
)
def test_columns_that_cannot_be_copied(
    keep: str, words: str, run: Path, tmp_path: Path, capsys
) -> None:
    table().assign(customer=1, prediction=2).to_csv(tmp_path / "new.csv", index=False)
    command = ["predict", str(run / "pipeline.autoimb"), str(tmp_path / "new.csv")]
    assert main([*command, "-o", str(tmp_path / "out.csv"), "--keep", keep]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_predict_writes_to_the_standard_output(
    run: Path, data: Path, tmp_path: Path, monkeypatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(run / "pipeline.autoimb"), str(data), "-o", "-"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("prediction,proba_no,proba_yes\n")
    assert out.count("\n") == 121
    assert err == "120 rows -> -\n"
    assert list(tmp_path.iterdir()) == []


def test_predict_counts_what_training_did_not_have(
    run: Path, data: Path, tmp_path: Path, capsys
) -> None:
    frame = pd.read_csv(data).drop(columns="fraud")
    predicted(run, frame, tmp_path)
    assert capsys.readouterr().err == ""
    lowest, highest = frame["amount"].min(), frame["amount"].max()
    low, high = load(run / "pipeline.autoimb").ranges[:, 0]
    assert low < lowest < highest < high  # which no single row has
    assert high - low < 1.2 * (highest - lowest)
    frame.loc[:4, "amount"] = [low - 1, high + 1, high * 2 + 1, lowest, np.nan]
    frame.loc[:9, "code"] = "Z9"
    predicted(run, frame, tmp_path)
    assert capsys.readouterr().err.splitlines() == [
        f"amount: outside the training range {low:g} to {high:g} in 3 of 120 rows",
        "code: unknown level in 10 of 120 rows",
    ]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def tables():
        yield pa.table({"a": [1]})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer(tmp_path / "out.parquet")(tables())
    assert list(tmp_path.iterdir()) == []


def test_evaluate_as_json(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(run / "pipeline.autoimb"), str(data), "--target", "fraud"]
    assert main(words) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("120 rows, ")
    ends = dict(line.split(maxsplit=1) for line in lines)
    assert re.fullmatch(r"0\.\d{4}  0\.\d{4} to 0\.\d{4}", ends["average_precision"])
    lines = {name: values.split()[0] for name, values in ends.items()}
    assert float(lines["average_precision"]) > 0.3
    assert {"roc_auc", "f1", "mcc", "log_loss", "brier"} <= set(lines)
    assert main([*words, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert {name: f"{value:.4f}" for name, value in scores["metrics"].items()} == lines
    low, high = scores["intervals"]["average_precision"]
    assert 0 < low < scores["metrics"]["average_precision"] < high < 1
    y = pd.read_csv(data)["fraud"]
    assert scores["rows"] == len(y) == np.sum(scores["confusion"]["true_by_predicted"])
    assert scores["positive"] == "yes"
    assert scores["positive_rows"] == (y == "yes").sum()
    assert 0 < scores["threshold"] < 1


def test_status_and_report(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(run)]) == 0
    line, *result = capsys.readouterr().out.splitlines()
    assert "not running, finished; 2 strategies (2 complete)" in line
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))["results"]
    reported = facts["reported"]
    assert result[0] == facts["winner"]["description"]
    assert f" {reported['value']:.3f} (95 % interval {reported['low']:.3f} to " in result[1]
    assert result[2] == facts["verdict"]
    assert main(["status", str(run), "--json"]) == 0
    as_json = json.loads(capsys.readouterr().out)["result"]
    assert as_json["description"] == result[0]
    assert (as_json["value"], as_json["verdict"]) == (reported["value"], facts["verdict"])
    assert main(["report", str(run), "-o", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_bytes() == (run / "report.html").read_bytes()


def test_options_prints_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    from autoimb.space.components import COMPONENTS

    assert main(["options"]) == 0
    everything = capsys.readouterr().out
    assert all(
        f"  {name}" in everything for component in COMPONENTS.values() for name in component.names
    )
    assert main(["options", "loss"]) == 0
    assert "smote" not in capsys.readouterr().out


def test_export(run: Path, data: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(data)
    expected = load(run / "pipeline.autoimb").predict_proba(frame)
    assert main(["export", str(run), "-o", str(tmp_path / "a.autoimb")]) == 0
    np.testing.assert_array_equal(load(tmp_path / "a.autoimb").predict_proba(frame), expected)
    words = ["export", str(run), "--format", "joblib", "-o", str(tmp_path / "a.joblib")]
    assert main(words) == 0
    pickled = joblib.load(tmp_path / "a.joblib")
    np.testing.assert_array_equal(pickled.predict_proba(frame), expected)


def test_the_same_number_is_the_same_level_however_it_is_written(run: Path, tmp_path: Path) -> None:
    pipeline, rows = load(run / "pipeline.autoimb"), table()
    expected = pipeline.predict_proba(rows)
    for size in (rows["size"].map("{:g}".format), rows["size"].map("{:.2f}".format)):
        rows.assign(size=size).to_csv(tmp_path / "new.csv", index=False)
        pieces = list(read_chunks(tmp_path / "new.csv", pipeline, cells=30))
        assert len(pieces) > 10
        proba = np.concatenate([pipeline.predict_proba(piece) for piece in pieces])
        np.testing.assert_allclose(proba, expected)
    size[5] = "none of these"  # which makes text of all numbers of its piece
    rows.assign(size=size).to_csv(tmp_path / "new.csv", index=False)
    (piece,) = read_chunks(tmp_path / "new.csv", pipeline, cells=10_000)
    proba = np.delete(pipeline.predict_proba(piece), 5, axis=0)
    np.testing.assert_allclose(proba, np.delete(expected, 5, axis=0))


def test_refit_trains_the_same_strategies_on_newer_rows(run: Path, tmp_path: Path) -> None:
    newer, out = tmp_path / "newer.csv", tmp_path / "newer.autoimb"
    table(150, seed=1).to_csv(newer, index=False)
    assert main(["refit", str(run), str(newer), "-o", str(out)]) == 0
    old, new = load(run / "pipeline.autoimb"), load(out)
    assert [s.strategy for s in new.strategies] == [s.strategy for s in old.strategies]
    assert new.weights == old.weights
    assert new.info["rows"] == 150
    assert new.classes_.tolist() == old.classes_.tolist()


@pytest.mark.parametrize("seconds", ["a minute", [60.0]])
@pytest.mark.parametrize("command", ["search", "refit"])
def test_a_plan_without_seconds_is_damage(
    command: str, seconds: object, run: Path, data: Path, tmp_path: Path, capsys: Any
) -> None:
    forged, out = tmp_path / "run", str(tmp_path / "newer.autoimb")
    shutil.copytree(run, forged)
    folder = RunFolder(forged)
    folder.update_run({"plan": folder.read_run()["plan"] | {"time_budget": seconds}})
    words = ["refit", str(forged), str(data), "-o", out]
    if command == "search":
        words = ["search", str(data), "--trials", "3", "--resume", "--out", str(forged), *FAST]
    assert main(words) == 2
    assert "run.json: its" in capsys.readouterr().err


def test_a_refit_of_a_search_that_a_budget_resumed(run: Path, data: Path, tmp_path: Path) -> None:
    """Planned for a number of trials alone; the last session had a budget alone."""
    resumed, out = tmp_path / "run", tmp_path / "newer.autoimb"
    shutil.copytree(run, resumed)
    folder = RunFolder(resumed)
    session = {"n_trials": None, "time_budget": 60.0}
    folder.update_run({"request": folder.read_run()["request"] | session})
    assert main(["refit", str(resumed), str(data), "-o", str(out)]) == 0
    old, new = load(run / "pipeline.autoimb"), load(out)
    np.testing.assert_array_equal(
        new.predict_proba(pd.read_csv(data)), old.predict_proba(pd.read_csv(data))
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("300", 300), ("90s", 90), ("5m", 300), ("5min", 300), ("1h", 3600), ("1.5 h", 5400)],
)
def test_a_time_budget_is_a_time(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["5 minutes", "m", "", "1.2.3s", "-5m", "1h30"])
def test_what_is_no_time_is_refused(text: str, data: Path, capsys) -> None:
    assert main(["search", str(data), "--target", "fraud", "--time-budget", text]) == 2
    assert "--time-budget must be seconds or a time such as 90s" in capsys.readouterr().err


def test_the_budget_counts_from_the_start_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ``bash -c "install && search"``, the process is that of the shell."""
    starts: list[float] = []
    monkeypatch.setattr(program, "app", lambda **options: starts.append(options["obj"]))
    monkeypatch.setattr("time.monotonic", lambda: 100.0)
    for age in (0.25, 1_000.0):
        monkeypatch.setattr(program, "_process_age", lambda age=age: age)
        assert main() == 0
    assert starts == [99.75, 99.0]
    monkeypatch.undo()
    assert 0 < program._process_age() < 1e6


# A search of short trials that goes on until it is interrupted.
LONG = [*SEARCH, "--cv", "2", "--partners", "none", "--time-budget", "10m"]


def started(data: Path, run: Path, **streams: Any) -> subprocess.Popen[str]:
    """Start a search that lasts longer than its test."""
    words = ["search", str(data), *LONG, "--out", str(run)]
    return subprocess.Popen([sys.executable, "-m", "autoimb", *words], env=ENVIRONMENT, **streams)


def assert_ended_with_results(process: subprocess.Popen[str], run: Path) -> None:
    assert process.wait(timeout=PATIENCE) == 130
    assert (run / "report.html").is_file()
    assert load(run / "pipeline.autoimb").classes_.tolist() == ["no", "yes"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_writes_what_it_has(
    how: signal.Signals, data: Path, tmp_path: Path
) -> None:
    process = started(data, tmp_path / "run", stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "complete" in line:
            break
    os.kill(process.pid, how)
    process.stderr.read()
    process.stderr.close()
    assert_ended_with_results(process, tmp_path / "run")


@pytest.mark.slow
def test_a_search_whose_terminal_is_closed_writes_what_it_has(data: Path, tmp_path: Path) -> None:
    """All processes of the terminal get SIGHUP, and what is written to it fails from then on."""
    terminal, end = pty.openpty()
    process = started(
        data,
        tmp_path / "run",
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(end)
    output = b""
    while b"best" not in output:
        output += os.read(terminal, 10_000)
    os.close(terminal)
    assert_ended_with_results(process, tmp_path / "run")


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_as_much_is_in_memory_however_many_threads_predict(threads: int) -> None:
    alive = weakref.WeakValueDictionary[int, pd.DataFrame]()
    counts: list[int] = []

    def pieces() -> Iterator[pd.DataFrame]:
        for number in range(40):
            frame = alive[number] = pd.DataFrame({"a": [number]})
            counts.append(len(alive))
            yield frame
            del frame

    tables = in_order(
        lambda frame: pa.table({"a": frame["a"].to_numpy()}), pieces(), threads=threads
    )
    assert [table["a"][0].as_py() for table in tables] == list(range(40))
    assert max(counts) * cells_of_piece(threads) <= CELLS
