"""Cross-fitting: splits of the rows in which no row is scored by a fit to its own label."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autoimb.arrays import Ints, Mask
from autoimb.data.folds import stratified
from autoimb.randomness import Purpose, stream

__all__ = ["leave_group_out", "stratified_groups"]

# More groups than this are left out together, so that their number does not raise the cost.
_PARTS = 5


def stratified_groups(y: Ints, n_groups: int, cluster: Ints | None = None) -> Ints:
    """Split rows into stratified groups, the same ones for the same arguments; see `stratified`.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    n_groups : int
        Number of groups; at most the number of the user's groups.
    cluster : ndarray of int64, shape (n,), or None
        The user's group of each row; the rows of such a group stay together.

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
    cluster: Ints | None = None,
    period: Ints | None = None,
) -> Iterator[tuple[Mask, Mask]]:
    """Yield (rows to learn from, rows to predict) for each part; a part is one group or several.

    The same arguments give the same parts in the same order, so a number identifies a part.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    group : ndarray of int64, shape (n,)
        Cross-fitting group of each row. A single group is split into five parts, and more than five
        groups are merged into five.
    cluster : ndarray of int64, shape (n,), or None
        The user's group of each row; the rows of such a group stay in one part.
    period : ndarray of int64, shape (n,), or None
        Block of time of each row; each cross-fitting group belongs to one block. A group learns
        from earlier blocks only, and not from rows of the user's groups that it contains. The
        groups of the first block learn from no rows.

    Yields
    ------
    tuple of two ndarrays of bool, shape (n,)
        Masks of the rows to learn from and of the rows to predict. Without blocks of time they
        are complements of each other.
    """
    names = np.unique(group)
    # Forward folds: only rows of earlier blocks are learned from, and rows of user's groups that
    # are predicted are excluded.
    if period is not None:
        for name in names:
            inside = group == name
            earlier = period < period[inside].min()
            if cluster is not None:
                earlier &= ~np.isin(cluster, cluster[inside])
            yield earlier, inside
        return
    if len(names) < 2:
        group = stratified_groups(y, _PARTS, cluster)
        names = np.unique(group)
    for part in np.array_split(names, min(len(names), _PARTS)):
        inside = np.isin(group, part)
        yield ~inside, inside
