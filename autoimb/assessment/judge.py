"""Judging of predictions on a fixed set of rows: scores, comparisons, decision rules, labels.

Ranking and probability metrics are the mean over the groups if each group has enough rows of every
class: the probabilities of folds differ in scale, and pooling them lowers average precision. With
fewer rows the value of a group is mostly noise, so rows are pooled. Label metrics are always
computed from pooled counts. All trials of a study share a judge, so their scores are comparable.

A decision rule is fitted on out-of-fold probabilities. The default is the plug-in rule, which needs
calibrated probabilities but no tuning: the prior-corrected rule for balanced accuracy, the rule
with the best *expected* counts for other metrics of counts (for F1 of two classes its threshold is
half of the best F1), the most probable class otherwise. A tuned rule replaces it only if it is
better when cross-fitted, by more than the error of the comparison. Ranking and probability metrics
do not define a good label; their labels use the plug-in rule of F1 (`label_metric_for`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.stats import rankdata
from scipy.stats.contingency import crosstab

from autoimb.arrays import Floats, Ints, Mask
from autoimb.assessment.costs import Matrix
from autoimb.assessment.crossfit import leave_group_out, stratified_groups
from autoimb.assessment.decision import DecisionRule, Evidence, plug_in_rule, tuned_rule
from autoimb.assessment.metrics import Metric, get_metric
from autoimb.assessment.uncertainty import Score, error_of_mean, jackknife
from autoimb.budget import FOREVER, Deadline
from autoimb.data.subsample import subsample
from autoimb.policy import SearchPolicy
from autoimb.randomness import Purpose, stream

__all__ = ["Judge", "Prediction", "label_metric_for"]

# Variance due to training, as a share of that due to the scored rows, if rows are dependent
# (reports/design/later-rows.md).
_DEPENDENT_TRAINED_VARIANCE = 1.5

Prediction = tuple[Floats, Ints]  # probabilities (n, C) and labels (n,)

_MIN_CLASS_ROWS = 10  # rows of the rarest class from which a group is scored on its own
_MIN_GROUPS = 10  # the spread of the values of fewer groups is a poor estimate of their error
_BLOCKS = 20  # stratified blocks that the jackknife leaves out, one at a time
_INNER = 5  # inner folds that compare the tuned rule with the plug-in
_MIN_SECONDS = 0.5  # time for labels, even after their deadline
_TIE = 1e-9  # weight of the probability among rows with equal places
# Rows on which a rule is fitted: a limit on rows times classes squared, and a minimum.
_MAX_WORK, _MIN_ROWS = 400_000, 2_000


def label_metric_for(metric: Metric) -> Metric:
    """Return the metric that labels maximise: a label metric itself, otherwise (macro) F1.

    Ranking and probability metrics do not depend on labels, and by the most probable class a rare
    event is almost never predicted.
    """
    if metric.kind == "label":
        return metric
    return get_metric("f1", n_classes=metric.n_classes, positive=metric.positive)


@dataclass(frozen=True, eq=False)
class Judge:
    """Evaluation of predictions on a fixed set of scored rows.

    Attributes
    ----------
    metric : Metric
        Metric of the scores.
    y : ndarray of int64, shape (n,)
        Class codes.
    group : ndarray of int64, shape (n,)
        Cross-fitting group of each row: rules and calibrators of a group are fitted on the others.
    weight : ndarray of float64, shape (n,), or None
        Row weights.
    costs : tuple of C tuples of C floats, or None
        Cost of each (true, predicted) pair of classes, for the probabilities of the search (see
        `autoimb.assessment.costs.Costs`). If set, labels minimise the expected cost.
    cluster : ndarray of int64, shape (n,), or None
        The user's group of each row: such a group is never split between fitting and use, and
        standard errors are those of drawing whole groups. None if rows are independent.
    deadline : Deadline
        Time limit of the labels. After it, and at least half a second, the rules of more than two
        classes are no longer improved.
    drawn_by_class : bool
        Whether the groups were drawn at random, class by class, so that they are alike. The user's
        groups may differ in class rates and in difficulty.
    period : ndarray of int64, shape (n,), or None
        Block of time of each row, for forward folds: rules and calibrators of a block are fitted on
        earlier blocks only. Scores exclude the first block, 0, for which nothing is fitted.
    rates : tuple of C floats, or None
        Class rates that are expected of new rows; None for the rates of these rows.
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
        """Return the judge with another deadline for labels."""
        return replace(self, deadline=deadline)

    def take(self, rows: Mask | Ints) -> Judge:
        """Return the judge of a subset of the rows."""
        names = ("y", "group", "weight", "cluster", "period")
        columns = ((name, getattr(self, name)) for name in names)
        return replace(self, **{name: v[rows] for name, v in columns if v is not None})

    def with_metric(self, metric: Metric) -> Judge:
        """Return the judge of the same rows with another metric."""
        return replace(self, metric=metric)

    @cached_property
    def parts(self) -> tuple[tuple[Mask, Mask], ...]:
        """Masks of the rows to learn from and of the rows to predict, see `leave_group_out`.

        The user's groups may differ in class rates. If they were the parts, each would have its own
        calibrator, fitted on the other groups, and rows of different groups would not be
        comparable. So the parts are drawn anew, each with rows of all groups, as in deployment.
        """
        unlike = not self.drawn_by_class and self.period is None
        group = np.zeros_like(self.group) if unlike else self.group
        return tuple(leave_group_out(self.y, group, cluster=self.cluster, period=self.period))

    @cached_property
    def counted(self) -> Judge:
        """Judge of the rows that are scored: all except those of the first block of time."""
        if self.period is None or (self.period > 0).all():
            return self
        return self.take(self.period > 0)

    def of_counted(self, prediction: Prediction) -> Prediction:
        """Return a prediction restricted to the rows of `counted`."""
        if self.period is None or self.counted is self:
            return prediction
        proba, labels = prediction
        return proba[self.period > 0], labels[self.period > 0]

    @cached_property
    def deployment(self) -> Judge:
        """Judge for fitting what is deployed: rows are weighted to the expected class rates."""
        if self.rates is None:
            return self
        weight = np.ones(len(self.y)) if self.weight is None else self.weight
        mass = np.bincount(self.y, weight, self.metric.n_classes)
        factor = np.asarray(self.rates) / np.maximum(mass / mass.sum(), 1e-12)
        # The sum of the weights is unchanged, and with it the effect of regularisation.
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
            Score with its standard error over rows, see `_error`.
        """
        prediction = (proba, labels)
        if self.counted is not self:
            return self.counted.score(*self.of_counted(prediction))
        per_group = None if self.pooled else self._per_group(prediction)
        value = self._value(prediction) if per_group is None else float(per_group.mean())
        error = self._error(self._left_out(prediction), per_group)
        return Score(value, error, self.metric.utility(value))

    def utility(self, prediction: Prediction) -> float:
        """Return the utility of a prediction, without computing its standard error."""
        if self.counted is not self:
            return self.counted.utility(self.of_counted(prediction))
        return self.metric.utility(self._value(prediction))

    def compare(self, a: Prediction, b: Prediction) -> tuple[float, float]:
        """Return the difference in utility of two predictions of the rows.

        Parameters
        ----------
        a, b : tuple of ndarray
            Probabilities (n, C) and labels (n,) of each.

        Returns
        -------
        tuple of float
            Utility of `a` minus that of `b` (above 0: `a` is better), and its standard error over
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
        """Compute the standard error over rows of a value, or of the difference of two values.

        The error is estimated by a jackknife over 20 stratified blocks of rows. With ten groups or
        more, the spread of their values is a second estimate, and the larger one is returned, as
        groups may vary more than their rows do. The spread of three or five values is mostly
        chance.

        Parameters
        ----------
        left_out : ndarray of float64, shape (20,)
            Values without each of the blocks.
        per_group : ndarray of float64, shape (G,), optional
            Values of the groups, if the value is their mean.
        """
        error = jackknife(left_out)
        if per_group is None or len(per_group) < _MIN_GROUPS:
            return error
        return max(error, error_of_mean(per_group))

    def reported_score(self, prediction: Prediction, rare_rows: int) -> Score:
        """Score a prediction in the form in which a result is reported, see `reporting`.

        Parameters
        ----------
        prediction : tuple of ndarray
            Probabilities (n, C) and labels (n,).
        rare_rows : int
            Rows of the rarest class from which a group is scored on its own.

        Returns
        -------
        Score
            Score whose error is estimated by a jackknife over 20 stratified blocks of rows.
        """
        if self.counted is not self:
            return self.counted.reported_score(self.of_counted(prediction), rare_rows)
        reported, pooled = self.reporting(prediction, rare_rows)
        all_rows, without = np.ones((1, len(self.y))), self.blocks != np.arange(_BLOCKS)[:, None]
        with np.errstate(invalid="ignore"):  # a block may contain all rows of a class
            values = self.of_samples(reported, np.concatenate([all_rows, without]), pooled=pooled)
        value = float(values[0])
        return Score(value, jackknife(values[1:]), self.metric.utility(value))

    def interval(self, value: float, error: float) -> tuple[float, float, float]:
        """Clip a value to the metric's range and return it with the ends of its 95 % interval.

        See `Metric.interval`. A mean over rows is determined by all rows, any other metric by those
        of the rarest class that it uses.
        """
        rows = np.bincount(self.y, minlength=self.metric.n_classes)[list(self.metric.classes)]
        a_mean = self.metric.kind == "probability" and not self.metric.foreign
        rarest = int(rows[rows > 0].min(initial=len(self.y)))
        return self.metric.interval(value, error, len(self.y) if a_mean else rarest)

    def reporting(self, prediction: Prediction, rare_rows: int) -> tuple[Prediction, bool]:
        """Return a prediction in the form that is reported, and whether its rows are pooled.

        Means over groups with few rare rows are too high. If the rarest class has fewer rows than
        `rare_rows` in a group, all rows are pooled. For rankings they are then compared by their
        places, unless the groups are not alike: the user's folds, or folds of few of the user's
        groups. With forward folds rows are always pooled.
        """
        pooled = self.period is not None or not self.scores_by_group(rare_rows)
        proba, labels = prediction
        alike = self.drawn_by_class and (self.cluster is None or self._min_units >= _MIN_CLASS_ROWS)
        if pooled and self.metric.kind == "ranking" and alike:
            return (self.placed(proba), labels), pooled
        return prediction, pooled

    def with_training(self, error: float, policy: SearchPolicy) -> float:
        """Return an error over rows, enlarged by the variance of training rows and seeds.

        A single search cannot estimate that variance; it was measured on simulated tables. It is
        larger if rows are not independent, as training rows then vary by whole groups or times.
        """
        independent = self.drawn_by_class and self.cluster is None
        share = policy.result.trained_variance if independent else _DEPENDENT_TRAINED_VARIANCE
        return error * math.sqrt(1 + share)

    def pseudo_values(self, prediction: Prediction) -> Floats:
        """Return the contribution of each group to the value, shape (G,), in the metric's sign.

        Their mean is the value, and their spread determines its error. They are the values of the
        groups or, for pooled rows, the jackknife's pseudo-values (Tukey, 1958); NaN if the value
        without a group is undefined.
        """
        if not self.pooled:
            return self._per_group(prediction)
        left_out = np.array([self._value(prediction, ~group) for group in self._groups])
        # n times the value minus n - 1 times the value without a group.
        groups = len(left_out)
        return groups * self._value(prediction) - (groups - 1) * left_out

    def of_samples(self, prediction: Prediction, counts: Floats, *, pooled: bool) -> Floats:
        """Compute the values of a prediction on many samples of the rows at once.

        Parameters
        ----------
        prediction : tuple of ndarray
            Probabilities (n, C) and labels (n,).
        counts : ndarray of float64, shape (B, n)
            Multiplicity of each row in each sample.
        pooled : bool
            Whether rows are pooled; otherwise a value is the mean over groups.

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
                self.y[part],
                proba[part],
                labels[part],
                weight=weight[part],
                counts=counts[:, part],
            )
            for part in parts
        ]
        return np.asarray(np.mean(values, axis=0))

    def placed(self, proba: Floats) -> Floats:
        """Replace probabilities (n, C) by each row's place in its group, from 0 to 1, for rankings.

        Each group is predicted by other networks, which differ in level and spread. Moreover, the
        more rare rows a fold contains, the lower is the prior of its training part, which reverses
        a pooled ranking where there is little signal (Parker, Günter & Bedo, "Stratification bias
        in low signal microarray studies", 2007). Groups that were not drawn class by class may
        differ in fact, and places hide these differences.
        """
        places = np.empty_like(proba, dtype=np.float64)
        for group in self._groups:
            places[group] = (rankdata(proba[group], axis=0) - 0.5) / group.sum()
        return places + _TIE * proba

    @cached_property
    def pooled(self) -> bool:
        """Whether rows are pooled; otherwise a value is the mean over groups."""
        return not self.scores_by_group(_MIN_CLASS_ROWS)

    def scores_by_group(self, min_rows: int) -> bool:
        """Return whether values are means over groups: each has `min_rows` rows of every class.

        The rows of a user's group count once.
        """
        grouped = self.metric.kind != "label" and len(self._groups) > 1
        return grouped and self._min_units >= min_rows

    @cached_property
    def _min_units(self) -> int:
        """Smallest number of rows, or of the user's groups, of a class in a group."""
        units = np.stack([self.group, self.y])
        if self.cluster is not None and self.period is None:
            units = np.unique(np.stack([*units, self.cluster]), axis=1)[:2]
        return int(crosstab(*units).count.min(initial=np.iinfo(np.int64).max))

    @cached_property
    def _groups(self) -> list[Mask]:
        return [self.group == name for name in np.unique(self.group)]

    @cached_property
    def blocks(self) -> Ints:
        """Number of the jackknife block of each row, (n,)."""
        return stratified_groups(self.y, _BLOCKS, self.cluster)

    def _value(self, prediction: Prediction, rows: Mask | None = None) -> float:
        """Return the value on a subset of the rows, pooled or as the mean over groups."""
        subset = np.ones(len(self.y), dtype=bool) if rows is None else rows
        if self.pooled:
            return self._on(prediction, subset)
        return float(np.mean([self._on(prediction, subset & group) for group in self._groups]))

    def _per_group(self, prediction: Prediction) -> Floats:
        """Return the values of the groups, shape (G,)."""
        return np.array([self._on(prediction, group) for group in self._groups])

    def _left_out(self, prediction: Prediction) -> Floats:
        """Return the values without each of the blocks, shape (20,)."""
        block = self.blocks
        if self.metric.counts is not None:
            # Counts are additive: the confusion matrix without a block is the total minus its own.
            n_classes = self.metric.n_classes
            cell = (block * n_classes + self.y) * n_classes + prediction[1]
            n_blocks = int(block.max()) + 1
            counts = np.bincount(cell, self.weight, n_blocks * n_classes**2)
            blocks = counts.reshape(n_blocks, n_classes, n_classes)
            return self.metric.of_confusion(np.maximum(blocks.sum(axis=0) - blocks, 0.0))
        if self.pooled or self.metric.foreign:
            return np.array([self._value(prediction, block != b) for b in np.unique(block)])
        without = (block != np.arange(_BLOCKS)[:, None]).astype(np.float64)
        with np.errstate(invalid="ignore"):  # a block may contain all rows of a class in a group
            return self.of_samples(prediction, without, pooled=False)

    def _on(self, prediction: Prediction, rows: Mask) -> float:
        proba, labels = prediction
        weight = None if self.weight is None else self.weight[rows]
        return self.metric(self.y[rows], proba[rows], labels[rows], weight=weight)

    # --- labels -------------------------------------------------------------------------------

    def fit_rule(self, proba: Floats, deadline: Deadline | None = None) -> DecisionRule:
        """Fit the decision rule whose labels maximise the metric.

        Sees: all rows of the judge; `proba` must be out-of-fold and calibrated.

        Parameters
        ----------
        proba : ndarray of float, shape (n, C)
            Probabilities.
        deadline : Deadline, optional
            Time limit; the judge's deadline by default.

        Returns
        -------
        DecisionRule
            The plug-in rule, unless the metric is a label metric and a tuned rule is better, by
            more than the error of the comparison, on rows that it was not tuned on. With many rows
            and classes it is fitted on a sample, in which the rarer classes are complete as far as
            possible. With costs nothing is fitted: the rule is the least expected cost.
        """
        if self.costs is not None:
            return DecisionRule("costs", costs=self.costs, name="least expected cost")
        if deadline is None:
            deadline = self._labelled_by()
        metric = label_metric_for(self.metric)
        max_rows = max(_MAX_WORK // proba.shape[1] ** 2, _MIN_ROWS)
        random = stream(Purpose.RULE_ROWS, 0)
        sampled, scale = subsample(self.y, np.arange(len(self.y)), max_rows, random)
        weight = scale if self.weight is None else self.weight[sampled] * scale
        y, proba = self.y[sampled], np.asarray(proba, dtype=np.float64)[sampled]
        rows = Evidence.of(y, proba, weight)
        plug_in = plug_in_rule(metric, rows, deadline.fraction(0.5))
        if self.metric.kind != "label" or len(np.unique(y)) < 2:
            return plug_in
        # The comparison is cross-fitted, as the tuned rule is optimistic on the rows of its fit.
        safe, tuned = np.empty(len(y), dtype=np.int64), np.empty(len(y), dtype=np.int64)
        cluster = None if self.cluster is None else self.cluster[sampled]
        inner = Judge(metric, y, stratified_groups(y, _INNER, cluster), weight)
        for (learn, use), by in zip(inner.parts, deadline.shared(len(inner.parts) + 1)):
            part = rows.take(learn)
            rule = plug_in_rule(metric, part, by.fraction(0.5))
            safe[use] = rule.apply(proba[use])
            tuned[use] = tuned_rule(metric, part, rule, by).apply(proba[use])
        gain, error = inner.compare((rows.proba, tuned), (rows.proba, safe))
        return tuned_rule(metric, rows, plug_in, deadline) if gain > error else plug_in

    def _labelled_by(self) -> Deadline:
        return max(self.deadline, Deadline.after(_MIN_SECONDS), key=lambda deadline: deadline.at)

    def labels(self, proba: Floats | Callable[[int], Floats]) -> Ints:
        """Return labels of each part by a rule that is fitted on the other parts.

        Parameters
        ----------
        proba : ndarray of float, shape (n, C), or callable
            Probabilities. If they depend on labels, a callable that returns the probabilities of
            all rows for the number of a part; these must not depend on the labels of that part.

        Returns
        -------
        ndarray of int64, shape (n,)
            Labels; no label depends on the class of its row.
        """
        labels = np.empty(len(self.y), dtype=np.int64)
        shares = self._labelled_by().shared(len(self.parts) + 1)  # a share is left for later work
        for number, ((learn, use), by) in enumerate(zip(self.parts, shares)):
            part_proba = proba(number) if callable(proba) else proba
            can_learn = learn.any()  # no rows are earlier than the first block of time
            rule = self.take(learn).fit_rule(part_proba[learn], by) if can_learn else DecisionRule()
            labels[use] = rule.apply(part_proba[use])
        return labels
