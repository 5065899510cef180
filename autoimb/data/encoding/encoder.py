"""Encoder from typed columns to the inputs of networks, fitted on training rows only."""

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
from autoimb.data.encoding.statistics import Statistics, Target
from autoimb.data.schema import Columns
from autoimb.text import BriefRepr

__all__ = ["MAX_BINS", "Encoder", "max_bins"]

# Fields of an encoder that a file stores as they are.
_ARRAYS = ("center", "factor", "bins", "edges", "indicator", "onehot_mean")
MAX_BINS = 16
MAX_INPUTS = 512  # bins of all columns together: many columns get fewer bins each
BLOCK = 1_024  # rows processed at a time, so that temporary arrays fit into the cache


@dataclass(frozen=True, eq=False, repr=False)
class Encoder(BriefRepr):
    """Fitted encoding of typed columns.

    It is fitted on training rows. Their labels determine the columns that are read, the edges of
    bins and the level statistics.

    Attributes
    ----------
    screen : Screen
        Selection of the p numbers and the q categorical columns that are read.
    center, factor : ndarray of shape (p,), float64
        Median, and reciprocal of the interquartile range (or of the standard deviation, or of the
        range, if that is 0). The factor is 0 for a column that is constant in training.
    bins : ndarray of shape (p,), int64
        Number of piecewise-linear (PLE) bins of each number: 1 to 16, fewer with many numbers.
    edges : ndarray of shape (sum(bins + 1),), float32
        Edges of the bins, in scaled numbers, column after column.
    indicator : ndarray of shape (p,), int64
        Index of the missing-value indicator of each number among the f indicators; -1 without one.
        Columns that are missing in the same training rows share an indicator.
    reserved_seen : ndarray of shape (q, 2), bool
        Whether the reserved levels "other" and "missing" occur in training. A reserved level that
        does not occur has no one-hot column.
    onehot_mean : ndarray of shape (sum(onehot_widths),), float32
        Share of the training rows in each one-hot column. It encodes a level that does not occur in
        training, so that such a level moves a prediction no more than an average row does.
    levels : tuple of q tuples of str
        Sorted levels with at least 3 training rows, which have the codes 2 and up.
    layout : Layout
        Encoding of each of the q columns, and the columns with level statistics.
    statistics : Statistics
        Target statistics of the levels.
    """

    screen: Screen
    center: NDArray[np.float64]
    factor: NDArray[np.float64]
    bins: NDArray[np.int64]
    edges: NDArray[np.float32]
    indicator: NDArray[np.int64]
    reserved_seen: NDArray[np.bool_]
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
        """Fit on some rows of a table; other rows do not influence the result.

        Parameters
        ----------
        columns : Columns
            Columns of the table.
        rows : ndarray of int64
            Training rows.
        layout : Layout
            Layout of the study.
        y : ndarray of int64, shape (n,), optional
            Class codes of the table; only those of `rows` are read. They place some edges of bins
            at the boundaries of classes. Without labels the bins follow the numbers alone, and
            statistics are 0.
        weight : ndarray of float64, shape (n,), optional
            Weights of the table's rows in the statistics; 1 by default.

        Returns
        -------
        Encoder
        """
        screen = Screen.fit(columns.take(rows), None if y is None else y[rows], layout=layout)
        columns, layout = screen.columns(columns), screen.layout(layout)
        numbers = columns.numbers[rows]
        # Numbers: scale and edges of bins, from the present values of the training rows.
        edges, limit = [], max_bins(numbers.shape[1])
        center, factor = scales(numbers)
        for values, middle, slope in zip(numbers.T, center, factor):
            present = ~np.isnan(values)
            labels = None if y is None else y[rows[present]]
            scaled = squash(values[present], middle, slope)
            edges.append(edges_of(scaled, limit, labels))
        # Categories: frequent levels, reserved levels that occur, and shares of the rows.
        levels, reserved_seen, shares = [], [], []
        for j, vocabulary in enumerate(columns.vocabularies):
            counts = np.bincount(columns.codes[rows, j] + 1, minlength=len(vocabulary) + 1)
            is_frequent = counts[1:] >= RARE
            levels.append(tuple(vocabulary[code] for code in np.flatnonzero(is_frequent)))
            n_other, n_missing = int(counts[1:][~is_frequent].sum()), int(counts[0])
            reserved_seen.append((n_other > 0, n_missing > 0))
            # The one-hot columns are those of the reserved levels that occur, and of the levels.
            sizes = np.array([*filter(None, (n_other, n_missing)), *counts[1:][is_frequent]])
            shares.append((sizes / len(rows)).astype(np.float32))
        target = None if y is None else Target.of_rows(rows, y, weight)
        return cls(
            screen=screen,
            center=center,
            factor=factor,
            bins=np.array([len(column_edges) - 1 for column_edges in edges], dtype=np.int64),
            edges=np.concatenate([np.empty(0, dtype=np.float32), *edges]),
            indicator=_indicators(columns.numbers, rows),
            reserved_seen=np.array(reserved_seen, dtype=bool).reshape(len(levels), 2),
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
        """Number of codes of each of the q categorical columns and the f indicators."""
        sizes = tuple(len(levels) + FIRST_LEVEL for levels in self.levels)
        return sizes + (2,) * len(self._missing_columns)

    @property
    def embedded_cardinalities(self) -> tuple[int, ...]:
        """Number of codes of each of the Q embedded columns."""
        return tuple(self.cardinalities[j] for j in self.layout.embedded)

    @cached_property
    def _missing_columns(self) -> NDArray[np.int64]:
        """First number column of each of the f indicators, shape (f,)."""
        indicators, first = np.unique(self.indicator, return_index=True)
        return first[indicators >= 0].astype(np.int64)

    def transform(self, columns: Columns, rows: NDArray[np.int64] | None = None) -> Encoded:
        """Encode rows for prediction.

        Parameters
        ----------
        columns : Columns
            Columns of the same schema. Vocabularies may differ; an unknown level becomes "other".
        rows : ndarray of int64, optional
            Rows to encode; all by default.

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
        """Encode the rows of the fit, in the same order, as training data.

        Their statistics are cross-fitted: the statistics of a row do not depend on its label, on
        the labels of its group or on the labels of later rows.

        Parameters
        ----------
        columns, rows, y, weight
            As in `fit`.
        cluster : ndarray of int64, or None
            Group of each row of the table as defined by the user.
        time : ndarray of float64, or None
            Observation time of each row of the table.

        Returns
        -------
        Encoded
        """
        target = Target.of_rows(rows, y, weight, cluster, time)
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
        """Return the number D of columns of `dense`."""
        numbers = int(self.bins.sum()) if ple else len(self.bins)
        onehot, n_indicators = sum(self.onehot_widths), len(self._missing_columns)
        return numbers + onehot + self.statistics.width + n_indicators

    @cached_property
    def onehot_widths(self) -> tuple[int, ...]:
        """Number of inputs of each one-hot column."""
        return tuple(
            len(self.levels[j]) + int(self.reserved_seen[j].sum()) for j in self.layout.onehot
        )

    def dense(
        self, encoded: Encoded, *, ple: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Convert encoded rows to the inputs of a network.

        Parameters
        ----------
        encoded : Encoded
            Rows encoded by this encoder, or rows resampled from them.
        ple : bool
            Whether numbers are piecewise-linear encoded (Gorishniy et al. 2022, "On embeddings for
            numerical features"): bin t holds ``(x - e_t) / (e_{t+1} - e_t)`` clipped to [0, 1].
            As in that paper, the first bin extends below and the last one above, but here by at
            most one width. A missing number is 0 in all bins. If False, numbers are only scaled.

        Returns
        -------
        x : ndarray of shape (n, D), float32
            Numbers or their bins, one-hot columns, statistics and indicators, in this order. The
            one-hot columns of "other" and "missing" exist only if these levels occur in training;
            otherwise the levels are encoded as the mean of the training rows.
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
            # Assign the one-hot columns to the codes that have one; -1 marks the other codes.
            place[
                np.concatenate([self.reserved_seen[j], np.ones(len(self.levels[j]), dtype=bool)])
            ] = np.arange(width)
            hot = place[encoded.codes[:, j]]
            rows = np.flatnonzero(hot >= 0)
            x[rows, start + hot[rows]] = 1
            mean = self.onehot_mean[mean_start : mean_start + width]
            x[hot < 0, start : start + width] = mean
            start, mean_start = start + width, mean_start + width
        statistics = encoded.numbers[:, len(self.bins) :]
        x[:, start : start + statistics.shape[1]] = statistics
        x[:, start + statistics.shape[1] :] = encoded.codes[:, n_categories:]
        return x, encoded.codes[:, list(self.layout.embedded)].astype(np.int64)

    def _write_bins(self, encoded: Encoded, out: NDArray[np.float32]) -> None:
        """Fill `out` of shape (n, sum(bins)) block by block, in place."""
        column = np.repeat(np.arange(len(self.bins)), self.bins)  # (sum(bins),)
        ends = np.cumsum(self.bins)
        first, last = ends - self.bins, ends - 1
        lower = np.arange(len(column)) + column  # each column has one edge more than bins
        slope = 1 / (self.edges[lower + 1] - self.edges[lower])
        # Bins are clipped to [0, 1], except that the first and the last extend by one width.
        low, high = np.zeros_like(slope), np.ones_like(slope)
        low[first], high[last] = -1, 2
        for block in _blocks(encoded.n_rows):
            view, numbers = out[block], encoded.numbers[block, : len(self.bins)]
            np.subtract(np.repeat(numbers, self.bins, axis=1), self.edges[lower], out=view)
            view *= slope
            np.maximum(view, low, out=view)
            np.minimum(view, high, out=view)
            # A missing number has been scaled to 0, which would fall into a bin. Columns that share
            # an indicator may be missing in different new rows, so the number is checked as well.
            for j in np.flatnonzero(self.indicator >= 0):
                flagged = encoded.codes[block, len(self.levels) + self.indicator[j]] == 1
                view[flagged & (numbers[:, j] == 0), first[j] : ends[j]] = 0

    # --- storing -----------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted arrays by name, including those of the levels, without the layout."""
        return {
            **{name: getattr(self, name) for name in _ARRAYS},
            **self.screen.to_arrays(),
            **self.statistics.to_arrays(),
            "seen": self.reserved_seen.astype(np.uint8),
            **levels_to_arrays(self.levels),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], layout: Layout) -> Encoder:
        """Build an encoder from the arrays of `to_arrays` and its layout."""
        levels = levels_of_arrays(arrays)
        return cls(
            **{name: arrays[name] for name in _ARRAYS},
            screen=Screen.from_arrays(arrays),
            reserved_seen=arrays["seen"].astype(bool),
            levels=levels,
            layout=layout,
            statistics=Statistics.from_arrays(arrays, layout, levels),
        )


def max_bins(n_numbers: int) -> int:
    """Return the maximum number of bins per number: 2 to 16, about 512 for all numbers."""
    return int(np.clip(MAX_INPUTS // max(n_numbers, 1), 2, MAX_BINS))


def _blocks(n_rows: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, n_rows, BLOCK))


def _indicators(numbers: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of each number's pattern of missing rows; -1 if all or none are missing."""
    indicator = np.full(numbers.shape[1], -1, dtype=np.int64)
    numbers_of_patterns: dict[bytes, int] = {}
    for j in range(numbers.shape[1]):
        missing = np.isnan(numbers[rows, j])
        if missing.any() and not missing.all():
            pattern = np.packbits(missing).tobytes()
            indicator[j] = numbers_of_patterns.setdefault(pattern, len(numbers_of_patterns))
    return indicator
