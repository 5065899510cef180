"""Matched duels: a network with one imbalance method and without, on the same folds.

The folds of a cross-validation share most of their training rows, so the mean of their differences
varies by more than differences that were independent: the variance of the mean is
``(1/J + test/train)`` times that between the J folds (Nadeau & Bengio, "Inference for the
generalization error", 2003), with Student's t of J - 1 degrees of freedom. Several methods are
corrected for by Holm (1979). A balanced ensemble has two controls, the single network and an
ensemble as large on rows as they are, and helps only where it beats both: the larger of the two p
values is that of the intersection-union test (Berger, 1982). That a method makes no difference is
shown by two one-sided tests (Schuirmann, 1987); what is not significant is not equal for that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from autoimb.assessment.judge import Judge, Prediction
from autoimb.policy import SearchPolicy

__all__ = [
    "Gain",
    "Word",
    "gain",
    "holm",
    "holm_tests",
    "margin",
    "most_rows_needed",
    "p_of_method",
    "word",
]

Floats = NDArray[np.float64]
Word = Literal["helps", "hurts", "makes no difference", "not tested enough"]


@dataclass(frozen=True)
class Gain:
    """By how much a method is better than a control.

    Attributes
    ----------
    value : float
        Utility of the method less that of the control; NaN where the rows define none.
    error : float
        Its standard error, the overlap of training sets counted.
    folds : int
    """

    value: float
    error: float
    folds: int

    @classmethod
    def of(cls, differences: Floats, test_share: float) -> Gain:
        """Estimate it from the differences of the folds, (J,).

        Parameters
        ----------
        differences : ndarray of shape (J,)
        test_share : float
            Scored rows of a fold for each row that it trains on.
        """
        folds = len(differences)
        variance = (1.0 / folds + test_share) * np.var(differences, ddof=1)
        return cls(float(differences.mean()), math.sqrt(variance), folds)

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval, not corrected for the number of methods."""
        half = self.quantile(0.975) * self.error
        return self.value - half, self.value + half

    @property
    def p_value(self) -> float:
        """How often equals differ by as much, in either direction."""
        return 2.0 * self._tail(abs(self.value))

    def p_equivalent(self, limit: float) -> float:
        """How often a method that differs by the limit would seem to differ by so little."""
        return self._tail(limit - abs(self.value))

    def quantile(self, share: float) -> float:
        """Return the quantile of Student's t with its degrees of freedom."""
        return float(stdtrit(self.folds - 1, share))

    def _tail(self, distance: float) -> float:
        if self.error == 0:
            return 0.5 if distance == 0 else float(distance < 0)
        return float(stdtr(self.folds - 1, -distance / self.error))


def gain(judge: Judge, method: Prediction, control: Prediction, *, test_share: float) -> Gain:
    """Compare a method with a control, paired by row and fold.

    With forward folds the error comes from leaving out chunks of time.

    Parameters
    ----------
    judge : Judge
        Of the rows that both scored; its groups are their folds.
    method, control : tuple of ndarray
        Out-of-fold probabilities (n, C) and labels (n,) of each.
    test_share : float
        Scored rows of a fold for each row that it trains on.

    Returns
    -------
    Gain
        In the metric of the judge, above 0 where the method is better.
    """
    if judge.period is not None:  # blocks of time differ, and are few
        value, error = judge.compare(method, control)
        return Gain(value, error, len(np.unique(judge.counted.blocks)))
    differences = judge.pseudo_values(method) - judge.pseudo_values(control)
    return Gain.of(differences if judge.metric.greater_is_better else -differences, test_share)


def margin(control: float, policy: SearchPolicy) -> float:
    """Return the difference from a control's score that is none to care about."""
    least, share = policy.duel_margin
    return max(least, share * abs(control))


def p_of_method(gain: Gain, matched: Gain | None) -> float:
    """Return the p value of a method: how often one that neither helps nor hurts seems to.

    Parameters
    ----------
    gain : Gain
        Over the control network.
    matched : Gain or None
        Of a balanced ensemble, over one as large on rows as they are. It helps only where it is
        better than both; it hurts where it is worse than the control network.
    """
    if matched is None or not gain.value > 0:
        return gain.p_value
    return max(gain.p_value, matched.p_value) if matched.value > 0 else 1.0


def holm_tests(p_values: Sequence[float]) -> list[int]:
    """Return the number of tests that Holm corrects each p value for; 0 for NaN, which is no test.

    The smallest is corrected for all of them, the next one for one less.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    tests = [0] * len(p_values)
    for rank, (_, place) in enumerate(order):
        tests[place] = len(order) - rank
    return tests


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p values of a family for their number (Holm, 1979); NaN is not in the family."""
    tests = holm_tests(p_values)
    corrected, least = [math.nan] * len(p_values), 0.0
    for place in sorted(range(len(tests)), key=lambda place: -tests[place]):
        if tests[place]:
            least = max(least, min(1.0, tests[place] * p_values[place]))
            corrected[place] = least
    return corrected


def word(gain: Gain, p_corrected: float, limit: float, policy: SearchPolicy) -> Word:
    """Say what a duel has shown.

    Parameters
    ----------
    gain : Gain
        Over the control network.
    p_corrected : float
        The method's p value, see `p_of_method`, after `holm`.
    limit : float
        See `margin`.
    policy : SearchPolicy
        The levels of the tests.
    """
    if p_corrected <= policy.duel_level:
        return "helps" if gain.value > 0 else "hurts"
    if gain.p_equivalent(limit) <= policy.equivalence_level:
        return "makes no difference"
    return "not tested enough"  # so is NaN, which is below nothing


def most_rows_needed(
    gain: Gain, limit: float, policy: SearchPolicy, *, tests: int, matched: Gain | None = None
) -> float:
    """Return how many times the rows would decide, if gains stayed what they are; inf for none.

    The error falls with the root of the rows. Either a difference is found, or one within the limit
    is shown to be none, whichever takes fewer rows.

    Parameters
    ----------
    gain : Gain
        Over the control network.
    limit : float
        See `margin`.
    policy : SearchPolicy
    tests : int
        For which Holm corrects the method, see `holm_tests`.
    matched : Gain or None
        Of a balanced ensemble, see `p_of_method`.
    """
    if not (math.isfinite(gain.value) and math.isfinite(gain.error)):
        return math.inf
    border = gain.quantile(1 - policy.duel_level / (2 * tests))
    to_find = _times(border, gain, abs(gain.value))
    if matched is not None and gain.value > 0:
        to_find = max(to_find, _times(border, matched, matched.value))
    equal = gain.quantile(1 - policy.equivalence_level)
    return min(to_find, _times(equal, gain, limit - abs(gain.value)))


def _times(border: float, gain: Gain, distance: float) -> float:
    """Return the times as many rows with which a distance is so many errors; inf where none is."""
    return (border * gain.error / distance) ** 2 if distance > 0 else math.inf
