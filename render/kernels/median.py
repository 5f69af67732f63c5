"""Median z: where half (or another share) of a pixel's light has been stopped, on the splat that stops it.

A splat is no point: its z at a pixel is where its density is highest along the pixel's ray. For a ray d = (x, y, 1) and a
Gaussian of mean m and inverse covariance A in the camera frame that is z = d.A m / d.A d, or with d0 = m / m_z and
e = d - d0: z = m_z (1 - d.A e / d.A d), which float32 can hold. For flat splats it is the point on the plane (the same
rule as in Zhang et al., RaDe-GS, 2024, equations 7 to 9). It is kept within SPREAD standard deviations of m_z.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.geometry import rotation_from_quat
from recon.kernels.jit import DOOR, helper, kernel, spread
from recon.kernels.simd import fill, floor, lane_numbers, mask_bits, maximum, minimum, select
from recon.kernels.simd_memory import load, peek, store, store_first
from render.kernels import layout, reference
from render.kernels.layout import BLOCK, CHUNK, RECORD, TILE, scratch
from render.kernels.vecmath import exp2

if TYPE_CHECKING:
    from render.kernels.pipeline import View

SPREAD = reference.MEDIAN_SPREAD
_WIDTH = 12
"""Floats a splat: A scaled to a trace of 1 (xx, xy, xz, yy, yz, zz), d0 (x, y), m_z, SPREAD standard deviations of z, 2 spare."""
_IX, _FX, _IY, _FY = layout.IX, layout.FX, layout.IY, layout.FY
_SU, _SK, _SV, _LOG_O = layout.SU, layout.SK, layout.SV, layout.LOG_O
_LOG_MIN = layout.LOG_O_MIN
_ALPHA_MAX, _T_MIN = np.float32(reference.ALPHA_MAX), np.float32(reference.T_MIN)
_0, _HALF_PIXEL, _1, _2, _4 = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2), np.float32(BLOCK)


def median_z(
    view: View, columns: Mapping[str, NDArray[np.float32]], through: float = reference.MEDIAN_THROUGH
) -> NDArray[np.float32]:
    """z f32[H, W] of a view of padded() columns, where the transmittance comes to `through`; NaN where it stays above."""
    width, height = view.size
    z = np.empty((height, width), np.float32)
    optics = view.camera[[layout.FOCAL, layout.FOCAL + 1, layout.CENTER, layout.CENTER + 1]].astype(np.float32)
    shapes = _shapes(view, columns)
    lists = view.lists
    with DOOR:
        where = (lists.columns, width, height, lists.offset, lists.splat, view.visible.records, view.blocks)
        spread(median, len(lists.offset) - 1, *where, shapes.reshape(-1), optics, np.float32(through), z.reshape(-1))
    return z


def _shapes(view: View, columns: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """f32[N, _WIDTH], by position in Visible; positions without a splat stay undefined."""
    seen = view.visible
    at = np.flatnonzero(np.arange(len(seen.rows)) % CHUNK < np.repeat(seen.count, CHUNK)[: len(seen.rows)])
    rows = seen.rows[at]
    turn = view.camera[layout.W : layout.W + 9].reshape(3, 3)
    mean = columns["mean"][rows].astype(np.float64) @ turn.T + view.camera[layout.T : layout.T + 3]
    axes = turn @ rotation_from_quat(columns["quat"][rows])
    log_scale = columns["log_scale"][rows].astype(np.float64)
    scale = np.exp(log_scale)
    inverse: Any = axes * np.exp(2 * (log_scale.min(1, keepdims=True) - log_scale))[:, None]  # over the largest entry
    inverse = inverse @ np.swapaxes(axes, 1, 2)
    inverse /= np.trace(inverse, axis1=1, axis2=2)[:, None, None]
    out = np.empty((len(seen.rows), _WIDTH), np.float32)
    out[at, :3], out[at, 3:5], out[at, 5] = inverse[:, 0], inverse[:, 1, 1:], inverse[:, 2, 2]
    out[at, 6:8], out[at, 8] = mean[:, :2] / mean[:, 2:], mean[:, 2]
    out[at, 9] = SPREAD * np.sqrt((axes[:, 2] ** 2 * scale**2).sum(1))
    return out


@helper
def _z_along(shapes, s, x, y):
    """z of the highest density of one splat along the rays (x, y, 1)."""
    xx, xy, xz = peek(shapes, s), peek(shapes, s + 1), peek(shapes, s + 2)
    yy, yz, zz = peek(shapes, s + 3), peek(shapes, s + 4), peek(shapes, s + 5)
    ax, ay, az = xx * x + xy * y + xz, xy * x + yy * y + yz, xz * x + yz * y + zz  # A d
    over = ax * x + ay * y + az
    off = ax * (x - peek(shapes, s + 6)) + ay * (y - peek(shapes, s + 7))
    far, most = peek(shapes, s + 8), peek(shapes, s + 9)
    shift = _0 - far * off / maximum(over, np.float32(1e-12))
    return far + maximum(minimum(shift, most), _0 - most)


@kernel
def median(start, stop, columns, width, height, offset, splat, records, blocks, shapes, optics, level, z):
    """z where the transmittance comes to `level`, of tiles start .. stop, into z f32[H W]."""
    buf = scratch(16)
    lanes = lane_numbers()
    row = floor(lanes * np.float32(0.25))
    column = lanes - _4 * row
    for tile in range(start, stop):
        begin, end = np.int64(offset[tile]), np.int64(offset[tile + 1])
        for block in range(16):
            i0, j0 = TILE * (tile % columns) + BLOCK * (block % 4), TILE * (tile // columns) + BLOCK * (block // 4)
            if i0 >= width or j0 >= height:
                continue
            u, v = column + (np.float32(i0) + _HALF_PIXEL), row + (np.float32(j0) + _HALF_PIXEL)
            x, y = (u - optics[2]) / optics[0], (v - optics[3]) / optics[1]
            t, found = fill(_1), fill(np.float32(np.nan))
            for k in range(begin, end):
                if blocks[k] >> block & 1 == 0:
                    continue
                at = np.int64(peek(splat, k))
                r = RECORD * at
                dx = (column + (np.float32(i0) - peek(records, r + _IX))) + (_HALF_PIXEL - peek(records, r + _FX))
                dy = (row + (np.float32(j0) - peek(records, r + _IY))) + (_HALF_PIXEL - peek(records, r + _FY))
                su = peek(records, r + _SU) * dx + peek(records, r + _SK) * dy
                sv = peek(records, r + _SV) * dy
                q = peek(records, r + _LOG_O) - su * su - sv * sv
                drawn = q >= _LOG_MIN
                through = t - select(drawn, minimum(exp2(q), _ALPHA_MAX), _0) * t
                drawn = drawn & (through > _T_MIN)
                crossing = drawn & (t > level) & (through <= level)
                if mask_bits(crossing) != 0:
                    found = select(crossing, _z_along(shapes, _WIDTH * at, x, y), found)
                t = select(drawn, through, t)
                if mask_bits(t > level) == 0:
                    break
            store(buf, 0, found)
            for j in range(min(BLOCK, height - j0)):
                store_first(z, (j0 + j) * width + i0, load(buf, BLOCK * j), max(0, min(BLOCK, width - i0)))
