"""Gradient of the cross-entropy, scales of a first layer, and update of AdamW."""

from __future__ import annotations

from math import sqrt

from autoimb.nn.compiled.kernel import kernel
from autoimb.nn.compiled.lanes import (
    LANES,
    cast,
    exponential,
    filled,
    first,
    fused,
    larger,
    load,
    number,
    put,
    root,
    size_of,
    splat,
    store,
    total,
)

__all__ = ["adamw", "cross_entropy", "scale_weights", "scale_weights_backward"]


@kernel()
def cross_entropy(members, copies, classes, rows, logits, truth, weight, out, like):
    """Write ``(softmax(logits) - truth) ∘ weight``, the rows side by side; 0 is no weight."""
    size = size_of(like)
    line = rows * size
    for m in range(members):
        for k in range(copies):
            at = (m * copies + k) * classes * line
            for n in range(0, rows, LANES):
                lanes, column_at = first(rows - n), n * size
                maximum = load(logits + at + column_at, lanes, like)
                for c in range(1, classes):
                    maximum = larger(maximum, load(logits + at + c * line + column_at, lanes, like))
                sums = maximum - maximum
                for c in range(classes):
                    place = at + c * line + column_at
                    power = exponential(load(logits + place, lanes, like) - maximum)
                    store(out + place, lanes, power)
                    sums = sums + power
                factor = filled(1.0, like)
                if weight:
                    factor = load(weight + m * line + column_at, lanes, like)
                share = 1.0 / sums
                for c in range(classes):
                    place = at + c * line + column_at
                    right = load(truth + (m * classes + c) * line + column_at, lanes, like)
                    store(
                        out + place,
                        lanes,
                        (load(out + place, lanes, like) * share - right) * factor,
                    )


@kernel()
def scale_weights(members, inputs, copies, width, weight, scale, gain, out, like):
    """Write ``r_k ∘ W``, the copies side by side: (M, I, O), (M, I, k) -> (M, I, k, O).

    ``gain`` is another factor of each input; an address of 0 omits it.
    """
    size = size_of(like)
    for i in range(members * inputs):
        input_gain = number(gain + i * size, like) if gain else cast(1.0, like)
        for k in range(copies):
            factor = number(scale + (i * copies + k) * size, like) * input_gain
            into = out + (i * copies + k) * width * size
            for j in range(0, width, LANES):
                lanes = first(width - j)
                value = load(weight + (i * width + j) * size, lanes, like)
                store(into + j * size, lanes, value * factor)


@kernel()
def scale_weights_backward(
    members, inputs, copies, width, gradient, weight, scale, gain, into_weight, into_scale, like
):
    """Write the gradients of weights and scales from that of the output of `scale_weights`."""
    size, no_gain = size_of(like), cast(1.0, like)
    line = width * size
    for i in range(members * inputs):
        input_gain = number(gain + i * size, like) if gain else no_gain
        start, scales = gradient + i * copies * line, scale + i * copies * size
        for j in range(0, width, LANES):
            lanes, at = first(width - j), j * size
            sums = filled(0.0, like)
            for k in range(copies):
                factor = splat(number(scales + k * size, like))
                sums = fused(load(start + k * line + at, lanes, like), factor, sums)
            store(into_weight + i * line + at, lanes, sums * input_gain)
        for k in range(copies):
            sums = filled(0.0, like)
            for j in range(0, width, LANES):
                lanes, at = first(width - j), j * size
                g = load(start + k * line + at, lanes, like)
                sums = fused(g, load(weight + i * line + at, lanes, like), sums)
            put(into_scale + (i * copies + k) * size, total(sums) * input_gain)


@kernel("rate", "decay", "beta1", "beta2", "first_left", "second_left", "epsilon")
def adamw(
    length,
    values,
    gradients,
    mean,
    square,
    rate,
    decay,
    beta1,
    beta2,
    first_left,
    second_left,
    epsilon,
    like,
):
    """Update values by AdamW; ``first_left`` and ``second_left``, 1 - beta^t, correct the means."""
    size = size_of(like)
    shrinkage, step = 1.0 - rate * decay, rate / first_left
    steep = 1.0 / sqrt(second_left)
    for i in range(0, length, LANES):
        lanes, at = first(length - i), i * size
        g = load(gradients + at, lanes, like)
        m = load(mean + at, lanes, like)
        m = fused(g - m, filled(1.0 - beta1, like), m)
        v = load(square + at, lanes, like)
        v = fused(g * g, filled(1.0 - beta2, like), v * beta2)
        store(mean + at, lanes, m)
        store(square + at, lanes, v)
        value = load(values + at, lanes, like) * shrinkage
        store(values + at, lanes, value - step * (m / (root(v) * steep + epsilon)))
