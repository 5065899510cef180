"""Scores with standard errors, the reported score, and formulas of uncertainty."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from autoimb.arrays import Floats

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


@dataclass(frozen=True)
class Score:
    """Score of a prediction on its rows.

    Attributes
    ----------
    value : float
        Value in the metric's own sign; NaN if it is undefined on the rows.
    error : float
        Standard error over rows; NaN if there are too few rows.
    utility : float
        The value, with the sign for which higher is better.
    """

    value: float
    error: float
    utility: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Reported:
    """Expected score of a search's result on new rows.

    Attributes
    ----------
    value : float
        Value in the metric's own sign, corrected for the optimism of selection.
    error : float
        Standard error over new rows and new networks; NaN if there are too few rows.
    low, high : float
        The 95 % interval.
    raw : float
        Value on the out-of-fold rows by which the result was selected.
    optimism : float
        Optimism of selection that was subtracted, in the metric's own sign.
    replays : int
        Number of bootstrap samples on which the selection was repeated.
    greater_is_better : bool
    gain_of_mean : float or None
        Gain of the mean of all networks, which predicts new rows, over the networks that predict
        these rows, in the metric's own sign. It is included in `value`; None if it is unknown.
    estimate : str
        Population of the score: ``"new data"``, rows like these; ``"later rows"``; or
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
        """Return the fields as JSON values."""
        return asdict(self)

    @property
    def utility(self) -> float:
        """The value, with the sign for which higher is better."""
        return self.value if self.greater_is_better else -self.value

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the utility, the lower end first."""
        return (self.low, self.high) if self.greater_is_better else (-self.high, -self.low)

    def to_info(self) -> dict[str, Any]:
        """Return the score as it is described in a pipeline."""
        return {
            "score": defined(self.value),
            "error": defined(self.error),
            "interval": [defined(self.low), defined(self.high)],
            "estimate": self.estimate,
        }


def spread(low: float, high: float) -> float:
    """Return the standard error that corresponds to a 95 % interval."""
    return (high - low) / (2 * 1.96)


def digits_of(error: float | None) -> int:
    """Return the decimals of a printed score: two digits of its error, and at least three."""
    if error is None or not 0 < error < math.inf:
        return 3
    # The first digit of an error e is at decimal ceil(-log10(e)), and one more is printed: 0.0123
    # has its first digit at the second decimal, so that three decimals are printed.
    return min(max(math.ceil(-math.log10(error)) + 1, 3), 6)


def defined(value: float) -> float | None:
    """Return a number as a JSON value: None for NaN."""
    return None if math.isnan(value) else value


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Format a score: ``0.306 (95 % interval 0.261 to 0.354)``."""
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
    """Format the reported score as the sentence of the report and the command line."""
    name = metric.replace("_", " ").removeprefix("expected ")  # of `expected_cost`
    return f"Expected {name} on {estimate}: {with_interval(value, low, high)}."


def error_of_mean(values: Floats) -> float:
    """Return the standard error of the mean of values (G,)."""
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def errors_needed(tried: int) -> float:
    """Return the standard errors by which the best of `tried` candidates must lead (Bonferroni).

    A single candidate must lead by one standard error. With more of them the threshold is higher,
    so that the chance of a false lead stays the same.
    """
    # Each candidate may lead falsely with a probability of level / tried, so that any of them does
    # with a probability of at most the level.
    level = 1 - NormalDist().cdf(1.0)  # probability that a candidate without a gain leads by more
    return NormalDist().inv_cdf(1 - level / max(tried, 1))


def wilson(share: Floats, count: Floats) -> tuple[Floats, Floats]:
    """Return the ends of the 95 % intervals of shares (n,) of `count` rows (n,) (Wilson, 1927)."""
    z = 1.96
    # The interval holds all rates p with |share - p| <= z √(p (1 - p) / count). Its ends are the
    # roots of this quadratic equation, so that it is not empty at shares of 0 and 1.
    widened = 1 + z**2 / count
    centre = (share + z**2 / (2 * count)) / widened
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / widened
    return centre - half, centre + half


def jackknife(values: Floats) -> float:
    """Estimate the standard error from the values without each block (Efron & Stein 1981)."""
    # The jackknife variance is (n - 1) / n times the sum of squares around the mean, which is
    # n - 1 times the variance of the values.
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return math.nan
    return float(values.std() * math.sqrt(len(values) - 1))
