"""The walk around the table: 40 poses of a phone on two arcs, a little irregular, as a person would."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIZE = (640, 480)
FOCAL_35MM = 31
"""35 mm equivalent; by the width of the film, 36 mm: the horizontal field of view is 60.3 degrees."""
PHOTOS = 40
LOOK_AT = np.array([0.0, 0.0, 0.86])


def intrinsics() -> Array:
    """K [3, 3], pixels, pixel centres at +0.5."""
    f = SIZE[0] * FOCAL_35MM / 36
    return np.array([[f, 0, SIZE[0] / 2], [0, f, SIZE[1] / 2], [0, 0, 1]])


def look(center: Array, target: Array, roll: float) -> Array:
    """cam_from_world [4, 4], OpenCV frame, from a centre to a target, rolled by `roll` degrees."""
    z = target - center
    z = z / np.linalg.norm(z)
    x = np.cross(z, [0, 0, 1.0])
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    r = np.stack([c * x + s * y, c * y - s * x, z])
    m = np.eye(4)
    m[:3, :3], m[:3, 3] = r, -r @ center
    return m


def poses() -> Array:
    """cam_from_world [PHOTOS, 4, 4], world in metres, +Z up."""
    rng = np.random.default_rng(2024)
    half = PHOTOS // 2
    low, high = np.linspace(-158, 66, half), np.linspace(72, -164, half)
    out = []
    for i, angle in enumerate(np.concatenate([low, high])):
        upper = i >= half
        wobble = rng.normal(0, 1, 8)
        radius = (1.13 if not upper else 1.03) + 0.045 * np.sin(i * 0.9) + 0.02 * wobble[0]
        height = (1.17 if not upper else 1.56) + 0.05 * np.sin(i * 0.55 + 1) + 0.02 * wobble[1]
        a = np.radians(angle + 1.6 * wobble[2])
        center = np.array([radius * 1.06 * np.cos(a), radius * np.sin(a), height])
        target = LOOK_AT + np.array([0.025 * wobble[3], 0.025 * wobble[4], 0.02 * wobble[5] - 0.03 * upper])
        out.append(look(center, target, 1.1 * wobble[6]))
    return np.array(out)


def names() -> list[str]:
    return [f"IMG_{i + 1:04d}.jpg" for i in range(PHOTOS)]
