"""Metres from a depth camera: its z beside that of the sparse points, and whether the two belong together at all.

Where a photo observed a point, z of its depth image over z of the point is metres per unit of the model. The scale is the median
over the training photos' observations, its spread 1.4826 times the median absolute deviation of the logarithm. As a control the
points of each photo are held against another photo's depth image: depth images that fit no better than that are not theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import fit_size
from recon.depth.sensor import Sensor, Z, around, gate
from recon.geometry import Array
from recon.sparse import SparseModel
from recon.wording import count, some

LONG_SIDE = 320
"""Depth images are looked at in this size, pixels."""
LEAST, LEAST_IN_PHOTO = 30, 10
"""Observations that a scale needs, and that a photo needs to be judged by."""
MOST_SPREAD = 0.1
"""Beyond this spread the depth images do not belong to the cameras."""
SURE_SPREAD, SHARE_OF_CONTROL = 0.02, 0.6
"""A spread above the first is only believed when it is below this share of the control's."""
SURE_OF_PHOTO, SHARE_OF_PHOTO = 0.05, 0.8
"""The same for one photo, around the scale of all. Points of imprecise cameras are off together, by 10 % and more."""
METRIC_DOUBT = 0.05
"""By how much the ratio may differ from 1 where the cameras are in metres already."""


@dataclass(frozen=True)
class SensorScale:
    """What the depth images say of the model's scale."""

    metres: float
    """Metres per unit of the model; NaN when nothing tells."""
    spread: float
    """Robust relative standard deviation of an observation."""
    control: float
    """The same with depth images of other photos; infinite without any."""
    observations: int
    photos: int
    """So many photos were judged."""
    left_out: dict[str, str]
    """Photo -> why its depth image does not fit the others'."""
    reason: str
    """Why it cannot be used; "" when it can."""

    @property
    def error(self) -> float:
        """Relative standard error of the scale: observations of one photo err together."""
        return float(1.2533 * self.spread / np.sqrt(max(self.photos, 1)))

    def to_json(self) -> dict[str, Any]:
        number = lambda v, digits: round(float(v), digits) if np.isfinite(v) else None  # noqa: E731
        return {
            "metres_per_unit": number(self.metres, 6),
            "spread_percent": number(100 * self.spread, 3),
            "spread_with_other_photos_depth_percent": number(100 * self.control, 3),
            "observations": self.observations,
            "photos": self.photos,
            "left_out": self.left_out,
            "why_not": self.reason or None,
        }


def sensor_scale(sensor: Sensor, model: SparseModel) -> SensorScale:
    """Hold the depth images against the model's points; `model` is of any scale, its photos those of the reconstruction."""
    names = [name for name in model.names if name in sensor.row]
    model = model.select([model.names.index(name) for name in names], min_views=1)
    seen, n = model.observations, len(names)
    camera_z = np.einsum("oj,oj->o", model.cameras.cam_from_world[seen.camera, 2, :3], model.xyz[seen.point])
    camera_z += model.cameras.cam_from_world[seen.camera, 2, 3]
    small = model.cameras.resized(fit_size(model.cameras.size, LONG_SIDE))
    xy = seen.xy * (small.size / model.cameras.size)[seen.camera]
    own, control = np.full(len(xy), np.nan), np.full(len(xy), np.nan)
    for i, name in enumerate(names):
        z = surfaces(sensor.look(name, small[i])[0], float(small.K[i, 0, 0]))
        for j, ratios in ((i, own), ((i + max(1, n // 2)) % n, control))[
            : 1 if n == 1 else 2
        ]:  # one is no other's control
            mine = (seen.camera == j) & (camera_z > 0)
            ratios[mine] = np.log(sampled(z, xy[mine]) / camera_z[mine])
    return judged(names, seen.camera, own, control)


def surfaces(z: Z, focal: float) -> Z:
    """z where all around belongs to one surface, NaN elsewhere: points near an edge may lie on either side of it."""
    most = gate(z, focal)
    whole = [np.abs(around(z, j, i) - z) <= most for j in (-1, 0, 1) for i in (-1, 0, 1)]
    return np.where(np.all(whole, 0), z, np.float32(np.nan))


def sampled(z: Z, xy: NDArray) -> Array:
    """z at pixels xy [M, 2]; NaN outside."""
    column, row = np.floor(xy).astype(np.int64).T
    height, width = z.shape
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    return np.where(inside, z[row.clip(0, height - 1), column.clip(0, width - 1)], np.nan).astype(np.float64)


def spread_of(logs: Array, middle: float | None = None) -> float:
    """1.4826 times the median absolute deviation from the median, or from `middle`; infinite of nothing."""
    if not len(logs):
        return np.inf
    return float(1.4826 * np.median(np.abs(logs - (np.median(logs) if middle is None else middle))))


def judged(names: list[str], photo: NDArray, own: Array, control: Array) -> SensorScale:
    """From the logarithms of ratios [O] (NaN where there is none) with their own and with other photos' depth images."""
    known, other = np.isfinite(own), spread_of(control[np.isfinite(control)])
    if known.sum() < LEAST:
        reason = f"they measure {count(int(known.sum()), 'spot')} where the photos saw a point, and {LEAST} are needed"
        return SensorScale(np.nan, np.nan, other, int(known.sum()), 0, {}, reason)
    middle, spread = float(np.median(own[known])), spread_of(own[known])
    left_out, rows = dict[str, str](), list[int]()
    for i, name in enumerate(names):
        mine = own[known & (photo == i)]
        if len(mine) < LEAST_IN_PHOTO:
            continue
        rows.append(i)
        off, other_off = (spread_of(r[np.isfinite(r) & (photo == i)], middle) for r in (own, control))
        if off > SURE_OF_PHOTO and off > SHARE_OF_PHOTO * other_off:
            left_out[name] = f"it differs from its points by {off:.0%}"
    reason = ""
    beside = f"{other:.1%} with the depth images of other photos" if np.isfinite(other) else "nothing to compare with"
    if (
        spread > MOST_SPREAD
        or (spread > SURE_SPREAD and spread > SHARE_OF_CONTROL * other)
        or 2 * len(left_out) > len(rows)
    ):
        reason = (
            f"they do not fit the cameras: their z differs from that of the photos' points by {spread:.1%} "
            f"({beside}). Do they belong to these photos, and in this order?"
        )
        left_out = {}
    kept = own[known & ~np.isin(photo, [names.index(name) for name in left_out])]
    scale = SensorScale(float(np.exp(np.median(kept))), spread_of(kept), other, len(kept), len(rows), left_out, reason)
    return scale


def left_out_words(scale: SensorScale) -> str:
    """A sentence on the photos whose depth images do not fit."""
    first = next(iter(scale.left_out))
    return (
        f"{count(len(scale.left_out), 'depth image')} not used ({some(scale.left_out)}): unlike the others, "
        f"{first}'s does not fit the cameras ({scale.left_out[first]})."
    )
