"""Recordings of depth cameras in every layout: poses, units and frames come back, and z stands where the truth has it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon.cameras import Cameras
from recon.capture import Capture, check_photos, load_capture, save_capture
from recon.depth.sensor import Sensor, around, without_cracks, without_flying
from recon.depth_images import DepthCamera, read_depth
from recon.errors import InputError, MissingPart
from recon.ingest import IngestOptions, fingerprint, follow
from recon.rgbd import find_recording, nearest, read_recording
from tests import rgbd_scene as scene
from tests.depth_scene import Room
from tests.fabricate import write_photo
from tests.photo_files import run_ingest
from tests.rgbd_scene import SIZE, errors, the_room

ZUP_FROM_ROOM = np.array([[0.0, 0, -1, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""The room's (x, y down, z) in a world with +Z up as phones' are turned: (-z, x, -y)."""
Writer = Callable[[Path, Room], None]


@pytest.fixture(scope="module")
def place() -> Room:
    return the_room()


def stored(content: bytes) -> bytes:
    return content


LAYOUTS: dict[str, tuple[Writer, np.ndarray, float, float]] = {
    "sevenscenes": (scene.write_sevenscenes, np.eye(4), 0.004, 0.72),
    "tum": (scene.write_tum, np.eye(4), 0.004, 0.9),
    "polycam": (scene.write_polycam, ZUP_FROM_ROOM, 0.01, 0.85),
    "transforms": (scene.write_nerfstudio, np.eye(4), 0.01, 0.85),
}
"""Writer, the frame that poses come in, the worst 95 % error of z, and the least share of pixels with z."""


def map_of(capture: Capture, place: Room, folder: Path, i: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """z and trust of one photo in its own camera."""
    shot = scene.shot(capture, place, folder)
    sensor = Sensor.of(shot.capture, shot.reconstruction)
    assert sensor is not None
    return sensor.look(capture.names[i], place.cameras[i])


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_layout_comes_back_as_it_was(kind: str, place: Room, tmp_path: Path):
    write, new_from_room, worst, least = LAYOUTS[kind]
    write(tmp_path / "in", place)
    capture, job = run_ingest(tmp_path / "in", tmp_path / "job")
    assert (capture.kind, len(capture), capture.prior is not None) == (kind, len(place.names), True)
    assert capture.prior is not None
    expected = place.cameras.cam_from_world @ np.linalg.inv(new_from_room)
    np.testing.assert_allclose(capture.prior.cameras.cam_from_world, expected, atol=2e-5)
    np.testing.assert_allclose(capture.prior.cameras.K, place.cameras.K, atol=1e-6)
    assert capture.prior.world.scale == ("arbitrary" if kind == "transforms" else "metric")
    assert len(capture.depth) == len(place.names)
    assert not [text for text in job.warnings if "another size" not in text]
    z, trust = map_of(capture, place, tmp_path)
    assert np.quantile(errors(z, place.z[2]), 0.95) < worst
    reach = place.z[2] < 4.8 if kind == "polycam" else np.isfinite(place.z[2])
    assert np.isfinite(z[:, 24:][reach[:, 24:]]).mean() > least
    assert (trust[np.isfinite(z)] > 0).all()


@pytest.mark.parametrize("kind", LAYOUTS)
def test_poses_can_be_ignored_and_depth_stays(kind: str, place: Room, tmp_path: Path):
    LAYOUTS[kind][0](tmp_path / "in", place)
    if kind == "transforms":  # without the file that names them, depth images are found by their names
        (tmp_path / "in/lidar").rename(tmp_path / "in/depth")
        for i in range(len(place.names)):
            (tmp_path / f"in/depth/d{i}.png").rename(tmp_path / f"in/depth/{i}.png")
    capture, _ = run_ingest(tmp_path / "in", tmp_path / "job", poses="ignore")
    assert capture.prior is None
    assert all(capture.depth) and len(capture.depth) == len(place.names)


def test_polycam_prefers_what_is_corrected_and_knows_whom_to_trust(place: Room, tmp_path: Path):
    scene.write_polycam(tmp_path / "in", place)
    capture, _ = run_ingest(tmp_path / "in/keyframes", tmp_path / "job")
    assert capture.root.name == "corrected_images"
    z, trust = map_of(capture, place, tmp_path)
    assert np.isnan(z[10:-10, :14]).all(), "trust 0 is no measurement"
    seen = np.isfinite(z)
    np.testing.assert_allclose(np.median(trust[:, :30][seen[:, :30]]), 127 / 255, atol=1e-6)
    assert np.median(trust[:, 50:][seen[:, 50:]]) == 1
    shutil.rmtree(tmp_path / "in/keyframes/corrected_images")
    capture, _ = run_ingest(tmp_path / "in", tmp_path / "again")
    assert capture.root.name == "images" and capture.prior is not None
    assert capture.prior.cameras.K[0, 0, 0] == 50


@pytest.mark.parametrize("packed", [False, True])
def test_record3d(packed: bool, place: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the reader for LZFSE where it is installed; and without compression, so that the rest is tested everywhere."""
    if packed:
        compress = pytest.importorskip("liblzfse").compress
    else:
        compress = stored
        monkeypatch.setattr("recon.depth_images._lzfse", lambda path: path.read_bytes())
    scene.write_record3d(tmp_path / "in", place, compress)
    capture, _ = run_ingest(tmp_path / "in", tmp_path / "job")
    assert capture.kind == "record3d" and capture.prior is not None
    expected = place.cameras.cam_from_world @ np.linalg.inv(ZUP_FROM_ROOM)
    np.testing.assert_allclose(capture.prior.cameras.cam_from_world, expected, atol=1e-9)
    z, trust = map_of(capture, place, tmp_path)
    assert np.quantile(errors(z, place.z[2]), 0.95) < 0.01
    assert np.isnan(z[:, :12]).all() and np.isfinite(z[:, 24:][place.z[2][:, 24:] < 4.8]).mean() > 0.85
    assert (trust[np.isfinite(z)] == 1).all() and np.nanmax(z) < 5.1, "no LiDAR reaches farther"


@pytest.mark.skipif(importlib.util.find_spec("liblzfse") is not None, reason="the reader is installed")
def test_record3d_without_a_reader_says_what_to_install(place: Room, tmp_path: Path):
    scene.write_record3d(tmp_path / "in", place, stored)
    capture, job = run_ingest(tmp_path / "in", tmp_path / "job")
    assert capture.depth == () and capture.prior is not None
    assert ["6 depth images not used" in w and 'pip install "pyliblzfse"' in w for w in job.warnings] == [True]


@pytest.mark.parametrize("end", [".png", ".npy", ".tiff"])
def test_depth_beside_plain_photos(end: str, place: Room, tmp_path: Path):
    scene.write_plain(tmp_path / "in", place, end)
    capture, _ = run_ingest(tmp_path / "in", tmp_path / "job")
    assert capture.kind == "photos" and capture.depth[3] == f"../depth/3{end}"
    z, _ = map_of(capture, place, tmp_path)
    assert np.quantile(errors(z, place.z[2]), 0.95) < 0.004
    assert np.isfinite(z).mean() > 0.95


def test_units_of_transforms(place: Room, tmp_path: Path):
    scene.write_nerfstudio(tmp_path / "in", place)
    file = tmp_path / "in/transforms.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"depth_unit_scale_factor": 0.002}), encoding="utf-8")
    capture, _ = run_ingest(tmp_path / "in", tmp_path / "job")
    path = capture.depth_path(0)
    assert path is not None and capture.depth_camera.unit == 0.002
    true = scene.z_of(scene.small(place.cameras), 0)
    np.testing.assert_allclose(read_depth(path, capture.depth_camera), 2 * true, atol=0.0011)


def test_z_of_a_bent_lens_lands_where_the_straight_photo_has_it(place: Room, tmp_path: Path):
    """Registered depth images share the distortion of the photo as it was taken."""
    bend = np.tile([[-0.25, 0.05, 0.002, -0.001]], (len(place.names), 1))
    taken = replace(place.cameras, model="opencv", distortion=bend)
    scene.write_plain(tmp_path / "in", replace(place, z=[scene.z_of(taken, i) for i in range(len(place.names))]))
    capture, _ = run_ingest(tmp_path / "in", tmp_path / "job")

    def worst(before: Cameras, folder: str) -> float:
        shot = scene.shot(capture, place, tmp_path / folder, taken=before)
        sensor = Sensor.of(capture, shot.reconstruction)
        assert sensor is not None
        return float(np.quantile(errors(sensor.look("2.png", place.cameras[2])[0], place.z[2]), 0.95))

    assert worst(taken, "bent") < 0.004
    assert worst(place.cameras, "straight") > 0.02, "the lens must matter here, or this shows nothing"


def test_the_shift_between_the_cameras_counts(place: Room, tmp_path: Path):
    scene.write_sevenscenes(tmp_path / "in", place)
    capture, _ = run_ingest(tmp_path / "in", tmp_path / "job")
    right, _ = map_of(capture, place, tmp_path)
    one_place = replace(capture, depth_camera=replace(capture.depth_camera, shift=(0.0, 0.0, 0.0)))
    wrong, _ = map_of(one_place, place, tmp_path)
    assert np.quantile(errors(right, place.z[2]), 0.98) < 0.5 * np.quantile(errors(wrong, place.z[2]), 0.98)


def test_flying_pixels_go_and_surfaces_stay():
    z = np.full((20, 30), 2.0, np.float32)
    z[:, 15:] = 4.0
    z[:, 15] = 3.0  # hangs between the two
    z[5, 5] = 1.0
    slant = np.broadcast_to(np.linspace(2, 2.6, 30, dtype=np.float32), (20, 30))
    kept = without_flying(z, 100.0)
    assert np.isnan(kept[2:-2, 15]).all() and np.isnan(kept[5, 5])
    assert np.isfinite(kept[2:-2, 6:15]).all() and np.isfinite(kept[2:-2, 16:28]).all()
    assert np.isfinite(without_flying(slant.copy(), 100.0)).all()


def test_flying_pixels_are_not_drawn(place: Room, tmp_path: Path):
    edge = [np.where(np.arange(128) < 60, 2.0, 4.0) + 0 * z for z in place.z]
    for z in edge:
        z[:, 60] = 3.0
        z[40, 31] = z[41, 30:32] = 1.0  # three that hang together
    scene.write_plain(tmp_path / "in", replace(place, z=edge))
    capture, _ = run_ingest(tmp_path / "in", tmp_path / "job")
    z, _ = map_of(capture, place, tmp_path)
    assert not ((z > 2.01) & (z < 3.99)).any() and np.nanmin(z) > 1.99 and np.isfinite(z).mean() > 0.9


def test_cracks_of_one_pixel_are_filled_and_holes_are_not():
    z = np.full((9, 12), 2.0, np.float32)
    z[:, 4] = np.nan
    z[3:6, 7:9] = np.nan
    z[:, 10], z[:, 11] = np.nan, 5.0  # between two surfaces
    out = without_cracks(z, 100.0)
    assert np.isfinite(out[:, 4]).all() and np.isnan(out[3:6, 7:9]).all() and np.isnan(out[:, 10]).all()
    assert np.isnan(around(z, 0, -1)[:, 0]).all() and around(z, 0, 1)[0, 10] == 5.0


def test_times_are_matched_to_the_nearest_within_reach():
    assert nearest([1.0, 2.0, 3.0, 9.0], [0.99, 1.995, 2.011, 3.05]) == [0, 1, -1, -1]
    assert nearest([1.0], []) == [-1]


def test_other_folders_are_no_recordings(tmp_path: Path):
    for names in (("images", "cameras"), ("rgb", "metadata"), ("keyframes/images", "keyframes/cameras")):
        for name in names:
            (tmp_path / names[0] / "x" / name).mkdir(parents=True)
        assert find_recording(tmp_path / names[0] / "x") == ""
    scene.write_json_file(tmp_path / "rgb/metadata.json", {"camera": "another"})
    (tmp_path / "rgb/rgb").mkdir()
    assert find_recording(tmp_path / "rgb") == ""


def test_long_recordings_are_thinned(place: Room, tmp_path: Path):
    scene.write_sevenscenes(tmp_path / "in", place)
    recording = read_recording(tmp_path / "in").thinned(3)
    assert [frame.name[6:12] for frame in recording.frames] == ["000000", "000020", "000050"]
    assert "3 of 6 frames" in recording.notes[-1]
    assert find_recording(tmp_path) == ""


def test_frames_without_a_usable_pose_are_named(place: Room, tmp_path: Path):
    scene.write_sevenscenes(tmp_path / "in", place)
    np.savetxt(tmp_path / "in/frame-000010.pose.txt", np.full((4, 4), -np.inf))
    (tmp_path / "in/frame-000020.pose.txt").write_text("1 0 0")
    (tmp_path / "in/frame-000030.pose.txt").unlink()
    capture, job = run_ingest(tmp_path / "in", tmp_path / "job")
    assert [name[6:12] for name in capture.names] == ["000000", "000040", "000050"]
    text = " ".join(job.warnings)
    assert "not finite" in text and "4x4 numbers" in text and "it has no pose" in text


def test_moved_recordings_are_found_and_their_bytes_count(place: Room, tmp_path: Path):
    scene.write_polycam(tmp_path / "old", place)
    capture, _ = run_ingest(tmp_path / "old", tmp_path / "w")
    before = fingerprint(tmp_path / "old", IngestOptions())
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(InputError, match="18 of the 18 photos, masks and depth images"):
        check_photos(capture, tmp_path)
    assert fingerprint(tmp_path / "new", IngestOptions()) == before
    assert follow(tmp_path / "new", IngestOptions(), tmp_path / "w") == tmp_path / "new"
    moved = load_capture(tmp_path / "w")
    check_photos(moved, tmp_path)
    assert moved.depth_path(1) == tmp_path / "new/keyframes/depth/1001.png"
    assert moved.depth_camera == DepthCamera(far=5.0) and moved.depth_confidence == capture.depth_confidence
    seen = {before}
    for kind in ("depth", "confidence"):
        shutil.copy(tmp_path / f"new/keyframes/{kind}/1000.png", tmp_path / "kept.png")
        scene.write_whole(tmp_path / f"new/keyframes/{kind}/1000.png", np.ones((48, 64)))
        seen.add(fingerprint(tmp_path / "new", IngestOptions()))
        shutil.copy(tmp_path / "kept.png", tmp_path / f"new/keyframes/{kind}/1000.png")
    assert len(seen) == 3


def test_captures_from_before_depth_cameras_load(place: Room, tmp_path: Path):
    scene.write_plain(tmp_path / "in", place)
    capture, _ = run_ingest(tmp_path / "in", tmp_path / "job")
    head = json.loads((tmp_path / "job/capture.json").read_text())
    old = {key: value for key, value in head.items() if key not in ("depth_camera", "depth_confidence")}
    (tmp_path / "job/capture.json").write_text(json.dumps(old), encoding="utf-8")
    loaded = load_capture(tmp_path / "job")
    assert loaded.depth == capture.depth and loaded.depth_camera == DepthCamera()
    save_capture(replace(capture, depth=()), tmp_path / "job")
    assert "depth_camera" not in json.loads((tmp_path / "job/capture.json").read_text())


def test_depth_cameras_survive_json():
    camera = DepthCamera(0.0002, (585.0, 586.0, 320.0, 240.0), (640, 480), (-0.025, 0.0, 0.0), 5.0)
    assert DepthCamera.from_json(json.loads(json.dumps(camera.to_json()))) == camera


def test_exr_needs_its_package(tmp_path: Path):
    path = tmp_path / "a.exr"
    if importlib.util.find_spec("OpenEXR") is None:
        path.write_bytes(b"anything")
        with pytest.raises(MissingPart, match="OpenEXR"):
            read_depth(path, DepthCamera())
        return
    import OpenEXR  # pyright: ignore[reportMissingImports]

    z = np.linspace(1, 3, 48, dtype=np.float32).reshape(6, 8)
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"R": z}).write(str(path))
    np.testing.assert_array_equal(read_depth(path, DepthCamera()), z)


def test_a_sideways_photo_takes_its_depth_along(place: Room, tmp_path: Path):
    """EXIF turns the photo upright; its depth image lies as the photo is stored."""
    from PIL import Image

    folder = tmp_path / "in"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter clockwise
    for i in range(3):
        (folder / "depth").mkdir(parents=True, exist_ok=True)
        picture = np.rint(255 * np.rot90(place.rgb[i])).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{i}.jpg", exif=exif, quality=95)
        scene.write_whole(folder / f"depth/{i}.png", np.rot90(place.z[i]))
    capture, _ = run_ingest(folder, tmp_path / "job")
    assert capture.size.tolist() == [list(SIZE)] * 3 and all(capture.depth)
    few = Room(place.names[:3], place.cameras[:3], place.z[:3], place.normal[:3], place.rgb[:3])
    z, _ = map_of(capture, few, tmp_path, 1)
    assert np.quantile(errors(z, place.z[1]), 0.95) < 0.004


def test_photos_alone_write_no_depth(tmp_path: Path):
    for i in range(3):
        write_photo(tmp_path / f"in/{i}.png", np.random.default_rng(i).random((96, 128, 3)))
    capture, job = run_ingest(tmp_path / "in", tmp_path / "job")
    assert (capture.depth, job.metrics["depth"], capture.depth_path(0)) == ((), 0, None)
