"""Layout of the columns as inputs of networks, planned once per study without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from autoimb.data.encoding.levels import RARE, row_hashes
from autoimb.data.folds import Fold
from autoimb.data.schema import Columns
from autoimb.text import BriefRepr

__all__ = ["MAX_ONE_HOT", "Layout", "plan_layout"]

MAX_ONE_HOT = 24  # levels; a column with more is embedded
_MIN_VALUES, _MAX_VALUES = 3, 256  # of a column of whole numbers that gets statistics
_ROWS_PER_VALUE = 30  # smallest mean number of rows that have a value of such a column
_FIRST_ROWS = 2_000  # in which most columns of many values are recognized as such
_MAX_WITH_STATISTICS = 32  # columns
_MANY_REPEATED = 0.2  # share of rows that occur three or more times
_ROWS_WITH_STATISTICS = 3_000  # below, there are too few repeated rows for statistics

_Count = Annotated[int, Meta(ge=0, le=2**31)]


class Layout(BriefRepr, Struct, frozen=True, forbid_unknown_fields=True):
    """Encoding of each column of a table, by position.

    The layout is planned on all rows without their labels, so that all folds share it.

    Attributes
    ----------
    onehot, embedded, statistics : tuple of int
        Categorical columns, each of which is in at most one of the tuples. Columns of few levels
        are one-hot encoded; others are encoded by statistics of their levels or by a learned vector
        for each level. Columns in none of the tuples are not read. See `plan_layout`.
    integers : tuple of int
        Number columns whose values have statistics in addition.
    repeated : bool
        Whether repeated rows have statistics.
    n_classes : int
        Number of classes of the target; 0 if there are no statistics.
    screened : int or None
        Maximum number of number columns, and of one-hot columns, that each fold reads; None reads
        all. See `Screen`.
    """

    onehot: tuple[_Count, ...]
    embedded: tuple[_Count, ...]
    statistics: tuple[_Count, ...] = ()
    integers: Annotated[tuple[_Count, ...], Meta(max_length=256)] = ()
    repeated: bool = False
    n_classes: _Count = 0
    screened: _Count | None = None

    def left_out(self, n_categories: int) -> tuple[int, ...]:
        """Return the categorical columns that are not read, given the number of columns."""
        read = {*self.onehot, *self.embedded, *self.statistics}
        return tuple(j for j in range(n_categories) if j not in read)

    @property
    def statistics_of_level(self) -> int:
        """Number of statistics of a level: log-odds per class (one for two classes), and size."""
        return 1 + (1 if self.n_classes == 2 else self.n_classes)


def plan_layout(
    columns: Columns,
    *,
    n_classes: int = 0,
    screened: int | None = None,
    folds: Sequence[Fold] = (),
) -> Layout:
    """Plan the layout of a table.

    Categorical columns with more than 24 levels get statistics if there are two classes. So do
    whole numbers with 3 to 256 different values, if there are 30 rows or more for each value, those
    with most values first, until 32 columns have statistics. Other columns with more than 24 levels
    are embedded. Repeated rows get statistics if there are at least 3,000 rows and one in five
    occurs three or more times.

    Folds of the user may separate levels: no row of a scored patient trains, as for new patients in
    deployment. What a network learns about the levels of the training rows then does not transfer.
    Therefore, if half or more of the scored rows have a level that does not occur in their training
    rows, a column of many levels is not read, and numbers and repeated rows get no statistics.

    Parameters
    ----------
    columns : Columns
        Columns with all rows of the table.
    n_classes : int, optional
        Number of classes of the target; there are no statistics if it is 0.
    screened : int, optional
        Maximum number of number columns, and of one-hot columns, that each fold reads.
    folds : sequence of Fold, optional
        Folds of the user, if there are any. Labels are not used.

    Returns
    -------
    Layout
        Layout of the table. If no other column is left, the folds are ignored.
    """
    sizes = [len(vocabulary) for vocabulary in columns.vocabularies]
    onehot = tuple(j for j, size in enumerate(sizes) if size <= MAX_ONE_HOT)
    # Columns of many levels, those with most levels first.
    wide = sorted(set(range(len(sizes))) - set(onehot), key=lambda j: -sizes[j])
    familiar = [j for j in wide if _mostly_trained(columns.codes[:, j], folds)]
    # Unfamiliar columns are dropped only if other columns remain.
    if familiar or onehot or columns.numbers.shape[1]:
        wide = familiar
    repeated = n_classes > 0 and _many_repeated(columns, folds)
    # Columns of values that get statistics; there are none unless there are two classes.
    with_statistics: list[int] = []
    integers: list[int] = []
    if n_classes == 2:
        with_statistics = wide[:_MAX_WITH_STATISTICS]
        values = [_whole_values(column) for column in columns.numbers.T]
        max_values = min(_MAX_VALUES, columns.n_rows // _ROWS_PER_VALUE)
        integers = [
            j
            for j, n in enumerate(values)
            if _MIN_VALUES <= n <= max_values and _mostly_trained(columns.numbers[:, j], folds)
        ]
        integers = sorted(integers, key=lambda j: -values[j])
        integers = integers[: _MAX_WITH_STATISTICS - len(with_statistics)]
    return Layout(
        onehot=onehot,
        embedded=tuple(sorted(wide[len(with_statistics) :])),
        statistics=tuple(sorted(with_statistics)),
        integers=tuple(sorted(integers)),
        repeated=repeated,
        n_classes=n_classes,
        screened=screened,
    )


def _mostly_trained(levels: NDArray[Any], folds: Sequence[Fold]) -> bool:
    """Return whether the levels of most scored rows occur in their training rows.

    Parameters
    ----------
    levels : ndarray of shape (n,)
        Levels of the rows; NaN and negative codes are missing values, which do not count.
    folds : sequence of Fold
        Folds of the user; without folds the result is True.
    """
    trained = scored = 0
    for fold in folds:
        scored_levels = levels[fold.score]
        is_float = scored_levels.dtype.kind == "f"
        scored_levels = scored_levels[~np.isnan(scored_levels) if is_float else scored_levels >= 0]
        trained += int(np.isin(scored_levels, levels[fold.train]).sum())
        scored += len(scored_levels)
    return not folds or 2 * trained > scored


def _many_repeated(columns: Columns, folds: Sequence[Fold]) -> bool:
    if columns.n_rows < _ROWS_WITH_STATISTICS:
        return False
    hashes = row_hashes(columns.numbers, columns.codes)
    counts = np.unique(hashes, return_counts=True)[1]
    many = bool(counts[counts >= RARE].sum() >= _MANY_REPEATED * len(hashes))
    return many and _mostly_trained(hashes, folds)


def _whole_values(numbers: NDArray[np.float64]) -> int:
    """Count the distinct values of a number; 0 if one is not whole, or there are too many."""
    present = numbers[~np.isnan(numbers)]
    if (present != np.round(present)).any():
        return 0
    if len(np.unique(present[:_FIRST_ROWS])) > _MAX_VALUES:
        return 0
    return len(np.unique(present))
