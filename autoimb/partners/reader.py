"""Inputs of tree models: numbers, codes of few levels, and statistics of many levels.

A column of many levels splits rows into two groups in so many ways that one of them always fits: on
`churn_mlc` the codes of 51 states cost .02 of average precision (`reports/design/trees.md`).
Such a column is therefore read as the numbers that networks read of it, too: the log-odds and the
count of its level, cross-fitted for training rows.

Splits cannot know a level that training lacks, nor a rare or a missing one where no training row
has any. The probabilities of a row with such a level are averaged over the levels of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.arrays import Array, Arrays
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.levels import (
    FIRST_LEVEL,
    LEVEL_ARRAYS,
    RARE,
    category_codes,
    levels_of_arrays,
    levels_to_arrays,
)
from autoimb.data.encoding.statistics import Target, cross_fitted, level_statistics
from autoimb.data.schema import Columns
from autoimb.errors import ArtifactError
from autoimb.text import BriefRepr

__all__ = ["READER_ARRAYS", "Reader"]

MAX_CODES = 5  # levels of a column that is read as codes
_DRAWS, _STEP = 32, 13  # of levels for those that training lacks; odd, so that steps meet all

READER_ARRAYS = LEVEL_ARRAYS | {
    "tables.*": Array("float32", ".."),
    "shares.*": Array("float32", low=0, high=1),
}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Table = NDArray[np.float32]


@dataclass(frozen=True, eq=False, repr=False)
class Reader(BriefRepr):
    """Fitted encoder of a table for tree models. Sees: training rows.

    Attributes
    ----------
    levels : tuple of q tuples of str
        The levels of each category column that at least 3 training rows have.
    tables : tuple of q arrays or None
        The statistics of the levels of a column that is not read as codes, float32 of shape
        (levels + 2, S): the first row is of other levels, the second of missing values.
    numbers : int
        Number of number columns.
    shares : tuple of q arrays or None
        The share of each level in the training rows, float32, of a column where all of them have
        one of the levels; else None.
    """

    levels: tuple[tuple[str, ...], ...]
    tables: tuple[Table | None, ...]
    numbers: int
    shares: tuple[Table | None, ...]

    @classmethod
    def fit(cls, dataset: Dataset, rows: Ints) -> tuple[Reader, Floats]:
        """Fit on some rows; the other rows do not affect the result.

        Parameters
        ----------
        dataset : Dataset
        rows : ndarray of int64, shape (n,)
            Training rows.

        Returns
        -------
        reader : Reader
        x : float64 ndarray of shape (n, F)
            The training rows as trees should see them in training.
        """
        columns, n_classes = dataset.columns, dataset.n_classes
        part = columns.take(rows)
        target = Target.of_rows(
            rows, dataset.y, dataset.training_weight, dataset.cluster, dataset.time
        )
        left_out = dataset.layout.left_out(len(columns.vocabularies))
        levels = []
        for j, vocabulary in enumerate(columns.vocabularies):
            counts = np.bincount(part.codes[:, j] + 1, minlength=len(vocabulary) + 1)[1:]
            frequent = np.flatnonzero(counts >= RARE) if j not in left_out else ()
            levels.append(tuple(vocabulary[code] for code in frequent))
        codes = category_codes(part, levels).astype(np.int64)
        sizes = [len(names) + FIRST_LEVEL for names in levels]
        tables = tuple(
            level_statistics(codes[:, j], sizes[j], target, n_classes)
            if len(names) > MAX_CODES
            else None
            for j, names in enumerate(levels)
        )
        shares = tuple(
            (np.bincount(codes[:, j])[FIRST_LEVEL:] / len(codes)).astype(np.float32)
            if (codes[:, j] >= FIRST_LEVEL).all()
            else None
            for j in range(len(levels))
        )
        reader = cls(tuple(levels), tables, columns.numbers.shape[1], shares)
        return reader, reader._joined(
            codes, part.numbers, lambda j, column: cross_fitted(column, sizes[j], target, n_classes)
        )

    @cached_property
    def digest(self) -> bytes:
        """Digest of all that `read` depends on."""
        digest = sha256(str(self.numbers).encode())
        for name, array in self.to_arrays().items():
            digest.update(f"{name} {array.shape}".encode() + array.tobytes())
        return digest.digest()

    @property
    def code_sizes(self) -> list[int]:
        """Number of levels of each column that is read as codes; these columns come first."""
        return [len(names) for names, table in zip(self.levels, self.tables) if table is None]

    @property
    def codes(self) -> int:
        """Number of columns that are read as codes."""
        return len(self.code_sizes)

    @property
    def width(self) -> int:
        """Number of columns that trees read."""
        statistics = sum(int(table.shape[1]) for table in self.tables if table is not None)
        return self.codes + self.numbers + statistics

    def read(self, columns: Columns) -> tuple[Floats, Ints]:
        """Read rows that the fit did not see.

        A row with a level that training lacks has 32 copies, with levels of training in its place.

        Parameters
        ----------
        columns : Columns
            A table of the same schema; its vocabularies may differ.

        Returns
        -------
        x : float64 ndarray of shape (n + 32 m, F)
            The rows, then copy after copy of m of them. Codes, then numbers, then statistics; NaN
            is a missing number, or a code of a missing value or of a level that the reader lacks.
        copied : int64 ndarray of shape (m,)
            The rows that have copies.
        """
        codes, numbers = category_codes(columns, self.levels).astype(np.int64), columns.numbers
        lacking = codes < FIRST_LEVEL
        lacking[:, [share is None for share in self.shares]] = False
        copied = np.flatnonzero(lacking.any(axis=1))
        if len(copied):
            copies = np.tile(codes[copied], (_DRAWS, 1, 1))  # (32, m, q)
            for j, share in enumerate(self.shares):
                if share is not None:
                    # A lattice: each column has evenly spread shares, in an order of its own.
                    place = (np.arange(_DRAWS) * pow(_STEP, j, _DRAWS) % _DRAWS + 0.5) / _DRAWS
                    level = np.searchsorted(np.cumsum(share)[:-1], place, side="right")
                    copies[:, lacking[copied, j], j] = FIRST_LEVEL + level[:, None]
            codes = np.concatenate([codes, copies.reshape(-1, codes.shape[1])])
            numbers = np.concatenate([numbers, np.tile(numbers[copied], (_DRAWS, 1))])
        tables = self.tables
        return self._joined(codes, numbers, lambda j, column: np.asarray(tables[j])[column]), copied

    def _joined(
        self, codes: Ints, numbers: Floats, statistics: Callable[[int, Ints], Table]
    ) -> Floats:
        """Join columns; `statistics` returns those of a column's codes (n,), of shape (n, S)."""
        coded = [codes[:, j] for j, table in enumerate(self.tables) if table is None]
        coded = [np.where(c < FIRST_LEVEL, np.nan, c - FIRST_LEVEL)[:, None] for c in coded]
        read = [statistics(j, codes[:, j]) for j, t in enumerate(self.tables) if t is not None]
        return np.concatenate([*coded, numbers, *read], axis=1, dtype=np.float64)

    @staticmethod
    def average(proba: Floats, copied: Ints) -> Floats:
        """Replace the probabilities of the rows that have copies by the mean over the copies.

        Parameters
        ----------
        proba : float64 ndarray of shape (n + 32 m, C)
            Probabilities of rows and copies, in the order of `read`.
        copied : int64 ndarray of shape (m,)

        Returns
        -------
        float64 ndarray of shape (n, C)
        """
        if not len(copied):
            return proba
        n_rows = len(proba) - _DRAWS * len(copied)
        out = proba[:n_rows].copy()
        out[copied] = proba[n_rows:].reshape(_DRAWS, len(copied), -1).mean(axis=0)
        return out

    # --- storing -----------------------------------------------------------------------------

    def to_arrays(self) -> Arrays:
        """Return the arrays by name."""
        tables = {f"tables.{j}": t for j, t in enumerate(self.tables) if t is not None}
        shares = {f"shares.{j}": s for j, s in enumerate(self.shares) if s is not None}
        return levels_to_arrays(self.levels) | tables | shares

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], numbers: int) -> Reader:
        """Build a reader from checked arrays of `to_arrays` and the number of numeric columns.

        Raises
        ------
        ArtifactError
            If the statistics or shares do not fit the levels.
        """
        levels = levels_of_arrays(arrays)
        tables = tuple(arrays.get(f"tables.{j}") for j in range(len(levels)))
        shares = tuple(arrays.get(f"shares.{j}") for j in range(len(levels)))
        used = sum(array is not None for array in (*tables, *shares))
        if used != sum("." in name for name in arrays):
            raise ArtifactError("Statistics or shares belong to no column.")
        for names, table, share in zip(levels, tables, shares):
            rows = len(names) + FIRST_LEVEL
            if not (len(names) <= MAX_CODES if table is None else len(table) == rows):
                raise ArtifactError("The statistics of a column do not fit its levels.")
            if share is not None and (len(share) != len(names) or abs(share.sum() - 1) >= 1e-3):
                raise ArtifactError("The shares of a column's levels do not sum to 1.")
        return cls(levels, tables, numbers, shares)
