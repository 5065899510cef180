"""Kernels of the layers by torch, for prediction and for training on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import pi
from typing import NamedTuple

import torch
from torch import Tensor

from autoimb.foreign import fused_adamw
from autoimb.nn.spec import Activation

__all__ = [
    "ADAMW_EPSILON",
    "NORM_EPSILON",
    "Entries",
    "PlainKernels",
    "Segment",
    "Waves",
]

NORM_EPSILON, ADAMW_EPSILON = 1e-5, 1e-8  # of a norm, under the root; of AdamW, beside it
_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805  # of SELU (Klambauer et al., 2017)
_fused_adamw = cache(fused_adamw)


_ACTIVE: dict[Activation, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda z, out: torch.clamp_min(z, 0.0, out=out),
    "silu": lambda z, out: torch.ops.aten.silu.out(z, out=out),
    "selu": lambda z, out: torch.ops.aten.elu.out(z, _ALPHA, _SCALE, 1.0, out=out),
}
_RISE: dict[Activation, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda gradient, z: torch.ops.aten.threshold_backward(gradient, z, 0),
    "silu": torch.ops.aten.silu_backward,
    "selu": lambda gradient, z: torch.ops.aten.elu_backward(
        gradient, _ALPHA, _SCALE, 1.0, False, z
    ),
}


class Waves(NamedTuple):
    """Parameters of periodic embeddings of F numbers in M members, or their gradients."""

    frequency: Tensor  # (M * F, 1, K)
    phase: Tensor  # (M * F, 1, K)
    weight: Tensor  # (M * F, K, 3)
    bias: Tensor  # (M * F, 1, 3)


class Entries(NamedTuple):
    """Positions of the embedding vectors of rows: their codes plus the start of each member."""

    codes: Tensor  # (R, Q), or (M, B, Q) if all rows are used in order; contiguous
    chosen: Tensor | None  # (M * B,): positions among the R rows; None for all
    starts: Tensor  # (M, 1, Q)

    def numbers(self) -> Tensor:
        """Return the positions of the vectors in the table, (M, B, Q)."""
        codes = self.codes if self.chosen is None else self.codes.index_select(0, self.chosen)
        return codes.view(len(self.starts), -1, codes.shape[-1]) + self.starts


class Segment(NamedTuple):
    """Slice of the flat vectors with the same optimizer settings."""

    start: int
    stop: int
    rate: float  # factor of the learning rate
    decay: float


class PlainKernels:
    """Kernels by torch; see `autoimb.nn.kernels.Kernels`."""

    def affine(self, x: Tensor, weight: Tensor, bias: Tensor, alpha: float, out: Tensor) -> Tensor:
        """Write ``alpha * x W + b``."""
        return torch.baddbmm(bias, x, weight, alpha=alpha, out=out)

    def product(self, a: Tensor, b: Tensor, alpha: float, out: Tensor) -> Tensor:
        """Write ``alpha * a b``."""
        if alpha == 1.0:
            return torch.bmm(a, b, out=out)
        return torch.baddbmm(out, a, b, beta=0.0, alpha=alpha, out=out)

    def activate(
        self,
        z: Tensor,
        name: Activation | None,
        slope: Tensor | None,
        mask: Tensor | None,
        out: Tensor,
    ) -> Tensor:
        """Write the activation, mixed with z by a slope, where the mask is set."""
        if name is not None:
            _ACTIVE[name](z, out)
        if slope is not None:
            torch.addcmul(z, out.sub_(z), slope, out=out)
        return out if mask is None else out.mul_(mask)

    def derive(
        self,
        gradient: Tensor,
        preactivation: Tensor,
        name: Activation | None,
        slope: Tensor | None,
        mask: Tensor | None,
        into_slope: Tensor | None,
        into_bias: Tensor | None,
    ) -> Tensor:
        """Overwrite the gradient by that of z, and write sums over rows."""
        if mask is not None:
            gradient.mul_(mask)
        if name is not None and slope is not None:
            assert into_slope is not None
            # The gradient of the slope is that of the output times (activation(z) - z).
            bent = _ACTIVE[name](preactivation, torch.empty_like(preactivation))
            bent.sub_(preactivation).mul_(gradient)
            torch.sum(bent, 1, keepdim=True, out=into_slope)
            # The gradient is multiplied by 1 - slope + slope * derivative.
            bent = gradient * slope
            gradient.sub_(bent).add_(_RISE[name](bent, preactivation))
        elif name is not None:
            gradient.copy_(_RISE[name](gradient, preactivation))
        if into_bias is not None:
            torch.sum(gradient, 1, keepdim=True, out=into_bias)
        return gradient

    def normalize(
        self, x: Tensor, scale: Tensor, shift: Tensor, unit: Tensor, inverse: Tensor, out: Tensor
    ) -> Tensor:
        """Write the row norm, 1/deviation, and the norm scaled and shifted."""
        mean = torch.empty_like(inverse)
        torch.ops.aten.native_layer_norm.out(
            x, [x.shape[2]], None, None, NORM_EPSILON, out0=unit, out1=mean, out2=inverse
        )
        return torch.addcmul(shift, unit, scale, out=out)

    def normalize_backward(
        self,
        gradient: Tensor,
        unit: Tensor,
        inverse: Tensor,
        scale: Tensor,
        into_scale: Tensor,
        into_shift: Tensor,
    ) -> Tensor:
        """Overwrite the gradient by that of x."""
        torch.sum(gradient, 1, keepdim=True, out=into_shift)
        along = gradient * unit
        torch.sum(along, 1, keepdim=True, out=into_scale)
        # Remove the components that change a row's mean or deviation:
        # (M, N, W) x (M, W, 1) -> (M, N, 1)
        share = scale.mT / gradient.shape[2]
        gradient.mul_(scale)
        gradient.addcmul_(unit, torch.bmm(along, share), value=-1.0)
        gradient.sub_(gradient.mean(2, keepdim=True))
        return gradient.mul_(inverse)

    def scale_weights(
        self, weight: Tensor, scale: Tensor, gain: Tensor | None, out: Tensor
    ) -> Tensor:
        """Write the scaled weights of all copies next to each other."""
        factor = scale if gain is None else scale * gain
        return torch.mul(weight[:, :, None, :], factor[..., None], out=out)

    def scale_weights_backward(
        self,
        gradient: Tensor,
        weight: Tensor,
        scale: Tensor,
        gain: Tensor | None,
        into_weight: Tensor,
        into_scale: Tensor,
    ) -> None:
        """Write the gradients of weights and scales."""
        factor = scale if gain is None else scale * gain
        # (M, I, k, O) x (M, I, O, 1) -> (M, I, k) ; (M, I, 1, k) x (M, I, k, O) -> (M, I, O)
        torch.matmul(gradient, weight[..., None], out=into_scale[..., None])
        torch.matmul(factor[:, :, None, :], gradient, out=into_weight[:, :, None, :])
        if gain is not None:
            into_scale.mul_(gain)

    def heads(self, x: Tensor, weight: Tensor, bias: Tensor, alpha: float, out: Tensor) -> Tensor:
        """Write logits."""
        apart, flat = _copies_apart(x, weight.shape[1]), weight.flatten(0, 1)
        into = out.view(len(flat), *out.shape[2:])
        torch.baddbmm(bias.flatten(0, 1).mT, flat, apart.mT, alpha=alpha, out=into)
        return out

    def heads_backward(
        self,
        gradient: Tensor,
        x: Tensor,
        weight: Tensor,
        alpha: float,
        into_weight: Tensor,
        into_bias: Tensor,
        out: Tensor,
    ) -> Tensor:
        """Write the gradients of the parameters, and that of x."""
        members, k = weight.shape[:2]
        apart = gradient.flatten(0, 1)  # (M, k, C, B) -> (M * k, C, B)
        self.product(apart, _copies_apart(x, k), alpha, into_weight.flatten(0, 1))
        torch.sum(gradient, 3, out=into_bias[:, :, 0])
        back = torch.baddbmm(
            out.new_empty(()), apart.mT, weight.flatten(0, 1), beta=0.0, alpha=alpha
        )
        sides = back.view(members, k, -1, x.shape[2]).transpose(1, 2)
        out.view(sides.shape).copy_(sides)
        return out

    def waves(self, x: Tensor, parameters: Waves, out: Tensor) -> None:
        """Write the waves of each number."""
        members, batch, numbers = x.shape
        z = torch.baddbmm(parameters.bias, torch.cos(_angle(x, parameters)), parameters.weight)
        # (M * F, B, dim) -> (M, B, F * dim)
        out.copy_(z.view(members, numbers, batch, -1).transpose(1, 2).flatten(2))

    def waves_backward(self, gradient: Tensor, x: Tensor, parameters: Waves, into: Waves) -> None:
        """Write the gradients of the parameters."""
        members, batch, numbers = x.shape
        back = gradient.reshape(members, batch, numbers, -1).transpose(1, 2)
        back = back.reshape(len(parameters.weight), batch, -1)
        angle = _angle(x, parameters)
        torch.sum(back, 1, keepdim=True, out=into.bias)
        torch.bmm(torch.cos(angle).mT, back, out=into.weight)
        down = torch.bmm(back, parameters.weight.mT).mul_(torch.sin(angle)).neg_()
        torch.sum(down, 1, keepdim=True, out=into.phase)
        torch.bmm(2 * pi * _column(x).mT, down, out=into.frequency)

    def embed(self, table: Tensor, entries: Entries, out: Tensor) -> None:
        """Write the vectors of each row next to each other."""
        out.copy_(table.index_select(0, entries.numbers().view(-1)).view(out.shape))

    def embed_backward(self, gradient: Tensor, entries: Entries, into: Tensor) -> None:
        """Write the gradient of the table."""
        numbers = entries.numbers().view(-1)
        into.zero_().index_add_(0, numbers, gradient.reshape(-1, into.shape[1]))

    def place(self, x: Tensor, chosen: Tensor | None, out: Tensor) -> None:
        """Copy rows."""
        out.copy_(x if chosen is None else x.index_select(0, chosen).view(out.shape))

    def cross_entropy(self, logits: Tensor, truth: Tensor, weight: Tensor | None) -> Tensor:
        """Return the gradient by the logits."""
        gradient = torch.softmax(logits, -2).sub_(truth)
        return gradient if weight is None else gradient.mul_(weight)

    def adamw(
        self,
        flat: tuple[Tensor, Tensor, Tensor, Tensor],
        segments: Sequence[Segment],
        *,
        step: int,
        rate: float,
        betas: tuple[float, float],
    ) -> None:
        """Update values by torch's kernel, without the overhead of ``torch.optim``."""
        steps = [torch.full((), float(step), device=flat[0].device)]
        for start, stop, factor, decay in segments:
            values, gradients, mean, square = ([vector[start:stop]] for vector in flat)
            _fused_adamw()(
                values,
                gradients,
                mean,
                square,
                [],
                steps,
                lr=rate * factor,
                beta1=betas[0],
                beta2=betas[1],
                weight_decay=decay,
                eps=ADAMW_EPSILON,
                amsgrad=False,
                maximize=False,
            )


def _copies_apart(x: Tensor, k: int) -> Tensor:
    """Separate the copies of rows: (M, B * k, H) -> (M * k, B, H)."""
    return x.reshape(len(x), -1, k, x.shape[2]).transpose(1, 2).flatten(0, 1)


def _column(x: Tensor) -> Tensor:
    """Reshape (M, B, F) to (M * F, B, 1)."""
    return x.mT.reshape(-1, x.shape[1], 1)


def _angle(x: Tensor, parameters: Waves) -> Tensor:
    return torch.addcmul(parameters.phase, parameters.frequency, _column(x), value=2 * pi)
