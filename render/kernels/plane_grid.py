"""Features from planes (Fridovich-Keil et al., "K-Planes", CVPR 2023, section 3.1): a point of D coordinates is
projected to the planes of all pairs of axes, each is sampled bilinearly, and the samples are multiplied or added.

plane[a, b] of the pair (i, j): a runs along coordinate i, b along coordinate j; -1 and 1 are the centres of the first
and the last texel. With s_p the sample of plane p and g the gradient of the product, plane p is pulled by g times the
product of the other samples. Vectors run over features.

Backward takes points in chunks: first the pulls of all planes, in parallel over points, then their sums over texels, in
parallel over stripes of the planes' rows, so that each texel is summed by one thread in the order of the points: no
atomics, and the same bits for any number of threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from recon.kernels.jit import DOOR, helper, kernel, spread
from recon.kernels.simd import LANES, fill, floor, lowest_bit, mask_bits, maximum, minimum, narrow, select, to_int, wide
from recon.kernels.simd_memory import load, load_first, peek, store, store_first
from recon.kernels.simd_rows import pointer_from
from recon.kernels.simd_shuffle import lane_sum
from render.kernels import field_reference
from render.kernels.layout import scratch
from render.kernels.points import columns, flat, padded_count

COMBINE = ("multiply", "add")
_GRAIN = 64
"""Groups of 16 points worth a call."""
_CHUNK = 32768
"""Points whose pulls lie in memory at once; a multiple of 16."""
_STRIPES = 8
"""Stripes of a plane's rows that are summed independently."""
_FIELDS = 5
"""What a kernel knows of a plane: address of its texels, rows, columns, and the coordinates i and j."""
_PLACE = 2 * LANES
"""int32 numbers of a group's place in a plane: the 16 points' rows and columns."""
_0, _1, _HALF = np.float32(0), np.float32(1), 0.5


def plane_shapes(resolution: Sequence[int]) -> list[tuple[int, int]]:
    """(H, W) of the planes of a grid with `resolution` texels along each of D coordinates, in plane_grid()'s order."""
    return list(itertools.combinations(resolution, 2))


def plane_grid(x: Tensor, planes: Sequence[Tensor], combine: str = "multiply") -> Tensor:
    """Features [N, F] of points x [N, D] in -1 .. 1 (others count as the nearest point there), D = 3 or 4.

    planes: [H, W, F] each, for the pairs itertools.combinations(range(D), 2), the first coordinate along H. combine:
    "multiply" or "add". Differentiable once, by the planes and by x (0 outside; one-sided at texel centres). float32 on
    the CPU runs compiled; other types and CUDA take the twin, field_reference.plane_grid.
    """
    if x.dim() != 2 or x.shape[1] not in (3, 4):
        raise ValueError(f"points must be [N, 3] or [N, 4], not {list(x.shape)}")
    if len(planes) != x.shape[1] * (x.shape[1] - 1) // 2:
        raise ValueError(f"points of {x.shape[1]} coordinates need one plane for each pair of them, not {len(planes)}")
    if any(p.dim() != 3 or p.shape[2] != planes[0].shape[2] or 0 in p.shape for p in planes):
        raise ValueError(f"planes must be [H, W, F] with the same F, not {[list(p.shape) for p in planes]}")
    if combine not in COMBINE:
        raise ValueError(f"planes are combined by 'multiply' or 'add', not {combine!r}")
    if x.device.type != "cpu" or {x.dtype, *(p.dtype for p in planes)} != {torch.float32}:
        return field_reference.plane_grid(x, planes, combine)
    return _PlaneGrid.apply(combine == "multiply", x, *planes)


class _PlaneGrid(torch.autograd.Function):
    """The kernels as one differentiable step."""

    @staticmethod
    def forward(ctx: Any, multiply: bool, x: Tensor, *planes: Tensor) -> Tensor:
        planes = tuple(plane.contiguous() for plane in planes)
        ctx.multiply = multiply
        ctx.save_for_backward(x, *planes)
        features, groups = planes[0].shape[2], padded_count(len(x)) // LANES
        out = np.empty((len(x), features), np.float32)
        with DOOR:
            given = (len(x), columns(x), _table(planes), features, multiply, out.reshape(-1))
            spread(sample, groups, *given, grain=_GRAIN)
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        x, *planes = ctx.saved_tensors
        count, features = d_out.shape
        by_x, by_planes = ctx.needs_input_grad[1], any(ctx.needs_input_grad[2:])
        points, g = columns(x), flat(d_out)
        found = [torch.zeros_like(plane) for plane in planes]
        d_x = np.zeros(x.shape if by_x else (0, x.shape[1]), np.float32)
        chunk = min(count, _CHUNK) if ctx.multiply else 0
        pulls = np.empty(len(planes) * chunk * features, np.float32)
        with DOOR:
            for begin in range(0, count, _CHUNK):
                end = min(begin + _CHUNK, count)
                if ctx.multiply or by_x:
                    given = (begin, end, points, _table(planes), features, ctx.multiply, g, pulls, d_x.reshape(-1))
                    spread(pull, padded_count(end - begin) // LANES, *given, grain=_GRAIN)
                if by_planes:
                    source = pulls if ctx.multiply else g[begin * features :]
                    given = (begin, end, points, _table(found), features, source, chunk * features)
                    spread(sum_stripes, len(planes) * _STRIPES, *given)
        return None, torch.from_numpy(d_x) if by_x else None, *(found if by_planes else [None] * len(planes))


def _table(planes: Sequence[Tensor]) -> NDArray[np.int64]:
    """i64[planes * _FIELDS] of contiguous planes, which the caller keeps alive."""
    dimensions = next(d for d in (3, 4) if d * (d - 1) // 2 == len(planes))
    pairs = itertools.combinations(range(dimensions), 2)
    rows = [(p.data_ptr(), p.shape[0], p.shape[1], *pair) for p, pair in zip(planes, pairs, strict=True)]
    return np.array(rows, np.int64).reshape(-1)


@helper
def _along(x, at, size):
    """(texel i32, fraction) of 16 coordinates along an axis of `size` texels."""
    given = load(x, at)
    position = (wide(minimum(maximum(given, -_1), _1)) + 1.0) * (_HALF * float(size - 1))
    low = minimum(floor(position), float(max(size - 2, 0)))
    return to_int(narrow(low)), select(given >= given, narrow(position - low), given)  # NaN stays NaN


@helper
def _place(x, count, i, table, plane, places, fractions):
    """A group's rows, columns and fractions in a plane, into places[_PLACE * plane ...] and fractions likewise."""
    f = _FIELDS * plane
    a, fa = _along(x, peek(table, f + 3) * count + i, peek(table, f + 1))
    b, fb = _along(x, peek(table, f + 4) * count + i, peek(table, f + 2))
    store(places, _PLACE * plane, a)
    store(places, _PLACE * plane + LANES, b)
    store(fractions, _PLACE * plane, fa)
    store(fractions, _PLACE * plane + LANES, fb)


@helper
def _read(array, at, left):
    """16 numbers, or the `left` first ones and zeros."""
    return load(array, at) if left >= LANES else load_first(array, at, left)


@helper
def _write(array, at, value, left):
    if left >= LANES:
        store(array, at, value)
    else:
        store_first(array, at, value, left)


@helper
def _corner(table, plane, places, n, features):
    """(first texel's place, step to the next row, step to the next column) of point n of a group, in floats."""
    f = _FIELDS * plane
    rows, columns = peek(table, f + 1), peek(table, f + 2)
    a, b = np.int64(peek(places, _PLACE * plane + n)), np.int64(peek(places, _PLACE * plane + LANES + n))
    down = columns * features if rows > 1 else 0
    return (a * columns + b) * features, down, features if columns > 1 else 0


@helper
def _bilinear(texels, at, down, right, fa, fb, left):
    ga, gb = _1 - fa, _1 - fb
    near = gb * _read(texels, at, left) + fb * _read(texels, at + right, left)
    return ga * near + fa * (gb * _read(texels, at + down, left) + fb * _read(texels, at + down + right, left))


@kernel
def sample(start, stop, count, x, table, features, multiply, out):
    """Features of groups start .. stop of 16 points, `count` points in all; x f32[D * padded], out f32[count * F]."""
    planes, padded = len(table) // _FIELDS, -(-count // LANES) * LANES
    places, fractions = np.empty(_PLACE * planes, np.int32), scratch(_PLACE * planes)
    for group in range(start, stop):
        for plane in range(planes):
            _place(x, padded, LANES * group, table, plane, places, fractions)
        for n in range(min(LANES, count - LANES * group)):
            to = (LANES * group + n) * features
            for k in range(0, features, LANES):
                left = features - k
                total = fill(_1 if multiply else _0)
                for plane in range(planes):
                    at, down, right = _corner(table, plane, places, n, features)
                    fa, fb = peek(fractions, _PLACE * plane + n), peek(fractions, _PLACE * plane + LANES + n)
                    texels = pointer_from(peek(table, _FIELDS * plane))
                    value = _bilinear(texels, at + k, down, right, fa, fb, left)
                    total = total * value if multiply else total + value
                _write(out, to + k, total, left)


@helper
def _pull_planes(n, k, left, g, table, planes, places, fractions, features, multiply, buf):
    """The gradients of the planes' samples: 16 features k .. of point n of a group, by plane into buf."""
    before = g
    for plane in range(planes):
        store(buf, 2 * LANES * plane, before)
        if multiply:
            at, down, right = _corner(table, plane, places, n, features)
            fa, fb = peek(fractions, _PLACE * plane + n), peek(fractions, _PLACE * plane + LANES + n)
            value = _bilinear(pointer_from(peek(table, _FIELDS * plane)), at + k, down, right, fa, fb, left)
            store(buf, 2 * LANES * plane + LANES, value)
            before = before * value
    if multiply:
        after = fill(_1)
        for plane in range(planes - 1, -1, -1):
            store(buf, 2 * LANES * plane, load(buf, 2 * LANES * plane) * after)
            after = after * load(buf, 2 * LANES * plane + LANES)


@helper
def _slopes(n, k, left, table, plane, places, fractions, features, pulled):
    """A pulled sample's gradient by the point's coordinates along the plane's rows and columns, of 16 features."""
    at, down, right = _corner(table, plane, places, n, features)
    at, f = at + k, _FIELDS * plane
    fa, fb = peek(fractions, _PLACE * plane + n), peek(fractions, _PLACE * plane + LANES + n)
    texels = pointer_from(peek(table, f))
    near, beside = _read(texels, at, left), _read(texels, at + right, left)
    below, across = _read(texels, at + down, left), _read(texels, at + down + right, left)
    by_row = (_1 - fb) * (below - near) + fb * (across - beside)
    by_column = (_1 - fa) * (beside - near) + fa * (across - below)
    scale_a, scale_b = np.float32(_HALF * (peek(table, f + 1) - 1)), np.float32(_HALF * (peek(table, f + 2) - 1))
    return scale_a * lane_sum(by_row * pulled), scale_b * lane_sum(by_column * pulled)


@kernel
def pull(start, stop, begin, end, x, table, features, multiply, d_out, pulls, d_x):
    """Gradients of the samples, for groups start .. stop of the points begin .. end: pulls f32[planes, chunk, F], and
    by the points' coordinates, d_x f32[N * D], or empty.
    """
    planes = len(table) // _FIELDS
    dimensions = 3 if planes == 3 else 4
    padded = len(x) // dimensions
    chunk = len(pulls) // (planes * features)
    places, fractions = np.empty(_PLACE * planes, np.int32), scratch(_PLACE * planes)
    buf = scratch(2 * LANES * planes)
    for group in range(start, stop):
        first = begin + LANES * group
        for plane in range(planes):
            _place(x, padded, first, table, plane, places, fractions)
        for n in range(min(LANES, end - first)):
            for k in range(0, features, LANES):
                left = features - k
                g = _read(d_out, (first + n) * features + k, left)
                _pull_planes(n, k, left, g, table, planes, places, fractions, features, multiply, buf)
                for plane in range(planes):
                    value = load(buf, 2 * LANES * plane)
                    if multiply:
                        _write(pulls, (chunk * plane + LANES * group + n) * features + k, value, left)
                    if len(d_x) > 0:
                        i, j = peek(table, _FIELDS * plane + 3), peek(table, _FIELDS * plane + 4)
                        a, b = _slopes(n, k, left, table, plane, places, fractions, features, value)
                        at = (first + n) * dimensions
                        d_x[at + i] += a if abs(x[i * padded + first + n]) <= _1 else _0
                        d_x[at + j] += b if abs(x[j * padded + first + n]) <= _1 else _0


@helper
def _add(texels, at, weight, pulls, source, features):
    """texels[at ...] += weight * pulls[source ...], F numbers."""
    for k in range(0, features, LANES):
        left = features - k
        _write(texels, at + k, _read(texels, at + k, left) + weight * _read(pulls, source + k, left), left)


@kernel
def sum_stripes(start, stop, begin, end, x, table, features, pulls, stride):
    """Add the pulls of the points begin .. end to the gradients of the planes; task = plane * _STRIPES + stripe.

    Plane p's pulls start at pulls[p * stride].
    """
    planes = len(table) // _FIELDS
    padded = len(x) // (3 if planes == 3 else 4)
    places, fractions = np.empty(_PLACE, np.int32), scratch(_PLACE)
    for task in range(start, stop):
        plane = task // _STRIPES
        mine = table[_FIELDS * plane : _FIELDS * (plane + 1)]
        rows, texels = mine[1], pointer_from(mine[0])
        low, high = rows * (task % _STRIPES) // _STRIPES, rows * (task % _STRIPES + 1) // _STRIPES
        for first in range(begin, end, LANES):
            _place(x, padded, first, mine, 0, places, fractions)
            row = load(places, 0)
            members = mask_bits((row >= low - 1) & (row < high))
            members &= (1 << min(LANES, end - first)) - 1
            while members != 0:
                n = lowest_bit(members)
                members &= members - 1
                at, down, right = _corner(mine, 0, places, n, features)
                fa, fb = peek(fractions, n), peek(fractions, LANES + n)
                source = plane * stride + (first - begin + n) * features
                if peek(places, n) >= low:
                    _add(texels, at, (_1 - fa) * (_1 - fb), pulls, source, features)
                    _add(texels, at + right, (_1 - fa) * fb, pulls, source, features)
                if peek(places, n) + 1 < high and rows > 1:
                    _add(texels, at + down, fa * (_1 - fb), pulls, source, features)
                    _add(texels, at + down + right, fa * fb, pulls, source, features)
