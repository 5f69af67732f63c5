"""Points from depth maps, for a scene to start from: of training photos alone, seen alike by several, spread evenly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.geometry import Array
from recon.mesh.consistency import agreement, neighbours_of
from recon.mesh.views import DepthView
from render.dataset import Dataset

if TYPE_CHECKING:
    from render.depth_loss import DepthTargets

SEED_SHARE = 0.05
"""Share of the cap on splats that depth maps may give: growth puts the others where colours ask for them. A quarter made steps
so much dearer from the start that a short training on fox lost 0.7 dB.
"""
SURE = 0.5
"""Confidence that a point needs."""
OVERSAMPLE = 4
"""Pixels that are looked at for each point wanted: neighbours show the same surface again."""
SPACING = 2.0
"""Pixels of a map between points at the least, at its median z."""
AGREE = 0.5
"""Share of the neighbouring views that see the place at all and have to have the same z there."""


def depth_points(
    depth: DepthTargets, dataset: Dataset, known: Array, most: int, seed: int
) -> tuple[Array, NDArray[np.float32]]:
    """At most `most` points f64[P, 3] of the world and their colours f32[P, 3], away from the points `known` [K, 3]."""
    maps = depth.maps
    photos = [i for i, row in enumerate(depth.rows) if row is not None]
    rows = [row for row in depth.rows if row is not None]
    cameras, rng = maps.cameras[np.array(rows, np.int64)], np.random.default_rng(seed)
    share, parts = -(-OVERSAMPLE * most // len(rows)), []
    for place, (photo, row) in enumerate(zip(photos, rows, strict=True)):
        sure = np.flatnonzero((maps.confidence[row] >= SURE) & (np.nan_to_num(maps.z[row]) > 0))
        chosen = np.sort(rng.choice(sure, min(share, len(sure)), replace=False))
        z = np.zeros(maps.z[row].size, np.float32)
        z[chosen] = maps.z[row].reshape(-1)[chosen]
        view = _view(depth, cameras, rows, place)
        alone = DepthView(view.name, view.camera, z.reshape(view.z.shape), view.confidence)
        near = neighbours_of(cameras, place)
        if len(near):
            others = [_view(depth, cameras, rows, int(other)) for other in near]
            chosen = chosen[agreement(alone, others).reshape(-1)[chosen] >= AGREE]
        xyz = _unprojected(cameras[place], chosen, z[chosen])
        parts.append(_coloured(dataset, photo, xyz))
    xyz, rgb = (np.concatenate(column) for column in zip(*parts, strict=True))
    finest = SPACING * float(np.median(_footprints(depth, cameras, rows)))
    kept = thinned(xyz, known, most, finest)
    return xyz[kept], rgb[kept]


def _view(depth: DepthTargets, cameras: Cameras, rows: list[int], place: int) -> DepthView:
    maps, row = depth.maps, rows[place]
    return DepthView(maps.names[row], cameras[place], maps.z[row], maps.confidence[row])


def _footprints(depth: DepthTargets, cameras: Cameras, rows: list[int]) -> list[float]:
    """What a pixel covers at the median z of each map that has any, world units; [1.0] where none has."""
    out = []
    for place, row in enumerate(rows):
        z = depth.maps.z[row][depth.maps.confidence[row] > 0]
        if np.isfinite(z).any():
            out.append(float(np.nanmedian(z)) / cameras.K[place, 0, 0])
    return out or [1.0]


def _unprojected(camera: Cameras, pixels: NDArray[np.int64], z: NDArray[np.float32]) -> Array:
    """World points f64[P, 3] of pixels, by their number, with z."""
    v, u = np.divmod(pixels, int(camera.size[0, 0]))
    k, far = camera.K[0], z.astype(np.float64)
    local = np.stack([(u + 0.5 - k[0, 2]) / k[0, 0] * far, (v + 0.5 - k[1, 2]) / k[1, 1] * far, far], -1)
    pose = camera.world_from_cam[0]
    return local @ pose[:3, :3].T + pose[:3, 3]


def _coloured(dataset: Dataset, index: int, xyz: Array) -> tuple[Array, NDArray[np.float32]]:
    """The points that fall onto usable pixels of their photo, and these pixels' colours."""
    level = dataset.levels[1.0]
    photo, size = level.photo(index), level.cameras.size[index]
    pixel = np.floor(level.cameras[index].project(xyz)[0][0]).astype(np.int64).clip(0, size - 1)
    at = (pixel[:, 1], pixel[:, 0])
    usable = np.ones(len(xyz), bool)
    for plane in (photo.mask, photo.matte):
        usable &= True if plane is None else plane[at] > 0.5
    return xyz[usable], photo.rgb[at][usable]


def thinned(xyz: Array, known: Array, most: int, finest: float) -> NDArray[np.int64]:
    """Rows of points [P, 3] of which no two, and none with a point of `known`, share a cell of a lattice: of spacing `finest`, or
    so coarse that at most `most` are left.
    """
    if most < 1 or len(xyz) == 0:
        return np.zeros(0, np.int64)
    everything, size = np.concatenate([known, xyz]), finest
    everything = everything - everything.min(0)
    while True:
        cells = np.floor(everything / size).astype(np.int64)
        first = np.unique(cells, axis=0, return_index=True)[1]
        kept = np.sort(first[first >= len(known)]) - len(known)
        if len(kept) <= most:
            return kept
        size *= 1.05 * (len(kept) / max(most, 1)) ** 0.5
