"""Formulas of the metrics: of confusion counts for labels, of rows for the other metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from autoimb.arrays import Floats, Ints, Mask, mean_where
from autoimb.assessment.calibration import row_log_loss

__all__ = [
    "AVERAGES",
    "RATIOS",
    "Counts",
    "Kind",
    "Rows",
    "accuracy",
    "averaged",
    "balanced_accuracy",
    "brier",
    "confusion_counts",
    "curve",
    "expected_cost",
    "fbeta",
    "geometric_mean",
    "log_loss",
    "mcc",
    "one_vs_rest",
    "precision",
    "precision_area",
    "recall",
    "recall_at",
    "roc_area",
]

Kind = Literal["ranking", "probability", "label"]


class Rows(NamedTuple):
    """Input of a metric of rows.

    ``y`` and ``labels`` are codes of shape (n,), ``proba`` has shape (n, C), ``weight`` (n,) or is
    None; ``classes`` are the codes of the macro mean. The formulas of this module also take weights
    (..., n), and then return values (...).
    """

    y: Ints
    proba: Floats
    labels: Ints | None
    weight: Floats | None
    classes: tuple[int, ...]


class Counts(NamedTuple):
    """Summary of confusion matrices, from which label metrics are computed.

    ``hits``, ``true`` and ``predicted`` are ndarrays of shape (..., C): for each class the weight
    of its correctly labelled rows, of all its rows, and of all rows with its label. ``classes`` are
    the codes of the macro mean.
    """

    hits: Floats
    true: Floats
    predicted: Floats
    classes: tuple[int, ...]

    def of_classes(self) -> tuple[Floats, Floats, Floats]:
        """Return ``hits``, ``true`` and ``predicted`` of ``classes`` only."""
        chosen = list(self.classes)
        return self.hits[..., chosen], self.true[..., chosen], self.predicted[..., chosen]


def confusion_counts(
    y: Ints, labels: Ints, *, n_classes: int, weight: Floats | None = None
) -> Floats:
    """Return the weighted confusion matrix.

    Returns
    -------
    ndarray of float64, shape (C, C)
        Rows are true classes, columns predicted ones.
    """
    cells = np.bincount(y * n_classes + labels, weights=weight, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(np.float64)


# --- label metrics: counts (..., C) -> values (...) -----------------------------------------------


def _ratio(part: Floats, total: Floats) -> Floats:
    """Divide; a ratio with the total 0 is 0."""
    total = np.asarray(total, dtype=np.float64)
    return np.divide(part, total, out=np.zeros_like(total), where=total > 0)


def accuracy(counts: Counts) -> Floats:
    """Return the share of correct labels."""
    return _ratio(counts.hits.sum(axis=-1), counts.true.sum(axis=-1))


def balanced_accuracy(counts: Counts) -> Floats:
    """Return the mean recall of the classes."""
    return mean_where(_ratio(counts.hits, counts.true), counts.true > 0)


def geometric_mean(counts: Counts) -> Floats:
    """Return the geometric mean of the classes' recalls."""
    with np.errstate(divide="ignore"):
        logs = np.log(_ratio(counts.hits, counts.true))
    mean: Floats = np.exp(mean_where(logs, counts.true > 0))
    return mean


def recall(counts: Counts) -> Floats:
    """Return the share of a class's rows that have its label."""
    hits, true, _ = counts.of_classes()
    return mean_where(_ratio(hits, true), true > 0)


def precision(counts: Counts) -> Floats:
    """Return the share of the rows with a class's label that are of the class."""
    hits, true, predicted = counts.of_classes()
    return mean_where(_ratio(hits, predicted), true > 0)


def fbeta(counts: Counts, *, beta: float) -> Floats:
    """Return the F score: the harmonic mean, recall weighted beta times as much as precision."""
    hits, true, predicted = counts.of_classes()
    square = beta * beta
    return mean_where(_ratio((1 + square) * hits, square * true + predicted), true > 0)


AVERAGES = ("macro", "weighted", "micro")
RATIOS: dict[str, Callable[[Counts], Floats]] = {  # denominators of the hits
    "precision": lambda counts: counts.predicted,
    "recall": lambda counts: counts.true,
    "f1": lambda counts: (counts.true + counts.predicted) / 2,
    "jaccard": lambda counts: counts.true + counts.predicted - counts.hits,
}


def averaged(counts: Counts, *, ratio: str, average: str) -> Floats:
    """Return one of :data:`RATIOS`, averaged over all classes as in scikit-learn."""
    denominator = RATIOS[ratio](counts)
    if average == "micro":
        return _ratio(counts.hits.sum(axis=-1), denominator.sum(axis=-1))
    values = _ratio(counts.hits, denominator)
    if average == "weighted":
        return _ratio((counts.true * values).sum(axis=-1), counts.true.sum(axis=-1))
    return mean_where(values, counts.true + counts.predicted > 0)


def mcc(counts: Counts) -> Floats:
    """Return Matthews' correlation for any number of classes (Gorodkin 2004)."""
    total = counts.true.sum(axis=-1)
    # The covariance and variances of the class indicators, all times total squared.
    agreement = counts.hits.sum(axis=-1) * total - (counts.true * counts.predicted).sum(axis=-1)
    spread_true = total**2 - (counts.true**2).sum(axis=-1)
    spread_predicted = total**2 - (counts.predicted**2).sum(axis=-1)
    return _ratio(agreement, np.sqrt(np.maximum(spread_true * spread_predicted, 0.0)))


# --- ranking and probability metrics: rows -> value, of weights (..., n) -> values (...) ----------


def curve(hit: Mask, score: Floats, weight: Floats | None) -> tuple[Floats, Floats]:
    """Return cumulative weights of hits and misses at each distinct score, highest first."""
    if weight is None:
        weight = np.ones(len(hit))
    order = np.argsort(score)[::-1]
    ranked = score[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    gain = np.where(hit, weight, 0.0)[..., order]
    loss = np.where(hit, 0.0, weight)[..., order]
    return np.cumsum(gain, axis=-1)[..., last], np.cumsum(loss, axis=-1)[..., last]


def one_vs_rest(summary: Callable[[Floats, Floats], Floats], rows: Rows) -> Floats:
    """Return the mean of a curve's summary over the classes that occur among the rows."""
    values = []
    for code in rows.classes:
        hit = rows.y == code
        present = hit.any() if rows.weight is None else (rows.weight[..., hit] > 0).any()
        if present:
            values.append(summary(*curve(hit, rows.proba[:, code], rows.weight)))
    return np.mean(values, axis=0) if values else np.asarray(math.nan)


def precision_area(hits: Floats, misses: Floats) -> Floats:
    """Return the average precision of a curve's cumulative weights."""
    gained = np.diff(hits, prepend=0.0)
    area: Floats = (gained * _ratio(hits, hits + misses)).sum(axis=-1) / hits[..., -1]
    return area


def recall_at(hits: Floats, misses: Floats, *, precision: float) -> Floats:
    """Return the highest recall at a precision of at least `precision`; 0 if there is none."""
    precise = hits >= precision * (hits + misses) * (1.0 - 1e-12)  # tolerates rounding errors
    highest: Floats = np.where(precise, hits, 0.0).max(axis=-1) / hits[..., -1]
    return highest


def roc_area(hits: Floats, misses: Floats) -> Floats:
    """Return the area under the ROC curve; NaN without misses."""
    previous = np.concatenate([np.zeros_like(hits[..., :1]), hits[..., :-1]], axis=-1)
    area = (np.diff(misses, prepend=0.0) * (hits + previous) / 2).sum(axis=-1)  # trapezoids
    rectangle = hits[..., -1] * misses[..., -1]
    return np.where(rectangle > 0, _ratio(area, rectangle), math.nan)


def _mean(values: Floats, weight: Floats | None) -> Floats:
    """Return the mean of the rows' values (n,), by weights (..., n)."""
    weight = np.ones(len(values)) if weight is None else weight
    return np.asarray(weight @ values / weight.sum(axis=-1))


def expected_cost(rows: Rows, *, costs: tuple[tuple[float, ...], ...]) -> Floats:
    """Return the mean cost of the labels, by a matrix of true and predicted classes."""
    return _mean(np.asarray(costs, dtype=np.float64)[rows.y, rows.labels], rows.weight)


def log_loss(rows: Rows) -> Floats:
    """Return the mean negative log-probability of the true class."""
    tiny = float(np.finfo(rows.proba.dtype).eps)
    return _mean(row_log_loss(rows.y, rows.proba, floor=tiny), rows.weight)


def brier(rows: Rows) -> Floats:
    """Return the mean squared distance to the truth, halved for two classes as in scikit-learn."""
    n_classes = rows.proba.shape[1]
    distance = ((rows.proba - np.eye(n_classes)[rows.y]) ** 2).sum(axis=1)
    return _mean(distance / 2 if n_classes == 2 else distance, rows.weight)
