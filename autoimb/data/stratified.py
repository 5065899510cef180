"""Rows split into parts, class after class."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["stratified"]

Ints = NDArray[np.int64]


def stratified(y: Ints, n_parts: int, random: np.random.Generator) -> Ints:
    """Split rows into parts, each class as evenly as it goes.

    Parameters
    ----------
    y : ndarray of int64, shape (n,)
        Class codes.
    n_parts : int
        Number of parts.
    random : Generator
        Of the order within a class.

    Returns
    -------
    ndarray of int64, shape (n,)
        Part of each row, from 0; the sizes of parts, and of their classes, differ by one at most.
    """
    shuffled = random.permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    part = np.empty(len(y), dtype=np.int64)
    part[by_class] = np.arange(len(y)) % n_parts  # classes follow each other: each is split evenly
    return part
