"""A folder for the workers' copy of the table, which no kill leaves behind for ever.

It is locked by the process that made it, or by all that have it together. Whoever makes the next
one removes those that nobody holds any more.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import stat
import sys
import tempfile
from contextlib import ExitStack, suppress
from os.path import samestat
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

if sys.platform != "win32":
    import fcntl

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

    def __init__(self, path: Path, end: ExitStack) -> None:
        self.path, self._end = path, end

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
                    end = ExitStack()
                    end.callback(lock.release)
                    end.callback(_remove, path)
                    return cls(path, end)

    @classmethod
    def join(cls, name: str) -> Self:
        """Enter a folder that processes of this user have together; who comes first makes it.

        It is there until the last of them has left it or died. Where the system has no locks for
        several, and where something of another user is in its place, the folder is one of its own.

        Parameters
        ----------
        name : str
            What all of them, and nobody else, call it.
        """
        path = Path(tempfile.gettempdir()) / f"{PREFIX}{name}"
        _sweep(path.parent)
        while True:
            try:
                return cls(path, _entered(path))
            except FileNotFoundError:  # removed meanwhile by the last of others
                continue
            except OSError:
                return cls.make()

    def remove(self) -> None:
        """Leave it, and remove it with all that it holds if nobody else is there."""
        self._end.close()


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
        while _is_own(path) and stat.S_ISREG((found := (path / LOCK).lstat()).st_mode):
            with FileLock(path / LOCK).acquire(timeout=patience, poll_interval=POLL):
                if samestat(found, (path / LOCK).lstat()):  # else it is another's, made meanwhile
                    _remove(path)
                    return


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


def _entered(path: Path) -> ExitStack:
    """Make a folder or take the one that is there, and hold it with others until the stack ends.

    Raises
    ------
    FileNotFoundError
        Where another process removes it meanwhile.
    OSError
        Where it can't be had together.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOTSUP, "locks are for one process alone")
    with suppress(FileExistsError):
        path.mkdir(mode=0o700, parents=True)
    if not _is_own(path):
        raise PermissionError(f"{path} is another's.")
    with ExitStack() as end:
        end.callback(remove_if_left, path)
        lock = end.enter_context((path / LOCK).open("ab+"))
        fcntl.flock(lock, fcntl.LOCK_SH)
        end.callback(fcntl.flock, lock, fcntl.LOCK_UN)  # also for forks of this process
        if not samestat(os.fstat(lock.fileno()), (path / LOCK).lstat()):
            raise FileNotFoundError
        return end.pop_all()


def _is_own(path: Path) -> bool:
    """Whether it is a folder of this user, and no link to one."""
    found = path.lstat()
    own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return own and stat.S_ISDIR(found.st_mode)
