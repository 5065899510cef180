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

from filelock import FileLock, Timeout

__all__ = ["Scratch", "remove_at_exit"]

PREFIX = "autoimb-"
LOCK = ".lock"
NO_LOCKS = (OSError, NotImplementedError)  # what filelock raises where the file system has none


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
        for path in place.glob(f"{PREFIX}*"):
            _remove_if_left(path)
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
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


def remove_at_exit(path: str) -> None:
    """Let this process, when it ends, remove the folder of another that has ended before."""
    atexit.register(_remove_if_left, Path(path))


def _remove_if_left(path: Path) -> None:
    """Remove a folder of this user that its process has left behind; no link is followed."""
    with suppress(*NO_LOCKS, Timeout):
        folder, lock = path.lstat(), (path / LOCK).lstat()
        own = not hasattr(os, "getuid") or folder.st_uid == os.getuid()
        if own and stat.S_ISDIR(folder.st_mode) and stat.S_ISREG(lock.st_mode):
            with FileLock(path / LOCK, timeout=0):
                shutil.rmtree(path, ignore_errors=True)
