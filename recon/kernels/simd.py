"""Vectors of 16 numbers as Numba types, so that a kernel says what it wants vectorised instead of hoping for it.

A kernel that calls these functions compiles to LLVM vector operations of 16 lanes: one AVX-512 register, two of AVX2,
four of NEON; LLVM splits and joins as the machine has it. Types: F32, F64, I32, I64 (16 lanes each) and MASK (16
booleans). Arithmetic and comparisons are operators, and a scalar operand counts for every lane. Products and sums may
be contracted to fused multiply-adds; nothing else is reordered, so results do not depend on the optimiser's mood, and
comparisons with NaN are false.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

LANES = 16
Builder = Any
"""llvmlite.ir.IRBuilder; its annotations do not describe what it returns."""
Value = Any
"""llvmlite.ir.Value."""
_lower: Any = lower_builtin
_global: Any = infer_global


class Vector(types.Type):
    """LANES numbers of one element type."""

    def __init__(self, element: types.Type) -> None:
        self.element = element
        super().__init__(name=f"{element}x{LANES}")


F32, F64 = Vector(types.float32), Vector(types.float64)
I32, I64 = Vector(types.int32), Vector(types.int64)
MASK = Vector(types.boolean)

IR_ELEMENT = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.boolean: ir.IntType(1),
}
VECTOR_OF = {v.element: v for v in (F32, F64, I32, I64)}
FLAGS = ("contract", "nsz")


def _ir(vector: Vector) -> ir.VectorType:
    return ir.VectorType(IR_ELEMENT[vector.element], LANES)


def emitter(function: Callable) -> Any:
    """Numba's intrinsic: a function that types its call and returns what writes the LLVM code."""
    return intrinsic(function)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, _ir(vector))


def wide_registers(builder: Builder) -> None:
    """Let LLVM use 512-bit registers in this function; by default it keeps to 256 bits on most Intel processors."""
    for attribute in ('"prefer-vector-width"="512"', '"min-legal-vector-width"="512"'):
        set.add(builder.function.attributes, attribute)  # llvmlite's own add() knows no string attributes


def broadcast(builder: Builder, scalar: Value) -> Value:
    vector = ir.VectorType(scalar.type, LANES)
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(ir.IntType(32), 0))
    return shuffle(builder, one, nothing, [0] * LANES)


def shuffle(builder: Builder, a: Value, b: Value, lanes: Sequence[int]) -> Value:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)))


def operand(context: Any, builder: Builder, value: Value, kind: types.Type, vector: Vector) -> Value:
    """`value` as `vector`: itself, or a scalar cast and broadcast."""
    if isinstance(kind, Vector):
        return value
    return broadcast(builder, context.cast(builder, value, kind, vector.element))


_SCALARS = {
    F32: (types.float32, types.float64, types.int64),
    F64: (types.float32, types.float64, types.int64),
    I32: (types.int32, types.int64),
    I64: (types.int64,),
}


def _register(symbol: Any, emit: Callable, vectors: Sequence[Vector], result: Vector | None = None) -> None:
    """Define a binary operator on vectors, and on vectors with scalars."""
    cases = []
    for v in vectors:
        cases.append(signature(result or v, v, v))
        for scalar in _SCALARS[v]:
            cases += [signature(result or v, v, scalar), signature(result or v, scalar, v)]
    _global(symbol)(type(f"Vector_{symbol.__name__}", (ConcreteTemplate,), {"cases": cases}))
    for case in cases:
        vector = next(a for a in case.args if isinstance(a, Vector))

        def implement(context: Any, builder: Builder, sig: Any, args: Any, vector: Vector = vector) -> Value:
            wide_registers(builder)
            a, b = (operand(context, builder, x, kind, vector) for x, kind in zip(args, sig.args, strict=True))
            return emit(builder, a, b, vector in (F32, F64))

        _lower(symbol, *case.args)(implement)


_NUMBERS = (F32, F64, I32, I64)
_register(operator.add, lambda b, x, y, f: b.fadd(x, y, flags=FLAGS) if f else b.add(x, y), _NUMBERS)
_register(operator.sub, lambda b, x, y, f: b.fsub(x, y, flags=FLAGS) if f else b.sub(x, y), _NUMBERS)
_register(operator.mul, lambda b, x, y, f: b.fmul(x, y, flags=FLAGS) if f else b.mul(x, y), _NUMBERS)
_register(operator.truediv, lambda b, x, y, f: b.fdiv(x, y, flags=FLAGS), (F32, F64))
_register(operator.lshift, lambda b, x, y, f: b.shl(x, y), (I32, I64))
_register(operator.rshift, lambda b, x, y, f: b.ashr(x, y), (I32, I64))
for _symbol, _sign in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">=")):
    _register(
        _symbol,
        lambda b, x, y, f, sign=_sign: b.fcmp_ordered(sign, x, y) if f else b.icmp_signed(sign, x, y),
        _NUMBERS,
        MASK,
    )
_BITS = (I32, I64)


def _register_bitwise(symbol: Any, emit: str) -> None:
    cases = [signature(MASK, MASK, MASK)]
    for v in _BITS:
        cases += [signature(v, v, v), signature(v, v, types.int64)]
    _global(symbol)(type(f"Vector_{symbol.__name__}", (ConcreteTemplate,), {"cases": cases}))
    for case in cases:

        def implement(context: Any, builder: Builder, sig: Any, args: Any, vector: Vector = case.args[0]) -> Value:
            return getattr(builder, emit)(args[0], operand(context, builder, args[1], sig.args[1], vector))

        _lower(symbol, *case.args)(implement)


_register_bitwise(operator.and_, "and_")
_register_bitwise(operator.or_, "or_")
_register_bitwise(operator.xor, "xor")


@_global(operator.invert)
class _Invert(ConcreteTemplate):
    cases = [signature(MASK, MASK)]  # noqa: RUF012 - the name that Numba reads


@_lower(operator.invert, MASK)
def _invert(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
    return builder.not_(args[0])


@_global(operator.neg)
class _Negate(ConcreteTemplate):
    cases = [signature(F32, F32), signature(F64, F64)]  # noqa: RUF012


@_lower(operator.neg, F32)
@_lower(operator.neg, F64)
def _negate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
    return builder.fneg(args[0])


@emitter
def fill(typing: Any, x: Any) -> Any:
    """The scalar x in every lane."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        return broadcast(builder, args[0])

    return VECTOR_OF[x](x), generate


@emitter
def lane_numbers(typing: Any) -> Any:
    """F32: 0, 1, ..., 15."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        return ir.Constant(_ir(F32), [float(i) for i in range(LANES)])

    return F32(), generate


@emitter
def select(typing: Any, mask: Any, a: Any, b: Any) -> Any:
    """a where the mask is true, else b; one of the two may be a scalar."""
    vector = a if isinstance(a, Vector) else b

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        x, y = (operand(context, builder, args[i], sig.args[i], vector) for i in (1, 2))
        return builder.select(args[0], x, y)

    return vector(mask, a, b), generate


def _extreme(sign: str, a: Any, b: Any) -> Any:
    vector = a if isinstance(a, Vector) else b

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        x, y = (operand(context, builder, args[i], sig.args[i], vector) for i in (0, 1))
        return builder.select(builder.fcmp_ordered(sign, x, y), x, y)

    return vector(a, b), generate


@emitter
def minimum(typing: Any, a: Any, b: Any) -> Any:
    """a < b ? a : b; b where one is NaN."""
    return _extreme("<", a, b)


@emitter
def maximum(typing: Any, a: Any, b: Any) -> Any:
    """a > b ? a : b; b where one is NaN."""
    return _extreme(">", a, b)


def _unary(name: str, x: Any) -> Any:
    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        kind = args[0].type
        suffix = "f64" if sig.args[0] is F64 else "f32"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind]), f"llvm.{name}.v{LANES}{suffix}"
        )
        return builder.call(function, [args[0]])

    return x(x), generate


@emitter
def absolute(typing: Any, x: Any) -> Any:
    return _unary("fabs", x)


@emitter
def root(typing: Any, x: Any) -> Any:
    """Square root."""
    return _unary("sqrt", x)


@emitter
def floor(typing: Any, x: Any) -> Any:
    return _unary("floor", x)


def _cast(out: Vector, x: Any, how: str) -> Any:
    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        return getattr(builder, how)(args[0], _ir(out))

    return out(x), generate


@emitter
def wide(typing: Any, x: Any) -> Any:
    """F32 -> F64."""
    return _cast(F64, x, "fpext")


@emitter
def narrow(typing: Any, x: Any) -> Any:
    """F64 -> F32, to nearest."""
    return _cast(F32, x, "fptrunc")


@emitter
def float_bits(typing: Any, x: Any) -> Any:
    """F32 -> I32, F64 -> I64: the same bits."""
    return _cast(I32 if x is F32 else I64, x, "bitcast")


@emitter
def from_bits(typing: Any, x: Any) -> Any:
    """I32 -> F32, I64 -> F64: the same bits."""
    return _cast(F32 if x is I32 else F64, x, "bitcast")


@emitter
def to_int(typing: Any, x: Any) -> Any:
    """F32 -> I32, F64 -> I64: towards zero."""
    return _cast(I32 if x is F32 else I64, x, "fptosi")


@emitter
def to_float(typing: Any, x: Any) -> Any:
    """I32 -> F32, I64 -> F64: the same number."""
    return _cast(F32 if x is I32 else F64, x, "sitofp")


@emitter
def nonzero(typing: Any, x: Any) -> Any:
    """I32 -> MASK."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        return builder.icmp_signed("!=", args[0], ir.Constant(args[0].type, None))

    return MASK(x), generate


@emitter
def mask_bits(typing: Any, mask: Any) -> Any:
    """int64 whose bit i is lane i of the mask."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        return builder.zext(builder.bitcast(args[0], ir.IntType(LANES)), ir.IntType(64))

    return types.int64(mask), generate


@emitter
def lowest_bit(typing: Any, x: Any) -> Any:
    """The number of the lowest set bit of an int64 that is not 0."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate
