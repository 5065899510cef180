"""Vectors of a few numbers as values of compiled code, so that its speed hangs on no optimizer.

A loop over rows of 41 numbers is left half scalar by the compiler's own vectorization. Here a row
is read, computed and written a vector at a time, and the last one with a mask. The numbers are of
single precision in training; double precision is for the checks of gradients, and takes sine,
cosine and exponential of the system's library.
"""

from __future__ import annotations

import math
import operator

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, overload, register_model

from autoimb.nn.compiled.vectors import (
    BIT,
    CONTRACT,
    INDEX,
    LANES,
    LONG,
    bytes_of,
    called,
    constant,
    first_lanes,
    fused_lanes,
    is_single,
    masked_load,
    masked_store,
    of_lanes,
    spread,
)

__all__ = [
    "LANES",
    "Lanes",
    "Mask",
    "above",
    "cast",
    "cosine",
    "exponential",
    "fetch",
    "filled",
    "first",
    "fused",
    "integer",
    "larger",
    "load",
    "number",
    "put",
    "root",
    "select",
    "sine",
    "size_of",
    "splat",
    "store",
    "total",
]


class Lanes(types.Type):
    """A vector of numbers."""

    def __init__(self, real: types.Float) -> None:
        super().__init__(name=f"Lanes({real})")
        self.real = real


class Mask(types.Type):
    """A truth value for each number of a vector."""

    def __init__(self) -> None:
        super().__init__(name="Mask")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        backend = manager.lookup(kind.real).get_value_type()
        super().__init__(manager, kind, ir.VectorType(backend, LANES))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(BIT, LANES))


# --- what compiled code calls -----------------------------------------------------------------


@intrinsic
def first(context, count):
    """Return the mask of a row's next numbers, of which so many are left."""

    def code(context, builder, signature, args):
        return first_lanes(builder, args[0])

    return Mask()(types.int64), code


@intrinsic
def size_of(context, like):
    """Return the bytes of a number like a scalar."""

    def code(context, builder, signature, args):
        return LONG(bytes_of(args[0].type))

    return types.int64(like), code


@intrinsic
def load(context, address, mask, like):
    """Read from an address numbers like a scalar; where the mask is not set they are 0."""

    def code(context, builder, signature, args):
        kind = ir.VectorType(args[2].type, LANES)
        return masked_load(builder, args[0], args[1], kind)

    return Lanes(like)(types.int64, mask, like), code


@intrinsic
def number(context, address, like):
    """Read one number like a scalar."""

    def code(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], ir.PointerType(args[1].type)))

    return like(types.int64, like), code


@intrinsic
def integer(context, address):
    """Read one whole number of 64 bits."""

    def code(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], ir.PointerType(LONG)))

    return types.int64(types.int64), code


@intrinsic
def fetch(context, address):
    """Prefetch the cache line of an address that is read soon."""

    def code(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], ir.PointerType(ir.IntType(8)))
        reading, often, data = INDEX(0), INDEX(3), INDEX(1)
        called(builder, "llvm.prefetch.p0", ir.VoidType(), [pointer, reading, often, data])
        return context.get_dummy_value()

    return types.void(types.int64), code


@intrinsic
def put(context, address, value):
    """Write one number."""

    def code(context, builder, signature, args):
        builder.store(args[1], builder.inttoptr(args[0], ir.PointerType(args[1].type)))
        return context.get_dummy_value()

    return types.void(types.int64, value), code


@intrinsic
def store(context, address, mask, value):
    """Write to an address where the mask is set."""

    def code(context, builder, signature, args):
        masked_store(builder, args[2], args[0], args[1])
        return context.get_dummy_value()

    return types.void(types.int64, mask, value), code


@intrinsic
def splat(context, scalar):
    """Return a vector of one number."""

    def code(context, builder, signature, args):
        return spread(builder, args[0], ir.VectorType(args[0].type, LANES))

    return Lanes(scalar)(scalar), code


@intrinsic
def cast(context, value, like):
    """Return a number as one like a scalar."""

    def code(context, builder, signature, args):
        return context.cast(builder, args[0], *signature.args)

    return like(value, like), code


@intrinsic
def filled(context, value, like):
    """Return a vector of one number, as of numbers like a scalar."""

    def code(context, builder, signature, args):
        scalar = context.cast(builder, args[0], *signature.args)
        return spread(builder, scalar, ir.VectorType(scalar.type, LANES))

    return Lanes(like)(value, like), code


@intrinsic
def total(context, value):
    """Return the sum of a vector, the same pairs every time."""

    def code(context, builder, signature, args):
        rest, width = args[0], LANES
        while width > 1:
            width //= 2
            halves = []
            for start in (0, width):
                numbers = list(range(start, start + width))
                chosen = ir.Constant(ir.VectorType(INDEX, width), numbers)
                halves.append(
                    builder.shuffle_vector(rest, ir.Constant(rest.type, ir.Undefined), chosen)
                )
            rest = builder.fadd(*halves)
        return builder.extract_element(rest, INDEX(0))

    return value.real(value), code


@intrinsic
def fused(context, a, b, c):
    """Return ``a * b + c``."""

    def code(context, builder, signature, args):
        return fused_lanes(builder, *args)

    return a(a, b, c), code


def _elementwise(name):
    @intrinsic
    def function(context, value):
        def code(context, builder, signature, args):
            return of_lanes(builder, name, args[0])

        return value(value), code

    return function


root = _elementwise("sqrt")


def _of_two(name):
    @intrinsic
    def function(context, a, b):
        def code(context, builder, signature, args):
            return of_lanes(builder, name, *args)

        return a(a, b), code

    return function


larger = _of_two("maximum")  # of NaN and a number it is NaN, as torch has it


@intrinsic
def above(context, a, b):
    """Return where a is more than b."""

    def code(context, builder, signature, args):
        return builder.fcmp_ordered(">", *args)

    return Mask()(a, b), code


@intrinsic
def select(context, mask, a, b):
    """Return a where the mask is set, else b."""

    def code(context, builder, signature, args):
        return builder.select(*args)

    return a(mask, a, b), code


def _arithmetic(method):
    @intrinsic
    def function(context, a, b):
        def code(context, builder, signature, args):
            return getattr(builder, method)(*args, flags=CONTRACT)

        return a(a, b), code

    return function


def _register(sign, method):
    apply = _arithmetic(method)

    @overload(sign)
    def _(a, b):
        if isinstance(a, Lanes) and isinstance(b, Lanes):
            return lambda a, b: apply(a, b)
        if isinstance(a, Lanes) and isinstance(b, types.Number):
            real = a.real
            return lambda a, b: apply(a, splat(real(b)))
        if isinstance(b, Lanes) and isinstance(a, types.Number):
            real = b.real
            return lambda a, b: apply(splat(real(a)), b)
        return None


_register(operator.add, "fadd")
_register(operator.sub, "fsub")
_register(operator.mul, "fmul")
_register(operator.truediv, "fdiv")


# --- functions ----------------------------------------------------------------------------------


def _polynomial(builder, x, coefficients):
    """Evaluate by Horner's rule, the highest power first."""
    value = constant(x.type, coefficients[0])
    for coefficient in coefficients[1:]:
        value = fused_lanes(builder, value, x, constant(x.type, coefficient))
    return value


# Coefficients of sin(2πu) / u in u² on [-1/4, 1/4], and of (exp(r) - 1 - r) / r² on ±log(2)/2, both
# exact to half a rounding of single precision.
_SINE = (39.7598271, -76.5811726, 81.6024764, -41.3416806, 6.28318528)
_EXP = (0.00139337327, 0.00836323538, 0.0416664642, 0.166665766, 0.500000001)


def _sine_of_quarter(builder, u):
    if not is_single(u.type):
        return of_lanes(builder, "sin", builder.fmul(u, constant(u.type, 2 * math.pi)))
    return builder.fmul(u, _polynomial(builder, builder.fmul(u, u), _SINE))


def _turn(builder, value):
    """Return the fractional part of turns, in [-1/2, 1/2], and its absolute value."""
    fraction = builder.fsub(value, of_lanes(builder, "rint", value))
    return fraction, of_lanes(builder, "fabs", fraction)


@intrinsic
def cosine(context, turns):
    """Return ``cos(2π turns)``."""

    def code(context, builder, signature, args):
        _, size = _turn(builder, args[0])
        return _sine_of_quarter(builder, builder.fsub(constant(size.type, 0.25), size))

    return turns(turns), code


@intrinsic
def sine(context, turns):
    """Return ``sin(2π turns)``."""

    def code(context, builder, signature, args):
        fraction, size = _turn(builder, args[0])
        folded = of_lanes(builder, "minnum", size, builder.fsub(constant(size.type, 0.5), size))
        return _sine_of_quarter(builder, of_lanes(builder, "copysign", folded, fraction))

    return turns(turns), code


@intrinsic
def exponential(context, value):
    """Return ``exp(value)``, with values clipped to [-87, 88] in single precision.

    NaN stays NaN.
    """

    def code(context, builder, signature, args):
        x = args[0]
        if not is_single(x.type):
            return of_lanes(builder, "exp", x)
        x = of_lanes(builder, "maxnum", x, constant(x.type, -87.0))
        x = of_lanes(builder, "minnum", x, constant(x.type, 88.0))
        exponent = of_lanes(builder, "rint", builder.fmul(x, constant(x.type, 1.4426950408889634)))
        rest = fused_lanes(builder, exponent, constant(x.type, -0.693145751953125), x)
        rest = fused_lanes(builder, exponent, constant(x.type, -1.428606765330187e-06), rest)
        value = _polynomial(builder, rest, (*_EXP, 1.0, 1.0))
        # 2^exponent, written as the bits of a float.
        integers = ir.VectorType(ir.IntType(32), LANES)
        power = builder.fptosi(exponent, integers)
        bits = builder.shl(
            builder.add(power, ir.Constant(integers, [127] * LANES)),
            ir.Constant(integers, [23] * LANES),
        )
        result = builder.fmul(value, builder.bitcast(bits, x.type))
        return builder.select(builder.fcmp_unordered("uno", args[0], args[0]), args[0], result)

    return value(value), code
