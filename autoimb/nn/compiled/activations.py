"""Activation, slope and dropout in one pass, and their derivatives with the sums over rows."""

from __future__ import annotations

from autoimb.nn.compiled.kernel import inner, kernel
from autoimb.nn.compiled.lanes import (
    LANES,
    above,
    exponential,
    filled,
    first,
    fused,
    larger,
    load,
    select,
    size_of,
    store,
)

__all__ = ["CODES", "activate", "derive"]

_RELU, _SILU, _SELU = 1, 2, 3
CODES = {None: 0, "relu": _RELU, "silu": _SILU, "selu": _SELU}
# of SELU, and again what `autoimb.nn.plain` has: compiled code is kept until a file of this folder
# changes, so a value of another file would stay as it was
_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805


@inner
def _active(z, code, zero):
    if code == _RELU:
        return larger(z, zero)
    if code == _SILU:
        return z * (1.0 / (1.0 + exponential(0.0 - z)))  # the quotient is that of `_rise`
    if code == _SELU:
        below = _SCALE * _ALPHA * (exponential(z) - 1.0)
        return select(above(z, zero), _SCALE * z, below)
    return z


@inner
def _rise(z, code, zero):
    """Return the derivative of an activation."""
    one = zero + 1.0
    if code == _RELU:
        return select(above(z, zero), one, zero)
    if code == _SILU:
        share = 1.0 / (1.0 + exponential(0.0 - z))
        return share * (1.0 + z * (1.0 - share))
    if code == _SELU:
        return select(above(z, zero), _SCALE * one, _SCALE * _ALPHA * exponential(z))
    return one


@kernel()
def activate(members, rows, width, z, out, slope, mask, mask_member, code, like):
    """Write ``(z + a ∘ (activation(z) - z)) ∘ mask``; a slope of 0 is 1, a mask of 0 is none."""
    size, zero = size_of(like), filled(0.0, like)
    row = width * size
    for m in range(members):
        for j in range(0, width, LANES):
            own = first(width - j)
            at = m * rows * row + j * size
            dropped = mask + m * mask_member + j * size
            share = load(slope + m * row + j * size, own, like) if slope else filled(1.0, like)
            for n in range(rows):
                x = load(z + at + n * row, own, like)
                y = _active(x, code, zero)
                if slope:
                    y = fused(share, y - x, x)
                if mask:
                    y = y * load(dropped + n * row, own, like)
                store(out + at + n * row, own, y)


@kernel()
def derive(
    members,
    rows,
    width,
    gradient,
    before,
    slope,
    mask,
    mask_member,
    code,
    into_slope,
    into_bias,
    like,
):
    """Overwrite the gradient of what `activate` wrote by that of z.

    The sums over rows are the gradients of a bias and of the slope; 0 where nobody needs them.
    """
    size, zero = size_of(like), filled(0.0, like)
    row = width * size
    for m in range(members):
        for j in range(0, width, LANES):
            own = first(width - j)
            at, beside = m * rows * row + j * size, m * row + j * size
            dropped = mask + m * mask_member + j * size
            share = load(slope + beside, own, like) if slope else filled(1.0, like)
            bias, bend = zero, zero
            for n in range(rows):
                g = load(gradient + at + n * row, own, like)
                if mask:
                    g = g * load(dropped + n * row, own, like)
                if code:
                    z = load(before + at + n * row, own, like)
                    rise = _rise(z, code, zero)
                    if slope:
                        bend = fused(g, _active(z, code, zero) - z, bend)
                        rise = fused(share, rise - 1.0, filled(1.0, like))
                    g = g * rise
                if code or mask:
                    store(gradient + at + n * row, own, g)
                bias = bias + g
            if into_slope:
                store(into_slope + beside, own, bend)
            if into_bias:
                store(into_bias + beside, own, bias)
