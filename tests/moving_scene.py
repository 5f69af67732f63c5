"""Moving captures with known truth: a door on its hinge and a rolling ball before a static room, ray-cast in numpy.

World: metres, +Z up. Three bodies carry solid textures in their own frames: ROOM (rests), DOOR (swings about its hinge), BALL
(moves and turns). Nothing is shaded, so that a point of a body has one colour at all times and from everywhere.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.capture import Capture
from recon.geometry import Array, World, se3, se3_inverse
from recon.reconstruction import Reconstruction
from recon.sparse import Observations, SparseModel
from tests.posed import capture_of, looking

ROOM, DOOR, BALL = 0, 1, 2
LOW, HIGH = np.array([-3.0, -4.5, 0.0]), np.array([3.0, 1.6, 3.0])
"""The room's inside."""
DOOR_SIZE = (1.0, 1.7)
"""Width and height of the door. Its frame: +X from the hinge outwards, +Z up."""
RADIUS = 0.4
PERIOD = 2.0
"""Seconds after which both movements begin anew."""
SUPERSAMPLING = 2
POINTS = 1500
"""Sparse points of a capture, about; each is started from one photo."""


WAVES = ((0.3, 3.0), (0.22, 0.9), (0.2, 0.8))
"""Shortest and longest wave of each body's texture, metres."""


@dataclass(frozen=True)
class Play:
    """What moves where, how it is painted, and from where it is seen: swings are middle + amplitude sin(turns w t + phase)."""

    paint: int = 0
    """Textures of another number have nothing in common."""
    hinge: tuple[float, float, float] = (-1.4, 0.9, 0.1)
    """Its foot, world."""
    door: tuple[float, float, float, float] = (-0.9, 0.65, 1.0, np.pi / 2)
    """Radians about the hinge: middle, amplitude, turns in a period, phase; so are the others."""
    spin: tuple[float, float, float, float] = (0.0, 1.2, 1.0, 0.0)
    """Of the ball about its axis."""
    ball: tuple[tuple[float, float, float, float], ...] = (
        (0.7, 0.6, 1.0, 0.0),
        (-0.4, 0.2, 1.0, np.pi / 2),
        (0.75, 0.3, 2.0, np.pi / 2),
    )
    """Its centre's x, y and z, metres."""
    aside: float = 0.0
    """Radians by which all cameras stand aside, about the middle of what moves."""


FIRST = Play()
"""What is reported."""
TRIAL = Play(
    paint=1,
    hinge=(0.45, 0.8, 0.1),
    door=(-0.6, 0.5, 1.0, 0.7),
    spin=(0.3, 1.0, 2.0, 0.4),
    ball=((-0.6, 0.45, 1.0, 2.0), (-0.2, 0.3, 1.0, 0.9), (0.9, 0.35, 1.0, -0.6)),
    aside=0.25,
)
"""For choosing defaults: other textures, paths and views, so that what is reported took no part in the choice."""


@functools.cache
def _waves(body: int, paint: int, count: int = 24) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(body + 1000 * paint)
    length = np.geomspace(*WAVES[body], count)
    wave = rng.normal(size=(count, 3))
    wave *= 2 * np.pi / length[:, None] / np.linalg.norm(wave, axis=1, keepdims=True)
    share = rng.uniform(0.3, 1, (count, 3)) * length[:, None] ** 0.4
    return wave, rng.uniform(0, 2 * np.pi, count), share / np.sqrt((share**2).sum(0) / 2)


TINT = np.array([[0.5, 0.5, 0.5], [0.7, 0.45, 0.25], [0.25, 0.5, 0.75]])


def colour(body: int, local: Array, paint: int = 0) -> Array:
    """Colours [..., 3] in 0..1 of points [..., 3] in the body's own frame."""
    wave, phase, share = _waves(body, paint)
    return np.clip(TINT[body] + 0.2 * (np.cos(local @ wave.T + phase) @ share), 0, 1)


def _swing(how: tuple[float, float, float, float], time: float) -> tuple[float, float]:
    """Where a swing is, and its rate a second."""
    middle, amplitude, turns, phase = how
    w = 2 * np.pi * turns / PERIOD
    return middle + amplitude * np.sin(w * time + phase), amplitude * w * np.cos(w * time + phase)


def _centre(time: float, play: Play) -> tuple[Array, Array]:
    """The ball's centre and its velocity, world."""
    at, rate = zip(*(_swing(how, time) for how in play.ball), strict=True)
    return np.array(at), np.array(rate)


SPIN = np.array([1.0, 2.0, 2.0]) / 3
"""The ball's axis, which keeps still."""


def _about(axis: Array, angle: float) -> Array:
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def world_from_body(body: int, time: float, play: Play = FIRST) -> Array:
    """[4, 4] at a time in seconds."""
    if body == DOOR:
        return se3(_about(np.array([0, 0, 1.0]), _swing(play.door, time)[0]), np.array(play.hinge))
    return se3(_about(SPIN, _swing(play.spin, time)[0]), _centre(time, play)[0]) if body == BALL else np.eye(4)


def point_at(body: NDArray[np.int64], local: Array, time: float, play: Play = FIRST) -> Array:
    """World positions [..., 3] at `time` of surface points: bodies [...] and points [..., 3] in their frames."""
    out = np.array(local, np.float64)
    for one in (DOOR, BALL):
        pose = world_from_body(one, time, play)
        out[body == one] = local[body == one] @ pose[:3, :3].T + pose[:3, 3]
    return out


def velocity_at(body: NDArray[np.int64], local: Array, time: float, play: Play = FIRST) -> Array:
    """World velocities [..., 3], metres a second, of the same points: the exact scene flow."""
    out = np.zeros(local.shape)
    for one, axis, rate, along in (
        (DOOR, np.array([0, 0, 1.0]), _swing(play.door, time)[1], np.zeros(3)),
        (BALL, SPIN, _swing(play.spin, time)[1], _centre(time, play)[1]),
    ):
        pose = world_from_body(one, time, play)
        out[body == one] = np.cross(axis * rate, local[body == one] @ pose[:3, :3].T) + along
    return out


def cast(origin: Array, ray: Array, time: float, play: Play = FIRST) -> tuple[NDArray[np.int64], Array, Array]:
    """Body [...], local point [..., 3] and distance [...] of what the unit rays [..., 3] from `origin` [3] hit first."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.maximum((LOW - origin) / ray, (HIGH - origin) / ray).min(-1)
        body = np.zeros(t.shape, np.int64)
        door = se3_inverse(world_from_body(DOOR, time, play))
        start, along = door[:3, :3] @ origin + door[:3, 3], ray @ door[:3, :3].T
        hit = -start[1] / along[..., 1]
        x, z = start[0] + hit * along[..., 0], start[2] + hit * along[..., 2]
        inside = (hit > 0) & (hit < t) & (x > 0) & (x < DOOR_SIZE[0]) & (z > 0) & (z < DOOR_SIZE[1])
    t, body = np.where(inside, hit, t), np.where(inside, DOOR, body)
    away = origin - _centre(time, play)[0]
    half = ray @ away
    root = half**2 - (away @ away - RADIUS**2)
    hit = -half - np.sqrt(np.maximum(root, 0))
    inside = (root > 0) & (hit > 0) & (hit < t)
    t, body = np.where(inside, hit, t), np.where(inside, BALL, body)
    xyz, local = origin + t[..., None] * ray, np.empty(ray.shape)
    for one in (ROOM, DOOR, BALL):
        pose = se3_inverse(world_from_body(one, time, play))
        local[body == one] = xyz[body == one] @ pose[:3, :3].T + pose[:3, 3]
    return body, local, t


@dataclass(frozen=True)
class MovingScene:
    """N photos of one size, in the order of their names."""

    names: tuple[str, ...]
    cameras: Cameras
    """With time."""
    photos: NDArray[np.uint8]
    """u8[N, H, W, 3], averaged over SUPERSAMPLING^2 rays a pixel."""
    z: Array
    """f64[N, H, W], through the pixels' centres."""
    body: NDArray[np.int64]
    """i64[N, H, W]: ROOM, DOOR or BALL at the pixels' centres."""
    local: Array
    """f64[N, H, W, 3], what the centres see, in its body's frame: point_at(body, local, time) follows it."""
    moving: NDArray[np.bool_]
    """bool[N, H, W]: pixels that see the door or the ball, be it in part."""
    camera: NDArray[np.int32]
    """i32[N], which camera took it."""
    frame: NDArray[np.int32]
    """i32[N], which moment it is of."""
    fps: float
    play: Play = FIRST

    def __len__(self) -> int:
        return len(self.names)

    @property
    def static(self) -> NDArray[np.bool_]:
        """bool[N, H, W]: pixels that see the room alone."""
        return ~self.moving

    @property
    def split(self) -> tuple[str, ...]:
        """Every 8th frame of all cameras is test, and the middle one of six cameras or more."""
        cameras = int(self.camera.max()) + 1
        whole = cameras // 2 if cameras >= 6 else -1
        held = (self.frame % 8 == 0) | (self.camera == whole)
        return tuple("test" if test else "train" for test in held)

    def time(self, row: int) -> float:
        """Seconds."""
        assert self.cameras.time is not None
        return float(self.cameras.time[row])

    def xyz(self, row: int, time: float | None = None) -> Array:
        """f64[H, W, 3], world: where what photo `row` sees is at `time` (None: when it was taken)."""
        return point_at(self.body[row], self.local[row], self.time(row) if time is None else time, self.play)

    def scene_flow(self, row: int) -> Array:
        """f64[H, W, 3], metres a second, world."""
        return velocity_at(self.body[row], self.local[row], self.time(row), self.play)

    def correspondence(self, row: int, other: int) -> tuple[Array, NDArray[np.bool_]]:
        """Pixels [H, W, 2] of photo `other` that see what the pixels of photo `row` see, and whether it is in view there."""
        height, width = self.z.shape[1:]
        xy, z = self.cameras[other].project(self.xyz(row, self.time(other)).reshape(-1, 3))
        xy, z = xy.reshape(height, width, 2), z.reshape(height, width)
        with np.errstate(invalid="ignore"):
            inside = (z > 0) & (xy > 0.5).all(-1) & (xy < np.array([width, height]) - 0.5).all(-1)
        origin, ray = self.cameras.rays(other, np.where(inside[..., None], xy, 1.0))
        _, _, t = cast(origin, ray, self.time(other), self.play)
        nearest = t * (ray @ self.cameras.cam_from_world[other, 2, :3])
        return xy, inside & (np.abs(nearest - z) < 1e-6 * np.abs(z) + 1e-9)

    def rigid_flow(self, row: int, other: int) -> Array:
        """f64[H, W, 2]: where the pixels would be in photo `other` if nothing had moved, less where they are."""
        height, width = self.z.shape[1:]
        xy, _ = self.cameras[other].project(self.xyz(row).reshape(-1, 3))
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        return xy.reshape(height, width, 2) - np.stack([x, y], -1)


def _render(cameras: Cameras, row: int, time: float, play: Play) -> tuple[NDArray, Array, NDArray, Array, NDArray]:
    """Photo, z, body, local, moving of one camera."""
    width, height = (int(s) for s in cameras.size[row])
    fine = np.arange(SUPERSAMPLING * width) + 0.5, np.arange(SUPERSAMPLING * height) + 0.5
    origin, ray = cameras.rays(row, np.stack(np.meshgrid(*fine), -1) / SUPERSAMPLING)
    body, local, _ = cast(origin, ray, time, play)
    rgb = np.empty(ray.shape)
    for one in (ROOM, DOOR, BALL):
        rgb[body == one] = colour(one, local[body == one], play.paint)
    blocks = (height, SUPERSAMPLING, width, SUPERSAMPLING)
    photo = np.rint(255 * rgb.reshape(*blocks, 3).mean((1, 3))).astype(np.uint8)
    moving = (body != ROOM).reshape(blocks).any((1, 3))
    origin, ray = cameras.rays(row)
    body, local, t = cast(origin, ray, time, play)
    return photo, t * (ray @ cameras.cam_from_world[row, 2, :3]), body, local, moving | (body != ROOM)


def _scene(
    names: list[str], centers: Array, camera: NDArray, frame: NDArray, fps: float, size: tuple[int, int], play: Play
) -> MovingScene:
    """Cameras at `centers` [N, 3] that look at the middle of what moves."""
    n = len(names)
    around = np.array([0, 0.4, 0.95])
    turned = around + (centers - around) @ _about(np.array([0, 0, 1.0]), play.aside).T
    poses = np.stack([looking(c, around) for c in turned])
    k = np.array([[0.95 * size[0], 0, size[0] / 2], [0, 0.95 * size[0], size[1] / 2], [0, 0, 1]])
    time = frame / fps
    cameras = Cameras(poses, np.tile(k, (n, 1, 1)), np.tile(np.array(size, np.int32), (n, 1)), time=time)
    seen = [_render(cameras, i, time[i], play) for i in range(n)]
    photos, z, body, local, moving = (np.stack(part) for part in zip(*seen, strict=True))
    ids, frames = camera.astype(np.int32), frame.astype(np.int32)
    return MovingScene(tuple(names), cameras, photos, z, body, local, moving, ids, frames, fps, play)


@functools.lru_cache(maxsize=4)
def one_camera(
    frames: int = 40, size: tuple[int, int] = (128, 96), fps: float = 20.0, still: bool = False, play: Play = FIRST
) -> MovingScene:
    """One camera that walks along an arc (or stands still), a frame at a time."""
    s = np.zeros(frames) if still else np.linspace(-1, 1, frames)
    centers = np.stack([1.1 * s, -3.4 + 0.5 * s**2, 1.3 + 0.25 * np.sin(3 * s)], -1)
    names = [f"{i:04d}.png" for i in range(frames)]
    return _scene(names, centers, np.zeros(frames), np.arange(frames), fps, size, play)


@functools.lru_cache(maxsize=4)
def six_cameras(
    frames: int = 12, size: tuple[int, int] = (128, 96), fps: float = 6.0, cameras: int = 6, play: Play = FIRST
) -> MovingScene:
    """Fixed cameras on an arc of 80 degrees, `frames` moments each; names cam1/0000.png ..."""
    angle = np.radians(np.linspace(-40, 40, cameras))
    height = 1.3 + 0.35 * (-1.0) ** np.arange(cameras)
    centers: Array = np.stack([3.7 * np.sin(angle), 0.4 - 3.7 * np.cos(angle), height], -1).astype(np.float64)
    camera, frame = (a.ravel() for a in np.meshgrid(np.arange(cameras), np.arange(frames), indexing="ij"))
    names = [f"cam{c + 1}/{f:04d}.png" for c, f in zip(camera, frame, strict=True)]
    return _scene(names, centers[camera], camera, frame, fps, size, play)


def sparse_of(scene: MovingScene, seed: int = 0) -> SparseModel:
    """True points of the room, as structure from motion finds them: none on what moves; with every photo that sees them."""
    rng, xyz, rgb = np.random.default_rng(seed), [], []
    height, width = scene.z.shape[1:]
    _, first = np.unique(scene.cameras.cam_from_world, axis=0, return_index=True)
    for row in sorted(first.tolist()):
        y, x = np.nonzero(scene.body[row] == ROOM)
        pick = rng.permutation(len(y))[: POINTS // len(first)]
        xyz.append(scene.xyz(row)[y[pick], x[pick]])
        rgb.append(scene.photos[row][y[pick], x[pick]])
    xyz, rgb = np.concatenate(xyz), np.concatenate(rgb)
    pixels, z = scene.cameras.project(xyz)
    with np.errstate(invalid="ignore"):
        inside = (z > 0) & ((pixels > 0) & (pixels < np.array([width, height]))).all(-1)
    column, line = (np.where(inside, np.floor(pixels[..., a]), 0).astype(int) for a in (0, 1))
    rows = np.arange(len(scene))[:, None]
    seen = inside & (scene.body[rows, line, column] == ROOM)  # a convex room hides nothing of itself
    camera, point = np.nonzero(seen)
    error = np.full(len(xyz), 0.5, np.float32)
    observations = Observations.of(camera, point, pixels[camera, point])
    return SparseModel(scene.names, scene.cameras, xyz, rgb, error, observations, World(up="gravity", scale="metric"))


def written(scene: MovingScene, folder: Path, masks: bool = False) -> tuple[Capture, Reconstruction]:
    """The photos as undistorted images in `folder`/images, and what train() takes: no structure from motion is run.

    masks: also `folder`/masks, white where nothing moves.
    """
    import cv2

    for name, photo, static in zip(scene.names, scene.photos, scene.static, strict=True):
        path = folder / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.ascontiguousarray(photo[..., ::-1]))
        if masks:
            path = folder / "masks" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), static.astype(np.uint8) * 255)
    model = sparse_of(scene)
    capture = replace(
        capture_of(model),
        root=folder / "photos",
        camera_id=scene.camera,
        split=scene.split,
        protocol="every 8th moment held out" + (", and one camera" if int(scene.camera.max()) >= 5 else ""),
        time=scene.cameras.time,
    )
    return capture, Reconstruction(model, folder / "images", folder / "masks" if masks else None)


def as_folder(scene: MovingScene, folder: Path, times: bool = True, poses: bool = True) -> Path:
    """A data set that `recon run` takes: images/NAME and, with poses, transforms.json, with `time` in seconds."""
    import cv2

    for name, photo in zip(scene.names, scene.photos, strict=True):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.ascontiguousarray(photo[..., ::-1]))
    if not poses:
        return folder
    k, (width, height) = scene.cameras.K[0], scene.cameras.size[0].tolist()
    opengl = np.diag([1.0, -1, -1, 1])
    frames = [
        {"file_path": f"images/{name}", "transform_matrix": (pose @ opengl).tolist()}
        | ({"time": scene.time(i)} if times else {})
        for i, (name, pose) in enumerate(zip(scene.names, scene.cameras.world_from_cam, strict=True))
    ]
    head = {"w": width, "h": height, "fl_x": k[0, 0], "fl_y": k[1, 1], "cx": k[0, 2], "cy": k[1, 2], "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(head))
    return folder


def at_rest(scene: MovingScene) -> MovingScene:
    """The same cameras at the same times, while nothing moves: all photos show what was there at 0 s."""
    _, first, pose = np.unique(scene.cameras.cam_from_world, axis=0, return_index=True, return_inverse=True)
    once = [_render(scene.cameras, row, 0.0, scene.play) for row in first.tolist()]
    seen = [once[i] for i in pose.reshape(-1).tolist()]
    photos, z, body, local, _ = (np.stack(part) for part in zip(*seen, strict=True))
    return replace(scene, photos=photos, z=z, body=body, local=local, moving=np.zeros(body.shape, bool))
