"""The verdict: whether any lever is worth its trouble on this table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.metrics import Metric
from autoimb.assessment.uncertainty import Prediction, paired_difference

__all__ = ["Verdict", "verdict"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BY_CHANCE = 1 - NormalDist().cdf(1.0)  # how often equals differ by more than one error


@dataclass(frozen=True)
class Verdict:
    """Answer to "does any lever help?".

    Attributes
    ----------
    lever_helps : bool
        Whether the best lever beats the best strategy without one by more than chance explains.
        If not, ``none`` is the answer.
    difference : float
        Utility of the lever less that of ``none``; NaN where one of them is missing.
    error : float
        Its standard error.
    sentence : str
        The answer in plain words.
    """

    lever_helps: bool
    difference: float
    error: float
    sentence: str


def verdict(
    metric: Metric,
    y: Ints,
    group: Ints,
    *,
    none: Prediction | None,
    lever: Prediction | None,
    lever_name: str = "",
    tried: int = 1,
    weight: Floats | None = None,
) -> Verdict:
    """Compare the best strategy with a lever with the best one without, on the same rows.

    Parameters
    ----------
    metric : Metric
        What is measured.
    y : ndarray of int64, shape (n,)
        Class codes of the scored rows.
    group : ndarray of int64, shape (n,)
        Their cross-fitting groups.
    none, lever : tuple of ndarray, or None
        Out-of-fold probabilities (n, C) and labels (n,) of the best strategy of each sort; None
        where no such strategy finished.
    lever_name : str, optional
        The lever strategy in words.
    tried : int, optional
        Number of lever strategies that ``lever`` is the best of. One must beat ``none`` by one
        standard error; the best of several by as much more as chance would give it (Bonferroni).
    weight : ndarray of float64, shape (n,), optional
        Row weights.

    Returns
    -------
    Verdict
        ``none`` wins what is not decided.
    """
    if none is None or lever is None:
        return Verdict(False, math.nan, math.nan, _missing(none, lever))
    difference, error = paired_difference(metric, y, lever, none, group, weight=weight)
    needed = error * NormalDist().inv_cdf(1 - _BY_CHANCE / max(tried, 1))
    helps = bool(difference > needed)  # NaN is not above anything
    return Verdict(helps, difference, error, _sentence(metric, difference, needed, lever_name))


def _missing(none: Prediction | None, lever: Prediction | None) -> str:
    if none is None and lever is None:
        return "No strategy finished, so nothing can be said about treating the imbalance."
    if none is None:
        return (
            "No strategy without special treatment of the rare class finished, so it is not known "
            "whether such treatment helps on this table."
        )
    return (
        "Only strategies without special treatment of the rare class finished, so it is not known "
        "whether such treatment helps on this table."
    )


def _sentence(metric: Metric, difference: float, needed: float, lever_name: str) -> str:
    lever = f"the best such strategy ({lever_name})" if lever_name else "the best such strategy"
    name = metric.name.replace("_", " ")
    if math.isnan(difference) or math.isnan(needed):
        return (
            f"There are too few rows to say whether special treatment of the rare class helps: "
            f"{lever} can't be compared by {name}."
        )
    size, chance = f"{abs(difference):.4f}", f"{needed:.4f}"
    if difference > needed:
        return (
            f"Special treatment of the rare class helps on this table: {lever} is better by {size} "
            f"in {name} than the best strategy without it, and chance alone would explain no more "
            f"than {chance}."
        )
    way = "better" if difference > 0 else "worse"
    gap = f"is {way} by {size} in {name}" if difference else f"is no different in {name}"
    if difference < -needed:
        return (
            f"Special treatment of the rare class does not help on this table: {lever} {gap} than "
            "the best strategy without it."
        )
    return (
        f"Special treatment of the rare class is not shown to help on this table: {lever} {gap} "
        f"against the best strategy without it, and chance alone could explain up to {chance}."
    )
