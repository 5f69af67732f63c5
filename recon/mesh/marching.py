"""Marching cubes over a sparse volume: the triangles of its zero crossing, each vertex shared.

The table of the 256 cases is made here rather than copied: on each face of a cube the crossings are joined so that inside
corners stay apart, which depends on the face's own corners alone, so that neighbouring cubes always agree and the surface
has no cracks (Lorensen and Cline 1987; the rule for ambiguous faces is that of Bloomenthal 1988).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.kernels.jit import kernel, spread
from recon.mesh.volume import Volume
from recon.mesh.volume_kernels import POINTS, SIDE, coordinate, find, key_of

MOST_TRIANGLES = 5
_CORNERS = np.array([[c & 1, c >> 1 & 1, c >> 2 & 1] for c in range(8)])
"""Corner number = x + 2 y + 4 z."""


def _edges() -> NDArray[np.int64]:
    """[12, 4]: the lower corner's x, y, z and the axis of every edge."""
    return np.array([[*_CORNERS[c], a] for a in range(3) for c in range(8) if _CORNERS[c][a] == 0])


def _faces() -> list[list[int]]:
    """The corners of the six faces, counter-clockwise seen from outside of the cube."""
    out = []
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        ring = [0, 1 << b, (1 << b) + (1 << c), 1 << c]  # counter-clockwise seen from +axis
        out += [[r + (1 << axis) for r in ring], ring[::-1]]
    return out


def triangle_table() -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """How many triangles each case has, i8[256], and their edges i8[256, 5, 3]; bit c of the case = corner c is inside."""
    edges = {
        (int(np.dot(e[:3], [1, 2, 4])), int(np.dot(e[:3], [1, 2, 4])) + (1 << e[3])): n for n, e in enumerate(_edges())
    }
    count, table = np.zeros(256, np.int8), np.full((256, MOST_TRIANGLES, 3), -1, np.int8)
    for case in range(256):
        follows: dict[int, int] = {}
        for ring in _faces():
            inside = [case >> c & 1 for c in ring]
            crossing = [
                edges[min(ring[i], ring[i - 3]), max(ring[i], ring[i - 3])] for i in range(4)
            ]  # corner i to i + 1
            for i in range(4):
                if inside[i] and not inside[i - 1]:  # a run of inside corners begins at corner i
                    end = i
                    while inside[(end + 1) % 4]:
                        end += 1
                    follows[crossing[end % 4]] = crossing[i - 1]
        while follows:
            first = next(iter(follows))
            loop = [first]
            while (here := follows.pop(loop[-1])) != first:
                loop.append(here)
            for i in range(1, len(loop) - 1):
                table[case, count[case]] = loop[0], loop[i + 1], loop[i]  # the free side is outside
                count[case] += 1
    return count, table


def extract(volume: Volume, least_weight: float) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Vertices f32[V, 3] and triangles i32[F, 3], counter-clockwise seen from the free side, of a volume's surface.

    Only cubes count all of whose corners have a total weight of `least_weight`: the surface ends where it was not seen.
    """
    blocks = len(volume.found)
    near = np.empty((blocks, 8), np.int32)
    spread(neighbours, blocks, volume.found, volume.keys, volume.number, near)
    field = (volume.tsdf, volume.total, np.float32(least_weight), near)
    count, table = triangle_table()
    vertices, triangles = np.zeros(blocks, np.int64), np.zeros(blocks, np.int64)
    spread(count_block, blocks, *field, count, vertices, triangles)
    first_vertex, first_triangle = _starts(vertices), _starts(triangles)
    with_surface = _starts((vertices > 0).astype(np.int64))
    row = np.where(vertices > 0, with_surface[:-1], -1).astype(np.int32)
    edge = np.full((int(with_surface[-1]), POINTS * 3), -1, np.int32)
    xyz = np.empty((int(first_vertex[-1]), 3), np.float32)
    faces = np.empty((int(first_triangle[-1]), 3), np.int32)
    spread(write_vertices, blocks, *field, volume.found, volume.voxel, row, first_vertex, edge, xyz)
    spread(write_triangles, blocks, *field, count, table, _edges(), row, edge, first_triangle, faces)
    used = np.zeros(len(xyz), bool)
    used[faces.ravel()] = True
    return xyz[used], (np.cumsum(used) - 1).astype(np.int32)[faces]


def _starts(counts: NDArray) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)])


@kernel
def neighbours(start, stop, found, keys, number, near):
    """near[b, x + 2 y + 4 z] = the block beside b in the directions that are 1, or -1."""
    for b in range(start, stop):
        for n in range(8):
            x = coordinate(found[b], 0) + (n & 1)
            y = coordinate(found[b], 1) + (n >> 1 & 1)
            z = coordinate(found[b], 2) + (n >> 2 & 1)
            near[b, n] = find(key_of(x, y, z), keys, number)


@kernel
def place(near, b, x, y, z):
    """(block or -1, number of the point) of lattice point x, y, z = 0 .. 8 counted from block b."""
    n = x // SIDE + 2 * (y // SIDE) + 4 * (z // SIDE)
    return near[b, n], x % SIDE + SIDE * (y % SIDE) + SIDE * SIDE * (z % SIDE)


@kernel
def case_of(tsdf, total, least, near, b, x, y, z):
    """The case of the cube with that lowest corner, or 0 when a corner has not been seen enough."""
    case = 0
    for c in range(8):
        block, point = place(near, b, x + (c & 1), y + (c >> 1 & 1), z + (c >> 2 & 1))
        if block < 0 or total[block, point] < least:
            return 0
        if tsdf[block, point] < 0:
            case |= 1 << c
    return case


@kernel
def crosses(tsdf, total, least, near, b, x, y, z, axis):
    """Whether the surface crosses the edge from a point of block b along an axis."""
    block, point = place(near, b, x + (axis == 0), y + (axis == 1), z + (axis == 2))
    own = x + SIDE * y + SIDE * SIDE * z
    if block < 0 or total[block, point] < least or total[b, own] < least:
        return False
    return (tsdf[b, own] < 0) != (tsdf[block, point] < 0)


@kernel
def count_block(start, stop, tsdf, total, least, near, count, vertices, triangles):
    """How many vertices and triangles each block owns."""
    for b in range(start, stop):
        for z in range(SIDE):
            for y in range(SIDE):
                for x in range(SIDE):
                    triangles[b] += count[case_of(tsdf, total, least, near, b, x, y, z)]
                    for axis in range(3):
                        vertices[b] += crosses(tsdf, total, least, near, b, x, y, z, axis)


@kernel
def write_vertices(start, stop, tsdf, total, least, near, found, voxel, row, first, edge, xyz):
    """Each block's crossings of edges into xyz, their numbers into edge[row of the block, 3 * point + axis]."""
    for b in range(start, stop):
        n = first[b]
        for z in range(SIDE):
            for y in range(SIDE):
                for x in range(SIDE):
                    for axis in range(3):
                        if not crosses(tsdf, total, least, near, b, x, y, z, axis):
                            continue
                        block, point = place(near, b, x + (axis == 0), y + (axis == 1), z + (axis == 2))
                        own = x + SIDE * y + SIDE * SIDE * z
                        here, there = np.float64(tsdf[b, own]), np.float64(tsdf[block, point])
                        step = min(max(here / (here - there), 0.01), 0.99)  # no triangle without area
                        lattice = (x, y, z)
                        for i in range(3):
                            at = coordinate(found[b], i) * SIDE + lattice[i] + (step if i == axis else 0.0)
                            xyz[n, i] = voxel * at
                        edge[row[b], 3 * own + axis] = n
                        n += 1


@kernel
def write_triangles(start, stop, tsdf, total, least, near, count, table, edges, row, edge, first, faces):
    """Each block's cubes as triangles."""
    for b in range(start, stop):
        n = first[b]
        for z in range(SIDE):
            for y in range(SIDE):
                for x in range(SIDE):
                    case = case_of(tsdf, total, least, near, b, x, y, z)
                    for t in range(count[case]):
                        for corner in range(3):
                            e = edges[table[case, t, corner]]
                            block, point = place(near, b, x + e[0], y + e[1], z + e[2])
                            faces[n, corner] = edge[row[block], 3 * point + e[3]]
                        n += 1
