"""The judge of a set of scored rows: what scores, compares, fits decision rules and labels.

Ranking and probability metrics are the mean over the groups where each group has enough rows of
every class: folds' probabilities are not on one scale, and pooling them costs average precision.
With fewer rows a group says nothing, so rows are pooled. Label metrics always come from pooled
counts. All trials of a study have one judge, so they are judged the same way.

A decision rule is fitted on out-of-fold probabilities. First comes the plug-in, which needs
calibrated probabilities but no tuning: the prior-corrected one for balanced accuracy, the one of
the best *expected* counts for other metrics of counts (for F1 of two classes that is half of the
best F1 as the threshold), the most probable class otherwise. A tuned rule replaces it only where
it is better cross-fitted, by more than the error of the comparison. Ranking and probability metrics
do not say what a good label is: their labels get the plug-in for F1 (`label_metric_for`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from autoimb.assessment.costs import Matrix
from autoimb.assessment.crossfit import leave_group_out, stratified_groups
from autoimb.assessment.decision.offsets import Evidence
from autoimb.assessment.decision.rule import DecisionRule, plug_in_rule, tuned_rule
from autoimb.assessment.metrics import Metric, get_metric
from autoimb.assessment.uncertainty import Score, error_of_mean, jackknife
from autoimb.budget import FOREVER, Deadline
from autoimb.data.subsample import subsample
from autoimb.policy import SearchPolicy
from autoimb.randomness import Purpose, stream

__all__ = ["Judge", "Prediction", "label_metric_for"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Prediction = tuple[Floats, Ints]  # probabilities (n, C) and labels (n,)

_ENOUGH = 10  # rows of the rarest class that make a group speak for itself
_GROUPS_WITH_A_SPREAD = 10  # with fewer the spread of their values says little of an error
_BLOCKS = 20  # stratified blocks that the jackknife leaves out, one at a time
_INNER = 5  # inner folds that compare the tuned rule with the plug-in
_LEAST_SECONDS = 0.5  # that labels have, also past their deadline
_TIE = 1e-9  # what a probability counts beside a place
_MOST_WORK, _LEAST_ROWS = 400_000, 2_000  # rows times classes squared, that a rule is fitted on


def label_metric_for(metric: Metric) -> Metric:
    """Metric that the labels maximise: itself, or F1 (macro for several classes).

    Ranking and probability metrics say nothing of labels, and the most probable class of a rare
    event is nearly always the other one.
    """
    if metric.kind == "label":
        return metric
    return get_metric("f1", n_classes=metric.n_classes, positive=metric.positive)


@dataclass(frozen=True, eq=False)
class Judge:
    """What a set of scored rows is judged by.

    Attributes
    ----------
    metric : Metric
        What is measured.
    y : ndarray of int64, shape (n,)
        Class codes.
    group : ndarray of int64, shape (n,)
        Cross-fitting group of each row: what labels or calibrates a group learns from the others.
    weight : ndarray of float64, shape (n,), or None
        Row weights.
    costs : tuple of C tuples of C floats, or None
        What the labels minimise instead: the cost of each (true, predicted) pair of classes, for
        such probabilities (see `autoimb.assessment.costs.Costs`).
    cluster : ndarray of int64, shape (n,), or None
        The user's group of each row: what is fitted on some rows of one is not used on others, and
        errors are those of drawing whole groups. None where rows are independent.
    deadline : Deadline
        Of the labels: past it, and half a second, rules of several classes stay what they are.
    drawn_by_class : bool
        Whether the groups were drawn at random, class by class, so that they are alike; groups of
        the user's may differ in rates and in how hard they are.
    period : ndarray of int64, shape (n,), or None
        Of forward folds, the block of time of each row: what is fitted for it sees earlier blocks
        alone. Scores leave out the first block, 0, for which nothing is fitted.
    rates : tuple of C floats, or None
        The rates of the classes that are expected of new rows; None for those of the rows.
    """

    metric: Metric
    y: Ints
    group: Ints
    weight: Floats | None = None
    costs: Matrix | None = None
    cluster: Ints | None = None
    deadline: Deadline = FOREVER
    drawn_by_class: bool = True
    period: Ints | None = None
    rates: tuple[float, ...] | None = None

    def until(self, deadline: Deadline) -> Judge:
        """Judge the same rows, but label them by a deadline."""
        return replace(self, deadline=deadline)

    def take(self, rows: Mask | Ints) -> Judge:
        """Judge some of the rows by the same measure."""
        weight = None if self.weight is None else self.weight[rows]
        cluster = None if self.cluster is None else self.cluster[rows]
        period = None if self.period is None else self.period[rows]
        return replace(
            self,
            y=self.y[rows],
            group=self.group[rows],
            weight=weight,
            cluster=cluster,
            period=period,
        )

    def with_metric(self, metric: Metric) -> Judge:
        """Judge the same rows by another metric."""
        return replace(self, metric=metric)

    @cached_property
    def parts(self) -> tuple[tuple[Mask, Mask], ...]:
        """The rows to learn from and to use it on, part by part; see `leave_group_out`.

        Groups of the user's may differ in rates. Each would get a calibrator of its own, which the
        others fitted, and rows of different groups could not be compared. So all of them have rows
        in each part, as all have in what is deployed.
        """
        unlike = not self.drawn_by_class and self.period is None
        group = np.zeros_like(self.group) if unlike else self.group
        return tuple(leave_group_out(self.y, group, cluster=self.cluster, period=self.period))

    @cached_property
    def counted(self) -> Judge:
        """The judge of the rows that scores rest on: all but those of the first block of time."""
        if self.period is None or (self.period > 0).all():
            return self
        return self.take(self.period > 0)

    def of_counted(self, prediction: Prediction) -> Prediction:
        """Return a prediction of the rows that scores rest on."""
        if self.period is None or self.counted is self:
            return prediction
        proba, labels = prediction
        return proba[self.period > 0], labels[self.period > 0]

    @cached_property
    def deployment(self) -> Judge:
        """The judge by which what is deployed is fitted: classes weigh as their expected rates."""
        if self.rates is None:
            return self
        weight = np.ones(len(self.y)) if self.weight is None else self.weight
        mass = np.bincount(self.y, weight, self.metric.n_classes)
        factor = np.asarray(self.rates) / np.maximum(mass / mass.sum(), 1e-12)
        expected = weight * factor[self.y]
        return replace(self, weight=expected * (weight.sum() / expected.sum()), rates=None)

    # --- scores -------------------------------------------------------------------------------

    def score(self, proba: Floats, labels: Ints) -> Score:
        """Score out-of-fold predictions.

        Parameters
        ----------
        proba : ndarray of float, shape (n, C)
            Out-of-fold probabilities.
        labels : ndarray of int64, shape (n,)
            Out-of-fold labels.

        Returns
        -------
        Score
            With its standard error over rows, see `_error`.
        """
        prediction = (proba, labels)
        if self.counted is not self:
            return self.counted.score(*self.of_counted(prediction))
        per_group = self._per_group(prediction)
        value = self._value(prediction) if self.pooled else float(per_group.mean())
        error = self._error(self._left_out(prediction), None if self.pooled else per_group)
        shown = tuple(float(v) for v in per_group) if np.isfinite(per_group).all() else ()
        return Score(value, error, shown, self.pooled, self.metric.utility(value))

    def utility(self, prediction: Prediction) -> float:
        """Return the value of a prediction as a utility, without the cost of an error."""
        if self.counted is not self:
            return self.counted.utility(self.of_counted(prediction))
        return self.metric.utility(self._value(prediction))

    def compare(self, a: Prediction, b: Prediction) -> tuple[float, float]:
        """Compare two predictions of the rows.

        Parameters
        ----------
        a, b : tuple of ndarray
            Probabilities (n, C) and labels (n,) of each.

        Returns
        -------
        tuple of float
            Utility of `a` less that of `b` (above 0: `a` is better), and its standard error over
            rows, see `_error`.
        """
        if self.counted is not self:
            return self.counted.compare(self.of_counted(a), self.of_counted(b))
        sign = 1.0 if self.metric.greater_is_better else -1.0
        left_out = self._left_out(a) - self._left_out(b)
        if self.pooled:
            return sign * (self._value(a) - self._value(b)), self._error(left_out)
        gap = self._per_group(a) - self._per_group(b)
        return sign * float(gap.mean()), self._error(left_out, gap)

    def _error(self, left_out: Floats, per_group: Floats | None = None) -> float:
        """Compute the standard error over rows of a value, or of the difference of two.

        It comes from a jackknife over 20 stratified blocks of rows. The spread of the values of ten
        groups or more is an error as well, and the larger of the two is returned, as groups may
        differ by more than their rows do. The spread of three or five values is mostly chance.

        Parameters
        ----------
        left_out : ndarray of float64, shape (20,)
            Without each of the blocks.
        per_group : ndarray of float64, shape (G,), optional
            Of each group, where the value is their mean.
        """
        error = jackknife(left_out)
        if per_group is None or len(per_group) < _GROUPS_WITH_A_SPREAD:
            return error
        return max(error, error_of_mean(per_group))

    def reported_score(self, prediction: Prediction, rare_rows: int) -> Score:
        """Score a prediction in the way in which a result is reported, see `reporting`.

        Parameters
        ----------
        prediction : tuple of ndarray
            Probabilities (n, C) and labels (n,).
        rare_rows : int
            Of the rarest class, that let a group speak for itself.

        Returns
        -------
        Score
            Its error comes from a jackknife over 20 stratified blocks of rows.
        """
        if self.counted is not self:
            return self.counted.reported_score(self.of_counted(prediction), rare_rows)
        shown, pooled = self.reporting(prediction, rare_rows)
        whole, without = np.ones((1, len(self.y))), self.blocks != np.arange(_BLOCKS)[:, None]
        with np.errstate(invalid="ignore"):  # a block may hold all rows of a class
            values = self.of_samples(shown, np.concatenate([whole, without]), pooled=pooled)
        value = float(values[0])
        return Score(value, jackknife(values[1:]), (), pooled, self.metric.utility(value))

    def interval(self, value: float, error: float) -> tuple[float, float, float]:
        """Return a value within the metric's range and the ends of its 95 % interval.

        See `Metric.interval`; a mean over rows rests on all of them, everything else on those of
        the rarest class that the metric looks at.
        """
        rows = np.bincount(self.y, minlength=self.metric.n_classes)[list(self.metric.classes)]
        a_mean = self.metric.kind == "probability" and not self.metric.foreign
        rarest = int(rows[rows > 0].min(initial=len(self.y)))
        return self.metric.interval(value, error, len(self.y) if a_mean else rarest)

    def reporting(self, prediction: Prediction, rare_rows: int) -> tuple[Prediction, bool]:
        """Return a prediction as it is reported, and whether its value is of all rows together.

        Means over groups of few rare rows are too high. Where the rarest class has fewer rows than
        `rare_rows` in a group, all rows are valued together, for a ranking by their places, unless
        the groups are not alike: given by the user, or of few of the user's groups. Rows of
        different times always are valued together.
        """
        pooled = self.period is not None or not self.speaks_by_group(rare_rows)
        proba, labels = prediction
        alike = self.drawn_by_class and (self.cluster is None or self._least_units >= _ENOUGH)
        if pooled and self.metric.kind == "ranking" and alike:
            return (self.placed(proba), labels), pooled
        return prediction, pooled

    def with_training(self, error: float, policy: SearchPolicy) -> float:
        """Return an error over rows with what other training rows and seeds add to it.

        That can't be seen in one search, and was measured on simulated tables: it is more where
        rows are not independent, as what trains varies as whole groups or times do.
        """
        independent = self.drawn_by_class and self.cluster is None
        share = policy.trained_variance if independent else policy.dependent_trained_variance
        return error * math.sqrt(1 + share)

    def pseudo_values(self, prediction: Prediction) -> Floats:
        """Return what each group contributes to the value, shape (G,), in the metric's sign.

        Their mean is the value, and their spread tells its error: the values of the groups, or,
        pooled, the jackknife's pseudo-values (Tukey, 1958). NaN where leaving out a group leaves
        no value.
        """
        if not self.pooled:
            return self._per_group(prediction)
        left_out = np.array([self._value(prediction, ~own) for own in self._groups])
        groups = len(left_out)
        return groups * self._value(prediction) - (groups - 1) * left_out

    def of_samples(self, prediction: Prediction, counts: Floats, *, pooled: bool) -> Floats:
        """Value a prediction of samples of the rows, many at once.

        Parameters
        ----------
        prediction : tuple of ndarray
            Probabilities (n, C) and labels (n,).
        counts : ndarray of float64, shape (B, n)
            How often each sample holds each row.
        pooled : bool
            Whether a value is of all rows together, or the mean over groups.

        Returns
        -------
        ndarray of float64, shape (B,)
            In the metric's own sign.
        """
        proba, labels = prediction
        weight = np.ones(len(self.y)) if self.weight is None else self.weight
        parts = [np.ones(len(self.y), dtype=bool)] if pooled else self._groups
        values = [
            self.metric.of_samples(
                self.y[own], proba[own], labels[own], weight=weight[own], counts=counts[:, own]
            )
            for own in parts
        ]
        return np.asarray(np.mean(values, axis=0))

    def placed(self, proba: Floats) -> Floats:
        """Replace probabilities (n, C) by each row's place in its group, from 0 to 1: for rankings.

        Groups are predicted by networks of their own, which differ in level and spread; and the
        prior of a training part is the lower the more rare rows its fold holds, which turns a
        ranking around where there is little signal (Parker, Günter & Bedo, "Stratification bias in
        low signal microarray studies", 2007). Groups that were not drawn class by class differ
        themselves, and places hide it.
        """
        places = np.empty_like(proba, dtype=np.float64)
        for own in self._groups:
            places[own] = (rankdata(proba[own], axis=0) - 0.5) / own.sum()
        return places + _TIE * proba

    @cached_property
    def pooled(self) -> bool:
        """Whether a value is of all rows together; else it is the mean over groups."""
        return not self.speaks_by_group(_ENOUGH)

    def speaks_by_group(self, enough: int) -> bool:
        """Whether values are means over groups, where so many rows let one speak for itself.

        Rows of one of the user's groups count once.
        """
        several = self.metric.kind != "label" and len(self._groups) > 1
        return several and self._least_units >= enough

    @cached_property
    def _least_units(self) -> int:
        """Rows, or groups of the user's, of the class that the fewest have in a group."""
        y, group = self.y, self.group
        if self.cluster is not None and self.period is None:
            cells = np.unique(np.stack([group, y, self.cluster], axis=1), axis=0)
            group, y = cells[:, 0], cells[:, 1]
        counts = np.array(
            [
                np.bincount(y[group == name], minlength=self.metric.n_classes)
                for name in np.unique(self.group)
            ]
        )
        return int(counts[:, counts.sum(axis=0) > 0].min(initial=np.iinfo(np.int64).max))

    @cached_property
    def _groups(self) -> list[Mask]:
        return [self.group == name for name in np.unique(self.group)]

    @cached_property
    def blocks(self) -> Ints:
        """The block of each row that the jackknife leaves out together, (n,)."""
        return stratified_groups(self.y, _BLOCKS, self.cluster)

    def _value(self, prediction: Prediction, rows: Mask | None = None) -> float:
        """Value of some rows: of all together, or the mean over groups."""
        keep = np.ones(len(self.y), dtype=bool) if rows is None else rows
        if self.pooled:
            return self._on(prediction, keep)
        return float(np.mean([self._on(prediction, keep & own) for own in self._groups]))

    def _per_group(self, prediction: Prediction) -> Floats:
        """Values of the groups, shape (G,)."""
        return np.array([self._on(prediction, own) for own in self._groups])

    def _left_out(self, prediction: Prediction) -> Floats:
        """Values without each of the blocks, shape (20,)."""
        block = self.blocks
        if not (self.pooled or self.metric.foreign):  # all blocks at once
            without = (block != np.arange(_BLOCKS)[:, None]).astype(np.float64)
            with np.errstate(invalid="ignore"):  # a block may hold all rows of a class in a group
                return self.of_samples(prediction, without, pooled=False)
        if not (self.metric.counts is not None or self.metric.summable):
            return np.array([self._value(prediction, block != b) for b in np.unique(block)])
        n_classes = self.metric.n_classes
        cell = (block * n_classes + self.y) * n_classes + prediction[1]
        n_blocks = int(block.max()) + 1
        counts = np.bincount(cell, self.weight, n_blocks * n_classes**2)
        blocks = counts.reshape(n_blocks, n_classes, n_classes)
        return self.metric.of_confusion(np.maximum(blocks.sum(axis=0) - blocks, 0.0))

    def _on(self, prediction: Prediction, rows: Mask) -> float:
        proba, labels = prediction
        weight = None if self.weight is None else self.weight[rows]
        return self.metric(self.y[rows], proba[rows], labels[rows], weight=weight)

    # --- labels -------------------------------------------------------------------------------

    def fit_rule(self, proba: Floats, deadline: Deadline | None = None) -> DecisionRule:
        """Fit the rule whose labels serve the metric best.

        Sees: all rows of the judge; `proba` must be out-of-fold and calibrated.

        Parameters
        ----------
        proba : ndarray of float, shape (n, C)
            Probabilities.
        deadline : Deadline, optional
            When the rule must be fitted; the judge's, by default.

        Returns
        -------
        DecisionRule
            The plug-in, unless the metric is one of labels and a tuned rule is better, by more
            than the error of the comparison, on rows that it was not tuned on. Of many rows and
            classes it is fitted on some, the rarer classes whole as far as possible. Where there
            are costs nothing is fitted: the rule is the least expected cost.
        """
        if self.costs is not None:
            return DecisionRule("costs", costs=self.costs, name="least expected cost")
        if deadline is None:
            deadline = self._labelled_by()
        metric = label_metric_for(self.metric)
        most = max(_MOST_WORK // proba.shape[1] ** 2, _LEAST_ROWS)
        random = stream(Purpose.RULE_ROWS, 0)
        kept, scale = subsample(self.y, np.arange(len(self.y)), most, random)
        weight = scale if self.weight is None else self.weight[kept] * scale
        y, proba = self.y[kept], np.asarray(proba, dtype=np.float64)[kept]
        rows = Evidence.of(y, proba, weight)
        plug_in = plug_in_rule(metric, rows, deadline.fraction(0.5))
        if self.metric.kind != "label" or len(np.unique(y)) < 2:
            return plug_in
        safe, tuned = np.empty(len(y), dtype=np.int64), np.empty(len(y), dtype=np.int64)
        cluster = None if self.cluster is None else self.cluster[kept]
        inner = Judge(metric, y, stratified_groups(y, _INNER, cluster), weight)
        for (learn, use), by in zip(inner.parts, deadline.shared(len(inner.parts) + 1)):
            part = rows.take(learn)
            rule = plug_in_rule(metric, part, by.fraction(0.5))
            safe[use] = rule.apply(proba[use])
            tuned[use] = tuned_rule(metric, part, rule, by).apply(proba[use])
        gain, error = inner.compare((rows.proba, tuned), (rows.proba, safe))
        return tuned_rule(metric, rows, plug_in, deadline) if gain > error else plug_in

    def _labelled_by(self) -> Deadline:
        return max(self.deadline, Deadline.after(_LEAST_SECONDS), key=lambda each: each.at)

    def labels(self, proba: Floats | Callable[[int], Floats]) -> Ints:
        """Label each group by a rule that the other groups fit.

        Parameters
        ----------
        proba : ndarray of float, shape (n, C), or callable
            Probabilities. Where something was fitted on labels to make them, a callable that gives
            all rows' for the number of a part: those that no label of that part had a part in.

        Returns
        -------
        ndarray of int64, shape (n,)
            Labels; no row's own class has a part in its label.
        """
        labels = np.empty(len(self.y), dtype=np.int64)
        shares = self._labelled_by().shared(len(self.parts) + 1)  # one is left for who comes next
        for number, ((learn, use), by) in enumerate(zip(self.parts, shares)):
            own = proba(number) if callable(proba) else proba
            teaches = learn.any()  # nothing is earlier than the first block of time
            rule = self.take(learn).fit_rule(own[learn], by) if teaches else DecisionRule()
            labels[use] = rule.apply(own[use])
        return labels
