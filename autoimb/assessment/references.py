"""Reference models on the folds of a study, with which scores are compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoimb.arrays import Floats, Ints
from autoimb.assessment.calibration import correct_prior, log_proba
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.rows import Encoded
from autoimb.data.folds import FoldPlan
from autoimb.data.subsample import subsample
from autoimb.randomness import Purpose, seed_for, stream

__all__ = ["REFERENCES", "Reference", "Size", "cross_validate", "prior_reference"]

_MAX_ROWS = 50_000  # on which a reference is trained


@dataclass(frozen=True)
class Size:
    """Size of a study, from which the time of a reference is estimated.

    Attributes
    ----------
    rows, scored : int
        Training rows and scored rows of a fold.
    rarest : int
        Rows of the rarest class.
    classes, width : int
        Number of classes and of input columns.
    """

    rows: int
    scored: int
    rarest: int
    classes: int
    width: int

    @classmethod
    def of(cls, dataset: Dataset, plan: FoldPlan, encoders: Sequence[Encoder]) -> Size:
        """Return the size of the largest fold."""
        return cls(
            rows=min(max(len(fold.train) for fold in plan.folds), _MAX_ROWS),
            scored=max(len(fold.score) for fold in plan.folds),
            rarest=int(np.bincount(dataset.y, minlength=dataset.n_classes).min()),
            classes=dataset.n_classes,
            width=max(
                encoder.width(ple=False) + sum(encoder.embedded_cardinalities)
                for encoder in encoders
            ),
        )


@dataclass(frozen=True)
class Reference:
    """Reference model.

    Attributes
    ----------
    name : str
    model : callable
        ``(steps, seed)`` -> an unfitted classifier with the interface of scikit-learn.
    min_steps, max_steps : int
        Minimum and maximum of the steps (iterations or trees).
    seconds : callable
        ``(size)`` -> seconds of a step on a fold, twice those on an idle core.
    balanced : bool
        Whether it trains on balanced classes, so that its probabilities are corrected by the class
        rates (Elkan 2001).
    """

    name: str
    model: Callable[[int, int], Any]
    min_steps: int
    max_steps: int
    seconds: Callable[[Size], float]
    balanced: bool = False

    def affordable(self, size: Size, n_folds: int, seconds: float) -> int:
        """Return the steps that all folds have time for in `seconds`; 0 if they are too few."""
        steps = int(min(seconds / (n_folds * self.seconds(size)), self.max_steps))
        return steps if steps >= self.min_steps else 0


def _logistic_regression(steps: int, _: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=steps)


def _balanced_forest(steps: int, seed: int) -> Any:
    from imblearn.ensemble import BalancedRandomForestClassifier

    return BalancedRandomForestClassifier(steps, random_state=seed)


def _seconds_of_logistic_regression(size: Size) -> float:
    outputs = 1 if size.classes == 2 else size.classes
    return 4.0 * size.rows * outputs * size.width / 4e9


def _seconds_of_balanced_forest(size: Size) -> float:
    drawn = max(size.rarest * size.classes, 2)
    depth = np.log2(drawn)
    grown = 0.004 + 2e-7 * size.rows + 8e-8 * drawn * depth * np.sqrt(size.width)
    return float(grown + 5e-9 * size.scored * depth)


REFERENCES = (  # the cheapest first
    Reference(
        "logistic regression",
        _logistic_regression,
        min_steps=50,
        max_steps=200,
        seconds=_seconds_of_logistic_regression,
    ),
    Reference(
        "balanced random forest",
        _balanced_forest,
        min_steps=20,
        max_steps=50,
        seconds=_seconds_of_balanced_forest,
        balanced=True,
    ),
)


def prior_reference(y: Ints, weight: Floats | None, n_classes: int) -> Floats:
    """Return the class rates of the scored rows as the prediction of each of them, (n, C)."""
    rates = np.bincount(y, weight, n_classes)
    return np.tile(rates / rates.sum(), (len(y), 1))


def cross_validate(
    reference: Reference,
    dataset: Dataset,
    plan: FoldPlan,
    encoders: Sequence[Encoder],
    *,
    steps: int,
    random_state: int = 0,
) -> Floats:
    """Cross-validate a reference on the folds of a study.

    Sees: each fold's training rows, at most 50,000 of them. In a sample the rarer classes are
    complete as far as possible, and the rows of the other classes have larger weights.

    Parameters
    ----------
    reference : Reference
    dataset : Dataset
        Rows of the study.
    plan : FoldPlan
        Folds of the study.
    encoders : sequence of Encoder
        Encoder of each fold, fitted on the fold's training rows.
    steps : int
        Number of iterations or trees.
    random_state : int, optional
        Seed of the row sample and of the model.

    Returns
    -------
    float64 ndarray of shape (n_scored, C)
        Probabilities of the plan's scored rows, in their order.
    """
    total = np.zeros((len(dataset.y), dataset.n_classes))
    for number, (fold, encoder) in enumerate(zip(plan.folds, encoders)):
        if not len(fold.score):
            continue
        # The encoder is fitted on all training rows of the fold, the model on a sample of them.
        generator = stream(Purpose.REFERENCE_ROWS, random_state, fold=number)
        rows, scale = subsample(dataset.y, fold.train, _MAX_ROWS, generator)
        encoded = encoder.transform_training(
            dataset.columns,
            fold.train,
            dataset.y,
            dataset.weight,
            dataset.cluster,
            dataset.time,
        )
        train = _features(encoder, encoded.take(np.searchsorted(fold.train, rows)))
        held_out = _features(encoder, encoder.transform(dataset.columns, fold.score))
        target = (dataset.y[rows], dataset.weight[rows] * scale)
        seed = seed_for(Purpose.REFERENCE_ROWS, random_state, fold=number, index=1)
        model = reference.model(steps, seed)
        proba = _fit_predict(model, train, target, held_out, dataset.n_classes)
        if reference.balanced:
            # The model's prior is uniform; its probabilities are multiplied by the class rates.
            rates = np.bincount(target[0], target[1], dataset.n_classes)
            proba = np.exp(correct_prior(log_proba(proba), -log_proba(rates / rates.sum())))
        total[fold.score] += proba
    scored = plan.scored
    return np.asarray(total[scored] / total[scored].sum(axis=1, keepdims=True))


def _features(encoder: Encoder, encoded: Encoded) -> Any:
    """Return network inputs (n, D) without PLE; embedded codes become sparse indicators."""
    from scipy.sparse import csr_array, hstack
    from sklearn.preprocessing import OneHotEncoder

    x, codes = encoder.dense(encoded, ple=False)
    if not encoder.embedded_cardinalities:
        return x
    levels = [np.arange(size) for size in encoder.embedded_cardinalities]
    indicators = OneHotEncoder(categories=levels, dtype=np.float32).fit_transform(codes)
    return hstack([csr_array(x), indicators], "csr")


def _fit_predict(
    model: Any, train: Any, target: tuple[Ints, Floats], held_out: Any, n_classes: int
) -> Floats:
    """Return probabilities (n, C); classes without training rows get 0."""
    from sklearn.exceptions import ConvergenceWarning

    y, weight = target
    proba = np.zeros((held_out.shape[0], n_classes))
    if len(np.unique(y[weight > 0])) < 2 or train.shape[1] == 0:  # the prior is the best prediction
        prior = np.bincount(y, weight, n_classes)
        proba += prior / prior.sum()
        return proba
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a reference need not be exact
        model.fit(train, y, sample_weight=weight)
    proba[:, model.classes_] = model.predict_proba(held_out)
    return proba
