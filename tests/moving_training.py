"""Training on moving captures with known truth, and what comes of it: errors where things move and where not, jitter, paths."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recon.geometry import se3_inverse
from render.options import TrainOptions
from render.scenes import config_of
from render.stage_train import initial_scene, training_data
from render.train import Training, prepare, train
from tests.moving_scene import BALL, RADIUS, ROOM, MovingScene, cast, point_at, world_from_body, written

OPTIONS = TrainOptions(steps=400, minutes=None, long_side=128, splats=3000, sh_degree=1, device="cpu")
MARGIN = 2
"""Pixels around what moves that count neither as moving nor as static."""


def prepared(
    scene: MovingScene,
    folder: Path,
    options: TrainOptions,
    config: dict[str, Any] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Training:
    """A run at its first step, on the capture's training photos."""
    capture, reconstruction = written(scene, folder / "capture")
    (folder / "levels").mkdir(parents=True, exist_ok=True)
    data = training_data(capture, reconstruction, options, folder / "levels")
    start = initial_scene(reconstruction, data, options)
    return prepare(config_of(options.scene)(**(config or {})), start, data, options, clock=clock)


def trained(run: Training, name: str) -> Any:
    """The scene of a run that is taken to its end."""
    for _ in train(run):
        pass
    scene: Any = run.scene
    scene.finish()
    scene.info = {"scene": name, "long_side": int(run.dataset.cameras.size.max()), "background": (0.0, 0.0, 0.0)}
    return scene


def held_out(scene: MovingScene) -> list[int]:
    """Rows of the test photos."""
    return [i for i, split in enumerate(scene.split) if split == "test"]


@torch.no_grad()
def render(trained_scene: Any, scene: MovingScene, row: int, moment: float | None = None) -> NDArray[np.float32]:
    """f32[H, W, 3] in a photo's camera, at its own time or another."""
    camera = scene.cameras[row]
    camera = camera if moment is None else replace(camera, time=np.array([moment]))
    return trained_scene.render(camera).rgb[0].clamp(0, 1).numpy()


def errors(trained_scene: Any, scene: MovingScene) -> dict[str, float]:
    """PSNR over the moving and over the static pixels of the held-out photos, each pooled over all of them."""
    squares: dict[str, list[NDArray]] = {"moving": [], "static": []}
    for row in held_out(scene):
        square = (render(trained_scene, scene, row) - scene.photos[row] / 255.0) ** 2
        squares["moving"].append(square[scene.moving[row]].ravel())
        squares["static"].append(square[~widened(scene.moving[row])].ravel())
    return {f"psnr_{kind}": -10 * float(np.log10(np.concatenate(s).mean())) for kind, s in squares.items()}


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(mask, iterations=MARGIN), bool)


def jitter(trained_scene: Any, scene: MovingScene, row: int = 0, moments: int = 16) -> float:
    """How much pixels that see the room alone at all times change over time in a camera that stands still: the mean of their
    standard deviations over time, colours in 0..1."""
    start, end = float(scene.cameras.time.min()), float(scene.cameras.time.max())  # type: ignore[union-attr]
    origin, ray = scene.cameras.rays(row)
    times = np.linspace(start, end, moments)
    moving = np.any([cast(origin, ray, t, scene.play)[0] != ROOM for t in np.linspace(start, end, 4 * moments)], axis=0)
    frames = np.stack([render(trained_scene, scene, row, float(t)) for t in times])
    return float(frames.std(0)[~widened(moving)].mean())


def tremble(trained_scene: Any, scene: MovingScene, photos: int = 12, points: int = 600) -> float:
    """How much the error of points of the room changes from photo to photo: the mean, over points that 4 of the photos or
    more see, of the standard deviation of render - photo there, colours in 0..1. Above 0 for a still scene too."""
    from scipy.ndimage import map_coordinates

    rows, rng = np.linspace(0, len(scene) - 1, photos).round().astype(int).tolist(), np.random.default_rng(0)
    seen = np.full((photos, 3, points, 3), np.nan)
    start = [rows[photos // 4], rows[photos // 2], rows[-photos // 4]]
    pick = [rng.choice(np.flatnonzero(scene.body[row] == ROOM), points) for row in start]
    for i, row in enumerate(rows):
        residual = render(trained_scene, scene, row) - scene.photos[row] / 255.0
        still = ~widened(scene.moving[row])
        for j, (first, pixels) in enumerate(zip(start, pick, strict=True)):
            xy, inside = _followed(scene, first, row, pixels)
            x, y = np.where(inside[:, None], xy, 1.0).T
            good = inside & still[y.astype(int), x.astype(int)]
            at = np.stack([y, x]) - 0.5
            for channel in range(3):
                value = map_coordinates(residual[..., channel], at, order=1, mode="nearest")
                seen[i, j, good, channel] = value[good]
    seen = seen.reshape(photos, -1)
    often = np.isfinite(seen).sum(0) >= 4
    return float(np.nanstd(seen[:, often], axis=0).mean())


def _followed(scene: MovingScene, row: int, other: int, pixels: NDArray) -> tuple[NDArray, NDArray]:
    """correspondence() at some pixels, by their numbers."""
    xy, inside = scene.correspondence(row, other)
    return xy.reshape(-1, 2)[pixels], inside.ravel()[pixels]


def path_error(trained_scene: Any, scene: MovingScene, moments: int = 12) -> dict[str, float]:
    """Splats that lie on the ball at the middle of the time, followed: the mean distance from their true paths, beside the mean
    length of these paths, both in metres; and how many they are."""
    times = np.linspace(float(scene.cameras.time.min()), float(scene.cameras.time.max()), moments)  # type: ignore[union-attr]
    middle = float(times[len(times) // 2])
    splats = trained_scene.at(middle)
    mean = splats.mean.detach().double().numpy()
    pose = se3_inverse(world_from_body(BALL, middle, scene.play))
    local = mean @ pose[:3, :3].T + pose[:3, 3]
    solid = (splats.opacity.detach() > 0.3).numpy() & (splats.scale.detach().amax(-1) < RADIUS).numpy()
    on = solid & (np.abs(np.linalg.norm(local, axis=1) - RADIUS) < 0.3 * RADIUS)
    body = np.full(int(on.sum()), BALL)
    true = np.stack([point_at(body, local[on], float(t), scene.play) for t in times])
    found = np.stack([trained_scene.at(float(t)).mean.detach().double().numpy()[on] for t in times])
    length = np.linalg.norm(np.diff(true, axis=0), axis=-1).sum(0).mean()
    return {
        "error": float(np.linalg.norm(found - true, axis=-1).mean()),
        "still": float(np.linalg.norm(true - true[len(times) // 2], axis=-1).mean()),
        "length": float(length),
        "splats": float(on.sum()),
    }


def film_strip(trained_scene: Any, scene: MovingScene, rows: list[int]) -> NDArray[np.float32]:
    """f32[3 H, n W, 3]: photos, renders, and twice their differences, one below the other."""
    columns = []
    for row in rows:
        photo, drawn = scene.photos[row] / np.float32(255), render(trained_scene, scene, row)
        columns.append(np.concatenate([photo, drawn, np.minimum(1, 2 * np.abs(photo - drawn))]))
    return np.concatenate(columns, 1).astype(np.float32)
