"""Read one table file."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from autoimb.errors import TableError

__all__ = ["check_names", "read_file"]

Opener = Callable[[Path], Any]


def _open_zip(path: Path) -> Any:
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    if len(names) != 1:
        raise TableError(f"must hold one table, holds {len(names)} files")
    return archive.open(names[0])


OPENERS: dict[str, Opener] = {
    "": lambda path: path.open("rb"),
    ".bz2": bz2.open,
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".zip": _open_zip,
    ".zst": lambda path: pa.input_stream(str(path), compression="zstd"),
}


def _read_text(path: Path, opener: Opener) -> pd.DataFrame:
    """Read delimited text; the header's most frequent of ``, ; tab |`` separates."""
    with opener(path) as binary:
        lines = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
        header = next((line for line in lines if line.strip()), "")
    separator = max(",;\t|", key=header.count)
    # pandas would rename a repeated column to "name.1" without a word
    names = next(csv.reader([header], delimiter=separator), [])
    check_names(name for name in names if name)
    with opener(path) as binary:
        frame = pd.read_csv(binary, sep=separator, low_memory=False)
    return frame.reset_index(drop=True)


def _read_parquet(path: Path, opener: Opener) -> pd.DataFrame:
    with opener(path) as binary:
        return pd.read_parquet(io.BytesIO(binary.read()))


def _read_feather(path: Path, opener: Opener) -> pd.DataFrame:
    with opener(path) as binary:
        return pd.read_feather(io.BytesIO(binary.read()))


READERS: dict[str, Callable[[Path, Opener], pd.DataFrame]] = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".txt": _read_text,
    ".parquet": _read_parquet,
    ".feather": _read_feather,
}


def read_file(path: Path) -> pd.DataFrame:
    """Read a table by the ending of its name.

    Parameters
    ----------
    path : Path
        Any of `READERS`, packed by any of `OPENERS` or plain.

    Returns
    -------
    DataFrame

    Raises
    ------
    TableError
        Another ending, no such file, a file that is not what its ending says, repeated names.
    """
    packing = path.suffix.lower() if path.suffix.lower() in OPENERS else ""
    kind = (Path(path.stem) if packing else path).suffix.lower()
    if kind not in READERS:
        raise TableError(
            f"{str(path)!r} is not a table file. Choices: {', '.join(READERS)}, plain or packed as "
            f"{', '.join(filter(None, OPENERS))}."
        )
    if not path.is_file():
        raise TableError(f"There is no file {str(path)!r}.")
    try:
        return READERS[kind](path, OPENERS[packing])
    except (OSError, EOFError, ValueError, lzma.LZMAError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise TableError(f"{str(path)!r} can't be read as a {kind} table: {reason}") from error


def check_names(names: Iterable[str]) -> None:
    """Refuse repeated column names."""
    repeated = [repr(name) for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TableError(f"Column names must differ; repeated: {', '.join(repeated)}.")
