"""What views say about each other's z: a surface that is real is seen at the same place by its neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.kernels.jit import helper, kernel, spread
from recon.mesh.views import DepthView

TOLERANCE = 0.01
"""Two z agree when they differ by less than this share."""
NEIGHBOURS = 6
WIDEST_ANGLE = 60.0
"""Degrees between the axes of views that are asked about each other."""


def neighbours_of(cameras: Cameras, index: int, most: int = NEIGHBOURS) -> NDArray[np.int64]:
    """The nearest other cameras that look the same way, nearest first; fewer where there are fewer."""
    axes, centers = cameras.cam_from_world[:, 2, :3], cameras.centers
    alike = axes @ axes[index] > np.cos(np.radians(WIDEST_ANGLE))
    alike[index] = False
    rows = np.flatnonzero(alike)
    return rows[np.argsort(np.linalg.norm(centers[rows] - centers[index], axis=1), kind="stable")[:most]]


def agreement(view: DepthView, others: list[DepthView], tolerance: float = TOLERANCE) -> NDArray[np.float32]:
    """f32[H, W], 0..1: the share of the other views that see a pixel's surface where the view has it, of those that see it or
    look through it; 0 where fewer than two of them see it (with one other view: where that does not).

    A view that sees something nearer in that direction says nothing.
    """
    yes, no = np.zeros((2, *view.z.shape), np.int32)
    for other in others:
        there_from_here = other.camera.cam_from_world[0] @ view.camera.world_from_cam[0]
        images = (np.nan_to_num(view.z), np.where(other.confidence > 0, np.nan_to_num(other.z), 0).astype(np.float32))
        spread(compare, len(view.z), *images, view.camera.K[0], other.camera.K[0], there_from_here, tolerance, yes, no)
    enough = yes >= min(2, len(others))
    return np.where(enough, yes / np.maximum(yes + no, 1), 0).astype(np.float32)


@helper
def carried(col, row, z, K, there_from_here, other_K):
    """(column, row, z) in another view of the point that a view has z away at (column, row), (0.5, 0.5) the centre of the
    first pixel. Column and row mean nothing where z there is not positive.
    """
    m = there_from_here
    x, y = z * (col - K[0, 2]) / K[0, 0], z * (row - K[1, 2]) / K[1, 1]
    there = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
    other_col = other_K[0, 0] * (m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]) / there + other_K[0, 2]
    other_row = other_K[1, 1] * (m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]) / there + other_K[1, 2]
    return other_col, other_row, there


@kernel
def compare(start, stop, z, other, K, other_K, there_from_here, tolerance, yes, no):
    """Count, for the rows start .. stop of pixels, one other view's agreement and contradiction."""
    for v in range(start, stop):
        for u in range(z.shape[1]):
            own = np.float64(z[v, u])
            if own <= 0:
                continue
            col, row, there = carried(u + 0.5, v + 0.5, own, K, there_from_here, other_K)
            if there <= 0 or not (0 <= col < other.shape[1] and 0 <= row < other.shape[0]):
                continue
            seen = other[int(row), int(col)]
            if seen <= 0:
                continue
            if abs(seen - there) <= tolerance * there:
                yes[v, u] += 1
            elif seen > there:
                no[v, u] += 1
