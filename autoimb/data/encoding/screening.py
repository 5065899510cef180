"""Which columns networks read of tables with more columns than few rare rows can tell apart.

Of hundreds of columns some part the classes by chance, and a network that reads them all learns
those as well. Each fold keeps the columns that say most of the class alone, one by one, by its
training rows (`reports/design/encoding.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from autoimb.data.encoding.layout import Layout
from autoimb.data.encoding.scaling import column_blocks, quantiles, scales, squash
from autoimb.data.schema import Columns
from autoimb.text import BriefRepr

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Screen"]

Positions = NDArray[np.int64]

_QUARTERS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, eq=False, repr=False)
class Screen(BriefRepr):
    """The columns that are read. Sees: training rows and their labels.

    Attributes
    ----------
    numbers, categories : ndarray of int64, rising
        Positions among the p numbers and the q category columns of the table.
    """

    numbers: Positions
    categories: Positions

    @classmethod
    def every(cls, n_numbers: int, n_categories: int) -> Screen:
        """Keep all columns."""
        return cls(np.arange(n_numbers), np.arange(n_categories))

    @classmethod
    def fit(cls, columns: Columns, y: Positions | None, *, layout: Layout) -> Screen:
        """Choose the columns of a table by its training rows.

        A number is ranked twice: by the variance between the classes as a share of all (which
        ranks as the F test of an analysis of variance does), and by the p-value of a likelihood
        ratio test of its quarters and missing rows against the classes (G test), which also sees
        what is no difference of means. The better place counts. Categories of few levels are
        ranked by the G test of their levels; others are all kept.

        Parameters
        ----------
        columns : Columns
            The training rows.
        y : ndarray of int64, shape (n,), or None
            Their class codes. Without labels those of the most values are kept: the widest.
        layout : Layout
            Says how many numbers, and how many categories of few levels, are kept.

        Returns
        -------
        Screen
        """
        kept, most = cls.every(columns.numbers.shape[1], len(columns.vocabularies)), layout.screened
        if most is None:
            return kept
        onehot = np.array(layout.onehot, dtype=np.int64)
        if len(kept.numbers) > most:
            kept = replace(kept, numbers=_best(_places_of_numbers(columns.numbers, y), most))
        if len(onehot) > most:
            best = onehot[_best(_places_of_categories(columns.codes[:, onehot], y), most)]
            kept = replace(kept, categories=np.union1d(np.setdiff1d(kept.categories, onehot), best))
        return kept

    def fits(self, n_numbers: int, n_categories: int) -> bool:
        """Say whether its positions are those of different columns of a table, rising."""
        return all(
            own.dtype == np.int64
            and own.ndim == 1
            and bool((np.diff(own, prepend=-1, append=size) > 0).all())
            for own, size in ((self.numbers, n_numbers), (self.categories, n_categories))
        )

    def columns(self, columns: Columns) -> Columns:
        """Take the columns of a table that are read."""
        sizes = len(columns.number_names), len(columns.category_names)
        if (len(self.numbers), len(self.categories)) == sizes:
            return columns
        return Columns(
            numbers=columns.numbers[:, self.numbers],
            codes=columns.codes[:, self.categories],
            vocabularies=tuple(columns.vocabularies[j] for j in self.categories),
            number_names=tuple(columns.number_names[j] for j in self.numbers),
            category_names=tuple(columns.category_names[j] for j in self.categories),
        )

    def layout(self, layout: Layout) -> Layout:
        """Give the layout of the columns that are read, by their new positions."""
        numbers = {int(old): new for new, old in enumerate(self.numbers)}
        categories = {int(old): new for new, old in enumerate(self.categories)}
        return structs.replace(
            layout,
            onehot=tuple(categories[j] for j in layout.onehot if j in categories),
            embedded=tuple(categories[j] for j in layout.embedded),
            statistics=tuple(categories[j] for j in layout.statistics),
            integers=tuple(numbers[j] for j in layout.integers if j in numbers),
            screened=None,
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give the arrays by name."""
        return {"read_numbers": self.numbers, "read_categories": self.categories}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Screen:
        """Undo `to_arrays`."""
        return cls(arrays["read_numbers"], arrays["read_categories"])


def _best(place: NDArray[np.float64], most: int) -> Positions:
    """Return the columns of the least places, rising; of equals the first."""
    return np.sort(np.argsort(place, kind="stable")[:most])


def _places_of_numbers(numbers: NDArray[np.float64], y: Positions | None) -> NDArray[np.float64]:
    """Return the place of each number, shape (p,); the best have the least."""
    if y is None:
        return _most_values_first(numbers)
    between, informative = np.empty((2, numbers.shape[1]))
    of_class = _of_class(y)
    for block in column_blocks(numbers):
        values = numbers[:, block]
        scaled = np.nan_to_num(squash(values, *scales(values)))
        between[block] = _variance_between(scaled, of_class)
        ends = quantiles(values, _QUARTERS)
        quarter = 1 + sum((values > end).astype(np.int8) for end in ends)
        informative[block] = _p_values(np.where(np.isnan(values), 0, quarter), of_class)
    one, other = (
        np.argsort(np.argsort(scores, kind="stable")) for scores in (-between, informative)
    )
    return np.minimum(one, other).astype(np.float64)


def _places_of_categories(codes: NDArray[np.int32], y: Positions | None) -> NDArray[np.float64]:
    """Return the place of each category column, shape (q,); the best have the least."""
    return _most_values_first(codes) if y is None else _p_values(codes + 1, _of_class(y))


def _most_values_first(columns: NDArray[Any]) -> NDArray[np.float64]:
    """Return a place for each column, without labels: the widest have the least."""
    return np.array([-float(len(np.unique(column))) for column in columns.T])


def _of_class(y: Positions) -> csr_array:
    """Say of each of the C classes which rows are of it, shape (C, n), as 0 and 1."""
    from scipy.sparse import csr_array  # slow to import, and loading needs none

    ones = np.ones(len(y), dtype=np.float32)
    return csr_array((ones, (y, np.arange(len(y)))), shape=(int(y.max()) + 1, len(y)))


def _variance_between(x: NDArray[np.float32], of_class: csr_array) -> NDArray[np.float64]:
    """Return the variance of the classes' means as a share of that of all rows; 0 without any."""
    counts = of_class.sum(1, dtype=np.float64)
    means = (of_class.astype(np.float64) @ x) / np.maximum(counts, 1)[:, None]
    total = x.var(0, dtype=np.float64)
    between = counts @ (means - x.mean(0, dtype=np.float64)) ** 2 / len(x)
    return np.asarray(np.divide(between, total, out=np.zeros_like(total), where=total > 0))


def _p_values(codes: NDArray[Any], of_class: csr_array) -> NDArray[np.float64]:
    """Return the logs of the G test's p-values of columns of codes (n, p), from 0 on."""
    from scipy.stats import chi2  # slow to import, and loading needs no test

    n_codes = int(codes.max(initial=0)) + 1
    cells = np.stack([of_class @ (codes == code).astype(np.float32) for code in range(n_codes)])
    g, degrees = _g(cells.astype(np.float64))
    return np.asarray(chi2.logsf(g, np.maximum(degrees, 1)))


def _g(cells: NDArray[np.float64]) -> tuple[NDArray[np.float64], Positions]:
    """Return twice the log of the likelihood ratio of counts (codes, C, p); its degrees (p,)."""
    of_code, of_class = cells.sum(1, keepdims=True), cells.sum(0, keepdims=True)
    expected = of_code * of_class / cells.sum((0, 1))
    ratio = np.divide(cells, expected, out=np.ones_like(cells), where=cells > 0)
    degrees = ((of_code > 0).sum((0, 1)) - 1) * ((of_class > 0).sum((0, 1)) - 1)
    return 2.0 * (cells * np.log(ratio)).sum((0, 1)), degrees
