"""Tree models on the folds of a study: boosted trees and forests of scikit-learn.

Law 1: the number of boosted trees that fold k keeps is chosen by the rows of *other* folds,
or by its choosing rows, which are never scored, as for the checkpoints of networks. So no training
row is lost to stopping. The number of trees of a forest is counted beforehand. A deep forest, whose
size is known only when it has grown, is then cut to the trees that can be deployed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from autoimb.assessment.stopping import Stopping
from autoimb.budget import Deadline
from autoimb.data.dataset import Dataset
from autoimb.data.folds import Fold, choosing_folds
from autoimb.errors import DeadlineExceeded
from autoimb.foreign import boosted_trees
from autoimb.partners.rows import Binned, Exact, FoldRows
from autoimb.partners.trees import MISSING, FittedTrees, Nodes, Splits
from autoimb.randomness import Key, Purpose
from autoimb.space.partner import Bagged, Deep, Trees

__all__ = ["FoldModels", "Growth", "fit_trees"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]

_FIRST, _FACTOR = 12, 1.25  # iterations before the first checkpoint, and their growth to the next
_PATIENCE = 4  # checkpoints without an improvement
_TOTAL_RATE, _MAX_RATE = 32.0, 0.3  # learning rate times iterations to reach if time is short


@dataclass(frozen=True)
class Growth:
    """Limits of the growth of trees.

    Attributes
    ----------
    iterations : int
        Maximum number of boosting iterations, or of the trees of a forest.
    measure : callable
        ``(y, proba, weight) -> float``, which stops boosting; higher is better; NaN if the rows
        define no value.
    deadline : Deadline
    deployable : callable or None
        ``(fold, trees) -> int``: how many trees of a forest on a fold can be deployed; None for all
        of them.
    """

    iterations: int
    measure: Measure
    deadline: Deadline
    deployable: Callable[[int, FittedTrees], int] | None = None


@dataclass(frozen=True, eq=False)
class FoldModels:
    """Fitted tree models of all folds.

    Attributes
    ----------
    folds : tuple of FittedTrees
    posteriors : tuple of float64 ndarrays (n_scored_in_fold, C)
        Out-of-fold probabilities.
    iterations : tuple of int
        Number of iterations that each fold keeps.
    curve : tuple of float
        The measure at each checkpoint, the mean over the folds.
    planned : int
        Number of planned checkpoints.
    cut : bool
        Whether the deadline ended the growth.
    """

    folds: tuple[FittedTrees, ...]
    posteriors: tuple[Floats, ...]
    iterations: tuple[int, ...]
    curve: tuple[float, ...] = ()
    planned: int = 0
    cut: bool = False


def fit_trees(
    dataset: Dataset,
    folds: Sequence[Fold],
    option: Trees | Bagged | Deep,
    growth: Growth,
    *,
    seed: int,
    class_costs: tuple[float, ...] | None = None,
) -> FoldModels:
    """Fit a tree model on all folds: boosted trees side by side, forests one by one.

    Parameters
    ----------
    dataset : Dataset
    folds : sequence of Fold
        Sees: each fold's training rows; rows that choose or are scored affect only the number of
        boosted trees of other folds.
    option : Trees, Bagged or Deep
    growth : Growth
    seed : int
        The seed of the study.
    class_costs : tuple of C floats, or None
        The user's costs of the classes: they weigh the rows, and the probabilities are corrected.

    Returns
    -------
    FoldModels

    Raises
    ------
    DeadlineExceeded
        If time is up before the first checkpoint of boosted trees, or the last fold of a forest.
    """
    keys = (Key(seed, fold=number) for number in range(len(folds)))
    seeds = [int(key.stream(Purpose.TREES).integers(2**31)) for key in keys]
    if not isinstance(option, Trees):
        encode: Any = Binned
        if isinstance(option, Deep):
            encode = partial(Exact, indicators=option.indicators)
        forest_rows = (FoldRows(dataset, fold, class_costs, encode) for fold in folds)
        return _fit_forests(forest_rows, option, growth, seeds)
    rate = float(np.clip(_TOTAL_RATE / growth.iterations, option.learning_rate, _MAX_RATE))
    option = replace(option, learning_rate=rate)
    rows = [FoldRows(dataset, fold, class_costs, Binned) for fold in folds]
    models = [_BoostedTrees(of_fold, option, number) for of_fold, number in zip(rows, seeds)]
    return _grow(models, growth, choosing_folds(folds))


# --- forests -------------------------------------------------------------------------------------


def _fit_forests(
    rows: Iterator[FoldRows[Any]], option: Bagged | Deep, growth: Growth, seeds: Sequence[int]
) -> FoldModels:
    """Fit a forest on each fold; the deadline is checked before each of them."""
    folds, posteriors = [], []
    for number, seed in enumerate(seeds):
        growth.deadline.check()
        of_fold = next(rows)
        model = _forest(of_fold, option, growth.iterations, seed)
        if growth.deployable is not None and model.n_trees > 0:
            model = model.first(growth.deployable(number, model))
        folds.append(model)
        proba = of_fold.posterior(model, model.scorer()(of_fold.rows))
        posteriors.append(proba[of_fold.n_choosing :])
    return FoldModels(tuple(folds), tuple(posteriors), tuple(model.n_trees for model in folds))


def _forest(rows: FoldRows[Any], option: Bagged | Deep, n_trees: int, seed: int) -> FittedTrees:
    """Fit a forest, whose leaves hold the shares of all classes but the first."""
    trees = []
    if len(rows.classes) > 1:
        if isinstance(option, Deep):
            trees.append(_stump(rows))
        model = _estimator(option, n_trees, seed)
        model.fit(rows.inputs.x, rows.y, sample_weight=rows.weight)
        trees += [_bagged(rows, tree.tree_) for tree in model.estimators_]
    baseline = np.zeros(len(rows.log_prior))
    baseline[rows.classes[0]] = 1.0
    return rows.fitted(trees, baseline, bagged=True)


def _estimator(option: Bagged | Deep, n_trees: int, seed: int) -> Any:
    """Return an unfitted forest of scikit-learn."""
    from sklearn.ensemble import (  # not needed for prediction
        ExtraTreesClassifier,
        RandomForestClassifier,
    )

    if isinstance(option, Bagged):
        features = "sqrt" if option.features is None else option.features
        return RandomForestClassifier(
            n_trees, max_leaf_nodes=option.leaves, max_features=features, random_state=seed
        )
    forest = ExtraTreesClassifier if option.extra else RandomForestClassifier
    return forest(n_trees, min_samples_leaf=option.min_leaf_rows, random_state=seed)


def _stump(rows: FoldRows[Exact]) -> Nodes:
    """Return a tree without a split, whose leaf has the shares of all training rows.

    Without a limit of leaves most shares are 0 or 1. A forest would give some rare rows the
    probability 0, and such a row an unbounded loss.
    """
    mass = np.bincount(rows.y, rows.weight)[rows.classes]
    share = (mass / mass.sum())[None, 1:]
    return Nodes(
        column=np.full(1, -1, dtype=np.int16),
        threshold=np.empty(0, dtype=np.float32),
        left=np.empty(0, dtype=np.uint8),
        answer=share.astype(rows.inputs.share),
        output=rows.classes[None, 1:],
    )


def _bagged(rows: FoldRows[Any], tree: Any) -> Nodes:
    """Read a tree of a forest."""
    proba = tree.value[:, 0, :]
    shares = (proba / proba.sum(axis=1, keepdims=True))[:, 1:]
    children = np.stack([tree.children_left, tree.children_right], axis=1)
    inputs = rows.inputs
    return Nodes.of_tree(
        children, partial(inputs.splits, tree), shares.astype(inputs.share), rows.classes[1:]
    )


# --- boosted trees -------------------------------------------------------------------------------


def _grow(
    models: Sequence[_BoostedTrees], growth: Growth, choosers: Sequence[Sequence[int]]
) -> FoldModels:
    """Grow the boosted trees of all folds side by side, from checkpoint to checkpoint."""
    checkpoints, cut = _checkpoints(growth.iterations), False
    stopping = Stopping.initial(len(models))
    try:
        for iterations in checkpoints:
            for model in models:
                growth.deadline.check()
                model.grow(iterations)
            growth.deadline.check()
            values = [model.value(growth.measure) for model in models]
            stopping = stopping.after(values, choosers=choosers, patience=_PATIENCE)
            for fold in stopping.newest:
                models[fold].mark_best()
            if stopping.ended:
                break
    except DeadlineExceeded:
        if not stopping.values:
            raise
        cut = True
    return FoldModels(
        folds=tuple(model.fitted() for model in models),
        posteriors=tuple(model.posterior() for model in models),
        iterations=tuple(model.iterations for model in models),
        curve=stopping.curve,
        planned=len(checkpoints),
        cut=cut,
    )


def _checkpoints(iterations: int) -> list[int]:
    """Return the numbers of iterations after which the trees are measured."""
    numbers = [min(_FIRST, iterations)]
    while numbers[-1] < iterations:
        later = max(int(numbers[-1] * _FACTOR), numbers[-1] + _FIRST)
        numbers.append(min(later, iterations))
    return numbers


class _BoostedTrees:
    """Growing boosted trees of one fold."""

    def __init__(self, rows: FoldRows[Binned], option: Trees, seed: int) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier  # not needed for prediction

        self.rows = rows
        self.model = HistGradientBoostingClassifier(
            learning_rate=option.learning_rate,
            max_leaf_nodes=option.leaves,
            min_samples_leaf=option.min_leaf_rows,
            l2_regularization=option.l2,
            max_features=option.features,
            categorical_features=list(range(rows.reader.codes)) or None,
            early_stopping=False,
            warm_start=True,
            random_state=seed,
        )
        self._trees: list[Nodes] = []
        self._start(np.zeros(len(rows.outputs)))
        self.mark_best()

    def _start(self, baseline: Floats) -> None:
        """Set the scores of all rows to those before the first tree, given for the outputs."""
        self._baseline = np.full(len(self.rows.log_prior), -np.inf)
        self._baseline[self.rows.classes] = 0.0
        self._baseline[self.rows.outputs] = baseline
        self._scores = np.tile(self._baseline, (len(self.rows.rows), 1))

    def grow(self, iterations: int) -> None:
        """Grow trees up to a number of iterations, and add their answers to the scores."""
        rows, outputs = self.rows, self.rows.outputs
        if not len(outputs):
            return
        self.model.set_params(max_iter=iterations)
        with threadpool_limits(1):  # for OpenMP, which only fitting loads
            self.model.fit(rows.inputs.x, rows.y, sample_weight=rows.weight)
        grown, baseline = boosted_trees(self.model, len(self._trees) // len(outputs))
        if not self._trees:
            self._start(baseline)
        trees = [
            _boosted(rows.inputs, *tree, output=outputs[number % len(outputs), None])
            for number, tree in enumerate(grown)
        ]
        self._trees += trees
        self._scores = self._scores + rows.fitted(trees, np.zeros(len(self._baseline))).scorer()(
            rows.rows
        )

    def mark_best(self) -> None:
        """Mark the present number of trees as the best so far."""
        self._n_best, self._best_scores = len(self._trees), self._scores

    @property
    def iterations(self) -> int:
        """Best number of iterations so far."""
        return self._n_best // max(len(self.rows.outputs), 1)

    def value(self, measure: Measure) -> float:
        """Measure the fold on its choosing rows if it has any, else on all of its rows."""
        part, (y, weight) = slice(self.rows.n_choosing or None), self.rows.truth
        if not len(y):
            return math.nan
        proba = self.rows.posterior(self.fitted(0), self._scores)
        return measure(y[part], proba[part], weight[part])

    def posterior(self) -> Floats:
        """Predict the scored rows by the best number of trees, (n, C)."""
        return self.rows.posterior(self.fitted(0), self._best_scores)[self.rows.n_choosing :]

    def fitted(self, n_trees: int | None = None) -> FittedTrees:
        """Return the first trees: the best number of them if not given."""
        first = self._trees[: self._n_best if n_trees is None else n_trees]
        return self.rows.fitted(first, self._baseline)


def _boosted(inputs: Binned, nodes: NDArray[Any], codes_left: NDArray[Any], output: Ints) -> Nodes:
    """Read a boosted tree, which splits codes into any two groups."""
    children = np.stack([nodes["left"], nodes["right"]], axis=1).astype(np.int64)
    children[nodes["is_leaf"] == 1] = 0
    left: NDArray[np.uint8] = nodes["missing_go_to_left"] << np.uint8(MISSING)
    coded = np.flatnonzero(nodes["is_categorical"])
    left[coded] |= codes_left[nodes["bitset_idx"][coded], 0].astype(np.uint8) & (2**MISSING - 1)

    def splits(places: Ints) -> Splits:
        column, threshold = (nodes[name][places] for name in ("feature_idx", "num_threshold"))
        return column, inputs.cut(column, threshold), left[places]

    return Nodes.of_tree(children, splits, nodes["value"][:, None], output)
