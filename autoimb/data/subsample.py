"""Subsampling where time or memory does not allow all rows: the rarer classes stay whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["subsample"]

Rows = NDArray[np.int64]


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
    left = most
    for place, which in enumerate(np.argsort(sizes, kind="stable")):  # rarest first
        own = np.flatnonzero(y[rows] == codes[which])
        number = min(len(own), max(left // (len(codes) - place), 1))
        if number < len(own):
            own = random.choice(own, number, replace=False)
        chosen[own], scale[own] = True, sizes[which] / number
        left -= number
    return rows[chosen], scale[chosen]
