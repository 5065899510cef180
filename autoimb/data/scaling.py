"""How a number is scaled, and cut into bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["edges_of", "scale", "squash"]

THINNEST = 1e-6  # width of a bin, on scaled numbers: its slope stays a float32
_FIXED_POINT = 20  # steps until a bin's rows no longer change


def scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median, and one over the first usable spread; 0 where nothing varies."""
    if not len(values):
        return 0.0, 0.0
    low, first, middle, third, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    if low == high:
        return float(low), 0.0
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for spread in (third - first, values.std(), high - low):
            slope = 1 / spread
            if spread > 0 and np.isfinite(spread) and np.isfinite(slope):
                return float(middle), float(slope)
    return float(middle), 1.0


def squash(
    values: NDArray[np.float64],
    center: NDArray[np.float64] | float,
    factor: NDArray[np.float64] | float,
) -> NDArray[np.float32]:
    """Scale and clip smoothly to (-3, 3) (Holzmüller et al. 2024, RealMLP); NaN stays."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values - center
        scaled *= factor
        np.clip(scaled, -1e6, 1e6, out=scaled)  # its square is finite
    small = scaled.astype(np.float32)
    root = np.square(small / np.float32(3.0))
    root += 1
    small /= np.sqrt(root, out=root)
    return small


def edges_of(scaled: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Quantile edges of the bins; a column without spread gets one bin that is always 0.

    A value that fills several bins by itself counts as one bin's worth of rows, so that the others
    share the rest: of 95 % zeros and a long tail most bins are in the tail.
    """
    if len(scaled):
        values, counts = np.unique(scaled, return_counts=True)
        bin_rows = len(scaled) / most
        for _ in range(_FIXED_POINT):
            bin_rows = float(np.minimum(counts, bin_rows).sum()) / most
        upto = np.cumsum(np.minimum(counts, bin_rows))
        shares = np.linspace(0, upto[-1], most + 1)[:-1]
        # values that occur: 0 and 1 are one bin, not halves of it
        edges = np.unique(values[np.searchsorted(upto, shares, side="right")])
        edges = np.append(edges[edges < values[-1]], values[-1])
        edges = edges[np.diff(edges, prepend=-np.inf) >= THINNEST]
        if len(edges) > 1:
            return edges
    return np.array([0, 1], dtype=np.float32)
