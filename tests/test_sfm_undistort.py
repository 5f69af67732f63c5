"""Undistortion against pictures painted by a formula of the ray, and features against blobs at known places."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from recon.cameras import CameraModel, Cameras, undistort
from recon.geometry import Array
from recon.job import Job
from recon.photos import read_mask, read_photo
from recon.sfm.features import FeatureSpec, detect, spread
from recon.sfm.undistort import (
    KEEP_EDGE,
    is_pinhole,
    output_cameras,
    pinhole_of,
    png_bytes,
    resampled,
    undistort_photos,
    undistorted_model,
    warp_of,
)
from recon.sparse import Observations, SparseModel
from tests.sfm_scene import arc

SIZE = (320, 240)
BARREL, PINCUSHION = (-0.12, 0.02, 0.002, -0.001), (0.15, 0.03, 0.0, 0.0)


def lens(*distortion: float, kind: CameraModel = "opencv", center: tuple[float, float] = (166.0, 117.0)) -> Cameras:
    k = np.array([[210.0, 0, center[0]], [0, 214.0, center[1]], [0, 0, 1]])
    return Cameras(
        np.eye(4)[None], k[None], np.array([SIZE], np.int32), kind, np.array([distortion]) if distortion else None
    )


def paint(rays: Array) -> NDArray[np.uint8]:
    """A smooth colour u8[..., 3] for each ray (x/z, y/z) [..., 2]."""
    x, y = rays[..., 0], rays[..., 1]
    rgb = np.stack([np.sin(7 * x + 1), np.cos(5 * y + 2 * x), np.sin(6 * x * y + 4 * y)], -1)
    return np.round(127.5 + 120 * rgb).astype(np.uint8)


def photo_of(cameras: Cameras) -> NDArray[np.uint8]:
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    return paint(cameras.normalized(0, np.stack([x, y], -1)))


def picture_of(pinhole: Cameras) -> NDArray[np.uint8]:
    width, height = pinhole.size[0]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return paint(pinhole.normalized(0, np.stack([x, y], -1)))


@pytest.mark.parametrize(
    "cameras",
    [lens(*BARREL), lens(*PINCUSHION), lens(0.05, -0.01, 0.003, -0.002, kind="fisheye")],
    ids=["barrel", "pincushion", "fisheye"],
)
def test_undistorted_pictures_show_what_the_pinhole_camera_sees(cameras: Cameras) -> None:
    pinhole = pinhole_of(cameras)
    assert pinhole.model == "pinhole" and pinhole.distortion is None
    assert pinhole.K[0, 0, 0] == pinhole.K[0, 1, 1]
    size = (int(pinhole.size[0, 0]), int(pinhole.size[0, 1]))
    got, valid = resampled(photo_of(cameras), np.ones(SIZE[::-1], bool), warp_of(cameras, pinhole, 0), size)
    error = np.abs(got.astype(int) - picture_of(pinhole)).max(-1)
    inner = valid.copy()
    inner[[0, -1]] = inner[:, [0, -1]] = False
    assert np.quantile(error[inner], 0.999) <= 3
    assert valid.mean() > 0.97


def test_what_is_kept_of_a_lens() -> None:
    """A barrel lens gives no invalid pixel; of a pincushion lens's longer rows little is lost, and its corners are masked."""
    barrel, pincushion = lens(*BARREL), lens(*PINCUSHION)
    assert warp_of(barrel, pinhole_of(barrel), 0).valid.all()
    valid = warp_of(pincushion, pinhole_of(pincushion), 0).valid
    assert not valid[0, 0] and valid[120, 0] and valid[0, 160] and 0.97 < valid.mean() < 1
    middle = np.array([[0.0, pincushion.K[0, 1, 2]]])
    kept = pinhole_of(pincushion).normalized(0, middle)[0, 0] / pincushion.normalized(0, middle)[0, 0]
    assert KEEP_EDGE - 0.01 < kept <= 1.001


def test_without_distortion_nothing_is_resampled(tmp_path: Path) -> None:
    cameras = lens()
    assert is_pinhole(cameras, 0) and not is_pinhole(lens(*BARREL), 0)
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(png_bytes(pixels))
    model = of_points(cameras)
    capture = replace(arc(1, 1).capture, root=tmp_path, names=("a.png",), size=cameras.size)
    undistort_photos(capture, model, model, pinhole_of(cameras), tmp_path, Job(tmp_path / "job"))
    np.testing.assert_array_equal(read_photo(tmp_path / "images" / "a.png.png"), pixels)
    assert not (tmp_path / "masks").exists()


def of_points(cameras: Cameras, count: int = 200) -> SparseModel:
    """A model of one camera that sees points all over its picture."""
    rng = np.random.default_rng(5)
    xy = rng.uniform([5, 5], [SIZE[0] - 5, SIZE[1] - 5], (count, 2))
    rays = cameras.normalized(0, xy)
    xyz = np.column_stack([rays, np.ones(count)]) * rng.uniform(2, 9, (count, 1))
    seen = Observations.of(np.zeros(count, np.int32), np.arange(count, dtype=np.int32), xy)
    zeros = np.zeros(count, np.float32)
    return SparseModel(("a.png",), cameras, xyz, np.zeros((count, 3), np.uint8), zeros, seen)


@pytest.mark.parametrize("long_side", [0, 200])
def test_observations_move_into_the_undistorted_pixels(long_side: int) -> None:
    model = of_points(lens(*BARREL))
    output = output_cameras(pinhole_of(model.cameras), long_side)
    straight = undistorted_model(model, output)
    pixels, _ = straight.cameras.project(straight.xyz)
    assert len(straight.observations.xy) == len(model.xyz)
    np.testing.assert_allclose(straight.observations.xy, pixels[0, straight.observations.point], atol=1e-3)
    assert straight.cameras.size.max() == (long_side or pinhole_of(model.cameras).size.max())


def test_mask_matte_and_colours_of_an_undistorted_photo(tmp_path: Path) -> None:
    cameras = lens(*PINCUSHION)
    rgba = np.dstack([photo_of(cameras), np.full(SIZE[::-1], 255, np.uint8)])
    rgba[:, 200:] = (255, 0, 0, 0)  # red that nobody may see
    (tmp_path / "a.png").write_bytes(png_bytes(rgba))
    use = np.full(SIZE[::-1], 255, np.uint8)
    use[:60] = 0
    (tmp_path / "mask.png").write_bytes(png_bytes(use))
    capture = replace(arc(1, 1).capture, root=tmp_path, names=("a.png",), size=cameras.size, mask=("mask.png",))
    model, pinhole = of_points(cameras), pinhole_of(cameras)
    straight = undistorted_model(model, output_cameras(pinhole, 160))
    colours = undistort_photos(capture, model, straight, pinhole, tmp_path, Job(tmp_path / "job"))
    got = read_photo(tmp_path / "images" / "a.png.png")
    mask = read_mask(tmp_path / "masks" / "a.png.png", (got.shape[1], got.shape[0]))
    assert got.shape == (*straight.cameras.size[0, ::-1], 4)
    assert not mask[:25].any() and mask[60:100, 40:80].all() and not mask[-1, 0]
    expected = paint(straight.cameras.normalized(0, straight.observations.xy))
    opaque = straight.observations.xy[:, 0] < 92
    assert np.median(np.abs(colours[opaque].astype(int) - expected[opaque])) <= 4
    edge = got[60, (got[60, :, 3] > 0) & (got[60, :, 3] < 255)]
    assert len(edge) and (edge[:, 0] < 250).all()  # no red has bled into the edge of the matte
    again = undistort_photos(capture, model, straight, pinhole, tmp_path, Job(tmp_path / "job"))
    np.testing.assert_array_equal(again, colours)  # from the photo that is there


@pytest.mark.parametrize(("center", "sigma"), [((60.3, 50.7), 1.6), ((60.0, 50.0), 2.5), ((60.8, 51.25), 5.0)])
@pytest.mark.parametrize("factor", [1, 3])
def test_keypoints_lie_in_the_middle_of_blobs(center: tuple[float, float], sigma: float, factor: int) -> None:
    """A quarter pixel off is what OpenCV's SIFT gives without its precise upscaling."""
    y, x = np.mgrid[:110, :120] + 0.5
    grey = np.round(255 * np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * sigma**2))).astype(np.uint8)
    size = np.array([120, 110], np.int32) * factor
    keypoints, descriptors = detect(grey, size, None, FeatureSpec(10, 120))
    nearest = np.abs(keypoints[:, :2] / factor - center).max(1).min()
    assert nearest < 0.06
    assert descriptors.shape == (len(keypoints), 128) and descriptors.dtype == np.uint8


def test_masked_features_are_dropped_and_the_rest_spread() -> None:
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 256, (60, 80)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    grey[:, :160] = np.uint8(100) + grey[:, :160] // 8  # faint left half: its features are weaker, not fewer
    size = np.array([320, 240], np.int32)
    use = np.ones((240, 320), bool)
    use[:, 240:] = False
    keypoints, _ = detect(grey, size, use, FeatureSpec(200, 320))
    assert len(keypoints) == 200 and keypoints[:, 0].max() < 240
    faint = int((keypoints[:, 0] < 160).sum())
    assert 90 < faint < 170  # two thirds of the area
    order = spread(keypoints[:, :2].astype(float), np.arange(200.0), (320, 240), 200)
    assert sorted(order.tolist()) == list(range(200))


def test_fisheye_rays_beyond_the_picture_plane_are_cut() -> None:
    k = np.array([[100.0, 0, 160], [0, 100, 120], [0, 0, 1]])
    wide = Cameras(np.eye(4)[None], k[None], np.array([SIZE], np.int32), "fisheye", np.zeros((1, 4)))
    pinhole = pinhole_of(wide)  # 160 pixels from the centre are 92 degrees
    assert (
        np.isfinite(pinhole.K).all()
        and np.isnan(undistort(np.array([[[1.6, 0.0]]]), "fisheye", np.zeros((1, 4)))).any()
    )
    half_angle = np.degrees(np.arctan(0.5 * pinhole.size[0, 0] / pinhole.K[0, 0, 0]))
    assert 55 < half_angle < 61
