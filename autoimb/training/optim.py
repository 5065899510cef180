"""One fused AdamW step for a whole pack, and the running mean of its weights."""

from __future__ import annotations

import torch
from torch import Tensor

from autoimb.nn.parameters import Parameters

__all__ = ["Averaged", "Optimizer"]


class Optimizer:
    """AdamW (Loshchilov & Hutter, 2019) over the pack's flat vector.

    Elementwise, so a member's steps do not depend on the others'. Biases and scales do not decay.

    Parameters
    ----------
    parameters : Parameters
    weight_decay : float
    """

    def __init__(self, parameters: Parameters, *, weight_decay: float) -> None:
        split = parameters.decayed
        groups = []
        for part, decay in ((slice(0, split), weight_decay), (slice(split, None), 0.0)):
            values = parameters.values[part]
            values.grad = parameters.gradients[part]
            groups.append({"params": [values], "weight_decay": decay})
        self._adamw = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.99), fused=True)

    def step(self, rate: float) -> None:
        """Step along the gradients that the network wrote.

        Parameters
        ----------
        rate : float
            Learning rate of this step.
        """
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._adamw.step()


class Averaged:
    """Exponential running mean of the weights, which is what is evaluated and deployed.

    With a constant learning rate the mean does what annealing would, and any stop is deployable.

    Parameters
    ----------
    values : Tensor
        The pack's flat vector.
    decay : float
        Share of the old mean that is kept at an update; the first updates keep less.
    """

    def __init__(self, values: Tensor, *, decay: float) -> None:
        self.mean = values.clone()
        self._decay = decay
        self._updates = 0

    def update(self, values: Tensor) -> None:
        """Move the mean towards the current values."""
        kept = min(self._decay, self._updates / (self._updates + 3.0))
        self._updates += 1
        self.mean.lerp_(values, 1.0 - kept)
