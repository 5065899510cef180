"""Gain of the mean of several networks over a single network, estimated without labels.

Out of fold a row is predicted by one network, a new row by the mean of V networks. So the measured
score lacks the gain of the mean, which removes the share 1 - 1/V of the training variance of the
networks' log-odds; this share is the variance of the networks around their mean. The gain of
removing the variance is extrapolated from the loss of adding it once and twice, by the parabola
through the three values (simulation-extrapolation: Cook & Stefanski, "Simulation-extrapolation
estimation in parametric measurement error models", 1994).

Where classes are well separated, noise may be harmless until it is doubled, and the extrapolation
is negative. As less noise does no harm, the gain is at least 0.

The values are expected values: each row counts as every class, with the weight of its probability.
So they do not depend on the few rare rows of the sample, and no label is read. The estimate is
rather too small than too large, as most networks were trained on the rows
(``reports/design/reported-score.md``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import softmax

from autoimb.arrays import Floats
from autoimb.assessment.calibration import log_proba
from autoimb.assessment.decision import DecisionRule
from autoimb.assessment.judge import Judge
from autoimb.assessment.uncertainty import Reported

__all__ = ["gain_of_mean", "of_the_mean"]


def gain_of_mean(
    judge: Judge, proba: Floats, expected: Floats, views: Floats, *, rule: DecisionRule
) -> float:
    """Estimate the gain of the mean of all networks over a single network.

    Sees: no label. For rankings, rows are compared by their places in their groups.

    Parameters
    ----------
    judge : Judge
        Judge of n rows, with a ranking metric that takes weights or with a metric of counts.
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities, all by the calibrator of `views`.
    expected : ndarray of float64, shape (n, C)
        The same probabilities with cross-fitted calibration: the expected classes of the rows.
    views : ndarray of float64, shape (V, n, C)
        Calibrated probabilities of the rows by one network each, of any training parts.
    rule : DecisionRule
        Rule that labels rows by these probabilities.

    Returns
    -------
    float
        Gain in the metric's own sign, never a loss; 0 with a single view.
    """
    n_rows, n_classes = proba.shape
    # Each row is repeated as a row of every class, weighted by its probability of the class.
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

    logs, view_logs = log_proba(proba), log_proba(views)
    around = view_logs - view_logs.mean(axis=0)  # has 1 - 1/V of the variance of a network
    # The noise of the networks is added with both signs, which removes its linear effect. The scale
    # of sqrt(2) doubles its variance. The parabola through the three values gives that without it.
    once, twice = (
        value(logs) - np.mean([value(logs + scale * noise) for noise in around for scale in scales])
        for scales in ((1.0, -1.0), (np.sqrt(2), -np.sqrt(2)))
    )
    gain = float(3 * once - twice)
    return max(gain, 0.0) if judge.metric.greater_is_better else min(gain, 0.0)


def of_the_mean(reported: Reported, gain: float, judge: Judge) -> Reported:
    """Add the gain of the mean of all networks to the reported score of single networks."""
    value, low, high = judge.interval(reported.value + gain, reported.error)
    return replace(reported, value=value, low=low, high=high, gain_of_mean=gain)
