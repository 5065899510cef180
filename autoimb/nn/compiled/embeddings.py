"""Inputs of the first layer: copied rows, embeddings of categories, waves of numbers."""

from __future__ import annotations

from math import pi

from autoimb.nn.compiled.kernel import inner, kernel
from autoimb.nn.compiled.lanes import (
    LANES,
    cosine,
    fetch,
    filled,
    first,
    fused,
    integer,
    load,
    number,
    sine,
    size_of,
    splat,
    store,
)
from autoimb.nn.compiled.products import transpose

__all__ = ["OUTPUTS", "embed", "embed_backward", "place", "waves", "waves_backward"]

OUTPUTS = 3  # outputs per number; the loops below are unrolled for them
_AHEAD, _LINE = 8, 64  # rows, and bytes of a line of the cache


@inner
def _row(chosen, number):
    """Return the position of a chosen row; without a choice the rows come in order."""
    return integer(chosen + number * 8) if chosen else number


@inner
def _announce(chosen, number, count, x, x_row, length):
    """Prefetch a chosen row that is read soon, as the processor can't predict its address."""
    if chosen and number + _AHEAD < count:
        start = x + integer(chosen + (number + _AHEAD) * 8) * x_row
        for line in range(0, length, _LINE):
            fetch(start + line)


@kernel()
def place(members, rows, width, x, x_member, x_row, chosen, to, to_member, to_row, like):
    """Copy rows, or the chosen ones, into an array of wider rows."""
    size = size_of(like)
    for m in range(members):
        for n in range(rows):
            _announce(chosen, m * rows + n, members * rows, x, x_row, width * size)
            which = integer(chosen + (m * rows + n) * 8) if chosen else n
            into, start = to + m * to_member + n * to_row, x + m * x_member + which * x_row
            for j in range(0, width, LANES):
                lanes = first(width - j)
                store(into + j * size, lanes, load(start + j * size, lanes, like))


@kernel()
def embed(members, rows, columns, dim, table, codes, chosen, starts, to, to_member, to_row, like):
    """Write the embedding vectors of the codes of each row next to each other."""
    size = size_of(like)
    for m in range(members):
        for n in range(rows):
            _announce(chosen, m * rows + n, members * rows, codes, columns * 8, columns * 8)
            into = to + m * to_member + n * to_row
            row_codes = codes + _row(chosen, m * rows + n) * columns * 8
            for q in range(columns):
                entry = integer(row_codes + q * 8) + integer(starts + (m * columns + q) * 8)
                for j in range(0, dim, LANES):
                    lanes = first(dim - j)
                    value = load(table + (entry * dim + j) * size, lanes, like)
                    store(into + (q * dim + j) * size, lanes, value)


@kernel()
def embed_backward(
    members, rows, columns, dim, table, length, codes, chosen, starts, x, x_member, x_row, like
):
    """Sum the gradients of the vectors of a table of ``length`` values."""
    size = size_of(like)
    for j in range(0, length, LANES):
        store(table + j * size, first(length - j), filled(0.0, like))
    for m in range(members):
        for n in range(rows):
            start = x + m * x_member + n * x_row
            row_codes = codes + _row(chosen, m * rows + n) * columns * 8
            for q in range(columns):
                entry = integer(row_codes + q * 8) + integer(starts + (m * columns + q) * 8)
                for j in range(0, dim, LANES):
                    lanes, at = first(dim - j), table + (entry * dim + j) * size
                    increment = load(start + (q * dim + j) * size, lanes, like)
                    store(at, lanes, load(at, lanes, like) + increment)


@kernel()
def waves(
    members, rows, numbers, many,
    x, x_member, x_row,
    frequency, phase, weight, bias,
    to, to_member, to_row,
    transposed, scratch, like,
):  # fmt: skip  # an operand a line
    """Write ``cos(2π w x + b) V + c`` for each number, of three outputs each.

    ``transposed`` and ``scratch`` have the place for the numbers and the outputs of a member, each
    with its rows side by side.
    """
    size = size_of(like)
    for m in range(members):
        transpose(transposed, rows * size, x + m * x_member, x_row, rows, numbers, size, like)
        for f in range(numbers):
            at = m * numbers + f
            for n in range(0, rows, LANES):
                lanes = first(rows - n)
                value = load(transposed + (f * rows + n) * size, lanes, like)
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
                store(scratch + (3 * f * rows + n) * size, lanes, z0)
                store(scratch + ((3 * f + 1) * rows + n) * size, lanes, z1)
                store(scratch + ((3 * f + 2) * rows + n) * size, lanes, z2)
        into = to + m * to_member
        transpose(into, to_row, scratch, rows * size, 3 * numbers, rows, size, like)


@kernel()
def waves_backward(
    members, rows, numbers, many,
    x, x_member, x_row,
    gradient, gradient_member, gradient_row,
    frequency, phase, weight,
    into_frequency, into_phase, into_weight, into_bias,
    scratch, like,
):  # fmt: skip  # an operand a line
    """Write the gradients of the parameters of `waves`; scratch is for twice a number's weights."""
    size, zero = size_of(like), filled(0.0, like)
    line = many * size
    sums = scratch + 3 * line
    for at in range(members * numbers):
        m, f = at // numbers, at % numbers
        back, column_x = gradient + m * gradient_member + 3 * f * size, x + m * x_member + f * size
        # (many, 3) -> (3, many): the waves of a number are the lanes, so that no sum runs across
        # lanes.
        transpose(scratch, line, weight + 3 * at * line, 3 * size, many, 3, size, like)
        for j in range(0, many, LANES):
            lanes, i = first(many - j), at * line + j * size
            begin = load(phase + i, lanes, like) * (1.0 / (2.0 * pi))
            often = load(frequency + i, lanes, like)
            v0 = load(scratch + j * size, lanes, like)
            v1 = load(scratch + line + j * size, lanes, like)
            v2 = load(scratch + 2 * line + j * size, lanes, like)
            s0, s1, s2, shifts, turns = zero, zero, zero, zero, zero
            for n in range(rows):
                value = splat(number(column_x + n * x_row, like))
                g0 = splat(number(back + n * gradient_row, like))
                g1 = splat(number(back + n * gradient_row + size, like))
                g2 = splat(number(back + n * gradient_row + 2 * size, like))
                turn = fused(value, often, begin)
                wave = cosine(turn)
                s0, s1, s2 = fused(wave, g0, s0), fused(wave, g1, s1), fused(wave, g2, s2)
                down = fused(g0, v0, fused(g1, v1, g2 * v2)) * sine(turn)
                shifts = shifts - down
                turns = turns - down * value
            store(sums + j * size, lanes, s0)
            store(sums + line + j * size, lanes, s1)
            store(sums + 2 * line + j * size, lanes, s2)
            store(into_phase + i, lanes, shifts)
            store(into_frequency + i, lanes, turns * (2.0 * pi))
        transpose(into_weight + 3 * at * line, 3 * size, sums, line, 3, many, size, like)
        three, bias = first(3), zero
        for n in range(rows):
            bias = bias + load(back + n * gradient_row, three, like)
        store(into_bias + 3 * at * size, three, bias)
