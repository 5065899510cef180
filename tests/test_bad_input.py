"""Every mistake of a user gets one sentence that names the culprit, from both faces."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from autoimb.cli import main
from autoimb.errors import (
    AutoImbError,
    BudgetError,
    OptionError,
    RunError,
    SchemaError,
    TargetError,
)
from autoimb.estimator import AutoImbClassifier
from autoimb.runs.folder import run_text
from autoimb.search.arguments import prepare_arguments
from autoimb.search.prepare import Table, prepare
from autoimb.search.request import Request, read_request
from autoimb.version import __version__
from tests.support.searches import minimal_work
from tests.support.tables import ONE_TRIAL

Captured = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("minimal_work")

SMALLEST = ["--trials=1", "--jobs=1", "--cv=2", "--network=mlp", "--partners=none", "--quiet"]


def table(n_rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.normal(40, 10, n_rows).round(1),
            "city": rng.choice(["Bern", "Lima", "Oslo"], n_rows),
            "churn": np.where(np.arange(n_rows) % 5 == 0, "yes", "no"),
        }
    )


def classifier(**params: Any) -> AutoImbClassifier:
    return AutoImbClassifier(**ONE_TRIAL | {"cv": 2} | params)


def fit(frame: pd.DataFrame, y: Any = None, **params: Any) -> AutoImbClassifier:
    labels = frame["churn"] if y is None else y
    return classifier(**params).fit(frame.drop(columns="churn"), labels)


@pytest.mark.parametrize("kind", [int, float, "Int64", object])
def test_many_numbers_are_no_classes_unless_they_are_said_to_be(kind: Any) -> None:
    frame = table(120)
    y = pd.Series(np.arange(120) % 21, dtype=kind)
    with pytest.raises(TargetError, match=r"looks like a regression target.*21 different numbers"):
        fit(frame, y)
    told = prepare_arguments(classifier(allow_many_classes=True), frame, y)
    assert len(told.target.classes) == 21
    assert len(prepare_arguments(classifier(), frame, y.astype(str)).target.classes) == 21
    assert len(prepare_arguments(classifier(), frame, y % 20).target.classes) == 20


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad") / "run"
    data = folder.parent / "train.csv"
    table().to_csv(data, index=False)
    words = ["--target", "churn", *SMALLEST, "--out", str(folder)]
    with minimal_work():
        assert main(["search", str(data), *words]) == 0
    return folder


# --- the estimator --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"metric": "averag_precision"}, OptionError, "Did you mean 'average_precision'"),
        ({"resampling": "smoot"}, OptionError, "Did you mean 'smote'"),
        ({"network": []}, OptionError, "network is an empty list"),
        ({"loss": ["focal", "hinge"]}, OptionError, "'hinge'.*Choices: cross_entropy"),
        ({"class_weight": {"maybe": 3}}, OptionError, "'maybe'.*Choices: no, yes"),
        ({"pos_label": "maybe"}, TargetError, "'maybe'.*Choices: no, yes"),
        ({"kinds": {"town": "categorical"}}, SchemaError, "'town'.*Choices: age, city"),
        ({"kinds": {"city": "category"}}, SchemaError, "Did you mean 'categorical'"),
        ({"kinds": {"city": "numeric"}}, SchemaError, "'city' must hold numbers"),
        ({"cv": 1}, OptionError, "between 2 and"),
        ({"n_jobs": 0}, OptionError, "n_jobs must not be 0"),
        ({"n_trials": None}, BudgetError, "both None"),
        ({"random_state": -1}, OptionError, "from 0 to .* got -1"),
        ({"class_weight": {"yes": 10**400}}, OptionError, "finite number >= 0, got a number of"),
        ({"class_weight": {"yes": 1e300}}, OptionError, "at most 1e.12, got 1e.300"),
        ({"class_weight": "costs"}, OptionError, "lacks the costs"),
        ({"class_weight": "balanced", "cost_in_loss": True}, OptionError, "needs a cost_matrix="),
        ({"metric": lambda y, proba: float("nan")}, RunError, "failed: its score is nan"),
    ],
)
def test_a_parameter_that_no_search_can_use(
    params: dict[str, Any], error: type[AutoImbError], words: str
) -> None:
    with pytest.raises(error, match=words):
        fit(table(), **params)


def test_an_eval_set_that_does_not_fit() -> None:
    frame = table()
    features, labels = frame.drop(columns="churn"), frame["churn"]
    with pytest.raises(TargetError, match="maybe"):
        classifier(cv=None).fit(
            features, labels, eval_set=(features, labels.replace("yes", "maybe"))
        )
    with pytest.raises(OptionError, match="exclude each other"):
        classifier().fit(features, labels, eval_set=(features, labels))


def test_a_class_of_one_or_two_rows_is_learned_with_a_notice() -> None:
    frame = table()
    frame.loc[[1, 2], "churn"] = "maybe"
    frame.loc[3, "churn"] = "once"
    model = fit(frame)
    assert list(model.classes_) == ["maybe", "no", "once", "yes"]
    assert "'maybe' (2)" in " ".join(model.facts_.notices)
    assert "The rarest class has 1 rows: expect wide intervals." in model.facts_.notices


def test_more_workers_than_processors_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = table()
    rows = Table(frame.drop(columns="churn"), frame["churn"])
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    told = [" ".join(prepare(rows, Request(n_jobs=n_jobs)).notices) for n_jobs in (2, 3)]
    assert "n_jobs" not in told[0]
    assert "n_jobs=3 is more than the 2 processors" in told[1]


def test_numbers_of_numpy_are_those_of_python() -> None:
    given = {"time_budget": 30, "n_trials": 2, "n_jobs": 1, "holdout": 0.25, "random_state": 3}
    kinds = (np.float32, np.uint8, np.int8, np.float16, np.uint64)
    typed = {name: kind(value) for (name, value), kind in zip(given.items(), kinds, strict=True)}
    asked, plain = read_request(typed, [0, 1]), read_request(given, [0, 1])
    assert json.dumps(asked.to_json()) == json.dumps(plain.to_json() | {"time_budget": 30.0})


def test_a_metric_that_one_label_maximises_is_said() -> None:
    (said,) = (one for one in fit(table(), metric="recall").facts_.notices if "recall" in one)
    assert "recall@precision" in said
    assert not any("recall" in one for one in fit(table()).facts_.notices)


# --- the command line -----------------------------------------------------------------------------


def complaint(words: list[str], capsys: Captured) -> str:
    """Run a command that must fail by one line on stderr, and return it."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("autoimb: error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "Missing option '--target'"),
        (["--target", "chrun"], "Did you mean 'churn'"),
        (["--target", "churn", "--cost-matrix", "[[0"], "--cost-matrix is no JSON"),
        (["--target", "churn", "--strategy", "{}"], "got none of resampling"),
        (["--target", "churn", "--class-weight", "{"], "neither names nor JSON"),
        (["--target", "churn", "--drop", "town"], "Unknown column to drop 'town'"),
        (["--target", "churn", "--kind", "city"], "COLUMN=KIND"),
        (["--target", "churn", "--weight", "agee"], "Unknown weight column 'agee'. Did you mean"),
        (["--target", "churn", "--weight", "churn"], "Unknown weight column 'churn'"),
        (["--target", "churn", "--weight", "loss"], "numbers from 0 on"),
        (["--target", "churn", "--trials", "0"], "at least 1"),
        (["--target", "churn", "--nonsense"], "--nonsense"),
        (["--target", "churn", "--out", ""], "--out must name a folder"),
    ],
)
def test_a_search_that_cannot_start_leaves_nothing(
    words: list[str], expected: str, tmp_path: Path, capsys: Captured
) -> None:
    data, run = tmp_path / "train.csv", tmp_path / "run"
    table().assign(loss=-1).to_csv(data, index=False)
    assert expected in complaint(["search", str(data), "--out", str(run), *words], capsys)
    assert not run.exists()


def test_a_run_folder_that_cannot_be_used(
    run_folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    data = run_folder.parent / "train.csv"
    words = ["search", str(data), "--target", "churn", "--trials", "1", "--cv", "2"]
    file = tmp_path / "file"
    file.touch()
    assert "can't be written" in complaint([*words, "--out", str(file / "run")], capsys)
    assert "already holds a search" in complaint([*words, "--out", str(run_folder)], capsys)
    again = [*words, "--out", str(run_folder), "--resume", "--seed", "7"]
    assert "holds another search" in complaint(again, capsys)
    for command in (["status"], ["report"], ["export", "-o", str(tmp_path / "out")]):
        assert "run" in complaint([command[0], str(tmp_path / "none"), *command[1:]], capsys)


@pytest.mark.parametrize(
    ("function", "file"),
    [
        ("autoimb.runs.store.TrialStore.save", "study.db"),
        ("autoimb.runs.folder.write_file", ".pid"),
    ],
)
def test_a_full_disk_is_said_with_its_path_and_the_way_on(
    function: str, file: str, run_folder: Path, tmp_path: Path, capsys: Captured, monkeypatch: Any
) -> None:
    path = tmp_path / "run" / file

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(function, full)
    data = run_folder.parent / "train.csv"
    words = ["search", str(data), "--target", "churn", *SMALLEST, "--out", str(path.parent)]
    said = complaint(words, capsys)
    assert f"{path} can't be written: No space left" in said
    assert "go on with --resume" in said


def test_serving_mistakes(run_folder: Path, tmp_path: Path, capsys: Captured) -> None:
    pipeline, data = str(run_folder / "pipeline.autoimb"), str(run_folder.parent / "train.csv")
    out, words = str(tmp_path / "out.csv"), str(run_folder.parent / "words.csv")
    table().assign(age="old").to_csv(words, index=False)
    board = str(run_folder / "leaderboard.csv")
    other = str(run_folder.parent / "other.csv")
    table().replace({"churn": {"yes": "perhaps"}}).to_csv(other, index=False)
    refit = ["refit", str(run_folder), other, "-o", str(tmp_path / "new.autoimb")]
    assert "yes" in complaint(refit, capsys)
    assert "must hold numbers" in complaint(["predict", pipeline, words, "-o", out], capsys)
    assert "'age', 'city'" in complaint(["predict", pipeline, board, "-o", out], capsys)
    predict = ["predict", pipeline, data, "-o"]
    assert "must end in" in complaint([*predict, str(tmp_path / "out.xls")], capsys)
    assert "does not exist" in complaint([*predict, str(tmp_path / "no" / "out.csv")], capsys)
    assert "recall" in complaint([*predict, out, "--threshold", "recal>=1"], capsys)
    assert "no file" in complaint(["predict", pipeline, "none.csv", "-o", out], capsys)
    assert "none.autoimb" in complaint(["predict", "none.autoimb", data, "-o", out], capsys)
    assert "none.autoimb" in complaint(["inspect", "none.autoimb"], capsys)
    assert "'churn'" in complaint(["evaluate", pipeline, data, "--target", "chrun"], capsys)
    assert "Unknown label" in complaint(["evaluate", pipeline, data, "--target", "city"], capsys)
    assert "Choices: resampling" in complaint(["options", "resamplin"], capsys)
    assert "Choices: autoimb" in complaint(
        ["export", str(run_folder), "--format", "onnx", "-o", out], capsys
    )
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_run_has_no_report(
    run_folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    shutil.copytree(run_folder, tmp_path / "run")
    begun = {"fingerprint": "0", "version": __version__}
    (tmp_path / "run" / "run.json").write_text(run_text(begun))
    assert "not finished" in complaint(["report", str(tmp_path / "run")], capsys)
