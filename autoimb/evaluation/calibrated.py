"""Calibration of what averaging and blending give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import Calibrator, fit_calibrator
from autoimb.assessment.judge import Judge
from autoimb.assessment.uncertainty import Score

__all__ = ["Calibrated", "calibrated"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Out-of-fold predictions, calibrated.

    Attributes
    ----------
    calibrator : Calibrator
        Fitted on all rows, at the expected rates of the classes.
    proba : ndarray of float64, shape (n, C)
        Each part of the rows by a calibrator that the other parts fitted.
    labels : ndarray of int64, shape (n,)
        Cross-fitted labels.
    score : Score
        Of these predictions.
    deployed : ndarray of float64, shape (n, C)
        All rows by the one calibrator: as the parts' calibrators differ, a decision rule for new
        rows is fitted on these.
    """

    calibrator: Calibrator
    proba: Floats
    labels: NDArray[np.int64]
    score: Score
    deployed: Floats


def calibrated(
    judge: Judge,
    proba: Floats,
    view: Callable[[int], Floats],
    *,
    class_costs: tuple[float, ...] | None,
) -> Calibrated:
    """Calibrate out-of-fold probabilities by vector scaling, always.

    Parameters
    ----------
    judge : Judge
        Of the rows.
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities.
    view : callable
        Gives all rows' probabilities for the number of a part: those that no label of that part
        had a part in.
    class_costs : tuple of C floats, or None
        That the probabilities carry; a row of a class counts as much in the fit, so that they keep
        them.

    Returns
    -------
    Calibrated
    """
    weight = np.ones(len(judge.y)) if judge.weight is None else judge.weight
    if class_costs is not None:
        weight = weight * np.asarray(class_costs)[judge.y]
        weight = weight / weight.mean()
    views, crossed = [], np.empty_like(proba)
    for part, (learn, use) in enumerate(judge.parts):
        part_view = view(part)
        fitted = fit_calibrator(judge.y[learn], part_view[learn], weight=weight[learn])
        views.append(fitted.apply(part_view))
        crossed[use] = views[part][use]
    labels = judge.labels(views.__getitem__)
    if judge.rates is not None:
        deployed = judge.deployment.weight
        weight = weight * np.asarray(deployed) / (1.0 if judge.weight is None else judge.weight)
    calibrator = fit_calibrator(judge.y, proba, weight=weight)
    return Calibrated(
        calibrator=calibrator,
        proba=crossed,
        labels=labels,
        score=judge.score(crossed, labels),
        deployed=calibrator.apply(proba),
    )
