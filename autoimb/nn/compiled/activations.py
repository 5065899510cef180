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
# Constants of SELU, as in `autoimb.nn.plain`. They are repeated because compiled code is cached
# until a file of this folder changes, so that a change in another file would have no effect.
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
    unit = zero + 1.0
    if code == _RELU:
        return select(above(z, zero), unit, zero)
    if code == _SILU:
        share = 1.0 / (1.0 + exponential(0.0 - z))
        return share * (1.0 + z * (1.0 - share))
    if code == _SELU:
        return select(above(z, zero), _SCALE * unit, _SCALE * _ALPHA * exponential(z))
    return unit


@kernel()
def activate(members, rows, width, z, out, slope, mask, mask_member, code, like):
    """Write ``(z + a ∘ (activation(z) - z)) ∘ mask``; an address of 0 omits slope or mask."""
    size, zero = size_of(like), filled(0.0, like)
    row = width * size
    for m in range(members):
        for j in range(0, width, LANES):
            lanes = first(width - j)
            at = m * rows * row + j * size
            dropped = mask + m * mask_member + j * size
            share = load(slope + m * row + j * size, lanes, like) if slope else filled(1.0, like)
            for n in range(rows):
                x = load(z + at + n * row, lanes, like)
                y = _active(x, code, zero)
                if slope:
                    y = fused(share, y - x, x)
                if mask:
                    y = y * load(dropped + n * row, lanes, like)
                store(out + at + n * row, lanes, y)


@kernel()
def derive(
    members,
    rows,
    width,
    gradient,
    preactivation,
    slope,
    mask,
    mask_member,
    code,
    into_slope,
    into_bias,
    like,
):
    """Overwrite the gradient of the output of `activate` by that of z.

    The sums over rows are the gradients of a bias and of the slope; an address of 0 omits them.
    """
    size, zero = size_of(like), filled(0.0, like)
    row = width * size
    for m in range(members):
        for j in range(0, width, LANES):
            lanes = first(width - j)
            at, column_at = m * rows * row + j * size, m * row + j * size
            dropped = mask + m * mask_member + j * size
            share = load(slope + column_at, lanes, like) if slope else filled(1.0, like)
            bias, bend = zero, zero
            for n in range(rows):
                g = load(gradient + at + n * row, lanes, like)
                if mask:
                    g = g * load(dropped + n * row, lanes, like)
                if code:
                    z = load(preactivation + at + n * row, lanes, like)
                    rise = _rise(z, code, zero)
                    if slope:
                        bend = fused(g, _active(z, code, zero) - z, bend)
                        rise = fused(share, rise - 1.0, filled(1.0, like))
                    g = g * rise
                if code or mask:
                    store(gradient + at + n * row, lanes, g)
                bias = bias + g
            if into_slope:
                store(into_slope + column_at, lanes, bend)
            if into_bias:
                store(into_bias + column_at, lanes, bias)
