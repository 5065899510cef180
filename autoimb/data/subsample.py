"""Subsampling where time or memory does not allow all rows: the rarer classes stay whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["allotted", "subsample"]

Rows = NDArray[np.int64]


def allotted(sizes: Rows, most: int) -> Rows:
    """Say how many rows of each class may stay, as evenly as they go.

    Parameters
    ----------
    sizes : ndarray of int64, shape (C,)
        Rows of each class, from 1.
    most : int
        How many may stay in all, but one of each class does; a class that has fewer than its share
        leaves the rest to the others.

    Returns
    -------
    ndarray of int64, shape (C,)
    """
    numbers, left = np.zeros(len(sizes), dtype=np.int64), most
    for place, which in enumerate(np.argsort(sizes, kind="stable")):  # rarest first
        numbers[which] = min(sizes[which], max(left // (len(sizes) - place), 1))
        left -= numbers[which]
    return numbers


def subsample(
    y: NDArray[np.int64], rows: Rows, most: int, random: np.random.Generator
) -> tuple[Rows, NDArray[np.float64]]:
    """Draw rows evenly over the classes, without replacement.

    Parameters
    ----------
    y : ndarray of shape (n,), int64
        Class codes of the whole table.
    rows : ndarray of int64
        The rows to draw from.
    most : int
        How many may stay; a class that has fewer than its share leaves the rest to the others.
    random : Generator

    Returns
    -------
    rows : ndarray of int64, at most `most`
        In the order given.
    scale : ndarray of float64, of the same length
        How many rows each of them stands for: 1 in a class that stays whole.
    """
    if len(rows) <= most:
        return rows, np.ones(len(rows))
    codes, sizes = np.unique(y[rows], return_counts=True)
    chosen, scale = np.zeros(len(rows), dtype=bool), np.zeros(len(rows))
    numbers = allotted(sizes, most)
    for which in np.argsort(sizes, kind="stable"):  # rarest first
        own = np.flatnonzero(y[rows] == codes[which])
        if numbers[which] < len(own):
            own = random.choice(own, numbers[which], replace=False)
        chosen[own], scale[own] = True, sizes[which] / numbers[which]
    return rows[chosen], scale[chosen]
