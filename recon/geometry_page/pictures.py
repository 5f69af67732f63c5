"""The maps of a photo as pictures: z, normals, confidence and errors as colours, grey where nothing is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from recon.geometry import Array
from recon.geometry_page.disagreement import STEP, Layers
from recon.page.pictures import UNKNOWN_RGB, Scale, colour_table
from recon.reconstruction import Reconstruction, read_image, shrink

PALE = 0.6
"""Share of grey in the colour of a z that was not measured but filled in."""
ERROR_LIMITS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Upper ends that the scale of an error map may have, as shares of z."""
BEHIND_MATTE = 128

Rgb = NDArray[np.uint8]


def coloured(share: NDArray, scale: Scale) -> Rgb:
    """u8[H, W, 3]: values 0..1 in the colours of a scale; grey where NaN."""
    known = np.isfinite(share)
    index = np.clip(np.where(known, share, 0) * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.where(known[..., None], colour_table(scale)[index], np.array(UNKNOWN_RGB, np.uint8))


def z_picture(layers: Layers, span: tuple[float, float]) -> Rgb:
    """u8[H, W, 3]: near is bright, far is dark, in even steps of log z between the ends of `span`; guesses are paler."""
    z, sure = np.asarray(layers.z, np.float32), layers.measured > 0
    low, high = np.log(span)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (high - np.log(np.where(z > 0, z, np.nan))) / max(high - low, 1e-9)
    rgb = coloured(share, "viridis")
    pale = rgb * (1 - PALE) + np.array(UNKNOWN_RGB) * PALE
    return np.where(sure[..., None], rgb, pale.astype(np.uint8))


def normals_of(z: NDArray[np.float32], k: Array) -> NDArray[np.float32]:
    """f32[H, W, 3], unit, camera frame, towards the camera, from the pixels beside on the same surface; NaN without them."""
    height, width = z.shape
    known = np.where(z > 0, z, np.nan).astype(np.float64)
    x = (np.arange(width) + 0.5 - k[0, 2]) / k[0, 0]
    y = (np.arange(height)[:, None] + 0.5 - k[1, 2]) / k[1, 1]
    points = np.stack([known * x, known * y, known], -1)
    out = np.full((height, width, 3), np.nan, np.float32)
    if height < 3 or width < 3:
        return out
    along, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    normal = np.cross(down, along)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    limit = 2 * STEP * known[1:-1, 1:-1]
    with np.errstate(invalid="ignore"):
        one = (np.abs(along[..., 2]) < limit) & (np.abs(down[..., 2]) < limit) & (length[..., 0] > 0)
    out[1:-1, 1:-1] = np.where(one[..., None], normal / np.where(length > 0, length, 1), np.nan)
    return out


def normal_picture(normal: NDArray) -> Rgb:
    """u8[H, W, 3]: red grows to the right, green upward, blue towards the camera; grey where NaN."""
    known = np.isfinite(normal).all(-1, keepdims=True)
    levels = np.where(known, np.asarray(normal) * [1, -1, -1] * 0.5 + 0.5, 0)
    return np.where(known, np.clip(levels * 255 + 0.5, 0, 255), UNKNOWN_RGB).astype(np.uint8)


def error_limit(values: NDArray) -> float:
    """The upper end of an error scale: the first of ERROR_LIMITS that 95 % of the values do not pass."""
    most = float(np.percentile(values, 95)) if len(values) else 0.0
    return next((limit for limit in ERROR_LIMITS if limit >= most), ERROR_LIMITS[-1])


def z_span(values: NDArray) -> tuple[float, float]:
    """Near and far ends of the colours of z: the 2nd and 98th percentiles of what is measured in all photos."""
    if len(values) == 0:
        return 1.0, 2.0
    near, far = (float(v) for v in np.percentile(values, (2, 98)))
    return near, max(far, near * 1.01)


def true_at(true: NDArray, shape: Sequence[int]) -> NDArray:
    """True z [H', W'] at the pixels of a map [H, W] of the same photo: that of the pixel in which each centre lies."""
    rows, columns = ((np.arange(n) + 0.5) * full / n for n, full in zip(shape, true.shape, strict=True))
    return true[rows.astype(int)[:, None], columns.astype(int)]


def photos_of(reconstruction: Reconstruction, names: Sequence[str]) -> Callable[[int, tuple[int, int]], Rgb]:
    """photo(i, (width, height)): u8[H, W, 3], photo names[i] averaged over area; a matte over grey."""

    def photo(index: int, size: tuple[int, int]) -> Rgb:
        image = read_image(reconstruction.image_path(names[index]))
        if image.shape[2] == 4:
            alpha = image[..., 3:].astype(np.float32) / 255
            image = np.rint(image[..., :3] * alpha + BEHIND_MATTE * (1 - alpha)).astype(np.uint8)
        return shrink(np.ascontiguousarray(image[..., :3]), size)

    return photo
