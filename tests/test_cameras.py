"""Cameras against OpenCV, and against themselves."""

import numpy as np
import pytest

from recon.cameras import CameraModel, Cameras, distort, fit_size, undistort
from recon.geometry import rotation_from_quat, se3

LENSES: dict[str, tuple[CameraModel, list[float]]] = {
    "opencv4": ("opencv", [-0.28, 0.09, 0.002, -0.003]),
    "opencv5": ("opencv", [-0.28, 0.09, 0.002, -0.003, -0.01]),
    "opencv8": ("opencv", [0.2, -0.1, 0.001, 0.002, 0.03, 0.35, -0.05, 0.02]),
    "fisheye": ("fisheye", [0.06, -0.02, 0.008, -0.001]),
}


def cameras(lens: str | None = None, count: int = 3, seed: int = 0) -> Cameras:
    rng = np.random.default_rng(seed)
    k = np.tile(np.array([[500.0, 0, 331], [0, 480.0, 236.5], [0, 0, 1]]), (count, 1, 1))
    k[:, 0, 0] += np.arange(count) * 10
    model, values = LENSES[lens] if lens else ("pinhole", None)
    poses = se3(
        rotation_from_quat(np.c_[np.full(count, 5.0), rng.normal(size=(count, 3))]),
        rng.normal(size=(count, 3)) + np.array([0, 0, 6.0]),
    )
    distortion = None if values is None else np.tile(values, (count, 1)) * (1 + 0.1 * np.arange(count))[:, None]
    return Cameras(
        poses, k, np.tile(np.array([640, 480], np.int32), (count, 1)), model, distortion, np.arange(count) * 1.0
    )


POINTS = np.random.default_rng(9).normal(size=(200, 3))


@pytest.mark.parametrize("lens", [None, "opencv4", "opencv5", "opencv8"])
def test_projection_agrees_with_opencv(lens: str | None):
    cv2 = pytest.importorskip("cv2")
    cams = cameras(lens)
    pixels, z = cams.project(POINTS)
    for i in range(len(cams)):
        pose = cams.cam_from_world[i]
        rvec = cv2.Rodrigues(pose[:3, :3])[0]
        d = None if cams.distortion is None else cams.distortion[i]
        k = cams.K[i].copy()
        k[:2, 2] -= 0.5  # OpenCV's pixel centres are whole numbers
        expected = cv2.projectPoints(POINTS, rvec, pose[:3, 3], k, d)[0][:, 0] + 0.5
        front = z[i] > 0.1
        assert front.sum() > 100
        np.testing.assert_allclose(pixels[i, front], expected[front], atol=1e-8)


def test_projection_agrees_with_opencv_fisheye():
    cv2 = pytest.importorskip("cv2")
    cams = cameras("fisheye")
    assert cams.distortion is not None
    pixels, z = cams.project(POINTS)
    for i in range(len(cams)):
        pose = cams.cam_from_world[i]
        rvec = cv2.Rodrigues(pose[:3, :3])[0]
        k = cams.K[i].copy()
        k[:2, 2] -= 0.5
        expected = cv2.fisheye.projectPoints(POINTS[:, None], rvec, pose[:3, 3], k, cams.distortion[i])[0][:, 0] + 0.5
        front = z[i] > 0.1
        np.testing.assert_allclose(pixels[i, front], expected[front], atol=1e-8)


def test_the_top_left_pixel_centre_is_at_a_half():
    cams = Cameras(np.eye(4)[None], np.array([[[100.0, 0, 2], [0, 100, 1], [0, 0, 1]]]), np.array([[4, 2]], np.int32))
    _, directions = cams.rays(0)
    assert directions.shape == (2, 4, 3)
    np.testing.assert_allclose(directions[0, 0] / directions[0, 0, 2], [-0.015, -0.005, 1])
    np.testing.assert_allclose(directions.mean((0, 1))[:2], 0, atol=1e-12)  # the middle of the picture is at size / 2


def test_points_behind_have_no_pixel():
    cams = cameras("opencv4", 1)
    behind = cams.centers[0] - cams.cam_from_world[0, 2, :3] * 2
    pixels, z = cams.project(behind[None])
    assert z[0, 0] == pytest.approx(-2) and np.isnan(pixels).all()


@pytest.mark.parametrize("lens", [None, *LENSES])
def test_rays_are_the_inverse_of_projection(lens: str | None):
    cams = cameras(lens)
    for i in range(len(cams)):
        width, height = cams.size[i]
        x, y = np.meshgrid(np.linspace(0, width, 21), np.linspace(0, height, 17))
        origin, directions = cams.rays(i, np.stack([x, y], -1))
        np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1)
        pixels, _ = cams[i].project((origin + 3 * directions).reshape(-1, 3))
        np.testing.assert_allclose(pixels[0].reshape(17, 21, 2), np.stack([x, y], -1), atol=1e-6)


@pytest.mark.parametrize("lens", list(LENSES))
def test_undistortion_inverts_distortion(lens: str):
    model, values = LENSES[lens]
    uv = np.random.default_rng(0).uniform(-0.6, 0.6, (1, 500, 2))
    d = np.array([values])
    np.testing.assert_allclose(undistort(distort(uv, model, d), model, d), uv, atol=1e-9)
    np.testing.assert_array_equal(undistort(np.zeros((1, 1, 2)), model, d), 0)


def test_undistortion_says_where_it_has_no_answer():
    barrel = np.array([[-0.3, 0.0, 0.0, 0.0]])  # r - 0.3 r^3 is never more than 0.703
    out = undistort(np.array([[[0.69, 0.0], [0.75, 0.0], [0.0, 3.0]]]), "opencv", barrel)
    assert np.isfinite(out[0, 0]).all() and np.isnan(out[0, 1:]).all()
    roots = sorted(np.roots([-0.3, 0, 1, -0.69]).real)
    assert out[0, 0, 0] == pytest.approx(roots[1], abs=1e-9)  # the root before the fold, not roots[2] behind it
    radius = np.linspace(0, 4, 2000)
    line = np.stack([radius, np.zeros(2000)], -1)[None]
    for values, fold, reach in (([-0.3, 0.0, 0, 0], 1.0541, 0.7027), ([-0.865, 0.133, 0, 0], 0.6586, 0.42798)):
        out = undistort(line, "opencv", np.array([values]))[0, :, 0]
        found = np.isfinite(out)
        assert found[radius < 0.98 * reach].all() and not found[radius > 1.001 * reach].any()
        assert (out[found] < fold).all() and (out[found] >= 0).all()
    out = undistort(np.array([[[1.5, 0.0], [1.6, 0.0]]]), "fisheye", np.zeros((1, 4)))
    assert out[0, 0, 0] == pytest.approx(np.tan(1.5)) and np.isnan(out[0, 1]).all()


def test_resizing_scales_pixels():
    cams = cameras("opencv4")
    half = cams.resized([320, 240])
    np.testing.assert_allclose(half.project(POINTS)[0], cams.project(POINTS)[0] / 2)
    each = cams.resized([[320, 240], [640, 480], [64, 96]])
    np.testing.assert_allclose(each.project(POINTS)[0][2], cams.project(POINTS)[0][2] * [0.1, 0.2])
    np.testing.assert_array_equal(each.size, [[320, 240], [640, 480], [64, 96]])
    np.testing.assert_allclose(half.resized([640, 480]).K, cams.K)


def test_indexing_keeps_rows_together():
    cams = cameras("opencv5", 5)
    for index in (slice(1, 4), [3, 0], np.array([True, False, True, False, False])):
        got = cams[index]
        np.testing.assert_array_equal(got.K, cams.K[index])
        assert (
            got.distortion is not None
            and got.time is not None
            and cams.distortion is not None
            and cams.time is not None
        )
        np.testing.assert_array_equal(got.distortion, cams.distortion[index])
        np.testing.assert_array_equal(got.time, cams.time[index])
    for i in (0, 4, -1, -5):
        assert len(cams[i]) == 1
        np.testing.assert_array_equal(cams[i].K[0], cams.K[i])


def test_centers_are_where_everything_projects_from():
    cams = cameras()
    np.testing.assert_allclose(
        np.einsum("nij,nj->ni", cams.cam_from_world, np.c_[cams.centers, np.ones(3)])[:, :3], 0, atol=1e-12
    )
    np.testing.assert_allclose(cams.world_from_cam @ cams.cam_from_world, np.tile(np.eye(4), (3, 1, 1)), atol=1e-12)


@pytest.mark.parametrize(
    ("size", "long_side", "expected"),
    [
        ([4000, 3000], 2000, [2000, 1500]),
        ([3000, 4000], 2000, [1500, 2000]),
        ([1080, 1920], 480, [270, 480]),
        ([640, 480], 2048, [640, 480]),
        ([640, 480], 0, [640, 480]),
        ([10000, 3], 100, [100, 1]),
        ([[1000, 500], [100, 50]], 500, [[500, 250], [100, 50]]),
    ],
)
def test_fit_size(size: list, long_side: int, expected: list):
    got = fit_size(size, long_side)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, expected)
