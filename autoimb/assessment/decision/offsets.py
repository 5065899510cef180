"""Optimisation of class offsets on log-probabilities, with all cuts of a class at once."""

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

_CUTS = 50  # cuts that are tried for a class of more than two
# Fewer cuts where each one is a call of the metric: of two classes, and of more.
_SLOW_CUTS = (50, 16)
_PASSES = 3  # of coordinate ascent over the classes
_FLAT = 1e-12  # utilities that differ by less are equal


@dataclass(frozen=True)
class Evidence:
    """Rows on which a decision rule is fitted.

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
        """Create the evidence; without weights each row counts as one."""
        weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
        return cls(y, proba, log_proba(proba), weight, np.eye(proba.shape[1])[y] * weight[:, None])

    def expected(self) -> Evidence:
        """Replace the truth by its expectation under the probabilities."""
        return replace(self, truth=self.proba * self.weight[:, None])

    def take(self, rows: NDArray[np.bool_]) -> Evidence:
        """Select rows."""
        return Evidence(
            self.y[rows], self.proba[rows], self.logs[rows], self.weight[rows], self.truth[rows]
        )


def best_offsets(
    metric: Metric, rows: Evidence, start: Sequence[float], *, deadline: Deadline = FOREVER
) -> tuple[float, ...]:
    """Find the class offsets that maximise a label metric on these rows.

    With two classes the optimum over all thresholds is exact, the middle one of equal thresholds.
    With more it is found by coordinate ascent from ``start``, the rarest class first.

    Parameters
    ----------
    metric : Metric
        A label metric; computed from :attr:`Evidence.truth` if it is a function of counts,
        otherwise from ``y``.
    rows : Evidence
        Rows to learn from.
    start : sequence of float, length C
        Initial offsets.
    deadline : Deadline
        Time limit of the ascent, which then returns the offsets reached so far.

    Returns
    -------
    tuple of float, length C
        Offsets, of which one is 0.
    """
    offsets = np.array(start, dtype=np.float64)
    if len(offsets) == 2:
        offsets[:] = 0.0
        offsets[metric.positive] = _best_offset(metric, rows, offsets, metric.positive)
        return tuple(float(o) for o in offsets)
    for _ in range(_PASSES):
        previous = offsets.copy()
        for code in np.argsort(rows.truth.sum(axis=0)):
            if deadline.expired:
                break
            offsets[code] = _best_offset(metric, rows, offsets, int(code))
        if np.array_equal(previous, offsets):
            break
    return tuple(float(o) for o in offsets - offsets[0])


def _best_offset(metric: Metric, rows: Evidence, offsets: Floats, code: int) -> float:
    """Return the offset of one class that maximises the metric, with the other offsets fixed."""
    margins = _margin(rows, offsets, code)
    cuts = _cuts(margins[0])
    if len(offsets) > 2 or metric.counts is None:
        max_cuts = _CUTS if metric.counts is not None else _SLOW_CUTS[len(offsets) > 2]
        cuts = _thinned(cuts, margins[0], rows.y == code, max_cuts=max_cuts)
    utility = _utility(metric, rows, margins, cuts, code)
    if len(offsets) > 2:  # the offset is kept unless a cut is better
        current = _utility(metric, rows, margins, offsets[[code]], code)[0]
        if current >= utility.max() - _FLAT:
            return float(offsets[code])
    # Of the longest run of equally good cuts the middle one is the most robust.
    best = np.flatnonzero(utility >= utility.max() - _FLAT)
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    longest = max(runs, key=len)
    return float(cuts[longest[len(longest) // 2]])


def _utility(
    metric: Metric, rows: Evidence, margins: tuple[Floats, Ints], cuts: Floats, code: int
) -> Floats:
    """Compute the utility (cuts,) of predicting the class where the margin is below the cut."""
    margin, alternative = margins
    if metric.counts is not None:
        values = metric.counts(_counts(metric, rows, margins, cuts, code))
    elif metric.summable:
        values = metric.of_confusion(_sweep(rows, margin, alternative, cuts, code))
    else:
        labels = (np.where(margin < cut, code, alternative) for cut in cuts)
        values = np.array([metric(rows.y, rows.proba, t, weight=rows.weight) for t in labels])
    signed = values if metric.greater_is_better else -values
    return np.where(np.isnan(values), metric.worst, signed)


def _margin(rows: Evidence, offsets: Floats, code: int) -> tuple[Floats, Ints]:
    """Return the offset (n,) above which each row gets the class, and its label (n,) below."""
    scores = rows.logs + offsets
    scores[:, code] = -np.inf
    alternative = scores.argmax(axis=1).astype(np.int64)
    margin = scores[np.arange(len(alternative)), alternative] - rows.logs[:, code]
    return margin, alternative


def _cuts(margin: Floats) -> Floats:
    """Return one offset between any two neighbouring margins, one below and one above all."""
    distinct = np.unique(margin)
    between = (distinct[1:] + distinct[:-1]) / 2
    return np.concatenate([[distinct[0] - 1.0], between, [distinct[-1] + 1.0]])


def _thinned(cuts: Floats, margin: Floats, in_class: NDArray[np.bool_], *, max_cuts: int) -> Floats:
    """Return the cuts near quantiles of the margins of the class's rows and of all other rows."""
    share = np.linspace(0, 1, max_cuts // 2)
    parts = [
        np.quantile(part, share) for part in (margin[in_class], margin[~in_class]) if len(part)
    ]
    near = np.searchsorted(cuts, np.concatenate(parts))
    thinned: Floats = cuts[np.unique(np.append(np.minimum(near, len(cuts) - 1), 0))]
    return thinned


def _counts(
    metric: Metric, rows: Evidence, margins: tuple[Floats, Ints], cuts: Floats, code: int
) -> Counts:
    """Return the counts of each class (cuts, C), equal to the sums over `_sweep`."""
    margin, alternative = margins
    n_classes, n_cuts = rows.truth.shape[1], len(cuts)
    # Rows are tallied by their alternative label and by the first cut that gives them the class.
    # The cumulative sum over the cuts is what moves from the alternative labels to the class.
    first = np.searchsorted(cuts, margin, side="right")
    cell, size = first * n_classes + alternative, (n_cuts + 1) * n_classes

    def by_label(mass: Floats) -> tuple[Floats, Floats]:
        """Sum a mass of the rows (n,) by alternative label: in total, and moved by each cut."""
        tally = np.bincount(cell, mass, size).reshape(n_cuts + 1, n_classes)
        return tally.sum(axis=0), tally.cumsum(axis=0)[:-1]

    total, moved = by_label(rows.truth[np.arange(len(alternative)), alternative])
    hits = np.maximum(total - moved, 0.0)
    hits[:, code] += np.bincount(first, rows.truth[:, code], n_cuts + 1).cumsum()[:-1]
    total, moved = by_label(rows.truth.sum(axis=1))
    predicted = np.maximum(total - moved, 0.0)
    predicted[:, code] += moved.sum(axis=1)
    true = np.broadcast_to(rows.truth.sum(axis=0), hits.shape)
    return Counts(hits, true, predicted, metric.classes)


def _sweep(rows: Evidence, margin: Floats, alternative: Ints, cuts: Floats, code: int) -> Floats:
    """Return confusion matrices (cuts, C, C) of predicting ``code`` where ``margin < cut``."""
    n_classes = rows.truth.shape[1]
    first = np.searchsorted(cuts, margin, side="right")  # the first cut that gives the class
    cell = first * n_classes + alternative
    size = (len(cuts) + 1) * n_classes
    tally = np.stack(
        [np.bincount(cell, rows.truth[:, true], size) for true in range(n_classes)]
    ).reshape(n_classes, len(cuts) + 1, n_classes)  # (true, first, alternative)
    moved = tally.cumsum(axis=1)[:, :-1]
    counts = np.maximum(tally.sum(axis=1)[:, None] - moved, 0.0)
    counts[..., code] += moved.sum(axis=2)
    confusion: Floats = counts.transpose(1, 0, 2)
    return confusion
