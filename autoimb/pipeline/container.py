"""The container of a pipeline: a zip of ``manifest.json`` and ``weights.safetensors``.

The manifest holds plain values, compressed; the weights hold arrays, stored as they are. Reading
checks sizes in the archive's list before it reads, so a small file can't grow large in memory, and
executes nothing.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from autoimb.errors import ArtifactError
from autoimb.files import write_file

__all__ = ["FORMAT", "Arrays", "opened", "read_arrays", "read_manifest", "write"]

FORMAT = 4

Arrays = dict[str, NDArray[Any]]

_MANIFEST, _WEIGHTS = "manifest.json", "weights.safetensors"
_MANIFEST_LIMIT = 64 * 2**20  # bytes: vocabularies of millions of levels fit


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
    """
    write_file(path, _zipped(manifest, arrays))


def _zipped(manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    text = json.dumps(manifest, ensure_ascii=False, indent=1, default=_plain)
    # safetensors writes memory as it lies: only C order is right
    ordered = {name: np.asarray(values, order="C") for name, values in arrays.items()}
    parts = (
        (_MANIFEST, text.encode(), zipfile.ZIP_DEFLATED),
        (_WEIGHTS, safetensors.numpy.save(ordered), zipfile.ZIP_STORED),
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content, compression in parts:
            entry = zipfile.ZipInfo(name)  # dated 1980: the same pipeline, the same bytes
            entry.compress_type = compression
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise ArtifactError(f"A manifest can't hold {value!r}, a {type(value).__name__}.")


@contextmanager
def opened(path: str | PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """Open a container; whatever is wrong with its content leaves as one `ArtifactError`.

    Parameters
    ----------
    path : path-like
        The file.

    Yields
    ------
    ZipFile
        For `read_manifest` and `read_arrays`.
    """
    if not Path(path).is_file():
        inside = Path(path) / "pipeline.autoimb"
        hint = f" Did you mean {str(inside)!r}?" if inside.is_file() else ""
        raise ArtifactError(f"There is no pipeline file at {str(path)!r}.{hint}")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ArtifactError(f"{str(path)!r} is no whole .autoimb file: {error}.") from error
    except ArtifactError as error:
        raise ArtifactError(f"{str(path)!r} can't be read: {error}") from error
    except OSError:
        raise
    except Exception as error:  # a value of the wrong type or size can fail anywhere in the parts
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise ArtifactError(f"{str(path)!r} holds damaged values ({reason}).") from error


def _entry(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """Find a part, by the archive's list alone: nothing is decompressed."""
    found = [entry for entry in archive.infolist() if entry.filename == name]
    if len(found) != 1:
        raise ArtifactError(f"it must hold one {name}, got {len(found)}.")
    if found[0].flag_bits & 1:
        raise ArtifactError(f"its {name} is encrypted.")
    return found[0]


def read_manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    """Read the plain values of a container of a known format."""
    entry = _entry(archive, _MANIFEST)
    if entry.file_size > _MANIFEST_LIMIT:
        size = f"{entry.file_size:,} bytes, the limit is {_MANIFEST_LIMIT:,}"
        raise ArtifactError(f"its {_MANIFEST} has {size}.")
    manifest = json.loads(archive.read(entry))
    number = manifest.get("format") if isinstance(manifest, dict) else None
    if type(number) is not int or number < 1:
        raise ArtifactError(f"its {_MANIFEST} must say its format, got {number!r}.")
    if number > FORMAT:
        raise ArtifactError(
            f"it has format {number}, this autoimb reads up to {FORMAT}: install a newer autoimb."
        )
    assert isinstance(manifest, dict)
    return manifest


def read_arrays(archive: zipfile.ZipFile) -> Arrays:
    """Read the arrays of a container."""
    entry = _entry(archive, _WEIGHTS)
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise ArtifactError(f"its {_WEIGHTS} is compressed; format {FORMAT} stores it as it is.")
    arrays: Arrays = safetensors.numpy.load(archive.read(entry))
    return arrays
