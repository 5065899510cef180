"""Decision rules: most probable class, class offsets, least expected cost, requested thresholds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from msgspec import Struct

from autoimb.arrays import Floats, Ints, Mask
from autoimb.assessment.calibration import LogRatio, log_proba
from autoimb.assessment.costs import Matrix
from autoimb.assessment.formulas import Counts
from autoimb.assessment.metrics import Metric
from autoimb.budget import FOREVER, Deadline
from autoimb.errors import OptionError
from autoimb.text import BriefRepr, number_of

__all__ = [
    "DecisionRule",
    "Evidence",
    "ThresholdCounts",
    "best_offsets",
    "plug_in_rule",
    "threshold_for",
    "tuned_rule",
]

_CUTS = 50  # cuts that are tried for a class of more than two
# Fewer cuts where each one is a call of the metric: of two classes, and of more.
_SLOW_CUTS = (50, 16)
_PASSES = 3  # of coordinate ascent over the classes
_FLAT = 1e-12  # utilities that differ by less are equal
_TIE = 1e-9  # a log-ratio of probabilities this close to the threshold has reached it
_NEAR = 1e-12  # tolerance of a requested recall or precision
_EXPRESSION = re.compile(r"\s*(recall|precision)\s*>=\s*([0-9.eE+-]+)\s*(%?)\s*")

# Limits that protect training rows, see reports/design/artifact-and-threats.md.
_MAX_CUTS = 1_000
_MIN_ROWS = 3  # between two cuts, as for a category level that is stored by name
_FARTHEST = 40.0  # larger than the logarithm of any ratio of probabilities


class DecisionRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Decision rule that converts class probabilities to labels.

    Attributes
    ----------
    kind : {"argmax", "offsets", "costs"}
        The most probable class; the class with the highest ``log p + offset``; the class with the
        lowest expected cost.
    offsets : tuple of float
        Offset of each class, for ``"offsets"``. With two classes they define a threshold.
    costs : tuple of tuple of float, or None
        Cost matrix, for ``"costs"``: rows are true classes, columns predicted classes.
    name : str
        Description for reports.
    """

    kind: Literal["argmax", "offsets", "costs"] = "argmax"
    offsets: tuple[LogRatio, ...] = ()
    costs: Matrix | None = None
    name: str = "most probable class"

    def apply(self, proba: Floats) -> Ints:
        """Return the labels of rows.

        Parameters
        ----------
        proba : ndarray of float, shape (n, C)
            Class probabilities.

        Returns
        -------
        ndarray of int64, shape (n,)
            Class codes; the lowest code in a tie.
        """
        if self.kind == "offsets":
            values = log_proba(proba) + np.asarray(self.offsets)
        elif self.costs is not None:
            # The expected cost of a label is the sum over true classes of probability times cost.
            values = -(np.asarray(proba, dtype=np.float64) @ np.asarray(self.costs))
        else:
            values = proba
        return np.asarray(values.argmax(axis=1), dtype=np.int64)

    def threshold(self, positive: int) -> float | None:
        """Return the probability from which a row of two classes is positive.

        None if right labels cost as much as wrong ones.
        """
        negative = 1 - positive
        if self.costs is not None:
            costs = np.asarray(self.costs)
            # The expected costs of both labels are equal where p * miss = (1 - p) * false_alarm.
            false_alarm = costs[negative, positive] - costs[negative, negative]
            miss = costs[positive, negative] - costs[positive, positive]
            return float(false_alarm / (false_alarm + miss)) if false_alarm + miss > 0 else None
        if self.kind == "argmax":
            return 0.5
        # log p + offset is equal for both classes where the log-odds of p are minus the gap.
        gap = self.offsets[positive] - self.offsets[negative]
        return float(1 / (1 + np.exp(np.clip(gap, -700, 700))))


# --- offsets that maximise a metric ---------------------------------------------------------------


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

    def take(self, rows: Mask) -> Evidence:
        """Select rows."""
        return Evidence(
            self.y[rows], self.proba[rows], self.logs[rows], self.weight[rows], self.truth[rows]
        )


def plug_in_rule(metric: Metric, rows: Evidence, deadline: Deadline = FOREVER) -> DecisionRule:
    """Return the plug-in rule of a metric, which is optimal for calibrated probabilities."""
    n_classes = rows.proba.shape[1]
    if metric.name == "balanced_accuracy":
        # The class with the highest p / prior maximises the expected mean recall.
        total = rows.truth.sum(axis=0)
        prior = np.maximum(total, 0.5) / max(total.sum(), 1.0)
        offsets = tuple((-np.log(prior)).tolist())
        return DecisionRule("offsets", offsets, name="highest probability relative to the prior")
    if metric.counts is None:
        return DecisionRule()
    offsets = best_offsets(metric, rows.expected(), (0.0,) * n_classes, deadline=deadline)
    parameter = "threshold" if n_classes == 2 else "class offsets"
    return DecisionRule("offsets", offsets, name=f"{parameter} of the best expected {metric.name}")


def tuned_rule(
    metric: Metric, rows: Evidence, start: DecisionRule, deadline: Deadline = FOREVER
) -> DecisionRule:
    """Fit the offsets that maximise a label metric on these rows, starting from those of a rule."""
    initial = start.offsets or (0.0,) * rows.proba.shape[1]
    offsets = best_offsets(metric, rows, initial, deadline=deadline)
    return DecisionRule("offsets", offsets, name=f"tuned for {metric.name}")


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
        return tuple(offsets.tolist())
    for _ in range(_PASSES):
        previous = offsets.copy()
        for code in np.argsort(rows.truth.sum(axis=0)):
            if deadline.expired:
                break
            offsets[code] = _best_offset(metric, rows, offsets, int(code))
        if np.array_equal(previous, offsets):
            break
    return tuple((offsets - offsets[0]).tolist())


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


def _thinned(cuts: Floats, margin: Floats, in_class: Mask, *, max_cuts: int) -> Floats:
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
    """Return the counts of each class, (cuts, C), where the class is predicted below the cuts."""
    margin, alternative = margins
    n_classes, n_cuts = rows.truth.shape[1], len(cuts)
    first = np.searchsorted(cuts, margin, side="right")  # the first cut that gives the class

    def by_label(mass: Floats) -> Floats:
        """Sum a mass of the rows (n,) by cut and label, (cuts, C)."""
        cell, size = first * n_classes + alternative, (n_cuts + 1) * n_classes
        # A row has its alternative label before its first cut, and the class from there on. The
        # running sums over the cuts are therefore the mass that has moved to the class.
        tally = np.bincount(cell, mass, size).reshape(n_cuts + 1, n_classes)
        moved = tally.cumsum(axis=0)[:-1]  # from the alternative labels to the class
        sums: Floats = np.maximum(tally.sum(axis=0) - moved, 0.0)
        sums[:, code] = moved.sum(axis=1)
        return sums

    hits = by_label(rows.truth[np.arange(len(alternative)), alternative])
    hits[:, code] = np.bincount(first, rows.truth[:, code], n_cuts + 1).cumsum()[:-1]
    predicted = by_label(rows.truth.sum(axis=1))
    true = np.broadcast_to(rows.truth.sum(axis=0), hits.shape)
    return Counts(hits, true, predicted, metric.classes)


# --- thresholds that users request ----------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class ThresholdCounts(BriefRepr):
    """Counts of out-of-fold rows of each class between thresholds.

    They replace the rows: no label or probability of a single row can be recovered from them.

    Attributes
    ----------
    cuts : float64 ndarray of shape (T,)
        Offsets of the positive class in increasing order, the strictest threshold first. At most
        1,000, with at least 3 rows between two; empty unless there are two classes.
    counts : float64 ndarray of shape (T + 1, C)
        Weight of the rows of each class that become positive from one cut to the next; the last
        entry is that of rows that no cut makes positive.
    """

    cuts: Floats
    counts: Floats

    @classmethod
    def of(
        cls, y: Ints, proba: Floats, positive: int, *, weight: Floats | None = None
    ) -> ThresholdCounts:
        """Count out-of-fold rows between thresholds.

        Parameters
        ----------
        y : ndarray of int64, shape (n,)
            Class codes of out-of-fold rows.
        proba : ndarray of float, shape (n, C)
            Their out-of-fold probabilities.
        positive : int
            Code of the positive class.
        weight : ndarray of float64, shape (n,), optional
            Row weights.
        """
        weight = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
        n_classes = proba.shape[1]
        if n_classes == 2:
            logs = log_proba(proba)
            # A row is positive at offsets above its margin, and is counted at the first such cut.
            margin = logs[:, 1 - positive] - logs[:, positive]
            cuts = _threshold_cuts(margin, y)
            place = np.searchsorted(cuts, margin, side="right")
        else:
            cuts, place = np.empty(0), np.zeros(len(y), dtype=np.int64)
        size = (len(cuts) + 1) * n_classes
        counts = np.bincount(place * n_classes + y, weight, size).astype(np.float64)
        return cls(cuts, counts.reshape(len(cuts) + 1, n_classes))


def _threshold_cuts(margin: Floats, y: Ints) -> Floats:
    """Return offsets between rows, denser where either class has more rows.

    Parameters
    ----------
    margin : float64 ndarray of shape (n,)
        Offset above which each row becomes positive.
    y : int64 ndarray of shape (n,)
    """
    distinct, place = np.unique(margin, return_inverse=True)
    rows = np.cumsum(np.bincount(place))
    # Both classes have the same total weight, so that the rare class gets as many cuts.
    share = np.cumsum(np.bincount(place, 1 / (2 * np.bincount(y)[y])))
    # Between two cuts there are at least a minimum of rows and a minimum share of the weight.
    last, offsets = -1, []
    while True:
        rows_before, share_before = (rows[last], share[last]) if last >= 0 else (0, 0.0)
        enough_rows = np.searchsorted(rows, rows_before + _MIN_ROWS)
        last = max(int(enough_rows), int(np.searchsorted(share, share_before + 1 / _MAX_CUTS)))
        if last >= len(distinct) or rows[-1] - rows[last] < _MIN_ROWS:
            break
        offsets.append((distinct[last] + distinct[last + 1]) / 2)
    return np.unique([-_FARTHEST, *offsets, _FARTHEST])


def threshold_for(expression: str | float, counts: ThresholdCounts, positive: int) -> DecisionRule:
    """Return the decision rule of a threshold that a user requests.

    Parameters
    ----------
    expression : str or float
        ``"recall>=0.8"``: the highest threshold that reaches this recall. ``"precision>=0.5"``:
        the lowest threshold that reaches this precision. A number in (0, 1): the threshold itself.
    counts : ThresholdCounts
        Counts of out-of-fold rows; the threshold of a recall or a precision is one of its cuts.
    positive : int
        Code of the positive class.

    Returns
    -------
    DecisionRule
        Rule with two offsets.

    Raises
    ------
    OptionError
        If there are more than two classes, the expression is invalid, or no threshold reaches the
        value.
    """
    n_classes = counts.counts.shape[1]
    if n_classes != 2:
        raise OptionError(f"A threshold needs two classes; this pipeline has {n_classes}.")
    if isinstance(expression, str) and (match := _EXPRESSION.fullmatch(expression)):
        name, target = match[1], number_of(match[2]) / (100 if match[3] else 1)
        if 0 < target <= 1:
            offset = _reaching(name, target, counts, positive)
            return _on_positive(offset, positive, f"{name}>={target:g}")
    threshold = number_of(expression)
    if not 0 < threshold < 1:
        raise OptionError(
            "The threshold must be a number between 0 and 1, 'recall>=X' or 'precision>=X' with "
            f"X in (0, 1]. Got {expression!r}."
        )
    # A row is positive where its log-odds plus the offset are at least 0, so the offset is minus
    # the log-odds of the threshold.
    offset = float(np.log1p(-threshold) - np.log(threshold)) + _TIE
    return _on_positive(offset, positive, f"threshold {threshold:g}")


def _reaching(name: str, target: float, counts: ThresholdCounts, positive: int) -> float:
    """Return the offset of the positive class that reaches a recall or a precision."""
    called = np.cumsum(counts.counts, axis=0)[:-1]  # (T, 2), positive at each cut
    hits = called[:, positive]
    total = counts.counts[:, positive].sum() if name == "recall" else called.sum(axis=1)
    value = np.where(hits > 0, hits / np.where(total > 0, total, 1.0), 0.0)
    # Recall increases with the cut: the strictest one that reaches it is the first. Precision need
    # not be monotone; the last cut that reaches it has the highest recall.
    reached = np.flatnonzero(value >= target - _NEAR)
    if not len(reached):
        raise OptionError(
            f"No threshold reaches {name}>={target:g} on the out-of-fold rows; the best reachable "
            f"{name} is {value.max():.3g}."
        )
    return float(counts.cuts[reached[0] if name == "recall" else reached[-1]])


def _on_positive(offset: float, positive: int, name: str) -> DecisionRule:
    offsets = (0.0, offset) if positive == 1 else (offset, 0.0)
    return DecisionRule("offsets", offsets, name=name)
