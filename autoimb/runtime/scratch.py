"""Temporary folder for the workers' copy of the table, which is removed even after a kill.

The process that creates a folder locks it. Creating the next folder removes those whose lock is no
longer held.
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

__all__ = ["Scratch", "remove_if_unlocked", "sweep_at_exit"]

PREFIX = "autoimb-"
LOCK = ".lock"
# Seconds between two attempts to acquire a lock.
POLL = 0.01
# Exceptions that filelock raises if the file system does not support locks.
NO_LOCKS = (OSError, NotImplementedError)


class Scratch:
    """Temporary folder that only the current user can read.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, path: Path, lock: BaseFileLock) -> None:
        self.path, self._lock = path, lock

    @classmethod
    def make(cls, place: Path | None = None) -> Self:
        """Create a folder, and remove those of dead processes in the same place.

        Parameters
        ----------
        place : Path or None
            Parent folder, created if needed; None is the system's folder for temporary files.
        """
        place = Path(tempfile.gettempdir()) if place is None else place
        place.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        while True:
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
            created = path.stat()
            lock = FileLock(path / LOCK, timeout=0, thread_local=False)
            try:
                lock.acquire()
            except Timeout:
                # Another process has locked the folder to remove it, as it was not yet locked.
                continue
            except NO_LOCKS:
                # Without locks unused folders cannot be recognized, and all of them stay.
                pass
            with suppress(OSError):
                # The folder is used only if no other process removed it before it was locked.
                if samestat(created, path.stat()):
                    return cls(path, lock)

    def remove(self) -> None:
        """Remove the folder with its contents."""
        try:
            _remove(self.path)
        finally:
            self._lock.release()


def sweep_at_exit(place: str) -> None:
    """Register the removal of dead processes' folders for the end of this process."""
    atexit.register(_sweep, Path(place))


def remove_if_unlocked(path: Path, *, patience: float = 0) -> None:
    """Remove a folder of this user that no process has locked, without following links.

    Parameters
    ----------
    path : Path
    patience : float
        Seconds to wait for the process that has locked the folder.
    """
    with suppress(*NO_LOCKS, Timeout):
        if _is_user_folder(path) and stat.S_ISREG((path / LOCK).lstat().st_mode):
            with FileLock(path / LOCK).acquire(timeout=patience, poll_interval=POLL):
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a folder, its lock last, so that a later sweep completes an interrupted removal."""
    with suppress(OSError):
        for entry in (entry for entry in path.iterdir() if entry.name != LOCK):
            shutil.rmtree(entry, ignore_errors=True)
            entry.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _sweep(place: Path) -> None:
    for path in place.glob(f"{PREFIX}*"):
        remove_if_unlocked(path)


def _is_user_folder(path: Path) -> bool:
    """Return whether a path is a folder of this user, and not a link to one."""
    status = path.lstat()
    owned_by_user = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return owned_by_user and stat.S_ISDIR(status.st_mode)
