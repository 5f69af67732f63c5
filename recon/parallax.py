"""Whether photos were taken from different places at all: a camera that only turned shows no distances.

Structure from motion still finds places for such photos, out of noise and a wrong focal length, and everything made of them
agrees with itself. What gives it away: between any two photos a rotation alone takes every ray to where it is seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.geometry import Array
from recon.sparse import SparseModel

LEAST_SHARED = 30
"""Points that two photos must share to be asked."""
LEAST_PARALLAX = 0.005
"""Of the photo's longer side: what a rotation cannot explain of the median point, in some pair of photos taken from two
places. Real captures have more than ten times that.
"""


def turned_on_the_spot(model: SparseModel) -> bool:
    """Whether a turn explains every pair of photos that share enough points; False where no pair does share enough."""
    seen, asked = _seen_by(model), False
    for i in range(len(seen)):
        for j in range(i + 1, len(seen)):
            _, a, b = np.intersect1d(seen[i][0], seen[j][0], assume_unique=True, return_indices=True)
            if len(a) < LEAST_SHARED:
                continue
            asked = True
            if parallax(seen[i][1][a], seen[j][1][b]) > LEAST_PARALLAX * _widest(model, i):
                return False
    return asked


def parallax(here: Array, there: Array) -> float:
    """What the best rotation leaves, the median over unit rays [M, 3] of two cameras to the same points (Kabsch, 1976)."""
    u, _, vt = np.linalg.svd(there.T @ here)
    rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return float(np.median(np.linalg.norm(there - here @ rotation.T, axis=1)))


def _widest(model: SparseModel, i: int) -> float:
    """The longer side of photo i in units of its focal length."""
    return float(model.cameras.size[i].max() / model.cameras.K[i, 0, 0])


def _seen_by(model: SparseModel) -> list[tuple[NDArray[np.int64], Array]]:
    """Of each camera, the points that it saw (i64[M], ascending) and the unit rays to them (f64[M, 3])."""
    o, found = model.observations, []
    for i in range(len(model.names)):
        rows = np.flatnonzero(o.camera == i)
        point, first = np.unique(o.point[rows], return_index=True)
        ray = np.concatenate([model.cameras[i].normalized(0, o.xy[rows[first]]), np.ones((len(point), 1))], 1)
        found.append((point.astype(np.int64), ray / np.linalg.norm(ray, axis=1, keepdims=True)))
    return found
