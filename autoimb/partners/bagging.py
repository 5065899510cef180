"""Random forests on the folds of a study: trees of rows drawn with replacement, in the mean.

Law 1: nothing is chosen by a row that is scored, as the number of trees is counted beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.budget import Deadline
from autoimb.data.dataset import Dataset
from autoimb.data.folds import Fold
from autoimb.partners.bins import thresholds_of
from autoimb.partners.fit import Grown
from autoimb.partners.forest import CODES, Forest
from autoimb.partners.rows import FoldRows
from autoimb.partners.trees import FittedTrees
from autoimb.randomness import Key, Purpose
from autoimb.space.partner import Bagged

__all__ = ["plant"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def plant(
    dataset: Dataset,
    folds: Sequence[Fold],
    bagged: Bagged,
    deadline: Deadline,
    *,
    trees: int,
    seed: int,
    class_costs: tuple[float, ...] | None = None,
) -> Grown:
    """Fit a forest on each fold.

    Parameters
    ----------
    dataset : Dataset
    folds : sequence of Fold
        Sees: each fold's training rows; the rows that are scored are predicted.
    bagged : Bagged
    deadline : Deadline
        Looked at before each fold.
    trees : int
        Of a fold.
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
        Where time was up before the last fold.
    """
    costs = np.ones(dataset.n_classes) if class_costs is None else np.array(class_costs)
    fitted, posteriors = [], []
    for number, fold in enumerate(folds):
        deadline.check()
        rows = FoldRows(dataset, fold, costs)
        forest = _forest(rows, bagged, trees, Key(seed, fold=number))
        own = FittedTrees(rows.reader, forest, rows.log_prior, bagged=True)
        fitted.append(own)
        posterior = own.posterior(forest.scores(rows.rows))
        posteriors.append(rows.reader.averaged(posterior, rows.lacking)[rows.chooses :])
    return Grown(
        folds=tuple(fitted),
        posteriors=tuple(posteriors),
        iterations=(trees,) * len(fitted),
        curve=(),
        floor=(),
        planned=0,
        cut=False,
    )


def _model(bagged: Bagged, trees: int, seed: int) -> Any:
    """Make scikit-learn's model; imported here, as no pipeline needs it to predict."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(
        trees,
        max_leaf_nodes=bagged.leaves,
        max_features="sqrt" if bagged.features is None else bagged.features,
        random_state=seed,
    )


def _forest(rows: FoldRows, bagged: Bagged, trees: int, key: Key) -> Forest:
    """Fit a forest, and write it as arrays: all classes have trees but the first."""
    baseline = np.zeros(len(rows.costs))
    baseline[rows.classes[0]] = 1.0
    empty = Forest.without_trees(baseline)
    if len(rows.classes) < 2:
        return empty
    model = _model(bagged, trees, int(key.stream(Purpose.TREES).integers(2**31)))
    model.fit(rows.x, rows.y, sample_weight=rows.weight)
    made = [tree for each in model.estimators_ for tree in _trees(each.tree_, rows, trees)]
    return empty.followed_by(_joined(made, baseline))


@dataclass(frozen=True, eq=False)
class _Tree:
    """A tree in preorder, as `Forest` holds it; children and codes counted from its own first."""

    feature: Ints
    value: Floats
    right: Ints
    missing_left: NDArray[np.bool_]
    by_code: NDArray[np.bool_]
    lefts: NDArray[np.uint8]
    output: int


def _trees(tree: Any, rows: FoldRows, n_trees: int) -> list[_Tree]:
    """Read one of so many trees of scikit-learn: one for each class in training but the first."""
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if tree.children_left[node] >= 0:
            waiting += [int(tree.children_right[node]), int(tree.children_left[node])]
    at = np.array(order)
    place = np.empty(len(at), dtype=np.int64)
    place[at] = np.arange(len(at))
    split = tree.children_left[at] >= 0
    feature = np.where(split, tree.feature[at], -1)
    by_code = split & (feature < rows.reader.codes)
    by_number = split & ~by_code
    proba = tree.value[at, 0, :]
    answers = proba / proba.sum(axis=1, keepdims=True) / n_trees
    threshold = tree.threshold[at]
    cut = np.zeros(len(at))
    cut[by_number] = thresholds_of(feature[by_number], threshold[by_number], rows.cuts)
    goes_left = np.arange(CODES) <= threshold[by_code][:, None]
    first = _Tree(
        feature=feature,
        value=cut,
        right=np.where(split, place[tree.children_right[at]], 0),
        missing_left=split & tree.missing_go_to_left[at].astype(bool),
        by_code=by_code,
        lefts=np.packbits(goes_left, axis=1, bitorder="little"),
        output=-1,
    )
    return [
        replace(first, value=np.where(split, cut, answers[:, number]), output=int(label))
        for number, label in enumerate(rows.classes)
        if number > 0
    ]


def _joined(trees: Sequence[_Tree], baseline: Floats) -> Forest:
    sizes = np.array([len(tree.feature) for tree in trees], dtype=np.int64)
    root = np.cumsum(sizes) - sizes
    feature = np.concatenate([tree.feature for tree in trees])
    by_code = np.concatenate([tree.by_code for tree in trees])
    right = np.concatenate([tree.right for tree in trees]) + np.repeat(root, sizes)
    return Forest(
        feature=feature.astype(np.int32),
        value=np.concatenate([tree.value for tree in trees]),
        right=np.where(feature < 0, 0, right).astype(np.int32),
        missing_left=np.concatenate([tree.missing_left for tree in trees]).astype(np.uint8),
        category=np.where(by_code, np.cumsum(by_code) - 1, -1).astype(np.int32),
        lefts=np.concatenate([tree.lefts for tree in trees]),
        root=root,
        output=np.array([tree.output for tree in trees], dtype=np.int64),
        baseline=np.zeros_like(baseline),
    )
