"""Merging models that were built apart: what both see aligns them, then all their poses are adjusted as one model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.geometry import Array, Sim3, fit_sim3
from recon.job import Job
from recon.sfm.features import opened
from recon.sfm.mapping import MapOptions, registered, triangulated
from recon.sfm.refine import adjust

if TYPE_CHECKING:
    import pycolmap

MIN_COMMON = 8
"""Points that both models know, below which they are not aligned."""
MIN_SHARE = 0.3
"""Share of these that must agree with the alignment."""
NEAR = 0.02
"""How far apart aligned points may lie, over their distance from the camera that sees them."""
TRIALS = 500
SEAM_PX = (12.0, 4.0)
"""Reprojection errors allowed while the seam of two models closes."""


def merged(
    best: pycolmap.Reconstruction | None,
    others: Sequence[pycolmap.Reconstruction],
    database: Path,
    job: Job,
    options: MapOptions,
) -> list[pycolmap.Reconstruction]:
    """[one model] of `best` and all others that add photos and can be aligned to it; [] when none can."""
    import pycolmap

    if best is None:
        return []
    model, grew = pycolmap.Reconstruction(best), False
    for other in sorted(others, key=lambda m: -m.num_reg_images()):
        if registered(other) <= registered(model):
            continue
        sim = align(model, other, database)
        if sim is None:
            continue
        job.say(f"  Merging {model.num_reg_images()} and {other.num_reg_images()} photos.")
        _add_poses(model, other, sim)
        model = _settled(model, database, options)
        grew = True
    return [model] if grew else []


def align(a: pycolmap.Reconstruction, b: pycolmap.Reconstruction, database: Path) -> Sim3 | None:
    """a_from_b from the points that both models know by a common photo or by a match between their photos; None if too few."""
    pairs = common_points(a, b, database)
    if len(pairs) < MIN_COMMON:
        return None
    in_a = np.array([a.point3D(i).xyz for i, _ in pairs])
    in_b = np.array([b.point3D(j).xyz for _, j in pairs])
    reach = np.array([_distance(a, i) for i, _ in pairs])
    return robust_sim3(in_a, in_b, NEAR * reach)


def robust_sim3(a: Array, b: Array, tolerance: Array, seed: int = 0) -> Sim3 | None:
    """a_from_b of points [N, 3] by RANSAC over triples, inliers within `tolerance` [N] (units of a); None below MIN_SHARE."""
    rng = np.random.default_rng(seed)
    best = np.zeros(len(a), bool)
    for _ in range(TRIALS):
        pick = rng.choice(len(a), 3, replace=False)
        sim = fit_sim3(a[pick], b[pick])
        near = np.linalg.norm(sim.apply(b) - a, axis=1) < tolerance
        if np.isfinite(sim.scale) and sim.scale > 0 and near.sum() > best.sum():
            best = near
    for _ in range(3):
        if best.sum() < max(MIN_COMMON, MIN_SHARE * len(a)):
            return None
        sim = fit_sim3(a[best], b[best])
        best = np.linalg.norm(sim.apply(b) - a, axis=1) < tolerance
    return sim if best.sum() >= max(MIN_COMMON, MIN_SHARE * len(a)) else None


def common_points(a: pycolmap.Reconstruction, b: pycolmap.Reconstruction, database: Path) -> list[tuple[int, int]]:
    """(point of a, point of b) that are the same by a keypoint of a common photo, or by a verified match."""
    import pycolmap

    of_a, of_b = _points_by_keypoint(a), _points_by_keypoint(b)
    found = set()
    for row in set(of_a) & set(of_b):
        found |= {(of_a[row][k], of_b[row][k]) for k in of_a[row].keys() & of_b[row].keys()}
    with opened(database) as db:
        keys, geometries = db.read_two_view_geometries()
    for key, geometry in zip(keys, geometries, strict=True):
        i, j = (image_id - 1 for image_id in pycolmap.pair_id_to_image_pair(key))
        for k, m in geometry.inlier_matches.tolist():
            for row_a, key_a, row_b, key_b in ((i, k, j, m), (j, m, i, k)):
                if key_a in of_a.get(row_a, {}) and key_b in of_b.get(row_b, {}):
                    found.add((of_a[row_a][key_a], of_b[row_b][key_b]))
    return sorted(found)


def _points_by_keypoint(model: pycolmap.Reconstruction) -> dict[int, dict[int, int]]:
    """Row -> keypoint -> point."""
    out: dict[int, dict[int, int]] = {row: {} for row in registered(model)}
    for point_id, point in model.points3D.items():
        for element in point.track.elements:
            out[element.image_id - 1][element.point2D_idx] = point_id
    return out


def _distance(model: pycolmap.Reconstruction, point_id: int) -> float:
    """From a point to the nearest camera that sees it."""
    point = model.point3D(point_id)
    centers = [model.image(e.image_id).projection_center() for e in point.track.elements]
    return float(np.linalg.norm(np.array(centers) - point.xyz, axis=1).min())


def _add_poses(a: pycolmap.Reconstruction, b: pycolmap.Reconstruction, a_from_b: Sim3) -> None:
    """Register b's further photos in a."""
    import pycolmap

    for row in sorted(registered(b) - registered(a)):
        image = b.image(row + 1)
        pose = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        cam_from_a = pycolmap.Rigid3d(a_from_b.cameras(pose[None])[0, :3])
        if a.exists_image(row + 1):
            frame = a.frame(a.image(row + 1).frame_id)
            frame.rig_from_world = cam_from_a
            a.register_frame(frame.frame_id)
            continue
        if not a.exists_camera(image.camera_id):
            a.add_camera_with_trivial_rig(b.camera(image.camera_id))
        keypoints = np.array([point.xy for point in image.points2D]).reshape(-1, 2)
        copy = pycolmap.Image(name=image.name, keypoints=keypoints, camera_id=image.camera_id, image_id=row + 1)
        a.add_image_with_trivial_frame(copy, cam_from_a)


def _settled(model: pycolmap.Reconstruction, database: Path, options: MapOptions) -> pycolmap.Reconstruction:
    """New points for all poses, then everything adjusted, twice, so that the seam closes."""
    for max_error in SEAM_PX:
        model = triangulated(model, database, options, max_error)
        adjust(model, options)
    return model
