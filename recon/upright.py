"""Which way is up, from the photos alone: how the cameras were held, and the plane that the place stands on.

Notation: u is the unit direction up, in the frame of the model. x, y, f are a camera's +X (right), +Y (down) and +Z
(forward) axes in that frame. Angles are radians inside and degrees in what is returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.geometry import Array
from recon.sparse import SparseModel

ROLL = np.radians(4.0)
"""How level a hand holds a photo's horizontal axis, 1 sigma."""
USUAL = np.radians(2.5)
"""What that is when nothing is measured; weighs as much as FEW cameras."""
FEW = 5
PITCH = np.radians(30.0)
"""How far photos look up or down, 1 sigma: weak, and needed only where all of them look the same way."""
CUT = 3.0
"""Beyond this many sigma a camera has no say."""
PITCH_WEIGHT = 0.3
"""Of the pitch in the search: less than 0.5, or photos straight down in two crossing headings would pass for level
ones."""
INDEPENDENT = 8
"""Photos of one hand share their tilt: more of them than this do not make the mean better."""
MIN_AGREE = 0.5
"""The share of cameras that must agree; below it the photos were held every which way."""


@dataclass(frozen=True)
class Upright:
    """Up as N cameras say it."""

    direction: Array
    """f64[3], unit, up, model frame."""
    level: Array
    """f64[N, 3], the axis of each camera that is held level: +X, or +Y where the photos lie on their side."""
    held: Literal["upright", "sideways"]
    """Which of the two."""
    agree: NDArray[np.bool_]
    """bool[N], cameras within CUT sigma."""
    information: Array
    """f64[3, 3], inverse covariance (1 / rad^2) of `direction` on the plane at right angles to it."""
    spread_deg: float
    """Robust standard deviation of the cameras' roll about `direction`."""

    @property
    def error_deg(self) -> float:
        """Standard error of `direction` along its worst axis."""
        return float(np.degrees(1 / np.sqrt(np.linalg.eigvalsh(self.information)[1])))


def up_from_cameras(cameras: Cameras) -> Upright | None:
    """Up from how the photos were held, or None where fewer than half of them agree.

    People hold a camera level however they turn and tilt it, so its X axis is horizontal, and up is the direction at
    right angles to all X axes: the eigenvector of the least eigenvalue of the sum of x x^T (Szeliski, Image alignment
    and stitching, 2006, 5.1). Made robust by a search over the sphere followed by reweighting. Where all photos look
    the same way the X axes leave open a turn about themselves; the weak belief that photos look level on the whole
    closes it. Photos that lie on their side (their Y axes are then level) are recognised when that explains them
    clearly better; which of their sides is up is then taken from photos looking down more often than up.
    """
    axes = cameras.cam_from_world[:, :3, :3]
    x, y, forward = axes[:, 0], axes[:, 1], axes[:, 2]
    (cost_x, up_x), (cost_y, up_y) = (_search(level, forward) for level in (x, y))
    sideways = cost_x > 0.15 and cost_y < 0.5 * cost_x  # measured: 0.00 to 0.27 upright, 0.27 against 0.005 sideways
    level = y if sideways else x
    up, sigma, weight = _refine(up_y if sideways else up_x, level, forward)
    against = forward.mean(0) if sideways else y.mean(0)
    if not sideways and abs(against @ up) < 0.2:  # straight down or up: Y says nothing, and down is far more common
        against = forward.mean(0)
    up = -up if against @ up > 0 else up
    agree = np.abs(level @ up) < np.sin(CUT * max(sigma, ROLL))
    if agree.mean() < MIN_AGREE:
        return None
    information = _information(up, level, forward, sigma, weight)
    return Upright(up, level, "sideways" if sideways else "upright", agree, information, float(np.degrees(sigma)))


def _search(level: Array, forward: Array) -> tuple[float, Array]:
    """The least cost, 0..1 + PITCH_WEIGHT, and its direction [3], over 4000 directions of a half sphere (2.3 degrees
    apart)."""
    i = np.arange(4000)
    z, turn = (i + 0.5) / len(i), i * np.pi * (3 - np.sqrt(5))  # a Fibonacci half sphere
    r = np.sqrt(1 - z * z)
    directions = np.stack([r * np.cos(turn), r * np.sin(turn), z], 1)
    step = max(1, len(level) // 1000)
    roll = np.arcsin(np.clip(directions @ level[::step].T, -1, 1)) / ROLL
    pitch = np.arcsin(np.clip(directions @ forward[::step].T, -1, 1)) / PITCH
    cost = (np.minimum(roll**2, CUT**2) + PITCH_WEIGHT * np.minimum(pitch**2, CUT**2)).mean(1) / CUT**2
    best = int(cost.argmin())
    return float(cost[best]), directions[best]


def _refine(up: Array, level: Array, forward: Array) -> tuple[Array, float, tuple[Array, Array]]:
    """Up, the cameras' roll sigma and the weights [N] of roll and pitch, by reweighted least eigenvectors (Tukey's
    biweight)."""
    sigma, weight = ROLL, (np.ones(len(level)), np.ones(len(level)))
    for _ in range(20):
        roll, pitch = level @ up, forward @ up
        mad = min(1.4826 * float(np.median(np.abs(roll))), ROLL)
        sigma = float(np.sqrt((len(roll) * mad**2 + FEW * USUAL**2) / (len(roll) + FEW)))
        weight = tukey(roll / sigma, 2 * CUT), tukey(np.arcsin(np.clip(pitch, -1, 1)) / PITCH, CUT)
        m = (weight[0][:, None] * level).T @ level / sigma**2 + (weight[1][:, None] * forward).T @ forward / PITCH**2
        new = np.linalg.eigh(m)[1][:, 0]
        new = new if new @ up > 0 else -new
        if np.linalg.norm(new - up) < 1e-9:
            break
        up = new
    return up, sigma, weight


def _information(up: Array, level: Array, forward: Array, sigma: float, weight: tuple[Array, Array]) -> Array:
    m = (weight[0][:, None] * level).T @ level / sigma**2 + (weight[1][:, None] * forward).T @ forward / PITCH**2
    across = np.eye(3) - np.outer(up, up)
    return (
        across @ (m + np.eye(3)) @ across * min(1.0, INDEPENDENT / len(level))
    )  # + 1: nobody is surer than 1 rad of nothing


def tukey(r: Array, cut: float) -> Array:
    """Tukey's biweight [...] of residuals [...] in sigmas: 1 at 0, 0 from `cut` on."""
    return np.where(np.abs(r) < cut, (1 - (r / cut) ** 2) ** 2, 0.0)


def deviation(directions: Array, up: Array, information: Array) -> Array:
    """How many sigma [...] unit directions [..., 3] lie from `up` [3], whose information is [3, 3] as in Upright."""
    across = directions - (directions @ up)[..., None] * up
    sin = np.linalg.norm(across, axis=-1, keepdims=True)
    angle = np.arctan2(sin[..., 0], directions @ up)
    along = across / np.maximum(sin, 1e-300)
    return angle * np.sqrt(np.einsum("...i,ij,...j->...", along, information, along))


@dataclass(frozen=True)
class Ground:
    """The plane that the place stands on: normal . p = offset."""

    normal: Array
    """f64[3], unit, up, model frame."""
    offset: float
    """Model units."""
    support: float
    """Share of the points within `thickness` of it."""
    points: int
    """How many these are."""
    thickness: float
    """Model units."""


GROUND_THICKNESS = 0.007
"""Of the median distance from camera to point: what scatter of sparse points on a floor was measured."""
MIN_SUPPORT = 0.08
"""Share of the points that makes a plane the ground."""
MIN_CONTRAST = 3.0
"""How many times as many points the slab holds as slabs just above and below it on average."""


def find_ground(model: SparseModel, up: Array, information: Array) -> Ground | None:
    """The best supported plane below the cameras whose normal lies within 2.5 sigma (at least 2 degrees) of `up` [3].

    `information` [3, 3] is that of Upright. A sweep over the directions of that cone; in each the densest slab of
    points is found by counting, and the best one is refined by reweighted least squares. None without a plane that
    holds MIN_SUPPORT of the points, stands out from what lies beside it, and is wide in both directions.
    """
    points, depth = _solid_points(model)
    if len(points) < 100:
        return None
    thickness = GROUND_THICKNESS * depth
    few = points[:: max(1, len(points) // 4000)]
    middle = np.median(few, 0)
    centers = model.cameras.centers - middle
    best: tuple[float, Array, float] = (0.0, up, 0.0)
    for normal in _cone(up, information):
        count, offset = _densest((few - middle) @ normal, thickness, float(np.quantile(centers @ normal, 0.1)))
        if count > best[0]:
            best = (count, normal, offset)
    normal, offset = _fit_plane(points - middle, best[1], best[2], thickness)
    if deviation(normal, up, information) > 3.5:
        normal, offset = best[1], best[2]
    z = (points - middle) @ normal - offset
    on = np.abs(z) < thickness
    beside = ((np.abs(z) > 2 * thickness) & (np.abs(z) < 6 * thickness)).mean() / 4
    if on.mean() < MIN_SUPPORT or on.mean() < MIN_CONTRAST * beside:
        return None
    narrow = float(np.linalg.svd(points[on] - points[on].mean(0), compute_uv=False)[1]) / np.sqrt(on.sum())
    if narrow < 5 * thickness:
        return None
    return Ground(normal, float(offset + normal @ middle), float(on.mean()), int(on.sum()), thickness)


def _solid_points(model: SparseModel) -> tuple[Array, float]:
    """Points [M, 3] that at least three photos saw (all, if these are few) and that are not far off; and the median
    distance from the photos to the points that they saw."""
    seen = model.observations
    views = np.bincount(seen.point, minlength=len(model.xyz))
    if len(seen.point):
        distance = np.linalg.norm(model.xyz[seen.point] - model.cameras.centers[seen.camera], axis=1)
        nearest = np.full(len(model.xyz), np.inf)
        np.minimum.at(nearest, seen.point, distance)
    else:
        nearest = np.linalg.norm(model.xyz - np.median(model.cameras.centers, 0), axis=1)
    finite = nearest[np.isfinite(nearest)]
    depth = float(np.median(finite)) if len(finite) else 1.0
    near = nearest < 4 * depth
    solid = near & (views >= 3)
    return model.xyz[solid if solid.sum() >= 500 else near], depth


def _cone(up: Array, information: Array) -> list[Array]:
    """About 440 directions at most, within 2.5 sigma of up (at least 2 degrees, at most 30)."""
    sigma = 1 / np.sqrt(max(float(np.linalg.eigvalsh(information)[1]), 1e-6))
    reach = float(np.clip(2.5 * sigma, np.radians(2), np.radians(30)))
    e1, e2 = np.linalg.svd(np.outer(up, up))[0][:, 1:].T
    out = []
    for a in np.arange(-12, 13) * reach / 12:
        for b in np.arange(-12, 13) * reach / 12:
            n = up + np.tan(a) * e1 + np.tan(b) * e2
            n = n / np.linalg.norm(n)
            near = np.hypot(a, b) < np.radians(2.01)
            if np.hypot(a, b) < reach * 1.001 and (near or deviation(n, up, information) < 2.5):
                out.append(n)
    return out


def _densest(z: Array, thickness: float, ceiling: float) -> tuple[float, float]:
    """Number of heights [P] in the fullest slab of +- thickness below `ceiling`, and the slab's middle."""
    bins = np.floor(z[z < ceiling] / thickness).astype(np.int64)
    if len(bins) == 0:
        return 0.0, 0.0
    low = max(int(bins.min()), int(np.median(bins)) - 100_000)
    counts = np.bincount(bins[bins >= low] - low)
    pairs = counts[:-1] + counts[1:] if len(counts) > 1 else counts
    best = int(pairs.argmax())
    return float(pairs[best]), (best + low + 1) * thickness


def _fit_plane(points: Array, normal: Array, offset: float, thickness: float) -> tuple[Array, float]:
    """Least squares plane through the points [P, 3] near a first one, nearer ones in each round."""
    for reach in (3, 2, 1.5, 1.5, 1.5):
        weight = tukey((points @ normal - offset) / thickness, 2 * reach)
        if (weight > 0).sum() < 10:
            break
        mean = weight @ points / weight.sum()
        new = np.linalg.svd(np.sqrt(weight)[:, None] * (points - mean), full_matrices=False)[2][2]
        normal = new if new @ normal > 0 else -new
        offset = float(normal @ mean)
    return normal, offset


def scene_middle(model: SparseModel) -> Array:
    """The point [3] nearest to all optical axes, where they meet well; drawn to the points' median where they run
    side by side.

    Minimises the squared distances to the N axes, plus 0.02 N times the squared distance to the median.
    """
    centers, forward = model.cameras.centers, model.cameras.cam_from_world[:, 2, :3]
    points = model.xyz if len(model.xyz) else centers
    across = np.eye(3) - forward[:, :, None] * forward[:, None, :]
    pull = 0.02 * len(centers)
    a = across.sum(0) + pull * np.eye(3)
    return np.linalg.solve(a, np.einsum("nij,nj->i", across, centers) + pull * np.median(points, 0))
