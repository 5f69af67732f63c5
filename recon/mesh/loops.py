"""The borders of a surface as closed loops, which of them are holes, and what is said about each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.kernels.jit import kernel
from recon.mesh import face_normals
from recon.mesh.clean import face_components

ENDS = 0.5
"""Cosine between what closes a loop and the surface beside it, up to which a part ends at its longest loop."""


def opposites(faces: NDArray) -> NDArray[np.int64]:
    """i64[3F]: for the edge from corner h to the next of its face (h = 3 face + corner), the same edge of the face beside it;
    -1 at borders, and where more than two faces meet or their orientations differ.
    """
    if len(faces) == 0:
        return np.zeros(0, np.int64)
    start, end = faces.reshape(-1).astype(np.int64), faces[:, [1, 2, 0]].reshape(-1).astype(np.int64)
    n = int(faces.max()) + 1
    there, back = start * n + end, end * n + start
    order = np.argsort(there, kind="stable")
    in_order = there[order]
    place = np.minimum(np.searchsorted(in_order, back), len(there) - 1)
    single = np.ones(len(there), bool)
    twice = in_order[1:] == in_order[:-1]
    single[order[1:][twice]] = single[order[:-1][twice]] = False
    out = np.where((in_order[place] == back) & single, order[place], -1)
    return np.where((out >= 0) & single[out], out, -1)


def border_loops(faces: NDArray) -> list[NDArray[np.int64]]:
    """The loops that the borders form, each as its vertices in the order in which faces that closed it would run.

    A loop names no vertex twice: where a border touches itself it is two loops.
    """
    opposite = opposites(faces)
    after = following_border(opposite)
    loops: list[NDArray[np.int64]] = []
    flat, seen = faces.reshape(-1), np.zeros(len(opposite), bool)
    for first in np.flatnonzero(opposite < 0):
        if seen[first]:
            continue
        ring, at = [], int(first)
        while not seen[at]:
            seen[at] = True
            ring.append(int(flat[at]))
            at = int(after[at])
        loops += [np.array(part[::-1], np.int64) for part in _simple(ring) if len(part) >= 3]
    return loops


def _simple(ring: list[int]) -> list[list[int]]:
    """A ring cut where it comes back to a vertex."""
    parts: list[list[int]] = []
    path: list[int] = []
    place: dict[int, int] = {}
    for v in ring:
        if v in place:
            parts.append(path[place[v] :])
            for u in path[place[v] :]:
                del place[u]
            path = path[: len(place)]
        place[v] = len(path)
        path.append(v)
    return [*parts, path]


@kernel
def following_border(opposite):
    """For each border edge the next one, around the faces at its end; -1 for inner edges."""
    after = np.full(len(opposite), -1, np.int64)
    for first in range(len(opposite)):
        if opposite[first] >= 0:
            continue
        h = first - first % 3 + (first + 1) % 3
        while opposite[h] >= 0:
            h = opposite[h]
            h = h - h % 3 + (h + 1) % 3
        after[first] = h
    return after


@dataclass(frozen=True)
class Holes:
    """The borders of a surface: holes in it, and open borders, where it ends. Both longest first."""

    lengths: NDArray[np.float64]
    """f64[H], around each hole, world units."""
    areas: NDArray[np.float64]
    """f64[H], that each encloses (of its flat shadow where that is largest), world units squared."""
    centers: NDArray[np.float64]
    """f64[H, 3], the mean of each one's edges, world."""
    open_lengths: NDArray[np.float64]
    """f64[O], of the open borders, world units."""

    @property
    def loops(self) -> int:
        """How many holes."""
        return len(self.lengths)

    def to_json(self, most: int = 50, digits: int = 6) -> dict[str, object]:
        rows = zip(self.lengths[:most], self.areas[:most], self.centers[:most], strict=True)
        return {
            "count": self.loops,
            "total_length": float(self.lengths.sum()),
            "longest": [round(float(length), digits) for length in self.lengths[:20]],
            "largest": [
                {
                    "length": round(float(a), digits),
                    "area": float(f"{b:.4g}"),
                    "at": [round(float(x), digits) for x in c],
                }
                for a, b, c in rows
            ],
            "open_borders": {
                "count": len(self.open_lengths),
                "total_length": float(self.open_lengths.sum()),
                "longest": [round(float(length), digits) for length in self.open_lengths[:20]],
            },
        }


def holes(xyz: NDArray, faces: NDArray) -> Holes:
    """The closed loops that the borders of the surface form."""
    points, loops = xyz.astype(np.float64), border_loops(faces)
    rows = np.array([measure(points[loop]) for loop in loops]).reshape(-1, 5)
    is_open = around_surface(points, faces, loops, rows[:, 0])
    order = np.argsort(-rows[:, 0], kind="stable")
    rows, is_open = rows[order], is_open[order]
    return Holes(rows[~is_open, 0], rows[~is_open, 1], rows[~is_open, 2:], rows[is_open, 0])


def around_surface(
    points: NDArray[np.float64], faces: NDArray, loops: list[NDArray[np.int64]], lengths: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """bool[H]: loops that go around a piece of the surface, and not around a hole in it.

    What closes a hole faces as the surface beside it does; what closes an outline faces the other way. The longest loop of a
    part of the surface needs to be clearly a hole (ENDS): the rim of a cup, and the outline of walls and a floor, are not.
    """
    if not loops:
        return np.zeros(0, bool)
    part = np.zeros(len(points), np.int64)
    part[faces.reshape(-1)] = np.repeat(face_components(faces), 3)
    longest: dict[int, int] = {}
    for i in np.argsort(lengths, kind="stable"):
        longest[int(part[loops[i][0]])] = int(i)
    n = max(len(points), 1)
    ahead = (faces.astype(np.int64) * n + faces[:, [1, 2, 0]]).reshape(-1)
    order = np.argsort(ahead, kind="stable")
    normal = face_normals(points, faces)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    out = np.zeros(len(loops), bool)
    for i, loop in enumerate(loops):
        after = np.roll(loop, -1)
        beside = normal[order[np.searchsorted(ahead, after * n + loop, sorter=order)] // 3]
        edge = np.linalg.norm(points[after] - points[loop], axis=1, keepdims=True)
        closing = np.cross(points[loop] - points[loop[0]], points[after] - points[loop[0]]).sum(0)
        likeness = float(closing @ (beside * edge).sum(0)) / max(np.linalg.norm(closing) * edge.sum(), 1e-300)
        out[i] = likeness <= (ENDS if longest[int(part[loop[0]])] == i else 0.0)
    return out


def measure(ring: NDArray[np.float64]) -> tuple[float, float, float, float, float]:
    """Length, area and middle of a closed polygon f64[n, 3]."""
    ahead = np.roll(ring, -1, axis=0)
    step = np.linalg.norm(ahead - ring, axis=1)
    length = float(step.sum())
    middle = ((ahead + ring) * step[:, None]).sum(0) / max(2 * length, 1e-300)
    area = 0.5 * float(np.linalg.norm(np.cross(ring - middle, ahead - middle).sum(0)))
    return length, area, *middle.tolist()
