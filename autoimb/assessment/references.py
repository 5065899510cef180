"""References: a plain model on the same folds, so that a score can be read."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.rows import Encoded
from autoimb.data.folds import FoldPlan
from autoimb.data.subsample import subsample
from autoimb.randomness import Purpose, stream

__all__ = ["logistic_reference"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_ROWS = 50_000


def logistic_reference(
    dataset: Dataset,
    plan: FoldPlan,
    encoders: Sequence[Encoder],
    *,
    random_state: int = 0,
) -> Floats:
    """Cross-validate a logistic regression on the folds of a study.

    Sees: each fold's training rows, at most 50,000 of them (then the rarer classes are kept whole
    as far as possible and the rows drawn of the others weigh more).

    Parameters
    ----------
    dataset : Dataset
        The study's rows.
    plan : FoldPlan
        Its folds.
    encoders : sequence of Encoder
        One a fold, fitted on the fold's training rows.
    random_state : int, optional
        Seed of the draw of rows.

    Returns
    -------
    float64 ndarray of shape (n_scored, C)
        Probabilities of the plan's scored rows, in their order.
    """
    total = np.zeros((len(dataset.y), dataset.n_classes))
    for number, (fold, encoder) in enumerate(zip(plan.folds, encoders)):
        generator = stream(Purpose.REFERENCE_ROWS, random_state, fold=number)
        rows, scale = subsample(dataset.y, fold.train, _MOST_ROWS, generator)
        known = encoder.transform_training(dataset.columns, fold.train, dataset.y, dataset.weight)
        train = _features(encoder, known.take(np.searchsorted(fold.train, rows)))
        held_out = _features(encoder, encoder.transform(dataset.columns, fold.score))
        target = (dataset.y[rows], dataset.weight[rows] * scale)
        total[fold.score] += _fit_predict(train, target, held_out, dataset.n_classes)
    scored = plan.scored
    return np.asarray(total[scored] / total[scored].sum(axis=1, keepdims=True))


def _features(encoder: Encoder, encoded: Encoded) -> Any:
    """Give a fold's network inputs (n, D) without PLE, embedded codes as sparse one-hots."""
    from scipy.sparse import csr_array, hstack

    x, codes = encoder.dense(encoded, ple=False)
    sizes = encoder.embedded_cardinalities
    if not sizes:
        return x
    column = (codes + np.cumsum([0, *sizes[:-1]])).ravel()
    ends = np.arange(0, len(column) + 1, len(sizes))
    ones = np.ones(len(column), dtype=np.float32)
    return hstack([csr_array(x), csr_array((ones, column, ends), (len(x), sum(sizes)))], "csr")


def _fit_predict(train: Any, target: tuple[Ints, Floats], held_out: Any, n_classes: int) -> Floats:
    """Probabilities (n, C); a class that the training rows lack gets 0."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    y, weight = target
    proba = np.zeros((held_out.shape[0], n_classes))
    if len(np.unique(y[weight > 0])) < 2 or train.shape[1] == 0:  # nothing to learn: the prior
        prior = np.bincount(y, weight, n_classes)
        proba += prior / prior.sum()
        return proba
    model = LogisticRegression(max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly is near enough to compare with
        model.fit(train, y, sample_weight=weight)
    proba[:, model.classes_] = model.predict_proba(held_out)
    return proba
