"""A folder for the workers' copy of the table, which no kill leaves behind for ever.

It is locked by the process that made it. Whoever makes the next one removes those that nobody holds
any more.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

__all__ = ["Scratch"]

PREFIX = "autoimb-"
LOCK = ".lock"
YOUNG = 60.0  # seconds in which a folder that was just made may not be locked yet
# another holds it, or the file system has no locks, which filelock says as a NotImplementedError
NO_LOCK = (OSError, NotImplementedError, Timeout)


class Scratch:
    """A folder of its own, readable by this user alone.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path, self._lock = path, lock

    @classmethod
    def make(cls, place: Path | None = None) -> Self:
        """Make a folder, and remove what dead processes left beside it.

        Parameters
        ----------
        place : Path or None
            Where; made if need be. None is the system's place for such.
        """
        place = Path(tempfile.gettempdir()) if place is None else place
        place.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        lock = FileLock(path / LOCK, timeout=0, thread_local=False)
        with suppress(*NO_LOCK):  # where there are no locks nobody can tell, and nothing is swept
            lock.acquire()
        return cls(path, lock)

    def remove(self) -> None:
        """Remove it with all that it holds."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


def _sweep(place: Path) -> None:
    for path in place.glob(f"{PREFIX}*"):
        with suppress(*NO_LOCK):
            if _is_left(path):
                with FileLock(path / LOCK, timeout=0):
                    shutil.rmtree(path, ignore_errors=True)


def _is_left(path: Path) -> bool:
    """Whether a folder of this user may have lost its process; no link is followed."""
    found = path.lstat()
    own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    old = time.time() - found.st_mtime > YOUNG
    return (
        own and old and stat.S_ISDIR(found.st_mode) and stat.S_ISREG((path / LOCK).lstat().st_mode)
    )
