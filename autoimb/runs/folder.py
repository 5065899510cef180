"""The RUN folder, which contains everything that a search writes.

::

    RUN/
      run.json            the request, the plan, versions, results: one JSON object, by section
      study.db            the trials, and Optuna's study of them: one SQLite file
      pipeline.autoimb    report.html    leaderboard.csv    oof.parquet
      .lock, .pid         locked while a search writes, and the process of that search
      .cache/             the workers' copy of the table

Files are replaced atomically and ``study.db`` is written in transactions, so a kill leaves no
partial content. Pipeline, trials and ``run.json`` have checksums: reading returns what was written
or raises `RunError`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import msgspec
from filelock import FileLock, Timeout

from autoimb.errors import AutoImbError, RunError
from autoimb.evaluation.outcome import reason_of
from autoimb.files import FULL, sweep_drafts, write_file
from autoimb.runs.store import TrialStore
from autoimb.version import __version__

__all__ = ["RunFolder", "run_text", "understood"]

# Errors of locking on a file system without locks.
NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


class RunFolder:
    """One RUN folder: `open` locks it for a search, `view` reads it.

    As a context manager it is closed at the end, and discarded before after an error of autoimb.

    Attributes
    ----------
    path, cache : Path
    pipeline, report, leaderboard, oof : Path
        Files of the results.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.cache = self.path / ".cache"
        self.pipeline = self.path / "pipeline.autoimb"
        self.report = self.path / "report.html"
        self.leaderboard = self.path / "leaderboard.csv"
        self.oof = self.path / "oof.parquet"
        self._run = self.path / "run.json"
        self._study = self.path / "study.db"
        self._pid = self.path / ".pid"
        self._lock_file = self.path / ".lock"
        self._lock = FileLock(self._lock_file, timeout=0, thread_local=False)
        self._created = self._locked = False

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, fingerprint: str, resume: bool = False
    ) -> RunFolder:
        """Lock a folder for a search, create it if needed, and recover from a killed search.

        Parameters
        ----------
        path : path-like
        fingerprint : str
            Identifies the request and the table; a folder contains one search.
        resume : bool
            Continue the search in the folder, or start it if there is none.

        Returns
        -------
        RunFolder
            Locked until `close` or the end of the process.

        Raises
        ------
        RunError
            If the folder cannot be written, is in use, contains a symbolic link in place of a file
            to be written, or a search that cannot be continued by this one.
        OSError
            If the disk is full.
        """
        folder = cls(path)
        try:
            folder._acquire()
            folder._claim(fingerprint, resume=resume)
            sweep_drafts(folder.path)
            shutil.rmtree(folder.cache, ignore_errors=True)
        except BaseException:
            folder.discard()
            folder.close()
            raise
        return folder

    @classmethod
    def view(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Return a folder for reading, without locking it.

        Raises
        ------
        RunError
            If it contains no search.
        """
        folder = cls(path)
        if not folder._run.is_file():
            raise RunError(f"{folder.path} holds no search: there is no run.json in it.")
        return folder

    @property
    def in_use(self) -> bool:
        """Whether a search has locked the folder; False if the file system has no locks."""
        # A missing lock is not created, and a link is not followed.
        if self._lock_file.is_symlink() or not self._lock_file.exists():
            return False
        try:
            with FileLock(self._lock_file, timeout=0):
                return False
        except Timeout:
            return True
        except (OSError, NotImplementedError):
            # Without locks of the file system (filelock raises either) nothing tells of a search.
            return False

    @cached_property
    def store(self) -> TrialStore:
        """The trials of the search."""
        return TrialStore(self._study, str(self.read_run()["fingerprint"]))

    def close(self) -> None:
        """Remove the workers' copy of the table and unlock the folder."""
        if self._locked:
            shutil.rmtree(self.cache, ignore_errors=True)
            with contextlib.suppress(OSError):
                self._pid.unlink()
            self._lock.release()
            self._locked = False

    def discard(self) -> None:
        """Remove the folder if this search created and locked it and no trial has ended."""
        if self._created and self._locked and not (self._run.exists() and self.store.records()):
            shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.closing(self):
            if kind is not None and issubclass(kind, AutoImbError):
                self.discard()

    def read_run(self) -> dict[str, Any]:
        """Read ``run.json``; return an empty dict if it does not exist.

        Raises
        ------
        RunError
            If its content is not what `update_run` wrote.
        """
        run: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError), understood(self._run, "content"):
            run = msgspec.json.decode(self._run.read_bytes())
            if run.pop("sha256") != _hash_of(run):
                raise RunError(f"{self._run} is damaged: checksum mismatch.")
        return run

    def update_run(self, sections: Mapping[str, Any]) -> None:
        """Replace some sections of ``run.json`` and keep the others."""
        run = self.read_run() | dict(sections)
        write_file(self._run, run_text(run).encode(), make_folders=False)

    def _acquire(self) -> None:
        """Create the folder if needed, and lock it for this process."""
        try:
            with contextlib.suppress(FileExistsError):
                self.path.mkdir(parents=True)
                self._created = True
            for path in (self._study, self.cache, self._run, self._pid, self._lock_file):
                if path.is_symlink():
                    raise RunError(f"{path} is a symbolic link, and a search writes to no link.")
            self._lock_if_possible()
            self._locked = True
            write_file(self._pid, str(os.getpid()).encode())
        except Timeout as error:
            raise RunError(f"{self.path} is in use by {self._holder()}.") from error
        except OSError as error:
            if error.errno in FULL:
                raise
            raise RunError(f"{self.path} can't be written: {error.strerror or error}.") from error

    def _lock_if_possible(self) -> None:
        """Lock the folder; without locks of the file system, users must keep searches apart."""
        try:
            # filelock reports some file systems without locks by this exception.
            with contextlib.suppress(NotImplementedError):
                self._lock.acquire()
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise

    def _holder(self) -> str:
        try:
            return f"process {int(self._pid.read_text())}"
        except (OSError, ValueError):
            return "another process"

    def _claim(self, fingerprint: str, *, resume: bool) -> None:
        """Start a search, or check that the folder contains the same one."""
        run = self.read_run()
        if not run:
            # A folder with run.json must have the trials' file, which is therefore created first.
            TrialStore(self._study, fingerprint).create()
            self.update_run({"fingerprint": fingerprint, "version": __version__})
        elif not resume:
            raise RunError(
                f"{self.path} already holds a search: resume it, or give another folder."
            )
        elif run["version"] != __version__:
            raise RunError(
                f"{self.path} holds a search of autoimb {run['version']}, which {__version__} "
                "can't go on with: resume it with that version, or give another folder."
            )
        elif run["fingerprint"] != fingerprint:
            raise RunError(
                f"{self.path} holds another search: its table, target, metric, folds, options, "
                "costs, limits, test, random_state or planning are not these. Give another folder."
            )


def run_text(sections: Mapping[str, Any]) -> str:
    """Return the text of ``run.json`` with its checksum."""
    # The checksum is that of the values as they will be read, where NaN is null.
    run = msgspec.json.decode(msgspec.json.encode(sections))
    return json.dumps(run | {"sha256": _hash_of(run)}, indent=2) + "\n"


def _hash_of(values: Mapping[str, Any]) -> str:
    """Return a hash of plain values that does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def understood(path: Path, what: str) -> Iterator[None]:
    """Raise a `RunError` for any error that damaged content of a file causes.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        Part of its content.
    """
    try:
        yield
    except (AutoImbError, OSError):
        raise
    except Exception as error:
        # A value of another kind may cause any exception.
        raise RunError(f"{path}: its {what} is damaged ({reason_of(error)}).") from error
