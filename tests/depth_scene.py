"""A room with known truth for stereo: a slanted wall, a floor and a box with a solid texture, ray-cast from a few cameras."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.capture import Capture
from recon.geometry import Array, se3
from recon.reconstruction import Reconstruction
from recon.sparse import Observations, SparseModel
from tests.fabricate import write_photo
from tests.posed import capture_of

SIZE, FOCAL = (128, 96), 130.0
PLANES = ((np.array([-0.35, 0.0, -1.0]), -6.0), (np.array([0.0, -1.0, 0.0]), -1.2))
"""(normal, d): normal . X = d. A wall that recedes to the right, and the floor (+Y is down here)."""
BOX = (np.array([-0.7, 0.1, 3.2]), np.array([0.5, 1.2, 4.0]))


@dataclass(frozen=True)
class Room:
    """What the cameras see."""

    names: tuple[str, ...]
    cameras: Cameras
    z: list[Array]
    """[N] of f64[H, W]."""
    normal: list[Array]
    """[N] of f64[H, W, 3], unit, camera frame, towards the camera."""
    rgb: list[Array]
    """[N] of f64[H, W, 3], 0..1."""


def cameras_in_a_row(count: int, step: float = 0.35) -> Cameras:
    """Cameras side by side, each turned a little towards the middle."""
    poses = []
    for i in range(count):
        at = (i - (count - 1) / 2) * step
        c, s = np.cos(-at / 6), np.sin(-at / 6)
        rotation = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
        poses.append(se3(rotation, -rotation @ [at, 0.02 * i, 0]))
    k = np.array([[FOCAL, 0, SIZE[0] / 2 - 1], [0, FOCAL, SIZE[1] / 2 + 1], [0, 0, 1]])
    return Cameras(np.array(poses), np.tile(k, (count, 1, 1)), np.tile(np.array(SIZE, np.int32), (count, 1)))


def solid_texture(xyz: Array, seed: int = 0) -> Array:
    """Colours [..., 3] in 0..1 of points [..., 3]: a sum of plane waves from 0.16 to 1.2 units long."""
    rng = np.random.default_rng(seed)
    length = np.geomspace(0.16, 1.2, 60)
    wave = rng.normal(size=(60, 3))
    wave *= 2 * np.pi / length[:, None] / np.linalg.norm(wave, axis=1, keepdims=True)
    share = rng.uniform(0.3, 1, (60, 3)) * np.sqrt(length)[:, None]
    value = np.cos(xyz @ wave.T + rng.uniform(0, 2 * np.pi, 60)) @ share
    return np.clip(0.5 + 0.25 * value / np.sqrt((share**2).sum(0) / 2), 0, 1)


def cast(cameras: Cameras, row: int) -> tuple[Array, Array, Array]:
    """z [H, W], normals [H, W, 3] in the camera's frame and points [H, W, 3] of the first surface behind each pixel."""
    origin, ray = cameras.rays(row)
    t, normal = np.full(ray.shape[:2], np.inf), np.zeros(ray.shape)
    for n, d in PLANES:
        hit = (d - n @ origin) / (ray @ n)
        nearer = (hit > 0) & (hit < t)
        t[nearer], normal[nearer] = hit[nearer], n / np.linalg.norm(n)
    low, high = ((corner - origin) / ray for corner in BOX)
    enter, leave = np.minimum(low, high), np.maximum(low, high)
    hit = enter.max(-1)
    inside = (hit < leave.min(-1)) & (hit > 0) & (hit < t)
    t[inside] = hit[inside]
    side = np.eye(3)[enter.argmax(-1)]
    normal[inside] = side[inside]
    rotation = cameras.cam_from_world[row, :3, :3]
    normal = np.where(((normal * ray).sum(-1) > 0)[..., None], -normal, normal) @ rotation.T
    xyz = origin + t[..., None] * ray
    z = (xyz @ rotation.T + cameras.cam_from_world[row, :3, 3])[..., 2]
    return z, normal, xyz


def room(count: int = 4, cameras: Cameras | None = None) -> Room:
    cameras = cameras_in_a_row(count) if cameras is None else cameras
    seen = [cast(cameras, i) for i in range(len(cameras))]
    return Room(
        tuple(f"a/{i}.jpg" for i in range(len(cameras))),
        cameras,
        [z for z, _, _ in seen],
        [normal for _, normal, _ in seen],
        [solid_texture(xyz) for _, _, xyz in seen],
    )


def sparse_of(place: Room, points: int = 60, seed: int = 0) -> SparseModel:
    """True points of each photo's random pixels, with every photo that sees them."""
    rng, xyz = np.random.default_rng(seed), []
    for i in range(len(place.cameras)):
        x, y = rng.integers(2, SIZE[0] - 2, points), rng.integers(2, SIZE[1] - 2, points)
        origin, ray = place.cameras.rays(i, np.stack([x, y], -1) + 0.5)
        forward = place.cameras.cam_from_world[i, 2, :3]
        xyz.append(origin + ray * (place.z[i][y, x] / (ray @ forward))[:, None])
    xyz = np.concatenate(xyz)
    pixels, z = place.cameras.project(xyz)
    column, row = np.floor(pixels[..., 0]).astype(int), np.floor(pixels[..., 1]).astype(int)
    inside = (z > 0) & (column >= 0) & (row >= 0) & (column < SIZE[0]) & (row < SIZE[1])
    true = np.stack(
        [place.z[i][row[i].clip(0, SIZE[1] - 1), column[i].clip(0, SIZE[0] - 1)] for i in range(len(place.cameras))]
    )
    camera, point = np.nonzero(inside & (np.abs(z - true) < 0.03 * true))
    seen = Observations.of(camera, point, pixels[camera, point])
    grey, error = np.full((len(xyz), 3), 128, np.uint8), np.ones(len(xyz), np.float32)
    return SparseModel(place.names, place.cameras, xyz, grey, error, seen)


def written(
    place: Room, folder: Path, rgb: list[Array] | None = None, masks: dict[int, NDArray] | None = None
) -> tuple[Capture, Reconstruction]:
    """The room's capture and reconstruction, its photos (or `rgb`) and masks (bool[H, W], by photo) in `folder`."""
    for name, image in zip(place.names, rgb or place.rgb, strict=True):
        write_photo(folder / "images" / f"{name}.png", image)
    for i, mask in (masks or {}).items():
        write_photo(folder / "masks" / f"{place.names[i]}.png", np.repeat(mask[..., None], 3, -1).astype(float))
    model = sparse_of(place)
    capture = replace(capture_of(model), root=folder)
    return capture, Reconstruction(model, folder / "images", folder / "masks" if masks else None)
