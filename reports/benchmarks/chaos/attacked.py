"""A search on the command line that is killed, hindered and gone on with."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from autoimb import load
from reports.benchmarks import cases, project
from reports.benchmarks.machine import environment
from reports.benchmarks.rows import Row

__all__ = ["VICTIMS", "Attacked", "Ended", "children"]

VICTIMS = ("driver", "worker", "server", "all")
TRIALS = 20  # strategies of a search
PATIENCE = 600.0  # seconds that a search may take before the script gives up
END = 120.0  # seconds in which the processes of a killed search have to be gone


@dataclass(frozen=True)
class Ended:
    """How a command ended, and the last line that it wrote to its standard error."""

    status: int
    said: str


@dataclass
class Attacked:
    """One search, and what became of its trials.

    Attributes
    ----------
    table : Path
        With the column ``rare``.
    run : project.Run
    temporary : Path
        The folder of its temporary files.
    seed : int
    kept : dict of int to tuple of str
        The digests of finished trials by number, as they were first seen.
    lost : set of int
        Finished trials that were missing or changed later.
    processes : int
        That were left running after a kill.
    """

    table: Path
    run: project.Run
    temporary: Path
    seed: int
    kept: dict[int, tuple[str, str]] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    processes: int = 0

    @property
    def _said(self) -> Path:
        return self.temporary.with_suffix(".said")

    def start(self) -> subprocess.Popen[bytes]:
        """Begin the search or go on with it."""
        self.temporary.mkdir(exist_ok=True)
        words = ["search", str(self.table), "--target", "rare", "--quiet", "--resume"]
        words += ["--trials", str(TRIALS), "--network", "mlp", "--partners", "none"]
        words += ["--jobs", str(cases.JOBS)]
        words += ["--seed", str(self.seed), "--out", str(self.run.path)]
        with self._said.open("w") as said:  # a pipe would not end before the last of them
            return subprocess.Popen(
                [sys.executable, "-m", "autoimb", *words],
                env=environment() | {"TMPDIR": str(self.temporary)},
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,  # one session: the search, its server and its workers
            )

    def finish(self, process: subprocess.Popen[bytes]) -> Ended:
        """Wait for the end of the search and of its processes, then look at what it left."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        end = time.monotonic() + END
        while (left := _session(process.pid)) and time.monotonic() < end:
            time.sleep(0.02)
        if left:
            self.processes += len(left)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        status, now = process.wait(), self.run.finished()
        self.lost |= {number for number, old in self.kept.items() if now.get(number) != old}
        self.kept = now | self.kept
        said = self._said.read_text().replace(f"{self.run.path.parent}/", "")
        return Ended(status, (said.strip().splitlines() or [""])[-1])

    def resume(self) -> Ended:
        """Go on with the search until it ends."""
        return self.finish(self.start())

    def kill(self, process: subprocess.Popen[bytes], victim: str, chance: random.Random) -> bool:
        """Send SIGKILL to a process of the search, or to all; False where there is none."""
        found = {"driver": [process.pid], "all": [process.pid]} | children(process.pid)
        if not found[victim]:
            return False
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            if victim == "all":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(chance.choice(found[victim]), signal.SIGKILL)
        return True

    def wait_for(self, process: subprocess.Popen[bytes], true: Callable[[], bool]) -> bool:
        """Wait until something is true; False where the search ends before."""
        end = time.monotonic() + PATIENCE
        while not true():
            if process.poll() is not None or time.monotonic() > end:
                return False
            time.sleep(0.005)
        return True

    def outcome(self, ended: Ended) -> Row:
        """Say what is left after the last resume: of trials, processes, tables and results."""
        records = [record for record in self.run.records() if record.number in self.kept]
        once = {(r.strategy, r.apart) for r in records}
        cache = self.run.path / ".cache"
        places = [path for path in (self.temporary, cache) if path.is_dir()]
        return {
            "kept": len(self.kept),
            "lost": len(self.lost),
            "doubled": len(records) - len(once),
            "running": self.run.left_running() + self.processes,
            "left": sum(path.is_file() for place in places for path in place.rglob("*")),
            "exported": ended.status == 0 and self._predicts(),
            "said": ended.said,
        }

    def _predicts(self) -> bool:
        rows = pd.read_csv(self.table).drop(columns="rare")
        proba = load(self.run.pipeline).predict_proba(rows)
        return bool(np.isfinite(proba).all() and np.allclose(proba.sum(axis=1), 1))


def _session(session: int) -> list[int]:
    """Return the processes of a session that run."""
    return [pid for pid, (state, _, own) in _processes().items() if own == session and state != "Z"]


def children(driver: int) -> dict[str, list[int]]:
    """Return the server of a search, and its workers."""
    parents = {pid: parent for pid, (_, parent, _) in _processes().items()}
    server = [pid for pid, parent in parents.items() if parent == driver and _is_server(pid)]
    return {"server": server, "worker": [pid for pid, own in parents.items() if own in server]}


def _is_server(pid: int) -> bool:
    try:
        return b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _processes() -> dict[int, tuple[str, int, int]]:
    """Return of each process its state, its parent and its session."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has ended
            continue
        found[int(path.parent.name)] = (state, int(parent), int(session))
    return found
