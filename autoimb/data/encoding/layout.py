"""How each column is written for networks: planned once for a study, and without labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoimb.data.encoding.levels import RARE, row_hashes
from autoimb.data.schema import Columns

__all__ = ["MOST_ONE_HOT", "Layout", "plan_layout"]

MOST_ONE_HOT = 24  # levels; a column with more is embedded
_FEWEST_VALUES, _MOST_VALUES = 3, 256  # of a whole number that gets statistics
_MOST_STATISTICS = 64  # of a row: of many classes fewer columns get them
_MANY_REPEATED = 0.05  # share of rows that are there three times and more


@dataclass(frozen=True)
class Layout:
    """Which columns are written how, by position.

    It is planned on all rows and without labels, so that every fold agrees.

    Attributes
    ----------
    onehot, embedded, statistics : tuple of int
        The category columns: each stands in one of them. Those of few levels are one-hot; others
        are told by statistics of their levels, or get a learned vector for each; see `Statistics`.
    integers : tuple of int
        Numbers whose values get statistics as well.
    repeated : bool
        Whether rows that are repeated do.
    n_classes : int
        Of the target, where anything gets statistics; else 0.
    """

    onehot: tuple[int, ...]
    embedded: tuple[int, ...]
    statistics: tuple[int, ...] = ()
    integers: tuple[int, ...] = ()
    repeated: bool = False
    n_classes: int = 0

    @property
    def statistics_of_level(self) -> int:
        """Number of statistics of a level: log-odds by class, of two classes of one, and rows."""
        return 1 + (1 if self.n_classes == 2 else self.n_classes)


def plan_layout(columns: Columns, *, n_classes: int = 0) -> Layout:
    """Plan the layout of a table.

    Category columns with more than 24 levels get statistics; so do the rows, where one in 20 is
    there three times or more, and whole numbers of 3 to 256 different values, those of the most
    values first, until a row has 64 statistics. Category columns that are then left are embedded.

    Parameters
    ----------
    columns : Columns
        All rows of the table.
    n_classes : int, optional
        Of the target; without them nothing gets statistics.

    Returns
    -------
    Layout
    """
    sizes = [len(vocabulary) for vocabulary in columns.vocabularies]
    onehot = tuple(j for j, size in enumerate(sizes) if size <= MOST_ONE_HOT)
    wide = sorted(set(range(len(sizes))) - set(onehot), key=lambda j: -sizes[j])
    if not n_classes:
        return Layout(onehot=onehot, embedded=tuple(sorted(wide)))
    values = [_whole_values(columns.numbers[:, j]) for j in range(columns.numbers.shape[1])]
    integers = [j for j, n in enumerate(values) if _FEWEST_VALUES <= n <= _MOST_VALUES]
    repeated = _many_repeated(columns)
    bare = Layout(onehot, (), repeated=repeated, n_classes=n_classes)
    room = max(_MOST_STATISTICS // bare.statistics_of_level - repeated, 0)
    integers = sorted(integers, key=lambda j: -values[j])[: max(room - len(wide), 0)]
    return replace(
        bare,
        embedded=tuple(sorted(wide[room:])),
        statistics=tuple(sorted(wide[:room])),
        integers=tuple(sorted(integers)),
    )


def _many_repeated(columns: Columns) -> bool:
    hashes = row_hashes(columns.numbers, columns.codes)
    counts = np.unique(hashes, return_counts=True)[1]
    return bool(counts[counts >= RARE].sum() >= _MANY_REPEATED * len(hashes))


def _whole_values(numbers: NDArray[np.float64]) -> int:
    """Count the different values of a number; 0 where one of them is no integer."""
    values = np.unique(numbers[~np.isnan(numbers)])
    return len(values) if (values == np.round(values)).all() else 0
