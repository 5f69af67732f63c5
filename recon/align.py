"""align(): from the frame that structure from motion chose to the world: up, metres, and a place on Earth where
something tells them.

Rules, in this order. What nothing tells stays as it is and is said in `World`.

- Given poses (COLMAP models, transforms.json) keep their frame, unless `--up estimate` or `--gps on` asks otherwise.
- Known distances set the scale: scale = "metric".
- GPS sets the rest, and the scale where no distance does, when enough fixes agree with the cameras' layout: the frame
  is then east, north, up (up = "gravity" when the positions alone fix it, "estimated" when it took the belief that
  photos are held level), with `origin` at the ground below the middle of the scene. Its height is on the photos' own
  scale, which devices take from sea level or from the ellipsoid, and often metres wrong. A local east-north-up frame
  has no EPSG code, so `crs` is None.
- Without GPS, up is estimated from how the photos were held, and made exact by a dominant plane below the cameras
  when it lies within the error of that. The origin is the ground below the middle of the scene; azimuth is what the
  smallest rotation to up leaves.
- Without distances and GPS the scale is that of structure from motion: scale = "arbitrary".

Ground: the dominant plane below the cameras; without one the height that 2 % of the points lie below. The scene's
middle: the point nearest to all optical axes, drawn to the points' median.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recon.capture import Capture
from recon.errors import InputError, WorkspaceError
from recon.files import write_json
from recon.geodesy import enu_from_ecef, geodetic_from_enu
from recon.geometry import Array, Sim3, World, rotation_between
from recon.georeference import GRAVITY_TILT_ERROR_DEG, MIN_FIXES, GpsFit, distinct, fit_gps, usable_fixes, why_not
from recon.known_distance import KnownScale, known_scale
from recon.reconstruction import SUFFIX, Reconstruction
from recon.sparse import SparseModel, read_colmap, write_colmap
from recon.upright import Ground, Upright, find_ground, scene_middle, up_from_cameras

if TYPE_CHECKING:
    from recon.job import Job

LEVEL_GROUND = 1 / np.radians(1.0) ** 2
"""1 / rad^2, how level ground is where up is known otherwise."""


@dataclass(frozen=True)
class AlignOptions:
    """Options of `recon align`."""

    known_distance: tuple[str, ...] = ()
    """A measured distance between two spots, each marked in two or more photos (pixels as an image viewer shows
    them), in metres: "812,440@A.jpg 90,410@B.jpg | 300,222@A.jpg 640,231@B.jpg = 1.25". Several may follow."""
    up: Literal["auto", "keep", "estimate"] = "auto"
    """estimate: turn the scene upright by how the photos were held and by the ground. keep: leave the frame as it is.
    auto: keep given poses, estimate otherwise."""
    gps: Literal["auto", "on", "off"] = "auto"
    """auto: use the photos' GPS when it is good enough, but not with given poses. on: the same, with given poses too,
    and stop when it is not good enough."""


@dataclass(frozen=True)
class _Found:
    """What the photos tell, before a frame is made of it."""

    known: KnownScale | None
    upright: Upright | None
    gps: GpsFit | None
    gps_names: tuple[str, ...]
    gps_reason: str | None
    """Why GPS is not used; None when it is."""
    scale_reason: str | None = None
    """A remark on GPS and known distances."""


def align(capture: Capture, reconstruction: Reconstruction, options: AlignOptions, job: Job) -> Reconstruction:
    """The reconstruction with its model in the world frame; writes align/sparse/ (COLMAP) and align/world.json (World
    and evidence).

    Raises InputError for a known distance that cannot be used, for options that exclude each other, and with
    `gps="on"` where GPS is not good enough.
    """
    model = reconstruction.model
    if options.up == "keep" and options.gps == "on":
        raise InputError("`--up keep` leaves the frame as it is and `--gps on` replaces it. Give one of the two.")
    keep = options.up == "keep" or (options.up == "auto" and capture.prior is not None and options.gps != "on")
    found = _find(capture, reconstruction, options, keep)
    ground = None
    if keep:
        scale = found.known.scale if found.known else 1.0
        world_from_sfm, world = Sim3(scale), replace(model.world, scale="metric" if found.known else model.world.scale)
    elif found.gps is not None and found.gps_reason is None:
        up = found.gps.enu_from_sfm.rotation[2]
        ground = find_ground(model, up, LEVEL_GROUND * (np.eye(3) - np.outer(up, up)))
        world_from_sfm, world = _geographic(model, found.gps, ground)
    else:
        if found.upright:
            ground = find_ground(model, found.upright.direction, found.upright.information)
        world_from_sfm, world = _upright(model, found, ground)
    aligned = model.transformed(world_from_sfm, world)
    evidence = _evidence(found, ground, keep, world_from_sfm.rotation[2])
    write_colmap(aligned, job.folder / "sparse", SUFFIX)
    write_json(job.folder / "world.json", aligned.world.to_json() | {"evidence": evidence})
    job.metrics.update(_metrics(aligned.world, evidence))
    _say(job, found, aligned.world, evidence)
    return replace(reconstruction, model=aligned)


def load_align(folder: Path) -> Reconstruction:
    """Read what align() wrote; the photos and masks are those of the sfm folder beside it. Raises WorkspaceError when
    damaged."""
    from recon.sfm import load_sfm

    model, before = read_aligned(folder), load_sfm(folder.parent / "sfm")
    if model.names != before.model.names:
        raise WorkspaceError(
            f"{folder} and the sfm folder beside it hold different photos. Run `recon align` with --redo."
        )
    return replace(before, model=replace(model, cameras=replace(model.cameras, time=before.model.cameras.time)))


def read_aligned(folder: Path) -> SparseModel:
    """The model in the world frame, from align/sparse/ and align/world.json."""
    try:
        data = json.loads((folder / "world.json").read_text(encoding="utf-8"))
        world = World.from_json(data)
        return read_colmap(folder / "sparse", SUFFIX, world)
    except (OSError, ValueError, KeyError, TypeError, InputError) as error:
        raise WorkspaceError(f"{folder} is damaged ({error}). Run `recon align` with --redo.") from error


def _find(capture: Capture, reconstruction: Reconstruction, options: AlignOptions, keep: bool) -> _Found:
    model = reconstruction.model
    known = None
    if options.known_distance:
        photos = _as_taken(reconstruction)
        known = known_scale(options.known_distance, capture, model, photos, dict(reconstruction.left_out))
    upright = None if keep else up_from_cameras(model.cameras)
    if keep:
        return _Found(
            known, None, None, (), "the frame is kept as it is" if capture.gps is not None else "no photo has GPS"
        )
    if options.gps == "off" or (options.gps == "auto" and capture.prior is not None):
        why = "it is switched off" if options.gps == "off" else "the poses were given, and `--gps on` was not"
        return _Found(known, upright, None, (), why)
    fit, names, reason = _fit_gps(capture, model, upright, known)
    if reason is not None and options.gps == "on":
        raise InputError(
            f"GPS was asked for and cannot be used: {reason}. Leave `--gps on` away; `--known-distance` gives metres."
        )
    return _Found(
        known, upright, fit, names, reason, _compare(capture, model, upright, known, fit) if fit and known else None
    )


def _fit_gps(
    capture: Capture, model: SparseModel, upright: Upright | None, known: KnownScale | None
) -> tuple[GpsFit | None, tuple[str, ...], str | None]:
    """The fit, the photos that it is made of, and why it is not used."""
    if capture.gps is None:
        return None, (), "no photo has GPS"
    row = {name: i for i, name in enumerate(model.names)}
    usable = usable_fixes(capture.gps)
    mine = [i for i, name in enumerate(capture.names) if usable[i] and name in row]
    names = tuple(capture.names[i] for i in mine)
    fixes = capture.gps[mine]
    if distinct(fixes) < MIN_FIXES:
        return (
            None,
            names,
            f"{len(names)} reconstructed photos have it, at {distinct(fixes)} positions; {MIN_FIXES} are needed",
        )
    centers = model.cameras.centers[[row[name] for name in names]]
    fit = fit_gps(centers, fixes, upright, known.scale if known else None)
    return fit, names, why_not(fit)


def _compare(
    capture: Capture, model: SparseModel, upright: Upright | None, known: KnownScale, used: GpsFit
) -> str | None:
    """A remark where the scale that GPS alone gives contradicts the known distances."""
    free, _, reason = _fit_gps(capture, model, upright, None)
    if free is None or reason is not None:
        return None
    off = free.enu_from_sfm.scale / used.enu_from_sfm.scale - 1
    if abs(off) < max(0.1, 4 * float(np.hypot(free.scale_error, known.error))):
        return None
    than = "larger" if off > 0 else "smaller"
    return (
        f"GPS makes the scene {100 * abs(off):.0f} % {than} than the known distances, which were followed: check them"
    )


def _as_taken(reconstruction: Reconstruction) -> SparseModel:
    """The cameras before undistortion, from distorted/ beside the undistorted images."""
    folder = reconstruction.images.parent / "distorted"
    try:
        return read_colmap(folder)
    except (OSError, InputError) as error:
        raise WorkspaceError(
            f"Known distances need the cameras as they were before undistortion: {error} Run `recon sfm` with --redo."
        ) from error


def _geographic(model: SparseModel, fit: GpsFit, ground: Ground | None) -> tuple[Sim3, World]:
    """East, north, up with its origin on the ground below the middle of the scene; the tangent plane moves there
    exactly."""
    first = fit.enu_from_sfm
    origin = geodetic_from_enu(_base(model, first.rotation[2], ground, first), fit.origin)
    new_from_first = enu_from_ecef(origin) @ enu_from_ecef(fit.origin).inverse()
    up = "gravity" if fit.gps_tilt_error_deg <= GRAVITY_TILT_ERROR_DEG else "estimated"
    place = (float(origin[0]), float(origin[1]), float(origin[2]))
    return new_from_first @ first, World("metric", up, place)


def _upright(model: SparseModel, found: _Found, ground: Ground | None) -> tuple[Sim3, World]:
    scale = found.known.scale if found.known else 1.0
    if ground is not None:
        up = ground.normal
    elif found.upright is not None:
        up = found.upright.direction
    else:
        up = np.array([0, 0, 1.0])
    turned = Sim3(scale, rotation_between(up, np.array([0, 0, 1.0])))
    base = _base(model, up, ground, turned)
    return replace(turned, translation=-base), World(
        "metric" if found.known else "arbitrary", "estimated" if found.upright else "unknown"
    )


def _base(model: SparseModel, up: Array, ground: Ground | None, turned: Sim3) -> Array:
    """The ground below the scene's middle [3], in the frame that `turned` makes, whose +Z is `up` in the model's
    frame."""
    middle = scene_middle(model)
    if ground is not None:
        height = (ground.offset - ground.normal @ middle) / (ground.normal @ up)
    elif len(model.xyz):
        height = float(np.quantile(model.xyz @ up, 0.02)) - middle @ up
    else:
        height = 0.0
    return turned.apply(middle + height * up)


def _evidence(found: _Found, ground: Ground | None, keep: bool, up: Array) -> dict[str, Any]:
    """What the World rests on, as JSON values; `up` [3] is its +Z in the frame that came in."""
    uses_gps = found.gps is not None and found.gps_reason is None
    unmeasured = "GPS" if uses_gps else "as given" if keep else "structure from motion"
    out: dict[str, Any] = {
        "frame": "kept as given" if keep else "east-north-up" if uses_gps else "estimated from the photos",
        "scale_from": "known distances" if found.known else unmeasured,
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
    out["gps"] = {"used": uses_gps, "why_not": found.gps_reason} | (
        _gps_evidence(found.gps, found.gps_names) if found.gps else {}
    )
    if found.scale_reason:
        out["remark"] = found.scale_reason
    return out


def _up_from(found: _Found, ground: Ground | None, keep: bool, uses_gps: bool) -> str:
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


def _metrics(world: World, evidence: dict[str, Any]) -> dict[str, Any]:
    """The numbers that `recon status` shows; the GPS residual per photo is its length in metres."""
    out: dict[str, Any] = {
        "scale": world.scale,
        "up": world.up,
        "origin": list(world.origin) if world.origin else None,
        "scale_from": evidence["scale_from"],
        "up_from": evidence["up_from"],
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
    if "known_distances" in evidence:
        out["known_distance_error_percent"] = evidence["known_distances"]["scale_error_percent"]
    return out


def _say(job: Job, found: _Found, world: World, evidence: dict[str, Any]) -> None:
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
        job.say(f"{text}; the scale is good to {gps['scale_error_percent']:.1f} %." if not found.known else f"{text}.")
        if gps["rms_height_m"] is None:
            job.warn(
                "No photo has an altitude: the height of the world's origin is not known, and is given as if it were 0."
            )
    elif found.gps is not None or found.gps_names:
        job.warn(f"GPS is not used: {found.gps_reason}.")
    if world.scale == "arbitrary":
        job.say("Give --known-distance for metres.")
    if found.upright and found.upright.held == "sideways":
        job.warn(
            "The photos seem to lie on their side; which side is up was guessed: photos look down more often than up."
        )
    if found.upright is None and world.up == "unknown" and evidence["frame"] != "kept as given":
        job.warn("The photos were held every which way: up is not known, and the frame's axes are as they came.")
    if found.scale_reason:
        job.warn(found.scale_reason[0].upper() + found.scale_reason[1:] + ".")
