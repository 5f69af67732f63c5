"""From sums over pixels to gradients of the columns and of the camera's pose: the transpose of project.py; lane =
splat.

Notation: at a pixel offset d from the splat's centre, log2(alpha) = log2(opacity) - |G d|^2 with (u, v) = G d and G =
((su, sk), (0, sv)), so Sigma2^-1 = 2 ln2 G^T G. With the moments M = sum d_alpha (u, v)^T (u, v) and m = sum d_alpha
(u, v), d_alpha = alpha dL/dalpha: dL/d(centre) = 2 ln2 G^T m, dL/dSigma2 = 2 ln2^2 G^T M G. Sigma2 = B B^T + 0.3 I, B =
A R S, A = J W, S the diagonal of scales.
"""

from __future__ import annotations

import math

import numpy as np

from recon.kernels.jit import helper, kernel
from recon.kernels.simd import LANES, fill, lane_numbers, narrow, root, select, wide
from recon.kernels.simd_memory import load, peek, poke, store, store3, store4, store_first, transpose
from recon.kernels.simd_shuffle import lane_sum
from render.kernels import layout, reference
from render.kernels.layout import CHUNK, MEMO, MOMENTS, scratch
from render.kernels.project import (
    camera_point,
    clamped_slope,
    jacobian_row,
    rotation,
    scale_of,
    sigmoid,
    times_rotation,
)

_W, _T, _F = layout.W, layout.T, layout.FOCAL
_FILTER = reference.FILTER
_HALF_LOG2E, _2LN2, _2LN2_2 = 0.5 / math.log(2), 2 * math.log(2), 2 * math.log(2) ** 2

# The scratch of 16 splats, in floats: moments, then the two halves of the memos.
_M, _P, _S = 0, 256, 512
_SCRATCH = 768
_MEAN, _SCALE, _QUAT, _LOGIT = (_P + 16 * field for field in (layout.MEAN, layout.LOG_SCALE, layout.QUAT, layout.LOGIT))
_SLOPE, _LIVE, _AWAY = (_S + 16 * (field - LANES) for field in (layout.SLOPE, layout.LIVE, layout.AWAY))
_POSE = 12


@helper
def _load_lanes(first, count, memos, pair_first, pairs, slot, moments, buf):
    """Moments and memos of up to 16 visible splats from position `first`, field by field; spare lanes repeat the last
    one.
    """
    for lane in range(LANES):
        at = first + min(lane, count - 1)
        total, begin = fill(np.float32(0)), peek(pair_first, at)
        for pair in range(begin, begin + peek(pairs, at)):
            total = total + load(moments, MOMENTS * np.int64(peek(slot, pair)))
        store(buf, _M + LANES * lane, total)
        store(buf, _P + LANES * lane, load(memos, MEMO * at))
        store(buf, _S + LANES * lane, load(memos, MEMO * at + LANES))
    transpose(buf, _M)
    transpose(buf, _P)
    transpose(buf, _S)


@helper
def _field(buf, at):
    return wide(load(buf, at))


@helper
def _whitening(c00, c01, c11):
    """Rows (su, sk) and (0, sv) of the matrix G that takes pixel offsets to (u, v), as in the records; c is with the
    filter.
    """
    su = root(_HALF_LOG2E * c11 / (c00 * c11 - c01 * c01))
    return su, -su * c01 / c11, root(_HALF_LOG2E / c11)


@helper
def _covariance(c00, c01, c11, su, sk, sv, suu, suv, svv, s, antialiased):
    """dL/dSigma2 as the entries 00, 01, 11 of a symmetric matrix; c is Sigma2 without the filter."""
    mu, mv = suu * sk + suv * sv, suv * sk + svv * sv
    h00, h01, h11 = _2LN2_2 * su * su * suu, _2LN2_2 * su * mu, _2LN2_2 * (sk * mu + sv * mv)
    if antialiased:  # opacity scales with sqrt(det / det with filter), whose logarithm has this gradient
        f00, f11 = c00 + _FILTER, c11 + _FILTER
        raw, blurred = c00 * c11 - c01 * c01, 1.0 / (f00 * f11 - c01 * c01)
        inverse = select(raw > 0.0, 1.0 / raw, 0.0)
        h00 = h00 + 0.5 * s * (c11 * inverse - f11 * blurred)
        h01 = h01 - 0.5 * s * (c01 * inverse - c01 * blurred)
        h11 = h11 + 0.5 * s * (c00 * inverse - f00 * blurred)
    return h00, h01, h11


@helper
def _quat_gradient(g, w, x, y, z):
    """dL/d(w, x, y, z) of the unit quaternion, g = dL/dR (9)."""
    return (
        2.0 * (x * (g[7] - g[5]) + y * (g[2] - g[6]) + z * (g[3] - g[1])),
        2.0 * (y * (g[1] + g[3]) + z * (g[2] + g[6]) - 2.0 * x * (g[4] + g[8]) + w * (g[7] - g[5])),
        2.0 * (x * (g[1] + g[3]) + z * (g[5] + g[7]) - 2.0 * y * (g[0] + g[8]) + w * (g[2] - g[6])),
        2.0 * (x * (g[2] + g[6]) + y * (g[5] + g[7]) - 2.0 * z * (g[0] + g[4]) + w * (g[3] - g[1])),
    )


@helper
def _add_pose(pose, at, valid, value):
    """pose[at : at + 16] += value in the valid lanes."""
    store(pose, at, load(pose, at) + select(valid, value, 0.0))


@helper
def _slope_gradient(cam, axis, slope, inverse_z, da, dpixel):
    """Back through one row of A and one pixel coordinate: (dL/d(p_axis / z), dL/d(1/z), dL/dW[axis] per da, that of
    W[2]).

    da: dL/d of the row of A; slope: p_axis / z as it is, not clamped.
    """
    f, at = cam[_F + axis], _W + 3 * axis
    used = clamped_slope(cam, axis, slope)
    d_e = da[0] * cam[at] + da[1] * cam[at + 1] + da[2] * cam[at + 2]
    d_z = da[0] * cam[_W + 6] + da[1] * cam[_W + 7] + da[2] * cam[_W + 8]
    free = (slope >= cam[layout.LIMIT + 2 * axis]) & (slope <= cam[layout.LIMIT + 2 * axis + 1])
    d_slope = f * dpixel - select(free, f * inverse_z * d_z, 0.0)
    return d_slope, f * (d_e - used * d_z), f * inverse_z, -f * inverse_z * used


@helper
def _outer(a, da, b, db):
    """dL/dR (9): A^T times dL/d(A R) for the two rows a, b of A."""
    return (
        a[0] * da[0] + b[0] * db[0],
        a[0] * da[1] + b[0] * db[1],
        a[0] * da[2] + b[0] * db[2],
        a[1] * da[0] + b[1] * db[0],
        a[1] * da[1] + b[1] * db[1],
        a[1] * da[2] + b[1] * db[2],
        a[2] * da[0] + b[2] * db[0],
        a[2] * da[1] + b[2] * db[1],
        a[2] * da[2] + b[2] * db[2],
    )


@helper
def _times_transpose(da, r):
    """The row da (3) times the transpose of r (9)."""
    return (
        da[0] * r[0] + da[1] * r[1] + da[2] * r[2],
        da[0] * r[3] + da[1] * r[4] + da[2] * r[5],
        da[0] * r[6] + da[1] * r[7] + da[2] * r[8],
    )


@helper
def _shape(buf, cam, antialiased, penalty, d_log_scale, d_quat, d_logit, out, count):
    """Back from moments to opacity, scale and quaternion (to row `out` of their gradients).

    Returns dL/dA (two rows) and dL/d(pixel).
    """
    x, y, z = _field(buf, _MEAN), _field(buf, _MEAN + 16), _field(buf, _MEAN + 32)
    px, py, pz = camera_point(cam, x, y, z)
    iz = 1.0 / pz
    qw, qx, qy, qz = _field(buf, _QUAT), _field(buf, _QUAT + 16), _field(buf, _QUAT + 32), _field(buf, _QUAT + 48)
    inverse = 1.0 / root(qw * qw + qx * qx + qy * qy + qz * qz)
    qw, qx, qy, qz = qw * inverse, qx * inverse, qy * inverse, qz * inverse
    r = rotation(qw, qx, qy, qz)
    s0, s1, s2 = scale_of(_field(buf, _SCALE)), scale_of(_field(buf, _SCALE + 16)), scale_of(_field(buf, _SCALE + 32))
    a = jacobian_row(cam, 0, iz, clamped_slope(cam, 0, px * iz))
    b = jacobian_row(cam, 1, iz, clamped_slope(cam, 1, py * iz))
    ar, br = times_rotation(a, r), times_rotation(b, r)
    a0, a1, a2, b0, b1, b2 = ar[0] * s0, ar[1] * s1, ar[2] * s2, br[0] * s0, br[1] * s1, br[2] * s2
    c00, c01, c11 = a0 * a0 + a1 * a1 + a2 * a2, a0 * b0 + a1 * b1 + a2 * b2, b0 * b0 + b1 * b1 + b2 * b2
    mu, mv = _field(buf, _M + 48), _field(buf, _M + 64)
    suu, suv, svv = _field(buf, _M + 80), _field(buf, _M + 96), _field(buf, _M + 112)
    s = _field(buf, _M + 128)
    su, sk, sv = _whitening(c00 + _FILTER, c01, c11 + _FILTER)
    h00, h01, h11 = _covariance(c00, c01, c11, su, sk, sv, suu, suv, svv, s, antialiased)
    h00, h01, h11 = 2.0 * h00, 2.0 * h01, 2.0 * h11
    da0, da1, da2 = h00 * a0 + h01 * b0, h00 * a1 + h01 * b1, h00 * a2 + h01 * b2
    db0, db1, db2 = h01 * a0 + h11 * b0, h01 * a1 + h11 * b1, h01 * a2 + h11 * b2
    opacity = sigmoid(_field(buf, _LOGIT))
    store_first(d_logit, out, narrow((s + penalty[0] * opacity) * (1.0 - opacity)), count)
    d0, d1, d2 = da0 * a0 + db0 * b0, da1 * a1 + db1 * b1, da2 * a2 + db2 * b2
    d0, d1, d2 = d0 + penalty[1] * s0, d1 + penalty[1] * s1, d2 + penalty[1] * s2
    store3(d_log_scale, 3 * out, narrow(d0), narrow(d1), narrow(d2), count)
    da, db = (da0 * s0, da1 * s1, da2 * s2), (db0 * s0, db1 * s1, db2 * s2)
    gw, gx, gy, gz = _quat_gradient(_outer(a, da, b, db), qw, qx, qy, qz)
    along = gw * qw + gx * qx + gy * qy + gz * qz
    gw, gx, gy, gz = gw - along * qw, gx - along * qx, gy - along * qy, gz - along * qz
    gw, gx, gy, gz = gw * inverse, gx * inverse, gy * inverse, gz * inverse
    store4(d_quat, 4 * out, narrow(gw), narrow(gx), narrow(gy), narrow(gz), count)
    return _times_transpose(da, r), _times_transpose(db, r), (_2LN2 * su * mu, _2LN2 * (sk * mu + sv * mv))


@helper
def _place(buf, cam, da, db, dpixel, d_mean, out, count, pose):
    """Back from dL/dA, dL/d(pixel) and dL/d(direction) to the mean (row `out` of its gradient) and the pose (added to
    pose f64[12 16]).
    """
    x, y, z = _field(buf, _MEAN), _field(buf, _MEAN + 16), _field(buf, _MEAN + 32)
    px, py, pz = camera_point(cam, x, y, z)
    iz = 1.0 / pz
    d_u, d_iz0, e0, w0 = _slope_gradient(cam, 0, px * iz, iz, da, dpixel[0])
    d_v, d_iz1, e1, w1 = _slope_gradient(cam, 1, py * iz, iz, db, dpixel[1])
    d_px, d_py = d_u * iz, d_v * iz
    d_pz = -iz * iz * (d_iz0 + d_iz1 + d_u * px + d_v * py)
    tx, ty, tz = _away_gradient(buf, cam, x, y, z)
    d_x = cam[_W] * d_px + cam[_W + 3] * d_py + cam[_W + 6] * d_pz + tx
    d_y = cam[_W + 1] * d_px + cam[_W + 4] * d_py + cam[_W + 7] * d_pz + ty
    d_z = cam[_W + 2] * d_px + cam[_W + 5] * d_py + cam[_W + 8] * d_pz + tz
    store3(d_mean, 3 * out, narrow(d_x), narrow(d_y), narrow(d_z), count)
    if len(pose) == 0:
        return
    valid = lane_numbers() < np.float32(count)
    t0, t1, t2 = cam[_T], cam[_T + 1], cam[_T + 2]
    _add_pose(pose, 0, valid, d_px * x + e0 * da[0] + t0 * tx)
    _add_pose(pose, 16, valid, d_px * y + e0 * da[1] + t0 * ty)
    _add_pose(pose, 32, valid, d_px * z + e0 * da[2] + t0 * tz)
    _add_pose(pose, 48, valid, d_py * x + e1 * db[0] + t1 * tx)
    _add_pose(pose, 64, valid, d_py * y + e1 * db[1] + t1 * ty)
    _add_pose(pose, 80, valid, d_py * z + e1 * db[2] + t1 * tz)
    _add_pose(pose, 96, valid, d_pz * x + w0 * da[0] + w1 * db[0] + t2 * tx)
    _add_pose(pose, 112, valid, d_pz * y + w0 * da[1] + w1 * db[1] + t2 * ty)
    _add_pose(pose, 128, valid, d_pz * z + w0 * da[2] + w1 * db[2] + t2 * tz)
    _add_pose(pose, 144, valid, d_px + cam[_W] * tx + cam[_W + 1] * ty + cam[_W + 2] * tz)
    _add_pose(pose, 160, valid, d_py + cam[_W + 3] * tx + cam[_W + 4] * ty + cam[_W + 5] * tz)
    _add_pose(pose, 176, valid, d_pz + cam[_W + 6] * tx + cam[_W + 7] * ty + cam[_W + 8] * tz)


@helper
def _away_gradient(buf, cam, x, y, z):
    """dL/d(mean - camera centre) from dL/d(unit direction) in the scratch."""
    ax = x + (cam[_W] * cam[_T] + cam[_W + 3] * cam[_T + 1] + cam[_W + 6] * cam[_T + 2])
    ay = y + (cam[_W + 1] * cam[_T] + cam[_W + 4] * cam[_T + 1] + cam[_W + 7] * cam[_T + 2])
    az = z + (cam[_W + 2] * cam[_T] + cam[_W + 5] * cam[_T + 1] + cam[_W + 8] * cam[_T + 2])
    inverse = 1.0 / root(ax * ax + ay * ay + az * az)
    ax, ay, az = ax * inverse, ay * inverse, az * inverse
    gx, gy, gz = _field(buf, _SLOPE), _field(buf, _SLOPE + 16), _field(buf, _SLOPE + 32)
    along = gx * ax + gy * ay + gz * az
    return (gx - along * ax) * inverse, (gy - along * ay) * inverse, (gz - along * az) * inverse


@helper
def _colour(buf, d_colour, direction, out, count):
    """Back from dL/dcolour to the direction (into SLOPE); both go to row `out` of what ShFactors holds."""
    red = load(buf, _M) * load(buf, _LIVE)
    green = load(buf, _M + 16) * load(buf, _LIVE + 16)
    blue = load(buf, _M + 32) * load(buf, _LIVE + 32)
    store3(d_colour, 3 * out, red, green, blue, count)
    store3(direction, 3 * out, load(buf, _AWAY), load(buf, _AWAY + 16), load(buf, _AWAY + 32), count)
    for i in range(3):
        at = _SLOPE + 16 * i
        store(buf, at, red * load(buf, at) + green * load(buf, at + 48) + blue * load(buf, at + 96))


@kernel
def project_backward(
    start,
    stop,
    cam,
    antialiased,
    penalty,
    count,
    memos,
    offset,
    pair_first,
    pairs,
    slot,
    moments,
    rows,
    out_rows,
    d_mean,
    d_log_scale,
    d_quat,
    d_logit,
    d_colour,
    direction,
    d_pose,
):
    """Gradients of the visible splats of chunks start .. stop, dense: chunk c's go to rows offset[c] ... of the
    outputs, and their rows into out_rows. penalty f64[2]: also those of penalty[0] * opacity + penalty[1] * (sum of
    scales).

    d_colour, direction: as in grads.ShFactors. d_pose: f64[chunks, 12] (W row by row, then T), or f64[0, 12] when it is
    not wanted.
    """
    buf = scratch(_SCRATCH)
    pose = np.empty(16 * _POSE if len(d_pose) else 0, np.float64)
    for chunk in range(start, stop):
        pose[:] = 0
        for n in range(0, count[chunk], LANES):
            left, out = min(count[chunk] - n, LANES), offset[chunk] + n
            _load_lanes(chunk * CHUNK + n, left, memos, pair_first, pairs, slot, moments, buf)
            _colour(buf, d_colour, direction, out, left)
            for lane in range(left):
                poke(out_rows, out + lane, peek(rows, chunk * CHUNK + n + lane))
            da, db, dpixel = _shape(buf, cam, antialiased, penalty, d_log_scale, d_quat, d_logit, out, left)
            _place(buf, cam, da, db, dpixel, d_mean, out, left, pose)
        for i in range(len(pose) // 16):
            d_pose[chunk, i] = lane_sum(load(pose, 16 * i))
