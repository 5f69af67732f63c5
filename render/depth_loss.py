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
from render.kernels.depth import depth_pulls

if TYPE_CHECKING:
    from recon.depth.maps import DepthMaps

SOFT = 0.1
"""Relative error at which the pull has fallen to half."""
GUESS = 0.1
"""Weight of z that was not measured (confidence 0): filled in from around, or a network's."""
LEAST_ALPHA = 0.05
"""Where a scene covers less than this its z says nothing yet."""
EVERY = 2
"""Steps from one with this loss to the next, as it makes a step a fifth dearer; each then counts for so many."""
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
        rows, columns = self._places(row, camera)
        where = np.ix_(rows, columns)  # -1 takes what is not used
        z, confidence = self.maps.z[row][where], self.maps.confidence[row][where]
        known = np.isfinite(z) & (z > 0) & (rows >= 0)[:, None] & (columns >= 0)
        c = np.where(known, np.where(confidence > 0, confidence, GUESS), 0)
        return np.where(known, z, 1).astype(np.float32), np.nan_to_num(c).astype(np.float32)

    def _places(self, row: int, camera: Cameras) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The map's row of each of the camera's rows i64[H], and its column of each column i64[W]; -1 outside of the map."""
        k, own, places = camera.K[0], self.maps.cameras.K[row], []
        for axis in (1, 0):
            at = (np.arange(camera.size[0, axis]) + 0.5 - k[axis, 2]) / k[axis, axis]
            pixel = np.floor(at * own[axis, axis] + own[axis, 2]).astype(np.int64)
            places.append(np.where((pixel >= 0) & (pixel < self.maps.cameras.size[row, axis]), pixel, -1))
        return places[0], places[1]

    def at_step(self, step: int, index: int) -> DepthTargets | None:
        """Itself at the steps and for the photos that it has something to say of."""
        return self if step % EVERY == 0 and self.rows[index] is not None else None

    @torch.no_grad()
    def pulls(
        self, index: int, camera: Cameras, weighted: Tensor, alpha: Tensor, mask: Tensor | None, progress: float
    ) -> tuple[Tensor, Tensor]:
        """d loss / d F and d loss / d A of photo `index`, which has a map (at_step() asks), at a moment of training, all
        [H, W], times EVERY.

        On the CPU by a kernel, elsewhere by depth_loss(). mask: 1 = use.
        """
        row, weight = self.rows[index], EVERY * self.weight * FINAL**progress
        assert row is not None
        if weighted.device.type == "cpu":
            given = None if mask is None else mask.numpy()
            found = (self.maps.z[row], self.maps.confidence[row], self._places(row, camera))
            pulled = depth_pulls(weighted.numpy(), alpha.numpy(), given, *found, weight, (SOFT, GUESS, LEAST_ALPHA))
            return torch.from_numpy(pulled[0]), torch.from_numpy(pulled[1])
        target = self.target(index, camera)
        assert target is not None
        z, c = (torch.from_numpy(image).to(weighted.device) for image in target)
        return depth_loss(weighted, alpha, z, c if mask is None else c * mask, weight)[1:]

    def fingerprint(self) -> str:
        """Of the maps' contents."""
        digest = hashlib.sha256(repr((self.maps.names, self.rows, self.weight)).encode())
        for arrays in (self.maps.z, self.maps.confidence):
            for array in arrays:
                digest.update(array.tobytes())
        return digest.hexdigest()


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
