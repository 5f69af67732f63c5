"""Splats to image: projection, culling and colour of every splat in one camera; lane = splat.

The equations are those of reference.project. Geometry is float64: pixel positions have to be good to a thousandth of
the smallest splat's size
in images of a few thousand pixels, which float32 is not, and vectors make the difference in cost small.
"""

from __future__ import annotations

import math

import numpy as np

from render.kernels import layout, reference
from render.kernels.jit import helper, kernel
from render.kernels.layout import CHUNK, RECORD, scratch
from render.kernels.sh import basis
from render.kernels.simd import LANES, absolute, fill, floor, mask_bits, maximum, minimum, narrow, root, wide
from render.kernels.simd_memory import load, load3, load4, store, transpose
from render.kernels.vecmath import LOG2E, exp, log2

_W, _T, _F, _C, _LIMIT = layout.W, layout.T, layout.FOCAL, layout.CENTER, layout.LIMIT
_NEAR, _SIZE = layout.NEAR, layout.SIZE
_RGB, _TOWARDS, _TILES = layout.RGB, layout.TOWARDS, layout.TILES
_FILTER, _ALPHA_MIN = reference.FILTER, reference.ALPHA_MIN
_LOG_SCALE_MAX = reference.LOG_SCALE_MAX
_LN255 = math.log(255)


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
    tiles, inside = _box(u, v, level * root(c00), level * root(c11), cam[_SIZE], cam[_SIZE + 1])
    su = root(0.5 * LOG2E * c11 / blurred)
    iu, iv = floor(u), floor(v)
    store(buf, 0, narrow(iu))
    store(buf, 16, narrow(u - iu))
    store(buf, 32, narrow(iv))
    store(buf, 48, narrow(v - iv))
    store(buf, 64, narrow(su))
    store(buf, 80, narrow(-su * c01 / c11))
    store(buf, 96, narrow(0.5 * LOG2E / c11))
    store(buf, 112, narrow(log_o))
    store(buf, 176, narrow(pz))
    _store_towards(cam, x, y, z, buf)
    store(buf, 240, narrow(tiles))
    return mask_bits(ok & inside)


@helper
def _box(u, v, rx, ry, width, height):
    """How many tiles the bounding box touches, and whether it holds the centre of a pixel of the image."""
    i0, i1 = maximum(-floor(0.5 - (u - rx)), 0.0), minimum(floor(u + rx - 0.5), width - 1.0)
    j0, j1 = maximum(-floor(0.5 - (v - ry)), 0.0), minimum(floor(v + ry - 0.5), height - 1.0)
    columns = floor(i1 * 0.0625) - floor(i0 * 0.0625) + 1.0
    rows = floor(j1 * 0.0625) - floor(j0 * 0.0625) + 1.0
    return columns * rows, (i0 <= i1) & (j0 <= j1)


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
def _project_chunk(lo, hi, mean, log_scale, quat, logit, cam, antialiased, records, rows, buf):
    """Project rows lo .. hi; returns how many are visible and the sum of their tiles."""
    count, total = 0, 0
    for start in range(lo, hi, LANES):
        base = min(start, len(logit) - LANES)  # the last block overlaps the one before it
        x, y, z = load3(mean, 3 * base)
        s0, s1, s2 = load3(log_scale, 3 * base)
        qw, qx, qy, qz = load4(quat, 4 * base)
        o = wide(load(logit, base))
        x, y, z = wide(x), wide(y), wide(z)
        s0, s1, s2 = wide(s0), wide(s1), wide(s2)
        qw, qx, qy, qz = wide(qw), wide(qx), wide(qy), wide(qz)
        seen = _project_lanes(cam, antialiased, x, y, z, s0, s1, s2, qw, qx, qy, qz, o, buf)
        seen &= -1 << (start - base)
        if seen == 0:
            continue
        transpose(buf, 0)
        for lane in range(LANES):
            if seen >> lane & 1:
                store(records, RECORD * (lo + count), load(buf, RECORD * lane))
                total += int(buf[RECORD * lane + _TILES])
                rows[lo + count] = base + lane
                count += 1
    return count, total


@helper
def load_sh(sh, stride, row, used, buf, lane):
    """Copy the first `used` floats of one row of SH coefficients into column `lane` of buf, before transposition: 16
    per block."""
    at = stride * row
    for block in range((used + 15) // 16):
        if at + 16 * block + 16 <= len(sh):
            store(buf, 256 * block + 16 * lane, load(sh, at + 16 * block))
        else:
            for i in range(len(sh) - at - 16 * block):
                buf[256 * block + 16 * lane + i] = sh[at + 16 * block + i]


@helper
def _colour(first, count, degree, stride, sh, records, rows, buf):
    """Fill in the colours of `count` visible splats from position `first`; returns whether all are finite."""
    functions, coefficients, out = 0, 256, 1024
    used = 3 * (degree + 1) * (degree + 1)
    fine = True
    for start in range(first, first + count, LANES):
        for lane in range(LANES):
            at = min(start + lane, first + count - 1)
            for i in range(3):
                buf[out + 16 * i + lane] = records[RECORD * at + _TOWARDS + i]
            load_sh(sh, stride, np.int64(rows[at]), used, buf[coefficients:], lane)
        for block in range((used + 15) // 16):
            transpose(buf, coefficients + 256 * block)
        basis(degree, load(buf, out), load(buf, out + 16), load(buf, out + 32), buf, functions)
        red, green, blue = fill(np.float32(0.5)), fill(np.float32(0.5)), fill(np.float32(0.5))
        for k in range((degree + 1) * (degree + 1)):
            y = load(buf, functions + 16 * k)
            red = red + y * load(buf, coefficients + 48 * k)
            green = green + y * load(buf, coefficients + 48 * k + 16)
            blue = blue + y * load(buf, coefficients + 48 * k + 32)
        finite = (
            (absolute(red) < np.float32(1e30))
            & (absolute(green) < np.float32(1e30))
            & (absolute(blue) < np.float32(1e30))
        )
        fine &= mask_bits(finite) == 0xFFFF
        store(buf, out, select_positive(red))
        store(buf, out + 16, select_positive(green))
        store(buf, out + 32, select_positive(blue))
        for lane in range(min(LANES, first + count - start)):
            for i in range(3):
                records[RECORD * (start + lane) + _RGB + i] = buf[out + 16 * i + lane]
    return fine


@helper
def select_positive(x):
    """max(x, 0) that keeps NaN."""
    return maximum(np.float32(0), x)


@helper
def _drop_bad_colours(first, count, records, rows):
    """Close the gaps of splats whose colour is not finite; returns how many are left and the sum of their tiles."""
    kept, total = 0, 0
    for at in range(first, first + count):
        fine = True
        for i in range(3):
            fine &= abs(records[RECORD * at + _RGB + i]) < 1e30
        if fine:
            store(records, RECORD * (first + kept), load(records, RECORD * at))
            rows[first + kept] = rows[at]
            total += int(records[RECORD * at + _TILES])
            kept += 1
    return kept, total


@kernel
def project(
    start, stop, mean, log_scale, quat, logit, sh, stride, degree, cam, antialiased, records, rows, count, bound
):
    """Project chunks start .. stop of the columns (flat float32, at least 16 rows; sh: `stride` floats a row) into
    layout.Visible."""
    buf = scratch(1024 + 48)
    for chunk in range(start, stop):
        lo = chunk * CHUNK
        hi = min(lo + CHUNK, len(logit))
        n, total = _project_chunk(lo, hi, mean, log_scale, quat, logit, cam, antialiased, records, rows, buf)
        if not _colour(lo, n, degree, stride, sh, records, rows, buf):
            n, total = _drop_bad_colours(lo, n, records, rows)
        count[chunk] = n
        bound[chunk] = total
