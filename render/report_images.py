"""Pictures of the report: photo, render and error of a held-out view, as data URIs that need no other file."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recon.cameras import fit_size
from recon.errors import InputError

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction

Image = NDArray[np.float32]

PIXEL_BUDGET = 45e6
"""Pixels of all embedded pictures together; as JPEG about 0.15 byte each, so that a report stays below some 10 MB."""
LONG_SIDES = (240, 1280)
"""Bounds of an embedded picture's long side, pixels."""
JPEG_QUALITY = 88
BACKGROUND_LEVEL = {"white": 1.0, "black": 0.0, "grey": 0.5}
"""What metrics.json's `background` stands for, as a level of all three channels."""
INVALID_RGB = (110, 110, 110)
"""Colour of the error map where the mask says that a pixel does not count."""


@dataclass(frozen=True)
class View:
    """One held-out view at the evaluation size."""

    photo: Image
    """f32[H, W, 3], sRGB 0..1."""
    render: Image
    """f32[H, W, 3], sRGB 0..1."""
    valid: NDArray[np.bool_] | None
    """bool[H, W], pixels that count, or None when all do."""

    @property
    def error(self) -> Image:
        """f32[H, W], mean over the three channels of |photo - render|; NaN where a pixel does not count."""
        error = np.abs(self.photo - self.render).mean(-1)
        return error if self.valid is None else np.where(self.valid, error, np.float32(np.nan))


def load_view(folder: Path, reconstruction: Reconstruction, name: str, background: float = 0.0) -> View | None:
    """The render (folder/renders/NAME.png) and its photo; None when there is no render.

    The photo is folder/photos/NAME.png, or else the reconstruction's photo resized by area to the render's size, its matte over
    the level of grey that the evaluation used.
    """
    from render.dataset import read_photo

    path = folder / "renders" / f"{name}.png"
    if not path.is_file():
        return None
    render = read_image(path)
    size = (render.shape[1], render.shape[0])
    given = folder / "photos" / f"{name}.png"
    mask_path = reconstruction.mask_path(name)
    if given.is_file() and mask_path is None:
        return View(read_image(given), render, None)
    photo = read_photo(reconstruction, name, size)
    valid = None if photo.mask is None else photo.mask > 0
    return View(read_image(given) if given.is_file() else photo.over(np.full(3, background)), render, valid)


def read_image(path: Path) -> Image:
    """f32[H, W, 3], sRGB 0..1. Raises InputError when the file is no image."""
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{path} cannot be read as an image. Run `recon eval` with --redo.")
    return np.divide(image[..., ::-1], 255, dtype=np.float32)


def error_samples(error: Image) -> Image:
    """Some 20,000 of the finite values of an error map, evenly spread over it."""
    values = error[np.isfinite(error)]
    return values[:: max(1, values.size // 20_000)]


def error_limit(samples: Sequence[Image]) -> float:
    """The upper end of the colour bar, one for all views: the 99th percentile of all samples, rounded up to 0.05."""
    values = np.concatenate([*samples, np.zeros(1, np.float32)])
    return min(1.0, max(1, int(np.ceil(float(np.percentile(values, 99)) / 0.05 - 1e-6))) * 0.05)


def colour_table() -> NDArray[np.uint8]:
    """u8[256, 3], RGB: the error map's colours from 0 to the limit (inferno: dark to bright, legible without colour vision)."""
    import cv2

    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.array(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1], np.uint8)


def error_picture(error: Image, size: tuple[int, int], limit: float) -> NDArray[np.uint8]:
    """u8[h, w, 3], RGB: an error map [H, W] averaged over area to `size`, in the bar's colours; grey where nothing counts."""
    from recon.reconstruction import shrink

    finite = np.isfinite(error)
    weight = shrink(finite.astype(np.float32), size)
    mean = shrink(np.where(finite, error, 0).astype(np.float32), size) / np.maximum(weight, 1e-6)
    index = np.clip(mean / limit * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.where(weight[..., None] > 0.5, colour_table()[index], np.array(INVALID_RGB, np.uint8))


def embedded_size(size: tuple[int, int], pictures: int) -> tuple[int, int]:
    """(width, height) at which a picture of `size` is embedded when there are so many of them. Never enlarged."""
    width, height = size
    scale = (PIXEL_BUDGET / max(pictures, 1) / (width * height)) ** 0.5
    long_side = int(np.clip(max(size) * scale, *LONG_SIDES))
    fitted = fit_size((width, height), long_side)
    return int(fitted[0]), int(fitted[1])


def data_uri(rgb: NDArray, size: tuple[int, int]) -> str:
    """A JPEG data URI of an image, f32 0..1 or u8 [H, W, 3], resized by area. Full chroma: error maps live by their colour."""
    import cv2

    from recon.reconstruction import shrink

    pixels = rgb if rgb.dtype == np.uint8 else (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(shrink(pixels, size)[..., ::-1]), settings)
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
