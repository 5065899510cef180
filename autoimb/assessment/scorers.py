"""Calls of scikit-learn scorers and users' metric functions on :class:`Rows`."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.arrays import Floats
from autoimb.assessment.formulas import Kind, Rows, confusion_counts

__all__ = ["call_function", "call_label_scorer", "call_scorer", "probe_scorer", "takes_weight"]

Labels = NDArray[Any]


class _Frozen:
    """Classifier with fixed predictions, so that a scorer can evaluate them."""

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

    def predict(self, _: object) -> Labels:
        """Return the labels."""
        self.called.add("predict")
        return self._labels

    def predict_proba(self, _: object) -> Floats:
        """Return the probabilities."""
        self.called.add("predict_proba")
        return self._proba

    def decision_function(self, _: object) -> Floats:
        """Return the log-odds of two classes, or the log-probabilities of more."""
        self.called.add("decision_function")
        logs: Floats = np.log(np.maximum(self._proba, 1e-300))
        return logs[:, 1] - logs[:, 0] if logs.shape[1] == 2 else logs


def call_scorer(rows: Rows, *, scorer: Any, names: Labels, weighted: bool) -> float:
    """Return the value of a scorer; NaN where it is undefined, for example without a class.

    Parameters
    ----------
    rows : Rows
    scorer : object
        A scorer of scikit-learn.
    names : ndarray of shape (C,)
        The labels to pass to the scorer, by class code.
    weighted : bool
        Whether to pass the row weights.
    """
    try:
        return _call(rows, scorer, names, weighted=weighted)[0]
    except ValueError:
        return math.nan


def call_label_scorer(rows: Rows, *, scorer: Any, names: Labels) -> float:
    """Return the value of a scorer that depends only on the weights of pairs of labels.

    The scorer gets a row for each pair of a true and a predicted label, which is faster than a row
    for each row. `scorer` and `names` are those of `call_scorer`.
    """
    assert rows.labels is not None
    n_classes = len(names)
    confusion = confusion_counts(rows.y, rows.labels, n_classes=n_classes, weight=rows.weight)
    pairs = np.flatnonzero(confusion)
    y, labels = np.divmod(pairs, n_classes)
    cells = Rows(y, np.eye(n_classes)[labels], labels, confusion.ravel()[pairs], rows.classes)
    return call_scorer(cells, scorer=scorer, names=names, weighted=True)


def _call(rows: Rows, scorer: Any, names: Labels, *, weighted: bool) -> tuple[float, set[str]]:
    """Return the value of a scorer without its warnings, and the methods that it called."""
    labels = rows.proba.argmax(axis=1) if rows.labels is None else rows.labels
    order = np.argsort(names, kind="stable")  # scikit-learn sorts classes_
    model = _Frozen(names[order], rows.proba[:, order], names[labels])
    extra = {"sample_weight": rows.weight} if weighted and rows.weight is not None else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # undefined values are returned as numbers
        value = float(scorer(model, np.zeros((len(rows.y), 1)), names[rows.y], **extra))
    return value, model.called


def probe_scorer(scorer: Any, names: Labels) -> tuple[Kind, bool]:
    """Determine on a small example whether a scorer uses labels only, and whether it takes weights.

    Parameters
    ----------
    scorer, names
        See `call_scorer`.

    Returns
    -------
    tuple of str and bool
        Kind, ``"label"`` or ``"probability"``, and whether row weights are supported.

    Raises
    ------
    Exception
        Any exception of a scorer that does not support these classes.
    """
    n_classes = len(names)
    y = np.tile(np.arange(n_classes), 4)
    proba = np.full((len(y), n_classes), 0.5 / n_classes)
    proba[np.arange(len(y)), np.sort(y)] += 0.5  # some right, some wrong
    rows, weighted = Rows(y, proba, None, np.ones(len(y)), ()), True
    try:
        _, called = _call(rows, scorer, names, weighted=True)
    except (TypeError, ValueError):  # sample_weight is not supported, or not for these classes
        weighted = False
        _, called = _call(rows, scorer, names, weighted=False)
    return ("label" if called == {"predict"} else "probability"), weighted


def call_function(
    rows: Rows, *, function: Callable[..., Any], classes: Labels, weighted: bool
) -> float:
    """Return the value of a user's ``f(y_true, proba)``, which gets the labels of `classes`."""
    extra = {"sample_weight": rows.weight} if weighted else {}
    return float(function(classes[rows.y], rows.proba, **extra))


def takes_weight(function: Callable[..., Any]) -> bool:
    """Return whether a user's function has a parameter ``sample_weight``."""
    try:
        return "sample_weight" in inspect.signature(function).parameters
    except ValueError:  # some built-in functions have no signature
        return False
