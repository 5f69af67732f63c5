"""ingest(): photos, a video or a data set -> Capture. Every photo is decoded once; what cannot be used is named and left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from recon.calibration import calibrated
from recon.capture import (
    MIN_PHOTOS,
    Capture,
    load_capture,
    load_place,
    load_sources,
    make_split,
    moving_split,
    save_capture,
    save_place,
)
from recon.depth_images import DepthCamera, inspect_depth
from recon.errors import InputError, MissingPart
from recon.given import Beside, colmap_photos, recorded_photos, transforms_photos, with_prior
from recon.job import Job
from recon.photos import Photo, inspect_photos, mask_problem, workers
from recon.rgbd import read_recording
from recon.sources import (
    MASK_FOLDERS,
    Found,
    Source,
    beside,
    find_depth,
    find_files,
    folders_beside,
    hash_source,
    look,
    photo_root,
    several,
)
from recon.sparse import Observations, SparseModel
from recon.standing import with_station
from recon.takes import film_of_capture
from recon.timing import camera_ids, numbered, timed, times
from recon.video import pick_frames
from recon.videos import camera_names, take
from recon.wording import count, shown, some

FRAMES = "frames"
"""Folder of a video's frames, in the stage's own."""
NAMED = 10
"""So many photos are named one by one in the terminal; stage.json names all."""


@dataclass(frozen=True)
class IngestOptions:
    """What ingest() may be told."""

    holdout: Literal["every8", "none"] = "every8"
    """Which photos are kept from training to measure it: every 8th of 16 photos or more, or none. A data set's own
    split wins over every8.
    """
    frames: int = 120
    """At most so many frames are picked from a video, or from a depth camera's recording; a Polycam recording is chosen photos
    already, and all of them are read."""
    poses: Literal["keep", "ignore"] = "keep"
    """Poses that a data set brings (COLMAP, transforms.json, depth cameras): keep them as they are, or ignore them and find
    them anew."""
    fps: float = 0.0
    """Frames a second of numbered photos in one folder that tell no times (0: 30), which only a scene that moves asks for."""
    sync: str = "none"
    """Common clock of several videos: none (they began together), audio (their sound tells), or how many frames later than
    the clock each began, as in 0,3,-2."""

    def __post_init__(self) -> None:
        if self.frames < MIN_PHOTOS:
            raise InputError(f"--frames {self.frames} is too few: at least {MIN_PHOTOS} are needed.")
        if not 0 <= self.fps < 100_000:
            raise InputError(f"--fps {self.fps:g} is no number of frames a second; expected one above 0, such as 30.")


def fingerprint(source: Path | Sequence[Path], options: IngestOptions) -> str:
    """A hash of the input's file names and contents; where the input lies does not count."""
    return hash_source(look(source, options.poses == "keep"))


def follow(source: Path | Sequence[Path], options: IngestOptions, folder: Path) -> Path | None:
    """Let a finished ingest in `folder` read its photos from where `source` has them now; that place, when it is a new one.

    The source must have the fingerprint of what was read: the photos are then the same.
    """
    found = look(source, options.poses == "keep")
    paths = several(source)
    place = Path(FRAMES) if found.kind in ("video", "videos") else photo_root(found), paths[0]
    if load_place(folder) == place and load_sources(folder) == tuple(paths):
        return None
    save_place(folder, *place, more=paths[1:])
    return place[1]


def ingest(source: Path | Sequence[Path], options: IngestOptions, job: Job) -> Capture:
    """Look at the input, check every photo, choose the split, and write capture.json, capture.npz (and prior/, frames/).

    `source`: a folder of photos, a video, a COLMAP model with its photos, transforms.json or its folder, or a depth camera's
    recording (rgbd.py). Raises InputError
    when fewer than three photos can be used, naming what was wrong with the others.
    """
    found = look(source, options.poses == "keep")
    if found.note:
        job.warn(found.note)
    capture = READERS[found.kind](found, options, job)
    if options.holdout != "none" and not capture.test.any():
        job.say(f"The error of the result will not be measured: {capture.protocol}.")
    job.metrics |= {
        "photos": len(capture),
        "test": int(capture.test.sum()),
        "cameras": len(set(capture.camera_id.tolist())),
        "masks": sum(m is not None for m in capture.mask),
        "depth": sum(d is not None for d in capture.depth),
        "gps": 0 if capture.gps is None else int(np.isfinite(capture.gps[:, 0]).sum()),
    }
    job.metrics = film_of_capture(capture, numbered=bool(options.fps)) | job.metrics
    paths = several(source)
    save_capture(capture, job.folder, paths[0])
    save_place(job.folder, capture.root, paths[0], more=paths[1:])
    return load_capture(job.folder)


def _read_folder(source: Source, options: IngestOptions, job: Job) -> Capture:
    found = find_files(source.root)
    _remark(found, job)
    photos = usable(inspect_photos(found.photos, job), source.root, job)
    capture = capture_of(photos, source.root, options, job, among=found.depth)
    taken = any(not np.isnan(photo.exif.time) for photo in photos)
    return with_station(capture if taken and not options.fps else numbered(capture, options.fps, job))


def _read_recording(source: Source, options: IngestOptions, job: Job) -> Capture:
    recording = read_recording(source.root).thinned(options.frames)
    photos, model, files = recorded_photos(recording, options.poses == "keep", job)
    capture = capture_of(usable(photos, recording.root, job), recording.root, options, job, files=files)
    if model is not None:
        capture = with_prior(capture, model, None, options.holdout, job)
    return replace(capture, kind=recording.kind)


def _read_colmap(source: Source, options: IngestOptions, job: Job) -> Capture:
    photos, model = colmap_photos(source.root, _model(source), job)
    capture = capture_of(usable(photos, source.root, job), source.root, options, job)
    return replace(with_prior(capture, model, None, options.holdout, job), kind="colmap")


def _read_transforms(source: Source, options: IngestOptions, job: Job) -> Capture:
    root, photos, model, files, split = transforms_photos(_model(source), job)
    capture = capture_of(usable(photos, root, job, copies=bool(files.time)), root, options, job, files=files)
    capture = replace(with_prior(capture, model, split, options.holdout, job), kind="transforms")
    return timed(capture, files.time, split is not None, options.holdout) if files.time else capture


def _read_video(source: Source, options: IngestOptions, job: Job) -> Capture:
    folder = job.folder / FRAMES
    frames = pick_frames(_model(source), folder, options.frames, job)
    photos = usable(inspect_photos([(frame.name, folder / frame.name) for frame in frames], job), _model(source), job)
    time = {frame.name: frame.time for frame in frames}
    capture = with_station(capture_of(photos, folder, options, job))
    return replace(capture, root=Path(FRAMES), time=times([time[photo.name] for photo in photos]), kind="video")


def _read_videos(source: Source, options: IngestOptions, job: Job) -> Capture:
    folder = job.folder / FRAMES
    shots, watched = take(source.videos, options.sync, options.frames, folder, job)
    photos = usable(
        inspect_photos([(shot.name, folder / shot.name) for shot in shots], job), source.root, job, copies=True
    )
    by_name = {shot.name: shot for shot in shots}
    chosen = [by_name[photo.name] for photo in photos]
    capture = capture_of(photos, folder, options, job)
    video, moment = (np.array([getattr(shot, what) for shot in chosen], np.int32) for what in ("video", "moment"))
    camera = camera_ids(video.tolist())
    still = np.array([one.still for one in watched], bool)
    station = np.where(still[video], camera, -1).astype(np.int32)
    if source.model and options.poses == "keep":
        names = camera_names(source.videos)
        given, world = calibrated(source.model, names, [one.size for one in watched], [one.bars for one in watched])
        if moved := [names[row] for row in np.flatnonzero(~still)]:
            job.warn(f"{some(moved)} does not seem to stand still, but has one pose in {source.model.name}.")
        model = SparseModel(
            capture.names, given[video], np.zeros((0, 3)), np.zeros((0, 3), np.uint8), np.zeros(0, np.float32),
            Observations.none(), world,
        )  # fmt: skip
        capture, station = with_prior(capture, model, None, options.holdout, job), camera
    split, protocol = moving_split(capture.names, camera, moment, options.holdout)
    return replace(
        capture, root=Path(FRAMES), kind="videos", time=np.array([shot.time for shot in chosen]), camera_id=camera,
        station=station if (station >= 0).any() else None, split=split, protocol=protocol,
    )  # fmt: skip


def _model(source: Source) -> Path:
    assert source.model is not None
    return source.model


READERS: dict[str, Callable[[Source, IngestOptions, Job], Capture]] = {
    "photos": _read_folder,
    "colmap": _read_colmap,
    "transforms": _read_transforms,
    "video": _read_video,
    "videos": _read_videos,
    "recording": _read_recording,
}


def _remark(found: Found, job: Job) -> None:
    if found.raw:
        job.warn(
            f"{count(len(found.raw), 'camera raw file')} passed over ({some(found.raw)}): recon reads none; "
            "export them as JPEG or TIFF to use them."
        )
    if found.videos:
        job.warn(
            f"{count(len(found.videos), 'video')} beside the photos passed over ({some(n for n, _ in found.videos)})."
        )
    for folder in found.closed:
        job.warn(f"The folder {folder} cannot be opened; its photos are not used.")


def usable(photos: Sequence[Photo], root: Path, job: Job, *, copies: bool = False) -> list[Photo]:
    """The photos that can be used, in code-point order; the others are named in the job. `copies`: equal ones, too.

    Raises InputError when fewer than MIN_PHOTOS are left, MissingPart when that is for want of an optional package.
    """
    reasons, first, good = dict[str, str](), dict[str, str](), list[Photo]()
    for photo in sorted(photos, key=lambda p: p.name):
        reason = photo.reason
        if not reason and not copies and photo.sha256 in first:
            reason = f"it is a copy of {first[photo.sha256]}"
        if reason:
            reasons[photo.name] = reason
            continue
        first[photo.sha256] = photo.name
        good.append(photo)
    _name(reasons, job)
    if len(good) < MIN_PHOTOS:
        _too_few(good, photos, reasons, root)
    damaged = [photo.name for photo in good if photo.exif.damaged]
    if damaged:
        job.warn(f"The EXIF of {count(len(damaged), 'photo')} is damaged and not used ({some(damaged)}).")
    return good


def _name(reasons: dict[str, str], job: Job) -> None:
    """Name the photos that are left out."""
    names = sorted(reasons)
    for name in names[:NAMED]:
        job.warn(f"{shown(name)} skipped: {reasons[name]}.")
    if len(names) > NAMED:
        job.warn(f"{len(names) - NAMED} more photos skipped; ingest/stage.json names them all.")
    job.metrics["skipped"] = {shown(name): reasons[name] for name in names}


def _too_few(good: list[Photo], photos: Sequence[Photo], reasons: dict[str, str], root: Path) -> None:
    names = sorted(reasons)
    listed = "".join(f"\n  {shown(name)}: {reasons[name]}" for name in names[:NAMED])
    listed += f"\n  and {len(names) - NAMED} more" if len(names) > NAMED else ""
    found = f"{count(len(good), 'usable photo')} in {root}; at least {MIN_PHOTOS} are needed."
    if any(photo.missing_part for photo in photos):
        raise MissingPart(f'{found} HEIC photos need an optional part: pip install "recon-scene[heic]".{listed}')
    advice = (
        "Add photos of the scene, taken from different places."
        if photos
        else "Expected JPEG, PNG, TIFF, WebP or HEIC files, there or in folders below."
    )
    raise InputError(f"{found} {advice}" + (f" Skipped were:{listed}" if listed else ""))


def capture_of(
    photos: Sequence[Photo],
    root: Path,
    options: IngestOptions,
    job: Job,
    *,
    files: Beside | None = None,
    among: Mapping[str, str] | None = None,
) -> Capture:
    """The capture of usable photos that come without poses. `among`: their depth images that lie among the photos."""
    names, files = tuple(photo.name for photo in photos), files or Beside()
    told = [not np.isnan(photo.exif.time) for photo in photos]
    depth, camera = find_depths(photos, root, job, files, among or {})
    trust = tuple(_trust(files.confidence.get(n), root) if d else None for n, d in zip(names, depth, strict=False))
    split, protocol = make_split(names, options.holdout)
    capture = Capture(
        root=root,
        names=names,
        size=np.array([photo.size for photo in photos], np.int32),
        camera_id=camera_ids([(photo.exif.camera, photo.size) for photo in photos]),
        focal_prior=np.array([photo.exif.focal_px for photo in photos]),
        orientation=np.array([photo.exif.orientation for photo in photos], np.uint8),
        exposure=np.array([photo.exif.exposure for photo in photos]),
        sha256=tuple(photo.sha256 for photo in photos),
        split=split,
        protocol=protocol,
        time=times([photo.exif.time for photo in photos]),
        untimed=tuple(name for name, has in zip(names, told, strict=True) if not has) if any(told) else (),
        mask=find_masks(photos, root, job, files.masks),
        depth=depth,
        depth_confidence=trust if any(trust) else (),
        depth_camera=camera,
        gps=fixes(photos),
    )
    _say_beside(capture, job)
    return capture


def fixes(photos: Sequence[Photo]) -> np.ndarray | None:
    """Capture.gps."""
    if all(photo.exif.gps is None for photo in photos):
        return None
    return np.array([photo.exif.gps or (np.nan,) * 3 for photo in photos], np.float64)


def find_masks(
    photos: Sequence[Photo], root: Path, job: Job, given: dict[str, Path] | None = None
) -> tuple[str | None, ...]:
    """Capture.mask. A mask that cannot be read or is of another shape than its photo is named and not used."""
    masks: list[str | None] = []
    paths = [(given or {}).get(photo.name) or beside(root, photo.name, MASK_FOLDERS) for photo in photos]
    if not any(paths) and photos:
        for folder in folders_beside(root, MASK_FOLDERS):
            if not os.access(folder, os.R_OK | os.X_OK):
                job.warn(f"The folder {folder} cannot be opened; its masks are not used.")
            elif any(folder.iterdir()):
                job.warn(
                    f"The masks in {folder} are not used: none is named after a photo ({shown(photos[0].name)}.png, for "
                    "example)."
                )
    for photo, path in zip(photos, paths, strict=True):
        problem = mask_problem(path, photo.size) if path else ""
        if problem:
            job.warn(f"The mask {path} of {shown(photo.name)} is not used: {problem}.")
        masks.append(_from_root(root, path) if path and not problem else None)
    return tuple(masks) if any(masks) else ()


def find_depths(
    photos: Sequence[Photo], root: Path, job: Job, files: Beside, among: Mapping[str, str]
) -> tuple[tuple[str | None, ...], DepthCamera]:
    """Capture.depth, and the camera with the images' usual size. Every image is decoded; those that cannot be used are named."""
    paths = [files.depth.get(photo.name) or find_depth(root, photo.name, among) for photo in photos]
    with ThreadPoolExecutor(workers()) as pool:
        trust = [files.confidence.get(photo.name) for photo in photos]
        look_at = lambda path, sure: inspect_depth(path, files.camera, sure) if path else None  # noqa: E731
        seen = list(pool.map(look_at, paths, trust))
    sizes = Counter(image.size for image in seen if image and not image.reason)
    camera = files.camera
    if camera.K and camera.size is None and sizes:
        camera = replace(camera, size=sizes.most_common(1)[0][0])
    found, problems = list[str | None](), dict[str, list[str]]()
    for photo, path, image in zip(photos, paths, seen, strict=True):
        problem = image.problem(photo.size, photo.exif.orientation >= 5, camera) if image else ""
        if problem:
            problems.setdefault(problem, []).append(str(path))
        found.append(_from_root(root, path) if path and not problem else None)
    for problem, named in problems.items():
        job.warn(f"{count(len(named), 'depth image')} not used ({some(named)}): {problem}.")
    return (tuple(found), camera) if any(found) else ((), DepthCamera())


def _trust(path: Path | None, root: Path) -> str | None:
    """Capture.depth_confidence of one photo."""
    return _from_root(root, path) if path else None


def _say_beside(capture: Capture, job: Job) -> None:
    """Say in one line which masks and depth images were found, and where."""
    parts = []
    for kind, paths in (("masks", capture.mask), ("depth images", capture.depth)):
        found = [path for path in paths if path]
        folders = sorted({os.path.normpath(capture.root / Path(path).parent) for path in found})
        parts += [f"{kind} of {len(found)} of {count(len(capture), 'photo')} in {some(folders)}"] if found else []
    if parts:
        job.say(f"Found {' and '.join(parts)}.")


def _from_root(root: Path, path: Path) -> str:
    """POSIX, from the root where it lies below or beside it, so that both may be moved together; absolute otherwise."""
    return Path(os.path.relpath(path, root) if path.is_relative_to(root.parent) else path).as_posix()
