"""Odd targets and odd weights, beside a plain table."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from scipy import sparse

from tests.support.odd_tables import (
    ESCAPES,
    LABELS,
    N_ROWS,
    PLAIN,
    RARE,
    Case,
    FitInput,
    spread,
    two_columns,
)

BIG = 2**53 + 1
NO_LABEL = "Unknown label type: {}.*row 0"


def pair(rare: Any, common: Any) -> list[Any]:
    return [rare if is_rare else common for is_rare in RARE]


def target(name: str, make: Callable[[], Any], refused: str = "") -> Case:
    return Case(name, lambda: FitInput(two_columns(), make()), refused)


def arrow(kind: pa.DataType, rare: Any, common: Any, refused: str = "") -> Case:
    """Return a case of labels in an Arrow array."""
    return target(f"labels of {kind}", lambda: pa.array(pair(rare, common), kind), refused)


def carried(kind: pa.DataType, rare: Any, common: Any, refused: str = "") -> Case:
    """Return a case of labels in a pandas column of an Arrow type."""
    labels = pair(rare, common)
    return target(f"pandas' {kind}", lambda: pd.Series(labels, dtype=pd.ArrowDtype(kind)), refused)


def many_classes(n_classes: int) -> FitInput:
    codes = np.arange(2 * n_classes) % n_classes
    return FitInput(pd.DataFrame({"plain": codes + 0.5}), np.char.mod("class %d", codes))


def masked_labels() -> np.ma.MaskedArray:
    return np.ma.MaskedArray(RARE.astype(int), np.arange(N_ROWS) == 3)


LABELLED = (
    target("labels of booleans", lambda: RARE),
    target("labels of text", lambda: LABELS),
    target("labels in a list", LABELS.tolist),
    target("labels of pandas' strings", lambda: pd.array(pair("yes", "no"), "string")),
    target("labels of pandas' integers", lambda: pd.array(pair(BIG, BIG - 1), "Int64")),
    target("labels of pandas' booleans", lambda: pd.array(pair(True, False), "boolean")),
    target("labels of sparse cells", lambda: pd.arrays.SparseArray(RARE.astype(int))),
    target("labels of unused categories", lambda: pd.Categorical(LABELS, ["maybe", "yes", "no"])),
    target("labels of categories of numbers", lambda: pd.Categorical(pair(2.0, 1.0))),
    target("labels in an index", lambda: pd.Index(LABELS)),
    target("labels of bytes", lambda: np.array(pair(b"a", b"b"), "S1"), NO_LABEL.format("bytes")),
    target("labels of half precision", lambda: RARE.astype(np.float16)),
    target("labels of another machine", lambda: RARE.astype(">i4")),
    target("labels of 64 bits without a sign", lambda: pair(2**64 - 1, 2**63)),
    target("labels beyond 64 bits", lambda: pair(2**70, -(2**70))),
    target("labels that are whole floats", lambda: pair(2.0, -1.0)),
    target("labels that are huge floats", lambda: pair(1e300, 0.0)),
    target("labels of two zeros", lambda: pair(-0.0, 0.0), "one class"),
    target("labels of numbers and booleans", lambda: pd.Series(pair(True, 0), dtype=object)),
    target("labels of every script", lambda: pair("Größe 👩‍👩‍👧", "e\u0301")),
    target("labels that differ by their form", lambda: pair("\u00e9", "e\u0301")),
    target("labels that are empty and blank", lambda: pair("", " ")),
    target("labels of control characters", lambda: pair(f"a{ESCAPES}", "a\0b")),
    target("labels of formulas", lambda: pair('=HYPERLINK("x")', "@b")),
    target("labels of 10,000 characters", lambda: pair("a" * 10_000, "b")),
    target("labels in a column vector", lambda: LABELS.reshape(-1, 1)),
    target("labels in a frame of one column", lambda: pd.DataFrame({"y": LABELS})),
    target("labels in a masked array", lambda: np.ma.MaskedArray(RARE.astype(int))),
    target("labels of polars", lambda: pl.Series(LABELS)),
    target("labels of polars' categories", lambda: pl.Series(LABELS, dtype=pl.Categorical)),
    target("labels in chunks of Arrow", lambda: pa.chunked_array([LABELS[:9], LABELS[9:]])),
    target("labels in a table of Arrow", lambda: pa.table({"y": LABELS})),
    arrow(pa.int64(), BIG, BIG + 1),
    arrow(pa.bool_(), True, False),
    arrow(pa.dictionary(pa.int8(), pa.string()), "a", "b"),
    arrow(pa.string_view(), "a", "b"),
    carried(pa.float64(), 1.0, 2.0),
    carried(pa.large_string(), "a", "b"),
    Case(
        "labels that are a feature", lambda: FitInput(two_columns().assign(answer=LABELS), LABELS)
    ),
    target("a class of two rows", lambda: np.where(np.arange(N_ROWS) < 2, "rare", LABELS)),
    target("a class of one row", lambda: np.where(np.arange(N_ROWS) < 1, "rare", LABELS)),
    Case("40 classes of two rows", lambda: many_classes(40)),
)

DAYS = pd.to_datetime(pair(1, 2))

NO_LABELS = (
    target("no labels", lambda: None, "target y is None"),
    target("labels that are the name of a column", lambda: "city", "1d array, got a str"),
    target("labels in a dict", lambda: dict(enumerate(LABELS)), "1d array, got a dict"),
    target(
        "labels in a sparse matrix", lambda: sparse.csr_matrix(RARE), "1d array, got a csr_matrix"
    ),
    target("labels in records", lambda: np.zeros(N_ROWS, [("a", int)]), "1d array, got"),
    target("one class", lambda: ["yes"] * N_ROWS, "one class .'yes' in all 40 rows"),
    target(
        "labels that are all different", lambda: range(N_ROWS), "40 rows have different classes"
    ),
    target("labels of several columns", lambda: np.eye(N_ROWS, 3), "1d array.*shape .40, 3"),
    target("labels in a frame of two columns", two_columns, "1d array.*shape .40, 2"),
    target("labels in lists", lambda: pd.Series(pair([1], [2])), "must be of one type"),
    target("labels in lists of two lengths", lambda: pair([1], [1, 2]), "lists inside"),
    target("labels of several kinds", lambda: pd.Series(pair("a", 1)), "must be of one type"),
    target("labels with fractions", lambda: pair(0.5, 1.0), "continuous.*0.5 in row 0"),
    target("fractions of pandas", lambda: pd.array(pair(0.5, 1), "Float64"), "ous.*0.5 in row 0"),
    target("labels of infinity", lambda: pair(np.inf, 1.0), "type: infinity"),
    target("a label that is NaN", lambda: pair(np.nan, 1.0), "misses 10 of 40 values.*row 0"),
    target("a label that is None", lambda: pair(None, "a"), "misses 10 of 40 values.*row 0"),
    target("a label that is NA", lambda: pd.array(pair(None, 1), "Int64"), "misses 10 of 40"),
    target(
        "a category that is missing", lambda: pd.Categorical(pair(None, "a")), "misses 10 of 40"
    ),
    target("a label that is masked", masked_labels, "misses 1 of 40 values.*row 3"),
    target("missing labels alone", lambda: [None] * N_ROWS, "misses 40 of 40"),
    target("complex labels", lambda: pair(1j, 1.0), "type: complex"),
    target("complex labels as objects", lambda: pd.Series(pair(1j, 1.0), dtype=object), "omplex"),
    target("labels of dates", lambda: DAYS, NO_LABEL.format("Timestamp")),
    target("dates as categories", lambda: pd.Categorical(DAYS), NO_LABEL.format("Timestamp")),
    target("labels of periods", lambda: pd.PeriodIndex(pair("2020", "2021"), freq="Y"), "Period"),
    target("labels of intervals", lambda: pd.cut(PLAIN, 2), "Unknown label type: Interval"),
    target("labels of durations", lambda: pd.to_timedelta(pair(1, 2)), "type: Timedelta"),
    target("labels of tuples", lambda: pd.Series(pair((1, 2), (2, 3))), NO_LABEL.format("tuple")),
    target("labels of objects", lambda: pair(object(), object()), NO_LABEL.format("object")),
    target("labels of decimals", lambda: pair(Decimal(1), Decimal(2)), NO_LABEL.format("Decimal")),
    target("labels of long doubles", lambda: RARE.astype(np.longdouble), "longdouble"),
    target(
        "half a character in a label", lambda: pair("\ud800", "b"), r"\\ud800.*not valid Unicode"
    ),
    target("labels of 10,001 characters", lambda: pair("a" * 10_001, "b"), "10,000 characters"),
    target("labels of 1,001 digits", lambda: pair(10**1_000, 1), "1,000 digits"),
    arrow(pa.null(), None, None, "misses 40 of 40"),
    arrow(pa.date32(), dt.date(2020, 1, 1), dt.date(2021, 1, 1), NO_LABEL.format("date")),
    arrow(pa.timestamp("s"), 1, 2, NO_LABEL.format("Timestamp")),
    arrow(pa.duration("s"), 1, 2, NO_LABEL.format("Timedelta")),
    arrow(pa.decimal128(5, 2), Decimal(1), Decimal(2), NO_LABEL.format("Decimal")),
    arrow(pa.binary(), b"a", b"b", NO_LABEL.format("bytes")),
    arrow(pa.list_(pa.int64()), [1], [2], "must be of one type"),
    arrow(pa.int32(), None, 1, "misses 10 of 40"),
    carried(
        pa.timestamp("s", "UTC"), dt.datetime(2020, 1, 1), dt.datetime(2021, 1, 1), "Timestamp"
    ),
)


def weighed(name: str, make: Callable[[], Any], refused: str = "") -> Case:
    return Case(name, lambda: FitInput(two_columns(), LABELS, make()), refused)


WEIGHTS = (
    weighed("weights of booleans", lambda: RARE | (PLAIN > 0.5)),
    weighed("weights of text", lambda: spread("1", "2.5")),
    weighed("weights of decimals", lambda: spread(Decimal("1.5"), Decimal(2))),
    weighed("weights of pandas' integers", lambda: pd.array(spread(1, 2), "UInt8")),
    weighed("weights of Arrow", lambda: pa.array(spread(1.5, 2))),
    weighed("weights in a frame", lambda: pd.DataFrame({"w": spread(1, 2)})),
    weighed("subnormal weights", lambda: spread(5e-324)),
    weighed(
        "weights that are words", lambda: spread(1, "two"), "'sample_weight'.*row 1 holds 'two'"
    ),
    weighed(
        "weights that are dates",
        lambda: pd.to_datetime(spread(1)),
        "'sample_weight' must.*row 0 holds '1970",
    ),
    weighed("complex weights", lambda: spread(1j), "Complex data.*sample_weight"),
    weighed(
        "missing weights",
        lambda: pd.array(spread(1, None), "Int64"),
        "'sample_weight' must.*row 1 holds nan",
    ),
    weighed(
        "masked weights",
        lambda: np.ma.MaskedArray([1.0] * N_ROWS, RARE),
        "'sample_weight' must.*row 0 holds nan",
    ),
    weighed("infinite weights", lambda: spread(1, np.inf), "'sample_weight', row 1"),
    weighed("negative weights", lambda: spread(1, -1), "'sample_weight' must.*row 1 holds -1"),
    weighed("weights of 1e308", lambda: spread(1e308), "sample_weight.*finite sum"),
    weighed(
        "fewer weights than rows", lambda: spread(1)[1:], r"sample_weight.*\(40,\).*got \(39,\)"
    ),
    weighed("weights of two columns", lambda: np.ones((N_ROWS, 2)), "sample_weight.*shape .40, 2"),
    weighed("one weight", lambda: 1.0, "sample_weight should be a 1d array, got a float"),
    weighed("a class of weight 0", lambda: (~RARE).astype(float), "one class .'no' in all 30"),
)

TARGETS = (*LABELLED, *NO_LABELS, *WEIGHTS)
