"""From what a network says of a photo to inverse depth in the scene's unit: scale and shift, robustly, and a seam that meets.

Notation: w = 1 / z. A network's value v is brought to y = a v + b, where y is w (kind "inverse") or z (the others), and b = 0
for kind "depth". The scheme of aligning by scale and shift is that of Ranftl et al., MiDaS, TPAMI 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.depth.mono_networks import Kind
from recon.geometry import Array

LEAST_POINTS = 10
"""Fewer points with known depth fix no scale."""
MOST_ERROR = 0.25
"""A fit whose median relative error is larger says nothing of the photo."""
GOOD_ERROR, WORTH = 0.05, 0.7
"""A fit with a larger error than this must beat one depth for the whole photo: at most so many times that one's error."""
DRAWS, MOST_DRAWN = 300, 3000
"""Pairs of points that are tried, and points that they are tried on."""
TRUNCATED = 0.15
"""Relative errors above this count alike when pairs are compared."""
HUBER, OUTLIER = 1.345, 4.0
"""Times the spread of the errors: where Huber's weight begins to fall, and where a point is left out."""
FLOOR = 0.2
"""Relative errors are taken of at least this times the median: the far end alone must not decide."""
BEYOND = 5.0
"""A guess so many times farther than the farthest known point, or nearer than the nearest, is none."""
MEETING = (1 / 12, 1 / 50, 1 / 200)
"""Reach of the correction at a seam, from wide to narrow, as a share of the longer side."""
MOST_CORRECTION = 0.3
"""Where guess and measurement differ by more than this (in log depth), one of them is wrong: nothing is learnt there."""


class Unfit(Exception):
    """Why a photo's map cannot be brought to scale, in words."""


@dataclass(frozen=True)
class Fit:
    """Scale and shift of one photo's map."""

    scale: float
    shift: float
    inverse: bool
    """Whether scale * v + shift is w, or z."""
    error: float
    """Median of |z - z_true| / z_true at the points."""

    def w(self, value: NDArray) -> NDArray[np.float64]:
        """Inverse depth; NaN where the fit says that nothing is in front of the camera."""
        y = self.scale * np.asarray(value, np.float64) + self.shift
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(y > 0, y if self.inverse else 1 / y, np.nan)


def fit(value: Array, w: Array, weight: Array, kind: Kind, seed: int) -> Fit:
    """Scale and shift from values [M] of a network at points of inverse depth [M], each with its weight [M] > 0.

    Pairs of points are drawn and compared by their truncated errors (RANSAC with MSAC's score); around the best one Huber's
    loss is minimised by reweighted least squares, without outliers. Raises Unfit with the reason when there are too few
    points, when the values do not vary or vary the wrong way round, and when the fit is bad or says no more than one depth would.
    """
    use = np.isfinite(value) & np.isfinite(w) & (w > 0)
    v, w, weight = value[use], w[use], weight[use] / max(weight[use].sum(), 1e-300)
    if len(v) < LEAST_POINTS:
        raise Unfit(f"{len(v)} points of known depth, {LEAST_POINTS} needed")
    low, middle, high = np.quantile(v, [0.05, 0.5, 0.95])
    if kind != "depth" and not high - low > 1e-5 * max(abs(low), abs(high)):
        raise Unfit("the network says the same everywhere")
    y = w if kind == "inverse" else 1 / w
    size = np.maximum(y, FLOOR * np.median(y))
    shifted = kind != "depth"
    scale, shift = _refined(v, y, size, weight, *_drawn(v, y, size, weight, shifted, seed), shifted)
    if not (np.isfinite([scale, shift]).all() and scale * max(high - low, abs(middle)) > 1e-6 * np.median(y)):
        raise Unfit("the network takes near for far")
    found = Fit(scale, shift, kind == "inverse", 0.0).w(v)
    error = float(np.median(np.where(np.isfinite(found), np.abs(w / found - 1), 1.0)))
    flat = float(np.median(np.abs(w / np.median(w) - 1)))
    if error > MOST_ERROR or error > max(GOOD_ERROR, WORTH * flat):
        raise Unfit(f"the network is {error:.0%} off at the points, one depth for all of them {flat:.0%}")
    return Fit(scale, shift, kind == "inverse", error)


def _drawn(v: Array, y: Array, size: Array, weight: Array, shifted: bool, seed: int) -> tuple[float, float]:
    """The scale and shift of the pair of points that explains the others best."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(v), min(len(v), MOST_DRAWN), replace=False)
    v, y, size, weight = v[rows], y[rows], size[rows], weight[rows]
    a, b = rng.choice(len(v), (2, DRAWS), p=weight / weight.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = (y[a] - y[b]) / (v[a] - v[b]) if shifted else y[a] / v[a]
    good = np.isfinite(scale)
    if not good.any():
        raise Unfit("the network says the same at all points")
    scale = scale[good]
    shift = y[a][good] - scale * v[a][good] if shifted else np.zeros(len(scale))
    off = np.abs(scale[:, None] * v + shift[:, None] - y) / size
    best = int(np.argmin(np.minimum(off, TRUNCATED) @ weight))
    return float(scale[best]), float(shift[best])


def _refined(
    v: Array, y: Array, size: Array, weight: Array, scale: float, shift: float, shifted: bool
) -> tuple[float, float]:
    """Reweighted least squares with Huber's weights from a first scale and shift."""
    columns = np.stack([v, np.ones(len(v))], -1)[:, : 2 if shifted else 1]
    for _ in range(20):
        off = (scale * v + shift - y) / size
        inner = np.abs(off[np.abs(off) < TRUNCATED])
        spread = 1.4826 * float(np.median(inner)) if len(inner) else TRUNCATED
        spread = max(spread, 1e-9)
        far = np.abs(off) / spread
        root = np.sqrt(weight * np.where(far < OUTLIER, np.minimum(1, HUBER / np.maximum(far, 1e-12)), 0)) / size
        found, *_ = np.linalg.lstsq(columns * root[:, None], y * root, rcond=None)
        before = scale, shift
        scale, shift = float(found[0]), float(found[1]) if shifted else 0.0
        if np.allclose(before, (scale, shift), rtol=1e-9, atol=0):
            break
    return scale, shift


def plausible(w: NDArray, known: Array) -> NDArray[np.float64]:
    """w [H, W] with NaN where it is far outside of what is known of the photo, inverse depths [M]: the sky, mostly."""
    least, most = np.quantile(known, [0.01, 0.99])
    with np.errstate(invalid="ignore"):
        return np.where((w > least / BEYOND) & (w < most * BEYOND), w, np.nan)


def met(guess: NDArray, measured: NDArray, known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A guess [H, W] of inverse depth times a smooth factor, so that it meets what is measured where `known` [H, W].

    The factor is the mean ratio of the measured pixels around, near ones first, and fades to 1 far from all of them.
    """
    import cv2

    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.log(measured / guess)
        use = known & (np.abs(ratio) < MOST_CORRECTION)  # false where either is NaN
    ratio, share = np.where(use, ratio, 0).astype(np.float32), use.astype(np.float32)
    factor = np.zeros(guess.shape, np.float32)
    for reach in MEETING:
        sigma = max(reach * max(guess.shape), 0.5)
        near, total = (
            cv2.GaussianBlur(a, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) for a in (share, ratio * share)
        )
        trust = near / (near + 0.05)
        factor = trust * total / np.maximum(near, 1e-9) + (1 - trust) * factor
    return guess * np.exp(factor)


def planes_of(w: NDArray) -> NDArray[np.float32]:
    """Planes f32[3, H, W] (w, and its slopes along x and y per pixel) of inverse depth [H, W].

    Of the differences to the two neighbours the smaller counts: at an edge of depth a pixel belongs to one side.
    """
    return np.stack([w, _slope(w, 1), _slope(w, 0)]).astype(np.float32)


def _slope(w: NDArray, axis: int) -> NDArray:
    step = np.diff(w, axis=axis)
    none = np.full_like(w[:, :1] if axis else w[:1], np.nan)
    ahead, behind = np.concatenate([step, none], axis), np.concatenate([none, step], axis)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.where(np.isnan(behind) | (np.abs(ahead) < np.abs(behind)), ahead, behind))
