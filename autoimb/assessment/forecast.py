"""The rates of the classes that are expected of later rows, from the blocks of time so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

__all__ = ["Forecast", "forecast"]

Floats = NDArray[np.float64]

_DECAY = 0.5  # what a block weighs beside the next one, in a decaying mean
_MEMORY = 0.8  # and what its forecast counts beside the next one's


@dataclass(frozen=True)
class Forecast:
    """Expected rates.

    Attributes
    ----------
    rates : tuple of C floats
        Of the classes; their sum is 1.
    low, high : float
        The 95 % interval of the positive class's rate in a block to come. It holds what blocks
        differed from their forecasts so far, by chance and by change.
    rule : {"all", "decaying", "newest"}
        Which forecast was best for the blocks so far.
    """

    rates: tuple[float, ...]
    low: float
    high: float
    rule: str

    def to_info(self, positive: int) -> dict[str, Any]:
        """Return what a pipeline says of the rate of its positive class."""
        own = asdict(self)
        del own["rates"]
        return {"value": self.rates[positive], **own}


def _newest(masses: Floats) -> Floats:
    return np.asarray(masses[-1])


def _decaying(masses: Floats) -> Floats:
    age = np.arange(len(masses))[::-1]
    shares = masses / masses.sum(axis=1, keepdims=True)
    return np.asarray((_DECAY**age) @ shares)


def _all(masses: Floats) -> Floats:
    return np.asarray(masses.sum(axis=0))


RULES: Mapping[str, Callable[[Floats], Floats]] = {
    "all": _all,
    "decaying": _decaying,
    "newest": _newest,
}


def forecast(masses: Floats, positive: int) -> Forecast:
    """Forecast the rates of the next block, by the rule that was best for the blocks so far.

    Each block is forecast from the blocks before it (all rows of them, a mean in which a block
    weighs half as much as the next one, or the last block alone), and the rule with the highest
    mean likelihood of the classes is kept; later forecasts count more. The interval comes from the
    differences of the log-odds of the positive class from this rule's forecasts, by Student's t:
    from their mean square, or that in which later ones count more where it is larger.

    Parameters
    ----------
    masses : ndarray of float64, shape (B, C)
        Weight of the rows of each class in each block, in their order; at least two blocks.
    positive : int
        Code of the positive class.

    Returns
    -------
    Forecast
    """
    smoothed = masses + 0.5  # a class that a block lacks is not impossible
    shares = smoothed / smoothed.sum(axis=1, keepdims=True)
    weight = _MEMORY ** np.arange(len(masses) - 1)[::-1]
    merits, errors = {}, {}
    for name, rule in RULES.items():
        expected = np.array([_normed(rule(smoothed[:block])) for block in range(1, len(masses))])
        likelihood = (shares[1:] * np.log(expected)).sum(axis=1)
        merits[name] = float(np.average(likelihood, weights=weight))
        errors[name] = logit(shares[1:, positive]) - logit(expected[:, positive])
    best = max(merits, key=merits.__getitem__)  # of equals the first
    rates = _normed(RULES[best](smoothed))
    own = np.square(errors[best])
    variance = max(float(own.mean()), float(np.average(own, weights=weight)))
    half = stdtrit(len(own), 0.975) * math.sqrt(variance)
    centre = logit(rates[positive])
    return Forecast(
        rates=tuple(float(rate) for rate in rates),
        low=float(expit(centre - half)),
        high=float(expit(centre + half)),
        rule=best,
    )


def _normed(masses: Floats) -> Floats:
    return np.asarray(masses / masses.sum())
