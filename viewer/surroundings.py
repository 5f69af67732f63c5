"""Where a visitor starts, and what there is around: the subject's box, the ground, the first view.

All from what the training cameras saw: a point's weight is what it contributes to the middle of their pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recon.cameras import Cameras
from recon.geometry import Array

BOX_PERCENT = (4.0, 96.0)
"""Weighted percentiles of the places that the pictures' middles show: the subject's box."""
LEVEL = 0.9
"""Cosine from which on a surface counts as level."""
BINS = 100
"""Heights that are told apart when the ground is sought."""
GROUND_SHARE = 0.25
"""The ground is the lowest level surface with at least this share of the largest one's weight."""
AROUND = 1.0
"""How far from the subject's box its ground is sought, in units of the box."""
LIKENESS_DB = 10.0
"""So many dB make a picture ten times as good a start."""
MOST_POINTS = 20_000
"""Points of the subject that are looked for in each picture."""


@dataclass(frozen=True)
class Evidence:
    """Points [N] of the scene."""

    xyz: Array
    """f64[N, 3], world."""
    middle: Array
    """f64[N], weight in the middle of the pictures."""
    total: Array
    """f64[N], weight in the whole pictures."""
    up: Array
    """f64[N], |z| of the surface's normal; 1 where it is not known."""


def subject(evidence: Evidence) -> tuple[Array, Array]:
    """Lowest and highest corner [3] of the box of what the cameras look at."""
    corners = np.stack([weighted_percentiles(column, evidence.middle, BOX_PERCENT) for column in evidence.xyz.T], 1)
    middle, half = corners.mean(0), 0.5 * (corners[1] - corners[0])
    half = np.maximum(half, max(0.02 * float(half.max()), 1e-6))
    return middle - half, middle + half


def weighted_percentiles(values: Array, weight: Array, percent: tuple[float, ...]) -> Array:
    """Values [len(percent)] below which these shares of the weight lie."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weight[order])
    if len(values) == 0 or not share[-1] > 0:
        return np.zeros(len(percent)) if len(values) == 0 else np.percentile(values, percent)
    at = np.searchsorted(share, np.asarray(percent) / 100 * share[-1])
    return values[order[np.minimum(at, len(values) - 1)]]


def ground(evidence: Evidence, low: Array, high: Array, cameras: Cameras) -> float | None:
    """Height of the ground under the subject's box, or None where no level surface is seen below the cameras."""
    reach = AROUND * (high - low)[:2].max()
    inside = ((evidence.xyz[:, :2] > low[:2] - reach) & (evidence.xyz[:, :2] < high[:2] + reach)).all(1)
    top = float(np.percentile(cameras.centers[:, 2], 10))
    bottom = low[2] - 2 * (top - low[2]) - reach
    z = evidence.xyz[:, 2]
    rows = inside & (evidence.up >= LEVEL) & (z < top) & (z > bottom)
    z, weight = z[rows], evidence.total[rows]
    if not weight.sum() > 0:
        return None
    lowest, highest = weighted_percentiles(z, weight, (1.0, 99.0))
    if highest - lowest < 1e-9:
        return float(lowest)
    counts, edges = np.histogram(z, BINS, (lowest, highest), weights=weight)
    smooth = np.convolve(counts, [1.0, 1.0, 1.0], "same")
    first = int(np.argmax(smooth >= GROUND_SHARE * smooth.max()))
    while first + 1 < BINS and smooth[first + 1] > smooth[first]:
        first += 1
    near = np.abs(z - 0.5 * (edges[first] + edges[first + 1])) < 1.5 * (edges[1] - edges[0])
    return float(weighted_percentiles(z[near], weight[near], (50.0,))[0])


def whole(evidence: Evidence, low: Array, high: Array, cameras: Cameras) -> Array:
    """f64[V], share of the subject's weight that lies inside of each picture."""
    rows = ((evidence.xyz >= low) & (evidence.xyz <= high)).all(1)
    some = slice(None, None, max(1, int(rows.sum()) // MOST_POINTS))
    pixels, _ = cameras.project(evidence.xyz[rows][some])
    weight = evidence.total[rows][some]
    shown = ((pixels > 0) & (pixels < cameras.size[:, None])).all(2)  # behind a camera pixels are NaN
    return shown @ weight / max(float(weight.sum()), 1e-30)


def first_view(cameras: Cameras, low: Array, high: Array, inside: Array, likeness: Array) -> dict[str, Any]:
    """The manifest's "start": of the cameras whose picture shows the whole subject near its middle, the one drawn best; and when
    that was, seconds.

    f64[V] each: inside, see whole(); likeness, PSNR of the scene's picture to the photo, or anything else that is larger for
    better ones, dB.
    """
    centre = 0.5 * (low + high)
    pixels, z = cameras.project(centre[None])
    off = np.linalg.norm(pixels[:, 0] / cameras.size - 0.5, axis=1)
    away = np.where(z[:, 0] > 0, np.exp(-0.5 * (np.nan_to_num(off, nan=9.0) / 0.2) ** 2), 0.0)
    good = 10 ** ((likeness - likeness.max()) / LIKENESS_DB)
    row = int(np.argmax(inside**4 * (away + 1e-3) * good))
    pose, k, size = cameras.cam_from_world[row], cameras.K[row], cameras.size[row]
    eye, forward = cameras.centers[row], pose[2, :3]
    ahead = float(np.dot(centre - eye, forward))
    ahead = max(ahead, 0.2 * float(np.linalg.norm(centre - eye)), 1e-3)
    return {
        "cam_from_world": pose.ravel().tolist(),
        "vfov_deg": float(np.degrees(2 * np.arctan(0.5 * size[1] / k[1, 1]))),
        "target": (eye + ahead * forward).tolist(),
        "time": None if cameras.time is None else float(cameras.time[row]),
    }
