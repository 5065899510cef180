"""A Dask scheduler and its workers on loopback, as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ENVIRONMENT", "SPARING", "cluster"]

LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")
SPARING = {  # workers look at themselves less often than by default
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "5s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}
OURS = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",  # a trial that kills two workers failed
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
}
ENVIRONMENT = os.environ | SPARING | OURS


@contextlib.contextmanager
def cluster(
    n_workers: int, *, nannies: bool = True
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a scheduler on a free port, and so many workers of one thread.

    A nanny starts its worker again when that is lost. Yields the scheduler's address and its
    process; workers join a few seconds later.
    """
    together, alone = ("--nworkers", str(n_workers)), ("--no-nanny",)
    commands = [together] if nannies else [alone] * n_workers
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        file = Path(folder) / "scheduler.json"
        scheduler = _dask("scheduler", "--port", "0", "--scheduler-file", str(file))
        process = stack.enter_context(scheduler)
        while not (file.exists() and file.read_text().endswith("}")):
            if process.poll() is not None:
                raise RuntimeError("The scheduler ended.")
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        for words in commands:
            stack.enter_context(
                _dask(
                    "worker",
                    address,
                    "--nthreads",
                    "1",
                    *words,
                    "--local-directory",
                    folder,
                )
            )
        yield address, process


@contextlib.contextmanager
def _dask(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``dask WORDS`` while inside."""
    command = [sys.executable, "-m", "dask", *words, *LOOPBACK]
    process = subprocess.Popen(
        command, env=ENVIRONMENT, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it waits for a trial to end
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
