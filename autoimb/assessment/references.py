"""References: plain models on the same folds, so that a score can be read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.assessment.calibration import correct_prior, log_proba
from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.encoding.rows import Encoded
from autoimb.data.folds import FoldPlan
from autoimb.data.subsample import subsample
from autoimb.randomness import Purpose, seed_for, stream

__all__ = ["REFERENCES", "Reference", "Size", "cross_validate", "prior_reference"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_ROWS = 50_000


@dataclass(frozen=True)
class Size:
    """What the time of a reference is counted from.

    Attributes
    ----------
    rows, scored : int
        That a fold trains on, and that it scores.
    rarest : int
        Rows of the rarest class.
    classes, width : int
        Classes, and columns that are read.
    """

    rows: int
    scored: int
    rarest: int
    classes: int
    width: int

    @classmethod
    def of(cls, dataset: Dataset, plan: FoldPlan, encoders: Sequence[Encoder]) -> Size:
        """Take the largest fold's."""
        return cls(
            rows=min(max(len(fold.train) for fold in plan.folds), _MOST_ROWS),
            scored=max(len(fold.score) for fold in plan.folds),
            rarest=int(np.bincount(dataset.y, minlength=dataset.n_classes).min()),
            classes=dataset.n_classes,
            width=max(_width(encoder) for encoder in encoders),
        )


@dataclass(frozen=True)
class Reference:
    """One model.

    Attributes
    ----------
    name : str
    model : callable
        ``(steps, seed)`` -> an unfitted classifier of scikit-learn's kind.
    least, most : int
        Steps (iterations, trees) that it needs and that it gets where there is time.
    seconds : callable
        ``(size)`` -> seconds of a step on a fold, twice those of an idle core.
    balanced : bool
        Whether it sees each class as often, so that its probabilities are corrected by the class
        rates (Elkan 2001).
    """

    name: str
    model: Callable[[int, int], Any]
    least: int
    most: int
    seconds: Callable[[Size], float]
    balanced: bool = False

    def affordable(self, size: Size, n_folds: int, seconds: float) -> int:
        """Return how many steps end in so many seconds on all folds; 0 where too few do."""
        steps = int(min(seconds / (n_folds * self.seconds(size)), self.most))
        return steps if steps >= self.least else 0


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
        least=50,
        most=200,
        seconds=_seconds_of_logistic_regression,
    ),
    Reference(
        "balanced random forest",
        _balanced_forest,
        least=20,
        most=50,
        seconds=_seconds_of_balanced_forest,
        balanced=True,
    ),
)


def prior_reference(y: Ints, weight: Floats | None, n_classes: int) -> Floats:
    """Give every scored row (n,) the class rates of them all: what chance can do, (n, C)."""
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

    Sees: each fold's training rows, at most 50,000 of them (then the rarer classes are kept whole
    as far as possible and the rows drawn of the others weigh more).

    Parameters
    ----------
    reference : Reference
    dataset : Dataset
        The study's rows.
    plan : FoldPlan
        Its folds.
    encoders : sequence of Encoder
        One a fold, fitted on the fold's training rows.
    steps : int
        Iterations or trees.
    random_state : int, optional
        Seed of the draw of rows, and of the model.

    Returns
    -------
    float64 ndarray of shape (n_scored, C)
        Probabilities of the plan's scored rows, in their order.
    """
    total = np.zeros((len(dataset.y), dataset.n_classes))
    for number, (fold, encoder) in enumerate(zip(plan.folds, encoders)):
        if not len(fold.score):
            continue
        generator = stream(Purpose.REFERENCE_ROWS, random_state, fold=number)
        rows, scale = subsample(dataset.y, fold.train, _MOST_ROWS, generator)
        known = encoder.transform_training(
            dataset.columns,
            fold.train,
            dataset.y,
            dataset.weight,
            dataset.cluster,
            dataset.time,
        )
        train = _features(encoder, known.take(np.searchsorted(fold.train, rows)))
        held_out = _features(encoder, encoder.transform(dataset.columns, fold.score))
        target = (dataset.y[rows], dataset.weight[rows] * scale)
        seed = seed_for(Purpose.REFERENCE_ROWS, random_state, fold=number, index=1)
        model = reference.model(steps, seed)
        proba = _fit_predict(model, train, target, held_out, dataset.n_classes)
        if reference.balanced:
            rates = np.bincount(target[0], target[1], dataset.n_classes)
            proba = np.exp(correct_prior(log_proba(proba), -log_proba(rates / rates.sum())))
        total[fold.score] += proba
    scored = plan.scored
    return np.asarray(total[scored] / total[scored].sum(axis=1, keepdims=True))


def _width(encoder: Encoder) -> int:
    return encoder.width(ple=False) + sum(encoder.embedded_cardinalities)


def _features(encoder: Encoder, encoded: Encoded) -> Any:
    """Give a fold's network inputs (n, D) without PLE, embedded codes as sparse one-hots."""
    from scipy.sparse import csr_array, hstack

    x, codes = encoder.dense(encoded, ple=False)
    sizes = encoder.embedded_cardinalities
    if not sizes:
        return x
    column = (codes + np.cumsum([0, *sizes[:-1]])).ravel().astype(np.int32)
    ends = np.arange(0, len(column) + 1, len(sizes), dtype=np.int32)  # trees read 32 bits only
    ones = np.ones(len(column), dtype=np.float32)
    return hstack([csr_array(x), csr_array((ones, column, ends), (len(x), sum(sizes)))], "csr")


def _fit_predict(
    model: Any, train: Any, target: tuple[Ints, Floats], held_out: Any, n_classes: int
) -> Floats:
    """Probabilities (n, C); a class that the training rows lack gets 0."""
    from sklearn.exceptions import ConvergenceWarning

    y, weight = target
    proba = np.zeros((held_out.shape[0], n_classes))
    if len(np.unique(y[weight > 0])) < 2 or train.shape[1] == 0:  # nothing to learn: the prior
        prior = np.bincount(y, weight, n_classes)
        proba += prior / prior.sum()
        return proba
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly is near enough to compare with
        model.fit(train, y, sample_weight=weight)
    proba[:, model.classes_] = model.predict_proba(held_out)
    return proba
