"""A capture with known truth: splats of our own, photographed by our own renderer from a ring, and the sparse model of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recon.capture import Capture
from recon.geometry import World
from recon.sparse import Observations, SparseModel
from render.rasterize import rasterize
from render.splats import SH_C0, Splats
from tests.fabricate import ring_cameras, ring_capture

SIZE = (64, 48)


@dataclass(frozen=True)
class Posed:
    """What training reads of a recon.reconstruction.Reconstruction."""

    model: SparseModel
    images: Path
    masks: Path | None = None
    left_out: tuple[tuple[str, str], ...] = ()

    def image_path(self, name: str) -> Path:
        return self.images / f"{name}.png"

    def mask_path(self, name: str) -> Path | None:
        path = None if self.masks is None else self.masks / f"{name}.png"
        return path if path is not None and path.is_file() else None


def true_splats(count: int = 150) -> Splats:
    """A ball of coloured, opaque splats around the origin."""
    draw = np.random.default_rng(5)
    mean = draw.normal(size=(count, 3))
    mean *= 0.8 * draw.random((count, 1)) ** (1 / 3) / np.linalg.norm(mean, axis=1, keepdims=True)
    rgb = draw.random((count, 3))
    return Splats(
        mean=torch.tensor(mean, dtype=torch.float32),
        log_scale=torch.tensor(np.log(draw.uniform(0.05, 0.2, (count, 3))), dtype=torch.float32),
        quat=torch.tensor(draw.normal(size=(count, 4)), dtype=torch.float32),
        opacity_logit=torch.full((count,), 2.0),
        sh=torch.tensor((rgb[:, None] - 0.5) / SH_C0, dtype=torch.float32),
    )


def capture_of(
    root: Path,
    count: int = 12,
    *,
    every: int = 4,
    gains: NDArray | None = None,
    matte: bool = False,
    masked: NDArray[np.bool_] | None = None,
    world: World | None = None,
) -> tuple[Capture, Posed]:
    """Photos in `root`/images. `gains` [N] scales each photo's colours; `matte` writes alpha; where `masked` [H, W] is
    True the photos are magenta, and masks say so.
    """
    names = tuple(f"a/{i:03}.jpg" for i in range(count))
    splats, cameras = true_splats(), ring_cameras(count).resized(SIZE)
    for i, name in enumerate(names):
        with torch.no_grad():
            view = rasterize(splats, cameras[i])
        rgb, alpha = view.rgb[0].clamp(0, 1).numpy(), view.alpha[0].numpy()
        if matte:
            rgb = np.where(alpha[..., None] > 0, rgb / np.maximum(alpha[..., None], 1e-6), 0)
        if gains is not None:
            rgb = rgb * gains[i]
        if masked is not None:
            rgb = np.where(masked[..., None], [1.0, 0.0, 1.0], rgb)
            write(root / "masks" / f"{name}.png", np.where(masked, 0.0, 1.0)[..., None].repeat(3, -1))
        write(root / "images" / f"{name}.png", np.concatenate([rgb, alpha[..., None]], -1) if matte else rgb)
    model = replace(sparse_model(names, splats), world=world or World(up="estimated"))
    return ring_capture(root, names, every=every), Posed(
        model, root / "images", root / "masks" if masked is not None else None
    )


def sparse_model(names: tuple[str, ...], splats: Splats) -> SparseModel:
    """The true means, a little off, as points that every camera saw."""
    cameras = ring_cameras(len(names)).resized(SIZE)
    xyz = splats.mean.double().numpy() + np.random.default_rng(6).normal(scale=0.02, size=(len(splats), 3))
    xy, _ = cameras.project(xyz)
    camera, point = (a.ravel() for a in np.meshgrid(np.arange(len(names)), np.arange(len(xyz)), indexing="ij"))
    seen = Observations(camera.astype(np.int32), point.astype(np.int32), xy.reshape(-1, 2).astype(np.float32))
    grey = np.full((len(xyz), 3), 128, np.uint8)
    return SparseModel(names, cameras, xyz, grey, np.ones(len(xyz), np.float32), seen)


def write(path: Path, image: NDArray) -> None:
    """A PNG of [H, W, 3 or 4] in 0..1."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    order = [2, 1, 0, 3][: image.shape[2]]
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    assert cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., order]))
