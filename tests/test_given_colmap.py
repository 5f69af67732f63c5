"""COLMAP models that are given: found and kept, what is damaged is named."""

import shutil
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from recon.cameras import Cameras
from recon.errors import InputError
from recon.geometry import rotation_angle_deg
from recon.sparse import SparseModel, from_pycolmap, write_colmap
from tests.fabricate import ring_model
from tests.photo_files import prior_of, run_ingest, write_picture

ORIENTATION = 0x0112


def write_colmap_set(folder: Path, place: str = "sparse/0", images: str = "images") -> SparseModel:
    """A COLMAP data set of 6 photos of 160x120 with points; returns its model."""
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig, options.num_frames_per_rig, options.num_points3D = 1, 1, 6, 30
    options.camera_width, options.camera_height = 160, 120
    options.camera_model_id, options.camera_params = pycolmap.CameraModelId.SIMPLE_RADIAL, [150.0, 80, 60, 0.02]
    pycolmap.set_random_seed(2)
    model = from_pycolmap(pycolmap.synthesize_dataset(options))
    write_colmap(model, folder / place)
    for i, name in enumerate(model.names):
        write_picture(folder / images / name, i, quality=90)
    return model


@pytest.mark.parametrize("place", [".", "sparse/0", "sparse", "colmap/sparse/0"])
def test_colmap_sets_are_found_and_kept(tmp_path: Path, place: str):
    truth = write_colmap_set(tmp_path, place)
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert (capture.kind, capture.root) == ("colmap", tmp_path / "images")
    prior = capture.prior
    assert prior is not None
    assert capture.names == prior.names == truth.names
    np.testing.assert_allclose(prior.cameras.cam_from_world, truth.cameras.cam_from_world, atol=1e-12)
    np.testing.assert_array_equal(prior.cameras.K, truth.cameras.K)
    np.testing.assert_array_equal(prior.xyz, truth.xyz)
    np.testing.assert_array_equal(prior.observations.xy, truth.observations.xy)
    assert prior.world.up == "unknown"
    assert job.warnings == []
    assert run_ingest(tmp_path, tmp_path / "ignored", poses="ignore")[0].prior is None


def test_the_model_folder_itself_can_be_named(tmp_path: Path):
    write_colmap_set(tmp_path)
    assert run_ingest(tmp_path / "sparse" / "0", tmp_path / "job")[0].root == tmp_path / "images"


def test_colmap_missing_files_are_counted_and_strangers_said(tmp_path: Path):
    truth = write_colmap_set(tmp_path)
    (tmp_path / "images" / truth.names[1]).unlink()
    (tmp_path / "images" / truth.names[4]).write_bytes(b"")
    write_picture(tmp_path / "images" / "stranger.jpg", 50)
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    left = [0, 2, 3, 5]
    assert capture.names == tuple(truth.names[i] for i in left)
    assert job.metrics["missing"] == 1
    assert list(job.metrics["skipped"]) == [truth.names[4]]
    assert any("stranger.jpg" in warning and "without a pose" in warning for warning in job.warnings)
    assert capture.prior is not None
    np.testing.assert_allclose(capture.prior.cameras.cam_from_world, truth.cameras.cam_from_world[left], atol=1e-12)
    assert len(capture.prior.xyz) == len(truth.xyz)


def test_colmap_photos_that_were_downscaled(tmp_path: Path):
    truth = write_colmap_set(tmp_path)
    for i, name in enumerate(truth.names):
        write_picture(tmp_path / "images" / name, i, (120, 90))
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    prior = capture.prior
    assert prior is not None
    seen = prior.observations
    pixels = prior.cameras.project(prior.xyz)[0][seen.camera, seen.point]
    np.testing.assert_allclose(pixels, seen.xy, atol=1e-3)
    assert any("6 photos of another size" in warning for warning in job.warnings)


def test_colmap_photos_of_another_shape_are_named(tmp_path: Path):
    truth = write_colmap_set(tmp_path)
    write_picture(tmp_path / "images" / truth.names[0], 0, (200, 120))
    _, job = run_ingest(tmp_path, tmp_path / "job")
    assert job.metrics["skipped"] == {truth.names[0]: "it is 200x120 pixels, its camera 160x120"}


def test_colmap_with_nan_or_without_photos_is_an_error(tmp_path: Path):
    truth = write_colmap_set(tmp_path)
    bad = truth.cameras.cam_from_world.copy()
    bad[3, 0, 3] = np.nan
    cameras = Cameras(bad, truth.cameras.K, truth.cameras.size, truth.cameras.model, truth.cameras.distortion)
    spoiled = SparseModel(truth.names, cameras, truth.xyz, truth.rgb, truth.error, truth.observations)
    write_colmap(spoiled, tmp_path / "sparse" / "0")
    with pytest.raises(InputError, match=f"{truth.names[3]}.*not finite"):
        run_ingest(tmp_path, tmp_path / "job")
    write_colmap(truth, tmp_path / "sparse" / "0")
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(InputError, match=r"None of the 6 photos.*Expected them in .*images"):
        run_ingest(tmp_path, tmp_path / "job")


def test_a_ring_of_given_poses_survives_the_stage_folder(tmp_path: Path):
    names = tuple(f"{i}.jpg" for i in range(9))
    truth = ring_model(names)
    for i, name in enumerate(names):
        write_picture(tmp_path / "images" / name, i, (96, 64))
    write_colmap(truth, tmp_path / "sparse" / "0")
    prior = prior_of(tmp_path, tmp_path / "job")
    turn = truth.cameras.cam_from_world[:, :3, :3].swapaxes(1, 2) @ prior.cameras.cam_from_world[:, :3, :3]
    assert rotation_angle_deg(turn).max() < 1e-9
    np.testing.assert_allclose(prior.cameras.centers, truth.cameras.centers, atol=1e-12)
