"""The photos as stereo reads them: resized once by area, kept on disk, packed for the kernels. One or a few in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recon.cameras import Cameras
from recon.depth.cost import RADIUS, Reference, Sources, patch_tables
from recon.depth.maps import save_array
from recon.geometry import Array, se3_inverse
from recon.reconstruction import Reconstruction, read_image, shrink

MASK_THRESHOLD, MATTE_THRESHOLD = 250, 128
"""A resized pixel is usable when its mask is white almost everywhere and its matte covers at least half of it (of 255)."""

HALF = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
"""Pixels counted from the first pixel's centre, from pixels whose centres are at +0.5."""


def prepare_photo(reconstruction: Reconstruction, name: str, size: ArrayLike, path: Path) -> None:
    """Write u8[H, W, 4] (red, green, blue over black, usable 0 or 1) of a photo at `size` (width, height) as .npy."""
    image = read_image(reconstruction.image_path(name)).astype(np.float32)
    matte = np.full(image.shape[:2], 255, np.float32) if image.shape[2] == 3 else image[..., 3]
    rgb = shrink(image[..., :3] * (matte[..., None] / 255), size)
    usable = shrink(matte, size) >= MATTE_THRESHOLD
    mask = reconstruction.mask_path(name)
    if mask is not None:
        usable = usable & (shrink(read_image(mask)[..., 0].astype(np.float32), size) >= MASK_THRESHOLD)
    save_array(path, np.concatenate([np.rint(rgb), usable[..., None]], -1).astype(np.uint8))


def at_level(photo: NDArray[np.uint8], size: ArrayLike) -> NDArray[np.uint8]:
    """u8[H, W, 4] of prepare_photo() at a smaller size; a pixel is usable when all of it is."""
    width, height = np.asarray(size)
    if photo.shape[:2] == (height, width):
        return np.asarray(photo)
    small = shrink(photo.astype(np.float32), size)
    small[..., 3] = small[..., 3] > 0.99
    return np.rint(small).astype(np.uint8)


def reference_of(photo: NDArray[np.uint8], k: Array) -> Reference:
    """A photo u8[H, W, 4] with K [3, 3] (centres at +0.5) as the reference."""
    height, width = photo.shape[:2]
    rgb, usable = photo[..., :3].astype(np.int32), photo[..., 3].copy()
    rgb[..., 2] = (rgb[..., 2] & 254) | usable
    packed = rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16 | _grey(photo) << 24
    padded = np.pad(packed, RADIUS, "edge").astype(np.int32)
    lens = np.array([k[0, 0], k[1, 1], k[0, 2] - 0.5, k[1, 2] - 0.5], np.float32)
    return Reference(width=width, height=height, rgbg=padded.ravel(), usable=usable, lens=lens, **patch_tables(width))


def sources_of(
    photos: list[NDArray[np.uint8]],
    cameras: Cameras,
    planes: list[NDArray[np.float32]] | None = None,
) -> Sources:
    """Photos u8[H, W, 4] as sources; cameras [1 + S]: the reference's and theirs, at these sizes. `planes`: one
    f32[3, H, W] each.
    """
    count = [p.shape[0] * p.shape[1] for p in photos]
    relative = [_relative(cameras, 0, j) for j in range(1, len(cameras))]
    back = [_relative(cameras, j, 0) for j in range(1, len(cameras))]
    turns = cameras.cam_from_world[1:, :3, :3] @ cameras.cam_from_world[0, :3, :3].T
    return Sources(
        quads=np.concatenate([_quads(p) for p in photos]),
        usable=np.concatenate([p[..., 3].ravel() for p in photos]),
        start=np.concatenate([[0], np.cumsum(count)[:-1]]).astype(np.int64),
        size=np.array([p.shape[1::-1] for p in photos], np.int64),
        warp=np.array(relative, np.float32),
        back=np.array(back, np.float32),
        lens=np.stack([*(cameras.K[1:, i, i] for i in (0, 1)), *(cameras.K[1:, i, 2] - 0.5 for i in (0, 1))], 1).astype(
            np.float32
        ),
        turn=turns.reshape(-1, 9).astype(np.float32),
        geometric=planes is not None,
        plane=np.zeros((3, 0), np.float32)
        if planes is None
        else np.concatenate([np.asarray(p, np.float32).reshape(3, -1) for p in planes], 1),
    )


def _relative(cameras: Cameras, a: int, b: int) -> Array:
    """A by rows and b [12] from pixels of camera a to camera b, counted from the first pixel's centre."""
    b_from_a = cameras.cam_from_world[b] @ se3_inverse(cameras.cam_from_world[a])
    k_a, k_b = HALF @ cameras.K[a], HALF @ cameras.K[b]
    return np.concatenate([(k_b @ b_from_a[:3, :3] @ np.linalg.inv(k_a)).ravel(), k_b @ b_from_a[:3, 3]])


def _grey(photo: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Luma of ITU-R BT.601, 0..255."""
    return np.rint(photo[..., :3] @ np.array([0.299, 0.587, 0.114])).astype(np.int32)


def _quads(photo: NDArray[np.uint8]) -> NDArray[np.int32]:
    grey = np.pad(_grey(photo), ((0, 1), (0, 1)), "edge")
    packed = grey[:-1, :-1] | grey[:-1, 1:] << 8 | grey[1:, :-1] << 16 | grey[1:, 1:] << 24
    return packed.astype(np.int32).ravel()
