"""The trials of a search in the SQLite file ``study.db``, which also contains Optuna's tables.

Each trial is one row of our table: its record as JSON, and its out-of-fold predictions and fitted
networks as bytes, each with a SHA-256 that binds it to its search, its trial and its column. A row
is written when the trial starts and replaced when it ends. Optuna's study, for ``optuna-dashboard``
alone, follows the table: a trial that it lacks is added the next time.

SQLite syncs every transaction, so neither a kill nor a power cut loses a row. The default rollback
journal is used, as a write-ahead log can neither be read from another host nor on a read-only disk.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autoimb.errors import RunError
from autoimb.evaluation.outcome import Scored, reason_of
from autoimb.runs.record import TrialRecord, pack_trial, unpack_record, unpack_trial

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

__all__ = ["TrialStore"]

_T = TypeVar("_T")

_STUDY = "autoimb"  # the name of Optuna's study
_TABLE = """CREATE TABLE autoimb_trials (
    number INTEGER PRIMARY KEY,
    ended REAL UNIQUE,
    record TEXT NOT NULL,
    record_sha256 TEXT NOT NULL,
    predictions BLOB,
    predictions_sha256 TEXT,
    networks BLOB,
    networks_sha256 TEXT
)"""
_COLUMNS = ("record", "predictions", "networks")
_TICK = 1e-6  # seconds, so that no two trials end at once, also when the clock is set back
_PATIENCE = 60.0  # seconds that a lock of another program may last
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")  # ends a journal that names another file


class TrialStore:
    """The file of the trials of one search.

    Every method opens the file for one transaction and closes it, so a store holds no lock and
    needs no end.

    Parameters
    ----------
    path : Path
    search : str
        The fingerprint of the search that the trials belong to.
    """

    def __init__(self, path: Path, search: str) -> None:
        self.path, self._search = path, search

    # --- our table ----------------------------------------------------------------------------

    def create(self) -> None:
        """Create the file, or take over an empty one that a killed search left.

        Raises
        ------
        RunError
            If the file belongs to another program or contains trials.
        """
        with self._open(mode="rwc") as db:
            if not db.execute("SELECT * FROM sqlite_master").fetchall():
                db.execute(_TABLE)
            self._check_table(db)
            if db.execute("SELECT * FROM autoimb_trials").fetchone() is not None:
                raise RunError(
                    f"{self.path} holds trials, but the run.json of their search is missing; "
                    "use another folder."
                )

    def save(self, record: TrialRecord, result: Scored | None = None) -> None:
        """Insert a trial with its result, or replace its row."""
        number = record.number
        values: list[Any] = []
        for name, content in zip(_COLUMNS, pack_trial(record, result)):
            values += [content, self._digest(number, name, content)]
        with self._open() as db:
            last = db.execute("SELECT IFNULL(MAX(ended), 0) FROM autoimb_trials").fetchone()[0]
            running = record.status == "running"
            ended = None if running else max(time.time(), last + _TICK)
            row = [number, ended, *values]
            db.execute("INSERT OR REPLACE INTO autoimb_trials VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def drop_networks(self, numbers: Iterable[int]) -> None:
        """Delete the networks of trials that are no longer among the best."""
        with self._open() as db:
            db.executemany(
                "UPDATE autoimb_trials SET networks = NULL, networks_sha256 = NULL "
                "WHERE number = ?",
                [(number,) for number in numbers],
            )

    def records(self) -> tuple[TrialRecord, ...]:
        """Read the records of the trials that have ended, by number; check the whole file first.

        Raises
        ------
        RunError
            If anything is damaged.
        """
        columns = "number, record, record_sha256"
        return tuple(self._read(columns, unpack_record, condition="ended IS NOT NULL"))

    def end_times(self) -> dict[int, float]:
        """Read when each trial ended, in seconds since the epoch, by number."""
        with self._open() as db:
            return dict(
                db.execute("SELECT number, ended FROM autoimb_trials WHERE ended IS NOT NULL")
            )

    def load(self) -> list[tuple[TrialRecord, Scored | None]]:
        """Read all trials, also running ones, by number; check the whole file first.

        Raises
        ------
        RunError
            If anything is damaged.
        """
        columns = (f"{name}, {name}_sha256" for name in _COLUMNS)
        return self._read(f"number, {', '.join(columns)}", unpack_trial)

    def _read(
        self, columns: str, unpack: Callable[..., _T], *, condition: str = "TRUE"
    ) -> list[_T]:
        """Read the trials that satisfy a condition, after checking the file and their digests."""
        with self._open() as db:
            problem = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(problem)
            self._check_table(db)
            rows = db.execute(
                f"SELECT {columns} FROM autoimb_trials WHERE {condition} ORDER BY number"  # noqa: S608  constants of this module
            )
            return [unpack(*self._checked(*row)) for row in rows]

    def _check_table(self, db: sqlite3.Connection) -> None:
        """Refuse a table of another format, or one with triggers."""
        definitions = db.execute(
            "SELECT sql FROM sqlite_master WHERE tbl_name = 'autoimb_trials' AND sql IS NOT NULL"
        ).fetchall()
        if definitions != [(_TABLE,)]:
            raise RunError(f"{self.path} does not hold the trials of an autoimb search.")

    def _checked(self, number: int, *pairs: Any) -> tuple[Any, ...]:
        """Return the contents of a row without their digests, which must be right."""
        for name, content, digest in zip(_COLUMNS, pairs[::2], pairs[1::2]):
            if digest != self._digest(number, name, content):
                raise sqlite3.DatabaseError(f"checksum mismatch in {name} of trial {number}")
        return pairs[::2]

    def _digest(self, number: int, name: str, content: str | bytes | None) -> str | None:
        if content is None:
            return None
        content = content.encode() if isinstance(content, str) else content
        label = f"{self._search} {number} {name}\n".encode()
        return hashlib.sha256(label + content).hexdigest()

    # --- Optuna's tables ----------------------------------------------------------------------

    def publish(self, trials: Mapping[int, FrozenTrial]) -> None:
        """Add the trials that have ended and that Optuna's study lacks, in the order of their ends.

        Parameters
        ----------
        trials : mapping of int to FrozenTrial
            All trials, by number.
        """
        with self._errors():
            storage, study = self._optuna
            with self._open() as db:
                rows = db.execute(
                    "SELECT number FROM autoimb_trials WHERE ended IS NOT NULL "
                    "ORDER BY ended LIMIT -1 OFFSET ?",
                    [storage.get_n_trials(study)],
                )
                missing = [number for (number,) in rows]
            for number in missing:
                storage.create_new_trial(study, template_trial=trials[number])

    @cached_property
    def _optuna(self) -> tuple[RDBStorage, int]:
        """Optuna's storage in the same file, and the identifier of its study there."""
        import optuna
        from sqlalchemy.pool import NullPool

        # a URL would not allow every path
        how = {"creator": self._connect, "poolclass": NullPool}
        storage = optuna.storages.RDBStorage("sqlite://", engine_kwargs=how)
        optuna.create_study(
            storage=storage,
            study_name=_STUDY,
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),  # draws nothing
        )
        return storage, storage.get_study_id_from_name(_STUDY)

    # --- the file -----------------------------------------------------------------------------

    def _connect(self, mode: str = "rw") -> sqlite3.Connection:
        """Connect without following links and without trusting the schema of the file."""
        for suffix in ("", "-journal", "-wal", "-shm"):
            path = Path(f"{self.path}{suffix}")
            if path.is_symlink():
                raise RunError(f"{path} is a symbolic link, which is not followed.")
        journal = Path(f"{self.path}-journal")
        with suppress(FileNotFoundError):
            if journal.read_bytes().endswith(_SUPER_JOURNAL):
                raise RunError(f"{journal} names another file, as no journal of a search does.")
        uri = f"{self.path.absolute().as_uri()}?mode={mode}"
        db = sqlite3.connect(uri, uri=True, timeout=_PATIENCE)
        db.execute("PRAGMA trusted_schema = OFF")
        return db

    @contextmanager
    def _open(self, mode: str = "rw") -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction."""
        with self._errors(), closing(self._connect(mode)) as db, db:
            yield db

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise an error that names the file for any failure."""
        try:
            yield
        except (RunError, OSError, MemoryError):
            raise
        except Exception as error:
            # Damaged content may cause any exception; Optuna's and SQLAlchemy's errors have the one
            # of SQLite as their cause.
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, sqlite3.Error):
                cause = cause.__cause__
            name = getattr(cause, "sqlite_errorname", "")
            if name == "SQLITE_FULL":
                full = errno.ENOSPC
                raise OSError(full, os.strerror(full), str(self.path)) from error
            reason = reason_of(error) if cause is None else str(cause)
            if isinstance(cause, sqlite3.OperationalError):
                raise RunError(f"{self.path} can't be read or written: {reason}.") from error
            raise RunError(f"{self.path} is damaged: {reason}.") from error
