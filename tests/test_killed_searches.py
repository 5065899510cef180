"""A search killed by SIGKILL, workers included, loses no finished trial.

The long form, through the command line, is ``python -m reports.benchmarks chaos``.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import studies
from programs import ENVIRONMENT

from autoimb.runs.folder import RunFolder

N_TRIALS = 30
KILLS = (os.killpg, os.kill, os.killpg)  # all at once, or the search alone


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, studies.__file__, str(folder), str(N_TRIALS), "0.15"],
        env=ENVIRONMENT,
        start_new_session=True,  # one group: the search, its server and its workers
    )


def files(folder: Path) -> dict[int, bytes]:
    """The finished trials; a killed one is not finished, and its file says so."""
    records = RunFolder.view(folder).files.records()
    path = folder / "trials"
    finished = [r.number for r in records if r.status != "killed"]
    return {number: (path / f"{number:04d}.safetensors").read_bytes() for number in finished}


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_killed_and_resumed_until_it_ends(tmp_path):
    chance = random.Random(0)
    tally = tmp_path / "tally.txt"
    known: dict[int, bytes] = {}
    for kill in KILLS:
        process = start(tmp_path)
        before = len(known)
        studies.wait_until(
            lambda: (tmp_path / "run.json").exists() and len(files(tmp_path)) > before  # noqa: B023  called here
        )
        time.sleep(chance.uniform(0.0, 0.6))
        kill(process.pid, signal.SIGKILL)
        process.wait()
        studies.wait_until(lambda: not studies.alive(process.pid))  # noqa: B023  called here
        now = files(tmp_path)
        assert {n: now[n] for n in known} == known
        known = now
    assert len(known) < N_TRIALS

    assert start(tmp_path).wait() == 0
    now = files(tmp_path)
    assert {n: now[n] for n in known} == known
    assert len(now) == N_TRIALS
    folder = RunFolder.view(tmp_path)
    records = {r.number: r for r in folder.files.records()}
    assert folder.read_run()["finished"] == list(records)
    trials = optuna.load_study(study_name=folder.study_name, storage=folder.storage()).trials
    assert {t.state.name for t in trials} <= {"COMPLETE", "FAIL"}
    ran = [t for t in trials if t.user_attrs["status"] != "repeated"]  # of a known strategy
    assert [t.number for t in ran if t.state.name == "COMPLETE"] == list(now)
    # what was evaluated more than once was cut off in between
    evaluated = [line.split(" ", 1)[1] for line in tally.read_text().splitlines()]
    cut_off = [r for r in records.values() if r.status == "killed"]
    assert len(evaluated) <= N_TRIALS + 2 * len(KILLS)
    assert len({records[n].strategy for n in now}) == N_TRIALS
    assert len(cut_off) <= 2 * len(KILLS)
