"""Packed layers with hand-written gradients.

Every tensor carries a leading member axis ``M``. A layer's ``forward`` keeps what its
``backward`` needs; ``backward`` takes the gradient of the layer's output, **overwrites** it,
writes the parameters' gradients into the pack's flat vector and returns the gradient of the
input. No autograd graph is built: the linear map, bias, activation and dropout are one node
whose elementwise work happens in place.

Dropout masks hold zeros and ones; the factor 1/(1-p) is given to the *next* layer as the
``alpha`` of its matrix products (`incoming`), where it costs nothing.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

from autoimb.nn.dropout import MaskPool
from autoimb.nn.kernels import Kernels
from autoimb.nn.parameters import Parameter, Parameters
from autoimb.nn.plain import Entries
from autoimb.nn.spec import Activation

__all__ = ["Buffers", "Embedding", "Heads", "Layer", "Linear", "Node", "Spread", "SpreadLinear"]

Spread = Literal["signs", "normal"]

# A training batch, a chunk of rows to predict, and the last, shorter chunk.
_MAX_SHAPES = 3


class Buffers:
    """Arrays that are allocated once for each shape and used again at every step.

    Parameters
    ----------
    kernels : Kernels
        Operations that fill the arrays.
    dtype, device
        Type and device of all arrays.
    """

    def __init__(self, kernels: Kernels, dtype: torch.dtype, device: torch.device) -> None:
        self.kernels = kernels
        self._dtype, self._device = dtype, device
        self._arrays: dict[str, dict[tuple[int, ...], Tensor]] = {}

    def get(self, owner: str, *shape: int) -> Tensor:
        """Return the array that belongs to this owner and shape; its content is undefined."""
        by_shape = self._arrays.setdefault(owner, {})
        if shape not in by_shape:
            if len(by_shape) == _MAX_SHAPES:
                del by_shape[next(iter(by_shape))]  # the oldest
            by_shape[shape] = torch.empty(shape, dtype=self._dtype, device=self._device)
        return by_shape[shape]


class Layer(Protocol):
    """Element of the stack that a network consists of."""

    def declared_parameters(self) -> list[Parameter]:
        """Return the parameters that the layer needs."""

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Bind the layer to its views of the pack's parameters."""

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, N, n_in) -> (M, N', n_out)``; `pool` is None except in training."""

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the parameters' gradients; return the gradient of x.

        A network's first layer returns the gradient of its ``embedded`` columns alone.
        """


class Node:
    """Activation, which a slope may mix with the identity, then dropout.

    Parameters
    ----------
    name : str
        Prefix of the names of its buffers.
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
        """Bind the node to its buffers; a slope and its gradient have shape (M, 1, width)."""
        self._buffers = buffers
        self._slope, self._slope_gradient = slope, slope_gradient
        # The derivative of a ReLU follows from its output, so its input may be overwritten.
        self._in_place = self.activation in (None, "relu") and slope is None

    def mask(self, pool: MaskPool | None, rows: int, width: int) -> Tensor | None:
        """Return the mask ``(M, rows, width)`` of a training step, if there is one."""
        return None if pool is None or self.dropout == 0.0 else pool.mask(rows, width)

    def forward(self, z: Tensor, mask: Tensor | None) -> Tensor:
        """Return ``z + slope ∘ (activation(z) - z)`` times the mask; z may be overwritten."""
        self._preactivation, self._mask = z, mask
        if self.activation is None and mask is None:
            return z
        out = z if self._in_place else self._buffers.get(self._name + ".active", *z.shape)
        return self._buffers.kernels.activate(z, self.activation, self._slope, mask, out)

    def backward(self, gradient: Tensor, into_bias: Tensor | None) -> Tensor:
        """Overwrite the gradient of the output by that of z; write its sum over rows."""
        # Where a mask is 0 the output of a ReLU is 0, so its derivative applies the mask already.
        mask = None if self.activation == "relu" and self._in_place else self._mask
        return self._buffers.kernels.derive(
            gradient,
            self._preactivation,
            self.activation,
            self._slope,
            mask,
            self._slope_gradient,
            into_bias,
        )


class Linear:
    """``activation(x W + b)``, then dropout.

    Parameters
    ----------
    name : str
        Prefix of the parameters' names.
    n_in, n_out : int
        Widths.
    activation : {"relu", "silu", "selu"} or None
    dropout : float
        Share of outputs set to zero in training.
    incoming : float
        1/(1-p) of the layer before; 1 where it drops nothing.
    embedded : int or None
        For a network's first layer, the number of leading inputs that are learned embeddings. The
        others are data: they need no gradient, and a member may use fewer of them.
    """

    def __init__(
        self,
        name: str,
        n_in: int,
        n_out: int,
        *,
        activation: Activation | None,
        dropout: float = 0.0,
        incoming: float = 1.0,
        embedded: int | None = None,
    ) -> None:
        self.name, self.n_in, self.n_out = name, n_in, n_out
        self.incoming = incoming
        self.node = Node(name, activation, dropout)
        self._embedded = embedded

    def declared_parameters(self) -> list[Parameter]:
        """Return the parameters that the layer needs."""
        weight, padded = (self.n_in, self.n_out), self._embedded is not None
        return [
            Parameter(f"{self.name}.weight", weight, "uniform", padded=padded),
            Parameter(f"{self.name}.bias", (1, self.n_out), "zeros", False),
        ]

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Bind the layer to its views of the pack's parameters."""
        self._buffers = buffers
        self.node.bind(buffers)
        self._weight = parameters.value(f"{self.name}.weight")
        # Weights of the inputs that need a gradient.
        self._needed = self._weight[:, : self._embedded]
        self._bias = parameters.value(f"{self.name}.bias")
        self._weight_gradient = parameters.gradient(f"{self.name}.weight")
        self._bias_gradient = parameters.gradient(f"{self.name}.bias")

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, N, n_in) -> (M, N, n_out)``."""
        self._x = x
        self._alpha = 1.0 if pool is None else self.incoming
        z = self._buffers.get(self.name, x.shape[0], x.shape[1], self.n_out)
        self._buffers.kernels.affine(x, self._weight, self._bias, self._alpha, z)
        return self.node.forward(z, self.node.mask(pool, x.shape[1], self.n_out))

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the parameters' gradients; return the gradient of x, see `Layer`."""
        gradient = self.node.backward(gradient, self._bias_gradient)
        product = self._buffers.kernels.product
        product(self._x.mT, gradient, self._alpha, self._weight_gradient)
        back = self._buffers.get(self.name + ".back", *self._x.shape[:2], self._needed.shape[1])
        return product(gradient, self._needed.mT, self._alpha, back)


class SpreadLinear:
    """First layer of TabM (mini): k copies of the input, each scaled by its own vector.

    ``(x ∘ r_k) W`` is computed as ``x (r_k ∘ W)``: the k scaled weights stand side by side, so
    that one product serves all copies and the input is never copied (Gorishniy et al., 2025).

    Parameters
    ----------
    name, n_in, n_out, activation, dropout, embedded
        As in `Linear`.
    k : int
        Implicit members.
    spread : {"signs", "normal"}
        Distribution of the initial r.
    """

    def __init__(
        self,
        name: str,
        n_in: int,
        n_out: int,
        *,
        embedded: int,
        k: int,
        spread: Spread,
        activation: Activation,
        dropout: float,
    ) -> None:
        self.name, self.n_in, self.n_out, self.k = name, n_in, n_out, k
        self._embedded = embedded
        self.node = Node(name, activation, dropout)
        self._spread: Spread = spread

    def declared_parameters(self) -> list[Parameter]:
        """Return the parameters that the layer needs."""
        return [
            Parameter(f"{self.name}.weight", (self.n_in, self.n_out), "uniform", True, 1.0, True),
            Parameter(f"{self.name}.scale", (self.n_in, self.k), self._spread, False, 1.0, True),
            Parameter(f"{self.name}.bias", (1, self.n_out), "zeros", False),
        ]

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Bind the layer to its views of the pack's parameters."""
        self._buffers = buffers
        self.node.bind(buffers)
        self._weight = parameters.value(f"{self.name}.weight")
        self._scale = parameters.value(f"{self.name}.scale")
        self._bias = parameters.value(f"{self.name}.bias")
        self._weight_gradient = parameters.gradient(f"{self.name}.weight")
        self._scale_gradient = parameters.gradient(f"{self.name}.scale")
        self._bias_gradient = parameters.gradient(f"{self.name}.bias")

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, B, n_in) -> (M, B * k, n_out)``, the k copies of a row side by side."""
        members, batch = x.shape[:2]
        self._x, kernels = x, self._buffers.kernels
        wide = self._buffers.get(self.name + ".wide", members, self.n_in, self.k, self.n_out)
        self._wide = kernels.scale_weights(self._weight, self._scale, None, wide).flatten(2)
        z = self._buffers.get(self.name, members, batch, self.k * self.n_out)
        # All copies share the bias, which is repeated for the single product.
        bias = self._buffers.get(self.name + ".bias", members, 1, self.k, self.n_out)
        bias.copy_(self._bias[:, :, None])
        kernels.affine(x, self._wide, bias.view(members, 1, -1), 1.0, z)
        mask = self.node.mask(pool, batch * self.k, self.n_out)
        return self.node.forward(z.view(members, batch * self.k, self.n_out), mask)

    def backward(self, gradient: Tensor) -> Tensor:
        """Write the parameters' gradients; return the gradient of x, see `Layer`."""
        gradient = self.node.backward(gradient, self._bias_gradient)
        kernels, (members, batch) = self._buffers.kernels, self._x.shape[:2]
        side, wide = gradient.view(members, batch, self.k * self.n_out), self._wide
        back = self._buffers.get(self.name + ".back", members, batch, self._embedded)
        kernels.product(side, wide[:, : self._embedded].mT, 1.0, back)
        # The scaled weights are not needed any more, so their gradient overwrites them.
        kernels.product(self._x.mT, side, 1.0, wide)
        kernels.scale_weights_backward(
            wide.view(members, self.n_in, self.k, self.n_out),
            self._weight,
            self._scale,
            None,
            self._weight_gradient,
            self._scale_gradient,
        )
        return back


class Heads:
    """Linear maps to the classes, one for each implicit member.

    The weights are stored class by class, as a product with so few classes needs long rows.

    Parameters
    ----------
    name, n_in
        As in `Linear`.
    k : int
        Implicit members (1 in a plain network).
    n_classes : int
    incoming : float
        1/(1-p) of the layer before.
    """

    gain = 1.0  # factor of the products

    def __init__(
        self, name: str, n_in: int, *, k: int, n_classes: int, incoming: float = 1.0
    ) -> None:
        self.name, self.n_in, self.k, self.n_classes = name, n_in, k, n_classes
        self.incoming = incoming

    def declared_parameters(self) -> list[Parameter]:
        """Return the parameters that the layer needs."""
        return [
            Parameter(
                f"{self.name}.weight", (self.k, self.n_classes, self.n_in), "uniform", inputs=-1
            ),
            Parameter(f"{self.name}.bias", (self.k, 1, self.n_classes), "zeros", False),
        ]

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Bind the layer to its views of the pack's parameters."""
        self._buffers = buffers
        self._weight = parameters.value(f"{self.name}.weight")
        self._weight_gradient = parameters.gradient(f"{self.name}.weight")
        self._bias = parameters.value(f"{self.name}.bias")
        self._bias_gradient = parameters.gradient(f"{self.name}.bias")

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, B * k, n_in) -> (M, k, C, B)``: the rows last, see `autoimb.space.loss`."""
        members, batch = x.shape[0], x.shape[1] // self.k
        self._x = x
        self._alpha = self.gain * (1.0 if pool is None else self.incoming)
        z = self._buffers.get(self.name, members, self.k, self.n_classes, batch)
        return self._buffers.kernels.heads(x, self._weight, self._bias, self._alpha, z)

    def backward(self, gradient: Tensor) -> Tensor:
        """Return the gradient of x, ``(M, B * k, n_in)``, from that of the logits."""
        return self._buffers.kernels.heads_backward(
            gradient.contiguous(),
            self._x,
            self._weight,
            self._alpha,
            self._weight_gradient,
            self._bias_gradient,
            self._buffers.get(self.name + ".back", *self._x.shape),
        )


class Embedding:
    """Learned vectors of the levels of wide category columns.

    The levels of all columns share one table, one column after the other.

    Parameters
    ----------
    name : str
    cardinalities : tuple of int
        Levels of each column.
    dim : int
        Length of a vector.
    """

    def __init__(self, name: str, cardinalities: tuple[int, ...], dim: int) -> None:
        self.name, self.dim = name, dim
        self.levels = sum(cardinalities)
        firsts = [sum(cardinalities[:i]) for i in range(len(cardinalities))]
        self._first = torch.tensor(firsts, dtype=torch.int64)

    def declared_parameters(self) -> list[Parameter]:
        """Return the parameters that the layer needs."""
        return [Parameter(f"{self.name}.table", (self.levels, self.dim), "normal", True, 0.3)]

    def bind(self, parameters: Parameters, buffers: Buffers) -> None:
        """Bind the layer to its views of the pack's parameters."""
        self._buffers = buffers
        self._table = parameters.value(f"{self.name}.table").view(-1, self.dim)
        self._gradient = parameters.gradient(f"{self.name}.table").view(-1, self.dim)
        starts = torch.arange(parameters.members, dtype=torch.int64) * self.levels
        # (M, 1, Q): the row of the shared table at which the levels of a member's column begin.
        self._start = (starts[:, None, None] + self._first).to(self._table.device)

    def silence(self, codes: tuple[int, ...]) -> None:
        """Set the vectors of these codes, which training may lack, to zero in every column."""
        for code in codes:
            self._table[(self._start + code).view(-1)] = 0.0

    def forward(self, codes: Tensor, chosen: Tensor | None, out: Tensor) -> None:
        """Write the vectors ``(M, B, Q * dim)`` of codes, ``(M, B, Q)`` or chosen ``(R, Q)``."""
        self._entries = Entries(codes.contiguous(), chosen, self._start)
        self._buffers.kernels.embed(self._table, self._entries, out)

    def backward(self, gradient: Tensor) -> None:
        """Write the table's gradient from that of the vectors, ``(M, B, Q * dim)``."""
        self._buffers.kernels.embed_backward(gradient, self._entries, self._gradient)
