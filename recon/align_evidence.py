"""What align() found out, and how it is told: as JSON in world.json, as metrics, and in the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.capture import Capture
from recon.geometry import Array, World
from recon.georeference import GRAVITY_TILT_ERROR_DEG, GpsFit
from recon.known_distance import KnownScale
from recon.sparse import SparseModel
from recon.upright import Ground, Upright

if TYPE_CHECKING:
    from recon.depth.sensor_scale import SensorScale
    from recon.job import Job

SCALE_DOUBT = 0.05
"""Relative standard error of the scale from known distances from which on it is said."""
FOCAL_DOUBT = 1.15
"""Factor between the found and the EXIF focal length from which on it is said: EXIF is good to a few percent."""

ONE_UNIT = "they and the given poses are in one unit, which need not be the metre"


@dataclass(frozen=True)
class Found:
    """What the photos tell, before a frame is made of it."""

    known: KnownScale | None
    upright: Upright | None
    gps: GpsFit | None
    gps_names: tuple[str, ...]
    gps_reason: str | None
    """Why GPS is not used; None when it is."""
    scale_reason: str | None = None
    """A remark on GPS and known distances."""
    sensor: SensorScale | None = None
    """What the depth images say, where there are any."""
    given_metres: bool = False
    """Whether the cameras came in metres."""
    given_unit: bool = False
    """Whether the cameras came in a unit that is not known."""

    @property
    def metres(self) -> float | None:
        """Metres per unit of the model: of known distances, or as the cameras came, or of depth images that fit."""
        if self.known:
            return self.known.scale
        if self.given_metres:
            return 1.0
        return self.sensor.metres if self.sensor and not self.sensor.reason and not self.one_unit else None

    @property
    def one_unit(self) -> bool:
        """Whether depth images and given cameras share a unit, which proves nothing of metres: both may be of any scale."""
        from recon.depth.sensor_scale import METRIC_DOUBT

        if self.sensor is None or self.sensor.reason or not self.given_unit:
            return False
        return bool(abs(np.log(self.sensor.metres)) <= np.log1p(METRIC_DOUBT))


def evidence_of(found: Found, ground: Ground | None, keep: bool, up: Array) -> dict[str, Any]:
    """What the World rests on, as JSON values; `up` [3] is its +Z in the frame that came in."""
    uses_gps = found.gps is not None and found.gps_reason is None
    unmeasured = "GPS" if uses_gps else "as given" if keep or found.given_unit else "structure from motion"
    out: dict[str, Any] = {
        "frame": "kept as given" if keep else "east-north-up" if uses_gps else "estimated from the photos",
        "scale_from": _scale_from(found, unmeasured),
        "up_from": _up_from(found, ground, keep, uses_gps),
        "ground": None if keep else "plane" if ground else "2 % of the points lie below",
    }
    if ground:
        out["ground_plane"] = {"share_of_points": round(ground.support, 4), "points": ground.points}
    if found.upright:
        said = found.upright
        out["cameras"] = {
            "held": said.held,
            "agree": int(said.agree.sum()),
            "of": len(said.agree),
            "roll_spread_deg": round(said.spread_deg, 3),
            "error_deg": round(said.error_deg, 3),
            "differ_from_up_deg": round(float(np.degrees(np.arccos(np.clip(up @ said.direction, -1, 1)))), 3),
        }
    if found.known:
        out["known_distances"] = {
            "scale_error_percent": round(100 * found.known.error, 3),
            "each": list(found.known.evidence),
        }
    if found.sensor:
        out["depth_images"] = {"used": out["scale_from"] == "depth images"} | found.sensor.to_json()
        if found.one_unit and not found.known:
            out["depth_images"]["why_not"] = ONE_UNIT
    out["gps"] = {"used": uses_gps, "why_not": found.gps_reason} | (
        _gps_evidence(found.gps, found.gps_names) if found.gps else {}
    )
    if found.scale_reason:
        out["remark"] = found.scale_reason
    return out


def _scale_from(found: Found, unmeasured: str) -> str:
    if found.known:
        return "known distances"
    if found.given_metres:
        return "as given"
    return "depth images" if found.metres else unmeasured


def focal_ratio(capture: Capture, model: SparseModel) -> float | None:
    """The found focal length over that of EXIF, in parts of the photo's width; the median photo; None where no EXIF has it."""
    row = {name: i for i, name in enumerate(capture.names)}
    rows = [row[name] for name in model.names]
    with np.errstate(invalid="ignore"):
        ratio = (model.cameras.K[:, 0, 0] / model.cameras.size[:, 0]) / (
            capture.focal_prior[rows] / capture.size[rows, 0]
        )
    known = ratio[np.isfinite(ratio)]
    return round(float(np.median(known)), 4) if len(known) else None


def _up_from(found: Found, ground: Ground | None, keep: bool, uses_gps: bool) -> str:
    if keep:
        return "as given"
    if uses_gps and found.gps is not None:
        alone = found.gps.gps_tilt_error_deg <= GRAVITY_TILT_ERROR_DEG
        return "GPS and how the photos were held" if not alone else "GPS"
    if found.upright is None:
        return "nothing: the photos were held every which way"
    return "how the photos were held" + (" and the ground plane" if ground else "")


def _gps_evidence(fit: GpsFit, names: tuple[str, ...]) -> dict[str, Any]:
    across = np.hypot(fit.residual[:, 0], fit.residual[:, 1])
    used = fit.used
    return {
        "fixes": len(used),
        "agree": int(used.sum()),
        "rms_across_m": round(float(np.sqrt((across[used] ** 2).mean())), 3) if used.any() else None,
        "rms_height_m": _rms(fit.residual[used, 2]),
        "noise_across_m": round(fit.sigma[0], 3),
        "noise_height_m": round(fit.sigma[1], 3),
        "scale_error_percent": round(100 * fit.scale_error, 3),
        "heading_error_deg": round(fit.heading_error_deg, 3),
        "tilt_error_deg": round(fit.tilt_error_deg, 3),
        "tilt_error_of_positions_alone_deg": round(fit.gps_tilt_error_deg, 3),
        "residuals_m": [
            {"name": name, "east": _mm(e), "north": _mm(n), "up": _mm(u), "used": bool(ok)}
            for name, (e, n, u), ok in zip(names, fit.residual, used, strict=True)
        ],
    }


def _mm(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


def _rms(values: Array) -> float | None:
    values = values[np.isfinite(values)]
    return round(float(np.sqrt((values**2).mean())), 3) if len(values) else None


def metrics_of(world: World, evidence: dict[str, Any]) -> dict[str, Any]:
    """The numbers that `recon status` shows; the GPS residual per photo is its length in metres."""
    out: dict[str, Any] = {
        "scale": world.scale,
        "up": world.up,
        "origin": list(world.origin) if world.origin else None,
        "scale_from": evidence["scale_from"],
        "up_from": evidence["up_from"],
        "focal_length_over_exif": evidence["focal_length_over_exif"],
    }
    if "residuals_m" in evidence["gps"]:
        gps = evidence["gps"]
        out |= {
            f"gps_{key}": gps[key] for key in ("fixes", "agree", "rms_across_m", "rms_height_m", "scale_error_percent")
        }
        out["gps_residual_m"] = {
            r["name"]: round(float(np.sqrt(r["east"] ** 2 + r["north"] ** 2 + (r["up"] or 0) ** 2)), 3)
            for r in gps["residuals_m"]
        }
    if "depth_images" in evidence:
        out |= {f"depth_images_{key}": evidence["depth_images"][key] for key in ("metres_per_unit", "spread_percent")}
    if "known_distances" in evidence:
        out["known_distance_error_percent"] = evidence["known_distances"]["scale_error_percent"]
    return out


def tell(job: Job, found: Found, world: World, evidence: dict[str, Any]) -> None:
    """One line on what is known and what is not; warnings for what looks wrong."""
    scale = f"metres (from {evidence['scale_from']})" if world.scale == "metric" else "scale not known"
    up = {"unknown": "up not known", "estimated": "up estimated", "gravity": "up by gravity"}[world.up]
    place = (
        f"origin {world.origin[0]:.6f}, {world.origin[1]:.6f}, {world.origin[2]:.1f} m"
        if world.origin
        else "no place on Earth"
    )
    job.say(f"World: {scale}; {up} ({evidence['up_from']}); {place}.")
    gps = evidence["gps"]
    if gps["used"]:
        text = f"GPS: {gps['agree']} of {gps['fixes']} fixes agree within {gps['rms_across_m']:.2f} m"
        job.say(f"{text}; the scale is good to {gps['scale_error_percent']:.1f} %." if not found.metres else f"{text}.")
        if gps["rms_height_m"] is None:
            job.warn(
                "No photo has an altitude: the height of the world's origin is not known, and is given as if it were 0."
            )
    elif found.gps is not None or found.gps_names:
        job.warn(f"GPS is not used: {found.gps_reason}.")
    if evidence["frame"] == "kept as given" and world.up == "unknown":
        job.say("Up is taken as given with the cameras; `recon align --redo --up estimate` finds it from the photos.")
    if world.scale == "arbitrary":
        job.say("For metres: `recon align --redo --known-distance ...`, two points whose distance you know.")
    if found.known and found.known.error > SCALE_DOUBT:
        job.warn(
            f"The known distances give the scale to {100 * found.known.error:.1f} % only. Check the marks, or mark points that "
            "lie further apart, in more photos."
        )
    if found.upright and found.upright.held == "sideways":
        job.warn(
            "The photos seem to lie on their side; which side is up was guessed: photos look down more often than up."
        )
    if found.upright is None and world.up == "unknown" and evidence["frame"] != "kept as given":
        job.warn("The photos were held every which way: up is not known, and the frame's axes are as they came.")
    ratio = evidence["focal_length_over_exif"]
    if (
        ratio
        and world.scale == "metric"
        and max(ratio, 1 / ratio) > FOCAL_DOUBT
        and evidence["frame"] != "kept as given"
    ):
        job.warn(
            f"Structure from motion found {ratio:.2f} times the focal length that the photos' EXIF says. Where all photos look "
            "straight at flat ground, heights may be wrong by that factor while distances across are right."
        )
    if found.sensor:
        _tell_sensor(job, found, found.sensor)
    if found.scale_reason:
        job.warn(found.scale_reason[0].upper() + found.scale_reason[1:] + ".")


def _tell_sensor(job: Job, found: Found, sensor: SensorScale) -> None:
    """What the depth images say of the scale, and whether that contradicts what else is known."""
    from recon.depth.sensor_scale import METRIC_DOUBT, left_out_words

    if sensor.left_out:
        job.warn(left_out_words(sensor))
    if sensor.reason:
        job.warn(f"The depth images tell no scale: {sensor.reason}")
        return
    than = found.known.scale if found.known else 1.0 if found.given_metres else None
    where = f"in {sensor.observations} observations of {sensor.photos} photos, which spread by {sensor.spread:.1%}"
    if found.one_unit and not found.known:
        job.say(f"Depth images: {sensor.metres:.4f} times the lengths of the given cameras, {where}: {ONE_UNIT}.")
        return
    if than is None:
        job.say(f"Depth images: {sensor.metres:.4g} m per unit of structure from motion, {where}.")
        return
    off, what = sensor.metres / than, "known distances" if found.known else "given cameras"
    if abs(np.log(off)) > np.log1p(METRIC_DOUBT):
        job.warn(
            f"The depth images say {off:.3f} times the lengths that the {what} say ({where}); these were followed. Check the "
            "units of both."
        )
    else:
        job.say(f"Depth images: {off:.4f} times the lengths of the {what}, {where}.")
