"""How far the z of photos is from what their neighbours measure: the error that can be known where there is no truth.

A pixel's point is carried into each neighbouring view; the disagreement is |z measured there - z of the point there| / z of
the point there. A neighbour that sees something nearer hides the point and says nothing, unless this view looks through what
it sees. A pixel's number is the median over the neighbours that say something.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.kernels.jit import kernel, spread
from recon.mesh.consistency import carried, neighbours_of

HIDDEN = 0.05
"""A neighbour that sees something nearer by more than this share sees another surface."""
STEP = 0.05
"""Neighbouring pixels whose z differ by less than this share lie on one surface: between them inverse z is linear."""
KEPT_MAPS = 12
"""Maps that stay in memory; a photo asks its neighbours, which its neighbours ask, too."""


@dataclass(frozen=True)
class Layers:
    """What is measured of one photo."""

    z: NDArray[np.float32]
    """f32[H, W], world units; NaN or <= 0 where not known."""
    confidence: NDArray[np.float32]
    """f32[H, W], 0..1; 0 = not measured: z is then unknown or a guess."""
    normal: NDArray[np.float32] | None = None
    """f32[H, W, 3], unit, in the camera's frame, towards the camera; None: to be taken from z."""

    @property
    def measured(self) -> NDArray[np.float32]:
        """f32[H, W], z where it is measured, 0 elsewhere."""
        z = np.asarray(self.z, np.float32)
        known = (np.asarray(self.confidence) > 0) & np.isfinite(z) & (z > 0)
        return np.where(known, z, np.float32(0))


@dataclass(frozen=True)
class PhotoMaps:
    """The maps of N photos, read when asked for."""

    names: tuple[str, ...]
    """[N], the capture's own names."""
    cameras: Cameras
    """[N], pinhole, of the sizes of the maps."""
    read: Callable[[int], Layers]
    """The maps of photo i."""
    _kept: dict[int, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def measured(self, index: int) -> NDArray[np.float32]:
        """f32[H, W], z where it is measured, 0 elsewhere; the last few stay in memory."""
        found = self._kept.pop(index, None)
        self._kept[index] = self.read(index).measured if found is None else found
        while len(self._kept) > KEPT_MAPS:
            del self._kept[next(iter(self._kept))]
        return self._kept[index]

    def disagreement(self, index: int) -> NDArray[np.float32]:
        """f32[H, W] of photo `index` against its neighbours: median share of z; NaN where none says anything."""
        rows = neighbours_of(self.cameras, index)
        return disagreement(
            self.measured(index), self.cameras[index], [(self.measured(int(i)), int(i)) for i in rows], self.cameras
        )

    def disagreement_of(self, z: NDArray[np.float32], camera: Cameras) -> NDArray[np.float32]:
        """The same for a map that is none of these: z f32[H, W] (0: not measured) of one camera."""
        poses = np.concatenate([camera.cam_from_world, self.cameras.cam_from_world])
        both = Cameras(
            poses, np.concatenate([camera.K, self.cameras.K]), np.concatenate([camera.size, self.cameras.size])
        )
        rows = neighbours_of(both, 0) - 1
        return disagreement(z, camera, [(self.measured(int(i)), int(i)) for i in rows], self.cameras)


def disagreement(
    z: NDArray[np.float32], camera: Cameras, others: list[tuple[NDArray[np.float32], int]], cameras: Cameras
) -> NDArray[np.float32]:
    """f32[H, W]: the median over the other views (z [H', W'], row of `cameras`) of their disagreement with z [H, W]."""
    out = np.full(z.shape, np.nan, np.float32)
    if not others:
        return out
    each = np.full((len(others), *z.shape), np.nan, np.float32)
    for (other, row), share in zip(others, each, strict=True):
        there = cameras.cam_from_world[row] @ camera.world_from_cam[0]
        k, other_k = np.ascontiguousarray(camera.K[0]), np.ascontiguousarray(cameras.K[row])
        spread(compare, len(z), np.ascontiguousarray(z), other, k, other_k, there, np.linalg.inv(there), share)
    spread(middle, len(z), each, out)
    return out


@kernel
def compare(start, stop, z, other, K, other_K, there_from_here, here_from_there, share):
    """The disagreement of one other view with the rows start .. stop of pixels; left as it is where that says nothing."""
    height, width = other.shape
    for v in range(start, stop):
        for u in range(z.shape[1]):
            own = np.float64(z[v, u])
            if own <= 0:
                continue
            col, row, there = carried(u + 0.5, v + 0.5, own, K, there_from_here, other_K)
            if there <= 0 or not (0 <= col < width and 0 <= row < height):
                continue
            seen = between(other, col, row, there)
            if seen <= 0:
                continue
            if seen < there * (1 - HIDDEN) and not looked_through(z, K, col, row, seen, other_K, here_from_there):
                continue
            share[v, u] = abs(seen - there) / there


@kernel
def between(z, col, row, wanted):
    """z at a place between pixels: linear in 1 / z on one surface, else the pixel around that is nearest to `wanted`; 0: none."""
    height, width = z.shape
    i, j = int(np.floor(col - 0.5)), int(np.floor(row - 0.5))
    s, t = col - 0.5 - i, row - 0.5 - j
    i0, i1, j0, j1 = max(i, 0), min(i + 1, width - 1), max(j, 0), min(j + 1, height - 1)
    a, b, c, d = np.float64(z[j0, i0]), np.float64(z[j0, i1]), np.float64(z[j1, i0]), np.float64(z[j1, i1])
    least, most = min(min(a, b), min(c, d)), max(max(a, b), max(c, d))
    if least > 0 and most <= least * (1 + STEP):
        return 1 / ((1 - t) * ((1 - s) / a + s / b) + t * ((1 - s) / c + s / d))
    best = 0.0
    for value in (a, b, c, d):
        if value > 0 and (best == 0 or abs(value - wanted) < abs(best - wanted)):
            best = value
    return best


@kernel
def looked_through(z, K, col, row, seen, other_K, here_from_there):
    """Whether this view sees farther, all around there, than the point that the other one has at (col, row)."""
    u, v, own = carried(col, row, seen, other_K, here_from_there, K)
    if own <= 0 or not (0 <= u < z.shape[1] and 0 <= v < z.shape[0]):
        return False
    known = False
    for j in range(max(int(v) - 1, 0), min(int(v) + 2, z.shape[0])):
        for i in range(max(int(u) - 1, 0), min(int(u) + 2, z.shape[1])):
            if z[j, i] <= 0:
                continue
            known = True
            if z[j, i] <= own * (1 + HIDDEN):
                return False
    return known


@kernel
def middle(start, stop, each, out):
    """The median over the first axis of what is not NaN, for the rows start .. stop; NaN where nothing is."""
    values = np.empty(each.shape[0])
    for v in range(start, stop):
        for u in range(each.shape[2]):
            n = 0
            for k in range(each.shape[0]):
                value = each[k, v, u]
                if np.isnan(value):
                    continue
                at = n
                while at > 0 and values[at - 1] > value:
                    values[at] = values[at - 1]
                    at -= 1
                values[at] = value
                n += 1
            if n > 0:
                out[v, u] = 0.5 * (values[(n - 1) // 2] + values[n // 2])
