"""How much work a trial may be, and what it is planned on: frozen with the study."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from autoimb.data.encoding import Encoder
from autoimb.data.folds import FoldPlan
from autoimb.data.table import Dataset
from autoimb.space.rooms import ROOMS
from autoimb.space.strategy import Strategy

__all__ = ["Effort", "Outline", "batch_for"]


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
        for room in ("resampling", "ensemble"):
            choice = getattr(strategy, room)
            sizes = ROOMS[room][choice.name].sizes
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
    most_ticks, least_ticks : int
        Bounds of the number of evaluations.
    patience : int
        See `Schedule`.
    outline : Outline
    """

    operations: float
    most_ticks: int
    least_ticks: int
    patience: int
    outline: Outline

    def times(self, factor: int) -> Effort:
        """Return so many times the work, in up to twice as many evaluations."""
        return replace(self, operations=self.operations * factor, most_ticks=2 * self.most_ticks)


def batch_for(rows: int) -> int:
    """Return the plan's batch for so many training rows."""
    for limit, batch in ((1_000, 32), (15_000, 64), (60_000, 128)):
        if rows < limit:
            return batch
    return 256
