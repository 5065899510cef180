"""A score with its standard error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Score", "error_of_mean", "jackknife", "wilson"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """What a prediction is worth.

    Attributes
    ----------
    value : float
        In the metric's own sign; NaN where the rows define none.
    error : float
        Standard error; NaN where there are too few rows for one.
    per_group : tuple of float
        Value of each group in order; empty where a group defines none.
    pooled : bool
        Whether ``value`` is of all rows together; else it is the mean of ``per_group``.
    utility : float
        Higher is better.
    """

    value: float
    error: float
    per_group: tuple[float, ...]
    pooled: bool
    utility: float

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Score:
        """Read what :meth:`to_json` wrote."""
        return cls(**{**value, "per_group": tuple(value["per_group"])})


def error_of_mean(values: Floats) -> float:
    """Return the standard error of the mean of values (G,)."""
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def wilson(share: Floats, count: Floats) -> tuple[Floats, Floats]:
    """Return the ends of the 95 % intervals of shares (n,) of so many rows (n,) (Wilson, 1927)."""
    z = 1.96
    widened = 1 + z**2 / count
    centre = (share + z**2 / (2 * count)) / widened
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / widened
    return centre - half, centre + half


def jackknife(values: Floats) -> float:
    """Estimate the standard error from the values without each block (Efron & Stein 1981)."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return math.nan
    return float(values.std() * math.sqrt(len(values) - 1))
