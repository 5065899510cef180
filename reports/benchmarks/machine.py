"""Time and memory of code and of processes, and how this checkout's package is run in one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.benchmarks.cases import ROOT

__all__ = [
    "Ended",
    "Held",
    "environment",
    "held",
    "watched",
]


@dataclass(frozen=True)
class Ended:
    """What a process took."""

    code: int
    seconds: float
    memory_mb: float
    error: str  # what it wrote to its standard error


def environment(first: str | Path = ROOT) -> dict[str, str]:
    """Return the environment of a process that imports the package from a folder."""
    before = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(first), *([before] if before else [])])}


def watched(command: Sequence[str], *, every: float = 0.5) -> Ended:
    """Run a command, and look at the memory of all its processes every so many seconds."""
    most, clock = 0.0, time.perf_counter()
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, env=environment()
        ) as process,
    ):
        while process.poll() is None:
            most = max(most, held(process.pid).memory_mb)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(every)
        seconds = time.perf_counter() - clock
        errors.seek(0)
        return Ended(process.returncode, seconds, most, errors.read().decode())


@dataclass(frozen=True)
class Held:
    """What a process and its descendants hold."""

    processes: int
    threads: int
    files: int
    memory_mb: float  # PSS: what several share counts once
    own_mb: float  # of it, what is of no file: pages of libraries other programs share as well


def held(root: int) -> Held:
    """Look at a process and all its descendants; one that ends meanwhile holds nothing."""
    family = _family(root)
    return Held(
        processes=len(family),
        threads=sum(_entries(process, "task") for process in family),
        files=sum(_entries(process, "fd") for process in family),
        memory_mb=sum(_memory(process, "Pss:") for process in family),
        own_mb=sum(_memory(process, "Pss_Anon:") for process in family),
    )


def _family(root: int) -> list[int]:
    """Return a process and all its descendants, those that ended and wait for it included."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    family = [root]
    for process in family:  # it grows meanwhile
        family += children.get(process, [])
    return family


def _entries(process: int, folder: str) -> int:
    try:
        return len(os.listdir(f"/proc/{process}/{folder}"))
    except OSError:
        return 0


def _memory(process: int, kind: str) -> float:
    """Return the memory of a process by its name in ``smaps_rollup``, in MB."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith(kind):
                return int(line.split()[1]) / 1024
    return 0.0
