"""What the training rows of a level say of the classes: log-odds, and how many rows they are.

A level's log-odds say at once what bins or an embedding must find out level by level, with few
rows each. They are the target statistics of Micci-Barreca (2001), smoothed by what the column's
own levels differ. A training row's come from inner folds without it, whatever its label: else a
level of few rows would give its rows' labels away (Prokhorenkova et al., 2018, CatBoost).
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
_TIME_CHUNKS = 10  # of training rows, each of which gets what the earlier ones say
_LEAST_PRIOR, _MOST_PRIOR = 1.0, 1e4  # rows that the prior counts for
_WIDEST = 3.0  # what log-odds are clipped to, smoothly


@dataclass(frozen=True, eq=False)
class Target:
    """Labels of training rows.

    Attributes
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    weight : ndarray of float64, shape (n,)
        By which the rows stand for the user's; of mean 1.
    cluster : ndarray of int64, shape (n,), or None
        The user's group of each row.
    time : ndarray of float64, shape (n,), or None
        When each row was observed.
    """

    y: Codes
    weight: Floats
    cluster: Codes | None = None
    time: Floats | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Statistics(BriefRepr):
    """Statistics of the levels of J columns. Sees: training rows and their labels.

    Columns are category columns, whole numbers, and one that is the whole row.

    Attributes
    ----------
    layout : Layout
        Which columns they are.
    value_column : ndarray of shape (v,), int64
        Rising; which number each of the values that are levels is a value of.
    value : ndarray of shape (v,), float64
        Values with at least 3 training rows, rising within a number; with codes 2 and up.
    repeated : ndarray of shape (r,), uint64
        Hashes of the rows that at least 3 training rows are, rising; with codes 2 and up.
    sizes : ndarray of shape (J,), int64
        Levels of each column.
    table : ndarray of shape (sum(sizes), S), float32
        Of each level, one column below the other: for each class (of two: the second) its
        log-odds above those of all rows, in (-3, 3); and log(1 + rows) as a share of that of all
        rows. All are 0 for a level without a row.
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
            The training rows.
        levels : sequence of q sequences of str
            Of the category columns, those that have codes of their own.
        layout : Layout
        target : Target or None
            Without labels all statistics are 0.
        """
        codes = category_codes(columns, levels)
        values = [frequent(columns.numbers[:, j]) for j in layout.integers]
        repeated = np.empty(0, dtype=np.uint64)
        if layout.repeated:
            repeated = frequent(row_hashes(columns.numbers, codes))
        value_column = np.repeat(
            np.array(layout.integers, dtype=np.int64), [len(each) for each in values]
        )
        sizes = _sizes(layout, levels, value_column, repeated)
        table = np.zeros((int(sizes.sum()), layout.statistics_of_level), dtype=np.float32)
        value = np.concatenate([np.empty(0), *values])
        fitted = cls(layout, value_column, value, repeated, sizes, table)
        if target is not None:
            own = fitted._levels(columns, codes)
            for i, end in enumerate(np.cumsum(sizes)):
                size = int(sizes[i])
                table[end - size : end] = level_statistics(
                    own[:, i], size, target, layout.n_classes
                )
        return fitted

    @property
    def width(self) -> int:
        """Number of statistics of a row."""
        return len(self.sizes) * self.layout.statistics_of_level

    def of(self, columns: Columns, codes: NDArray[np.int32]) -> Table:
        """Give the statistics of new rows, (n, width)."""
        starts = np.cumsum(self.sizes) - self.sizes
        return self.table[self._levels(columns, codes) + starts].reshape(len(codes), self.width)

    def of_training(self, columns: Columns, codes: NDArray[np.int32], target: Target) -> Table:
        """Give the training rows themselves their statistics, cross-fitted, (n, width).

        See `cross_fitted`.
        """
        levels = self._levels(columns, codes)
        parts = [
            cross_fitted(levels[:, i], int(size), target, self.layout.n_classes)
            for i, size in enumerate(self.sizes)
        ]
        return np.hstack([np.empty((len(levels), 0), dtype=np.float32), *parts])

    def _levels(self, columns: Columns, codes: NDArray[np.int32]) -> Codes:
        """Level of each row in these columns, (n, J)."""
        levels = [codes[:, j].astype(np.int64) for j in self.layout.statistics]
        for j in self.layout.integers:
            levels.append(coded(columns.numbers[:, j], self.value[self.value_column == j]))
        if self.layout.repeated:
            levels.append(coded(row_hashes(columns.numbers, codes), self.repeated))
        return np.stack(levels, axis=1) if levels else np.empty((len(codes), 0), dtype=np.int64)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give the fitted arrays; the layout is the encoder's."""
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
        """Undo `to_arrays`.

        Raises
        ------
        ValueError
            Where the arrays are not those of these levels.
        """
        value_column, value, repeated = (arrays[k] for k in ("value_column", "value", "repeated"))
        sizes, table = _sizes(layout, levels, value_column, repeated), arrays["statistics"]
        wanted = (int(sizes.sum()), layout.statistics_of_level)
        if table.shape != wanted or value.shape != value_column.shape:
            raise ValueError(f"statistics of levels must have shape {wanted}, got {table.shape}")
        return cls(layout, value_column, value, repeated, sizes, table)


def _sizes(
    layout: Layout,
    levels: Sequence[Sequence[str]],
    value_column: NDArray[np.int64],
    repeated: NDArray[np.uint64],
) -> NDArray[np.int64]:
    """Count the levels of each column, (J,)."""
    sizes = [len(levels[j]) for j in layout.statistics]
    sizes += [int((value_column == j).sum()) for j in layout.integers]
    sizes += [len(repeated)] * layout.repeated
    return np.array(sizes, dtype=np.int64) + FIRST_LEVEL


def level_statistics(codes: Codes, size: int, target: Target, n_classes: int) -> Table:
    """Give the statistics of a column's levels from all training rows, (L, S).

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        The level of each row.
    size : int
        How many levels there are, L.
    target : Target
    n_classes : int
    """
    (mass,) = _mass(codes, size, target, n_classes, np.zeros_like(codes), 1)
    return np.hstack([_log_odds(mass), _counts(codes, size, target)]).astype(np.float32)


def cross_fitted(codes: Codes, size: int, target: Target, n_classes: int) -> Table:
    """Give the training rows themselves the statistics of their levels, (n, S).

    A row's log-odds come from the inner folds that it isn't in, which are drawn without looking at
    labels and hold whole groups of the user's. Where rows have times they come from earlier rows
    alone, of groups that it isn't in. The arguments are those of `level_statistics`.
    """
    counts = _counts(codes, size, target)
    fold, n_folds = np.zeros_like(codes), 1
    if target.time is None or target.cluster is not None:
        unit, n_folds = np.arange(len(codes)), _INNER_FOLDS
        if target.cluster is not None:
            unit = np.unique(target.cluster, return_inverse=True)[1]
        n_units = int(unit.max(initial=-1)) + 1
        fold = (stream(Purpose.STATISTIC_ROWS, 0).permutation(n_units) % n_folds)[unit]
    chunk, n_chunks = np.zeros_like(codes), 1
    if target.time is not None:
        chunk, n_chunks = chunks(target.time, _TIME_CHUNKS), _TIME_CHUNKS
    mass = _mass(codes, size, target, n_classes, fold * n_chunks + chunk, n_folds * n_chunks)
    mass = mass.reshape(n_folds, n_chunks, size, n_classes)
    odds = np.empty((n_folds, n_chunks, size, mass.shape[-1] - (n_classes == 2)))
    for own in range(n_folds):
        # summed, since a difference from the total would keep a trace of a label in its last digit
        others = mass[0] if n_folds == 1 else np.delete(mass, own, axis=0).sum(axis=0)
        for number in range(n_chunks):
            earlier = others[0] if target.time is None else others[:number].sum(axis=0)
            odds[own, number] = _log_odds(earlier)
    return np.hstack([odds[fold, chunk, codes], counts[codes]]).astype(np.float32)


def _mass(
    codes: Codes, size: int, target: Target, n_classes: int, fold: Codes, folds: int
) -> Floats:
    """Weight of the rows of each fold, level and class, (F, L, C)."""
    place = (fold * size + codes) * n_classes + target.y
    mass = np.bincount(place, target.weight, folds * size * n_classes)
    return np.asarray(mass.reshape(folds, size, n_classes), dtype=np.float64)


def _counts(codes: Codes, size: int, target: Target) -> Floats:
    """Log(1 + rows) of each level, as a share of that of all rows, (L, 1)."""
    rows = np.bincount(codes, target.weight, size)[:, None]
    return np.asarray(np.log1p(rows) / max(np.log1p(rows.sum()), 1e-9))


def _log_odds(mass: Floats) -> Floats:
    """Smooth (L, C) weights towards the prior, and give the log-odds above the prior's."""
    rows = mass.sum(axis=1, keepdims=True)  # (L, 1)
    own = mass[:, 1:] if mass.shape[1] == 2 else mass  # of two classes one says it all
    prior = (own.sum(axis=0) + 0.5) / (rows.sum() + 1.0)
    strength = _rows_of_prior(own, rows, prior)
    odds = np.log((own + strength * prior) / (rows - own + strength * (1 - prior)))
    odds -= np.log(prior / (1 - prior))
    return np.asarray(odds / np.sqrt(1 + np.square(odds / _WIDEST)))


def _rows_of_prior(own: Floats, rows: Floats, prior: Floats) -> Floats:
    """Estimate for how many rows each class's prior counts: the fewer, the more levels differ.

    Rates of levels are taken as draws of a beta distribution, whose width follows from the mean
    squares between and within levels (the moment estimate of a one-way layout).
    """
    seen = rows[:, 0] > 0
    own, rows = own[seen], rows[seen]
    total = rows.sum()
    between_levels, within_levels = len(rows) - 1, total - len(rows)
    most = np.full(own.shape[1], _MOST_PRIOR)
    if between_levels < 1 or within_levels <= 0:
        return most
    rate = own / rows
    between = (rows * np.square(rate - prior)).sum(axis=0) / between_levels
    within = (rows * rate * (1 - rate)).sum(axis=0) / within_levels
    typical = (total - np.square(rows).sum() / total) / between_levels  # rows of a level
    differ = between > within
    most[differ] = typical * within[differ] / (between - within)[differ]
    return np.asarray(most.clip(_LEAST_PRIOR, _MOST_PRIOR))
