"""The verdict: whether any imbalance method is worth its trouble on this table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from autoimb.assessment.judge import Judge, Prediction
from autoimb.assessment.metrics import Metric

__all__ = ["Verdict", "errors_needed", "verdict"]

_BY_CHANCE = 1 - NormalDist().cdf(1.0)  # how often equals differ by more than one error


@dataclass(frozen=True)
class Verdict:
    """Answer to "does any imbalance method help?".

    Attributes
    ----------
    method_helps : bool
        Whether the best strategy with a method beats the best control, a strategy without one, by
        more than chance explains. If not, ``none`` is the answer.
    difference : float
        Utility of the method less that of ``none``; NaN where one of them is missing.
    error : float
        Its standard error.
    sentence : str
        The answer in plain words.
    """

    method_helps: bool
    difference: float
    error: float
    sentence: str


def verdict(
    judge: Judge,
    *,
    none: Prediction | None,
    method: Prediction | None,
    method_name: str = "",
    tried: int = 1,
) -> Verdict:
    """Compare the best strategy with an imbalance method with the best control, on the same rows.

    Parameters
    ----------
    judge : Judge
        Of the scored rows.
    none, method : tuple of ndarray, or None
        Out-of-fold probabilities (n, C) and labels (n,) of the best strategy of each sort; None
        where no such strategy finished.
    method_name : str, optional
        The strategy with the method, in words.
    tried : int, optional
        Number of strategies that ``method`` is the best of. One must beat ``none`` by one
        standard error; the best of several by as much more as chance would give it (Bonferroni).

    Returns
    -------
    Verdict
        ``none`` wins what is not decided.
    """
    if none is None or method is None:
        return Verdict(False, math.nan, math.nan, _missing(none, method))
    difference, error = judge.compare(method, none)
    needed = error * errors_needed(tried)
    helps = bool(difference > needed)  # NaN is not above anything
    return Verdict(
        helps, difference, error, _sentence(judge.metric, difference, needed, method_name)
    )


def errors_needed(tried: int) -> float:
    """Return by how many errors the best of so many must beat `none` (Bonferroni)."""
    return NormalDist().inv_cdf(1 - _BY_CHANCE / max(tried, 1))


def _missing(none: Prediction | None, method: Prediction | None) -> str:
    if none is None and method is None:
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


def _sentence(metric: Metric, difference: float, needed: float, method_name: str) -> str:
    method = f"the best such strategy ({method_name})" if method_name else "the best such strategy"
    name = metric.name.replace("_", " ")
    if math.isnan(difference) or math.isnan(needed):
        return (
            f"There are too few rows to say whether special treatment of the rare class helps: "
            f"{method} can't be compared by {name}."
        )
    size, chance = f"{abs(difference):.4f}", f"{needed:.4f}"
    if difference > needed:
        return (
            f"Special treatment of the rare class helps on this table: {method} is better by "
            f"{size} in {name} than the best strategy without it, and chance alone would explain "
            f"no more than {chance}."
        )
    way = "better" if difference > 0 else "worse"
    gap = f"is {way} by {size} in {name}" if difference else f"is no different in {name}"
    if difference < -needed:
        return (
            f"Special treatment of the rare class does not help on this table: {method} {gap} than "
            "the best strategy without it."
        )
    return (
        f"Special treatment of the rare class is not shown to help on this table: {method} {gap} "
        f"against the best strategy without it, and chance alone could explain up to {chance}."
    )
