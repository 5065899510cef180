"""Scores with their standard errors, and paired differences of two predictions.

Ranking and probability metrics are the mean over the groups where each group has enough rows of
every class: folds' probabilities are not on one scale, and pooling them costs average precision.
With fewer rows a group says nothing, so rows are pooled. Label metrics always come from pooled
counts. All trials of a study share ``y`` and groups, so they are judged the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.crossfit import deal
from autoimb.assessment.metrics import Metric

__all__ = ["Prediction", "Score", "paired_difference", "score"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Prediction = tuple[Floats, Ints]  # probabilities (n, C) and labels (n,)

_ENOUGH = 10  # rows of the rarest class that make a group speak for itself
_BLOCKS = 20  # stratified blocks that the jackknife leaves out, one at a time


@dataclass(frozen=True)
class Score:
    """What a prediction is worth.

    Attributes
    ----------
    value : float
        In the metric's own sign; NaN where the rows define none.
    error : float
        Standard error; NaN where there are too few rows for one.
    per_group : tuple of float
        Value of each group in order; empty where a group defines none.
    pooled : bool
        Whether ``value`` is of all rows together; else it is the mean of ``per_group``.
    utility : float
        Higher is better.
    """

    value: float
    error: float
    per_group: tuple[float, ...]
    pooled: bool
    utility: float

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Score:
        """Read what :meth:`to_json` wrote."""
        return cls(**{**value, "per_group": tuple(value["per_group"])})


def score(
    metric: Metric,
    y: Ints,
    proba: Floats,
    labels: Ints,
    group: Ints,
    *,
    weight: Floats | None = None,
) -> Score:
    """Score out-of-fold predictions.

    Parameters
    ----------
    metric : Metric
        What is measured.
    y : ndarray of int64, shape (n,)
        Class codes.
    proba : ndarray of float, shape (n, C)
        Out-of-fold probabilities.
    labels : ndarray of int64, shape (n,)
        Out-of-fold labels.
    group : ndarray of int64, shape (n,)
        Cross-fitting group of each row.
    weight : ndarray of float64, shape (n,), optional
        Row weights.

    Returns
    -------
    Score
        The error is over groups, or, pooled, of a jackknife over 20 stratified blocks of rows.
    """
    judge = _Judge.of(metric, y, group, weight)
    prediction = (proba, labels)
    per_group = judge.per_group(prediction)
    if judge.pooled:
        value, error = judge.value(prediction), _jackknife(judge.left_out(prediction))
    else:
        value, error = float(per_group.mean()), _error_of_mean(per_group)
    shown = tuple(float(v) for v in per_group) if np.isfinite(per_group).all() else ()
    return Score(value, error, shown, judge.pooled, metric.utility(value))


def paired_difference(
    metric: Metric,
    y: Ints,
    a: Prediction,
    b: Prediction,
    group: Ints,
    *,
    weight: Floats | None = None,
) -> tuple[float, float]:
    """Compare two predictions of the same rows.

    Parameters
    ----------
    metric : Metric
        What is measured.
    y : ndarray of int64, shape (n,)
        Class codes.
    a, b : tuple of ndarray
        Probabilities (n, C) and labels (n,) of each.
    group : ndarray of int64, shape (n,)
        Cross-fitting group of each row.
    weight : ndarray of float64, shape (n,), optional
        Row weights.

    Returns
    -------
    tuple of float
        Utility of ``a`` less that of ``b`` (above 0: ``a`` is better), and its standard error: the
        larger of those over groups and over left-out rows, as few groups agree by chance.
    """
    judge = _Judge.of(metric, y, group, weight)
    sign = 1.0 if metric.greater_is_better else -1.0
    error = _jackknife(judge.left_out(a) - judge.left_out(b))
    if judge.pooled:
        return sign * (judge.value(a) - judge.value(b)), error
    gap = judge.per_group(a) - judge.per_group(b)
    return sign * float(gap.mean()), max(error, _error_of_mean(gap))


@dataclass(frozen=True)
class _Judge:
    """A metric on rows in groups."""

    metric: Metric
    y: Ints
    group: Ints  # (n,), from 0
    weight: Floats | None
    pooled: bool

    @classmethod
    def of(cls, metric: Metric, y: Ints, group: Ints, weight: Floats | None) -> _Judge:
        names, group = np.unique(group, return_inverse=True)
        rows = np.zeros((len(names), metric.n_classes))  # of each class in each group
        np.add.at(rows, (group, y), 1)
        rarest = rows[:, rows.sum(axis=0) > 0].min(initial=np.inf)
        alone = metric.kind != "label" and len(names) > 1 and rarest >= _ENOUGH
        return cls(metric, y, group, weight, pooled=not alone)

    def value(self, prediction: Prediction, rows: NDArray[np.bool_] | None = None) -> float:
        """Value of some rows: of all together, or the mean over groups."""
        keep = np.ones(len(self.y), dtype=bool) if rows is None else rows
        if self.pooled:
            return self._on(prediction, keep)
        return float(np.mean([self._on(prediction, keep & part) for part in self._parts()]))

    def per_group(self, prediction: Prediction) -> Floats:
        """Values of the groups, shape (G,)."""
        return np.array([self._on(prediction, part) for part in self._parts()])

    def left_out(self, prediction: Prediction) -> Floats:
        """Values without each of the blocks, shape (_BLOCKS,)."""
        block = deal(self.y, _BLOCKS)
        if not (self.metric.counts is not None or self.metric.summable):
            return np.array([self.value(prediction, block != b) for b in range(_BLOCKS)])
        n_classes = self.metric.n_classes
        cell = (block * n_classes + self.y) * n_classes + prediction[1]
        counts = np.bincount(cell, self.weight, _BLOCKS * n_classes**2)
        blocks = counts.reshape(_BLOCKS, n_classes, n_classes)
        return self.metric.of_confusion(np.maximum(blocks.sum(axis=0) - blocks, 0.0))

    def _parts(self) -> list[NDArray[np.bool_]]:
        return [self.group == g for g in range(int(self.group.max(initial=-1)) + 1)]

    def _on(self, prediction: Prediction, rows: NDArray[np.bool_]) -> float:
        proba, labels = prediction
        weight = None if self.weight is None else self.weight[rows]
        return self.metric(self.y[rows], proba[rows], labels[rows], weight=weight)


def _error_of_mean(values: Floats) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))


def _jackknife(values: Floats) -> float:
    """Estimate the standard error from the values without each block (Efron & Stein 1981)."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return math.nan
    return float(values.std() * math.sqrt(len(values) - 1))
