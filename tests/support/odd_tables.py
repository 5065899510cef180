"""Odd tables as cases with their expected results; this module has odd shapes and names."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from scipy import sparse

N_ROWS = 40
RARE = np.arange(N_ROWS) % 4 == 0
PLAIN = np.linspace(0.0, 1.0, N_ROWS).round(3) + RARE
LABELS = np.where(RARE, "yes", "no")


class FitInput(NamedTuple):
    """Arguments of `fit`."""

    X: Any
    y: Any = LABELS
    weight: Any = None


@dataclass(frozen=True)
class Case:
    """Odd table with its expected result.

    Attributes
    ----------
    name : str
    make : callable
        Builds the table, as some can be read only once.
    refused : str
        Regular expression of the error message; empty if `fit` must accept it.
    kind : str
        Expected kind of the column "odd"; empty without such a column.
    """

    name: str
    make: Callable[[], FitInput]
    refused: str = ""
    kind: str = ""


def spread(*cells: Any) -> list[Any]:
    """Repeat the cells until there is one per row."""
    return [cells[row % len(cells)] for row in range(N_ROWS)]


def two_columns() -> pd.DataFrame:
    return pd.DataFrame({"plain": PLAIN, "city": spread("Bern", "Lima", None)})


def named(names: Iterable[Any] | pd.Index) -> pd.DataFrame:
    """Return two columns with other names."""
    labels = names if isinstance(names, pd.Index) else pd.Index(list(names), dtype=object)
    return two_columns().set_axis(labels, axis=1)


def wide(n_columns: int) -> pd.DataFrame:
    cells = np.random.default_rng(0).normal(size=(N_ROWS, n_columns))
    cells[:, 0] = PLAIN
    return pd.DataFrame(cells, columns=[f"c{position}" for position in range(n_columns)])


def records(*fields: tuple[Any, ...]) -> np.ndarray:
    table = np.zeros(N_ROWS, dtype=list(fields))
    table["plain"] = PLAIN
    return table


def hidden(cells: np.ndarray) -> np.ma.MaskedArray:
    """Mask every fifth row of an array, over an infinite value that must have no effect."""
    mask = np.zeros(cells.shape, dtype=bool)
    mask[::5, 0] = True
    return np.ma.MaskedArray(np.where(mask, np.inf, cells), mask)


def table(name: str, make: Callable[[], Any], refused: str = "") -> Case:
    """Return a case with plain labels."""
    return Case(name, lambda: FitInput(make()), refused)


NUMBERS = np.column_stack([PLAIN, np.arange(N_ROWS) % 7])
ROWS = [[float(number), city] for number, city in zip(PLAIN, spread("Bern", "Lima", None))]
ESCAPES = "\x1b]0;title\x07\u202e"

SHAPES = (
    table("one column", lambda: two_columns()[["plain"]]),
    table("no column", lambda: two_columns()[[]], r"0 feature\(s\) \(shape=\(40, 0\)\)"),
    table("no row", lambda: two_columns().iloc[:0], r"0 sample\(s\) \(shape=\(0, 2\)\)"),
    Case("one row", lambda: FitInput(two_columns().iloc[:1], LABELS[:1]), "'yes' in all 1 rows"),
    Case("two rows", lambda: FitInput(two_columns().iloc[:2], LABELS[:2]), "2 rows .*different"),
    table("3,000 columns", lambda: wide(3_000)),
    table(
        "nothing but a constant and missing cells",
        lambda: two_columns().assign(plain=1, city=None),
        "No column is left.*'plain' .constant.*'city' .constant",
    ),
    table("an array", lambda: NUMBERS),
    table("a read-only array", lambda: np.frombuffer(NUMBERS.tobytes()).reshape(N_ROWS, 2)),
    table("an array of objects", lambda: np.array(ROWS, dtype=object)),
    table("an array of text", lambda: NUMBERS.astype("U8")),
    table("an array of bytes", lambda: NUMBERS.round().astype("S4")),
    table("an array of booleans", lambda: NUMBERS > 1),
    table("an array of dates", lambda: NUMBERS.astype("i8").astype("M8[D]")),
    table("an array of complex numbers", lambda: NUMBERS * 1j, "Complex data.*'x0' is complex"),
    table("a masked array", lambda: hidden(NUMBERS)),
    table("records", lambda: records(("plain", float), ("city", "U4"))),
    table("records of several values", lambda: records(("plain", float), ("two", int, 2)), "'two'"),
    table("lists of lists", lambda: ROWS),
    table("ragged lists", lambda: [*ROWS[:-1], [1.0]], "1D array"),
    table("a column alone", lambda: two_columns()["plain"], "got 1D array"),
    table("a cube", lambda: np.zeros((N_ROWS, 2, 2)), "dim 3"),
    table("text", lambda: "train.csv", "scalar array.*X is a str"),
    table("a dict", lambda: two_columns().to_dict("list"), "scalar array.*X is a dict"),
    table("a sparse matrix", lambda: sparse.csr_matrix(NUMBERS), "Sparse data.*toarray"),
)

LIBRARIES = (
    table(
        "a polars frame of many types",
        lambda: pl.DataFrame(
            {
                "plain": PLAIN,
                "category": pl.Series(spread("a", "b", None), dtype=pl.Categorical),
                "enum": pl.Series(spread("a", "b"), dtype=pl.Enum(["b", "a"])),
                "date": spread(dt.date(1, 1, 1), dt.date(2020, 2, 3), None),
                "time": spread(dt.time(1), dt.time(2, 3), None),
                "span": spread(dt.timedelta(1), dt.timedelta(2), None),
                "decimal": pl.Series(spread("1.5", "2", None)).cast(pl.Decimal(10, 2)),
                "null": [None] * N_ROWS,
                "flag": spread(True, False, None),
            }
        ),
    ),
    table("a lazy polars frame", lambda: pl.LazyFrame(two_columns()), "a LazyFrame; collect"),
    table(
        "128 bits in a polars frame",
        lambda: pl.DataFrame({"wide": pl.Series(spread(1, 2**100), dtype=pl.Int128)}),
        "X is a DataFrame that pandas can't hold",
    ),
    table("an Arrow stream", lambda: pa.Table.from_pandas(two_columns()).to_reader()),
)

NAMES = (
    table("names that are numbers and text", lambda: named([7, "city"])),
    table("names that are missing", lambda: named([None, np.nan])),
    table("names that are dates", lambda: named(pd.to_datetime(["2020-01-01", "2021-01-01"]))),
    table("names that are tuples", lambda: named(pd.MultiIndex.from_tuples([("a", 1), ("b", 1)]))),
    table("an empty name", lambda: named(["", " "])),
    table("names of our own words", lambda: named(["target", "__class__"])),
    table("names that differ by their form", lambda: named(["\u00e9", "e\u0301"])),
    table("control characters in names", lambda: named([f"a{ESCAPES}\0", "b\r\n\t"])),
    table("a very long name", lambda: named(["a" * 100_000, "b"])),
    table("half a character in a name", lambda: named(["\ud800", "b"]), r"\\ud800.* not valid"),
    table("repeated names", lambda: named(["a", "a"]), "must differ; repeated: 'a'"),
    table("names that are the same text", lambda: named([7, "7"]), "must differ; repeated: '7'"),
    table(
        "a name that a part of a date has",
        lambda: pd.DataFrame(
            {"d.year": PLAIN, "d": pd.to_datetime(spread("2020-01-01", "2021-06-05"))}
        ),
    ),
)

INDEXES = (
    table("an index of two levels", lambda: two_columns().set_index([PLAIN, RARE])),
    Case(
        "labels with another index",
        lambda: FitInput(two_columns(), pd.Series(LABELS, index=range(N_ROWS, 0, -1))),
    ),
    Case("fewer labels", lambda: FitInput(two_columns(), LABELS[:-1]), "40 rows and 39 labels"),
    Case(
        "weights with another index and a repeated one of rows",
        lambda: FitInput(
            two_columns().set_axis(spread(3, 3, 1)), LABELS, pd.Series(PLAIN + 1, range(9, 49))
        ),
    ),
)

TABLES = (*SHAPES, *LIBRARIES, *NAMES, *INDEXES)
