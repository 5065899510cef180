"""How a number is scaled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["scale", "squash"]


def scale(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median, and one over the first usable spread; 0 where nothing varies."""
    if not len(values):
        return 0.0, 0.0
    # of halves, as the difference of two of the largest floats is none
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
