"""Which photos help which: sources, the range of depth and the first guess, from the sparse model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.geometry import Array
from recon.sparse import SparseModel

BEST_ANGLE_DEG = 10.0
"""Angle between two rays to a point that serves best: smaller ones tell less of its distance, larger ones look different."""
SPREAD_BELOW_DEG, SPREAD_ABOVE_DEG = 5.0, 15.0
"""Widths of the weight on either side of the best angle (the scheme of Yao et al., MVSNet, ECCV 2018)."""
LEAST_ANGLE_DEG = 0.5
"""Points under a smaller angle say nothing: a photo taken from the same place is no source."""
CANDIDATES = 6
"""Times as many photos as sources are looked at more closely: those that share the most points."""
LEAST_SHARED = 5
"""Points that two photos must share."""
MARGIN = 0.35
"""Share of the range of 1 / z that is added at both ends."""


@dataclass(frozen=True)
class View:
    """What is known of one reference photo before it is looked at."""

    sources: NDArray[np.int64]
    """i64[S], rows of the model, the most helpful first."""
    w_range: tuple[float, float]
    """Least and most inverse depth, 1 / world units."""
    pixels: Array
    """f64[M, 2], pixels of the points that it saw."""
    w: Array
    """f64[M], their inverse depth."""


def choose_views(model: SparseModel, most: int, near: float = 0.0, far: float = 0.0) -> list[View]:
    """A View for each photo of the model, with `most` sources at most; without shared points there are none.

    Only the model's own observations are asked: pass a model of the training photos where nothing else may count.
    `near` and `far` (world units, 0: not given) replace the range that the points give; with both of them photos
    without points are paired by where they stand and look.
    """
    seen, n = model.observations, len(model.names)
    finite = np.isfinite(model.xyz.sum(axis=1))
    points = [np.unique(seen.point[seen.camera == i]) for i in range(n)]
    points = [p[finite[p]] for p in points]
    shared = _shared(points, len(model.xyz))
    views = []
    for i in range(n):
        xyz = model.xyz[points[i]]
        pixels, z = (a[0] for a in model.cameras[i].project(xyz))
        front = np.flatnonzero(z > 0)
        pixels, w = pixels[front], 1 / z[front]
        scores = np.zeros(n)
        for j in _candidates(shared[i], CANDIDATES * most):
            scores[j] = _score(model, i, j, points)
        if not scores.any() and near > 0 and far > 0:
            scores = _score_poses(model, i, 2 / (1 / near + 1 / far))
        order = np.argsort(-scores, kind="stable")[:most]
        views.append(View(order[scores[order] > 0], _range(w, near, far), pixels, w))
    return views


def _shared(points: list[NDArray], count: int) -> NDArray[np.int64]:
    """i64[N, N]: how many of `count` points two photos share; 0 of a photo with itself."""
    from scipy.sparse import csr_matrix

    start = np.cumsum([0, *(len(p) for p in points)])
    seen = csr_matrix((np.ones(start[-1], np.int64), np.concatenate([*points, []]), start), (len(points), count))
    both = (seen @ seen.T).toarray()
    np.fill_diagonal(both, 0)
    return both


def _candidates(shared: NDArray[np.int64], most: int) -> list[int]:
    """The photos that share the most points with one, of those that share enough."""
    order = np.argsort(-shared, kind="stable")[:most]
    return order[shared[order] >= LEAST_SHARED].tolist()


def _weights(angle_deg: Array) -> Array:
    sigma = np.where(angle_deg <= BEST_ANGLE_DEG, SPREAD_BELOW_DEG, SPREAD_ABOVE_DEG)
    weight = np.exp(-((angle_deg - BEST_ANGLE_DEG) ** 2) / (2 * sigma**2))
    return np.where(angle_deg < LEAST_ANGLE_DEG, 0.0, weight)


def _score(model: SparseModel, i: int, j: int, points: list[NDArray]) -> float:
    """The sum over shared points of how well their angle serves, less where the source sees them much larger or smaller."""
    shared = np.intersect1d(points[i], points[j], assume_unique=True)
    rays = [model.xyz[shared] - model.cameras[k].centers[0] for k in (i, j)]
    far = [np.linalg.norm(ray, axis=1) for ray in rays]
    cos = (rays[0] * rays[1]).sum(1) / np.maximum(far[0] * far[1], 1e-12)
    zoom = (model.cameras.K[j, 0, 0] / far[1]) / (model.cameras.K[i, 0, 0] / far[0])
    return float((_weights(np.degrees(np.arccos(np.clip(cos, -1, 1)))) * np.minimum(zoom, 1 / zoom)).sum())


def _score_poses(model: SparseModel, i: int, z: float) -> Array:
    """Scores [N] without points: of the spot at depth z in the middle of photo i, where the other photo has it in view."""
    spot = model.cameras.world_from_cam[i] @ [0, 0, z, 1.0]
    pixels, depth = model.cameras.project(spot[None, :3])
    inside = (depth[:, 0] > 0) & (pixels[:, 0] >= 0).all(1) & (pixels[:, 0] < model.cameras.size).all(1)
    rays = spot[:3] - model.cameras.centers
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    scores = np.where(inside, _weights(np.degrees(np.arccos(np.clip(rays @ rays[i], -1, 1)))), 0.0)
    scores[i] = 0
    return scores


def _range(w: Array, near: float, far: float) -> tuple[float, float]:
    """Least and most 1 / z; (0, 0) where nothing is known."""
    if not len(w) and not (near > 0 and far > 0):
        return 0.0, 0.0
    least, most = (float(v) for v in np.quantile(w, [0.01, 0.99])) if len(w) else (0.0, 0.0)
    margin = MARGIN * (most - least) + 0.02 * most
    least, most = max(least - margin, 0.2 * least), most + margin
    return 1 / far if far > 0 else least, 1 / near if near > 0 else most
