"""Tables read and written piece by piece, so that memory does not grow with their length."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import os
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from autoimb.data.files import OPENERS
from autoimb.data.table import read_table
from autoimb.errors import AutoImbError, TableError
from autoimb.pipeline.fitted import FittedPipeline

__all__ = ["in_order", "read_chunks", "writer"]

CELLS = 6_000_000  # a piece of a text file
TEXT = (".csv", ".tsv", ".txt")
Tables = Iterator[pa.Table]


def read_chunks(
    path: Path, pipeline: FittedPipeline, *, cells: int = CELLS
) -> Generator[pd.DataFrame]:
    """Yield a table to predict: text files in pieces of about so many cells, others whole.

    pandas guesses a column's type from the piece that it sees, so columns that were text in
    training are read as text: a piece in which every "A12" happens to be a "0815" changes nothing.

    Parameters
    ----------
    path : Path
        As for `autoimb.data.table.read_table`.
    pipeline : FittedPipeline
        Knows which columns were text.
    cells : int
        Cells of a piece, which has a row at least.

    Yields
    ------
    DataFrame
        At least one, perhaps of no rows where the file has none.

    Raises
    ------
    TableError
        Where the file is no table.
    """
    packing = path.suffix.lower() if path.suffix.lower() in OPENERS else ""
    kind = (Path(path.stem) if packing else path).suffix.lower()
    if kind not in TEXT or not path.is_file():
        yield read_table(path)
        return
    opener, text = OPENERS[packing], dict.fromkeys(_text_columns(pipeline), str)
    try:
        with opener(path) as binary:
            lines = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
            first = next((line for line in lines if line.strip()), "")
            lines.close()
        separator = max(",;\t|", key=first.count)
        rows = max(cells // (first.count(separator) + 1), 1)
        with (
            opener(path) as binary,
            pd.read_csv(binary, sep=separator, dtype=text, chunksize=rows) as pieces,
        ):
            for piece in pieces:
                yield piece.reset_index(drop=True)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zipfile.BadZipFile) as error:
        if isinstance(error, AutoImbError):
            raise
        reason = str(error).partition("\n")[0]
        raise TableError(f"{str(path)!r} can't be read as a {kind} table: {reason}") from error


def in_order(
    work: Callable[[pd.DataFrame], pa.Table], frames: Iterator[pd.DataFrame], *, threads: int
) -> Generator[pa.Table]:
    """Yield what becomes of each frame, a few being worked on while the next ones are read.

    Parameters
    ----------
    work : callable
        Called in several threads.
    frames : iterator of DataFrame
    threads : int

    Yields
    ------
    Table
        In the order of the frames.
    """
    coming: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for frame in frames:
            coming.append(pool.submit(work, frame))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _text_columns(pipeline: FittedPipeline) -> list[str]:
    """Name the category columns with a level that pandas would not have read as number or bool."""
    names = [column.name for column in pipeline.schema.kept if column.kind == "categorical"]
    levels: dict[str, set[str]] = {name: set() for name in names}
    for encoder in pipeline.encoders:
        for name, known in zip(names, encoder.levels):
            levels[name].update(known)
    return [name for name in names if not all(map(_is_guessed, levels[name]))]


def _is_guessed(level: str) -> bool:
    try:
        return level in ("True", "False") or str(int(level)) == level
    except ValueError:
        return False


def writer(path: Path) -> Callable[[Tables], int]:
    """Return the function that writes tables to `path`, chosen by its suffix.

    The file appears when it is complete, or not at all.

    Parameters
    ----------
    path : Path
        Ends in ``.csv``, ``.csv.gz`` or ``.parquet``.

    Returns
    -------
    callable
        Takes the tables, returns the number of rows.

    Raises
    ------
    TableError
        On another suffix, or a folder that does not exist.
    """
    endings: dict[str, Callable[[Tables, Path], int]] = {
        ".csv": _to_csv,
        ".csv.gz": _to_csv_gz,
        ".parquet": _to_parquet,
    }
    ending = next((name for name in endings if path.name.lower().endswith(name)), None)
    if ending is None:
        raise TableError(f"{path}: the output must end in one of {', '.join(endings)}.")
    if not path.parent.is_dir():
        raise TableError(f"{path}: the folder {path.parent} does not exist.")

    def write(tables: Tables) -> int:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        draft = Path(name)
        try:
            n_rows = endings[ending](tables, draft)
            draft.chmod(0o644)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        return n_rows

    return write


def _to_csv(tables: Tables, path: Path) -> int:
    with path.open("wb") as out:
        return _write_rows(tables, out)


def _to_csv_gz(tables: Tables, path: Path) -> int:
    with gzip.open(path, "wb") as out:
        return _write_rows(tables, out)


def _write_rows(tables: Tables, out: io.BufferedIOBase) -> int:
    """Write text by pyarrow, which is many times faster than pandas at numbers."""
    n_rows = 0
    for table in tables:
        if n_rows == 0:
            out.write(_line(table.column_names))
        labels = table["prediction"].unique().to_pylist()
        plain = all(_line([label]).decode() == f"{label}\n" for label in labels)
        options = pc.WriteOptions(include_header=False, quoting_style="none" if plain else "needed")
        pc.write_csv(table, out, options)
        n_rows += len(table)
    return n_rows


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _to_parquet(tables: Tables, path: Path) -> int:
    n_rows, out = 0, None
    try:
        for table in tables:
            out = out or pq.ParquetWriter(path, table.schema)
            out.write_table(table)
            n_rows += len(table)
    finally:
        if out is not None:
            out.close()
    return n_rows
