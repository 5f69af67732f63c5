"""Coloured balls photographed exactly, still or moving: training photos with mattes in memory, true pictures and depths."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.geometry import Array, se3_inverse
from render.dataset import Dataset, Level
from render.initial import SceneInit, SceneSetup, surroundings
from render.options import TrainOptions
from render.train import Training, prepare, train

RADIUS = 0.5
SIDE = 32
"""Pixels of a photo."""


def orbit(count: int, seconds: float | None = None) -> Cameras:
    """`count` cameras spread over a sphere of radius 2.5 that look at its middle; with times 0 .. seconds in a shuffled order."""
    k = np.arange(count) + 0.5
    height, angle = 1 - 2 * k / count, k * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - height**2)
    away = np.stack([flat * np.cos(angle), flat * np.sin(angle), height], -1)
    ahead = -away
    right = np.cross(ahead, [0.1, 0.2, 1.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    pose = np.tile(np.eye(4), (count, 1, 1))
    pose[:, :3, :3] = np.stack([right, np.cross(ahead, right), ahead], -1)
    pose[:, :3, 3] = 2.5 * away
    focal = 1.5 * SIDE
    k = np.tile(np.array([[focal, 0, SIDE / 2], [0, focal, SIDE / 2], [0, 0, 1.0]]), (count, 1, 1))
    time = None
    if seconds is not None:
        time = np.random.default_rng(3).permutation(count) * seconds / (count - 1)
    return Cameras(se3_inverse(pose), k, np.full((count, 2), SIDE, np.int32), time=time)


@dataclass(frozen=True)
class Ball:
    """It goes to and fro: its middle is at `middle` + `reach` * sin(`speed` * (time - 1))."""

    middle: Array
    reach: Array
    speed: float
    radius: float
    wave: float
    """Radians of its stripes a unit of length."""
    phase: Array
    """Of red, green and blue."""

    def at(self, time: float | None) -> Array:
        return self.middle + (0 if time is None else self.reach * np.sin(self.speed * (time - 1)))


def balls(play: int) -> list[Ball]:
    """0: one in the middle, its way along x nearly even. Others: four, drawn by this seed."""
    if play == 0:
        return [Ball(np.zeros(3), np.array([9.0, 0, 0]), 0.05, RADIUS, 6.0, np.arange(3.0))]
    rng = np.random.default_rng(play)
    return [
        Ball(
            rng.uniform(-0.45, 0.45, 3),
            rng.uniform(-0.3, 0.3, 3),
            rng.uniform(1.5, 3.0),
            rng.uniform(0.12, 0.25),
            14.0,
            rng.uniform(0, 6, 3),
        )
        for _ in range(4)
    ]


def photograph(camera: Cameras, fine: int = 2, play: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32], Array]:
    """(rgb f32[H, W, 3] premultiplied, matte f32[H, W], z f64[H, W] or NaN) of one camera, `fine`^2 rays a pixel."""
    time = None if camera.time is None else float(camera.time[0])
    grid = (np.arange(SIDE * fine) + 0.5) / fine
    origin, direction = camera.rays(0, np.stack(np.meshgrid(grid, grid), -1))
    rgb, nearest = np.zeros(direction.shape), np.full(direction.shape[:2], np.inf)
    for ball in balls(play):
        away = origin - ball.at(time)
        b = direction @ away
        inside = b**2 - (away**2).sum() + ball.radius**2
        t = -b - np.sqrt(np.maximum(inside, 0))
        hit = (inside > 0) & (t < nearest)
        xyz = away + t[hit][:, None] * direction[hit]
        rgb[hit], nearest[hit] = 0.5 + 0.5 * np.sin(ball.wave * xyz + ball.phase), t[hit]
    hit = np.isfinite(nearest)
    z = np.where(hit, nearest, np.nan) * (direction @ camera.cam_from_world[0, 2, :3])
    mean = lambda a: a.reshape(SIDE, fine, SIDE, fine, -1).mean((1, 3)).astype(np.float32)  # noqa: E731
    return mean(rgb), mean(hit)[..., 0], z.reshape(SIDE, fine, SIDE, fine).mean((1, 3))


def dataset_of(cameras: Cameras, play: int = 0) -> Dataset:
    """Their photos."""
    parts = []
    for i in range(len(cameras)):
        rgb, matte, _ = photograph(cameras[i], play=play)
        parts += [rgb.ravel(), matte.ravel()]
    data = np.rint(255 * np.concatenate(parts)).astype(np.uint8)
    offsets = np.arange(len(cameras) + 1) * 4 * SIDE * SIDE
    level = Level(cameras, True, False, offsets, data)
    return Dataset(tuple(f"{i}" for i in range(len(cameras))), {1.0: level}, True)


def start(config: Any, dataset: Dataset, steps: int, *, seed: int = 0, bounded: bool = True) -> Training:
    """A run at its first step."""
    where = surroundings(dataset.cameras, np.zeros((0, 3)), bounded)
    setup = SceneSetup(extent=1.0, near=0.01, splats=1, seed=seed, **dataclasses.asdict(where))
    if dataset.cameras.time is not None:
        setup = replace(setup, times=(float(dataset.cameras.time.min()), float(dataset.cameras.time.max())))
    init = SceneInit(np.zeros((0, 3)), np.zeros((0, 3), np.float32), np.zeros(0, np.float32), setup, True)
    options = TrainOptions(steps=steps, minutes=None, coarse_to_fine="off", device="cpu", seed=seed)
    run = prepare(config, init, dataset, options)
    run.scene.info = {"scene": "field"}
    return run


def trained(config: Any, dataset: Dataset, steps: int, **more: Any) -> Any:
    """The scene at the end."""
    run = start(config, dataset, steps, **more)
    for _ in train(run):
        pass
    run.scene.finish()
    return run.scene


def psnr(scene: Any, cameras: Cameras, play: int = 0) -> float:
    """Mean over views, over white."""
    errors = []
    for i in range(len(cameras)):
        rgb, matte, _ = photograph(cameras[i], play=play)
        true = rgb + (1 - matte[..., None])
        seen = scene.render(cameras[i], torch.ones(3)).rgb[0].clamp(0, 1).numpy()
        errors.append(-10 * np.log10(np.mean((seen - true) ** 2)))
    return float(np.mean(errors))
