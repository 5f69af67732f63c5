"""A workspace made of the sample capture's truth: flat splats on its true surfaces, in metres, and its true cameras.

What a page shows of it, and what one measures in it, can be compared with the truth without training anything.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recon.capture import save_capture
from recon.files import write_json
from recon.geometry import World, quat_from_rotation
from recon.sample import sample_cameras, sample_photos, sample_z
from recon.sparse import Observations, SparseModel
from tests.fabricate import ring_capture, write_scene, write_sparse_stage, write_stage

Array = NDArray[np.float64]
NAMES = 6
"""Photos of the workspace: those with a true z map, and some others."""
STEP = 10
"""Pixels from splat to splat."""
SH0 = 0.28209479177387814


def photos_used() -> tuple[str, ...]:
    names = list(sample_cameras()[0])
    others = [name for name in names if name not in sample_z()]
    return tuple(sorted([*sample_z(), *others[:: len(others) // (NAMES - len(sample_z()))][: NAMES - len(sample_z())]]))


def true_point(name: str, x: float, y: float) -> Array:
    """The place that pixel (x, y) of a photo with a z map sees: [3], world, metres."""
    names, cameras = sample_cameras()
    i = names.index(name)
    z = sample_z()[name][int(y), int(x)]
    in_camera = np.linalg.inv(cameras.K[i]) @ np.array([x, y, 1.0]) * z
    return (np.linalg.inv(cameras.cam_from_world[i]) @ np.append(in_camera, 1.0))[:3]


def surface_splats(name: str, step: int = STEP) -> dict[str, Array]:
    """Flat splats on what a photo sees, one for each square of `step` pixels: columns as files have them, SH degree 1."""
    names, cameras = sample_cameras()
    i = names.index(name)
    z = np.asarray(sample_z()[name], np.float64)
    k, world_from_cam = cameras.K[i], np.linalg.inv(cameras.cam_from_world[i])
    y, x = np.meshgrid(*(np.arange(step // 2, side - 1, step) for side in z.shape), indexing="ij")
    y, x = y.ravel(), x.ravel()
    kept = (z[y, x] > 0) & (z[y, x + 1] > 0) & (z[y + 1, x] > 0)
    y, x = y[kept], x[kept]

    def place(px: NDArray, py: NDArray) -> Array:
        rays = np.stack([(px + 0.5 - k[0, 2]) / k[0, 0], (py + 0.5 - k[1, 2]) / k[1, 1], np.ones(len(px))], -1)
        return (rays * z[py, px, None]) @ world_from_cam[:3, :3].T + world_from_cam[:3, 3]

    mean = place(x, y)
    across = np.stack([place(x + 1, y) - mean, place(x, y + 1) - mean], -1)  # [N, 3, 2], what a pixel spans
    frame, size, _ = np.linalg.svd(across)
    frame[:, :, 2] *= np.linalg.det(frame)[:, None]
    size *= 0.55 * step
    surface = size[:, 0] < 2.5 * step * z[y, x] / k[0, 0]  # an edge between near and far is none
    photo = np.asarray(Image.open(sample_photos() / name).convert("RGB"), np.float64)[y, x] / 255
    sh = np.zeros((len(mean), 4, 3))
    sh[:, 0] = (photo - 0.5) / SH0
    sh[:, 1:] = np.random.default_rng(5).normal(0, 0.05, (len(mean), 3, 3))
    columns = {
        "mean": mean,
        "log_scale": np.log(np.stack([size[:, 0], size[:, 1], 0.05 * size[:, 1]], -1)),
        "quat": quat_from_rotation(frame),
        "opacity_logit": np.full(len(mean), 3.0),
        "sh": sh,
    }
    return {name: column[surface] for name, column in columns.items()}


def sample_workspace(root: Path) -> Path:
    """The workspace: ingest, sfm, align, train/main, at most 10,000 splats."""
    all_names, all_cameras = sample_cameras()
    names = photos_used()
    rows = np.array([all_names.index(name) for name in names])
    cameras = all_cameras[rows]
    parts = [surface_splats(name) for name in sample_z()]
    columns = {key: np.concatenate([part[key] for part in parts]).astype(np.float32) for key in parts[0]}
    assert len(columns["mean"]) <= 10_000
    xyz = columns["mean"][::5].astype(np.float64)
    rgb = np.clip(255 * (SH0 * columns["sh"][::5, 0] + 0.5), 0, 255).astype(np.uint8)
    world = World(scale="metric", up="gravity")
    model = SparseModel(names, cameras, xyz, rgb, np.ones(len(xyz), np.float32), Observations.none(), world)
    root.mkdir(parents=True)
    write_json(root / "recon.json", {"format": 1})
    write_stage(root / "ingest")
    capture = replace(ring_capture(sample_photos(), names), size=cameras.size)
    save_capture(capture, root / "ingest")
    for stage in ("sfm", "align"):
        write_sparse_stage(root, stage, model)
    for name in names:
        Image.open(sample_photos() / name).save(root / "sfm" / "images" / f"{name}.png")
    write_scene(root / "train" / "main" / "scene.npz", columns, world)
    write_stage(root / "train" / "main")
    return root
