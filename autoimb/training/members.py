"""Which rows each member of a strategy sees in a round, and with which weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoimb.data.subsample import subsample
from autoimb.randomness import Key, Purpose
from autoimb.space.ensemble import ENSEMBLE, Ensemble, Round
from autoimb.space.resampling.component import Shares
from autoimb.space.strategy import Strategy
from autoimb.training.parts import Parts, TrainingPart

__all__ = ["Members", "Seen", "log_shares"]

ClassWeight = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a member sees in a round.

    Attributes
    ----------
    rows : int64 array of shape (n,)
        Of its fold's training part.
    weights : float64 array of shape (n,)
        Mean 1 over what is drawn.
    correction : float64 array of shape (C,)
        Log prior correction, without the loss's.
    counts : float64 array of shape (C,)
        Class counts after all weights; they sum to the rows' weights.
    shares : float64 array of shape (C,), or None
        See `Pack`.
    """

    rows: np.ndarray
    weights: np.ndarray
    correction: np.ndarray
    counts: np.ndarray
    shares: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Members:
    """The members of a strategy on all folds: ``[a a b b]``, those of one fold side by side.

    Attributes
    ----------
    strategy : Strategy
    ensemble : Ensemble
    data : Parts
    training : tuple of F TrainingParts
        After resampling.
    class_weight : callable
        ``counts (C,) -> weights (C,)``.
    most_rows : int
        That a member may see.
    batch_size : int
    """

    strategy: Strategy
    ensemble: Ensemble
    data: Parts
    training: tuple[TrainingPart, ...]
    class_weight: ClassWeight
    most_rows: int
    batch_size: int

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """The fold of each member, and its number in the fold."""
        return [(f, m) for f in range(len(self.training)) for m in range(self.ensemble.members)]

    def key(self, position: int, number: int) -> Key:
        """Return whose a member's random numbers are, in a round."""
        fold, member = self.places[position]
        return Key(self.data.seed, self.data.repeat_number, fold, member, number)

    def drawn(
        self, position: int, number: int, row_state: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a member's rows of its fold's training part, and how many each stands for.

        Parameters
        ----------
        position : int
            Of the member in the pack.
        number : int
            Of the round.
        row_state : float64 array of shape (n,)
            What the member's last round passed on.
        """
        ensemble = self.ensemble
        part = self.training[self.places[position][0]]
        random = self.key(position, 0 if ensemble.bagged else number).stream(Purpose.MEMBER_ROWS)
        progress = number / max(ensemble.rounds - 1, 1)
        rows = ensemble.draw(Round(part.y, row_state, progress, random))
        return subsample(part.y, rows, self.most_rows, random)

    def seen(self, position: int, number: int, row_state: np.ndarray) -> Seen:
        """Say what a member sees in a round; see `drawn`."""
        part = self.training[self.places[position][0]]
        rows, scale = self.drawn(position, number, row_state)
        y, n_classes = part.y[rows], len(part.prior)
        choice = self.strategy.ensemble
        sizes = ENSEMBLE[choice.name].sizes
        subsample_correction = self.data.subsample_correction(
            sizes, part.y, choice.values.get("strength")
        )
        weight = part.weight[rows] * scale * subsample_correction[y]
        if self.ensemble.weighs:
            weight = weight * row_state[rows]
        shares, often = None, np.ones(len(y))
        if part.shares is not None:
            shares, often, stands = self._balanced(part.shares, y, scale)
            weight = weight / stands  # the shares make up for it
        counts = np.bincount(y, weights=weight * often, minlength=n_classes)
        present = np.maximum(counts, 1e-12)
        by_class = self.class_weight(present)
        seen = present * by_class
        seen *= present.sum() / seen.sum()
        # a class without a row in this fold's training part keeps a prior of next to nothing
        ratio = np.log(np.maximum(part.prior, 1e-12)) - log_shares(seen)
        correction = ratio if self.strategy.exact else np.zeros(n_classes)
        row_weight = weight * by_class[y]
        row_weight = row_weight / np.average(row_weight, weights=often)
        return Seen(rows, row_weight, correction, seen, shares)

    def _balanced(
        self, shares_of: Shares, y: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the classes' shares of a batch, how often each row comes, and for how many.

        Shares are meant for the whole table: where rows were left out to save time, one stands
        for several. How often a row comes is 1 in the mean.
        """
        kept, n_classes = self.data.dataset.sampled_shares, self.data.dataset.n_classes
        stands = scale if kept is None else scale / kept[y]
        counts = np.bincount(y, weights=stands, minlength=n_classes)
        shares = shares_of(counts, self.batch_size)
        own = np.bincount(y, minlength=n_classes)
        return shares, len(y) * shares[y] / own[y], stands


def log_shares(counts: np.ndarray) -> np.ndarray:
    """Logarithm of each class's share of the rows, (..., C) -> (..., C)."""
    return np.asarray(np.log(counts / counts.sum(-1, keepdims=True)))
