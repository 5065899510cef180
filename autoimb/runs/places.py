"""Where the files of trials lie: a folder, or an object store."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from autoimb.budget import FOREVER, Deadline
from autoimb.errors import RunError, StorageLostError
from autoimb.files import FULL, write_file
from autoimb.runs.patience import Patience
from autoimb.runs.seal import reason_of

__all__ = ["FolderPlace", "ObjectPlace", "PatientPlace", "Place", "open_place"]

BROKEN = ".broken"  # the ending of what is set aside
SHARED = "what the study's drivers share"  # in the words of an error


class Place(Protocol):
    """A flat place of files, each whole or not there."""

    def names(self) -> list[str]:
        """Return the names of the files."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it."""
        ...

    def reading(self, name: str) -> AbstractContextManager[Path]:
        """Give a path on this machine where a file can be read while inside.

        Raises
        ------
        FileNotFoundError
            Where there is no such file.
        Exception
            Of any kind, where the place can't be reached.
        """
        ...

    def remove(self, name: str) -> None:
        """Delete a file, where there is one."""
        ...

    def set_aside(self, name: str) -> None:
        """Give a damaged file another ending."""
        ...


class FolderPlace:
    """A folder, which several machines may have mounted.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Return the names of the files."""
        return [path.name for path in self.path.glob("*") if path.is_file()]

    def write(self, name: str, content: bytes) -> None:
        """Write a file: synced, and whole or not at all."""
        write_file(self.path / name, content, make_folders=False)

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """Give the path of a file."""
        path = self.path / name
        if not path.is_file():
            raise FileNotFoundError(path)
        yield path

    def remove(self, name: str) -> None:
        """Delete a file, where there is one."""
        (self.path / name).unlink(missing_ok=True)

    def set_aside(self, name: str) -> None:
        """Give a file another ending; another process may have done so."""
        path = self.path / name
        with contextlib.suppress(FileNotFoundError):
            path.replace(path.with_suffix(BROKEN))


class ObjectPlace:
    """A folder of an object store, as `fsspec` reaches it; what is read is copied here meanwhile.

    Parameters
    ----------
    url : str
        Such as ``s3://bucket/folder``; `fsspec` needs the package of that store.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self._store: Any
        self._store, root = url_to_fs(url)
        self._root = root.rstrip("/")
        self._store.makedirs(self._root, exist_ok=True)

    def names(self) -> list[str]:
        """Return the names of the files, as they are now."""
        self._store.invalidate_cache()
        found = self._store.ls(self._root, detail=True)
        return [one["name"].rpartition("/")[2] for one in found if one["type"] == "file"]

    def write(self, name: str, content: bytes) -> None:
        """Put an object, which a store shows whole or not at all."""
        self._store.pipe_file(f"{self._root}/{name}", content)

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """Copy an object here, and give the path of the copy."""
        with tempfile.TemporaryDirectory(prefix="autoimb-") as folder:
            copy = Path(folder) / name
            copy.write_bytes(self._store.cat_file(f"{self._root}/{name}"))
            yield copy

    def remove(self, name: str) -> None:
        """Delete an object, where there is one."""
        with contextlib.suppress(FileNotFoundError):
            self._store.rm_file(f"{self._root}/{name}")

    def set_aside(self, name: str) -> None:
        """Give an object another ending; another process may have done so."""
        path = f"{self._root}/{name}"
        with contextlib.suppress(FileNotFoundError):
            self._store.mv(path, f"{path.rpartition('.')[0]}{BROKEN}")


class PatientPlace:
    """A place that is waited for where it can't be reached.

    Parameters
    ----------
    place : Place
    patience : float
        Seconds that it may be away; then each method raises `StorageLostError`.
    deadline : Deadline, optional
        After which it is not waited for.
    """

    def __init__(self, place: Place, *, patience: float, deadline: Deadline = FOREVER) -> None:
        self._place = place
        self._patience = Patience(SHARED, patience, is_away=_is_away, deadline=deadline)

    def names(self) -> list[str]:
        """Return the names of the files."""
        return self._patience.wait(self._place.names)

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it."""
        self._patience.wait(lambda: self._place.write(name, content))

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """Give a path where a file can be read; where reading fails inside, the place is lost."""
        with contextlib.ExitStack() as stack:
            path = self._patience.wait(lambda: stack.enter_context(self._place.reading(name)))
            try:
                yield path
            except OSError as error:
                if not _is_away(error):
                    raise
                raise StorageLostError(f"the loss of {SHARED}, which can't be read") from error

    def remove(self, name: str) -> None:
        """Delete a file, where there is one."""
        self._patience.wait(lambda: self._place.remove(name))

    def set_aside(self, name: str) -> None:
        """Give a damaged file another ending."""
        self._patience.wait(lambda: self._place.set_aside(name))


def _is_away(error: Exception) -> bool:
    """Say whether an error of a place is none of a file that is not there, or of a full disk."""
    missing = isinstance(error, FileNotFoundError)
    return not (missing or (isinstance(error, OSError) and error.errno in FULL))


def open_place(where: str, study: str) -> Place:
    """Open what the drivers of a study share, and make it if need be.

    Parameters
    ----------
    where : str
        A folder, or a URL that `fsspec` knows; each study has a folder of its name in it.
    study : str

    Raises
    ------
    RunError
        Where it can't be reached. A URL may hold a password, so the error does not repeat it.
    """
    kind = where.partition("://")[0] if "://" in where else "folder"
    try:
        if kind not in ("folder", "file"):
            return ObjectPlace(f"{where.rstrip('/')}/{study}")
        path = Path(where.removeprefix("file://")) / study
        path.mkdir(parents=True, exist_ok=True)
        return FolderPlace(path)
    except Exception as error:  # of whatever package reaches the store
        words = reason_of(error).replace(where, f"{kind}:...")
        raise RunError(f"What drivers share can't be reached ({kind}): {words}") from error
