"""What trees read: numbers as they are, few levels as codes, many as how often each class has them.

A column of many levels splits rows into two groups in so many ways that one of them always fits: on
`churn_mlc` the codes of 51 states cost .02 of average precision
(`reports/decisions/0031-trees-as-partners.md`). So such a column gives numbers instead, the
smoothed share of each class among a level's rows, and their count. A training row's own numbers
come from other training rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.data.schema import Columns
from autoimb.data.stratified import stratified
from autoimb.errors import ArtifactError

__all__ = ["Reader"]

MOST_CODES = 5  # levels of a column that is read as codes
PRIOR_ROWS = 30.0  # that the share of all rows counts for, beside those of a level
PARTS = 5  # of training rows: each gets its shares from the others

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Reader:
    """The fitted reading. Sees: training rows.

    Attributes
    ----------
    levels : tuple of q tuples of str
        Of each category column those that training rows have.
    shares : tuple of q arrays or None
        Float64, shape (levels + 1, S): of a column that isn't read as codes the shares of the
        classes and the logarithm of its rows, the last row for other levels.
    numbers : int
        How many number columns there are.
    """

    levels: tuple[tuple[str, ...], ...]
    shares: tuple[Floats | None, ...]
    numbers: int

    @classmethod
    def fit(
        cls,
        columns: Columns,
        rows: Ints,
        y: Ints,
        *,
        weight: Floats,
        n_classes: int,
        random: np.random.Generator,
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
            Their weights, of mean about 1.
        n_classes : int
        random : Generator
            Of the parts of the rows.

        Returns
        -------
        reader : Reader
        x : float64 ndarray of shape (n, F)
            The training rows, as trees should see them in training.
        """
        part = stratified(y, PARTS, random)
        levels: list[tuple[str, ...]] = []
        shares: list[Floats | None] = []
        own: dict[int, Floats] = {}
        for j, vocabulary in enumerate(columns.vocabularies):
            codes = columns.codes[rows, j]
            present = np.unique(codes[codes >= 0])
            levels.append(tuple(vocabulary[code] for code in present))
            if len(present) <= MOST_CODES:
                shares.append(None)
                continue
            place = np.searchsorted(present, codes)
            place[codes < 0] = len(present)
            whole = _shares(place, y, weight, (len(present), n_classes))
            shares.append(whole)
            own[j] = np.empty((len(rows), whole.shape[1]))
            for number in range(PARTS):
                mine = part == number
                left = place[~mine], y[~mine], weight[~mine]
                others = _shares(*left, (len(present), n_classes))
                own[j][mine] = others[place[mine]]
            own[j][:, -1] = whole[place, -1]
            own[j][codes < 0] = np.nan
        reader = cls(tuple(levels), tuple(shares), columns.numbers.shape[1])
        return reader, reader._read(columns.take(rows), own)

    @property
    def codes(self) -> int:
        """How many columns are read as codes; they come first."""
        return sum(each is None for each in self.shares)

    @property
    def width(self) -> int:
        """How many columns trees see."""
        given = sum(int(own.shape[1]) for own in self.shares if own is not None)
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
            Codes, then numbers, then shares; NaN is missing, and of codes any level that training
            rows lacked.
        """
        return self._read(columns if rows is None else columns.take(rows), {})

    def _read(self, columns: Columns, known: Mapping[int, Floats]) -> Floats:
        """Read rows, some columns' shares being known."""
        codes, shares = [], []
        for j, (levels, vocabulary) in enumerate(zip(self.levels, columns.vocabularies)):
            places = {level: place for place, level in enumerate(levels)}
            # the last place answers code -1
            lookup = np.array([*(places.get(level, len(levels)) for level in vocabulary), -1])
            place, own = lookup[columns.codes[:, j]], self.shares[j]
            if own is None:
                absent = (place < 0) | (place == len(levels))
                codes.append(np.where(absent, np.nan, place)[:, None])
            else:
                values = known.get(j)
                shares.append(
                    np.where(place[:, None] < 0, np.nan, own[place]) if values is None else values
                )
        return np.concatenate([*codes, columns.numbers, *shares], axis=1)

    # --- storing -----------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Give what is no array as plain values."""
        return {"levels": [list(own) for own in self.levels], "numbers": self.numbers}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give the arrays by name."""
        return {f"shares.{j}": own for j, own in enumerate(self.shares) if own is not None}

    @classmethod
    def from_parts(cls, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Reader:
        """Undo `to_json` and `to_arrays`.

        Raises
        ------
        ArtifactError
            Where a column's shares are not those of its levels.
        """
        levels = tuple(tuple(str(level) for level in own) for own in values["levels"])
        shares = tuple(arrays.get(f"shares.{j}") for j in range(len(levels)))
        for own, names in zip(shares, levels):
            fits = (
                len(names) < 256
                if own is None
                else own.dtype == np.float64 and own.ndim == 2 and own.shape[0] == len(names) + 1
            )
            if not fits:
                raise ArtifactError(
                    "A column's shares must be one row a level, and one for others."
                )
        return cls(levels, shares, int(values["numbers"]))


def _shares(place: Ints, y: Ints, weight: Floats, shape: tuple[int, int]) -> Floats:
    """Give the classes' shares (of two classes the second's) and the log weight of each level.

    The last place, of missing values, is left for levels that are not known: it has the shares of
    all rows, and no count.
    """
    n_levels, n_classes = shape
    counts = np.zeros((n_levels + 1, n_classes))
    np.add.at(counts, (place, y), weight)
    prior = counts.sum(axis=0) / max(counts.sum(), 1.0)
    counts[-1] = 0.0
    totals = counts.sum(axis=1, keepdims=True)
    shares = (counts + PRIOR_ROWS * prior) / (totals + PRIOR_ROWS)
    return np.hstack([shares[:, 1:] if n_classes == 2 else shares, np.log1p(totals)])
