"""The members of a strategy, and the rows that each of them trains on in a round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from autoimb.data.subsample import subsample
from autoimb.randomness import Key, Purpose
from autoimb.space.class_weight import CLASS_WEIGHT
from autoimb.space.ensemble import ENSEMBLE, Ensemble, Round
from autoimb.space.network import NETWORK
from autoimb.space.resampling.component import Shares
from autoimb.space.strategy import Strategy
from autoimb.training.inputs import Inputs
from autoimb.training.parts import Parts, TrainingPart
from autoimb.training.plan import Plan
from autoimb.training.schedule import Schedule, max_member_rows, plan_schedule

__all__ = ["MemberRows", "Members", "log_shares"]


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
    parts : Parts
    training : tuple of F TrainingParts
        After resampling.
    inputs : Inputs
    schedule : Schedule
    max_rows : int
        Maximum number of rows of a member.
    class_costs : tuple of C floats, or None
        The user's cost of each class.
    """

    strategy: Strategy
    ensemble: Ensemble
    parts: Parts
    training: tuple[TrainingPart, ...]
    inputs: Inputs
    schedule: Schedule
    max_rows: int
    class_costs: tuple[float, ...] | None

    @classmethod
    def of(
        cls, strategy: Strategy, plan: Plan, parts: Parts, training: tuple[TrainingPart, ...]
    ) -> Members:
        """Plan the schedule, the shapes and the row limits of a strategy."""
        hyper, ensemble = NETWORK.make(strategy.network), ENSEMBLE.make(strategy.ensemble)
        outline = plan.outline
        inputs = Inputs.of(
            parts,
            training,
            hyper,
            kind=strategy.network.name,
            outline=outline,
            device=plan.device,
        )
        # This is the cost of one forward pass in which each member of every round reads one row.
        networks = len(training) * ensemble.members * ensemble.rounds
        row_operations = 2.0 * networks * inputs.spec.products(outline.inputs[hyper.ple])
        max_rows = max_member_rows(plan, row_operations=row_operations)
        schedule = plan_schedule(
            hyper,
            plan,
            rows=min(outline.rows(strategy, parts.folds), max_rows),
            row_operations=row_operations,
            evaluated=inputs.evaluation.x.shape[1],
        )
        if ensemble.continues:
            schedule = replace(schedule, kind="cosine")
        return cls(
            strategy, ensemble, parts, training, inputs, schedule, max_rows, plan.class_costs
        )

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """The fold of each member, and its number in the fold."""
        return [(f, m) for f in range(len(self.training)) for m in range(self.ensemble.members)]

    @property
    def size(self) -> int:
        """Number of members on all folds."""
        return len(self.places)

    def part(self, position: int) -> TrainingPart:
        """Return the training part of a member's fold."""
        return self.training[self.places[position][0]]

    def key(self, position: int, number: int) -> Key:
        """Return the key of a member's random streams in a round."""
        fold, member = self.places[position]
        return Key(self.parts.seed, fold=fold, member=member, round=number)

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
        ensemble, part = self.ensemble, self.part(position)
        random = self.key(position, 0 if ensemble.bagged else number).stream(Purpose.MEMBER_ROWS)
        progress = number / max(ensemble.rounds - 1, 1)
        rows = ensemble.draw(Round(part.y, row_state, progress, random))
        return subsample(part.y, rows, self.max_rows, random)

    def member_rows(self, position: int, number: int, row_state: np.ndarray) -> MemberRows:
        """Return the rows and weights of a member in a round; for the parameters see `drawn`."""
        part = self.part(position)
        rows, scale = self.drawn(position, number, row_state)
        y, n_classes = part.y[rows], len(part.prior)
        choice = self.strategy.ensemble
        sizes = ENSEMBLE[choice.name].sizes
        subsample_correction = self.parts.subsample_correction(
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
        costs = None if self.class_costs is None else np.array(self.class_costs)
        by_class = CLASS_WEIGHT.make(self.strategy.class_weight, present, costs)
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
        dataset = self.parts.dataset
        kept_shares, n_classes = dataset.sampled_shares, dataset.n_classes
        multiplicity = scale if kept_shares is None else scale / kept_shares[y]
        counts = np.bincount(y, weights=multiplicity, minlength=n_classes)
        shares = shares_of(counts, self.schedule.batch_size)
        class_rows = np.bincount(y, minlength=n_classes)
        return shares, len(y) * shares[y] / class_rows[y], multiplicity


def log_shares(counts: np.ndarray) -> np.ndarray:
    """Return the logarithm of each class's share of the rows, (..., C) -> (..., C)."""
    return np.asarray(np.log(counts / counts.sum(-1, keepdims=True)))
