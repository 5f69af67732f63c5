"""Holes are closed where they are small and no photo looked through them; the report tells what was closed and what was not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.mesh import face_normals
from recon.mesh.clean import face_components
from recon.mesh.loops import border_loops, measure
from recon.mesh.patch import Patches, faired, refined, triangulate
from recon.mesh.raster import in_camera
from recon.mesh.views import DepthView

MOST_EDGES = 1500
"""Loops of more edges stay open: triangulating them takes the cube of their number."""
THROUGH = 1 / 3
"""A view looks through a patch when it measured something clearly farther at this share of its points."""
CLEARLY = 0.01
"""Of z, and the slack beside it: what is clearly farther."""


@dataclass(frozen=True)
class Filled:
    """A surface, and what became of its holes."""

    xyz: NDArray[np.float32]
    """f32[V', 3], the given vertices first."""
    faces: NDArray[np.int32]
    """i32[F', 3], the given faces first."""
    closed: int
    """Loops that were closed."""
    area: float
    """Of what closes them, world units squared."""
    through: int
    """Small loops that stay open because photos looked through them."""
    outlines: int
    """Small loops that stay open because they go around a piece of surface, not around a hole in one."""

    def to_json(self) -> dict[str, float]:
        return {
            "filled": self.closed,
            "filled_area": self.area,
            "seen_through": self.through,
            "outlines": self.outlines,
        }


def extent(xyz: NDArray) -> float:
    """The diagonal of the box of all but the outer hundredth of points [V, 3] on every side, world units."""
    low, high = np.quantile(xyz, [0.01, 0.99], axis=0) if len(xyz) else np.zeros((2, 3))
    return float(np.linalg.norm(high - low))


def fill_holes(
    xyz: NDArray, faces: NDArray, widest: float, views: Iterable[DepthView] = (), slack: float = 0.0
) -> Filled:
    """Close loops up to `widest` across (world units), unless `views` measured something behind a patch.

    slack: how far z may be behind a patch and still be of it, world units.
    """
    points = xyz.astype(np.float64)
    loops, longest = _narrow(points, faces, widest)
    patches, outlines = _flat(points, faces, loops, longest)
    nothing = Filled(xyz.astype(np.float32), faces.astype(np.int32), 0, 0.0, 0, outlines)
    if len(patches.faces) == 0:
        return nothing
    spacing = np.array([measure(points[loop])[0] / len(loop) for loop in loops])
    widths = np.array([_width(points[loop]) for loop in loops])
    patches = refined(points, patches, spacing)
    every = np.concatenate([points, faired(points, faces, patches, widths)])
    open_again = seen_through(every, patches, len(loops), views, slack)
    kept = ~open_again[patches.loop]
    through = int(open_again[np.unique(patches.loop)].sum())
    area = 0.5 * float(np.linalg.norm(face_normals(every, patches.faces[kept]), axis=1).sum())
    return Filled(
        every.astype(np.float32),
        np.concatenate([faces, patches.faces[kept]]).astype(np.int32),
        len(np.unique(patches.loop[kept])),
        area,
        through,
        outlines,
    )


def _width(ring: NDArray) -> float:
    """The diagonal of a loop's box."""
    return float(np.linalg.norm(np.ptp(ring, axis=0)))


def _narrow(points: NDArray, faces: NDArray, widest: float) -> tuple[list[NDArray[np.int64]], set[int]]:
    """The loops that are to be closed, and which of them are the longest of their part of the surface."""
    loops = border_loops(faces) if widest > 0 else []
    part = np.zeros(len(points), np.int64)
    part[faces.reshape(-1)] = np.repeat(face_components(faces), 3)
    length = np.array([measure(points[loop])[0] for loop in loops])
    of_loop = np.array([part[loop[0]] for loop in loops], np.int64)
    longest = {
        int(rows[np.argmax(length[rows])]) for p in np.unique(of_loop) for rows in [np.flatnonzero(of_loop == p)]
    }
    narrow = [i for i, p in enumerate(loops) if len(p) <= MOST_EDGES and _width(points[p]) <= widest]
    return [loops[i] for i in narrow], {row for row, i in enumerate(narrow) if i in longest}


def _flat(points: NDArray, faces: NDArray, loops: list[NDArray[np.int64]], longest: set[int]) -> tuple[Patches, int]:
    """Triangulations of the loops, and how many were left out because they go around a piece of the surface."""
    n = len(points)
    on_loop = np.zeros(n, bool)
    for loop in loops:
        on_loop[loop] = True
    touching = faces[on_loop[faces].any(1)]
    a, b = touching.reshape(-1).astype(np.int64), touching[:, [1, 2, 0]].reshape(-1).astype(np.int64)
    edges = np.unique(np.minimum(a, b) * n + np.maximum(a, b))
    ahead = a * n + b
    order = np.argsort(ahead)
    normals = np.repeat(face_normals(points, touching), 3, axis=0)[order]
    ahead = ahead[order]
    parts, numbers, outlines, used = [], [], 0, set()
    for number, loop in enumerate(loops):
        pairs = np.minimum(loop[:, None], loop) * n + np.maximum(loop[:, None], loop)
        place = np.minimum(np.searchsorted(edges, pairs), len(edges) - 1)
        ring = loop[triangulate(points[loop], edges[place] == pairs)]
        if len(ring) == 0:
            continue
        chords = {(min(p, q), max(p, q)) for t in ring.tolist() for p, q in zip(t, t[1:] + t[:1], strict=True)}
        chords -= {(min(p, q), max(p, q)) for p, q in zip(loop.tolist(), np.roll(loop, 1).tolist(), strict=True)}
        if chords & used:
            continue
        beside = normals[np.searchsorted(ahead, np.roll(loop, -1) * n + loop)]
        if number in longest and np.einsum("i,fi->", face_normals(points, ring).sum(0), beside) <= 0:
            outlines += 1
            continue
        used |= chords
        parts.append(ring)
        numbers.append(np.full(len(ring), number))
    if not parts:
        return Patches(np.zeros((0, 3)), np.zeros((0, 3), np.int64), np.zeros(0, np.int64)), outlines
    return Patches(np.zeros((0, 3)), np.concatenate(parts), np.concatenate(numbers)), outlines


def seen_through(
    points: NDArray[np.float64], patches: Patches, loops: int, views: Iterable[DepthView], slack: float
) -> NDArray[np.bool_]:
    """bool[loops]: patches that views look through: two or more (one of one), and more than see a surface there."""
    at, owner = points[patches.faces].mean(1), patches.loop
    size = np.maximum(np.bincount(owner, minlength=loops), 1)
    through, against, count = np.zeros(loops, np.int64), np.zeros(loops, np.int64), 0
    for view in views:
        count += 1
        far, z, inside = _behind(view, at)
        limit = slack + CLEARLY * z
        beyond = np.bincount(owner, inside & (far > z + limit), loops) / size
        there = np.bincount(owner, inside & (far > 0) & (np.abs(far - z) <= limit), loops) / size
        through += (beyond >= THROUGH) & (beyond > there)
        against += (there >= THROUGH) & (there >= beyond)
    return (through >= min(2, max(count, 1))) & (through > against)


def _behind(view: DepthView, at: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """The least z measured in and around the pixel of each point (0: some are not measured), the points' z, whether inside.

    z that is infinite where nothing is measured means that there is nothing at all.
    """
    import cv2

    known = (view.confidence > 0) & (np.nan_to_num(view.z) > 0) | np.isposinf(view.z)
    far = np.where(known, np.nan_to_num(view.z, posinf=3e38), 0).astype(np.float32)
    far = cv2.erode(far, np.ones((3, 3), np.uint8))
    p, k = in_camera(view.camera, at), view.camera.K[0]
    z = np.maximum(p[:, 2], 1e-9)
    u, v = k[0, 0] * p[:, 0] / z + k[0, 2], k[1, 1] * p[:, 1] / z + k[1, 2]
    height, width = far.shape
    inside = (p[:, 2] > 1e-9) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    col, row = np.clip(u, 0, width - 1).astype(np.int64), np.clip(v, 0, height - 1).astype(np.int64)
    return far[row, col].astype(np.float64), z, inside
