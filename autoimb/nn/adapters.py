"""The hidden layers of the full TabM (Gorishniy et al., 2025): shared weights, k sets of scales."""

from __future__ import annotations

import torch
from torch import Tensor

from autoimb.nn.buffers import Buffers
from autoimb.nn.dropout import MaskPool
from autoimb.nn.layers import Spread
from autoimb.nn.node import Node
from autoimb.nn.parameters import Parameter, Parameters
from autoimb.nn.plain import Activation

__all__ = ["AdapterLinear"]


class AdapterLinear:
    """``activation(((x ∘ r_k) W) ∘ s_k + b_k)``, then dropout: BatchEnsemble (Wen et al., 2020).

    All scales but the first layer's r start at 1, and the k biases alike.

    Parameters
    ----------
    name, n_in, n_out, activation, dropout, incoming
        As in `autoimb.nn.layers.Linear`.
    k : int
        Implicit members.
    first : tuple of int and {"signs", "normal"}, or None
        Of a network's first layer, whose copies read the same rows: ``embedded`` as in
        `autoimb.nn.layers.Linear`, and how r starts; in later ones it starts at 1.
    """

    def __init__(
        self,
        name: str,
        n_in: int,
        n_out: int,
        *,
        k: int,
        activation: Activation,
        dropout: float,
        incoming: float = 1.0,
        first: tuple[int, Spread] | None = None,
    ) -> None:
        self.name, self.n_in, self.n_out, self.k = name, n_in, n_out, k
        self._first = first is not None
        self._embedded = None if first is None else first[0]
        self._spread = None if first is None else first[1]
        self.incoming = incoming
        self.node = Node(name, activation, dropout)

    def wanted(self) -> list[Parameter]:
        """Say which parameters the layer needs."""
        into, each, padded = (self.n_in, self.k), (self.k, self.n_out), self._first
        return [
            Parameter(f"{self.name}.weight", (self.n_in, self.n_out), "uniform", padded=padded),
            Parameter(
                f"{self.name}.scale",
                into,
                self._spread or "ones",
                False,
                padded=padded,
                alike="feature",
            ),
            Parameter(f"{self.name}.out", each, "ones", False),
            Parameter(f"{self.name}.bias", each, "uniform", False, fan=self.n_in, alike="all"),
        ]

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Take the views of the pack's parameters."""
        self._buffers = buffers
        self.node.bind(buffers)
        names = ("weight", "scale", "out", "bias")
        self._weight, scale, out, bias = (parameters.value(f"{self.name}.{own}") for own in names)
        self._weight_gradient, self._scale_gradient, self._out_gradient, self._bias_gradient = (
            parameters.gradient(f"{self.name}.{own}") for own in names
        )
        # (M, n_in, k) -> (M, 1, k, n_in) ; (M, k, n_out) -> (M, 1, k, n_out)
        self._scale, self._out, self._bias = scale.mT[:, None], out[:, None], bias[:, None]

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, B, n_in)`` or ``(M, B * k, n_in)`` to ``(M, B * k, n_out)``.

        The k copies of a row stand side by side; in the first layer they share one.
        """
        members, k = len(x), self.k
        # (M, B * k, I) -> (M, B, k, I), or (M, B, 1, I)
        self._x = x.view(members, -1, 1 if self._first else k, self.n_in)
        batch = self._x.shape[1]
        self._alpha = 1.0 if pool is None else self.incoming
        self._scaled = self._buffers.get(self.name + ".scaled", members, batch, k, self.n_in)
        torch.mul(self._x, self._scale, out=self._scaled)
        self._z = self._buffers.get(self.name + ".z", members, batch * k, self.n_out)
        product = self._buffers.kernels.product
        product(self._scaled.flatten(1, 2), self._weight, self._alpha, self._z)
        self._z = self._z.view(members, batch, k, self.n_out)
        y = self._buffers.get(self.name, members, batch, k, self.n_out)
        torch.addcmul(self._bias, self._z, self._out, out=y)
        mask = self.node.mask(pool, batch * k, self.n_out)
        return self.node.forward(y.flatten(1, 2), mask)

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the parameters' gradients; return that of x, see `Layer`."""
        gradient, product = self.node.backward(gradient, None), self._buffers.kernels.product
        apart = gradient.view_as(self._z)
        torch.sum(apart, 1, out=self._bias_gradient)
        torch.sum(self._z.mul_(apart), 1, out=self._out_gradient)
        apart.mul_(self._out)
        scaled = self._scaled.flatten(1, 2)
        product(scaled.mT, gradient, self._alpha, self._weight_gradient)
        back = product(gradient, self._weight.mT, self._alpha, scaled).view_as(self._scaled)
        along = self._buffers.get(self.name + ".along", *back.shape)
        torch.sum(torch.mul(back, self._x, out=along), 1, out=self._scale_gradient.mT)
        back.mul_(self._scale)
        return back[..., : self._embedded].sum(2) if self._first else back.flatten(1, 2)
