"""What trees read: numbers as they are, few levels as codes, many as statistics of the level.

A column of many levels splits rows into two groups in so many ways that one of them always fits: on
`churn_mlc` the codes of 51 states cost .02 of average precision
(`reports/design/tree-models.md`). So such a column gives the numbers that networks
read of it too: log-odds of its level and how many rows it has, of a training row cross-fitted.

Splits know nothing of a level that training lacks, where no training row has a rare level or a
missing one. The probabilities of a row with such a level are averaged over training's levels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.data.encoding.levels import (
    FIRST_LEVEL,
    RARE,
    category_codes,
    levels_of_arrays,
    levels_to_arrays,
)
from autoimb.data.encoding.statistics import Target, cross_fitted, level_statistics
from autoimb.data.schema import Columns
from autoimb.errors import ArtifactError
from autoimb.text import BriefRepr

__all__ = ["Reader"]

MOST_CODES = 5  # levels of a column that is read as codes
_DRAWS, _STEP = 32, 13  # of levels for those that training lacks; odd, so that steps meet all

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Table = NDArray[np.float32]


@dataclass(frozen=True, eq=False, repr=False)
class Reader(BriefRepr):
    """The fitted reading. Sees: training rows.

    Attributes
    ----------
    levels : tuple of q tuples of str
        Of each category column those that at least 3 training rows have.
    tables : tuple of q arrays or None
        Of a column that isn't read as codes the statistics of its levels, float32, shape
        (levels + 2, S): the first row is of other levels, the second of missing ones.
    numbers : int
        How many number columns there are.
    shares : tuple of q arrays or None
        Of a column where all training rows have one of the levels, the share of each level in
        them, float32; else None.
    """

    levels: tuple[tuple[str, ...], ...]
    tables: tuple[Table | None, ...]
    numbers: int
    shares: tuple[Table | None, ...]

    @classmethod
    def fit(
        cls,
        columns: Columns,
        rows: Ints,
        y: Ints,
        *,
        weight: Floats,
        n_classes: int,
        cluster: Ints | None = None,
        time: Floats | None = None,
        left_out: Collection[int] = (),
    ) -> tuple[Reader, Floats]:
        """Fit on some rows; nothing of the others reaches the result.

        Parameters
        ----------
        columns : Columns
            The table.
        rows : ndarray of int64, shape (n,)
            Training rows.
        y : ndarray of int64, shape (n,)
            Their class codes.
        weight : float64 ndarray of shape (n,)
            Their weights, of mean 1.
        n_classes : int
        cluster : ndarray of int64, shape (n,), or None
            Their groups.
        time : ndarray of float64, shape (n,), or None
            When they were observed.
        left_out : collection of int, optional
            Category columns that are not read: all their rows are of no level.

        Returns
        -------
        reader : Reader
        x : float64 ndarray of shape (n, F)
            The training rows, as trees should see them in training.
        """
        part, target = columns.take(rows), Target(y, weight, cluster, time)
        levels = []
        for j, vocabulary in enumerate(columns.vocabularies):
            counts = np.bincount(part.codes[:, j] + 1, minlength=len(vocabulary) + 1)[1:]
            often = np.flatnonzero(counts >= RARE) if j not in left_out else ()
            levels.append(tuple(vocabulary[code] for code in often))
        codes = category_codes(part, levels).astype(np.int64)
        sizes = [len(own) + FIRST_LEVEL for own in levels]
        tables = tuple(
            level_statistics(codes[:, j], sizes[j], target, n_classes)
            if len(own) > MOST_CODES
            else None
            for j, own in enumerate(levels)
        )
        shares = tuple(
            (np.bincount(codes[:, j])[FIRST_LEVEL:] / len(codes)).astype(np.float32)
            if (codes[:, j] >= FIRST_LEVEL).all()
            else None
            for j in range(len(levels))
        )
        reader = cls(tuple(levels), tables, columns.numbers.shape[1], shares)
        return reader, reader._written(
            codes,
            part.numbers,
            lambda j, own: cross_fitted(own, sizes[j], target, n_classes),
        )

    @property
    def codes(self) -> int:
        """How many columns are read as codes; they come first."""
        return sum(each is None for each in self.tables)

    @property
    def width(self) -> int:
        """How many columns trees see."""
        given = sum(int(own.shape[1]) for own in self.tables if own is not None)
        return self.codes + self.numbers + given

    def read(self, columns: Columns, rows: Ints | None = None) -> Floats:
        """Read rows that the fit did not see.

        Parameters
        ----------
        columns : Columns
            A table of the same schema; its vocabularies may differ.
        rows : ndarray of int64, optional
            By default all.

        Returns
        -------
        float64 ndarray of shape (n, F)
            Codes, then numbers, then statistics; NaN is a missing number, and of codes also any
            level that few training rows have.
        """
        part = columns if rows is None else columns.take(rows)
        codes = category_codes(part, self.levels).astype(np.int64)
        return self._written(codes, part.numbers, self._statistics)

    def _statistics(self, column: int, codes: Ints) -> Table:
        """Look up the statistics of a column's codes (n,), of shape (n, S)."""
        return np.asarray(self.tables[column])[codes]

    def _written(
        self, codes: Ints, numbers: Floats, statistics: Callable[[int, Ints], Table]
    ) -> Floats:
        """Write rows; `statistics` gives those of a column's codes (n,), of shape (n, S)."""
        coded, told = [], []
        for j, table in enumerate(self.tables):
            own = codes[:, j]
            if table is None:
                coded.append(np.where(own < FIRST_LEVEL, np.nan, own - FIRST_LEVEL)[:, None])
            else:
                told.append(statistics(j, own))
        return np.concatenate([*coded, numbers, *told], axis=1, dtype=np.float64)

    def read_with_levels(self, columns: Columns, rows: Ints | None = None) -> tuple[Floats, Ints]:
        """Read rows, and copies of those with a level that training lacks: with levels of training.

        Parameters
        ----------
        columns, rows
            As in `read`.

        Returns
        -------
        x : float64 ndarray of shape (n + 32 m, F)
            The rows, then copy after copy of m of them.
        copied : int64 ndarray of shape (m,)
            Which they are.
        """
        part = columns if rows is None else columns.take(rows)
        codes, numbers = category_codes(part, self.levels).astype(np.int64), part.numbers
        lacking = codes < FIRST_LEVEL
        lacking[:, [own is None for own in self.shares]] = False
        copied = np.flatnonzero(lacking.any(axis=1))
        if len(copied):
            copies = np.tile(codes[copied], (_DRAWS, 1, 1))  # (32, m, q)
            for j, own in enumerate(self.shares):
                if own is not None:
                    # A lattice: each column has evenly spread shares, in an order of its own.
                    place = (np.arange(_DRAWS) * pow(_STEP, j, _DRAWS) % _DRAWS + 0.5) / _DRAWS
                    level = np.searchsorted(np.cumsum(own)[:-1], place, side="right")
                    copies[:, lacking[copied, j], j] = FIRST_LEVEL + level[:, None]
            codes = np.concatenate([codes, copies.reshape(-1, codes.shape[1])])
            numbers = np.concatenate([numbers, np.tile(numbers[copied], (_DRAWS, 1))])
        return self._written(codes, numbers, self._statistics), copied

    @staticmethod
    def averaged(proba: Floats, rows: Ints) -> Floats:
        """Replace the probabilities of the rows that have copies by the mean of the copies.

        Parameters
        ----------
        proba : float64 ndarray of shape (n + 32 m, C)
            Of rows and copies as `read_with_levels` gives them.
        rows : int64 ndarray of shape (m,)

        Returns
        -------
        float64 ndarray of shape (n, C)
        """
        if not len(rows):
            return proba
        n_rows = len(proba) - _DRAWS * len(rows)
        out = proba[:n_rows].copy()
        out[rows] = proba[n_rows:].reshape(_DRAWS, len(rows), -1).mean(axis=0)
        return out

    # --- storing -----------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give the arrays by name."""
        tables = {f"tables.{j}": own for j, own in enumerate(self.tables) if own is not None}
        shares = {f"shares.{j}": own for j, own in enumerate(self.shares) if own is not None}
        return levels_to_arrays(self.levels) | tables | shares

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], numbers: int) -> Reader:
        """Build a reader from the arrays of `to_arrays` and the number of numeric columns.

        Raises
        ------
        ArtifactError
            Where a column's statistics or shares are not those of its levels, or of no column.
        """
        levels = levels_of_arrays(arrays)
        tables = tuple(arrays.get(f"tables.{j}") for j in range(len(levels)))
        shares = tuple(arrays.get(f"shares.{j}") for j in range(len(levels)))
        for prefix, by_column in (("tables.", tables), ("shares.", shares)):
            count = sum(name.startswith(prefix) for name in arrays)
            if count != sum(own is not None for own in by_column):
                raise ArtifactError("Statistics and shares must be of a column.")
        for own, names in zip(tables, levels):
            fits = (
                len(names) < 256
                if own is None
                else own.dtype == np.float32
                and own.ndim == 2
                and own.shape[0] == len(names) + FIRST_LEVEL
            )
            if not fits:
                raise ArtifactError(
                    "A column's statistics must be one row a level, one for others and one for "
                    "missing ones."
                )
        for own, names in zip(shares, levels):
            if own is not None and not (own.shape == (len(names),) and abs(own.sum() - 1) < 1e-3):
                raise ArtifactError("A column's shares must be one a level, and sum to 1.")
        return cls(levels, tables, numbers, shares)
