"""Files for users and in RUN folders: whole or not there, whoever writes and however it ends.

A file is written as a draft of a random name beside its place, synced, and renamed over it. So

* a reader, or whoever comes after a kill or a power cut, finds the old file or the new one;
* two writers at once leave the file of one of them;
* a symbolic link at the place is replaced by the file, and what it points to is not touched;
* the umask alone decides the permissions, also where the file that was there had others.

A device or a pipe can't be replaced: it is written through, and so is what lies in ``/dev`` and
``/proc``, where ``/dev/stdout`` may well be a file.
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

FULL = {errno.ENOSPC, errno.EDQUOT}  # what a disk without room says
_DRAFTS = f".{'[0-9a-f]' * 16}.tmp"  # the pattern of their names


def write_file(path: str | os.PathLike[str], content: bytes, *, make_folders: bool = True) -> None:
    """Write a file: whole, or not at all.

    Parameters
    ----------
    path : path-like
        An existing file is replaced.
    content : bytes
    make_folders : bool
        Make the folders that are missing.

    Raises
    ------
    OSError
        Its ``filename`` is `path`.
    """
    with writing(path, make_folders=make_folders) as file:
        file.write(content)


@contextmanager
def writing(path: str | os.PathLike[str], *, make_folders: bool = True) -> Iterator[BinaryIO]:
    """Open a file to write piece by piece; it appears when the block ends, or not at all.

    Parameters
    ----------
    path : path-like
        An existing file is replaced, unless an exception leaves the block.
    make_folders : bool
        Make the folders that are missing.

    Yields
    ------
    BinaryIO
        Open to write; not to be closed.

    Raises
    ------
    OSError
        Its ``filename`` is `path`, unless it left the block and names another file.
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
    """Remove the drafts that killed processes left in a folder; links are not followed."""
    for path in Path(folder).glob(_DRAFTS):
        with suppress(OSError):  # swept by another, or no file
            path.unlink()


def _written_through(target: Path) -> BinaryIO | None:
    """Open what can't be replaced; None where there is nothing, or a file or a folder."""
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
    """Open a draft that is new, so no link to another file, and put it in its place."""
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
    with suppress(OSError):  # not every system syncs a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
