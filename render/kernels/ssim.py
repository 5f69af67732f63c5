"""The photometric loss of splat training, L1 and D-SSIM, with its gradient in one pass over the image.

The meaning is reference.photometric's: an 11x11 Gaussian window of sigma 1.5, zeros beyond the border, a mean over all
pixels. With x the render and t the target, and G the window, SSIM needs only G x, G t, G (x^2 + t^2) and G (x t), since
the two variances occur as a sum. Back: dL/dx = G dmu + 2 x G ds + t G dp, with dmu, ds, dp the derivatives of the loss
by those means (G is its own transpose).

A strip of rows streams through: four rows at a time are blurred along x into a ring of 16 rows, then along y from 14
rows of the ring, which gives four rows of derivatives, and these take the same way again. Vectors run over the
interleaved channels, whose taps are 3 apart.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recon.kernels.jit import DOOR, helper, kernel, spread, threads
from recon.kernels.simd import LANES, absolute, fill, select
from recon.kernels.simd_memory import load, load_bytes_first, load_first, store, store_first
from recon.kernels.simd_shuffle import lane_sum, shifted
from render.kernels import reference
from render.kernels.layout import scratch

_HALF = reference.SSIM_SIZE // 2
_GROUP = 4
"""Rows at a time."""
_RING = 16
"""Rows of a ring: a power of two, at least _GROUP + 2 * _HALF."""
_PAD = LANES
"""Zeros before a row, at least 3 * _HALF; after it there are twice as many."""
_MIN_STRIP = 32
_C1, _C2 = np.float32(reference.SSIM_C1), np.float32(reference.SSIM_C2)
_1, _2, _0 = np.float32(1), np.float32(2), np.float32(0)


def _window() -> tuple[np.float32, ...]:
    offset = np.arange(_HALF + 1)
    half = np.exp(-0.5 * (offset / reference.SSIM_SIGMA) ** 2)
    return tuple(np.float32(w) for w in half / (2 * half.sum() - half[0]))


_G0, _G1, _G2, _G3, _G4, _G5 = _window()


@helper
def _along_x(source, at, out, to, count):
    """Blur `count` floats of interleaved channels; 16 floats are read before them and after."""
    before, here = load(source, at - LANES), load(source, at)
    for i in range(0, count, LANES):
        after = load(source, at + i + LANES)
        total = _G0 * here
        total = total + _G1 * (shifted(before, here, 13) + shifted(here, after, 3))
        total = total + _G2 * (shifted(before, here, 10) + shifted(here, after, 6))
        total = total + _G3 * (shifted(before, here, 7) + shifted(here, after, 9))
        total = total + _G4 * (shifted(before, here, 4) + shifted(here, after, 12))
        total = total + _G5 * (shifted(before, here, 1) + shifted(here, after, 15))
        store(out, to + i, total)
        before, here = here, after


@helper
def _ring_row(ring, channel, row, i, length):
    return load(ring, (channel * _RING + (row & (_RING - 1))) * length + i)


@helper
def _along_y(ring, channel, row, i, length):
    """Four blurred vectors, of rows row .. row + 3 at column i; a row of the ring is loaded once for all of them."""
    r0 = _ring_row(ring, channel, row - 5, i, length)
    r1 = _ring_row(ring, channel, row - 4, i, length)
    r2 = _ring_row(ring, channel, row - 3, i, length)
    r3 = _ring_row(ring, channel, row - 2, i, length)
    r4 = _ring_row(ring, channel, row - 1, i, length)
    r5 = _ring_row(ring, channel, row, i, length)
    r6 = _ring_row(ring, channel, row + 1, i, length)
    r7 = _ring_row(ring, channel, row + 2, i, length)
    r8 = _ring_row(ring, channel, row + 3, i, length)
    r9 = _ring_row(ring, channel, row + 4, i, length)
    r10 = _ring_row(ring, channel, row + 5, i, length)
    r11 = _ring_row(ring, channel, row + 6, i, length)
    r12 = _ring_row(ring, channel, row + 7, i, length)
    r13 = _ring_row(ring, channel, row + 8, i, length)
    a = _G0 * r5 + _G1 * (r4 + r6) + _G2 * (r3 + r7) + _G3 * (r2 + r8) + _G4 * (r1 + r9) + _G5 * (r0 + r10)
    b = _G0 * r6 + _G1 * (r5 + r7) + _G2 * (r4 + r8) + _G3 * (r3 + r9) + _G4 * (r2 + r10) + _G5 * (r1 + r11)
    c = _G0 * r7 + _G1 * (r6 + r8) + _G2 * (r5 + r9) + _G3 * (r4 + r10) + _G4 * (r3 + r11) + _G5 * (r2 + r12)
    d = _G0 * r8 + _G1 * (r7 + r9) + _G2 * (r6 + r10) + _G3 * (r5 + r11) + _G4 * (r4 + r12) + _G5 * (r3 + r13)
    return a, b, c, d


@helper
def _read_row(row, width, rgb, target, byte_target, mask, x, t, m):
    """One row of the images into x, t and the weights m (after _PAD floats); masked pixels of x become t."""
    at, count = 3 * width * row, 3 * width
    for i in range(0, count, LANES):
        left = min(count - i, LANES)
        store(x, _PAD + i, load_first(rgb, at + i, left))
        if len(byte_target) > 0:
            store(t, _PAD + i, load_bytes_first(byte_target, at + i, left) * np.float32(1 / 255))
        else:
            store(t, _PAD + i, load_first(target, at + i, left))
    if len(mask) > 0:
        for i in range(width):
            weight = mask[width * row + i]
            for c in range(3):
                k = _PAD + 3 * i + c
                m[k] = weight
                if weight == 0:  # what lies under the mask need not be finite
                    x[k] = t[k]
                else:
                    x[k] = t[k] + weight * (x[k] - t[k])


@helper
def _take_in(first, height, count, width, rgb, target, byte_target, mask, x, t, m, rows, ring, length):
    """Blur along x the rows first .. first + 3 of x, t, x^2 + t^2 and x t into the ring; rows beyond the image are
    zero.
    """
    for row in range(first, first + _GROUP):
        place = row & (_RING - 1)
        if row < 0 or row >= height:
            for channel in range(4):
                ring[(channel * _RING + place) * length : (channel * _RING + place + 1) * length] = _0
            continue
        _read_row(row, width, rgb, target, byte_target, mask, x, t, m)
        for i in range(_PAD, _PAD + count, LANES):
            a, b = load(x, i), load(t, i)
            store(rows, i, a * a + b * b)
            store(rows, length + i, a * b)
        _along_x(x, _PAD, ring, place * length + _PAD, count)
        _along_x(t, _PAD, ring, (_RING + place) * length + _PAD, count)
        _along_x(rows, _PAD, ring, (2 * _RING + place) * length + _PAD, count)
        _along_x(rows, length + _PAD, ring, (3 * _RING + place) * length + _PAD, count)


@helper
def _derivatives(mx, mt, s, p, weight, rows, at, length):
    """SSIM of one vector; stores its derivatives by mx, s and p, times the weight, in three rows."""
    mm, xx, tt = mx * mt, mx * mx, mt * mt
    a1, a2 = _2 * mm + _C1, _2 * (p - mm) + _C2
    b1, b2 = xx + tt + _C1, s - xx - tt + _C2
    inverse = _1 / (b1 * b2)
    ssim = a1 * a2 * inverse
    w = weight * inverse
    store(rows, at, _2 * (w * mt * (a2 - a1) - w * ssim * mx * (b2 - b1)))
    store(rows, length + at, -w * ssim * b1)
    store(rows, 2 * length + at, _2 * w * a1)
    return ssim


@helper
def _statistics(first, height, count, scale, width, mask, m, ring, rows, ring2, length, inside, sums):
    """SSIM and its derivatives in rows first .. first + 3, blurred along x into the second ring; sums[row] += weighted
    SSIM.

    `rows` holds 4 x 3 rows. `inside`: the strip's rows, the only ones that count in the sums.
    """
    for i in range(_PAD, _PAD + count, LANES):
        x0, x1, x2, x3 = _along_y(ring, 0, first, i, length)
        t0, t1, t2, t3 = _along_y(ring, 1, first, i, length)
        s0, s1, s2, s3 = _along_y(ring, 2, first, i, length)
        p0, p1, p2, p3 = _along_y(ring, 3, first, i, length)
        one = fill(scale)
        store(rows, 12 * length + i, _derivatives(x0, t0, s0, p0, one, rows, i, length))
        store(rows, 13 * length + i, _derivatives(x1, t1, s1, p1, one, rows, 3 * length + i, length))
        store(rows, 14 * length + i, _derivatives(x2, t2, s2, p2, one, rows, 6 * length + i, length))
        store(rows, 15 * length + i, _derivatives(x3, t3, s3, p3, one, rows, 9 * length + i, length))
    for n in range(_GROUP):
        row, at = first + n, 3 * n * length
        place = row & (_RING - 1)
        if row < 0 or row >= height:
            for channel in range(3):
                ring2[(channel * _RING + place) * length : (channel * _RING + place + 1) * length] = _0
            continue
        if len(mask) > 0:
            for i in range(3 * width):
                weight = mask[width * row + i // 3]
                for channel in range(4):
                    k = (at + channel * length if channel < 3 else (12 + n) * length) + _PAD + i
                    rows[k] *= weight
        if inside[0] <= row < inside[1]:
            sums[row] = _row_sum(rows, (12 + n) * length + _PAD, 3 * width)
        for channel in range(3):
            here = at + channel * length + _PAD
            rows[here + 3 * width : here + count + _PAD] = _0
            _along_x(rows, here, ring2, (channel * _RING + place) * length + _PAD, count)


@helper
def _row_sum(values, at, count):
    total = fill(_0)
    for i in range(0, count, LANES):
        total = total + load_first(values, at + i, min(count - i, LANES))
    return lane_sum(total)


@helper
def _gradient_rows(
    first, count, scale, width, rgb, target, byte_target, mask, x, t, m, ring2, rows, length, inside, d_rgb, sums
):
    """The gradient of rows first .. first + 3 into d_rgb; sums[row] = weighted L1."""
    for i in range(_PAD, _PAD + count, LANES):
        for channel in range(3):
            a, b, c, d = _along_y(ring2, channel, first, i, length)
            store(rows, channel * length + i, a)
            store(rows, (3 + channel) * length + i, b)
            store(rows, (6 + channel) * length + i, c)
            store(rows, (9 + channel) * length + i, d)
    for n in range(_GROUP):
        row, at = first + n, 3 * n * length
        if not (inside[0] <= row < inside[1]):
            continue
        _read_row(row, width, rgb, target, byte_target, mask, x, t, m)
        for i in range(_PAD, _PAD + count, LANES):
            a, b = load(x, i), load(t, i)
            off = a - b
            gradient = load(rows, at + i) + _2 * a * load(rows, at + length + i) + b * load(rows, at + 2 * length + i)
            sign = select(off > _0, scale, select(off < _0, fill(-scale), _0))
            store(rows, at + i, load(m, i) * (gradient + sign))
            store(rows, at + length + i, absolute(off))
        sums[row] = _row_sum(rows, at + length + _PAD, 3 * width)
        to = 3 * width * row
        for i in range(0, 3 * width, LANES):
            store_first(d_rgb, to + i, load(rows, at + _PAD + i), min(3 * width - i, LANES))


@kernel
def photometric_strips(
    start, stop, strips, width, height, rgb, target, byte_target, mask, l1_scale, ssim_scale, d_rgb, l1_rows, ssim_rows
):
    """Strips start .. stop of `strips`: d_rgb = l1_scale dL1 + ssim_scale dSSIM of the sums, and those sums by row
    (f64[H]).
    """
    count = (3 * width + LANES - 1) // LANES * LANES
    length = _PAD + count + 2 * _PAD
    x, t, m = scratch(length), scratch(length), scratch(length)
    rows, ring, ring2 = scratch(16 * length), scratch(4 * _RING * length), scratch(3 * _RING * length)
    for strip in range(start, stop):
        inside = (strip * height // strips, (strip + 1) * height // strips)
        x[:], t[:], m[:], rows[:], ring[:], ring2[:] = _0, _0, _1, _0, _0, _0
        first = inside[0] - 2 * _HALF
        while first - 2 * _HALF < inside[1]:
            _take_in(first, height, count, width, rgb, target, byte_target, mask, x, t, m, rows, ring, length)
            if first - _HALF >= inside[0] - _HALF - _GROUP:
                _statistics(
                    first - _HALF,
                    height,
                    count,
                    ssim_scale,
                    width,
                    mask,
                    m,
                    ring,
                    rows,
                    ring2,
                    length,
                    inside,
                    ssim_rows,
                )
            if first - 2 * _HALF > inside[0] - _GROUP:
                _gradient_rows(
                    first - 2 * _HALF,
                    count,
                    l1_scale,
                    width,
                    rgb,
                    target,
                    byte_target,
                    mask,
                    x,
                    t,
                    m,
                    ring2,
                    rows,
                    length,
                    inside,
                    d_rgb,
                    l1_rows,
                )
            first += _GROUP


def photometric(
    rgb: Tensor, target: Tensor, mask: Tensor | None = None, ssim_weight: float = 0.2
) -> tuple[float, Tensor, float, float]:
    """(loss, d loss / d rgb f32[H, W, 3], l1, ssim) of images f32[H, W, 3]; the meaning is reference.photometric's.

    target: f32 0..1 or u8 [H, W, 3]. mask: f32, bool or u8 (0 or 1) [H, W], or None. On CUDA in plain torch.
    """
    if rgb.is_cuda:
        return _photometric_by_autograd(rgb, target, mask, ssim_weight)
    height, width = rgb.shape[:2]
    x = np.ascontiguousarray(rgb.detach().numpy(), np.float32).reshape(-1)
    t = np.ascontiguousarray(target.detach().numpy()).reshape(-1)
    nothing = np.empty(0, np.float32)
    floats, bytes_ = (nothing, t) if t.dtype == np.uint8 else (t.astype(np.float32, copy=False), np.empty(0, np.uint8))
    weights = nothing if mask is None else np.ascontiguousarray(mask.numpy(), np.float32).reshape(-1)
    total = 3 * max(float(height * width if mask is None else weights.sum(dtype=np.float64)), 1e-12)
    d_rgb = np.empty(height * width * 3, np.float32)
    l1_rows, ssim_rows = np.empty(height), np.empty(height)
    strips = max(1, min(threads(), height // _MIN_STRIP))
    scales = np.float32((1 - ssim_weight) / total), np.float32(-ssim_weight / total)
    with DOOR:
        spread(
            photometric_strips,
            strips,
            strips,
            width,
            height,
            x,
            floats,
            bytes_,
            weights,
            *scales,
            d_rgb,
            l1_rows,
            ssim_rows,
        )
    l1, ssim = float(l1_rows.sum()) / total, float(ssim_rows.sum()) / total
    loss = (1 - ssim_weight) * l1 + ssim_weight * (1 - ssim)
    return loss, torch.from_numpy(d_rgb).view(height, width, 3), l1, ssim


def _photometric_by_autograd(
    rgb: Tensor, target: Tensor, mask: Tensor | None, ssim_weight: float
) -> tuple[float, Tensor, float, float]:
    x = rgb.detach().requires_grad_()
    with torch.enable_grad():
        loss, l1, ssim = reference.photometric(x, target, mask, ssim_weight)
        (grad,) = torch.autograd.grad(loss, x)
    return float(loss.detach()), grad, float(l1.detach()), float(ssim.detach())
