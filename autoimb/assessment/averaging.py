"""What the mean of several networks gains over one of them, without further labels.

Out of fold a row has the answer of one network, a new row the mean of V. So what is measured lacks
the gain of the mean: it removes the share 1 - 1/V of the variance that training gives the
networks' log-odds, which is just how much they vary around their mean. What removing that gains
follows from what adding it loses, once and twice, by the parabola through the values
(simulation-extrapolation: Cook & Stefanski, "Simulation-extrapolation estimation in parametric
measurement error models", 1994).

Where classes are far apart noise may do no harm until it is twice as much, and the parabola turns
down: less noise loses nothing, so no gain is below 0.

The loss is an expected one: each row counts as every class, with the weight of its probability. So
the few rare rows that happened to be drawn are not in it, and no label is read. It is too small
rather than too large, as most networks were trained on the rows
(``reports/design/reported-score.md``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from autoimb.assessment.calibration import log_proba
from autoimb.assessment.decision.rule import DecisionRule
from autoimb.assessment.judge import Judge
from autoimb.assessment.uncertainty import Reported

__all__ = ["gain_of_mean", "of_the_mean"]

Floats = NDArray[np.float64]


def gain_of_mean(
    judge: Judge, proba: Floats, expected: Floats, views: Floats, *, rule: DecisionRule
) -> float:
    """Estimate what the mean of all networks gains over one.

    Sees: no label. For a ranking rows have their places in their groups.

    Parameters
    ----------
    judge : Judge
        Of n rows, by a metric of rankings, which takes weights, or of counts.
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities, all by the calibrator of `views`.
    expected : ndarray of float64, shape (n, C)
        They, each part calibrated by the others: how often such a row is of each class.
    views : ndarray of float64, shape (V, n, C)
        Calibrated probabilities of the rows by one network each, of whatever training parts.
    rule : DecisionRule
        That labels rows by such probabilities.

    Returns
    -------
    float
        In the metric's own sign, and never a loss; 0 of a single view.
    """
    n_rows, n_classes = proba.shape
    y = np.repeat(np.arange(n_classes), n_rows)
    rows = np.ones(n_rows) if judge.weight is None else judge.weight
    weight = rows[:, None] * expected

    def value(logs: Floats) -> float:
        noisy = softmax(logs, axis=1)
        if judge.metric.counts is not None:
            labelled = np.eye(n_classes)[rule.apply(noisy)]
            return float(judge.metric.of_confusion(weight.T @ labelled))
        placed = np.tile(judge.placed(noisy), (n_classes, 1))  # (C * n, C)
        return judge.metric(y, placed, weight=weight.T.ravel())

    logs, each = log_proba(proba), log_proba(views)
    around = each - each.mean(axis=0)  # its variance is 1 - 1/V of one network's
    once, twice = (
        value(logs) - np.mean([value(logs + scale * noise) for noise in around for scale in scales])
        for scales in ((1.0, -1.0), (np.sqrt(2), -np.sqrt(2)))
    )
    gain = float(3 * once - twice)
    return max(gain, 0.0) if judge.metric.greater_is_better else min(gain, 0.0)


def of_the_mean(reported: Reported, gain: float, judge: Judge) -> Reported:
    """Add the gain of the mean of all networks to what is reported of one network a row."""
    value, low, high = judge.interval(reported.value + gain, reported.error)
    return replace(reported, value=value, low=low, high=high, gain_of_mean=gain)
