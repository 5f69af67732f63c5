"""Given poses: points for cameras that a data set brings. The poses and intrinsics are never moved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.cameras import Cameras, fit_size
from recon.capture import Capture
from recon.job import Job
from recon.sfm.features import WORK_SIDE, FeatureSpec, create_database, extract, row_name
from recon.sfm.ladder import FEATURES
from recon.sfm.mapping import MapOptions, save_model, triangulated
from recon.sfm.matching import match
from recon.sfm.pairs import Pair, every_pair
from recon.sparse import SparseModel, colmap_camera, from_pycolmap

if TYPE_CHECKING:
    import pycolmap

    from recon.sfm import SfmOptions

PARTNERS = 12
"""So many cameras that stand nearest, and look the same way, are matched with each."""
SAME_WAY_DEG = 75.0
FEW_POINTS = 100


def with_given_poses(
    capture: Capture, options: SfmOptions, job: Job
) -> tuple[SparseModel, tuple[tuple[str, str], ...]]:
    """The given model (all photos), with points triangulated from its cameras where it brings none; nothing is left out."""
    prior = capture.prior
    assert prior is not None
    if len(prior.xyz):
        job.say(f"Keeping the given cameras and their {len(prior.xyz)} points.")
        return prior, ()
    small = prior.cameras.resized(fit_size(capture.size, WORK_SIDE))
    database = job.scratch / "given.db"
    if not database.is_file():
        create_database(database, capture, lambda capture, camera_id: _camera(capture, small, camera_id))
    extract(database, capture, FeatureSpec(options.features or FEATURES, WORK_SIDE), job)
    pairs = pairs_by_pose(prior.cameras) if options.matcher != "exhaustive" else every_pair(len(capture))
    job.say(f"Matching {len(pairs)} pairs of {len(capture)} photos for the given cameras.")
    match(database, pairs, job, options.sfm_seed)
    found = from_pycolmap(_triangulated(capture, small, database, options, job))
    model = _onto(prior, found, capture)
    if len(model.xyz) < FEW_POINTS:
        job.warn(
            f"Only {len(model.xyz)} points came out of the given poses: the photos have few features, or the poses do not fit "
            "them. Training can start without points."
        )
    return model, ()


def pairs_by_pose(cameras: Cameras) -> tuple[Pair, ...]:
    """For each camera the PARTNERS nearest ones that look the same way within SAME_WAY_DEG."""
    n = len(cameras)
    forward = cameras.cam_from_world[:, 2, :3]
    apart = np.linalg.norm(cameras.centers[:, None] - cameras.centers[None], axis=-1)
    apart[forward @ forward.T < np.cos(np.radians(SAME_WAY_DEG))] = np.inf
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :PARTNERS]
    pairs = {(min(i, int(j)), max(i, int(j))) for i in range(n) for j in nearest[i] if np.isfinite(apart[i, j])}
    return tuple(sorted(pairs))


def _camera(capture: Capture, cameras: Cameras, camera_id: int) -> pycolmap.Camera:
    """The given camera in working pixels."""
    import pycolmap

    known = colmap_camera(cameras, int(np.flatnonzero(capture.camera_id == camera_id)[0]))
    return pycolmap.Camera(
        camera_id=camera_id + 1,
        model=getattr(pycolmap.CameraModelId, known.model),
        width=known.width,
        height=known.height,
        params=list(known.params),
        has_prior_focal_length=True,
    )


def _triangulated(
    capture: Capture, cameras: Cameras, database: Path, options: SfmOptions, job: Job
) -> pycolmap.Reconstruction:
    """Points from the matches for the given cameras; kept in scratch."""
    import pycolmap

    folder = job.scratch / "triangulated"
    if not folder.is_dir():
        model = pycolmap.Reconstruction()
        for camera_id in np.unique(capture.camera_id):
            model.add_camera_with_trivial_rig(_camera(capture, cameras, int(camera_id)))
        for row, camera_id in enumerate(capture.camera_id.tolist()):
            image = pycolmap.Image(name=row_name(row), camera_id=camera_id + 1, image_id=row + 1)
            model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(cameras.cam_from_world[row, :3]))
        shared = MapOptions(options.sfm_seed, 1 if options.deterministic else 0)
        with job.task("triangulating points"):
            model = triangulated(model, database, shared)
        save_model(model, folder)
    return pycolmap.Reconstruction(folder)


def _onto(prior: SparseModel, found: SparseModel, capture: Capture) -> SparseModel:
    """The prior with the points found, its observations in the photos' own pixels."""
    rows = np.array([int(name) for name in found.names], np.int32)
    scale = capture.size / fit_size(capture.size, WORK_SIDE)
    seen = found.observations
    camera = rows[seen.camera] if len(seen.camera) else seen.camera
    return replace(
        prior,
        xyz=found.xyz,
        rgb=found.rgb,
        error=(found.error * scale.mean()).astype(np.float32),
        observations=replace(seen, camera=camera, xy=(seen.xy * scale[camera]).astype(np.float32)),
    )
