"""Metres: those of given cameras stay, depth images give them where nothing else does, and nothing claims them without reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon.capture import Capture
from recon.depth import depth
from recon.depth.sensor import Sensor
from recon.depth.sensor_scale import judged, sensor_scale
from recon.job import Job
from recon.sparse import SparseModel
from tests import rgbd_scene as scene
from tests.depth_scene import Room
from tests.photo_files import run_ingest
from tests.rgbd_scene import FULL, aligned, loose, right, the_room


@pytest.fixture(scope="module")
def place() -> Room:
    return the_room()


@pytest.fixture(scope="module")
def seven(place: Room, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return scene.sevenscenes_of(place, tmp_path_factory.mktemp("seven"))


@pytest.fixture(scope="module")
def given(place: Room, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """The room as a transforms.json has it, which does not say in what unit."""
    folder = tmp_path_factory.mktemp("given")
    scene.write_nerfstudio(folder / "in", place)
    return run_ingest(folder / "in", folder / "job")[0]


def lengths(model: SparseModel) -> np.ndarray:
    """Distances of the cameras from the first one."""
    return np.linalg.norm(model.cameras.centers[1:] - model.cameras.centers[0], axis=1)


@pytest.mark.parametrize("up", ["keep", "estimate"])
@pytest.mark.parametrize(("unit", "warned"), [(0.001, False), (0.00103, False), (0.0011, True)])
def test_given_metres_are_checked_and_stay(
    seven: Capture, place: Room, tmp_path: Path, unit: float, warned: bool, up: str
):
    other = replace(seven, depth_camera=replace(seven.depth_camera, unit=unit))
    before = scene.shot(other, place, tmp_path)
    shot, job, evidence = aligned(before, tmp_path, up=up)
    model = shot.reconstruction.model
    np.testing.assert_allclose(lengths(model), lengths(before.reconstruction.model), rtol=1e-6)
    if up == "keep":
        np.testing.assert_allclose(model.cameras.cam_from_world, place.cameras.cam_from_world, atol=1e-6)
    assert (model.world.scale, model.world.world_from_sfm.scale) == ("metric", 1) and not evidence["used"]
    assert job.metrics["scale_from"] == "as given"
    assert evidence["metres_per_unit"] == pytest.approx(unit / 0.001, rel=0.003)
    assert any("1.100 times" in w for w in job.warnings) == warned
    job = Job(tmp_path / "depth")
    maps = depth(other, shot.reconstruction, FULL, job)
    expected = 1 if warned else unit / 0.001
    assert right(replace(maps, z=tuple(z / expected for z in maps.z)), place, 3) > 0.97
    assert any("scaled to fit" in w for w in job.warnings) == warned


@pytest.mark.parametrize("depths", ["none", "of others", "without points"])
def test_given_metres_stay_without_usable_depth(seven: Capture, place: Room, tmp_path: Path, depths: str):
    wrong = {"none": (), "of others": tuple(np.roll(np.array(seven.depth), 3).tolist())}
    capture = replace(seven, depth=wrong.get(depths, seven.depth))
    shot = scene.shot(capture, place, tmp_path)
    if depths == "without points":
        model = shot.reconstruction.model
        model = replace(model, xyz=model.xyz[:0], rgb=model.rgb[:0], error=model.error[:0])
        model = replace(model, observations=type(model.observations).none())
        shot = replace(shot, reconstruction=replace(shot.reconstruction, model=model))
    after, job, evidence = aligned(shot, tmp_path, up="estimate")
    world = after.reconstruction.model.world
    assert (world.scale, world.world_from_sfm.scale) == ("metric", 1) and job.metrics["scale_from"] == "as given"
    assert not evidence.get("used") and bool(evidence.get("why_not")) == (depths != "none")


@pytest.mark.parametrize("up", ["keep", "estimate"])
def test_one_unit_of_poses_and_depth_proves_no_metres(given: Capture, place: Room, tmp_path: Path, up: str):
    """A transforms.json and its depth images may both be of any scale: a ratio of 1 says nothing."""
    shot, job, evidence = aligned(scene.shot(given, place, tmp_path), tmp_path, up=up)
    world = shot.reconstruction.model.world
    assert (world.scale, world.world_from_sfm.scale) == ("arbitrary", 1)
    assert evidence["metres_per_unit"] == pytest.approx(1, rel=0.01) and not evidence["used"]
    assert "need not be the metre" in evidence["why_not"]
    assert job.metrics["scale_from"] == "as given" and not job.warnings
    maps = depth(shot.capture, shot.reconstruction, FULL, Job(tmp_path / "depth"))
    assert right(maps, place, 2) > 0.9, "the depth images are used all the same"


@pytest.mark.parametrize("up", ["keep", "estimate"])
def test_a_ratio_that_is_not_1_gives_poses_their_metres(given: Capture, place: Room, tmp_path: Path, up: str):
    shot, job, evidence = aligned(scene.shot(given, place, tmp_path, 2.5), tmp_path, up=up)
    world = shot.reconstruction.model.world
    assert world.scale == "metric" and world.world_from_sfm.scale == pytest.approx(0.4, rel=0.01)
    assert evidence["used"] and evidence["why_not"] is None and job.metrics["scale_from"] == "depth images"


def test_cameras_that_nobody_gave_get_metres_at_any_ratio(seven: Capture, place: Room, tmp_path: Path):
    """Structure from motion may come out in metres by chance."""
    shot, job, _ = aligned(loose(scene.shot(seven, place, tmp_path, 1.0)), tmp_path)
    assert shot.reconstruction.model.world.scale == "metric" and job.metrics["scale_from"] == "depth images"


def test_one_photo_with_depth_is_enough_and_is_no_control_of_itself(seven: Capture, place: Room, tmp_path: Path):
    one = replace(seven, depth=(*seven.depth[:1], None, None, None, None, None))
    shot, job, evidence = aligned(loose(scene.shot(one, place, tmp_path, 3.0)), tmp_path)
    assert evidence["used"] and evidence["spread_with_other_photos_depth_percent"] is None and not job.warnings
    assert shot.reconstruction.model.world.world_from_sfm.scale == pytest.approx(1 / 3, rel=0.01)
    sensor = Sensor.of(one, shot.reconstruction)
    assert sensor is not None and np.isinf(sensor_scale(sensor, shot.reconstruction.model).control)


def test_nothing_to_compare_with_is_said_in_words():
    """One photo: a spread that several would have to beat is believed, a wild one is not."""
    logs, photo = np.random.default_rng(0).normal(0, 1, 200), np.zeros(200, int)
    none = np.full(200, np.nan)
    assert judged(["a"], photo, 0.05 * logs, none).reason == ""
    assert "in this order" in judged(["a"], photo, 0.05 * logs, 0.05 * logs).reason
    wild = judged(["a"], photo, 0.3 * logs, none)
    assert "(nothing to compare with)" in wild.reason and "inf" not in wild.reason
