"""Smooth noise, colour mixing and the pixel letters that textures are painted with. Every function takes its own seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Array = NDArray[np.float64]

# 5 x 7 letters of our own, a row per number, the leftmost pixel is 16.
LETTERS = {
    "A": (4, 10, 17, 17, 31, 17, 17), "B": (30, 17, 17, 30, 17, 17, 30), "C": (14, 17, 16, 16, 16, 17, 14),
    "D": (30, 17, 17, 17, 17, 17, 30), "E": (31, 16, 16, 30, 16, 16, 31), "F": (31, 16, 16, 30, 16, 16, 16),
    "G": (14, 17, 16, 23, 17, 17, 14), "H": (17, 17, 17, 31, 17, 17, 17), "I": (14, 4, 4, 4, 4, 4, 14),
    "L": (16, 16, 16, 16, 16, 16, 31), "M": (17, 27, 21, 21, 17, 17, 17), "N": (17, 25, 21, 19, 17, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14), "P": (30, 17, 17, 30, 16, 16, 16), "R": (30, 17, 17, 30, 20, 18, 17),
    "S": (15, 16, 16, 14, 1, 1, 30), "T": (31, 4, 4, 4, 4, 4, 4), "U": (17, 17, 17, 17, 17, 17, 14),
    "V": (17, 17, 17, 17, 10, 10, 4), "W": (17, 17, 17, 21, 21, 27, 17), "Y": (17, 17, 10, 4, 4, 4, 4),
    " ": (0,) * 7,
}  # fmt: skip


def smooth_noise(height: int, width: int, rows: float, columns: float, seed: int) -> Array:
    """[height, width] in -1..1, about `rows` x `columns` bumps; its left edge continues at its right edge."""
    r, c = max(2, round(rows)), max(2, round(columns))
    grid = np.random.default_rng(seed).uniform(-1, 1, (r, c))
    y = (np.arange(height) + 0.5) / height * r - 0.5
    x = (np.arange(width) + 0.5) / width * c - 0.5
    coefficients = ndimage.spline_filter(grid, 3, mode="grid-wrap")
    yx = np.meshgrid(y, x, indexing="ij")
    out = ndimage.map_coordinates(coefficients, yx, order=3, mode="grid-wrap", prefilter=False)
    return np.clip(out * 1.3, -1, 1)


def fbm(height: int, width: int, rows: float, columns: float, seed: int, octaves: int = 4, gain: float = 0.55) -> Array:
    """Octaves of smooth_noise, in about -1..1."""
    out, total = np.zeros((height, width)), 0.0
    for i in range(octaves):
        out += gain**i * smooth_noise(height, width, rows * 2**i, columns * 2**i, seed * 31 + i)
        total += gain**i
    return out / total * 1.5


def fbm3(xyz: ArrayLike, size: float, seed: int, octaves: int = 3, gain: float = 0.55) -> Array:
    """Noise at points [..., 3] with bumps of about `size` metres, in about -1..1."""
    grid = np.random.default_rng(seed).uniform(-1, 1, (32, 32, 32))
    coefficients = ndimage.spline_filter(grid, 3, mode="grid-wrap")
    p = np.moveaxis(np.asarray(xyz, np.float64), -1, 0) / size
    out, total = np.zeros(p.shape[1:]), 0.0
    for i in range(octaves):
        at = p * 2**i + 7.3 * i
        out += gain**i * ndimage.map_coordinates(coefficients, at, order=3, mode="grid-wrap", prefilter=False)
        total += gain**i
    return out / total * 1.6


def mix(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> Array:
    """From colour a to colour b [..., 3] by t [...] clipped to 0..1."""
    w = np.clip(np.asarray(t, np.float64), 0, 1)[..., None]
    return (1 - w) * np.asarray(a, np.float64) + w * np.asarray(b, np.float64)


def step(x: ArrayLike, edge: float, soft: float) -> Array:
    """0 below `edge`, 1 above, smooth over +-soft."""
    t = np.clip((np.asarray(x, np.float64) - edge + soft) / (2 * soft), 0, 1)
    return t * t * (3 - 2 * t)


def palette(*codes: str) -> list[tuple[float, float, float]]:
    """sRGB colours from hexadecimal codes."""
    return [(int(c[0:2], 16) / 255, int(c[2:4], 16) / 255, int(c[4:6], 16) / 255) for c in codes]


def word(text: str, scale: int) -> NDArray[np.bool_]:
    """A mask [7 * scale, 6 * scale * len(text)] of the text in our letters."""
    columns = []
    for letter in text.upper():
        rows = [[row >> (4 - i) & 1 for i in range(6) if i < 5] + [0] for row in LETTERS[letter]]
        columns.append(np.array(rows, bool))
    return np.kron(np.concatenate(columns, 1), np.ones((scale, scale), bool)).astype(bool)


def stamp(image: Array, mask: NDArray[np.bool_], top: int, left: int, color: ArrayLike) -> None:
    """Paint `color` into image [H, W, 3] where the mask stands; what lies outside the image is cut off."""
    h, w = min(mask.shape[0], image.shape[0] - top), min(mask.shape[1], image.shape[1] - left)
    if h > 0 and w > 0:
        view = image[top : top + h, left : left + w]
        view[mask[:h, :w]] = color
