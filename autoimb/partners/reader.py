"""What trees read: levels as codes, numbers as they are; fitted on training rows only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoimb.data.schema import Columns

__all__ = ["Reader"]

MOST_LEVELS = 255  # that scikit-learn's trees take as categories


@dataclass(frozen=True)
class Reader:
    """The fitted reading. Sees: the levels of training rows.

    Attributes
    ----------
    levels : tuple of q tuples of str
        Of each category column those with codes, by code: all that training rows have, of more than
        255 the most frequent. Others are read as missing.
    numbers : int
        How many number columns there are.
    """

    levels: tuple[tuple[str, ...], ...]
    numbers: int

    @classmethod
    def fit(cls, columns: Columns, rows: NDArray[np.int64]) -> Reader:
        """Fit on some rows; nothing of the others reaches the result."""
        levels = []
        for j, vocabulary in enumerate(columns.vocabularies):
            counts = np.bincount(columns.codes[rows, j] + 1, minlength=len(vocabulary) + 1)[1:]
            often = np.argsort(-counts, kind="stable")[:MOST_LEVELS]
            levels.append(tuple(vocabulary[code] for code in np.sort(often[counts[often] > 0])))
        return cls(tuple(levels), columns.numbers.shape[1])

    def read(self, columns: Columns, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Read rows.

        Parameters
        ----------
        columns : Columns
            A table of the same schema; its vocabularies may differ.
        rows : ndarray of int64, optional
            By default all.

        Returns
        -------
        float64 ndarray of shape (n, q + p)
            Codes of the category columns, then the numbers; NaN is missing.
        """
        part = columns if rows is None else columns.take(rows)
        out = np.empty((part.n_rows, len(self.levels) + self.numbers))
        for j, (levels, vocabulary) in enumerate(zip(self.levels, part.vocabularies)):
            known = {level: float(code) for code, level in enumerate(levels)}
            # the last place answers code -1
            lookup = np.array([*(known.get(level, np.nan) for level in vocabulary), np.nan])
            out[:, j] = lookup[part.codes[:, j]]
        out[:, len(self.levels) :] = part.numbers
        return out
