"""Metres from distances that somebody measured: two spots, each marked in two or more photos, and the distance
between them.

    "812,440@A.jpg 90,410@B.jpg | 300,222@A.jpg 640,231@B.jpg = 1.25"

Left of the bar stand the marks of the first spot, right of it those of the second, and after = the distance in metres
(or with a unit: 125 cm, 1250 mm, 4.1 ft). A mark is X,Y@PHOTO in pixels of the photo as an image viewer shows it,
upright and in its original size. Whole numbers name a pixel (0,0 is the top-left one) and mean its centre; decimals
are positions (0.5,0.5 is that pixel's centre).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from recon.cameras import Cameras
from recon.capture import Capture
from recon.errors import InputError
from recon.geometry import Array
from recon.sparse import SparseModel

EXAMPLE = '--known-distance "812,440@A.jpg 90,410@B.jpg | 300,222@A.jpg 640,231@B.jpg = 1.25"'
UNITS = {"": 1.0, "m": 1.0, "cm": 0.01, "mm": 0.001, "km": 1000.0, "ft": 0.3048, "in": 0.0254}
MARK_PIXELS = 1.0
"""How well somebody marks a spot, 1 sigma, pixels of the photo."""
TAPE = (0.002, 0.002)
"""How well somebody measures, 1 sigma: metres, and share of the length."""
MIN_ANGLE_DEG = 1.0
"""Rays that meet at less fix no spot."""
MAX_MISS = 0.01
"""Share of the photo's longer side by which a mark may miss the spot that all marks agree on."""
MAX_CONTRADICTION = 0.05
"""Share by which a distance may differ from what the others say, when the marks' precision does not explain it."""

_MARK = re.compile(r"(-?\d+(?:\.\d*)?)\s*,\s*(-?\d+(?:\.\d*)?)\s*@")
_LENGTH = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)$")


@dataclass(frozen=True)
class Mark:
    """A spot in a photo."""

    photo: str
    """As the user wrote it, then as in Capture.names."""
    xy: tuple[float, float]
    """Pixels of the upright original photo, centres at +0.5."""


@dataclass(frozen=True)
class KnownDistance:
    """One measured distance, as it was written."""

    text: str
    spots: tuple[tuple[Mark, ...], tuple[Mark, ...]]
    metres: float


@dataclass(frozen=True)
class KnownScale:
    """What all distances together say."""

    scale: float
    """Metres per unit of the model."""
    error: float
    """Its relative standard error, from the precision of marks and tape, widened when the distances disagree more."""
    evidence: tuple[dict, ...]
    """Per distance JSON values: text, metres, measured (with this scale), difference_percent, angle_deg,
    miss_pixels."""


def parse_distance(text: str) -> KnownDistance:
    """Read one distance. Raises InputError that names the part that is wrong and shows an example."""

    def wrong(why: str) -> InputError:
        return InputError(f'Cannot read the known distance "{text}": {why}. It should look like this: {EXAMPLE}')

    body, equals, length = text.rpartition("=")
    if not equals:
        raise wrong("there is no = with the distance after it")
    match = _LENGTH.fullmatch(length.strip().lower())
    if match is None or match[2] not in UNITS:
        raise wrong(f'"{length.strip()}" is no length in metres (units: {", ".join(u for u in UNITS if u)})')
    metres = float(match[1]) * UNITS[match[2]]
    if metres <= 0:
        raise wrong("the distance must be above 0")
    sides = body.split("|")
    if len(sides) != 2:
        raise wrong(f"expected one | between the two spots, found {len(sides) - 1}")
    spots = []
    for side, ordinal in zip(sides, ("first", "second"), strict=True):
        marks = _parse_marks(side)
        if marks is None:
            raise wrong(f'the {ordinal} spot "{side.strip()}" is no list of X,Y@PHOTO')
        if len(marks) < 2:
            raise wrong(f"the {ordinal} spot is marked in one photo, and two or more are needed")
        spots.append(marks)
    return KnownDistance(text, (spots[0], spots[1]), metres)


def _parse_marks(side: str) -> tuple[Mark, ...] | None:
    """Marks of one spot. A photo's name runs to the next mark, so that names may hold spaces."""
    found = list(_MARK.finditer(side))
    if not found or side[: found[0].start()].strip():
        return None
    ends = [m.start() for m in found[1:]] + [len(side)]
    marks = [
        Mark(side[m.end() : end].strip(), (_pixel(m[1]), _pixel(m[2]))) for m, end in zip(found, ends, strict=True)
    ]
    return tuple(marks) if all(mark.photo for mark in marks) else None


def _pixel(number: str) -> float:
    return float(number) if "." in number else float(number) + 0.5


def known_scale(
    texts: tuple[str, ...], capture: Capture, model: SparseModel, photos: SparseModel, left_out: dict[str, str]
) -> KnownScale:
    """Metres per unit of `model` from distances as written.

    `photos` has the cameras of the photos as they were taken (with their distortion), `left_out` the reason per photo
    that is not in the model. Each distance counts by the precision of its marks (MARK_PIXELS carried through the
    triangulation) and of the tape; the scale is the weighted mean of its logarithm. Raises InputError for what cannot
    be read, found, triangulated or reconciled.
    """
    measured, sigma, evidence = [], [], []
    distances = [parse_distance(text) for text in texts]
    for distance in distances:
        ends = [_spot(distance, i, capture, model, photos, left_out) for i in (0, 1)]
        between = ends[0].xyz - ends[1].xyz
        length = float(np.linalg.norm(between))
        mark_error = (
            float(np.sqrt(between @ (ends[0].covariance + ends[1].covariance) @ between)) / max(length, 1e-300) ** 2
        )
        if not mark_error < 0.5:
            raise InputError(
                f'The two spots of "{distance.text}" lie closer together than their marks can tell apart. '
                "Mark spots further apart."
            )
        measured.append(length)
        sigma.append(np.hypot(mark_error, TAPE[0] / distance.metres + TAPE[1]))
        evidence.append(
            {
                "text": distance.text,
                "metres": distance.metres,
                "angle_deg": round(min(e.angle_deg for e in ends), 3),
                "miss_pixels": round(max(e.miss for e in ends), 3),
                "error_percent": round(100 * float(sigma[-1]), 3),
            }
        )
    scale, error = _combine(distances, np.array(measured), np.array(sigma))
    for item, length in zip(evidence, measured, strict=True):
        item["measured"] = scale * length
        item["difference_percent"] = 100 * (scale * length / item["metres"] - 1)
    return KnownScale(scale, error, tuple(evidence))


def _combine(distances: list[KnownDistance], measured: Array, sigma: Array) -> tuple[float, float]:
    """The weighted mean scale and its relative standard error. Raises InputError where a distance contradicts the
    others."""
    logs = np.log(np.array([d.metres for d in distances]) / measured)
    weight = 1 / sigma**2
    mean = float(weight @ logs / weight.sum())
    error = float(1 / np.sqrt(weight.sum()))
    if len(logs) == 1:
        return float(np.exp(mean)), error
    off = np.empty(len(logs))
    allowed = np.empty(len(logs))
    for i in range(len(logs)):
        others = np.arange(len(logs)) != i
        rest = weight[others] @ logs[others] / weight[others].sum()
        off[i] = logs[i] - rest
        allowed[i] = max(np.log1p(MAX_CONTRADICTION), 3 * np.sqrt(sigma[i] ** 2 + 1 / weight[others].sum()))
    worst = int(np.argmax(np.abs(off) / allowed))
    if abs(off[worst]) > allowed[worst]:
        says = "the other says" if len(logs) == 2 else "the others say"
        raise InputError(
            f'The known distances contradict each other: "{distances[worst].text}" should be '
            f"{distances[worst].metres * np.exp(-off[worst]):.4g} m by what {says}, "
            f"{100 * abs(np.expm1(-off[worst])):.1f} % off (up to {100 * np.expm1(allowed[worst]):.0f} % is allowed here). "
            "Check its marks, its unit and its number, or leave it out."
        )
    chi2 = float(weight @ (logs - mean) ** 2) / (len(logs) - 1)
    return float(np.exp(mean)), error * max(1.0, np.sqrt(chi2))


@dataclass(frozen=True)
class Spot:
    """A triangulated mark."""

    xyz: Array
    """f64[3], model frame."""
    covariance: Array
    """f64[3, 3], of marks that miss by MARK_PIXELS, or by as much as these do if that is more."""
    angle_deg: float
    """The widest angle between two of its rays."""
    miss: float
    """The largest distance of a mark from the spot's projection, pixels of its photo."""


def _spot(
    distance: KnownDistance,
    which: int,
    capture: Capture,
    model: SparseModel,
    photos: SparseModel,
    left_out: dict[str, str],
) -> Spot:
    marks = distance.spots[which]
    where = f'the {("first", "second")[which]} spot of "{distance.text}"'
    rows, names, uv, focal = [], [], [], []
    for mark in marks:
        name = _find(mark.photo, capture.names)
        if name in names:
            raise InputError(f"In {name}, {where} is marked twice. Mark it once in each of two or more photos.")
        if name not in model.names:
            why = f" ({left_out[name]})" if name in left_out else ""
            raise InputError(
                f"{name} stayed out of the reconstruction{why}, so {where} cannot use it. Mark it in another photo."
            )
        size = capture.size[capture.names.index(name)].astype(np.float64)
        if not ((np.array(mark.xy) >= 0) & (np.array(mark.xy) <= size)).all():
            raise InputError(
                f"The mark {mark.xy[0]:g},{mark.xy[1]:g} lies outside of {name}, which is {size[0]:.0f} x {size[1]:.0f} "
                "pixels (upright, original size). Read the position in an image viewer at 100 %."
            )
        row = photos.names.index(name)
        factor = photos.cameras.size[row] / size
        rows.append(model.names.index(name))
        names.append(name)
        uv.append(photos.cameras.normalized(row, np.array(mark.xy) * factor))
        focal.append(photos.cameras.K[row, [0, 1], [0, 1]] / factor)
        if not np.isfinite(uv[-1]).all():
            raise InputError(
                f"The lens of {name} was not calibrated as far out as {mark.xy[0]:g},{mark.xy[1]:g}. Mark {where} nearer to the "
                "middle of a photo."
            )
    spot = triangulate(model.cameras[rows], np.array(uv), np.array(focal))
    if spot.angle_deg < MIN_ANGLE_DEG:
        raise InputError(
            f"The rays to {where} meet at {spot.angle_deg:.2f} degrees, too little to fix it (at least {MIN_ANGLE_DEG:g} is "
            f"needed). Mark it in photos taken further apart than {' and '.join(names)}."
        )
    longest = max(int(capture.size[capture.names.index(name)].max()) for name in names)
    if not spot.miss <= MAX_MISS * longest:
        raise InputError(
            f"The marks of {where} do not meet: they miss each other by {spot.miss:.0f} pixels. They must show the same "
            f"spot in {' and '.join(names)}; check the numbers (x first, then y, of the upright photo in its original size)."
        )
    return spot


def _find(photo: str, names: tuple[str, ...]) -> str:
    """The capture's name of a photo given by its name or by the last part of it. Raises InputError with the closest
    names."""
    if photo in names:
        return photo
    ends = [name for name in names if name.endswith("/" + photo)]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise InputError(f"Several photos are called {photo}: {', '.join(ends[:4])}. Give the name with its folder.")
    close = difflib.get_close_matches(photo, names, n=3, cutoff=0.5) or [names[0]]
    raise InputError(f"There is no photo {photo} in this capture. Did you mean {' or '.join(close)}?")


def triangulate(cameras: Cameras, uv: ArrayLike, focal: ArrayLike) -> Spot:
    """The point whose projections lie nearest to undistorted normalised coordinates uv [M, 2] in M cameras; focal [M,
    2] in pixels.

    Starts where the rays come closest to each other, and minimises the squared pixels by Gauss-Newton. A point behind
    a camera has an infinite miss.
    """
    uv, focal = np.asarray(uv, np.float64), np.asarray(focal, np.float64)
    rotation, shift = cameras.cam_from_world[:, :3, :3], cameras.cam_from_world[:, :3, 3]
    rays = np.einsum("nj,nji->ni", np.concatenate([uv, np.ones((len(uv), 1))], 1), rotation)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    crossed = np.linalg.norm(np.cross(rays[:, None], rays[None]), axis=-1)
    angle = float(np.degrees(np.arctan2(crossed, rays @ rays.T).max()))
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    xyz = np.linalg.lstsq(across.sum(0), np.einsum("nij,nj->i", across, cameras.centers), rcond=None)[0]
    for _ in range(10):
        jacobian, miss, z = _pixels(rotation, shift, xyz, uv, focal)
        xyz = xyz - np.linalg.lstsq(jacobian.reshape(-1, 3), miss.ravel(), rcond=None)[0]
    jacobian, miss, z = _pixels(rotation, shift, xyz, uv, focal)
    worst = float(np.linalg.norm(miss, axis=1).max()) if (z > 0).all() and np.isfinite(miss).all() else np.inf
    sigma = (
        max(MARK_PIXELS, float(np.sqrt((miss**2).sum() / max(1, miss.size - 3)))) if np.isfinite(worst) else MARK_PIXELS
    )
    j = jacobian.reshape(-1, 3)
    return Spot(xyz, np.asarray(sigma**2 * np.linalg.pinv(j.T @ j), np.float64), angle, worst)


def _pixels(rotation: Array, shift: Array, xyz: Array, uv: Array, focal: Array) -> tuple[Array, Array, Array]:
    """Derivative [M, 2, 3] and value [M, 2] of the miss in pixels, and z [M]."""
    p = rotation @ xyz + shift
    z = np.where(np.abs(p[:, 2]) < 1e-12, 1e-12, p[:, 2])
    at = p[:, :2] / z[:, None]
    jacobian = focal[:, :, None] * (rotation[:, :2] - at[:, :, None] * rotation[:, 2:]) / z[:, None, None]
    return jacobian, focal * (at - uv), p[:, 2]
