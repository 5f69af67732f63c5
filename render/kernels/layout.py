"""What the kernels hand to each other: the record of a visible splat, the block of a camera, and how rows are cut into
chunks.

Kernels see flat contiguous arrays. Visible splats keep the order of their rows; those of chunk c (rows c * CHUNK ...)
stand at positions c * CHUNK ... of `rows` and `records`, `count[c]` of them, so that chunks are filled in parallel
without knowing each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.kernels.jit import helper
from render.kernels import reference

CHUNK = 1024
"""Rows of splats per chunk; a multiple of 16."""
TILE = 16
"""Pixels along a tile's side."""
BLOCK = 4
"""Pixels along the side of a block, which is one vector; a tile has 16 blocks."""

# A record is 16 float32, one cache line. With q = log2(alpha): q = LOG_O - u^2 - v^2, u = SU dx + SK dy, v = SV dy: a sum
# of squares: no cancellation for needles, and never positive.
RECORD = 16
IX, FX, IY, FY = 0, 1, 2, 3
"""Centre in pixels as integer part + fraction: float32 alone is too coarse for small splats in large images."""
SU, SK, SV, LOG_O = 4, 5, 6, 7
RGB, Z, TOWARDS, BOX = 8, 11, 12, 15
"""Colour (3), z, the unit direction from the camera (3), and the bits of the bounding box in tiles: first column (12
bits), first row (12), how many columns (4) and rows (4) more, where 15 stands for all larger numbers, too.
"""

# A camera is a block of float64.
W, T, FOCAL, CENTER, LIMIT, NEAR, SIZE, CAMERA = 0, 9, 12, 14, 16, 20, 21, 23
"""cam_from_world rotation (9, row by row) and translation (3), focal lengths, principal point, clamps of x/z and y/z
(low and high of each), near plane, width and height.
"""

# A memo is what backward needs of a visible splat besides its record: 32 float32.
MEMO = 32
MEAN, LOG_SCALE, QUAT, LOGIT, SLOPE, LIVE, AWAY = 0, 3, 6, 10, 16, 25, 28
"""The row's parameters (3, 3, 4, 1); d(colour channel)/d(direction), 3 by 3, channel by channel; 1 per channel, or 0
where it is clamped; the unit direction from the camera.
"""

MOMENTS = 9
"""Sums over a splat's pixels in one tile: 3 of dL/dcolour; then, with d = alpha dL/dalpha, those of d u, d v, d u^2, d
u v, d v^2, d.
"""
LOG_O_MIN = np.float32(-np.log2(255.0))
"""log2 of reference.ALPHA_MIN."""


def camera_block(
    cam_from_world: NDArray[np.float64], K: NDArray[np.float64], size: tuple[int, int], near: float
) -> NDArray[np.float64]:
    """The block f64[CAMERA] of one pinhole camera."""
    block = np.empty(CAMERA)
    block[W : W + 9] = np.asarray(cam_from_world, np.float64)[:3, :3].ravel()
    block[T : T + 3] = np.asarray(cam_from_world, np.float64)[:3, 3]
    for i in range(2):
        f, c, n = K[i, i], K[i, 2], size[i]
        margin = reference.CLAMP * 0.5 * n / f
        block[FOCAL + i], block[CENTER + i], block[SIZE + i] = f, c, n
        block[LIMIT + 2 * i], block[LIMIT + 2 * i + 1] = -(c / f + margin), (n - c) / f + margin
    block[NEAR] = near
    return block


@dataclass(frozen=True)
class Visible:
    """The splats that one camera sees."""

    records: NDArray[np.float32]
    """f32[N * RECORD]."""
    rows: NDArray[np.int32]
    """i32[N], rows of the columns."""
    count: NDArray[np.int32]
    """i32[chunks]."""
    bound: NDArray[np.int64]
    """i64[chunks], an upper bound of the pairs of splat and tile."""
    memos: NDArray[np.float32]
    """f32[N * MEMO], or empty when no gradient will be asked for."""

    @property
    def total(self) -> int:
        return int(self.count.sum())


@helper
def scratch(count):
    """f32[count] on a cache line's border, so that no vector straddles two lines."""
    raw = np.empty(count + 16, np.float32)
    skip = (64 - raw.ctypes.data % 64) % 64 // 4
    return raw[skip : skip + count]
