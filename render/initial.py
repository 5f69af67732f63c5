"""Where a scene starts: points that the training photos know, or random points in the volume that their cameras share.

Nothing that a held-out photo alone knows goes in: a point needs two training photos, and its colour is sampled from
training photos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.geometry import Array, World
from recon.motion import cameras_by, stations_of
from recon.sparse import SparseModel
from render.dataset import Level

MIN_POINTS = 100
"""Fewer sparse points than this count as none."""
RANDOM_POINTS = 20_000
BOUNDED_SLACK = 1.15
"""The ball of a bounded scene, in units of what the median camera sees whole: corners of pictures see a little more."""
NEAR_BALL, FAR_BALL = 0.05, 100.0
"""Where rays begin and end without points, in radii of the ball."""
NEAR_POINTS, FAR_POINTS = 0.5, 2.0
"""The same in units of the z of nearly the nearest and farthest points."""


@dataclass(frozen=True)
class SceneSetup:
    """What a representation must know besides its own config, in training and after."""

    extent: float
    """What the longer side of a photo spans in the middle of the scene, world units (see view_width()): steps of positions
    in this unit are steps in pixels, whatever the focal length and however far away the cameras stand.
    """
    near: float
    """What is nearer than this to a camera is not drawn, world units."""
    splats: int
    """Cap on the number of splats."""
    sh_degree: int = 3
    antialiased: bool = False
    densify: bool = True
    grow_sh: bool = True
    """Whether the bands of the spherical harmonics are switched on one after another."""
    seed: int = 0
    device: str = "cpu"
    world: World = field(default_factory=World)
    times: tuple[float, float] | None = None
    """Of the first and the last photo, held-out ones counted in, seconds; None where they tell none."""
    fps: float = 0.0
    """Moments a second at which there are photos; 0 where they tell no times."""
    center: Sequence[float] = (0.0, 0.0, 0.0)
    """[3], middle of the scene's ball, world: what the cameras look at."""
    radius: float = 1.0
    """Of the ball, world units: it holds the subject, and of a bounded scene everything."""
    bounded: bool = False
    """Whether nothing lies outside of the ball: objects that were photographed with mattes."""
    ray_near: float = 0.01
    """Distance from a camera at which its rays begin, world units."""
    ray_far: float = 100.0
    """Distance at which they end, world units."""


@dataclass(frozen=True)
class SceneInit:
    """What a representation is built from: points, and the setup."""

    xyz: Array
    """f64[P, 3], world."""
    rgb: NDArray[np.float32]
    """f32[P, 3], sRGB 0..1."""
    spacing: NDArray[np.float32]
    """f32[P], root mean square distance to the three nearest neighbours, world units."""
    setup: SceneSetup
    guessed: bool = False
    """The points are random ones, not measured."""
    volume: tuple[Array, float] | None = None
    """Centre f64[3] and radius of the ball that the training cameras share; None where nobody asked."""


def training_points(model: SparseModel, train: NDArray[np.bool_], level: Level, rows: NDArray) -> tuple[Array, NDArray]:
    """Points seen by at least two training cameras: positions f64[P, 3] and colours f32[P, 3] averaged over the
    training photos that saw them.

    `train` [N] marks the model's training cameras; photo i of `level` is the model's camera rows[i].
    """
    o = model.observations
    kept = train[o.camera]
    camera, point, xy = o.camera[kept], o.point[kept], o.xy[kept]
    total, seen = np.zeros((len(model.xyz), 3)), np.zeros(len(model.xyz))
    scale = level.cameras.size / model.cameras.size[rows]
    for i, row in enumerate(rows):
        mine = camera == row
        width, height = level.cameras.size[i]
        pixel = np.floor(xy[mine] * scale[i]).astype(np.int64).clip(0, [width - 1, height - 1])
        total[point[mine]] += level.photo(i).rgb[pixel[:, 1], pixel[:, 0]]
        np.add.at(seen, point[mine], 1)
    good = (np.bincount(point, minlength=len(model.xyz)) >= 2) & (seen > 0)
    return model.xyz[good], (total[good] / seen[good, None]).astype(np.float32)


def random_points(cameras: Cameras, amount: int, seed: int) -> tuple[Array, NDArray[np.float32]]:
    """Points spread evenly in the volume that the cameras look at together, with random colours.

    The volume is a ball around the point nearest to all optical axes, as large as keeps it in every camera's view.
    """
    return ball_points(*common_ball(cameras), amount, seed)


def ball_points(center: Array, radius: float, amount: int, seed: int) -> tuple[Array, NDArray[np.float32]]:
    """Points f64[amount, 3] spread evenly in a ball, with random colours f32[amount, 3]."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(amount, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    xyz = center + direction * radius * rng.random((amount, 1)) ** (1 / 3)
    return xyz, rng.random((amount, 3)).astype(np.float32)


def common_ball(cameras: Cameras) -> tuple[Array, float]:
    """Centre [3] and radius of the ball that the cameras share: the point nearest to all optical axes, and the largest
    radius that the median camera sees whole. Parallel axes have no such point: then the ball lies ahead by the cameras'
    spread."""
    centers, axes = cameras.centers, cameras.world_from_cam[:, :3, 2]
    normal = _across(axes)
    total = normal.sum(0)
    spread = float(np.linalg.norm(centers - centers.mean(0), axis=1).max()) or 1.0
    if _aimed(cameras):
        focus = np.linalg.solve(total, np.einsum("nij,nj->i", normal, centers))
    else:
        focus = centers.mean(0) + 2 * spread * axes.mean(0)
    distance = np.linalg.norm(centers - focus, axis=1)
    half = 0.5 * cameras.size.min(1) / cameras.K[:, 0, 0]
    return focus, float(np.median(distance * half / np.sqrt(1 + half**2))) or spread


@dataclass(frozen=True)
class Surroundings:
    """Where the rays of a scene run: the fields of the same names in SceneSetup."""

    center: tuple[float, float, float]
    radius: float
    bounded: bool
    ray_near: float
    ray_far: float


def surroundings(cameras: Cameras, xyz: Array, bounded: bool) -> Surroundings:
    """The scene's ball and the reach of rays from what the cameras look at and the points measured in it, [P, 3].

    The ball is around the point nearest to all optical axes; where these are as good as parallel, around the points. That
    of a bounded scene is as large as the cameras see whole (BOUNDED_SLACK), that of another reaches to the median camera.
    Rays begin before the nearest points, and end behind the farthest.
    """
    center, seen = common_ball(cameras)
    if len(xyz) and not _aimed(cameras):
        center = np.median(xyz, axis=0)
    away = np.linalg.norm(cameras.centers - center, axis=1)
    radius = BOUNDED_SLACK * seen if bounded else float(np.median(away)) or seen
    near, far = NEAR_BALL * radius, FAR_BALL * radius
    z = np.concatenate([z for _, z in _in_views(cameras, xyz)]) if len(xyz) else np.zeros(0)
    if len(z):
        near = min(NEAR_POINTS * float(np.percentile(z, 0.5)), radius)
        far = max(FAR_POINTS * float(np.percentile(z, 99.5)), 4 * radius)
    far = max(far, float(away.max()) + 2 * radius)
    return Surroundings((float(center[0]), float(center[1]), float(center[2])), radius, bounded, near, far)


def _in_views(cameras: Cameras, xyz: Array) -> Iterator[tuple[int, Array]]:
    """(camera, z [M]) of the points [P, 3] that each camera has in its picture, for cameras that have some."""
    for i in range(len(cameras)):
        pixels, z = (a[0] for a in cameras[i].project(xyz))
        inside = (z > 0) & ((pixels >= 0) & (pixels < cameras.size[i])).all(-1)
        if inside.any():
            yield i, z[inside]


def _across(axes: Array) -> Array:
    """f64[N, 3, 3]: what each projection along an axis leaves."""
    return np.eye(3) - axes[:, :, None] * axes[:, None]


def _aimed(cameras: Cameras) -> bool:
    """Whether the optical axes have a point that is nearest to all: they are not as good as parallel."""
    total = _across(cameras.world_from_cam[:, :3, 2]).sum(0)
    return bool(np.linalg.eigvalsh(total)[0] > 1e-3 * len(cameras))


def scene_extent(cameras: Cameras) -> float:
    """1.1 times the largest distance of a camera from the cameras' mean, as in 3D Gaussian splatting; world units, > 0."""
    centers = cameras.centers
    extent = 1.1 * float(np.linalg.norm(centers - centers.mean(0), axis=1).max())
    return extent if extent > 0 else 1.0


def view_width(cameras: Cameras, xyz: Array) -> float:
    """World units that the longer side of the median photo spans at the median z of the points [P, 3] in it; > 0.

    Without points in view: at the cameras' common point, see common_ball().
    """
    widths = [float(np.median(z)) * cameras.size[i].max() / cameras.K[i, 0, 0] for i, z in _in_views(cameras, xyz)]
    return float(np.median(widths)) if widths else 2 * common_ball(cameras)[1]


def timeline(cameras: Cameras, names: Sequence[str]) -> tuple[tuple[float, float] | None, float]:
    """(first, last) of the photos' times, and how many moments a second the quickest camera took; None and 0 without times.

    Times of several cameras lie between each other: their differences tell nothing.
    """
    time = cameras.time
    if time is None or len(time) == 0:
        return None, 0.0
    camera = cameras_by(names, stations_of(cameras))
    gaps = [np.diff(np.unique(time[camera == one])) for one in np.unique(camera)]
    steps = [float(np.median(gap)) for gap in gaps if len(gap)]
    return (float(time.min()), float(time.max())), 1 / min(steps) if steps else 0.0


def spacing(xyz: Array, floor: float) -> NDArray[np.float32]:
    """Root mean square distance f32[P] to the three nearest other points, `floor` at least."""
    from scipy.spatial import KDTree

    if len(xyz) < 2:
        return np.full(len(xyz), floor, np.float32)
    near = KDTree(xyz).query(xyz, k=min(4, len(xyz)), workers=1)[0][:, 1:]
    return np.maximum(np.sqrt((near**2).mean(1)), floor).astype(np.float32)
