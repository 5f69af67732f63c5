"""Splats to image: projection, culling and colour of every splat in one camera; lane = splat.

The equations are those of reference.project. Geometry is float64: pixel positions have to be good to a thousandth of
the smallest splat's size in images of a few thousand pixels, which float32 is not, and vectors make the difference in
cost small.
"""

from __future__ import annotations

import math

import numpy as np

from recon.kernels.jit import helper, kernel
from recon.kernels.simd import (
    LANES,
    absolute,
    fill,
    floor,
    from_bits,
    lowest_bit,
    mask_bits,
    maximum,
    minimum,
    narrow,
    root,
    select,
    to_int,
    wide,
)
from recon.kernels.simd_memory import load, load3, load4, load_first, peek, prefetch, store, transpose
from render.kernels import layout, reference
from render.kernels.layout import CHUNK, MEMO, RECORD, scratch
from render.kernels.sh import basis, direction_gradient
from render.kernels.vecmath import LOG2E, exp, log2

_W, _T, _F, _C, _LIMIT = layout.W, layout.T, layout.FOCAL, layout.CENTER, layout.LIMIT
_NEAR, _SIZE = layout.NEAR, layout.SIZE
_RGB, _TOWARDS, _BOX = layout.RGB, layout.TOWARDS, layout.BOX
_FILTER, _ALPHA_MIN = reference.FILTER, reference.ALPHA_MIN
_LOG_SCALE_MAX = reference.LOG_SCALE_MAX
_LN255 = math.log(255)

# The scratch of 16 splats, in floats. Projection: records, tiles, parameters. Colour: SH functions, coefficients, directions,
# colours, slopes.
_TILES, _PARAMETERS = 256, 272
_FUNCTIONS, _COEFFICIENTS, _AWAY, _COLOUR, _SLOPES = 0, 256, 1024, 1072, 1120
_SCRATCH = 1120 + 256


@helper
def camera_point(cam, x, y, z):
    """Points of the world in the camera frame, F64."""
    return (
        cam[_W] * x + cam[_W + 1] * y + cam[_W + 2] * z + cam[_T],
        cam[_W + 3] * x + cam[_W + 4] * y + cam[_W + 5] * z + cam[_T + 1],
        cam[_W + 6] * x + cam[_W + 7] * y + cam[_W + 8] * z + cam[_T + 2],
    )


@helper
def clamped_slope(cam, axis, slope):
    """x/z or y/z as the Jacobian uses it."""
    return minimum(maximum(slope, cam[_LIMIT + 2 * axis]), cam[_LIMIT + 2 * axis + 1])


@helper
def rotation(w, x, y, z):
    """The nine entries, row by row, of the rotations of unit quaternions."""
    return (
        1.0 - 2.0 * (y * y + z * z),
        2.0 * (x * y - w * z),
        2.0 * (x * z + w * y),
        2.0 * (x * y + w * z),
        1.0 - 2.0 * (x * x + z * z),
        2.0 * (y * z - w * x),
        2.0 * (x * z - w * y),
        2.0 * (y * z + w * x),
        1.0 - 2.0 * (x * x + y * y),
    )


@helper
def jacobian_row(cam, axis, inverse_z, slope):
    """One row of A = J W, J = (f/z) (e_axis - slope e_z)."""
    f = cam[_F + axis] * inverse_z
    at = _W + 3 * axis
    return (
        f * (cam[at] - slope * cam[_W + 6]),
        f * (cam[at + 1] - slope * cam[_W + 7]),
        f * (cam[at + 2] - slope * cam[_W + 8]),
    )


@helper
def times_rotation(a, r):
    """The row a (3) times the matrix r (9)."""
    return (
        a[0] * r[0] + a[1] * r[3] + a[2] * r[6],
        a[0] * r[1] + a[1] * r[4] + a[2] * r[7],
        a[0] * r[2] + a[1] * r[5] + a[2] * r[8],
    )


@helper
def scale_of(log_scale):
    """Standard deviations, F64; -300 stands for everything smaller."""
    return exp(maximum(log_scale, -300.0))


@helper
def sigmoid(logit):
    return 1.0 / (1.0 + exp(-minimum(maximum(logit, -80.0), 80.0)))


@helper
def _project_lanes(cam, antialiased, x, y, z, s0, s1, s2, qw, qx, qy, qz, logit, buf):
    """Write the records of 16 splats into buf[0:256], field by field, and return the bits of those that are visible."""
    px, py, pz = camera_point(cam, x, y, z)
    inverse_z = 1.0 / pz
    u, v = px * inverse_z, py * inverse_z
    norm2 = qw * qw + qx * qx + qy * qy + qz * qz
    ok = (pz > cam[_NEAR]) & (norm2 > 0.0) & (norm2 < 1e300) & (absolute(logit) < 1e30)
    ok = ok & (absolute(s0) < 1e30) & (absolute(s1) < 1e30) & (absolute(s2) < 1e30)
    ok = ok & (absolute(x) < 1e30) & (absolute(y) < 1e30) & (absolute(z) < 1e30)
    ok = ok & (s0 < _LOG_SCALE_MAX) & (s1 < _LOG_SCALE_MAX) & (s2 < _LOG_SCALE_MAX)
    if mask_bits(ok) == 0:
        return 0
    inverse_norm = 1.0 / root(norm2)
    r = rotation(qw * inverse_norm, qx * inverse_norm, qy * inverse_norm, qz * inverse_norm)
    s0, s1, s2 = scale_of(s0), scale_of(s1), scale_of(s2)
    a = times_rotation(jacobian_row(cam, 0, inverse_z, clamped_slope(cam, 0, u)), r)
    b = times_rotation(jacobian_row(cam, 1, inverse_z, clamped_slope(cam, 1, v)), r)
    a0, a1, a2, b0, b1, b2 = a[0] * s0, a[1] * s1, a[2] * s2, b[0] * s0, b[1] * s1, b[2] * s2
    c00 = a0 * a0 + a1 * a1 + a2 * a2
    c01 = a0 * b0 + a1 * b1 + a2 * b2
    c11 = b0 * b0 + b1 * b1 + b2 * b2
    opacity = sigmoid(logit)
    blurred = (c00 + _FILTER) * (c11 + _FILTER) - c01 * c01
    if antialiased:
        opacity = opacity * root(maximum(c00 * c11 - c01 * c01, 0.0) / blurred)
    ok = ok & (opacity >= _ALPHA_MIN)
    c00, c11 = c00 + _FILTER, c11 + _FILTER
    u, v = u * cam[_F] + cam[_C], v * cam[_F + 1] + cam[_C + 1]
    log_o = log2(maximum(opacity, 1e-30))
    level = root(maximum(2.0 * (log_o / LOG2E + _LN255), 0.0))  # standard deviations to where alpha is ALPHA_MIN
    tiles, inside = _box(u, v, level * root(c00), level * root(c11), cam[_SIZE], cam[_SIZE + 1], buf)
    su = root(0.5 * LOG2E * c11 / blurred)
    iu, iv = floor(u), floor(v)
    store(buf, 0, narrow(iu))
    store(buf, 16, narrow(u - iu))
    store(buf, 32, narrow(iv))
    store(buf, 48, narrow(v - iv))
    store(buf, 64, narrow(su))
    store(buf, 80, narrow(-su * c01 / c11))
    store(buf, 96, narrow(root(0.5 * LOG2E / c11)))
    store(buf, 112, narrow(log_o))
    store(buf, 176, narrow(pz))
    _store_towards(cam, x, y, z, buf)
    store(buf, _TILES, narrow(tiles))
    return mask_bits(ok & inside)


@helper
def _box(u, v, rx, ry, width, height, buf):
    """The tiles of the bounding box into field BOX; returns a bound of the tiles that the ellipse touches, and whether
    the box holds the centre of a pixel.
    """
    i0, i1 = maximum(-floor(0.5 - (u - rx)), 0.0), minimum(floor(u + rx - 0.5), width - 1.0)
    j0, j1 = maximum(-floor(0.5 - (v - ry)), 0.0), minimum(floor(v + ry - 0.5), height - 1.0)
    inside = (i0 <= i1) & (j0 <= j1)
    column, row = select(inside, floor(i0 * 0.0625), 0.0), select(inside, floor(j0 * 0.0625), 0.0)
    columns, rows = floor(i1 * 0.0625) - column, floor(j1 * 0.0625) - row
    extra = to_int(narrow(select(inside, minimum(columns, 15.0), 0.0))) << 24
    extra = extra | to_int(narrow(select(inside, minimum(rows, 15.0), 0.0))) << 28
    store(buf, 16 * _BOX, from_bits(extra | to_int(narrow(column)) | to_int(narrow(row)) << 12))
    spare = select(
        maximum(columns, rows) < 15.0, fill(1.0), 3.0
    )  # tiles.py cannot clamp to a box that it does not know
    return (columns + spare) * (rows + spare), inside


@helper
def _store_towards(cam, x, y, z, buf):
    """Unit directions from the camera's centre, -W^T t, into fields TOWARDS."""
    ax = x + (cam[_W] * cam[_T] + cam[_W + 3] * cam[_T + 1] + cam[_W + 6] * cam[_T + 2])
    ay = y + (cam[_W + 1] * cam[_T] + cam[_W + 4] * cam[_T + 1] + cam[_W + 7] * cam[_T + 2])
    az = z + (cam[_W + 2] * cam[_T] + cam[_W + 5] * cam[_T + 1] + cam[_W + 8] * cam[_T + 2])
    inverse = 1.0 / root(ax * ax + ay * ay + az * az)
    store(buf, 16 * _TOWARDS, narrow(ax * inverse))
    store(buf, 16 * (_TOWARDS + 1), narrow(ay * inverse))
    store(buf, 16 * (_TOWARDS + 2), narrow(az * inverse))


@helper
def _project_chunk(lo, hi, mean, log_scale, quat, logit, cam, antialiased, records, rows, memos, buf):
    """Project rows lo .. hi; returns how many are visible and a bound of their tiles."""
    count, total = 0, 0
    for start in range(lo, hi, LANES):
        base = min(start, len(logit) - LANES)  # the last block overlaps the one before it
        x, y, z = load3(mean, 3 * base)
        s0, s1, s2 = load3(log_scale, 3 * base)
        qw, qx, qy, qz = load4(quat, 4 * base)
        o = load(logit, base)
        seen = _project_lanes(
            cam,
            antialiased,
            wide(x),
            wide(y),
            wide(z),
            wide(s0),
            wide(s1),
            wide(s2),
            wide(qw),
            wide(qx),
            wide(qy),
            wide(qz),
            wide(o),
            buf,
        )
        seen &= -1 << (start - base)
        if seen == 0:
            continue
        transpose(buf, 0)
        if len(memos) > 0:
            _remember(x, y, z, s0, s1, s2, qw, qx, qy, qz, o, buf)
        while seen != 0:
            lane = lowest_bit(seen)
            seen &= seen - 1
            store(records, RECORD * (lo + count), load(buf, RECORD * lane))
            if len(memos) > 0:
                store(memos, MEMO * (lo + count), load(buf, _PARAMETERS + LANES * lane))
            total += int(buf[_TILES + lane])
            rows[lo + count] = base + lane
            count += 1
    return count, total


@helper
def _remember(x, y, z, s0, s1, s2, qw, qx, qy, qz, logit, buf):
    """The first half of 16 memos into buf[_PARAMETERS ...]."""
    store(buf, _PARAMETERS, x)
    store(buf, _PARAMETERS + 16, y)
    store(buf, _PARAMETERS + 32, z)
    store(buf, _PARAMETERS + 48, s0)
    store(buf, _PARAMETERS + 64, s1)
    store(buf, _PARAMETERS + 80, s2)
    store(buf, _PARAMETERS + 96, qw)
    store(buf, _PARAMETERS + 112, qx)
    store(buf, _PARAMETERS + 128, qy)
    store(buf, _PARAMETERS + 144, qz)
    store(buf, _PARAMETERS + 160, logit)
    transpose(buf, _PARAMETERS)


@helper
def _colour(first, count, degree, stride, sh, records, rows, memos, buf):
    """Fill in the colours of `count` visible splats from position `first`, and their memos' second half; returns
    whether all are finite.
    """
    used = 3 * (degree + 1) * (degree + 1)
    fine = True
    for start in range(first, first + count, LANES):
        for lane in range(LANES):
            at = min(start + lane, first + count - 1)
            for i in range(3):
                buf[_AWAY + 16 * i + lane] = records[RECORD * at + _TOWARDS + i]
            ahead = stride * np.int64(peek(rows, min(at + LANES, first + count - 1)))
            row = stride * np.int64(peek(rows, at))
            for k in range(0, used, LANES):
                prefetch(sh, ahead + k)
                store(buf, _COEFFICIENTS + 16 * (k + lane), load_first(sh, row + k, min(used - k, LANES)))
        for k in range(0, used, LANES):
            transpose(buf, _COEFFICIENTS + 16 * k)
        x, y, z = load(buf, _AWAY), load(buf, _AWAY + 16), load(buf, _AWAY + 32)
        basis(degree, x, y, z, buf, _FUNCTIONS)
        for channel in range(3):
            total = fill(np.float32(0.5))
            for k in range((degree + 1) * (degree + 1)):
                total = total + load(buf, _FUNCTIONS + 16 * k) * load(buf, _COEFFICIENTS + 48 * k + 16 * channel)
            finite = absolute(total) < np.float32(1e30)
            fine &= mask_bits(finite) == 0xFFFF
            store(buf, _COLOUR + 16 * channel, select(finite, maximum(total, np.float32(0)), np.float32(np.nan)))
        left = min(LANES, first + count - start)
        for lane in range(left):
            for i in range(3):
                records[RECORD * (start + lane) + _RGB + i] = buf[_COLOUR + 16 * i + lane]
        if len(memos) > 0:
            _remember_slopes(degree, x, y, z, buf)
            for lane in range(left):
                store(memos, MEMO * (start + lane) + LANES, load(buf, _SLOPES + LANES * lane))
    return fine


@helper
def _remember_slopes(degree, x, y, z, buf):
    """The second half of 16 memos into buf[_SLOPES ...]."""
    for channel in range(3):
        live = select(load(buf, _COLOUR + 16 * channel) > np.float32(0), fill(np.float32(1)), np.float32(0))
        dx, dy, dz = direction_gradient(degree, x, y, z, buf, _COEFFICIENTS + 16 * channel, 48)
        store(buf, _SLOPES + 48 * channel, live * dx)
        store(buf, _SLOPES + 48 * channel + 16, live * dy)
        store(buf, _SLOPES + 48 * channel + 32, live * dz)
        store(buf, _SLOPES + 16 * (layout.LIVE - LANES + channel), live)
    store(buf, _SLOPES + 16 * (layout.AWAY - LANES), x)
    store(buf, _SLOPES + 16 * (layout.AWAY - LANES + 1), y)
    store(buf, _SLOPES + 16 * (layout.AWAY - LANES + 2), z)
    transpose(buf, _SLOPES)


@helper
def _drop_bad_colours(first, count, records, rows, memos):
    """Close the gaps of splats whose colour is not finite; returns how many are left."""
    kept = 0
    for at in range(first, first + count):
        fine = True
        for i in range(3):
            fine &= abs(records[RECORD * at + _RGB + i]) < 1e30
        if fine:
            store(records, RECORD * (first + kept), load(records, RECORD * at))
            rows[first + kept] = rows[at]
            for i in range(min(MEMO, len(memos))):
                memos[MEMO * (first + kept) + i] = memos[MEMO * at + i]
            kept += 1
    return kept


@kernel
def project(
    start, stop, mean, log_scale, quat, logit, sh, stride, degree, cam, antialiased, records, rows, count, bound, memos
):
    """Project chunks start .. stop of the columns (flat, at least 16 rows; sh: `stride` floats a row) into
    layout.Visible.
    """
    buf = scratch(_SCRATCH)
    for chunk in range(start, stop):
        lo = chunk * CHUNK
        hi = min(lo + CHUNK, len(logit))
        n, total = _project_chunk(lo, hi, mean, log_scale, quat, logit, cam, antialiased, records, rows, memos, buf)
        if not _colour(lo, n, degree, stride, sh, records, rows, memos, buf):
            n = _drop_bad_colours(lo, n, records, rows, memos)
        count[chunk] = n
        bound[chunk] = total
