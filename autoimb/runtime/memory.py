"""How much memory a worker may hold, and how much it holds.

Linux says both; elsewhere there is no limit.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from autoimb.data.memory import ROOT, cgroups, counts_of

if TYPE_CHECKING:
    from autoimb.policy import SearchPolicy

__all__ = [
    "be_killed_first",
    "free_memory",
    "kills_for_memory",
    "memory_a_worker",
    "private_memory",
]

KILLED_FIRST = 300  # thousandths of the memory: about what browsers give the process of a page


def memory_a_worker(
    n_jobs: int, policy: SearchPolicy, *, most: int | None = None, root: Path = ROOT
) -> int | None:
    """Return the bytes that each worker may hold for itself: its share of what is free now.

    Parameters
    ----------
    n_jobs : int
        How many workers.
    policy : SearchPolicy
    most : int or None
        Bytes that everything may take, where the user says so.
    root : Path
        Where ``proc`` and ``sys`` are.

    Returns
    -------
    int or None
        None where the system doesn't say what is free, and so not what a process holds.
    """
    free = free_memory(root)
    if free is None:
        return None
    free = free if most is None else min(free, most)
    return max(int(free * policy.workers_memory / n_jobs), policy.least_worker_bytes)


def free_memory(root: Path = ROOT) -> int | None:
    """Return the bytes that are free for this process, or None where the system doesn't say.

    The least of what the machine has available and what its cgroup, and each one above it, has
    left; pages of files that can be given back are free.
    """
    try:
        machine = counts_of(root / "proc" / "meminfo")["MemAvailable:"] * 1024
    except (OSError, KeyError):
        return None
    return min([machine, *(group.available for group in cgroups(root))])


def private_memory(pid: int, *, beyond: int = 0, root: Path = ROOT) -> int:
    """Return the bytes of resident memory that a process holds for itself; 0 where it is gone.

    Pages of mapped files are left out: the system takes them back when it needs them. Of what it
    has in common with the server that it was forked from, its part counts.

    Parameters
    ----------
    pid : int
    beyond : int
        Where all that it has, also in common with others, is no more, that is returned: it is
        known at once, and its part of it after milliseconds.
    root : Path
        Where ``proc`` is.
    """
    process = root / "proc" / str(pid)
    held = 0
    with suppress(OSError, ValueError, KeyError):
        resident, shared = (process / "statm").read_text().split()[1:3]  # pages
        held = (int(resident) - int(shared)) * mmap.PAGESIZE
        if held > beyond:
            held = counts_of(process / "smaps_rollup")["Pss_Anon:"] * 1024  # from Linux 5.3 on
    return held


def kills_for_memory(*, root: Path = ROOT) -> int | None:
    """Return how many processes the system has killed for want of memory; None if it won't say."""
    try:
        return counts_of(root / "proc" / "vmstat")["oom_kill"]
    except (OSError, KeyError):
        return None


def be_killed_first() -> None:
    """Let the system, if out of memory, take this process before the one that leads the search."""
    path = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):
        path.write_text(str(min(int(path.read_text()) + KILLED_FIRST, 1000)))
