"""Training steps on a CPU: the layers' operations and their gradients, compiled by numba.

Importing this module compiles it, or loads what an earlier process has compiled. Every array is
contiguous and of single precision, and those of a network have a leading axis of its M members,
which are computed one by one, so that the result of a member does not depend on its pack. Products
are BLAS calls; the other loops are vectorized by the compiler. An empty array stands for an absent
one. `autoimb.nn.layers` defines each operation in plain torch, with which the tests compare these.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numba import float32, int64, void
from numpy.typing import NDArray

__all__ = [
    "ACTIVATIONS",
    "Array",
    "Integers",
    "adamw",
    "cross_entropy",
    "dense",
    "dense_backward",
    "embed",
    "embed_backward",
    "heads",
    "heads_backward",
    "normalize",
    "normalize_backward",
    "place",
    "scale_weights",
    "scale_weights_backward",
    "waves",
    "waves_backward",
]

Array = NDArray[np.float32]
Integers = NDArray[np.int64]
_Function = TypeVar("_Function", bound=Callable[..., Any])

ACTIVATIONS = {None: 0, "relu": 1, "silu": 2, "selu": 3}
_RELU, _SILU, _SELU = 1, 2, 3
# A literal would be of double precision and widen what it is multiplied by.
_ZERO, _ONE, _QUARTER = np.float32(0.0), np.float32(1.0), np.float32(0.25)
_TURN = np.float32(2.0 * math.pi)
_ALPHA, _SCALE = np.float32(1.6732632423543772), np.float32(1.0507009873554805)  # of SELU
_NORM_EPSILON, _ADAMW_EPSILON = np.float32(1e-5), np.float32(1e-8)

# A slice of an array is taken before a loop where an index would be a sum: numba then knows that it
# is not negative, and the loop is vectorized.
# Sums may be reordered, but NaN must remain NaN.
_MATH = {"reassoc", "contract", "nsz", "arcp"}
_F1, _F2, _F3, _F4 = float32[::1], float32[:, ::1], float32[:, :, ::1], float32[:, :, :, ::1]
_I1, _I2 = int64[::1], int64[:, ::1]

# The cache consists of pickles, so a .numba_config.yaml in the current folder must not set its
# place.
numba.config.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR", "")
if numba.config.DISABLE_JIT:
    raise RuntimeError("NUMBA_DISABLE_JIT is set")


def _compiled(*types: Any) -> Callable[[_Function], _Function]:
    """Return a decorator that compiles a function of these argument types."""
    options: dict[str, Any] = {"fastmath": _MATH, "error_model": "numpy"}

    def compile_function(function: _Function) -> _Function:
        compiled: _Function
        try:
            compiled = numba.njit(void(*types), cache=True, **options)(function)
        except Exception:
            # No folder can be written, or a file in it is damaged, which shows in many errors.
            compiled = numba.njit(void(*types), **options)(function)
        return compiled

    return compile_function


def _inlined(function: _Function) -> _Function:
    """Compile a function that only compiled functions call."""
    compiled: _Function = numba.njit(fastmath=_MATH, error_model="numpy")(function)
    return compiled


# --- functions of a number ------------------------------------------------------------------------

# Coefficients of (exp(r) - 1 - r) / r² on ±log(2)/2 and of sin(2πu) / u in u² on ±1/4, both exact
# to half a rounding.
_E0, _E1, _E2, _E3, _E4 = (
    np.float32(c) for c in (0.00139337327, 0.00836323538, 0.0416664642, 0.166665766, 0.500000001)
)
_S0, _S1, _S2, _S3, _S4 = (
    np.float32(c) for c in (39.7598271, -76.5811726, 81.6024764, -41.3416806, 6.28318528)
)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)  # of which the exponential is finite
_LOG2E = np.float32(1.4426950408889634)
_LN2, _LN2_REST = np.float32(0.693145751953125), np.float32(1.428606765330187e-06)
_EXPONENT_BIAS, _MANTISSA_BITS = np.int32(127), np.int32(23)


@_inlined
def _exp(x: np.float32) -> np.float32:
    """Return exp(x) for x clipped to [-87, 88]; NaN stays NaN."""
    # exp(x) = 2^e exp(r), where e is x / log(2) to the nearest whole number and |r| <= log(2) / 2.
    # log(2) is subtracted in two parts, as a single float has too few digits of it.
    x = _HIGHEST if x > _HIGHEST else x
    x = _LOWEST if x < _LOWEST else x
    exponent: np.float32 = np.rint(x * _LOG2E)
    r = x - exponent * _LN2 - exponent * _LN2_REST
    value = ((((_E0 * r + _E1) * r + _E2) * r + _E3) * r + _E4) * r * r + r + _ONE
    # 2^exponent, written as the bits of a float.
    bits = np.int32((np.int32(exponent) + _EXPONENT_BIAS) << _MANTISSA_BITS)
    power: np.float32 = bits.view(np.float32)
    return value * power


@_inlined
def _cosine(turns: np.float32) -> np.float32:
    """Return cos(2π turns)."""
    # With t the distance to the nearest whole turn, cos(2π t) = sin(2π (1/4 - |t|)).
    nearest: np.float32 = np.rint(turns)
    u = _QUARTER - abs(turns - nearest)
    s = u * u
    return u * ((((_S0 * s + _S1) * s + _S2) * s + _S3) * s + _S4)


@_inlined
def _activate(z: Array, activation: int, out: Array) -> None:
    """Write activation(z), all of shape (n,)."""
    if activation == _RELU:
        for i in range(len(z)):
            # NaN is not less than 0 and remains.
            out[i] = _ZERO if z[i] <= _ZERO else z[i]
    elif activation == _SILU:
        for i in range(len(z)):
            out[i] = z[i] / (_ONE + _exp(-z[i]))
    elif activation == _SELU:
        for i in range(len(z)):
            below = _SCALE * _ALPHA * (_exp(z[i]) - _ONE)
            out[i] = _SCALE * z[i] if z[i] > _ZERO else below


@_inlined
def _derive(gradient: Array, z: Array, activation: int) -> None:
    """Multiply the gradient by the activation's derivative at z, all of shape (n,)."""
    if activation == _RELU:
        for i in range(len(z)):
            gradient[i] = gradient[i] if z[i] > _ZERO else _ZERO
    elif activation == _SILU:
        for i in range(len(z)):
            # With s = sigmoid(z), the derivative of z s is s (1 + z (1 - s)).
            share = _ONE / (_ONE + _exp(-z[i]))
            gradient[i] *= share * (_ONE + z[i] * (_ONE - share))
    elif activation == _SELU:
        for i in range(len(z)):
            power = _SCALE * _ALPHA * _exp(z[i])
            gradient[i] *= _SCALE if z[i] > _ZERO else power


# --- layers ---------------------------------------------------------------------------------------


@_compiled(_F3, _F3, float32, _F3, _F3, int64, _F2, int64, _F3, _F3)
def dense(
    x: Array,
    weight: Array,
    gain: float,
    bias: Array,
    slope: Array,
    activation: int,
    masks: Array,
    start: int,
    z: Array,
    out: Array,
) -> None:
    """Write ``z = gain * x W + b`` and ``out = (z + slope ∘ (activation(z) - z)) ∘ mask``.

    x (M, B, I), weight (M, I, k * O), bias and slope (M, 1, O), masks (M, P), of which a member's
    values from ``start`` on are used, z and out (M, B * k, O). Without an activation, out is z.
    """
    members, rows, width = z.shape
    size = rows * width
    for m in range(members):
        # The weights of the k copies lie side by side, so one product serves all copies of a row;
        # its B rows of k * O numbers are the B * k rows of z.
        np.dot(x[m], weight[m], z[m].reshape(x.shape[1], weight.shape[2]))
        for n in range(rows):
            for j in range(width):
                z[m, n, j] = gain * z[m, n, j] + bias[m, 0, j]
        flat = out[m].reshape(size)
        if activation:
            _activate(z[m].reshape(size), activation, flat)
        if slope.size:
            for n in range(rows):
                for j in range(width):
                    out[m, n, j] = z[m, n, j] + slope[m, 0, j] * (out[m, n, j] - z[m, n, j])
        if masks.size:
            mask = masks[m, start : start + size]
            for i in range(size):
                flat[i] *= mask[i]


@_compiled(_F3, _F3, _F3, float32, _F3, int64, _F2, int64, _F3, _F3, _F3, _F3, _F3, _F3)
def dense_backward(
    gradient: Array,
    x: Array,
    weight: Array,
    gain: float,
    slope: Array,
    activation: int,
    masks: Array,
    start: int,
    z: Array,
    out: Array,
    into_weight: Array,
    into_bias: Array,
    into_slope: Array,
    into_x: Array,
) -> None:
    """Write the gradients of `dense`; its gradient and out are overwritten.

    ``into_x`` (M, B, I') receives the gradient of the first I' inputs. ``into_weight`` may be the
    weight.
    """
    members, rows, width = z.shape
    size = rows * width
    into_bias.fill(_ZERO)
    into_slope.fill(_ZERO)
    for m in range(members):
        g = gradient[m]
        flat = g.reshape(size)
        if masks.size:
            mask = masks[m, start : start + size]
            for i in range(size):
                flat[i] *= mask[i]
        if activation:
            active, bent = z[m].reshape(size), out[m].reshape(size)
            if slope.size:
                # The gradient is split into that of z and that of activation(z), which is computed
                # again.
                _activate(active, activation, bent)
                for n in range(rows):
                    for j in range(width):
                        into_slope[m, 0, j] += g[n, j] * (out[m, n, j] - z[m, n, j])
                        out[m, n, j] = g[n, j] - slope[m, 0, j] * g[n, j]
                        g[n, j] *= slope[m, 0, j]
            _derive(flat, active, activation)
            if slope.size:
                for i in range(size):
                    flat[i] += bent[i]
        for n in range(rows):
            for j in range(width):
                into_bias[m, 0, j] += g[n, j]
        # Once g is multiplied by the gain, the gradient of x is g Wᵀ and that of W is xᵀ g. The
        # latter is written last, as it may overwrite the weight.
        if gain != _ONE:
            for i in range(size):
                flat[i] *= gain
        wide = g.reshape(x.shape[1], weight.shape[2])
        if into_x.size:
            np.dot(wide, weight[m, : into_x.shape[2]].T, into_x[m])
        np.dot(x[m].T, wide, into_weight[m])


@_compiled(_F3, _F3, _F3, _F3)
def scale_weights(weight: Array, scale: Array, gain: Array, out: Array) -> None:
    """Write ``gain ∘ r_k ∘ W`` side by side: (M, I, O), (M, I, k), (M, I, 1) -> (M, I, k * O)."""
    members, inputs, width = weight.shape
    for m in range(members):
        for i in range(inputs):
            for k in range(scale.shape[2]):
                factor = scale[m, i, k] * (gain[m, i, 0] if gain.size else _ONE)
                copy = out[m, i, k * width : (k + 1) * width]
                for j in range(width):
                    copy[j] = factor * weight[m, i, j]


@_compiled(_F3, _F3, _F3, _F3, _F3, _F3)
def scale_weights_backward(
    gradient: Array, weight: Array, scale: Array, gain: Array, into_weight: Array, into_scale: Array
) -> None:
    """Write the gradients of W and r of `scale_weights`."""
    members, inputs, width = weight.shape
    into_weight.fill(_ZERO)
    for m in range(members):
        for i in range(inputs):
            for k in range(scale.shape[2]):
                factor = gain[m, i, 0] if gain.size else _ONE
                # Copy k is gain r_k W. Its gradient reaches W by the factor gain r_k, and r_k as
                # gain times the product with the row of W.
                product = factor * scale[m, i, k]
                copy = gradient[m, i, k * width : (k + 1) * width]
                total = _ZERO
                for j in range(width):
                    total += copy[j] * weight[m, i, j]
                    into_weight[m, i, j] += product * copy[j]
                into_scale[m, i, k] = factor * total


@_compiled(_F3, _F3, _F3, int64, _F3, _F2, _F3, _F3)
def normalize(
    x: Array,
    scale: Array,
    shift: Array,
    activation: int,
    unit: Array,
    inverse: Array,
    z: Array,
    out: Array,
) -> None:
    """Write ``unit = (x - mean) / deviation``, ``z = unit ∘ scale + shift`` and activation(z).

    x, unit, z and out (M, N, W), scale and shift (M, 1, W), inverse (M, N): 1/deviation. Without an
    activation, out is z.
    """
    members, rows, width = x.shape
    for m in range(members):
        for n in range(rows):
            mean = _ZERO
            for j in range(width):
                mean += x[m, n, j]
            mean /= np.float32(width)
            # A second pass sums squares of differences: the mean square less the squared mean would
            # lose most digits where the mean is large.
            variance = _ZERO
            for j in range(width):
                variance += (x[m, n, j] - mean) * (x[m, n, j] - mean)
            factor = _ONE / np.sqrt(variance / np.float32(width) + _NORM_EPSILON)
            inverse[m, n] = factor
            for j in range(width):
                unit[m, n, j] = (x[m, n, j] - mean) * factor
                z[m, n, j] = unit[m, n, j] * scale[m, 0, j] + shift[m, 0, j]
        if activation:
            size = rows * width
            _activate(z[m].reshape(size), activation, out[m].reshape(size))


@_compiled(_F3, _F3, int64, _F3, _F2, _F3, _F3, _F3)
def normalize_backward(
    gradient: Array,
    scale: Array,
    activation: int,
    unit: Array,
    inverse: Array,
    z: Array,
    into_scale: Array,
    into_shift: Array,
) -> None:
    """Overwrite the gradient of `normalize` by that of x."""
    members, rows, width = gradient.shape
    into_scale.fill(_ZERO)
    into_shift.fill(_ZERO)
    for m in range(members):
        if activation:
            size = rows * width
            _derive(gradient[m].reshape(size), z[m].reshape(size), activation)
        for n in range(rows):
            mean, along = _ZERO, _ZERO
            for j in range(width):
                g, u = gradient[m, n, j], unit[m, n, j]
                into_shift[m, 0, j] += g
                into_scale[m, 0, j] += g * u
                g *= scale[m, 0, j]
                gradient[m, n, j] = g
                mean += g
                along += g * u
            # Remove the components that change the row's mean or deviation.
            mean /= np.float32(width)
            along /= np.float32(width)
            factor = inverse[m, n]
            for j in range(width):
                gradient[m, n, j] = (gradient[m, n, j] - mean - unit[m, n, j] * along) * factor


@_compiled(_F3, _F4, _F4, float32, _F4)
def heads(x: Array, weight: Array, bias: Array, gain: float, out: Array) -> None:
    """Write logits: x (M, B * k, H), weight (M, k, C, H), bias (M, k, 1, C) -> (M, k, C, B)."""
    members, copies, classes, width = weight.shape
    for m in range(members):
        for n in range(out.shape[3]):
            for k in range(copies):
                for c in range(classes):
                    total = _ZERO
                    for j in range(width):
                        total += x[m, n * copies + k, j] * weight[m, k, c, j]
                    out[m, k, c, n] = gain * total + bias[m, k, 0, c]


@_compiled(_F4, _F3, _F4, float32, _F4, _F4, _F3)
def heads_backward(
    gradient: Array,
    x: Array,
    weight: Array,
    gain: float,
    into_weight: Array,
    into_bias: Array,
    into_x: Array,
) -> None:
    """Write the gradients of `heads` from that of the logits, (M, k, C, B)."""
    members, copies, classes, width = weight.shape
    into_weight.fill(_ZERO)
    into_bias.fill(_ZERO)
    for m in range(members):
        for k in range(copies):
            for n in range(gradient.shape[3]):
                row, into_row = x[m, n * copies + k], into_x[m, n * copies + k]
                for c in range(classes):
                    g = gradient[m, k, c, n]
                    into_bias[m, k, 0, c] += g
                    g *= gain
                    for j in range(width):
                        into_weight[m, k, c, j] += g * row[j]
                    # The first class writes and the others add, so no pass is needed that fills
                    # with zeros.
                    if c == 0:
                        for j in range(width):
                            into_row[j] = g * weight[m, k, c, j]
                    else:
                        for j in range(width):
                            into_row[j] += g * weight[m, k, c, j]


# --- inputs of the first layer --------------------------------------------------------------------


@_compiled(_F2, _I1, int64, _F3)
def place(x: Array, chosen: Integers, first: int, inputs: Array) -> None:
    """Copy rows to the columns from ``first`` on: x (R, D), chosen (M * B,), inputs (M, B, W)."""
    members, rows, _ = inputs.shape
    for m in range(members):
        for n in range(rows):
            row, columns = x[chosen[m * rows + n]], inputs[m, n, first:]
            for j in range(len(row)):
                columns[j] = row[j]


@_compiled(_F3, _I2, _I1, _I1, _F3)
def embed(table: Array, codes: Integers, starts: Integers, chosen: Integers, inputs: Array) -> None:
    """Write the vectors of categories to the first columns.

    table (M, L, d), codes (R, Q), starts (Q,): the first level of each column in the table.
    """
    members, rows, _ = inputs.shape
    dim = table.shape[2]
    for m in range(members):
        for n in range(rows):
            row = chosen[m * rows + n]
            for q in range(len(starts)):
                vector = table[m, codes[row, q] + starts[q]]
                columns = inputs[m, n, q * dim : (q + 1) * dim]
                for j in range(dim):
                    columns[j] = vector[j]


@_compiled(_F3, _I2, _I1, _I1, _F3)
def embed_backward(
    gradient: Array, codes: Integers, starts: Integers, chosen: Integers, into_table: Array
) -> None:
    """Write the gradient of the table from that of the inputs, (M, B, W')."""
    members, rows, _ = gradient.shape
    dim = into_table.shape[2]
    into_table.fill(_ZERO)
    for m in range(members):
        for n in range(rows):
            row = chosen[m * rows + n]
            for q in range(len(starts)):
                vector = into_table[m, codes[row, q] + starts[q]]
                columns = gradient[m, n, q * dim : (q + 1) * dim]
                for j in range(dim):
                    vector[j] += columns[j]


@_compiled(_F3, int64, int64, _F4, _F4, _F4, _F4)
def waves(
    inputs: Array,
    first: int,
    into: int,
    frequency: Array,
    phase: Array,
    weight: Array,
    bias: Array,
) -> None:
    """Write ``cos(2π w x + b) V + c`` of each number to the columns from ``into`` on.

    inputs (M, B, W) with F numbers from column ``first`` on, frequency and phase (M, F, 1, K),
    weight (M, F, K, d), bias (M, F, 1, d).
    """
    members, numbers, many, dim = weight.shape
    rows = inputs.shape[1]
    # The vectors have d = 3 numbers, which are written out below: so the loop over the rows is the
    # innermost one and is vectorized.
    # A number's rows side by side, as the vectors of a loop.
    x, sums = np.empty(rows, np.float32), np.empty((dim, rows), np.float32)
    for m in range(members):
        for f in range(numbers):
            for n in range(rows):
                x[n] = inputs[m, n, first + f]
            for d in range(dim):
                sums[d].fill(bias[m, f, 0, d])
            for j in range(many):
                often, begin = frequency[m, f, 0, j], phase[m, f, 0, j] / _TURN
                v0, v1, v2 = weight[m, f, j, 0], weight[m, f, j, 1], weight[m, f, j, 2]
                for n in range(rows):
                    wave = _cosine(x[n] * often + begin)
                    sums[0, n] += wave * v0
                    sums[1, n] += wave * v1
                    sums[2, n] += wave * v2
            for n in range(rows):
                columns = inputs[m, n, into + f * dim : into + (f + 1) * dim]
                for d in range(dim):
                    columns[d] = sums[d, n]


@_compiled(_F3, int64, _F3, int64, _F4, _F4, _F4, _F4, _F4, _F4, _F4)
def waves_backward(
    gradient: Array,
    into: int,
    inputs: Array,
    first: int,
    frequency: Array,
    phase: Array,
    weight: Array,
    into_frequency: Array,
    into_phase: Array,
    into_weight: Array,
    into_bias: Array,
) -> None:
    """Write the gradients of `waves` from that of its columns, (M, B, W')."""
    members, numbers, many, dim = weight.shape
    rows = inputs.shape[1]
    x, g = np.empty(rows, np.float32), np.empty((dim, rows), np.float32)
    into_bias.fill(_ZERO)
    for m in range(members):
        for f in range(numbers):
            for n in range(rows):
                x[n] = inputs[m, n, first + f]
                columns = gradient[m, n, into + f * dim : into + (f + 1) * dim]
                for d in range(dim):
                    g[d, n] = columns[d]
                    into_bias[m, f, 0, d] += columns[d]
            for j in range(many):
                often, begin = frequency[m, f, 0, j], phase[m, f, 0, j] / _TURN
                v0, v1, v2 = weight[m, f, j, 0], weight[m, f, j, 1], weight[m, f, j, 2]
                s0, s1, s2, shift, turn = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
                for n in range(rows):
                    angle = x[n] * often + begin
                    wave = _cosine(angle)
                    s0 += wave * g[0, n]
                    s1 += wave * g[1, n]
                    s2 += wave * g[2, n]
                    # The sine of an angle is the cosine of a quarter turn less.
                    sine = _cosine(angle - _QUARTER)
                    down = (g[0, n] * v0 + g[1, n] * v1 + g[2, n] * v2) * sine
                    shift -= down
                    turn -= down * x[n]
                into_weight[m, f, j, 0] = s0
                into_weight[m, f, j, 1] = s1
                into_weight[m, f, j, 2] = s2
                into_phase[m, f, 0, j] = shift
                into_frequency[m, f, 0, j] = turn * _TURN


# --- loss and optimizer ---------------------------------------------------------------------------


@_compiled(_F4, _F4, _F4, _F4)
def cross_entropy(logits: Array, truth: Array, weight: Array, out: Array) -> None:
    """Write ``(softmax(logits) - truth) ∘ weight``.

    logits and out (M, k, C, B), truth (M, 1, C, B), weight (M, 1, 1, B) or (M, k, 1, B).
    """
    members, copies, classes, rows = logits.shape
    highest, total = np.empty(rows, np.float32), np.empty(rows, np.float32)
    for m in range(members):
        right = truth[m, 0]
        for k in range(copies):
            z, o, w = logits[m, k], out[m, k], weight[m, k if weight.shape[1] > 1 else 0, 0]
            for n in range(rows):
                highest[n] = z[0, n]
                total[n] = _ZERO
            # The highest logit of a row is subtracted from all, so that no exponential overflows.
            for c in range(1, classes):
                for n in range(rows):
                    highest[n] = max(highest[n], z[c, n])
            for c in range(classes):
                for n in range(rows):
                    power = _exp(z[c, n] - highest[n])
                    o[c, n] = power
                    total[n] += power
            for c in range(classes):
                for n in range(rows):
                    o[c, n] = (o[c, n] / total[n] - right[c, n]) * w[n]


@_compiled(_F1, _F1, _F1, _F1, _I2, _F2, float32, float32, float32, float32, float32)
def adamw(
    values: Array,
    gradients: Array,
    mean: Array,
    square: Array,
    bounds: Integers,
    settings: Array,
    rate: float,
    beta1: float,
    beta2: float,
    unbiased_mean: float,
    unbiased_square: float,
) -> None:
    """Update values by AdamW, segment by segment.

    bounds (S, 2): first and last of the values, settings (S, 2): factor of the rate and decay;
    ``unbiased_mean`` and ``unbiased_square`` are 1 - beta^t, which correct the running means.
    """
    # AdamW (Loshchilov & Hutter, 2019): w ← (1 - rate * decay) w - rate * m̂ / (√v̂ + ε). The means
    # without their initial bias are m̂ = m / (1 - β1^t) and v̂ = v / (1 - β2^t).
    steep = _ONE / np.sqrt(unbiased_square)
    for s in range(len(bounds)):
        segment_rate = rate * settings[s, 0]
        shrinkage = _ONE - segment_rate * settings[s, 1]
        step = segment_rate / unbiased_mean
        first, end = bounds[s, 0], bounds[s, 1]
        w, g, m, v = values[first:end], gradients[first:end], mean[first:end], square[first:end]
        for i in range(len(w)):
            m[i] += (_ONE - beta1) * (g[i] - m[i])
            v[i] = beta2 * v[i] + (_ONE - beta2) * g[i] * g[i]
            w[i] = shrinkage * w[i] - step * m[i] / (np.sqrt(v[i]) * steep + _ADAMW_EPSILON)
