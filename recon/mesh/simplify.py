"""Fewer faces, and less noise: quadric decimation to a budget, Taubin's smoothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.errors import InputError
from recon.mesh import face_normals, without_unused
from recon.mesh.clean import edges_of, face_components

LAMBDA, MU = 0.5, -0.53
"""Taubin's two steps: one shrinks, the other inflates; what is left is a low pass."""
LEAST_OF_A_PART = 12
"""Triangles; a part whose share is smaller is left out."""


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


def decimate(xyz: NDArray, faces: NDArray, budget: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """At most `budget` triangles by quadric error (Garland and Heckbert, 1997); the surface itself where it has no more.

    Where edge collapses stop short of a small budget, what is left is clustered on ever coarser grids. Raises InputError
    for a budget below 4, the least that encloses anything.
    """
    if budget < 4:
        raise InputError(f"--faces {budget} is too few: expected 4 or more.")
    xyz, faces = xyz.astype(np.float32), faces.astype(np.int32)
    if len(faces) <= budget:
        return xyz, faces
    import fast_simplification

    points: Any = xyz
    triangles = faces
    for aggression in (5, 7, 7, 8, 8, 9):  # collapses stop at borders and where sheets touch; a new start goes on
        before = len(triangles)
        result: Any = fast_simplification.simplify(points, triangles, target_count=budget, agg=aggression)
        points, triangles = np.asarray(result[0], np.float32), _proper(np.asarray(result[1], np.int32))
        if len(triangles) <= budget or len(triangles) > 0.98 * before:
            break
    cells = 2.0 * np.sqrt(budget)
    while len(triangles) > budget and cells >= 1:
        points, triangles = clustered(points, triangles, cells)
        cells /= 1.3
    if len(triangles) == 0 or len(triangles) > budget:
        return _box(xyz, budget)
    return _tidy(points, triangles)


def decimate_parts(
    xyz: NDArray, faces: NDArray, budget: int, worth: NDArray
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """decimate() part by part, each with its share of the budget by the sum of its faces' worth f64[F].

    A whole scene at once would spend its triangles on the ragged borders of what was seen badly, which no collapse removes.
    """
    if len(faces) <= budget:
        return _tidy(xyz, faces)
    part = face_components(faces, len(xyz))
    total = np.bincount(part, worth)
    order = np.argsort(part, kind="stable")
    starts = np.searchsorted(part[order], np.arange(len(total) + 1))
    points, triangles, count, left, rest = [], [], 0, budget, float(total.sum())
    for i in np.argsort(-total, kind="stable"):  # what a part leaves over goes to those after it
        share = int(left * min(1.0, total[i] / max(rest, 1e-300)))
        rest -= float(total[i])
        if share < LEAST_OF_A_PART:
            continue
        own, own_faces, _ = without_unused(xyz, faces[order[starts[i] : starts[i + 1]]])
        own, own_faces = decimate(own, own_faces, share)
        points.append(own)
        triangles.append(own_faces + count)
        count, left = count + len(own), left - len(own_faces)
    if not points:
        return decimate(xyz, faces, budget)
    return np.concatenate(points), np.concatenate(triangles)


def worth_of_faces(xyz: NDArray, faces: NDArray, cameras: Cameras) -> NDArray[np.float64]:
    """f64[F], about how many pixels each face covers in a photo where nothing hides it, mean over the cameras."""
    middle = xyz[faces].mean(1, dtype=np.float64)
    near = np.zeros(len(faces))
    for center, k in zip(cameras.centers, cameras.K, strict=True):
        away = middle - center
        near += k[0, 0] ** 2 / np.maximum(np.einsum("fi,fi->f", away, away), 1e-12)
    return near * np.linalg.norm(face_normals(xyz, faces), axis=1) / (2 * len(cameras))


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
