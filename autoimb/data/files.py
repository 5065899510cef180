"""Read one table file, whole or in pieces."""

from __future__ import annotations

import csv
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from autoimb.errors import TableError

__all__ = ["check_names", "read_file", "read_pieces"]

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


def read_pieces(path: Path, *, cells: int, texts: Iterable[str] = ()) -> Generator[pd.DataFrame]:
    """Read a file in pieces, so that no more of it is in memory.

    Parameters
    ----------
    path : Path
        As for `read_file`. Of Parquet one row group is unpacked at a time, of Feather one batch.
    cells : int
        Cells of a piece, which has a row at least.
    texts : iterable of str
        Columns of text files to read as text, whatever they look like.

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
            yield from _binary_pieces(path, kind, cells=cells)
            return
        separator, names = _read_header(path)
        rows = max(cells // max(len(names), 1), 1)
        dtype = dict.fromkeys(texts, str)
        with pd.read_csv(_source(path), sep=separator, dtype=dtype, chunksize=rows) as pieces:
            for piece in pieces:
                yield piece.reset_index(drop=True)


def _binary_pieces(path: Path, kind: str, *, cells: int) -> Generator[pd.DataFrame]:
    with pa.OSFile(str(path)) as file:
        schema, batches = BATCHES[kind](file, cells)
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


def _parquet(file: pa.NativeFile, cells: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    parquet = pq.ParquetFile(file, pre_buffer=False)  # else all of a file is read at once
    rows = max(cells // max(len(parquet.schema_arrow.names), 1), 1)
    groups = range(parquet.num_row_groups)
    return parquet.schema_arrow, chain.from_iterable(
        parquet.iter_batches(batch_size=rows, row_groups=[group], use_threads=False)
        for group in groups
    )


def _feather(file: pa.NativeFile, _: int) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    reader = pa.ipc.open_file(file)
    return reader.schema, map(reader.get_batch, range(reader.num_record_batches))


BATCHES = {".parquet": _parquet, ".feather": _feather}


def check_names(names: Iterable[str]) -> None:
    """Refuse repeated column names."""
    repeated = [repr(name) for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise TableError(f"Column names must differ; repeated: {', '.join(repeated)}.")


def _kind(path: Path) -> str:
    """Return the ending, that of the packing aside: ``.csv`` of ``rows.CSV.gz``."""
    kind = path.suffix.lower()
    if kind in PACKINGS and (packed := Path(path.stem).suffix.lower()) in TEXT:
        return packed
    return kind


@contextmanager
def _reading(path: Path) -> Iterator[str]:
    """Say what is wrong with a file as one `TableError`; give its kind."""
    kind = _kind(path)
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
