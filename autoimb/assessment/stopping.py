"""Early stopping of networks and trees: the checkpoint of each fold, and the end of training.

Law 1: the checkpoint of fold k is chosen by the rows of *other* folds (with forward folds, of
earlier ones), or by choosing rows of the fold itself, which are never scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoimb.arrays import Floats, Ints, mean_where

__all__ = ["Stopping"]

# Length of the running mean. Earlier checkpoints have no full mean and are always replaced.
_SMOOTHED = 3


@dataclass(frozen=True, eq=False)
class Stopping:
    """State of early stopping of F folds that are trained in parallel.

    Attributes
    ----------
    values : tuple of tuples of F floats
        Measure on each fold's rows, by checkpoint; NaN where it is undefined.
    best : float64 array of shape (F,)
        Smoothed measure by which each fold's checkpoint was chosen.
    chosen : int64 array of shape (F,)
        Number of the checkpoint that each fold keeps.
    newest : tuple of int
        Folds that keep the last checkpoint.
    curve : tuple of float
        Smoothed measure at each checkpoint, the mean over the folds.
    ended : bool
        Whether patience is exhausted in every fold.
    """

    values: tuple[tuple[float, ...], ...]
    best: Floats
    chosen: Ints
    newest: tuple[int, ...] = ()
    curve: tuple[float, ...] = ()
    ended: bool = False

    @classmethod
    def initial(cls, folds: int) -> Stopping:
        """Return the state before the first checkpoint."""
        return cls((), np.full(folds, -np.inf), np.zeros(folds, dtype=np.int64))

    def after(
        self, values: Sequence[float], *, choosers: Sequence[Sequence[int]], patience: int
    ) -> Stopping:
        """Return the state after another checkpoint.

        Parameters
        ----------
        values : sequence of F floats
            Measure on each fold's rows: its choosing rows if it has any, otherwise all of its rows;
            NaN where it has none.
        choosers : sequence of F sequences of int
            Folds whose rows choose the checkpoint of each fold, see `choosing_folds`.
        patience : int
            Number of checkpoints without improvement after which the training of a fold ends.
        """
        number = len(self.values)
        every = (*self.values, tuple(values))
        smoothed = _mean(np.array(every[-_SMOOTHED:]))
        best, chosen, newest = self.best.copy(), self.chosen.copy(), []
        for fold, choosing in enumerate(choosers):
            if number - chosen[fold] > patience:
                continue  # its patience is exhausted; other folds may still train
            merit = _mean(smoothed[list(choosing)])
            # Before the first full running mean every checkpoint replaces the last one.
            if len(every) < _SMOOTHED:
                newest.append(fold)
            elif merit > best[fold]:
                best[fold] = merit
                newest.append(fold)
        chosen[newest] = number
        return replace(
            self,
            values=every,
            best=best,
            chosen=chosen,
            newest=tuple(newest),
            curve=(*self.curve, float(_mean(smoothed))),
            ended=bool(number - chosen.max() >= patience),
        )


def _mean(values: Floats) -> Floats:
    """Return the mean over the first axis of the defined values."""
    return mean_where(values, ~np.isnan(values), axis=0)
