"""Kernels of the layers by compiled code, called with addresses and strides of tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from numba import types
from torch import Tensor

from autoimb.nn.compiled import activations, embeddings, norms, products, steps
from autoimb.nn.compiled.activations import CODES
from autoimb.nn.compiled.kernel import Code, Kernel, compile_all
from autoimb.nn.plain import ADAMW_EPSILON, NORM_EPSILON, Entries, Segment, Waves
from autoimb.nn.spec import Activation

__all__ = ["CompiledKernels", "compile_all"]

_REALS = {torch.float32: types.float32, torch.float64: types.float64}
_LIKE = 0.0  # read in the type of the numbers that a kernel was compiled for


class _Codes(dict[Kernel, Code]):
    """Code of each kernel for one type of numbers, compiled on first use."""

    def __init__(self, real: Any) -> None:
        super().__init__()
        self._real = real

    def __missing__(self, kernel: Kernel) -> Code:
        code = self[kernel] = kernel.of(self._real)
        return code


class CompiledKernels:
    """Kernels by compiled code; see `autoimb.nn.kernels.Kernels`.

    Parameters
    ----------
    dtype : torch.dtype
        Single precision in training; double precision is compiled where gradients are checked.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype, self._size = dtype, dtype.itemsize
        self._code = _Codes(_REALS[dtype])
        self._scratches: dict[str, tuple[int, Tensor | None]] = {}

    @staticmethod
    def check(dtype: torch.dtype) -> None:
        """Compile the kernel that every network needs; raise the error if that fails."""
        products.product.of(_REALS[dtype])

    def _scratch(self, purpose: str, numbers: int) -> int:
        """Return the address of a buffer of so many numbers, with undefined content."""
        capacity, scratch = self._scratches.get(purpose, (0, None))
        if scratch is None or capacity < numbers:
            scratch = torch.empty(numbers, dtype=self._dtype)
            self._scratches[purpose] = (numbers, scratch)
        return scratch.data_ptr()

    def _placed(self, x: Tensor) -> tuple[int, int, int]:
        """Return an address and the strides of members and rows in bytes."""
        member, row, _ = x.stride()
        return x.data_ptr(), member * self._size, row * self._size

    def affine(self, x: Tensor, weight: Tensor, bias: Tensor, alpha: float, out: Tensor) -> Tensor:
        """Write ``alpha * x W + b``."""
        return self._multiply(x, weight, alpha, out, bias.data_ptr())

    def product(self, a: Tensor, b: Tensor, alpha: float, out: Tensor) -> Tensor:
        """Write ``alpha * a b``."""
        return self._multiply(a, b, alpha, out, 0)

    def _multiply(self, a: Tensor, b: Tensor, alpha: float, out: Tensor, bias: int) -> Tensor:
        size, scratch = self._size, 0
        members, rows, depth = a.shape
        columns, b_column = b.shape[2], b.stride(2)
        if b_column != 1:
            scratch = self._scratch("transposed", depth * columns)
        self._code[products.product](
            members, 1,
            *self._placed(out), 0,
            *self._placed(a), 0, a.stride(2) * size,
            *self._placed(b), 0, b_column * size,
            rows, columns, depth, alpha,
            bias, columns * size, 0,
            scratch, _LIKE,
        )  # fmt: skip  # an operand a line
        return out

    def activate(
        self,
        z: Tensor,
        name: Activation | None,
        slope: Tensor | None,
        mask: Tensor | None,
        out: Tensor,
    ) -> Tensor:
        """Write the activation, mixed with z by a slope, where the mask is set."""
        members, rows, width = z.shape
        # Without a slope all columns are treated alike, so that one long row is faster.
        if slope is None:
            rows, width = 1, rows * width
        self._code[activations.activate](
            members,
            rows,
            width,
            z.data_ptr(),
            out.data_ptr(),
            _address(slope),
            *self._mask(mask),
            CODES[name],
            _LIKE,
        )
        return out

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
        self._code[activations.derive](
            *gradient.shape,
            gradient.data_ptr(),
            preactivation.data_ptr(),
            _address(slope),
            *self._mask(mask),
            CODES[name],
            _address(into_slope),
            _address(into_bias),
            _LIKE,
        )
        return gradient

    def _mask(self, mask: Tensor | None) -> tuple[int, int]:
        return (0, 0) if mask is None else (mask.data_ptr(), mask.stride(0) * self._size)

    def normalize(
        self, x: Tensor, scale: Tensor, shift: Tensor, unit: Tensor, inverse: Tensor, out: Tensor
    ) -> Tensor:
        """Write the row norm, 1/deviation, and the norm scaled and shifted."""
        self._code[norms.normalize](
            *x.shape,
            x.data_ptr(),
            scale.data_ptr(),
            shift.data_ptr(),
            unit.data_ptr(),
            inverse.data_ptr(),
            out.data_ptr(),
            NORM_EPSILON,
            _LIKE,
        )
        return out

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
        self._code[norms.normalize_backward](
            *gradient.shape,
            gradient.data_ptr(),
            unit.data_ptr(),
            inverse.data_ptr(),
            scale.data_ptr(),
            into_scale.data_ptr(),
            into_shift.data_ptr(),
            _LIKE,
        )
        return gradient

    def scale_weights(
        self, weight: Tensor, scale: Tensor, gain: Tensor | None, out: Tensor
    ) -> Tensor:
        """Write the scaled weights, the copies side by side."""
        self._code[steps.scale_weights](
            *out.shape,
            weight.data_ptr(),
            scale.data_ptr(),
            _address(gain),
            out.data_ptr(),
            _LIKE,
        )
        return out

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
        self._code[steps.scale_weights_backward](
            *gradient.shape,
            gradient.data_ptr(),
            weight.data_ptr(),
            scale.data_ptr(),
            _address(gain),
            into_weight.data_ptr(),
            into_scale.data_ptr(),
            _LIKE,
        )

    def heads(self, x: Tensor, weight: Tensor, bias: Tensor, alpha: float, out: Tensor) -> Tensor:
        """Write logits."""
        size = self._size
        members, k, classes, width = weight.shape
        rows = out.shape[3]
        scratch = self._scratch("logits", members * k * rows * classes)
        head, head_weight = rows * classes * size, classes * width * size
        begin, x_member, x_row = self._placed(x)
        self._code[products.product](
            members, k,
            scratch, k * head, classes * size, head,
            begin, x_member, k * x_row, x_row, size,
            weight.data_ptr(), k * head_weight, size, head_weight, width * size,
            rows, classes, width, alpha,
            bias.data_ptr(), k * classes * size, classes * size,
            self._scratch("transposed", width * classes), _LIKE,
        )  # fmt: skip  # an operand a line
        self._code[products.transpose_all](
            members * k, rows, classes, scratch, out.data_ptr(), _LIKE
        )
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
        size = self._size
        members, k, classes, width = weight.shape
        rows = gradient.shape[3]
        head, head_weight = classes * rows * size, classes * width * size
        line = width * size
        begin, (x_begin, x_member, x_row) = gradient.data_ptr(), self._placed(x)
        self._code[products.product](
            members, k,
            into_weight.data_ptr(), k * head_weight, line, head_weight,
            begin, k * head, rows * size, head, size,
            x_begin, x_member, k * x_row, x_row, size,
            classes, width, rows, alpha,
            0, 0, 0,
            0, _LIKE,
        )  # fmt: skip  # an operand a line
        self._code[products.sum_rows](
            members * k * classes, rows, begin, into_bias.data_ptr(), _LIKE
        )
        self._code[products.product](
            members, k,
            out.data_ptr(), rows * k * line, k * line, line,
            begin, k * head, size, head, rows * size,
            weight.data_ptr(), k * head_weight, line, head_weight, size,
            rows, width, classes, alpha,
            0, 0, 0,
            0, _LIKE,
        )  # fmt: skip  # an operand a line
        return out

    def waves(self, x: Tensor, parameters: Waves, out: Tensor) -> None:
        """Write the waves of each number."""
        members, rows, numbers = x.shape
        assert parameters.weight.shape[2] == embeddings.OUTPUTS
        self._code[embeddings.waves](
            members,
            rows,
            numbers,
            parameters.frequency.shape[2],
            *self._placed(x),
            *(values.data_ptr() for values in parameters),
            *self._placed(out),
            self._scratch("numbers", numbers * rows),
            self._scratch("waves", 3 * numbers * rows),
            _LIKE,
        )

    def waves_backward(self, gradient: Tensor, x: Tensor, parameters: Waves, into: Waves) -> None:
        """Write the gradients of the parameters."""
        members, rows, numbers = x.shape
        many = parameters.frequency.shape[2]
        self._code[embeddings.waves_backward](
            members,
            rows,
            numbers,
            many,
            *self._placed(x),
            *self._placed(gradient),
            *(values.data_ptr() for values in parameters[:-1]),  # no gradient needs the bias
            *(gradients.data_ptr() for gradients in into),
            self._scratch("waves", 6 * many),
            _LIKE,
        )

    def embed(self, table: Tensor, entries: Entries, out: Tensor) -> None:
        """Write vectors of a table side by side."""
        members, rows, _ = out.shape
        self._code[embeddings.embed](
            members,
            rows,
            entries.codes.shape[-1],
            table.shape[1],
            table.data_ptr(),
            entries.codes.data_ptr(),
            _address(entries.chosen),
            entries.starts.data_ptr(),
            *self._placed(out),
            _LIKE,
        )

    def embed_backward(self, gradient: Tensor, entries: Entries, into: Tensor) -> None:
        """Write the gradient of the table."""
        members, rows, _ = gradient.shape
        self._code[embeddings.embed_backward](
            members,
            rows,
            entries.codes.shape[-1],
            into.shape[1],
            into.data_ptr(),
            into.numel(),
            entries.codes.data_ptr(),
            _address(entries.chosen),
            entries.starts.data_ptr(),
            *self._placed(gradient),
            _LIKE,
        )

    def place(self, x: Tensor, chosen: Tensor | None, out: Tensor) -> None:
        """Copy rows."""
        # All members choose from the same rows, so the member stride is 0.
        begin = self._placed(x) if chosen is None else (x.data_ptr(), 0, x.stride(0) * self._size)
        self._code[embeddings.place](
            *out.shape, *begin, _address(chosen), *self._placed(out), _LIKE
        )

    def cross_entropy(self, logits: Tensor, truth: Tensor, weight: Tensor | None) -> Tensor:
        """Return the gradient by the logits."""
        logits, truth = logits.contiguous(), truth.contiguous()
        out = torch.empty_like(logits)
        classes, rows = logits.shape[-2:]
        members = math.prod(truth.shape[:-2])
        copies = math.prod(logits.shape[:-2]) // members
        if weight is not None and weight.shape[:-2] != truth.shape[:-2]:
            weight = weight.expand(*truth.shape[:-2], 1, rows)
        weight = None if weight is None else weight.contiguous()
        self._code[steps.cross_entropy](
            members,
            copies,
            classes,
            rows,
            logits.data_ptr(),
            truth.data_ptr(),
            _address(weight),
            out.data_ptr(),
            _LIKE,
        )
        return out

    def adamw(
        self,
        flat: tuple[Tensor, Tensor, Tensor, Tensor],
        segments: Sequence[Segment],
        *,
        step: int,
        rate: float,
        betas: tuple[float, float],
    ) -> None:
        """Update values by AdamW."""
        size = self._size
        begin = [vector.data_ptr() for vector in flat]
        corrections = [1.0 - beta**step for beta in betas]
        for start, stop, factor, decay in segments:
            self._code[steps.adamw](
                stop - start,
                *(address + start * size for address in begin),
                rate * factor,
                decay,
                *betas,
                *corrections,
                ADAMW_EPSILON,
                _LIKE,
            )


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()
