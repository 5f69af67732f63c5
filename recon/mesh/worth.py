"""Where accuracy matters: how much a small error of a surface shows in the photos, against how well z is known there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.kernels.jit import kernel, spread
from recon.mesh import vertex_normals

LEAST = 1e-7
"""Worth of what no camera has in front of it, as a share of the largest."""
CONTRAST = 1.5
"""Power of the sum: with 1, the bumps of a badly measured background still take most triangles of a scene."""


def worth_of_vertices(xyz: NDArray, faces: NDArray, cameras: Cameras) -> NDArray[np.float64]:
    """f64[V], above 0: what a squared distance from the surface counts at each vertex, for collapsed().

    The sum over the cameras that have it in their image, from its outer side, of (f / z)^2, squared pixels a squared unit,
    times 1 / z^2: the noise of a measured z grows with its square, so that a far wall's bumps are not drawn more faithfully
    than the shape of what stands before the cameras; that to the power of CONTRAST. What hides a vertex is not asked. In
    units of the largest.
    """
    worth = _shown(xyz, faces, cameras, 4)
    return np.maximum((worth / max(float(worth.max(initial=0)), 1e-300)) ** CONTRAST, LEAST)


def pixels_of_vertices(xyz: NDArray, faces: NDArray, cameras: Cameras) -> NDArray[np.float64]:
    """f64[V]: pixels that a unit of area covers at each vertex, seen straight on, in the mean over the cameras; 0 in those that
    do not have it in their image or are behind it. What hides a vertex is not asked.
    """
    return _shown(xyz, faces, cameras, 2) / max(len(cameras), 1)


def _shown(xyz: NDArray, faces: NDArray, cameras: Cameras, power: int) -> NDArray[np.float64]:
    """f64[V], the sum of f^2 / z^power over the cameras that have a vertex in their image, from its outer side."""
    total = np.zeros(len(xyz))
    normals = vertex_normals(xyz, faces)
    images = (np.ascontiguousarray(cameras.cam_from_world), np.ascontiguousarray(cameras.K), cameras.size)
    spread(add_up, len(xyz), xyz, normals, *images, np.ascontiguousarray(cameras.centers), power, total)
    return total


@kernel
def add_up(start, stop, xyz, normals, cam_from_world, K, size, centers, power, total):
    """_shown() of the vertices start .. stop."""
    for v in range(start, stop):
        x, y, z = np.float64(xyz[v, 0]), np.float64(xyz[v, 1]), np.float64(xyz[v, 2])
        for i in range(len(K)):
            c = centers[i]
            if normals[v, 0] * (c[0] - x) + normals[v, 1] * (c[1] - y) + normals[v, 2] * (c[2] - z) <= 0:
                continue
            m, k = cam_from_world[i], K[i]
            depth = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
            if depth <= 1e-9:
                continue
            column = k[0, 0] * (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) / depth + k[0, 2]
            row = k[1, 1] * (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) / depth + k[1, 2]
            if 0 <= column < size[i, 0] and 0 <= row < size[i, 1]:
                total[v] += k[0, 0] * k[1, 1] / depth**power
