"""Cameras that stand still: structure from motion sees one picture of each, the median over time, without what moves in it.

All photos of such a camera have one pose, so that many of them add nothing but what moved in the meantime, which would become
wrong points. What was found for its still picture holds for every photo of the camera. Photos of cameras that move go in as
they are: what moves in front of them is left to RANSAC, and to masks where the user has some.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.capture import Capture
from recon.errors import InputError
from recon.job import Job
from recon.motion import one_fixed, temporal_median
from recon.photos import read_mask, read_photo
from recon.sparse import Observations, SparseModel
from recon.wording import count

LOOKS = 15
"""Photos of a camera that its still picture is made of, spread over time."""
FOLDER = "stills"

Groups = tuple[NDArray[np.intp], ...]
"""For each photo of the still capture the rows of the capture that it stands for."""


def still_capture(capture: Capture, job: Job) -> tuple[Capture, Groups]:
    """The capture with one still photo in the place of all photos of each camera that stands still, in the job's scratch.

    Raises InputError when all photos are of one such camera, and nothing else tells how far away anything is.
    """
    station = capture.station
    assert station is not None
    if (station == 0).all() and not capture.depth:
        raise InputError(one_fixed(len(capture)))
    root = job.scratch / FOLDER
    entries: list[tuple[str, NDArray[np.intp], str | None]] = []
    stations = np.unique(station[station >= 0]).tolist()
    with job.task("finding what stands still", total=len(stations)) as task:
        for one in stations:
            rows = np.flatnonzero(station == one)
            mask = _write_still(capture, rows, root, f"still_{one:04d}")
            entries.append((f"still_{one:04d}.png", rows, mask))
            task.advance()
    for row in np.flatnonzero(station < 0).tolist():
        name = f"moving_{row:06d}{Path(capture.names[row]).suffix}"
        if not (root / name).is_file():
            shutil.copyfile(capture.photo(row), root / name)
        path = capture.mask_path(row)
        entries.append((name, np.array([row]), str(path) if path else None))
    entries.sort(key=lambda entry: entry[0])
    first = np.array([rows[0] for _, rows, _ in entries])
    job.say(
        f"{count(len(stations), 'camera')} that stand still: cameras and points are found from the median over time of each, "
        "without what moves."
    )
    reduced = replace(
        capture,
        root=root,
        names=tuple(name for name, _, _ in entries),
        size=capture.size[first],
        camera_id=capture.camera_id[first],
        focal_prior=capture.focal_prior[first],
        orientation=np.where(station[first] >= 0, 1, capture.orientation[first]).astype(np.uint8),
        exposure=capture.exposure[first],
        sha256=tuple(capture.sha256[i] for i in first),
        split=("train",) * len(first),
        mask=tuple(mask for _, _, mask in entries),
        depth=(),
        depth_confidence=(),
        time=None,
        gps=None if capture.gps is None else capture.gps[first],
        station=None,
        prior=None if capture.prior is None else _renamed(capture.prior, first, tuple(name for name, _, _ in entries)),
    )
    return reduced, tuple(rows for _, rows, _ in entries)


def for_all_photos(model: SparseModel, reduced: Capture, groups: Groups, capture: Capture) -> SparseModel:
    """The model of the still capture with a row for every photo of the capture, which sees what its still photo saw."""
    which = {name: i for i, name in enumerate(reduced.names)}
    pairs = sorted(
        (capture.names[row], i) for i, name in enumerate(model.names) for row in groups[which[name]].tolist()
    )
    source = np.array([i for _, i in pairs])
    seen = model.observations
    start = np.searchsorted(seen.camera, np.arange(len(model.names) + 1)).tolist()
    rows = [np.arange(start[i], start[i + 1]) for i in source.tolist()]
    camera = np.repeat(np.arange(len(pairs)), [len(r) for r in rows])
    taken = np.concatenate(rows) if rows else np.zeros(0, int)
    cameras: Cameras = model.cameras[source]
    return replace(
        model,
        names=tuple(name for name, _ in pairs),
        cameras=cameras,
        observations=Observations.of(camera, seen.point[taken], seen.xy[taken]),
    )


def left_out_of(
    left_out: tuple[tuple[str, str], ...], reduced: Capture, groups: Groups, capture: Capture
) -> tuple[tuple[str, str], ...]:
    """(name, reason) of all photos that stood behind the still photos left out."""
    which = {name: i for i, name in enumerate(reduced.names)}
    return tuple(
        sorted((capture.names[row], reason) for name, reason in left_out for row in groups[which[name]].tolist())
    )


def _renamed(prior: SparseModel, rows: NDArray, names: tuple[str, ...]) -> SparseModel:
    return replace(prior.select(rows, min_views=0), names=names)


def _write_still(capture: Capture, rows: NDArray[np.intp], root: Path, stem: str) -> str:
    """ROOT/STEM.png and its mask ROOT/STEM.mask.png (white: nothing moved there); the mask's path from the root."""
    import cv2

    picture, mask = root / f"{stem}.png", root / f"{stem}.mask.png"
    if mask.is_file():  # written last
        return mask.name
    root.mkdir(parents=True, exist_ok=True)
    picks = rows[np.unique(np.linspace(0, len(rows) - 1, min(LOOKS, len(rows))).round().astype(int))]
    photos = [read_photo(capture.photo(int(row)), int(capture.orientation[row]))[..., :3] for row in picks]
    median, moving = temporal_median(photos)
    use, path = ~moving, capture.mask_path(int(rows[0]))
    if path:
        size = (int(capture.size[rows[0], 0]), int(capture.size[rows[0], 1]))
        use &= read_mask(path, size)
    for target, image in ((picture, median[..., ::-1]), (mask, use.astype(np.uint8) * 255)):
        part = target.with_name(f"part_{target.name}")
        if not cv2.imwrite(str(part), np.ascontiguousarray(image)):
            raise OSError(f"{part} cannot be written")
        part.replace(target)
    return mask.name
