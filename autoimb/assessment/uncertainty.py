"""A score with its standard error, and the one that is reported."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Reported",
    "Score",
    "defined",
    "digits_of",
    "error_of_mean",
    "errors_needed",
    "expected_in_words",
    "jackknife",
    "spread",
    "wilson",
    "with_interval",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """What a prediction is worth.

    Attributes
    ----------
    value : float
        In the metric's own sign; NaN where the rows define none.
    error : float
        Standard error over rows; NaN where there are too few rows for one.
    per_group : tuple of float
        Value of each group in order; empty where a group defines none.
    pooled : bool
        Whether ``value`` is of all rows together; else it is the mean of ``per_group``.
    utility : float
        Higher is better.
    gain_of_mean : float or None
        What the mean of the networks that predict a row gains over one of them, in utility; None
        where one predicts it.
    """

    value: float
    error: float
    per_group: tuple[float, ...]
    pooled: bool
    utility: float
    gain_of_mean: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


@dataclass(frozen=True)
class Reported:
    """What a search says that its result is worth on other rows of the same kind.

    Attributes
    ----------
    value : float
        In the metric's own sign, without the optimism of a choice.
    error : float
        Its standard error over other rows and other networks; NaN where there are too few rows for
        one.
    low, high : float
        The 95 % interval.
    raw : float
        What the same out-of-fold rows gave that chose it.
    optimism : float
        What was taken off the value of these rows as one sample, in the metric's own sign.
    replays : int
        Bootstrap samples on which the choice was made again.
    greater_is_better : bool
    gain_of_mean : float or None
        What is in the value of what the mean of all networks, which predicts new rows, gains over
        what predicts these, in the metric's own sign; None where it is not known and not in it.
    estimate : str
        What the score is expected on: ``"new data"``, rows like these; ``"later rows"``; or
        ``"new groups"``.
    """

    value: float
    error: float
    low: float
    high: float
    raw: float
    optimism: float
    replays: int
    greater_is_better: bool
    gain_of_mean: float | None = None
    estimate: str = "new data"

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    @property
    def utility(self) -> float:
        """The value, higher is better."""
        return self.value if self.greater_is_better else -self.value

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the utility, the lower end first."""
        return (self.low, self.high) if self.greater_is_better else (-self.high, -self.low)

    def to_info(self) -> dict[str, Any]:
        """Return what a pipeline says of its score."""
        return {
            "score": defined(self.value),
            "error": defined(self.error),
            "interval": [defined(self.low), defined(self.high)],
            "estimate": self.estimate,
        }


def spread(low: float, high: float) -> float:
    """Return the standard error that a 95 % interval stands for."""
    return (high - low) / (2 * 1.96)


def digits_of(error: float | None) -> int:
    """Return the decimals that a score is written with: two digits of its error, three at least."""
    if error is None or not 0 < error < math.inf:
        return 3
    return min(max(math.ceil(-math.log10(error)) + 1, 3), 6)


def defined(value: float) -> float | None:
    """Return a number as JSON can hold it: None for NaN."""
    return None if math.isnan(value) else value


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Write a score: ``0.306 (95 % interval 0.261 to 0.354)``."""
    if value is None:
        return "undefined"
    if low is None or high is None or math.isnan(high - low):
        return f"{value:.3f} (no interval)"
    digits = digits_of(spread(low, high))
    return f"{value:.{digits}f} (95 % interval {low:.{digits}f} to {high:.{digits}f})"


def expected_in_words(
    metric: str,
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    estimate: str = "new data",
) -> str:
    """Write the reported score as the sentence that report and command line have in common."""
    name = metric.replace("_", " ")
    return f"Expected {name} on {estimate}: {with_interval(value, low, high)}."


def error_of_mean(values: Floats) -> float:
    """Return the standard error of the mean of values (G,)."""
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def errors_needed(tried: int) -> float:
    """Return by how many errors the best of so many must beat another (Bonferroni).

    One of them must by a standard error, and several by as much more as chance would give them.
    """
    by_chance = 1 - NormalDist().cdf(1.0)  # how often equals differ by more than one error
    return NormalDist().inv_cdf(1 - by_chance / max(tried, 1))


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
