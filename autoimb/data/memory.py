"""How much memory there is, and how much of it a user gives."""

from __future__ import annotations

import os
import re
from pathlib import Path

from autoimb.errors import OptionError

__all__ = ["machine_bytes", "read_bytes"]

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BYTES = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i?)B?", re.IGNORECASE)
GROUP = Path("/sys/fs/cgroup/memory.max")  # of a container, as Linux says it
UNKNOWN = 8 * 10**9  # where the system does not say


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


def machine_bytes() -> int:
    """Return the memory of the machine, or of the container; the same while it runs."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN
    try:
        return min(whole, int(GROUP.read_text()))
    except (ValueError, OSError):  # no group, or one without a limit
        return whole
