"""AdamW for a whole pack, and the running mean of its weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from autoimb.foreign import fused_adamw
from autoimb.nn.code import training_code
from autoimb.nn.parameters import Parameters

__all__ = ["Averaged", "Optimizer"]

_BETA1, _EPSILON = 0.9, 1e-8


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
        self._steps, self._beta2 = 0, beta2
        mean, square = torch.zeros_like(values), torch.zeros_like(values)
        self._flat = (values, parameters.gradients, mean, square)
        self._segments = [
            (segment.part, segment.rate, weight_decay if segment.decay else 0.0)
            for segment in parameters.segments
        ]
        self._code = training_code(values.device, values.dtype)
        if self._code is not None:
            bounds = [(part.start, part.stop) for part, _, _ in self._segments]
            settings = [(rate, decay) for _, rate, decay in self._segments]
            self._compiled = (
                *(vector.numpy() for vector in self._flat),
                np.array(bounds),
                np.array(settings, np.float32),
            )

    def step(self, rate: float) -> None:
        """Update the parameters by the gradients that the network computed.

        Parameters
        ----------
        rate : float
            Learning rate of this step, before the factor of each segment.
        """
        self._steps += 1
        betas = (_BETA1, self._beta2)
        if self._code is not None:
            unbiased = (1.0 - beta**self._steps for beta in betas)
            self._code.adamw(*self._compiled, rate, *betas, *unbiased)
            return
        steps = [torch.full((), float(self._steps), device=self._flat[0].device)]
        for part, factor, decay in self._segments:
            values, gradients, mean, square = ([vector[part]] for vector in self._flat)
            fused_adamw()(
                values,
                gradients,
                mean,
                square,
                [],
                steps,
                lr=rate * factor,
                beta1=betas[0],
                beta2=betas[1],
                weight_decay=decay,
                eps=_EPSILON,
                amsgrad=False,
                maximize=False,
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
