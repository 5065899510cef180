"""Matched duels of a network with and without an imbalance method: statistics and verdict.

The folds of a cross-validation share most of their training rows, so the mean of their differences
varies by more than that of independent differences: the variance of the mean is
``(1/J + test/train)`` times that between the J folds (Nadeau & Bengio, "Inference for the
generalization error", 2003), with Student's t of J - 1 degrees of freedom. The p values of several
methods are corrected by Holm (1979). A balanced ensemble has two controls, the single network and
an ensemble of the same size on rows that are not balanced. It helps only if it beats both: the
larger of the two p values is that of the intersection-union test (Berger, 1982). Equivalence to the
control is shown by two one-sided tests (Schuirmann, 1987), as a difference that is not significant
does not prove equality.

The verdict says whether the rare class needs special treatment on this table, method by method. It
is based on the duels only: the best strategy of a search is no evidence for the methods that it
contains.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtr, stdtrit

from autoimb.arrays import Floats
from autoimb.assessment.judge import Judge, Prediction

__all__ = [
    "TEST_LEVEL",
    "Duel",
    "Finding",
    "Gain",
    "Verdict",
    "gain",
    "holm",
    "holm_tests",
    "margin",
    "row_multiple_needed",
    "verdict",
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

_MANY_TIMES = 100  # larger multiples of the rows are not printed as numbers

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


def _p_of_method(gain: Gain, matched: Gain | None) -> float:
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
        p value of the method, see `_p_of_method`, corrected by `holm`.
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
        Second gain of a balanced ensemble, see `_p_of_method`.
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


# --- the verdict ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Duel:
    """Duel of a method with the control network, and of a balanced ensemble with an ensemble.

    Attributes
    ----------
    component : str
        Component of the method.
    option : str
    method : str
        Description of the method with its parameters.
    reason : str
        Reason why the duel was not run; empty if it was.
    infeasible : bool
        Whether the reason is that the method cannot run on this table.
    control : float
        Score of the control network.
    gain, log_loss : Gain or None
        Gain over the control network, in the metric of the search and in log-loss; above 0 if the
        method is better.
    matched : Gain or None
        Gain of an ensemble on balanced rows over an ensemble of the same size on rows that are not
        balanced, in the metric of the search.
    control_name, matched_name : str
        Descriptions of the two controls.
    """

    component: str
    option: str
    method: str
    reason: str = ""
    infeasible: bool = False
    control: float = math.nan
    gain: Gain | None = None
    log_loss: Gain | None = None
    matched: Gain | None = None
    control_name: str = "the same network without it"
    matched_name: str = ""


@dataclass(frozen=True)
class Finding:
    """Finding about a method on this table.

    Attributes
    ----------
    duel : Duel
    word : {"helps", "hurts", "makes no difference", "not tested enough"} or str
        Outcome of the duel; "not tested" or "infeasible" without a duel.
    p_value : float
        p value, corrected for the number of methods; NaN without a duel.
    sentence : str
        The finding in words.
    """

    duel: Duel
    word: Word | str
    p_value: float
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """Answer to "does the rare class need special treatment on this table?".

    Attributes
    ----------
    findings : tuple of Finding
        Findings in the order of the duels.
    sentence : str
        The answer in words.
    """

    findings: tuple[Finding, ...]
    sentence: str


def verdict(duels: Sequence[Duel], *, metric: str, rare: str = "rare class") -> Verdict:
    """Return the verdict on the methods of a space from their duels.

    Parameters
    ----------
    duels : sequence of Duel
        Duel of each method of the space.
    metric : str
        Name of the metric of the search.
    rare : str, optional
        Description of what the methods treat.

    Returns
    -------
    Verdict
        Verdict that lists infeasible methods and methods without a duel, but does not count them.
    """
    p_values = [
        math.nan if duel.gain is None else _p_of_method(duel.gain, duel.matched) for duel in duels
    ]
    findings = tuple(
        _finding(duel, p_value, tests, metric)
        for duel, p_value, tests in zip(duels, holm(p_values), holm_tests(p_values))
    )
    return Verdict(findings, _answer(findings, metric, f"Special treatment of the {rare}"))


def _finding(duel: Duel, p_value: float, tests: int, metric: str) -> Finding:
    if duel.gain is None:
        name = "infeasible" if duel.infeasible else "not tested"
        return Finding(duel, name, math.nan, f"{duel.method}: {name}, {duel.reason}.")
    limit = margin(duel.control)
    outcome = word(duel.gain, p_value, limit)
    times = row_multiple_needed(duel.gain, limit, tests=tests, matched=duel.matched)
    sentence = _sentence(duel, duel.gain, outcome, metric, limit=limit, times=times)
    return Finding(duel, outcome, p_value, sentence)


def _sentence(
    duel: Duel, gain: Gain, outcome: Word, metric: str, *, limit: float, times: float
) -> str:
    if not math.isfinite(gain.value):
        return f"{duel.method}: not tested enough, {metric} has no value on so few rows."
    size, evidence = f"{abs(gain.value):.4f}", f"95 % interval {_interval(gain)}"
    if outcome == "helps":
        return f"{duel.method} helps: it {_gains(duel, gain, metric)}."
    if outcome == "hurts":
        return (
            f"{duel.method} hurts: it loses {size} in {metric} against {duel.control_name} "
            f"({evidence})."
        )
    if outcome == "makes no difference":
        return (
            f"{duel.method} makes no difference beyond {limit:.3g} in {metric}: "
            f"{gain.value:+.4f} over {duel.control_name} ({evidence})."
        )
    if duel.matched is not None:
        evidence += f"; {duel.matched.value:+.4f} over {duel.matched_name}"
    multiple = f"about {max(math.ceil(times), 2)} times" if times < _MANY_TIMES else "many times"
    return (
        f"{duel.method}: not tested enough, {gain.value:+.4f} in {metric} over "
        f"{duel.control_name} ({evidence}); {multiple} as many rows would tell."
    )


def _gains(duel: Duel, gain: Gain, metric: str) -> str:
    """Return the gains of a method that helps over its controls, in words."""
    if duel.matched is None:
        return (
            f"gains {gain.value:.4f} in {metric} over {duel.control_name} (95 % interval "
            f"{_interval(gain)})"
        )
    return (
        f"gains {duel.matched.value:.4f} and {gain.value:.4f} in {metric} over "
        f"{duel.matched_name} and over {duel.control_name} (95 % intervals "
        f"{_interval(duel.matched)} and {_interval(gain)})"
    )


def _interval(gain: Gain) -> str:
    low, high = gain.interval
    return f"{low:+.4f} to {high:+.4f}"


def _answer(findings: Sequence[Finding], metric: str, treatment: str) -> str:
    """Summarise the findings in one sentence."""
    duels: dict[Word | str, list[Duel]] = defaultdict(list)
    for finding in findings:
        duels[finding.word].append(finding.duel)
    helps, n_worse = duels["helps"], len(duels["hurts"])
    n_even, n_open = len(duels["makes no difference"]), len(duels["not tested enough"])
    n_tested = len(helps) + n_worse + n_even + n_open
    if not n_tested:
        reasons = {duel.reason for duel in duels["not tested"]}
        reason = f": {reasons.pop()}" if len(reasons) == 1 else ""
        return f"{treatment} was not tested on this table{reason}."
    tests = f"{n_tested} method{'s' if n_tested > 1 else ''} tested by paired comparisons"
    if helps:
        gains_of = ((duel.gain, duel) for duel in helps if duel.gain is not None)
        gain, best = max(gains_of, key=lambda pair: pair[0].value)
        further = f", and {len(helps) - 1} more help" if len(helps) > 1 else ""
        gains = _gains(best, gain, metric)
        return f"{treatment} helps on this table: {best.method} {gains}{further}; {tests}."
    conclusion = "is not shown to help" if n_open else "does not help"
    counts = [f"{n_even} no different"] * bool(n_even) + [f"{n_worse} worse"] * bool(n_worse)
    counts += [f"inconclusive for {n_open} (see the intervals)"] * bool(n_open)
    return (
        f"{treatment} {conclusion} on this table: of {tests}, none is better; {', '.join(counts)}."
    )
