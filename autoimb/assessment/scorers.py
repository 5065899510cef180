"""Adapters for scikit-learn scorers and users' metric functions."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.formulas import Floats, Ints, Kind, Rows
from autoimb.errors import OptionError

__all__ = ["by_function", "by_scorer", "is_foreign", "takes_weight"]

Labels = NDArray[Any]


class _Frozen:
    """Classifier with fixed predictions, so that a scorer can evaluate them."""

    _estimator_type = "classifier"

    def __init__(self, classes: Labels, proba: Floats, labels: Labels) -> None:
        self.classes_ = classes
        self.called: set[str] = set()
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
        """Do nothing; scorers require a ``fit`` method."""
        del X, y
        return self

    def predict(self, X: object) -> Labels:
        """Return the labels."""
        del X
        self.called.add("predict")
        return self._labels

    def predict_proba(self, X: object) -> Floats:
        """Return the probabilities."""
        del X
        self.called.add("predict_proba")
        return self._proba

    def decision_function(self, X: object) -> Floats:
        """Return the log-odds of two classes, or the log-probabilities of more."""
        del X
        self.called.add("decision_function")
        logs: Floats = np.log(np.maximum(self._proba, 1e-300))
        return logs[:, 1] - logs[:, 0] if logs.shape[1] == 2 else logs


@dataclass(frozen=True, eq=False)
class _ByScorer:
    """Function of :class:`Rows` that calls a scorer; `names` are the labels to pass, by code."""

    scorer: Any
    names: Labels
    weighted: bool

    def __call__(self, rows: Rows) -> float:
        labels = rows.proba.argmax(axis=1) if rows.labels is None else rows.labels
        model = self.model(rows.proba, labels)
        try:
            return self.judge(model, self.names[rows.y], rows.weight)
        except ValueError:  # the value is undefined on these rows, for example without a class
            return math.nan

    def model(self, proba: Floats, labels: Ints) -> _Frozen:
        """Return a classifier that predicts these probabilities and labels."""
        order = np.argsort(self.names, kind="stable")  # scikit-learn sorts classes_
        return _Frozen(self.names[order], proba[:, order], self.names[labels])

    def judge(self, model: _Frozen, y: Labels, weight: Floats | None) -> float:
        """Return the scorer's value without its warnings."""
        extra = {"sample_weight": weight} if self.weighted and weight is not None else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # undefined values are returned as numbers
            return float(self.scorer(model, np.zeros((len(y), 1)), y, **extra))


def by_scorer(scorer: Any, names: Labels) -> tuple[Kind, _ByScorer]:
    """Determine the inputs of a scorer on a small example, and whether it takes weights.

    Parameters
    ----------
    scorer : object
        A scorer of scikit-learn.
    names : ndarray of shape (C,)
        The labels to pass to the scorer, by class code.

    Returns
    -------
    tuple of str and callable
        Kind, ``"label"`` or ``"probability"``, and the function of :class:`Rows`, in the scorer's
        sign.

    Raises
    ------
    Exception
        Any exception of a scorer that does not support these classes.
    """
    n_classes = len(names)
    y = np.tile(np.arange(n_classes), 4)
    proba = np.full((len(y), n_classes), 0.5 / n_classes)
    proba[np.arange(len(y)), np.sort(y)] += 0.5  # some right, some wrong
    function = _ByScorer(scorer, names, weighted=True)
    model = function.model(proba, proba.argmax(axis=1))
    try:
        function.judge(model, names[y], np.ones(len(y)))
    except (TypeError, ValueError):  # sample_weight is not supported, or not for these classes
        function = _ByScorer(scorer, names, weighted=False)
        function.judge(model, names[y], None)
    return ("label" if model.called == {"predict"} else "probability"), function


def takes_weight(function: object) -> bool:
    """Return whether a function of :func:`by_scorer` passes row weights to its scorer."""
    return isinstance(function, _ByScorer) and function.weighted


@dataclass(frozen=True, eq=False)
class _ByFunction:
    """Function of :class:`Rows` that calls a user's ``f(y_true, proba)`` with the labels."""

    function: Callable[..., Any]
    classes: Labels
    weighted: bool

    def __call__(self, rows: Rows) -> float:
        extra = {"sample_weight": rows.weight} if self.weighted else {}
        return float(self.function(self.classes[rows.y], rows.proba, **extra))


def by_function(
    function: Callable[..., Any], classes: Labels, *, names: Iterable[str]
) -> tuple[str, Callable[[Rows], float]]:
    """Wrap a user's ``f(y_true, proba)``; a parameter ``sample_weight`` gets the row weights.

    Parameters
    ----------
    function : callable
        Function whose value is the higher the better.
    classes : ndarray of shape (C,)
        The labels, by class code: the values of ``y_true``, and the order of the columns.
    names : iterable of str
        Names of the built-in metrics, for the error message.

    Returns
    -------
    tuple of str and callable
        Name of the function, and the function of :class:`Rows`.

    Raises
    ------
    OptionError
        If `function` is not callable.
    """
    if not callable(function):
        raise OptionError(
            f"The metric must be a name or a callable. Got {function!r}. Names: {', '.join(names)}."
        )
    try:
        weighted = "sample_weight" in inspect.signature(function).parameters
    except ValueError:  # some built-in functions have no signature
        weighted = False
    name = str(getattr(function, "__name__", type(function).__name__))
    return name, _ByFunction(function, classes, weighted)


def is_foreign(function: object) -> bool:
    """Return whether a function wraps a scorer or a user's function, called once a sample."""
    return isinstance(function, _ByScorer | _ByFunction)
