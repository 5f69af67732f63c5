"""SparseModel and COLMAP's files, judged by pycolmap: its synthetic scenes are the known truth."""

from pathlib import Path

import numpy as np
import pycolmap
import pytest

from recon.cameras import Cameras
from recon.errors import InputError
from recon.geometry import Sim3, World, rotation_from_quat, se3
from recon.sparse import Observations, SparseModel, from_pycolmap, read_colmap, write_colmap


def synthetic(model: str = "OPENCV", params: tuple[float, ...] = (600, 610, 320, 240, 0.05, -0.02, 0.001, -0.002)):
    """A pycolmap reconstruction of two rigs, 8 photos, 40 points."""
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig, options.num_frames_per_rig = 2, 2, 2
    options.num_points3D, options.num_points2D_without_point3D = 40, 3
    options.camera_width, options.camera_height = 640, 480
    options.camera_model_id, options.camera_params = getattr(pycolmap.CameraModelId, model), list(params)
    pycolmap.set_random_seed(5)
    return pycolmap.synthesize_dataset(options)


def assert_same(a: SparseModel, b: SparseModel, atol: float = 1e-12) -> None:
    assert a.names == b.names
    np.testing.assert_allclose(a.cameras.cam_from_world, b.cameras.cam_from_world, atol=atol)
    np.testing.assert_allclose(a.cameras.K, b.cameras.K, atol=atol)
    np.testing.assert_array_equal(a.cameras.size, b.cameras.size)
    assert a.cameras.model == b.cameras.model
    if a.cameras.distortion is None or b.cameras.distortion is None:
        assert a.cameras.distortion is b.cameras.distortion
    else:
        np.testing.assert_allclose(a.cameras.distortion, b.cameras.distortion, atol=atol)
    np.testing.assert_allclose(a.xyz, b.xyz, atol=atol)
    np.testing.assert_array_equal(a.rgb, b.rgb)
    np.testing.assert_allclose(a.error, b.error, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(a.observations.camera, b.observations.camera)
    np.testing.assert_array_equal(a.observations.point, b.observations.point)
    np.testing.assert_allclose(a.observations.xy, b.observations.xy, rtol=1e-6)


def assert_as_pycolmap(model: SparseModel, truth: pycolmap.Reconstruction, suffix: str = "") -> None:
    """Every pose, every projection of every point, every observation, asked of pycolmap itself."""
    assert (
        sorted(model.names) == list(model.names) == sorted(i.name.removesuffix(suffix) for i in truth.images.values())
    )
    ids = sorted(truth.points3D)
    np.testing.assert_allclose(model.xyz, [truth.points3D[i].xyz for i in ids], atol=1e-12)
    np.testing.assert_array_equal(model.rgb, [truth.points3D[i].color for i in ids])
    pixels, _ = model.cameras.project(model.xyz)
    for row, name in enumerate(model.names):
        image = truth.find_image_with_name(name + suffix)
        np.testing.assert_allclose(model.cameras.cam_from_world[row, :3], image.cam_from_world().matrix(), atol=1e-12)
        expected = np.array([image.project_point(truth.points3D[i].xyz) for i in ids])
        np.testing.assert_allclose(pixels[row], expected, atol=1e-6)
        seen = {ids.index(p.point3D_id): p.xy for p in image.points2D if p.has_point3D()}
        mine = model.observations.camera == row
        assert sorted(seen) == model.observations.point[mine].tolist()
        np.testing.assert_allclose(model.observations.xy[mine], [seen[p] for p in sorted(seen)], rtol=1e-6)


MODELS = [
    ("SIMPLE_PINHOLE", (600, 320, 240), "pinhole"),
    ("PINHOLE", (600, 610, 320, 240), "pinhole"),
    ("SIMPLE_RADIAL", (600, 320, 240, 0.05), "opencv"),
    ("RADIAL", (600, 320, 240, 0.05, -0.02), "opencv"),
    ("OPENCV", (600, 610, 320, 240, 0.05, -0.02, 0.001, -0.002), "opencv"),
    ("FULL_OPENCV", (600, 610, 320, 240, 0.05, -0.02, 0.001, -0.002, 0.01, 0.02, 0.005, 0.001), "opencv"),
    ("OPENCV_FISHEYE", (600, 610, 320, 240, 0.05, -0.02, 0.01, -0.002), "fisheye"),
    ("SIMPLE_RADIAL_FISHEYE", (600, 320, 240, 0.05), "fisheye"),
    ("RADIAL_FISHEYE", (600, 320, 240, 0.05, -0.02), "fisheye"),
    ("SIMPLE_FISHEYE", (600, 320, 240), "fisheye"),
    ("FISHEYE", (600, 610, 320, 240), "fisheye"),
]


@pytest.mark.parametrize(("name", "params", "ours"), MODELS, ids=[m[0] for m in MODELS])
def test_reads_what_pycolmap_writes(tmp_path: Path, name: str, params: tuple[float, ...], ours: str):
    truth = synthetic(name, params)
    (tmp_path / "bin").mkdir()
    (tmp_path / "txt").mkdir()
    truth.write_binary(tmp_path / "bin")
    truth.write_text(tmp_path / "txt")
    binary, text = read_colmap(tmp_path / "bin"), read_colmap(tmp_path / "txt")
    assert binary.cameras.model == ours
    assert_as_pycolmap(binary, truth)
    assert_same(binary, text)
    assert_same(binary, from_pycolmap(truth))


def test_reads_old_models_without_rigs_and_frames(tmp_path: Path):
    truth = synthetic()
    truth.write_binary(tmp_path)
    (tmp_path / "rigs.bin").unlink()
    (tmp_path / "frames.bin").unlink()
    assert_as_pycolmap(read_colmap(tmp_path), truth)


@pytest.mark.parametrize(("name", "params", "ours"), [MODELS[1], MODELS[4], MODELS[5], MODELS[6]])
def test_pycolmap_reads_what_we_write(tmp_path: Path, name: str, params: tuple[float, ...], ours: str):
    truth = synthetic(name, params)
    model = from_pycolmap(truth)
    assert model.cameras.model == ours
    (tmp_path / "out").mkdir()
    truth.write_binary(tmp_path / "out")  # its rigs and frames must not survive beside our files
    write_colmap(model, tmp_path / "out", name_suffix=".png")
    back = pycolmap.Reconstruction(tmp_path / "out")
    assert back.num_reg_images() == 8
    assert back.num_cameras() == 1  # equal intrinsics share a camera
    assert {p.track.length() for p in back.points3D.values()} == {p.track.length() for p in truth.points3D.values()}
    assert_as_pycolmap(model, back, suffix=".png")
    for point in back.points3D.values():  # tracks and keypoints refer to one another
        for element in point.track.elements:
            seen = back.images[element.image_id].points2D[element.point2D_idx]
            np.testing.assert_array_equal(back.points3D[seen.point3D_id].xyz, point.xyz)
    assert_same(read_colmap(tmp_path / "out", strip_suffix=".png"), model)


def random_model(photos: int, points: int, seen: int, model: str = "pinhole") -> SparseModel:
    rng = np.random.default_rng(7)
    cameras = Cameras(
        se3(rotation_from_quat(rng.normal(size=(photos, 4))), rng.normal(size=(photos, 3))),
        np.broadcast_to(np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]]), (photos, 3, 3)).copy(),
        np.broadcast_to(np.array([640, 480], np.int32), (photos, 2)).copy(),
    )
    return SparseModel(
        tuple(f"folder/photo {i:04d}.jpg" for i in range(photos)),
        cameras,
        rng.normal(size=(points, 3)),
        rng.integers(0, 256, (points, 3), dtype=np.uint8),
        rng.random(points, dtype=np.float32),
        Observations.of(
            rng.integers(0, photos, seen), rng.integers(0, points, seen), rng.random((seen, 2), dtype=np.float32)
        ),
    )


def test_two_hundred_thousand_points_go_round(tmp_path: Path):
    model = random_model(60, 200_000, 600_000)
    write_colmap(model, tmp_path)
    assert_same(read_colmap(tmp_path), model, atol=1e-10)


def test_names_with_spaces_and_unicode_in_text(tmp_path: Path):
    truth = synthetic()
    for i, image in truth.images.items():
        image.name = f"Ünter ordner/foto {i} ß.jpg"
    truth.write_binary(tmp_path)
    names = read_colmap(tmp_path).names
    text = tmp_path / "text"
    text.mkdir()
    truth.write_text(text)
    assert names[0] == "Ünter ordner/foto 1 ß.jpg"
    assert read_colmap(text).names == names


def test_mixed_pinhole_and_opencv_become_opencv(tmp_path: Path):
    truth = synthetic()
    truth.write_text(tmp_path)
    cameras = tmp_path / "cameras.txt"
    lines = [line for line in cameras.read_text().splitlines() if not line.startswith("#")]
    lines[0] = "1 PINHOLE 640 480 500 501 320 240"
    cameras.write_text("\n".join(lines))
    model = read_colmap(tmp_path)
    plain = model.cameras.K[:, 0, 0] == 500
    assert 0 < plain.sum() < len(plain)
    assert model.cameras.model == "opencv"
    assert model.cameras.distortion is not None
    assert (model.cameras.distortion[plain] == 0).all()
    np.testing.assert_allclose(model.cameras.distortion[~plain], [[0.05, -0.02, 0.001, -0.002]] * int((~plain).sum()))


def test_select_keeps_what_the_chosen_cameras_saw():
    eye = np.broadcast_to(np.eye(4), (3, 4, 4)).copy()
    cameras = Cameras(eye, np.broadcast_to(np.diag([9.0, 9, 1]), (3, 3, 3)).copy(), np.full((3, 2), 8, np.int32))
    # point 0: cameras 0 and 1; point 1: camera 2; point 2: camera 0 twice; point 3: nobody
    seen = Observations.of([0, 1, 2, 0, 0], [0, 0, 1, 2, 2], np.arange(10).reshape(5, 2))
    model = SparseModel(
        ("a", "b", "c"), cameras, np.arange(12.0).reshape(4, 3), np.zeros((4, 3), np.uint8), np.zeros(4, "f4"), seen
    )
    one = model.select([0, 1])
    assert one.names == ("a", "b")
    assert one.xyz[:, 0].tolist() == [0, 6, 9]
    assert one.observations.camera.tolist() == [0, 0, 0, 1]
    assert one.observations.point.tolist() == [0, 1, 1, 0]
    assert one.observations.xy[3].tolist() == [2, 3]
    assert model.select([0, 1], min_views=2).xyz[:, 0].tolist() == [0, 9]
    assert model.select(np.array([False, False, True])).xyz[:, 0].tolist() == [3, 9]
    assert len(model.select([2], min_views=0).xyz) == 4
    assert len(model.select([2], min_views=0).observations.camera) == 1


def test_transformed_moves_points_and_cameras_together():
    model = from_pycolmap(synthetic())
    sim = Sim3(2.5, rotation_from_quat([0.3, -0.4, 0.5, 0.7]), np.array([1.0, -2, 3]))
    moved = model.transformed(sim, World(scale="metric", up="gravity"))
    np.testing.assert_allclose(moved.cameras.project(moved.xyz)[0], model.cameras.project(model.xyz)[0], atol=1e-8)
    np.testing.assert_allclose(
        moved.cameras.project(moved.xyz)[1], 2.5 * model.cameras.project(model.xyz)[1], atol=1e-9
    )
    np.testing.assert_allclose(moved.cameras.centers, sim.apply(model.cameras.centers), atol=1e-9)
    assert (moved.world.scale, moved.world.up) == ("metric", "gravity")
    np.testing.assert_allclose(moved.world.world_from_sfm.apply(model.xyz), moved.xyz, atol=1e-12)
    again = moved.transformed(sim.inverse())
    np.testing.assert_allclose(again.world.world_from_sfm.matrix(), np.eye(4), atol=1e-12)


def write_text_model(
    folder: Path, camera: str = "1 PINHOLE 640 480 500 500 320 240", pose: str = "1 0 0 0 0 0 1", point: str = "1 2 3"
):
    folder.mkdir(exist_ok=True)
    (folder / "cameras.txt").write_text(f"# comment\n{camera}\n")
    (folder / "images.txt").write_text(f"1 {pose} 1 a.jpg\n10 20 7 30 40 -1\n2 1 0 0 0 0 0 2 1 b.jpg\n\n")
    (folder / "points3D.txt").write_text(f"7 {point} 255 0 9 0.5 1 0\n")
    return folder


def test_text_with_empty_keypoint_lines(tmp_path: Path):
    model = read_colmap(write_text_model(tmp_path))
    assert model.names == ("a.jpg", "b.jpg")
    assert model.observations.xy.tolist() == [[10, 20]]
    assert model.rgb.tolist() == [[255, 0, 9]]
    assert model.cameras.cam_from_world[1, 2, 3] == 2
    (tmp_path / "points3D.txt").unlink()
    bare = read_colmap(tmp_path)
    assert len(bare.xyz) == 0
    assert len(bare.observations.camera) == 0


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"pose": "1 0 0 0 nan 0 1"}, "a.jpg"),
        ({"pose": "0 0 0 0 0 0 1"}, "a.jpg"),
        ({"pose": "1 0 0 0"}, "images.txt"),
        ({"point": "1 nan 3"}, "points"),
        ({"camera": "1 PINHOLE 640 480 nan 500 320 240"}, "Camera 1"),
        ({"camera": "1 PINHOLE 640 480 -5 500 320 240"}, "Camera 1"),
        ({"camera": "1 PINHOLE 0 480 500 500 320 240"}, "Camera 1"),
        ({"camera": "1 PINHOLE 640 480 500"}, "cameras.txt"),
        ({"camera": "1 FOV 640 480 500 500 320 240 0.1"}, "FOV"),
        ({"camera": "2 PINHOLE 640 480 500 500 320 240"}, "camera 1"),
        ({"camera": "hello"}, "cameras.txt"),
    ],
)
def test_damaged_text_is_an_error_that_names_the_place(tmp_path: Path, damage: dict[str, str], says: str):
    with pytest.raises(InputError, match=says):
        read_colmap(write_text_model(tmp_path, **damage))


def test_truncated_binary_is_an_error_that_names_the_file(tmp_path: Path):
    truth = synthetic()
    truth.write_binary(tmp_path)
    for name in ("cameras.bin", "images.bin", "points3D.bin"):
        whole = (tmp_path / name).read_bytes()
        for size in (0, 5, 30, len(whole) // 2, len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:size])
            with pytest.raises(InputError, match=name):
                read_colmap(tmp_path)
        (tmp_path / name).write_bytes(whole)
    assert_as_pycolmap(read_colmap(tmp_path), truth)


def test_unsupported_models_and_mixes_are_named(tmp_path: Path):
    options = pycolmap.SyntheticDatasetOptions()
    options.num_points3D = 5
    options.camera_model_id = pycolmap.CameraModelId.THIN_PRISM_FISHEYE
    options.camera_params = [600, 610, 320, 240] + [0.0] * 8
    pycolmap.synthesize_dataset(options).write_binary(tmp_path)
    with pytest.raises(InputError, match="THIN_PRISM_FISHEYE"):
        read_colmap(tmp_path)
    write_text_model(tmp_path / "mix", camera="1 PINHOLE 640 480 500 500 320 240\n2 FISHEYE 640 480 500 500 320 240")
    assert read_colmap(tmp_path / "mix").cameras.model == "pinhole"  # camera 2 is not used
    images = tmp_path / "mix" / "images.txt"
    images.write_text(images.read_text().replace("0 2 1 b.jpg", "0 2 2 b.jpg"))
    with pytest.raises(InputError, match="mixes fisheye"):
        read_colmap(tmp_path / "mix")


def test_a_folder_without_a_model_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"cameras\.bin"):
        read_colmap(tmp_path)
