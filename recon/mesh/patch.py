"""Patches over border loops: triangulated, refined to the spacing around them, and bent so that they go on as the surface does.

Triangulation of least area by dynamic programming (Barequet and Sharir, Filling gaps in the boundary of a polyhedron, 1995);
refinement by splits and Delaunay flips after Liepa (Filling holes in meshes, 2003); the shape is a thin plate over the mesh:
least sum of |L x|^2 over the patch and its border, L the mean of the neighbours less the vertex itself (Kobbelt et al.,
Interactive multi-resolution modeling on arbitrary meshes, 1998).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.kernels.jit import kernel
from recon.mesh import face_normals
from recon.mesh.loops import opposites

COARSE = 1.5
"""Edges of patches longer than so many times the loop's own are split."""
ROUNDS = 16
MOST_BULGE = 0.3
"""A patch leaves the plainest one (a membrane) by at most this share of its loop's width."""


@dataclass(frozen=True)
class Patches:
    """Triangles over some loops of a surface of V vertices."""

    xyz: NDArray[np.float64]
    """f64[N, 3], vertices added; they have the numbers V, V + 1, ..."""
    faces: NDArray[np.int64]
    """i64[T, 3]."""
    loop: NDArray[np.int64]
    """i64[T], which loop each closes."""


def triangulate(ring: NDArray[np.float64], taken: NDArray[np.bool_]) -> NDArray[np.int64]:
    """i64[n - 2, 3], rows of the polygon f64[n, 3], least area in sum; empty where every way needs an edge that is `taken`
    bool[n, n]: one that the surface has already.
    """
    cut = np.zeros((len(ring), len(ring)), np.int64)
    if not np.isfinite(least_areas(np.ascontiguousarray(ring, np.float64), taken, cut)):
        return np.zeros((0, 3), np.int64)
    out, todo = [], [(0, len(ring) - 1)]
    while todo:
        i, k = todo.pop()
        if k - i >= 2:
            j = int(cut[i, k])
            out.append((i, j, k))
            todo += [(i, j), (j, k)]
    return np.array(out, np.int64)


@kernel
def least_areas(ring, taken, cut):
    """The area of the best triangulation; cut[i, k] = the third corner over the chord i, k."""
    n = len(ring)
    best = np.zeros((n, n))
    for gap in range(2, n):
        for i in range(n - gap):
            k = i + gap
            least = np.inf
            if not (taken[i, k] and gap < n - 1):
                for j in range(i + 1, k):
                    ux, uy, uz = ring[j, 0] - ring[i, 0], ring[j, 1] - ring[i, 1], ring[j, 2] - ring[i, 2]
                    vx, vy, vz = ring[k, 0] - ring[i, 0], ring[k, 1] - ring[i, 1], ring[k, 2] - ring[i, 2]
                    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
                    total = best[i, j] + best[j, k] + np.sqrt(x * x + y * y + z * z)
                    if total < least:
                        least = total
                        cut[i, k] = j
            best[i, k] = least
    return best[0, n - 1]


def refined(xyz: NDArray[np.float64], patches: Patches, spacing: NDArray[np.float64]) -> Patches:
    """Patches whose inner edges are not much longer than `spacing` f64[H] of their loops; xyz f64[V, 3] is the surface's."""
    points, faces, loop = np.concatenate([xyz, patches.xyz]), patches.faces, patches.loop
    first = len(xyz)
    for _ in range(ROUNDS):
        points, faces, loop, count = _split(points, faces, loop, COARSE * spacing)
        for _ in range(3):
            faces = _flip(points, faces, first)
        if count == 0:
            break
    return Patches(points[first:], faces, loop)


def _split(points: NDArray, faces: NDArray, loop: NDArray, longest: NDArray) -> tuple[NDArray, NDArray, NDArray, int]:
    """Halve inner edges longer than longest[loop] that are the longest of both their faces."""
    length, opposite = _inner_lengths(points, faces)
    best = 3 * np.arange(len(faces)) + length.reshape(-1, 3).argmax(1)
    other = opposite[best]
    mutual = (other >= 0) & (best[np.maximum(other, 0) // 3] == other) & (best < other)
    h = best[mutual & (length[best] > longest[loop])]
    if len(h) == 0:
        return points, faces, loop, 0
    g = opposite[h]
    a, b, c, d = (faces.reshape(-1)[i] for i in (h, _next(h), _next(_next(h)), _next(_next(g))))
    m = len(points) + np.arange(len(h))
    points = np.concatenate([points, 0.5 * (points[a] + points[b])])
    faces = faces.copy()
    faces[h // 3], faces[g // 3] = np.stack([a, m, c], 1), np.stack([b, m, d], 1)
    faces = np.concatenate([faces, np.stack([m, b, c], 1), np.stack([m, a, d], 1)])
    return points, faces, np.concatenate([loop, loop[h // 3], loop[g // 3]]), len(h)


def _next(h: NDArray) -> NDArray:
    return h - h % 3 + (h + 1) % 3


def _inner_lengths(points: NDArray, faces: NDArray) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Lengths f64[3T] of the edges, 0 at borders, and opposites()."""
    opposite = opposites(faces)
    length = np.linalg.norm(points[faces] - points[faces[:, [1, 2, 0]]], axis=2).ravel()
    return np.where(opposite >= 0, length, 0), opposite


def _flip(points: NDArray, faces: NDArray, first: NDArray | int) -> NDArray:
    """Turn inner edges that are not Delaunay, no two of one face at a time; vertices below `first` are joined by no new edge."""
    opposite = opposites(faces)
    flat = faces.reshape(-1)
    h = np.flatnonzero(opposite >= 0)
    g = opposite[h]
    a, b, c, d = flat[h], flat[_next(h)], flat[_next(_next(h))], flat[_next(_next(g))]
    excess = _angle(points, c, a, b) + _angle(points, d, a, b) - np.pi
    size = len(points) + 1
    edges = np.unique(
        np.minimum(flat, flat[_next(np.arange(len(flat)))]) * size + np.maximum(flat, flat[_next(np.arange(len(flat)))])
    )
    key = np.minimum(c, d) * size + np.maximum(c, d)
    good = (excess > 1e-3) & ((c >= first) | (d >= first)) & (c != d) & ~np.isin(key, edges)
    one, two = np.stack([a, d, c], 1), np.stack([b, c, d], 1)
    n = face_normals(points, faces)
    before = n[h // 3] + n[g // 3]
    for new in (one, two):
        good &= np.einsum("fi,fi->f", face_normals(points, new), before) > 0
    score = np.zeros(len(flat))
    score[h] = np.where(good, excess, 0)
    best = 3 * np.arange(len(faces)) + score.reshape(-1, 3).argmax(1)
    rows = np.full(len(flat), -1)
    rows[h] = np.arange(len(h))
    chosen = [r for r in rows[best[score[best] > 0]] if best[g[r] // 3] == g[r] and h[r] < g[r]]
    chosen = np.array(chosen, np.int64)
    if len(chosen):
        chosen = chosen[np.unique(key[chosen], return_index=True)[1]]
    out = faces.copy()
    out[h[chosen] // 3], out[g[chosen] // 3] = one[chosen], two[chosen]
    return out


def _angle(points: NDArray, at: NDArray, a: NDArray, b: NDArray) -> NDArray[np.float64]:
    u, v = points[a] - points[at], points[b] - points[at]
    length = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
    return np.arccos(np.clip(np.einsum("fi,fi->f", u, v) / np.maximum(length, 1e-300), -1, 1))


def faired(
    xyz: NDArray[np.float64], faces: NDArray, patches: Patches, widths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """f64[N, 3], the added vertices where the patches are as smooth as the surface xyz, faces around them allows."""
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import splu

    count = len(patches.xyz)
    if count == 0:
        return patches.xyz
    border = np.zeros(len(xyz) + count, bool)
    border[patches.faces] = True
    border[len(xyz) :] = False
    around = faces[border[faces].any(1)]
    both = np.concatenate([around, patches.faces])
    names, local = np.unique(both, return_inverse=True)
    local = local.reshape(-1, 3)
    points = np.concatenate([xyz, patches.xyz])[names]
    n = len(names)
    i, j = local.reshape(-1), local[:, [1, 2, 0]].reshape(-1)
    link = coo_array((np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), shape=(n, n)).tocsr()
    link.data[:] = 1
    degree = np.maximum(np.asarray(link.sum(1)).ravel(), 1)
    laplace = (diags_array(1 / degree) @ link - diags_array(np.ones(n))).tocsr()
    free = names >= len(xyz)
    fixed = points * ~free[:, None]
    inner = laplace[free]
    quick: Any = {"permc_spec": "MMD_AT_PLUS_A", "diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}}
    membrane = splu(inner[:, free].tocsc(), **quick).solve(-(inner @ fixed))
    rows = laplace[free | border[names]]
    mine = rows[:, free]
    plate = splu((mine.T @ mine).tocsc(), **quick).solve(-(mine.T @ (rows @ fixed)))
    return membrane + _bounded(plate - membrane, patches, len(xyz), widths)


def _bounded(bulge: NDArray, patches: Patches, first: int, widths: NDArray) -> NDArray:
    """Bulges [N, 3] made smaller where a patch would leave its loop too far."""
    owner = np.zeros(len(bulge), np.int64)
    inner = patches.faces >= first
    owner[patches.faces[inner] - first] = np.broadcast_to(patches.loop[:, None], inner.shape)[inner]
    most = np.zeros(len(widths))
    np.maximum.at(most, owner, np.linalg.norm(bulge, axis=1))
    share = np.minimum(1, MOST_BULGE * widths / np.maximum(most, 1e-300))
    return bulge * share[owner][:, None]
