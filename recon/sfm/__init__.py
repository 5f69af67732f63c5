"""sfm(): photos -> cameras, sparse points and undistorted photos (structure from motion).

    features -> pairs -> matches -> cameras and points -> last adjustment -> undistorted photos

What it writes: images/NAME.png and masks/NAME.png (undistorted photos, and the masks of those that need one), sparse/ (COLMAP,
pinhole cameras of these, names NAME.png), distorted/ (COLMAP, the cameras of the photos as taken, names as they are),
sfm.json (what was left out and why). The frame is the one that structure from motion happened to choose.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from recon.capture import Capture
from recon.errors import WorkspaceError
from recon.files import write_json
from recon.geometry import World
from recon.job import Job
from recon.parallax import turned_on_the_spot
from recon.reconstruction import SUFFIX, Reconstruction
from recon.sparse import SparseModel, read_colmap, write_colmap


@dataclass(frozen=True)
class SfmOptions:
    """What sfm() may be told; every default chooses by what came in."""

    matcher: Literal["auto", "exhaustive", "sequential", "spatial", "retrieval"] = "auto"
    """Which photos are matched with which: all, neighbours in a video (and loops), neighbours by GPS, or those that look
    alike."""
    features: int = 0
    """At most so many features a photo; 0 chooses, and takes more where photos stay out."""
    mapper: Literal["auto", "incremental", "global"] = "auto"
    """How cameras are placed: one after the other, or all at once. auto: one after the other, and all at once where that
    leaves photos out."""
    image_long_side: int = 2048
    """Undistorted photos are reduced to this longer side; 0 keeps the photos' size."""
    deterministic: bool = False
    """The same bits on every run, by adjusting cameras in one thread; prints what that costs."""
    sfm_seed: int = 0
    """Seed of everything random."""


def sfm(capture: Capture, options: SfmOptions, job: Job) -> Reconstruction:
    """Find the cameras and points of a capture, or points for given cameras, and undistort its photos once.

    Raises SfmError when fewer than three photos can be placed, saying what was found and what to do.
    """
    from recon.sfm.colours import mean_colours
    from recon.sfm.given_poses import with_given_poses
    from recon.sfm.ladder import reconstruct
    from recon.sfm.stills import for_all_photos, left_out_of, still_capture
    from recon.sfm.undistort import output_cameras, pinhole_of, undistort_photos, undistorted_model

    place = with_given_poses if capture.prior is not None else reconstruct
    if capture.station is None:
        model, left_out = place(capture, options, job)
    else:
        stills, groups = still_capture(capture, job)
        model, left_out = place(stills, options, job)
        left_out = left_out_of(left_out, stills, groups, capture)
        model = for_all_photos(model, stills, groups, capture)
    model = replace(model, cameras=replace(model.cameras, time=_times(capture, model)))
    pinhole = pinhole_of(model.cameras)
    output = output_cameras(pinhole, options.image_long_side)
    straight = undistorted_model(model, output)
    colours = undistort_photos(capture, model, straight, pinhole, job.folder, job)
    if capture.prior is None or not len(capture.prior.xyz):
        rgb = mean_colours(straight, capture, colours)
        model, straight = replace(model, rgb=rgb), replace(straight, rgb=rgb)
    write_colmap(model, job.folder / "distorted")
    write_colmap(straight, job.folder / "sparse", SUFFIX)
    write_json(
        job.folder / "sfm.json",
        {
            "left_out": [{"name": name, "reason": reason} for name, reason in left_out],
            "time": None if straight.cameras.time is None else straight.cameras.time.tolist(),
            "world": straight.world.to_json(),
        },
    )
    _report(capture, straight, left_out, job)
    return load_sfm(job.folder)


def load_sfm(folder: Path) -> Reconstruction:
    """Read what sfm() wrote. Raises WorkspaceError when it is damaged."""
    try:
        head = json.loads((folder / "sfm.json").read_text(encoding="utf-8"))
        world = World.from_json(head["world"])
        left_out = tuple((entry["name"], entry["reason"]) for entry in head["left_out"])
        model = read_colmap(folder / "sparse", SUFFIX, world)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(f"{folder} is damaged ({error}). Run `recon sfm` with --redo.") from error
    if head["time"] is not None:
        model = replace(model, cameras=replace(model.cameras, time=np.array(head["time"], np.float64)))
    masks = folder / "masks"
    return Reconstruction(model, folder / "images", masks if masks.is_dir() else None, left_out)


def _times(capture: Capture, model: SparseModel) -> np.ndarray | None:
    if capture.time is None:
        return None
    time = dict(zip(capture.names, capture.time.tolist(), strict=True))
    return np.array([time[name] for name in model.names], np.float64)


def _report(capture: Capture, model: SparseModel, left_out: tuple[tuple[str, str], ...], job: Job) -> None:
    seen = model.observations
    job.metrics |= {
        "registered": len(model.names),
        "photos": len(capture),
        "points": len(model.xyz),
        "observations": len(seen.camera),
        "left_out": dict(left_out),
    }
    if len(model.xyz):
        job.metrics["error_px"] = round(float(model.error.mean()), 4)
    job.say(f"{len(model.names)} of {len(capture)} photos placed, {len(model.xyz)} points.")
    if turned_on_the_spot(model):
        job.warn(
            "The photos look as if they were taken from one place: a turn alone explains what they share. Their places and all "
            "distances in the scene are not to be trusted. Move between the photos; turning on the spot shows no depth."
        )
