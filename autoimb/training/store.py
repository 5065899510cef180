"""What is computed once a study, however many processes ask for it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import joblib
from filelock import FileLock, Timeout

__all__ = ["Store"]

T = TypeVar("T")

MOST_BYTES = 512 * 2**20  # on disk, and of each process's own copies


class Store:
    """Values by key, kept for later trials; what was not used longest goes first.

    Parameters
    ----------
    folder : Path or None
        Where processes share them: each value is computed by one of them and mapped into the
        memory of all, while the disk has room; then each has its own. None keeps them in this
        process alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: OrderedDict[Hashable, tuple[int, Any]] = OrderedDict()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: Hashable, make: Callable[[], T], *, size: Callable[[T], int]) -> T:
        """Return the value of a key, made where nobody has made it yet.

        Parameters
        ----------
        key : hashable
            Its ``repr`` names the value in all processes.
        make : callable
            What it raises is raised, and nothing is kept.
        size : callable
            Bytes of a value.
        """
        path = None if self._folder is None else self._folder / _name(key)
        if key in self._held:
            self._held.move_to_end(key)
            if path is not None:
                with contextlib.suppress(FileNotFoundError):  # mapped, and dropped meanwhile
                    os.utime(path)
            value: T = self._held[key][1]
            return value
        value = make() if path is None else _shared(path, make)
        self._hold(key, value, size(value))
        return value

    def find(self, key: Hashable) -> Any | None:
        """Return what was put under a key last; None where it is gone, or nothing was."""
        if self._folder is None:
            return self._held.get(key, (0, None))[1]
        try:
            return joblib.load(self._folder / _name(key))
        except FileNotFoundError:
            return None

    def put(self, key: Hashable, value: Any, *, size: int) -> None:
        """Keep a value for `find`, instead of what was there.

        Where the disk has no room nothing is kept.
        """
        if self._folder is None:
            self._hold(key, value, size)
        else:
            path = self._folder / _name(key)
            with FileLock(path.with_suffix(".lock")):
                _write(path, lambda part: joblib.dump(value, part))

    def _hold(self, key: Hashable, value: Any, size: int) -> None:
        self._held.pop(key, None)
        self._held[key] = (size, value)
        while len(self._held) > 1 and sum(n for n, _ in self._held.values()) > MOST_BYTES:
            self._held.popitem(last=False)

    def elsewhere(self, key: Hashable) -> bool:
        """Return whether another process is making the value of a key now."""
        if self._folder is None or key in self._held:
            return False
        path = self._folder / _name(key)
        lock = path.with_suffix(".lock")
        if path.exists() or not lock.exists():
            return False
        try:
            with FileLock(lock, timeout=0):
                return False
        except Timeout:
            return True


def _name(key: Hashable) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:32]


def _shared(path: Path, make: Callable[[], T]) -> T:
    with FileLock(path.with_suffix(".lock")):  # a process that dies gives it back
        if path.exists():
            os.utime(path)
        else:
            own = make()
            if not _write(path, lambda part: joblib.dump(own, part)):
                return own
        value: T = joblib.load(path, mmap_mode="c")
    return value


def _write(path: Path, write: Callable[[Path], object]) -> bool:
    """Write a file for all processes; False, and nothing is there, where the disk has no room."""
    part = path.with_suffix(".part")
    try:
        write(part)
        part.replace(path)
    except OSError:
        for left in (part, path):
            left.unlink(missing_ok=True)
        return False
    _drop_oldest(path.parent)
    return True


def _drop_oldest(folder: Path) -> None:
    """Remove files until the rest is small enough; who has mapped one keeps it."""
    found: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process has dropped it
            if not path.suffix:
                there = path.stat()
                found.append((there.st_mtime, there.st_size, path))
    found.sort()
    total = sum(size for _, size, _ in found)
    for _, size, path in found[:-1]:
        if total <= MOST_BYTES:
            break
        with contextlib.suppress(OSError):  # where a file in use can't be removed
            path.unlink(missing_ok=True)
            total -= size
