"""Captures with times: times of frames, the split of a moving scene, fixed cameras, and what cannot be trained as moving."""

import json
from pathlib import Path

import numpy as np
import pytest

from recon.calibration import calibrated
from recon.capture import Capture, moving_split
from recon.errors import InputError
from recon.geometry import se3_inverse
from recon.job import Job
from recon.motion import Motion, check_cameras, moments_of, motion_of, require_times, stations_of
from recon.reconstruction import read_image
from recon.sfm import SfmOptions, sfm
from recon.sfm.stills import still_capture
from tests.bench.moving_region import moving_region
from tests.moving_scene import as_folder, one_camera, six_cameras
from tests.photo_files import run_ingest, write_picture


def test_numbered_frames_are_timed_by_their_numbers(tmp_path: Path):
    numbers = np.array([3, 4, 6, *range(9, 23)])
    for i in numbers:
        write_picture(tmp_path / "p" / f"frame_{i:04d}.png", i)
    capture, _ = run_ingest(tmp_path / "p", tmp_path / "a")
    assert capture.time is not None
    np.testing.assert_allclose(capture.time, (numbers - 3) / 30)
    capture, _ = run_ingest(tmp_path / "p", tmp_path / "b", fps=10.0)
    assert capture.time is not None
    np.testing.assert_allclose(capture.time, (numbers - 3) / 10)
    write_picture(tmp_path / "p" / "other.png", 50)
    assert run_ingest(tmp_path / "p", tmp_path / "c")[0].time is None
    with pytest.raises(InputError, match="--fps gives times to numbered frames"):
        run_ingest(tmp_path / "p", tmp_path / "d", fps=10.0)


def test_times_of_a_data_set_and_the_split_by_moments(tmp_path: Path):
    scene = six_cameras()
    capture, _ = run_ingest(as_folder(scene, tmp_path / "set"), tmp_path / "job")
    assert capture.time is not None
    assert capture.station is not None
    np.testing.assert_allclose(capture.time, scene.frame / 6.0)
    assert capture.split == scene.split
    assert "every 8th frame time of all cameras held out, and the whole camera images/cam4" in capture.protocol
    assert len(set(capture.station.tolist())) == 6
    assert (np.diff(capture.station[np.argsort(scene.camera, kind="stable")]) >= 0).all()


def test_one_moving_camera_keeps_every_8th(tmp_path: Path):
    scene = one_camera()
    capture, _ = run_ingest(as_folder(scene, tmp_path / "set"), tmp_path / "job")
    assert capture.split == scene.split
    assert capture.station is None
    assert capture.protocol == "every 8th frame time held out"


def test_frames_without_a_time_are_named(tmp_path: Path):
    folder = as_folder(six_cameras(), tmp_path / "set")
    data = json.loads((folder / "transforms.json").read_text())
    for row in (5, 9):
        del data["frames"][row]["time"]
    (folder / "transforms.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"2 frames of 72 .*without a time .*cam1/0005.png, .*cam1/0009.png"):
        run_ingest(folder, tmp_path / "job")
    with pytest.raises(InputError, match=r"1 photo of 2 without a time \(b\)"):
        require_times(("a", "b"), np.array([0.0, np.nan]))
    with pytest.raises(InputError, match="None of the 2 photos has a time"):
        require_times(("a", "b"), None)


def test_moments_hold_one_photo_a_camera():
    camera = np.repeat([0, 1, 2], 5)
    time = np.concatenate([np.arange(5) / 30, np.arange(5) / 30 + 0.012, np.arange(5) / 30 - 0.003])
    moment = moments_of(time, camera)
    for one in range(3):
        assert len(set(moment[camera == one].tolist())) == 5
    assert (moment.reshape(3, 5)[0] == moment.reshape(3, 5)[1]).all()


def test_split_of_fewer_than_six_cameras_keeps_all_of_them():
    names = tuple(f"cam{c}/{m:04d}" for c in range(4) for m in range(10))
    split, protocol = moving_split(names, np.repeat(range(4), 10), np.tile(range(10), 4), "every8")
    assert {name for name, kind in zip(names, split, strict=True) if kind == "test"} == {
        f"cam{c}/{m:04d}" for c in range(4) for m in (0, 8)
    }
    assert protocol == "every 8th frame time held out, of all cameras"


def test_stills_hold_the_room_alone_and_points_lie_on_it(tmp_path: Path):
    scene = six_cameras()
    capture, _ = run_ingest(as_folder(scene, tmp_path / "set"), tmp_path / "job")
    reduced, groups = still_capture(capture, Job(tmp_path / "still"))
    assert len(reduced) == 6
    for i, rows in enumerate(groups):
        path = reduced.mask_path(i)
        assert path is not None
        use = read_image(path)[..., 0] > 127
        picked = rows[np.unique(np.arange(12))]
        still = scene.static[picked].all(0)
        assert use[~still].mean() < 0.04
        assert use[still].mean() > 0.6
        room = read_image(reduced.photo(i))
        assert np.abs(room[use & still].astype(int) - scene.photos[picked[0]][use & still]).mean() < 1
    found = sfm(capture, SfmOptions(features=1500), Job(tmp_path / "sfm"))
    assert found.model.names == capture.names
    assert found.model.cameras.time is not None
    np.testing.assert_allclose(found.model.cameras.cam_from_world, scene.cameras.cam_from_world, atol=1e-6)
    xyz = found.model.xyz
    assert len(xyz) > 20
    walls = np.abs(np.stack([xyz[:, 0] - 3, xyz[:, 0] + 3, xyz[:, 1] - 1.6, xyz[:, 2], xyz[:, 2] - 3])).min(0)
    assert np.median(walls) < 0.05
    assert set(found.model.observations.camera.tolist()) <= set(range(len(capture)))
    first = found.model.observations.camera == 0
    second = found.model.observations.camera == 1
    assert (found.model.observations.point[first] == found.model.observations.point[second]).all()


def test_what_moves_and_what_does_not():
    scene = one_camera()
    assert scene.cameras.time is not None
    assert motion_of(scene.cameras, scene.cameras.time, lambda i: scene.photos[i]).moves
    fixed = six_cameras()
    assert fixed.cameras.time is not None
    found = motion_of(fixed.cameras, fixed.cameras.time, lambda i: fixed.photos[i])
    assert found.fixed
    assert found.moves
    same = motion_of(fixed.cameras, fixed.cameras.time, lambda i: fixed.photos[i // 12 * 12])
    assert not same.moves
    assert not Motion(0.001, False).moves
    assert Motion(0.001, False, sure=False).moves


def test_one_camera_that_stands_still_is_refused(tmp_path: Path):
    scene = one_camera(6, still=True)
    assert (stations_of(scene.cameras) == 0).all()
    with pytest.raises(InputError, match="All 6 photos were taken by one camera that does not move"):
        check_cameras(scene.cameras)
    capture, _ = run_ingest(as_folder(scene, tmp_path / "set"), tmp_path / "job")
    with pytest.raises(InputError, match="how far away anything is cannot be known"):
        sfm(capture, SfmOptions(), Job(tmp_path / "sfm"))


@pytest.mark.parametrize("make, row, least", [(one_camera, 16, 0.5), (six_cameras, 30, 0.7)])
def test_moving_region_covers_what_moves(make, row: int, least: float):
    scene = make()
    region = moving_region(scene.cameras, scene.cameras.time, lambda i: scene.photos[i], row, (-2, -1, 1, 2))
    assert region[scene.moving[row]].mean() > least
    assert region[scene.static[row]].mean() < 0.35


QUALISYS = """<calibration><cameras>
<camera serial="camA"><fov_video left="0" top="0" right="639" bottom="479"/>
<transform r11="1" r12="0" r13="0" r21="0" r22="0" r23="1" r31="0" r32="-1" r33="0" x="0" y="-2000" z="500"/>
<intrinsic focalLengthU="32000" focalLengthV="32000" centerPointU="20448" centerPointV="15328" radialDistortion1="0.1"
 radialDistortion2="0" radialDistortion3="0" tangentalDistortion1="0.01" tangentalDistortion2="0"/></camera>
</cameras></calibration>"""


def test_qualisys_calibration(tmp_path: Path):
    path = tmp_path / "Calib.qca.txt"
    path.write_text(QUALISYS)
    cameras, world = calibrated(path, ["cama"], [(640, 480)], [(0, 0)])
    np.testing.assert_allclose(se3_inverse(cameras.cam_from_world)[0, :3, 3], [0, -2, 0.5])
    pixels, z = cameras.project(np.array([[0, 0, 0.5], [0.2, 0, 0.5], [0, 0, 0.7]]))
    np.testing.assert_allclose(pixels[0, 0], [320, 240])
    np.testing.assert_allclose(z[0], 2.0)
    assert pixels[0, 1, 0] > 360  # to the right
    assert pixels[0, 2, 1] < 200  # up
    assert world.scale == "metric"
    assert cameras.distortion is not None
    np.testing.assert_allclose(cameras.distortion, [[0.1, 0, 0.01, 0, 0]])
    half, _ = calibrated(path, ["camA"], [(320, 240)], [(0, 0)])
    np.testing.assert_allclose(half.K[0, :2], cameras.K[0, :2] / 2)
    barred, _ = calibrated(path, ["camA"], [(640, 500)], [(0, 20)])
    np.testing.assert_allclose(barred.K[0, :2, 2], [320, 250])
    with pytest.raises(InputError, match="has no camera called camB; it has camA"):
        calibrated(path, ["camB"], [(640, 480)], [(0, 0)])
    with pytest.raises(InputError, match="is 640x400 pixels, its camera in"):
        calibrated(path, ["camA"], [(640, 400)], [(0, 0)])
    path.write_text("<calibration/>")
    with pytest.raises(InputError, match="holds no camera"):
        calibrated(path, ["camA"], [(640, 480)], [(0, 0)])


def test_a_capture_without_stations_reads_back(tmp_path: Path):
    write_picture(tmp_path / "p" / "a.png", 1)
    write_picture(tmp_path / "p" / "b.png", 2)
    write_picture(tmp_path / "p" / "c.png", 3)
    capture, _ = run_ingest(tmp_path / "p", tmp_path / "job")
    assert isinstance(capture, Capture)
    assert capture.station is None
