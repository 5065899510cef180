"""The container of a pipeline: a zip of plain values, arrays and the checksums of both.

``manifest.json`` is deflated, the others are stored as they are. What a file says of its sizes is
held against its own size before anything is read, and what JSON and safetensors will make of the
bytes is bounded by counts before they are parsed. Nothing is executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from autoimb.errors import ArtifactError
from autoimb.files import write_file
from autoimb.version import __version__

__all__ = ["FORMAT", "Arrays", "Container", "below", "opened", "packed", "under", "write"]

FORMAT = 1

Arrays = dict[str, NDArray[Any]]

_MEMBERS = _MANIFEST, _WEIGHTS, _SUMS = "manifest.json", "weights.safetensors", "SHA256SUMS"

# what a table of 10,000 columns needs, several times; parsed, no more than some 250 MB
_MOST_BYTES = {_MANIFEST: 16 * 2**20, _WEIGHTS: 2**31, _SUMS: 2**10}
_MOST_VALUES = 1_000_000  # of a manifest: each takes up to some 90 bytes
_MOST_HEADER = 16 * 2**20  # bytes of the list of arrays
_MOST_ARRAYS = 100_000  # each takes about 1 kB beside its numbers

_DEFLATE = 1032  # bytes that one byte can become, at most
_END = b"PK\x05\x06"  # begins the last 22 bytes of a zip without a comment
_END_BYTES, _LARGE_END_BYTES, _LIST_BYTES = 22, 20, 2**10


def under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Give arrays the names that they have in a part of a container."""
    return {f"{prefix}.{name}": values for name, values in arrays.items()}


def below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """Take the arrays of a part of a container, with their names there."""
    start = prefix + "."
    return {name[len(start) :]: own for name, own in arrays.items() if name.startswith(start)}


# --- writing -------------------------------------------------------------------------------------


def write(path: Path, manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a container: whole, or not at all.

    Parameters
    ----------
    path : Path
        An existing file is replaced, missing folders are made.
    manifest : mapping
        Plain values. The bytes of the file depend on them and on the arrays alone.
    arrays : mapping of str to ndarray
        Numbers and booleans.

    Raises
    ------
    ArtifactError
        Where they are more than a container can hold.
    """
    write_file(path, packed(manifest, arrays))


def packed(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return what `write` writes.

    Raises
    ------
    ArtifactError
        As in `write`.
    """
    try:
        text = json.dumps(manifest, ensure_ascii=False, indent=1, default=_plain).encode()
    except UnicodeEncodeError as error:  # half a character
        raise ArtifactError(f"A manifest can't hold all of its values: {error}.") from error
    # safetensors writes memory as it lies: only C order is right
    ordered = {name: np.asarray(values, order="C") for name, values in arrays.items()}
    members = {_MANIFEST: text, _WEIGHTS: safetensors.numpy.save(ordered)}
    for name, content in members.items():
        _bounded(name, content)
    members[_SUMS] = _sums(members)
    return _zipped(members)


def _sums(members: Mapping[str, bytes]) -> bytes:
    """Write checksums as ``sha256sum`` does."""
    lines = (f"{hashlib.sha256(own).hexdigest()}  {name}\n" for name, own in members.items())
    return "".join(lines).encode()


def _zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)  # dated 1980: the same pipeline, the same bytes
            entry.compress_type = zipfile.ZIP_DEFLATED if name == _MANIFEST else zipfile.ZIP_STORED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise ArtifactError(f"A manifest can't hold {value!r}, a {type(value).__name__}.")


# --- reading -------------------------------------------------------------------------------------


class Container:
    """An open container.

    Parameters
    ----------
    archive : ZipFile
        Of few members, whose sizes fit the file.

    Attributes
    ----------
    manifest : dict
        Its plain values; its checksum holds, and its format is the one that is read.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._entries = {entry.filename: entry for entry in archive.infolist()}
        if len(self._entries) != len(archive.infolist()):
            raise ArtifactError("it holds a member twice.")
        content = self._content(_MANIFEST)
        self.manifest: dict[str, Any] = json.loads(content.decode())
        _check_format(self.manifest)
        if set(self._entries) != set(_MEMBERS):
            got = ", ".join(sorted(self._entries))
            raise ArtifactError(f"it must hold {', '.join(_MEMBERS)}; got {got}.")
        lines = self._content(_SUMS).splitlines(keepends=True)
        self._sums = dict(zip((_MANIFEST, _WEIGHTS), lines, strict=True))
        self._proven(_MANIFEST, content)

    def arrays(self) -> Arrays:
        """Read the arrays, whose checksum holds."""
        content = self._content(_WEIGHTS)
        self._proven(_WEIGHTS, content)
        arrays: Arrays = safetensors.numpy.load(content)
        return arrays

    def _content(self, name: str) -> bytes:
        if name not in self._entries:
            raise ArtifactError(f"it must hold one {name}, got 0.")
        entry = self._entries[name]
        if entry.file_size > _MOST_BYTES[name]:
            size = f"{entry.file_size:,} bytes, the limit is {_MOST_BYTES[name]:,}"
            raise ArtifactError(f"its {name} has {size}.")
        content = self._archive.read(entry)
        if len(content) != entry.file_size:
            raise ArtifactError(f"its {name} has not the size that it says.")
        _bounded(name, content)
        return content

    def _proven(self, name: str, content: bytes) -> None:
        if self._sums[name] != _sums({name: content}):
            raise ArtifactError(f"its {name} has another SHA-256 than its {_SUMS} says.")


@contextmanager
def opened(path: str | PathLike[str]) -> Iterator[Container]:
    """Open a container; whatever is wrong with its content leaves as one `ArtifactError`.

    Parameters
    ----------
    path : path-like
        The file.

    Yields
    ------
    Container
    """
    if not Path(path).is_file():
        inside = Path(path) / "pipeline.autoimb"
        hint = f" Did you mean {str(inside)!r}?" if inside.is_file() else ""
        raise ArtifactError(f"There is no pipeline file at {str(path)!r}.{hint}")
    try:
        with Path(path).open("rb") as file:
            _few_members(file)
            with zipfile.ZipFile(file) as archive:
                _whole_members(archive, size=Path(path).stat().st_size)
                yield Container(archive)
    except ArtifactError as error:
        raise ArtifactError(f"{str(path)!r} can't be read: {error}") from error
    # a size or a value of the wrong kind can fail anywhere in zip, JSON and the parts
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise ArtifactError(f"{str(path)!r} is damaged ({reason}).") from error


def _few_members(file: BinaryIO) -> None:
    """Look at the end of a zip before its list is read: short, no comment, below 4 GiB."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(size - _END_BYTES - _LARGE_END_BYTES, 0))
    before, end = (tail := file.read())[:-_END_BYTES], tail[-_END_BYTES:]
    if len(end) < _END_BYTES or not end.startswith(_END) or end[-2:] != b"\0\0":
        raise ArtifactError("it is no whole .autoimb file.")
    count, list_bytes = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if count > len(_MEMBERS) or list_bytes > _LIST_BYTES or before.startswith(b"PK\x06\x07"):
        raise ArtifactError(f"it holds more than {len(_MEMBERS)} members.")


def _whole_members(archive: zipfile.ZipFile, *, size: int) -> None:
    """Hold each member's kind and sizes against the size of the file; nothing is decompressed."""
    for entry in archive.infolist():
        largest = {
            zipfile.ZIP_STORED: entry.compress_size,
            zipfile.ZIP_DEFLATED: entry.compress_size * _DEFLATE,
        }
        name = entry.filename
        if name not in _MOST_BYTES:
            raise ArtifactError(f"it holds a member {name!r}, which no pipeline file has.")
        if entry.flag_bits & 1:
            raise ArtifactError(f"its {name} is encrypted.")
        if entry.compress_type not in largest:
            raise ArtifactError(f"its {name} must be stored or deflated.")
        if name == _WEIGHTS and entry.compress_type != zipfile.ZIP_STORED:
            raise ArtifactError(f"its {name} is compressed; it must be stored as it is.")
        ends = entry.header_offset + entry.compress_size
        if entry.header_offset < 0 or ends > size or entry.file_size > largest[entry.compress_type]:
            raise ArtifactError(f"its {name} can't have {entry.file_size:,} bytes.")


def _bounded(name: str, content: bytes) -> None:
    """Refuse what would take much more memory than it has bytes, or more than any pipeline has."""
    if len(content) > _MOST_BYTES[name]:
        size = f"{len(content):,} bytes, the limit is {_MOST_BYTES[name]:,}"
        raise ArtifactError(f"its {name} has {size}.")
    if name == _MANIFEST:
        _limited("values", sum(map(content.count, (b",", b":", b"[", b"{"))), _MOST_VALUES)
    if name == _WEIGHTS:
        header = int.from_bytes(content[:8], "little")
        _limited("bytes of its list of arrays", header, _MOST_HEADER)
        _limited("arrays", content.count(b'"dtype"', 8, 8 + header), _MOST_ARRAYS)


def _limited(what: str, count: int, most: int) -> None:
    if count > most:
        raise ArtifactError(f"it has {count:,} {what}, the limit is {most:,}.")


def _check_format(manifest: object) -> None:
    number = manifest.get("format") if isinstance(manifest, dict) else None
    if type(number) is not int:
        raise ArtifactError(f"its {_MANIFEST} must say its format, got {number!r}.")
    if number != FORMAT:
        raise ArtifactError(
            f"it has format {number}, and autoimb {__version__} reads format {FORMAT} alone."
        )
