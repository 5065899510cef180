"""Atomic writing of files for users and in RUN folders.

A file is written as a draft with a random name in the same folder, synced, and renamed to its path.
Therefore

* a reader sees either the old file or the new one, also after a kill or a power cut;
* of two concurrent writers, one leaves its complete file;
* a symbolic link at the path is replaced by the file, and its target is not touched;
* the umask alone determines the permissions, also if an old file had others.

Devices and pipes can't be replaced and are written directly, and so are files in ``/dev`` and
``/proc``, as ``/dev/stdout`` may be a file.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["FULL", "sweep_drafts", "write_file", "writing"]

FULL = {errno.ENOSPC, errno.EDQUOT}  # errors of a full disk
_DRAFTS = f".{'[0-9a-f]' * 16}.tmp"  # pattern of the names of drafts


def write_file(path: str | os.PathLike[str], content: bytes, *, make_folders: bool = True) -> None:
    """Write a file completely or, after an error, not at all.

    Parameters
    ----------
    path : path-like
        An existing file is replaced.
    content : bytes
    make_folders : bool
        Create missing folders.

    Raises
    ------
    OSError
        Its ``filename`` is `path`.
    """
    with writing(path, make_folders=make_folders) as file:
        file.write(content)


@contextmanager
def writing(path: str | os.PathLike[str], *, make_folders: bool = True) -> Iterator[BinaryIO]:
    """Open a file for writing; it appears when the block ends without an exception.

    Parameters
    ----------
    path : path-like
        An existing file is replaced, unless the block raises an exception.
    make_folders : bool
        Create missing folders.

    Yields
    ------
    BinaryIO
        Open for writing; the caller must not close it.

    Raises
    ------
    OSError
        Its ``filename`` is `path`, unless the block raised it and it names another file.
    """
    target = Path(path)
    draft = target.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        if make_folders:
            target.parent.mkdir(parents=True, exist_ok=True)
        with _written_through(target) or _replacing(target, draft) as file:
            yield file
    except OSError as error:
        ours = {None, *map(str, (draft, target, *target.parents))}
        if error.errno is None or error.filename not in ours:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def sweep_drafts(folder: str | os.PathLike[str]) -> None:
    """Remove drafts of killed processes from a folder, without following links."""
    for path in Path(folder).glob(_DRAFTS):
        with suppress(OSError):  # removed by another process, or not a file
            path.unlink()


def _written_through(target: Path) -> BinaryIO | None:
    """Open a path that can't be replaced; return None for files, folders and missing paths."""
    folder = os.path.realpath(target.parent)
    if folder not in ("/dev", "/dev/fd") and not f"{folder}/".startswith("/proc/"):
        try:
            kind = stat.S_IFMT(target.stat().st_mode)
        except OSError:
            return None
        if kind in (stat.S_IFREG, stat.S_IFDIR):
            return None
    return os.fdopen(os.open(target, os.O_WRONLY | os.O_APPEND), "wb")


@contextmanager
def _replacing(target: Path, draft: Path) -> Iterator[BinaryIO]:
    """Open a new draft, which can't be a link to another file, and rename it to the target."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(draft, flags, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        draft.replace(target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    with suppress(OSError):  # some systems cannot sync a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
