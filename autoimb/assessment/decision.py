"""Decision rules: how probabilities become labels.

A rule is fitted on out-of-fold probabilities. First comes the plug-in, which needs calibrated
probabilities but no tuning: the prior-corrected one for balanced accuracy and the geometric mean,
the one of the best *expected* counts for other metrics of counts (for F1 of two classes that is
half of the best F1 as the threshold), the most probable class otherwise. A tuned rule replaces it
only where it is better cross-fitted, by more than the error of the comparison. Ranking and
probability metrics do not say what a good label is: their labels get the plug-in for F1
(:func:`label_metric_for`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import log_proba
from autoimb.assessment.crossfit import deal, leave_group_out
from autoimb.assessment.metrics import Metric, get_metric
from autoimb.assessment.offsets import Evidence, best_offsets, reaching_offset
from autoimb.assessment.uncertainty import paired_difference
from autoimb.data.thinning import thin
from autoimb.errors import OptionError
from autoimb.randomness import Purpose, stream

__all__ = [
    "DecisionRule",
    "cost_matrix",
    "cross_fit_labels",
    "fit_rule",
    "label_metric_for",
    "threshold_for",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_INNER = 5  # inner folds that compare the tuned rule with the plug-in
_MOST_WORK, _LEAST_ROWS = 400_000, 2_000  # rows times classes squared, that a rule is fitted on
_TIE = 1e-9  # a probability that near to the threshold has reached it
_BY_PRIOR = frozenset({"balanced_accuracy", "geometric_mean"})


@dataclass(frozen=True)
class DecisionRule:
    """What turns probabilities into labels.

    Attributes
    ----------
    kind : {"argmax", "offsets", "costs"}
        The most probable class; the class of the highest ``log p + offset``; the class of the
        least expected cost.
    offsets : tuple of float
        One a class, for ``"offsets"``. With two classes they are a threshold.
    costs : tuple of tuple of float, or None
        For ``"costs"``: rows are true classes, columns predicted ones.
    name : str
        In words, for reports.
    """

    kind: Literal["argmax", "offsets", "costs"] = "argmax"
    offsets: tuple[float, ...] = ()
    costs: tuple[tuple[float, ...], ...] | None = None
    name: str = "most probable class"

    def apply(self, proba: Floats) -> Ints:
        """Label rows.

        Parameters
        ----------
        proba : ndarray of float, shape (n, C)
            Class probabilities.

        Returns
        -------
        ndarray of int64, shape (n,)
            Class codes; of equal classes the first.
        """
        if self.kind == "offsets":
            values = log_proba(proba) + np.asarray(self.offsets)
        elif self.costs is not None:
            values = -(np.asarray(proba, dtype=np.float64) @ np.asarray(self.costs))
        else:
            values = proba
        labels: Ints = values.argmax(axis=1).astype(np.int64)
        return labels

    def threshold(self, positive: int) -> float | None:
        """Probability from which a row gets the label ``positive``; None unless two classes."""
        if self.kind == "argmax":
            return 0.5 if len(self.offsets) in (0, 2) else None
        if self.costs is not None:
            return _cost_threshold(np.asarray(self.costs), positive)
        if len(self.offsets) != 2:
            return None
        gap = self.offsets[positive] - self.offsets[1 - positive]
        return float(1 / (1 + np.exp(np.clip(gap, -700, 700))))

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        costs = None if self.costs is None else [list(row) for row in self.costs]
        return {
            "kind": self.kind,
            "offsets": list(self.offsets),
            "costs": costs,
            "name": self.name,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DecisionRule:
        """Read what :meth:`to_json` wrote."""
        costs = value["costs"]
        return cls(
            kind=value["kind"],
            offsets=tuple(float(o) for o in value["offsets"]),
            costs=None if costs is None else tuple(tuple(float(c) for c in row) for row in costs),
            name=str(value["name"]),
        )


def _cost_threshold(costs: Floats, positive: int) -> float | None:
    if len(costs) != 2:
        return None
    false_alarm = costs[1 - positive, positive] - costs[1 - positive, 1 - positive]
    miss = costs[positive, 1 - positive] - costs[positive, positive]
    return float(false_alarm / (false_alarm + miss)) if false_alarm + miss > 0 else None


def label_metric_for(metric: Metric) -> Metric:
    """Metric that the labels maximise: itself, or F1 (macro for several classes).

    Ranking and probability metrics say nothing of labels, and the most probable class of a rare
    event is nearly always the other one.
    """
    if metric.kind == "label":
        return metric
    return get_metric("f1", n_classes=metric.n_classes, positive=metric.positive)


def cost_matrix(
    costs: Sequence[float] | Sequence[Sequence[float]], n_classes: int
) -> tuple[tuple[float, ...], ...]:
    """Check costs and write them as a matrix of true times predicted classes.

    Parameters
    ----------
    costs : sequence of float of length C, or of C such sequences
        What an error on a row of each class costs; or what each (true, predicted) pair costs.
    n_classes : int
        Number of classes, C.

    Returns
    -------
    tuple of tuple of float
        C rows of C costs.

    Raises
    ------
    OptionError
        Another shape, or a cost that is not finite.
    """
    try:
        matrix = np.asarray(costs, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.full(1, np.nan)
    if matrix.shape == (n_classes,):
        matrix = np.repeat(matrix[:, None], n_classes, axis=1)
        np.fill_diagonal(matrix, 0.0)
    if matrix.shape != (n_classes, n_classes) or not np.isfinite(matrix).all():
        raise OptionError(
            f"The costs must be {n_classes} finite numbers, one a class, or {n_classes} rows of "
            f"{n_classes}: true classes times predicted ones. Got {costs!r}."
        )
    return tuple(tuple(float(cost) for cost in row) for row in matrix)


# --- fitting --------------------------------------------------------------------------------------


def fit_rule(
    metric: Metric,
    y: Ints,
    proba: Floats,
    *,
    weight: Floats | None = None,
    costs: Sequence[float] | Sequence[Sequence[float]] | None = None,
) -> DecisionRule:
    """Fit the rule whose labels serve a metric best.

    Sees: the rows it is given, which must be out-of-fold and calibrated.

    Parameters
    ----------
    metric : Metric
        What to maximise, through :func:`label_metric_for`.
    y : ndarray of int64, shape (n,)
        Class codes.
    proba : ndarray of float, shape (n, C)
        Probabilities.
    weight : ndarray of float64, shape (n,), optional
        Row weights.
    costs : sequence, optional
        Costs of errors (see :func:`cost_matrix`): nothing is fitted then.

    Returns
    -------
    DecisionRule
        The plug-in, unless the metric is one of labels and a tuned rule is better, by more than
        the error of the comparison, on rows that it was not tuned on. Of many rows and classes
        it is fitted on some, the rarer classes whole as far as possible.

    Raises
    ------
    OptionError
        Costs of another shape.
    """
    if costs is not None:
        matrix = cost_matrix(costs, proba.shape[1])
        return DecisionRule("costs", costs=matrix, name="least expected cost")
    asked, metric = metric, label_metric_for(metric)
    most = max(_MOST_WORK // proba.shape[1] ** 2, _LEAST_ROWS)
    kept, scale = thin(y, np.arange(len(y)), most, stream(Purpose.RULE_ROWS, 0))
    weight = scale if weight is None else weight[kept] * scale
    y, proba = y[kept], np.asarray(proba, dtype=np.float64)[kept]
    rows = Evidence.of(y, proba, weight)
    plug_in = _plug_in(metric, rows)
    if asked.kind != "label" or len(np.unique(y)) < 2:
        return plug_in
    safe, tuned = np.empty(len(y), dtype=np.int64), np.empty(len(y), dtype=np.int64)
    inner = deal(y, _INNER)
    for learn, use in leave_group_out(y, inner):
        part = rows.take(learn)
        rule = _plug_in(metric, part)
        safe[use] = rule.apply(proba[use])
        tuned[use] = _tuned(metric, part, rule).apply(proba[use])
    gain, error = paired_difference(
        metric, y, (rows.proba, tuned), (rows.proba, safe), inner, weight=weight
    )
    return _tuned(metric, rows, plug_in) if gain > error else plug_in


def cross_fit_labels(
    metric: Metric,
    y: Ints,
    proba: Floats | Callable[[int], Floats],
    group: Ints,
    *,
    weight: Floats | None = None,
    costs: Sequence[float] | Sequence[Sequence[float]] | None = None,
) -> Ints:
    """Label each group by a rule that the other groups fit.

    Parameters
    ----------
    metric, y, weight, costs
        As for :func:`fit_rule`.
    proba : ndarray of float, shape (n, C), or callable
        Probabilities. Where something was fitted on labels to make them, a callable that gives
        all rows' for the number of a part: those that no label of that part had a part in.
    group : ndarray of int64, shape (n,)
        Cross-fitting group of each row; one group alone is dealt into five.

    Returns
    -------
    ndarray of int64, shape (n,)
        Labels; no row's own class has a part in its label.

    Raises
    ------
    OptionError
        Costs of another shape.
    """
    labels = np.empty(len(y), dtype=np.int64)
    for number, (learn, use) in enumerate(leave_group_out(y, group)):
        own = proba(number) if callable(proba) else proba
        part = None if weight is None else weight[learn]
        rule = fit_rule(metric, y[learn], own[learn], weight=part, costs=costs)
        labels[use] = rule.apply(own[use])
    return labels


def _plug_in(metric: Metric, rows: Evidence) -> DecisionRule:
    """Rule that needs no tuning where the probabilities are calibrated."""
    n_classes = rows.proba.shape[1]
    if metric.name in _BY_PRIOR:
        total = rows.truth.sum(axis=0)
        prior = np.maximum(total, 0.5) / max(total.sum(), 1.0)
        offsets = tuple(float(o) for o in -np.log(prior))
        return DecisionRule("offsets", offsets, name="highest probability relative to the prior")
    if metric.counts is None:
        return DecisionRule()
    offsets = best_offsets(metric, rows.expected(), (0.0,) * n_classes)
    what = "threshold" if n_classes == 2 else "class offsets"
    return DecisionRule("offsets", offsets, name=f"{what} of the best expected {metric.name}")


def _tuned(metric: Metric, rows: Evidence, start: DecisionRule) -> DecisionRule:
    offsets = best_offsets(metric, rows, start.offsets or (0.0,) * rows.proba.shape[1])
    return DecisionRule("offsets", offsets, name=f"tuned for {metric.name}")


# --- thresholds that users name -------------------------------------------------------------------

_EXPRESSION = re.compile(r"\s*(recall|precision)\s*>=\s*([0-9.eE+-]+)\s*(%?)\s*")


def threshold_for(
    expression: str | float,
    y: Ints,
    proba: Floats,
    positive: int,
    *,
    weight: Floats | None = None,
) -> DecisionRule:
    """Make the rule that a user names.

    Parameters
    ----------
    expression : str or float
        ``"recall>=0.8"``: the highest threshold that reaches this recall. ``"precision>=0.5"``:
        the lowest threshold that reaches this precision. A number in (0, 1): the threshold itself.
    y : ndarray of int64, shape (n,)
        Class codes of out-of-fold rows.
    proba : ndarray of float, shape (n, 2)
        Their out-of-fold probabilities.
    positive : int
        Code of the positive class.
    weight : ndarray of float64, shape (n,), optional
        Row weights.

    Returns
    -------
    DecisionRule
        Two offsets.

    Raises
    ------
    OptionError
        More than two classes, another expression, or a value that no threshold reaches.
    """
    if proba.shape[1] != 2:
        raise OptionError(f"A threshold needs two classes; this pipeline has {proba.shape[1]}.")
    if isinstance(expression, str) and (match := _EXPRESSION.fullmatch(expression)):
        what, wanted = match[1], _number(match[2]) / (100 if match[3] else 1)
        if 0 < wanted <= 1:
            offset = reaching_offset(what, wanted, Evidence.of(y, proba, weight), positive)
            return _on_positive(offset, positive, f"{what}>={wanted:g}")
    threshold = _number(expression)
    if not 0 < threshold < 1:
        raise OptionError(
            "The threshold must be a number between 0 and 1, 'recall>=X' or 'precision>=X' with "
            f"X in (0, 1]. Got {expression!r}."
        )
    offset = float(np.log1p(-threshold) - np.log(threshold)) + _TIE
    return _on_positive(offset, positive, f"threshold {threshold:g}")


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # whatever it refuses is no number
    except (TypeError, ValueError):
        return float("nan")


def _on_positive(offset: float, positive: int, name: str) -> DecisionRule:
    offsets = (0.0, offset) if positive == 1 else (offset, 0.0)
    return DecisionRule("offsets", offsets, name=name)
