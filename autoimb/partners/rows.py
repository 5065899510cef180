"""Rows of a fold as inputs of scikit-learn's trees in training.

Numbers are replaced by their places among cuts. Otherwise histogram gradient boosting bins them
anew whenever trees are added, from release 1.8 on by quantiles of weighted rows, which takes longer
than growing the trees. Given whole numbers it has nothing to bin, and all releases grow the same
trees. The thresholds of the fitted trees are cuts, so rows to predict are read as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autoimb.data.dataset import Dataset
from autoimb.data.folds import Fold
from autoimb.partners.reader import Reader
from autoimb.partners.trees import MISSING, FittedTrees, Nodes

__all__ = ["FoldRows"]

MAX_CUTS = 254

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _cuts_of(values: Floats) -> Floats:
    """Cut numbers between all distinct values if there are few, else at quantiles.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Training rows; NaN is missing.

    Returns
    -------
    float64 ndarray of at most 254 rising numbers
    """
    present = np.sort(values[~np.isnan(values)])
    distinct = np.unique(present)
    if len(distinct) <= MAX_CUTS + 1:
        return np.asarray(distinct[:-1] + (distinct[1:] - distinct[:-1]) / 2)
    at = np.linspace(0, 1, MAX_CUTS + 2)[1:-1] * (len(present) - 1)
    low, high = present[np.floor(at).astype(int)], present[np.ceil(at).astype(int)]
    return np.unique(low + (high - low) / 2)


class FoldRows:
    """Rows of a fold as inputs of tree models.

    Parameters
    ----------
    dataset : Dataset
    fold : Fold
        Sees: its training rows with their labels; the other rows only to predict them.
    class_costs : sequence of C floats, or None
        The user's costs of the classes, which weigh the rows of each.

    Attributes
    ----------
    reader : Reader
    cuts : float64 ndarray of shape (F, 255)
        Cuts of each column that trees read, filled up with infinity; zeros for codes.
    x : float64 ndarray of shape (n, F)
        Training rows, numbers as places among the cuts of their column.
    y : int64 ndarray of shape (n,)
    weight : float64 ndarray of shape (n,)
        Weights of the training rows, with mean 1.
    classes, outputs : int64 ndarrays
        The classes of the training rows, and those that boosted trees have scores of: of two
        classes the second.
    rows : float64 ndarray of shape (m + 32 l, F)
        The rows that choose, then those that are scored, with numbers as they are; then copies of
        those with levels that training lacks, see `Reader.read`.
    copied : int64 ndarray of shape (l,)
        The rows that have copies.
    truth : tuple of two ndarrays of shape (m,)
        Classes and weights of the rows that choose or are scored.
    n_choosing : int
        Number of rows that choose.
    log_prior : float64 ndarray of shape (C,)
        Added to log-probabilities, it takes the costs back.
    """

    def __init__(self, dataset: Dataset, fold: Fold, class_costs: Sequence[float] | None) -> None:
        costs = np.ones(dataset.n_classes) if class_costs is None else np.array(class_costs)
        self.reader, x = Reader.fit(dataset, fold.train)
        self.cuts = np.zeros((x.shape[1], MAX_CUTS + 1))
        for j in range(self.reader.codes, x.shape[1]):
            cuts = _cuts_of(x[:, j])
            self.cuts[j] = np.inf
            self.cuts[j, : len(cuts)] = cuts
        self.x = self.places(x)
        # scikit-learn takes no column without a value; one with a single value is never split.
        self.x[:, np.isnan(self.x).all(axis=0)] = 0.0
        self.y = dataset.y[fold.train]
        weight = dataset.training_weight[fold.train] * costs[self.y]
        self.weight: Floats = weight / weight.mean()
        rows = np.concatenate([fold.choose, fold.score])
        self.rows, self.copied = self.reader.read(dataset.columns.take(rows))
        self.truth = dataset.y[rows], dataset.weight[rows]
        self.n_choosing = len(fold.choose)
        self.classes: Ints = np.unique(self.y)
        self.outputs = self.classes[1:] if len(self.classes) < 3 else self.classes
        self.log_prior: Floats = -np.log(np.maximum(costs, 1e-12))

    def places(self, x: Floats) -> Floats:
        """Replace numbers by how many cuts of their column lie below them; NaN stays."""
        out = x.copy()
        for j in range(self.reader.codes, x.shape[1]):
            present = ~np.isnan(x[:, j])
            out[present, j] = np.searchsorted(self.cuts[j], x[present, j])
        return out

    def tree(
        self,
        *,
        children: Ints,
        column: Ints,
        threshold: Floats,
        left: NDArray[np.uint8],
        answer: Floats,
        output: Ints,
    ) -> Nodes:
        """Write a tree that was fitted on `x` as one that reads numbers as they are.

        Parameters
        ----------
        children : int64 ndarray of shape (n, 2)
            The left and the right child of each node, the root first; not positive for a leaf.
        column, threshold, left : ndarrays of shape (n,)
            As in `Nodes`, but thresholds lie between places, and bits of codes are ignored for
            columns of numbers. Those of leaves are ignored.
        answer : float64 ndarray of shape (n, K)
            Answers of leaves; those of splits are ignored.
        output : int64 ndarray of shape (K,)
            The classes whose scores they are added to.
        """
        split = children[:, 0] > 0
        # Breadth-first order: each pass appends the children of the splits of the previous level.
        order = level = np.zeros(1, dtype=np.int64)
        while len(level):
            level = children[level[split[level]]].ravel()
            order = np.concatenate([order, level])
        splits, leaves = order[split[order]], order[~split[order]]
        split_column, bits = column[splits], left[splits]
        # An infinite threshold, by which only missing values go right, is the cut behind the last.
        place = np.minimum(threshold[splits], MAX_CUTS).astype(np.int64)
        return Nodes(
            column=np.where(split, column, -1)[order].astype(np.int32),
            threshold=self.cuts[split_column, place],
            left=np.where(split_column < self.reader.codes, bits, bits & (1 << MISSING)),
            answer=answer[leaves],
            output=output[None],
        )

    def fitted(
        self, trees: Sequence[Nodes], baseline: Floats, *, bagged: bool = False
    ) -> FittedTrees:
        """Return trees with what they read."""
        return FittedTrees(self.reader, Nodes.joined(trees), baseline, self.log_prior, bagged)

    def posterior(self, fitted: FittedTrees, scores: Floats) -> Floats:
        """Return probabilities of the rows, (m, C), from scores of the rows and their copies."""
        return self.reader.average(fitted.posterior(scores), self.copied)
