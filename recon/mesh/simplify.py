"""Fewer faces, and less noise: quadric decimation to a budget, Taubin's smoothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.errors import InputError
from recon.mesh import face_normals, without_unused
from recon.mesh.clean import edges_of, face_components
from recon.mesh.collapse import collapsed

LAMBDA, MU = 0.5, -0.53
"""Taubin's two steps: one shrinks, the other inflates; what is left is a low pass."""


def smooth(xyz: NDArray, faces: NDArray, rounds: int) -> NDArray[np.float32]:
    """Vertices f32[V, 3] after Taubin's low pass; borders stay where they are (A signal processing approach to fair surface
    design, 1995).
    """
    from scipy.sparse import coo_array

    if rounds == 0 or len(faces) == 0:
        return xyz.astype(np.float32)
    e = edges_of(faces).astype(np.int32)
    n = len(xyz)
    link = coo_array((np.ones(len(e), np.float32), (e[:, 0], e[:, 1])), shape=(n, n)).tocsr()
    link = link + link.T
    border = np.asarray((link.data == 1).nonzero()[0])
    fixed = np.zeros(n, bool)
    fixed[link.indices[border]] = True
    link.data[:] = 1
    degree = np.maximum(np.diff(link.indptr), 1).astype(np.float32)[:, None]
    out = xyz.astype(np.float32).copy()
    for _ in range(rounds):
        for step in (LAMBDA, MU):
            shift = step * (link @ out / degree - out)
            shift[fixed] = 0
            out += shift
    return out


def decimate(
    xyz: NDArray, faces: NDArray, budget: int, worth: NDArray | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """At most `budget` triangles by quadric error; the surface itself where it has no more.

    worth: f64[V], what accuracy counts at each vertex (worth.py); None: the same everywhere. Parts that collapses make no
    smaller go by their worth times area, the least first; a single one is clustered on ever coarser grids. Raises InputError
    for a budget below 4, the least that encloses anything.
    """
    if budget < 4:
        raise InputError(f"--faces {budget} is too few: expected 4 or more.")
    xyz, faces = xyz.astype(np.float32), faces.astype(np.int32)
    if len(faces) <= budget:
        return _tidy(xyz, faces)
    worth = np.ones(len(xyz)) if worth is None else worth
    points, triangles = collapsed(xyz, faces, worth, budget)
    if len(triangles) > budget:
        triangles = _worthiest(points, triangles, budget, worth)
    cells, left = 2.0 * np.sqrt(budget), triangles
    if len(left) == 0:
        points, left = xyz, faces
    while len(left) > budget and cells >= 1:
        points, left = clustered(points, left, cells)
        cells /= 1.3
    if len(left) == 0 or len(left) > budget:
        return _box(xyz, budget)
    return _tidy(points, left)


def _worthiest(xyz: NDArray, faces: NDArray, budget: int, worth: NDArray) -> NDArray[np.int32]:
    """The faces of the parts of most worth that fit into the budget together; none where not even one does."""
    part = face_components(faces)
    value = np.bincount(part, np.linalg.norm(face_normals(xyz, faces), axis=1) * worth[faces].mean(1))
    size = np.bincount(part)
    keep, left = np.zeros(len(value), bool), budget
    for i in np.argsort(-value, kind="stable"):
        if size[i] <= left:
            keep[i] = True
            left -= size[i]
    return faces[keep[part]]


def clustered(xyz: NDArray, faces: NDArray, cells: float) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Vertices joined to their mean in each cell of a grid of `cells` along the longest side; faces that collapse are gone."""
    low = xyz.min(0)
    size = max(float(np.ptp(xyz, axis=0).max()), 1e-30) / cells
    _, cluster = np.unique(np.floor((xyz - low) / size).astype(np.int64), axis=0, return_inverse=True)
    cluster = cluster.ravel()
    count = np.bincount(cluster)
    points = np.stack([np.bincount(cluster, xyz[:, i]) / count for i in range(3)], -1).astype(np.float32)
    return points, np.unique(_proper(cluster[faces].astype(np.int32)), axis=0)


def _proper(faces: NDArray) -> NDArray:
    """Faces of three different vertices."""
    return faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]


def _tidy(xyz: NDArray, faces: NDArray) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    points, triangles, _ = without_unused(xyz, faces)
    return points.astype(np.float32), triangles


def _box(xyz: NDArray, budget: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """The bounding tetrahedron or box of points: what is left of a surface when nearly nothing may be."""
    low, high = xyz.min(0), xyz.max(0)
    corners = np.array([[low, high][c >> a & 1][a] for c in range(8) for a in range(3)], np.float32).reshape(8, 3)
    quads = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], np.int32)
    if budget < len(faces):
        corners, faces = corners[[0, 3, 5, 6]], np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], np.int32)
    return corners, faces
