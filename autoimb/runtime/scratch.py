"""A folder for the workers' copy of the table, which no kill leaves behind for ever.

It is locked by the process that made it. Whoever makes the next one removes those that nobody holds
any more.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from os.path import samestat
from pathlib import Path
from typing import Self

from filelock import BaseFileLock, FileLock, Timeout

__all__ = ["Scratch", "remove_if_left", "sweep_at_exit"]

PREFIX = "autoimb-"
LOCK = ".lock"
POLL = 0.01  # seconds between two tries to take a lock
NO_LOCKS = (OSError, NotImplementedError)  # what filelock raises where the file system has none


class Scratch:
    """A folder that is readable by this user alone.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, path: Path, lock: BaseFileLock) -> None:
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
        while True:
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
            made = path.stat()
            lock = FileLock(path / LOCK, timeout=0, thread_local=False)
            try:
                lock.acquire()
            except Timeout:  # another takes it for a dead one's
                continue
            except NO_LOCKS:  # without locks nobody can tell, and all stay
                pass
            with suppress(OSError):
                if samestat(made, path.stat()):  # no other has swept it before it was locked
                    return cls(path, lock)

    def remove(self) -> None:
        """Remove it with all that it holds."""
        try:
            _remove(self.path)
        finally:
            self._lock.release()


def sweep_at_exit(place: str) -> None:
    """Let this process, when it ends, remove the folders in a place that dead ones have left."""
    atexit.register(_sweep, Path(place))


def remove_if_left(path: Path, *, patience: float = 0) -> None:
    """Remove a folder of this user that no process holds; no link is followed.

    Parameters
    ----------
    path : Path
    patience : float
        Seconds to wait for one that holds it.
    """
    with suppress(*NO_LOCKS, Timeout):
        if _is_own(path) and stat.S_ISREG((path / LOCK).lstat().st_mode):
            with FileLock(path / LOCK).acquire(timeout=patience, poll_interval=POLL):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a folder, its lock last: what is cut off in the middle is left for a sweep."""
    with suppress(OSError):
        for one in (one for one in path.iterdir() if one.name != LOCK):
            shutil.rmtree(one, ignore_errors=True)
            one.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _sweep(place: Path) -> None:
    for path in place.glob(f"{PREFIX}*"):
        remove_if_left(path)


def _is_own(path: Path) -> bool:
    """Whether it is a folder of this user, and no link to one."""
    found = path.lstat()
    own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return own and stat.S_ISDIR(found.st_mode)
