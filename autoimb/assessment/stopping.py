"""Which checkpoint each fold keeps, and when all have seen enough: of networks and of trees.

Law 1: the checkpoint of fold k is chosen by the rows of *other* folds, of forward folds the earlier
ones, or by its own choosing rows that nobody scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stopping"]

# Checkpoints that a running mean spans; the first ones, without one, stand until a later one.
_SMOOTHED = 3


@dataclass(frozen=True, eq=False)
class Stopping:
    """What the checkpoints of F folds, trained side by side, have shown so far.

    Attributes
    ----------
    values : tuple of tuples of F floats
        The measure of each fold's own rows, by checkpoint; NaN where they define no value.
    best : float64 array of shape (F,)
        By what each fold's checkpoint was chosen.
    chosen : int64 array of shape (F,)
        The checkpoint that each fold keeps.
    newest : tuple of int
        The folds that keep the last checkpoint.
    curve, floor : tuple of float
        The measure at each checkpoint: the mean over the folds, and the worst of them.
    ended : bool
        Whether patience has ended in every fold.
    """

    values: tuple[tuple[float, ...], ...]
    best: NDArray[np.float64]
    chosen: NDArray[np.int64]
    newest: tuple[int, ...] = ()
    curve: tuple[float, ...] = ()
    floor: tuple[float, ...] = ()
    ended: bool = False

    @classmethod
    def before(cls, folds: int) -> Stopping:
        """Return what is known before the first checkpoint."""
        return cls((), np.full(folds, -np.inf), np.zeros(folds, dtype=np.int64))

    def after(
        self, values: Sequence[float], *, choosers: Sequence[Sequence[int]], patience: int
    ) -> Stopping:
        """Return what is known after one more checkpoint.

        Parameters
        ----------
        values : sequence of F floats
            The measure of each fold's own rows: its choosing rows if it has any, else all; NaN
            where it has none.
        choosers : sequence of F sequences of int
            The folds whose own rows choose for each fold, see `choosing_folds`.
        patience : int
            Checkpoints without a better one after which a fold's own training is over.
        """
        number = len(self.values)
        every = (*self.values, tuple(values))
        smoothed = _mean(np.array(every[-_SMOOTHED:]), axis=0)
        best, chosen, newest = self.best.copy(), self.chosen.copy(), []
        for fold, own in enumerate(choosers):
            if number - chosen[fold] > patience:
                continue  # its own patience has ended, however long the others go on
            merit = _mean(smoothed[list(own)], axis=0)
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
            curve=(*self.curve, float(_mean(smoothed, axis=0))),
            floor=(*self.floor, float(np.fmin.reduce(smoothed))),
            ended=bool(number - chosen.max() >= patience),
        )


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean over what is defined; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    total = np.where(known, values, 0.0).sum(axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))
