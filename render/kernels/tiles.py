"""Which splats each tile blends, from near to far.

Every visible splat lists the tiles that its ellipse alpha >= ALPHA_MIN touches (the ellipse, not its box; a tile is
the box of its pixel
centres). Then a counting sort in the order of z puts the pairs of splat and tile into lists by tile. A pair has two
numbers: where it
stands in its splat's list, and its slot in the tile's list; `slot` leads from the first to the second, so that later
each splat can
gather its gradients without atomics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.kernels import layout
from render.kernels.jit import helper, kernel, spread, threads
from render.kernels.layout import CHUNK, RECORD, TILE, Visible

_IX, _FX, _IY, _FY = layout.IX, layout.FX, layout.IY, layout.FY
_SU, _SK, _HY, _LOG_O, _Z = layout.SU, layout.SK, layout.HY, layout.LOG_O, layout.Z
_LOG_O_MIN = float(layout.LOG_O_MIN)
_SLACK = 1e-3  # pixels; covers float32 in the blending kernel, and costs nothing
_DIGIT = 11  # bits per pass of the radix sort: three passes for 32 bits


@dataclass(frozen=True)
class TileLists:
    """P pairs of splat and tile, twice: by tile (from near to far) and by splat."""

    columns: int
    """Tiles side by side."""
    offset: NDArray[np.int32]
    """i32[tiles + 1], where each tile's list starts."""
    splat: NDArray[np.int32]
    """i32[P], by tile: position of the splat in Visible."""
    first: NDArray[np.int64]
    """i64[N], by position in Visible: where the splat's pairs start in `slot`."""
    pairs: NDArray[np.int32]
    """i32[N], by position in Visible: how many pairs the splat has."""
    slot: NDArray[np.int32]
    """i32[bound], by splat: index into `splat`."""


def tile_lists(visible: Visible, size: tuple[int, int]) -> TileLists:
    """Sort visible splats into the tiles of an image of `size` (width, height)."""
    width, height = size
    columns, rows = -(-width // TILE), -(-height // TILE)
    tiles, chunks = columns * rows, len(visible.count)
    base = np.zeros(chunks + 1, np.int64)
    np.cumsum(visible.bound, out=base[1:])
    first, pairs = np.empty(len(visible.rows), np.int64), np.empty(len(visible.rows), np.int32)
    slot = np.empty(int(base[-1]), np.int32)  # holds tile numbers until fill() puts slots in their place
    spread(enumerate_tiles, chunks, visible.count, visible.records, base, width, height, first, pairs, slot)
    order = np.empty(visible.total, np.int32)
    depth_order(visible.count, visible.records.view(np.uint32), order, np.empty((3, len(order)), np.uint32))
    parts = min(threads(), 8, max(1, len(order) // 8192))
    histogram = np.zeros((parts, tiles), np.int32)
    spread(count_tiles, parts, order, first, pairs, slot, histogram)
    offset = np.empty(tiles + 1, np.int32)
    cursors(histogram, offset)
    splat = np.empty(int(offset[-1]), np.int32)
    spread(fill_tiles, parts, order, first, pairs, slot, histogram, splat)
    return TileLists(columns, offset, splat, first, pairs, slot)


@helper
def _splat_tiles(records, at, columns, width, height, out, cursor):
    """Write the numbers of the tiles that one splat touches to out[cursor ...]; returns the new cursor."""
    r = RECORD * at
    level = float(records[r + _LOG_O]) - _LOG_O_MIN
    if not level >= 0:
        return cursor
    x = float(records[r + _IX]) + float(records[r + _FX])
    y = float(records[r + _IY]) + float(records[r + _FY])
    su, sk, hy = float(records[r + _SU]), float(records[r + _SK]), float(records[r + _HY])
    ry = math.sqrt(level / hy)
    # the point of the ellipse farthest to the right has dy = -sk sqrt(level / (hy (hy + sk^2)))
    extreme = -sk * math.sqrt(level / (hy * (hy + sk * sk)))
    low = max(0, int(max(math.ceil(y - ry - 0.5 - _SLACK), 0.0)))
    high = int(min(math.floor(y + ry - 0.5 + _SLACK), height - 1.0))
    if high < low:
        return cursor
    inverse = 1.0 / su
    for row in range(low // TILE, high // TILE + 1):
        top = max(max(TILE * row, low) + 0.5 - y, -ry)
        bottom = min(min(TILE * row + TILE - 1, high) + 0.5 - y, ry)
        right_at, left_at = min(max(extreme, top), bottom), min(max(-extreme, top), bottom)
        right = x + (math.sqrt(max(level - hy * right_at * right_at, 0.0)) - sk * right_at) * inverse
        left = x - (math.sqrt(max(level - hy * left_at * left_at, 0.0)) + sk * left_at) * inverse
        i0 = int(max(math.ceil(left - 0.5 - _SLACK), 0.0))
        i1 = int(min(math.floor(right - 0.5 + _SLACK), width - 1.0))
        if i0 <= i1:
            for column in range(i0 // TILE, i1 // TILE + 1):
                out[cursor] = row * columns + column
                cursor += 1
    return cursor


@kernel
def enumerate_tiles(start, stop, count, records, base, width, height, first, pairs, out):
    """For every visible splat of chunks start .. stop: its tiles into out[first : first + pairs]."""
    columns = (width + TILE - 1) // TILE
    for chunk in range(start, stop):
        cursor = base[chunk]
        for at in range(chunk * CHUNK, chunk * CHUNK + count[chunk]):
            first[at] = cursor
            cursor = _splat_tiles(records, at, columns, width, height, out, cursor)
            pairs[at] = cursor - first[at]


@kernel
def depth_order(count, bits, order, work):
    """order = positions of the visible splats from near to far, equal z by position.

    A radix sort of the bits of the records (uint32): those of z > 0 order as z does.
    """
    keys, other, positions = work[0], work[1], work[2]
    n = 0
    for chunk in range(len(count)):
        for at in range(chunk * CHUNK, chunk * CHUNK + count[chunk]):
            keys[n] = bits[RECORD * at + _Z]
            order[n] = at
            n += 1
    buckets = np.zeros((3, 1 << _DIGIT), np.int64)
    for i in range(n):
        for digit in range(3):
            buckets[digit, keys[i] >> np.uint32(_DIGIT * digit) & np.uint32((1 << _DIGIT) - 1)] += 1
    source = order
    target = positions.view(np.int32)
    for digit in range(3):
        total = 0
        for b in range(1 << _DIGIT):
            here = buckets[digit, b]
            buckets[digit, b] = total
            total += here
        for i in range(n):
            b = keys[i] >> np.uint32(_DIGIT * digit) & np.uint32((1 << _DIGIT) - 1)
            to = buckets[digit, b]
            buckets[digit, b] = to + 1
            other[to] = keys[i]
            target[to] = source[i]
        keys, other = other, keys
        source, target = target, source
    for i in range(n):  # after three passes the result stands in the work array
        order[i] = source[i]


@helper
def _part(part, parts, count):
    """The range of the depth order that one part takes."""
    return part * count // parts, (part + 1) * count // parts


@kernel
def count_tiles(start, stop, order, first, pairs, tile, histogram):
    """histogram[part, tile] = pairs of that tile in each part of the depth order."""
    for part in range(start, stop):
        lo, hi = _part(part, len(histogram), len(order))
        for i in range(lo, hi):
            at = order[i]
            for pair in range(first[at], first[at] + pairs[at]):
                histogram[part, tile[pair]] += 1


@kernel
def cursors(histogram, offset):
    """Turn the counts into where each part writes its first pair of each tile, and into the tiles' offsets."""
    total = 0
    for tile in range(histogram.shape[1]):
        offset[tile] = total
        for part in range(len(histogram)):
            here = histogram[part, tile]
            histogram[part, tile] = total
            total += here
    offset[histogram.shape[1]] = total


@kernel
def fill_tiles(start, stop, order, first, pairs, slot, cursor, splat):
    """Put each pair into its tile's list, and its slot in the place of its tile number."""
    for part in range(start, stop):
        lo, hi = _part(part, len(cursor), len(order))
        for i in range(lo, hi):
            at = order[i]
            for pair in range(first[at], first[at] + pairs[at]):
                tile = slot[pair]
                to = cursor[part, tile]
                cursor[part, tile] = to + 1
                splat[to] = at
                slot[pair] = to
