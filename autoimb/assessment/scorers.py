"""Metrics of others: scikit-learn scorers and users' functions, asked with what we predicted."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoimb.assessment.formulas import Floats, Ints, Kind, Rows
from autoimb.errors import OptionError

__all__ = ["by_function", "by_scorer", "takes_weight"]


class _Frozen:
    """A classifier that answers what it was given, so that a scorer can judge it."""

    _estimator_type = "classifier"

    def __init__(self, proba: Floats, labels: Ints) -> None:
        self.classes_ = np.arange(proba.shape[1])
        self.asked: set[str] = set()
        self._proba = proba
        self._labels = labels

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
        )

    def fit(self, X: object, y: object) -> _Frozen:
        """Do nothing; scorers only judge what has a ``fit``."""
        del X, y
        return self

    def predict(self, X: object) -> Ints:
        """Return the labels."""
        del X
        self.asked.add("predict")
        return self._labels

    def predict_proba(self, X: object) -> Floats:
        """Return the probabilities."""
        del X
        self.asked.add("predict_proba")
        return self._proba

    def decision_function(self, X: object) -> Floats:
        """Return log-odds of two classes, log-probabilities of more."""
        del X
        self.asked.add("decision_function")
        logs: Floats = np.log(np.maximum(self._proba, 1e-300))
        return logs[:, 1] - logs[:, 0] if logs.shape[1] == 2 else logs


@dataclass(frozen=True)
class _ByScorer:
    """Rows function of a scikit-learn scorer."""

    scorer: Any
    positive: int
    weighted: bool

    def __call__(self, rows: Rows) -> float:
        labels = rows.proba.argmax(axis=1) if rows.labels is None else rows.labels
        model = self.model(rows.proba, labels)
        try:
            return self.judge(model, self.codes(rows.y, rows.proba.shape[1]), rows.weight)
        except ValueError:  # these rows define no value: a class has none, say
            return math.nan

    def codes(self, codes: Ints, n_classes: int) -> Ints:
        """Of two classes the positive one becomes 1."""
        return codes if n_classes > 2 or self.positive == 1 else 1 - codes

    def model(self, proba: Floats, labels: Ints) -> _Frozen:
        """Make the classifier that answers with these probabilities and labels."""
        n_classes = proba.shape[1]
        order = self.codes(np.arange(n_classes), n_classes)
        return _Frozen(proba[:, order], self.codes(labels, n_classes))

    def judge(self, model: _Frozen, y: Ints, weight: Floats | None) -> float:
        """Let the scorer judge; what it only warns of is left to the value."""
        extra = {"sample_weight": weight} if self.weighted and weight is not None else {}
        with warnings.catch_warnings():  # undefined values come as numbers, once a threshold
            warnings.simplefilter("ignore")
            return float(self.scorer(model, np.zeros((len(y), 1)), y, **extra))


def by_scorer(scorer: Any, *, n_classes: int, positive: int) -> tuple[Kind, _ByScorer]:
    """Learn from a small example what a scorer asks for and whether it takes weights.

    Parameters
    ----------
    scorer : object
        A scorer of scikit-learn.
    n_classes, positive : int
        Number of classes; code of the positive class of two.

    Returns
    -------
    tuple of str and callable
        ``"label"`` or ``"probability"``; the function of :class:`Rows`, in the scorer's sign.

    Raises
    ------
    Exception
        Whatever the scorer raises on classes that it can't judge.
    """
    y = np.tile(np.arange(n_classes), 4)
    proba = np.full((len(y), n_classes), 0.5 / n_classes)
    proba[np.arange(len(y)), np.sort(y)] += 0.5  # some right, some wrong
    function = _ByScorer(scorer, positive, weighted=True)
    model = function.model(proba, proba.argmax(axis=1))
    codes = function.codes(y, n_classes)
    try:
        function.judge(model, codes, np.ones(len(y)))
    except TypeError:  # its function has no sample_weight
        function = _ByScorer(scorer, positive, weighted=False)
        function.judge(model, codes, None)
    return ("label" if model.asked == {"predict"} else "probability"), function


def takes_weight(function: object) -> bool:
    """Whether a function of :func:`by_scorer` gives row weights to its scorer."""
    return isinstance(function, _ByScorer) and function.weighted


@dataclass(frozen=True)
class _ByFunction:
    """Rows function of a user's ``f(y_true, proba)``."""

    function: Callable[..., Any]
    weighted: bool

    def __call__(self, rows: Rows) -> float:
        extra = {"sample_weight": rows.weight} if self.weighted else {}
        return float(self.function(rows.y, rows.proba, **extra))


def by_function(
    function: Callable[..., Any], *, names: Iterable[str]
) -> tuple[str, Callable[[Rows], float]]:
    """Wrap a user's ``f(y_true, proba)``; it gets ``sample_weight`` if it has such a parameter.

    Parameters
    ----------
    function : callable
        Higher is better.
    names : iterable of str
        Built-in names, for the error.

    Returns
    -------
    tuple of str and callable
        Its name and the function of :class:`Rows`.

    Raises
    ------
    OptionError
        It can't be called.
    """
    if not callable(function):
        raise OptionError(
            f"The metric must be a name or a callable. Got {function!r}. Names: {', '.join(names)}."
        )
    try:
        weighted = "sample_weight" in inspect.signature(function).parameters
    except ValueError:  # some builtins have no signature
        weighted = False
    name = str(getattr(function, "__name__", type(function).__name__))
    return name, _ByFunction(function, weighted)
