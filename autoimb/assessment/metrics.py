"""Metrics of rankings, probabilities and labels behind a common interface, with row weights.

A metric gets class codes and class probabilities; a function or a scorer object of the user gets
the user's labels. With two classes, ranking metrics, F and precision are those of the positive
class. With more classes they are macro means over the classes that occur in ``y``.
Built-in label metrics are functions of confusion counts, vectorised over leading axes, so that a
decision rule can try every threshold at once. A value that is undefined on the rows (no row of the
positive class, a probability that is not a number) is NaN, and its utility is
:attr:`Metric.worst`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from autoimb.arrays import Floats, Ints
from autoimb.assessment import formulas, scorers
from autoimb.assessment.costs import Matrix
from autoimb.assessment.formulas import Counts, Kind, Rows, confusion_counts
from autoimb.errors import OptionError, choices
from autoimb.text import number_of

__all__ = [
    "ALIASES",
    "EXPECTED_COST",
    "METRICS",
    "Metric",
    "canonical_metric",
    "confusion_counts",
    "get_metric",
]

_NORMAL = 1.96  # standard errors to either side of a 95 % interval
_NO_SPREAD = 1e-9  # smaller errors are 0 except for rounding
_RULE_OF_THREE = 3.0  # expected events of which 95 % of samples contain at least one


@dataclass(frozen=True)
class Metric:
    """A metric bound to the classes of one target.

    Attributes
    ----------
    name : str
        Name as the user passed it.
    kind : {"ranking", "probability", "label"}
        Input of the metric: the order of the probabilities, their values, or labels.
    n_classes, positive : int
        Number of classes; code of the positive class (two classes only).
    greater_is_better : bool
        Whether a higher raw value is better.
    worst : float
        Utility of a trial without a value.
    rows, counts : callable or None
        Function that computes the value, of :class:`Rows` or of :class:`Counts`; the other is None.
    foreign : bool
        Whether it is a scorer or a user's function, which takes one sample of rows at a time.
    weighs : bool
        Whether a row of weight 2 counts as two rows. Otherwise samples consist of whole rows: a
        scorer may ignore weights, and a user's function may use them in another way.
    """

    name: str
    kind: Kind
    n_classes: int = 2
    positive: int = 1
    greater_is_better: bool = True
    worst: float = 0.0
    rows: Callable[[Rows], Floats | float] | None = field(default=None, repr=False)
    counts: Callable[[Counts], Floats] | None = field(default=None, repr=False)
    foreign: bool = False
    weighs: bool = True

    @property
    def classes(self) -> tuple[int, ...]:
        """Class codes of the macro mean: the positive class of two, or all classes of more."""
        return (self.positive,) if self.n_classes == 2 else tuple(range(self.n_classes))

    def __call__(
        self,
        y: Ints,
        proba: Floats,
        labels: Ints | None = None,
        *,
        weight: Floats | None = None,
    ) -> float:
        """Compute the raw value.

        Parameters
        ----------
        y : ndarray of int64, shape (n,)
            True class codes.
        proba : ndarray of float, shape (n, C)
            Class probabilities.
        labels : ndarray of int64, shape (n,), optional
            Predicted codes, which only label metrics use; the most probable class by default.
        weight : ndarray of float64, shape (n,), optional
            Row weights.

        Returns
        -------
        float
            In the metric's own sign; NaN where these rows define no value.
        """
        if len(y) == 0 or np.isnan(proba).any():
            return math.nan
        if labels is None and self.kind == "label":
            labels = proba.argmax(axis=1)
        if self.rows is not None:
            return float(self.rows(Rows(y, proba, labels, weight, self.classes)))
        assert labels is not None  # metrics of counts are label metrics
        cells = confusion_counts(y, labels, n_classes=self.n_classes, weight=weight)
        return float(self.of_confusion(cells))

    def of_samples(
        self, y: Ints, proba: Floats, labels: Ints, *, weight: Floats, counts: Floats
    ) -> Floats:
        """Compute the raw values of many samples of the rows at once.

        Parameters
        ----------
        y, labels : ndarray of int64, shape (n,)
            True and predicted class codes.
        proba : ndarray of float64, shape (n, C)
            Class probabilities.
        weight : ndarray of float64, shape (n,)
            Row weights.
        counts : ndarray of float64, shape (B, n)
            Multiplicity of each row in each sample: whole numbers unless the metric `weighs`,
            otherwise any number from 0.

        Returns
        -------
        ndarray of float64, shape (B,)
            In the metric's own sign; NaN where a sample defines no value.
        """
        if self.rows is None:
            cells = [
                confusion_counts(y, labels, n_classes=self.n_classes, weight=sample_weight)
                for sample_weight in counts * weight
            ]
            return self.of_confusion(np.stack(cells))
        if not self.foreign:
            return np.asarray(self.rows(Rows(y, proba, labels, counts * weight, self.classes)))
        # Scorers and users' functions are called once a sample, with the rows that the sample has:
        # each once with its weight, or as often as it was drawn.
        if self.weighs:
            samples = [(np.flatnonzero(count), count * weight) for count in counts]
        else:
            every_row = np.arange(len(y))
            samples = [(np.repeat(every_row, count.astype(np.int64)), weight) for count in counts]
        return np.array([self(y[r], proba[r], labels[r], weight=w[r]) for r, w in samples])

    def utility(self, value: float) -> float:
        """Convert a raw value to a utility: higher is better, and NaN is the worst value."""
        if math.isnan(value):
            return self.worst
        return value if self.greater_is_better else -value

    @property
    def bounds(self) -> tuple[float, float]:
        """Range of the raw values; infinite for metrics that are not built in."""
        if self.foreign:
            return -math.inf, math.inf
        return (self.worst, 1.0) if self.greater_is_better else (0.0, -self.worst)

    def interval(self, value: float, error: float, rows: int) -> tuple[float, float, float]:
        """Clip a value to the metric's range and return it with the ends of its 95 % interval.

        The interval extends 1.96 errors to either side; for metrics from 0 to 1 it is computed on
        the log-odds scale. A result that is perfect or constant has the error 0 on any sample of
        its rows. Then the rule of three applies: up to 3 / n of the rows may still have the worst,
        or the best, value (Hanley & Lippman-Hand, "If nothing goes wrong, is everything all
        right?", 1983).

        Parameters
        ----------
        value, error : float
            Raw value and its standard error.
        rows : int
            Number of rows that determine the metric, such as those of the positive class.
        """
        low, high = self.bounds
        value = min(max(value, low), high)
        if error < _NO_SPREAD:
            share, unit = min(_RULE_OF_THREE / rows, 1.0), max(abs(value), 1.0)
            down, up = (far if math.isfinite(far) else unit for far in (value - low, high - value))
            return value, value - share * down, value + share * up
        # By the delta method an error of the value is this many log-odds.
        if (low, high) == (0.0, 1.0) and self.greater_is_better and 0.0 < value < 1.0:
            reach = _NORMAL * error / (value * (1 - value))
            return value, float(expit(logit(value) - reach)), float(expit(logit(value) + reach))
        return value, max(value - _NORMAL * error, low), min(value + _NORMAL * error, high)

    def of_confusion(self, confusion: Floats) -> Floats:
        """Compute a metric of counts from an array of confusion matrices.

        Parameters
        ----------
        confusion : ndarray of float64, shape (..., C, C)
            True classes in rows, predicted ones in columns.

        Returns
        -------
        ndarray of float64, shape (...)
            Raw values, NaN where undefined.
        """
        assert self.counts is not None
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        true, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
        return self.counts(Counts(hits, true, predicted, self.classes))


def _curve(name: str, summary: Callable[[Floats, Floats], Floats]) -> Metric:
    return Metric(name, "ranking", rows=partial(formulas.one_vs_rest, summary))


def _loss(name: str, mean: Callable[[Rows], Floats], *, worst: float) -> Metric:
    return Metric(name, "probability", greater_is_better=False, worst=worst, rows=mean)


# Built-in metrics of two classes, the default first; `get_metric` binds metrics to a target.
METRICS = {
    metric.name: metric
    for metric in (
        _curve("average_precision", formulas.precision_area),
        _curve("roc_auc", formulas.roc_area),
        _curve("recall@precision", partial(formulas.recall_at, precision=0.5)),
        Metric("balanced_accuracy", "label", counts=formulas.balanced_accuracy),
        Metric("geometric_mean", "label", counts=formulas.geometric_mean),
        Metric("f1", "label", counts=partial(formulas.fbeta, beta=1.0)),
        Metric("fbeta", "label", counts=partial(formulas.fbeta, beta=2.0)),
        Metric("mcc", "label", counts=formulas.mcc, worst=-1.0),
        Metric("recall", "label", counts=formulas.recall),
        Metric("precision", "label", counts=formulas.precision),
        Metric("accuracy", "label", counts=formulas.accuracy),
        _loss("log_loss", formulas.log_loss, worst=-52 * math.log(2)),
        _loss("brier", formulas.brier, worst=-1.0),
    )
}

# Names in other libraries and in papers.
ALIASES = {
    "pr_auc": "average_precision",
    "auprc": "average_precision",
    "ap": "average_precision",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "logloss": "log_loss",
    "gmean": "geometric_mean",
}

EXPECTED_COST = "expected_cost"  # mean cost of a row by the user's cost matrix

_UNBOUNDED_WORST = -1e6  # utility of a missing value of metrics with an unknown range


def canonical_metric(metric: Any) -> Any:
    """Replace an alias by the name of its metric; return anything else unchanged."""
    return ALIASES.get(metric, metric) if isinstance(metric, str) else metric


def get_metric(
    metric: str | Callable[..., Any],
    *,
    n_classes: int,
    positive: int,
    classes: NDArray[Any] | None = None,
    costs: Matrix | None = None,
) -> Metric:
    """Look up a metric and bind it to the classes of a target.

    Parameters
    ----------
    metric : str or callable
        A name of :data:`METRICS` or of :data:`ALIASES`, ``"fbeta:<beta>"``,
        ``"recall@precision:<precision>"`` (the highest recall at that precision or a higher one),
        ``"expected_cost"`` (the mean cost of a row by `costs`), any scorer name of scikit-learn, an
        object of ``sklearn.metrics.make_scorer``, or a function ``f(y_true, proba)`` whose value is
        the higher the better. ``y_true`` has the user's labels, ``proba`` has shape (n, C) with its
        columns in the order of ``classes_``; a parameter ``sample_weight`` gets the row weights. A
        scorer object gets the user's labels too, so that ``make_scorer(f1_score,
        pos_label="sick")`` works. A scorer name evaluates the positive class of two, which is
        passed as 1 and the other class as 0; of more classes, numeric labels are passed as they
        are and other labels as codes.
    n_classes : int
        Number of classes.
    positive : int
        Code of the positive class (two classes only).
    classes : ndarray of shape (C,), optional
        The user's labels, by code; the codes themselves by default.
    costs : tuple of C tuples of C floats, optional
        Cost of each pair of true and predicted class; required by ``"expected_cost"``.

    Returns
    -------
    Metric
        Picklable if the metric is a name; other metrics may need pickling by value.

    Raises
    ------
    OptionError
        If the name is unknown, the scorer fails on this number of classes, or
        ``"expected_cost"`` has no costs.
    """
    metric = canonical_metric(metric)
    labels = np.arange(n_classes) if classes is None else classes
    if hasattr(metric, "set_score_request"):  # a scorer object of make_scorer
        unbound = _of_scorer(str(metric), metric, labels)
    elif not isinstance(metric, str):
        unbound = _of_function(metric, labels)
    elif metric == EXPECTED_COST:
        unbound = _of_costs(costs)
    else:
        unbound = _built_in(metric) or _of_scorer_name(metric, _numbered(labels, positive))
    # The Brier score of two classes is halved.
    worst = -2.0 if metric == "brier" and n_classes > 2 else unbound.worst
    return replace(unbound, n_classes=n_classes, positive=positive, worst=worst)


def _built_in(name: str) -> Metric | None:
    """Return a built-in metric of two classes, or None for other names."""
    if name in METRICS:
        return METRICS[name]
    ratio, _, average = name.rpartition("_")
    # Averaged metrics of scikit-learn, such as f1_macro, are computed from counts, vectorised.
    if ratio in formulas.RATIOS and average in formulas.AVERAGES:
        counts = partial(formulas.averaged, ratio=ratio, average=average)
        return Metric(name, "label", counts=counts)
    base, colon, text = name.partition(":")
    if base not in ("fbeta", "recall@precision") or not colon:
        return None
    number = number_of(text)
    if base == "recall@precision":
        if not 0 < number <= 1:
            raise OptionError(
                f"The precision of metric {name!r} must be above 0 and at most 1, as in "
                "recall@precision:0.8."
            )
        return _curve(name, partial(formulas.recall_at, precision=number))
    if not 0 < number < math.inf:
        raise OptionError(f"The beta of metric {name!r} must be a positive number, as in fbeta:2.")
    return Metric(name, "label", counts=partial(formulas.fbeta, beta=number))


def _of_costs(costs: Matrix | None) -> Metric:
    """Return the metric of the mean cost of the labels."""
    if costs is None:
        raise OptionError(
            f"The metric {EXPECTED_COST!r} needs the cost of each pair of true and predicted "
            "class; give cost_matrix=."
        )
    return Metric(
        EXPECTED_COST,
        "label",
        greater_is_better=False,
        worst=-max(map(max, costs)),
        rows=partial(formulas.expected_cost, costs=costs),
    )


def _of_function(function: Any, labels: NDArray[Any]) -> Metric:
    if not callable(function):
        raise OptionError(
            f"The metric must be a name or a callable. Got {function!r}. "
            f"Names: {', '.join(METRICS)}."
        )
    weighted = scorers.takes_weight(function)
    return Metric(
        str(getattr(function, "__name__", type(function).__name__)),
        "probability",
        worst=_UNBOUNDED_WORST,
        rows=partial(scorers.call_function, function=function, classes=labels, weighted=weighted),
        foreign=True,
        weighs=False,
    )


def _of_scorer_name(name: str, labels: NDArray[Any]) -> Metric:
    from sklearn.metrics import get_scorer, get_scorer_names

    if name not in get_scorer_names():
        patterns = ("fbeta:<beta>", "recall@precision:<precision>")
        allowed = (*METRICS, *ALIASES, EXPECTED_COST, *patterns)
        raise OptionError(
            f"{choices('metric', name, allowed)} Any scorer name of scikit-learn, a scorer of "
            "make_scorer and a function f(y_true, proba) are metrics too."
        )
    scorer = get_scorer(name)
    metric = _of_scorer(name, scorer, labels)
    if metric.kind == "label" and metric.weighs:
        return replace(metric, rows=partial(scorers.call_label_scorer, scorer=scorer, names=labels))
    return metric


def _numbered(labels: NDArray[Any], positive: int) -> NDArray[Any]:
    """Return numeric labels for a named scorer; of two classes, the positive one is 1."""
    codes: NDArray[Any] = np.arange(len(labels))
    if len(labels) == 2:
        return np.where(codes == positive, 1, 0)
    return labels if labels.dtype.kind in "iuf" else codes


def _of_scorer(name: str, scorer: Any, labels: NDArray[Any]) -> Metric:
    try:
        kind, weighs = scorers.probe_scorer(scorer, labels)
    except Exception as error:
        passed = ", ".join(repr(label) for label in labels.tolist())
        raise OptionError(
            f"Metric {name!r} does not work on {len(labels)} classes: {error} (It sees the labels "
            f"{passed}; a scorer of one of them names it, as make_scorer(f1_score, pos_label=...) "
            f"does.) Built-in metrics: {', '.join(METRICS)}."
        ) from error
    return Metric(
        name,
        kind,
        worst=_UNBOUNDED_WORST,
        rows=partial(scorers.call_scorer, scorer=scorer, names=labels, weighted=weighs),
        foreign=True,
        weighs=weighs,
    )
