"""Cross-fitting: who may learn from which rows, so that no row teaches what judges it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from autoimb.randomness import Purpose, stream

__all__ = ["deal", "leave_group_out"]

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_MOST_PARTS = 5  # so that many folds cost no more than a few


def deal(y: Ints, n_groups: int) -> Ints:
    """Deal rows to groups, each class as evenly as it goes.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    n_groups : int
        Number of groups.

    Returns
    -------
    ndarray of int64, shape (n,)
        Group of each row, from 0.
    """
    shuffled = stream(Purpose.GROUPS, 0).permutation(len(y))
    order = shuffled[np.argsort(y[shuffled], kind="stable")]
    group = np.empty(len(y), dtype=np.int64)
    group[order] = np.arange(len(y)) % n_groups  # classes follow each other: each is dealt evenly
    return group


def leave_group_out(y: Ints, group: Ints, *, n_groups: int = 5) -> Iterator[tuple[Mask, Mask]]:
    """Yield (rows to learn from, rows to use it on) for each group, or for a few at a time.

    The same arguments give the same parts in the same order, so a part's number names it.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    group : ndarray of int64, shape (n,)
        Cross-fitting group of each row. One group alone is dealt into ``n_groups``.
    n_groups : int, optional
        Number of groups dealt where one is given. More than five groups are left out in five
        parts.

    Yields
    ------
    tuple of two ndarrays of bool, shape (n,)
        They are complements of each other.
    """
    names = np.unique(group)
    if len(names) < 2:
        group = deal(y, n_groups)
        names = np.unique(group)
    for part in np.array_split(names, min(len(names), _MOST_PARTS)):
        inside = np.isin(group, part)
        yield ~inside, inside
