"""Vectors to and from memory: loads, stores, and the shuffles that turn rows into lanes. The types are those of
simd.py."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from render.kernels.simd import (
    F32,
    FLAGS,
    IR_ELEMENT,
    LANES,
    VECTOR_OF,
    Builder,
    Value,
    emitter,
    operand,
    shuffle,
    wide_registers,
)


def _pointer(context: Any, builder: Builder, kind: Any, array: Value, index: Value, lanes: int) -> Value:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(IR_ELEMENT[kind.dtype], lanes).as_pointer())


def _load(context: Any, builder: Builder, kind: Any, array: Value, index: Value) -> Value:
    wide_registers(builder)
    loaded = builder.load(_pointer(context, builder, kind, array, index, LANES))
    loaded.align = kind.dtype.bitwidth // 8
    return loaded


def _store(context: Any, builder: Builder, kind: Any, array: Value, index: Value, value: Value) -> None:
    stored = builder.store(value, _pointer(context, builder, kind, array, index, value.type.count))
    stored.align = kind.dtype.bitwidth // 8


def _int64(builder: Builder, number: int) -> Value:
    return ir.Constant(ir.IntType(64), number)


@emitter
def load(typing: Any, array: Any, index: Any) -> Any:
    """The 16 elements array[index : index + 16] of a contiguous 1-D array. Bounds are the caller's."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        return _load(context, builder, sig.args[0], args[0], args[1])

    return VECTOR_OF[array.dtype](array, types.int64), generate


@emitter
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index : index + 16] = value (a vector, or a scalar for all lanes)."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        vector = operand(context, builder, args[2], sig.args[2], VECTOR_OF[sig.args[0].dtype])
        _store(context, builder, sig.args[0], args[0], args[1], vector)
        return context.get_dummy_value()

    return types.void(array, types.int64, value), generate


def _deinterleave(count: int) -> Any:
    def loader(typing: Any, array: Any, index: Any) -> Any:
        vector = VECTOR_OF[array.dtype]
        out = types.UniTuple(vector, count)

        def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
            parts = [
                _load(context, builder, sig.args[0], args[0], builder.add(args[1], _int64(builder, LANES * i)))
                for i in range(count)
            ]
            columns = []
            for c in range(count):
                column = parts[0]
                for i in range(1, count):  # lanes of part i that are not in yet come from the second operand
                    wanted = [c + count * lane for lane in range(LANES)]
                    earlier = list(range(LANES)) if i > 1 else wanted
                    lanes = [
                        earlier[n] if w < LANES * i else w - LANES * i + LANES if w < LANES * (i + 1) else 0
                        for n, w in enumerate(wanted)
                    ]
                    column = shuffle(builder, column, parts[i], lanes)
                columns.append(column)
            return context.make_tuple(builder, sig.return_type, columns)

        return out(array, types.int64), generate

    return loader


@emitter
def load3(typing: Any, array: Any, index: Any) -> Any:
    """Three vectors from 48 elements x0 y0 z0 x1 y1 z1 ... that start at array[index]."""
    return _deinterleave(3)(typing, array, index)


@emitter
def load4(typing: Any, array: Any, index: Any) -> Any:
    """Four vectors from 64 elements w0 x0 y0 z0 w1 x1 ... that start at array[index]."""
    return _deinterleave(4)(typing, array, index)


@emitter
def transpose(typing: Any, array: Any, index: Any) -> Any:
    """Transpose in place the 16 x 16 matrix that starts at array[index]."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        where = [builder.add(args[1], _int64(builder, LANES * i)) for i in range(LANES)]
        rows = [_load(context, builder, sig.args[0], args[0], at) for at in where]
        for step in (8, 4, 2, 1):
            for i in (i for i in range(LANES) if not i & step):
                a, b = rows[i], rows[i + step]
                low = [n - step + LANES if n & step else n for n in range(LANES)]
                high = [n + LANES if n & step else n + step for n in range(LANES)]
                rows[i], rows[i + step] = shuffle(builder, a, b, low), shuffle(builder, a, b, high)
        for at, row in zip(where, rows, strict=True):
            _store(context, builder, sig.args[0], args[0], at, row)
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@emitter
def store_lane_sums(
    typing: Any, array: Any, index: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any
) -> Any:
    """array[index : index + 8] = the sums over lanes of eight F32 vectors, in 8 + 4 + 2 + 1 additions instead of 8
    times 4."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        vectors, group = list(args[2:]), LANES
        while len(vectors) > 1:  # each vector holds LANES / group sums, spread over `group` lanes each
            starts = [base + q * group for base in (0, LANES) for q in range(LANES // group)]
            low = [s + n for s in starts for n in range(group // 2)]
            high = [n + group // 2 for n in low]
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [
                builder.fadd(shuffle(builder, x, y, low), shuffle(builder, x, y, high), flags=FLAGS) for x, y in pairs
            ]
            group //= 2
        even, odd = (shuffle(builder, vectors[0], vectors[0], range(i, LANES, 2)) for i in (0, 1))
        _store(context, builder, sig.args[0], args[0], args[1], builder.fadd(even, odd, flags=FLAGS))
        return context.get_dummy_value()

    return types.void(array, types.int64, *[F32] * 8), generate
