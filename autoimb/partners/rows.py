"""The rows of a fold as trees get them: numbers as places among cuts, weights with the costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoimb.data.dataset import Dataset
from autoimb.data.folds import Fold
from autoimb.partners.bins import binned, cuts_of
from autoimb.partners.reader import Reader

__all__ = ["FoldRows"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class FoldRows:
    """The rows of a fold.

    Parameters
    ----------
    dataset : Dataset
    fold : Fold
        Sees: its training rows with their labels, of the others what is predicted.
    costs : float64 ndarray of shape (C,)
        By which the user's costs weigh a class's rows.

    Attributes
    ----------
    reader : Reader
    cuts : list of float64 ndarrays, or None
        Of each column that trees read; None for codes.
    x : float64 ndarray of shape (n, F)
        Training rows, numbers as places among their column's cuts.
    y : int64 ndarray of shape (n,)
    weight : float64 ndarray of shape (n,)
        Of mean 1.
    classes, outputs : int64 ndarrays
        The classes of the training rows, and those that trees answer for: of two the second.
    rows : float64 ndarray of shape (m + 32 l, F)
        Those that choose, then those that are scored, with numbers as they are; then copies of
        those with levels that training lacks, see `Reader.read_with_levels`.
    lacking : int64 ndarray of shape (l,)
        Which rows have copies.
    truth : tuple of two ndarrays of shape (m,)
        Their classes and weights.
    chooses : int
        How many choose.
    log_prior : float64 ndarray of shape (C,)
        What takes the costs back.
    """

    def __init__(self, dataset: Dataset, fold: Fold, costs: Floats) -> None:
        columns, self.y = dataset.columns, dataset.y[fold.train]
        weight = dataset.training_weight[fold.train]
        self.reader, x = Reader.fit(
            columns,
            fold.train,
            self.y,
            weight=weight / weight.mean(),
            n_classes=len(costs),
            cluster=None if dataset.cluster is None else dataset.cluster[fold.train],
            time=None if dataset.time is None else dataset.time[fold.train],
            left_out=dataset.layout.left_out(len(columns.vocabularies)),
        )
        codes = self.reader.codes
        self.cuts: list[Floats | None] = [None] * codes
        self.cuts += [cuts_of(values) for values in x[:, codes:].T]
        self.x = binned(x, self.cuts)
        # scikit-learn takes no column without a value; one with a single one is never split
        self.x[:, np.isnan(self.x).all(axis=0)] = 0.0
        self.costs = costs
        weight = weight * costs[self.y]
        self.weight: Floats = weight / weight.mean()
        rows = np.concatenate([fold.choose, fold.score])
        self.rows, self.lacking = self.reader.read_with_levels(columns, rows)
        self.truth = dataset.y[rows], dataset.weight[rows]
        self.chooses = len(fold.choose)
        self.classes: Ints = np.unique(self.y)
        # of two classes the second has all scores; of one there is nothing to learn
        self.outputs = self.classes[1:] if len(self.classes) < 3 else self.classes
        self.log_prior: Floats = -np.log(np.maximum(costs, 1e-12))
