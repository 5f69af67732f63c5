"""An open scene with exact truth, spheres 1 to 60 units away under a sky, and what mip360 is judged on in it, term by term."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.geometry import se3, se3_inverse
from recon.sparse import Observations, SparseModel
from render.evaluate import psnr
from render.initial import SceneInit
from tests.fabricate import ring_capture
from tests.synthetic_scene import Posed, write

SIDE, FAR = 64, 8.0
"""Longer side of the photos, and the distance from which on pixels are far; the sky is neither far nor near."""
SEED = 3
"""Of the measured scene; settings were chosen on that of seed 11."""
FULL = "as it is"
VARIANTS: dict[str, tuple[dict[str, Any], float]] = {
    FULL: ({}, 0),
    "no contraction": ({"contraction": False}, 0),
    "samples even in t": ({"disparity": False}, 0),
    "neither": ({"contraction": False, "disparity": False}, 0),
    "PE": ({"integrated": False}, 0),
    "contracted elsewhere": ({}, 10),
    "cones 10 times as wide": ({"cone": 10.0}, 0),
}
"""Changes of the config, and how many radii the middle of the contraction is off; the last two are negative controls."""


def moved(radii: float) -> Callable[[SceneInit], SceneInit]:
    """The scene's ball, moved along x: contraction is about its middle."""

    def change(init: SceneInit) -> SceneInit:
        x, y, z = init.setup.center
        return replace(init, setup=replace(init.setup, center=(x + radii * init.setup.radius, y, z)))

    return change


def spheres(seed: int) -> tuple[NDArray, NDArray, NDArray]:
    """Centres [N, 3], radii [N] and colours [N, 3]: a few within 1 of the origin, the others up to 60 away, as wide seen."""
    rng = np.random.default_rng(seed)
    away = np.concatenate([rng.uniform(0, 0.8, 6), np.exp(rng.uniform(np.log(9), np.log(60), 30))])
    direction = rng.normal(size=(len(away), 3)) * [1, 1, 0.35]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * away[:, None], np.maximum(0.3, 0.2 * away), rng.random((len(away), 3))


def photograph(cameras: Cameras, index: int, seed: int, fine: int = 3) -> tuple[NDArray, NDArray]:
    """rgb f64[H, W, 3], each pixel the mean of fine^2, and distance f64[H, W] at its middle (inf: the sky)."""
    width, height = (int(s) for s in cameras.size[index])
    offsets = (np.arange(fine) + 0.5) / fine
    x, y = np.arange(width)[:, None] + offsets, np.arange(height)[:, None] + offsets
    u, v = np.meshgrid(x.ravel(), y.ravel())
    origin, direction = cameras.rays(index, np.stack([u, v], -1))
    rgb = np.array([0.5, 0.7, 0.9]) * (0.75 + 0.25 * direction[..., 2:])
    nearest = np.full(direction.shape[:2], np.inf)
    for center, radius, color in zip(*spheres(seed), strict=True):
        along = (center - origin) @ direction.reshape(-1, 3).T
        inside = radius**2 - ((center - origin) ** 2).sum() + along**2
        t = np.where((inside > 0) & (along > 0), along - np.sqrt(np.maximum(inside, 0)), np.inf).reshape(nearest.shape)
        hit = (t < nearest) & (t > 0)
        place = origin + direction[hit] * t[hit][:, None]
        stripes = 0.75 + 0.25 * np.sin(6 * (place - center) @ [1.0, 0.6, 0.8] / radius)
        rgb[hit], nearest[hit] = color * stripes[:, None], t[hit]
    blocks = rgb.reshape(height, fine, width, fine, 3).mean((1, 3))
    return blocks, nearest[fine // 2 :: fine, fine // 2 :: fine]


def unbounded_capture(
    root: Path, count: int = 40, seed: int = SEED
) -> tuple[Any, Posed, dict[str, tuple[NDArray, NDArray]]]:
    """The capture, its model, and (rgb, distance) of the held-out photos by name."""
    angle = 2 * np.pi * np.arange(count) / count
    height = 0.6 + 0.5 * np.sin(3 * angle)
    centers = np.stack([3 * np.cos(angle), 3 * np.sin(angle), height], -1)
    forward = -centers / np.linalg.norm(centers, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    poses = se3_inverse(se3(np.stack([right, np.cross(forward, right), forward], -1), centers))
    size = np.tile(np.array([SIDE, SIDE * 3 // 4], np.int32), (count, 1))
    k = np.tile(np.array([[0.7 * SIDE, 0, SIDE / 2], [0, 0.7 * SIDE, SIDE * 3 / 8], [0, 0, 1]]), (count, 1, 1))
    cameras, names = Cameras(poses, k, size), tuple(f"{i:03}.jpg" for i in range(count))
    truth = {name: photograph(cameras, i, seed) for i, name in enumerate(names)}
    for name, (rgb, _) in truth.items():
        write(root / "images" / f"{name}.png", rgb)
    xyz, radius, color = spheres(seed)
    rng = np.random.default_rng(0)
    around = rng.normal(size=(4, *xyz.shape))
    around /= np.linalg.norm(around, axis=-1, keepdims=True)
    points = (xyz + radius[:, None] * around).reshape(-1, 3)
    xy, z = cameras.project(points)
    camera, point = np.nonzero((z > 0) & ((xy >= 0) & (xy < size[:, None])).all(-1))
    seen = Observations(camera.astype(np.int32), point.astype(np.int32), xy[camera, point].astype(np.float32))
    rgb = np.tile((255 * color).astype(np.uint8), (4, 1))
    model = SparseModel(names, cameras, points, rgb, np.ones(len(points), np.float32), seen)
    return ring_capture(root, names, every=8), Posed(model, root / "images"), truth


def by_distance(scene: Any, reconstruction: Posed, names: list[str], truth: dict[str, Any]) -> dict[str, float]:
    """PSNR over all pixels of the held-out photos, the far ones, the near ones, the sky, and at a quarter of the size."""
    columns: dict[str, list[tuple[NDArray, NDArray]]] = {k: [] for k in ("all", "far", "near", "sky", "quarter")}
    for name in names:
        camera = reconstruction.model.cameras[reconstruction.model.names.index(name)]
        rgb, t = truth[name]
        drawn = scene.render(camera).rgb[0].clamp(0, 1).numpy()
        columns["all"].append((rgb.reshape(-1, 3), drawn.reshape(-1, 3)))
        for label, kept in (("far", (t > FAR) & np.isfinite(t)), ("near", t <= FAR), ("sky", np.isinf(t))):
            columns[label].append((rgb[kept], drawn[kept]))
        small = camera.resized(camera.size[0] // 4)
        height, width = rgb.shape[0] // 4, rgb.shape[1] // 4
        shrunk = rgb.reshape(height, 4, width, 4, 3).mean((1, 3))
        columns["quarter"].append(
            (shrunk.reshape(-1, 3), scene.render(small).rgb[0].clamp(0, 1).numpy().reshape(-1, 3))
        )
    return {k: psnr(*(np.concatenate(side) for side in zip(*pairs, strict=True))) for k, pairs in columns.items()}
