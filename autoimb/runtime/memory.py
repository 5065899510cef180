"""Memory limits of workers, and the memory that they use.

Both are read from Linux; on other systems there is no limit.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from pathlib import Path

from autoimb.data.memory import ROOT, cgroups, counts_of
from autoimb.policy import SearchPolicy

__all__ = [
    "be_killed_first",
    "free_memory",
    "memory_a_worker",
    "private_memory",
]

# Added to the OOM score, in thousandths of the memory; browsers use about as much for a page.
KILLED_FIRST = 300


def memory_a_worker(
    n_jobs: int, policy: SearchPolicy, *, limit: int | None = None, root: Path = ROOT
) -> int | None:
    """Return the memory limit of each worker in bytes: its share of the free memory.

    Parameters
    ----------
    n_jobs : int
        Number of workers.
    policy : SearchPolicy
    limit : int or None
        Limit of the user in bytes for the whole search, if any.
    root : Path
        Folder of ``proc`` and ``sys``.

    Returns
    -------
    int or None
        None if the system does not report free memory, nor then the memory of a process.
    """
    free = free_memory(root)
    if free is None:
        return None
    free = free if limit is None else min(free, limit)
    reserves = policy.reserves
    return max(int(free * reserves.workers_memory / n_jobs), reserves.min_worker_bytes)


def free_memory(root: Path = ROOT) -> int | None:
    """Return the bytes that are free for this process, or None if the system does not report them.

    This is the minimum of the machine's available memory and of the memory left in the process's
    cgroup and in each of its parents. Reclaimable pages of files count as free.
    """
    try:
        machine = counts_of(root / "proc" / "meminfo")["MemAvailable:"] * 1024
    except (OSError, KeyError):
        return None
    return min([machine, *(available for _, available in cgroups(root))])


def private_memory(pid: int, *, threshold: int = 0, root: Path = ROOT) -> int:
    """Return the private resident memory of a process in bytes; 0 if the process has ended.

    Pages of mapped files are excluded, since the system can reclaim them. Pages that are shared
    with the server from which the process was forked count proportionally.

    Parameters
    ----------
    pid : int
    threshold : int
        If all anonymous memory of the process, including shared pages, is at most this many bytes,
        it is returned: it is known at once, while the proportional part takes milliseconds.
    root : Path
        Folder of ``proc``.
    """
    process = root / "proc" / str(pid)
    private_bytes = 0
    with suppress(OSError, ValueError, KeyError):
        # The file counts pages.
        resident, shared = (process / "statm").read_text().split()[1:3]
        private_bytes = (int(resident) - int(shared)) * mmap.PAGESIZE
        if private_bytes > threshold:
            # The system reports the proportional part from Linux 5.3 on.
            private_bytes = counts_of(process / "smaps_rollup")["Pss_Anon:"] * 1024
    return private_bytes


def be_killed_first() -> None:
    """Make the system kill this process before the parent process if memory is exhausted."""
    path = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):
        path.write_text(str(min(int(path.read_text()) + KILLED_FIRST, 1000)))
