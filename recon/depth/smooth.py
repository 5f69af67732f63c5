"""Neighbours decide together: of a few candidate planes a pixel those that also fit to each other. Notation as in cost.py.

PatchMatch settles each pixel by its own patch, which says little where there is no texture. Here each pixel has as
candidates its own plane and those of eight regions around it, and along straight paths through the photo the cheapest
sequence of candidates is found: a candidate's cost is that of its patch, and a step from a pixel to the next costs what
lies between their two planes (semi-global matching: Hirschmüller, Stereo processing by semiglobal matching and mutual
information, PAMI 2008; over planes: Scharstein et al., Semi-global stereo matching with surface orientation priors, 3DV
2017). The sum over all paths decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.depth.cost import RADIUS, Reference, Sources, is_possible, patch_of, plane_cost, reference_at, sources_at
from recon.depth.patchmatch import REGIONS, TURNS, cheapest, differs, likeness
from recon.kernels.jit import DOOR, kernel, spread
from recon.kernels.simd import LANES, absolute, fill, minimum
from recon.kernels.simd_memory import load, peek, pointer, store

CANDIDATES = 1 + TURNS
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1))
"""Steps (x, y) of the paths."""
JUMP_PRICE, JUMP_CAP, LEAST_LIKE = np.float32(0.05), np.float32(0.25), np.float32(0.1)
"""Price of a pixel (in the sources) between the planes of two neighbours of the same colour, the most that it may be, and
the share of it for neighbours of any colour.
"""
BAND = 4_000_000
"""Pixels that are smoothed at a time, 320 bytes each: larger photos go in bands of rows."""
OVERLAP = 64
"""Rows beyond a band that are looked at: so far paths are followed that come into it from the next."""
_NONE = np.float32(1e9)
_0, _HALF = np.float32(0), np.float32(0.5)


@kernel
def offered(start, stop, reference, sources, best, plane, cost, regions, pixel, candidate, unary):
    """The candidates f32[H, W, 3, LANES] of rows start .. stop, and what their patches cost, unary f32[H, W, LANES]."""
    ref, src = reference_at(reference), sources_at(sources)
    costs, shapes = pointer(cost), pointer(regions)
    for y in range(start, stop):
        for x in range(ref.width):
            w, wx, wy = plane[0, y, x], plane[1, y, x], plane[2, y, x]
            candidate[y, x, 0, :], candidate[y, x, 1, :], candidate[y, x, 2, :] = w, wx, wy
            unary[y, x, :] = _NONE
            if peek(ref.usable, y * ref.width + x) == 0:
                continue
            unary[y, x, 0] = cost[y, x]
            patch = patch_of(ref, x, y)
            for kind in range(TURNS):
                at = cheapest(costs, shapes, kind, ref, x, y)
                if at < 0:
                    continue
                v, u = at // ref.width, at % ref.width
                ax, ay = plane[1, v, u], plane[2, v, u]
                a = plane[0, v, u] + ax * np.float32(x - u) + ay * np.float32(y - v)
                if differs(a, ax, ay, w, wx, wy, pixel) and is_possible(ref, x, y, a, ax, ay):
                    k = kind + 1
                    candidate[y, x, 0, k], candidate[y, x, 1, k], candidate[y, x, 2, k] = a, ax, ay
                    unary[y, x, k] = plane_cost(ref, src, best, x, y, a, ax, ay, patch)


@kernel
def along(start, stop, reference, begin, dx, dy, scale, price_cap, candidate, unary, total):
    """Add to total f32[H, W, LANES] what the paths that begin at begin[start .. stop] (x, y) and go by (dx, dy) say."""
    ref = reference_at(reference)
    planes, own, sums = pointer(candidate), pointer(unary), pointer(total)
    room = np.empty(2 * LANES, np.float32)  # the last pixel's costs, and its planes continued to this one
    before = pointer(room)
    fx, fy = np.float32(dx), np.float32(dy)
    for path in range(start, stop):
        x, y, last = begin[path, 0], begin[path, 1], np.int64(-1)
        while x >= 0 and y >= 0 and x < ref.width and y < ref.height:
            here = y * ref.width + x
            x, y = x + dx, y + dy
            if peek(own, LANES * here) >= _NONE:
                last = np.int64(-1)
                continue
            now = load(own, LANES * here)
            if last >= 0:
                like = max(likeness(ref, x - dx, y - dy, -dx, -dy), LEAST_LIKE)
                slope, at, then = like * scale * _HALF, 3 * LANES * here, 3 * LANES * last
                a = load(planes, at)
                back = a - load(planes, at + LANES) * fx - load(planes, at + 2 * LANES) * fy
                b, bx, by = load(planes, then), load(planes, then + LANES), load(planes, then + 2 * LANES)
                store(before, LANES, b + bx * fx + by * fy)
                least, most = fill(like * price_cap), like * price_cap
                for j in range(CANDIDATES):
                    paid = peek(before, j)
                    if paid < most:
                        apart = absolute(a - peek(before, LANES + j)) + absolute(back - peek(planes, then + j))
                        least = minimum(least, apart * slope + paid)
                now = now + least
            store(sums, LANES * here, load(sums, LANES * here) + now)
            store(before, 0, now)
            lowest = peek(before, 0)
            for j in range(1, CANDIDATES):
                lowest = min(lowest, peek(before, j))
            store(before, 0, now - lowest)
            last = here


@kernel
def decided(start, stop, usable, candidate, unary, total, plane, cost):
    """The candidate of the lowest total in rows start .. stop, into plane f32[3, H, W] and cost f32[H, W]."""
    for y in range(start, stop):
        for x in range(cost.shape[1]):
            k = 0
            for j in range(CANDIDATES):
                if total[y, x, j] < total[y, x, k]:
                    k = j
            if usable[y, x] != 0:
                plane[0, y, x], plane[1, y, x] = candidate[y, x, 0, k], candidate[y, x, 1, k]
                plane[2, y, x], cost[y, x] = candidate[y, x, 2, k], unary[y, x, k]


def begins(width: int, height: int, dx: int, dy: int) -> NDArray[np.int64]:
    """i64[P, 2]: the pixels (x, y) where paths that go by (dx, dy) enter the photo."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    inside = (x - dx >= 0) & (x - dx < width) & (y - dy >= 0) & (y - dy < height)
    return np.stack([x[~inside], y[~inside]], -1).astype(np.int64)


def smooth(
    reference: Reference,
    sources: Sources,
    best: int,
    plane: NDArray[np.float32],
    cost: NDArray[np.float32],
    pixel: float,
) -> None:
    """Change plane f32[3, H, W] and cost f32[H, W] in place. pixel: w that moves a spot by a pixel in the sources.

    The sources' planes must not count (Sources.geometric) where the photo has more pixels than BAND.
    """
    height, width = cost.shape
    if height * width <= BAND:
        _smooth(reference, sources, best, plane, cost, pixel)
        return
    plane_before, cost_before = plane.copy(), cost.copy()
    rows = max(BAND // width - 2 * OVERLAP, OVERLAP)
    for start in range(0, height, rows):
        stop, top = min(start + rows, height), max(start - OVERLAP, 0)
        seen, own = slice(top, min(stop + OVERLAP, height)), slice(start - top, stop - top)
        band, band_cost = plane_before[:, seen].copy(), cost_before[seen].copy()
        _smooth(*rows_of(reference, sources, seen), best, band, band_cost, pixel)
        plane[:, start:stop], cost[start:stop] = band[:, own], band_cost[own]


def rows_of(reference: Reference, sources: Sources, rows: slice) -> tuple[Reference, Sources]:
    """Those rows of the reference photo as a photo of their own, and its sources (not geometric)."""
    assert not sources.geometric
    wide, lens, warp = reference.width + 2 * RADIUS, reference.lens.copy(), sources.warp.copy()
    lens[3] -= rows.start
    warp[:, [2, 5, 8]] += rows.start * warp[:, [1, 4, 7]]
    part = reference._replace(
        height=rows.stop - rows.start,
        rgbg=reference.rgbg[wide * rows.start : wide * (rows.stop + 2 * RADIUS)],
        usable=reference.usable[rows],
        lens=lens,
    )
    return part, sources._replace(warp=warp)


def _smooth(
    reference: Reference,
    sources: Sources,
    best: int,
    plane: NDArray[np.float32],
    cost: NDArray[np.float32],
    pixel: float,
) -> None:
    """smooth() of a photo or a band of it."""
    height, width = cost.shape
    candidate = np.empty((height, width, 3, LANES), np.float32)
    unary, total = np.empty((height, width, LANES), np.float32), np.zeros((height, width, LANES), np.float32)
    scale = np.float32(JUMP_PRICE / pixel)
    work = (reference, sources, best, plane, cost, REGIONS, np.float32(pixel), candidate, unary)
    with DOOR:
        spread(offered, height, *work, grain=4)
        for dx, dy in DIRECTIONS:
            begin = begins(width, height, dx, dy)
            spread(along, len(begin), reference, begin, dx, dy, scale, JUMP_CAP, candidate, unary, total, grain=16)
        spread(decided, height, reference.usable, candidate, unary, total, plane, cost, grain=16)
