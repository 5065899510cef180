"""Odd targets and odd weights, beside a plain table."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

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

NO_LABEL = "Unknown label type: {}.*row 0"


def pair(rare: Any, common: Any) -> list[Any]:
    return [rare if is_rare else common for is_rare in RARE]


def target(name: str, make: Callable[[], Any], refused: str = "") -> Case:
    return Case(name, lambda: FitInput(two_columns(), make()), refused)


def many_classes(n_classes: int) -> FitInput:
    codes = np.arange(2 * n_classes) % n_classes
    return FitInput(pd.DataFrame({"plain": codes + 0.5}), np.char.mod("class %d", codes))


def masked_labels() -> np.ma.MaskedArray:
    return np.ma.MaskedArray(RARE.astype(int), np.arange(N_ROWS) == 3)


LABELLED = (
    target("labels of sparse cells", lambda: pd.arrays.SparseArray(RARE.astype(int))),
    target("labels of bytes", lambda: np.array(pair(b"a", b"b"), "S1"), NO_LABEL.format("bytes")),
    target("labels of another machine", lambda: RARE.astype(">i4")),
    target("labels beyond 64 bits", lambda: pair(2**70, -(2**70))),
    target("labels that are huge floats", lambda: pair(1e300, 0.0)),
    target("labels of two zeros", lambda: pair(-0.0, 0.0), "one class"),
    target("labels of numbers and booleans", lambda: pd.Series(pair(True, 0), dtype=object)),
    target("labels that differ by their form", lambda: pair("\u00e9", "e\u0301")),
    target("labels that are empty and blank", lambda: pair("", " ")),
    target("labels of control characters", lambda: pair(f"a{ESCAPES}", "a\0b")),
    target("labels of 10,000 characters", lambda: pair("a" * 10_000, "b")),
    target("labels in a column vector", lambda: LABELS.reshape(-1, 1)),
    target("labels in a frame of one column", lambda: pd.DataFrame({"y": LABELS})),
    target("labels in a masked array", lambda: np.ma.MaskedArray(RARE.astype(int))),
    target("labels of polars", lambda: pl.Series(LABELS)),
    target("labels of polars' categories", lambda: pl.Series(LABELS, dtype=pl.Categorical)),
    target("labels in a table of Arrow", lambda: pa.table({"y": LABELS})),
    Case("labels that are a feature", lambda: FitInput(two_columns().assign(answer=LABELS))),
    Case("40 classes of two rows", lambda: many_classes(40)),
)

NO_LABELS = (
    target("no labels", lambda: None, "target y is None"),
    target("labels that are the name of a column", lambda: "city", "1d array, got a str"),
    target(
        "labels that are all different", lambda: range(N_ROWS), "40 rows have different classes"
    ),
    target("labels of several columns", lambda: np.eye(N_ROWS, 3), "1d array.*shape .40, 3"),
    target("labels in lists", lambda: pd.Series(pair([1], [2])), "must be of one type"),
    target("labels in lists of two lengths", lambda: pair([1], [1, 2]), "lists inside"),
    target("labels of several kinds", lambda: pd.Series(pair("a", 1)), "must be of one type"),
    target("labels with fractions", lambda: pair(0.5, 1.0), "continuous.*0.5 in row 0"),
    target("labels of infinity", lambda: pair(np.inf, 1.0), "type: infinity"),
    target("a label that is NaN", lambda: pair(np.nan, 1.0), "misses 10 of 40 values.*row 0"),
    target("a label that is NA", lambda: pd.array(pair(None, 1), "Int64"), "misses 10 of 40"),
    target("a label that is masked", masked_labels, "misses 1 of 40 values.*row 3"),
    target("complex labels", lambda: pair(1j, 1.0), "type: complex"),
    target("labels of dates", lambda: pd.to_datetime(pair(1, 2)), NO_LABEL.format("Timestamp")),
    target("labels of tuples", lambda: pd.Series(pair((1, 2), (2, 3))), NO_LABEL.format("tuple")),
    target("labels of decimals", lambda: pair(Decimal(1), Decimal(2)), NO_LABEL.format("Decimal")),
    target("labels of long doubles", lambda: RARE.astype(np.longdouble), "longdouble"),
    target(
        "half a character in a label", lambda: pair("\ud800", "b"), r"\\ud800.*not valid Unicode"
    ),
    target("labels of 10,001 characters", lambda: pair("a" * 10_001, "b"), "10,000 characters"),
    target("labels of 1,001 digits", lambda: pair(10**1_000, 1), "1,000 digits"),
    target("a gap in Arrow", lambda: pa.array(pair(None, 1), pa.int32()), "misses 10 of 40"),
)


def weighed(name: str, make: Callable[[], Any], refused: str = "") -> Case:
    return Case(name, lambda: FitInput(two_columns(), LABELS, make()), refused)


WEIGHTS = (
    weighed("weights of booleans", lambda: RARE | (PLAIN > 0.5)),
    weighed("weights in a frame", lambda: pd.DataFrame({"w": spread(1, 2)})),
    weighed("subnormal weights", lambda: spread(5e-324)),
    weighed(
        "weights that are words", lambda: spread(1, "two"), "'sample_weight'.*row 1 holds 'two'"
    ),
    weighed("complex weights", lambda: spread(1j), "Complex data.*sample_weight"),
    weighed("masked weights", lambda: np.ma.MaskedArray(PLAIN, RARE), "must.*row 0 holds nan"),
    weighed("infinite weights", lambda: spread(1, np.inf), "'sample_weight', row 1"),
    weighed("weights of 1e308", lambda: spread(1e308), "sample_weight.*finite sum"),
    weighed(
        "fewer weights than rows", lambda: spread(1)[1:], r"sample_weight.*\(40,\).*got \(39,\)"
    ),
    weighed("one weight", lambda: 1.0, "sample_weight should be a 1d array, got a float"),
    weighed("a class of weight 0", lambda: (~RARE).astype(float), "one class .'no' in all 30"),
)

TARGETS = (*LABELLED, *NO_LABELS, *WEIGHTS)
