"""The hidden layers of the packed TabM: k perceptrons side by side that share no weight."""

from __future__ import annotations

from torch import Tensor

from autoimb.nn.dropout import MaskPool
from autoimb.nn.layers import Linear
from autoimb.nn.parameters import Parameter
from autoimb.nn.plain import Activation, copies_apart

__all__ = ["PackedFront", "PackedLinear"]


class PackedFront(Linear):
    """The first maps, which read the same rows: one product serves them all.

    Parameters
    ----------
    name, n_in, n_out, activation, dropout, embedded
        As in `autoimb.nn.layers.Linear`.
    k : int
        Implicit members.
    """

    def __init__(
        self,
        name: str,
        n_in: int,
        n_out: int,
        *,
        embedded: int,
        k: int,
        activation: Activation,
        dropout: float,
    ) -> None:
        super().__init__(
            name, n_in, k * n_out, activation=activation, dropout=dropout, embedded=embedded
        )
        self._k = k

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, B, n_in) -> (M, B * k, n_out)``, the k copies of a row side by side."""
        wide = super().forward(x, pool)
        return wide.view(len(x), x.shape[1] * self._k, -1)

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the parameters' gradients; return that of the embedded columns of x."""
        return super().backward(gradient.view(*self._x.shape[:2], self.n_out))


class PackedLinear(Linear):
    """A later map of each of the k: ``activation(x_k W_k + b_k)``, then dropout.

    Parameters
    ----------
    name, width, activation, dropout, incoming
        As in `autoimb.nn.layers.Linear`.
    k : int
        Implicit members.
    """

    def __init__(
        self,
        name: str,
        width: int,
        *,
        k: int,
        activation: Activation,
        dropout: float,
        incoming: float,
    ) -> None:
        super().__init__(
            name, width, width, activation=activation, dropout=dropout, incoming=incoming
        )
        self._k = k

    def wanted(self) -> list[Parameter]:
        """Say which parameters the layer needs."""
        weight = (self._k, self.n_in, self.n_out)
        return [
            Parameter(f"{self.name}.weight", weight, "uniform"),
            Parameter(f"{self.name}.bias", (self._k, 1, self.n_out), "zeros", False),
        ]

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, B * k, width)`` to the same shape."""
        members, rows = x.shape[:2]
        self._alpha = 1.0 if pool is None else self.incoming
        self._x = copies_apart(x, self._k)
        z = self._buffers.get(self.name + ".apart", *self._x.shape)
        weight, bias = self._weight.flatten(0, 1), self._bias.flatten(0, 1)
        self._buffers.kernels.affine(self._x, weight, bias, self._alpha, z)
        # (M, B * k, H) -> (M, B, k * H), where each column has a bias of its own
        y = self._together(z, members, self.name).view(members, rows // self._k, -1)
        return self.node.forward(y, self.node.mask(pool, *y.shape[1:])).view(members, rows, -1)

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the parameters' gradients; return that of x."""
        (members, rows), product = gradient.shape[:2], self._buffers.kernels.product
        side = gradient.view(members, rows // self._k, -1)
        bias = self._bias_gradient.view(members, 1, -1)
        apart = copies_apart(self.node.backward(side, bias).view_as(gradient), self._k)
        product(self._x.mT, apart, self._alpha, self._weight_gradient.flatten(0, 1))
        back = self._buffers.get(self.name + ".apart", *self._x.shape)
        product(apart, self._weight.flatten(0, 1).mT, self._alpha, back)
        return self._together(back, members, self.name + ".back")

    def _together(self, apart: Tensor, members: int, owner: str) -> Tensor:
        """Put the copies of a row side by side: (M * k, B, H) -> (M, B * k, H)."""
        batch, width = apart.shape[1:]
        side = self._buffers.get(owner, members, batch, self._k, width)
        side.copy_(apart.view(members, self._k, batch, width).transpose(1, 2))
        return side.flatten(1, 2)
