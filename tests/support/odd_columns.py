"""Odd columns, one per table, beside a plain column of numbers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa

from tests.support.odd_tables import N_ROWS, PLAIN, Case, FitInput, spread

UTC = dt.UTC
EAST = dt.timezone(dt.timedelta(hours=2))
INFINITE = "infinity or a value too large.*column 'odd', row {}"
NO_CELL = "Column 'odd' holds a {} in row {}"


def column(name: str, cells: Callable[[], Any], kind: str = "", refused: str = "") -> Case:
    """Return a case of one odd column."""
    return Case(
        name, lambda: FitInput(pd.DataFrame({"plain": PLAIN, "odd": cells()})), refused, kind
    )


numeric, levels, date, constant = (
    partial(column, kind=kind) for kind in ("numeric", "categorical", "date", "constant")
)


def refused(name: str, cells: Callable[[], Any], sentence: str) -> Case:
    return column(name, cells, "", sentence)


def objects(*cells: Any) -> pd.Series:
    return pd.Series(spread(*cells), dtype=object)


def arrow(name: str, of: pa.DataType, cells: list[Any], kind: str, refused: str = "") -> Case:
    """Return a case of a pandas column with an Arrow type."""

    def carried() -> pd.api.extensions.ExtensionArray:
        return pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.array(spread(*cells), of)]))

    return column(f"Arrow's {name}", carried, kind, refused)


def bits(kind: str) -> list[Any]:
    """Return the smallest, a missing and the largest number of a type, and 1."""
    return [np.iinfo(kind).min, None, np.iinfo(kind).max, 1]


INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
EXTENSIONS = {name: name.replace("int", "Int").replace("u", "U") for name in INTEGERS}

NUMBERS = (
    *(
        numeric(f"pandas' {extension}", lambda e=extension, n=name: pd.array(spread(*bits(n)), e))
        for name, extension in EXTENSIONS.items()
    ),
    *(arrow(name, pa.type_for_alias(name), bits(name), "numeric") for name in INTEGERS),
    numeric("pandas' Float64", lambda: pd.array(spread(1e308, None, 5e-324), "Float64")),
    arrow("double", pa.float64(), [1e308, None, float("nan"), 5e-324], "numeric"),
    numeric("long doubles", lambda: np.array(spread(1, 2.5), np.longdouble)),
    numeric("another order of bytes", lambda: np.array(spread(1, 2), ">i4")),
    constant("two zeros", lambda: spread(-0.0, 0.0)),
    numeric("whole numbers beyond 2^53", lambda: spread(2**53 + 1, 2**53)),
    numeric("whole numbers beyond 2^64", lambda: spread(2**70, None, 1)),
    refused("whole numbers beyond the floats", lambda: spread(1, 10**400), INFINITE.format(1)),
    refused("infinite numbers", lambda: spread(1.0, 2.0, np.inf), INFINITE.format(2)),
    numeric("decimals", lambda: spread(Decimal("1.1"), Decimal("NaN"), None, Decimal(2))),
    refused("a signalling NaN", lambda: spread(1, Decimal("sNaN")), NO_CELL.format("Decimal", 1)),
    numeric("fractions", lambda: objects(Fraction(1, 3), 2, None)),
    refused("complex objects", lambda: objects(1.0, 1j), NO_CELL.format("complex", 1)),
    numeric("sparse floats", lambda: pd.arrays.SparseArray(spread(np.nan, 1.5, 2))),
)

SPANS = (
    numeric("durations", lambda: np.array(spread(1, 2, "NaT"), "m8[s]")),
    numeric("durations of 290,000 years", lambda: np.array(spread(9 * 10**12, 1), "m8[s]")),
    arrow("duration", pa.duration("us"), [dt.timedelta(1), None, dt.timedelta(0)], "numeric"),
    arrow("time32", pa.time32("s"), [dt.time(1, 2, 3), None, dt.time(23, 59)], "numeric"),
    arrow("nanoseconds of a day", pa.time64("ns"), [1, None], "", "'odd' is time64.*can't hold"),
)

DATES = (
    date("dates of days", lambda: np.array(spread("1000-01-01", "NaT", "3001-01-01"), "M8[D]")),
    date("dates of Python", lambda: objects(dt.date(1, 1, 1), None, dt.date(9999, 12, 31))),
    date(
        "dates with a zone",
        lambda: pd.to_datetime(spread(1, 10**18, None)).tz_localize("Asia/Tokyo"),
    ),
    date(
        "dates of two zones",
        lambda: objects(dt.datetime(2020, 1, 1, tzinfo=UTC), dt.datetime(2021, 1, 1, tzinfo=EAST)),
    ),
    date(
        "dates with and without a zone",
        lambda: objects(dt.datetime(2020, 1, 1, tzinfo=UTC), dt.datetime(2021, 1, 1), pd.NaT),
    ),
    date("text of far dates", lambda: spread("0001-01-01", "9999-12-31")),
    levels("dates and text", lambda: objects(dt.date(2020, 1, 1), "soon")),
    date("sparse dates", lambda: pd.arrays.SparseArray(pd.to_datetime(spread(1, 10**18)))),
    date(
        "periods of days",
        lambda: pd.PeriodIndex(spread("2020-01-01", None, "2021-03-01"), freq="D"),
    ),
    arrow("date32", pa.date32(), [dt.date(1, 1, 1), None, dt.date(9999, 12, 31)], "date"),
    arrow("timestamp with a zone", pa.timestamp("us", "Europe/Zurich"), [0, None, 10**15], "date"),
)

LEVELS = (
    levels("pandas' boolean", lambda: pd.array(spread(True, None, False), "boolean")),
    arrow("bool", pa.bool_(), [True, None, False], "categorical"),
    levels("booleans and numbers", lambda: objects(True, 0, 2.5)),
    *(
        levels(f"pandas' {name}", lambda n=name: pd.array(spread("a", None, "b"), n))
        for name in ("str", "string[python]", "string[pyarrow]")
    ),
    arrow("binary", pa.binary(), [b"a", None, b"\xff\0"], "categorical"),
    arrow("dictionary", pa.dictionary(pa.int8(), pa.string()), ["a", None, "b"], "categorical"),
    levels("bytes", lambda: objects(b"a", None, b"\xff")),
    levels("identifiers of 128 bits", lambda: objects(UUID(int=1), None, UUID(int=2))),
    levels("text and numbers", lambda: objects("a", 1, 2.5, None, pd.NA, pd.NaT)),
    levels("empty text and spaces", lambda: spread("", " ", "\u00a0")),
    levels("control characters in levels", lambda: spread("\x1b[31mred", "a\0b", "\r\n", "\u202e")),
    levels("half a character", lambda: objects("\ud800", "b")),
    levels("very long text", lambda: spread("a" * 100_000, "b")),
    levels("a number of 5,000 digits among text", lambda: objects("a", 10**5_000)),
    levels("categories of numbers", lambda: pd.Categorical(spread(1.5, None, 2))),
    levels("categories of dates", lambda: pd.Categorical(pd.to_datetime(spread(1, 10**18)))),
    constant("categories without a level", lambda: pd.Categorical([None] * N_ROWS)),
    levels("intervals", lambda: pd.IntervalIndex.from_arrays(spread(0, 1), spread(1, 2))),
    levels("different text in every row", lambda: [f"row {row}" for row in range(N_ROWS)]),
)

NOTHING = (
    constant("all missing", lambda: spread(None, np.nan, pd.NA, pd.NaT)),
    numeric("one value or none", lambda: spread(7, None)),
    arrow("null", pa.null(), [None], "constant"),
)

NO_CELLS = (
    refused("lists", lambda: objects([1], [2]), NO_CELL.format("list", 0)),
    refused("frozen sets", lambda: objects("a", frozenset("ab")), NO_CELL.format("frozenset", 1)),
    refused(
        "categories of tuples", lambda: pd.Categorical(objects((1, 2), (2, 3))), "a tuple in row 0"
    ),
    arrow("list", pa.list_(pa.int64()), [[1], None], "", NO_CELL.format("ndarray", 0)),
)

COLUMNS = (*NUMBERS, *SPANS, *DATES, *LEVELS, *NOTHING, *NO_CELLS)
