"""Layer normalization, which reads and writes each row once."""

from __future__ import annotations

from math import sqrt

from autoimb.nn.compiled.kernel import kernel
from autoimb.nn.compiled.lanes import (
    LANES,
    cast,
    filled,
    first,
    fused,
    load,
    number,
    put,
    select,
    size_of,
    store,
    total,
)

__all__ = ["normalize", "normalize_backward"]


@kernel("epsilon")
def normalize(members, rows, width, x, scale, shift, unit, inverse, out, epsilon, like):
    """Write ``unit = (x - mean) / deviation``, 1/deviation, and ``shift + unit ∘ scale``."""
    size = size_of(like)
    for m in range(members):
        for n in range(rows):
            at = (m * rows + n) * width * size
            sums = filled(0.0, like)
            for j in range(0, width, LANES):
                sums = sums + load(x + at + j * size, first(width - j), like)
            mean = total(sums) / width
            sums = filled(0.0, like)
            for j in range(0, width, LANES):
                lanes = first(width - j)
                far = load(x + at + j * size, lanes, like) - mean
                sums = fused(far, select(lanes, far, far - far), sums)
            factor = 1.0 / sqrt(total(sums) / width + epsilon)
            put(inverse + (m * rows + n) * size, cast(factor, like))
            for j in range(0, width, LANES):
                lanes, column_at = first(width - j), (m * width + j) * size
                u = (load(x + at + j * size, lanes, like) - mean) * factor
                store(unit + at + j * size, lanes, u)
                y = fused(
                    u, load(scale + column_at, lanes, like), load(shift + column_at, lanes, like)
                )
                store(out + at + j * size, lanes, y)


@kernel()
def normalize_backward(
    members, rows, width, gradient, unit, inverse, scale, into_scale, into_shift, like
):
    """Overwrite the gradient of the output of `normalize` by that of x."""
    size = size_of(like)
    for m in range(members):
        for j in range(0, width, LANES):
            lanes, at = first(width - j), (m * rows * width + j) * size
            plain = filled(0.0, like)
            along = plain
            for n in range(rows):
                g = load(gradient + at + n * width * size, lanes, like)
                along = fused(g, load(unit + at + n * width * size, lanes, like), along)
                plain = plain + g
            store(into_scale + (m * width + j) * size, lanes, along)
            store(into_shift + (m * width + j) * size, lanes, plain)
        for n in range(rows):
            at = (m * rows + n) * width * size
            plain = filled(0.0, like)
            along = plain
            for j in range(0, width, LANES):
                lanes = first(width - j)
                g = load(gradient + at + j * size, lanes, like)
                g = g * load(scale + (m * width + j) * size, lanes, like)
                store(gradient + at + j * size, lanes, g)
                plain = plain + g
                along = fused(g, load(unit + at + j * size, lanes, like), along)
            # Remove the components that change a row's mean or deviation.
            mean, share = total(plain) / width, total(along) / width
            factor = number(inverse + (m * rows + n) * size, like)
            for j in range(0, width, LANES):
                lanes = first(width - j)
                g = load(gradient + at + j * size, lanes, like) - mean
                u = load(unit + at + j * size, lanes, like)
                store(gradient + at + j * size, lanes, (g - u * share) * factor)
