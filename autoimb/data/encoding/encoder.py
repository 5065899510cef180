"""Typed columns to what networks read; fitted on training rows only, made of arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.data.encoding.bins import edges_of
from autoimb.data.encoding.layout import Layout
from autoimb.data.encoding.levels import (
    FIRST_LEVEL,
    RARE,
    category_codes,
    levels_of_arrays,
    levels_to_arrays,
)
from autoimb.data.encoding.rows import Encoded
from autoimb.data.encoding.scaling import scales, squash
from autoimb.data.encoding.screening import Screen
from autoimb.data.encoding.spikes import spikes_of
from autoimb.data.encoding.statistics import Statistics, Target
from autoimb.data.schema import Columns
from autoimb.text import BriefRepr

__all__ = ["Encoder", "most_bins"]

MOST_BINS = 16
MOST_INPUTS = 512  # bins of all columns together: many columns get fewer bins each
BLOCK = 1_024  # rows worked on at a time, so that temporaries stay in cache


@dataclass(frozen=True, eq=False, repr=False)
class Encoder(BriefRepr):
    """The fitted encoding.

    Sees: training rows; of labels, which columns are read, where bins end, which values stand out
    and the statistics.

    Attributes
    ----------
    screen : Screen
        The p numbers and the q category columns that are read.
    center, factor : ndarray of shape (p,), float64
        Median, and one over the interquartile range (or the standard deviation, or the range,
        where that is 0); the factor is 0 for a column that is constant in training.
    bins : ndarray of shape (p,), int64
        Number of PLE bins of each number, 1 to 16, fewer where there are many numbers.
    edges : ndarray of shape (sum(bins + 1),), float32
        Edges of the bins, on scaled numbers, column after column.
    spike_column : ndarray of shape (s,), int64
        Rising; which number each spike is a value of, at most as many of a number as bins.
    spike_value : ndarray of shape (s,), float32
        Scaled values that get a column of their own, since their classes are not those of the
        values around them; see `spikes_of`.
    indicator : ndarray of shape (p,), int64
        Which of the f indicators tells that this number is missing; -1 for none. Columns that are
        missing in the same training rows share one.
    seen : ndarray of shape (q, 2), bool
        Whether "other" and "missing" occur in training; if not, they get no one-hot column.
    onehot_mean : ndarray of shape (sum(onehot_widths),), float32
        Share of the training rows in each one-hot column: what a level that training lacks is
        written as, so that it moves a prediction no more than an average row does.
    levels : tuple of q tuples of str
        The levels with codes 2 and up, sorted: those with at least 3 training rows.
    layout : Layout
        Which of the q columns are one-hot, and what gets statistics.
    statistics : Statistics
        What levels say of the classes.
    """

    screen: Screen
    center: NDArray[np.float64]
    factor: NDArray[np.float64]
    bins: NDArray[np.int64]
    edges: NDArray[np.float32]
    spike_column: NDArray[np.int64]
    spike_value: NDArray[np.float32]
    indicator: NDArray[np.int64]
    seen: NDArray[np.bool_]
    onehot_mean: NDArray[np.float32]
    levels: tuple[tuple[str, ...], ...]
    layout: Layout
    statistics: Statistics

    # --- fitting -----------------------------------------------------------------------------

    @classmethod
    def fit(
        cls,
        columns: Columns,
        rows: NDArray[np.int64],
        *,
        layout: Layout,
        y: NDArray[np.int64] | None = None,
        weight: NDArray[np.float64] | None = None,
    ) -> Encoder:
        """Fit on some rows; nothing of the others reaches the result.

        Parameters
        ----------
        columns : Columns
            The table.
        rows : ndarray of int64
            Training rows.
        layout : Layout
            The layout of the study.
        y : ndarray of int64, shape (n,), optional
            Class codes of the table, of which those of `rows` are looked at: bins of numbers end
            where classes part, too, and values of other classes than those around them get a
            column. Without labels bins follow the numbers alone, there are no such columns, and
            statistics are 0.
        weight : ndarray of float64, shape (n,), optional
            Weights of the table's rows, by which statistics count them; by default 1.

        Returns
        -------
        Encoder
        """
        screen = Screen.fit(columns.take(rows), None if y is None else y[rows], layout=layout)
        columns, layout = screen.columns(columns), screen.layout(layout)
        numbers = columns.numbers[rows]
        edges, spikes, most = [], [], most_bins(numbers.shape[1])
        center, factor = scales(numbers)
        for values, middle, slope in zip(numbers.T, center, factor):
            known = ~np.isnan(values)
            labels = None if y is None else y[rows[known]]
            scaled = squash(values[known], middle, slope)
            edges.append(edges_of(scaled, most, labels))
            spikes.append(spikes_of(scaled, most, labels))
        levels, seen, shares = [], [], []
        for j, vocabulary in enumerate(columns.vocabularies):
            counts = np.bincount(columns.codes[rows, j] + 1, minlength=len(vocabulary) + 1)
            often = counts[1:] >= RARE
            levels.append(tuple(vocabulary[code] for code in np.flatnonzero(often)))
            other, missing = int(counts[1:][~often].sum()), int(counts[0])
            seen.append((other > 0, missing > 0))
            # A level, and "other" or "missing" where they occur: none of them is without a row.
            sizes = np.array([*filter(None, (other, missing)), *counts[1:][often]])
            shares.append((sizes / len(rows)).astype(np.float32))
        target = None if y is None else _target(rows, y, weight)
        return cls(
            screen=screen,
            center=center,
            factor=factor,
            bins=np.array([len(each) - 1 for each in edges], dtype=np.int64),
            edges=np.concatenate([np.empty(0, dtype=np.float32), *edges]),
            spike_column=np.repeat(np.arange(len(spikes)), [len(each) for each in spikes]),
            spike_value=np.concatenate([np.empty(0, dtype=np.float32), *spikes]),
            indicator=_indicators(columns.numbers, rows),
            seen=np.array(seen, dtype=bool).reshape(len(levels), 2),
            onehot_mean=np.concatenate(
                [np.empty(0, dtype=np.float32), *(shares[j] for j in layout.onehot)]
            ),
            levels=tuple(levels),
            layout=layout,
            statistics=Statistics.fit(columns.take(rows), levels, layout=layout, target=target),
        )

    # --- transforming ------------------------------------------------------------------------

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of codes of the q category columns and the f indicators."""
        sizes = tuple(len(levels) + FIRST_LEVEL for levels in self.levels)
        return sizes + (2,) * len(self._missing_columns)

    @property
    def embedded_cardinalities(self) -> tuple[int, ...]:
        """Number of codes of the Q embedded columns."""
        return tuple(self.cardinalities[j] for j in self.layout.embedded)

    @cached_property
    def _missing_columns(self) -> NDArray[np.int64]:
        """The number that each of the f indicators watches, shape (f,)."""
        shown, first = np.unique(self.indicator, return_index=True)
        return first[shown >= 0].astype(np.int64)

    def transform(self, columns: Columns, rows: NDArray[np.int64] | None = None) -> Encoded:
        """Encode rows.

        Parameters
        ----------
        columns : Columns
            A table of the same schema; its vocabularies may differ, an unknown level is "other".
        rows : ndarray of int64, optional
            The rows to encode; by default all.

        Returns
        -------
        Encoded
        """
        part = columns if rows is None else columns.take(rows)
        return self._encoded(self.screen.columns(part), self.statistics.of)

    def transform_training(
        self,
        columns: Columns,
        rows: NDArray[np.int64],
        y: NDArray[np.int64],
        weight: NDArray[np.float64],
        cluster: NDArray[np.int64] | None = None,
        time: NDArray[np.float64] | None = None,
    ) -> Encoded:
        """Encode the rows that it was fitted on, in the same order, for something to learn from.

        Their statistics are cross-fitted: no label reaches its own row, one of its group or an
        earlier one.

        Parameters
        ----------
        columns, rows, y, weight
            As in `fit`.
        cluster : ndarray of int64, or None
            The user's group of each row of the table.
        time : ndarray of float64, or None
            When each row of the table was observed.

        Returns
        -------
        Encoded
        """
        target = _target(rows, y, weight, cluster, time)
        return self._encoded(
            self.screen.columns(columns.take(rows)),
            lambda part, codes: self.statistics.of_training(part, codes, target),
        )

    def _encoded(
        self,
        part: Columns,
        statistics: Callable[[Columns, NDArray[np.int32]], NDArray[np.float32]],
    ) -> Encoded:
        n_numbers, n_categories = part.numbers.shape[1], len(self.levels)
        codes = np.empty((part.n_rows, len(self.cardinalities)), dtype=np.int32)
        codes[:, :n_categories] = category_codes(part, self.levels)
        codes[:, n_categories:] = np.isnan(part.numbers[:, self._missing_columns])
        numbers = np.empty((part.n_rows, n_numbers + self.statistics.width), dtype=np.float32)
        for block in _blocks(part.n_rows):
            scaled = squash(part.numbers[block], self.center, self.factor)
            np.copyto(scaled, 0, where=np.isnan(scaled))
            numbers[block, :n_numbers] = scaled
        numbers[:, n_numbers:] = statistics(part, codes[:, :n_categories])
        return Encoded(numbers, codes, self.cardinalities)

    def width(self, *, ple: bool) -> int:
        """Give the number D of columns of `dense`."""
        numbers = int(self.bins.sum()) if ple else len(self.bins)
        others = len(self.spike_value) + self.statistics.width + len(self._missing_columns)
        return numbers + sum(self.onehot_widths) + others

    @cached_property
    def onehot_widths(self) -> tuple[int, ...]:
        """Number of columns of each one-hot column."""
        return tuple(len(self.levels[j]) + int(self.seen[j].sum()) for j in self.layout.onehot)

    def dense(
        self, encoded: Encoded, *, ple: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Write encoded rows as inputs of a network.

        Parameters
        ----------
        encoded : Encoded
            Rows encoded by this encoder, or made from such rows.
        ple : bool
            Whether numbers are piecewise-linear encoded (Gorishniy et al. 2022, "On embeddings for
            numerical features"): bin t holds ``(x - e_t) / (e_{t+1} - e_t)`` clipped to [0, 1].
            The first bin goes on below and the last above, as there, but by no more than one
            width. A missing number is 0 in all bins. Otherwise the scaled numbers stand.

        Returns
        -------
        x : ndarray of shape (n, D), float32
            Numbers or their bins, one-hot columns ("other" and "missing" only where they occur in
            training; elsewhere they are the mean of the training rows), spikes, statistics, then
            indicators.
        codes : ndarray of shape (n, Q), int64
            Codes of the embedded columns.
        """
        n_rows, n_categories = encoded.n_rows, len(self.levels)
        x = np.zeros((n_rows, self.width(ple=ple)), dtype=np.float32)
        start = int(self.bins.sum()) if ple else len(self.bins)
        if ple:
            self._write_bins(encoded, x[:, :start])
        else:
            x[:, :start] = encoded.numbers[:, :start]
        mean_start = 0
        for j, width in zip(self.layout.onehot, self.onehot_widths):
            place = np.full(self.cardinalities[j], -1, dtype=np.int64)
            place[np.concatenate([self.seen[j], np.ones(len(self.levels[j]), dtype=bool)])] = (
                np.arange(width)
            )
            hot = place[encoded.codes[:, j]]
            rows = np.flatnonzero(hot >= 0)
            x[rows, start + hot[rows]] = 1
            mean = self.onehot_mean[mean_start : mean_start + width]
            x[hot < 0, start : start + width] = mean
            start, mean_start = start + width, mean_start + width
        for column, value in zip(self.spike_column, self.spike_value):
            same = encoded.numbers[:, column] == value
            x[:, start] = same & ~self._absent(encoded, column, slice(None))
            start += 1
        told = encoded.numbers[:, len(self.bins) :]
        x[:, start : start + told.shape[1]] = told
        x[:, start + told.shape[1] :] = encoded.codes[:, n_categories:]
        return x, encoded.codes[:, list(self.layout.embedded)].astype(np.int64)

    def _write_bins(self, encoded: Encoded, out: NDArray[np.float32]) -> None:
        """Fill `out` of shape (n, sum(bins)) block by block, in place."""
        column = np.repeat(np.arange(len(self.bins)), self.bins)  # (sum(bins),)
        ends = np.cumsum(self.bins)
        first, last = ends - self.bins, ends - 1
        left = np.arange(len(column)) + column  # each column has one edge more than bins
        slope = 1 / (self.edges[left + 1] - self.edges[left])
        low, high = np.zeros_like(slope), np.ones_like(slope)
        low[first], high[last] = -1, 2
        for block in _blocks(encoded.n_rows):
            view, numbers = out[block], encoded.numbers[block, : len(self.bins)]
            np.subtract(np.repeat(numbers, self.bins, axis=1), self.edges[left], out=view)
            view *= slope
            np.maximum(view, low, out=view)
            np.minimum(view, high, out=view)
            for j in np.flatnonzero(self.indicator >= 0):
                view[self._absent(encoded, int(j), block), first[j] : ends[j]] = 0

    def _absent(self, encoded: Encoded, number: int, rows: slice) -> NDArray[np.bool_]:
        """Say where a number is missing."""
        scaled, watched = encoded.numbers[rows, number], self.indicator[number]
        if watched < 0:
            return np.zeros(len(scaled), dtype=bool)
        # an indicator may stand for several columns: a missing number is exactly 0
        absent: NDArray[np.bool_] = encoded.codes[rows, len(self.levels) + watched] == 1
        absent &= scaled == 0
        return absent

    # --- storing -----------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted arrays by name, those of the levels among them, without the layout."""
        return {
            **self.screen.to_arrays(),
            "center": self.center,
            "factor": self.factor,
            "bins": self.bins,
            "edges": self.edges,
            "spike_column": self.spike_column,
            "spike_value": self.spike_value,
            "indicator": self.indicator,
            "seen": self.seen.astype(np.uint8),
            "onehot_mean": self.onehot_mean,
            **levels_to_arrays(self.levels),
            **self.statistics.to_arrays(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], layout: Layout) -> Encoder:
        """Build an encoder from the arrays of `to_arrays` and its layout."""
        levels = levels_of_arrays(arrays)
        return cls(
            screen=Screen.from_arrays(arrays),
            center=arrays["center"],
            factor=arrays["factor"],
            bins=arrays["bins"],
            edges=arrays["edges"],
            spike_column=arrays["spike_column"],
            spike_value=arrays["spike_value"],
            indicator=arrays["indicator"],
            seen=arrays["seen"].astype(bool),
            onehot_mean=arrays["onehot_mean"],
            levels=levels,
            layout=layout,
            statistics=Statistics.from_arrays(arrays, layout, levels),
        )


def most_bins(n_numbers: int) -> int:
    """Give the most bins of a number where there are so many: 2 to 16, together some 512."""
    return int(np.clip(MOST_INPUTS // max(n_numbers, 1), 2, MOST_BINS))


def _target(
    rows: NDArray[np.int64],
    y: NDArray[np.int64],
    weight: NDArray[np.float64] | None,
    cluster: NDArray[np.int64] | None = None,
    time: NDArray[np.float64] | None = None,
) -> Target:
    own = np.ones(len(rows)) if weight is None else weight[rows]
    return Target(
        y=y[rows],
        weight=own / own.mean(),
        cluster=None if cluster is None else cluster[rows],
        time=None if time is None else time[rows],
    )


def _blocks(n_rows: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, n_rows, BLOCK))


def _indicators(numbers: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give equal patterns of missing rows one number; -1 where all or none are missing."""
    indicator = np.full(numbers.shape[1], -1, dtype=np.int64)
    known: dict[bytes, int] = {}
    for j in range(numbers.shape[1]):
        missing = np.isnan(numbers[rows, j])
        if missing.any() and not missing.all():
            pattern = np.packbits(missing).tobytes()
            indicator[j] = known.setdefault(pattern, len(known))
    return indicator
