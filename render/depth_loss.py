"""Depth as a teacher: how far the z that a scene renders is from depth maps, and its gradient.

The scene's z in a pixel is E = F / A, F = sum of w_i z_i and A = sum of w_i (its alpha), z_i the splats' own. With the
relative error r = (E - z) / z and c the weight of the map's pixel, the loss is W times the mean over all pixels of
A c rho(r), rho(r) = SOFT log(1 + |r| / SOFT): absolute near the truth, and hardly pulling where map and scene have two
different surfaces. A only weighs: it has no gradient there, or emptiness would be a way out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.cameras import Cameras
from recon.errors import InputError

if TYPE_CHECKING:
    from recon.depth.maps import DepthMaps

SOFT = 0.1
"""Relative error at which the pull has fallen to half."""
GUESS = 0.1
"""Weight of z that was not measured (confidence 0): filled in from around, or a network's."""
LEAST_ALPHA = 0.05
"""Where a scene covers less than this its z says nothing yet."""
FINAL = 0.1
"""Share of the weight that is left at the end: late in training photos know better than maps where edges are."""


@dataclass(frozen=True)
class DepthTargets:
    """The depth maps of N training photos as a loss, read from the memory-mapped maps when they are asked for."""

    maps: DepthMaps
    rows: tuple[int | None, ...]
    """[N], the row in `maps` of each training photo; None: it has no map."""
    weight: float
    """W, relative to the photometric loss."""

    @classmethod
    def of(cls, maps: DepthMaps, names: Sequence[str], weight: float) -> DepthTargets:
        """Raises InputError when no photo of `names` has a map."""
        row = {name: i for i, name in enumerate(maps.names)}
        rows = tuple(row.get(name) for name in names)
        if all(r is None for r in rows):
            raise InputError(
                "--depth-weight: none of the training photos has a depth map. Remake them with `recon depth --redo`."
            )
        return cls(maps, rows, weight)

    def target(self, index: int, camera: Cameras) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """z and its weight c, f32[H, W] each, of photo `index` at the size of `camera` (one, of the same pose as the map's):
        those of the nearest pixel, c = 0 where the map has nothing. None when the photo has no map.
        """
        row = self.rows[index]
        if row is None:
            return None
        z, confidence = self.maps.z[row], self.maps.confidence[row]
        near, inside = [], []
        for axis, there in ((1, z.shape[0]), (0, z.shape[1])):
            k, own = camera.K[0], self.maps.cameras.K[row]
            at = (np.arange(camera.size[0, axis]) + 0.5 - k[axis, 2]) / k[axis, axis]
            pixel = np.floor(at * own[axis, axis] + own[axis, 2]).astype(np.int64)
            near.append(pixel.clip(0, there - 1))
            inside.append((pixel >= 0) & (pixel < there))
        z, confidence = z[np.ix_(*near)], confidence[np.ix_(*near)]
        known = np.isfinite(z) & (z > 0) & inside[0][:, None] & inside[1]
        c = np.where(known, np.where(confidence > 0, confidence, GUESS), 0)
        return np.where(known, z, 1).astype(np.float32), np.nan_to_num(c).astype(np.float32)

    def fingerprint(self) -> str:
        """Of the maps' contents."""
        digest = hashlib.sha256(repr((self.maps.names, self.rows, self.weight)).encode())
        for arrays in (self.maps.z, self.maps.confidence):
            for array in arrays:
                digest.update(array.tobytes())
        return digest.hexdigest()

    def pull(self, progress: float) -> float:
        """The weight at a moment of training."""
        return self.weight * FINAL**progress


def camera_z(mean: Tensor, cam_from_world: Tensor) -> Tensor:
    """z f32[C, N, 1] of points [N, 3] in cameras [C, 4, 4], differentiable in both."""
    return (mean @ cam_from_world[:, 2, :3].T + cam_from_world[:, 2, 3]).T[..., None]


@torch.no_grad()
def depth_loss(weighted: Tensor, alpha: Tensor, z: Tensor, c: Tensor, weight: float) -> tuple[float, Tensor, Tensor]:
    """(loss, d loss / d F, d loss / d A) of F = `weighted` and A = `alpha`, against z with weights c; all [H, W]."""
    covered = torch.where(alpha > LEAST_ALPHA, alpha, 1.0)
    mean = weighted / covered
    error = (mean - z) / z
    size = error.abs()
    c = torch.where(alpha > LEAST_ALPHA, c * (weight / c.numel()), 0.0)
    loss = float((alpha * c * SOFT * torch.log1p(size / SOFT)).sum())
    pull = c * error.sign() / (1 + size / SOFT) / z  # times A / A
    return loss, pull, -pull * mean
