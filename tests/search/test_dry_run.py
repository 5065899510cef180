"""What a search would do, said without one."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

import autoimb
from autoimb import AutoImbClassifier
from autoimb.cli import main
from autoimb.policy import DEFAULT_POLICY
from autoimb.runtime.pool import Local
from tests.support.pipelines import table
from tests.support.tables import ONE_TRIAL


def rows(n_rows: int = 240, *, every: int = 6) -> tuple[pd.DataFrame, np.ndarray]:
    return table(n_rows), np.where(np.arange(n_rows) % every == 0, "bad", "good")


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may begin a study."""
    monkeypatch.setattr(Local, "runner", None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    frame, y = rows()
    frame.assign(y=y).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


@pytest.mark.usefixtures("untrained")
def test_it_says_what_the_report_of_the_search_says() -> None:
    frame, y = rows()
    run = autoimb.dry_run(AutoImbClassifier(**ONE_TRIAL), frame, y)
    assert run.columns == dict.fromkeys(["amount", "count"], "numeric") | dict.fromkeys(
        ["colour", "shop", "paid"], "categorical"
    ) | {"day": "date", "currency": "constant"}
    assert run.profile["rows"] == 240
    assert run.profile["positive"] == "bad"
    assert run.plan["rows_scored"] == 240
    assert any("currency" in notice for notice in run.notices)
    # The labels and the days of these rows are both periodic.
    assert [finding.code for finding in run.findings] == ["AIMB001", "AIMB008"]
    assert run.trials == 1
    assert json.loads(json.dumps(run.to_json()))["checks"][0]["code"] == "AIMB001"


def test_a_search_then_has_the_same_table_plan_and_checks() -> None:
    frame, y = rows()
    model = AutoImbClassifier(**ONE_TRIAL | {"cv": 3})
    run = autoimb.dry_run(model, frame, y)
    assert not hasattr(model, "n_features_in_")
    facts = model.fit(frame, y).facts_
    assert (run.profile, run.plan, run.request) == (facts.profile, facts.plan, facts.request)
    assert set(run.notices) <= set(facts.notices)
    assert [finding.to_json() for finding in run.findings] == facts.checks[: len(run.findings)]


@pytest.mark.usefixtures("untrained")
def test_options_that_cannot_run_are_named_with_the_reason() -> None:
    frame, y = rows(60, every=20)  # three rows of the rarest class
    run = autoimb.dry_run(AutoImbClassifier(n_trials=5, resampling=["none", "smote"]), frame, y)
    assert list(run.infeasible) == ["resampling smote"]
    assert "rows of the rarest class" in run.infeasible["resampling smote"]
    assert "resampling smote: smote needs at least" in str(run)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"n_trials": 7, "time_budget": None}, 7),
        ({"n_trials": 7, "time_budget": 60.0}, 7),
        ({"n_jobs": 1}, DEFAULT_POLICY.training.trials_per_worker),
        ({"n_jobs": 8}, 8 * DEFAULT_POLICY.training.trials_per_worker),
    ],
)
def test_strategies_are_those_that_the_plan_counts_on(asked: dict, expected: int) -> None:
    frame, y = rows(1200)
    assert autoimb.dry_run(AutoImbClassifier(**asked), frame, y).trials == expected


@pytest.mark.usefixtures("untrained")
def test_memory_grows_with_rows_and_workers() -> None:
    frame, y = rows(1200)

    def memory(n_rows: int, n_jobs: int) -> int:
        model = AutoImbClassifier(n_jobs=n_jobs)
        return autoimb.dry_run(model, frame[:n_rows], y[:n_rows]).memory

    assert memory(600, 1) < memory(1200, 1) < memory(1200, 2)


@pytest.mark.usefixtures("untrained")
def test_the_command_writes_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["search", str(file), "--target", "y", "--dry-run", "--out", "run"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "240 rows, 7 columns:"
    assert "  numeric: amount, count" in lines
    assert lines[-1].startswith("expected: about ")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.usefixtures("untrained")
def test_the_command_prints_json_and_ends_as_fail_on_says(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search", str(file), "--target", "y", "--dry-run", "--json"]
    assert main([*words, "--fail-on", "warning"]) == 3
    frame, y = pd.read_csv(file).drop(columns="y"), pd.read_csv(file)["y"]
    same = AutoImbClassifier(n_jobs=-1, random_state=0, verbose=1)
    printed = json.loads(capsys.readouterr().out)
    expected = json.loads(json.dumps(autoimb.dry_run(same, frame, y).to_json()))
    named = ("target", "data")  # which arrays have not
    assert printed["request"] | dict.fromkeys(named) == expected["request"] | dict.fromkeys(named)
    assert printed | {"request": None} == expected | {"request": None}
    assert main([*words, "--fail-on", "error", "--drop", "day"]) == 0


def test_json_without_a_dry_run_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(file), "--target", "y", "--json"]) == 2
    assert "--dry-run" in capsys.readouterr().err


@pytest.mark.usefixtures("untrained")
def test_it_takes_what_fit_takes() -> None:
    """A splitter's generator and a bound method can't be copied."""
    frame, y = rows()
    lock = threading.Lock()
    model = AutoImbClassifier(
        **ONE_TRIAL | {"cv": StratifiedKFold(3).split(frame, y)}, callbacks=[lock.acquire]
    )
    run = autoimb.dry_run(model, frame, y)
    assert run.plan["folds"] == 3
    assert not hasattr(model, "feature_names_in_")
