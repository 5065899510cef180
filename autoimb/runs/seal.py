"""Seals: checksums that bind what lies in a RUN to its run and its trial.

They show damage, and a file that lies in another's place; they are no proof against who writes a
new one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from autoimb.errors import AutoImbError, RunError

__all__ = [
    "hash_of",
    "read_sealed",
    "reason_of",
    "run_text",
    "sealed",
    "sealed_header",
    "understood",
]

Arrays = dict[str, NDArray[Any]]

FORMAT = "1"  # of trials

# --- trials --------------------------------------------------------------------------------------


def sealed(arrays: Arrays, header: dict[str, str], *, run: str, number: int) -> bytes:
    """Return the content of a sealed file of arrays.

    Parameters
    ----------
    arrays : dict of str to ndarray
    header : dict of str to str
        What the file says beside its arrays.
    run : str
        The name of the study that it belongs to.
    number : int
        The trial that it belongs to.
    """
    bound = {"format": FORMAT, "run": run, "number": str(number), "arrays": _digest(arrays)}
    header = header | bound
    return bytes(save(arrays, metadata=header | {"sha256": hash_of(header)}))


def _digest(arrays: Arrays) -> str:
    """Hash arrays with their names, kinds and shapes."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        own = arrays[name]
        found.update(f"{name} {own.dtype.str} {own.shape}\n".encode())
        found.update(own.data if own.size else b"")
    return found.hexdigest()


def sealed_header(file: Any, *, run: str, number: int) -> dict[str, str]:
    """Read the header of an open file, whose seal must be whole.

    Raises
    ------
    RunError
        Where the header is damaged, or of another trial; else any error that damage leads to.
    """
    header: dict[str, str] = file.metadata() or {}
    if header.get("format") != FORMAT or header.pop("sha256", None) != hash_of(header):
        raise RunError("it has not the checksum that it says")
    if (header["run"], header["number"]) != (run, str(number)):
        raise RunError(f"it is of trial {header['number']} of {header['run']}")
    return header


def read_sealed(path: Path, *, run: str, number: int) -> tuple[dict[str, str], Arrays]:
    """Read the header and the arrays of a file; it raises as `sealed_header` does."""
    with safe_open(path, framework="numpy") as file:
        header = sealed_header(file, run=run, number=number)
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    if header["arrays"] != _digest(arrays):
        raise RunError("its arrays have not the checksum that it says")
    return header, arrays


# --- run.json ------------------------------------------------------------------------------------


def run_text(sections: Mapping[str, Any]) -> str:
    """Write ``run.json`` with its checksum."""
    # the values as they are read again, NaN as null: both have one checksum
    run = msgspec.json.decode(msgspec.json.encode(sections))
    return json.dumps(run | {"sha256": hash_of(run)}, indent=2) + "\n"


def hash_of(values: Mapping[str, Any]) -> str:
    """Hash plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


# --- damage --------------------------------------------------------------------------------------


@contextmanager
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


def reason_of(error: Exception) -> str:
    """Say in a line what went wrong."""
    kind = "" if isinstance(error, AutoImbError) else f"{type(error).__name__}: "
    return f"{kind}{error}".strip().splitlines()[0][:200]
