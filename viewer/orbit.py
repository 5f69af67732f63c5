"""Camera paths made from a capture's own cameras, so that a film never goes where nobody stood.

Every camera centre on such a path is a weighted mean of centres of photos nearby (a convex combination: inside their hull), and
what it looks at is what they looked at. Photos that go round something give a loop; photos of one side of it a sway to and fro,
out along the lower of them and back along the higher; photos that look in all directions are followed in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from recon.cameras import Cameras
from recon.errors import InputError
from recon.geometry import Array, quat_from_rotation, rotation_from_quat, se3, se3_inverse
from recon.sparse import SparseModel
from viewer.curves import same_side
from viewer.paths import CameraPath

Kind = Literal["loop", "sway", "captured"]

GAP = np.radians(75.0)
"""The widest piece of a circle without photos that a loop crosses: further from all photos, scenes fall apart."""
NEAR_ANGLE = np.radians(14.0)
"""Photos within about this angle, as seen from the focus, make a place on an orbit."""
NEAR_HEIGHT = np.radians(10.0)
"""The same up and down."""
INWARD = np.cos(np.radians(40.0))
"""Cosine of the angle between a camera's axis and the direction to the focus, within which it looks at it."""
FACING = 0.8
"""Length of the mean of the cameras' axes from which on they look the same way."""
WIDER = {"loop": (1.06, 1.8), "sway": (1.0, 1.2), "captured": (1.0, 1.2)}
"""What the shorter and the longer side of a film may show, in units of the photos'. On a loop other photos show what lies beside
each, and means of places stand a little nearer than these do; at the ends of an arc nothing was seen beyond the photos."""
WALK = 1.5
"""Photos whose distances to the focus differ by so many times their way to the side were taken walking up to it."""
LEAP = 1.2
"""A step between photos that is a leap, in the measure of _steps(): a seventh of the way round something, say."""
IN_ORDER = 0.6
"""The order of the photos is followed where it reaches this share of what can be reached."""
ENDS = (8, 92)
"""Percentiles between which a sway goes."""
KEYFRAMES = 180
"""Of a path that goes round: dense, so that between them nothing is left to chance."""
TURN_RATE = np.radians(24.0)
"""Motion a second of a film whose length is not given, as an angle seen from what is filmed."""
SECONDS_SPAN = (6.0, 40.0)


@dataclass(frozen=True)
class Planned:
    """A path and what kind it is."""

    path: CameraPath
    kind: Kind


@dataclass(frozen=True)
class _Round:
    """Where the photos stand, seen from what they look at."""

    center: Array
    """f64[N, 3], of the cameras that take part."""
    along: Array
    """f64[N], to the side: an angle about the focus, or a share of the spread where axes are parallel."""
    height: Array
    """f64[N], upwards, in the same measure."""
    near: tuple[float, float]
    """Widths of the neighbourhood in `along` and `height`."""
    focus: Array
    """f64[3]."""
    up: Array
    """f64[3], unit: what is up in the picture."""
    loop: bool


def orbit(model: SparseModel, aspect: float, seconds: float | None = None, fps: float = 30.0) -> Planned:
    """Round what the photos look at, or to and fro before it; their own way where they look at no one thing.

    aspect: width / height of the picture. seconds: None chooses a calm speed. Raises InputError for fewer than 2 photos.
    """
    if len(model.names) < 2:
        raise InputError("An orbit needs at least 2 posed photos. Film a path of your own with --path FILE.json.")
    place = _inward(model) or _facing(model)
    if place is None:
        return captured(model, aspect, seconds, fps)
    phase = 2 * np.pi * np.arange(4 * KEYFRAMES) / (4 * KEYFRAMES)
    if place.loop:
        along, height = phase, np.full_like(phase, np.median(place.height))
    else:
        (west, east), (low, high) = (np.percentile(v, ENDS) for v in (place.along, place.height))
        along = 0.5 * (west + east) - 0.5 * (east - west) * np.cos(phase)
        height = 0.5 * (low + high) - 0.5 * (high - low) * np.sin(phase)
    center = _means(place, along, height)
    center = _evenly(center) if place.loop else center[::4]
    center = gaussian_filter1d(center, 0.015 * KEYFRAMES, axis=0, mode="wrap")
    pose = _looking(center, place.focus, place.up)
    return _planned(pose, model, "loop" if place.loop else "sway", aspect, seconds, fps)


def captured(model: SparseModel, aspect: float, seconds: float | None = None, fps: float = 30.0) -> Planned:
    """Along the photos in their order, smoothed, at an even pace. Raises InputError for fewer than 2 photos."""
    if len(model.names) < 2:
        raise InputError(
            "A path along the photos needs at least 2 posed photos. Film one of your own with --path FILE.json."
        )
    row = _run(model)
    pose = model.cameras.world_from_cam[row]
    quat = same_side(quat_from_rotation(pose[:, :3, :3]))
    step = _steps(model, row[:-1], row[1:])
    way = np.concatenate([[0], np.cumsum(np.maximum(step, 1e-6))])
    count = int(np.clip(4 * len(way), 60, 600))
    width = max(1.5 * float(np.median(step)), way[-1] / 40)
    where = np.linspace(0, way[-1], count)
    weight = _normalised(-0.5 * ((where[:, None] - way) / width) ** 2)
    center, rotation = weight @ pose[:, :3, 3], rotation_from_quat(weight @ quat)
    forward, up = rotation[:, :, 2], up_of(model)
    if np.abs(forward @ up).max() < 0.94:  # level, unless it looks straight up or down somewhere
        rotation = _looking(center, center + forward, up)[:, :3, :3]
    return _planned(se3(rotation, center), model, "captured", aspect, seconds, fps)


def _run(model: SparseModel) -> NDArray[np.int64]:
    """Rows of the photos that are followed, without a leap, because a leap may lead through what is filmed: the longest run of
    them in their order, or from neighbour to neighbour where that reaches many more."""
    count = len(model.names)
    rows = np.arange(count)
    apart = _steps(model, rows[:, None], rows[None])
    limit = max(LEAP, 3 * float(np.median(np.sort(apart, 1)[:, 1])))
    left, tour = set(range(1, count)), [0]
    while left:
        tour.append(min(left, key=lambda i: apart[tour[-1], i]))
        left.remove(tour[-1])
    runs = []
    for order in (rows, np.array(tour)):
        leaps = np.flatnonzero(apart[order[:-1], order[1:]] > limit)
        runs.append(max(np.split(order, leaps + 1), key=len))
    own, toured = runs
    best = own if len(own) >= IN_ORDER * len(toured) else toured
    return best if len(best) > 1 else rows


def _steps(model: SparseModel, a: NDArray[np.int64], b: NDArray[np.int64]) -> Array:
    """How far it is from photos `a` to photos `b` (indices that broadcast): the turn in radians, and the way in units of the
    distance to what they see."""
    pose = model.cameras.world_from_cam
    quat, center = quat_from_rotation(pose[:, :3, :3]), pose[:, :3, 3]
    turn = 2 * np.arccos(np.clip(np.abs((quat[a] * quat[b]).sum(-1)), 0, 1))
    return np.linalg.norm(center[a] - center[b], axis=-1) / _distance(model) + turn


def up_of(model: SparseModel) -> Array:
    """f64[3], unit: +Z where the world's up is known, else as the photos were held."""
    if model.world.up != "unknown":
        return np.array([0.0, 0.0, 1.0])
    from recon.upright import up_from_cameras

    found = up_from_cameras(model.cameras)
    mean = -model.cameras.world_from_cam[:, :3, 1].mean(0) if found is None else found.direction
    length = float(np.linalg.norm(mean))
    return mean / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])


def vfov_of(cameras: Cameras, aspect: float, kind: Kind = "captured") -> float:
    """Degrees from top to bottom of a picture of this aspect whose shorter side shows what that of the median photo shows, or
    less, where its longer side would show too much beyond the photo's: see WIDER."""
    half = np.sort(0.5 * cameras.size / cameras.K[:, [0, 1], [0, 1]], 1)
    short, long = np.median(half, 0)
    margin, wider = WIDER[kind]
    tangent = min(margin * short, wider * long / max(aspect, 1 / aspect))
    return float(2 * np.degrees(np.arctan(tangent / min(aspect, 1))))


def focus_of(cameras: Cameras) -> Array | None:
    """f64[3]: the point nearest to the optical axes, those that pass far from it counting little; None where most of the
    cameras do not look at it, or all look the same way."""
    center, axis = cameras.centers, cameras.world_from_cam[:, :3, 2]
    normal = np.eye(3) - axis[:, :, None] * axis[:, None]
    weight, focus = np.ones(len(center)), center.mean(0)
    for _ in range(20):
        total = np.einsum("n,nij->ij", weight, normal)
        if np.linalg.eigvalsh(total)[0] < 0.01 * weight.sum():
            return None
        focus = np.linalg.solve(total, np.einsum("n,nij,nj->i", weight, normal, center))
        miss = np.linalg.norm(np.einsum("nij,nj->ni", normal, focus - center), axis=1)
        weight = 1 / (1 + (miss / max(float(np.median(miss)), 1e-9)) ** 2)
    return focus if _looks_at(cameras, focus).mean() > 0.6 else None


def _looks_at(cameras: Cameras, focus: Array) -> Array:
    """bool[N]: whether each camera looks at a point, more or less."""
    to = focus - cameras.centers
    ahead = (to * cameras.world_from_cam[:, :3, 2]).sum(1)
    return ahead > INWARD * np.linalg.norm(to, axis=1)


def _inward(model: SparseModel) -> _Round | None:
    """Photos around one thing, by their angles about it; None where there is no such thing."""
    focus = focus_of(model.cameras)
    if focus is None:
        return None
    up, center = up_of(model), model.cameras.centers
    away = np.linalg.norm(center - focus, axis=1)
    usual = float(np.median(away))
    good = _looks_at(model.cameras, focus) & (away > 0.5 * usual) & (away < 2 * usual)
    if good.sum() < 3:
        return None
    center, side = center[good], np.linalg.svd(up[None])[2][1:]
    if np.linalg.det(np.concatenate([side, up[None]])) < 0:
        side = side[::-1]
    flat, level = (center - focus) @ side.T, (center - focus) @ up
    if np.median(np.linalg.norm(flat, axis=1)) < 0.2 * usual:  # all of them above it: there is no round
        return None
    angle = np.sort(np.arctan2(flat[:, 1], flat[:, 0]))
    gaps = np.diff(np.append(angle, angle[0] + 2 * np.pi))
    start = angle[(int(gaps.argmax()) + 1) % len(angle)]
    along = np.mod(np.arctan2(flat[:, 1], flat[:, 0]) - start + 1e-9, 2 * np.pi)
    height, loop = np.arctan2(level, np.linalg.norm(flat, axis=1)), bool(gaps.max() <= GAP)
    wide = _spread(along)
    if not loop and _spread(away[good]) > WALK * usual * wide:
        return None
    near = (NEAR_ANGLE if loop else min(NEAR_ANGLE, wide / 4), NEAR_HEIGHT)
    return _Round(center, along, height, near, focus, up, loop)


def _facing(model: SparseModel) -> _Round | None:
    """Photos that look the same way, by their places beside each other; None where they do not."""
    pose = model.cameras.world_from_cam
    axis, center = pose[:, :3, 2].mean(0), pose[:, :3, 3]
    if np.linalg.norm(axis) < FACING:
        return None
    up = up_of(model)
    if abs(axis @ up) > 0.8 * np.linalg.norm(
        axis
    ):  # from above or below: up in the picture is what the photos have there
        up = -pose[:, :3, 1].mean(0)
        up = up / max(float(np.linalg.norm(up)), 1e-9)
    right = np.cross(axis, up)
    right /= max(float(np.linalg.norm(right)), 1e-9)
    over = np.cross(right, axis)
    across, height = (center - center.mean(0)) @ right, (center - center.mean(0)) @ (over / np.linalg.norm(over))
    if _spread(center @ axis) > WALK * max(_spread(across), _spread(height)):
        return None
    spread = max(_spread(across), _spread(height), 1e-9)
    focus = center.mean(0) + axis / np.linalg.norm(axis) * _distance(model)
    return _Round(center, across / spread, height / spread, (0.15, 0.15), focus, up, False)


def _spread(values: Array) -> float:
    """From one of the ENDS to the other."""
    return float(np.diff(np.percentile(values, ENDS))[0])


def _distance(model: SparseModel) -> float:
    """Median distance from the cameras to what they see, world units; > 0."""
    from viewer.pictures import in_view

    cameras, xyz = model.cameras, model.xyz[:: max(1, len(model.xyz) // 5000)]
    some = np.unique(np.linspace(0, len(cameras) - 1, min(len(cameras), 30)).astype(int))
    seen = [float(np.median(z)) for row in some if len(z := in_view(cameras, int(row), xyz))]
    spread = float(np.linalg.norm(cameras.centers - cameras.centers.mean(0), axis=1).max())
    return float(np.median(seen)) if seen else 2 * spread or 1.0


def _means(place: _Round, along: Array, height: Array) -> Array:
    """f64[F, 3]: for each place on the path the mean of the centres near it, by Gaussian weights."""
    aside = along[:, None] - place.along
    if place.loop:
        aside = np.mod(aside + np.pi, 2 * np.pi) - np.pi
    over = height[:, None] - place.height
    return _normalised(-0.5 * ((aside / place.near[0]) ** 2 + (over / place.near[1]) ** 2)) @ place.center


def _normalised(exponent: Array) -> Array:
    """Weights [F, N] that add up to 1 in each row, from their logarithms."""
    weight = np.exp(exponent - exponent.max(1, keepdims=True))
    return weight / weight.sum(1, keepdims=True)


def _evenly(center: Array) -> Array:
    """f64[KEYFRAMES, 3]: a closed line at an even pace."""
    closed = np.concatenate([center, center[:1]])
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    where = way[-1] * np.arange(KEYFRAMES) / KEYFRAMES
    return np.stack([np.interp(where, way, column) for column in closed.T], 1)


def _looking(center: Array, target: Array, up: Array) -> Array:
    """world_from_cam f64[F, 4, 4] of cameras that look at a target and are held level."""
    forward = target - center
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, up)
    right = right / np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-9)
    return se3(np.stack([right, np.cross(forward, right), forward], -1), center)


def _planned(
    world_from_cam: Array, model: SparseModel, kind: Kind, aspect: float, seconds: float | None, fps: float
) -> Planned:
    """A path through poses at equal intervals; without `seconds`, as long as is calm for the way it goes."""
    count, center = len(world_from_cam), world_from_cam[:, :3, 3]
    if seconds is None:
        axis = world_from_cam[:, :3, 2]
        turn = np.arccos(np.clip((axis[1:] * axis[:-1]).sum(1), -1, 1))
        shift = np.linalg.norm(np.diff(center, axis=0), axis=1) / _distance(model)
        seconds = float(np.clip(np.maximum(turn, shift).sum() / TURN_RATE, *SECONDS_SPAN))
    loop = kind != "captured"
    time = np.arange(count) * seconds / (count if loop else count - 1)
    vfov = np.full(count, vfov_of(model.cameras, aspect, kind))
    return Planned(CameraPath(time, se3_inverse(world_from_cam), vfov, fps, loop), kind)
