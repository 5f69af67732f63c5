"""align(): from the frame that structure from motion chose to the world: up, metres, and a place on Earth where
something tells them.

Rules, in this order. What nothing tells stays as it is and is said in `World`.

- Given poses (COLMAP models, transforms.json) keep their frame, unless `--up estimate` or `--gps on` asks otherwise.
- Known distances set the scale: scale = "metric". Cameras that came in metres keep theirs otherwise, and depth images are
  only held against them. Without either, depth images set it where they fit the cameras, but not where given cameras of no
  known scale and depth images are in one unit already: nothing says that it is the metre.
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
from typing import TYPE_CHECKING, Literal

import numpy as np

from recon.align_evidence import Found, evidence_of, focal_ratio, metrics_of, tell
from recon.capture import Capture
from recon.errors import InputError, WorkspaceError
from recon.files import write_json
from recon.geodesy import enu_from_ecef, geodetic_from_enu
from recon.geometry import Array, Sim3, World, rotation_between
from recon.georeference import GRAVITY_TILT_ERROR_DEG, MIN_FIXES, GpsFit, distinct, fit_gps, usable_fixes, why_not
from recon.known_distance import known_scale, parse_distance
from recon.reconstruction import SUFFIX, Reconstruction, as_taken
from recon.sparse import SparseModel, read_colmap, write_colmap
from recon.upright import Ground, Upright, find_ground, scene_middle, up_from_cameras

if TYPE_CHECKING:
    from recon.depth.sensor_scale import SensorScale
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

    def __post_init__(self) -> None:
        for text in self.known_distance:
            parse_distance(text)
        if self.up == "keep" and self.gps == "on":
            raise InputError("`--up keep` leaves the frame as it is and `--gps on` replaces it. Give one of the two.")


def align(capture: Capture, reconstruction: Reconstruction, options: AlignOptions, job: Job) -> Reconstruction:
    """The reconstruction with its model in the world frame; writes align/sparse/ (COLMAP) and align/world.json (World
    and evidence).

    Raises InputError for a known distance that cannot be used, and with `gps="on"` where GPS is not good enough;
    AlignOptions itself for one that cannot be read, and for options that exclude each other.
    """
    model = reconstruction.model
    keep = options.up == "keep" or (options.up == "auto" and capture.prior is not None and options.gps != "on")
    found = _find(capture, reconstruction, options, keep)
    ground = None
    if keep:
        world_from_sfm = Sim3(found.metres or 1.0)
        world = replace(model.world, scale="metric" if found.metres else "arbitrary")
    elif found.gps is not None and found.gps_reason is None:
        up = found.gps.enu_from_sfm.rotation[2]
        ground = find_ground(model, up, LEVEL_GROUND * (np.eye(3) - np.outer(up, up)))
        world_from_sfm, world = _geographic(model, found.gps, ground)
    else:
        if found.upright:
            ground = find_ground(model, found.upright.direction, found.upright.information)
        world_from_sfm, world = _upright(model, found, ground)
    aligned = model.transformed(world_from_sfm, world)
    evidence = evidence_of(found, ground, keep, world_from_sfm.rotation[2])
    evidence["focal_length_over_exif"] = None if keep else focal_ratio(capture, model)
    write_colmap(aligned, job.folder / "sparse", SUFFIX)
    write_json(job.folder / "world.json", aligned.world.to_json() | {"evidence": evidence})
    job.metrics.update(metrics_of(aligned.world, evidence))
    tell(job, found, aligned.world, evidence)
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


def _find(capture: Capture, reconstruction: Reconstruction, options: AlignOptions, keep: bool) -> Found:
    model = reconstruction.model
    known, sensor = None, _sensor_scale(capture, reconstruction)
    given = model.world.scale == "metric"
    if options.known_distance:
        photos = as_taken(reconstruction)
        known = known_scale(options.known_distance, capture, model, photos, dict(reconstruction.left_out))
    upright = None if keep else up_from_cameras(model.cameras)
    unit = capture.prior is not None and not given
    found = Found(known, upright, None, (), None, None, sensor, given_metres=given, given_unit=unit)
    if keep:
        return replace(
            found, gps_reason="the frame is kept as it is" if capture.gps is not None else "no photo has GPS"
        )
    if options.gps == "off" or (options.gps == "auto" and capture.prior is not None):
        why = "it is switched off" if options.gps == "off" else "the poses were given, and `--gps on` was not"
        return replace(found, gps_reason=why)
    fit, names, reason = _fit_gps(capture, model, upright, found.metres)
    if reason is not None and options.gps == "on":
        raise InputError(
            f"GPS was asked for and cannot be used: {reason}. Leave `--gps on` away; `--known-distance` gives metres."
        )
    remark = _compare(capture, model, found, fit) if fit and (known or given) else None
    return replace(found, gps=fit, gps_names=names, gps_reason=reason, scale_reason=remark)


def _sensor_scale(capture: Capture, reconstruction: Reconstruction) -> SensorScale | None:
    """What the depth images of the training photos say of the scale; None without any."""
    from recon.depth.sensor import Sensor
    from recon.depth.sensor_scale import sensor_scale

    sensor = Sensor.of(capture, reconstruction)
    if sensor is None:
        return None
    test = capture.test_names
    training = [i for i, name in enumerate(reconstruction.model.names) if name not in test]
    return sensor_scale(sensor, reconstruction.model.select(training, min_views=2))


def _fit_gps(
    capture: Capture, model: SparseModel, upright: Upright | None, metres: float | None
) -> tuple[GpsFit | None, tuple[str, ...], str | None]:
    """The fit, the photos that it is made of, and why it is not used. `metres` per unit of the model where they are known."""
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
    fit = fit_gps(centers, fixes, upright, metres)
    return fit, names, why_not(fit)


def _compare(capture: Capture, model: SparseModel, found: Found, used: GpsFit) -> str | None:
    """A remark where the scale that GPS alone gives contradicts the known distances, or the metres that were given."""
    free, _, reason = _fit_gps(capture, model, found.upright, None)
    if free is None or reason is not None:
        return None
    off = free.enu_from_sfm.scale / used.enu_from_sfm.scale - 1
    if abs(off) < max(0.1, 4 * float(np.hypot(free.scale_error, found.known.error if found.known else 0))):
        return None
    than = "larger" if off > 0 else "smaller"
    what = "known distances" if found.known else "given cameras"
    return f"GPS makes the scene {100 * abs(off):.0f} % {than} than the {what}, which were followed: check them"


def _geographic(model: SparseModel, fit: GpsFit, ground: Ground | None) -> tuple[Sim3, World]:
    """East, north, up with its origin on the ground below the middle of the scene; the tangent plane moves there
    exactly."""
    first = fit.enu_from_sfm
    origin = geodetic_from_enu(_base(model, first.rotation[2], ground, first), fit.origin)
    new_from_first = enu_from_ecef(origin) @ enu_from_ecef(fit.origin).inverse()
    up = "gravity" if fit.gps_tilt_error_deg <= GRAVITY_TILT_ERROR_DEG else "estimated"
    place = (float(origin[0]), float(origin[1]), float(origin[2]))
    return new_from_first @ first, World("metric", up, place)


def _upright(model: SparseModel, found: Found, ground: Ground | None) -> tuple[Sim3, World]:
    scale = found.metres or 1.0
    if ground is not None:
        up = ground.normal
    elif found.upright is not None:
        up = found.upright.direction
    else:
        up = np.array([0, 0, 1.0])
    turned = Sim3(scale, rotation_between(up, np.array([0, 0, 1.0])))
    base = _base(model, up, ground, turned)
    return replace(turned, translation=-base), World(
        "metric" if found.metres else "arbitrary", "estimated" if found.upright else "unknown"
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
