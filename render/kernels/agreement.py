"""The penalties of render/planes.py, disagreement of normals and distortion, with their gradients; planes.py has the twins.

Images are planes, f32[D, H, W]. With c = N . r, u = c / D the inverse z, v = (u_x, u_y, u - x u_x - y u_y) and n = -v / |v| the
normal, a pixel of weight s has the loss s (A - N . n), so that dL/dv = s (N - n (n . N)) / |v|; from there each pixel gathers
what its neighbours' differences make of its own u.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.geometry import Array
from recon.kernels.jit import DOOR, kernel, spread

F32 = NDArray[np.float32]
TINY = 1e-12
COVERED = 0.5
"""Alpha from which on a pixel has a surface."""
_0, _1, _2, _4, _HALF = np.float32(0), np.float32(1), np.float32(2), np.float32(4), np.float32(0.5)
_THIRD, _TINY, _COVERED = np.float32(1 / 3), np.float32(TINY), np.float32(COVERED)


def penalties(
    features: F32, alpha: F32, rgb: F32, K: Array, normals: float, distortion: float
) -> tuple[float, F32, F32]:
    """The weighted sum of both terms, and its gradients by features [D, H, W] and alpha [H, W], in one camera.

    features: the blended planes, if `normals` is not 0, and then the blended moments, if `distortion` is not 0;
    rgb [H, W, 3]; all contiguous. K [3, 3].
    """
    _, height, width = features.shape
    inner = max(width - 2, 1) * max(height - 2, 1)
    optics = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], np.float32)
    d_features, d_alpha = np.zeros_like(features), np.zeros_like(alpha)
    sums = np.zeros(2 * height)
    image, gradient = features.reshape(-1), d_features.reshape(-1)
    of_alpha = (alpha.reshape(-1), d_alpha.reshape(-1))
    with DOOR:
        if normals:
            inverse, pull = np.empty(width * height, np.float32), np.zeros(3 * width * height, np.float32)
            spread(invert, height, image, width, height, optics, inverse)
            where = (width, height, optics, np.float32(normals / inner))
            spread(agree, height, image, *of_alpha, rgb.reshape(-1), *where, inverse, gradient, pull, sums)
            spread(gather, height, image, width, height, optics, inverse, pull, gradient)
        if distortion:
            weight, first = np.float32(distortion / (width * height)), features.shape[0] - 2
            spread(distort, height, image, *of_alpha, width, height, first, weight, gradient, sums)
    return float(sums.sum()), d_features, d_alpha


@kernel
def invert(start, stop, planes, width, height, optics, inverse):
    """1 / z of rows start .. stop."""
    pixels = width * height
    for j in range(start, stop):
        y = (np.float32(j) + _HALF - optics[3]) / optics[1]
        for p in range(j * width, (j + 1) * width):
            x = (np.float32(p - j * width) + _HALF - optics[2]) / optics[0]
            c = planes[p] * x + planes[pixels + p] * y + planes[2 * pixels + p]
            inverse[p] = c / min(planes[3 * pixels + p], -_TINY)


@kernel
def agree(start, stop, planes, alpha, d_alpha, rgb, width, height, optics, weight, inverse, gradient, pull, sums):
    """Of rows start .. stop: the losses into sums[2 j], gradients by N and alpha, and by the differences of 1 / z into pull."""
    pixels = width * height
    for j in range(max(start, 1), min(stop, height - 1)):
        y = (np.float32(j) + _HALF - optics[3]) / optics[1]
        total = 0.0
        for p in range(j * width + 1, (j + 1) * width - 1):
            up, down = p - width, p + width
            least = min(min(min(alpha[p - 1], alpha[p + 1]), min(alpha[up], alpha[down])), alpha[p])
            if least < _COVERED:
                continue
            x = (np.float32(p - j * width) + _HALF - optics[2]) / optics[0]
            across = abs(
                rgb[3 * p + 3] + rgb[3 * p + 4] + rgb[3 * p + 5] - rgb[3 * p - 3] - rgb[3 * p - 2] - rgb[3 * p - 1]
            )
            over, under = 3 * up, 3 * down
            along = abs(rgb[under] + rgb[under + 1] + rgb[under + 2] - rgb[over] - rgb[over + 1] - rgb[over + 2])
            smooth = _1 - min(_THIRD * max(across, along), _1)
            s = weight * smooth * smooth
            ux = (inverse[p + 1] - inverse[p - 1]) * (_HALF * optics[0])
            uy = (inverse[down] - inverse[up]) * (_HALF * optics[1])
            rest = inverse[p] - x * ux - y * uy
            by = _1 / np.sqrt(ux * ux + uy * uy + rest * rest + _TINY)
            nx, ny, nz = -ux * by, -uy * by, -rest * by
            bx, b_y, bz = planes[p], planes[pixels + p], planes[2 * pixels + p]
            dot = nx * bx + ny * b_y + nz * bz
            total += s * (alpha[p] - dot)
            d_alpha[p] += s
            gradient[p], gradient[pixels + p], gradient[2 * pixels + p] = -s * nx, -s * ny, -s * nz
            back = s * by
            gz = back * (bz - nz * dot)
            pull[p] = (back * (bx - nx * dot) - x * gz) * (_HALF * optics[0])
            pull[pixels + p] = (back * (b_y - ny * dot) - y * gz) * (_HALF * optics[1])
            pull[2 * pixels + p] = gz
        sums[2 * j] = total


@kernel
def gather(start, stop, planes, width, height, optics, inverse, pull, gradient):
    """What the differences around each pixel of rows start .. stop make of its planes."""
    pixels = width * height
    for j in range(start, stop):
        y = (np.float32(j) + _HALF - optics[3]) / optics[1]
        for i in range(width):
            p = j * width + i
            d_u = pull[2 * pixels + p]
            if i > 0:
                d_u += pull[p - 1]
            if i < width - 1:
                d_u -= pull[p + 1]
            if j > 0:
                d_u += pull[pixels + p - width]
            if j < height - 1:
                d_u -= pull[pixels + p + width]
            distance = planes[3 * pixels + p]
            if d_u == _0 or distance > -_TINY:
                continue
            d_c = d_u / distance
            gradient[p] += d_c * ((np.float32(i) + _HALF - optics[2]) / optics[0])
            gradient[pixels + p] += d_c * y
            gradient[2 * pixels + p] += d_c
            gradient[3 * pixels + p] = -d_c * inverse[p]


@kernel
def distort(start, stop, planes, alpha, d_alpha, width, height, first, weight, gradient, sums):
    """2 (A M2 - M1^2) of rows start .. stop, whose moments are channels first and first + 1."""
    pixels = width * height
    for j in range(start, stop):
        total = 0.0
        for p in range(j * width, (j + 1) * width):
            one, two = planes[first * pixels + p], planes[(first + 1) * pixels + p]
            total += weight * _2 * (alpha[p] * two - one * one)
            gradient[first * pixels + p] = -_4 * weight * one
            gradient[(first + 1) * pixels + p] = _2 * weight * alpha[p]
            d_alpha[p] += _2 * weight * two
        sums[2 * j + 1] = total
