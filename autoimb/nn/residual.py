"""Layers of a residual network (Gorishniy et al., 2021, "Revisiting deep learning models").

Layer normalization (Ba et al., 2016) takes the place of the paper's batch normalization: the output
of a row then depends on no other row, in training as in prediction, and members need no running
means.
"""

from __future__ import annotations

from torch import Tensor

from autoimb.nn.dropout import MaskPool
from autoimb.nn.layers import Buffers, Linear, Node
from autoimb.nn.parameters import Parameter, Parameters
from autoimb.nn.spec import EXPANSION, Activation

__all__ = ["ActiveNorm", "Block", "Norm"]


class Norm:
    """``(x - mean) / deviation`` over a row's units, then each unit's scale and shift.

    Parameters
    ----------
    name : str
        Prefix of the parameters' names.
    width : int
        Units.
    """

    def __init__(self, name: str, width: int) -> None:
        self.name, self.width = name, width

    def declared_parameters(self) -> list[Parameter]:
        """Return the parameters that the layer needs."""
        return [
            Parameter(f"{self.name}.scale", (1, self.width), "ones", False),
            Parameter(f"{self.name}.shift", (1, self.width), "zeros", False),
        ]

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Bind the layer to its views of the pack's parameters."""
        self._buffers = buffers
        self._scale = parameters.value(f"{self.name}.scale")
        self._shift = parameters.value(f"{self.name}.shift")
        self._scale_gradient = parameters.gradient(f"{self.name}.scale")
        self._shift_gradient = parameters.gradient(f"{self.name}.shift")

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:  # noqa: ARG002  drops nothing
        """Map ``(M, N, width) -> (M, N, width)``; x may be overwritten afterwards."""
        self._unit = self._buffers.get(self.name + ".unit", *x.shape)
        self._inverse = self._buffers.get(self.name + ".inverse", *x.shape[:2], 1)
        z = self._buffers.get(self.name, *x.shape)
        return self._buffers.kernels.normalize(
            x, self._scale, self._shift, self._unit, self._inverse, z
        )

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the parameters' gradients; return the gradient of x."""
        return self._buffers.kernels.normalize_backward(
            gradient,
            self._unit,
            self._inverse,
            self._scale,
            self._scale_gradient,
            self._shift_gradient,
        )


class ActiveNorm:
    """Normalization and activation before the heads of a residual network.

    Parameters
    ----------
    name, width
        As in `Norm`.
    activation : {"relu", "silu", "selu"}
    """

    def __init__(self, name: str, width: int, *, activation: Activation) -> None:
        self._norm = Norm(name, width)
        self._node = Node(name, activation, 0.0)

    def declared_parameters(self) -> list[Parameter]:
        """Return the parameters that the layer needs."""
        return self._norm.declared_parameters()

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Bind the layer to its views of the pack's parameters."""
        self._norm.bind(parameters, buffers)
        self._node.bind(buffers)

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, N, width) -> (M, N, width)``."""
        return self._node.forward(self._norm.forward(x, pool), None)

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the parameters' gradients; return the gradient of x."""
        return self._norm.backward(self._node.backward(gradient, None))


class Block:
    """``x + W2 dropout(activation(W1 norm(x) + b1)) + b2``.

    Parameters
    ----------
    name : str
        Prefix of the parameters' names.
    width : int
        Width of x; the block is `EXPANSION` times as wide inside.
    activation : {"relu", "silu", "selu"}
    dropout, rescaling : float
        Share p of inner units set to zero in training, and 1/(1-p).
    """

    def __init__(
        self, name: str, width: int, *, activation: Activation, dropout: float, rescaling: float
    ) -> None:
        inner = EXPANSION * width
        self._norm = Norm(f"{name}.norm", width)
        self._inner = Linear(f"{name}.inner", width, inner, activation=activation, dropout=dropout)
        self._outer = Linear(f"{name}.outer", inner, width, activation=None, incoming=rescaling)

    def declared_parameters(self) -> list[Parameter]:
        """Return the parameters that the layer needs."""
        layers = (self._norm, self._inner, self._outer)
        return [p for layer in layers for p in layer.declared_parameters()]

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Bind the layer to its views of the pack's parameters."""
        for layer in (self._norm, self._inner, self._outer):
            layer.bind(parameters, buffers)

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Overwrite x, ``(M, N, width)``, by the block's output."""
        return x.add_(
            self._outer.forward(self._inner.forward(self._norm.forward(x, pool), pool), pool)
        )

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the parameters' gradients; return the gradient of x."""
        back = self._inner.backward(self._outer.backward(gradient))
        return gradient.add_(self._norm.backward(back))
