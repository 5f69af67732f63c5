"""TSDF fusion: views with z into a sparse volume of truncated signed distances, one view in memory at a time.

The volume holds only blocks near measured surfaces. All views are gone through twice: first they allocate, then each
block hears every view that looks at or through it, so that free space seen by some view carves what another imagined.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.errors import InputError
from recon.geometry import se3_inverse
from recon.kernels.jit import spread
from recon.mesh.views import DepthViews, Measured, measured
from recon.mesh.volume_kernels import POINTS, SIDE, allocate, fuse, insert_all

MOST_BLOCKS = 100_000
"""About 0.4 GB of volume, and a few million triangles, which take 2 GB while they are decimated."""
VOXELS_PER_PIXEL = 2.0
"""Voxel by default, as a multiple of the width that a pixel covers on the nearer surfaces."""
NEARER = 0.25
"""Quantile of a view's z that "nearer" stands for."""
WIDEST_PIXEL = 6.0
"""Voxels: a surface so far that a pixel covers more is left out."""
BAND = 3.0
"""Voxels on either side of a surface that are filled."""


@dataclass(frozen=True)
class Volume:
    """Distances around a surface, in B blocks."""

    voxel: float
    """Spacing of the lattice, world units."""
    found: NDArray[np.int64]
    """i64[B], the blocks' keys."""
    keys: NDArray[np.int64]
    """i64[T], the hash table, -1 where empty."""
    number: NDArray[np.int32]
    """i32[T], the blocks' numbers by place in the table."""
    tsdf: NDArray[np.float32]
    """f32[B, POINTS], distance to the surface / band, 1 at most; positive in front of it."""
    total: NDArray[np.float32]
    """f32[B, POINTS], sum of weights; 0 = never seen."""


def pixel_width(views: DepthViews) -> float:
    """World units that a pixel covers on the nearer surfaces, median over the views. Raises InputError without any z."""
    widths = []
    for view in views:
        m = measured(view)
        z = m.z[m.weight > 0]
        if len(z):
            widths.append(float(np.quantile(z, NEARER)) / float(m.K[0, 0]))
    if not widths:
        raise _without_z(views)
    return float(np.median(widths))


def _without_z(views: DepthViews) -> InputError:
    return InputError(
        f"None of {len(views)} views has a usable z: expected positive numbers and a confidence above 0, found NaN or 0 "
        "everywhere. Look at the scene with `recon view`, or take depth from elsewhere (`--from`)."
    )


def _unheard(text: str) -> None:
    """For callers that want no notes."""


def build_volume(
    views: DepthViews,
    voxel: float | None = None,
    *,
    most_blocks: int = MOST_BLOCKS,
    note: Callable[[str], None] = _unheard,
) -> Volume:
    """Fuse all views. `voxel`: world units; None chooses it from what a pixel covers, coarser where the blocks run out.

    `note` hears when that happened. Raises InputError without any z, and for a voxel that needs too many blocks.
    """
    chosen = VOXELS_PER_PIXEL * pixel_width(views) if voxel is None else voxel
    if not (math.isfinite(chosen) and chosen > 0):
        raise InputError(f"--voxel {voxel} is no size: expected a number above 0, in units of the world.")
    for _ in range(12):
        table = _allocated(views, chosen, most_blocks)
        if table is not None:
            return _fused(views, chosen, *table)
        if voxel is not None:
            raise InputError(
                f"--voxel {voxel:g} needs more than {most_blocks} blocks of {SIDE}^3 voxels, which is more than the memory that "
                "a surface may take. Choose a larger one, or leave it out."
            )
        chosen *= 1.3
        note(f"the scene is large: voxels of {chosen:.3g} instead of {chosen / 1.3:.3g}")
    raise InputError("The views spread over too large a space to be fused. Give --voxel, in units of the world.")


def _farthest(voxel: float, view: Measured) -> float:
    return WIDEST_PIXEL * voxel * float(view.K[0, 0])


def _allocated(views: DepthViews, voxel: float, most: int) -> tuple[NDArray, NDArray, NDArray] | None:
    """(found, keys, number) of the blocks near measured surfaces; None when there are more than `most`."""
    size = 1 << max(10, math.ceil(math.log2(3 * most)))
    keys, number = np.full(size, -1, np.int64), np.full(size, -1, np.int32)
    found, outside, count, some = np.empty(most, np.int64), np.zeros(1, np.int64), 0, False
    for view in views:
        m = measured(view)
        some = some or bool(m.weight.any())
        pose = se3_inverse(m.cam_from_world)
        reach = (BAND * voxel, SIDE * voxel, _farthest(voxel, m))
        count = allocate(m.z, m.weight, pose, m.K, *reach, keys, number, found, count, outside)
        if count > most:
            return None
    if not some:
        raise _without_z(views)
    if count == 0:
        raise InputError(
            f"No z lies within reach of voxels of {voxel:g}: they are too small for what the views see, or the scene is too far "
            "from the origin. Give a larger --voxel."
        )
    small = 1 << max(10, math.ceil(math.log2(3 * count)))
    found = found[:count].copy()
    keys, number = np.full(small, -1, np.int64), np.full(small, -1, np.int32)
    insert_all(found, keys, number)
    return found, keys, number


def _fused(views: DepthViews, voxel: float, found: NDArray, keys: NDArray, number: NDArray) -> Volume:
    tsdf, total = np.zeros((2, len(found), POINTS), np.float32)
    for view in views:
        m = measured(view)
        images = (m.z, m.weight, m.slope, m.cam_from_world, m.K)
        spread(fuse, len(found), found, *images, voxel, BAND * voxel, _farthest(voxel, m), tsdf, total)
    return Volume(voxel, found, keys, number, tsdf, total)
