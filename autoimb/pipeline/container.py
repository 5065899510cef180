"""Container of a pipeline: a zip file of a manifest, arrays and the checksums of both.

All members are stored uncompressed, so none is larger in memory than in the file. Values and arrays
are counted before they are parsed, which bounds the memory for them. Nothing is executed.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import msgspec
import numpy as np
import safetensors.numpy
from msgspec import Meta, Struct
from numpy.typing import NDArray

from autoimb.arrays import Arrays
from autoimb.errors import ArtifactError
from autoimb.version import __version__

__all__ = ["Container", "opened", "packed"]

_MEMBERS = _MANIFEST, _WEIGHTS, _SUMS = "manifest.json", "weights.safetensors", "SHA256SUMS"

# Several times the need of a table of 10,000 columns; parsed, they take at most 250 MB.
_MAX_BYTES = {_MANIFEST: 16 * 2**20, _WEIGHTS: 2**31}
_MAX_VALUES = 1_000_000  # of a manifest; each takes up to 90 bytes
_MAX_HEADER = 16 * 2**20  # bytes of the list of arrays
_MAX_ARRAYS = 100_000  # each takes about 1 kB besides its numbers

# Types of arrays by their names in safetensors.
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "U64": "<u8",
    "U8": "<u1",
}

# The last record of a zip file: signature, disks, entries on this disk and in all, bytes and place
# of the directory, bytes of the comment.
_END = struct.Struct("<4s2H2H2IH")
_LOCATOR_BYTES = 20  # of the preceding record, which a zip file of more than 4 GiB has
_MAX_DIRECTORY = 2**10


# --- writing -------------------------------------------------------------------------------------


def packed(manifest: object, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of a container, which depend on its contents alone.

    Parameters
    ----------
    manifest : object
        A value that JSON can hold.
    arrays : mapping of str to ndarray
        Numbers of 16, 32 or 64 bits, and bytes.

    Raises
    ------
    ArtifactError
        If a container can't hold them.
    """
    try:
        text = msgspec.json.encode(manifest, enc_hook=_plain)
    except UnicodeEncodeError as error:  # half a surrogate pair
        raise ArtifactError(f"{_MANIFEST} can't hold all of its values: {error}.") from error
    # safetensors writes the memory unchanged, so the arrays must be in C order.
    ordered = {name: np.asarray(values, order="C") for name, values in arrays.items()}
    members = {_MANIFEST: text, _WEIGHTS: safetensors.numpy.save(ordered)}
    for name, content in members.items():
        _check_limits(name, content)
    members[_SUMS] = b"".join(_sum(name, content) for name, content in members.items())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)  # dated 1980, so that equal pipelines have equal bytes
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise ArtifactError(f"{_MANIFEST} can't hold {value!r}, a {type(value).__name__}.")


# --- reading -------------------------------------------------------------------------------------


class _Entry(Struct, forbid_unknown_fields=True):
    """Entry of the list of arrays in safetensors."""

    dtype: Literal["F64", "F32", "F16", "I64", "I32", "I16", "U64", "U8"]
    shape: tuple[Annotated[int, Meta(ge=0)], ...]
    data_offsets: tuple[int, int]


# A decoder compiles annotations when it is made, so that reading a file compiles nothing.
_ENTRIES = msgspec.json.Decoder(dict[str, _Entry])


class Container:
    """Open container.

    Parameters
    ----------
    archive : ZipFile
        File with the members of a container.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._sums = archive.read(_SUMS).splitlines(keepends=True)

    def manifest(self) -> bytes:
        """Read the JSON."""
        return self._read(_MANIFEST)

    def arrays(self) -> Arrays:
        """Read the arrays, which share the memory of the file's bytes; safetensors copies them."""
        content = self._read(_WEIGHTS)
        start = 8 + int.from_bytes(content[:8], "little")
        entries = _ENTRIES.decode(memoryview(content)[8:start])
        arrays: Arrays = {}
        end = 0
        for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
            dtype, first = np.dtype(_DTYPES[entry.dtype]), end
            end += prod(entry.shape) * dtype.itemsize
            # No gap, no overlap: each byte belongs to one array.
            if entry.data_offsets != (first, end) or start + end > len(content):
                raise ArtifactError(f"the array {name} can't be at {entry.data_offsets}.")
            arrays[name] = np.ndarray(entry.shape, dtype, content, start + first)
        if start + end != len(content):
            raise ArtifactError(f"{_WEIGHTS} has bytes of no array.")
        return arrays

    def _read(self, name: str) -> bytes:
        content = self._archive.read(name)
        _check_limits(name, content)
        if _sum(name, content) not in self._sums:
            raise ArtifactError(f"the SHA-256 of {name} is not the one in {_SUMS}.")
        return content


@contextmanager
def opened(path: str | PathLike[str]) -> Iterator[Container]:
    """Open a container; raise an `ArtifactError` for any error in its content.

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
            _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                _check_members(archive, size=Path(path).stat().st_size)
                yield Container(archive)
    except ArtifactError as error:
        raise ArtifactError(f"{str(path)!r} can't be read: {error}") from error
    # A size or a value of the wrong kind can fail anywhere in zip, JSON and the parts.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise ArtifactError(f"{str(path)!r} is damaged ({reason}).") from error


def _check_directory(file: BinaryIO) -> None:
    """Check the end of a zip file, which must have a short directory and no comment."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(size - _END.size - _LOCATOR_BYTES, 0))
    locator, end = (tail := file.read())[: -_END.size], tail[-_END.size :]
    if len(end) < _END.size or not end.startswith(b"PK\x05\x06") or not end.endswith(b"\0\0"):
        raise ArtifactError("it is no whole .autoimb file.")
    count, directory = _END.unpack(end)[4:6]
    if count > len(_MEMBERS) or directory > _MAX_DIRECTORY or locator.startswith(b"PK\x06\x07"):
        raise ArtifactError(f"it has more than {len(_MEMBERS)} members.")


def _check_members(archive: zipfile.ZipFile, *, size: int) -> None:
    """Check name, kind and claimed size of each member before any is read."""
    names = sorted(archive.namelist())
    if names != sorted(_MEMBERS):
        raise ArtifactError(
            f"autoimb {__version__} reads files with {', '.join(_MEMBERS)}; this one has "
            f"{', '.join(names)}."
        )
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ArtifactError(f"its {entry.filename} is compressed; it must be stored as it is.")
        if entry.file_size != entry.compress_size or entry.file_size > size:
            raise ArtifactError(f"its {entry.filename} can't have {entry.file_size:,} bytes.")


def _check_limits(name: str, content: bytes) -> None:
    """Refuse content that is larger than any pipeline, or takes far more memory than its bytes."""
    _check_limit(f"bytes of {name}", len(content), _MAX_BYTES[name])
    if name == _MANIFEST:
        # In JSON each value but the outermost follows one of these characters, so their number
        # bounds that of the values before anything is parsed.
        _check_limit("values", sum(map(content.count, (b",", b":", b"[", b"{"))), _MAX_VALUES)
    else:
        header = int.from_bytes(content[:8], "little")
        _check_limit("bytes of its list of arrays", header, _MAX_HEADER)
        _check_limit("arrays", content.count(b'"dtype"', 8, 8 + header), _MAX_ARRAYS)


def _check_limit(quantity: str, count: int, limit: int) -> None:
    if count > limit:
        raise ArtifactError(f"it has {count:,} {quantity}, the limit is {limit:,}.")


def _sum(name: str, content: bytes) -> bytes:
    """Return the line of a member in the list of checksums, as ``sha256sum`` writes it."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode()
