"""What the report shows of probabilities and labels: from rows to a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.metrics import confusion_counts

if TYPE_CHECKING:
    from autoimb.report.rows import ConfusionFacts, CurveFacts, ReliabilityBin

__all__ = ["confusion", "precision_recall", "reliability"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

CURVE_POINTS = 200
MOST_BINS = 8
ROWS_A_BIN = 10  # expected positive rows


def precision_recall(hit: Mask, proba: Floats, weight: Floats) -> CurveFacts:
    """Trace precision and recall over all thresholds, subsampled evenly in recall.

    Parameters
    ----------
    hit : ndarray of bool, shape (n,)
        Rows of the positive class.
    proba : ndarray of float64, shape (n,)
        Its probability.
    weight : ndarray of float64, shape (n,)
        Row weights.

    Returns
    -------
    CurveFacts
        At most 200 points, each the best precision at its recall.
    """
    order = np.argsort(-proba, kind="stable")
    ranked = proba[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum((weight * hit)[order])[last]
    precision = hits / np.cumsum(weight[order])[last]
    recall = hits / hits[-1] if hits[-1] > 0 else np.zeros_like(hits)
    at = np.unique(np.searchsorted(recall, np.linspace(recall[0], recall[-1], CURVE_POINTS)))
    at = np.minimum(at, len(recall) - 1)
    return {"precision": precision[at].tolist(), "recall": recall[at].tolist()}


def reliability(hit: Mask, proba: Floats, weight: Floats) -> list[ReliabilityBin]:
    """Compare probabilities with what happened, in bins of equal expected positive rows.

    Parameters
    ----------
    hit, proba, weight : ndarray, shape (n,)
        As for `precision_recall`.

    Returns
    -------
    list of ReliabilityBin
        At most 8, by rising probability; empty where fewer than 20 positive rows are expected.
    """
    bins = min(MOST_BINS, int(proba.sum() / ROWS_A_BIN))
    if bins < 2:
        return []
    order = np.argsort(proba, kind="stable")
    mass = np.cumsum(proba[order])
    number = np.minimum((bins * mass / mass[-1]).astype(np.int64), bins - 1)
    found: list[ReliabilityBin] = []
    for one in np.unique(number):
        rows = order[number == one]
        share = weight[rows]
        found.append(
            {
                "predicted": float(np.average(proba[rows], weights=share)),
                "observed": float(np.average(hit[rows], weights=share)),
                "count": len(rows),
            }
        )
    return found


def confusion(y: Ints, labels: Ints, names: Sequence[str]) -> ConfusionFacts:
    """Count rows by true class and label.

    Parameters
    ----------
    y, labels : ndarray of int64, shape (n,)
        True and predicted codes.
    names : sequence of str
        The classes by code.

    Returns
    -------
    ConfusionFacts
    """
    counts = confusion_counts(y, labels, n_classes=len(names))
    return {"labels": list(names), "matrix": counts.astype(int).tolist()}
