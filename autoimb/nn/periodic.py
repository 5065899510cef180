"""Periodic embeddings of numbers, with bias and the number itself: PBLD."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from autoimb.nn.layers import Buffers, product
from autoimb.nn.parameters import Parameter, Parameters

__all__ = ["Periodic"]


class Periodic:
    """``cos(2π w x + b) V + c`` for each number x, which also stays itself beside it.

    Periodic, bias, linear, densenet (Holzmüller et al., 2024, RealMLP); widths and the scale of the
    frequencies are theirs.

    Parameters
    ----------
    name : str
        Prefix of the parameters' names.
    numbers : int
        F: so many of the first dense columns are numbers.
    rate : float
        Factor of the learning rate.
    """

    FREQUENCIES = 16
    DIM = 3
    SIGMA = 0.1

    def __init__(self, name: str, numbers: int, *, rate: float) -> None:
        self.name, self.numbers, self.rate = name, numbers, rate
        self.width = numbers * self.DIM

    def wanted(self) -> list[Parameter]:
        """Say which parameters the layer needs."""
        many, dim, f, rate = self.FREQUENCIES, self.DIM, self.numbers, self.rate
        return [
            Parameter(
                f"{self.name}.frequency", (f, 1, many), "normal", True, self.SIGMA, rate=rate
            ),
            Parameter(f"{self.name}.phase", (f, 1, many), "uniform", True, pi, rate=rate),
            Parameter(f"{self.name}.weight", (f, many, dim), "uniform", rate=rate),
            Parameter(f"{self.name}.bias", (f, 1, dim), "uniform", fan=many, rate=rate),
        ]

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Take the views of the pack's parameters, a row for each number of each member."""
        self._buffers = buffers
        value, gradient = (
            {
                own: view(f"{self.name}.{own}").flatten(0, 1)
                for own in ("frequency", "phase", "weight", "bias")
            }
            for view in (parameters.value, parameters.gradient)
        )
        self._value, self._gradient = value, gradient

    def forward(self, x: Tensor) -> Tensor:
        """Map the numbers ``(M, B, F) -> (M, B, F * DIM)``."""
        members, batch = x.shape[:2]
        many, dim = self.FREQUENCIES, self.DIM
        # (M, B, F) -> (M * F, B, 1)
        self._x = self._buffers.get(self.name + ".x", members, self.numbers, batch)
        self._x.copy_(x.mT)
        self._x = self._x.view(-1, batch, 1)
        own = self._value
        self._angle = self._buffers.get(self.name + ".angle", len(self._x), batch, many)
        torch.addcmul(own["phase"], own["frequency"], self._x, value=2 * pi, out=self._angle)
        self._wave = self._buffers.get(self.name + ".wave", len(self._x), batch, many)
        torch.cos(self._angle, out=self._wave)
        z = self._buffers.get(self.name + ".z", len(self._x), batch, dim)
        torch.baddbmm(own["bias"], self._wave, own["weight"], out=z)
        # (M * F, B, dim) -> (M, B, F * dim)
        together = self._buffers.get(self.name, members, batch, self.numbers, dim)
        together.copy_(z.view(members, self.numbers, batch, dim).transpose(1, 2))
        return together.view(members, batch, self.width)

    def backward(self, gradient: Tensor) -> None:
        """Write the parameters' gradients from ``(M, B, F * DIM)``."""
        members, batch = gradient.shape[:2]
        back = self._buffers.get(self.name + ".back", members, self.numbers, batch, self.DIM)
        back.copy_(gradient.reshape(members, batch, self.numbers, -1).transpose(1, 2))
        back = back.view(-1, batch, self.DIM)
        own, into = self._value, self._gradient
        torch.sum(back, 1, keepdim=True, out=into["bias"])
        product(self._wave.mT, back, 1.0, into["weight"])
        angle = product(back, own["weight"].mT, 1.0, self._wave)
        angle.mul_(torch.sin(self._angle, out=self._angle)).neg_()
        torch.sum(angle, 1, keepdim=True, out=into["phase"])
        product(self._x.mT, angle, 2 * pi, into["frequency"])
