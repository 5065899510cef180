"""Selection and weights of the rows that each member of a strategy trains on in a round."""

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

__all__ = ["MemberRows", "Members", "log_shares"]

ClassWeight = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class MemberRows:
    """Training rows of a member in one round, with weights and prior correction.

    Attributes
    ----------
    rows : int64 array of shape (n,)
        Row numbers in the training part of the member's fold.
    weights : float64 array of shape (n,)
        Weights, with mean 1 over the drawn rows.
    correction : float64 array of shape (C,)
        Log prior correction, without that of the loss.
    counts : float64 array of shape (C,)
        Class counts after all weights; their sum is the sum of the rows' weights.
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
    max_rows : int
        Maximum number of rows of a member.
    batch_size : int
    """

    strategy: Strategy
    ensemble: Ensemble
    data: Parts
    training: tuple[TrainingPart, ...]
    class_weight: ClassWeight
    max_rows: int
    batch_size: int

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """The fold of each member, and its number in the fold."""
        return [(f, m) for f in range(len(self.training)) for m in range(self.ensemble.members)]

    def key(self, position: int, number: int) -> Key:
        """Return the key of a member's random streams in a round."""
        fold, member = self.places[position]
        return Key(self.data.seed, fold=fold, member=member, round=number)

    def drawn(
        self, position: int, number: int, row_state: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a member's rows in its fold's training part, and how many rows each represents.

        Parameters
        ----------
        position : int
            Position of the member in the pack.
        number : int
            Number of the round.
        row_state : float64 array of shape (n,)
            Row state from the member's last round.
        """
        ensemble = self.ensemble
        part = self.training[self.places[position][0]]
        random = self.key(position, 0 if ensemble.bagged else number).stream(Purpose.MEMBER_ROWS)
        progress = number / max(ensemble.rounds - 1, 1)
        rows = ensemble.draw(Round(part.y, row_state, progress, random))
        return subsample(part.y, rows, self.max_rows, random)

    def member_rows(self, position: int, number: int, row_state: np.ndarray) -> MemberRows:
        """Return the rows and weights of a member in a round; for the parameters see `drawn`."""
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
        shares, draw_rates = None, np.ones(len(y))
        if part.shares is not None:
            shares, draw_rates, multiplicity = self._balanced(part.shares, y, scale)
            # The class shares of a batch already account for rows that were left out.
            weight = weight / multiplicity
        # The prior in training is the class distribution after resampling and all weights.
        counts = np.bincount(y, weights=weight * draw_rates, minlength=n_classes)
        present = np.maximum(counts, 1e-12)
        by_class = self.class_weight(present)
        effective_counts = present * by_class
        effective_counts *= present.sum() / effective_counts.sum()
        # A class without rows in this fold's training part gets a prior close to zero.
        ratio = np.log(np.maximum(part.prior, 1e-12)) - log_shares(effective_counts)
        correction = ratio if self.strategy.exact else np.zeros(n_classes)
        row_weight = weight * by_class[y]
        row_weight = row_weight / np.average(row_weight, weights=draw_rates)
        return MemberRows(rows, row_weight, correction, effective_counts, shares)

    def _balanced(
        self, shares_of: Shares, y: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the class shares of a batch, each row's draw rate and its multiplicity.

        Shares refer to the whole table: if rows were left out to save time, a row represents
        several (its multiplicity). Draw rates have mean 1.
        """
        kept_shares, n_classes = self.data.dataset.sampled_shares, self.data.dataset.n_classes
        multiplicity = scale if kept_shares is None else scale / kept_shares[y]
        counts = np.bincount(y, weights=multiplicity, minlength=n_classes)
        shares = shares_of(counts, self.batch_size)
        class_rows = np.bincount(y, minlength=n_classes)
        return shares, len(y) * shares[y] / class_rows[y], multiplicity


def log_shares(counts: np.ndarray) -> np.ndarray:
    """Return the logarithm of each class's share of the rows, (..., C) -> (..., C)."""
    return np.asarray(np.log(counts / counts.sum(-1, keepdims=True)))
