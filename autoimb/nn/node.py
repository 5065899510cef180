"""Activation and dropout in place: the end of every hidden layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from autoimb.nn.dropout import MaskPool

__all__ = ["Activation", "Node", "activate", "derive"]

Activation = Literal["relu", "silu", "selu"]

_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805  # of SELU (Klambauer et al., 2017)


def _relu_backward(gradient: Tensor, before: Tensor) -> None:
    torch.ops.aten.threshold_backward.grad_input(gradient, before, 0, grad_input=gradient)


def _silu_backward(gradient: Tensor, before: Tensor) -> None:
    torch.ops.aten.silu_backward.grad_input(gradient, before, grad_input=gradient)


def _selu_backward(gradient: Tensor, before: Tensor) -> None:
    torch.ops.aten.elu_backward.grad_input(
        gradient, _ALPHA, _SCALE, 1.0, False, before, grad_input=gradient
    )


_IN_PLACE: dict[Activation, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], None]]] = {
    "relu": (torch.relu_, _relu_backward),
    "silu": (partial(torch.nn.functional.silu, inplace=True), _silu_backward),
    "selu": (torch.selu_, _selu_backward),
}


def activate(name: Activation, z: Tensor) -> Tensor:
    """Overwrite z by its activation."""
    return _IN_PLACE[name][0](z)


def derive(name: Activation, gradient: Tensor, before: Tensor) -> Tensor:
    """Overwrite a gradient of activated values by that of the values before, and return it."""
    _IN_PLACE[name][1](gradient, before)
    return gradient


class Node:
    """Activation, then dropout.

    Parameters
    ----------
    activation : {"relu", "silu", "selu"} or None
        None leaves the values as they are.
    dropout : float
        Share of values set to zero in training.
    """

    def __init__(self, activation: Activation | None, dropout: float) -> None:
        self.activation = activation
        self.dropout = dropout
        self._before: Tensor | None = None
        self._mask: Tensor | None = None

    def mask(self, pool: MaskPool | None, rows: int, width: int) -> Tensor | None:
        """Return the mask ``(M, rows, width)`` of a training step, if there is one."""
        return None if pool is None or self.dropout == 0.0 else pool.mask(rows, width)

    def forward(self, z: Tensor, mask: Tensor | None) -> Tensor:
        """Overwrite z by its activation times the mask."""
        self._mask = mask
        if self.activation is not None:
            self._before = z if self.activation == "relu" else z.clone()
            activate(self.activation, z)
        if mask is not None:
            z.mul_(mask)
        return z

    def backward(self, gradient: Tensor) -> Tensor:
        """Overwrite the gradient of the output by that of z."""
        # where a mask is 0, the output of a ReLU is 0 as well
        if self._mask is not None and self.activation != "relu":
            gradient.mul_(self._mask)
        if self.activation is not None:
            assert self._before is not None
            derive(self.activation, gradient, self._before)
        return gradient
