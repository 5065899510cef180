"""How much memory there is, and how much of it a user gives.

cgroups, in which containers and schedulers run programs, are read in both of their versions
(https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/memory.html).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from autoimb.errors import OptionError

__all__ = ["ROOT", "CGroup", "cgroups", "counts_of", "machine_bytes", "read_bytes"]

ROOT = Path("/")

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BYTES = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i?)B?", re.IGNORECASE)
UNKNOWN = 8 * 10**9  # where the system does not say


class _Files(NamedTuple):
    """Where a version of cgroups keeps its numbers."""

    mount: str
    limit: str
    usage: str
    cache: str  # the line of memory.stat that counts what can be given back


_VERSIONS = {
    1: _Files(
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
    2: _Files("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
}


class CGroup(NamedTuple):
    """A limit on the memory of a group of processes, and what is left of it; bytes."""

    limit: int
    left: int


def read_bytes(given: str | int) -> int:
    """Read an amount of memory.

    Parameters
    ----------
    given : str or int
        Bytes, or text such as ``"4GB"``, ``"500 MB"`` and ``"1.5GiB"``.

    Returns
    -------
    int
        Bytes, from 1.

    Raises
    ------
    OptionError
        Anything else.
    """
    found = BYTES.fullmatch(str(given).strip())
    number = 0
    if found is not None:
        amount, unit, binary = found.groups()
        power = list(UNITS).index(unit.upper())
        number = int(float(amount) * (1024**power if binary else UNITS[unit.upper()]))
    if number < 1:
        raise OptionError(f"max_memory must be bytes, or text such as '4GB', got {given!r}.")
    return number


def machine_bytes(root: Path = ROOT) -> int:
    """Return the memory of the machine, or of its cgroup; the same however much is free."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN
    return min([whole, *(group.limit for group in cgroups(root))])


def cgroups(root: Path = ROOT) -> Iterator[CGroup]:
    """Yield the cgroups of this process that have a limit, the innermost first.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are.
    """
    with suppress(OSError):
        for line in (root / "proc" / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            files = _VERSIONS[1 if controllers else 2]
            inner = Path(path.lstrip("/"))
            for folder in (inner, *inner.parents):  # of a container only the last may be seen
                with suppress(OSError, ValueError, KeyError):  # not seen, or "max"
                    place = root / files.mount / folder
                    limit = int((place / files.limit).read_text())
                    used = int((place / files.usage).read_text())
                    given_back = counts_of(place / "memory.stat")[files.cache]
                    yield CGroup(limit, max(0, limit - used + given_back))


def counts_of(path: Path) -> dict[str, int]:
    """Read lines of a name and a whole number."""
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}
