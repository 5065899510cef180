"""What the first layer reads: rows side by side, vectors of categories, waves of numbers."""

from __future__ import annotations

from math import pi

from autoimb.nn.compiled.kernel import kernel
from autoimb.nn.compiled.lanes import (
    LANES,
    cosine,
    filled,
    first,
    fused,
    load,
    number,
    put,
    sine,
    size_of,
    splat,
    store,
    total,
    whole,
)
from autoimb.nn.compiled.products import transpose

__all__ = ["embed", "embed_backward", "place", "waves", "waves_backward"]


@kernel("iiiiiiiii")
def place(members, rows, width, to, to_member, to_row, x, x_member, x_row, like):
    """Copy rows to where they have other neighbours."""
    size = size_of(like)
    for m in range(members):
        for n in range(rows):
            into, start = to + m * to_member + n * to_row, x + m * x_member + n * x_row
            for j in range(0, width, LANES):
                own = first(width - j)
                store(into + j * size, own, load(start + j * size, own, like))


@kernel("iiiiiiiii")
def embed(members, rows, columns, dim, table, entries, to, to_member, to_row, like):
    """Write the table's entries side by side, those of a row's columns in a row."""
    size = size_of(like)
    for m in range(members):
        for n in range(rows):
            into = to + m * to_member + n * to_row
            for q in range(columns):
                entry = whole(entries + ((m * rows + n) * columns + q) * 8)
                for j in range(0, dim, LANES):
                    own = first(dim - j)
                    value = load(table + (entry * dim + j) * size, own, like)
                    store(into + (q * dim + j) * size, own, value)


@kernel("iiiiiiiiii")
def embed_backward(members, rows, columns, dim, table, length, entries, x, x_member, x_row, like):
    """Sum up the gradients of the entries of a table of so many numbers."""
    size = size_of(like)
    zero = filled(0.0, like)
    for j in range(0, length, LANES):
        store(table + j * size, first(length - j), zero)
    for m in range(members):
        for n in range(rows):
            start = x + m * x_member + n * x_row
            for q in range(columns):
                entry = whole(entries + ((m * rows + n) * columns + q) * 8)
                for j in range(0, dim, LANES):
                    own, at = first(dim - j), table + (entry * dim + j) * size
                    more = load(start + (q * dim + j) * size, own, like)
                    store(at, own, load(at, own, like) + more)


@kernel("iiiiiiiiiiiiiiii")
def waves(
    members, rows, numbers, many,
    x, x_member, x_row,
    frequency, phase, weight, bias,
    to, to_member, to_row,
    turned, room,
    like,
):  # fmt: skip
    """Write ``cos(2π w x + b) V + c`` for each number, of three outputs each.

    ``turned`` keeps the numbers, a number's rows side by side; ``room`` has the place for the
    outputs of a member in that order.
    """
    size = size_of(like)
    for m in range(members):
        own_x = turned + m * numbers * rows * size
        transpose(own_x, rows * size, x + m * x_member, x_row, rows, numbers, size, like)
        for f in range(numbers):
            at = m * numbers + f
            for n in range(0, rows, LANES):
                own = first(rows - n)
                value = load(own_x + (f * rows + n) * size, own, like)
                z0 = splat(number(bias + 3 * at * size, like))
                z1 = splat(number(bias + (at * 3 + 1) * size, like))
                z2 = splat(number(bias + (at * 3 + 2) * size, like))
                for j in range(many):
                    i = (at * many + j) * size
                    begin = splat(number(phase + i, like)) * (1.0 / (2.0 * pi))
                    often = splat(number(frequency + i, like))
                    wave = cosine(fused(value, often, begin))
                    z0 = fused(wave, splat(number(weight + 3 * i, like)), z0)
                    z1 = fused(wave, splat(number(weight + 3 * i + size, like)), z1)
                    z2 = fused(wave, splat(number(weight + 3 * i + 2 * size, like)), z2)
                store(room + (3 * f * rows + n) * size, own, z0)
                store(room + ((3 * f + 1) * rows + n) * size, own, z1)
                store(room + ((3 * f + 2) * rows + n) * size, own, z2)
        into = to + m * to_member
        transpose(into, to_row, room, rows * size, 3 * numbers, rows, size, like)


@kernel("iiiiiiiiiiiiiiii")
def waves_backward(
    members, rows, numbers, many,
    gradient, gradient_member, gradient_row,
    frequency, phase, weight,
    into_frequency, into_phase, into_weight, into_bias,
    turned, room,
    like,
):  # fmt: skip
    """Write the gradients of the parameters of `waves`."""
    size = size_of(like)
    zero = filled(0.0, like)
    for m in range(members):
        start = gradient + m * gradient_member
        transpose(room, rows * size, start, gradient_row, rows, 3 * numbers, size, like)
        own_x = turned + m * numbers * rows * size
        for f in range(numbers):
            at = m * numbers + f
            back = room + 3 * f * rows * size
            for d in range(3):
                sums = zero
                for n in range(0, rows, LANES):
                    sums = sums + load(back + (d * rows + n) * size, first(rows - n), like)
                put(into_bias + (at * 3 + d) * size, total(sums))
            for j in range(many):
                i = (at * many + j) * size
                begin = splat(number(phase + i, like)) * (1.0 / (2.0 * pi))
                often = splat(number(frequency + i, like))
                v0 = splat(number(weight + 3 * i, like))
                v1 = splat(number(weight + 3 * i + size, like))
                v2 = splat(number(weight + 3 * i + 2 * size, like))
                s0, s1, s2, shifts, turns = zero, zero, zero, zero, zero
                for n in range(0, rows, LANES):
                    own = first(rows - n)
                    value = load(own_x + (f * rows + n) * size, own, like)
                    g0 = load(back + n * size, own, like)
                    g1 = load(back + (rows + n) * size, own, like)
                    g2 = load(back + (2 * rows + n) * size, own, like)
                    turn = fused(value, often, begin)
                    wave = cosine(turn)
                    s0, s1, s2 = fused(wave, g0, s0), fused(wave, g1, s1), fused(wave, g2, s2)
                    down = fused(g0, v0, fused(g1, v1, g2 * v2)) * sine(turn)
                    shifts = shifts - down
                    turns = turns - down * value
                put(into_weight + 3 * i, total(s0))
                put(into_weight + 3 * i + size, total(s1))
                put(into_weight + 3 * i + 2 * size, total(s2))
                put(into_phase + i, total(shifts))
                put(into_frequency + i, total(turns * (2.0 * pi)))
