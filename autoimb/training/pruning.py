"""When a trial is given up: where it is much worse than the worst fold of the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from autoimb.policy import SearchPolicy

__all__ = ["Bar"]


@dataclass(frozen=True)
class Bar:
    """What a trial must reach to go on.

    It lies as far below the best trial's worst fold as that is below its mean, at the same share of
    the planned checkpoints, and at least the policy's slack below the mean: what is nearly as good
    may still serve a blend. The worst fold is a forgiving bar, which folds that differ much lower
    by themselves (Bergman, Purucker & Hutter, "Don't waste your time: early stopping
    cross-validation", 2024); recorded curves asked for twice that distance
    (``reports/design/rungs-and-pruning.md``).

    Attributes
    ----------
    floor : tuple of float
        By checkpoint of the best trial.
    planned : int
        Checkpoints of its planned work.
    begins : float
        Share of its planned checkpoints, before which nothing is given up.
    """

    floor: tuple[float, ...]
    planned: int
    begins: float

    @classmethod
    def of(
        cls, curve: Sequence[float], worst: Sequence[float], planned: int, policy: SearchPolicy
    ) -> Bar:
        """Make it from the best trial's measure by checkpoint: mean over folds, and worst fold."""
        slack = policy.pruning_slack
        floor = (min(2 * low - mean, mean - slack * abs(mean)) for mean, low in zip(curve, worst))
        return cls(tuple(floor), planned, policy.pruning_begins)

    def above(self, checkpoint: int, planned: int, value: float) -> bool:
        """Say whether a trial is to be given up.

        Parameters
        ----------
        checkpoint : int
            From 0.
        planned : int
            Checkpoints of the trial's planned work.
        value : float
            Its measure, the mean over its folds.

        Returns
        -------
        bool
        """
        share = (checkpoint + 1) / planned
        if share < self.begins or not self.floor:
            return False
        at = min(ceil(share * self.planned), len(self.floor)) - 1
        return value < self.floor[at]
