"""AdamW for a whole pack, and the running mean of its weights."""

from __future__ import annotations

import torch
from torch import Tensor

from autoimb.nn.kernels import training_kernels
from autoimb.nn.parameters import Parameters
from autoimb.nn.plain import Segment

__all__ = ["Averaged", "Optimizer"]

_BETA1 = 0.9


class Optimizer:
    """AdamW (Loshchilov & Hutter, 2019) over the pack's flat vector, one pass a segment.

    The update is elementwise, so members do not influence each other. Biases and scales are
    excluded from weight decay.

    Parameters
    ----------
    parameters : Parameters
    weight_decay : float
    beta2 : float
        Decay rate of the running mean of squared gradients.
    """

    def __init__(self, parameters: Parameters, *, weight_decay: float, beta2: float = 0.99) -> None:
        values = parameters.values
        self._kernels = training_kernels(values.dtype, values.device)
        self._steps, self._betas = 0, (_BETA1, beta2)
        mean, square = torch.zeros_like(values), torch.zeros_like(values)
        self._flat = (values, parameters.gradients, mean, square)
        self._segments = [
            Segment(
                segment.part.start,
                segment.part.stop,
                segment.rate,
                weight_decay if segment.decay else 0.0,
            )
            for segment in parameters.segments
        ]

    def step(self, rate: float) -> None:
        """Update the parameters by the gradients that the network computed.

        Parameters
        ----------
        rate : float
            Learning rate of this step, before the factor of each segment.
        """
        self._steps += 1
        self._kernels.adamw(
            self._flat, self._segments, step=self._steps, rate=rate, betas=self._betas
        )


class Averaged:
    """Exponential running mean of the weights, which is evaluated and deployed.

    With a constant learning rate the mean has the effect of annealing, and training can stop at any
    checkpoint.

    Parameters
    ----------
    values : Tensor
        The pack's flat vector.
    decay : float
        Share of the previous mean in an update; smaller for the first updates.
    """

    def __init__(self, values: Tensor, *, decay: float) -> None:
        self.mean = values.clone()
        self._decay = decay
        self._updates = 0

    def update(self, values: Tensor) -> None:
        """Update the mean with the current values."""
        # The smaller decay of the first updates reduces the influence of the initial weights.
        decay = min(self._decay, self._updates / (self._updates + 3.0))
        self._updates += 1
        self.mean.lerp_(values, 1.0 - decay)
