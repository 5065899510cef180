"""A Dask scheduler and its workers on loopback, as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import studies

# the scheduler is looked for no longer than a test would wait
ENVIRONMENT = os.environ | {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "4s",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
}
LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")


@contextlib.contextmanager
def dask(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``dask WORDS`` while inside."""
    command = [sys.executable, "-m", "dask", *words, *LOOPBACK]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextlib.contextmanager
def cluster(n_workers: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a scheduler on a free port, and so many workers of one thread, each with its nanny.

    Yields the scheduler's address and its process.
    """
    one = ("--nworkers", str(n_workers), "--nthreads", "1")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        with dask("scheduler", "--port", "0", "--scheduler-file", str(file)) as process:
            studies.wait_until(lambda: file.exists() and file.read_text().endswith("}"))
            address = json.loads(file.read_text())["address"]
            with dask("worker", address, *one, "--local-directory", folder):
                yield address, process
