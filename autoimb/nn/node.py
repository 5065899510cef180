"""Activation and dropout: the end of every hidden layer."""

from __future__ import annotations

from torch import Tensor

from autoimb.nn.buffers import Buffers
from autoimb.nn.dropout import MaskPool
from autoimb.nn.plain import Activation

__all__ = ["Node"]


class Node:
    """Activation, which a slope may mix with the identity, then dropout.

    Parameters
    ----------
    name : str
        Of its buffer.
    activation : {"relu", "silu", "selu"} or None
        None leaves the values as they are.
    dropout : float
        Share of values set to zero in training.
    """

    def __init__(self, name: str, activation: Activation | None, dropout: float) -> None:
        self._name = name
        self.activation = activation
        self.dropout = dropout

    def bind(
        self,
        buffers: Buffers,
        slope: Tensor | None = None,
        slope_gradient: Tensor | None = None,
    ) -> None:
        """Take what it computes with and where to; a slope and its gradient are (M, 1, width)."""
        self._buffers = buffers
        self._slope, self._slope_gradient = slope, slope_gradient
        # the derivative of a ReLU is read off its output
        self._in_place = self.activation in (None, "relu") and slope is None

    def mask(self, pool: MaskPool | None, rows: int, width: int) -> Tensor | None:
        """Return the mask ``(M, rows, width)`` of a training step, if there is one."""
        return None if pool is None or self.dropout == 0.0 else pool.mask(rows, width)

    def forward(self, z: Tensor, mask: Tensor | None) -> Tensor:
        """Return ``z + slope ∘ (activation(z) - z)`` times the mask; z may be overwritten."""
        self._before, self._mask = z, mask
        if self.activation is None and mask is None:
            return z
        out = z if self._in_place else self._buffers.get(self._name + ".active", *z.shape)
        return self._buffers.kernels.activate(z, self.activation, self._slope, mask, out)

    def backward(self, gradient: Tensor, into_bias: Tensor | None) -> Tensor:
        """Overwrite the gradient of the output by that of z; write its sum over rows."""
        # where a mask is 0, the output of a ReLU is 0 as well
        mask = None if self.activation == "relu" and self._in_place else self._mask
        return self._buffers.kernels.derive(
            gradient,
            self._before,
            self.activation,
            self._slope,
            mask,
            self._slope_gradient,
            into_bias,
        )
