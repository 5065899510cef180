"""The test: rows that nothing sees but the last line of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import autoimb.pipeline.artifact as artifacts
import autoimb.search.search as searching
from autoimb import AutoImbClassifier, load
from autoimb.cli import main
from autoimb.errors import InputError, OptionError, SchemaError, TargetError
from autoimb.search.prepare import Preparation, Table, prepare
from autoimb.search.request import Request
from autoimb.search.untouched import held_out
from tests.support.tables import ONE_TRIAL

QUICK = ONE_TRIAL | {"cv": 2}
SHARES = {2: (0.8, 0.2), 3: (0.6, 0.25, 0.15)}

pytestmark = pytest.mark.usefixtures("minimal_work")
classes = pytest.mark.parametrize("n_classes", [2, 3])


def table(n_classes: int = 2, n_rows: int = 300) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    y = np.searchsorted(np.cumsum(SHARES[n_classes]), random.random(n_rows))
    frame = pd.DataFrame(
        {"a": y + random.normal(size=n_rows), "b": random.choice(["x", "y"], n_rows).astype(object)}
    )
    return frame, np.array(["well", "ill", "sick"])[y]


def prepared(frame: pd.DataFrame, y: np.ndarray, **asked: Any) -> Preparation:
    weight = asked.pop("weight", None)
    test = asked.pop("test", None)
    request = Request(n_trials=1, time_budget=None, **asked)
    return prepare(Table(frame, y, weight, test=test), request)


# --- which rows -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_a_share_of_each_class_is_held_out_and_a_row_of_each_stays(share: float) -> None:
    y = np.repeat(["a", "b", "c", "d"], [400, 40, 2, 1])
    tested = held_out(y, share, random_state=0)
    for label in "ab":
        assert tested[y == label].mean() == pytest.approx(share)
    assert not tested[y == "d"].any()
    assert not tested[y == "c"].all()
    np.testing.assert_array_equal(tested, held_out(y, share, random_state=0))
    assert (tested != held_out(y, share, random_state=1)).any()


def test_weights_and_given_splits_follow_the_rows_that_stay() -> None:
    frame, y = table()
    weight = np.linspace(0, 2, len(y))  # the first row weighs nothing
    rows = np.arange(len(y))
    cv = [(rows[rows % 3 != k], rows[rows % 3 == k]) for k in range(3)]
    preparation = prepared(frame, y, weight=weight, holdout=0.25, cv=cv)
    assert preparation.test is not None
    tested = np.zeros(len(y), dtype=bool)
    tested[1:] = held_out(y[1:], 0.25, random_state=0)
    stays = ~tested & (weight > 0)
    np.testing.assert_allclose(preparation.dataset.weight, weight[stays] / weight[stays].mean())
    np.testing.assert_allclose(preparation.test.weight, weight[tested])
    for k, fold in enumerate(preparation.folds.folds):
        np.testing.assert_array_equal(rows[stays][fold.score] % 3, k)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"holdout": 1.0}, OptionError, "share between 0 and 1, got 1.0"),
        ({"holdout": 0.0}, OptionError, "share between 0 and 1"),
        ({"holdout": 1e-4}, OptionError, "selects no rows out of .*; use a larger share"),
        ({"holdout": 0.2, "test": table()}, OptionError, "test and holdout exclude each other"),
        ({"test": (table()[0][["a"]], table()[1])}, SchemaError, "In the test rows: .*'b'"),
        ({"test": (table()[0], np.full(300, "dead"))}, TargetError, "In the test rows: .*'dead'"),
    ],
)
def test_a_test_that_is_none(asked: dict[str, Any], error: type[InputError], words: str) -> None:
    with pytest.raises(error, match=words):
        prepared(*table(), **asked)


# --- law 1 ----------------------------------------------------------------------------------------


def artifact(
    frame: pd.DataFrame, y: np.ndarray, path: Path, test: Any = None, **more: Any
) -> tuple[bytes, AutoImbClassifier]:
    model = AutoImbClassifier(**QUICK | {"n_trials": 2} | more).fit(frame, y, test=test)
    return model.export(path).read_bytes(), model


@pytest.fixture
def _one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no clock reach a file."""
    for module in (searching, artifacts):
        monkeypatch.setattr(module, "stamp", dict)


@classes
@pytest.mark.usefixtures("_one_moment")
def test_a_test_row_changes_nothing_but_its_own_line(n_classes: int, tmp_path: Path) -> None:
    """Law 1: the artifact is the same to the byte, whatever stands in the rows of the test."""
    frame, y = table(n_classes)
    tested = held_out(y, 0.3, random_state=0)
    other = frame.copy()
    other.loc[tested, "a"] = 1e9
    other.loc[tested, "b"] = "a level before all others"
    before, model = artifact(frame, y, tmp_path / "a", holdout=0.3)
    after, changed = artifact(other, y, tmp_path / "b", holdout=0.3)
    assert after == before
    assert changed.test_score_ < model.test_score_
    assert changed.facts_.scores == model.facts_.scores
    train = frame[~tested].reset_index(drop=True), y[~tested]
    given, alike = artifact(*train, tmp_path / "c", test=(frame[tested], y[tested]))
    alone, bare = artifact(*train, tmp_path / "d")
    turned, _ = artifact(*train, tmp_path / "e", test=(other[tested], y[tested][::-1]))
    assert given == alone == turned == before
    assert alike.test_score_ == model.test_score_
    assert bare.test_score_ is None


# --- the line -------------------------------------------------------------------------------------


@classes
def test_the_exported_pipeline_predicts_the_rows_once(n_classes: int, tmp_path: Path) -> None:
    frame, y = table(n_classes)
    train, new = slice(0, 200), slice(200, None)
    test = (frame[new], y[new])
    model = AutoImbClassifier(**QUICK, metric="log_loss").fit(frame[train], y[train], test=test)
    assert model.test_score_ == pytest.approx(model.score(*test))
    facts = model.facts_.test
    assert facts is not None
    asked = facts["scores"][0]
    assert (asked["metric"], -asked["value"]) == ("log_loss", model.test_score_)
    assert asked["low"] < asked["value"] < asked["high"]
    assert facts["rows"] == facts["given"] == sum(facts["counts"].values()) == 100
    by_name = {row["metric"]: row["value"] for row in facts["scores"]}
    assert by_name["balanced_accuracy"] == pytest.approx(
        np.mean([(model.predict(frame[new])[y[new] == c] == c).mean() for c in model.classes_])
    )
    page = model.report(tmp_path / "report.html").read_text("utf-8")
    assert page.rindex("on 100 rows that nothing else saw") > page.rindex("<h2")


# --- the command line -----------------------------------------------------------------------------


def search(data: Path, *more: str) -> int:
    words = ["search", str(data), "--target", "state", "--n-trials", "1", "--n-jobs", "1"]
    words += ["--cv", "2", "--network", "mlp", "--partners", "none"]
    return main([*words, *more])


def test_a_test_file_and_a_resumed_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame, y = table()
    data, test, other = (tmp_path / f"{name}.csv" for name in ("data", "test", "other"))
    frame[:200].assign(state=y[:200]).to_csv(data, index=False)
    frame[200:].assign(state=y[200:], more=1).to_csv(test, index=False)
    frame[210:].assign(state=y[210:]).to_csv(other, index=False)
    run = tmp_path / "run"
    assert search(data, "--out", str(run), "--test", str(test)) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("Test: average precision 0.")
    assert "on 100 rows that nothing else saw" in last
    written = json.loads((run / "run.json").read_text())["results"]["test"]
    assert written["rows"] == 100
    pipeline = load(run / "pipeline.autoimb")
    score = pipeline.score(frame[200:], y[200:])
    assert written["scores"][0]["value"] == pytest.approx(score)
    again = ["--out", str(run), "--resume", "--quiet"]
    assert search(data, *again, "--test", str(test)) == 0
    assert search(data, *again, "--test", str(other)) == 2
    assert search(data, *again) == 2
    assert "test" in capsys.readouterr().err


def test_a_share_of_the_file_and_a_refit_on_all_rows(tmp_path: Path) -> None:
    frame, y = table()
    data, run = tmp_path / "data.csv", tmp_path / "run"
    frame.assign(state=y).to_csv(data, index=False)
    assert search(data, "--out", str(run), "--holdout", "0.25", "--quiet") == 0
    written = json.loads((run / "run.json").read_text())
    assert written["request"]["holdout"] == 0.25
    assert written["results"]["test"]["rows"] == held_out(y, 0.25, random_state=0).sum()
    again = ["--out", str(run), "--resume", "--quiet"]
    assert search(data, *again, "--holdout", "0.25") == 0
    assert search(data, *again, "--holdout", "0.2") == 2
    new = tmp_path / "new.autoimb"
    assert main(["refit", str(run), str(data), "-o", str(new)]) == 0
    assert load(new).info["rows"] == len(y)
