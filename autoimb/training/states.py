"""Trainings that wait at a rung: all that the next step goes on from."""

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

__all__ = ["Waiting", "waiting_key"]


def waiting_key(strategy: Strategy, repeat: int = 0) -> Hashable:
    """Return what the training of a strategy waits under, on the folds of a repeat."""
    return strategy, repeat


@dataclass(frozen=True, eq=False)
class Waiting:
    """A training at the end of a rung.

    Attributes
    ----------
    arrays : dict of str to float array
        The pack's flat vector of parameters (``values``), not averaged, and those of
        `TrainingState.arrays`.
    counts : dict of str to int
        Those of `TrainingState.counts`.
    shown : Checkpoints
        What its checkpoints have shown: a patience that began goes on.
    """

    arrays: dict[str, np.ndarray]
    counts: dict[str, int]
    shown: Checkpoints

    @classmethod
    def of(cls, network: Network, training: TrainingState, shown: Checkpoints) -> Waiting:
        """Copy what the next step needs."""
        arrays = {"values": network.parameters.values} | training.arrays()
        return cls(
            arrays={name: tensor.cpu().numpy().copy() for name, tensor in arrays.items()},
            counts=training.counts(),
            shown=replace(shown, weights=shown.weights.cpu()),
        )

    def restore(self, network: Network, training: TrainingState) -> Checkpoints:
        """Bring a network and its training to where this one was."""
        device = network.device
        tensors: dict[str, Tensor] = {
            name: torch.from_numpy(array).to(device) for name, array in self.arrays.items()
        }
        network.parameters.values.copy_(tensors["values"])
        training.restore(tensors, self.counts)
        return replace(self.shown, weights=self.shown.weights.to(device))

    @property
    def size(self) -> int:
        """Bytes, but for the predictions at the checkpoints."""
        kept = self.shown.weights
        own = sum(array.nbytes for array in self.arrays.values())
        return own + kept.nelement() * kept.element_size()
