"""Code generation for vectors: operations of LLVM on as many numbers as a register holds."""

from __future__ import annotations

from llvmlite import binding, ir

__all__ = [
    "BIT",
    "CONTRACT",
    "INDEX",
    "LANES",
    "LONG",
    "WIDE",
    "bytes_of",
    "called",
    "constant",
    "first_lanes",
    "fused_lanes",
    "is_single",
    "masked_load",
    "masked_store",
    "of_lanes",
    "spread",
]

_FEATURES = binding.get_host_cpu_features()
WIDE = bool(_FEATURES.get("avx512f", False))
# Without mask instructions a mask costs a branch per lane, so full masks are handled separately.
MASKS = bool(_FEATURES.get("avx2", False))
LANES = 16 if WIDE else 8  # numbers of a vector: one register of a wide machine

LONG, INDEX, BIT = ir.IntType(64), ir.IntType(32), ir.IntType(1)
CONTRACT = ("contract",)  # a product and a sum may be one rounding


def is_single(kind):
    """Return whether a vector is of numbers of single precision."""
    return isinstance(kind.element, ir.FloatType)


def bytes_of(element):
    """Return the bytes of a number of a type."""
    return 4 if isinstance(element, ir.FloatType) else 8


def called(builder, name, result, arguments):
    """Call one of LLVM's functions, declared where it is not yet."""
    declared = ir.FunctionType(result, [argument.type for argument in arguments])
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, declared, name)
    return builder.call(function, arguments)


def of_lanes(builder, name, *arguments):
    """Call one of LLVM's functions that takes vectors and gives a vector."""
    kind = arguments[0].type
    suffix = "f32" if is_single(kind) else "f64"
    return called(builder, f"llvm.{name}.v{LANES}{suffix}", kind, arguments)


def spread(builder, scalar, kind):
    """Write a scalar into every lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, scalar, INDEX(0))
    zeros = ir.Constant(ir.VectorType(INDEX, LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, zeros)


def constant(kind, value):
    """Return a vector of one known number."""
    return ir.Constant(kind, [value] * LANES)


def _all_set(builder, mask):
    return called(builder, f"llvm.vector.reduce.and.v{LANES}i1", BIT, [mask])


def masked_load(builder, address, mask, kind):
    """Read the lanes of a mask; the others are 0."""
    size = bytes_of(kind.element)
    pointer = builder.inttoptr(address, ir.PointerType(kind))
    arguments = [pointer, INDEX(size), mask, constant(kind, 0.0)]
    name = f"llvm.masked.load.v{LANES}f{8 * size}.p0"
    if MASKS:
        return called(builder, name, kind, arguments)
    loads = []
    with builder.if_else(_all_set(builder, mask)) as (all_lanes, some_lanes):
        with all_lanes:
            loads.append((builder.load(pointer, align=size), builder.block))
        with some_lanes:
            loads.append((called(builder, name, kind, arguments), builder.block))
    value = builder.phi(kind)
    for loaded, block in loads:
        value.add_incoming(loaded, block)
    return value


def masked_store(builder, value, address, mask):
    """Write the lanes of a mask."""
    size = bytes_of(value.type.element)
    pointer = builder.inttoptr(address, ir.PointerType(value.type))
    arguments = [value, pointer, INDEX(size), mask]
    name = f"llvm.masked.store.v{LANES}f{8 * size}.p0"
    if MASKS:
        called(builder, name, ir.VoidType(), arguments)
        return
    with builder.if_else(_all_set(builder, mask)) as (all_lanes, some_lanes):
        with all_lanes:
            builder.store(value, pointer, align=size)
        with some_lanes:
            called(builder, name, ir.VoidType(), arguments)


def first_lanes(builder, count):
    """Return a mask of the first lanes, so many of them."""
    kind = ir.VectorType(count.type, LANES)
    numbers = ir.Constant(kind, list(range(LANES)))
    return builder.icmp_signed("<", numbers, spread(builder, count, kind))


def fused_lanes(builder, a, b, c):
    """Return ``a * b + c``, rounded once."""
    return of_lanes(builder, "fma", a, b, c)
