"""How each column is written for networks: planned once for a study, without any row's label."""

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

__all__ = ["MOST_ONE_HOT", "Layout", "plan_layout"]

MOST_ONE_HOT = 24  # levels; a column with more is embedded
_FEWEST_VALUES, _MOST_VALUES = 3, 256  # of a whole number that gets statistics
_FIRST_ROWS = 2_000  # that show most columns of many values to be one
_MOST_WITH_STATISTICS = 32  # columns
_MANY_REPEATED = 0.2  # share of rows that are there three times and more
_ROWS_WITH_STATISTICS = 3_000  # below, repeated rows are too few to tell anything

_Count = Annotated[int, Meta(ge=0, le=2**31)]


class Layout(BriefRepr, Struct, frozen=True, forbid_unknown_fields=True):
    """Which columns are written how, by position.

    It is planned on all rows and without their labels, so that every fold agrees.

    Attributes
    ----------
    onehot, embedded, statistics : tuple of int
        The category columns, each in at most one of them as `plan_layout` has it. Those of few
        levels are one-hot; others enter as statistics of their levels, or as a learned vector for
        each. What is in none of them is not read.
    integers : tuple of int
        Numbers whose values get statistics as well.
    repeated : bool
        Whether rows that are repeated do.
    n_classes : int
        Of the target; 0 where nothing gets statistics.
    screened : int or None
        Numbers, and one-hot columns, that each fold keeps at most; None keeps all. See `Screen`.
    """

    onehot: tuple[_Count, ...]
    embedded: tuple[_Count, ...]
    statistics: tuple[_Count, ...] = ()
    integers: Annotated[tuple[_Count, ...], Meta(max_length=256)] = ()
    repeated: bool = False
    n_classes: _Count = 0
    screened: _Count | None = None

    def left_out(self, n_categories: int) -> tuple[int, ...]:
        """Return which of so many category columns are not read."""
        read = {*self.onehot, *self.embedded, *self.statistics}
        return tuple(j for j in range(n_categories) if j not in read)

    @property
    def statistics_of_level(self) -> int:
        """Number of statistics of a level: log-odds by class, of two classes of one, and rows."""
        return 1 + (1 if self.n_classes == 2 else self.n_classes)


def plan_layout(
    columns: Columns,
    *,
    n_classes: int = 0,
    screened: int | None = None,
    folds: Sequence[Fold] = (),
) -> Layout:
    """Plan the layout of a table.

    Category columns with more than 24 levels get statistics where there are two classes; so do
    whole numbers of 3 to 256 different values, those of the most values first, until 32 columns
    have some. Other columns of so many levels are embedded. Rows get statistics where there
    are 3,000 and more, one in five of them three times or more.

    Folds of the user's may hold levels together: no row of a scored patient trains, as it will be
    with new patients. What a network learns of the levels of training rows then says nothing of
    the scored ones. So a column of many levels is not read, and numbers and repeated rows get no
    statistics, where half of the scored rows or more have a level that no row has which trains for
    them.

    Parameters
    ----------
    columns : Columns
        All rows of the table.
    n_classes : int, optional
        Of the target; without them nothing gets statistics.
    screened : int, optional
        Numbers, and one-hot columns, that each fold keeps at most.
    folds : sequence of Fold, optional
        Where the user gave them. No label is looked at.

    Returns
    -------
    Layout
        A table of nothing but such columns is read as if there were no folds.
    """
    sizes = [len(vocabulary) for vocabulary in columns.vocabularies]
    onehot = tuple(j for j, size in enumerate(sizes) if size <= MOST_ONE_HOT)
    wide = sorted(set(range(len(sizes))) - set(onehot), key=lambda j: -sizes[j])
    familiar = [j for j in wide if _mostly_trained(columns.codes[:, j], folds)]
    if familiar or onehot or columns.numbers.shape[1]:
        wide = familiar
    repeated = n_classes > 0 and _many_repeated(columns, folds)
    if n_classes != 2:
        return Layout(
            onehot,
            tuple(sorted(wide)),
            repeated=repeated,
            n_classes=n_classes,
            screened=screened,
        )
    told, embedded = wide[:_MOST_WITH_STATISTICS], wide[_MOST_WITH_STATISTICS:]
    values = [_whole_values(columns.numbers[:, j]) for j in range(columns.numbers.shape[1])]
    integers = [
        j
        for j, n in enumerate(values)
        if _FEWEST_VALUES <= n <= _MOST_VALUES and _mostly_trained(columns.numbers[:, j], folds)
    ]
    integers = sorted(integers, key=lambda j: -values[j])[: _MOST_WITH_STATISTICS - len(told)]
    return Layout(
        onehot=onehot,
        embedded=tuple(sorted(embedded)),
        statistics=tuple(sorted(told)),
        integers=tuple(sorted(integers)),
        repeated=repeated,
        n_classes=n_classes,
        screened=screened,
    )


def _mostly_trained(levels: NDArray[Any], folds: Sequence[Fold]) -> bool:
    """Whether the levels of most scored rows occur in the rows that train for them.

    Parameters
    ----------
    levels : ndarray of shape (n,)
        NaN and negative codes are missing, and do not count.
    folds : sequence of Fold
        Without any the answer is yes.
    """
    trained = scored = 0
    for fold in folds:
        own = levels[fold.score]
        own = own[~np.isnan(own)] if own.dtype.kind == "f" else own[own >= 0]
        trained += int(np.isin(own, levels[fold.train]).sum())
        scored += len(own)
    return not folds or 2 * trained > scored


def _many_repeated(columns: Columns, folds: Sequence[Fold]) -> bool:
    if columns.n_rows < _ROWS_WITH_STATISTICS:
        return False
    hashes = row_hashes(columns.numbers, columns.codes)
    counts = np.unique(hashes, return_counts=True)[1]
    many = bool(counts[counts >= RARE].sum() >= _MANY_REPEATED * len(hashes))
    return many and _mostly_trained(hashes, folds)


def _whole_values(numbers: NDArray[np.float64]) -> int:
    """Count the different values of a number; 0 where one is no integer, or they are many."""
    known = numbers[~np.isnan(numbers)]
    if (known != np.round(known)).any() or len(np.unique(known[:_FIRST_ROWS])) > _MOST_VALUES:
        return 0
    return len(np.unique(known))
