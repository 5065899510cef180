"""Piecewise reading, prediction and writing of tables, so that memory is bounded."""

from __future__ import annotations

import csv
import gzip
import io
import math
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from pandas.api import types

from autoimb.data.files import Source
from autoimb.data.schema import parse
from autoimb.data.table import frame_of
from autoimb.data.values import text_of
from autoimb.errors import SchemaError, TableError, check_choice
from autoimb.files import writing
from autoimb.pipeline.fitted import FittedPipeline
from autoimb.pipeline.unfamiliar import Unfamiliar, known_levels
from autoimb.text import no_formula

__all__ = [
    "STANDARD_OUTPUT",
    "cells_of_piece",
    "in_order",
    "predictions",
    "probability_names",
    "read_chunks",
    "text_columns",
    "writer",
]

STANDARD_OUTPUT = "-"
CELLS = 8_000_000  # in memory at a time, however many threads: 2,000,000 a piece on two cores
Tables = Iterator[pa.Table]


def read_chunks(
    path: Path, pipeline: FittedPipeline, *, cells: int, keep: Sequence[str] = ()
) -> Generator[pd.DataFrame]:
    """Yield a table to predict in pieces of about so many cells.

    pandas guesses a column's type from the piece that it sees, so columns that were text in
    training are read as text: a piece in which every "A12" happens to be a "0815" changes nothing.

    Parameters
    ----------
    path : Path
        As for `autoimb.data.files.Source.of`.
    pipeline : FittedPipeline
        Knows which columns were text.
    cells : int
        Cells of a piece, which has a row at least.
    keep : sequence of str
        Columns that are copied to the output: those that the pipeline does not read stay the text
        that they are.

    Yields
    ------
    DataFrame
        In the order of the rows; at least one, perhaps of no rows where a file has none.

    Raises
    ------
    TableError
        Where a file is no table, or the parts have other columns.
    SchemaError
        Where a column to keep is missing.
    """
    source, texts = Source.of(path), text_columns(pipeline)
    for name in keep:
        check_choice("column to keep", name, source.names, SchemaError)
    inputs = {column.name: column.kind for column in pipeline.schema.features}
    texts += [name for name in keep if name not in inputs]
    numbers = {name for name, kind in inputs.items() if kind == "categorical"} - set(texts)
    with closing(source.pieces(cells=cells, texts=texts)) as pieces:
        for piece, _ in pieces:
            yield _with_levels(frame_of(piece), numbers)


def text_columns(pipeline: FittedPipeline) -> list[str]:
    """Name the category columns with a level that pandas would not have read as number or bool."""
    levels = known_levels(pipeline)
    return [name for name, texts in levels.items() if not all(map(_is_guessed, texts))]


def probability_names(pipeline: FittedPipeline) -> list[str]:
    """Name the columns of the probabilities."""
    return [f"proba_{label}" for label in pipeline.classes_]


def predictions(
    frame: pd.DataFrame,
    *,
    pipeline: FittedPipeline,
    keep: Sequence[str],
    guard: bool,
    unfamiliar: Unfamiliar,
) -> pa.Table:
    """Predict a piece of the rows.

    Parameters
    ----------
    frame : DataFrame
        A piece that `read_chunks` yielded.
    pipeline : FittedPipeline
    keep : sequence of str
        Columns that are copied before the predictions.
    guard : bool
        Whether to put an apostrophe before formulas.
    unfamiliar : Unfamiliar
        Counts what training did not have.
    """
    rows = parse(frame, pipeline.schema)
    unfamiliar.add(rows)
    proba = pipeline.proba_of(rows)
    columns = _copied_columns(frame, keep, pipeline)
    try:
        labels = pa.array(pipeline.classes_)
    except (OverflowError, pa.ArrowInvalid):  # whole numbers beyond 64 bits
        labels = pa.array([str(label) for label in pipeline.classes_])
    if guard:
        columns = {name: _guarded(values) for name, values in columns.items()}
        labels = _guarded(labels)
    columns["prediction"] = labels.take(pa.array(pipeline.rule.apply(proba)))
    return pa.table(columns | dict(zip(probability_names(pipeline), map(pa.array, proba.T))))


def _copied_columns(
    frame: pd.DataFrame, keep: Sequence[str], pipeline: FittedPipeline
) -> dict[str, pa.Array]:
    """Return the columns that are copied to the output, each of one type in all pieces.

    The columns of text files that the pipeline reads may be of another type in the next piece:
    numbers become floats, categories text.
    """
    kinds = {column.name: column.kind for column in pipeline.schema.features}
    columns = {}
    for name in keep:
        values, kind = frame[name], kinds.get(name)
        if kind == "categorical" and not isinstance(values.dtype, pd.CategoricalDtype):
            values = values.map(text_of, na_action="ignore")
        elif kind == "numeric" and types.is_numeric_dtype(values.dtype):
            values = values.astype(np.float64)
        column = pa.array(values, from_pandas=True)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        columns[name] = column.cast(pa.string()) if pa.types.is_null(column.type) else column
    return columns


def _guarded(values: pa.Array) -> pa.Array:
    """Put an apostrophe before the formulas in a column of text."""
    if not _is_text(values.type):
        return values
    return pa.array([cell and no_formula(cell) for cell in values.to_pylist()], pa.string())


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_guessed(level: str) -> bool:
    """Return whether pandas reads the level as a bool or number that has the same text."""
    number = _number(level)
    return level in ("True", "False") or (number is not None and text_of(number) == level)


def _number(text: str) -> float | None:
    """Read a finite number; whole ones may be beyond the floats."""
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        number = float(text)
        return number if math.isfinite(number) else None
    return None


def _with_levels(frame: pd.DataFrame, numbers: set[str]) -> pd.DataFrame:
    """Write numbers as their levels are where one word in the piece made text of all of them."""
    columns = {name: frame[name] for name in frame.columns if name in numbers}
    levels = {
        name: values.map(_level, na_action="ignore")
        for name, values in columns.items()
        if not (types.is_numeric_dtype(values.dtype) or types.is_bool_dtype(values.dtype))
    }
    return frame.assign(**levels)


def _level(cell: object) -> object:
    """Write text that is a number as the level of the number."""
    number = _number(cell) if isinstance(cell, str) else None
    return cell if number is None else text_of(number)


def cells_of_piece(threads: int) -> int:
    """Return how large a piece is where so many threads predict.

    `in_order` holds one piece more than threads, and another one is being read.
    """
    return CELLS // (threads + 2)


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
    pending: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for frame in frames:
            pending.append(pool.submit(work, frame))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def writer(path: Path) -> Callable[[Tables], int]:
    """Return the function that writes tables to `path`, chosen by its suffix.

    The file appears when it is complete, or not at all.

    Parameters
    ----------
    path : Path
        Ends in ``.csv``, ``.csv.gz`` or ``.parquet``; ``-`` is the standard output, as CSV.

    Returns
    -------
    callable
        Takes the tables, returns the number of rows.

    Raises
    ------
    TableError
        On another suffix, or a folder that does not exist.
    """
    if str(path) == STANDARD_OUTPUT:
        return lambda tables: _to_csv(tables, sys.stdout.buffer)
    endings: dict[str, Callable[[Tables, BinaryIO], int]] = {
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
        with writing(path, make_folders=False) as file:
            return endings[ending](tables, file)

    return write


def _to_csv_gz(tables: Tables, out: BinaryIO) -> int:
    with gzip.open(out, "wb") as packed:
        return _to_csv(tables, packed)


def _to_csv(tables: Tables, out: BinaryIO | gzip.GzipFile) -> int:
    """Write text by pyarrow, which is many times faster than pandas at numbers."""
    n_rows = 0
    for number, table in enumerate(tables):
        if number == 0:
            out.write(_line(table.column_names))
        cells = {
            cell
            for column in table.columns
            if _is_text(column.type)
            for cell in column.unique().to_pylist()
        }
        plain = all(_line([cell]).decode() == f"{cell}\n" for cell in cells - {None})
        options = pc.WriteOptions(include_header=False, quoting_style="none" if plain else "needed")
        pc.write_csv(table, out, options)
        n_rows += len(table)
    return n_rows


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _to_parquet(tables: Tables, out: BinaryIO) -> int:
    n_rows, rows = 0, None
    with ExitStack() as stack:
        for table in tables:
            rows = rows or stack.enter_context(pq.ParquetWriter(out, table.schema))
            rows.write_table(table.cast(rows.schema))
            n_rows += len(table)
    return n_rows
