"""Numerical kernels of the layers: operations of torch, or compiled loops for training on a CPU.

Prediction and GPUs need nothing but torch. Compiled code is loaded when a network is built to be
trained on a CPU. Networks are trained by torch's operations if it cannot be compiled.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from autoimb.nn.plain import Entries, PlainKernels, Segment, Waves
from autoimb.nn.spec import Activation

__all__ = ["Kernels", "training_kernels"]


class Kernels(Protocol):
    """Operations on arrays with a leading member axis ``M``; they write into the given outputs."""

    def affine(self, x: Tensor, weight: Tensor, bias: Tensor, alpha: float, out: Tensor) -> Tensor:
        """Write ``alpha * x W + b``: (M, N, I), (M, I, O), (M, 1, O) -> (M, N, O)."""

    def product(self, a: Tensor, b: Tensor, alpha: float, out: Tensor) -> Tensor:
        """Write ``alpha * a b``; the content of ``out`` is ignored."""

    def activate(
        self,
        z: Tensor,
        name: Activation | None,
        slope: Tensor | None,
        mask: Tensor | None,
        out: Tensor,
    ) -> Tensor:
        """Write ``(z + slope ∘ (activation(z) - z)) ∘ mask``; out may be z without a slope."""

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
        """Overwrite the gradient of the output of `activate` by that of z; write sums over rows.

        ``preactivation`` is z; for a ReLU without a slope it may be the output.
        """

    def normalize(
        self, x: Tensor, scale: Tensor, shift: Tensor, unit: Tensor, inverse: Tensor, out: Tensor
    ) -> Tensor:
        """Write ``unit = (x - mean) / deviation``, 1/deviation, and unit scaled and shifted."""

    def normalize_backward(
        self,
        gradient: Tensor,
        unit: Tensor,
        inverse: Tensor,
        scale: Tensor,
        into_scale: Tensor,
        into_shift: Tensor,
    ) -> Tensor:
        """Overwrite the gradient of the output of `normalize` by that of x."""

    def scale_weights(
        self, weight: Tensor, scale: Tensor, gain: Tensor | None, out: Tensor
    ) -> Tensor:
        """Write ``gain ∘ r_k ∘ W``: (M, I, O), (M, I, k), (M, I, 1) -> (M, I, k, O)."""

    def scale_weights_backward(
        self,
        gradient: Tensor,
        weight: Tensor,
        scale: Tensor,
        gain: Tensor | None,
        into_weight: Tensor,
        into_scale: Tensor,
    ) -> None:
        """Write the gradients of W and r from that of the output of `scale_weights`."""

    def heads(self, x: Tensor, weight: Tensor, bias: Tensor, alpha: float, out: Tensor) -> Tensor:
        """Write logits: (M, B * k, H), (M, k, C, H), (M, k, 1, C) -> (M, k, C, B)."""

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
        """Write the gradients of the parameters of `heads`, and that of x."""

    def waves(self, x: Tensor, parameters: Waves, out: Tensor) -> None:
        """Write ``cos(2π w x + b) V + c`` of each number: (M, B, F) -> (M, B, F * 3)."""

    def waves_backward(self, gradient: Tensor, x: Tensor, parameters: Waves, into: Waves) -> None:
        """Write the gradients of frequency, phase, weight and bias."""

    def embed(self, table: Tensor, entries: Entries, out: Tensor) -> None:
        """Write vectors of a table (L, d) side by side: (M, B, Q * d)."""

    def embed_backward(self, gradient: Tensor, entries: Entries, into: Tensor) -> None:
        """Write the gradient of the table."""

    def place(self, x: Tensor, chosen: Tensor | None, out: Tensor) -> None:
        """Copy rows (M, B, D), or the chosen ones of (R, D), into an array of wider rows."""

    def cross_entropy(self, logits: Tensor, truth: Tensor, weight: Tensor | None) -> Tensor:
        """Return ``(softmax(logits) - truth) ∘ weight``: (..., k, C, B) of (..., 1, C, B)."""

    def adamw(
        self,
        flat: tuple[Tensor, Tensor, Tensor, Tensor],
        segments: Sequence[Segment],
        *,
        step: int,
        rate: float,
        betas: tuple[float, float],
    ) -> None:
        """Update values by AdamW, with running means of the gradients and of their squares."""


def training_kernels(dtype: torch.dtype, device: torch.device) -> Kernels:
    """Return the kernels for training: compiled loops on a CPU that can compile, else torch."""
    return PlainKernels() if device.type != "cpu" else _cpu_kernels(dtype)()


@cache
def _cpu_kernels(dtype: torch.dtype) -> Callable[[], Kernels]:
    """Return a factory of the kernels for a CPU; warn once if the compilation fails."""
    try:
        from autoimb.nn.compiled.run import CompiledKernels

        CompiledKernels.check(dtype)
    except Exception as error:
        warnings.warn(
            f"Networks are trained by torch's own operations, which takes longer: numba cannot "
            f"compile the kernels ({type(error).__name__}: {error}).",
            RuntimeWarning,
            stacklevel=3,
        )
        return PlainKernels
    return lambda: CompiledKernels(dtype)
