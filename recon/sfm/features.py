"""Features: SIFT of every photo, written to a COLMAP database in which photos are called by their row in the capture.

OpenCV's SIFT rather than pycolmap's: three to four times less CPU time for the same accuracy of the cameras. Keypoints are
x, y, scale, orientation (radians); descriptors are RootSIFT (Arandjelovic and Zisserman, Three things everyone should know to
improve object retrieval, CVPR 2012) times 512, as COLMAP stores them.

The database works in pixels of the upright photo reduced to WORK_SIDE (centres at +0.5), so that every threshold in pixels
means the same for a small and a large photo; the result is scaled to the photo's own pixels at the end.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recon.cameras import fit_size
from recon.capture import Capture
from recon.errors import SfmError
from recon.job import Job
from recon.photos import BIG_PIXELS, read_mask, read_photo, workers
from recon.sfm.worker import quiet

if TYPE_CHECKING:
    import pycolmap

Keypoints = NDArray[np.float32]
"""f32[F, 4]: x, y, scale, orientation."""
Descriptors = NDArray[np.uint8]
"""u8[F, 128]."""

FOCAL_GUESS = 1.2
"""Focal length over the longer side where nothing tells it (62 degrees across it ... 45): COLMAP's own guess."""
ALPHA_USED = 128
"""Features whose pixel is less opaque than this are dropped."""
WORK_SIDE = 1200
"""The longer side, in pixels, that thresholds and keypoints refer to; smaller photos are not enlarged."""
PER_CELL = 8
"""Features per cell, on average, of the grid that spreads them over the photo."""


@dataclass(frozen=True)
class FeatureSpec:
    """How many features are taken, and where from."""

    count: int
    """At most so many of each photo."""
    long_side: int
    """Photos are reduced to this for the detection."""
    contrast: float = 0.02
    """SIFT's contrast threshold (Lowe 2004: 0.03 per octave of 3 layers is 0.09 here; COLMAP uses 0.02)."""


def row_name(row: int) -> str:
    """What the database calls the photo in this row of the capture: without spaces, which COLMAP's pair lists cannot hold."""
    return f"{row:06d}"


@contextmanager
def opened(path: Path) -> Iterator[pycolmap.Database]:
    """The database, closed at the end. Raises OSError when the disk is full, SfmError when the file is damaged."""
    import pycolmap

    try:
        with quiet(), pycolmap.Database.open(path) as database:
            yield database
    except RuntimeError as error:
        if "full" in str(error) or not shutil.disk_usage(path.parent).free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise SfmError(f"The feature database {path} cannot be used ({error}). Run `recon sfm` with --redo.") from error


def create_database(
    path: Path, capture: Capture, camera_of: Callable[[Capture, int], pycolmap.Camera] | None = None
) -> None:
    """Cameras (one per camera_id, from `camera_of` or guessed), images and frames, without features; ids are rows + 1."""
    import pycolmap

    part = path.with_name(f"{path.name}.part")
    for leftover in path.parent.glob(f"{path.name}.part*"):
        leftover.unlink()
    with opened(part) as database:
        for camera_id in np.unique(capture.camera_id):
            camera = (camera_of or guessed_camera)(capture, int(camera_id))
            database.write_camera(camera, use_camera_id=True)
            rig = pycolmap.Rig(rig_id=camera.camera_id)
            rig.add_ref_sensor(camera.sensor_id)
            database.write_rig(rig, use_rig_id=True)
        for row, camera_id in enumerate(capture.camera_id.tolist()):
            image = pycolmap.Image(name=row_name(row), camera_id=camera_id + 1, image_id=row + 1)
            database.write_image(image, use_image_id=True)
            frame = pycolmap.Frame(frame_id=row + 1, rig_id=camera_id + 1)
            frame.add_data_id(image.data_id)
            database.write_frame(frame, use_frame_id=True)
    part.rename(path)


def guessed_camera(capture: Capture, camera_id: int) -> pycolmap.Camera:
    """The SIMPLE_RADIAL camera before any adjustment: centred, its focal length the median of its photos' priors, or

    FOCAL_GUESS times the longer side where there are none.
    """
    import pycolmap

    row = np.flatnonzero(capture.camera_id == camera_id)[0]
    width, height = (int(s) for s in fit_size(capture.size[row], WORK_SIDE))
    known = exif_focal(capture).get(camera_id + 1)
    focal = known or FOCAL_GUESS * max(width, height)
    camera = pycolmap.Camera.create_from_model_name(camera_id + 1, "SIMPLE_RADIAL", focal, width, height)
    camera.has_prior_focal_length = known is not None
    return camera


def exif_focal(capture: Capture) -> dict[int, float]:
    """Focal length in working pixels by pycolmap's camera id, the median of what the photos' EXIF tells; none, no entry."""
    found = {}
    for camera_id in np.unique(capture.camera_id).tolist():
        rows = np.flatnonzero(capture.camera_id == camera_id)
        priors = capture.focal_prior[rows] * fit_size(capture.size[rows[0]], WORK_SIDE)[0] / capture.size[rows, 0]
        if np.isfinite(priors).any():
            found[camera_id + 1] = float(np.nanmedian(priors))
    return found


def extract(database: Path, capture: Capture, spec: FeatureSpec, job: Job) -> None:
    """Features of all photos that have none in the database yet; each photo is written as soon as it is done."""
    with opened(database) as db:
        rows = [row for row in range(len(capture)) if not db.exists_descriptors(row + 1)]
        if not rows:
            return
        with job.task("finding features", total=len(rows)) as task:
            for row, keypoints, descriptors in detect_all(capture, rows, spec):
                write_features(db, row, keypoints, descriptors)
                task.advance()


def write_features(database: pycolmap.Database, row: int, keypoints: Keypoints, descriptors: Descriptors) -> None:
    """Keypoints first, as extract() looks for the descriptors to see whether a photo is done."""
    import pycolmap

    if database.exists_keypoints(row + 1):  # a kill between the two writes left them
        database.update_keypoints(row + 1, keypoints)
    else:
        database.write_keypoints(row + 1, keypoints)
    kind = pycolmap.FeatureExtractorType.SIFT
    database.write_descriptors(row + 1, pycolmap.FeatureDescriptors(kind, descriptors))


def forget_features(path: Path, rows: Sequence[int]) -> None:
    """Take the features of these photos out, which pycolmap has no call for. Nobody may have the database open."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            for table in ("keypoints", "descriptors"):
                connection.executemany(f"DELETE FROM {table} WHERE image_id = ?", [(row + 1,) for row in rows])
    finally:
        connection.close()


def detect_all(
    capture: Capture, rows: Sequence[int], spec: FeatureSpec
) -> Iterable[tuple[int, Keypoints, Descriptors]]:
    """(row, keypoints, descriptors) of photos, in the order of `rows`; few photos are in memory at a time."""
    import cv2

    one_big = threading.Lock()
    threads, before = workers(), cv2.getNumThreads()
    cv2.setNumThreads(1)  # one photo a thread is faster than one photo on all threads
    pool = ThreadPoolExecutor(threads)
    try:
        waiting = [pool.submit(detect_photo, capture, row, spec, one_big) for row in rows[: 2 * threads]]
        for done, row in enumerate(rows):
            keypoints, descriptors = waiting.pop(0).result()
            if done + 2 * threads < len(rows):
                waiting.append(pool.submit(detect_photo, capture, rows[done + 2 * threads], spec, one_big))
            yield row, keypoints, descriptors
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(before)


def detect_photo(
    capture: Capture, row: int, spec: FeatureSpec, one_big: threading.Lock | None = None
) -> tuple[Keypoints, Descriptors]:
    """Features of one photo, without those that its mask or matte rules out."""
    import cv2

    size = capture.size[row]
    big = int(size[0]) * int(size[1]) > BIG_PIXELS and one_big is not None
    with one_big if big and one_big else nullcontext():
        pixels = read_photo(capture.photo(row), int(capture.orientation[row]))
        small = (int(s) for s in fit_size(size, spec.long_side))
        grey = cv2.resize(cv2.cvtColor(pixels[..., :3], cv2.COLOR_RGB2GRAY), tuple(small), interpolation=cv2.INTER_AREA)
        use = pixels[..., 3] >= ALPHA_USED if pixels.shape[2] == 4 else None
        del pixels
    mask_path = capture.mask_path(row)
    if mask_path:
        mask = read_mask(mask_path, (int(size[0]), int(size[1])))
        use = mask if use is None else use & mask
    return detect(np.asarray(grey, np.uint8), size, use, spec)


def detect(
    grey: NDArray[np.uint8], size: NDArray[np.int32], use: NDArray[np.bool_] | None, spec: FeatureSpec
) -> tuple[Keypoints, Descriptors]:
    """Features of a grey photo u8[h, w], reduced from `size` = (width, height); `use`: bool[height, width]."""
    import cv2

    # Without the precise upscaling, keypoints lie 0.25 pixels off (measured with Gaussian blobs at known places).
    sift = cv2.SIFT.create(0, 3, spec.contrast, 10, 1.6, enable_precise_upscale=True)
    found, described = sift.detectAndCompute(grey, None)
    if not found:
        return np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8)
    raw = np.array([(*k.pt, k.size / 2, k.angle, k.response) for k in found], np.float64)
    height, width = grey.shape
    small = raw[:, :2] + 0.5
    order = spread(raw[:, :2], raw[:, 4], (width, height), spec.count)
    if use is not None:
        column, line = np.floor(small[order] * size / (width, height)).astype(int).T
        inside = use[np.clip(line, 0, use.shape[0] - 1), np.clip(column, 0, use.shape[1] - 1)]
        order = order[inside]
    order = order[: spec.count]
    scale = fit_size(size, WORK_SIDE) / (width, height)
    keypoints = np.column_stack([small * scale, raw[:, 2] * scale.mean(), np.radians(raw[:, 3])])[order]
    return keypoints.astype(np.float32), root_sift(np.asarray(described[order], np.float32))


def spread(
    xy: NDArray[np.float64], response: NDArray[np.float64], size: tuple[int, int], count: int
) -> NDArray[np.intp]:
    """All features, best first, when `count` will be taken: the strongest of every cell of a grid, then the second ones, ...

    Features spread over the photo hold its pose better than the strongest, which crowd.
    """
    cell = max(8.0, (size[0] * size[1] * PER_CELL / count) ** 0.5)
    index = (xy[:, 1] // cell).astype(np.int64) * (int(size[0] / cell) + 1) + (xy[:, 0] // cell).astype(np.int64)
    by_cell = np.lexsort((-response, index))
    sorted_index = index[by_cell]
    start = np.flatnonzero(np.r_[True, sorted_index[1:] != sorted_index[:-1]])
    rank = np.empty(len(xy), np.int64)
    rank[by_cell] = np.arange(len(xy)) - np.repeat(start, np.diff(np.r_[start, len(xy)]))
    return np.lexsort((-response, rank))


def root_sift(descriptors: NDArray[np.float32]) -> Descriptors:
    """u8[F, 128], 512 times the square root of the L1-normalised SIFT f32[F, 128]."""
    total = np.maximum(descriptors.sum(1, keepdims=True), 1e-6)
    return np.clip(np.round(512 * np.sqrt(descriptors / total)), 0, 255).astype(np.uint8)
