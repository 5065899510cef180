"""Boosted trees on the folds of a study: grown side by side, each fold's number by the others.

Law 1: how many trees fold k keeps is chosen by the rows of *other* folds, or by its own choosing
rows that nobody scores, as for the checkpoints of networks. So no training row is lost to stopping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from autoimb.assessment.stopping import Stopping
from autoimb.budget import Deadline
from autoimb.data.dataset import Dataset
from autoimb.data.folds import Fold, choosing_folds
from autoimb.foreign import TreeNodes, tree_nodes
from autoimb.partners.bins import thresholds_of
from autoimb.partners.forest import Forest
from autoimb.partners.rows import FoldRows
from autoimb.partners.trees import FittedTrees
from autoimb.randomness import Key, Purpose
from autoimb.space.partner import Trees

__all__ = ["Grown", "Growth", "grow"]

Floats = NDArray[np.float64]
Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]

FIRST, FACTOR = 12, 1.25  # iterations until the first look, and how many times as many until a next
PATIENCE = 4  # looks without a better one
FAR, MOST_RATE = 32.0, 0.3  # rate times iterations that trees should come to, where time is short


@dataclass(frozen=True)
class Growth:
    """How far trees may grow, and what tells that they should not.

    Attributes
    ----------
    iterations : int
        At most.
    measure : callable
        ``(y, proba, weight) -> float``, higher is better; NaN where the rows define no value.
    deadline : Deadline
    """

    iterations: int
    measure: Measure
    deadline: Deadline


@dataclass(frozen=True, eq=False)
class Grown:
    """What growing gave.

    Attributes
    ----------
    folds : tuple of FittedTrees
    posteriors : tuple of float64 ndarrays (n_scored_in_fold, C)
        Out of fold.
    iterations : tuple of int
        That each fold kept.
    curve, floor : tuple of float
        The measure at each look: the mean over the folds, and the worst of them.
    planned : int
        Looks that were planned.
    cut : bool
        Whether the deadline ended it.
    """

    folds: tuple[FittedTrees, ...]
    posteriors: tuple[Floats, ...]
    iterations: tuple[int, ...]
    curve: tuple[float, ...]
    floor: tuple[float, ...]
    planned: int
    cut: bool


def _looks(iterations: int) -> list[int]:
    """Return after how many iterations the trees are looked at; the last one is the most."""
    found = [min(FIRST, iterations)]
    while found[-1] < iterations:
        found.append(min(max(int(found[-1] * FACTOR), found[-1] + FIRST), iterations))
    return found


def grow(
    dataset: Dataset,
    folds: Sequence[Fold],
    trees: Trees,
    growth: Growth,
    *,
    seed: int,
    class_costs: tuple[float, ...] | None = None,
) -> Grown:
    """Grow the trees of all folds.

    Parameters
    ----------
    dataset : Dataset
    folds : sequence of Fold
        Sees: each fold's training rows; of the rows that choose or are scored what they say of the
        number of trees of the others.
    trees : Trees
    growth : Growth
    seed : int
        Of the study.
    class_costs : tuple of C floats, or None
        What the user says a class's rows cost: they weigh the rows, and the probabilities are taken
        back.

    Returns
    -------
    Grown

    Raises
    ------
    DeadlineExceeded
        Where time was up before the first look.
    """
    rate = float(np.clip(FAR / growth.iterations, trees.learning_rate, MOST_RATE))
    trees = replace(trees, learning_rate=rate)
    costs = np.ones(dataset.n_classes) if class_costs is None else np.array(class_costs)
    growing = [
        _Growing(dataset, fold, trees, costs, Key(seed, fold=number))
        for number, fold in enumerate(folds)
    ]
    steps, cut, choosers = _looks(growth.iterations), False, choosing_folds(folds)
    stopping = Stopping.before(len(folds))
    for iterations in steps:
        for each in growing:
            if growth.deadline.expired:
                break
            each.go_on(iterations)
        if growth.deadline.expired:
            if not stopping.values:
                growth.deadline.check()
            cut = True
            break
        stopping = stopping.after(
            [each.value(growth.measure) for each in growing],
            choosers=choosers,
            patience=PATIENCE,
        )
        for fold in stopping.newest:
            growing[fold].keep()
        if stopping.ended:
            break
    return Grown(
        folds=tuple(each.fitted() for each in growing),
        posteriors=tuple(each.posterior() for each in growing),
        iterations=tuple(each.iterations for each in growing),
        curve=stopping.curve,
        floor=stopping.floor,
        planned=len(steps),
        cut=cut,
    )


class _Growing(FoldRows):
    """The trees of one fold while they grow."""

    def __init__(
        self,
        dataset: Dataset,
        fold: Fold,
        trees: Trees,
        costs: Floats,
        key: Key,
    ) -> None:
        super().__init__(dataset, fold, costs)
        codes = self.reader.codes
        self._model = _model(trees, codes, int(key.stream(Purpose.TREES).integers(2**31)))
        self._forest = Forest.without_trees(self._baseline(np.zeros(len(self.outputs))))
        self._scores = self._forest.scores(self.rows)
        self.kept, self._kept_scores = 0, self._scores

    def go_on(self, iterations: int) -> None:
        """Grow trees until there are so many iterations, and add what they say of the rows."""
        if not len(self.outputs):
            return
        grown = len(self._forest.root) // len(self.outputs)
        self._model.set_params(max_iter=iterations)
        with threadpool_limits(1):  # of the library that only fitting loads
            self._model.fit(self.x, self.y, sample_weight=self.weight)
        found, baseline = tree_nodes(self._model, grown)
        if not grown:
            self._forest = Forest.without_trees(self._baseline(baseline))
            self._scores = self._forest.scores(self.rows)
        new = _forest(found, self.outputs, self.cuts, n_classes=len(self.costs))
        self._forest = self._forest.followed_by(new)
        self._scores = self._scores + new.scores(self.rows)

    def _baseline(self, scores: Floats) -> Floats:
        """Give all classes' scores (C,) from those of the outputs."""
        baseline = np.full(len(self.costs), -np.inf)
        baseline[self.classes] = 0.0
        baseline[self.outputs] = scores
        return baseline

    def value(self, measure: Measure) -> float:
        """Return what the fold's own rows say: its choosing rows if it has any, else all."""
        own = slice(self.chooses or None)
        y, weight = self.truth
        if not len(y):
            return math.nan
        return measure(y[own], self._posterior(self._scores)[own], weight[own])

    def keep(self) -> None:
        """Keep the trees that there are now, and no later ones."""
        self.kept, self._kept_scores = len(self._forest.root), self._scores

    @property
    def iterations(self) -> int:
        """How many iterations gave the trees that were kept."""
        return self.kept // max(len(self.outputs), 1)

    def posterior(self) -> Floats:
        """Predict the scored rows by the trees that were kept, (n, C)."""
        return self._posterior(self._kept_scores)[self.chooses :]

    def _posterior(self, scores: Floats) -> Floats:
        posterior = self.fitted_with(self._forest).posterior(scores)
        return self.reader.averaged(posterior, self.lacking)

    def fitted(self) -> FittedTrees:
        """Return the trees that were kept."""
        return self.fitted_with(self._forest.first(self.kept))

    def fitted_with(self, forest: Forest) -> FittedTrees:
        """Return these trees as what predicts."""
        return FittedTrees(self.reader, forest, self.log_prior)


def _model(trees: Trees, codes: int, seed: int) -> Any:
    """Make scikit-learn's model; imported here, as no pipeline needs it to predict."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        learning_rate=trees.learning_rate,
        max_leaf_nodes=trees.leaves,
        min_samples_leaf=trees.min_leaf_rows,
        l2_regularization=trees.l2,
        max_features=trees.features,
        categorical_features=list(range(codes)) or None,
        early_stopping=False,
        warm_start=True,
        random_state=seed,
    )


def _forest(
    found: Sequence[Sequence[TreeNodes]],
    outputs: NDArray[np.int64],
    cuts: Sequence[Floats | None],
    *,
    n_classes: int,
) -> Forest:
    """Write scikit-learn's trees, which know numbers by their places among cuts, as arrays."""
    trees = [tree for iteration in found for tree in iteration]
    sizes = np.array([len(tree.nodes) for tree in trees], dtype=np.int64)
    root = np.cumsum(sizes) - sizes
    before = np.cumsum([0, *(len(tree.lefts) for tree in trees)])[:-1]
    nodes = np.concatenate([tree.nodes for tree in trees])
    lefts = np.concatenate([tree.lefts for tree in trees])
    split, coded = nodes["is_leaf"] == 0, nodes["is_categorical"] == 1
    value = np.where(split, 0.0, nodes["value"])
    by_number = split & ~coded
    feature, place = nodes["feature_idx"][by_number], nodes["num_threshold"][by_number]
    value[by_number] = thresholds_of(feature, place, cuts)
    first, shift = np.repeat(root, sizes), np.repeat(before, sizes)
    return Forest(
        feature=np.where(split, nodes["feature_idx"], -1).astype(np.int32),
        value=value,
        right=np.where(split, nodes["right"] + first, 0).astype(np.int32),
        missing_left=np.where(split, nodes["missing_go_to_left"], 0).astype(np.uint8),
        category=np.where(split & coded, nodes["bitset_idx"] + shift, -1).astype(np.int32),
        lefts=np.ascontiguousarray(lefts, dtype="<u4").view(np.uint8).reshape(-1, 32),
        root=root,
        output=np.tile(outputs, len(found)),
        baseline=np.zeros(n_classes),
    )
