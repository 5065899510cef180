"""Selection of columns in tables with too many columns for the number of rare rows.

Among hundreds of columns some separate the classes by chance, and a network that reads all columns
learns these as well. Each fold selects the columns that are individually most informative about the
class in its training rows (`reports/design/encoding.md`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """Columns that networks read, selected by training rows and their labels.

    Attributes
    ----------
    numbers, categories : ndarray of int64, rising
        Positions among the p numbers and the q categorical columns of the table.
    """

    numbers: Positions
    categories: Positions

    @classmethod
    def fit(cls, columns: Columns, y: Positions | None, *, layout: Layout) -> Screen:
        """Select columns by training rows.

        Number columns are ranked by two criteria, of which the better rank counts. One is the
        variance between the classes as a share of the total variance, which ranks columns like the
        F test of an analysis of variance. The other is the p-value of a likelihood ratio test
        (G test) of quarters and missing values against the classes, which also detects differences
        other than those of means. One-hot columns are ranked by the G test of their levels. All
        other categorical columns are selected.

        Parameters
        ----------
        columns : Columns
            Columns of the training rows.
        y : ndarray of int64, shape (n,), or None
            Class codes of the rows. Without labels the columns with most values are selected.
        layout : Layout
            Layout with the maximum number of number columns and of one-hot columns (`screened`).

        Returns
        -------
        Screen
        """
        numbers: Positions = np.arange(columns.numbers.shape[1])
        categories: Positions = np.arange(len(columns.vocabularies))
        limit = layout.screened
        if limit is not None and len(numbers) > limit:
            numbers = _best(_places_of_numbers(columns.numbers, y), limit)
        if limit is not None and len(layout.onehot) > limit:
            onehot = np.array(layout.onehot)
            best = onehot[_best(_places_of_categories(columns.codes[:, onehot], y), limit)]
            # Categorical columns that are not one-hot encoded are always read.
            categories = np.union1d(np.setdiff1d(categories, onehot), best)
        return cls(numbers, categories)

    def fits(self, n_numbers: int, n_categories: int) -> bool:
        """Return whether the positions are rising and valid for a table of some size."""
        return all(
            positions.dtype == np.int64
            and positions.ndim == 1
            and bool((np.diff(positions, prepend=-1, append=size) > 0).all())
            for positions, size in ((self.numbers, n_numbers), (self.categories, n_categories))
        )

    def columns(self, columns: Columns) -> Columns:
        """Return the selected columns of a table."""
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
        """Return the layout of the selected columns, by their new positions."""
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
        """Return the positions as arrays by name."""
        return {"read_numbers": self.numbers, "read_categories": self.categories}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Screen:
        """Build a selection from the arrays of `to_arrays`."""
        return cls(arrays["read_numbers"], arrays["read_categories"])


def _best(place: NDArray[np.float64], n_best: int) -> Positions:
    """Return the rising positions of the lowest places; the first ones win ties."""
    return np.sort(np.argsort(place, kind="stable")[:n_best])


def _places_of_numbers(numbers: NDArray[np.float64], y: Positions | None) -> NDArray[np.float64]:
    """Return the place of each number column, shape (p,); lower places are better."""
    if y is None:
        return _most_values_first(numbers)
    between, informative = np.empty((2, numbers.shape[1]))
    membership = _class_membership(y)
    for block in column_blocks(numbers):
        values = numbers[:, block]
        # Both criteria treat missing values as a value: the median, or a code of their own.
        scaled = np.nan_to_num(squash(values, *scales(values)))
        between[block] = _variance_between(scaled, membership)
        ends = quantiles(values, _QUARTERS)
        quarter = 1 + sum((values > end).astype(np.int8) for end in ends)
        informative[block] = _p_values(np.where(np.isnan(values), 0, quarter), membership)
    rank_by_variance, rank_by_test = (
        np.argsort(np.argsort(scores, kind="stable")) for scores in (-between, informative)
    )
    return np.minimum(rank_by_variance, rank_by_test).astype(np.float64)


def _places_of_categories(codes: NDArray[np.int32], y: Positions | None) -> NDArray[np.float64]:
    """Return the place of each categorical column, shape (q,); lower places are better."""
    return _most_values_first(codes) if y is None else _p_values(codes + 1, _class_membership(y))


def _most_values_first(columns: NDArray[Any]) -> NDArray[np.float64]:
    """Return places that prefer columns with many distinct values."""
    return np.array([-float(len(np.unique(column))) for column in columns.T])


def _class_membership(y: Positions) -> csr_array:
    """Return the membership of rows in classes as a 0/1 matrix, shape (C, n)."""
    from scipy.sparse import csr_array  # slow import that prediction does not need

    ones = np.ones(len(y), dtype=np.float32)
    return csr_array((ones, (y, np.arange(len(y)))), shape=(int(y.max()) + 1, len(y)))


def _variance_between(x: NDArray[np.float32], membership: csr_array) -> NDArray[np.float64]:
    """Return the variance of the class means as a share of the total variance; 0 if that is 0."""
    # Products with the sparse membership matrix are sums over the rows of each class.
    counts = membership.sum(1, dtype=np.float64)
    means = (membership.astype(np.float64) @ x) / np.maximum(counts, 1)[:, None]
    total = x.var(0, dtype=np.float64)
    between = counts @ (means - x.mean(0, dtype=np.float64)) ** 2 / len(x)
    return np.asarray(np.divide(between, total, out=np.zeros_like(total), where=total > 0))


def _p_values(codes: NDArray[Any], membership: csr_array) -> NDArray[np.float64]:
    """Return the log p-values of the G test for columns of codes from 0 on, shape (n, p)."""
    from scipy.stats import chi2  # slow import that prediction does not need

    n_codes = int(codes.max(initial=0)) + 1
    cells = np.stack([membership @ (codes == code).astype(np.float32) for code in range(n_codes)])
    g, degrees = _g(cells.astype(np.float64))
    return np.asarray(chi2.logsf(g, np.maximum(degrees, 1)))


def _g(cells: NDArray[np.float64]) -> tuple[NDArray[np.float64], Positions]:
    """Return the G statistics and degrees of freedom, (p,), of counts of shape (codes, C, p)."""
    code_counts, class_counts = cells.sum(1, keepdims=True), cells.sum(0, keepdims=True)
    expected = code_counts * class_counts / cells.sum((0, 1))
    ratio = np.divide(cells, expected, out=np.ones_like(cells), where=cells > 0)
    n_codes, n_classes = (code_counts > 0).sum((0, 1)), (class_counts > 0).sum((0, 1))
    degrees = (n_codes - 1) * (n_classes - 1)
    return 2.0 * (cells * np.log(ratio)).sum((0, 1)), degrees
