"""Rows unlike those of training: unknown levels, and numbers outside the training range."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import date
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from autoimb.data.schema import Columns
from autoimb.pipeline.fitted import FittedPipeline

__all__ = ["Unfamiliar", "known_levels", "ranges_of"]


def known_levels(pipeline: FittedPipeline) -> dict[str, set[str]]:
    """Return the levels that a pipeline distinguishes, by category column.

    At least 3 training rows of a fold have each of them. A column that no model reads has none.
    """
    names = [column.name for column in pipeline.schema.features if column.kind == "categorical"]
    levels: dict[str, set[str]] = {name: set() for name in names}
    for encoder in pipeline.encoders:
        for j, column_levels in zip(encoder.screen.categories, encoder.levels):
            levels[names[j]].update(column_levels)
    for trees in (fold for strategy in pipeline.strategies for fold in strategy.trees):
        for name, column_levels in zip(names, trees.reader.levels):
            levels[name].update(column_levels)
    return levels


def ranges_of(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the range of each column, (2, p), with its ends rounded outwards to two digits.

    Unrounded ends would be values of single rows, which no file may hold. A column without values
    has the widest range.
    """
    widest, present = np.finfo(np.float64).max, ~np.isnan(numbers)
    low = numbers.min(axis=0, initial=widest, where=present)
    high = numbers.max(axis=0, initial=-widest, where=present)
    # A constant column, an empty one and a range that overflows have no step; see the last line.
    with np.errstate(all="ignore"):
        step = 10.0 ** (np.floor(np.log10(high - low)) - 1.0)
        rounded = np.stack([np.floor(low / step) * step, np.ceil(high / step) * step])
    limits = np.stack([np.full(len(low), -widest), np.full(len(low), widest)])
    return np.where(high == low, low, np.where(np.isfinite(rounded).all(axis=0), rounded, limits))


class Unfamiliar:
    """Counter of the cells unlike those of training, by column; threads may share it.

    Parameters
    ----------
    pipeline : FittedPipeline
        Source of the known levels and ranges.
    """

    def __init__(self, pipeline: FittedPipeline) -> None:
        features = pipeline.schema.features
        self._kinds = {column.name: column.kind for column in features}
        self._levels = {name: levels for name, levels in known_levels(pipeline).items() if levels}
        self._ranges: dict[str, tuple[float, float]] = {}
        # The column of each number; that of a date is its number of days.
        self._columns: dict[str, str] = {}
        numbers = (
            (c.name, number) for c in features if c.kind != "categorical" for number in c.numbers
        )
        for (column, number), (low, high) in zip(numbers, pipeline.ranges.T):
            if number in (column, f"{column}.days"):
                self._columns[number], self._ranges[column] = column, (float(low), float(high))
        self._counts: Counter[str] = Counter()
        self._rows = 0
        self._lock = threading.Lock()

    def add(self, columns: Columns) -> None:
        """Count the unfamiliar cells of more rows."""
        counts = dict(chain(self._unknown(columns), self._beyond(columns)))
        with self._lock:
            self._rows += columns.n_rows
            self._counts.update(counts)

    def lines(self) -> Iterator[str]:
        """Yield a line for each column with unfamiliar cells, in the order of the schema."""
        for name, kind in self._kinds.items():
            if not self._counts[name]:
                continue
            description = "unknown level"
            if kind != "categorical":
                write = _day if kind == "date" else "{:g}".format
                limits = " to ".join(map(write, self._ranges[name]))
                description = f"outside the training range {limits}"
            yield f"{name}: {description} in {self._counts[name]} of {self._rows} rows"

    def _unknown(self, columns: Columns) -> Iterator[tuple[str, int]]:
        for j, name in enumerate(columns.category_names):
            if name in self._levels:
                vocabulary, codes = columns.vocabularies[j], columns.codes[:, j]
                unknown = [code for code, v in enumerate(vocabulary) if v not in self._levels[name]]
                yield name, int(np.isin(codes, unknown).sum())

    def _beyond(self, columns: Columns) -> Iterator[tuple[str, int]]:
        for number, values in zip(columns.number_names, columns.numbers.T):
            if number in self._columns:
                low, high = self._ranges[self._columns[number]]
                yield self._columns[number], int(((values < low) | (values > high)).sum())


def _day(days: float) -> str:
    """Write the date from its number of days since 1970-01-01."""
    ordinal = date(1970, 1, 1).toordinal() + math.floor(days)
    is_date = 1 <= ordinal <= date.max.toordinal()
    return date.fromordinal(ordinal).isoformat() if is_date else f"{days:g} days after 1970"
