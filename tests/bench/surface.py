"""How far two surfaces are apart: accuracy, completeness, F-score (Knapitsch et al., Tanks and Temples, 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from recon.cameras import Cameras
from recon.mesh import face_normals
from recon.mesh.raster import look, visible


@dataclass(frozen=True)
class Score:
    """Shares of points within a distance."""

    threshold: float
    accuracy: float
    """Share of the measured surface that lies within `threshold` of the true one."""
    completeness: float
    """Share of the true surface that lies within `threshold` of the measured one."""

    @property
    def f(self) -> float:
        total = self.accuracy + self.completeness
        return 2 * self.accuracy * self.completeness / total if total else 0.0

    def to_json(self) -> dict[str, float]:
        return {"threshold": self.threshold, "accuracy": self.accuracy, "completeness": self.completeness, "f": self.f}


def sample_points(xyz: NDArray, faces: NDArray, count: int, seed: int = 0) -> NDArray[np.float64]:
    """f64[count, 3], even over the surface."""
    draw = np.random.default_rng(seed)
    size = np.linalg.norm(face_normals(xyz, faces), axis=1)
    face = faces[draw.choice(len(faces), count, p=size / size.sum())]
    a, b = draw.random((2, count, 1))
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    p = xyz.astype(np.float64)
    return p[face[:, 0]] + a * (p[face[:, 1]] - p[face[:, 0]]) + b * (p[face[:, 2]] - p[face[:, 0]])


def seen_by(points: NDArray, cameras: Cameras, xyz: NDArray, faces: NDArray, slack: float) -> NDArray[np.int64]:
    """i64[P], how many cameras see each point, hidden by the surface xyz, faces."""
    count = np.zeros(len(points), np.int64)
    for i in range(len(cameras)):
        camera = cameras[i]
        count += visible(camera, look(camera, xyz, faces), points, slack)
    return count


def near_box(xyz: NDArray, faces: NDArray, low: NDArray, high: NDArray) -> NDArray:
    """The faces whose bounding boxes reach into a box."""
    corner = xyz[faces]
    return faces[((corner.max(1) > low) & (corner.min(1) < high)).all(1)]


def inside(points: NDArray, low: NDArray, high: NDArray) -> NDArray:
    return points[((points > low) & (points < high)).all(1)]


def scores(measured: NDArray, true: NDArray, dense_true: NDArray, thresholds: list[float]) -> list[Score]:
    """Scores of points `measured` [M, 3] against `true` [T, 3] (to be covered) and `dense_true` [D, 3] (to be near to)."""
    if len(measured) == 0:
        return [Score(t, 0.0, 0.0) for t in thresholds]
    off, missing = KDTree(dense_true).query(measured)[0], KDTree(measured).query(true)[0]
    return [Score(t, float((off < t).mean()), float((missing < t).mean())) for t in thresholds]
