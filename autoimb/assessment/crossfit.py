"""Cross-fitting: who may learn from which rows, so that no row teaches what judges it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from autoimb.data.folds import stratified
from autoimb.randomness import Purpose, stream

__all__ = ["leave_group_out", "stratified_groups"]

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

_MOST_PARTS = 5  # so that many folds cost no more than a few


def stratified_groups(y: Ints, n_groups: int, cluster: Ints | None = None) -> Ints:
    """Split rows into groups, the same ones whenever they are asked for; see `stratified`.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    n_groups : int
        Number of groups; at most as many as the user's.
    cluster : ndarray of int64, shape (n,), or None
        The user's group of each row; such a group is never parted.

    Returns
    -------
    ndarray of int64, shape (n,)
        Group of each row, from 0.
    """
    if cluster is not None:
        n_groups = min(n_groups, len(np.unique(cluster)))
    return stratified(y, n_groups, stream(Purpose.GROUPS, 0), cluster)


def leave_group_out(
    y: Ints,
    group: Ints,
    *,
    n_groups: int = 5,
    cluster: Ints | None = None,
    period: Ints | None = None,
) -> Iterator[tuple[Mask, Mask]]:
    """Yield (rows to learn from, rows to use it on) for each group, or for a few at a time.

    The same arguments give the same parts in the same order, so a part's number names it.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    group : ndarray of int64, shape (n,)
        Cross-fitting group of each row. One group alone is split into ``n_groups``.
    n_groups : int, optional
        Number of groups made where one is given. More than five groups are left out in five
        parts.
    cluster : ndarray of int64, shape (n,), or None
        The user's group of each row, which no group that is made parts.
    period : ndarray of int64, shape (n,), or None
        The block of time of each row, of which each cross-fitting group has one. A group learns
        from earlier blocks alone, and from no group of the user's that it has rows of; the first
        ones from nothing.

    Yields
    ------
    tuple of two ndarrays of bool, shape (n,)
        Without blocks of time they are complements of each other.
    """
    names = np.unique(group)
    if period is not None:
        for name in names:
            inside = group == name
            earlier = period < period[inside].min()
            if cluster is not None:
                earlier &= ~np.isin(cluster, cluster[inside])
            yield earlier, inside
        return
    if len(names) < 2:
        group = stratified_groups(y, n_groups, cluster)
        names = np.unique(group)
    for part in np.array_split(names, min(len(names), _MOST_PARTS)):
        inside = np.isin(group, part)
        yield ~inside, inside
