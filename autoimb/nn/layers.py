"""Layers of packed networks, each defined in plain torch and computed by compiled code in training.

Every array has a leading axis of the M members of a pack. ``forward`` is the definition of a layer,
by torch's differentiable operations: prediction and training on a GPU use it. ``compute`` returns
the same for a training step on a CPU, by the functions of `autoimb.nn.compiled`, and ``backward``
takes the gradient of the layer's output, **overwrites** it, writes the parameters' gradients into
the pack's flat vector and returns the gradient of the input. No autograd graph is built there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from math import pi, sqrt
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from autoimb.nn.dropout import MaskPool
from autoimb.nn.parameters import Parameter, Parameters
from autoimb.nn.spec import EXPANSION, FREQUENCIES, PERIODIC_DIM, Activation

if TYPE_CHECKING:
    from autoimb.nn.compiled import Array, Integers

__all__ = [
    "SLOW",
    "Block",
    "Dense",
    "Embedding",
    "Heads",
    "Layer",
    "Norm",
    "Periodic",
    "RowLayer",
    "Workspace",
]

SLOW, _FAST = 0.1, 6.0  # factors of the learning rate in RealMLP
_CORNERS = 5  # rows whose random mean a bias is drawn from
_SIGMA = 0.1  # scale of the initial frequencies

_ACTIVE: Mapping[Activation | None, Callable[[Tensor], Tensor]] = {
    None: lambda z: z,
    "relu": torch.relu,
    "silu": functional.silu,
    "selu": torch.selu,
}


class Workspace:
    """Compiled functions, and arrays that are allocated once and used again at every step.

    Attributes
    ----------
    code : module
        `autoimb.nn.compiled`; it is not imported where networks only predict.
    """

    def __init__(self, code: ModuleType) -> None:
        self.code = code
        self._arrays: dict[tuple[str, tuple[int, ...]], Array] = {}

    def get(self, owner: str, *shape: int) -> Array:
        """Return the array that belongs to this owner and shape; its content is undefined."""
        array = self._arrays.get((owner, shape))
        if array is None:
            array = self._arrays[owner, shape] = np.empty(shape, np.float32)
        return array


class Layer:
    """Part of a network: its parameters, and their arrays once it is bound to a pack.

    Parameters
    ----------
    name : str
        Prefix of the parameters' names.
    parameters : sequence of Parameter
        Their names here lack the prefix.

    Attributes
    ----------
    values : dict of str to Tensor
        Parameters of the pack, ``(M, *shape)``, by the name without the prefix.
    arrays, gradients : dict of str to ndarray
        The same memory and that of the gradients, for compiled code.
    """

    def __init__(self, name: str, parameters: Sequence[Parameter]) -> None:
        self.name = name
        self.declared = [p.within(name) for p in parameters]

    def bind(self, parameters: Parameters, space: Workspace | None) -> None:
        """Bind the layer to its parameters, and to the workspace of compiled training."""
        names = [(p.name, p.name.removeprefix(f"{self.name}.")) for p in self.declared]
        self.values = {short: parameters.value(name) for name, short in names}
        if space is not None:
            self.space = space
            self.arrays = {short: value.numpy() for short, value in self.values.items()}
            self.gradients = {short: parameters.gradient(name).numpy() for name, short in names}

    def freeze(self) -> None:
        """Compute what `forward` derives from the parameters, which no longer change."""


class RowLayer(Layer, ABC):
    """Layer that maps the rows of each member to other rows."""

    @abstractmethod
    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, N, n_in) -> (M, N', n_out)``; `pool` is None except in training."""

    @abstractmethod
    def compute(self, x: Array, pool: MaskPool | None) -> Array:
        """Return what `forward` returns, by compiled code; x may be overwritten afterwards."""

    @abstractmethod
    def backward(self, gradient: Array) -> Array:
        """Write the parameters' gradients; return the gradient of x."""


class Dense(RowLayer):
    """``activation(gain * x W + b)``, then dropout, in the variants of the papers.

    The first layer of TabM (mini) scales the input by k vectors, one for each implicit member:
    ``(x ∘ r_k) W`` is computed as ``x (r_k ∘ W)``, so that one product serves all copies and the
    input is never copied (Gorishniy et al., 2025).

    RealMLP (Holzmüller et al., 2024) uses the neural tangent parametrisation: weights start with
    variance 1, and the gain is 1/sqrt(inputs). A trained slope mixes each unit's activation with
    the identity, ``z + a ∘ (activation(z) - z)``. The first map multiplies each input by a trained
    scale, and its gain is that of the inputs that a member really uses, so that padding changes
    nothing.

    Parameters
    ----------
    name : str
    n_in, n_out : int
        Widths.
    activation : {"relu", "silu", "selu"} or None
        Units are dropped after an activation alone.
    embedded : int or None
        For a network's first layer, the number of leading inputs that are learned embeddings. The
        others are data: `backward` returns no gradient of them, and a member may use fewer.
    k : int
        Implicit members with scales of their own.
    spread : {"signs", "normal"}
        Distribution of their initial scales.
    tangent : bool
        Whether the layer is one of RealMLP.
    """

    def __init__(
        self,
        name: str,
        n_in: int,
        n_out: int,
        *,
        activation: Activation | None = None,
        embedded: int | None = None,
        k: int = 1,
        spread: Literal["signs", "normal"] = "signs",
        tangent: bool = False,
    ) -> None:
        first = embedded is not None
        weight = Parameter(
            "weight", (n_in, n_out), "normal" if tangent else "uniform", padded=first
        )
        bias = Parameter("bias", (1, n_out), "zeros", False, rate=SLOW if tangent else 1.0)
        slope = Parameter("slope", (1, n_out), "ones", rate=SLOW)
        front = [
            Parameter("scale", (n_in, 1), "ones", padded=True, rate=_FAST),
            Parameter("gain", (n_in, 1), "fan", False, padded=True, rate=0.0),
        ]
        copies = Parameter("scale", (n_in, k), spread, False, padded=True)
        parameters = (
            [*(front if first else ()), weight, bias, slope]
            if tangent
            else [weight, *([copies] if k > 1 else ()), bias]
        )
        super().__init__(name, parameters)
        self.n_out, self.activation, self.k = n_out, activation, k
        self._needed = n_in if embedded is None else embedded
        self._gain = 1.0 / sqrt(n_in) if tangent and not first else 1.0
        self._frozen: tuple[Tensor, Tensor] | None = None

    def freeze(self) -> None:
        """Scale the weights once."""
        self._frozen = self._bias(), self._weight()

    def _bias(self) -> Tensor:
        """Return the biases side by side for all copies: (M, 1, k * O)."""
        bias = self.values["bias"]
        return bias if self.k == 1 else bias.repeat(1, 1, self.k)

    def _weight(self) -> Tensor:
        """Return the weights, scaled side by side for all copies: (M, I, k * O)."""
        weight = self.values["weight"]
        if "scale" not in self.values:
            return weight
        scale = self.values["scale"] * self.values.get("gain", 1.0)  # (M, I, k)
        return (scale[..., None] * weight[:, :, None]).flatten(2)

    def _affine(self, x: Tensor) -> Tensor:
        """Return the input of the activation: (M, B, I) -> (M, B * k, O)."""
        bias, weight = self._frozen or (self._bias(), self._weight())
        z = torch.baddbmm(bias, x, weight, alpha=self._gain)
        return z.view(len(z), -1, self.n_out)

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, B, n_in) -> (M, B * k, n_out)``, the k copies of a row side by side."""
        z = self._affine(x)
        if self.activation is None:
            return z
        h = _ACTIVE[self.activation](z)
        if "slope" in self.values:
            h = z + self.values["slope"] * (h - z)
        mask = None if pool is None else pool.mask(*z.shape[1:])
        return h if mask is None else h * mask

    def compute(self, x: Array, pool: MaskPool | None) -> Array:
        """Return what `forward` returns, by compiled code."""
        get, code, arrays = self.space.get, self.space.code, self.arrays
        members, rows, n_in = len(x), x.shape[1] * self.k, x.shape[2]
        z = get(self.name, members, rows, self.n_out)
        out = z
        if self.activation is not None:
            out = get(self.name + ".out", members, rows, self.n_out)
        weight, slope, masks, start = arrays["weight"], arrays.get("slope"), get("", 0, 0), 0
        if "scale" in arrays:
            weight = get(self.name + ".wide", members, n_in, self.k * self.n_out)
            gain = arrays.get("gain", get("", 0, 0, 0))
            code.scale_weights(arrays["weight"], arrays["scale"], gain, weight)
        if slope is None:
            slope = get("", members, 1, 0)
        if pool is not None and self.activation is not None:
            masks, start = pool.values.numpy(), pool.start(rows * self.n_out)
        step = slope, code.ACTIVATIONS[self.activation], masks, start, z, out
        code.dense(x, weight, self._gain, arrays["bias"], *step)
        self._step = x, weight, self._gain, *step
        return out

    def backward(self, gradient: Array) -> Array:
        """Write the parameters' gradients; return that of the inputs that need one."""
        get, code, into = self.space.get, self.space.code, self.gradients
        x, weight = self._step[:2]
        back = get(self.name + ".back", *x.shape[:2], self._needed)
        slope = into.get("slope", get("", len(x), 1, 0))
        # The scaled weights are not needed any more, so their gradient overwrites them.
        scaled = "scale" in into
        into_weight = weight if scaled else into["weight"]
        code.dense_backward(gradient, *self._step, into_weight, into["bias"], slope, back)
        if scaled:
            gain = self.arrays.get("gain", get("", 0, 0, 0))
            pair = self.arrays["weight"], self.arrays["scale"]
            code.scale_weights_backward(weight, *pair, gain, into["weight"], into["scale"])
        return back

    def init_from_rows(self, x: Tensor, streams: Sequence[np.random.Generator]) -> Tensor:
        """Adjust RealMLP's weights and biases to its outputs for rows ``(M, n, n_in)``."""
        spread, bias = _start(self._affine(x), streams)
        self.values["weight"].div_(spread)
        self.values["bias"].copy_(bias)
        return self.forward(x, None)


class Norm(RowLayer):
    """``(x - mean) / deviation`` over a row's units, each unit's scale and shift, an activation.

    Parameters
    ----------
    name : str
    width : int
        Units.
    activation : {"relu", "silu", "selu"} or None
    """

    def __init__(self, name: str, width: int, *, activation: Activation | None = None) -> None:
        shape = (1, width)
        scale = Parameter("scale", shape, "ones", False)
        super().__init__(name, [scale, Parameter("shift", shape, "zeros", False)])
        self.activation = activation

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:  # noqa: ARG002  drops nothing
        """Map ``(M, N, width) -> (M, N, width)``."""
        unit = functional.layer_norm(x, x.shape[2:])
        z = torch.addcmul(self.values["shift"], unit, self.values["scale"])
        return _ACTIVE[self.activation](z)

    def compute(self, x: Array, pool: MaskPool | None) -> Array:  # noqa: ARG002  drops nothing
        """Return what `forward` returns, by compiled code; x may be overwritten afterwards."""
        get, code, shape = self.space.get, self.space.code, x.shape
        z = get(self.name, *shape)
        out = z if self.activation is None else get(self.name + ".out", *shape)
        unit, inverse = get(self.name + ".unit", *shape), get(self.name + ".inverse", *shape[:2])
        self._step = code.ACTIVATIONS[self.activation], unit, inverse, z
        code.normalize(x, self.arrays["scale"], self.arrays["shift"], *self._step, out)
        return out

    def backward(self, gradient: Array) -> Array:
        """Write the parameters' gradients; return the gradient of x."""
        into = self.gradients
        self.space.code.normalize_backward(
            gradient, self.arrays["scale"], *self._step, into["scale"], into["shift"]
        )
        return gradient


class Block(RowLayer):
    """``x + W2 dropout(activation(W1 norm(x) + b1)) + b2`` (Gorishniy et al., 2021).

    Layer normalization (Ba et al., 2016) takes the place of the paper's batch normalization: the
    output of a row then depends on no other row, in training as in prediction, and members need no
    running means.

    Parameters
    ----------
    name : str
    width : int
        Width of x; the block is `EXPANSION` times as wide inside.
    activation : {"relu", "silu", "selu"}
    """

    def __init__(self, name: str, width: int, *, activation: Activation) -> None:
        wide = EXPANSION * width
        self._norm = Norm(f"{name}.norm", width)
        self._inner = Dense(f"{name}.inner", width, wide, activation=activation)
        self._outer = Dense(f"{name}.outer", wide, width)
        self._layers = (self._norm, self._inner, self._outer)
        super().__init__(name, [])
        self.declared = [p for layer in self._layers for p in layer.declared]

    def bind(self, parameters: Parameters, space: Workspace | None) -> None:
        """Bind the layers of the block."""
        for layer in self._layers:
            layer.bind(parameters, space)

    def freeze(self) -> None:
        """Freeze the layers of the block."""
        for layer in self._layers:
            layer.freeze()

    def forward(self, x: Tensor, pool: MaskPool | None) -> Tensor:
        """Map ``(M, N, width) -> (M, N, width)``."""
        h = x
        for layer in self._layers:
            h = layer.forward(h, pool)
        return x + h

    def compute(self, x: Array, pool: MaskPool | None) -> Array:
        """Overwrite x by what `forward` returns."""
        h = x
        for layer in self._layers:
            h = layer.compute(h, pool)
        x += h
        return x

    def backward(self, gradient: Array) -> Array:
        """Write the parameters' gradients; return the gradient of x."""
        # The outer map has no activation, so that it leaves the gradient of its output unchanged.
        back = gradient
        for layer in reversed(self._layers):
            back = layer.backward(back)
        gradient += back
        return gradient


class Heads(RowLayer):
    """Linear maps to the classes, one for each implicit member.

    The weights are stored class by class, as a product with so few classes needs long rows.

    Parameters
    ----------
    name : str
    n_in, k, n_classes : int
    tangent : bool
        Whether the parametrisation is that of RealMLP, see `Dense`.
    """

    def __init__(self, name: str, n_in: int, *, k: int, n_classes: int, tangent: bool) -> None:
        rate = SLOW if tangent else 1.0
        shape = (k, n_classes, n_in)
        super().__init__(
            name,
            [
                Parameter("weight", shape, "normal" if tangent else "uniform", inputs=-1),
                Parameter("bias", (k, 1, n_classes), "zeros", False, rate=rate),
            ],
        )
        self._shape, self._gain = shape, 1.0 / sqrt(n_in) if tangent else 1.0

    def forward(self, x: Tensor, pool: MaskPool | None = None) -> Tensor:  # noqa: ARG002  as in `RowLayer`
        """Map ``(M, B * k, n_in) -> (M, k, C, B)``: the rows last, see `autoimb.space.loss`."""
        k, classes, n_in = self._shape
        # (M, B * k, H) -> (M * k, H, B)
        columns = x.view(len(x), -1, k, n_in).permute(0, 2, 3, 1).flatten(0, 1)
        weight, bias = self.values["weight"].flatten(0, 1), self.values["bias"].flatten(0, 1)
        z = torch.baddbmm(bias.mT, weight, columns, alpha=self._gain)
        return z.view(len(x), k, classes, -1)

    def compute(self, x: Array, pool: MaskPool | None = None) -> Array:  # noqa: ARG002  as in `RowLayer`
        """Return what `forward` returns, by compiled code."""
        k, classes, _ = self._shape
        out = self.space.get(self.name, len(x), k, classes, x.shape[1] // k)
        self._x, arrays = x, self.arrays
        self.space.code.heads(x, arrays["weight"], arrays["bias"], self._gain, out)
        return out

    def backward(self, gradient: Array) -> Array:
        """Return the gradient of x, ``(M, B * k, n_in)``, from that of the logits."""
        back, into = self.space.get(self.name + ".back", *self._x.shape), self.gradients
        self.space.code.heads_backward(
            gradient,
            self._x,
            self.arrays["weight"],
            self._gain,
            into["weight"],
            into["bias"],
            back,
        )
        return back

    def init_from_rows(self, x: Tensor, streams: Sequence[np.random.Generator]) -> None:
        """Adjust RealMLP's weights and biases to the logits of rows ``(M, n, n_in)``."""
        # (M, 1, C, n) -> (M, n, C)
        spread, bias = _start(self.forward(x)[:, 0].mT, streams)
        self.values["weight"][:, 0].div_(spread.mT)
        self.values["bias"][:, 0].copy_(bias)


class Embedding(Layer):
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
        shape = (sum(cardinalities), dim)
        super().__init__(name, [Parameter("table", shape, "normal", scale=0.3)])
        self._starts = np.cumsum((0, *cardinalities[:-1]))

    def silence(self, codes: tuple[int, ...]) -> None:
        """Set the vectors of these codes, which training may lack, to zero in every column."""
        for code in codes:
            self.values["table"][:, self._starts + code] = 0.0

    def vectors(self, codes: Tensor) -> Tensor:
        """Map codes ``(M, B, Q) -> (M, B, Q * dim)``."""
        table = self.values["table"]
        levels = codes + torch.from_numpy(self._starts).to(codes.device)
        members = torch.arange(len(table), device=codes.device)[:, None, None]
        return table[members, levels].flatten(2)

    def write(self, codes: Integers, chosen: Integers, inputs: Array) -> None:
        """Write the vectors of chosen rows of codes (R, Q) to the first columns of the inputs."""
        self._step = codes, self._starts, chosen
        self.space.code.embed(self.arrays["table"], *self._step, inputs)

    def backward(self, gradient: Array) -> Array:
        """Write the table's gradient from that of the inputs."""
        self.space.code.embed_backward(gradient, *self._step, self.gradients["table"])
        return gradient


class Periodic(Layer):
    """Embeddings ``cos(2π w x + b) V + c`` of numbers x, which remain inputs as well.

    Periodic, bias, linear, densenet (PBLD; Holzmüller et al., 2024, RealMLP), with the widths and
    the scale of the frequencies of the paper.

    Parameters
    ----------
    name : str
    numbers : int
        F, the number of leading dense columns that are numbers.
    rate : float
        Factor of the learning rate.
    """

    def __init__(self, name: str, numbers: int, *, rate: float) -> None:
        many, dim, f = FREQUENCIES, PERIODIC_DIM, numbers
        super().__init__(
            name,
            [
                Parameter("frequency", (f, 1, many), "normal", scale=_SIGMA, rate=rate),
                Parameter("phase", (f, 1, many), "uniform", scale=pi, rate=rate),
                Parameter("weight", (f, many, dim), "uniform", rate=rate),
                Parameter("bias", (f, 1, dim), "uniform", fan=many, rate=rate),
            ],
        )

    def vectors(self, x: Tensor) -> Tensor:
        """Map the numbers ``(M, B, F) -> (M, B, F * DIM)``."""
        v = self.values
        angle = torch.addcmul(v["phase"], v["frequency"], x.mT[..., None], value=2 * pi)
        z = torch.matmul(torch.cos(angle), v["weight"]) + v["bias"]  # (M, F, B, DIM)
        return z.transpose(1, 2).flatten(2)

    def write(self, inputs: Array, first: int, into: int) -> None:
        """Write the vectors of the numbers from one column on to those from another on."""
        self._inputs, self._first, self._into = inputs, first, into
        self.space.code.waves(inputs, first, into, *self.arrays.values())

    def backward(self, gradient: Array) -> Array:
        """Write the parameters' gradients from that of the inputs."""
        frequency, phase, weight, _ = self.arrays.values()
        self.space.code.waves_backward(
            gradient,
            self._into,
            self._inputs,
            self._first,
            frequency,
            phase,
            weight,
            *self.gradients.values(),
        )
        return gradient


def _start(z: Tensor, streams: Sequence[np.random.Generator]) -> tuple[Tensor, Tensor]:
    """Return each unit's standard deviation over rows ``(M, n, O)`` and bias, both ``(M, 1, O)``.

    Divided by it, every unit has standard deviation 1. The bias moves the zero of the unit to a
    random mean of a few rows ("he+5" in the RealMLP paper, after Steinwart, 2019).
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
