"""How far a search is, seen from another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from studies import FINGERPRINT, study, wait_until
from test_cli import ENVIRONMENT, table

from autoimb.cli import main
from autoimb.errors import RunError
from autoimb.runs.folder import RunFolder
from autoimb.runs.status import Pace, RunStatus

REQUEST = {"time_budget": 300.0, "n_trials": None, "n_jobs": 2}


def searched(path: Path, *, n_trials: int = 6, **request: object) -> RunFolder:
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
    found = RunStatus.of(RunFolder.view(folder.path))
    assert found.running
    assert not found.finished
    assert found.pace is not None
    assert found.pace.workers == 2
    assert found.pace.trials_a_minute == pytest.approx(len(folder.moments()) / 2, rel=0.05)
    assert found.pace.ends == pytest.approx(180.0, abs=10.0)
    assert main(["status", str(folder.path)]) == 0
    first, pace, best = capsys.readouterr().out.splitlines()
    assert "running, not finished; 6 strategies (6 complete)" in first
    assert pace.startswith("2 workers, ")
    assert "expected to end within 2:5" in pace
    assert best.startswith("best: trial ")
    folder.close()
    assert RunStatus.of(folder).pace is None


def test_it_is_json_for_a_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with searched(tmp_path / "run") as folder:
        assert main(["status", str(folder.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["running"]
    assert not told["finished"]
    assert told["strategies"] == {"complete": 6}
    assert told["workers"] == 2
    assert told["best"]["strategy"].keys() >= {"network", "loss"}
    left = datetime.fromisoformat(told["expected_end"]) - datetime.now(UTC)
    assert left.total_seconds() == pytest.approx(180.0, abs=10.0)


def test_trials_before_a_search_was_resumed_are_none_of_its_pace(tmp_path: Path) -> None:
    with searched(tmp_path / "run", n_trials=4) as folder:
        for path in folder.trials.glob("*.safetensors"):
            os.utime(path, (1e9, 1e9))
        found = RunStatus.of(folder)
    assert found.pace is not None
    assert found.pace.trials_a_minute == 0.0
    assert found.strategies == {"complete": 4}


def test_the_end_comes_sooner_where_the_strategies_are_tried_by_then(tmp_path: Path) -> None:
    with searched(tmp_path / "run", n_trials=6) as folder:
        records = folder.records()
    ended = {record.number: 1.0 for record in records}

    def ends(**request: object) -> float | None:
        return Pace.of(REQUEST | request, records, ended, seconds=60.0).ends

    assert ends() == 240.0
    assert ends(n_trials=9) == pytest.approx(30.0)  # six in a minute, three to go
    assert ends(n_trials=6) == 0.0
    assert ends(time_budget=None) is None
    assert Pace.of(REQUEST | {"n_trials": 9}, records, {}, seconds=301.0).ends == 0.0


def test_a_damaged_request_is_said(tmp_path: Path) -> None:
    with searched(tmp_path / "run", n_jobs="many") as folder, pytest.raises(RunError, match="dam"):
        RunStatus.of(folder)


def test_a_search_can_be_watched_while_it_runs(tmp_path: Path) -> None:
    """The whole way: the command writes down when it began, and another process reads it."""
    table().to_csv(tmp_path / "train.csv", index=False)
    words = ["search", "train.csv", "--target", "fraud", "--jobs", "1", "--network", "mlp"]
    command = [
        sys.executable,
        "-m",
        "autoimb",
        *words,
        "--time-budget",
        "60",
        "--out",
        "run",
        "--quiet",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT)
    try:

        def told() -> RunStatus | None:
            there = (tmp_path / "run" / "run.json").is_file()
            return RunStatus.of(RunFolder.view(tmp_path / "run")) if there else None

        wait_until(lambda: bool((now := told()) and now.pace and now.pace.trials_a_minute), 240.0)
        now = told()
    finally:
        process.kill()
        process.wait()
    assert now is not None
    assert now.running
    assert now.pace is not None
    assert now.pace.workers == 1
    assert now.pace.ends is not None
    assert 0 < now.pace.ends < 300
