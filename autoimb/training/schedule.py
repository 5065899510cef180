"""How long a pack trains and at which rate: frozen before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """The plan of one training run.

    Attributes
    ----------
    ticks : int
        Evaluations at most.
    steps : int
        Gradient steps between two evaluations; the same for every member of the pack.
    batch_size : int
        Rows of each member in a step.
    learning_rate, weight_decay : float
        Of AdamW.
    kind : {"constant", "cosine"}
        After the warm-up: constant with averaged weights, or a cosine to zero at the last step.
    patience : int
        Evaluations without a better one after which the pack stops.
    """

    ticks: int
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    kind: Literal["constant", "cosine"] = "constant"
    patience: int = 8

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        total = self.ticks * self.steps
        warm = min(50, max(total // 20, 1))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        if self.kind == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1.0 + cos(pi * (step - warm) / max(total - warm, 1)))
