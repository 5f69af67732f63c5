"""Captures with known truth for structure from motion: cameras and points, written as a feature database without any photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.capture import Capture
from recon.geometry import Array, fit_sim3, rotation_angle_deg, se3, se3_inverse
from recon.job import Job
from recon.sfm.features import create_database, opened, write_features

SIZE = (1000, 750)
FOCAL = 900.0
NOISE_PX = 0.3


@dataclass(frozen=True)
class Place:
    """Cameras that look at points; `sees[n, p]` says whether camera n has a keypoint on point p."""

    cameras: Cameras
    xyz: Array
    sees: NDArray[np.bool_]

    @property
    def capture(self) -> Capture:
        """The photos of these cameras, whose files do not exist."""
        n = len(self.cameras)
        return Capture(
            root=Path("nowhere"),
            names=tuple(f"photo {i:02d}.jpg" for i in range(n)),
            size=np.tile(np.array(SIZE, np.int32), (n, 1)),
            camera_id=np.zeros(n, np.int32),
            focal_prior=np.full(n, FOCAL),
            orientation=np.ones(n, np.uint8),
            exposure=np.full(n, np.nan),
            sha256=("",) * n,
            split=("train",) * n,
            protocol="none held out",
        )

    def write(self, job: Job, seed: int = 0) -> None:
        """The database that reconstruct() goes on from: keypoints with noise, and descriptors that tell the points apart."""
        rng = np.random.default_rng(seed)
        own = rng.integers(0, 60, (len(self.xyz), 128))
        pixels, _ = self.cameras.project(self.xyz)
        create_database(job.scratch / "base.db", self.capture)
        with opened(job.scratch / "base.db") as db:
            for row in range(len(self.cameras)):
                mine = np.flatnonzero(self.sees[row])
                xy = pixels[row, mine] + rng.normal(0, NOISE_PX, (len(mine), 2))
                keypoints = np.column_stack([xy, np.full(len(mine), 2.0), np.zeros(len(mine))]).astype(np.float32)
                descriptors = np.clip(own[mine] + rng.integers(-3, 4, (len(mine), 128)), 0, 255).astype(np.uint8)
                write_features(db, row, keypoints, descriptors)

    def errors(self, names: tuple[str, ...], cam_from_world: Array) -> tuple[float, float]:
        """RMSE of the centres over the extent of the true ones, and the largest angle in degrees, after a similarity."""
        rows = [int(name[6:8]) for name in names]
        true = self.cameras.cam_from_world[rows]
        a, b = se3_inverse(true)[:, :3, 3], se3_inverse(cam_from_world)[:, :3, 3]
        sim = fit_sim3(a, b)
        rmse = float(np.sqrt(((sim.apply(b) - a) ** 2).sum(1).mean()) / np.linalg.norm(np.ptp(a, axis=0)))
        turned = true[:, :3, :3] @ np.swapaxes(sim.cameras(cam_from_world)[:, :3, :3], -1, -2)
        return rmse, float(rotation_angle_deg(turned).max())


def cameras_at(centers: Array, target: Array) -> Cameras:
    """Level cameras (+Z up) that look from `centers` [N, 3] at `target` ([3] or [N, 3])."""
    n = len(centers)
    forward = np.broadcast_to(target, centers.shape) - centers
    forward = forward / np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0, 1])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    rotation = np.stack([right, np.cross(forward, right), forward], 1)
    k = np.array([[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]])
    pose = se3(rotation, -(rotation @ centers[:, :, None])[..., 0])
    return Cameras(pose, np.tile(k, (n, 1, 1)), np.tile(np.array(SIZE, np.int32), (n, 1)))


def arc(count: int, degrees: float, points: int = 300, seed: int = 1) -> Place:
    """Cameras on an arc of a circle of radius 6 around a cloud of points of radius 1.5; every camera sees every point."""
    rng = np.random.default_rng(seed)
    angle = np.radians(np.linspace(0, degrees, count))
    centers = np.stack([6 * np.cos(angle), 6 * np.sin(angle), 1 + 0.4 * np.sin(3 * angle)], -1)
    centers += rng.normal(0, 0.05 * min(1.0, degrees / 30), centers.shape)
    xyz = rng.normal(size=(points, 3))
    xyz *= 1.5 * rng.uniform(0, 1, (points, 1)) ** (1 / 3) / np.linalg.norm(xyz, axis=1, keepdims=True)
    cameras = cameras_at(centers, np.zeros(3))
    pixels, z = cameras.project(xyz)
    inside = (z > 0) & ((pixels > 0) & (pixels < np.array(SIZE))).all(-1)
    return Place(cameras, xyz, inside)


def straight_down(relief: float, seed: int = 5) -> Place:
    """Sixteen cameras at one height over a grid that look straight down at ground whose heights spread by `relief`."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(-1, 2)
    centers = np.column_stack([2.0 * grid, np.full(16, 8.0)])
    down = np.tile(np.diag([1.0, -1.0, -1.0]), (16, 1, 1))
    k = np.array([[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]])
    pose = se3(down, -(down @ centers[:, :, None])[..., 0])
    cameras = Cameras(pose, np.tile(k, (16, 1, 1)), np.tile(np.array(SIZE, np.int32), (16, 1)))
    xyz = np.column_stack([rng.uniform(-3, 9, (900, 2)), relief * rng.normal(size=900)])
    pixels, z = cameras.project(xyz)
    return Place(cameras, xyz, (z > 0) & ((pixels > 0) & (pixels < np.array(SIZE))).all(-1))
