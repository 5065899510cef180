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
from functools import partial
from pathlib import Path

import optuna
import pytest

from autoimb.runs.folder import RunFolder
from autoimb.runs.record import TrialRecord
from tests.support import studies
from tests.support.programs import ENVIRONMENT

N_TRIALS = 20
KILLS = (os.killpg, os.kill)  # all at once, or the search alone


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, studies.__file__, str(folder), str(N_TRIALS), "0.15"],
        env=ENVIRONMENT,
        start_new_session=True,  # one group: the search, its server and its workers
    )


def finished(folder: Path) -> dict[int, TrialRecord]:
    """Return the records of the trials that have ended by themselves, by number."""
    records = RunFolder.view(folder).store.records()
    return {record.number: record for record in records if record.status != "killed"}


@pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
def test_killed_and_resumed_until_it_ends(tmp_path):
    chance = random.Random(0)
    tally = tmp_path / "tally.txt"
    known: dict[int, TrialRecord] = {}
    for kill in KILLS:
        process = start(tmp_path)
        before = len(known)
        studies.wait_until(
            lambda: (tmp_path / "run.json").exists() and len(finished(tmp_path)) > before  # noqa: B023  called here
        )
        time.sleep(chance.uniform(0.0, 0.6))
        kill(process.pid, signal.SIGKILL)
        process.wait()
        studies.wait_until(lambda: not studies.alive(process.pid))  # noqa: B023  called here
        now = finished(tmp_path)
        assert {n: now[n] for n in known} == known
        known = now
    assert len(known) < N_TRIALS

    with RunFolder.open(tmp_path, fingerprint=studies.FINGERPRINT, resume=True) as folder:
        work = partial(studies.counted, tally=str(tally), then=studies.evaluate)
        result = studies.study(folder, n_trials=N_TRIALS, evaluate=work)
        records = {record.number: record for record in result.records}
        assert list(folder.store.records()) == list(records.values())
    now = finished(tmp_path)
    assert {n: now[n] for n in known} == known
    assert len(now) == N_TRIALS
    study = optuna.load_study(study_name="autoimb", storage=f"sqlite:///{tmp_path}/study.db")
    states = {trial.user_attrs["trial"]: trial.state.name for trial in study.trials}
    assert len(study.trials) == len(records)  # each once
    assert states == {n: "COMPLETE" if n in now else "FAIL" for n in records}
    # what was evaluated more than once was cut off in between
    evaluated = [line.split(" ", 1)[1] for line in tally.read_text().splitlines()]
    cut_off = [r for r in records.values() if r.status == "killed"]
    assert len(evaluated) <= N_TRIALS + 2 * len(KILLS)
    assert len({records[n].strategy for n in now}) == N_TRIALS
    assert len(cut_off) <= 2 * len(KILLS)
