"""Statistics of matched duels: one network with and without an imbalance method.

The folds of a cross-validation share most of their training rows, so the mean of their differences
varies by more than that of independent differences: the variance of the mean is
``(1/J + test/train)`` times that between the J folds (Nadeau & Bengio, "Inference for the
generalization error", 2003), with Student's t of J - 1 degrees of freedom. The p values of several
methods are corrected by Holm (1979). A balanced ensemble has two controls, the single network and
an ensemble of the same size on rows that are not balanced. It helps only if it beats both: the
larger of the two p values is that of the intersection-union test (Berger, 1982). Equivalence to the
control is shown by two one-sided tests (Schuirmann, 1987), as a difference that is not significant
does not prove equality.
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

__all__ = [
    "TEST_LEVEL",
    "Gain",
    "Word",
    "gain",
    "holm",
    "holm_tests",
    "margin",
    "p_of_method",
    "row_multiple_needed",
    "word",
]

# Level of the tests that a method helps or hurts, over all methods of a search
# (reports/design/paired-comparisons.md).
TEST_LEVEL = 0.1
# Level of the test that a method makes no difference (reports/design/paired-comparisons.md).
_EQUIVALENCE_LEVEL = 0.05
# Largest difference in a score that counts as none: at least this, or this share of the control's
# score (reports/design/paired-comparisons.md).
_MIN_MARGIN, _MARGIN_SHARE = 0.01, 0.05

Floats = NDArray[np.float64]
Word = Literal["helps", "hurts", "makes no difference", "not tested enough"]


@dataclass(frozen=True)
class Gain:
    """Gain of a method over a control.

    Attributes
    ----------
    value : float
        Utility of the method minus that of the control; NaN if it is undefined on the rows.
    error : float
        Standard error, including the overlap of training sets.
    folds : int
        Number of folds; Student's t has one degree of freedom less.
    """

    value: float
    error: float
    folds: int

    @classmethod
    def of(cls, differences: Floats, test_share: float) -> Gain:
        """Estimate the gain from the differences of the folds.

        Parameters
        ----------
        differences : ndarray of shape (J,)
            Difference in utility of each fold.
        test_share : float
            Number of scored rows of a fold per training row.
        """
        folds = len(differences)
        variance = (1.0 / folds + test_share) * np.var(differences, ddof=1)
        return cls(float(differences.mean()), math.sqrt(variance), folds)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, not corrected for the number of methods."""
        half = self.quantile(0.975) * self.error
        return self.value - half, self.value + half

    @property
    def p_value(self) -> float:
        """Two-sided p value of the hypothesis that method and control are equal."""
        return 2.0 * self._tail(abs(self.value))

    def p_equivalent(self, limit: float) -> float:
        """Return the p value of the hypothesis that they differ by the limit or more."""
        return self._tail(limit - abs(self.value))

    def quantile(self, share: float) -> float:
        """Return a quantile of Student's t distribution of the gain."""
        return float(stdtrit(self.folds - 1, share))

    def _tail(self, distance: float) -> float:
        if self.error == 0:
            return 0.5 if distance == 0 else float(distance < 0)
        return float(stdtr(self.folds - 1, -distance / self.error))


def gain(judge: Judge, method: Prediction, control: Prediction, *, test_share: float) -> Gain:
    """Compare a method with a control, paired by row and fold.

    With forward folds the error is estimated by leaving out chunks of time.

    Parameters
    ----------
    judge : Judge
        Judge of the rows that both predict; its groups are the folds.
    method, control : tuple of ndarray
        Out-of-fold probabilities (n, C) and labels (n,) of each.
    test_share : float
        Number of scored rows of a fold per training row.

    Returns
    -------
    Gain
        Gain in the metric of the judge, above 0 if the method is better.
    """
    if judge.period is not None:  # blocks of time are few and not alike
        value, error = judge.compare(method, control)
        return Gain(value, error, len(np.unique(judge.counted.blocks)))
    differences = judge.pseudo_values(method) - judge.pseudo_values(control)
    return Gain.of(differences if judge.metric.greater_is_better else -differences, test_share)


def margin(control: float) -> float:
    """Return the largest difference from the control's score that is considered irrelevant."""
    return max(_MIN_MARGIN, _MARGIN_SHARE * abs(control))


def p_of_method(gain: Gain, matched: Gain | None) -> float:
    """Return the p value of the hypothesis that a method neither helps nor hurts.

    Parameters
    ----------
    gain : Gain
        Gain over the control network.
    matched : Gain or None
        Gain of a balanced ensemble over an ensemble of the same size on rows that are not balanced.
        Such a method helps only if it beats both controls; it hurts if it is worse than the control
        network.
    """
    if matched is None or not gain.value > 0:
        return gain.p_value
    return max(gain.p_value, matched.p_value) if matched.value > 0 else 1.0


def holm_tests(p_values: Sequence[float]) -> list[int]:
    """Return the number of tests for which Holm corrects each p value; 0 for NaN.

    The smallest p value is corrected for all tests, each larger one for one test less.
    """
    tests = np.zeros(len(p_values), dtype=np.int64)
    n_tests = int(np.isfinite(p_values).sum())
    tests[np.argsort(p_values, kind="stable")[:n_tests]] = np.arange(n_tests, 0, -1)
    return [int(number) for number in tests]


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p values of a family for their number (Holm, 1979); NaN stays NaN."""
    # Corrected values must not decrease in the order of the p values, hence the running maximum.
    order = np.argsort(p_values, kind="stable")  # NaN is the last
    products = np.multiply(p_values, holm_tests(p_values))[order]
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(products), 1.0)
    return [float(p_value) for p_value in corrected]


def word(gain: Gain, p_corrected: float, limit: float) -> Word:
    """Return the outcome of a duel in words.

    Parameters
    ----------
    gain : Gain
        Gain over the control network.
    p_corrected : float
        p value of the method, see `p_of_method`, corrected by `holm`.
    limit : float
        Largest irrelevant difference, see `margin`.
    """
    if p_corrected <= TEST_LEVEL:
        return "helps" if gain.value > 0 else "hurts"
    if gain.p_equivalent(limit) <= _EQUIVALENCE_LEVEL:
        return "makes no difference"
    return "not tested enough"  # also for NaN, which fails both comparisons


def row_multiple_needed(
    gain: Gain, limit: float, *, tests: int, matched: Gain | None = None
) -> float:
    """Return the multiple of the rows that would decide a duel with the same gains, or inf.

    The error is proportional to one over the square root of the rows. A duel is decided when the
    difference is significant, or when it is shown to be within the limit, whichever needs fewer
    rows.

    Parameters
    ----------
    gain : Gain
        Gain over the control network.
    limit : float
        Largest irrelevant difference, see `margin`.
    tests : int
        Number of tests for which Holm corrects the method, see `holm_tests`.
    matched : Gain or None
        Second gain of a balanced ensemble, see `p_of_method`.
    """
    if not (math.isfinite(gain.value) and math.isfinite(gain.error)):
        return math.inf
    border = gain.quantile(1 - TEST_LEVEL / (2 * tests))
    to_find = _times(border, gain, abs(gain.value))
    if matched is not None and gain.value > 0:
        to_find = max(to_find, _times(border, matched, matched.value))
    equal = gain.quantile(1 - _EQUIVALENCE_LEVEL)
    return min(to_find, _times(equal, gain, limit - abs(gain.value)))


def _times(border: float, gain: Gain, distance: float) -> float:
    """Return the multiple of the rows at which a distance is `border` errors, or inf."""
    return (border * gain.error / distance) ** 2 if distance > 0 else math.inf
