"""Cross-fitted calibration of averaged or blended probabilities."""

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
    """Calibrated out-of-fold predictions.

    Attributes
    ----------
    calibrator : Calibrator
        Calibrator fitted on all rows, at the expected rates of the classes.
    proba : ndarray of float64, shape (n, C)
        Probabilities of each part of the rows, calibrated by a calibrator that was fitted on the
        other parts.
    labels : ndarray of int64, shape (n,)
        Cross-fitted labels.
    score : Score
        Score of `proba` and `labels`.
    deployed : ndarray of float64, shape (n, C)
        Probabilities of all rows, calibrated by `calibrator`. The calibrators of the parts differ,
        so the decision rule for new rows is fitted on these.
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
    """Calibrate out-of-fold probabilities by vector scaling.

    Parameters
    ----------
    judge : Judge
        Judge of the rows.
    proba : ndarray of float64, shape (n, C)
        Out-of-fold probabilities.
    view : callable
        Function of the number of a part; returns the probabilities of all rows, fitted without the
        labels of that part.
    class_costs : tuple of C floats, or None
        Class costs that the probabilities include. The rows of a class have this weight in the fit,
        so that calibration preserves the costs.

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
        # New rows are expected to have other class rates than the scored rows, so the deployed
        # calibrator is fitted with the weights of the expected rates.
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
