"""Vectors to and from memory: loads, stores, and the shuffles that turn rows into lanes. The types are those of
simd.py.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from recon.kernels.simd import (
    F32,
    FLAGS,
    IR_ELEMENT,
    LANES,
    VECTOR_OF,
    Builder,
    Value,
    broadcast,
    emitter,
    operand,
    shuffle,
    wide_registers,
)


def data_of(context: Any, builder: Builder, kind: Any, array: Value) -> Value:
    """The address of the first element of an array, or of what pointer() gave."""
    if isinstance(kind, types.CPointer):
        return array
    return context.make_array(kind)(context, builder, array).data


def _pointer(context: Any, builder: Builder, kind: Any, array: Value, index: Value, lanes: int) -> Value:
    data = data_of(context, builder, kind, array)
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
def pointer(typing: Any, array: Any) -> Any:
    """The elements of a contiguous array, in order, for peek(), load() and gather(); it does not keep the array alive.

    A helper that takes arrays counts its references to them, atomically, wherever its flow branches; pointers are free.
    """

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), generate


@emitter
def peek(typing: Any, array: Any, index: Any) -> Any:
    """array[index] of a contiguous 1-D array for index >= 0: Numba's own indexing spends instructions on negative
    ones.
    """

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        data = data_of(context, builder, sig.args[0], args[0])
        return builder.load(builder.gep(data, [args[1]]))

    return array.dtype(array, types.int64), generate


@emitter
def poke(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index] = value of a contiguous 1-D array for index >= 0."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        builder.store(context.cast(builder, args[2], sig.args[2], sig.args[0].dtype), builder.gep(data, [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.int64, value), generate


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


def _masked(context: Any, builder: Builder, name: str, result: Any, kinds: list[Any]) -> Value:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, kinds), name)


@emitter
def load_first(typing: Any, array: Any, index: Any, count: Any) -> Any:
    """array[index : index + count] and zeros, count <= 16; memory beyond is not touched."""
    vector = VECTOR_OF[array.dtype]

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1], LANES)
        kind, mask = pointer.type.pointee, _first(builder, args[2])
        name = f"llvm.masked.load.v{LANES}{_suffix(sig.args[0])}.p0"
        function = _masked(context, builder, name, kind, [pointer.type, ir.IntType(32), mask.type, kind])
        align = ir.Constant(ir.IntType(32), sig.args[0].dtype.bitwidth // 8)
        return builder.call(function, [pointer, align, mask, ir.Constant(kind, None)])

    return vector(array, types.int64, types.int64), generate


@emitter
def load_bytes_first(typing: Any, array: Any, index: Any, count: Any) -> Any:
    """load_first() of uint8 as F32."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        mask = _first(builder, args[2])
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        kind = ir.VectorType(ir.IntType(8), LANES)
        pointer = builder.bitcast(builder.gep(data, [args[1]]), kind.as_pointer())
        name = f"llvm.masked.load.v{LANES}i8.p0"
        function = _masked(context, builder, name, kind, [pointer.type, ir.IntType(32), mask.type, kind])
        one = ir.Constant(ir.IntType(32), 1)
        loaded = builder.call(function, [pointer, one, mask, ir.Constant(kind, None)])
        return builder.uitofp(loaded, ir.VectorType(ir.FloatType(), LANES))

    return F32(array, types.int64, types.int64), generate


@emitter
def store_first(typing: Any, array: Any, index: Any, value: Any, count: Any) -> Any:
    """array[index : index + count] = the first lanes of value, count <= 16; memory beyond is not touched."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        _store_first(context, builder, sig.args[0], *args)
        return context.get_dummy_value()

    return types.void(array, types.int64, value, types.int64), generate


def _store_first(
    context: Any, builder: Builder, kind: Any, array: Value, index: Value, value: Value, count: Value
) -> None:
    pointer, mask = _pointer(context, builder, kind, array, index, LANES), _first(builder, count)
    function = _masked(
        context,
        builder,
        f"llvm.masked.store.v{LANES}{_suffix(kind)}.p0",
        ir.VoidType(),
        [value.type, pointer.type, ir.IntType(32), mask.type],
    )
    builder.call(function, [value, pointer, ir.Constant(ir.IntType(32), kind.dtype.bitwidth // 8), mask])


def _suffix(kind: Any) -> str:
    return {types.float32: "f32", types.float64: "f64"}[kind.dtype]


def _first(builder: Builder, count: Value) -> Value:
    """The mask of the first `count` lanes."""
    wide_registers(builder)
    numbers = ir.Constant(ir.VectorType(ir.IntType(64), LANES), list(range(LANES)))
    return builder.icmp_signed("<", numbers, broadcast(builder, count))


@emitter
def prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of array[index], which will be written soon."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointer = builder.gep(data, [args[1]])
        flag = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer.type, flag, flag, flag]), "llvm.prefetch.p0"
        )
        builder.call(function, [pointer, *(ir.Constant(flag, v) for v in (1, 3, 1))])  # to write, to stay, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


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


def _interleave(vectors: int, typing: Any, array: Any, index: Any, count: Any, values: tuple[Any, ...]) -> Any:
    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        parts, count = args[2:-1], args[-1]
        wanted = builder.mul(count, _int64(builder, vectors))
        for block in range(vectors):
            mixed = parts[0]
            for i in range(1, vectors):
                lanes = []
                for n in range(LANES):
                    row, column = divmod(LANES * block + n, vectors)
                    first_time = row if i == 1 else n  # lanes of the mix so far are in place already
                    lanes.append(LANES + row if column == i else first_time if column < i else 0)
                mixed = shuffle(builder, mixed, parts[i], lanes)
            at = builder.add(args[1], _int64(builder, LANES * block))
            left = builder.sub(wanted, _int64(builder, LANES * block))
            _store_first(context, builder, sig.args[0], args[0], at, mixed, left)
        return context.get_dummy_value()

    return types.void(array, types.int64, *values, types.int64), generate


@emitter
def store3(typing: Any, array: Any, index: Any, x: Any, y: Any, z: Any, count: Any) -> Any:
    """x0 y0 z0 x1 y1 z1 ... of the first `count` lanes into array[index ...]; memory beyond is not touched."""
    return _interleave(3, typing, array, index, count, (x, y, z))


@emitter
def store4(typing: Any, array: Any, index: Any, w: Any, x: Any, y: Any, z: Any, count: Any) -> Any:
    """w0 x0 y0 z0 w1 x1 ... of the first `count` lanes into array[index ...]; memory beyond is not touched."""
    return _interleave(4, typing, array, index, count, (w, x, y, z))


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
    times 4.
    """

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


@emitter
def gather(typing: Any, array: Any, index: Any) -> Any:
    """Lane l is array[index[l]], of a contiguous 1-D array of 32 bits and an I32 of numbers >= 0. Bounds are the
    caller's.
    """

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        data = data_of(context, builder, sig.args[0], args[0])
        kind, addresses = _vector_of(IR_ELEMENT[array.dtype]), _vector_of(ir.IntType(64))
        base = broadcast(builder, builder.ptrtoint(data, ir.IntType(64)))
        shift = ir.Constant(addresses, [2] * LANES)
        address = builder.add(base, builder.shl(builder.sext(args[1], addresses), shift))
        pointers = builder.inttoptr(address, _vector_of(data.type))
        everywhere = ir.Constant(_vector_of(ir.IntType(1)), [1] * LANES)
        name = f"llvm.masked.gather.v{LANES}{'f' if array.dtype is types.float32 else 'i'}32.v{LANES}p0"
        function = _masked(context, builder, name, kind, [pointers.type, ir.IntType(32), everywhere.type, kind])
        return builder.call(function, [pointers, ir.Constant(ir.IntType(32), 4), everywhere, ir.Constant(kind, None)])

    return VECTOR_OF[array.dtype](array, index), generate


def _vector_of(element: Any) -> ir.VectorType:
    return ir.VectorType(element, LANES)
