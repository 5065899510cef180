"""What all trials of a study share: folds, work and seed; frozen before the first one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.folds import FoldPlan
from autoimb.data.rarity import minority_count
from autoimb.policy import SearchPolicy
from autoimb.space.components import COMPONENTS
from autoimb.space.strategy import Strategy

__all__ = ["Effort", "Outline", "Plan", "batch_for"]


@dataclass(frozen=True)
class Outline:
    """What shapes and schedules are planned on; frozen with the plan.

    A pack has one schedule and one shape for all folds. Counted on the folds themselves, they
    would let a row's label or level reach the very fold that scores it (law 1).

    Attributes
    ----------
    class_counts : tuple of C ints
        Rows of each class in the table.
    inputs : tuple of two ints
        Dense columns with scaled numbers, and with piecewise-linear ones.
    levels : tuple of Q ints
        Levels of each embedded column.
    """

    class_counts: tuple[int, ...]
    inputs: tuple[int, int]
    levels: tuple[int, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> Outline:
        """Count on the whole table, when the study is planned."""
        rows = np.arange(len(dataset.y))
        encoder = Encoder.fit(dataset.columns, rows, layout=dataset.layout)
        counts = np.bincount(dataset.y, minlength=dataset.n_classes)
        return cls(
            class_counts=tuple(int(n) for n in counts),
            inputs=(encoder.width(ple=False), encoder.width(ple=True)),
            levels=encoder.embedded_cardinalities,
        )

    def rows(self, strategy: Strategy, folds: FoldPlan) -> int:
        """Return about how many rows a member sees, by the sizes that the options leave."""
        counts = np.array(self.class_counts)
        share = np.median([len(fold.train) for fold in folds.folds]) / counts.sum()
        counts = np.maximum(np.round(counts * share), 1)
        for component in ("resampling", "ensemble"):
            choice = getattr(strategy, component)
            sizes = COMPONENTS[component][choice.name].sizes
            if sizes is not None:
                counts = sizes(counts, choice.values["strength"])
        return int(counts.sum())


@dataclass(frozen=True)
class Effort:
    """How much work a trial may be, counted in arithmetic and never in seconds.

    Attributes
    ----------
    operations : float
        Floating-point operations that the training of one strategy should stay near.
    most_checkpoints, least_checkpoints : int
        Bounds of the number of evaluations.
    patience : int
        See `Schedule`.
    outline : Outline
    """

    operations: float
    most_checkpoints: int
    least_checkpoints: int
    patience: int
    outline: Outline

    def times(self, factor: float) -> Effort:
        """Return so many times the work, in up to twice as many evaluations."""
        return replace(
            self, operations=self.operations * factor, most_checkpoints=2 * self.most_checkpoints
        )


@dataclass(frozen=True)
class Plan:
    """What all trials of a study share; frozen before the first one.

    Attributes
    ----------
    folds : FoldPlan
    effort : Effort
    seed : int
    class_costs : tuple of C floats, or None
        The user's cost of each class, which weighs the loss.
    costs_in_probabilities : bool
        Whether probabilities keep it; else they are corrected.
    device : str
    policy : SearchPolicy
    rung : float
        How many times the planned work the training on a split is.
    repeats : tuple of int
        On which splits of the rows into folds a strategy is cross-validated, 0 being the first.
    """

    folds: FoldPlan
    effort: Effort
    seed: int
    class_costs: tuple[float, ...] | None = None
    costs_in_probabilities: bool = True
    device: str = "cpu"
    policy: SearchPolicy = field(default_factory=SearchPolicy)
    rung: float = 1.0
    repeats: tuple[int, ...] = (0,)

    @property
    def carried_costs(self) -> tuple[float, ...] | None:
        """The user's cost of each class, where probabilities keep it."""
        return self.class_costs if self.costs_in_probabilities else None

    @property
    def most_strategies(self) -> float:
        """After how many strategies the rest of a search confirms them; infinite for no number.

        Few minority rows tell few strategies apart: among many that are equally good the best score
        is luck. So below 100 of them the rest of the time goes to more networks of the same
        strategies, on other folds.
        """
        few = minority_count(self.effort.outline.class_counts) < self.policy.few_rare_rows
        limited = few and len(self.folds.further) > 1
        return self.policy.strategies_on_few_rare_rows if limited else math.inf

    def at(self, rung: float, *, confirm: bool = False) -> Plan:
        """Return the plan of a strategy that is trained for so many times the planned work.

        Parameters
        ----------
        rung : float
        confirm : bool
            On the splits that confirm, where the plan holds any.
        """
        return replace(self, rung=rung, repeats=self.folds.confirming if confirm else (0,))


def batch_for(rows: int) -> int:
    """Return the plan's batch for so many training rows."""
    for limit, batch in ((1_000, 32), (15_000, 64), (60_000, 128)):
        if rows < limit:
            return batch
    return 256
