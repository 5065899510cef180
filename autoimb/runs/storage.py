"""Optuna's journal in a RUN folder, whose own lock is held while anything is written.

Every line ends in a checksum of it and of the line before, so a line that was changed, lost or put
in is found, wherever it stands.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

__all__ = ["damage_of", "journal_storage"]

_SUM = b',"sum":"'
_SUM_BYTES = 16  # of 64 hexadecimal digits


class _FolderLock(JournalFileOpenLock):
    """No lock file, which a kill would leave behind."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class _Unsynced(JournalFileBackend):
    """Appends without a sync, which costs 4 ms for each of some twenty lines of a trial.

    A kill loses nothing that was written; after a power cut the trials' files, which are synced,
    bring the journal up again (``reports/decisions/0028-libraries-for-what-is-not-ours.md``).
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), lock_obj=_FolderLock(str(path)))
        self._path = path
        self._last = path.read_bytes()[-_SUM_BYTES - 3 : -3]  # before the last "}

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines; all of them, or none where the disk has no room."""
        lines, last = [], self._last
        for log in logs:
            start = json.dumps(log, separators=(",", ":")).encode()[:-1]
            last = _sum(last, start)
            lines.append(start + _SUM + last + b'"}\n')
        before = self._path.stat().st_size
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(lines))
        except OSError:
            os.truncate(self._path, before)
            raise
        self._last = last


def _sum(last: bytes, start: bytes) -> bytes:
    return hashlib.sha256(last + start).hexdigest()[:_SUM_BYTES].encode()


def damage_of(path: Path) -> str | None:
    """Look for damage in a journal; the torn end that a kill may leave is cut off.

    Parameters
    ----------
    path : Path
        Of an existing journal.

    Returns
    -------
    str or None
        What is wrong with it, or None where it is whole.
    """
    lines = path.read_bytes().splitlines(keepends=True)
    last, whole = b"", 0
    for line in lines:
        start, _, end = line.rpartition(_SUM)
        now = _sum(last, start)
        if end != now + b'"}\n':
            break
        last, whole = now, whole + 1
    if any(_is_line(line) for line in lines[whole:]):
        return f"line {whole + 1} of it has not the checksum that it says"
    if whole < len(lines):
        with path.open("r+b") as file:
            file.truncate(sum(map(len, lines[:whole])))
            os.fsync(file.fileno())
    return None


def _is_line(line: bytes) -> bool:
    """Whether it has both ends of a line: then it was whole, as nothing is torn in the middle."""
    return line.startswith(b"{") and line.endswith(b'"}\n')


def journal_storage(path: Path) -> JournalStorage:
    """Open the journal at a path, or begin it."""
    return JournalStorage(_Unsynced(path))
