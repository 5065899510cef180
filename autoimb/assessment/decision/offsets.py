"""Offsets on log-probabilities: every cut of one class tried at once, on confusion counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import log_proba
from autoimb.assessment.formulas import Counts
from autoimb.assessment.metrics import Metric
from autoimb.budget import FOREVER, Deadline

__all__ = ["Evidence", "best_offsets"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_CUTS = 50  # tried for one class of several
_SLOW_CUTS = (50, 16)  # where each costs a call of another's metric: two classes, several
_PASSES = 3  # of coordinate ascent over the classes
_FLAT = 1e-12  # values that near are equal


@dataclass(frozen=True)
class Evidence:
    """Rows that a rule is fitted on.

    Attributes
    ----------
    y, weight : ndarray, shape (n,)
        Class codes and row weights.
    proba, logs : ndarray of float64, shape (n, C)
        Probabilities and their logarithms.
    truth : ndarray of float64, shape (n, C)
        A row's weight at its true class.
    """

    y: Ints
    proba: Floats
    logs: Floats
    weight: Floats
    truth: Floats

    @classmethod
    def of(cls, y: Ints, proba: Floats, weight: Floats | None) -> Evidence:
        """Gather rows; without weights each counts as one."""
        weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
        return cls(y, proba, log_proba(proba), weight, np.eye(proba.shape[1])[y] * weight[:, None])

    def expected(self) -> Evidence:
        """Replace the truth by what the probabilities expect."""
        return replace(self, truth=self.proba * self.weight[:, None])

    def take(self, rows: NDArray[np.bool_]) -> Evidence:
        """Keep some rows."""
        return Evidence(
            self.y[rows], self.proba[rows], self.logs[rows], self.weight[rows], self.truth[rows]
        )


def best_offsets(
    metric: Metric, rows: Evidence, start: Sequence[float], *, deadline: Deadline = FOREVER
) -> tuple[float, ...]:
    """Find the class offsets that serve a label metric best on these rows.

    Two classes: the exact optimum over all thresholds, in the middle where several are as good.
    More: coordinate ascent from ``start``, rarest class first.

    Parameters
    ----------
    metric : Metric
        A label metric; on :attr:`Evidence.truth` if it is of counts, else on ``y``.
    rows : Evidence
        The rows to learn from.
    start : sequence of float, length C
        Where to begin.
    deadline : Deadline
        Of the ascent, which stays where it is then.

    Returns
    -------
    tuple of float, length C
        One of them 0.
    """
    offsets = np.array(start, dtype=np.float64)
    if len(offsets) == 2:
        offsets[:] = 0.0
        offsets[metric.positive] = _best_offset(metric, rows, offsets, metric.positive)
        return tuple(float(o) for o in offsets)
    for _ in range(_PASSES):
        before = offsets.copy()
        for code in np.argsort(rows.truth.sum(axis=0)):
            if deadline.expired:
                break
            offsets[code] = _best_offset(metric, rows, offsets, int(code))
        if np.array_equal(before, offsets):
            break
    return tuple(float(o) for o in offsets - offsets[0])


def _best_offset(metric: Metric, rows: Evidence, offsets: Floats, code: int) -> float:
    """Offset of one class that serves the metric best, the others' offsets given."""
    margin, other = _margin(rows, offsets, code)
    cuts = _cuts(margin)
    if len(offsets) > 2 or metric.counts is None:
        most = _CUTS if metric.counts is not None else _SLOW_CUTS[len(offsets) > 2]
        cuts = _few(cuts, margin, rows.y == code, most=most)
    utility = _utility(metric, rows, (margin, other), cuts, code)
    if len(offsets) > 2:  # stay where nothing is better
        here = _utility(metric, rows, (margin, other), offsets[[code]], code)[0]
        if here >= utility.max() - _FLAT:
            return float(offsets[code])
    best = np.flatnonzero(utility >= utility.max() - _FLAT)
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    longest = max(runs, key=len)
    return float(cuts[longest[len(longest) // 2]])


def _utility(
    metric: Metric, rows: Evidence, margins: tuple[Floats, Ints], cuts: Floats, code: int
) -> Floats:
    """Compute the utility (cuts,) of giving the class where the margin is below the cut."""
    margin, other = margins
    if metric.counts is not None:
        values = metric.counts(_counts(metric, rows, margins, cuts, code))
    elif metric.summable:
        values = metric.of_confusion(_sweep(rows, margin, other, cuts, code))
    else:
        tried = (np.where(margin < cut, code, other) for cut in cuts)
        values = np.array([metric(rows.y, rows.proba, t, weight=rows.weight) for t in tried])
    signed = values if metric.greater_is_better else -values
    return np.where(np.isnan(values), metric.worst, signed)


def _margin(rows: Evidence, offsets: Floats, code: int) -> tuple[Floats, Ints]:
    """Offset above which each row gets the class ``code`` (n,), and what it gets else (n,)."""
    others = rows.logs + offsets
    others[:, code] = -np.inf
    other = others.argmax(axis=1).astype(np.int64)
    return others[np.arange(len(other)), other] - rows.logs[:, code], other


def _cuts(margin: Floats) -> Floats:
    """One offset between each two neighbouring margins, one below and one above all."""
    distinct = np.unique(margin)
    between = (distinct[1:] + distinct[:-1]) / 2
    return np.concatenate([[distinct[0] - 1.0], between, [distinct[-1] + 1.0]])


def _few(cuts: Floats, margin: Floats, own: NDArray[np.bool_], *, most: int) -> Floats:
    """Cuts near quantiles of the margins of the class's own rows and of the others'."""
    share = np.linspace(0, 1, most // 2)
    parts = [np.quantile(part, share) for part in (margin[own], margin[~own]) if len(part)]
    near = np.searchsorted(cuts, np.concatenate(parts))
    kept: Floats = cuts[np.unique(np.append(np.minimum(near, len(cuts) - 1), 0))]
    return kept


def _counts(
    metric: Metric, rows: Evidence, margins: tuple[Floats, Ints], cuts: Floats, code: int
) -> Counts:
    """Count hits and predictions of each class, (cuts, C), as `_sweep` would sum them."""
    margin, other = margins
    n_classes, n_cuts = rows.truth.shape[1], len(cuts)
    first = np.searchsorted(cuts, margin, side="right")  # of the cuts that give the class
    cell, size = first * n_classes + other, (n_cuts + 1) * n_classes

    def left(mass: Floats) -> tuple[Floats, Floats]:
        """Sum a mass of the rows (n,) by what they get else: all, and what each cut takes away."""
        tally = np.bincount(cell, mass, size).reshape(n_cuts + 1, n_classes)
        return tally.sum(axis=0), tally.cumsum(axis=0)[:-1]

    every, lost = left(rows.truth[np.arange(len(other)), other])
    hits = np.maximum(every - lost, 0.0)
    hits[:, code] += np.bincount(first, rows.truth[:, code], n_cuts + 1).cumsum()[:-1]
    every, lost = left(rows.truth.sum(axis=1))
    predicted = np.maximum(every - lost, 0.0)
    predicted[:, code] += lost.sum(axis=1)
    true = np.broadcast_to(rows.truth.sum(axis=0), hits.shape)
    return Counts(hits, true, predicted, metric.classes)


def _sweep(rows: Evidence, margin: Floats, other: Ints, cuts: Floats, code: int) -> Floats:
    """Confusion matrices (cuts, C, C) of giving the class ``code`` where ``margin < cut``."""
    n_classes = rows.truth.shape[1]
    first = np.searchsorted(cuts, margin, side="right")  # of the cuts that give the class
    cell = first * n_classes + other
    size = (len(cuts) + 1) * n_classes
    tally = np.stack(
        [np.bincount(cell, rows.truth[:, true], size) for true in range(n_classes)]
    ).reshape(n_classes, len(cuts) + 1, n_classes)  # (true, first, other)
    moved = tally.cumsum(axis=1)[:, :-1]
    counts = np.maximum(tally.sum(axis=1)[:, None] - moved, 0.0)
    counts[..., code] += moved.sum(axis=2)
    confusion: Floats = counts.transpose(1, 0, 2)
    return confusion
