"""Rows of a fold as inputs of scikit-learn's trees in training.

Boosted trees get numbers as their places among cuts, see `Binned`; forests get exact numbers, see
`Exact`. Both are fitted encoders that also write the splits of fitted trees as those of trees that
read rows as a `Reader` gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoimb.data.dataset import Dataset
from autoimb.data.folds import Fold
from autoimb.partners.reader import Reader
from autoimb.partners.trees import MISSING, FittedTrees, Nodes, Splits

__all__ = ["Binned", "Exact", "FoldRows"]

MAX_CUTS = 254
_LARGEST = 1e30  # of exact numbers

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
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


class Binned:
    """Numbers as their places among cuts, codes as they are.

    Otherwise histogram gradient boosting bins numbers anew whenever trees are added, from release
    1.8 on by quantiles of weighted rows, which takes longer than growing the trees. Given whole
    numbers it has nothing to bin, and all releases grow the same trees. The thresholds of the
    fitted trees are cuts, so rows to predict are read as they are.

    Parameters
    ----------
    reader : Reader
    x : float64 ndarray of shape (n, F)
        Training rows as the reader gives them.

    Attributes
    ----------
    cuts : float64 ndarray of shape (F, 255)
        Cuts of each column that trees read, filled up with infinity; zeros for codes.
    x : float64 ndarray of shape (n, F)
        Training rows, numbers as places among the cuts of their column.
    """

    def __init__(self, reader: Reader, x: Floats) -> None:
        self.codes = reader.codes
        self.cuts = np.zeros((x.shape[1], MAX_CUTS + 1))
        for j in range(self.codes, x.shape[1]):
            cuts = _cuts_of(x[:, j])
            self.cuts[j] = np.inf
            self.cuts[j, : len(cuts)] = cuts
        self.x = self.read(x)
        # scikit-learn takes no column without a value; one with a single value is never split.
        self.x[:, np.isnan(self.x).all(axis=0)] = 0.0

    def read(self, x: Floats) -> Floats:
        """Replace numbers by how many cuts of their column lie below them; NaN stays."""
        out = x.copy()
        for j in range(self.codes, x.shape[1]):
            present = ~np.isnan(x[:, j])
            out[present, j] = np.searchsorted(self.cuts[j], x[present, j])
        return out

    def splits(self, tree: tuple[NDArray[Any], NDArray[Any]], nodes: Ints) -> Splits:
        """Read splits of a tree, as `autoimb.foreign.boosted_trees` returns it.

        Codes are split into any two groups. Thresholds between places are replaced by cuts.
        """
        split, codes_left = tree[0][nodes], tree[1]
        left: NDArray[np.uint8] = split["missing_go_to_left"] << np.uint8(MISSING)
        coded = np.flatnonzero(split["is_categorical"])
        codes = codes_left[split["bitset_idx"][coded], 0].astype(np.uint8)
        left[coded] |= codes & (2**MISSING - 1)
        column = split["feature_idx"]
        # An infinite threshold, by which only missing values go right, is the cut behind the last.
        place = np.minimum(split["num_threshold"], MAX_CUTS).astype(np.int64)
        return column, self.cuts[column, place], left


class Exact:
    """Exact numbers, with medians in place of missing ones, and one-hot columns of codes.

    Numbers are rounded to float32, in which scikit-learn's trees compare them. A split of a one-hot
    column is a split of codes by the trees that are read from them, and a missing number goes where
    the median goes, so nothing but trees is stored.

    Parameters
    ----------
    reader : Reader
    x : float64 ndarray of shape (n, F)
        Training rows as the reader gives them.

    Attributes
    ----------
    x : float32 ndarray of shape (n, D)
        Training rows: one-hot codes, then numbers.
    """

    def __init__(self, reader: Reader, x: Floats) -> None:
        levels = [(column, k) for column, n in enumerate(reader.code_sizes) for k in range(n)]
        self._coded, self._level = np.array(levels, dtype=np.int64).reshape(-1, 2).T
        self._codes = reader.codes
        numbers = x[:, self._codes :]
        present = ~np.isnan(numbers).all(axis=0)
        self._median = np.zeros(numbers.shape[1], dtype=np.float32)
        self._median[present] = _single(np.nanmedian(numbers[:, present], axis=0))
        self.x = self.read(x)

    def read(self, x: Floats) -> Singles:
        """Encode rows (n, F) as trees see them in training, (n, D)."""
        numbers = x[:, self._codes :]
        exact = np.where(np.isnan(numbers), self._median, _single(numbers))
        one_hot = x[:, self._coded] == self._level
        return np.concatenate([one_hot, exact], axis=1, dtype=np.float32)

    def splits(self, tree: Any, nodes: Ints) -> Splits:
        """Read splits of a tree, whose thresholds are rounded down to float32.

        A float32 number is at most the rounded threshold if it is at most the threshold.
        """
        feature, exact = tree.feature[nodes], tree.threshold[nodes]
        threshold = exact.astype(np.float32)
        above = threshold > exact
        threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
        left = np.zeros(len(nodes), dtype=np.uint8)
        coded = feature < len(self._level)
        # All but the level of the column go left, missing values included.
        left[coded] = ~(np.uint8(1) << self._level[feature[coded]].astype(np.uint8))
        threshold[coded] = 0.0
        number = feature[~coded] - len(self._level)
        left[~coded] = (self._median[number] <= threshold[~coded]) << np.uint8(MISSING)
        column = np.concatenate([self._coded, self._codes + np.arange(len(self._median))])
        return column[feature], threshold, left


def _single(values: Floats) -> Singles:
    """Round numbers to float32, and limit them to a range whose sums it can hold.

    Thresholds lie between training rows, so a number beyond the range goes the same way.
    """
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)


class FoldRows:
    """Rows of a fold as inputs of tree models.

    Parameters
    ----------
    dataset : Dataset
    fold : Fold
        Sees: its training rows with their labels; the other rows only to predict them.
    class_costs : sequence of C floats, or None
        The user's costs of the classes, which weigh the rows of each.
    encode : type
        `Binned` or `Exact`.

    Attributes
    ----------
    reader : Reader
    inputs : Binned or Exact
        The inputs of trees in training, fitted on the training rows.
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

    def __init__(
        self,
        dataset: Dataset,
        fold: Fold,
        class_costs: Sequence[float] | None,
        encode: type[Binned] | type[Exact],
    ) -> None:
        costs = np.ones(dataset.n_classes) if class_costs is None else np.array(class_costs)
        self.reader, x = Reader.fit(dataset, fold.train)
        self.inputs = encode(self.reader, x)
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

    def fitted(
        self, trees: Sequence[Nodes], baseline: Floats, *, bagged: bool = False
    ) -> FittedTrees:
        """Return trees with what they read."""
        return FittedTrees(self.reader, Nodes.joined(trees), baseline, self.log_prior, bagged)

    def posterior(self, fitted: FittedTrees, scores: Floats) -> Floats:
        """Return probabilities of the rows, (m, C), from scores of the rows and their copies."""
        return self.reader.average(fitted.posterior(scores), self.copied)
