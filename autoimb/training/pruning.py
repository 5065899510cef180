"""Pruning of trials that are much worse than the worst fold of the best trial so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from autoimb.policy import SearchPolicy

__all__ = ["Bar"]


@dataclass(frozen=True)
class Bar:
    """Scores that a trial must reach to continue.

    At the same share of the planned checkpoints, the bar lies as far below the best trial's worst
    fold as that fold is below the trial's mean, and at least the policy's slack below the mean: a
    strategy that is nearly as good may still improve a blend. The worst fold is a lenient bar,
    which is lower if folds differ much (Bergman, Purucker & Hutter, "Don't waste your time: early
    stopping cross-validation", 2024); recorded curves showed that twice that distance is needed
    (``reports/design/rungs-and-pruning.md``).

    Attributes
    ----------
    floor : tuple of float
        Bar at each checkpoint of the best trial.
    planned : int
        Number of checkpoints in the planned work of the best trial.
    begins : float
        Share of the planned checkpoints before which no trial is pruned.
    """

    floor: tuple[float, ...]
    planned: int
    begins: float

    @classmethod
    def of(
        cls, curve: Sequence[float], worst: Sequence[float], planned: int, policy: SearchPolicy
    ) -> Bar:
        """Build the bar from the best trial's measure by checkpoint: fold mean and worst fold."""
        slack = policy.training.pruning_slack
        floor = (min(2 * low - mean, mean - slack * abs(mean)) for mean, low in zip(curve, worst))
        return cls(tuple(floor), planned, policy.training.pruning_start)

    def above(self, checkpoint: int, planned: int, value: float) -> bool:
        """Return whether a value lies below the bar, so that the trial is pruned.

        Parameters
        ----------
        checkpoint : int
            Number of the checkpoint, from 0.
        planned : int
            Number of checkpoints in the trial's planned work.
        value : float
            Measure of the trial, the mean over its folds.

        Returns
        -------
        bool
        """
        share = (checkpoint + 1) / planned
        if share < self.begins or not self.floor:
            return False
        index = min(ceil(share * self.planned), len(self.floor)) - 1
        return value < self.floor[index]
