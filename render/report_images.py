"""Pictures of the report: photo, render and error of a held-out view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recon.errors import InputError
from recon.page.pictures import UNKNOWN_RGB, colour_table

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction

Image = NDArray[np.float32]

BACKGROUND_LEVEL = {"white": 1.0, "black": 0.0, "grey": 0.5}
"""What metrics.json's `background` stands for, as a level of all three channels."""


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


def error_picture(error: Image, size: tuple[int, int], limit: float) -> NDArray[np.uint8]:
    """u8[h, w, 3], RGB: an error map [H, W] averaged over area to `size`, in the bar's colours; grey where nothing counts."""
    from recon.reconstruction import shrink

    finite = np.isfinite(error)
    weight = shrink(finite.astype(np.float32), size)
    mean = shrink(np.where(finite, error, 0).astype(np.float32), size) / np.maximum(weight, 1e-6)
    index = np.clip(mean / limit * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.where(weight[..., None] > 0.5, colour_table()[index], np.array(UNKNOWN_RGB, np.uint8))
