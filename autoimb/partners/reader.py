"""What trees read: numbers as they are, few levels as codes, many as statistics of the level.

A column of many levels splits rows into two groups in so many ways that one of them always fits: on
`churn_mlc` the codes of 51 states cost .02 of average precision
(`reports/decisions/0031-trees-as-partners.md`). So such a column gives the numbers that networks
read of it too: log-odds of its level and how many rows it has, of a training row cross-fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """

    levels: tuple[tuple[str, ...], ...]
    tables: tuple[Table | None, ...]
    numbers: int

    @classmethod
    def fit(
        cls, columns: Columns, rows: Ints, y: Ints, *, weight: Floats, n_classes: int
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

        Returns
        -------
        reader : Reader
        x : float64 ndarray of shape (n, F)
            The training rows, as trees should see them in training.
        """
        part, target = columns.take(rows), Target(y, weight)
        levels = []
        for j, vocabulary in enumerate(columns.vocabularies):
            counts = np.bincount(part.codes[:, j] + 1, minlength=len(vocabulary) + 1)[1:]
            levels.append(tuple(vocabulary[code] for code in np.flatnonzero(counts >= RARE)))
        codes = category_codes(part, levels).astype(np.int64)
        sizes = [len(own) + FIRST_LEVEL for own in levels]
        tables = tuple(
            level_statistics(codes[:, j], sizes[j], target, n_classes)
            if len(own) > MOST_CODES
            else None
            for j, own in enumerate(levels)
        )
        reader = cls(tuple(levels), tables, columns.numbers.shape[1])
        return reader, reader._read(
            part, lambda j, own: cross_fitted(own, sizes[j], target, n_classes)
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
        return self._read(
            columns if rows is None else columns.take(rows),
            lambda j, own: np.asarray(self.tables[j])[own],
        )

    def _read(self, columns: Columns, statistics: Callable[[int, Ints], Table]) -> Floats:
        """Read rows; `statistics` gives those of a column's codes (n,), of shape (n, S)."""
        codes = category_codes(columns, self.levels).astype(np.int64)
        coded, told = [], []
        for j, table in enumerate(self.tables):
            own = codes[:, j]
            if table is None:
                coded.append(np.where(own < FIRST_LEVEL, np.nan, own - FIRST_LEVEL)[:, None])
            else:
                told.append(statistics(j, own))
        return np.concatenate([*coded, columns.numbers, *told], axis=1, dtype=np.float64)

    # --- storing -----------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Give what is no array as plain values."""
        return {"numbers": self.numbers}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give the arrays by name."""
        tables = {f"tables.{j}": own for j, own in enumerate(self.tables) if own is not None}
        return levels_to_arrays(self.levels) | tables

    @classmethod
    def from_parts(cls, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Reader:
        """Undo `to_json` and `to_arrays`.

        Raises
        ------
        ArtifactError
            Where a column's statistics are not those of its levels, or of no column.
        """
        levels = levels_of_arrays(arrays)
        tables = tuple(arrays.get(f"tables.{j}") for j in range(len(levels)))
        given = sum(name.startswith("tables.") for name in arrays)
        if given != sum(own is not None for own in tables):
            raise ArtifactError("Statistics must be of a column.")
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
        return cls(levels, tables, int(values["numbers"]))
