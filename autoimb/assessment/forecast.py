"""Forecast of the class rates of later rows from the blocks of time so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit, stdtrit

from autoimb.arrays import Floats

__all__ = ["Forecast", "forecast"]

_DECAY = 0.5  # weight of a block relative to the next one, in a decaying mean
_MEMORY = 0.8  # weight of the forecast of a block relative to that of the next one


@dataclass(frozen=True)
class Forecast:
    """Forecast of the class rates of a later block.

    Attributes
    ----------
    rates : tuple of C floats
        Expected rates of the classes; their sum is 1.
    low, high : float
        The 95 % prediction interval of the positive class's rate in a later block, from the
        forecast errors of the blocks so far.
    rule : {"all", "decaying", "newest"}
        Forecasting rule that was best for the blocks so far.
    """

    rates: tuple[float, ...]
    low: float
    high: float
    rule: str

    def to_info(self, positive: int) -> dict[str, Any]:
        """Return the rate of the positive class as it is described in a pipeline."""
        value = self.rates[positive]
        return {"value": value, "low": self.low, "high": self.high, "rule": self.rule}


def _decaying(masses: Floats) -> Floats:
    age = np.arange(len(masses))[::-1]
    shares = masses / masses.sum(axis=1, keepdims=True)
    return np.asarray((_DECAY**age) @ shares)


RULES: Mapping[str, Callable[[Floats], Floats]] = {
    "all": lambda masses: masses.sum(axis=0),
    "decaying": _decaying,
    "newest": lambda masses: masses[-1],
}


def forecast(masses: Floats, positive: int) -> Forecast:
    """Forecast the class rates of the next block, by the rule that was best for the blocks so far.

    Each block is forecast from the earlier blocks by three rules: all of their rows, a mean in
    which a block has half the weight of the next one, or the last block alone. The rule with the
    highest mean log-likelihood of the classes is used; later forecasts have larger weights. The
    interval is that of Student's t for the forecast errors of the rule, in log-odds of the positive
    class. Their variance is the mean square or the weighted mean square, whichever is larger.

    Parameters
    ----------
    masses : ndarray of float64, shape (B, C)
        Weight of the rows of each class in each block, the oldest block first; at least two blocks.
    positive : int
        Code of the positive class.

    Returns
    -------
    Forecast
    """
    smoothed = masses + 0.5  # a class without rows in a block keeps a positive rate
    shares = smoothed / smoothed.sum(axis=1, keepdims=True)
    weight = _MEMORY ** np.arange(len(masses) - 1)[::-1]
    # Each rule is evaluated by its one-step forecasts of all blocks but the first.
    merits, errors = {}, {}
    for name, rule in RULES.items():
        expected = np.array([_normed(rule(smoothed[:block])) for block in range(1, len(masses))])
        likelihood = (shares[1:] * np.log(expected)).sum(axis=1)
        merits[name] = float(np.average(likelihood, weights=weight))
        errors[name] = logit(shares[1:, positive]) - logit(expected[:, positive])
    best = max(merits, key=merits.__getitem__)  # the first rule in a tie
    rates = _normed(RULES[best](smoothed))
    squares = np.square(errors[best])
    variance = max(float(squares.mean()), float(np.average(squares, weights=weight)))
    half = stdtrit(len(squares), 0.975) * math.sqrt(variance)
    centre = logit(rates[positive])
    return Forecast(
        rates=tuple(rates.tolist()),
        low=float(expit(centre - half)),
        high=float(expit(centre + half)),
        rule=best,
    )


def _normed(masses: Floats) -> Floats:
    return np.asarray(masses / masses.sum())
