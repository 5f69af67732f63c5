"""Which depth is believed: where the photos' own planes agree with each other. Notation as in cost.py.

A source agrees with a pixel when the plane that it has where the pixel lands leads back to the pixel, lies at the same
depth and faces the same way, as far as the photos can tell (Schönberger et al., ECCV 2016; Galliani et al., ICCV 2015).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from recon.depth.cost import (
    COLOUR_SIGMA,
    RADIUS,
    landing,
    plane_there,
    reference_at,
    sources_at,
    there_and_back,
    warped,
)
from recon.kernels.jit import helper, kernel
from recon.kernels.simd_memory import peek

GROWTH_ROUNDS, GROWTH_PIXELS, GROWTH_LIKE = 10, 0.5, 0.3
"""Belief spreads by so many pixels at most, to planes that continue their neighbour's to this many pixels in the sources,
over steps of colour that weigh at least this much (as in cost.py).
"""
SPECKLE_PIXELS = 1.0
"""Neighbours whose spots in the sources are less than this many pixels apart belong to one piece of surface."""
SLOPE_PIXELS = 2.0
"""Planes that have drifted apart by no more than so many times the pixels of agreement at the patch's edge agree, whatever
their normals.
"""
_SPAN = np.float32(RADIUS)
_0, _1 = np.float32(0), np.float32(1)


@helper
def _normal(fx, fy, cx, cy, x, y, w, wx, wy):
    """Unit normal, away from the camera, of a plane in the camera's frame."""
    nx, ny = fx * wx, fy * wy
    nz = w - nx * (x - cx) / fx - ny * (y - cy) / fy
    scale = _1 / math.sqrt(nx * nx + ny * ny + nz * nz)
    return nx * scale, ny * scale, nz * scale


@helper
def _agrees(ref, src, j, x, y, w, wx, wy, most_pixels, most_depth, least_cos):
    """Whether source j sees the same plane."""
    fx, fy = np.float32(x), np.float32(y)
    cx, cy, cz = warped(src.warp, j, fx, fy, w)
    u, v, near = landing(src, j, cx, cy, cz)
    if near < 0 or there_and_back(src, j, fx, fy, u, v, near) > most_pixels:
        return False
    there, sx, sy = plane_there(src, j, u, v, near)
    if not abs(w / cz - there) <= most_depth * there:  # w / cz: the spot's inverse depth in the source
        return False
    nx, ny, nz = _normal(ref.fx, ref.fy, ref.cx, ref.cy, fx, fy, w, wx, wy)
    k, t = 4 * j, 9 * j
    lens, turn = src.lens, src.turn
    ox, oy, oz = _normal(peek(lens, k), peek(lens, k + 1), peek(lens, k + 2), peek(lens, k + 3), u, v, there, sx, sy)
    cos = ox * (peek(turn, t) * nx + peek(turn, t + 1) * ny + peek(turn, t + 2) * nz)
    cos += oy * (peek(turn, t + 3) * nx + peek(turn, t + 4) * ny + peek(turn, t + 5) * nz)
    cos += oz * (peek(turn, t + 6) * nx + peek(turn, t + 7) * ny + peek(turn, t + 8) * nz)
    return cos >= least_cos or _parallel(src, j, fx, fy, w, wx, wy, u, v, there, sx, sy, SLOPE_PIXELS * most_pixels)


@helper
def _parallel(src, j, x, y, w, wx, wy, u, v, there, sx, sy, most_pixels):
    """Whether the plane of a pixel and that of its spot (u, v) in source j stay together over the half of a patch: far
    away normals say little, for a trifle of inverse depth turns them.
    """
    for side in range(2):
        dx, dy = _SPAN * np.float32(1 - side), _SPAN * np.float32(side)
        cx, cy, cz = warped(src.warp, j, x + dx, y + dy, w + wx * dx + wy * dy)
        if not cz > _0:
            return False
        p, q = cx / cz, cy / cz
        cx, cy, cz = warped(src.back, j, p, q, there + sx * (p - u) + sy * (q - v))
        if not cz > _0:
            return False
        ex, ey = cx / cz - x - dx, cy / cz - y - dy
        if not ex * ex + ey * ey <= most_pixels * most_pixels:
            return False
    return True


@kernel
def agreement(start, stop, reference, sources, plane, most_pixels, most_depth, least_cos, count):
    """count u8[H, W] of the sources that agree with the planes f32[3, H, W], in rows start .. stop."""
    ref, src = reference_at(reference), sources_at(sources)
    for y in range(start, stop):
        for x in range(ref.width):
            w, wx, wy = plane[0, y, x], plane[1, y, x], plane[2, y, x]
            found = 0
            if peek(ref.usable, y * ref.width + x) != 0 and w > _0:
                for j in range(src.count):
                    if _agrees(ref, src, j, x, y, w, wx, wy, most_pixels, most_depth, least_cos):
                        found += 1
            count[y, x] = found


def small_pieces(w: NDArray[np.float32], valid: NDArray[np.bool_], pixel: float, least: int) -> NDArray[np.bool_]:
    """bool[H, W]: the valid pixels of connected pieces of fewer than `least` pixels. pixel: w that moves a spot by one."""
    import cv2

    if least <= 1 or not valid.any():
        return np.zeros(valid.shape, bool)
    low, most = float(w[valid].min()), float(w[valid].max())
    scale = min(16 / pixel, 32000 / max(most - low, 1e-30))
    levels = np.where(valid, 1 + np.rint((w - low) * scale), 0).astype(np.int16)
    cv2.filterSpeckles(levels, 0, least - 1, max(1.0, SPECKLE_PIXELS * pixel * scale))
    return valid & (levels == 0)


def grown(
    planes: NDArray[np.float32],
    sure: NDArray[np.bool_],
    weak: NDArray[np.bool_],
    photo: NDArray[np.uint8],
    pixel: float,
) -> NDArray[np.bool_]:
    """bool[H, W]: the pixels of `weak` by which `sure` grows: the surface of planes f32[3, H, W] goes on there unbroken, and
    so does the colour of u8[H, W, 4]. pixel: w that moves a spot by one in the sources.
    """
    least = -COLOUR_SIGMA * np.log(GROWTH_LIKE)
    rgb, rest = photo[..., :3].astype(np.int16), weak & ~sure
    joined = []
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        to, here = _beside(dx, dy), _beside(-dx, -dy)
        ahead = planes[0][here] + planes[1][here] * dx + planes[2][here] * dy
        same = np.abs(ahead - planes[0][to]) < GROWTH_PIXELS * pixel
        joined.append((to, here, same & (np.abs(rgb[to] - rgb[here]).sum(-1) <= least)))
    believed = sure.copy()
    for _ in range(GROWTH_ROUNDS):
        new = np.zeros_like(sure)
        for to, here, same in joined:
            new[to] |= believed[here] & same
        new &= rest & ~believed
        if not new.any():
            break
        believed |= new
    return believed & ~sure


def _beside(dx: int, dy: int) -> tuple[slice, slice]:
    """The pixels of a photo that have a neighbour at (-dx, -dy)."""
    return slice(max(dy, 0), min(dy, 0) or None), slice(max(dx, 0), min(dx, 0) or None)
