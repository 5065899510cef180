"""Curves of the report, computed from probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoimb.arrays import Floats, Mask

__all__ = ["precision_recall", "reliability"]

CURVE_POINTS = 200
MAX_BINS = 8
ROWS_A_BIN = 10  # minimum number of expected positive rows in a bin


def precision_recall(hit: Mask, proba: Floats, weight: Floats) -> dict[str, list[float]]:
    """Compute precision and recall over all thresholds, subsampled evenly in recall.

    Parameters
    ----------
    hit : ndarray of bool, shape (n,)
        Rows of the positive class.
    proba : ndarray of float64, shape (n,)
        Probability of the positive class.
    weight : ndarray of float64, shape (n,)
        Row weights.

    Returns
    -------
    dict of str to list of float
        Precision and recall of at most 200 points, each the best precision at its recall.
    """
    # Rows of equal probability share one threshold, the last of them in the order.
    order = np.argsort(-proba, kind="stable")
    ranked = proba[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum((weight * hit)[order])[last]
    precision = hits / np.cumsum(weight[order])[last]
    recall = hits / hits[-1] if hits[-1] > 0 else np.zeros_like(hits)
    points = np.unique(np.searchsorted(recall, np.linspace(recall[0], recall[-1], CURVE_POINTS)))
    points = np.minimum(points, len(recall) - 1)
    return {"precision": precision[points].tolist(), "recall": recall[points].tolist()}


def reliability(hit: Mask, proba: Floats, weight: Floats) -> list[dict[str, Any]]:
    """Compare probabilities with observed shares, in bins of equal expected positive rows.

    Parameters
    ----------
    hit, proba, weight : ndarray, shape (n,)
        As for `precision_recall`.

    Returns
    -------
    list of dict
        Mean prediction, observed share and number of rows of at most 8 bins by rising probability;
        empty if fewer than 20 positive rows are expected.
    """
    bins = min(MAX_BINS, int(proba.sum() / ROWS_A_BIN))
    if bins < 2:
        return []
    order = np.argsort(proba, kind="stable")
    mass = np.cumsum(proba[order])
    # Cumulative probabilities divide the rows into bins of equal expected positive rows.
    number = np.minimum((bins * mass / mass[-1]).astype(np.int64), bins - 1)
    result = []
    for bin_number in np.unique(number):
        rows = order[number == bin_number]
        share = weight[rows]
        result.append(
            {
                "predicted": float(np.average(proba[rows], weights=share)),
                "observed": float(np.average(hit[rows], weights=share)),
                "count": len(rows),
            }
        )
    return result
