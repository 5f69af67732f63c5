"""Blending of the tiles' lists into pixels, and back; lane = pixel of a tile's row.

Forward works row by row: the pixels of a row stay in registers while the splats of a batch pass by, each row seeing
only those that reach it. Backward works splat by splat from far to near, so that a splat's sums over the tile's pixels
stay in registers instead.

Backward needs no colour "in front": with B the colour behind a splat, relative to the transmittance behind it, and g
the gradient of the pixel's colour, dL/dalpha = T (c - B) . g, and in front of it B becomes B + alpha (c - B). Only B .
g is kept.
"""

from __future__ import annotations

import numpy as np

from render.kernels import layout, reference
from render.kernels.jit import helper, kernel
from render.kernels.layout import MOMENTS, RECORD, TILE, scratch
from render.kernels.simd import (
    absolute,
    fill,
    lane_numbers,
    lane_sum,
    lowest_bit,
    mask_bits,
    maximum,
    minimum,
    nonzero,
    select,
)
from render.kernels.simd_memory import load, load3, peek, poke, prefetch, store, store_lane_sums
from render.kernels.vecmath import exp2

PIXELS = TILE * TILE
BATCH = 64
"""Splats whose row coefficients are computed at once; as many as a mask has bits."""
_AHEAD = 12
"""Splats ahead whose records backward asks for: a tile's splats lie all over the records."""

_IX, _FX, _IY, _FY = layout.IX, layout.FX, layout.IY, layout.FY
_SU, _SK, _HY, _LOG_O = layout.SU, layout.SK, layout.HY, layout.LOG_O
_RED, _GREEN, _BLUE, _Z = layout.RGB, layout.RGB + 1, layout.RGB + 2, layout.Z
_LOG_MIN = layout.LOG_O_MIN
_LOG_MAX = np.float32(np.log2(reference.ALPHA_MAX))
_ALPHA_MAX, _T_MIN = np.float32(reference.ALPHA_MAX), np.float32(reference.T_MIN)
_0, _HALF, _1, _15 = np.float32(0), np.float32(0.5), np.float32(1), np.float32(15)

# The scratch of one tile, in floats: pixels by row, then coefficients by splat of the batch.
_T, _R, _G, _B, _LAST, _D = 0, 256, 512, 768, 1024, 1280
_E, _Q = 1536, 1536 + TILE * BATCH
_PLACE = 1536 + 2 * TILE * BATCH
_FORWARD = _PLACE + BATCH
_BEHIND, _ROW_E, _ROW_Q, _ROW_DY, _BACKWARD = 1280, 1536, 1552, 1568, 1584


@helper
def _rows_of(records, r, left, top, lanes):
    """(SU, e, q, bits) of a splat in a tile: row j has log2(alpha) = q[j] - (SU i + e[j])^2 at column i; bits: rows
    that it reaches.
    """
    su = peek(records, r + _SU)
    x0 = left + _HALF - peek(records, r + _IX) - peek(records, r + _FX)
    dy = lanes + (top + _HALF - peek(records, r + _IY) - peek(records, r + _FY))
    e = su * x0 + peek(records, r + _SK) * dy
    q = peek(records, r + _LOG_O) - peek(records, r + _HY) * dy * dy
    nearest = maximum(maximum(e, -(e + _15 * su)), _0)  # |SU i + e| where the row comes closest, 0 <= i <= 15
    return su, e, q, mask_bits(q - nearest * nearest >= _LOG_MIN)


@helper
def _prepare(begin, lo, hi, splat, records, left, top, lanes, buf, reach, at):
    """Row coefficients of a batch of splats into buf, their rows into `reach`, their records' places into `at`."""
    for n in range(hi - lo):
        prefetch(records, RECORD * np.int64(peek(splat, min(lo + n + BATCH, len(splat) - 1))))
        r = RECORD * np.int64(peek(splat, lo + n))
        _, e, q, rows = _rows_of(records, r, left, top, lanes)
        store(buf, _E + TILE * n, e)
        store(buf, _Q + TILE * n, q)
        poke(buf, _PLACE + n, np.float32(lo + n - begin))
        poke(reach, n, rows)
        poke(at, n, r)
    for n in range(hi - lo, BATCH):
        poke(reach, n, 0)


@helper
def _members(reach, row):
    """The bits of the batch's splats that reach a row."""
    bit = 1 << row
    low = mask_bits(nonzero(load(reach, 0) & bit)) | mask_bits(nonzero(load(reach, 16) & bit)) << 16
    high = mask_bits(nonzero(load(reach, 32) & bit)) | mask_bits(nonzero(load(reach, 48) & bit)) << 16
    return low | high << 32


@helper
def _blend_row(members, row, records, at, lanes, depth, buf):
    """Blend the batch's splats into one row; returns the bits of the pixels that are not done."""
    p = TILE * row
    t, last = load(buf, _T + p), load(buf, _LAST + p)  # t < 0: the pixel is done, with transmittance -t
    red, green, blue, far = load(buf, _R + p), load(buf, _G + p), load(buf, _B + p), load(buf, _D + p)
    while members != 0:
        n = lowest_bit(members)
        members &= members - 1
        r = peek(at, n)
        u = lanes * peek(records, r + _SU) + peek(buf, _E + TILE * n + row)
        q = peek(buf, _Q + TILE * n + row) - u * u
        seen = q >= _LOG_MIN
        w = select(seen, minimum(exp2(q), _ALPHA_MAX), _0) * t
        through = t - w
        ok = seen & (through > _T_MIN)
        w = select(ok, w, _0)
        red = red + w * peek(records, r + _RED)
        green = green + w * peek(records, r + _GREEN)
        blue = blue + w * peek(records, r + _BLUE)
        if depth:
            far = far + w * peek(records, r + _Z)
        t = select(ok, through, select(seen, -absolute(t), t))
        last = select(ok, fill(peek(buf, _PLACE + n)), last)
    store(buf, _T + p, t)
    store(buf, _LAST + p, last)
    store(buf, _R + p, red)
    store(buf, _G + p, green)
    store(buf, _B + p, blue)
    store(buf, _D + p, far)
    return mask_bits(t > _0)


@helper
def _write_tile(left, top, width, height, background, stride, depth, buf, rgb, alpha, z):
    """One tile's pixels into the images; background: 3 floats a pixel, stride 3, or the same 3 for all, stride 0."""
    for j in range(min(TILE, height - top)):
        for i in range(min(TILE, width - left)):
            p, k = (top + j) * width + left + i, TILE * j + i
            t = abs(peek(buf, _T + k))
            rgb[3 * p] = peek(buf, _R + k) + t * background[stride * p]
            rgb[3 * p + 1] = peek(buf, _G + k) + t * background[stride * p + 1]
            rgb[3 * p + 2] = peek(buf, _B + k) + t * background[stride * p + 2]
            alpha[p] = _1 - t
            if depth:
                z[p] = peek(buf, _D + k) / (_1 - t)  # 0 / 0 is the NaN of a pixel that nothing covers


@kernel
def blend(
    start, stop, columns, width, height, offset, splat, records, background, stride, depth, rgb, alpha, z, through, last
):
    """Blend tiles start .. stop into rgb f32[H W 3], alpha and z f32[H W].

    through, last f32[tiles 256]: what backward starts from, tile by tile: transmittance and the last splat blended
    (place in the tile's list, -1: none).
    """
    buf = scratch(_FORWARD)
    reach, at = np.empty(BATCH, np.int32), np.empty(BATCH, np.int64)
    lanes = lane_numbers()
    for tile in range(start, stop):
        x, y = TILE * (tile % columns), TILE * (tile // columns)
        left, top = np.float32(x), np.float32(y)
        for p in range(0, PIXELS, TILE):
            store(buf, _T + p, select(lanes < np.float32(width - x), fill(_1), -_1))
            store(buf, _LAST + p, -_1)
            store(buf, _R + p, _0)
            store(buf, _G + p, _0)
            store(buf, _B + p, _0)
            store(buf, _D + p, _0)
        alive = (1 << min(TILE, height - y)) - 1
        begin, end = np.int64(offset[tile]), np.int64(offset[tile + 1])
        for lo in range(begin, end, BATCH):
            _prepare(begin, lo, min(lo + BATCH, end), splat, records, left, top, lanes, buf, reach, at)
            rows = alive
            while rows != 0:
                row = lowest_bit(rows)
                rows &= rows - 1
                members = _members(reach, row)
                if members != 0 and _blend_row(members, row, records, at, lanes, depth, buf) == 0:
                    alive &= ~(1 << row)
            if alive == 0:
                break
        _write_tile(x, y, width, height, background, stride, depth, buf, rgb, alpha, z)
        for p in range(0, PIXELS, TILE):
            store(through, PIXELS * tile + p, absolute(load(buf, _T + p)))
            store(last, PIXELS * tile + p, load(buf, _LAST + p))


@helper
def _read_tile(left, top, width, height, background, stride, d_rgb, d_alpha, buf):
    """Gradients of the tile's pixels into R, G, B, and what lies behind all splats, dotted with them, into BEHIND."""
    for j in range(TILE):
        whole = top + j < height and left + TILE <= width
        p, k = (top + j) * width + left, TILE * j
        if whole:
            red, green, blue = load3(d_rgb, 3 * p)
            store(buf, _R + k, red)
            store(buf, _G + k, green)
            store(buf, _B + k, blue)
        else:
            for i in range(TILE):
                inside = top + j < height and left + i < width
                buf[_R + k + i] = d_rgb[3 * (p + i)] if inside else _0
                buf[_G + k + i] = d_rgb[3 * (p + i) + 1] if inside else _0
                buf[_B + k + i] = d_rgb[3 * (p + i) + 2] if inside else _0
        for i in range(TILE):
            behind = _0
            if top + j < height and left + i < width:
                b = stride * (p + i)
                behind = background[b] * peek(buf, _R + k + i) + background[b + 1] * peek(buf, _G + k + i)
                behind += background[b + 2] * peek(buf, _B + k + i)
                if len(d_alpha) > 0:
                    behind -= d_alpha[p + i]
            buf[_BEHIND + k + i] = behind


@helper
def _moments(rows, number, e, q, su, records, r, x0, y0, lanes, buf, out, at):
    """Back-propagate through one splat in the given rows of a tile; its MOMENTS sums go to out[at ...]."""
    store(buf, _ROW_E, e)
    store(buf, _ROW_Q, q)
    store(buf, _ROW_DY, lanes + y0)
    red, green, blue = fill(peek(records, r + _RED)), fill(peek(records, r + _GREEN)), fill(peek(records, r + _BLUE))
    d_red, d_green, d_blue = fill(_0), fill(_0), fill(_0)
    s, sy, syy = fill(_0), fill(_0), fill(_0)
    while rows != 0:
        row = lowest_bit(rows)
        rows &= rows - 1
        p = TILE * row
        u = lanes * su + peek(buf, _ROW_E + row)
        q = peek(buf, _ROW_Q + row) - u * u
        ok = (q >= _LOG_MIN) & (load(buf, _LAST + p) >= number)
        a = select(ok, minimum(exp2(q), _ALPHA_MAX), _0)
        t = load(buf, _T + p) / (_1 - a)  # the transmittance in front of this splat
        store(buf, _T + p, t)
        w = a * t
        g_red, g_green, g_blue = load(buf, _R + p), load(buf, _G + p), load(buf, _B + p)
        d_red, d_green, d_blue = d_red + w * g_red, d_green + w * g_green, d_blue + w * g_blue
        behind = load(buf, _BEHIND + p)
        change = red * g_red + green * g_green + blue * g_blue - behind
        store(buf, _BEHIND + p, behind + a * change)
        v = select(q <= _LOG_MAX, w * change, _0)  # alpha dL/dalpha; none where alpha is capped
        dy = peek(buf, _ROW_DY + row)
        vy = v * dy
        s, sy, syy = s + v, sy + vy, syy + vy * dy
    dx = lanes + x0
    sx = s * dx
    store_lane_sums(out, at, d_red, d_green, d_blue, sx, sy, sx * dx, sy * dx, syy)
    out[at + MOMENTS - 1] = lane_sum(s)


@kernel
def blend_backward(
    start,
    stop,
    columns,
    width,
    height,
    offset,
    splat,
    records,
    background,
    stride,
    through,
    last,
    d_rgb,
    d_alpha,
    out,
):
    """Back-propagate d_rgb f32[H W 3] and d_alpha f32[H W] (or empty) through tiles start .. stop.

    out: f32[P MOMENTS + 16], the MOMENTS of every pair by its slot.
    """
    buf = scratch(_BACKWARD)
    lanes = lane_numbers()
    for tile in range(start, stop):
        x, y = TILE * (tile % columns), TILE * (tile // columns)
        left, top = np.float32(x), np.float32(y)
        _read_tile(x, y, width, height, background, stride, d_rgb, d_alpha, buf)
        latest = fill(-_1)
        for p in range(0, PIXELS, TILE):
            store(buf, _T + p, load(through, PIXELS * tile + p))
            place = load(last, PIXELS * tile + p)
            store(buf, _LAST + p, place)
            latest = maximum(latest, place)
        deepest = -1
        store(buf, _ROW_E, latest)
        for i in range(TILE):
            deepest = max(deepest, np.int64(peek(buf, _ROW_E + i)))
        begin, end = np.int64(offset[tile]), np.int64(offset[tile + 1])
        out[MOMENTS * (begin + deepest + 1) : MOMENTS * end] = _0
        for k in range(begin + deepest, begin - 1, -1):
            prefetch(records, RECORD * np.int64(peek(splat, max(k - _AHEAD, 0))))
            r = RECORD * np.int64(peek(splat, k))
            su, e, q, rows = _rows_of(records, r, left, top, lanes)
            x0 = left + _HALF - peek(records, r + _IX) - peek(records, r + _FX)
            y0 = top + _HALF - peek(records, r + _IY) - peek(records, r + _FY)
            _moments(rows, np.float32(k - begin), e, q, su, records, r, x0, y0, lanes, buf, out, MOMENTS * k)
