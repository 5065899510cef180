"""A signal that ends a Python program in `fit` leaves no process, no table and no other file."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from tests.support import studies
from tests.support.programs import ENVIRONMENT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")

FIT = """
import numpy as np
from autoimb import AutoImbClassifier

random = np.random.default_rng(0)
y = (np.arange(400) % 8 == 0).astype(int)
X = random.normal(size=(400, 5)) + y[:, None]
search = {"n_jobs": 2, "cv": 2, "network": "mlp", "partners": None, "random_state": 0}
AutoImbClassifier(**search, verbose=1).fit(X, y)
"""


def start_fit(place: Path) -> subprocess.Popen[str]:
    """Run a program that puts its temporary files in a place."""
    return subprocess.Popen(
        [sys.executable, "-c", FIT],
        env=ENVIRONMENT | {"TMPDIR": str(place)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # one session: the program, its server and its workers
    )


def in_the_middle(process: subprocess.Popen[str]) -> None:
    """Wait for the second of its trials to end."""
    assert process.stderr is not None
    lines = (line for line in process.stderr if "complete" in line or "partial" in line)
    assert len(list(islice(lines, 2))) == 2


def assert_ends_cleanly(process: subprocess.Popen[str], place: Path) -> None:
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == -signal.SIGTERM  # 128 + 15 to a shell
    studies.wait_until(lambda: not studies.alive(process.pid))
    assert list(place.iterdir()) == []


@pytest.mark.slow
def test_sigterm_in_the_middle_of_trials(tmp_path: Path) -> None:
    process = start_fit(tmp_path)
    in_the_middle(process)
    assert len(studies.alive(process.pid)) >= 4  # the server and two workers
    assert list(tmp_path.glob("**/task.joblib"))
    assert_ends_cleanly(process, tmp_path)


@pytest.mark.slow
def test_sigterm_before_a_worker_is_up(tmp_path: Path) -> None:
    process = start_fit(tmp_path)
    # The program and two processes of multiprocessing.
    studies.wait_until(lambda: len(studies.alive(process.pid)) >= 3)
    assert list(tmp_path.iterdir())
    assert_ends_cleanly(process, tmp_path)
