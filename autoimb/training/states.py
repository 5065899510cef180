"""Training runs that are paused at the end of a rung, with all state that continuing needs."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from autoimb.nn.network import Network
from autoimb.space.strategy import Strategy
from autoimb.training.checkpoints import Checkpoints
from autoimb.training.trainer import TrainingState

__all__ = ["PausedTraining", "paused_key"]


def paused_key(strategy: Strategy) -> Hashable:
    """Return the store key of a strategy's paused training."""
    return strategy


@dataclass(frozen=True, eq=False)
class PausedTraining:
    """State of a training run at the end of a rung.

    Attributes
    ----------
    arrays : dict of str to float array
        The pack's flat vector of parameters (``values``), not averaged, and the arrays of
        `TrainingState.arrays`.
    counts : dict of str to int
        Counters of `TrainingState.counts`.
    checkpoints : Checkpoints
        Result of the checkpoints so far, including the state of patience.
    """

    arrays: dict[str, np.ndarray]
    counts: dict[str, int]
    checkpoints: Checkpoints

    @classmethod
    def of(
        cls, network: Network, training: TrainingState, checkpoints: Checkpoints
    ) -> PausedTraining:
        """Copy the state that the next step needs."""
        arrays = {"values": network.parameters.values} | training.arrays()
        return cls(
            arrays={name: tensor.cpu().numpy().copy() for name, tensor in arrays.items()},
            counts=training.counts(),
            checkpoints=replace(checkpoints, weights=checkpoints.weights.cpu()),
        )

    def restore(self, network: Network, training: TrainingState) -> Checkpoints:
        """Restore a network and its training state, and return the result of its checkpoints."""
        device = network.device
        tensors: dict[str, Tensor] = {
            name: torch.from_numpy(array).to(device) for name, array in self.arrays.items()
        }
        network.parameters.values.copy_(tensors["values"])
        training.restore(tensors, self.counts)
        return replace(self.checkpoints, weights=self.checkpoints.weights.to(device))

    @property
    def size(self) -> int:
        """Size in bytes, without the predictions at the checkpoints."""
        best_weights = self.checkpoints.weights
        array_bytes = sum(array.nbytes for array in self.arrays.values())
        return array_bytes + best_weights.nelement() * best_weights.element_size()
