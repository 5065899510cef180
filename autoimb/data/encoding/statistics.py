"""Target statistics of levels: log-odds of the classes, and number of training rows.

The log-odds of a level provide directly what bins or embeddings have to learn for each level from
few rows. They are the target statistics of Micci-Barreca (2001), smoothed by an amount that is
estimated from the differences between the levels of the column. The statistics of a training row
come from inner folds without this row, since the statistics of a level with few rows would
otherwise reveal their labels (Prokhorenkova et al., 2018, CatBoost).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.data.encoding.layout import Layout
from autoimb.data.encoding.levels import FIRST_LEVEL, category_codes, coded, frequent, row_hashes
from autoimb.data.schema import Columns
from autoimb.data.times import chunks
from autoimb.randomness import Purpose, stream
from autoimb.text import BriefRepr

__all__ = ["Statistics", "Target", "cross_fitted", "level_statistics"]

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]
Table = NDArray[np.float32]

_INNER_FOLDS = 5
_TIME_CHUNKS = 10  # of training rows; the statistics of a chunk come from earlier chunks
_MIN_PRIOR, _MAX_PRIOR = 1.0, 1e4  # weight of the prior in rows
_MAX_LOG_ODDS = 3.0  # bound of the smooth clipping of log-odds


@dataclass(frozen=True, eq=False)
class Target:
    """Labels, weights, groups and times of training rows.

    Attributes
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    weight : ndarray of float64, shape (n,)
        Weights of the rows, of mean 1.
    cluster : ndarray of int64, shape (n,), or None
        Group of each row as defined by the user.
    time : ndarray of float64, shape (n,), or None
        Observation time of each row.
    """

    y: Codes
    weight: Floats
    cluster: Codes | None = None
    time: Floats | None = None

    @classmethod
    def of_rows(
        cls,
        rows: Codes,
        y: Codes,
        weight: Floats | None = None,
        cluster: Codes | None = None,
        time: Floats | None = None,
    ) -> Target:
        """Return the target of some rows of a table, whose weights are scaled to a mean of 1."""
        row_weights = np.ones(len(rows)) if weight is None else weight[rows]
        return cls(
            y=y[rows],
            weight=row_weights / row_weights.mean(),
            cluster=None if cluster is None else cluster[rows],
            time=None if time is None else time[rows],
        )


@dataclass(frozen=True, eq=False, repr=False)
class Statistics(BriefRepr):
    """Statistics of the levels of J columns, fitted on training rows and their labels.

    The columns are categorical columns, columns of whole numbers, and a column of whole rows.

    Attributes
    ----------
    layout : Layout
        Layout that determines the columns.
    value_column : ndarray of shape (v,), int64
        Number column of each value that is a level, rising.
    value : ndarray of shape (v,), float64
        Values with at least 3 training rows, rising within a column. They have the codes 2 and up.
    repeated : ndarray of shape (r,), uint64
        Rising hashes of rows that occur at least 3 times in training, with the codes 2 and up.
    sizes : ndarray of shape (J,), int64
        Number of levels of each column.
    table : ndarray of shape (sum(sizes), S), float32
        Statistics of each level, column after column. For each class (for the second of two) they
        are the log-odds relative to all rows, in (-3, 3), followed by log(1 + rows) relative to
        that of all rows. All statistics of a level without rows are 0.
    """

    layout: Layout
    value_column: NDArray[np.int64]
    value: Floats
    repeated: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    table: Table

    @classmethod
    def fit(
        cls,
        columns: Columns,
        levels: Sequence[Sequence[str]],
        *,
        layout: Layout,
        target: Target | None,
    ) -> Statistics:
        """Fit on training rows.

        Parameters
        ----------
        columns : Columns
            Columns of the training rows.
        levels : sequence of q sequences of str
            Levels of the categorical columns that have codes.
        layout : Layout
            Layout of the selected columns.
        target : Target or None
            Labels of the training rows; without labels all statistics are 0.
        """
        codes = category_codes(columns, levels)
        values = [frequent(columns.numbers[:, j]) for j in layout.integers]
        repeated = np.empty(0, dtype=np.uint64)
        if layout.repeated:
            repeated = frequent(row_hashes(columns.numbers, codes))
        value_column = np.repeat(
            np.array(layout.integers, dtype=np.int64),
            [len(column_values) for column_values in values],
        )
        sizes = _sizes(layout, levels, value_column, repeated)
        table = np.zeros((int(sizes.sum()), layout.statistics_of_level), dtype=np.float32)
        value = np.concatenate([np.empty(0), *values])
        fitted = cls(layout, value_column, value, repeated, sizes, table)
        if target is not None:
            row_levels = fitted._levels(columns, codes)
            for i, end in enumerate(np.cumsum(sizes)):
                size = int(sizes[i])
                table[end - size : end] = level_statistics(
                    row_levels[:, i], size, target, layout.n_classes
                )
        return fitted

    @property
    def width(self) -> int:
        """Number of statistics of each row."""
        return len(self.sizes) * self.layout.statistics_of_level

    def of(self, columns: Columns, codes: NDArray[np.int32]) -> Table:
        """Return the statistics of new rows, shape (n, width)."""
        starts = np.cumsum(self.sizes) - self.sizes
        return self.table[self._levels(columns, codes) + starts].reshape(len(codes), self.width)

    def of_training(self, columns: Columns, codes: NDArray[np.int32], target: Target) -> Table:
        """Return the cross-fitted statistics of the training rows, shape (n, width).

        See `cross_fitted`.
        """
        levels = self._levels(columns, codes)
        parts = [
            cross_fitted(levels[:, i], int(size), target, self.layout.n_classes)
            for i, size in enumerate(self.sizes)
        ]
        return np.hstack([np.empty((len(levels), 0), dtype=np.float32), *parts])

    def _levels(self, columns: Columns, codes: NDArray[np.int32]) -> Codes:
        """Return the level of each row in the J columns, shape (n, J)."""
        levels = [codes[:, j].astype(np.int64) for j in self.layout.statistics]
        starts = self.value_column.searchsorted(self.layout.integers)
        stops = self.value_column.searchsorted(self.layout.integers, side="right")
        for j, start, stop in zip(self.layout.integers, starts, stops):
            levels.append(coded(columns.numbers[:, j], self.value[start:stop]))
        if self.layout.repeated:
            levels.append(coded(row_hashes(columns.numbers, codes), self.repeated))
        return np.stack(levels, axis=1) if levels else np.empty((len(codes), 0), dtype=np.int64)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fitted arrays without the layout, which is stored with the encoder."""
        return {
            "value_column": self.value_column,
            "value": self.value,
            "repeated": self.repeated,
            "statistics": self.table,
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], layout: Layout, levels: Sequence[Sequence[str]]
    ) -> Statistics:
        """Build statistics from the arrays of `to_arrays`, a layout and levels.

        Raises
        ------
        ValueError
            If the arrays do not match the levels.
        """
        value_column, value, repeated = (arrays[k] for k in ("value_column", "value", "repeated"))
        sizes, table = _sizes(layout, levels, value_column, repeated), arrays["statistics"]
        expected = (int(sizes.sum()), layout.statistics_of_level)
        if table.shape != expected or value.shape != value_column.shape:
            raise ValueError(f"statistics of levels must have shape {expected}, got {table.shape}")
        return cls(layout, value_column, value, repeated, sizes, table)


def _sizes(
    layout: Layout,
    levels: Sequence[Sequence[str]],
    value_column: NDArray[np.int64],
    repeated: NDArray[np.uint64],
) -> NDArray[np.int64]:
    """Return the number of levels of each column, shape (J,)."""
    sizes = [len(levels[j]) for j in layout.statistics]
    sizes += [int((value_column == j).sum()) for j in layout.integers]
    sizes += [len(repeated)] * layout.repeated
    return np.array(sizes, dtype=np.int64) + FIRST_LEVEL


def level_statistics(codes: Codes, size: int, target: Target, n_classes: int) -> Table:
    """Return the statistics of the levels of a column from all training rows, shape (L, S).

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Level of each row.
    size : int
        Number of levels L.
    target : Target
        Labels of the rows.
    n_classes : int
        Number of classes.
    """
    (mass,) = _mass(codes, size, target, n_classes, np.zeros_like(codes), 1)
    return np.hstack([_log_odds(mass), _counts(codes, size, target)]).astype(np.float32)


def cross_fitted(codes: Codes, size: int, target: Target, n_classes: int) -> Table:
    """Return the cross-fitted statistics of the training rows, shape (n, S).

    The log-odds of a row come from the inner folds to which it does not belong. Inner folds are
    drawn without the labels and consist of whole groups. If rows have times, the log-odds come from
    earlier rows only, and with groups only from those of other groups. The parameters are those of
    `level_statistics`.
    """
    counts = _counts(codes, size, target)
    # Without times and with groups, the rows or groups are distributed to inner folds.
    fold, n_folds = np.zeros_like(codes), 1
    if target.time is None or target.cluster is not None:
        unit, n_folds = np.arange(len(codes)), _INNER_FOLDS
        if target.cluster is not None:
            unit = np.unique(target.cluster, return_inverse=True)[1]
        n_units = int(unit.max(initial=-1)) + 1
        fold = (stream(Purpose.STATISTIC_ROWS, 0).permutation(n_units) % n_folds)[unit]
    # With times, rows are also divided into chunks of time.
    chunk, n_chunks = np.zeros_like(codes), 1
    if target.time is not None:
        chunk, n_chunks = chunks(target.time, _TIME_CHUNKS), _TIME_CHUNKS
    mass = _mass(codes, size, target, n_classes, fold * n_chunks + chunk, n_folds * n_chunks)
    mass = mass.reshape(n_folds, n_chunks, size, n_classes)
    odds = np.empty((n_folds, n_chunks, size, mass.shape[-1] - (n_classes == 2)))
    for number in range(n_folds):
        # The other folds are summed because a difference from the total would reveal a label in its
        # last digit.
        outside = mass[0] if n_folds == 1 else np.delete(mass, number, axis=0).sum(axis=0)
        for chunk_number in range(n_chunks):
            earlier = outside[0] if target.time is None else outside[:chunk_number].sum(axis=0)
            odds[number, chunk_number] = _log_odds(earlier)
    return np.hstack([odds[fold, chunk, codes], counts[codes]]).astype(np.float32)


def _mass(
    codes: Codes, size: int, target: Target, n_classes: int, fold: Codes, folds: int
) -> Floats:
    """Return the sum of weights of each fold, level and class, shape (F, L, C)."""
    # One flat index per row for fold, level and class.
    place = (fold * size + codes) * n_classes + target.y
    mass = np.bincount(place, target.weight, folds * size * n_classes)
    return np.asarray(mass.reshape(folds, size, n_classes), dtype=np.float64)


def _counts(codes: Codes, size: int, target: Target) -> Floats:
    """Return log(1 + rows) of each level relative to that of all rows, shape (L, 1)."""
    rows = np.bincount(codes, target.weight, size)[:, None]
    return np.asarray(np.log1p(rows) / max(np.log1p(rows.sum()), 1e-9))


def _log_odds(mass: Floats) -> Floats:
    """Return the log-odds of weights (L, C), smoothed towards the prior and relative to it."""
    rows = mass.sum(axis=1, keepdims=True)  # (L, 1)
    hits = mass[:, 1:] if mass.shape[1] == 2 else mass  # one of two classes is sufficient
    prior = (hits.sum(axis=0) + 0.5) / (rows.sum() + 1.0)
    strength = _rows_of_prior(hits, rows, prior)
    # The prior has the weight of `strength` rows, and the log-odds are clipped smoothly.
    odds = np.log((hits + strength * prior) / (rows - hits + strength * (1 - prior)))
    odds -= np.log(prior / (1 - prior))
    return np.asarray(odds / np.sqrt(1 + np.square(odds / _MAX_LOG_ODDS)))


def _rows_of_prior(hits: Floats, rows: Floats, prior: Floats) -> Floats:
    """Estimate the weight of each class's prior in rows; it is lower if levels differ more.

    The rates of levels are modelled as draws from a beta distribution, whose variance is estimated
    from the mean squares between and within levels (the moment estimate of a one-way layout).
    """
    occurs = rows[:, 0] > 0
    hits, rows = hits[occurs], rows[occurs]
    total = rows.sum()
    between_levels, within_levels = len(rows) - 1, total - len(rows)
    strength = np.full(hits.shape[1], _MAX_PRIOR)
    if between_levels < 1 or within_levels <= 0:
        return strength
    # If levels do not differ more than rows within a level, the prior keeps its maximum weight.
    rate = hits / rows
    between = (rows * np.square(rate - prior)).sum(axis=0) / between_levels
    within = (rows * rate * (1 - rate)).sum(axis=0) / within_levels
    typical = (total - np.square(rows).sum() / total) / between_levels  # rows of a level
    differ = between > within
    strength[differ] = typical * within[differ] / (between - within)[differ]
    return np.asarray(strength.clip(_MIN_PRIOR, _MAX_PRIOR))
