"""A moving splat scene whose motion is known: a ball that turns and travels and a flap on a hinge before a wall that rests."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from recon.cameras import Cameras
from recon.geometry import World, quat_from_rotation
from render.initial import SceneSetup
from render.rasterize import rasterize
from render.splats import SH_C0, Splats, quat_product, rotation_from_quat

WORLD = World("metric", "gravity")


def look_at(
    eye: tuple[float, float, float], target: tuple[float, float, float], size: tuple[int, int], focal: float
) -> Cameras:
    """One camera, +Z up."""
    eye_, forward = np.array(eye), np.array(target) - np.array(eye)
    z = forward / np.linalg.norm(forward)
    x = np.cross(z, [0.0, 0.0, 1.0])
    x /= np.linalg.norm(x)
    pose = np.eye(4)[None]
    pose[0, :3, :3] = np.stack([x, np.cross(z, x), z])
    pose[0, :3, 3] = -pose[0, :3, :3] @ eye_
    k = np.array([[[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]]])
    return Cameras(pose, k, np.array([size], np.int32))


def on_sphere(count: int, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Places [n, 3] spread over a sphere, and frames [n, 3, 3] whose third axis is the normal."""
    i = np.arange(count) + 0.5
    z, angle = 1 - 2 * i / count, math.pi * (1 + math.sqrt(5)) * i
    normal = np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], 1)
    x = np.cross(normal, [0.3, 0.2, 1.0])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return radius * normal, np.stack([x, np.cross(normal, x), normal], -1)


class TurningBall:
    """A Moving: `times`, `fps`, at(). Row ranges: wall, ball, flap."""

    def __init__(self, *, seconds: float = 2.0, fps: float = 30.0, detail: int = 24, sh_degree: int = 1) -> None:
        self.times, self.fps = (0.0, seconds), fps
        rng = np.random.default_rng(0)
        y, x = np.meshgrid(*(np.linspace(-1.5, 1.5, detail),) * 2, indexing="ij")
        wall = np.stack([x.ravel(), 1.2 + rng.uniform(-0.05, 0.05, x.size), y.ravel()], 1)
        facing = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        ball, frames = on_sphere(detail * detail, 0.45)
        v, u = np.meshgrid(np.linspace(0.03, 0.7, detail // 2), np.linspace(-0.4, 0.4, detail // 2), indexing="ij")
        flap = np.stack([v.ravel(), rng.uniform(-0.01, 0.01, v.size), u.ravel()], 1)
        ends = np.cumsum([0, len(wall), len(ball), len(flap)])
        self.wall, self.ball, self.flap = (slice(int(a), int(b)) for a, b in pairwise(ends))
        mean = np.concatenate([wall, ball, flap])
        turns = np.concatenate([np.tile(facing, (len(wall), 1, 1)), frames, np.tile(facing, (len(flap), 1, 1))])
        wide = np.concatenate(
            [np.full(len(wall), 2.0 / detail), np.full(len(ball), 1.0 / detail), np.full(len(flap), 0.8 / detail)]
        )
        scale = wide[:, None] * np.array([1.0, 0.7, 0.1])
        sh = np.zeros((len(mean), (sh_degree + 1) ** 2, 3))
        checks = np.sign(np.sin(7 * mean[:, 0]) * np.sin(7 * mean[:, 2]))
        sh[:, 0] = (
            np.stack([0.5 + 0.3 * checks, 0.5 + 0.2 * np.sin(3 * mean[:, 0]), 0.6 - 0.3 * checks], 1) - 0.5
        ) / SH_C0
        sh[:, 1:] = rng.normal(0, 0.04, sh[:, 1:].shape)

        def column(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values, np.float32))

        logit = column(np.full(len(mean), 3.0))
        self.rest = Splats(
            column(mean), column(np.log(scale)), column(quat_from_rotation(turns)), logit, column(sh), world=WORLD
        )

    def __len__(self) -> int:
        return len(self.rest)

    def at(self, time: float | None = None) -> Splats:
        t = self.times[0] if time is None else time
        turn, swing = 1.6 * t, 0.9 * math.sin(2.0 * t)
        mean, quat = self.rest.mean.clone(), self.rest.quat.clone()
        moves = (
            (self.ball, turn, torch.tensor([-0.5 + 0.25 * math.sin(1.7 * t), 0.0, 0.15 * math.cos(2.3 * t)])),
            (self.flap, swing, torch.tensor([0.35, 0.0, 0.0])),
        )
        for rows, angle, shift in moves:
            q = torch.tensor([math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)])
            mean[rows] = self.rest.mean[rows] @ rotation_from_quat(q).T + shift
            quat[rows] = quat_product(q, self.rest.quat[rows])
        return replace(self.rest, mean=mean, quat=quat)


def camera(size: tuple[int, int] = (160, 120)) -> Cameras:
    return look_at((0.2, -2.6, 0.5), (0.0, 0.0, 0.0), size, 0.9 * size[0])


class BallScene(TurningBall):
    """The same as a trained scene, as far as others look at one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.setup = SceneSetup(
            extent=2.0, near=0.02, splats=len(self.rest), sh_degree=self.rest.sh_degree, world=WORLD
        )
        self.info: dict[str, Any] = {"scene": "ball", "background": (0.0, 0.0, 0.0)}
        self.history: list[dict[str, Any]] = []
        self.refined: dict[str, Any] = {}
        self.device = torch.device("cpu")

    def to(self, device: str) -> BallScene:
        return self

    def render(self, cameras: Cameras, background: Any = None, **_: Any) -> Any:
        """Each camera at its own time; without times, at the first moment."""
        assert len(cameras) == 1
        time = None if cameras.time is None else float(cameras.time[0])
        return rasterize(self.at(time), cameras, background=background, depth=False, near=self.setup.near)
