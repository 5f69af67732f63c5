"""Spherical harmonics up to degree 3 on vectors: lane = splat. Constants and order as in render.splats.sh_basis."""

from __future__ import annotations

import math

import numpy as np

from recon.kernels.jit import helper
from recon.kernels.simd import fill
from recon.kernels.simd_memory import load, store

_C0 = np.float32(math.sqrt(1 / (4 * math.pi)))
_C1 = np.float32(math.sqrt(3 / (4 * math.pi)))
_C2 = np.float32(math.sqrt(15 / (4 * math.pi)))
_C2Z = np.float32(math.sqrt(15 / (4 * math.pi)) / math.sqrt(12))
_C2D = np.float32(0.5 * math.sqrt(15 / (4 * math.pi)))
_C33 = np.float32(math.sqrt(35 / (32 * math.pi)))
_C32 = np.float32(math.sqrt(105 / (4 * math.pi)))
_C32D = np.float32(0.5 * math.sqrt(105 / (4 * math.pi)))
_C31 = np.float32(math.sqrt(21 / (32 * math.pi)))
_C30 = np.float32(math.sqrt(7 / (16 * math.pi)))
_2, _3, _4, _6, _8 = (np.float32(v) for v in (2, 3, 4, 6, 8))


@helper
def basis(degree, x, y, z, buf, at):
    """Store the (degree + 1)^2 functions in unit directions x, y, z as vectors at buf[at], buf[at + 16], ..."""
    store(buf, at, _C0)
    if degree >= 1:
        store(buf, at + 16, -_C1 * y)
        store(buf, at + 32, _C1 * z)
        store(buf, at + 48, -_C1 * x)
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        store(buf, at + 64, _C2 * x * y)
        store(buf, at + 80, -_C2 * y * z)
        store(buf, at + 96, _C2Z * (_2 * zz - xx - yy))
        store(buf, at + 112, -_C2 * x * z)
        store(buf, at + 128, _C2D * (xx - yy))
        if degree >= 3:
            store(buf, at + 144, -_C33 * y * (_3 * xx - yy))
            store(buf, at + 160, _C32 * x * y * z)
            store(buf, at + 176, -_C31 * y * (_4 * zz - xx - yy))
            store(buf, at + 192, _C30 * z * (_2 * zz - _3 * (xx + yy)))
            store(buf, at + 208, -_C31 * x * (_4 * zz - xx - yy))
            store(buf, at + 224, _C32D * z * (xx - yy))
            store(buf, at + 240, -_C33 * x * (xx - _3 * yy))


@helper
def direction_gradient(degree, x, y, z, buf, at, step):
    """(d/dx, d/dy, d/dz) of sum_k q_k Y_k(x, y, z), with q_k as vectors at buf[at + step k]; Y_k taken as
    polynomials.
    """
    dx, dy, dz = fill(np.float32(0)), fill(np.float32(0)), fill(np.float32(0))
    if degree >= 1:
        dy = dy - _C1 * load(buf, at + step)
        dz = dz + _C1 * load(buf, at + 2 * step)
        dx = dx - _C1 * load(buf, at + 3 * step)
    if degree >= 2:
        q = _C2 * load(buf, at + 4 * step)
        dx, dy = dx + q * y, dy + q * x
        q = _C2 * load(buf, at + 5 * step)
        dy, dz = dy - q * z, dz - q * y
        q = _2 * _C2Z * load(buf, at + 6 * step)
        dx, dy, dz = dx - q * x, dy - q * y, dz + _2 * q * z
        q = _C2 * load(buf, at + 7 * step)
        dx, dz = dx - q * z, dz - q * x
        q = _2 * _C2D * load(buf, at + 8 * step)
        dx, dy = dx + q * x, dy - q * y
    if degree >= 3:
        dx, dy, dz = _third_band(x, y, z, buf, at, step, dx, dy, dz)
    return dx, dy, dz


@helper
def _third_band(x, y, z, buf, at, step, dx, dy, dz):
    xx, yy, zz = x * x, y * y, z * z
    q = _C33 * load(buf, at + 9 * step)  # -y (3 xx - yy)
    dx, dy = dx - _6 * q * x * y, dy - _3 * q * (xx - yy)
    q = _C32 * load(buf, at + 10 * step)  # x y z
    dx, dy, dz = dx + q * y * z, dy + q * x * z, dz + q * x * y
    q = _C31 * load(buf, at + 11 * step)  # -y (4 zz - xx - yy)
    dx, dy, dz = dx + _2 * q * x * y, dy - q * (_4 * zz - xx - _3 * yy), dz - _8 * q * y * z
    q = _C30 * load(buf, at + 12 * step)  # z (2 zz - 3 xx - 3 yy)
    dx, dy, dz = dx - _6 * q * x * z, dy - _6 * q * y * z, dz + _3 * q * (_2 * zz - xx - yy)
    q = _C31 * load(buf, at + 13 * step)  # -x (4 zz - xx - yy)
    dx, dy, dz = dx - q * (_4 * zz - _3 * xx - yy), dy + _2 * q * x * y, dz - _8 * q * x * z
    q = _C32D * load(buf, at + 14 * step)  # z (xx - yy)
    dx, dy, dz = dx + _2 * q * x * z, dy - _2 * q * y * z, dz + q * (xx - yy)
    q = _C33 * load(buf, at + 15 * step)  # -x (xx - 3 yy)
    return dx - _3 * q * (xx - yy), dy + _6 * q * x * y, dz
