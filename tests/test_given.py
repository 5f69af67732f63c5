"""Data sets that bring their poses (transforms.json, COLMAP): kept as they are, what is damaged is named. Truth is known."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.cameras import Cameras
from recon.errors import InputError
from recon.geometry import World
from recon.ingest import IngestOptions, fingerprint
from recon.ply_points import read_ply_points
from tests.fabricate import ring_cameras
from tests.photo_files import exif_bytes, prior_of, run_ingest, write_picture, write_pictures

ORIENTATION = 0x0112


def opengl_matrix(cameras: Cameras, row: int) -> list[list[float]]:
    """world_from_cam with OpenGL's axes, written down from where the camera stands and looks."""
    world_from_cam = np.linalg.inv(cameras.cam_from_world[row])
    right, down, forward, center = world_from_cam[:3, :4].T
    m = np.eye(4)
    m[:3] = np.stack([right, -down, -forward, center], 1)
    return m.tolist()


RING = ring_cameras(9).resized((160, 120))
WHOLE: dict[str, Any] = {"w": 160, "h": 120, "fl_x": 150.0, "fl_y": 168.75, "cx": 80.0, "cy": 60.0}


def frames(count: int, template: str = "images/{}.jpg") -> list[dict[str, Any]]:
    return [{"file_path": template.format(i), "transform_matrix": opengl_matrix(RING, i)} for i in range(count)]


def write_set(folder: Path, count: int = 9, head: dict[str, Any] | None = None, **change: Any) -> list[dict[str, Any]]:
    """A nerfstudio-like data set of `count` ring cameras; returns its frames."""
    listed = frames(count)
    for i in range(count):
        write_picture(folder / "images" / f"{i}.jpg", i)
    write_json_file(folder / "transforms.json", {**(WHOLE if head is None else head), **change, "frames": listed})
    return listed


def write_json_file(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_nerfstudio_poses_are_kept(tmp_path: Path):
    write_set(tmp_path, applied_transform=[[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]])
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    prior = capture.prior
    assert prior is not None
    assert capture.kind == "transforms"
    assert capture.names == prior.names == tuple(f"images/{i}.jpg" for i in range(9))
    np.testing.assert_allclose(prior.cameras.cam_from_world, RING.cam_from_world, atol=1e-12)
    np.testing.assert_allclose(prior.cameras.K, np.broadcast_to(RING.K[0], (9, 3, 3)), atol=1e-12)
    assert prior.cameras.model == "pinhole"
    assert prior.world.to_json() == World(up="estimated").to_json()
    assert len(prior.xyz) == 0
    pixels, z = prior.cameras.project([[0.0, 0, 0], [0, 0, 0.5]])  # the ring looks at the origin, +Z is up
    assert (z > 0).all()
    np.testing.assert_allclose(pixels[:, 0], [[80, 60]] * 9, atol=1e-9)
    assert (pixels[:, 1, 1] < 59).all()
    np.testing.assert_allclose(capture.focal_prior, 150)
    assert capture.camera_id.tolist() == [0] * 9


def test_the_json_itself_can_be_named_and_poses_can_be_ignored(tmp_path: Path):
    write_set(tmp_path)
    assert prior_of(tmp_path / "transforms.json", tmp_path / "job").names[0] == "images/0.jpg"
    capture, _ = run_ingest(tmp_path, tmp_path / "ignored", poses="ignore")
    assert (capture.kind, capture.prior, capture.names[0]) == ("photos", None, "0.jpg")


@pytest.mark.parametrize(
    ("head", "model", "distortion", "focal"),
    [
        ({"camera_angle_x": 2 * math.atan(0.5)}, "pinhole", None, (160, 160)),
        ({"camera_angle_x": 2 * math.atan(0.5), "camera_angle_y": 2 * math.atan(0.5)}, "pinhole", None, (160, 120)),
        ({**WHOLE, "k1": 0.1, "k2": 0.2, "p1": 0.01, "p2": 0.02}, "opencv", [0.1, 0.2, 0.01, 0.02], (150, 168.75)),
        ({**WHOLE, "k1": 0, "k2": 0, "p1": 0, "p2": 0, "camera_model": "OPENCV"}, "pinhole", None, (150, 168.75)),
        ({**WHOLE, "k1": 0.1, "k3": 0.3}, "opencv", [0.1, 0, 0, 0, 0.3, 0, 0, 0], (150, 168.75)),
        ({**WHOLE, "k1": 0.1, "k4": 0.4, "camera_model": "OPENCV_FISHEYE"}, "fisheye", [0.1, 0, 0, 0.4], (150, 168.75)),
        ({**WHOLE, "k1": 0.1, "is_fisheye": True}, "fisheye", [0.1, 0, 0, 0], (150, 168.75)),
        ({**WHOLE, "k1": 0.1, "camera_model": "PINHOLE"}, "pinhole", None, (150, 168.75)),
    ],
)
def test_intrinsics(tmp_path: Path, head: dict[str, Any], model: str, distortion: list[float] | None, focal: tuple):
    write_set(tmp_path, 3, head)
    cameras = prior_of(tmp_path, tmp_path / "job").cameras
    assert cameras.model == model
    np.testing.assert_allclose(cameras.K[1], [[focal[0], 0, 80], [0, focal[1], 60], [0, 0, 1]])
    if distortion is None:
        assert cameras.distortion is None
    else:
        assert cameras.distortion is not None
        np.testing.assert_allclose(cameras.distortion[2], distortion)


def test_a_frame_may_have_its_own_intrinsics(tmp_path: Path):
    listed = write_set(tmp_path, 4)
    listed[2] |= {"fl_x": 99.0, "fl_y": 98.0, "cx": 70.0}
    write_json_file(tmp_path / "transforms.json", {**WHOLE, "frames": listed})
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert capture.prior is not None
    np.testing.assert_allclose(capture.prior.cameras.K[2], [[99, 0, 70], [0, 98, 60], [0, 0, 1]])
    assert capture.camera_id.tolist() == [0, 0, 1, 0]
    assert capture.focal_prior.tolist() == [150, 150, 99, 150]


def test_blender_sets_keep_their_own_split(tmp_path: Path):
    angle = {"camera_angle_x": 2 * math.atan(0.5)}
    for kind, rows in (("train", range(6)), ("test", range(6, 9)), ("val", range(3))):
        listed = [{"file_path": f"./{kind}/r_{i}", "transform_matrix": opengl_matrix(RING, i)} for i in rows]
        write_json_file(tmp_path / f"transforms_{kind}.json", angle | {"frames": listed})
        for i in rows:
            write_picture(tmp_path / kind / f"r_{i}.png", {"train": 0, "test": 20, "val": 40}[kind] + i)
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert capture.names == (*(f"test/r_{i}.png" for i in (6, 7, 8)), *(f"train/r_{i}.png" for i in range(6)))
    assert capture.split == ("test",) * 3 + ("train",) * 6
    assert "own split (transforms_test.json)" in capture.protocol
    assert capture.prior is not None
    np.testing.assert_allclose(capture.prior.cameras.cam_from_world[0], RING.cam_from_world[6], atol=1e-12)
    assert not run_ingest(tmp_path, tmp_path / "none", holdout="none")[0].test.any()


def test_nerfstudio_split_by_file_names(tmp_path: Path):
    lists = {
        "train_filenames": [f"images/{i}.jpg" for i in range(5)],
        "test_filenames": ["images/5.jpg", "./images/6.jpg"],
        "val_filenames": ["images/7.jpg", "images/8.jpg"],
    }
    write_set(tmp_path, 9, None, **lists)
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert capture.names == tuple(f"images/{i}.jpg" for i in range(7))
    assert capture.split == ("train",) * 5 + ("test",) * 2
    assert "own split" in capture.protocol


def test_missing_files_are_skipped_and_counted(tmp_path: Path):
    write_set(tmp_path)
    for i in (2, 4):
        (tmp_path / "images" / f"{i}.jpg").unlink()
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert len(capture) == 7
    assert job.metrics["missing"] == 2
    assert any("2 of the 9 photos" in w and "images/2.jpg, images/4.jpg" in w for w in job.warnings)
    assert capture.prior is not None
    np.testing.assert_allclose(capture.prior.cameras.cam_from_world[2], RING.cam_from_world[3], atol=1e-12)


def nan_at(matrix: list[list[float]]) -> list[list[float]]:
    return [*matrix[:1], [math.nan, *matrix[1][1:]], *matrix[2:]]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda f: f.update(transform_matrix=nan_at(f["transform_matrix"])), "not finite"),
        (lambda f: f.update(transform_matrix=f["transform_matrix"][:2]), r"shape \[2, 4\]"),
        (lambda f: f.update(transform_matrix=[1, 2, [3]]), "no matrix"),
        (lambda f: f.pop("transform_matrix"), "shape|matrix"),
        (lambda f: f.update(transform_matrix=np.zeros((4, 4)).tolist()), "last row|no rotation"),
        (lambda f: f.update(transform_matrix=np.diag([1.0, 2, 1, 1]).tolist()), "no rotation"),
        (lambda f: f.update(transform_matrix=np.diag([1.0, 1, -1, 1]).tolist()), "no rotation"),
        (lambda f: f.update(fl_x=math.nan), "fl_x is nan"),
        (lambda f: f.update(fl_x=-5, fl_y=-5), "neither a focal length"),
        (lambda f: f.update(fl_x="long"), "fl_x is 'long'"),
        (lambda f: f.update(w=120, h=160), "160x120 pixels, its camera 120x160"),
        (lambda f: f.update(w=0), "camera is 0x120"),
        (lambda f: f.update(k1=0.1, k4=0.1), "k4"),
    ],
)
def test_a_frame_that_makes_no_sense_is_named_and_skipped(tmp_path: Path, spoil: Any, reason: str):
    listed = write_set(tmp_path, 5)
    spoil(listed[1])
    write_json_file(tmp_path / "transforms.json", {**WHOLE, "frames": listed})
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert capture.names == tuple(f"images/{i}.jpg" for i in (0, 2, 3, 4))
    assert list(job.metrics["skipped"]) == ["images/1.jpg"]
    with pytest.raises(InputError, match=reason):
        raise InputError(job.metrics["skipped"]["images/1.jpg"])


def test_frames_without_a_path_and_frames_listed_twice(tmp_path: Path):
    listed = write_set(tmp_path, 4)
    listed += [{"transform_matrix": listed[0]["transform_matrix"]}, listed[1], "frame"]  # type: ignore[list-item]
    write_json_file(tmp_path / "transforms.json", {**WHOLE, "frames": listed})
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert len(capture) == 4
    assert job.metrics["skipped"] == {
        "a frame of transforms.json": "it has no file_path",
        "images/1.jpg (again)": "its photo is listed twice; the first frame counts",
    }


def test_a_scaled_rotation_is_a_rotation(tmp_path: Path):
    listed = write_set(tmp_path, 3)
    scaled = np.array(listed[0]["transform_matrix"])
    scaled[:3, :3] *= 2
    listed[0]["transform_matrix"] = scaled.tolist()
    write_json_file(tmp_path / "transforms.json", {**WHOLE, "frames": listed})
    prior = prior_of(tmp_path, tmp_path / "job")
    np.testing.assert_allclose(prior.cameras.cam_from_world, RING.cam_from_world[:3], atol=1e-12)


def test_photos_of_another_size_than_their_cameras(tmp_path: Path):
    write_set(tmp_path, 4)
    write_picture(tmp_path / "images" / "1.jpg", 1, (120, 90))
    capture, job = run_ingest(tmp_path, tmp_path / "job")
    assert capture.prior is not None
    np.testing.assert_allclose(capture.prior.cameras.K[1], [[112.5, 0, 60], [0, 126.5625, 45], [0, 0, 1]])
    np.testing.assert_allclose(capture.prior.cameras.K[2], [[150, 0, 80], [0, 168.75, 60], [0, 0, 1]])
    assert (
        capture.prior.cameras.size.tolist() == capture.size.tolist() == [[160, 120], [120, 90], [160, 120], [160, 120]]
    )
    assert any("1 photo of another size" in w and "images/1.jpg" in w for w in job.warnings)


def test_given_poses_belong_to_the_photos_as_stored_unless_their_size_says_otherwise(tmp_path: Path):
    turned = exif_bytes({ORIENTATION: 6})
    listed = write_set(tmp_path, 4)
    for i in range(4):
        write_picture(tmp_path / "images" / f"{i}.jpg", i, exif=turned)
    capture, _ = run_ingest(tmp_path, tmp_path / "job")
    assert capture.orientation.tolist() == [1] * 4
    assert capture.size.tolist() == [[160, 120]] * 4
    upright = {**WHOLE, "w": 120, "h": 160, "cx": 60.0, "cy": 80.0}
    write_json_file(tmp_path / "transforms.json", {**upright, "frames": listed})
    capture, _ = run_ingest(tmp_path, tmp_path / "again")
    assert capture.orientation.tolist() == [6] * 4
    assert capture.size.tolist() == [[120, 160]] * 4
    for i in range(4):  # upside down: the size tells nothing
        write_picture(tmp_path / "images" / f"{i}.jpg", i, exif=exif_bytes({ORIENTATION: 3}))
    write_json_file(tmp_path / "transforms.json", {**WHOLE, "frames": listed})
    assert run_ingest(tmp_path, tmp_path / "third")[0].orientation.tolist() == [1] * 4


def test_photos_outside_the_folder_and_masks_of_their_own(tmp_path: Path):
    listed = frames(3, "../photos/{}.jpg")
    for i, frame in enumerate(listed):
        write_picture(tmp_path / "photos" / f"{i}.jpg", i)
        frame["file_path"] = frame["file_path"].replace("/", "\\") if i == 1 else frame["file_path"]
    write_picture(tmp_path / "set" / "m.png", 3)
    listed[1]["mask_path"] = "m.png"
    write_json_file(tmp_path / "set" / "transforms.json", {**WHOLE, "frames": listed})
    capture, job = run_ingest(tmp_path / "set", tmp_path / "job")
    assert capture.root == tmp_path / "photos"
    assert capture.names == ("0.jpg", "1.jpg", "2.jpg")
    assert capture.mask_path(1) == tmp_path / "set" / "m.png"
    assert job.warnings == []


@pytest.mark.parametrize("content", ["{", "[]", '{"frames": 3}', '{"camera_angle_x": 1}'])
def test_a_transforms_json_that_is_none(tmp_path: Path, content: str):
    write_pictures(tmp_path, 3)
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(InputError, match=r"transforms\.json"):
        run_ingest(tmp_path, tmp_path / "job")
    assert len(run_ingest(tmp_path, tmp_path / "ignored", poses="ignore")[0]) == 3


def test_an_unknown_camera_model_is_named(tmp_path: Path):
    write_set(tmp_path, 3, None, camera_model="EQUIRECTANGULAR")
    with pytest.raises(InputError, match="EQUIRECTANGULAR is not supported"):
        run_ingest(tmp_path, tmp_path / "job")


def test_all_files_missing_is_an_error_with_the_count(tmp_path: Path):
    write_set(tmp_path, 5)
    shutil.rmtree(tmp_path / "images")
    with pytest.raises(InputError, match="0 usable photos"):
        run_ingest(tmp_path, tmp_path / "job")


PLY_HEAD = (
    "ply\nformat {}\ncomment by hand\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    "property uchar red\nproperty uchar green\nproperty uchar blue\nelement face 0\nproperty list uchar int i\nend_header\n"
)
PLY_ROWS = [(1.5, 2, 3, 10, 20, 30), (-1, 0, 4, 0, 255, 7), (math.nan, 0, 0, 1, 2, 3)]


@pytest.mark.parametrize("form", ["ascii 1.0", "binary_little_endian 1.0", "binary_big_endian 1.0"])
def test_points_of_a_ply_come_along(tmp_path: Path, form: str):
    order = ">" if "big" in form else "<"
    dtype = [("x", order + "f4"), ("y", order + "f4"), ("z", order + "f4"), ("r", "u1"), ("g", "u1"), ("b", "u1")]
    text = "\n".join(" ".join(str(v) for v in row) for row in PLY_ROWS).encode()
    body = text if form.startswith("ascii") else np.array(PLY_ROWS, dtype).tobytes()
    write_set(tmp_path, 4, None, ply_file_path="cloud.ply")
    (tmp_path / "cloud.ply").write_bytes(PLY_HEAD.format(form).encode() + body)
    before = fingerprint(tmp_path, IngestOptions())
    prior = prior_of(tmp_path, tmp_path / "job")
    assert prior.xyz.tolist() == [[1.5, 2, 3], [-1, 0, 4]]
    assert prior.rgb.tolist() == [[10, 20, 30], [0, 255, 7]]
    (tmp_path / "cloud.ply").write_bytes(b"ply\nnonsense")
    assert fingerprint(tmp_path, IngestOptions()) != before
    with pytest.raises(InputError, match=r"cloud\.ply"):
        read_ply_points(tmp_path / "cloud.ply")
    capture, job = run_ingest(tmp_path, tmp_path / "again")
    assert capture.prior is not None
    assert len(capture.prior.xyz) == 0
    assert any("cloud.ply" in warning for warning in job.warnings)
