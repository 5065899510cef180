"""The RUN folder: all that a search leaves behind, written so that no kill can tear it.

::

    RUN/
      run.json            the request, the plan, versions, results: one JSON object, by section
      journal.log         the Optuna study
      trials/             NNNN.safetensors (record, out-of-fold predictions) of each finished trial,
                          NNNN.weights.safetensors (fitted networks) of the best ones
      pipeline.autoimb    report.html    leaderboard.csv
      .lock               held while a search writes
      .cache/             the workers' copy of the table

Every file appears whole or not at all: it is written beside its place, synced and renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from safetensors import SafetensorError

from autoimb.errors import RunError
from autoimb.search.record import (
    StoredTrial,
    TrialRecord,
    read_header,
    read_trial,
    read_weights,
    trial_bytes,
    weights_bytes,
)

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from autoimb.search.evaluate import Outcome

__all__ = ["RunFolder", "write_atomically"]

UNREADABLE = (SafetensorError, KeyError, ValueError, TypeError, OSError)


class RunFolder:
    """One RUN folder; `open` to search, `view` to look.

    Attributes
    ----------
    path, journal, trials, cache : Path
    pipeline, report, leaderboard : Path
        Where the results go.
    """

    def __init__(self, path: str | os.PathLike[str], *, lock: int | None = None) -> None:
        self.path = Path(path)
        self.journal = self.path / "journal.log"
        self.trials = self.path / "trials"
        self.cache = self.path / ".cache"
        self.pipeline = self.path / "pipeline.autoimb"
        self.report = self.path / "report.html"
        self.leaderboard = self.path / "leaderboard.csv"
        self._run = self.path / "run.json"
        self._lock_file = self.path / ".lock"
        self._lock = lock

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, fingerprint: str, resume: bool = False
    ) -> RunFolder:
        """Take a folder for a search, make it if need be, and mend what a kill left half done.

        Parameters
        ----------
        path : path-like
        fingerprint : str
            Of the request and the table; a folder holds one search.
        resume : bool
            Go on with the search in the folder; where there is none yet, start it.

        Returns
        -------
        RunFolder
            Locked until `close`, or until the process ends, however it ends.

        Raises
        ------
        RunError
            Where the folder can't be written, is in use, or holds a search that this is not
            meant to go on with.
        """
        target = Path(path)
        try:
            (target / "trials").mkdir(parents=True, exist_ok=True)
            lock = os.open(target / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(f"{target} can't be written: {error.strerror or error}.") from error
        folder = cls(target, lock=lock)
        try:
            _take(lock, target)
            folder._claim(fingerprint, resume=resume)
            folder._mend()
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def view(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Look at a folder without taking it; a search may be writing to it.

        Raises
        ------
        RunError
            Where it holds no search.
        """
        folder = cls(path)
        if not folder._run.is_file():
            raise RunError(f"{folder.path} holds no search: there is no run.json in it.")
        return folder

    @property
    def in_use(self) -> bool:
        """Whether a search holds it; False where the system can't say."""
        try:
            lock = os.open(self._lock_file, os.O_RDWR)
        except OSError:
            return False
        try:
            _lock(lock)
        except (BlockingIOError, PermissionError):
            return True
        except OSError:
            return False
        finally:
            os.close(lock)
        return False

    def close(self) -> None:
        """Sweep the workers' copy of the table away and give the folder back."""
        if self._lock is not None:
            shutil.rmtree(self.cache, ignore_errors=True)
            os.close(self._lock)  # the lock goes with it
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_run(self) -> dict[str, Any]:
        """Read ``run.json``; empty where there is none."""
        try:
            run: dict[str, Any] = json.loads(self._run.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise RunError(f"{self._run} is not JSON: {error}.") from error
        return run

    def update_run(self, sections: Mapping[str, Any]) -> None:
        """Replace these sections of ``run.json`` and keep the others."""
        text = json.dumps(self.read_run() | dict(sections), indent=2) + "\n"
        write_atomically(self._run, text.encode())

    @property
    def study_name(self) -> str:
        """The name of its study in an Optuna storage: no two folders share one."""
        return str(self.read_run()["study"])

    def storage(self) -> BaseStorage:
        """Return the Optuna storage that lives in the folder."""
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        journal = self.journal

        class Backend(JournalFileBackend):
            """Appends without a lock file, which a kill would leave behind, and without a sync.

            The folder's own lock is held. A kill loses nothing that was written; after a power
            cut the trials' files, which are synced, bring the journal up again.
            """

            def append_logs(self, logs: list[dict[str, Any]]) -> None:
                lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
                with journal.open("ab") as file:
                    file.write("".join(lines).encode())

        return JournalStorage(Backend(str(journal)))

    def save_trial(self, record: TrialRecord, outcome: Outcome, params: Mapping[str, Any]) -> None:
        """Write a finished trial; its networks first, so that no trial lacks what it should have.

        Parameters
        ----------
        record : TrialRecord
        outcome : Outcome
            Its networks are written where it has them.
        params : mapping of str to value
            What the study drew, by Optuna's names.
        """
        if outcome.fitted is not None:
            write_atomically(self._weights(record.number), weights_bytes(outcome.fitted))
        write_atomically(self._trial(record.number), trial_bytes(record, outcome, params))

    def drop_weights(self, number: int) -> None:
        """Delete the networks of a trial that is no longer among the best."""
        self._weights(number).unlink(missing_ok=True)

    def records(self) -> tuple[TrialRecord, ...]:
        """Read the records of all finished trials, by number; no predictions, no networks."""
        found = []
        for path in self._trial_files():
            with contextlib.suppress(*UNREADABLE):
                found.append(read_header(path))
        return tuple(found)

    def load_trials(self) -> dict[int, StoredTrial]:
        """Read all finished trials by number; a file that can't be read is put aside.

        Returns
        -------
        dict of int to StoredTrial
            In the order of the numbers.
        """
        found: dict[int, StoredTrial] = {}
        for path in self._trial_files():
            number = int(path.stem)
            try:
                stored = read_trial(path)
            except UNREADABLE:
                path.replace(path.with_suffix(".broken"))
                continue
            with contextlib.suppress(*UNREADABLE):
                fitted = read_weights(self._weights(number))
                stored = replace(stored, outcome=replace(stored.outcome, fitted=fitted))
            found[number] = stored
        return found

    def _trial(self, number: int) -> Path:
        return self.trials / f"{number:04d}.safetensors"

    def _weights(self, number: int) -> Path:
        return self.trials / f"{number:04d}.weights.safetensors"

    def _trial_files(self) -> list[Path]:
        """Return the files of trials, by number; those of networks have one more dot."""
        own = [path for path in self.trials.glob("*.safetensors") if path.stem.isdigit()]
        return sorted(own, key=lambda path: int(path.stem))

    def _claim(self, fingerprint: str, *, resume: bool) -> None:
        run = self.read_run()
        held = run.get("fingerprint")
        if held is None:
            study = f"autoimb-{uuid.uuid4().hex[:12]}"
            self.update_run({"fingerprint": fingerprint, "study": study})
        elif not resume:
            raise RunError(
                f"{self.path} already holds a search: resume it, or give another folder."
            )
        elif held != fingerprint:
            raise RunError(
                f"{self.path} holds another search: its table, target, metric, folds, options, "
                "costs or random_state are not the ones given. Give another folder."
            )

    def _mend(self) -> None:
        """Cut the torn end off the journal and sweep away drafts, stale locks and caches."""
        if self.journal.is_file():
            _cut_torn_end(self.journal)
        stale = [*self.path.glob(".*.tmp"), *self.trials.glob(".*.tmp")]
        for path in [*stale, *self.path.glob("journal.log.lock*")]:
            path.unlink(missing_ok=True)
        shutil.rmtree(self.cache, ignore_errors=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, also where the machine loses power."""
    draft = path.with_name(f".{path.name}.tmp")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _cut_torn_end(journal: Path) -> None:
    """Drop the last lines of a journal until one is whole: an entry and a newline."""
    content = journal.read_bytes()
    kept = content[: content.rfind(b"\n") + 1]
    while kept and not _is_entry(kept[kept.rfind(b"\n", 0, -1) + 1 :]):
        kept = kept[: kept.rfind(b"\n", 0, -1) + 1]
    if len(kept) < len(content):
        with journal.open("r+b") as file:
            file.truncate(len(kept))
            os.fsync(file.fileno())


def _is_entry(line: bytes) -> bool:
    try:
        return "op_code" in dict(json.loads(line))
    except (ValueError, TypeError):
        return False


def _take(lock: int, path: Path) -> None:
    """Lock the folder for this process, or say who holds it."""
    try:
        _lock(lock)
    except (BlockingIOError, PermissionError) as error:
        raise RunError(f"{path} is in use by {_holder(lock)}.") from error
    except OSError:
        return  # a file system without locks: the user has to keep two searches apart
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())


def _holder(lock: int) -> str:
    try:
        os.lseek(lock, 0, os.SEEK_SET)
        return f"process {int(os.read(lock, 32))}"
    except (OSError, ValueError):
        return "another process"


if sys.platform == "win32":
    import msvcrt

    def _lock(lock: int) -> None:
        msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(lock: int) -> None:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
