"""Which splats each tile blends, from near to far.

Every visible splat lists the tiles that its ellipse alpha >= ALPHA_MIN touches (the ellipse, not its box; a tile is the
box of its pixel centres). Then a counting sort in the order of z puts the pairs of splat and tile into lists by tile. A
pair has two
numbers: where it stands in its splat's list, and its slot in the tile's list; `slot` leads from the first to the
second, so that later each splat can gather its gradients without atomics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render.kernels import layout
from render.kernels.jit import helper, kernel, spread, threads
from render.kernels.layout import CHUNK, RECORD, TILE, Visible

_IX, _FX, _IY, _FY = layout.IX, layout.FX, layout.IY, layout.FY
_SU, _SK, _HY, _LOG_O, _Z = layout.SU, layout.SK, layout.HY, layout.LOG_O, layout.Z
_BOX, _LOG_O_MIN = layout.BOX, layout.LOG_O_MIN
_0, _HALF, _1 = np.float32(0), np.float32(0.5), np.float32(1)
_SLACK = np.float32(1e-2)  # pixels; with the millionth of the position below it covers rounding, and costs nothing
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
    bits = visible.records.view(np.uint32)
    spread(enumerate_tiles, chunks, visible.count, visible.records, bits, base, width, height, first, pairs, slot)
    order = np.empty(visible.total, np.int32)
    depth_order(visible.count, bits, order, np.empty((3, len(order)), np.uint32))
    parts = min(threads(), 8, max(1, len(order) // 8192))
    histogram = np.zeros((parts, tiles), np.int32)
    spread(count_tiles, parts, order, first, pairs, slot, histogram)
    offset = np.empty(tiles + 1, np.int32)
    cursors(histogram, offset)
    splat = np.empty(int(offset[-1]), np.int32)
    spread(fill_tiles, parts, order, first, pairs, slot, histogram, splat)
    return TileLists(columns, offset, splat, first, pairs, slot)


@helper
def _ellipse_tiles(records, at, box, columns, width, height, out, cursor):
    """Write the numbers of the tiles that one splat's ellipse touches to out[cursor ...]; returns the new cursor.

    None outside the box, unless that is 16 tiles or longer.
    """
    r = RECORD * at
    level = records[r + _LOG_O] - _LOG_O_MIN
    x, y = records[r + _IX] + records[r + _FX], records[r + _IY] + records[r + _FY]
    su, sk, hy = records[r + _SU], records[r + _SK], records[r + _HY]
    ry = np.sqrt(level / hy)
    extreme = -ry * sk / np.sqrt(hy + sk * sk)  # dy of the point farthest to the right
    slack = _SLACK + np.float32(1e-6) * (abs(x) + abs(y))
    low = int(max(np.ceil(y - ry - _HALF - slack), _0))
    high = int(min(np.floor(y + ry - _HALF + slack), np.float32(height - 1)))
    inverse = _1 / su
    c0, c1 = box & 4095, (box & 4095) + (box >> 24 & 15)
    r0, r1 = box >> 12 & 4095, (box >> 12 & 4095) + (box >> 28 & 15)
    if max(c1 - c0, r1 - r0) == 15:
        c0, c1, r0, r1 = 0, columns - 1, 0, (height - 1) // TILE
    for row in range(max(low // TILE, r0), min(high // TILE, r1) + 1):
        top = max(np.float32(max(TILE * row, low)) + _HALF - y, -ry)
        bottom = min(np.float32(min(TILE * row + TILE - 1, high)) + _HALF - y, ry)
        right_at, left_at = min(max(extreme, top), bottom), min(max(-extreme, top), bottom)
        right = x + (np.sqrt(max(level - hy * right_at * right_at, _0)) - sk * right_at) * inverse
        left = x - (np.sqrt(max(level - hy * left_at * left_at, _0)) + sk * left_at) * inverse
        i0 = int(max(np.ceil(left - _HALF - slack), _0))
        i1 = int(min(np.floor(right - _HALF + slack), np.float32(width - 1)))
        if i0 <= i1:
            for column in range(max(i0 // TILE, c0), min(i1 // TILE, c1) + 1):
                out[cursor] = row * columns + column
                cursor += 1
    return cursor


@kernel
def enumerate_tiles(start, stop, count, records, bits, base, width, height, first, pairs, out):
    """For every visible splat of chunks start .. stop: its tiles into out[first : first + pairs]. bits: the records as
    uint32.
    """
    columns = (width + TILE - 1) // TILE
    for chunk in range(start, stop):
        cursor = base[chunk]
        for at in range(chunk * CHUNK, chunk * CHUNK + count[chunk]):
            first[at] = cursor
            box = np.int64(bits[RECORD * at + _BOX])
            wide, high = box >> 24 & 15, box >> 28 & 15
            if (
                min(wide, high) == 0 and max(wide, high) < 15
            ):  # a box of one row or one column: the ellipse touches every tile
                tile = (box >> 12 & 4095) * columns + (box & 4095)
                step = 1 if high == 0 else columns
                for n in range(wide + high + 1):
                    out[cursor] = tile + n * step
                    cursor += 1
            else:
                cursor = _ellipse_tiles(records, at, box, columns, width, height, out, cursor)
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
