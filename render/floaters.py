"""Floaters: splats that hang where nothing is. Proposed for deletion, never deleted unasked.

A splat is proposed when fewer than two cameras have it in their picture, or when it belongs to a small cloud of its own far
from every sparse point. Clouds are splats whose ellipsoids touch; "far" is measured in the spacing of the sparse points
themselves at that distance from the cameras, which see less detail the farther away a thing is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.geometry import Array
from render.edits import Spots

if TYPE_CHECKING:
    from render.splats import Splats

NEIGHBOURS = 8
"""Nearest splats that one is tied to when they touch."""
TOUCH = 2.0
"""Two splats touch when their centres are nearer than this times the sum of their largest standard deviations."""
LEAST_VIEWS = 2
"""What fewer cameras see, nothing confirms."""
MOST_CLOUD = 0.002
"""A cloud of more than this share of all splats is a thing."""
FAR = 6.0
"""Distance to the nearest sparse point, in units of the points' own spacing there, from which on a splat is on its own."""
MARGIN = 0.05
"""By this share of its size a picture is taken larger: what stands at its edge is seen in part."""


def floaters(splats: Splats, cameras: Cameras, xyz: Array, boldness: float = 1.0) -> NDArray[np.bool_]:
    """bool[N]: the splats proposed. xyz: sparse points [P, 3]; without any, clouds are judged by their size alone.

    boldness: 1 as above; 4 takes clouds four times as large, a quarter as far away, of splats that touch at half the distance.
    """
    mean = splats.mean.detach().cpu().numpy().astype(np.float64)
    if len(mean) == 0:
        return np.zeros(0, bool)
    size = splats.scale.detach().cpu().numpy().max(1).astype(np.float64)
    views, nearest = seen_by(cameras, mean)
    cloud = clouds(mean, size, TOUCH / boldness**0.5)
    small = np.bincount(cloud)[cloud] <= max(boldness * MOST_CLOUD * len(mean), 3)
    return (views < min(LEAST_VIEWS, len(cameras))) | (small & far(mean, nearest, cameras, xyz, FAR / boldness))


def seen_by(cameras: Cameras, points: Array) -> tuple[NDArray[np.int64], Array]:
    """How many cameras have each point [N, 3] in their picture, and the distance f64[N] to the nearest camera that has (or, of
    a point that none has, to the nearest)."""
    views, seen, any_ = np.zeros(len(points), np.int64), np.full(len(points), np.inf), np.full(len(points), np.inf)
    for row in range(len(cameras)):
        pixels, z = (a[0] for a in cameras[row].project(points))
        edge = MARGIN * cameras.size[row]
        with np.errstate(invalid="ignore"):
            inside = (z > 0) & (pixels >= -edge).all(-1) & (pixels < cameras.size[row] + edge).all(-1)
        distance = np.linalg.norm(points - cameras.centers[row], axis=-1)
        views += inside
        any_ = np.minimum(any_, distance)
        seen[inside] = np.minimum(seen[inside], distance[inside])
    return views, np.where(np.isfinite(seen), seen, any_)


def clouds(mean: Array, size: Array, touch: float = TOUCH) -> NDArray[np.int32]:
    """i32[N]: the number of the cloud that each splat belongs to. mean [N, 3], size [N]: largest standard deviation."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import KDTree

    count = len(mean)
    distance, other = KDTree(mean).query(mean, k=min(NEIGHBOURS + 1, count))
    distance, other = distance.reshape(count, -1)[:, 1:], other.reshape(count, -1)[:, 1:]
    row, column = np.nonzero(distance < touch * (size[:, None] + size[other]))
    ends = other[row, column]
    graph = coo_array((np.ones(len(row), np.int8), (row, ends)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def far(mean: Array, nearest: Array, cameras: Cameras, xyz: Array, times: float) -> NDArray[np.bool_]:
    """bool[N]: whether a splat is farther from the sparse points than `times` their own spacing at its distance from the
    cameras (nearest f64[N])."""
    from scipy.spatial import KDTree

    if len(xyz) < 2:
        return np.ones(len(mean), bool)
    tree = KDTree(xyz)
    apart = tree.query(xyz, k=2)[0][:, 1]
    away = np.maximum(seen_by(cameras, xyz)[1], 1e-12)
    per_distance = float(np.percentile(apart / away, 90))
    return tree.query(mean)[0] > times * per_distance * nearest


def spots(mean: Array, chosen: NDArray[np.bool_], size: Array) -> Spots:
    """The chosen splats as places that hold no other splat's mean: each a ball of half the distance to the nearest that stays,
    twice its own largest standard deviation (size [N]) at most."""
    from scipy.spatial import KDTree

    if not chosen.any():
        return Spots((), ())
    radii = 2 * size[chosen]
    if not chosen.all():
        radii = np.minimum(radii, 0.5 * KDTree(mean[~chosen]).query(mean[chosen])[0])
    radii = np.maximum(radii, 1e-9 * (1 + np.abs(mean).max()))
    centers = tuple((float(x), float(y), float(z)) for x, y, z in mean[chosen])
    return Spots(centers, tuple(float(r) for r in radii))


def struck(splats: Splats, origin: Array, direction: Array) -> Array | None:
    """The place [3] where a ray from origin [3] along direction [3] meets what the splats show; None when it meets too little.

    Along the ray each splat is a bump of its opacity at its densest point; the place is where half of the light that the whole
    ray collects has been collected.
    """
    columns = {
        name: c.detach().cpu().numpy().astype(np.float64) for name, c in splats.columns().items() if name != "sh"
    }
    towards = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    offset = columns["mean"] - np.asarray(origin, np.float64)
    along = offset @ towards
    near = np.linalg.norm(offset - along[:, None] * towards, axis=1)
    rows = np.flatnonzero(near < 3.3 * np.exp(columns["log_scale"]).max(1))
    if len(rows) == 0:
        return None
    axes = splats.rotation[rows].detach().cpu().numpy().astype(np.float64)
    inverse = np.exp(-columns["log_scale"][rows])
    o = np.einsum("nji,nj->ni", axes, offset[rows]) * inverse  # the mean seen from the ray's origin, in deviations
    d = np.einsum("nji,j->ni", axes, towards) * inverse
    t = (o * d).sum(1) / (d * d).sum(1)
    alpha = np.exp(-0.5 * ((o - t[:, None] * d) ** 2).sum(1)) / (1 + np.exp(-columns["opacity_logit"][rows]))
    alpha = np.where((t > 0) & (alpha > 1 / 255), np.minimum(alpha, 0.999), 0)
    order = np.argsort(t, kind="stable")
    t, alpha = t[order], alpha[order]
    weight = alpha * np.concatenate([[1.0], np.cumprod(1 - alpha)[:-1]])
    total = np.cumsum(weight)
    if total[-1] < 0.2:
        return None
    return np.asarray(origin, np.float64) + t[np.searchsorted(total, 0.5 * total[-1])] * towards
