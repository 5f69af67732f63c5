"""Photographed places with known truth: cameras and points in metres, +Z up, and the same hidden in a frame like that of SfM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recon.cameras import Cameras
from recon.capture import Capture
from recon.geodesy import geodetic_from_enu
from recon.geometry import Array, Sim3, rotation_from_quat, se3
from recon.sparse import Observations, SparseModel

SIZE = (640, 480)
PLACE = (47.376, 8.548, 408.0)
"""(latitude deg, longitude deg, height m) of the true world's (0, 0, 0)."""


@dataclass(frozen=True)
class Posed:
    """What was photographed, and what SfM would say of it."""

    truth: SparseModel
    """Metres, +X east, +Y north, +Z up."""
    model: SparseModel
    """The same in a frame of random scale, rotation and shift."""
    model_from_truth: Sim3

    def error(self, aligned: SparseModel) -> tuple[float, float, float]:
        """Of a model that should stand in the true frame up to a shift: scale - 1, and degrees of heading and of tilt."""
        r = aligned.cameras.cam_from_world[0, :3, :3].T @ self.truth.cameras.cam_from_world[0, :3, :3]
        spread = [np.linalg.norm(m.cameras.centers - m.cameras.centers[0]) for m in (aligned, self.truth)]
        heading = np.degrees(np.arctan2(r[1, 0] - r[0, 1], r[0, 0] + r[1, 1]))
        return spread[0] / spread[1] - 1, float(heading), tilt_deg(r)


def tilt_deg(rotation: Array) -> float:
    """How far a rotation [3, 3] turns +Z."""
    return float(np.degrees(np.arccos(np.clip(rotation[2, 2], -1, 1))))


def looking(center: Array, target: Array, roll_deg: float = 0.0) -> Array:
    """cam_from_world [4, 4] of a camera that is held level but for `roll_deg`."""
    forward = (target - center) / np.linalg.norm(target - center)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    rows = np.stack([right, np.cross(forward, right), forward])
    c, s = np.cos(np.radians(roll_deg)), np.sin(np.radians(roll_deg))
    rotation = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) @ rows
    return se3(rotation, -rotation @ center)


def random_sim3(rng: np.random.Generator) -> Sim3:
    return Sim3(float(np.exp(rng.uniform(-2, 2))), rotation_from_quat(rng.normal(size=4)), rng.normal(size=3) * 5)


def posed(poses: Array, xyz: Array, seed: int = 0) -> Posed:
    """Cameras cam_from_world [N, 4, 4] that see the points [P, 3] that fall into their picture."""
    n = len(poses)
    k = np.tile(np.array([[520.0, 0, SIZE[0] / 2], [0, 515.0, SIZE[1] / 2], [0, 0, 1]]), (n, 1, 1))
    cameras = Cameras(poses, k, np.tile(np.array(SIZE, np.int32), (n, 1)))
    pixels, z = cameras.project(xyz)
    with np.errstate(invalid="ignore"):
        camera, point = np.nonzero(((pixels > 0) & (pixels < SIZE)).all(-1) & (z > 0))
    seen = Observations.of(camera, point, pixels[camera, point])
    names = tuple(f"{i:03d}.jpg" for i in range(n))
    grey = np.full((len(xyz), 3), 128, np.uint8)
    truth = SparseModel(names, cameras, xyz, grey, np.zeros(len(xyz), np.float32), seen)
    hidden = random_sim3(np.random.default_rng(1000 + seed))
    model = replace(truth, cameras=replace(cameras, cam_from_world=hidden.cameras(poses)), xyz=hidden.apply(xyz))
    return Posed(truth, model, hidden)


def ring(count: int = 24, radius: float = 30.0, height: float = 1.6, roll_deg: float = 2.0, seed: int = 0) -> Posed:
    """People's photos in a circle around a heap of points; each held level to `roll_deg`."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * (np.arange(count) + rng.uniform(-0.2, 0.2, count)) / count
    centers = np.stack([radius * np.cos(angle), radius * np.sin(angle), height + rng.normal(0, 0.2, count)], 1)
    heap = rng.normal(size=(300, 3)) * radius / 10 + [0, 0, 1.0]
    return posed(np.stack([looking(c, np.array([0, 0, 1.0]), rng.normal(0, roll_deg)) for c in centers]), heap, seed)


def street(count: int = 24, length: float = 80.0, roll_deg: float = 2.0, seed: int = 0, sway: float = 0.0) -> Posed:
    """Photos along a walk that is straight but for `sway` metres, looking to both sides of it."""
    rng = np.random.default_rng(seed)
    centers = np.stack([np.linspace(0, length, count), np.zeros(count), np.full(count, 1.6)], 1)
    centers[:, 1:] += sway * np.random.default_rng(seed + 1).normal(size=(count, 2))
    targets = centers + np.stack([np.ones(count), rng.uniform(-0.8, 0.8, count), rng.uniform(-0.1, 0.1, count)], 1)
    walls = np.stack([rng.uniform(0, length, 400), rng.choice([-5.0, 5.0], 400), rng.uniform(0, 6, 400)], 1)
    poses = np.stack([looking(c, t, rng.normal(0, roll_deg)) for c, t in zip(centers, targets, strict=True)])
    return posed(poses, walls, seed)


def gps_of(truth: SparseModel, noise: tuple[float, float], outliers: int = 0, seed: int = 0) -> tuple[Array, set[int]]:
    """Fixes [N, 3] with noise in metres (across, height) and some that are 60 m off; and which these are."""
    rng = np.random.default_rng(2000 + seed)
    n = len(truth.names)
    error = rng.normal(size=(n, 3)) * [noise[0], noise[0], noise[1]]
    wrong = rng.permutation(n)[:outliers]
    away = rng.normal(size=(outliers, 3)) * [1, 1, 0.3]
    error[wrong] += 60 * away / np.linalg.norm(away, axis=1, keepdims=True)
    return geodetic_from_enu(truth.cameras.centers + error, PLACE), set(wrong.tolist())


def capture_of(model: SparseModel, gps: Array | None = None, prior: SparseModel | None = None) -> Capture:
    """The capture of a model's photos; the photos themselves do not exist."""
    n = len(model.names)
    return Capture(
        root=Path("photos"),
        names=model.names,
        size=model.cameras.size,
        camera_id=np.zeros(n, np.int32),
        focal_prior=np.full(n, np.nan),
        orientation=np.ones(n, np.uint8),
        exposure=np.full(n, np.nan),
        sha256=("0" * 64,) * n,
        split=("train",) * n,
        protocol="no photo held out",
        gps=gps,
        prior=prior,
    )
