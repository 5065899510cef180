"""The RUN folder: all that a search leaves behind, written so that no kill can tear it.

::

    RUN/
      run.json            the request, the plan, versions, results: one JSON object, by section
      study.db            the trials, and Optuna's study of them: one SQLite file
      pipeline.autoimb    report.html    leaderboard.csv    oof.parquet
      .lock, .pid         held while a search writes, and by which process
      .cache/             the workers' copy of the table

Every file appears whole or not at all, and what is written to ``study.db`` is there whole or not at
all. Pipeline, trials and ``run.json`` have checksums. Reading gives what was written or a
`RunError`.
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
from typing import Annotated, Any, Required, Self, TypedDict

import msgspec
from filelock import FileLock, Timeout
from msgspec import Meta

from autoimb.errors import AutoImbError, RunError
from autoimb.evaluation.outcome import reason_of
from autoimb.files import FULL, sweep_drafts, write_file
from autoimb.runs.store import TrialStore
from autoimb.version import __version__

__all__ = ["RunFolder", "run_text", "understood"]

# what locking says where the file system has no locks
NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}

_Seconds = Annotated[float, Meta(ge=0)]


class _Session(TypedDict):
    """When the last session of a search began, in seconds since 1970."""

    started: _Seconds


class _PlanSection(TypedDict):
    """What a search was planned with."""

    time_budget: _Seconds | None


class _Sections(TypedDict, total=False):
    """The sections of ``run.json`` that are read by key; the others are plain values."""

    fingerprint: Required[str]
    version: Required[str]
    sha256: Required[str]
    session: _Session
    plan: _PlanSection


class RunFolder:
    """One RUN folder; `open` to search, `view` to look.

    Attributes
    ----------
    path, cache : Path
    pipeline, report, leaderboard, oof : Path
        Where the results go.
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
        self._lock = FileLock(self.path / ".lock", timeout=0, thread_local=False)
        self._held = self._made = False

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        fingerprint: str,
        resume: bool = False,
    ) -> RunFolder:
        """Lock a folder for a search, create it if needed, and remove what a kill left.

        Parameters
        ----------
        path : path-like
        fingerprint : str
            Of the request and the table; a folder holds one search.
        resume : bool
            Continue the search in the folder; where there is none yet, start it.

        Returns
        -------
        RunFolder
            Locked until `close`, or until the process ends, however it ends.

        Raises
        ------
        RunError
            Where the folder can't be written, is in use, holds a link where something is to be
            written, or a search that this is not meant to go on with.
        OSError
            Where the disk has no room.
        """
        folder = cls(path)
        try:
            folder._take()
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
        lock = Path(self._lock.lock_file)
        if lock.is_symlink() or not lock.exists():
            return False  # none is made by looking, and no other file is touched
        try:
            with FileLock(self._lock.lock_file, timeout=0):
                return False
        except Timeout:
            return True
        except (OSError, NotImplementedError):  # a file system without locks can't say
            return False

    @cached_property
    def store(self) -> TrialStore:
        """The trials of its search."""
        return TrialStore(self._study, str(self.read_run()["fingerprint"]))

    def close(self) -> None:
        """Sweep the workers' copy of the table away and give the folder back."""
        if self._held:
            shutil.rmtree(self.cache, ignore_errors=True)
            with contextlib.suppress(OSError):
                self._pid.unlink()
            self._lock.release()
            self._held = False

    def discard(self) -> None:
        """Remove the folder, where this search made it and holds it, and no trial has ended."""
        if not (self._made and self._held) or (self._run.exists() and self.store.records()):
            return
        lock = Path(self._lock.lock_file)
        with contextlib.suppress(OSError):
            for path in self.path.iterdir():  # the lock last: whoever comes before is refused
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path != lock:
                    path.unlink()
            lock.unlink(missing_ok=True)
            self.path.rmdir()  # unless a search has begun here since

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_run(self) -> dict[str, Any]:
        """Read ``run.json``; empty where there is none.

        Raises
        ------
        RunError
            Where it is not what `update_run` wrote.
        """
        try:
            run: dict[str, Any] = msgspec.json.decode(self._run.read_bytes())
            msgspec.convert(run, _Sections)
            is_intact = run.pop("sha256") == _hash_of(run)
        except FileNotFoundError:
            return {}
        except OSError:
            raise
        except Exception as error:  # no text, no JSON, or other values
            raise RunError(f"{self._run} is damaged: {reason_of(error)}.") from error
        if not is_intact:
            raise RunError(f"{self._run} is damaged: checksum mismatch.")
        return run

    def update_run(self, sections: Mapping[str, Any]) -> None:
        """Replace these sections of ``run.json`` and keep the others."""
        run = self.read_run() | dict(sections)
        write_file(self._run, run_text(run).encode(), make_folders=False)

    def _take(self) -> None:
        """Make the folder if need be and lock it for this process, or say who holds it."""
        try:
            self._make()
            self._lock_it()
            self._held = True
            write_file(self._pid, str(os.getpid()).encode())
        except Timeout as error:
            raise RunError(f"{self.path} is in use by {self._holder()}.") from error
        except OSError as error:
            if error.errno in FULL:
                raise
            raise RunError(f"{self.path} can't be written: {error.strerror or error}.") from error

    def _make(self) -> None:
        """Make the folder; what is written to must be no link out of it."""
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(parents=True)
            self._made = True
        lock = Path(self._lock.lock_file)
        for path in (self._study, self.cache, self._run, self._pid, lock):
            if path.is_symlink():
                raise RunError(f"{path} is a symbolic link, and a search writes to no link.")

    def _lock_it(self) -> None:
        """Lock; where the file system has no locks, the user has to keep two searches apart."""
        try:
            self._lock.acquire()
        except NotImplementedError:  # how filelock says that there are no locks here
            pass
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise

    def _holder(self) -> str:
        try:
            return f"process {int(self._pid.read_text())}"
        except (OSError, ValueError):
            return "another process"

    def _claim(self, fingerprint: str, *, resume: bool) -> None:
        """Start a search, or check that the one in the folder is this one."""
        run = self.read_run()
        if not run:
            # the trials' file first: where run.json is, it must be as well
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
    """Write ``run.json`` with its checksum."""
    # the values as they are read again, NaN as null: both have one checksum
    run = msgspec.json.decode(msgspec.json.encode(sections))
    return json.dumps(run | {"sha256": _hash_of(run)}, indent=2) + "\n"


def _hash_of(values: Mapping[str, Any]) -> str:
    """Hash plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def understood(path: Path, what: str) -> Iterator[None]:
    """Turn what damage leads to into a `RunError`.

    Parameters
    ----------
    path : Path
        What is damaged.
    what : str
        Which part of it.
    """
    try:
        yield
    except (AutoImbError, OSError):
        raise
    except Exception as error:  # a value of another kind can fail in any way
        raise RunError(f"{path}: its {what} is damaged ({reason_of(error)}).") from error
