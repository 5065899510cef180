"""Memory of the machine and its cgroups, and amounts of memory as users write them.

Containers and schedulers run programs in cgroups, of which both versions are supported
(https://docs.kernel.org/admin-guide/cgroup-v2.html, .../cgroup-v1/memory.html).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from autoimb.errors import OptionError

__all__ = ["ROOT", "cgroups", "counts_of", "machine_bytes", "read_bytes"]

ROOT = Path("/")

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BYTES = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i?)B?", re.IGNORECASE)
UNKNOWN = 8 * 10**9  # assumed where the system does not report its memory


# Of both versions of cgroups: the folder, the files of the limit and of the usage, and the line of
# memory.stat that counts reclaimable bytes.
_VERSION_1 = (
    *("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    "total_inactive_file",
)
_VERSION_2 = ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")


def read_bytes(amount: str | int) -> int:
    """Convert an amount of memory to bytes.

    Parameters
    ----------
    amount : str or int
        Number of bytes, or text such as ``"4GB"``, ``"500 MB"`` and ``"1.5GiB"``.

    Returns
    -------
    int
        Number of bytes, at least 1.

    Raises
    ------
    OptionError
        If the amount is in another format or less than one byte.
    """
    match = BYTES.fullmatch(str(amount).strip())
    number = 0
    if match is not None:
        quantity, unit, binary = match.groups()
        power = list(UNITS).index(unit.upper())
        number = int(float(quantity) * (1024**power if binary else UNITS[unit.upper()]))
    if number < 1:
        raise OptionError(f"max_memory must be bytes, or text such as '4GB', got {amount!r}.")
    return number


def machine_bytes(root: Path = ROOT) -> int:
    """Return the total memory of the machine, or the limit of its cgroup if that is lower."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN
    return min([physical, *(limit for limit, _ in cgroups(root))])


def cgroups(root: Path = ROOT) -> Iterator[tuple[int, int]]:
    """Yield the memory limits of the cgroups of this process, the innermost first.

    Parameters
    ----------
    root : Path
        Directory that contains ``proc`` and ``sys``.

    Yields
    ------
    limit : int
        Memory limit of a cgroup in bytes; cgroups without one are left out.
    available : int
        Bytes of it that are available.
    """
    with suppress(OSError):
        for line in (root / "proc" / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            # Version 2 has one line without controllers, version 1 a line for each controller.
            _, controllers, path = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            mount, limit_file, usage_file, cache = _VERSION_1 if controllers else _VERSION_2
            inner = Path(path.lstrip("/"))
            # In a container only the outermost of these folders may be visible.
            for folder in (inner, *inner.parents):
                with suppress(OSError, ValueError, KeyError):  # not visible, or "max": no limit
                    place = root / mount / folder
                    limit = int((place / limit_file).read_text())
                    used = int((place / usage_file).read_text())
                    reclaimable = counts_of(place / "memory.stat")[cache]
                    yield limit, max(0, limit - used + reclaimable)


def counts_of(path: Path) -> dict[str, int]:
    """Read a file whose lines consist of a name and a whole number."""
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {
        fields[0]: int(fields[1]) for fields in lines if len(fields) > 1 and fields[1].isdecimal()
    }
