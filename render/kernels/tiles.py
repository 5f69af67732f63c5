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

from recon.kernels.jit import helper, kernel, spread, threads
from recon.kernels.simd import LANES, fill, floor, lane_numbers, lowest_bit, mask_bits, maximum, minimum, root
from recon.kernels.simd_memory import peek, poke, prefetch, store
from render.kernels import layout
from render.kernels.layout import CHUNK, RECORD, TILE, Visible, scratch

_IX, _FX, _IY, _FY = layout.IX, layout.FX, layout.IY, layout.FY
_SU, _SK, _SV, _LOG_O, _Z = layout.SU, layout.SK, layout.SV, layout.LOG_O, layout.Z
_BOX, _LOG_O_MIN = layout.BOX, layout.LOG_O_MIN
_0, _HALF, _1 = np.float32(0), np.float32(0.5), np.float32(1)
_SLACK = np.float32(1e-2)  # pixels; with the millionth of the position below it covers rounding, and costs nothing
_TILE, _SHARE = np.float32(TILE), np.float32(1 / TILE)
_PARTS, _GRAIN = 8, 8192
"""With more than two threads the counting sort is split into up to _PARTS parts of the depth order, of at least _GRAIN
splats.
"""
_AHEAD = 16
"""Splats ahead whose pairs the sort asks for: in the order of z they lie all over the list."""
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
    parts = 1 if threads() <= 2 else min(threads(), _PARTS, max(1, visible.total // _GRAIN))
    serial = parts == 1
    histogram = np.empty((chunks if serial else 0, tiles), np.int32)
    seen = (visible.count, visible.records, bits, base, width, height)
    spread(enumerate_tiles, chunks, *seen, first, pairs, slot, histogram)
    order = np.empty(visible.total, np.int32)
    depth_order(visible.count, bits, order, np.empty((3, len(order)), np.uint32))
    if serial:
        histogram = histogram.sum(0, dtype=np.int32)[None]
    else:
        histogram = np.zeros((parts, tiles), np.int32)
        spread(count_tiles, parts, order, first, pairs, slot, histogram)
    offset = np.empty(tiles + 1, np.int32)
    cursors(histogram, offset)
    splat = np.empty(int(offset[-1]), np.int32)
    spread(fill_tiles, parts, order, first, pairs, slot, histogram, splat)
    return TileLists(columns, offset, splat, first, pairs, slot)


@helper
def _ellipse_tiles(records, at, box, columns, width, height, out, cursor, buf):
    """Write the numbers of the tiles that one splat's ellipse touches to out[cursor ...]; returns the new cursor.

    None outside the box, unless that is 16 tiles or longer. Lane = row of tiles.
    """
    r = RECORD * at
    level = peek(records, r + _LOG_O) - _LOG_O_MIN
    x, y = peek(records, r + _IX) + peek(records, r + _FX), peek(records, r + _IY) + peek(records, r + _FY)
    su, sk, sv = peek(records, r + _SU), peek(records, r + _SK), peek(records, r + _SV)
    hy = sv * sv
    ry = np.sqrt(level) / sv
    extreme = -ry * sk / np.sqrt(hy + sk * sk)  # dy of the point farthest to the right
    slack = _SLACK + np.float32(1e-6) * (abs(x) + abs(y))
    c0, r0 = box & 4095, box >> 12 & 4095
    c1, r1 = c0 + (box >> 24 & 15), r0 + (box >> 28 & 15)
    if max(c1 - c0, r1 - r0) == 15:
        c0, c1, r0, r1 = 0, columns - 1, 0, (height - 1) // TILE
    for first in range(r0, r1 + 1, LANES):
        row = lane_numbers() + np.float32(first)
        top = maximum(row * _TILE + (_HALF - y), -ry - slack)
        bottom = minimum(minimum(row * _TILE + np.float32(TILE - 1), np.float32(height - 1)) + (_HALF - y), ry + slack)
        right_at = minimum(maximum(fill(extreme), top), bottom)
        left_at = minimum(maximum(fill(-extreme), top), bottom)
        right = (root(maximum(level - hy * right_at * right_at, _0)) - sk * right_at) / su
        left = (root(maximum(level - hy * left_at * left_at, _0)) + sk * left_at) / su
        i0 = maximum(-floor(left + (slack + _HALF - x)), _0)
        i1 = minimum(floor(right + (x - _HALF + slack)), np.float32(width - 1))
        touched = mask_bits((i0 <= i1) & (top <= bottom)) & ((1 << min(r1 - first + 1, LANES)) - 1)
        store(buf, 0, floor(i0 * _SHARE))
        store(buf, LANES, floor(i1 * _SHARE))
        while touched != 0:
            n = lowest_bit(touched)
            touched &= touched - 1
            tile = (first + n) * columns
            for column in range(max(np.int64(peek(buf, n)), c0), min(np.int64(peek(buf, LANES + n)), c1) + 1):
                poke(out, cursor, tile + column)
                cursor += 1
    return cursor


@kernel
def enumerate_tiles(start, stop, count, records, bits, base, width, height, first, pairs, out, histogram):
    """For every visible splat of chunks start .. stop: its tiles into out[first : first + pairs].

    bits: the records as uint32. histogram: i32[chunks, tiles], the pairs of each tile in each chunk, or empty.
    """
    columns = (width + TILE - 1) // TILE
    buf = scratch(2 * LANES)
    for chunk in range(start, stop):
        cursor = base[chunk]
        for at in range(chunk * CHUNK, chunk * CHUNK + count[chunk]):
            begin = cursor
            box = np.int64(peek(bits, RECORD * at + _BOX))
            wide, high = box >> 24 & 15, box >> 28 & 15
            if (
                min(wide, high) == 0 and max(wide, high) < 15
            ):  # a box of one row or one column: the ellipse touches every tile
                tile = (box >> 12 & 4095) * columns + (box & 4095)
                step = 1 if high == 0 else columns
                for n in range(wide + high + 1):
                    poke(out, cursor, tile + n * step)
                    cursor += 1
            else:
                cursor = _ellipse_tiles(records, at, box, columns, width, height, out, cursor, buf)
            first[at] = begin
            pairs[at] = cursor - begin
        if histogram.size > 0:
            histogram[chunk, :] = 0
            for pair in range(base[chunk], cursor):
                histogram[chunk, peek(out, pair)] += 1


@kernel
def depth_order(count, bits, order, work):
    """order = positions of the visible splats from near to far, equal z by position.

    A radix sort of the bits of the records (uint32): those of z > 0 order as z does.
    """
    keys, other, positions = work[0], work[1], work[2]
    n = 0
    for chunk in range(len(count)):
        for at in range(chunk * CHUNK, chunk * CHUNK + count[chunk]):
            poke(keys, n, peek(bits, RECORD * at + _Z))
            poke(order, n, at)
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
        places = buckets[digit]
        for i in range(n):
            key = peek(keys, i)
            b = np.int64(key >> np.uint32(_DIGIT * digit) & np.uint32((1 << _DIGIT) - 1))
            to = peek(places, b)
            poke(places, b, to + 1)
            poke(other, to, key)
            poke(target, to, peek(source, i))
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
            at = peek(order, i)
            begin = peek(first, at)
            for pair in range(begin, begin + peek(pairs, at)):
                histogram[part, peek(tile, pair)] += 1


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
        next_slot = cursor[part]
        for i in range(lo, hi):
            ahead = peek(first, peek(order, min(i + _AHEAD, hi - 1)))
            prefetch(slot, ahead)
            at = peek(order, i)
            begin = peek(first, at)
            for pair in range(begin, begin + peek(pairs, at)):
                tile = peek(slot, pair)
                to = peek(next_slot, tile)
                poke(next_slot, tile, to + 1)
                poke(splat, to, at)
                poke(slot, pair, to)
