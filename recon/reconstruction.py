"""Reconstruction: what structure from motion hands on. Posed pinhole cameras, sparse points, undistorted photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recon.errors import InputError, WorkspaceError
from recon.sparse import SparseModel, read_colmap

SUFFIX = ".png"
"""Undistorted photos, their masks and their names in COLMAP files are called NAME + ".png"."""


@dataclass(frozen=True)
class Reconstruction:
    """The registered photos of a capture. `model.names` are the capture's own names."""

    model: SparseModel
    """Pinhole cameras of the undistorted photos; observations in their pixels."""
    images: Path
    """Folder of undistorted lossless PNG, file = NAME + ".png" (a/0001.jpg.png); RGBA where the photo had alpha (a matte)."""
    masks: Path | None
    """Folder of NAME + ".png", white = use: valid pixels of the undistortion and the user's mask. No file: all valid."""
    left_out: tuple[tuple[str, str], ...] = ()
    """(name, reason) of the capture's photos that were not registered, in code-point order."""

    def image_path(self, name: str) -> Path:
        """The undistorted photo."""
        return self.images / f"{name}{SUFFIX}"

    def mask_path(self, name: str) -> Path | None:
        """The mask of the undistorted photo, or None where every pixel counts."""
        path = self.masks / f"{name}{SUFFIX}" if self.masks else None
        return path if path and path.is_file() else None


def as_taken(reconstruction: Reconstruction) -> SparseModel:
    """The cameras before undistortion, from distorted/ beside the undistorted images."""
    folder = reconstruction.images.parent / "distorted"
    try:
        return read_colmap(folder)
    except (OSError, InputError) as error:
        raise WorkspaceError(
            f"The cameras as they were before undistortion are needed: {error} Run `recon sfm` with --redo."
        ) from error


def shrink(image: NDArray, size: ArrayLike) -> NDArray[Any]:
    """An image [H, W(, C)] averaged over area to `size` (width, height); unchanged when it has that size already."""
    import cv2

    width, height = (int(s) for s in np.asarray(size))
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def read_image(path: Path) -> NDArray[np.uint8]:
    """u8[H, W, C], C = 3 or 4, in the order RGB(A)."""
    import cv2

    image: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{path} cannot be read. It belongs to the reconstruction: run `recon sfm` with --redo.")
    if image.dtype != np.uint8:
        image = (image / 257).round().astype(np.uint8)
    if image.ndim == 2:
        image = image[..., None]
    if image.shape[2] < 3:
        image = np.repeat(image[..., :1], 3, -1)
    order = [2, 1, 0, 3][: image.shape[2]]
    return np.ascontiguousarray(image[..., order])
