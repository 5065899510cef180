"""Batched matrix products: a block of the result is summed up in registers.

Neither operand is packed: what a network multiplies fits the cache. A block is as many rows and
vectors as the registers hold, so that nothing but the operands is read while it is summed. Members
are multiplied one by one and rows in blocks of one size, so that a member's result does not hang
on its pack.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from autoimb.nn.compiled.kernel import inner, kernel
from autoimb.nn.compiled.lanes import filled, first, load, put, size_of, store, total
from autoimb.nn.compiled.vectors import (
    LANES,
    LONG,
    WIDE,
    bytes_of,
    first_lanes,
    fused_lanes,
    masked_load,
    masked_store,
    spread,
)

__all__ = ["multiply", "product", "sum_rows", "transpose", "transpose_all"]

ROWS, VECTORS = (8 if WIDE else 4), 3  # of a block: 24 wide or 12 narrow registers are sums
PANEL = VECTORS * LANES


class _Columns:
    """Columns of a block: the place of each vector of them, and the mask of existing ones."""

    def __init__(self, builder, columns, vectors, kind):
        self._builder, self._kind = builder, kind
        size = bytes_of(kind.element)
        self.masks, self._places = [], []
        for start in range(0, vectors * LANES, LANES):
            self.masks.append(first_lanes(builder, builder.sub(columns, LONG(start))))
            # A vector without columns has the address of the first one, as an invalid address costs
            # much time even where the mask forbids the access.
            exists = builder.icmp_signed(">", columns, LONG(start))
            self._places.append(builder.select(exists, LONG(start * size), LONG(0)))

    def load(self, row, only=None):
        """Read a row; zeros if the truth value ``only`` is false."""
        masks = self.masks
        if only is not None:
            everywhere = spread(self._builder, only, masks[0].type)
            masks = [self._builder.and_(mask, everywhere) for mask in masks]
        return [
            masked_load(self._builder, self._builder.add(row, place), mask, self._kind)
            for mask, place in zip(masks, self._places)
        ]

    def store(self, row, values):
        """Write a row."""
        for value, mask, place in zip(values, self.masks, self._places):
            masked_store(self._builder, value, self._builder.add(row, place), mask)


def _summed(builder, columns, starts, a_next, b, b_next, depth, kind):
    """Write the loop over the depth; return the sums, vectors by rows."""
    vectors, zero = len(columns.masks), ir.Constant(kind, [0.0] * LANES)
    entry = builder.block
    loop, end = builder.append_basic_block("depth"), builder.append_basic_block("sums")
    builder.branch(loop)
    builder.position_at_end(loop)
    step, along, at = (builder.phi(LONG) for _ in range(3))
    sums = [[builder.phi(kind) for _ in range(vectors)] for _ in starts]
    loaded, new = columns.load(at), []
    for start, row_sums in zip(starts, sums):
        pointer = builder.inttoptr(builder.add(start, along), ir.PointerType(kind.element))
        factor = spread(builder, builder.load(pointer), kind)
        new.append([fused_lanes(builder, factor, x, sum_) for x, sum_ in zip(loaded, row_sums)])
    steps, last = builder.add(step, LONG(1)), builder.block
    for phi, begin, updated in (
        (step, LONG(0), steps),
        (along, LONG(0), builder.add(along, a_next)),
        (at, b, builder.add(at, b_next)),
        *((phi, zero, value) for phis, row in zip(sums, new) for phi, value in zip(phis, row)),
    ):
        phi.add_incoming(begin, entry)
        phi.add_incoming(updated, last)
    builder.cbranch(builder.icmp_signed("<", steps, depth), loop, end)
    builder.position_at_end(end)
    return new


def _block(rows, vectors):
    """Return a function for ``alpha * a @ b + bias`` on a number of rows and column vectors."""

    @intrinsic
    def block(context, c, c_row, a, a_row, a_next, b, b_next, depth, columns, alpha, bias):
        def code(context, builder, signature, args):
            c, c_row, a, a_row, a_next, b, b_next, depth, columns, alpha, bias = args
            kind = ir.VectorType(alpha.type, LANES)
            columns = _Columns(builder, columns, vectors, kind)
            starts = [a]
            for _ in range(1, rows):
                starts.append(builder.add(starts[-1], a_row))
            sums = _summed(builder, columns, starts, a_next, b, b_next, depth, kind)
            biased = builder.icmp_signed("!=", bias, LONG(0))
            shifts = columns.load(builder.select(biased, bias, c), only=biased)
            factor = spread(builder, alpha, kind)
            for row_sums in sums:
                values = zip(row_sums, shifts)
                columns.store(c, [fused_lanes(builder, x, factor, s) for x, s in values])
                c = builder.add(c, c_row)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9, alpha, types.int64), code

    return block


_three_vectors, _two_vectors, _one_vector = (_block(ROWS, vectors) for vectors in (3, 2, 1))
_row = _block(1, 3)


@inner
def _repeat(c, c_row, rows, columns, row, size, like):
    """Write a row of numbers to each row of c, or zeros if its address is 0."""
    for j in range(0, columns, LANES):
        lanes, values = first(columns - j), filled(0.0, like)
        if row != 0:
            values = load(row + j * size, lanes, like)
        for i in range(rows):
            store(c + i * c_row + j * size, lanes, values)


@inner
def multiply(c, c_row, a, a_row, a_next, b, b_next, rows, columns, depth, alpha, bias, size):
    """Write ``alpha * a @ b + bias`` to c; strides in bytes, bias 0 for none.

    The columns of b and c are contiguous; a may be transposed.
    """
    if depth == 0:
        _repeat(c, c_row, rows, columns, bias, size, alpha)
        return
    for j in range(0, columns, PANEL):
        remaining, shift = columns - j, j * size
        into, panel = c + shift, b + shift
        bias_at = bias + shift if bias != 0 else 0
        if rows < ROWS:
            for i in range(rows):
                _row(
                    into + i * c_row,
                    c_row,
                    a + i * a_row,
                    a_row,
                    a_next,
                    panel,
                    b_next,
                    depth,
                    remaining,
                    alpha,
                    bias_at,
                )
            continue
        for block in range(0, rows, ROWS):
            i = min(block, rows - ROWS)  # the last block has rows of the one before again
            to, begin = into + i * c_row, a + i * a_row
            if remaining > 2 * LANES:
                _three_vectors(
                    to, c_row, begin, a_row, a_next, panel, b_next, depth, remaining, alpha, bias_at
                )
            elif remaining > LANES:
                _two_vectors(
                    to, c_row, begin, a_row, a_next, panel, b_next, depth, remaining, alpha, bias_at
                )
            else:
                _one_vector(
                    to, c_row, begin, a_row, a_next, panel, b_next, depth, remaining, alpha, bias_at
                )


@intrinsic
def _transpose_block(context, to, to_row, x, x_row, rows, columns, like):
    """Transpose a block of as many rows as lanes, or fewer."""

    def code(context, builder, signature, args):
        to, to_row, x, x_row, rows, columns, like = args
        kind = ir.VectorType(like.type, LANES)

        def places(start, row, count):
            # Surplus rows read and write nothing, at the last valid place.
            last = builder.sub(count, LONG(1))
            for i in range(LANES):
                inside = builder.icmp_signed("<", LONG(i), count)
                which = builder.select(inside, LONG(i), last)
                yield inside, builder.add(start, builder.mul(which, row))

        wide, high = first_lanes(builder, columns), first_lanes(builder, rows)
        block = [masked_load(builder, place, wide, kind) for _, place in places(x, x_row, rows)]
        lane = ir.IntType(32)
        width = 1
        while width < LANES:
            lower = [n if not n & width else LANES + n - width for n in range(LANES)]
            upper = [n + width if not n & width else LANES + n for n in range(LANES)]
            for i in range(LANES):
                if not i & width:
                    pair = block[i], block[i + width]
                    for which, chosen in ((i, lower), (i + width, upper)):
                        order = ir.Constant(ir.VectorType(lane, LANES), chosen)
                        block[which] = builder.shuffle_vector(*pair, order)
            width *= 2
        for value, (inside, place) in zip(block, places(to, to_row, columns)):
            mask = builder.and_(high, spread(builder, inside, high.type))
            masked_store(builder, value, place, mask)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, like), code


@inner
def transpose(to, to_row, x, x_row, rows, columns, size, like):
    """Write x transposed; strides in bytes, both have their columns side by side."""
    for i in range(0, rows, LANES):
        for j in range(0, columns, LANES):
            _transpose_block(
                to + j * to_row + i * size,
                to_row,
                x + i * x_row + j * size,
                x_row,
                min(rows - i, LANES),
                min(columns - j, LANES),
                like,
            )


@kernel("alpha")
def product(
    outer, middle,
    c, c_outer, c_row, c_middle,
    a, a_outer, a_row, a_middle, a_next,
    b, b_outer, b_next, b_middle, b_column,
    rows, columns, depth, alpha,
    bias, bias_outer, bias_middle,
    scratch, like,
):  # fmt: skip  # an operand a line
    """Multiply all matrices of two leading axes; strides in bytes.

    b may be transposed; then ``scratch`` has the place for one of its matrices.
    """
    size = size_of(like)
    for m in range(outer):
        for k in range(middle):
            matrix, step = b + m * b_outer + k * b_middle, b_next
            if b_column != size:
                transpose(scratch, columns * size, matrix, b_column, columns, depth, size, like)
                matrix, step = scratch, columns * size
            bias_at = bias + m * bias_outer + k * bias_middle if bias != 0 else 0
            multiply(
                c + m * c_outer + k * c_middle,
                c_row,
                a + m * a_outer + k * a_middle,
                a_row,
                a_next,
                matrix,
                step,
                rows,
                columns,
                depth,
                alpha,
                bias_at,
                size,
            )


@kernel()
def transpose_all(matrices, rows, columns, x, to, like):
    """Write every matrix transposed."""
    size = size_of(like)
    for m in range(matrices):
        shift = m * rows * columns * size
        transpose(to + shift, rows * size, x + shift, columns * size, rows, columns, size, like)


@kernel()
def sum_rows(rows, length, x, into, like):
    """Write the sum of each row."""
    size = size_of(like)
    for n in range(rows):
        sums = filled(0.0, like)
        for j in range(0, length, LANES):
            sums = sums + load(x + (n * length + j) * size, first(length - j), like)
        put(into + n * size, total(sums))
