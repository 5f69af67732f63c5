"""Lanes that change places, and sums over lanes. The types are those of simd.py."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import RequireLiteralValue

from recon.kernels.simd import FLAGS, LANES, Builder, Value, emitter, shuffle, wide_registers


@emitter
def lane_sum(typing: Any, x: Any) -> Any:
    """The sum over lanes, in a fixed order (halves, quarters, ...)."""

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        value, count = args[0], LANES
        while count > 1:
            count //= 2
            low, high = (shuffle(builder, value, value, range(i, i + count)) for i in (0, count))
            value = builder.fadd(low, high, flags=FLAGS)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return x.element(x), generate


def _literal(value: Any) -> int:
    """The value of a literal that an intrinsic was called with."""
    if not isinstance(value, types.IntegerLiteral):
        raise RequireLiteralValue("the number of the block must be a literal")
    return value.literal_value


@emitter
def thirds(typing: Any, x: Any, block: Any) -> Any:
    """Lane l of the result is lane (16 block + l) // 3 of x: each number three times, block by block. `block` is a
    literal.
    """
    number = _literal(block)

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        return shuffle(builder, args[0], args[0], [(LANES * number + lane) // 3 for lane in range(LANES)])

    return x(x, block), generate


@emitter
def fourths(typing: Any, x: Any, block: Any) -> Any:
    """Lane l of the result is lane (16 block + l) // 4 of x. `block` is a literal."""
    number = _literal(block)

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        return shuffle(builder, args[0], args[0], [(LANES * number + lane) // 4 for lane in range(LANES)])

    return x(x, block), generate


@emitter
def triples(typing: Any, x: Any, block: Any) -> Any:
    """Lane l of the result is lane (16 block + l) % 3 of x: the first three numbers over and over. `block` is a
    literal.
    """
    number = _literal(block)

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        return shuffle(builder, args[0], args[0], [(LANES * number + lane) % 3 for lane in range(LANES)])

    return x(x, block), generate


@emitter
def shifted(typing: Any, a: Any, b: Any, count: Any) -> Any:
    """Lanes count .. count + 15 of a and b side by side. `count` is a literal."""
    number = _literal(count)

    def generate(context: Any, builder: Builder, sig: Any, args: Any) -> Value:
        wide_registers(builder)
        return shuffle(builder, args[0], args[1], range(number, number + LANES))

    return a(a, b, count), generate
