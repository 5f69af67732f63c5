"""SparseModel: cameras and points of structure from motion, and its COLMAP files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.geometry import Array, Sim3, World


@dataclass(frozen=True)
class Observations:
    """Which camera saw which point where: O rows, sorted by camera, then point."""

    camera: NDArray[np.int32]
    """i32[O], row of SparseModel.names."""
    point: NDArray[np.int32]
    """i32[O], row of SparseModel.xyz."""
    xy: NDArray[np.float32]
    """f32[O, 2], pixels, centres at +0.5."""


@dataclass(frozen=True)
class SparseModel:
    """N posed photos and P points in one frame."""

    names: tuple[str, ...]
    """[N] photo names, as in Capture.names (registered ones only), in code-point order."""
    cameras: Cameras
    """[N], the same order."""
    xyz: Array
    """f64[P, 3], world."""
    rgb: NDArray[np.uint8]
    """u8[P, 3], sRGB."""
    error: NDArray[np.float32]
    """f32[P], mean reprojection error, pixels."""
    observations: Observations
    world: World = field(default_factory=World)
