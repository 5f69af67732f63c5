"""Depth images bind: as depth maps, as the scale of the world, and not at all where they do not fit the cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon.capture import Capture
from recon.depth import depth
from recon.depth.sensor import Sensor, confidence_of, planes_of
from recon.depth.sensor_scale import judged, sampled, sensor_scale
from recon.depth.sensor_stage import SensorDepth
from recon.depth.solve import camera_normals
from recon.errors import InputError
from recon.job import Job
from tests import rgbd_scene as scene
from tests.depth_scene import Room
from tests.fabricate import write_photo
from tests.photo_files import run_ingest
from tests.rgbd_scene import FULL, aligned, errors, loose, right, the_room


@pytest.fixture(scope="module")
def place() -> Room:
    return the_room()


@pytest.fixture(scope="module")
def seven(place: Room, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return scene.sevenscenes_of(place, tmp_path_factory.mktemp("seven"))


def shuffled(capture: Capture, by: int = 3) -> Capture:
    return replace(capture, depth=tuple(np.roll(np.array(capture.depth), by).tolist()))


def test_depth_maps_are_those_of_the_depth_camera(seven: Capture, place: Room, tmp_path: Path):
    capture = replace(seven, split=("test", *("train",) * 5))
    shot, job = scene.shot(capture, place, tmp_path), Job(tmp_path / "depth")
    maps = depth(capture, shot.reconstruction, FULL, job)
    assert maps.names == capture.names[1:], "held-out photos are not measured"
    assert job.metrics["depth_images"] == 5 and job.metrics["measured"] > 0.7 and not job.warnings
    for i in range(5):
        assert right(maps, place, i) > 0.97
        sure = maps.confidence[i] > 0
        cos = (maps.normal[i] * place.normal[i + 1]).sum(-1)[sure]
        assert np.quantile(cos, 0.2) > np.cos(np.radians(3)), "normals"
        assert np.isnan(maps.z[i][~sure]).all() and maps.confidence[i].max() <= 1


def test_confidence_falls_with_distance_and_slant():
    z, one = np.array([[1.0, 2, 4, 2, np.nan, 2]], np.float32), np.ones((1, 6), np.float32)
    cosine = np.array([[1, 1, 1, 0.3, 1, 1]], np.float32)
    trust = np.array([[1, 1, 1, 1, 1, 0]], np.float32)
    found = confidence_of(z, trust, False, cosine)[0]
    assert found[0] > found[1] > found[2] > 0 and found[3] < found[1] and found[4] == found[5] == 0
    assert confidence_of(z, 0.5 * one, True, cosine)[0, 0] == 0.5


def test_normals_of_a_slanted_wall():
    n, k = np.array([0.5, -0.2, -0.84]), np.array([[100.0, 0, 20], [0, 100, 15], [0, 0, 1]])
    x, y = np.meshgrid((np.arange(40) + 0.5 - 20) / 100, (np.arange(30) + 0.5 - 15) / 100)
    z = (-2 / (n[0] * x + n[1] * y + n[2])).astype(np.float32)
    found = camera_normals(planes_of(z, 100.0), k)
    np.testing.assert_allclose(found, np.broadcast_to(n / np.linalg.norm(n), (30, 40, 3)), atol=1e-3)


def test_masks_rule_and_limits_hold(seven: Capture, place: Room, tmp_path: Path):
    shot = scene.shot(seven, place, tmp_path)
    mask = np.ones((96, 128, 3))
    mask[:, 60:80] = 0
    write_photo(tmp_path / f"sfm/masks/{seven.names[0]}.png", mask)
    reconstruction = replace(shot.reconstruction, masks=tmp_path / "sfm/masks")
    maps = depth(seven, reconstruction, replace(FULL, depth_far=5.0), Job(tmp_path / "depth"))
    assert (maps.confidence[0][:, 60:80] == 0).all() and (maps.confidence[0][:, 85:] > 0).any()
    assert np.nanmax(maps.z[1]) <= 5


@pytest.mark.parametrize("units", [0.2, 11.4])
def test_sfm_learns_metres(seven: Capture, place: Room, tmp_path: Path, units: float):
    shot, job, evidence = aligned(loose(scene.shot(seven, place, tmp_path, units)), tmp_path)
    world = shot.reconstruction.model.world
    assert world.scale == "metric" and evidence["used"]
    assert evidence["metres_per_unit"] == pytest.approx(1 / units, rel=0.003)
    assert world.world_from_sfm.scale == pytest.approx(1 / units, rel=0.003)
    assert evidence["spread_percent"] < 2 and evidence["photos"] == 6
    assert evidence["spread_with_other_photos_depth_percent"] > 5 * evidence["spread_percent"]
    assert job.metrics["scale_from"] == "depth images" and not job.warnings
    maps = depth(shot.capture, shot.reconstruction, FULL, Job(tmp_path / "depth"))
    assert right(maps, place, 2) > 0.97, "z is in the world's metres"


def test_depth_maps_follow_a_world_without_scale(seven: Capture, place: Room, tmp_path: Path):
    shot = loose(scene.shot(seven, place, tmp_path, 3.0))
    maps = depth(shot.capture, shot.reconstruction, FULL, Job(tmp_path / "depth"))
    assert right(replace(maps, z=tuple(z / 3 for z in maps.z)), place, 2) > 0.97


def test_shuffled_depth_images_are_caught(seven: Capture, place: Room, tmp_path: Path):
    """The control: the same check with images of other photos."""
    wrong = shuffled(seven)
    shot, job, evidence = aligned(loose(scene.shot(wrong, place, tmp_path, 3.0)), tmp_path)
    assert shot.reconstruction.model.world.scale == "arbitrary" and not evidence["used"]
    assert any("tell no scale" in w and "in this order" in w for w in job.warnings)
    given = scene.shot(wrong, place, tmp_path / "given")
    job = Job(tmp_path / "depth")
    assert SensorDepth.of(wrong, given.reconstruction, FULL, job) is None, "stereo alone"
    assert any("The depth images are not used" in w for w in job.warnings)
    assert SensorDepth.of(seven, given.reconstruction, replace(FULL, sensor="off"), job) is None
    assert SensorDepth.of(seven, given.reconstruction, FULL, job) is not None


def test_one_wrong_depth_image_is_named(seven: Capture, place: Room, tmp_path: Path):
    wrong = replace(seven, depth=(seven.depth[5], *seven.depth[1:]))
    shot, job, evidence = aligned(scene.shot(wrong, place, tmp_path), tmp_path)
    assert list(evidence["left_out"]) == [seven.names[0]]
    assert any("1 depth image not used" in w and seven.names[0] in w for w in job.warnings)
    job = Job(tmp_path / "depth")
    maps = depth(wrong, shot.reconstruction, FULL, job)
    assert (maps.confidence[0] == 0).all() and job.metrics["depth_images"] == 5
    assert any("--sensor both" in w for w in job.warnings)


def test_stereo_answers_where_the_depth_camera_does_not(seven: Capture, place: Room, tmp_path: Path):
    few = replace(seven, depth=(*seven.depth[:2], None, None, None, None))
    shot = scene.shot(few, place, tmp_path)
    job, quick = Job(tmp_path / "auto"), replace(FULL, depth_sources=2)
    maps = depth(few, shot.reconstruction, quick, job)
    assert job.metrics["depth_images"] == 2 and (maps.confidence[4] > 0).mean() > 0.3, "fewer than half: stereo joins"
    alone = depth(few, shot.reconstruction, replace(quick, sensor="off"), Job(tmp_path / "off"))
    np.testing.assert_array_equal(maps.z[4], alone.z[4])
    both = [m.z[0] for m in (maps, alone)]
    assert np.nanmedian(errors(both[0], place.z[0])) < np.nanmedian(errors(both[1], place.z[0]))
    assert (maps.confidence[0] > 0).sum() > (alone.confidence[0] > 0).sum()
    found = SensorDepth.of(seven, shot.reconstruction, replace(FULL, sensor="both"), job)
    assert found is not None and found.joins and len(found.fit) == 6


def test_the_depth_camera_measures_alone_where_stereo_cannot(seven: Capture, place: Room, tmp_path: Path):
    shot = scene.shot(seven, place, tmp_path)
    model = shot.reconstruction.model
    bare = replace(model, xyz=model.xyz[:0], rgb=model.rgb[:0], error=model.error[:0])
    bare = replace(shot.reconstruction, model=replace(bare, observations=type(model.observations).none()))
    with pytest.raises(InputError, match="overlap"):
        depth(seven, bare, replace(FULL, sensor="off"), Job(tmp_path / "off"))
    job = Job(tmp_path / "both")
    maps = depth(seven, bare, replace(FULL, sensor="both"), job)
    assert right(maps, place, 2) > 0.97 and any("measures alone" in w for w in job.warnings)
    gone = replace(shot.reconstruction, images=tmp_path / "elsewhere")
    with pytest.raises(InputError, match="elsewhere"):
        depth(seven, gone, replace(FULL, sensor="both"), Job(tmp_path / "gone"))


def test_filling_needs_stereo(seven: Capture, place: Room, tmp_path: Path):
    shot, job = scene.shot(seven, place, tmp_path), Job(tmp_path / "depth")
    assert SensorDepth.of(seven, shot.reconstruction, replace(FULL, fill_depth=True), job) is not None
    assert any("--sensor both" in w for w in job.warnings)


def test_the_scale_needs_points(seven: Capture, place: Room, tmp_path: Path):
    shot = scene.shot(seven, place, tmp_path)
    model = shot.reconstruction.model
    bare = replace(model, xyz=model.xyz[:0], rgb=model.rgb[:0], error=model.error[:0])
    bare = replace(bare, observations=type(model.observations).none())
    job = Job(tmp_path / "depth")
    maps = depth(seven, replace(shot.reconstruction, model=bare), FULL, job)
    assert right(maps, place, 2) > 0.97 and any("used unchecked" in w for w in job.warnings), "metres of given cameras"


def test_judging_by_numbers():
    rng = np.random.default_rng(0)
    photo, names = np.repeat(np.arange(4), 100), ["a", "b", "c", "d"]
    own, other = rng.normal(np.log(2), 0.01, 400), rng.normal(np.log(2), 0.3, 400)
    found = judged(names, photo, own, other)
    assert found.metres == pytest.approx(2, rel=0.005) and not found.reason and not found.left_out
    own[photo == 2] += rng.normal(0.5, 0.3, 100)
    assert list(judged(names, photo, own, other).left_out) == ["c"]
    assert "in this order" in judged(names, photo, other, rng.permutation(other)).reason
    few, wide = np.repeat(np.arange(100), 4), [str(i) for i in range(100)]  # no photo can be judged by itself
    assert "in this order" in judged(wide, few, 0.2 * other, rng.permutation(0.2 * other)).reason
    assert not judged(wide, few, 0.2 * other, other).reason
    assert "30 are needed" in judged(names, photo, np.where(np.arange(400) < 20, own, np.nan), other).reason
    z = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert sampled(z, np.array([[2.9, 0.1], [0.5, 1.5], [3.0, 0.5]]))[:2].tolist() == [2, 3]


class TestBadInput:
    """What is wrong with a depth image is named, and the others go on."""

    @pytest.fixture
    def folder(self, place: Room, tmp_path: Path) -> Path:
        scene.write_plain(tmp_path / "in", place)
        return tmp_path / "in"

    def ingested(self, folder: Path) -> tuple[Capture, str]:
        capture, job = run_ingest(folder, folder.parent / "job")
        return capture, " ".join(job.warnings)

    def test_a_picture_of_depth(self, folder: Path):
        write_photo(folder / "depth/1.png", np.random.default_rng(0).random((96, 128, 3)))
        from PIL import Image

        Image.fromarray(np.full((96, 128), 90, np.uint8)).save(folder / "depth/2.png")
        capture, said = self.ingested(folder)
        assert [d is None for d in capture.depth] == [False, True, True, False, False, False]
        assert "depth/2.png" in said and "8-bit" in said and "16-bit PNG" in said and "one value a pixel" in said

    def test_truncated_empty_and_foreign_files(self, folder: Path):
        whole = (folder / "depth/0.png").read_bytes()
        (folder / "depth/0.png").write_bytes(whole[: len(whole) // 2])
        (folder / "depth/1.png").write_bytes(b"")
        (folder / "depth/2.png").unlink()
        (folder / "depth/2.npy").write_bytes(b"no array")
        capture, said = self.ingested(folder)
        assert [d is None for d in capture.depth] == [True, True, True, False, False, False]
        assert all(name in said for name in ("depth/0.png", "depth/1.png", "depth/2.npy"))
        assert "truncated" in said

    def test_other_sizes(self, folder: Path, place: Room, tmp_path: Path):
        scene.write_whole(folder / "depth/2.png", scene.z_of(scene.small(place.cameras), 2))
        scene.write_whole(folder / "depth/3.png", place.z[3][:, :90])
        capture, said = self.ingested(folder)
        assert capture.depth[2] and not capture.depth[3]
        assert "depth/3.png" in said and "90x96" in said and "128x96" in said
        shot = scene.shot(capture, place, tmp_path)
        sensor = Sensor.of(capture, shot.reconstruction)
        assert sensor is not None
        z = sensor.look("2.png", place.cameras[2])[0]
        assert np.quantile(errors(z, place.z[2]), 0.95) < 0.01, "the camera is scaled to the image"

    def test_another_size_than_the_others_of_a_depth_camera(self, place: Room, tmp_path: Path):
        scene.write_sevenscenes(tmp_path / "in", place)
        full = tmp_path / "in/frame-000020.depth.png"
        from PIL import Image

        Image.fromarray(np.asarray(Image.open(full))[::2, ::2]).save(full)
        scene.write_whole(tmp_path / "in/frame-000030.depth.png", np.ones((96, 90)))
        capture, said = self.ingested(tmp_path / "in")
        assert capture.depth[2] and not capture.depth[3] and "the others 128x96" in said
        shot = scene.shot(capture, place, tmp_path)
        maps = depth(capture, shot.reconstruction, FULL, Job(tmp_path / "depth"))
        assert np.median(errors(maps.z[2], place.z[2])) < 0.01 and (maps.confidence[3] == 0).all()

    def test_nothing_measured_and_nan(self, folder: Path, place: Room, tmp_path: Path):
        scene.write_whole(folder / "depth/0.png", np.zeros((96, 128)))
        (folder / "depth/1.png").unlink()
        z = place.z[1].astype(np.float32)
        z[:40], z[40:44], z[44:46] = np.nan, np.inf, -1
        np.save(folder / "depth/1.npy", z)
        (folder / "depth/4.png").unlink()
        capture, said = self.ingested(folder)
        assert [d is None for d in capture.depth] == [True, False, False, False, True, False]
        assert "measures nothing" in said and "depth/0.png" in said
        shot = scene.shot(capture, place, tmp_path)
        maps = depth(capture, replace(shot.reconstruction), FULL, Job(tmp_path / "depth"))
        assert np.isfinite(maps.z[1]).any() and (maps.confidence[1][:44] == 0).all()
        assert (maps.confidence[0] == 0).all() and (maps.confidence[4] == 0).all()

    def test_damaged_lists_are_named(self, place: Room, tmp_path: Path):
        scene.write_tum(tmp_path, place)
        (tmp_path / "depth.txt").write_text("1305031102.1 depth/a.png\nnonsense\n")
        with pytest.raises(InputError, match=r"depth.txt, line 2: expected a time"):
            run_ingest(tmp_path, tmp_path / "job")
        scene.write_json_file(tmp_path / "r/metadata", {"K": [1], "w": 3})
        (tmp_path / "r/rgbd").mkdir()
        with pytest.raises(InputError, match="no Record3D metadata"):
            run_ingest(tmp_path / "r", tmp_path / "job")

    def test_gone_after_ingest(self, folder: Path, place: Room, tmp_path: Path):
        capture, _ = self.ingested(folder)
        shot = scene.shot(capture, place, tmp_path)
        (folder / "depth/2.png").unlink()
        sensor = Sensor.of(capture, shot.reconstruction)
        assert sensor is not None
        with pytest.raises(InputError, match=r"depth/2.png is no longer there"):
            sensor_scale(sensor, shot.reconstruction.model)
