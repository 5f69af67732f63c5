"""PatchMatch: each pixel's plane from its neighbours' planes and from random changes of its own. Notation as in cost.py.

A sweep visits the pixels of one colour of a checkerboard; they read only pixels of the other colour, so the result does
not depend on who computes what (Galliani et al., ICCV 2015). Each takes the cheapest plane of eight regions around it,
near and far in four directions (Xu and Tao, CVPR 2019), continued to its own place (slanted planes: Bleyer et al.,
PatchMatch stereo, BMVC 2011), and then tries random changes of what it has, ever smaller ones from sweep to sweep.
Random numbers are a hash of pixel, sweep and draw.
"""

from __future__ import annotations

import math

import numpy as np

from recon.depth.cost import RADIUS, is_possible, patch_of, plane_cost, reference_at, sources_at
from recon.kernels.jit import helper, kernel
from recon.kernels.simd_memory import peek, pointer

_NEAR = ((0, -1), (-1, -2), (1, -2), (-2, -3), (2, -3), (0, -1), (0, -1), (0, -1), (0, -1))
_FAR = tuple((0, -k) for k in range(3, 21, 2))


def _turned(offsets: tuple[tuple[int, int], ...], quarter_turns: int) -> tuple[tuple[int, int], ...]:
    for _ in range(quarter_turns):
        offsets = tuple((-y, x) for x, y in offsets)
    return offsets


REGIONS = np.array([_turned(shape, turn) for shape in (_NEAR, _FAR) for turn in range(4)], np.int64)
"""i64[TURNS, REGION, 2]: offsets (x, y) of the pixels of each region, all of the other colour."""
TURNS, REGION = 8, 9
DRAWS = 4
"""Random changes a sweep: of w, of the normal, of both, and a plane out of nothing."""
STEP_PRICE, _FARTHEST_STEP = np.float32(0.04), np.float32(0.08)
"""Price of a step of a pixel (in the sources) between a spot and a neighbour of the same colour, and the most it may be. It
decides where patches without texture do not.
"""
_SAME = np.float32(0.02)
"""Pixels in the sources by which a neighbour's plane must differ to be worth a look."""
_PATCH = np.float32(5)
_MIX, _MUL1, _MUL2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_1 = np.float32(1)


@helper
def _uniform(key, draw):
    """A number of [-1, 1): splitmix64 (Steele et al., Fast splittable pseudorandom number generators, 2014)."""
    z = key + np.uint64(draw + 1) * _MIX
    z = (z ^ (z >> np.uint64(30))) * _MUL1
    z = (z ^ (z >> np.uint64(27))) * _MUL2
    z = z ^ (z >> np.uint64(31))
    return np.float32(np.int64(z >> np.uint64(40)) - 8388608) * np.float32(1 / 8388608)


@helper
def _slopes(ref, x, y, w, nx, ny, nz):
    """(wx, wy) of the plane with this normal (any length) through the pixel; (inf, inf) when seen from behind."""
    rx, ry = (np.float32(x) - ref.cx) / ref.fx, (np.float32(y) - ref.cy) / ref.fy
    facing = nx * rx + ny * ry + nz
    if facing <= np.float32(1e-6):
        return np.float32(np.inf), np.float32(np.inf)
    return nx * w / (ref.fx * facing), ny * w / (ref.fy * facing)


@helper
def _drawn(ref, x, y, w, wx, wy, kind, key, w_step, turn, w_least, w_most):
    """A random change of a plane: 0 of w, 1 of the normal, 2 of both, 3 a plane out of nothing."""
    first = kind * 8
    rx, ry = (np.float32(x) - ref.cx) / ref.fx, (np.float32(y) - ref.cy) / ref.fy
    if kind == 3:
        w = w_least + (w_most - w_least) * np.float32(0.5) * (_uniform(key, first) + _1)
        nx, ny, nz = rx, ry, _1
        turn = np.float32(0.95)
    else:
        nx, ny = ref.fx * wx, ref.fy * wy
        nz = w - nx * rx - ny * ry
    length = math.sqrt(nx * nx + ny * ny + nz * nz)
    nx, ny, nz = nx / length, ny / length, nz / length
    if kind == 0 or kind == 2:  # most changes are small: sizes are spread over four octaves
        size = math.exp(np.float32(-1.4) * (_uniform(key, first + 1) + _1))
        w += np.float32(w_step * size) * _uniform(key, first + 2)
    if kind != 0:
        ax, ay, az = _uniform(key, first + 3), _uniform(key, first + 4), _uniform(key, first + 5)
        scale = turn / max(math.sqrt(ax * ax + ay * ay + az * az), np.float32(1e-6))
        if kind != 3:
            scale *= np.float32(0.5) * (_uniform(key, first + 6) + _1)
        nx, ny, nz = nx + scale * ax, ny + scale * ay, nz + scale * az
    wx, wy = _slopes(ref, x, y, w, nx, ny, nz)
    return w, wx, wy


@helper
def cheapest(cost, regions, kind, ref, x, y):
    """The pixel, in order, of the cheapest in a region; -1 where it lies outside of the photo."""
    least, at = np.float32(np.inf), np.int64(-1)
    for i in range(REGION):
        k = 2 * (REGION * kind + i)
        u, v = x + peek(regions, k), y + peek(regions, k + 1)
        if u >= 0 and v >= 0 and u < ref.width and v < ref.height:
            here = v * ref.width + u
            if peek(cost, here) < least:
                least, at = peek(cost, here), here
    return at


@helper
def differs(w, wx, wy, w0, wx0, wy0, pixel):
    """Whether two planes are more than a trifle apart somewhere on the patch."""
    return abs(w - w0) + _PATCH * (abs(wx - wx0) + abs(wy - wy0)) > _SAME * pixel


@helper
def likeness(ref, x, y, dx, dy):
    """Weight 0..1 by which the neighbour at (dx, dy) should lie on the same surface: by its colour; 0 where there is none."""
    u, v = x + dx, y + dy
    if u < 0 or v < 0 or u >= ref.width or v >= ref.height or peek(ref.usable, v * ref.width + u) == 0:
        return np.float32(0)
    row = ref.width + 2 * RADIUS
    base = (y + RADIUS) * row + x + RADIUS
    a, b = np.int64(peek(ref.rgbg, base)), np.int64(peek(ref.rgbg, base + dy * row + dx))
    apart = abs((a & 255) - (b & 255)) + abs(((a >> 8) & 255) - ((b >> 8) & 255))
    return peek(ref.colour, apart + abs(((a >> 16) & 254) - ((b >> 16) & 254)))


@helper
def _step(like, there, w, scale):
    """Price of a neighbour whose inverse depth `there` is not that of the plane's continuation w."""
    return like * min(abs(there - w) * scale, _FARTHEST_STEP)


@kernel
def sweep(
    start, stop, reference, sources, best, plane, cost, regions, colour, seed, pixel, reach, turn, w_least, w_most
):
    """One sweep over the pixels (x + y) % 2 = colour of rows start .. stop; plane f32[3, H, W], cost f32[H, W] in place.

    pixel: w that moves the spot by a pixel in the sources; reach: pixels that a change of w moves it by at most; turn:
    largest change of the normal (a length of unit vectors); w_least, w_most: range of planes out of nothing. `cost` stays
    that of the patches; the steps to the four neighbours count beside it.
    """
    ref, src = reference_at(reference), sources_at(sources)
    costs, shapes, scale = pointer(cost), pointer(regions), STEP_PRICE / pixel
    for y in range(start, stop):
        for x in range((y + colour) % 2, ref.width, 2):
            if peek(ref.usable, y * ref.width + x) == 0:
                continue
            key = (np.uint64(seed) << np.uint64(40)) + np.uint64(y * ref.width + x) * np.uint64(64)
            patch = patch_of(ref, x, y)
            w, wx, wy, least = plane[0, y, x], plane[1, y, x], plane[2, y, x], cost[y, x]
            like_w, like_e = likeness(ref, x, y, -1, 0), likeness(ref, x, y, 1, 0)
            like_n, like_s = likeness(ref, x, y, 0, -1), likeness(ref, x, y, 0, 1)
            west, east = plane[0, y, max(x - 1, 0)], plane[0, y, min(x + 1, ref.width - 1)]
            north, south = plane[0, max(y - 1, 0), x], plane[0, min(y + 1, ref.height - 1), x]
            rough = _step(like_w, west, w - wx, scale) + _step(like_e, east, w + wx, scale)
            rough += _step(like_n, north, w - wy, scale) + _step(like_s, south, w + wy, scale)
            for kind in range(TURNS + DRAWS):
                a, ax, ay = w, wx, wy
                if kind < TURNS:
                    at = cheapest(costs, shapes, kind, ref, x, y)
                    if at >= 0:
                        v, u = at // ref.width, at % ref.width
                        ax, ay = plane[1, v, u], plane[2, v, u]
                        a = plane[0, v, u] + ax * np.float32(x - u) + ay * np.float32(y - v)
                else:
                    size = reach * pixel
                    a, ax, ay = _drawn(ref, x, y, w, wx, wy, kind - TURNS, key, size, turn, w_least, w_most)
                if differs(a, ax, ay, w, wx, wy, pixel) and is_possible(ref, x, y, a, ax, ay):
                    found = plane_cost(ref, src, best, x, y, a, ax, ay, patch)
                    steps = _step(like_w, west, a - ax, scale) + _step(like_e, east, a + ax, scale)
                    steps += _step(like_n, north, a - ay, scale) + _step(like_s, south, a + ay, scale)
                    if found + steps < least + rough:
                        w, wx, wy, least, rough = a, ax, ay, found, steps
            plane[0, y, x], plane[1, y, x], plane[2, y, x], cost[y, x] = w, wx, wy, least
