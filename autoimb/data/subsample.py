"""Subsampling where time or memory does not allow all rows; rarer classes remain complete."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["allotted", "subsample"]

Rows = NDArray[np.int64]


def allotted(sizes: Rows, max_rows: int) -> Rows:
    """Allot a number of rows to the classes as evenly as possible.

    Parameters
    ----------
    sizes : ndarray of int64, shape (C,)
        Number of rows of each class, at least 1.
    max_rows : int
        Total number of rows to allot. It is exceeded only where that is needed to give each class
        one row. What a class with fewer rows than its share leaves goes to the other classes.

    Returns
    -------
    ndarray of int64, shape (C,)
        Number of rows that each class may retain.
    """
    numbers, remaining = np.zeros(len(sizes), dtype=np.int64), max_rows
    # From the rarest class on, each class gets an equal share of the rows that remain, so that the
    # unused part of a small class's share goes to the larger classes.
    for place, code in enumerate(np.argsort(sizes, kind="stable")):
        numbers[code] = min(sizes[code], max(remaining // (len(sizes) - place), 1))
        remaining -= numbers[code]
    return numbers


def subsample(
    y: NDArray[np.int64], rows: Rows, max_rows: int, random: np.random.Generator
) -> tuple[Rows, NDArray[np.float64]]:
    """Draw rows evenly over the classes without replacement.

    Parameters
    ----------
    y : ndarray of shape (n,), int64
        Class codes of the whole table.
    rows : ndarray of int64
        The rows to draw from.
    max_rows : int
        Number of rows to draw. What a class with fewer rows than its share leaves goes to the
        other classes.
    random : Generator

    Returns
    -------
    rows : ndarray of int64, at most `max_rows`
        Drawn rows in their original order.
    scale : ndarray of float64, of the same length
        Number of rows that each drawn row represents: 1 in a class that remains complete.
    """
    if len(rows) <= max_rows:
        return rows, np.ones(len(rows))
    codes, sizes = np.unique(y[rows], return_counts=True)
    chosen, scale = np.zeros(len(rows), dtype=bool), np.zeros(len(rows))
    numbers = allotted(sizes, max_rows)
    for index in np.argsort(sizes, kind="stable"):  # rarest first
        class_rows = np.flatnonzero(y[rows] == codes[index])
        if numbers[index] < len(class_rows):
            class_rows = random.choice(class_rows, numbers[index], replace=False)
        chosen[class_rows], scale[class_rows] = True, sizes[index] / numbers[index]
    return rows[chosen], scale[chosen]
