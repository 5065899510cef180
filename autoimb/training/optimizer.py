"""One AdamW step for a whole pack, and the running mean of its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autoimb.nn.kernels import training_kernels
from autoimb.nn.parameters import Parameters
from autoimb.nn.plain import Segment

__all__ = ["Averaged", "Optimizer"]

_BETA1 = 0.9


class Optimizer:
    """AdamW (Loshchilov & Hutter, 2019) over the pack's flat vector, one pass a segment.

    Elementwise, so a member's steps do not depend on the others'. Biases and scales do not decay.

    Parameters
    ----------
    parameters : Parameters
    weight_decay : float
    beta2 : float
        Share of the running mean of squared gradients that is kept at a step.

    Attributes
    ----------
    steps : int
        That were made.
    """

    def __init__(self, parameters: Parameters, *, weight_decay: float, beta2: float = 0.99) -> None:
        values = parameters.values
        self._kernels = training_kernels(values.dtype, values.device)
        self.steps, self._betas = 0, (_BETA1, beta2)
        mean, square = torch.zeros_like(values), torch.zeros_like(values)
        self._flat = (values, parameters.gradients, mean, square)
        self._segments = [
            Segment(s.part.start, s.part.stop, s.rate, weight_decay if s.decay else 0.0)
            for s in parameters.segments
        ]

    def arrays(self) -> dict[str, Tensor]:
        """Return the running means, of gradients and of their squares: flat vectors."""
        _, _, mean, square = self._flat
        return {"mean": mean, "square": square}

    def restore(self, arrays: Mapping[str, Tensor], steps: int) -> None:
        """Go on as one would that had these running means after so many steps."""
        for name, own in self.arrays().items():
            own.copy_(arrays[name])
        self.steps = steps

    def step(self, rate: float) -> None:
        """Step along the gradients that the network wrote.

        Parameters
        ----------
        rate : float
            Learning rate of this step, before each segment's own factor.
        """
        self.steps += 1
        self._kernels.adamw(
            self._flat, self._segments, step=self.steps, rate=rate, betas=self._betas
        )


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
        self.updates = 0

    def restore(self, mean: Tensor, updates: int) -> None:
        """Go on as one would that had this mean after so many updates."""
        self.mean.copy_(mean)
        self.updates = updates

    def update(self, values: Tensor) -> None:
        """Move the mean towards the current values."""
        kept = min(self._decay, self.updates / (self.updates + 3.0))
        self.updates += 1
        self.mean.lerp_(values, 1.0 - kept)
