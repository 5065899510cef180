"""Reading of single table files, completely or in pieces."""

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
NO_SEPARATOR = "\x1f"  # a control character that tables do not contain
CELL = 8  # bytes of a number in memory
UNPACKED = {".feather": 4, "text": 2, "packed": 12}  # approximate bytes in memory per file byte


@dataclass(frozen=True)
class Header:
    """Columns and size of a table file, which are read before its rows.

    Attributes
    ----------
    names : tuple of str
        Names of the columns.
    holds : tuple of str
        Kind of values in each column (``"numbers"``, ``"text"``, ...); empty if the file does not
        record it.
    n_bytes : int
        Expected size of the rows in memory.
    """

    names: tuple[str, ...]
    holds: tuple[str, ...]
    n_bytes: int


def read_file(path: Path) -> pd.DataFrame:
    """Read a table file in the format that its name extension denotes.

    Parameters
    ----------
    path : Path
        File with an extension of `TEXT`, possibly followed by one of `PACKINGS`, or of `BINARY`.

    Returns
    -------
    DataFrame

    Raises
    ------
    TableError
        If the extension is unknown, the file does not exist or is not in the format of its
        extension, or column names are repeated.
    """
    with _reading(path) as kind:
        if kind in BINARY:
            return BINARY[kind](path)
        separator, _ = _read_header(path)
        return pd.read_csv(_source(path), sep=separator, low_memory=False).reset_index(drop=True)


def read_header(path: Path) -> Header:
    """Read the columns and the expected size of a table file, without its rows.

    Parameters
    ----------
    path : Path
        File as for `read_file`.

    Returns
    -------
    Header

    Raises
    ------
    TableError
        Under the conditions of `read_file`.
    """
    with _reading(path) as kind:
        if kind not in BINARY:
            _, names = _read_header(path)
            expansion = UNPACKED["packed" if path.suffix.lower() in PACKINGS else "text"]
            return Header(tuple(names), ("",) * len(names), expansion * path.stat().st_size)
        with pa.OSFile(str(path)) as file:
            schema, _ = BATCHES[kind](file, CELL)
            check_names(schema.names)
        n_bytes = _n_bytes(path, kind, schema.types)
        return Header(tuple(schema.names), tuple(map(_holds, schema.types)), n_bytes)


def _n_bytes(path: Path, kind: str, types: Sequence[pa.DataType]) -> int:
    if kind != ".parquet":
        return UNPACKED[kind] * path.stat().st_size
    metadata = pq.read_metadata(path)
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    # The estimate is the larger of the size in pandas and the uncompressed size in the file.
    row = sum(dtype.bit_width // 8 if pa.types.is_floating(dtype) else CELL for dtype in types)
    return int(max(row * metadata.num_rows, sum(group.total_byte_size for group in groups)))


def _holds(kind: pa.DataType) -> str:
    """Return the kind of a column's values, in which the parts of a table must agree."""
    if pa.types.is_dictionary(kind):
        return _holds(kind.value_type)
    families = {
        "": pa.types.is_null,
        "booleans": pa.types.is_boolean,
        "numbers": lambda dtype: pa.types.is_primitive(dtype) and not pa.types.is_temporal(dtype),
        "decimals": pa.types.is_decimal,
        "durations": pa.types.is_duration,
        "dates": pa.types.is_temporal,
        "text": lambda dtype: dtype in (pa.string(), pa.large_string(), pa.string_view()),
    }
    return next((name for name, matches in families.items() if matches(kind)), str(kind))


def read_pieces(
    path: Path, *, cells: int, texts: Iterable[str] = (), columns: Sequence[str] | None = None
) -> Generator[pd.DataFrame]:
    """Read a file piece by piece to limit the memory that it takes.

    Parameters
    ----------
    path : Path
        File as for `read_file`. Parquet files are unpacked by row groups, Feather files by batches.
    cells : int
        Number of cells of a piece; a piece has at least one row.
    texts : iterable of str
        Columns of text files that are read as text whatever their values look like.
    columns : sequence of str, optional
        Columns of binary files to read; all columns of text files are read.

    Yields
    ------
    DataFrame
        At least one piece, which is empty if the file has no rows.

    Raises
    ------
    TableError
        Under the conditions of `read_file`.
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
            # Batches of Feather files may be larger than a piece.
            for start in range(0, batch.num_rows, rows):
                yielded = True
                yield _frame(batch.slice(start, rows), schema)
        if not yielded:
            yield _frame(None, schema)


def _frame(batch: pa.RecordBatch | None, schema: pa.Schema) -> pd.DataFrame:
    """Convert a batch as pandas converts the file, including the pandas metadata of its schema."""
    table = pa.Table.from_batches([] if batch is None else [batch], schema)
    frame: pd.DataFrame = table.to_pandas()
    return frame.reset_index(drop=True)


Batches = tuple[pa.Schema, Iterator[pa.RecordBatch]]


def _parquet(file: pa.NativeFile, cells: int, columns: Sequence[str] | None = None) -> Batches:
    parquet = pq.ParquetFile(file, pre_buffer=False)  # otherwise the whole file is read at once
    schema = _only(parquet.schema_arrow, columns)
    rows = max(cells // max(len(schema.names), 1), 1)
    names = None if columns is None else schema.names
    return schema, chain.from_iterable(
        parquet.iter_batches(batch_size=rows, row_groups=[group], columns=names, use_threads=False)
        for group in range(parquet.num_row_groups)
    )


def _feather(file: pa.NativeFile, _: int, columns: Sequence[str] | None = None) -> Batches:
    reader = pa.ipc.open_file(file)
    schema = _only(reader.schema, columns)
    batches = map(reader.get_batch, range(reader.num_record_batches))
    return schema, (batch.select(schema.names) for batch in batches)


def _only(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """Return a schema restricted to some columns, in the order of the schema."""
    if columns is None:
        return schema
    return pa.schema([field for field in schema if field.name in columns], metadata=schema.metadata)


BATCHES = {".parquet": _parquet, ".feather": _feather}


def check_names(names: Iterable[str]) -> None:
    """Check that column names are unique."""
    repeated = [repr(name) for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TableError(f"Column names must differ; repeated: {', '.join(repeated)}.")


def kind_of(path: Path) -> str:
    """Return the extension of a name without that of a packing: ``.csv`` for ``rows.CSV.gz``."""
    kind = path.suffix.lower()
    if kind in PACKINGS and (packed := Path(path.stem).suffix.lower()) in TEXT:
        return packed
    return kind


@contextmanager
def _reading(path: Path) -> Iterator[str]:
    """Yield the kind of a table file; raise its read errors as `TableError`."""
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
    """Return the path or stream that pandas reads; pandas unpacks all packings but zstd itself."""
    return pa.input_stream(str(path), "zstd") if path.suffix.lower() == ".zst" else path


def _read_header(path: Path) -> tuple[str, list[str]]:
    """Return the separator and the column names of a text file.

    The separator is the most frequent of ``, ; tab |`` outside of quotes in the first line that is
    not empty. The names are checked here because pandas would silently rename a repeated column.
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
    # Separators within quotes do not count.
    separator = max(",;\t|", key=QUOTED.sub("", line).count)
    names = next(csv.reader([line], delimiter=separator))
    check_names(name for name in names if name)
    return separator, names
