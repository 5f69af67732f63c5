"""Blending of the tiles' lists into pixels, and back; lane = pixel of a block of 4 x 4.

A tile is 16 blocks, and a vector is one block: most splats are so small that rows of 16 pixels would be half empty.
Forward
works block by block: the pixels of a block stay in registers while the splats of a batch pass by, each block seeing
only those that reach it. Backward works splat by splat from far to near, so that a splat's sums over the tile's pixels
stay in registers instead.

Backward needs no colour "in front": with B the colour behind a splat, relative to the transmittance behind it, and g
the gradient of the pixel's colour, dL/dalpha = T (c - B) . g, and in front of it B becomes B + alpha (c - B). Only B .
g is kept.
"""

from __future__ import annotations

import numpy as np

from recon.kernels.jit import helper, kernel
from recon.kernels.simd import (
    absolute,
    fill,
    floor,
    lane_numbers,
    lowest_bit,
    mask_bits,
    maximum,
    minimum,
    nonzero,
    select,
)
from recon.kernels.simd_memory import (
    load,
    load_first,
    peek,
    poke,
    prefetch,
    store,
    store3,
    store_first,
    store_lane_sums,
)
from recon.kernels.simd_shuffle import lane_sum
from render.kernels import features as channel
from render.kernels import layout, reference
from render.kernels.layout import BLOCK, MOMENTS, RECORD, TILE, scratch
from render.kernels.pixels import EXCHANGE, load_background, load_colours, pixels_inside
from render.kernels.vecmath import exp2

PIXELS = TILE * TILE
BLOCKS = PIXELS // 16
BATCH = 32
"""Splats whose coefficients are computed at once."""
_AHEAD = 12
"""Splats ahead whose records backward asks for: a tile's splats lie all over the records."""

_IX, _FX, _IY, _FY = layout.IX, layout.FX, layout.IY, layout.FY
_SU, _SK, _SV, _LOG_O = layout.SU, layout.SK, layout.SV, layout.LOG_O
_RED, _GREEN, _BLUE, _Z = layout.RGB, layout.RGB + 1, layout.RGB + 2, layout.Z
_LOG_MIN = layout.LOG_O_MIN
_LOG_MAX = np.float32(np.log2(reference.ALPHA_MAX))
_ALPHA_MAX, _T_MIN = np.float32(reference.ALPHA_MAX), np.float32(reference.T_MIN)
_0, _HALF, _1, _4 = np.float32(0), np.float32(0.5), np.float32(1), np.float32(BLOCK)
_MIDDLE = np.float32(0.5 * (BLOCK - 1))

# The scratch of one tile, in floats: pixels by block, room to reorder a block, then what the batch's splats need. In forward a
# splat has 96 floats: u in block 0, its change by block, and log2(alpha) + u^2 in the four rows of blocks.
_T, _R, _G, _B, _LAST, _D = 0, 256, 512, 768, 1024, 1280
_PLACE, _SPLATS, _SPLAT = 1632, 1632 + BATCH, 96
_STEP, _LOG = 16, 32
_FORWARD = _SPLATS + _SPLAT * BATCH
_BEHIND, _U_STEP, _V_STEP, _SUMS = 1280, 1632, 1648, 1664
_PLANES = _SUMS + 16 * channel.MOST  # features: sums of one splat, then the gradients of the pixels


@helper
def _block_lanes():
    """Column and row of each pixel in its block; times 4, of each block in its tile."""
    lanes = lane_numbers()
    row = floor(lanes * np.float32(0.25))
    return lanes - _4 * row, row


@helper
def _blocks_of(su, sk, sv, log_o, x0, y0, steps, column, row):
    """Bits of the blocks that a splat's ellipse may reach; x0, y0: the tile's first pixel seen from the centre.

    u and dy are taken as near to 0 as they come in a block, each by itself: a few per cent too many blocks.
    """
    u = absolute(steps + (su * (x0 + _MIDDLE) + sk * (y0 + _MIDDLE))) - _MIDDLE * (su + abs(sk))
    v = sv * (absolute(_4 * row + (y0 + _MIDDLE)) - _MIDDLE)
    u, v = maximum(u, _0), maximum(v, _0)
    return mask_bits(log_o - u * u - v * v >= _LOG_MIN)


@helper
def _prepare(begin, lo, hi, splat, records, left, top, column, row, buf, blocks, reach, at):
    """Coefficients of a batch of splats into buf, the bits of their blocks into `blocks` (by slot, for backward) and
    `reach` (by place in the batch), their records' places into `at`.
    """
    for n in range(hi - lo):
        prefetch(records, RECORD * np.int64(peek(splat, min(lo + n + BATCH, len(splat) - 1))))
        r = RECORD * np.int64(peek(splat, lo + n))
        su, sk, sv, log_o = (
            peek(records, r + _SU),
            peek(records, r + _SK),
            peek(records, r + _SV),
            peek(records, r + _LOG_O),
        )
        x0 = left + _HALF - peek(records, r + _IX) - peek(records, r + _FX)
        y0 = top + _HALF - peek(records, r + _IY) - peek(records, r + _FY)
        steps = su * (_4 * column) + sk * (_4 * row)
        bits = _blocks_of(su, sk, sv, log_o, x0, y0, steps, column, row)
        base = _SPLATS + _SPLAT * n
        store(buf, base, su * (column + x0) + sk * (row + y0))
        store(buf, base + _STEP, steps)
        v = sv * (row + y0)
        for block_row in range(TILE // BLOCK):
            store(buf, base + _LOG + 16 * block_row, log_o - v * v)
            v = v + _4 * sv
        poke(buf, _PLACE + n, np.float32(lo + n - begin))
        poke(blocks, lo + n, bits)
        poke(reach, n, bits)
        poke(at, n, r)
    for n in range(hi - lo, BATCH):
        poke(reach, n, 0)


@helper
def _blend_block(block, records, reach, at, depth, features, place, channels, buf):
    """Blend the batch's splats into one block; returns the bits of the pixels that are not done."""
    p = 16 * block
    bit = 1 << block
    members = mask_bits(nonzero(load(reach, 0) & bit)) | mask_bits(nonzero(load(reach, 16) & bit)) << 16
    t, last = load(buf, _T + p), load(buf, _LAST + p)  # t < 0: the pixel is done, with transmittance -t
    red, green, blue, far = load(buf, _R + p), load(buf, _G + p), load(buf, _B + p), load(buf, _D + p)
    step, log = _SPLATS + _STEP + block, _SPLATS + _LOG + 16 * (block // 4)
    while members != 0:
        n = lowest_bit(members)
        members &= members - 1
        r, base = peek(at, n), _SPLAT * n
        u = load(buf, _SPLATS + base) + peek(buf, step + base)
        q = load(buf, log + base) - u * u
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
        if features is not None:
            channel.add(features, peek(place, n), channels, w, buf, _FORWARD + p)
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
def _write_tile(x, y, width, height, background, stride, depth, buf, rgb, alpha, z, channels, image):
    """One tile's pixels into the images; background: 3 floats a pixel, stride 3, or the same 3 for all, stride 0."""
    for block in range(BLOCKS):
        p = 16 * block
        t = absolute(load(buf, _T + p))
        red, green, blue = load_background(background, stride, x, y, block, width, height, buf)
        red, green, blue = load(buf, _R + p) + t * red, load(buf, _G + p) + t * green, load(buf, _B + p) + t * blue
        store3(buf, EXCHANGE, red, green, blue, 16)
        store(buf, EXCHANGE + 48, _1 - t)
        store(buf, EXCHANGE + 64, load(buf, _D + p) / (_1 - t))  # 0 / 0 is the NaN of a pixel that nothing covers
        for row in range(BLOCK):
            count, first = pixels_inside(x, y, block, row, width, height)
            store_first(rgb, 3 * first, load(buf, EXCHANGE + 12 * row), 3 * count)
            store_first(alpha, first, load(buf, EXCHANGE + 48 + BLOCK * row), count)
            if depth:
                store_first(z, first, load(buf, EXCHANGE + 64 + BLOCK * row), count)
            if image is not None:
                channel.write_row(image, first, count, width * height, channels, buf, _FORWARD + p + BLOCK * row)


@kernel
def blend(
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
    depth,
    rgb,
    alpha,
    z,
    through,
    last,
    blocks,
    features,
    rows,
    channels,
    image,
):
    """Blend tiles start .. stop into rgb f32[H W 3], alpha and z f32[H W].

    What backward starts from: through, last f32[tiles 256], by tile and block: transmittance and the last splat blended
    (place in the tile's list, -1: none); blocks u16[P], by slot: the blocks that a splat reaches.
    features f32[rows of splats, channels], rows i32[N] as in layout.Visible, image f32[channels H W]; or None, None, 0, None.
    """
    buf = scratch(_FORWARD + PIXELS * channels + 16)
    reach, at = np.empty(BATCH, np.int32), np.empty(BATCH, np.int64)
    place = np.empty(BATCH if channels else 0, np.int64)
    column, row = _block_lanes()
    for tile in range(start, stop):
        x, y = TILE * (tile % columns), TILE * (tile // columns)
        left, top = np.float32(x), np.float32(y)
        alive = 0
        for block in range(BLOCKS):
            p = 16 * block
            inside = column < np.float32(width - x - BLOCK * (block % 4))
            inside = inside & (row < np.float32(height - y - BLOCK * (block // 4)))
            alive |= int(mask_bits(inside) != 0) << block
            store(buf, _T + p, select(inside, fill(_1), -_1))
            store(buf, _LAST + p, -_1)
            store(buf, _R + p, _0)
            store(buf, _G + p, _0)
            store(buf, _B + p, _0)
            store(buf, _D + p, _0)
        channel.clear(buf, _FORWARD, PIXELS * channels)
        begin, end = np.int64(offset[tile]), np.int64(offset[tile + 1])
        for lo in range(begin, end, BATCH):
            _prepare(begin, lo, min(lo + BATCH, end), splat, records, left, top, column, row, buf, blocks, reach, at)
            if features is not None:
                for n in range(min(lo + BATCH, end) - lo):
                    place[n] = channels * np.int64(peek(rows, peek(splat, lo + n)))
            left_over = alive
            while left_over != 0:
                block = lowest_bit(left_over)
                left_over &= left_over - 1
                if _blend_block(block, records, reach, at, depth, features, place, channels, buf) == 0:
                    alive &= ~(1 << block)
            if alive == 0:
                break
        _write_tile(x, y, width, height, background, stride, depth, buf, rgb, alpha, z, channels, image)
        for p in range(0, PIXELS, 16):
            store(through, PIXELS * tile + p, absolute(load(buf, _T + p)))
            store(last, PIXELS * tile + p, load(buf, _LAST + p))


@helper
def _read_tile(x, y, width, height, background, stride, d_rgb, d_alpha, channels, d_features, buf):
    """Gradients of the tile's pixels into R, G, B, and what lies behind all splats, dotted with them, into BEHIND."""
    for block in range(BLOCKS):
        red, green, blue = load_background(background, stride, x, y, block, width, height, buf)
        d_red, d_green, d_blue = load_colours(d_rgb, x, y, block, width, height, buf)
        behind = red * d_red + green * d_green + blue * d_blue
        if len(d_alpha) > 0:
            for row in range(BLOCK):
                count, p = pixels_inside(x, y, block, row, width, height)
                store(buf, EXCHANGE + BLOCK * row, load_first(d_alpha, p, count))
            behind = behind - load(buf, EXCHANGE)
        store(buf, _R + 16 * block, d_red)
        store(buf, _G + 16 * block, d_green)
        store(buf, _B + 16 * block, d_blue)
        store(buf, _BEHIND + 16 * block, behind)
        if d_features is not None:
            channel.read_block(d_features, x, y, block, width, height, channels, buf, _PLANES)


@helper
def _moments(bits, number, records, r, x0, y0, column, row, features, f, channels, buf, out, at):
    """Back-propagate through one splat in the given blocks of a tile; its MOMENTS sums go to out[at ...]."""
    su, sk, sv, log_o = (
        peek(records, r + _SU),
        peek(records, r + _SK),
        peek(records, r + _SV),
        peek(records, r + _LOG_O),
    )
    u0, v0 = su * (column + x0) + sk * (row + y0), sv * (row + y0)
    store(buf, _U_STEP, su * (_4 * column) + sk * (_4 * row))
    store(buf, _V_STEP, sv * (_4 * row))
    red, green, blue = fill(peek(records, r + _RED)), fill(peek(records, r + _GREEN)), fill(peek(records, r + _BLUE))
    d_red, d_green, d_blue = fill(_0), fill(_0), fill(_0)
    s, su1, sv1, suu, suv, svv = fill(_0), fill(_0), fill(_0), fill(_0), fill(_0), fill(_0)
    while bits != 0:
        block = lowest_bit(bits)
        bits &= bits - 1
        p = 16 * block
        u, v = u0 + peek(buf, _U_STEP + block), v0 + peek(buf, _V_STEP + block)
        q = log_o - v * v - u * u
        ok = (q >= _LOG_MIN) & (load(buf, _LAST + p) >= number)
        a = select(ok, minimum(exp2(q), _ALPHA_MAX), _0)
        t = load(buf, _T + p) / (_1 - a)  # the transmittance in front of this splat
        store(buf, _T + p, t)
        w = a * t
        g_red, g_green, g_blue = load(buf, _R + p), load(buf, _G + p), load(buf, _B + p)
        d_red, d_green, d_blue = d_red + w * g_red, d_green + w * g_green, d_blue + w * g_blue
        behind = load(buf, _BEHIND + p)
        change = red * g_red + green * g_green + blue * g_blue - behind
        if features is not None:
            change = change + channel.pull(features, f, channels, w, buf, _PLANES + p, _SUMS)
        store(buf, _BEHIND + p, behind + a * change)
        d = select(q <= _LOG_MAX, w * change, _0)  # alpha dL/dalpha; none where alpha is capped
        du, dv = d * u, d * v
        s, su1, sv1 = s + d, su1 + du, sv1 + dv
        suu, suv, svv = suu + du * u, suv + du * v, svv + dv * v
    store_lane_sums(out, at, d_red, d_green, d_blue, su1, sv1, suu, suv, svv)
    poke(out, at + MOMENTS - 1, lane_sum(s))


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
    blocks,
    d_rgb,
    d_alpha,
    out,
    features,
    rows,
    channels,
    d_features,
    d_out,
):
    """Back-propagate d_rgb f32[H W 3] and d_alpha f32[H W] (or empty) through tiles start .. stop.

    out: f32[P MOMENTS + 16], the MOMENTS of every pair by its slot. features, rows, channels as in blend(), d_features
    f32[channels H W]; d_out f32[P channels], their sums by slot. Or None, None, 0, None, None.
    """
    buf = scratch(_PLANES + PIXELS * channels)
    column, row = _block_lanes()
    for tile in range(start, stop):
        x, y = TILE * (tile % columns), TILE * (tile // columns)
        left, top = np.float32(x), np.float32(y)
        _read_tile(x, y, width, height, background, stride, d_rgb, d_alpha, channels, d_features, buf)
        latest = fill(-_1)
        for p in range(0, PIXELS, 16):
            store(buf, _T + p, load(through, PIXELS * tile + p))
            place = load(last, PIXELS * tile + p)
            store(buf, _LAST + p, place)
            latest = maximum(latest, place)
        deepest = -1
        store(buf, _U_STEP, latest)
        for i in range(16):
            deepest = max(deepest, np.int64(buf[_U_STEP + i]))
        begin, end = np.int64(offset[tile]), np.int64(offset[tile + 1])
        out[MOMENTS * (begin + deepest + 1) : MOMENTS * end] = _0
        f = np.int64(0)
        if d_out is not None:
            d_out[channels * (begin + deepest + 1) : channels * end] = _0
        for k in range(begin + deepest, begin - 1, -1):
            prefetch(records, RECORD * np.int64(peek(splat, max(k - _AHEAD, 0))))
            r = RECORD * np.int64(peek(splat, k))
            x0 = left + _HALF - peek(records, r + _IX) - peek(records, r + _FX)
            y0 = top + _HALF - peek(records, r + _IY) - peek(records, r + _FY)
            bits, number = np.int64(peek(blocks, k)), np.float32(k - begin)
            if features is not None:
                f = channels * np.int64(peek(rows, peek(splat, k)))
                channel.clear(buf, _SUMS, 16 * channels)
            _moments(bits, number, records, r, x0, y0, column, row, features, f, channels, buf, out, MOMENTS * k)
            if d_out is not None:
                channel.finish(channels, buf, _SUMS, d_out, channels * k)
