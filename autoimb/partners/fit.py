"""Tree models on the folds of a study: boosted trees and forests of scikit-learn.

Law 1: the number of boosted trees that fold k keeps is chosen by the rows of *other* folds,
or by its choosing rows, which are never scored, as for the checkpoints of networks. So no training
row is lost to stopping.

The number of trees of a forest is counted beforehand. A new row is predicted by the mean of the
forests of all folds, so each fold deploys only its share of the trees; if they are deep, at most as
many as fit into a file. Out of fold as many trees predict a row, all of one fold: with fewer, a
forest would seem worse than the deployed one, and the blend would give it too little weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
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
from autoimb.partners.trees import FittedTrees, Nodes
from autoimb.randomness import Key, Purpose
from autoimb.space.partner import Forest, Trees

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
        ``(fold, trees) -> int``: how many of the deep trees of a fold can be deployed; None for all
        of them.
    deployed_folds : int
        Number of folds whose models predict a new row.
    """

    iterations: int
    measure: Measure
    deadline: Deadline
    deployable: Callable[[int, FittedTrees], int] | None = None
    deployed_folds: int = 1


@dataclass(frozen=True, eq=False)
class FoldModels:
    """Fitted tree models of all folds.

    Attributes
    ----------
    folds : tuple of FittedTrees
        The trees of each fold that are deployed.
    posteriors : tuple of float64 ndarrays (n_scored_in_fold, C)
        Out-of-fold probabilities.
    cut : bool
        Whether the deadline ended the growth.
    """

    folds: tuple[FittedTrees, ...]
    posteriors: tuple[Floats, ...]
    cut: bool = False


def fit_trees(
    dataset: Dataset,
    folds: Sequence[Fold],
    option: Trees | Forest,
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
    option : Trees or Forest
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
    if isinstance(option, Forest):
        forest_rows = (FoldRows(dataset, fold, class_costs, Exact) for fold in folds)
        return _fit_forests(forest_rows, option, growth, seeds)
    rate = float(np.clip(_TOTAL_RATE / growth.iterations, option.learning_rate, _MAX_RATE))
    option = replace(option, learning_rate=rate)
    rows = [FoldRows(dataset, fold, class_costs, Binned) for fold in folds]
    models = [_BoostedTrees(of_fold, option, number) for of_fold, number in zip(rows, seeds)]
    return _grow(models, growth, choosing_folds(folds))


# --- forests -------------------------------------------------------------------------------------


def _fit_forests(
    rows: Iterable[FoldRows], option: Forest, growth: Growth, seeds: Sequence[int]
) -> FoldModels:
    """Fit a forest on each fold; the deadline is checked before each of them."""
    folds, posteriors = [], []
    for number, (seed, of_fold) in enumerate(zip(seeds, rows)):
        growth.deadline.check()
        model = _forest(of_fold, option, growth.iterations, seed)
        n_trees = max(model.n_trees // growth.deployed_folds, 1)
        if option.is_deep and growth.deployable is not None and model.n_trees:
            n_trees = min(n_trees, growth.deployable(number, model))
        # As many forests of this fold predict its rows as forests of all folds a new row.
        starts = range(0, model.n_trees - n_trees + 1, n_trees)[: growth.deployed_folds]
        forests = [model.take(start, start + n_trees) for start in starts] or [model]
        folds.append(forests[0])
        proba = [of_fold.posterior(part, part.scorer()(of_fold.rows)) for part in forests]
        posteriors.append(np.mean(proba, axis=0)[of_fold.n_choosing :])
    return FoldModels(tuple(folds), tuple(posteriors))


def _forest(rows: FoldRows, option: Forest, n_trees: int, seed: int) -> FittedTrees:
    """Fit a forest, whose leaves hold the shares of all classes but the first.

    Most shares of deep trees are 0 or 1. The shares of all training rows, which count like another
    tree, prevent a probability of 0 for rare rows, and thus an unbounded loss.
    """
    # Prediction does not need it.
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    trees = []
    if len(rows.classes) > 1:
        forest = ExtraTreesClassifier if option.extra else RandomForestClassifier
        model = forest(
            n_trees,
            max_leaf_nodes=option.leaves,
            min_samples_leaf=option.min_leaf_rows,
            max_features="sqrt",
            random_state=seed,
        )
        model.fit(rows.inputs.x, rows.y, sample_weight=rows.weight)
        trees = [_bagged(rows, tree.tree_) for tree in model.estimators_]
    mass = np.bincount(rows.y, rows.weight, minlength=len(rows.log_prior))
    return rows.fitted(trees, mass / mass.sum(), bagged=True)


def _bagged(rows: FoldRows, tree: Any) -> Nodes:
    """Read a tree of a forest; shares of classes are rounded by at most 2⁻¹²."""
    proba = tree.value[:, 0, :]
    shares = (proba / proba.sum(axis=1, keepdims=True))[:, 1:].astype(np.float16)
    children = np.stack([tree.children_left, tree.children_right], axis=1)
    return Nodes.of_tree(children, partial(rows.inputs.splits, tree), shares, rows.classes[1:])


# --- boosted trees -------------------------------------------------------------------------------


def _grow(
    models: Sequence[_BoostedTrees], growth: Growth, choosers: Sequence[Sequence[int]]
) -> FoldModels:
    """Grow the boosted trees of all folds side by side, from checkpoint to checkpoint."""
    stopping, cut = Stopping.initial(len(models)), False
    try:
        for iterations in _checkpoints(growth.iterations):
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

    def __init__(self, rows: FoldRows, option: Trees, seed: int) -> None:
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
            _boosted(rows, tree, output=outputs[number % len(outputs), None])
            for number, tree in enumerate(grown)
        ]
        self._trees += trees
        self._scores = self._scores + rows.fitted(trees, np.zeros(len(self._baseline))).scorer()(
            rows.rows
        )

    def mark_best(self) -> None:
        """Mark the present number of trees as the best so far."""
        self._n_best, self._best_scores = len(self._trees), self._scores

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


def _boosted(rows: FoldRows, tree: tuple[NDArray[Any], NDArray[Any]], output: Ints) -> Nodes:
    """Read a boosted tree."""
    nodes = tree[0]
    children = np.stack([nodes["left"], nodes["right"]], axis=1).astype(np.int64)
    children[nodes["is_leaf"] == 1] = 0
    splits = partial(rows.inputs.splits, tree)
    return Nodes.of_tree(children, splits, nodes["value"][:, None], output)
