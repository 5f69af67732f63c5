"""Multi-resolution hash encoding (Mueller et al., "Instant neural graphics primitives", SIGGRAPH 2022, section 3): a
point's features are interpolated, level by level, between the eight vertices of its cell, whose features stand in rows
of one table.

A level with N cells along a side has (N + 1)^3 vertices. Where they fit in T rows each has its own (dense), else the
row is the xor of the coordinates times three primes, modulo T. Vectors are 16 points while rows and weights are
computed, then 16 / F points by F features. Forward runs over blocks of points; backward runs over levels, and over
ranges of rows of a level where there are more threads than levels, so that each row is summed by one thread in the
order of the points: no atomics, and the same bits for any number of threads.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.kernels.jit import DOOR, helper, kernel, spread, threads
from recon.kernels.simd import LANES, fill, floor, maximum, minimum, narrow, select, to_int, wide
from recon.kernels.simd_memory import load, peek, store
from recon.kernels.simd_rows import add_rows, load_repeated, load_rows, load_strided, store_strided
from render.kernels import field_reference
from render.kernels.layout import scratch
from render.kernels.points import columns, flat, padded, padded_count

WIDTHS = (1, 2, 4, 8, 16)
"""Features per level that the kernels can do."""
_BLOCK = 128
"""Groups of 16 points that are taken through all levels together: 2048 points."""
_CORNERS = 8
_ROW_GRAIN = 16
"""A level starts at a multiple of this many rows, so that no row lies across two cache lines."""
_PRIME1, _PRIME2 = field_reference.PRIMES[1], field_reference.PRIMES[2]
_0, _1 = np.float32(0), np.float32(1)


@dataclass(frozen=True)
class HashGridSpec:
    """The levels of a hash grid, coarsest first."""

    features: int
    """F, numbers per row: 1, 2, 4, 8 or 16."""
    log2_size: int
    """log2 of T, the most rows that a level has."""
    cells: tuple[int, ...]
    """Cells along a side, by level."""

    @staticmethod
    def make(levels: int, features: int, log2_size: int, coarsest: int, finest: int) -> HashGridSpec:
        """`levels` levels whose cells along a side grow geometrically from `coarsest` to `finest` (eq. 2 and 3)."""
        if features not in WIDTHS:
            raise ValueError(f"a hash grid has 1, 2, 4, 8 or 16 features per level, not {features}")
        if levels < 1 or not 1 <= coarsest <= finest < 2**20 or not 4 <= log2_size <= 26:
            raise ValueError("a hash grid needs levels >= 1, 1 <= coarsest <= finest < 2^20 and 4 <= log2_size <= 26")
        growth = (finest / coarsest) ** (1 / max(levels - 1, 1))
        return HashGridSpec(features, log2_size, tuple(int(coarsest * growth**i + 1e-6) for i in range(levels)))

    @property
    def levels(self) -> int:
        return len(self.cells)

    @property
    def width(self) -> int:
        """Features of a point: levels * F."""
        return self.levels * self.features

    @property
    def dense(self) -> tuple[bool, ...]:
        """Which levels have a row for each vertex."""
        return tuple((n + 1) ** 3 <= 2**self.log2_size for n in self.cells)

    @property
    def first(self) -> tuple[int, ...]:
        """The first row of each level, and the number of rows of them all."""
        rows = (min(-(-((n + 1) ** 3) // _ROW_GRAIN) * _ROW_GRAIN, 2**self.log2_size) for n in self.cells)
        return tuple(itertools.accumulate(rows, initial=0))

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return self.first[-1]

    def make_table(self, generator: torch.Generator | None = None, scale: float = 1e-4) -> Tensor:
        """A new table f32[rows, F], uniform in -scale .. scale (section 4, initialisation)."""
        return (torch.rand(self.rows, self.features, generator=generator) * 2 - 1) * scale

    def layout(self) -> NDArray[np.int64]:
        """i64[levels * 3], what kernels need of each level: cells, first row, and T - 1 or, where it is dense, -1."""
        mask = [-1 if dense else 2**self.log2_size - 1 for dense in self.dense]
        return np.array(list(zip(self.cells, self.first, mask, strict=False)), np.int64).reshape(-1)


def hash_grid(x: Tensor, table: Tensor, spec: HashGridSpec, known: Tensor | None = None) -> Tensor:
    """Features [N, levels * F] of points x [N, 3] in 0 .. 1 (others count as the nearest point there), level by level.

    table: [rows, F]. Differentiable once, by the table and by x (0 outside; one-sided on the cells' borders). float32
    on the CPU runs compiled; other types and CUDA take the twin, field_reference.hash_grid. `known`: the features, where
    they have been computed before and only gradients are wanted; the twin computes them again.
    """
    if x.dim() != 2 or x.shape[1] != 3:
        raise ValueError(f"points must be [N, 3], not {list(x.shape)}")
    if tuple(table.shape) != (spec.rows, spec.features):
        raise ValueError(f"the table must be [{spec.rows}, {spec.features}], not {list(table.shape)}")
    if x.device.type != "cpu" or {x.dtype, table.dtype} != {torch.float32}:
        return field_reference.hash_grid(x, table, spec)
    return _HashGrid.apply(x, table, spec, known)


class _HashGrid(torch.autograd.Function):
    """The kernels as one differentiable step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, spec: HashGridSpec, known: Tensor | None) -> Tensor:
        ctx.spec = spec
        ctx.save_for_backward(x, table)
        if known is not None:
            return known.detach().view_as(known)
        out = np.empty(padded_count(len(x)) * spec.width, np.float32)
        token = (0,) * spec.features
        with DOOR:
            given = (columns(x), flat(table), spec.layout(), token, out)
            spread(encode, padded_count(len(x)) // LANES, *given, grain=_BLOCK)
        return torch.from_numpy(out).view(-1, spec.width)[: len(x)]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, table = ctx.saved_tensors
        spec, token, whole = ctx.spec, (0,) * ctx.spec.features, len(x) // LANES * LANES
        d_table = np.zeros(table.numel(), np.float32) if ctx.needs_input_grad[1] else None
        d_x = np.empty(padded_count(len(x)) * 3, np.float32) if ctx.needs_input_grad[0] else None
        parts = -(-2 * threads() // spec.levels) if threads() > 1 else 1
        with DOOR:
            for begin, end in ((0, whole), (whole, len(x))):  # the kernels take groups of 16: the rest by itself
                if begin == end:
                    continue
                given = (columns(x[begin:end]), padded(d_out[begin:end]), spec.layout(), token)
                if d_table is not None:
                    spread(scatter, spec.levels * parts, parts, *given, d_table)
                if d_x is not None:
                    groups = padded_count(end - begin) // LANES
                    spread(pull_points, groups, *given, flat(table), d_x[3 * begin :], grain=_BLOCK)
        return (
            None if d_x is None else torch.from_numpy(d_x).view(-1, 3)[: len(x)],
            None if d_table is None else torch.from_numpy(d_table).view(table.shape),
            None,
            None,
        )


@helper
def _along(x, at, cells):
    """(cell i32, fraction) of 16 coordinates; in float64, since 2048 cells leave float32 few digits for the fraction."""
    given = load(x, at)
    position = wide(minimum(maximum(given, _0), _1)) * cells
    low = minimum(floor(position), cells - 1.0)
    return to_int(narrow(low)), select(given >= given, narrow(position - low), given)  # NaN stays NaN


@helper
def _store_rows(a0, a1, b0, b1, c0, c1, dense, mask, rows, at):
    """The rows of the eight corners, corner by corner, from what each axis contributes at its low and high end."""
    if dense:
        store(rows, at, a0 + b0 + c0)
        store(rows, at + 16, a1 + b0 + c0)
        store(rows, at + 32, a0 + b1 + c0)
        store(rows, at + 48, a1 + b1 + c0)
        store(rows, at + 64, a0 + b0 + c1)
        store(rows, at + 80, a1 + b0 + c1)
        store(rows, at + 96, a0 + b1 + c1)
        store(rows, at + 112, a1 + b1 + c1)
    else:
        bc = b0 ^ c0
        store(rows, at, (a0 ^ bc) & mask)
        store(rows, at + 16, (a1 ^ bc) & mask)
        bc = b1 ^ c0
        store(rows, at + 32, (a0 ^ bc) & mask)
        store(rows, at + 48, (a1 ^ bc) & mask)
        bc = b0 ^ c1
        store(rows, at + 64, (a0 ^ bc) & mask)
        store(rows, at + 80, (a1 ^ bc) & mask)
        bc = b1 ^ c1
        store(rows, at + 96, (a0 ^ bc) & mask)
        store(rows, at + 112, (a1 ^ bc) & mask)


@helper
def _place(x, count, i, cells, mask, rows, at):
    """Rows i32[8 * 16] of the corners of 16 points' cells into rows[at ...]; returns the three fractions."""
    a, fa = _along(x, i, float(cells))
    b, fb = _along(x, count + i, float(cells))
    c, fc = _along(x, 2 * count + i, float(cells))
    if mask < 0:
        side = cells + 1
        b, c = b * side, c * (side * side)
        _store_rows(a, a + 1, b, b + side, c, c + side * side, True, mask, rows, at)
    else:
        b, c = b * _PRIME1, c * _PRIME2
        _store_rows(a, a + 1, b, b + _PRIME1, c, c + _PRIME2, False, mask, rows, at)
    return fa, fb, fc


@helper
def _store_products(a0, a1, b0, b1, c0, c1, scale, weights, at):
    """Products of the three axes' factors for the eight corners, times `scale`."""
    w = b0 * c0 * scale
    store(weights, at, a0 * w)
    store(weights, at + 16, a1 * w)
    w = b1 * c0 * scale
    store(weights, at + 32, a0 * w)
    store(weights, at + 48, a1 * w)
    w = b0 * c1 * scale
    store(weights, at + 64, a0 * w)
    store(weights, at + 80, a1 * w)
    w = b1 * c1 * scale
    store(weights, at + 96, a0 * w)
    store(weights, at + 112, a1 * w)


@helper
def _store_weights(fa, fb, fc, weights, at):
    """The trilinear weights of the eight corners."""
    _store_products(_1 - fa, fa, _1 - fb, fb, _1 - fc, fc, _1, weights, at)


@kernel
def encode(start, stop, x, table, layout, token, out):
    """Features of groups start .. stop of 16 points; x f32[3 * count] by coordinate, out f32[count * levels * F]."""
    features, levels, count = len(token), len(layout) // 3, len(x) // 3
    stride, points = levels * features, LANES // features
    rows, weights = np.empty(_CORNERS * LANES, np.int32), scratch(_CORNERS * LANES)
    for block in range(start, stop, _BLOCK):
        for level in range(levels):
            cells, base, mask = layout[3 * level], layout[3 * level + 1] * features, layout[3 * level + 2]
            for group in range(block, min(block + _BLOCK, stop)):
                fa, fb, fc = _place(x, count, LANES * group, cells, mask, rows, 0)
                _store_weights(fa, fb, fc, weights, 0)
                at = LANES * group * stride + level * features
                for p in range(0, LANES, points):
                    total = fill(_0)
                    for corner in range(0, _CORNERS * LANES, LANES):
                        w = load_repeated(weights, corner + p, token)
                        total = total + w * load_rows(table, base, rows, corner + p, token)
                    store_strided(out, at + p * stride, stride, total, token)


@kernel
def scatter(start, stop, parts, x, d_out, layout, token, d_table):
    """Add the gradient of tasks start .. stop to d_table f32[rows * F]: task = level * parts + part of its rows."""
    features, levels, count = len(token), len(layout) // 3, len(x) // 3
    stride, points = levels * features, LANES // features
    rows, weights = np.empty(_CORNERS * LANES, np.int32), scratch(_CORNERS * LANES)
    for task in range(start, stop):
        level = task // parts
        cells, base, mask = layout[3 * level], layout[3 * level + 1] * features, layout[3 * level + 2]
        size = (cells + 1) ** 3 if mask < 0 else mask + 1
        low, high = size * (task % parts) // parts, size * (task % parts + 1) // parts
        for group in range(count // LANES):
            fa, fb, fc = _place(x, count, LANES * group, cells, mask, rows, 0)
            _store_weights(fa, fb, fc, weights, 0)
            at = LANES * group * stride + level * features
            for p in range(0, LANES, points):
                g = load_strided(d_out, at + p * stride, stride, token)
                for corner in range(0, _CORNERS * LANES, LANES):
                    w = load_repeated(weights, corner + p, token)
                    add_rows(d_table, base, rows, corner + p, low, high, w * g, token)


@kernel
def pull_points(start, stop, x, d_out, layout, token, table, d_x):
    """d_x f32[count * 3] of groups start .. stop: the slopes of the interpolation, times the gradient."""
    features, levels, count = len(token), len(layout) // 3, len(x) // 3
    stride, points = levels * features, LANES // features
    rows, weights = np.empty(_CORNERS * LANES, np.int32), scratch(3 * _CORNERS * LANES)
    slopes = scratch(3 * LANES)
    for group in range(start, stop):
        d_x[3 * LANES * group : 3 * LANES * (group + 1)] = _0
        for level in range(levels):
            cells, base, mask = layout[3 * level], layout[3 * level + 1] * features, layout[3 * level + 2]
            fa, fb, fc = _place(x, count, LANES * group, cells, mask, rows, 0)
            _store_slopes(fa, fb, fc, np.float32(cells), weights)
            at = LANES * group * stride + level * features
            for p in range(0, LANES, points):
                a, b, c = fill(_0), fill(_0), fill(_0)
                for corner in range(0, _CORNERS * LANES, LANES):
                    row = load_rows(table, base, rows, corner + p, token)
                    a = a + load_repeated(weights, corner + p, token) * row
                    b = b + load_repeated(weights, _CORNERS * LANES + corner + p, token) * row
                    c = c + load_repeated(weights, 2 * _CORNERS * LANES + corner + p, token) * row
                g = load_strided(d_out, at + p * stride, stride, token)
                store(slopes, 0, a * g)
                store(slopes, 16, b * g)
                store(slopes, 32, c * g)
                for i in range(LANES):
                    for axis in range(3):
                        d_x[3 * (LANES * group + p + i // features) + axis] += peek(slopes, LANES * axis + i)
        for i in range(LANES):
            for axis in range(3):
                value = x[axis * count + LANES * group + i]
                if value < 0 or value > 1:
                    d_x[3 * (LANES * group + i) + axis] = _0


@helper
def _store_slopes(fa, fb, fc, cells, weights):
    """The derivatives of the corners' weights by the three coordinates, one after the other."""
    ga, gb, gc, one = _1 - fa, _1 - fb, _1 - fc, fill(_1)
    _store_products(-one, one, gb, fb, gc, fc, cells, weights, 0)
    _store_products(ga, fa, -one, one, gc, fc, cells, weights, 128)
    _store_products(ga, fa, gb, fb, -one, one, cells, weights, 256)
