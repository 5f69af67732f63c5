"""Cleaning of a raw surface: what no camera sees and what hangs together with too little goes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras, fit_size
from recon.mesh import face_normals, without_unused
from recon.mesh.raster import look, visible
from recon.mesh.worth import pixels_of_vertices

LOOK = 1024
"""Pixels along the longer side of the views that tell what no camera sees."""


def edges_of(faces: NDArray) -> NDArray[np.int64]:
    """i64[3F, 2], the directed edges of all faces, face by face."""
    return faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)


def face_components(faces: NDArray) -> NDArray[np.int32]:
    """i32[F], the number of the part that each face belongs to; parts are joined by vertices."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    e, n = edges_of(faces), int(faces.max(initial=-1)) + 1
    graph = coo_array((np.ones(len(e), np.int8), (e[:, 0], e[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1][faces[:, 0]].astype(np.int32)


def drop_small_parts(
    xyz: NDArray, faces: NDArray, least_share: float, cameras: Cameras | None = None
) -> NDArray[np.bool_]:
    """bool[F]: the faces of parts with at least `least_share` of the largest part's area, in space or in the cameras' photos.

    What stands before the cameras is small beside the walls of its room, and large in the photos.
    """
    if len(faces) == 0:
        return np.zeros(0, bool)
    part = face_components(faces)
    size = np.linalg.norm(face_normals(xyz, faces), axis=1)
    keep = np.zeros(int(part.max()) + 1, bool)
    weights = [np.ones(len(xyz))] + ([] if cameras is None else [pixels_of_vertices(xyz, faces, cameras)])
    for weight in weights:
        total = np.bincount(part, size * weight[faces].mean(1))
        keep |= (total >= least_share * total.max()) & (total > 0)
    return keep[part]


def seen_faces(xyz: NDArray, faces: NDArray, cameras: Cameras, slack: float, least_views: int = 1) -> NDArray[np.bool_]:
    """bool[F]: faces with a corner that at least `least_views` cameras see from the front, not hidden by more than `slack`."""
    count = np.zeros(len(xyz), np.int32)
    normal = face_normals(xyz, faces)
    for i in range(len(cameras)):
        camera = cameras[i]
        front = facing(camera, xyz, faces, normal)
        corner = np.zeros(len(xyz), bool)
        corner[faces[front].ravel()] = True
        count += corner & visible(camera, look(camera, xyz, faces), xyz, slack)
    return np.any(count[faces] >= least_views, axis=1)


def facing(camera: Cameras, xyz: NDArray, faces: NDArray, normal: NDArray) -> NDArray[np.bool_]:
    """bool[F]: faces whose outer side the camera is on."""
    return np.einsum("fi,fi->f", normal, camera.centers[0] - xyz[faces[:, 0]].astype(np.float64)) > 0


def clean(
    xyz: NDArray, faces: NDArray, cameras: Cameras, slack: float, least_share: float, least_views: int = 1
) -> tuple[NDArray, NDArray[np.int32]]:
    """The surface without faces that no camera sees, and without parts smaller than `least_share` of the largest."""
    cameras = cameras.resized(fit_size(cameras.size, LOOK))
    kept = faces[drop_small_parts(xyz, faces, least_share, cameras)]
    kept = kept[seen_faces(xyz, kept, cameras, slack, least_views)]
    kept = kept[drop_small_parts(xyz, kept, least_share, cameras)]
    xyz, kept, _ = without_unused(xyz, kept)
    return xyz, kept


def border_edges(faces: NDArray) -> NDArray[np.int64]:
    """i64[B, 2], directed edges that have no face on their other side."""
    e = edges_of(faces)
    if len(e) == 0:
        return e
    n = int(e.max()) + 1
    there, back = e[:, 0] * n + e[:, 1], e[:, 1] * n + e[:, 0]
    return e[~np.isin(there, back)]


def is_closed(faces: NDArray) -> bool:
    """Whether every edge has a face on both sides."""
    return len(faces) > 0 and len(border_edges(faces)) == 0
