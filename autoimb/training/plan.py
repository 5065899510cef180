"""Plan that all trials of a study share: folds, work and seed, frozen before the first trial."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from autoimb.data.dataset import Dataset
from autoimb.data.encoding.encoder import Encoder
from autoimb.data.folds import FoldPlan
from autoimb.policy import SearchPolicy
from autoimb.space.components import COMPONENTS
from autoimb.space.strategy import Strategy

__all__ = ["Outline", "Plan", "batch_for"]


@dataclass(frozen=True)
class Outline:
    """Sizes from which shapes and schedules are planned; frozen with the plan.

    A pack has one schedule and one shape for all folds. If they were derived from the folds, a
    row's label or level would influence the fold that scores this row (law 1).

    Attributes
    ----------
    class_counts : tuple of C ints
        Number of rows of each class in the table.
    inputs : tuple of two ints
        Number of dense columns, with scaled numbers and with piecewise-linear encoding.
    levels : tuple of Q ints
        Number of levels of each embedded column.
    """

    class_counts: tuple[int, ...]
    inputs: tuple[int, int]
    levels: tuple[int, ...]

    @classmethod
    def of(cls, dataset: Dataset) -> Outline:
        """Count the classes, columns and levels of the whole table."""
        rows = np.arange(len(dataset.y))
        encoder = Encoder.fit(dataset.columns, rows, layout=dataset.layout)
        counts = np.bincount(dataset.y, minlength=dataset.n_classes)
        return cls(
            class_counts=tuple(int(n) for n in counts),
            inputs=(encoder.width(ple=False), encoder.width(ple=True)),
            levels=encoder.embedded_cardinalities,
        )

    def rows(self, strategy: Strategy, folds: FoldPlan) -> int:
        """Return the approximate number of training rows of a member after resampling."""
        counts = np.array(self.class_counts)
        training_share = np.median([len(fold.train) for fold in folds.folds]) / counts.sum()
        counts = np.maximum(np.round(counts * training_share), 1)
        for component in ("resampling", "ensemble"):
            choice = getattr(strategy, component)
            sizes = COMPONENTS[component][choice.name].sizes
            if sizes is not None:
                counts = sizes(counts, choice.values["strength"])
        return int(counts.sum())


@dataclass(frozen=True)
class Plan:
    """Values that all trials of a study share; frozen before the first trial.

    Attributes
    ----------
    folds : FoldPlan
    outline : Outline
    operations : float
        Floating-point operations for the training of one strategy; work is never planned in
        seconds.
    seed : int
    class_costs : tuple of C floats, or None
        The user's cost of each class, which weighs the loss.
    costs_in_probabilities : bool
        Whether probabilities include the costs; otherwise they are corrected.
    device : str
    policy : SearchPolicy
    work : float
        Share of the planned checkpoints for which a strategy is trained.
    """

    folds: FoldPlan
    outline: Outline
    operations: float
    seed: int
    class_costs: tuple[float, ...] | None = None
    costs_in_probabilities: bool = True
    device: str = "cpu"
    policy: SearchPolicy = field(default_factory=SearchPolicy)
    work: float = 1.0

    @property
    def carried_costs(self) -> tuple[float, ...] | None:
        """The user's cost of each class if probabilities include it, else None."""
        return self.class_costs if self.costs_in_probabilities else None


def batch_for(rows: int) -> int:
    """Return the batch size for a number of training rows."""
    for limit, batch in ((1_000, 32), (15_000, 64), (60_000, 128)):
        if rows < limit:
            return batch
    return 256
