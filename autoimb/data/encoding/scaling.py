"""Robust scaling of numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["column_blocks", "quantiles", "scales", "squash"]

Numbers = NDArray[np.float64]

_CELLS = 2**19  # of columns that are processed together, so that temporary arrays remain small


def column_blocks(numbers: Numbers) -> Iterator[slice]:
    """Yield consecutive slices of columns with about half a million cells each."""
    step = max(_CELLS // max(len(numbers), 1), 1)
    return (slice(start, start + step) for start in range(0, numbers.shape[1], step))


def quantiles(numbers: Numbers, shares: tuple[float, ...]) -> Numbers:
    """Return quantiles of the present values of each column, as `numpy.quantile` defines them.

    Parameters
    ----------
    numbers : ndarray of float64, shape (n, p)
    shares : tuple of k floats
        Probabilities of the quantiles, from 0 to 1.

    Returns
    -------
    ndarray of float64, shape (k, p)
        Quantiles; NaN for columns without values.
    """
    ordered = np.sort(numbers.T, axis=1)  # NaN is sorted last
    last = (~np.isnan(ordered)).sum(1) - 1
    place = np.multiply.outer(shares, last)
    low = np.floor(place).astype(np.int64)
    column = np.arange(len(ordered))
    below, above = ordered[column, low], ordered[column, np.minimum(low + 1, last)]
    # Interpolation from the nearer end avoids rounding errors, as in NumPy.
    part = place - low
    with np.errstate(over="ignore", invalid="ignore"):
        step = above - below
        result: Numbers = np.where(part < 0.5, below + step * part, above - step * (1 - part))
    return result


def scales(numbers: Numbers) -> tuple[Numbers, Numbers]:
    """Return the median of each column and the reciprocal of its spread.

    Parameters
    ----------
    numbers : ndarray of float64, shape (n, p)
        Numbers; NaN is a missing value.

    Returns
    -------
    center, factor : ndarray of float64, shape (p,)
        The spread is the interquartile range; if that is not usable it is the standard deviation,
        and then the range. The factor is 0 for a constant column. The center and the factor are 0
        for a column without values.
    """
    center, factor = np.zeros((2, numbers.shape[1]))
    if not len(numbers):
        return center, factor
    for block in column_blocks(numbers):
        low, first, middle, third, high = quantiles(numbers[:, block], (0, 0.25, 0.5, 0.75, 1))
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            slope = 1 / (third - first)
        # The interquartile range is usable for most columns; the others are scaled one by one.
        usual = (slope > 0) & np.isfinite(slope) & (low < high)
        center[block], factor[block] = np.where(usual, middle, 0), np.where(usual, slope, 0)
        for j in block.start + np.flatnonzero(~usual):
            center[j], factor[j] = _scale(numbers[~np.isnan(numbers[:, j]), j])
    return center, factor


def _scale(values: Numbers) -> tuple[float, float]:
    """Return the median and the reciprocal of the first usable spread; 0 for constant values."""
    if not len(values):
        return 0.0, 0.0
    # Values are halved because the difference of two of the largest floats overflows.
    low, first, middle, third, high = 2 * np.quantile(values / 2, [0, 0.25, 0.5, 0.75, 1])
    if low == high:
        return float(low), 0.0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for spread in (third - first, values.std(), high - low):
            slope = 1 / spread
            if spread > 0 and np.isfinite(spread) and np.isfinite(slope):
                return float(middle), float(slope)
    return float(middle), 1.0


def squash(
    values: Numbers,
    center: Numbers | float,
    factor: Numbers | float,
) -> NDArray[np.float32]:
    """Scale and clip smoothly to (-3, 3) (Holzmüller et al. 2024, RealMLP), preserving NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values - center
        scaled *= factor
        np.clip(scaled, -1e6, 1e6, out=scaled)  # so that the square is finite
    small = scaled.astype(np.float32)
    root = np.square(small / np.float32(3.0))
    root += 1
    small /= np.sqrt(root, out=root)
    return small
