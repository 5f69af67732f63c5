"""Vectors that hold whole rows of a narrow table: 16 / F rows of F numbers, F a power of two up to 16.

`width` is a tuple of F numbers, of which only the type counts: the compiler knows F then, and a kernel is compiled for
each F that is used. Arrays are contiguous and 1-D, or what pointer() gave; bounds are the caller's.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError

from recon.kernels.simd import F32, FLAGS, IR_ELEMENT, LANES, Builder, Value, emitter, shuffle, wide_registers
from recon.kernels.simd_memory import data_of


def _width(width: Any) -> int:
    """F of the type of a tuple."""
    if not isinstance(width, types.UniTuple) or LANES % width.count:
        raise TypingError("rows must be a power of two wide, 16 at most")
    return width.count


def _number(value: int) -> Value:
    return ir.Constant(ir.IntType(64), value)


def _row_pointer(builder: Builder, data: Value, index: Value, width: int) -> Value:
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(ir.FloatType(), width).as_pointer())


def _read(builder: Builder, data: Value, index: Value, width: int) -> Value:
    loaded = builder.load(_row_pointer(builder, data, index, width))
    loaded.align = 4
    return loaded


def _write(builder: Builder, data: Value, index: Value, width: int, value: Value) -> None:
    stored = builder.store(value, _row_pointer(builder, data, index, width))
    stored.align = 4


def _joined(builder: Builder, parts: list[Value]) -> Value:
    """Vectors side by side."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [shuffle(builder, a, b, range(2 * a.type.count)) for a, b in pairs]
    return parts[0]


def _part(builder: Builder, vector: Value, row: int, width: int) -> Value:
    return shuffle(builder, vector, vector, range(row * width, (row + 1) * width))


def _places(builder: Builder, data: Value, at: Value, base: Value, width: int) -> list[Value]:
    """base + F rows[at + j] for the 16 / F rows of a vector."""
    numbers = [builder.load(builder.gep(data, [builder.add(at, _number(j))])) for j in range(LANES // width)]
    return [builder.add(base, builder.mul(builder.sext(n, ir.IntType(64)), _number(width))) for n in numbers]


def _steps(builder: Builder, start: Value, stride: Value, width: int) -> list[Value]:
    return [builder.add(start, builder.mul(stride, _number(j))) for j in range(LANES // width)]


@emitter
def load_rows(typing: Any, table: Any, base: Any, rows: Any, at: Any, width: Any) -> Any:
    """Rows rows[at], rows[at + 1], ... of the table that starts at table[base]; rows i32, base and at int64."""
    count = _width(width)

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        data = data_of(context, builder, sig.args[0], args[0])
        numbers = data_of(context, builder, sig.args[2], args[2])
        places = _places(builder, numbers, args[3], args[1], count)
        return _joined(builder, [_read(builder, data, place, count) for place in places])

    return F32(table, types.int64, rows, types.int64, width), generate


@emitter
def add_rows(
    typing: Any, table: Any, base: Any, rows: Any, at: Any, low: Any, high: Any, value: Any, width: Any
) -> Any:
    """Add the rows of a vector to rows[at], rows[at + 1], ... of the table, one after the other (a row may come twice),
    but for those outside low .. high, int64.
    """
    count = _width(width)

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        data = data_of(context, builder, sig.args[0], args[0])
        numbers = data_of(context, builder, sig.args[2], args[2])
        span = builder.sub(args[5], args[4])
        for j in range(LANES // count):
            number = builder.load(builder.gep(numbers, [builder.add(args[3], _number(j))]))
            number = builder.sext(number, ir.IntType(64))
            part = _part(builder, args[6], j, count)
            with builder.if_then(builder.icmp_unsigned("<", builder.sub(number, args[4]), span), likely=True):
                place = builder.add(args[1], builder.mul(number, _number(count)))
                old = _read(builder, data, place, count)
                _write(builder, data, place, count, builder.fadd(old, part, flags=FLAGS))
        return context.get_dummy_value()

    return types.void(table, types.int64, rows, types.int64, types.int64, types.int64, F32, width), generate


@emitter
def load_strided(typing: Any, array: Any, start: Any, stride: Any, width: Any) -> Any:
    """The F numbers from each of array[start], array[start + stride], ..."""
    count = _width(width)

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        data = data_of(context, builder, sig.args[0], args[0])
        places = _steps(builder, args[1], args[2], count)
        return _joined(builder, [_read(builder, data, place, count) for place in places])

    return F32(array, types.int64, types.int64, width), generate


@emitter
def store_strided(typing: Any, array: Any, start: Any, stride: Any, value: Any, width: Any) -> Any:
    """The rows of a vector to array[start], array[start + stride], ..."""
    count = _width(width)

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        data = data_of(context, builder, sig.args[0], args[0])
        for row, place in enumerate(_steps(builder, args[1], args[2], count)):
            _write(builder, data, place, count, _part(builder, args[3], row, count))
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, F32, width), generate


@emitter
def load_repeated(typing: Any, array: Any, at: Any, width: Any) -> Any:
    """array[at], array[at + 1], ..., each F times: one number per row of a vector."""
    count = _width(width)

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        data = data_of(context, builder, sig.args[0], args[0])
        numbers = _read(builder, data, args[1], LANES // count)
        return shuffle(builder, numbers, numbers, [lane // count for lane in range(LANES)])

    return F32(array, types.int64, width), generate


@emitter
def pointer_from(typing: Any, address: Any) -> Any:
    """The float32 that lie at an address (int64): so kernels take any number of arrays."""
    kind = types.CPointer(types.float32)

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        return builder.inttoptr(args[0], IR_ELEMENT[types.float32].as_pointer())

    return kind(types.int64), generate
