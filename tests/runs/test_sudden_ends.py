"""A signal that ends a Python program in `fit` leaves no process, no table and no other file."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
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


def in_the_middle_of_trials(process: subprocess.Popen[str]) -> None:
    """Wait for the second of its trials to end."""
    assert process.stderr is not None
    lines = (line for line in process.stderr if "complete" in line or "partial" in line)
    assert len(list(islice(lines, 2))) == 2
    assert len(studies.alive(process.pid)) >= 4  # the server and two workers


def before_a_worker_is_up(process: subprocess.Popen[str]) -> None:
    # The program and two processes of multiprocessing.
    studies.wait_until(lambda: len(studies.alive(process.pid)) >= 3)


@pytest.mark.slow
@pytest.mark.parametrize("wait", [in_the_middle_of_trials, before_a_worker_is_up])
def test_sigterm(wait: Callable[[subprocess.Popen[str]], None], tmp_path: Path) -> None:
    process = start_fit(tmp_path)
    wait(process)
    assert list(tmp_path.iterdir())
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == -signal.SIGTERM  # 128 + 15 to a shell
    studies.wait_until(lambda: not studies.alive(process.pid))
    assert list(tmp_path.iterdir()) == []
