"""Rays of pixels, one by one or in random batches over all photos: what radiance fields are trained on and drawn by.

Notation: R rays; t is the distance along a unit direction, z = t * cos is along the camera's +Z. Pixel centres at +0.5;
pixel p of a photo is the one in row p // width and column p % width. Cameras are pinholes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.cameras import Cameras
from recon.errors import InputError
from recon.geometry import Array
from render.dataset import Level
from render.initial import SceneSetup

CONE = 2 / np.sqrt(12)
"""Radius of a ray's cone in widths of its pixel: the disk's variance is that of the pixel's square (Mip-NeRF, ICCV 2021)."""
ROUNDS = 50
"""Draws of a batch after which the photos' masks are taken to leave nothing."""


@dataclass(frozen=True)
class Rays:
    """R rays, in the world."""

    origin: Tensor
    """f32[R, 3]."""
    direction: Tensor
    """f32[R, 3], unit."""
    near: Tensor
    """f32[R], the t where a ray begins to count; > 0."""
    far: Tensor
    """f32[R], the t where it ends; > near."""
    cos: Tensor
    """f32[R], of the angle to the camera's axis: z = t * cos."""
    radius: Tensor
    """f32[R], half-width of the pixel's cone at t = 1."""
    time: Tensor | None = None
    """f32[R], seconds from the capture's start, where the cameras have times."""

    def __len__(self) -> int:
        return len(self.origin)

    def __getitem__(self, index: slice | Tensor) -> Rays:
        return self._each(lambda values: values[index])

    def to(self, device: torch.device | str) -> Rays:
        return self._each(lambda values: values.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Rays:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: change(value) for name, value in values.items() if value is not None})


@dataclass(frozen=True)
class RayRendering:
    """What a field shows along R rays."""

    rgb: Tensor
    """f32[R, 3], sum of w_i c_i over the background given."""
    alpha: Tensor
    """f32[R], sum of w_i."""
    t: Tensor
    """f32[R], alpha-normalised expected distance; NaN where alpha = 0. Carries no gradient."""
    penalty: Tensor | None = None
    """f32[], the scene's own loss beside the photometric one, where gradients are on; None: none."""
    others: tuple[Tensor, ...] = ()
    """f32[R, 3] each: what other networks of the scene show (a coarse one), trained on the same colours."""


@dataclass(frozen=True)
class RayBatch:
    """Random pixels of the training photos."""

    rays: Rays
    rgb: NDArray[np.float32]
    """f32[R, 3], premultiplied by `matte` when there is one."""
    matte: NDArray[np.float32] | None
    """f32[R]."""
    photo: NDArray[np.int64]
    """i64[R], the photo each is from."""

    def over(self, background: NDArray[np.float32]) -> NDArray[np.float32]:
        """f32[R, 3]: the pixels over background colours, [3] or [R, 3]; without a matte the pixels themselves."""
        if self.matte is None:
            return self.rgb
        return (self.rgb + (1 - self.matte[:, None]) * background).astype(np.float32)


def camera_rays(
    cameras: Cameras,
    camera: NDArray[np.int64],
    pixel: NDArray[np.int64],
    setup: SceneSetup,
    cam_from_world: Array | None = None,
) -> Rays:
    """Rays, on the CPU, through the centres of pixels i64[R] of the cameras i64[R]; `setup` says where they begin and end.

    `cam_from_world` f64[N, 4, 4] replaces the cameras' poses.
    """
    pose = (cameras.cam_from_world if cam_from_world is None else cam_from_world)[camera]
    k, width = cameras.K[camera], cameras.size[camera, 0].astype(np.int64)
    y = (pixel // width + 0.5 - k[:, 1, 2]) / k[:, 1, 1]
    x = (pixel % width + 0.5 - k[:, 0, 2] - k[:, 0, 1] * y) / k[:, 0, 0]
    ahead = np.stack([x, y, np.ones_like(x)], -1)
    cos = 1 / np.linalg.norm(ahead, axis=1)
    direction = np.einsum("rij,ri->rj", pose[:, :3, :3], ahead * cos[:, None])
    origin = -np.einsum("rij,ri->rj", pose[:, :3, :3], pose[:, :3, 3])
    near, far = bounds(origin, direction, setup)
    radius = CONE * cos / np.sqrt(k[:, 0, 0] * k[:, 1, 1])
    time = None if cameras.time is None else _float(cameras.time[camera])
    return Rays(*(_float(a) for a in (origin, direction, near, far, cos, radius)), time=time)


def bounds(origin: Array, direction: Array, setup: SceneSetup) -> tuple[Array, Array]:
    """t f64[R] where rays begin and end: at `ray_near` and `ray_far`, and of a bounded scene where they enter and leave its
    ball. Rays that miss the ball pass it at one point, a hundredth of its radius long.
    """
    near = np.full(len(origin), setup.ray_near)
    far = np.full(len(origin), setup.ray_far)
    if not setup.bounded:
        return near, far
    to_center = np.asarray(setup.center) - origin
    along = (to_center * direction).sum(-1)
    half = np.sqrt(np.maximum(setup.radius**2 - (to_center**2).sum(-1) + along**2, 0))
    near = np.maximum(near, along - half)
    return near, np.maximum(along + half, near + 0.01 * setup.radius)


def view_rays(
    cameras: Cameras, index: int, setup: SceneSetup, start: int, stop: int, cam_from_world: Array | None = None
) -> Rays:
    """Rays of the pixels start..stop - 1 of one camera."""
    pixel = np.arange(start, stop)
    return camera_rays(cameras, np.full(len(pixel), index), pixel, setup, cam_from_world)


def sample_batch(level: Level, rng: np.random.Generator, count: int, setup: SceneSetup) -> RayBatch:
    """`count` pixels drawn evenly from all pixels of all photos of the level, but for those that masks leave out.

    Raises InputError when masks leave (next to) nothing.
    """
    size = level.cameras.size.astype(np.int64)
    pixels = size.prod(1)
    ends = np.cumsum(pixels)
    planes = 3 + level.matte + level.mask
    photos, places = [], []
    missing = count
    for _ in range(ROUNDS):
        drawn = rng.integers(0, ends[-1], missing)
        photo = np.searchsorted(ends, drawn, side="right")
        place = drawn - (ends[photo] - pixels[photo])
        if level.mask:
            kept = level.data[level.offsets[photo] + (planes - 1) * pixels[photo] + place] > 127
            photo, place = photo[kept], place[kept]
        photos.append(photo)
        places.append(place)
        missing -= len(photo)
        if missing == 0:
            break
    else:
        raise InputError(
            "The masks leave next to nothing of the training photos. Check that white means use, black leave out."
        )
    photo, place = np.concatenate(photos), np.concatenate(places)
    at = level.offsets[photo]
    rgb = level.data[(at + 3 * place)[:, None] + np.arange(3)] * np.float32(1 / 255)
    matte = level.data[at + 3 * pixels[photo] + place] * np.float32(1 / 255) if level.matte else None
    return RayBatch(camera_rays(level.cameras, photo, place, setup), rgb, matte, photo)


def _float(values: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
