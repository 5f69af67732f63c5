"""More features: weaker ones too, in the photos that stayed out and in those that look like them, or in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.capture import Capture
from recon.job import Job
from recon.sfm.features import (
    FeatureSpec,
    Keypoints,
    create_database,
    detect_all,
    extract,
    forget_features,
    opened,
    write_features,
)
from recon.sfm.mapping import copy_database
from recon.sfm.matching import forget_pairs, match
from recon.sfm.pairs import similarity

if TYPE_CHECKING:
    import pycolmap

MORE = 2.7
"""Times as many features ..."""
CONTRAST = 0.008
"""... down to this contrast, where SIFT begins to find noise."""
ALIKE, AROUND = 8, 3
"""Photos that look most alike, and neighbours in the capture's order, that are given more features with each missing photo."""


def richer(spec: FeatureSpec) -> FeatureSpec:
    """What is asked of a photo that stayed out."""
    return replace(spec, count=round(MORE * spec.count), contrast=min(spec.contrast, CONTRAST))


def richer_database(database: Path, capture: Capture, spec: FeatureSpec, job: Job) -> Path:
    """A database beside the given one with more features of all photos, without matches."""
    target = database.with_name("rich.db")
    if not target.is_file():
        create_database(target, capture)
    extract(target, capture, richer(spec), job)
    return target


def extended_database(database: Path, capture: Capture, spec: FeatureSpec, missing: Sequence[int], job: Job) -> Path:
    """A copy in which the missing photos and those like them have further features, and their pairs are matched anew."""
    target = database.with_name("features.db")
    pairs = _candidates(database, missing, len(capture))
    if not target.is_file():
        part = database.with_name("features.db.part")
        copy_database(database, part)
        _append(part, capture, richer(spec), sorted({row for pair in pairs for row in pair}), job)
        forget_pairs(part, pairs)
        part.rename(target)
    match(target, pairs, job)
    return target


def _candidates(database: Path, missing: Sequence[int], count: int) -> list[tuple[int, int]]:
    alike = similarity(database, count)
    np.fill_diagonal(alike, -1)
    pairs = set()
    for row in missing:
        near = range(max(0, row - AROUND), min(count, row + AROUND + 1))
        for other in {*np.argsort(-alike[row], kind="stable")[:ALIKE].tolist(), *near} - {row}:
            pairs.add((min(row, other), max(row, other)))
    return sorted(pairs)


def _append(database: Path, capture: Capture, spec: FeatureSpec, rows: Sequence[int], job: Job) -> None:
    """Further features behind those that are there, so that their matches stay valid."""
    with opened(database) as db:
        old = {row: (db.read_keypoints(row + 1)[:, :4], np.asarray(db.read_descriptors(row + 1).data)) for row in rows}
    forget_features(database, rows)
    with opened(database) as db, job.task("finding more features", total=len(rows)) as task:
        for row, keypoints, descriptors in detect_all(capture, rows, spec):
            known, known_descriptors = old[row]
            further = np.flatnonzero(~np.isin(_keys(keypoints), _keys(known)))[: max(0, spec.count - len(known))]
            write_features(
                db,
                row,
                np.concatenate([known, keypoints[further]]),
                np.concatenate([known_descriptors, descriptors[further]]),
            )
            task.advance()


def with_all_keypoints(model: pycolmap.Reconstruction, database: Path) -> pycolmap.Reconstruction:
    """The model anew, its registered photos with all keypoints of the database (pycolmap insists on their number)."""
    import pycolmap

    new = pycolmap.Reconstruction()
    for camera in model.cameras.values():
        new.add_camera_with_trivial_rig(camera)
    with opened(database) as db:
        for image_id in sorted(model.reg_image_ids()):
            image = model.image(image_id)
            xy = db.read_keypoints(image_id)[:, :2].astype(np.float64)
            copy = pycolmap.Image(name=image.name, keypoints=xy, camera_id=image.camera_id, image_id=image_id)
            new.add_image_with_trivial_frame(copy, image.cam_from_world())
    for point in model.points3D.values():
        new.add_point3D(point.xyz, point.track, point.color)
    return new


def _keys(keypoints: Keypoints) -> np.ndarray:
    """One comparable value per keypoint: the same detection gives the same bits."""
    rows = np.ascontiguousarray(keypoints, np.float32)
    return rows.view([("", np.float32)] * 4).reshape(-1) if len(rows) else np.zeros(0, [("", np.float32)] * 4)
