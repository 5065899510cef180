"""The gradient of the cross-entropy, the scales of a first layer, and the step of AdamW."""

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
                own, beside = first(rows - n), n * size
                most = load(logits + at + beside, own, like)
                for c in range(1, classes):
                    most = larger(most, load(logits + at + c * line + beside, own, like))
                sums = most - most
                for c in range(classes):
                    place = at + c * line + beside
                    power = exponential(load(logits + place, own, like) - most)
                    store(out + place, own, power)
                    sums = sums + power
                factor = filled(1.0, like)
                if weight:
                    factor = load(weight + m * line + beside, own, like)
                share = 1.0 / sums
                for c in range(classes):
                    place = at + c * line + beside
                    right = load(truth + (m * classes + c) * line + beside, own, like)
                    store(out + place, own, (load(out + place, own, like) * share - right) * factor)


@kernel()
def scale_weights(members, inputs, copies, width, weight, scale, gain, out, like):
    """Write ``r_k ∘ W``, the copies side by side: (M, I, O), (M, I, k) -> (M, I, k, O).

    A gain is one more factor of each input; 0 is none.
    """
    size = size_of(like)
    for i in range(members * inputs):
        more = number(gain + i * size, like) if gain else cast(1.0, like)
        for k in range(copies):
            factor = number(scale + (i * copies + k) * size, like) * more
            into = out + (i * copies + k) * width * size
            for j in range(0, width, LANES):
                own = first(width - j)
                value = load(weight + (i * width + j) * size, own, like)
                store(into + j * size, own, value * factor)


@kernel()
def scale_weights_backward(
    members, inputs, copies, width, gradient, weight, scale, gain, into_weight, into_scale, like
):
    """Take the gradient of what `scale_weights` wrote apart."""
    size, one = size_of(like), cast(1.0, like)
    line = width * size
    for i in range(members * inputs):
        more = number(gain + i * size, like) if gain else one
        start, scales = gradient + i * copies * line, scale + i * copies * size
        for j in range(0, width, LANES):
            own, at = first(width - j), j * size
            sums = filled(0.0, like)
            for k in range(copies):
                factor = splat(number(scales + k * size, like))
                sums = fused(load(start + k * line + at, own, like), factor, sums)
            store(into_weight + i * line + at, own, sums * more)
        for k in range(copies):
            sums = filled(0.0, like)
            for j in range(0, width, LANES):
                own, at = first(width - j), j * size
                g = load(start + k * line + at, own, like)
                sums = fused(g, load(weight + i * line + at, own, like), sums)
            put(into_scale + (i * copies + k) * size, total(sums) * more)


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
    """Step values along their gradients; what is left of 1 after so many steps corrects a mean."""
    size = size_of(like)
    kept, step = 1.0 - rate * decay, rate / first_left
    steep = 1.0 / sqrt(second_left)
    for i in range(0, length, LANES):
        own, at = first(length - i), i * size
        g = load(gradients + at, own, like)
        m = load(mean + at, own, like)
        m = fused(g - m, filled(1.0 - beta1, like), m)
        v = load(square + at, own, like)
        v = fused(g * g, filled(1.0 - beta2, like), v * beta2)
        store(mean + at, own, m)
        store(square + at, own, v)
        value = load(values + at, own, like) * kept
        store(values + at, own, value - step * (m / (root(v) * steep + epsilon)))
