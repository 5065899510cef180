"""Optuna's journal in a RUN folder, whose own lock is held while anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

__all__ = ["journal_storage"]


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

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        with self._path.open("ab") as file:
            file.write("".join(lines).encode())


def journal_storage(path: Path) -> JournalStorage:
    """Open the journal at a path, or begin it."""
    return JournalStorage(_Unsynced(path))
