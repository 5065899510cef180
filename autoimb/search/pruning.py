"""When a trial is given up: where it is much worse than the worst fold of the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

__all__ = ["Bar"]

LEAST_SHARE = 0.3  # of its planned ticks, before which nothing is given up
SLACK = 0.1  # of the best trial's measure


@dataclass(frozen=True)
class Bar:
    """What a trial must reach to go on.

    It lies as far below the best trial's worst fold as that is below its mean, at the same share of
    the planned ticks, and at least a tenth below the mean: what is nearly as good may still serve a
    blend. The worst fold is a forgiving bar, which folds that differ much lower by themselves
    (Bergman, Purucker & Hutter, "Don't waste your time: early stopping cross-validation", 2024);
    recorded curves asked for twice that distance (``reports/benchmarks/pruning.md``).

    Attributes
    ----------
    floor : tuple of float
        By tick of the best trial.
    planned : int
        Ticks that were planned for it.
    """

    floor: tuple[float, ...]
    planned: int

    @classmethod
    def of(cls, curve: Sequence[float], worst: Sequence[float], planned: int) -> Bar:
        """Make it from the best trial's measure by tick: the mean over folds, and the worst."""
        pairs = zip(curve, worst)
        return cls(
            tuple(min(2 * low - mean, mean - SLACK * abs(mean)) for mean, low in pairs), planned
        )

    def above(self, tick: int, planned: int, value: float) -> bool:
        """Say whether a trial is to be given up.

        Parameters
        ----------
        tick : int
            From 0.
        planned : int
            Ticks planned for the trial.
        value : float
            Its measure, the mean over its folds.

        Returns
        -------
        bool
        """
        share = (tick + 1) / planned
        if share < LEAST_SHARE or not self.floor:
            return False
        at = min(ceil(share * self.planned), len(self.floor)) - 1
        return value < self.floor[at]
