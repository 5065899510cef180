"""Read one table file, whole or in pieces."""

from __future__ import annotations

import csv
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from autoimb.errors import TableError

__all__ = ["Header", "check_names", "kind_of", "read_file", "read_header", "read_pieces"]

TEXT = (".csv", ".tsv", ".txt")
BINARY: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".feather": pd.read_feather,
}
PACKINGS = (".bz2", ".gz", ".xz", ".zip", ".zst")
BROKEN = (
    *(OSError, EOFError, ValueError, csv.Error, lzma.LZMAError, zipfile.BadZipFile, zlib.error),
    pa.ArrowException,
)
QUOTED = re.compile('"[^"]*("|$)')
NO_SEPARATOR = "\x1f"  # stands in no table
CELL = 8  # bytes of a number in memory
UNPACKED = {".feather": 4, "text": 2, "packed": 12}  # bytes in memory for one of a file, about


@dataclass(frozen=True)
class Header:
    """What a table file says of itself before its rows are read.

    Attributes
    ----------
    names : tuple of str
        Its columns.
    holds : tuple of str
        What each of them holds (``"numbers"``, ``"text"``, ...); empty where the file doesn't say.
    n_bytes : int
        Of memory that its rows are expected to take.
    """

    names: tuple[str, ...]
    holds: tuple[str, ...]
    n_bytes: int


def read_file(path: Path) -> pd.DataFrame:
    """Read a table by the ending of its name.

    Parameters
    ----------
    path : Path
        Text, plain or packed (`TEXT`, `PACKINGS`), or any of `BINARY`.

    Returns
    -------
    DataFrame

    Raises
    ------
    TableError
        Another ending, no such file, a file that is not what its ending says, repeated names.
    """
    with _reading(path) as kind:
        if kind in BINARY:
            return BINARY[kind](path)
        separator, _ = _read_header(path)
        return pd.read_csv(_source(path), sep=separator, low_memory=False).reset_index(drop=True)


def read_header(path: Path) -> Header:
    """Read what a file says of its columns and its size, and no row.

    Parameters
    ----------
    path : Path
        As for `read_file`.

    Returns
    -------
    Header

    Raises
    ------
    TableError
        As in `read_file`.
    """
    with _reading(path) as kind:
        if kind not in BINARY:
            _, found = _read_header(path)
            each = UNPACKED["packed" if path.suffix.lower() in PACKINGS else "text"]
            return Header(tuple(found), ("",) * len(found), each * path.stat().st_size)
        with pa.OSFile(str(path)) as file:
            schema, _ = BATCHES[kind](file, CELL)
            check_names(schema.names)
        n_bytes = _n_bytes(path, kind, schema.types)
        return Header(tuple(schema.names), tuple(map(_holds, schema.types)), n_bytes)


def _n_bytes(path: Path, kind: str, types: Sequence[pa.DataType]) -> int:
    if kind != ".parquet":
        return UNPACKED[kind] * path.stat().st_size
    about = pq.read_metadata(path)
    groups = (about.row_group(number) for number in range(about.num_row_groups))
    row = sum(own.bit_width // 8 if pa.types.is_floating(own) else CELL for own in types)
    return int(max(row * about.num_rows, sum(group.total_byte_size for group in groups)))


def _holds(kind: pa.DataType) -> str:
    """Name what a column holds, in which the parts of a table have to agree."""
    if pa.types.is_dictionary(kind):
        return _holds(kind.value_type)
    families = {
        "": pa.types.is_null,
        "booleans": pa.types.is_boolean,
        "numbers": lambda own: pa.types.is_primitive(own) and not pa.types.is_temporal(own),
        "decimals": pa.types.is_decimal,
        "durations": pa.types.is_duration,
        "dates": pa.types.is_temporal,
        "text": lambda own: own in (pa.string(), pa.large_string(), pa.string_view()),
    }
    return next((name for name, is_one in families.items() if is_one(kind)), str(kind))


def read_pieces(
    path: Path, *, cells: int, texts: Iterable[str] = (), columns: Sequence[str] | None = None
) -> Generator[pd.DataFrame]:
    """Read a file in pieces, so that no more of it is in memory.

    Parameters
    ----------
    path : Path
        As for `read_file`. Of Parquet one row group is unpacked at a time, of Feather one batch.
    cells : int
        Cells of a piece, which has a row at least.
    texts : iterable of str
        Columns of text files to read as text, whatever they look like.
    columns : sequence of str, optional
        Of binary files the columns to read; text files are always read whole.

    Yields
    ------
    DataFrame
        At least one, perhaps of no rows where the file has none.

    Raises
    ------
    TableError
        As in `read_file`.
    """
    with _reading(path) as kind:
        if kind in BINARY:
            yield from _binary_pieces(path, kind, cells=cells, columns=columns)
            return
        separator, names = _read_header(path)
        rows = max(cells // max(len(names), 1), 1)
        dtype = dict.fromkeys(texts, str)
        with pd.read_csv(_source(path), sep=separator, dtype=dtype, chunksize=rows) as pieces:
            for piece in pieces:
                yield piece.reset_index(drop=True)


def _binary_pieces(
    path: Path, kind: str, *, cells: int, columns: Sequence[str] | None
) -> Generator[pd.DataFrame]:
    with pa.OSFile(str(path)) as file:
        schema, batches = BATCHES[kind](file, cells, columns)
        check_names(schema.names)
        yielded = False
        for batch in batches:
            rows = max(cells // max(len(schema.names), 1), 1)
            for start in range(0, batch.num_rows, rows):
                yielded = True
                yield _frame(batch.slice(start, rows), schema)
        if not yielded:
            yield _frame(None, schema)


def _frame(batch: pa.RecordBatch | None, schema: pa.Schema) -> pd.DataFrame:
    """Give a batch as pandas reads its file, also what pandas wrote down of its columns."""
    table = pa.Table.from_batches([] if batch is None else [batch], schema)
    frame: pd.DataFrame = table.to_pandas()
    return frame.reset_index(drop=True)


Batches = tuple[pa.Schema, Iterator[pa.RecordBatch]]


def _parquet(file: pa.NativeFile, cells: int, columns: Sequence[str] | None = None) -> Batches:
    parquet = pq.ParquetFile(file, pre_buffer=False)  # else all of a file is read at once
    schema = _only(parquet.schema_arrow, columns)
    rows = max(cells // max(len(schema.names), 1), 1)
    wanted = None if columns is None else schema.names
    return schema, chain.from_iterable(
        parquet.iter_batches(batch_size=rows, row_groups=[group], columns=wanted, use_threads=False)
        for group in range(parquet.num_row_groups)
    )


def _feather(file: pa.NativeFile, _: int, columns: Sequence[str] | None = None) -> Batches:
    reader = pa.ipc.open_file(file)
    schema = _only(reader.schema, columns)
    batches = map(reader.get_batch, range(reader.num_record_batches))
    return schema, (batch.select(schema.names) for batch in batches)


def _only(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """Leave these columns of a schema, in its own order."""
    if columns is None:
        return schema
    return pa.schema([own for own in schema if own.name in columns], metadata=schema.metadata)


BATCHES = {".parquet": _parquet, ".feather": _feather}


def check_names(names: Iterable[str]) -> None:
    """Refuse repeated column names."""
    repeated = [repr(name) for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TableError(f"Column names must differ; repeated: {', '.join(repeated)}.")


def kind_of(path: Path) -> str:
    """Return the ending of a name, that of the packing aside: ``.csv`` of ``rows.CSV.gz``."""
    kind = path.suffix.lower()
    if kind in PACKINGS and (packed := Path(path.stem).suffix.lower()) in TEXT:
        return packed
    return kind


@contextmanager
def _reading(path: Path) -> Iterator[str]:
    """Say what is wrong with a file as one `TableError`; give its kind."""
    kind = kind_of(path)
    if kind not in (*TEXT, *BINARY):
        raise TableError(
            f"{str(path)!r} is not a table file. Choices: {', '.join((*TEXT, *BINARY))}; text may "
            f"be packed as {', '.join(PACKINGS)}."
        )
    if not path.is_file():
        raise TableError(f"There is no file {str(path)!r}.")
    try:
        yield kind
    except BROKEN as error:
        reason = str(error).partition("\n")[0]
        raise TableError(f"{str(path)!r} can't be read as a {kind} table: {reason}") from error


def _source(path: Path) -> Any:
    """Return what pandas is to read; it unpacks by itself, but zstd with one more package only."""
    return pa.input_stream(str(path), "zstd") if path.suffix.lower() == ".zst" else path


def _read_header(path: Path) -> tuple[str, list[str]]:
    """Return what separates, and the names.

    The most frequent of ``, ; tab |`` in the first line separates, what stands in quotes aside.
    pandas would rename a repeated column to "name.1" without a word.
    """
    with pd.read_csv(
        _source(path),
        sep=NO_SEPARATOR,
        quoting=csv.QUOTE_NONE,
        names=["line"],
        chunksize=1,
        dtype=str,
        keep_default_na=False,
        skip_blank_lines=False,  # pandas would skip the tab before the first name as well
    ) as chunks:
        lines = (str(line) for chunk in chunks for line in chunk["line"])
        line = next((line for line in lines if line.strip()), "")
    separator = max(",;\t|", key=QUOTED.sub("", line).count)
    names = next(csv.reader([line], delimiter=separator))
    check_names(name for name in names if name)
    return separator, names
