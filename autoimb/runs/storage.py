"""The Optuna storage of a study: its trials, and the journal file that keeps them in a RUN folder.

The folder's own lock is held while anything is written. Every line of the journal ends in a
checksum of it and of the line before, so a line that was changed, lost or put in is found, wherever
it stands.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import BaseTrial, FrozenTrial, TrialState, create_trial

__all__ = ["TrialStorage", "damage_of", "journal_storage"]

_SUM = b',"sum":"'
_SUM_BYTES = 16  # of 64 hexadecimal digits


class TrialStorage:
    """The trials of one study in an Optuna storage.

    Parameters
    ----------
    storage : BaseStorage
    study : str
        The name of the study, which is created where the storage has none of this name.
    """

    def __init__(self, storage: BaseStorage, study: str) -> None:
        optuna.create_study(
            storage=storage,
            study_name=study,
            direction="maximize",
            load_if_exists=True,
            sampler=RandomSampler(),  # never needed: all values are drawn where a trial is enqueued
        )
        self._storage = storage
        self._study = storage.get_study_id_from_name(study)
        self._trials: list[FrozenTrial] | None = None  # read once, until one of them changes

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        if self._trials is None:
            self._trials = self._storage.get_all_trials(self._study, deepcopy=False)
        return self._trials

    def create(
        self,
        attributes: Mapping[str, Any],
        *,
        like: BaseTrial | None = None,
        state: TrialState = TrialState.WAITING,
    ) -> int:
        """Add a trial that has not ended, with the values of another one; return its number."""
        trial = create_trial(
            state=state,
            params=None if like is None else like.params,
            distributions=None if like is None else like.distributions,
            user_attrs=dict(attributes),
        )
        return self.add(trial)

    def add(self, trial: FrozenTrial) -> int:
        """Add a trial as it is, and return its number."""
        self._trials = None
        trial_id = self._storage.create_new_trial(self._study, trial)
        return self._storage.get_trial_number_from_id(trial_id)

    def begin(self, number: int) -> None:
        """Start a waiting trial."""
        self._trials = None
        self._storage.set_trial_state_values(self._id_of(number), TrialState.RUNNING)

    def close(
        self, number: int, state: TrialState, value: float | None = None, **attributes: Any
    ) -> None:
        """End a trial, with attributes that are written before its state."""
        self._trials = None
        trial_id = self._id_of(number)
        for name, attribute in attributes.items():
            self._storage.set_trial_user_attr(trial_id, name, attribute)
        self._storage.set_trial_state_values(trial_id, state, None if value is None else [value])

    def _id_of(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study, number)


class _FolderLock(JournalFileOpenLock):
    """No lock file, which a kill would leave behind."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class _Unsynced(JournalFileBackend):
    """Appends without a sync, which costs 4 ms for each of some twenty lines of a trial.

    A kill loses nothing that was written; after a power cut the trials' files, which are synced,
    bring the journal up again (``reports/design/long-searches.md``).
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
