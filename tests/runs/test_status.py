"""How far a search is, seen from another process."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from autoimb.budget import Budget
from autoimb.cli import main
from autoimb.errors import RunError
from autoimb.runs.folder import RunFolder
from autoimb.runs.status import Pace, RunStatus
from autoimb.runtime.progress import Event
from autoimb.search.prepare import Table, prepare
from autoimb.search.request import read_request
from autoimb.search.search import search
from tests.support.pipelines import table
from tests.support.studies import FINGERPRINT, study

REQUEST = {"time_budget": 300.0, "n_trials": None, "n_jobs": 2}


def searched(path: Path, *, n_trials: int = 3, **request: object) -> RunFolder:
    """A folder that is held, two minutes after its search began; its last trial ended just now."""
    folder = RunFolder.open(path, fingerprint=FINGERPRINT)
    study(folder, n_trials=n_trials)
    started = {"started": time.time() - 120.0}
    folder.update_run({"request": REQUEST | request, "session": started})
    return folder


def test_a_running_search_tells_workers_pace_and_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = searched(tmp_path / "run")
    pace = RunStatus.of(RunFolder.view(folder.path)).pace
    assert pace is not None
    assert pace.trials_a_minute == pytest.approx(len(folder.store.end_times()) / 2, rel=0.05)
    assert main(["status", str(folder.path)]) == 0
    first, line, best = capsys.readouterr().out.splitlines()
    assert "running, not finished; 3 strategies (3 complete)" in first
    assert line.startswith("2 workers, ")
    assert "expected to end within 2:5" in line
    assert best.startswith("best: trial ")
    assert main(["status", str(folder.path), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["running"], status["finished"], status["workers"]) == (True, False, 2)
    assert status["strategies"] == {"complete": 3}
    assert status["best"]["strategy"].keys() >= {"network", "loss"}
    left = datetime.fromisoformat(status["expected_end"]) - datetime.now(UTC)
    assert left.total_seconds() == pytest.approx(180.0, abs=10.0)
    folder.close()
    assert RunStatus.of(folder).pace is None


def test_the_end_comes_sooner_where_the_strategies_are_tried_by_then(tmp_path: Path) -> None:
    with searched(tmp_path / "run", n_trials=6) as folder:
        records = folder.store.records()
    ended = {record.number: 1.0 for record in records}

    def ends(**request: object) -> float | None:
        return Pace.of(REQUEST | request, records, ended, seconds=60.0).ends

    assert ends() == 240.0
    assert ends(n_trials=9) == pytest.approx(30.0)  # six in a minute, three to go
    assert ends(n_trials=6) == 0.0
    assert ends(time_budget=None) is None
    assert Pace.of(REQUEST | {"n_trials": 9}, records, {}, seconds=301.0).ends == 0.0
    before_it_was_resumed = dict.fromkeys(ended, 61.0)
    assert Pace.of(REQUEST, records, before_it_was_resumed, seconds=60.0).trials_a_minute == 0.0


def test_a_damaged_request_is_said(tmp_path: Path) -> None:
    with searched(tmp_path / "run", n_jobs="many") as folder, pytest.raises(RunError, match="dam"):
        RunStatus.of(folder)


@pytest.mark.usefixtures("minimal_work")
def test_a_search_can_be_watched_while_it_runs(tmp_path: Path) -> None:
    """The search writes down when it began, and whoever looks at the folder reads it."""
    frame, y = table(90), np.arange(90) % 6 == 0
    asked = {"n_trials": 2, "time_budget": None, "network": "mlp", "partners": None, "cv": 2}
    prepared = prepare(Table(frame, y), read_request(asked | {"random_state": 0}, [False, True]))
    seen: list[RunStatus] = []

    def look(_: Event) -> None:
        seen.append(RunStatus.of(RunFolder.view(tmp_path / "run")))

    with RunFolder.open(tmp_path / "run", fingerprint=FINGERPRINT) as folder:
        search(prepared, budget=Budget.start(None), folder=folder, callbacks=[look])
    first = seen[0]
    assert (first.running, first.finished) == (True, False)
    assert sum(first.strategies.values()) == 1
    assert first.pace is not None
    assert first.pace.workers == 1
    assert first.pace.trials_a_minute > 0
    assert first.pace.ends is not None
