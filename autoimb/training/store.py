"""Cache of encoded folds and other values that a study computes once for all processes."""

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

# The limit applies to the files on disk, and to the copies in the memory of each process.
MAX_BYTES = 512 * 2**20


class Store:
    """Values by key, shared by all trials; the least recently used value is evicted first.

    Parameters
    ----------
    folder : Path or None
        Folder through which processes share values: one process computes a value and all of them
        map its file into memory. When the disk is full, each process computes its own copy. None
        keeps values in the memory of this process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._values: OrderedDict[Hashable, tuple[int, Any]] = OrderedDict()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: Hashable, make: Callable[[], T], *, size: Callable[[T], int]) -> T:
        """Return the value of a key, computing it if no process has done so.

        Parameters
        ----------
        key : hashable
            Key whose ``repr`` identifies the value in all processes.
        make : callable
            Function that computes the value. An exception is raised, and nothing is stored.
        size : callable
            Function that returns the size of a value in bytes.
        """
        path = None if self._folder is None else self._folder / _name(key)
        if key in self._values:
            self._values.move_to_end(key)
            if path is not None:
                # Another process may have removed the file, which stays mapped here.
                with contextlib.suppress(FileNotFoundError):
                    os.utime(path)
            value: T = self._values[key][1]
            return value
        value = make() if path is None else _shared(path, make)
        self._remember(key, value, size(value))
        return value

    def find(self, key: Hashable) -> Any | None:
        """Return the value of a key if it is computed, else None."""
        if self._folder is None:
            return self._values.get(key, (0, None))[1]
        try:
            return joblib.load(self._folder / _name(key))
        except FileNotFoundError:
            return None

    def _remember(self, key: Hashable, value: Any, size: int) -> None:
        self._values.pop(key, None)
        self._values[key] = (size, value)
        while len(self._values) > 1 and sum(n for n, _ in self._values.values()) > MAX_BYTES:
            self._values.popitem(last=False)

    def computed_by_other_process(self, key: Hashable) -> bool:
        """Return whether another process is computing the value of a key now."""
        if self._folder is None or key in self._values:
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
    # The operating system releases the lock of a process that dies.
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            os.utime(path)
        else:
            computed = make()
            if not _write(path, computed):
                return computed
        value: T = joblib.load(path, mmap_mode="c")
    return value


def _write(path: Path, value: object) -> bool:
    """Write a file for all processes; return False, leaving no file, when the disk is full."""
    part = path.with_suffix(".part")
    try:
        joblib.dump(value, part)
        part.replace(path)
    except OSError:
        for partial_file in (part, path):
            partial_file.unlink(missing_ok=True)
        return False
    _drop_oldest(path.parent)
    return True


def _drop_oldest(folder: Path) -> None:
    """Remove the oldest files until the rest is small enough; mapped files stay readable."""
    entries: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        # Another process may remove a file at any time.
        with contextlib.suppress(FileNotFoundError):
            if not path.suffix:
                status = path.stat()
                entries.append((status.st_mtime, status.st_size, path))
    entries.sort()
    total = sum(size for _, size, _ in entries)
    for _, size, path in entries[:-1]:
        if total <= MAX_BYTES:
            break
        # Some systems do not remove files that are in use.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            total -= size
