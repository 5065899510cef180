"""When a trial is given up: where it is worse than the worst fold of the best trial so far."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

__all__ = ["Bar"]

LEAST_SHARE = 0.3  # of its planned ticks, before which nothing is given up


@dataclass(frozen=True)
class Bar:
    """What a trial must reach to go on.

    The best trial's worst fold, at the same share of the planned ticks: a forgiving bar (Bergman,
    Purucker & Hutter, "Don't waste your time: early stopping cross-validation", 2024), which folds
    that differ much lower by themselves.

    Attributes
    ----------
    floor : tuple of float
        The measure of the best trial's worst fold, by tick.
    planned : int
        Ticks that were planned for it.
    """

    floor: tuple[float, ...]
    planned: int

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
