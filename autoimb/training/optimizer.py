"""One fused AdamW step for a whole pack, and the running mean of its weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autoimb.foreign import fused_adamw
from autoimb.nn.parameters import Parameters

__all__ = ["Averaged", "Optimizer"]

_fused_adamw = fused_adamw()


class Optimizer:
    """AdamW (Loshchilov & Hutter, 2019) over the pack's flat vector, a fused call a segment.

    Elementwise, so a member's steps do not depend on the others'. Biases and scales do not decay.
    The fused kernel is called without torch's wrappers, which at a small pack's step take longer
    than the kernel.

    Parameters
    ----------
    parameters : Parameters
    weight_decay : float
    beta2 : float
        Share of the running mean of squared gradients that is kept at a step.
    """

    def __init__(self, parameters: Parameters, *, weight_decay: float, beta2: float = 0.99) -> None:
        self._steps = [torch.zeros((), dtype=torch.float32, device=parameters.values.device)]
        self._beta2 = beta2
        self._mean = torch.zeros_like(parameters.values)
        self._square = torch.zeros_like(parameters.values)
        flat = (parameters.values, parameters.gradients, self._mean, self._square)
        self._groups = [
            (tuple([each[s.part]] for each in flat), s.rate, weight_decay if s.decay else 0.0)
            for s in parameters.segments
        ]

    def arrays(self) -> dict[str, Tensor]:
        """Return the running means, of gradients and of their squares: flat vectors."""
        return {"mean": self._mean, "square": self._square}

    @property
    def steps(self) -> int:
        """How many steps were made."""
        return int(self._steps[0])

    def restore(self, arrays: Mapping[str, Tensor], steps: int) -> None:
        """Go on as one would that had these running means after so many steps."""
        self._mean.copy_(arrays["mean"])
        self._square.copy_(arrays["square"])
        self._steps[0].fill_(steps)

    def step(self, rate: float) -> None:
        """Step along the gradients that the network wrote.

        Parameters
        ----------
        rate : float
            Learning rate of this step, before each segment's own factor.
        """
        self._steps[0].add_(1)
        for (values, gradients, mean, square), factor, decay in self._groups:
            _fused_adamw(
                values,
                gradients,
                mean,
                square,
                [],
                self._steps,
                lr=rate * factor,
                beta1=0.9,
                beta2=self._beta2,
                weight_decay=decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
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
