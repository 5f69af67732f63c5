"""Pictures inside a page: colour scales, sizes that keep the page small, JPEG as data URIs that need no other file."""

from __future__ import annotations

import base64
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recon.cameras import fit_size
from recon.reconstruction import shrink

PIXEL_BUDGET = 45e6
"""Pixels of all embedded pictures together; as JPEG about 0.15 byte each, so that a page stays below some 10 MB."""
LONG_SIDES = (240, 1280)
"""Bounds of an embedded picture's long side, pixels."""
JPEG_QUALITY = 88
UNKNOWN_RGB = (110, 110, 110)
"""Colour of a map where it says nothing: masked, or not measured."""
Scale = Literal["inferno", "viridis", "cividis"]
"""Colour scales from dark to bright in even steps, legible without colour vision."""


def colour_table(scale: Scale = "inferno") -> NDArray[np.uint8]:
    """u8[256, 3], RGB: the colours of 0 to the upper end of a scale."""
    import cv2

    ramp = np.arange(256, dtype=np.uint8)[:, None]
    kind = {"inferno": cv2.COLORMAP_INFERNO, "viridis": cv2.COLORMAP_VIRIDIS, "cividis": cv2.COLORMAP_CIVIDIS}[scale]
    return np.array(cv2.applyColorMap(ramp, kind)[:, 0, ::-1], np.uint8)


def colours_of(scale: Scale) -> list[str]:
    """A scale's colours as #rrggbb, for the gradient of a colour bar."""
    return ["#" + bytes(rgb).hex() for rgb in colour_table(scale)[::15]]


def embedded_size(
    size: tuple[int, int], pictures: int, budget: float = PIXEL_BUDGET, long_sides: tuple[int, int] = LONG_SIDES
) -> tuple[int, int]:
    """(width, height) at which a picture of `size` is embedded when there are so many of them. Never enlarged."""
    width, height = size
    scale = (budget / max(pictures, 1) / (width * height)) ** 0.5
    long_side = int(np.clip(max(size) * scale, *long_sides))
    fitted = fit_size((width, height), long_side)
    return int(fitted[0]), int(fitted[1])


def data_uri(rgb: NDArray, size: tuple[int, int], quality: int = JPEG_QUALITY, *, full_chroma: bool = True) -> str:
    """A JPEG data URI of an image, f32 0..1 or u8 [H, W, 3], resized by area. Error maps live by their colour; where there are
    many, half the chroma takes half of the bytes.
    """
    import cv2

    pixels = rgb if rgb.dtype == np.uint8 else (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    chroma = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if full_chroma else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, chroma]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(shrink(pixels, size)[..., ::-1]), settings)
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
