"""A small workspace made by hand, for tests of what only reads one: a ring of cameras around a coloured box of splats."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.capture import Capture, save_capture
from recon.files import save_npz, write_json
from recon.geometry import World, rotation_from_quat, se3, se3_inverse
from recon.sparse import Observations, SparseModel, write_colmap
from render.splats import Splats

SIZE = (96, 64)
TURN = rotation_from_quat([0.9, 0.3, -0.2, 0.1])
"""The rotation of tilted()."""


def ring_cameras(count: int, radius: float = 3.0, height: float = 1.0) -> Cameras:
    """Cameras on a circle around +Z, upright, all looking at the origin."""
    angle = 2 * np.pi * np.arange(count) / count
    centers = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(count, height)], -1)
    forward = -centers / np.linalg.norm(centers, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    world_from_cam = se3(np.stack([right, np.cross(forward, right), forward], -1), centers)
    k = np.tile(np.array([[90.0, 0, SIZE[0] / 2], [0, 90.0, SIZE[1] / 2], [0, 0, 1]]), (count, 1, 1))
    return Cameras(se3_inverse(world_from_cam), k, np.tile(np.array(SIZE, np.int32), (count, 1)))


def ring_model(names: tuple[str, ...], points: int = 200, world: World | None = None) -> SparseModel:
    """Photos on the ring and random points in a cube around the origin, seen by nobody."""
    rng = np.random.default_rng(7)
    xyz = rng.uniform(-0.7, 0.7, (points, 3))
    rgb = np.clip(255 * (xyz / 1.4 + 0.5), 0, 255).astype(np.uint8)
    none = Observations.none()
    error = np.ones(points, np.float32)
    return SparseModel(names, ring_cameras(len(names)), xyz, rgb, error, none, world or World(up="estimated"))


def ring_capture(root: Path, names: tuple[str, ...], *, every: int = 4) -> Capture:
    """A capture whose every 4th photo is held out; the photos themselves do not exist."""
    count = len(names)
    return Capture(
        root=root,
        names=names,
        size=np.tile(np.array(SIZE, np.int32), (count, 1)),
        camera_id=np.zeros(count, np.int32),
        focal_prior=np.full(count, np.nan),
        orientation=np.ones(count, np.uint8),
        exposure=np.full(count, np.nan),
        sha256=("0" * 64,) * count,
        split=tuple("test" if i % every == 0 else "train" for i in range(count)),
        protocol=f"every {every}th photo held out",
    )


def splat_columns(count: int = 300, seed: int = 3) -> dict[str, NDArray[np.float32]]:
    """The five columns of a coloured box of splats, SH degree 1."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(-0.7, 0.7, (count, 3))
    sh = np.zeros((count, 4, 3))
    sh[:, 0] = (mean / 1.4) / 0.28209479177387814
    sh[:, 1:] = rng.normal(0, 0.1, (count, 3, 3))
    columns = {
        "mean": mean,
        "log_scale": np.log(rng.uniform(0.02, 0.08, (count, 3))),
        "quat": rng.normal(size=(count, 4)),
        "opacity_logit": rng.normal(1.0, 1.0, count),
        "sh": sh,
    }
    return {name: column.astype(np.float32) for name, column in columns.items()}


def write_photo(path: Path, rgb: NDArray) -> None:
    """A PNG of f32 [H, W, 3] in 0..1."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    assert cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1]))


def photo_of(index: int) -> NDArray[np.float32]:
    """A smooth picture that differs from photo to photo."""
    width, height = SIZE
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.stack([x, y, 0.5 + 0.5 * np.sin(6 * x + index)], -1).astype(np.float32)


def write_stage(folder: Path, **record: object) -> None:
    """A stage.json, as far as readers look at it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {"key": folder.name, "result": folder.name, "version": 1, "inputs": {}, "wall_seconds": 0.0}
    empty = {"stage": folder.name, "warnings": [], "metrics": {}, "options": {}}
    write_json(folder / "stage.json", empty | made | record)


def write_sparse_stage(root: Path, stage: str, model: SparseModel) -> None:
    """DIR/sfm or DIR/align with its sparse model, and the sfm images beside it."""
    write_colmap(model, root / stage / "sparse", ".png")
    write_json(root / stage / "world.json", model.world.to_json())
    if stage == "sfm":
        write_json(root / "sfm" / "sfm.json", {"left_out": [], "time": None, "world": World().to_json()})
        for i, name in enumerate(model.names):
            write_photo(root / "sfm" / "images" / f"{name}.png", photo_of(i))
    write_stage(root / stage)


def write_history(path: Path, rows: int = 20) -> list[dict[str, float]]:
    """history.jsonl of a training that gets better."""
    history = [
        {
            "seconds": 0.5 * i,
            "step": 10 * i,
            "loss": 0.2 / (i + 1),
            "splats": 1000 + 50 * i,
            "long_side": 240 if i < rows // 2 else 480,
            "psnr": 20 + 0.4 * i,
        }
        for i in range(rows)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in history))
    return history


def write_preview(path: Path, columns: dict[str, NDArray[np.float32]], step: int) -> None:
    """preview.npz as a training writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_npz(path, step=step, world=json.dumps(World().to_json()), **columns)


def write_scene(path: Path, columns: dict[str, NDArray[np.float32]], world: World) -> None:
    """scene.npz as a training writes it."""
    import torch

    from render.initial import SceneSetup
    from render.scene_file import save_scene
    from render.scenes import config_of

    path.parent.mkdir(parents=True, exist_ok=True)
    degree = round(columns["sh"].shape[1] ** 0.5) - 1
    setup = SceneSetup(extent=3.3, near=0.03, splats=len(columns["mean"]), sh_degree=degree, world=world)
    scene = config_of("gs")().load(setup, {name: torch.from_numpy(column) for name, column in columns.items()})
    scene.info = {"scene": "gs", "background": [0, 0, 0], "splats": setup.splats, "steps": 100, "long_side": max(SIZE)}
    save_scene(path, scene)


def fabricate(root: Path, names: tuple[str, ...] | None = None, *, trained: bool = True) -> Path:
    """A workspace with ingest, sfm, align and, if `trained`, train/main and eval/main."""
    names = names or tuple(sorted(f"photo {i:02d}.jpg" for i in range(8)))
    capture, model = ring_capture(root / "photos", names), ring_model(names)
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "recon.json", {"format": 1})
    write_stage(root / "ingest")
    save_capture(capture, root / "ingest")
    write_sparse_stage(root, "sfm", model)
    write_sparse_stage(root, "align", model)
    if trained:
        write_scene(root / "train" / "main" / "scene.npz", splat_columns(), model.world)
        write_history(root / "train" / "main" / "history.jsonl")
        write_stage(root / "train" / "main")
    return root


def splats_of(columns: dict[str, np.ndarray]) -> Splats:
    order = ("mean", "log_scale", "quat", "opacity_logit", "sh")
    return Splats(*(torch.from_numpy(columns[name]) for name in order))


def tilted(model: SparseModel) -> SparseModel:
    """The same in a frame that nobody has turned upright."""
    poses = model.cameras.cam_from_world.copy()
    poses[:, :3, :3] = poses[:, :3, :3] @ TURN.T
    return replace(model, cameras=replace(model.cameras, cam_from_world=poses), xyz=model.xyz @ TURN.T, world=World())
