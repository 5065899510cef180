"""Hidden layers of RealMLP (Holzmüller et al., 2024, "Better by default").

They use the neural tangent parametrisation: weights start with variance 1, and the factor
1/sqrt(inputs) is part of the formula. The first map multiplies each input by a trained scale, and
a trained slope mixes each unit's activation with the identity. The learning rate of biases and
slopes is a tenth of the usual one, that of scales six times as high. The initial weights are
adjusted to training rows, so that every unit has standard deviation 1 and a kink among the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from autoimb.nn.dropout import MaskPool
from autoimb.nn.layers import Buffers, Heads, Node
from autoimb.nn.parameters import Parameter, Parameters
from autoimb.nn.spec import Activation

__all__ = ["SLOW", "ScaledHeads", "ScaledLinear"]

SLOW, _FAST = 0.1, 6.0  # factors of the learning rate
_CORNERS = 5  # rows whose random mean a bias is drawn from


class ScaledLinear:
    """``z + a ∘ (activation(z) - z)`` of ``z = x W / sqrt(n_in) + b``, then dropout.

    The first one reads ``x ∘ s / sqrt(inputs)``, computed as ``x (s ∘ W)``: a trained scale for
    each input, 1 at the start, and the root of the inputs that a member really uses, so that
    padding changes nothing.

    Parameters
    ----------
    name, n_in, n_out, dropout, incoming, embedded
        As in `autoimb.nn.layers.Linear`.
    activation : {"relu", "silu", "selu"}
    """

    def __init__(
        self,
        name: str,
        n_in: int,
        n_out: int,
        *,
        activation: Activation,
        dropout: float,
        incoming: float = 1.0,
        embedded: int | None = None,
    ) -> None:
        self.name, self.n_in, self.n_out = name, n_in, n_out
        self.node = Node(name, activation, dropout)
        self._incoming, self._embedded = incoming, embedded
        self._first = embedded is not None
        self._gain = 1.0 if self._first else 1.0 / sqrt(n_in)

    def declared_parameters(self) -> list[Parameter]:
        """Return the parameters that the layer needs."""
        weight, row, column = (self.n_in, self.n_out), (1, self.n_out), (self.n_in, 1)
        front = [
            Parameter(f"{self.name}.scale", column, "ones", padded=True, rate=_FAST),
            Parameter(f"{self.name}.gain", column, "fan", False, padded=True, rate=0.0),
        ]
        return [
            *(front if self._first else ()),
            Parameter(f"{self.name}.weight", weight, "normal", padded=self._first),
            Parameter(f"{self.name}.bias", row, "zeros", False, rate=SLOW),
            Parameter(f"{self.name}.slope", row, "ones", rate=SLOW),
        ]

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Bind the layer to its views of the pack's parameters."""
        self._buffers = buffers
        names = ("weight", "bias", "slope")
        self._weight, self._bias, slope = (
            parameters.value(f"{self.name}.{name}") for name in names
        )
        self._weight_gradient, self._bias_gradient, slope_gradient = (
            parameters.gradient(f"{self.name}.{name}") for name in names
        )
        self.node.bind(buffers, slope, slope_gradient)
        if self._first:
            self._front = parameters.value(f"{self.name}.scale")
            self._root = parameters.value(f"{self.name}.gain")
            self._front_gradient = parameters.gradient(f"{self.name}.scale")

    def _scaled(self) -> Tensor:
        """Return the weights, multiplied by the scales of the inputs in the first layer."""
        if not self._first:
            return self._weight
        shape = (self._weight.shape[0], self.n_in, 1, self.n_out)
        wide = self._buffers.get(self.name + ".wide", *shape)
        kernels = self._buffers.kernels
        return kernels.scale_weights(self._weight, self._front, self._root, wide)[:, :, 0]

    def _affine(self, x: Tensor, training: bool) -> Tensor:
        """Return the input of the activation, ``(M, N, n_out)``."""
        self._x = x
        self._alpha = self._gain * (self._incoming if training else 1.0)
        self._wide = self._scaled()
        z = self._buffers.get(self.name, x.shape[0], x.shape[1], self.n_out)
        return self._buffers.kernels.affine(x, self._wide, self._bias, self._alpha, z)

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, N, n_in) -> (M, N, n_out)``."""
        z = self._affine(x, pool is not None)
        return self.node.forward(z, self.node.mask(pool, x.shape[1], self.n_out))

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the parameters' gradients; return that of x, see `Layer`."""
        kernels = self._buffers.kernels
        gradient = self.node.backward(gradient, self._bias_gradient)
        needed = self._wide[:, : self._embedded] if self._first else self._wide
        back = self._buffers.get(self.name + ".back", *self._x.shape[:2], needed.shape[1])
        kernels.product(gradient, needed.mT, self._alpha, back)
        if not self._first:
            kernels.product(self._x.mT, gradient, self._alpha, self._weight_gradient)
            return back
        # The scaled weights are not needed any more, so their gradient overwrites them.
        kernels.product(self._x.mT, gradient, self._alpha, self._wide)
        kernels.scale_weights_backward(
            self._wide[:, :, None],
            self._weight,
            self._front,
            self._root,
            self._weight_gradient,
            self._front_gradient,
        )
        return back

    def init_from_rows(self, x: Tensor, streams: Sequence[np.random.Generator]) -> Tensor:
        """Adjust weights and biases to the layer's outputs for rows ``(M, n, n_in)``."""
        spread, bias = _start(self._affine(x, training=False), streams)
        self._weight.div_(spread)
        self._bias.copy_(bias)
        return self.forward(x, None)


class ScaledHeads(Heads):
    """Heads in the same parametrisation.

    Parameters
    ----------
    name, n_in, n_classes, incoming
        As in `autoimb.nn.layers.Heads`.
    """

    def __init__(self, name: str, n_in: int, *, n_classes: int, incoming: float = 1.0) -> None:
        super().__init__(name, n_in, k=1, n_classes=n_classes, incoming=incoming)
        self.gain = 1.0 / sqrt(n_in)

    def declared_parameters(self) -> list[Parameter]:
        """Return the parameters that the layer needs."""
        weight, bias = super().declared_parameters()
        return [replace(weight, init="normal"), replace(bias, rate=SLOW)]

    def init_from_rows(self, x: Tensor, streams: Sequence[np.random.Generator]) -> Tensor:
        """Adjust weights and biases to the heads' outputs for rows ``(M, n, n_in)``."""
        # (M, 1, C, n) -> (M, n, C)
        spread, bias = _start(self.forward(x, None)[:, 0].mT, streams)
        self._weight[:, 0].div_(spread.mT)
        self._bias[:, 0].copy_(bias)
        return self.forward(x, None)


def _start(z: Tensor, streams: Sequence[np.random.Generator]) -> tuple[Tensor, Tensor]:
    """Return each unit's standard deviation over rows ``(M, n, O)`` and bias, both ``(M, 1, O)``.

    The bias moves the zero of the unit to a random mean of a few rows ("he+5" in the paper, after
    Steinwart, 2019).
    """
    spread = z.std(1, correction=0, keepdim=True)
    spread[spread < 1e-6] = 1.0  # a unit without input
    rows, units = z.shape[1:]
    bias = torch.empty_like(spread)
    for member, random in enumerate(streams):
        # Exponential draws that are divided by their sum are uniform on the simplex.
        chosen = torch.from_numpy(random.integers(rows, size=(_CORNERS, units)))
        shares = random.exponential(size=(_CORNERS, units))
        mixed = torch.from_numpy(shares / shares.sum(0)).to(z.device, z.dtype)
        mixture = z[member].gather(0, chosen.to(z.device)).mul_(mixed)
        bias[member] = -mixture.sum(0) / spread[member]
    return spread, bias
