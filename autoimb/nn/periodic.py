"""Periodic embeddings of numbers, with bias and the number itself: PBLD."""

from __future__ import annotations

from math import pi

from torch import Tensor

from autoimb.nn.layers import Buffers
from autoimb.nn.parameters import Parameter, Parameters
from autoimb.nn.plain import Waves
from autoimb.nn.spec import FREQUENCIES, PERIODIC_DIM

__all__ = ["Periodic"]

_FIELDS = ("frequency", "phase", "weight", "bias")


class Periodic:
    """Embeddings ``cos(2π w x + b) V + c`` of numbers x, which remain inputs as well.

    Periodic, bias, linear, densenet (Holzmüller et al., 2024, RealMLP), with the widths and the
    scale of the frequencies of the paper.

    Parameters
    ----------
    name : str
        Prefix of the parameters' names.
    numbers : int
        F, the number of leading dense columns that are numbers.
    rate : float
        Factor of the learning rate.
    """

    SIGMA = 0.1

    def __init__(self, name: str, numbers: int, *, rate: float) -> None:
        self.name, self.numbers, self.rate = name, numbers, rate

    def declared_parameters(self) -> list[Parameter]:
        """Return the parameters that the layer needs."""
        many, dim, f, rate = FREQUENCIES, PERIODIC_DIM, self.numbers, self.rate
        return [
            Parameter(
                f"{self.name}.frequency", (f, 1, many), "normal", True, self.SIGMA, rate=rate
            ),
            Parameter(f"{self.name}.phase", (f, 1, many), "uniform", True, pi, rate=rate),
            Parameter(f"{self.name}.weight", (f, many, dim), "uniform", rate=rate),
            Parameter(f"{self.name}.bias", (f, 1, dim), "uniform", fan=many, rate=rate),
        ]

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Bind the layer to its views of the parameters, a row for each number of each member."""
        self._buffers = buffers
        self._value, self._gradient = (
            Waves(*(view(f"{self.name}.{field}").flatten(0, 1) for field in _FIELDS))
            for view in (parameters.value, parameters.gradient)
        )

    def forward(self, x: Tensor, out: Tensor) -> None:
        """Map the numbers ``(M, B, F) -> (M, B, F * DIM)``."""
        self._x = x
        self._buffers.kernels.waves(x, self._value, out)

    def backward(self, gradient: Tensor) -> None:
        """Write the parameters' gradients from ``(M, B, F * DIM)``."""
        self._buffers.kernels.waves_backward(gradient, self._x, self._value, self._gradient)
