"""Data sets that bring their poses: COLMAP models, transforms.json, depth cameras' recordings -> Capture with a prior.

Given poses are kept as they are. They belong to the photos as these are stored: the programs that made them look at no EXIF
orientation, so it is only applied where the camera's size says that it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from recon.capture import Capture
from recon.depth_images import DepthCamera
from recon.errors import InputError
from recon.geometry import World
from recon.job import Job
from recon.photos import Photo, inspect_photos
from recon.ply_points import read_ply_points
from recon.rgbd import Recording
from recon.rgbd import cameras_of as recorded_cameras
from recon.sources import find_files
from recon.sparse import Observations, SparseModel, read_colmap
from recon.transforms_json import cameras_of, read_transforms
from recon.wording import count, some

SAME_SHAPE = 0.01
"""Relative difference of aspect ratios up to which a photo counts as a resized copy of what its camera saw."""


@dataclass(frozen=True)
class Beside:
    """Files that a data set names for its photos."""

    masks: dict[str, Path] = field(default_factory=dict)
    """Photo name -> file, here and below."""
    depth: dict[str, Path] = field(default_factory=dict)
    confidence: dict[str, Path] = field(default_factory=dict)
    camera: DepthCamera = field(default_factory=DepthCamera)
    """Of the depth images."""
    time: dict[str, float] = field(default_factory=dict)
    """Photo name -> seconds; all photos or none."""


def recorded_photos(recording: Recording, keep_poses: bool, job: Job) -> tuple[list[Photo], SparseModel | None, Beside]:
    """Photos (some with a reason) of a depth camera's recording, their model, and their depth images.

    Without poses, or when they are not to be kept, there is no model. With poses, photos that have none are left out.
    """
    for note in recording.notes:
        job.say(note)
    note_missing(recording.missing, len(recording.frames) + len(recording.missing), recording.root, job)
    photos = inspect_photos([(frame.name, recording.root / frame.name) for frame in recording.frames], job)
    depth = {frame.name: frame.depth for frame in recording.frames if frame.depth}
    trust = {frame.name: frame.confidence for frame in recording.frames if frame.confidence}
    beside = Beside({}, depth, trust, recording.camera)
    rows = [i for i, frame in enumerate(recording.frames) if frame.cam_from_world is not None and frame.lens]
    if not rows or not keep_poses:
        return photos, None, beside
    cameras = recorded_cameras([recording.frames[i] for i in rows], [photos[i].stored_size for i in rows])
    size = {recording.frames[i].name: s for i, s in zip(rows, cameras.size.tolist(), strict=True)}
    reasons = {frame.name: frame.reason or "it has no pose" for frame in recording.frames}
    photos = [
        fit(photo, size[photo.name])
        if photo.name in size
        else replace(photo, reason=photo.reason or reasons[photo.name])
        for photo in photos
    ]
    model = SparseModel(
        tuple(recording.frames[i].name for i in rows), cameras, np.zeros((0, 3)), np.zeros((0, 3), np.uint8),
        np.zeros(0, np.float32), Observations.none(), recording.world,
    )  # fmt: skip
    return photos, model, beside


def transforms_photos(path: Path, job: Job) -> tuple[Path, list[Photo], SparseModel, Beside, Split]:
    """Root, photos (some with a reason), their model, masks and depth images, and the data set's own split of a transforms.json.

    The model has a row for every photo, in the same order; its points come from the PLY that the file names, if any.
    """
    data = read_transforms(path)
    listed = len(data.frames) + len(data.missing) + len(data.skipped) + data.ignored
    note_missing(data.missing, listed, path, job)
    if data.ignored:
        job.say(f"{count(data.ignored, 'frame')} that {path.name} keeps for validation not used.")
    photos = inspect_photos([(frame.name, frame.path) for frame in data.frames], job)
    cameras, reasons = cameras_of(data.frames, [photo.stored_size for photo in photos])
    photos = [
        replace(photo, reason=photo.reason or reasons.get(photo.name, "")) if photo.name in reasons else photo
        for photo in photos
    ]
    photos = [fit(photo, size) for photo, size in zip(photos, cameras.size.tolist(), strict=True)]
    photos += [Photo(name, data.root / name, reason=reason) for name, reason in data.skipped.items()]
    xyz, rgb = np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    if data.points:
        try:
            xyz, rgb = read_ply_points(data.points)
        except InputError as error:
            job.warn(f"{error} The data set's points are not used.")
    names = tuple(frame.name for frame in data.frames)
    error = np.zeros(len(xyz), np.float32)
    model = SparseModel(names, cameras, xyz, rgb, error, Observations.none(), World(up="estimated"))
    masks = {frame.name: frame.mask for frame in data.frames if frame.mask}
    depth = {frame.name: frame.depth for frame in data.frames if frame.depth}
    times = {frame.name: frame.time for frame in data.frames if frame.time is not None}
    untimed = [frame.name for frame in data.frames if frame.time is None]
    if times and untimed:
        raise InputError(
            f"{count(len(untimed), 'frame')} of {len(data.frames)} in {path} without a time ({some(untimed, 8)}), the others "
            "have one. Give every frame a time, or none."
        )
    beside = Beside(masks, depth, {}, DepthCamera(unit=data.depth_unit), times)
    return data.root, photos, model, beside, (data.split, data.protocol) if data.split else None


Split = tuple[dict[str, str], str] | None
"""Photo name -> "train" or "test", and where that comes from."""


def colmap_photos(root: Path, folder: Path, job: Job) -> tuple[list[Photo], SparseModel]:
    """Photos (some with a reason) and the model of a COLMAP folder; photos that the model does not have are counted."""
    model = read_colmap(folder)
    here = [name for name in model.names if _inside(name) and (root / name).is_file()]
    missing = sorted(set(model.names) - set(here))
    note_missing(missing, len(model.names), folder, job)
    strangers = [name for name, _ in find_files(root).photos if name not in set(model.names)]
    if strangers:
        job.warn(f"{count(len(strangers), 'photo')} in {root} without a pose in {folder} not used ({some(strangers)}).")
    photos = inspect_photos([(name, root / name) for name in here], job)
    size = dict(zip(model.names, model.cameras.size.tolist(), strict=True))
    return [fit(photo, size[photo.name]) for photo in photos], model


def note_missing(missing: Sequence[str], listed: int, where: Path, job: Job) -> None:
    """Say and count the photos that a data set lists and does not have."""
    job.metrics["missing"] = len(missing)
    if missing:
        job.warn(
            f"{len(missing)} of the {listed} photos listed in {where} do not exist and are skipped ({some(missing)})."
        )


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def fit(photo: Photo, camera_size: Sequence[int]) -> Photo:
    """The photo with the orientation that its given camera (width, height) was made with, or with the reason why none fits."""
    if photo.reason:
        return photo
    as_stored = replace(photo, exif=replace(photo.exif, orientation=1))
    for candidate in (as_stored, photo):
        if tuple(camera_size) == candidate.size:
            return candidate
    for candidate in (as_stored, photo):
        ratio = camera_size[0] * candidate.size[1] / (camera_size[1] * candidate.size[0])
        if abs(ratio - 1) < SAME_SHAPE:
            return candidate
    found, expected = (f"{w}x{h}" for w, h in (photo.stored_size, camera_size))
    return replace(photo, reason=f"it is {found} pixels, its camera {expected}")


def with_prior(capture: Capture, model: SparseModel, split: Split, holdout: str, job: Job) -> Capture:
    """The capture with the poses, intrinsics and split that its data set gives."""
    row = {name: i for i, name in enumerate(model.names)}
    prior = model.select([row[name] for name in capture.names], min_views=0)
    scale = capture.size / prior.cameras.size
    resized = [name for name, s in zip(capture.names, scale, strict=True) if not np.allclose(s, 1, rtol=1e-9)]
    if resized:
        job.warn(
            f"{count(len(resized), 'photo')} of another size than the camera ({some(resized)}): the cameras are scaled to fit."
        )
        seen = prior.observations
        seen = replace(seen, xy=(seen.xy * scale[seen.camera]).astype(np.float32))
        prior = replace(prior, cameras=prior.cameras.resized(capture.size), observations=seen)
    cameras = prior.cameras
    own = [cameras.K.reshape(len(prior.names), 9), cameras.size]
    own += [] if cameras.distortion is None else [cameras.distortion]
    _, first, camera_id = np.unique(np.concatenate(own, 1), axis=0, return_index=True, return_inverse=True)
    by_appearance = np.argsort(np.argsort(first))
    if split and holdout != "none":
        kinds, protocol = tuple(split[0][name] for name in capture.names), split[1]
        if "train" not in kinds:
            raise InputError(
                f"All {len(kinds)} usable photos are test photos in {protocol}. Use --poses ignore or --holdout none."
            )
        capture = replace(capture, split=kinds, protocol=protocol)
    return replace(
        capture,
        camera_id=by_appearance[camera_id.reshape(-1)].astype(np.int32),
        focal_prior=cameras.K[:, 0, 0].copy(),
        prior=prior,
    )
