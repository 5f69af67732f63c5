"""How well a plane explains a pixel: bilaterally weighted NCC of a patch of the reference photo and its warp into a source.

Notation, all of one reference photo at one size. Pixels are counted from the top left one, (x, y) = (0, 0) being its
centre (K is shifted by half a pixel for that). A plane is its inverse depth as a function of the pixel, which for a
plane in space is affine: w(x + dx, y + dy) = w + wx dx + wy dy with w = 1 / z. A source sees the pixel at

    q ~ A (x, y, 1) + b w(x, y),   A = K_s R K_r^-1,  b = K_s t,   x_s = R x_r + t,

which over a patch is the plane's homography. The cost of one source is 1 - NCC, from 0 to 2; weights are those of a
bilateral filter around the patch's centre (Schönberger et al., Pixelwise view selection for unstructured multi-view
stereo, ECCV 2016). NOISE joins the variances, so that a patch without texture costs about 1 whatever the plane.
The cost of a plane is the mean over the `best` cheapest sources, which passes over those that do not see the spot
(Galliani et al., Massively parallel multiview stereopsis by surface normal diffusion, ICCV 2015).

reference.py holds the readable twin.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recon.kernels.jit import helper, kernel
from recon.kernels.simd import LANES, absolute, floor, maximum, minimum, to_float, to_int
from recon.kernels.simd_memory import gather, load, peek, pointer
from recon.kernels.simd_shuffle import lane_sum

RADIUS = 5
"""Patches reach this many pixels from their centre."""
_REACH = tuple(range(-RADIUS, RADIUS + 1, 2))
OFFSETS = np.array([(dx, dy) for dy in _REACH for dx in _REACH if abs(dx) + abs(dy) < 2 * RADIUS], np.int64)
"""i64[32, 2]: the samples of a patch, every other pixel of a square without its corners; two vectors of 16 lanes."""
COLOUR_SIGMA = 24.0
"""Levels (of 255, summed over the three channels) at which the weight of a sample has fallen to 1 / e."""
SPACE_SIGMA = 5.0
"""Pixels; the Gaussian of the weight's other factor."""
NOISE = 2.0
"""Variance in levels^2 that the photos' noise explains."""
WORST = 2.0
"""Cost of a source that does not see the spot."""
MOST_BEST = 4
STEEPEST = math.cos(math.radians(82))
"""Planes seen at a flatter angle than this are not considered."""
GEOMETRIC_WEIGHT, GEOMETRIC_CAP = 0.2, 3.0
"""Cost of a pixel of forward-backward reprojection error, and the error in pixels beyond which it grows no more (Xu and
Tao, Multi-scale geometric consistency guided multi-view stereo, CVPR 2019).
"""
assert len(OFFSETS) == 2 * LANES

_0, _1, _HALF = np.float32(0), np.float32(1), np.float32(0.5)
_WORST, _NOISE = np.float32(WORST), np.float32(NOISE)
_STEEPEST = np.float32(STEEPEST)
_GEOMETRIC_WEIGHT, _GEOMETRIC_CAP = np.float32(GEOMETRIC_WEIGHT), np.float32(GEOMETRIC_CAP)
_TINY = np.float32(1e-12)


class Reference(NamedTuple):
    """The reference photo at one size (width, height), as kernels read it."""

    width: int
    height: int
    rgbg: NDArray[np.int32]
    """i32[(H + 2 RADIUS) (W + 2 RADIUS)]: bytes red, green, blue and grey from the lowest; blue's last bit: usable. Edges
    are repeated.
    """
    usable: NDArray[np.uint8]
    """u8[H, W]: 0 where a mask or matte takes the pixel out."""
    lens: NDArray[np.float32]
    """f32[4]: fx, fy, cx, cy, pixels, (0, 0) the centre of the first pixel."""
    dx: NDArray[np.float32]
    """f32[32], pixels, from OFFSETS."""
    dy: NDArray[np.float32]
    """f32[32], pixels, from OFFSETS."""
    step: NDArray[np.int32]
    """i32[32], OFFSETS in elements of rgbg."""
    space: NDArray[np.float32]
    """f32[32], spatial factor of the weights."""
    colour: NDArray[np.float32]
    """f32[766], factor of the weights by colour difference."""


class Sources(NamedTuple):
    """S source photos at the reference's level, one after the other in each array of pixels."""

    quads: NDArray[np.int32]
    """i32[pixels]: bytes grey (x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1) from the lowest."""
    usable: NDArray[np.uint8]
    """u8[pixels]."""
    start: NDArray[np.int64]
    """i64[S], where each photo begins."""
    size: NDArray[np.int64]
    """i64[S, 2], (width, height)."""
    warp: NDArray[np.float32]
    """f32[S, 12]: A by rows, then b."""
    back: NDArray[np.float32]
    """f32[S, 12]: the same from the source to the reference."""
    lens: NDArray[np.float32]
    """f32[S, 4], as Reference.lens."""
    turn: NDArray[np.float32]
    """f32[S, 9]: the rotation from the reference's camera frame to the source's, by rows."""
    geometric: bool
    """Whether the sources' planes below count."""
    plane: NDArray[np.float32]
    """f32[3, pixels]: w, wx, wy of the sources; w = 0 where not known. f32[3, 0] unless `geometric`."""


def patch_tables(width: int) -> dict[str, NDArray[Any]]:
    """What Reference needs of the patch for a photo of this width."""
    dx, dy = OFFSETS.T
    return {
        "dx": dx.astype(np.float32),
        "dy": dy.astype(np.float32),
        "step": (dy * (width + 2 * RADIUS) + dx).astype(np.int32),
        "space": np.exp(-(dx**2 + dy**2) / (2 * SPACE_SIGMA**2)).astype(np.float32),
        "colour": np.exp(-np.arange(766) / COLOUR_SIGMA).astype(np.float32),
    }


class ReferenceAt(NamedTuple):
    """A Reference inside of a kernel: numbers and pointers."""

    width: Any
    height: Any
    rgbg: Any
    usable: Any
    dx: Any
    dy: Any
    step: Any
    space: Any
    colour: Any
    fx: Any
    fy: Any
    cx: Any
    cy: Any


class SourcesAt(NamedTuple):
    """Sources inside of a kernel: numbers and pointers."""

    count: Any
    quads: Any
    usable: Any
    start: Any
    size: Any
    warp: Any
    back: Any
    geometric: Any
    pixels: Any
    """Elements of a row of `plane`."""
    plane: Any
    lens: Any
    turn: Any


@helper
def reference_at(ref):
    """ReferenceAt of a Reference, which must outlive it."""
    return ReferenceAt(
        np.int64(ref.width),
        np.int64(ref.height),
        pointer(ref.rgbg),
        pointer(ref.usable),
        pointer(ref.dx),
        pointer(ref.dy),
        pointer(ref.step),
        pointer(ref.space),
        pointer(ref.colour),
        ref.lens[0],
        ref.lens[1],
        ref.lens[2],
        ref.lens[3],
    )


@helper
def sources_at(sources):
    """SourcesAt of Sources, which must outlive it."""
    return SourcesAt(
        np.int64(sources.start.shape[0]),
        pointer(sources.quads),
        pointer(sources.usable),
        pointer(sources.start),
        pointer(sources.size),
        pointer(sources.warp),
        pointer(sources.back),
        sources.geometric,
        np.int64(sources.plane.shape[1]),
        pointer(sources.plane),
        pointer(sources.lens),
        pointer(sources.turn),
    )


@helper
def _half_patch(ref, base, red, green, blue, at):
    """Weights and greys of 16 samples."""
    q = gather(ref.rgbg, load(ref.step, at) + base)
    apart = absolute(to_float(q & 255) - red) + absolute(to_float((q >> 8) & 255) - green)
    apart = apart + absolute(to_float((q >> 16) & 254) - blue)
    weight = gather(ref.colour, to_int(apart)) * load(ref.space, at) * to_float((q >> 16) & 1)
    return weight, to_float((q >> 24) & 255)


@helper
def patch_of(ref, x, y):
    """(a, a', a r, a' r', mean, variance): weights a (sum 1) of two halves of a patch, times its greys about their mean."""
    base = (y + RADIUS) * (ref.width + 2 * RADIUS) + x + RADIUS
    centre = np.int64(peek(ref.rgbg, base))
    red, green, blue = np.float32(centre & 255), np.float32((centre >> 8) & 255), np.float32((centre >> 16) & 254)
    a, p = _half_patch(ref, base, red, green, blue, 0)
    b, q = _half_patch(ref, base, red, green, blue, LANES)
    total = lane_sum(a + b)
    scale = _1 / max(total, _TINY)
    a, b = a * scale, b * scale
    mean = lane_sum(a * p + b * q)
    p, q = p - mean, q - mean
    ap, bq = a * p, b * q
    return a, b, ap, bq, mean, lane_sum(ap * p + bq * q)


@helper
def _half_warp(src, j, ref, at, mean, cx, cy, cz, ux, uy, uz, vx, vy, vz):
    """Greys less `mean` of 16 samples in source j; c: the homography at the centre, u and v: its columns."""
    width, height = peek(src.size, 2 * j), peek(src.size, 2 * j + 1)
    dx, dy = load(ref.dx, at), load(ref.dy, at)
    share = _1 / maximum(dx * uz + dy * vz + cz, _TINY)
    x = minimum(maximum((dx * ux + dy * vx + cx) * share, _0), np.float32(width - 1))
    y = minimum(maximum((dx * uy + dy * vy + cy) * share, _0), np.float32(height - 1))
    left, top = floor(x), floor(y)
    x, y = x - left, y - top
    q = gather(src.quads, to_int(top) * width + to_int(left) + peek(src.start, j))
    above = to_float(q & 255) - mean
    above = above + (to_float((q >> 8) & 255) - mean - above) * x
    below = to_float((q >> 16) & 255) - mean
    below = below + (to_float((q >> 24) & 255) - mean - below) * x
    return above + (below - above) * y


@helper
def warped(matrices, j, x, y, w):
    """Homogeneous pixel (cx, cy, cz) that matrix j of Sources.warp or .back makes of a pixel and its inverse depth."""
    k = 12 * j
    cx = peek(matrices, k) * x + peek(matrices, k + 1) * y + peek(matrices, k + 2) + peek(matrices, k + 9) * w
    cy = peek(matrices, k + 3) * x + peek(matrices, k + 4) * y + peek(matrices, k + 5) + peek(matrices, k + 10) * w
    cz = peek(matrices, k + 6) * x + peek(matrices, k + 7) * y + peek(matrices, k + 8) + peek(matrices, k + 11) * w
    return cx, cy, cz


@helper
def landing(src, j, cx, cy, cz):
    """(u, v, pixel): where a homogeneous pixel lies in source j, and the pixel there, in order; -1 where it sees nothing."""
    if not cz > _TINY:
        return _0, _0, np.int64(-1)
    u, v = cx / cz, cy / cz
    width, height = peek(src.size, 2 * j), peek(src.size, 2 * j + 1)
    if not (u >= _0 and v >= _0 and u <= np.float32(width - 1) and v <= np.float32(height - 1)):
        return u, v, np.int64(-1)
    return u, v, peek(src.start, j) + np.int64(v + _HALF) * width + np.int64(u + _HALF)


@helper
def source_cost(ref, src, j, x, y, w, wx, wy, patch):
    """1 - NCC of the patch in source j, with its geometric penalty where planes are known; WORST where j does not see it."""
    fx, fy = np.float32(x), np.float32(y)
    cx, cy, cz = warped(src.warp, j, fx, fy, w)
    u, v, near = landing(src, j, cx, cy, cz)
    if near < 0 or peek(src.usable, near) == 0:
        return _WORST
    a, b, ap, bq, mean, variance = patch
    k = 12 * j
    m, bx, by, bz = src.warp, peek(src.warp, k + 9), peek(src.warp, k + 10), peek(src.warp, k + 11)
    ux, uy, uz = peek(m, k) + bx * wx, peek(m, k + 3) + by * wx, peek(m, k + 6) + bz * wx
    vx, vy, vz = peek(m, k + 1) + bx * wy, peek(m, k + 4) + by * wy, peek(m, k + 7) + bz * wy
    p = _half_warp(src, j, ref, 0, mean, cx, cy, cz, ux, uy, uz, vx, vy, vz)
    q = _half_warp(src, j, ref, LANES, mean, cx, cy, cz, ux, uy, uz, vx, vy, vz)
    other = lane_sum(a * p + b * q)
    spread = max(lane_sum(a * p * p + b * q * q) - other * other, _0)
    both = lane_sum(ap * p + bq * q)
    cost = _1 - both / math.sqrt((variance + _NOISE) * (spread + _NOISE))
    if src.geometric:
        error = there_and_back(src, j, fx, fy, u, v, near)
        cost += _GEOMETRIC_WEIGHT * min(error, _GEOMETRIC_CAP)
    return cost


@helper
def plane_there(src, j, u, v, near):
    """(w, wx, wy) of the plane that source j has in its pixel `near`, continued to (u, v); w = 0 where it has none."""
    at, width = near - peek(src.start, j), peek(src.size, 2 * j)
    row = np.int64(np.float32(at) / np.float32(width))
    row -= np.int64(row * width > at)
    row += np.int64((row + 1) * width <= at)
    w = peek(src.plane, near)
    wx, wy = peek(src.plane, src.pixels + near), peek(src.plane, 2 * src.pixels + near)
    if w > _0:
        w += wx * (u - np.float32(at - row * width)) + wy * (v - np.float32(row))
    return w, wx, wy


@helper
def there_and_back(src, j, x, y, u, v, near):
    """Pixels between (x, y) and where the plane that source j has at (u, v) leads back to; GEOMETRIC_CAP without one."""
    w, _, _ = plane_there(src, j, u, v, near)
    cx, cy, cz = warped(src.back, j, u, v, w)
    if not (w > _0 and cz > _TINY):
        return _GEOMETRIC_CAP
    dx, dy = cx / cz - x, cy / cz - y
    return np.float32(math.sqrt(dx * dx + dy * dy))


@helper
def plane_cost(ref, src, best, x, y, w, wx, wy, patch):
    """The mean cost over the `best` (1 to MOST_BEST) cheapest sources; over fewer, but two, where fewer see the spot."""
    first, second, third, fourth = _WORST, _WORST, _WORST, _WORST
    seen = 0
    for j in range(src.count):
        cost = source_cost(ref, src, j, x, y, w, wx, wy, patch)
        seen += np.int64(cost < _WORST)
        first, cost = min(first, cost), max(first, cost)
        second, cost = min(second, cost), max(second, cost)
        third, cost = min(third, cost), max(third, cost)
        fourth = min(fourth, cost)
    best = min(best, max(seen, 2))
    if best == 1:
        return first
    if best == 2:
        return _HALF * (first + second)
    if best == 3:
        return (first + second + third) * np.float32(1 / 3)
    return np.float32(0.25) * (first + second + third + fourth)


@helper
def is_possible(ref, x, y, w, wx, wy):
    """Whether a plane lies in front of the camera and is seen at less than 82 degrees from its normal."""
    nx, ny = ref.fx * wx, ref.fy * wy  # the plane's normal over its distance, in the camera's frame
    rx, ry = (np.float32(x) - ref.cx) / ref.fx, (np.float32(y) - ref.cy) / ref.fy
    nz = w - nx * rx - ny * ry
    length = math.sqrt((nx * nx + ny * ny + nz * nz) * (rx * rx + ry * ry + _1))
    return w > _0 and w > _STEEPEST * length


@kernel
def score(start, stop, reference, sources, best, plane, cost):
    """cost f32[H, W] of the planes f32[3, H, W] in rows start .. stop; WORST where unusable or impossible."""
    ref, src = reference_at(reference), sources_at(sources)
    for y in range(start, stop):
        for x in range(ref.width):
            w, wx, wy = plane[0, y, x], plane[1, y, x], plane[2, y, x]
            least = _WORST
            if reference.usable[y, x] != 0 and is_possible(ref, x, y, w, wx, wy):
                least = plane_cost(ref, src, best, x, y, w, wx, wy, patch_of(ref, x, y))
            cost[y, x] = least
