"""Training photos on disk, what a scene starts from, and how held-out photos are judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from recon.cameras import Cameras
from recon.errors import InputError
from recon.reconstruction import shrink
from recon.sparse import Observations
from render.dataset import open_dataset, read_photo
from render.evaluate import View, compare, psnr, summary
from render.initial import common_ball, random_points, scene_extent, spacing, training_points, view_width
from render.lpips import load_lpips
from tests.synthetic_scene import capture_of, write


def test_levels_are_area_averages_and_cameras_follow(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path, 3)
    data = open_dataset(posed, capture.names, 32, tmp_path, scales=(1.0, 0.5))
    photo = data.levels[0.5].photo(1)
    exact = read_photo(posed, capture.names[1], (16, 12))
    assert photo.rgb.shape == (12, 16, 3) and photo.matte is None and photo.mask is None
    assert np.abs(photo.rgb - exact.rgb).max() <= 0.5 / 255 + 1e-6
    full = read_photo(posed, capture.names[1], (64, 48)).rgb
    assert np.allclose(exact.rgb, full.reshape(12, 4, 16, 4, 3).mean((1, 3)), atol=1e-6)
    assert np.allclose(data.levels[0.5].cameras.K[:, :2] * 4, posed.model.cameras.K[:, :2])
    assert isinstance(data.levels[1.0].data, np.memmap)


def test_photos_are_not_enlarged_and_zero_keeps_their_size(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path, 3)
    for long_side in (0, 1000):
        assert open_dataset(posed, capture.names, long_side, tmp_path).cameras.size.max() == 64


def test_a_whole_file_is_used_again_and_a_torn_one_is_not(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path, 3)
    before = open_dataset(posed, capture.names, 32, tmp_path).levels[1.0].data.tobytes()
    path = next(tmp_path.glob("photos_*.u8"))
    stamp = path.stat().st_mtime_ns
    open_dataset(posed, capture.names, 32, tmp_path)
    assert path.stat().st_mtime_ns == stamp
    path.write_bytes(before[:100])
    assert open_dataset(posed, capture.names, 32, tmp_path).levels[1.0].data.tobytes() == before


def test_mattes_are_premultiplied_and_composited(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path, 3, matte=True)
    data = open_dataset(posed, capture.names, 64, tmp_path)
    photo = data.levels[1.0].photo(0)
    assert data.matte and photo.matte is not None
    assert 0 < photo.matte.mean() < 1
    assert (photo.rgb <= photo.matte[..., None] + 1 / 255).all()
    white, black = photo.over(np.ones(3)), photo.over(np.zeros(3))
    assert np.allclose(white - black, 1 - photo.matte[..., None], atol=1e-6)
    off = open_dataset(posed, capture.names, 64, tmp_path, mattes=False)
    assert not off.matte and np.allclose(off.levels[1.0].photo(0).over(np.ones(3)), black, atol=1e-6)


def test_masks_are_read_and_can_be_left_out(tmp_path: Path) -> None:
    masked = np.zeros((48, 64), bool)
    masked[10:20, 10:30] = True
    capture, posed = capture_of(tmp_path, 3, masked=masked)
    (tmp_path / "masks" / f"{capture.names[2]}.png").unlink()
    data = open_dataset(posed, capture.names, 64, tmp_path)
    mask, open_mask = data.levels[1.0].photo(0).mask, data.levels[1.0].photo(2).mask
    assert mask is not None and np.array_equal(mask == 0, masked)
    assert open_mask is not None and open_mask.all()
    assert open_dataset(posed, capture.names, 64, tmp_path, masks=False).levels[1.0].photo(0).mask is None


def test_an_unreadable_photo_is_named(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path, 3)
    posed.image_path(capture.names[1]).write_bytes(b"not a picture, but long enough to have a header")
    with pytest.raises(InputError, match="001"):
        open_dataset(posed, capture.names, 64, tmp_path)


def test_grey_and_16_bit_pictures_are_read(tmp_path: Path) -> None:
    import cv2

    capture, posed = capture_of(tmp_path, 3)
    path = posed.image_path(capture.names[0])
    cv2.imwrite(str(path), np.full((48, 64), 32768, np.uint16))
    assert np.allclose(read_photo(posed, capture.names[0], (64, 48)).rgb, 32768 / 65535, atol=1 / 255)


def test_points_need_two_training_photos_and_take_their_colours(tmp_path: Path) -> None:
    """Magenta held-out photos must leave no trace."""
    capture, posed = capture_of(tmp_path, 8)
    for name, test in zip(capture.names, capture.test, strict=True):
        if test:
            write(posed.image_path(name), np.ones((48, 64, 3)) * [1, 0, 1])
    model = posed.model
    seen = model.observations
    hidden = (seen.point < 10) & ~capture.test[seen.camera] & (seen.camera > 1)  # points 0..9: one training photo (1)
    model = replace(model, observations=Observations(seen.camera[~hidden], seen.point[~hidden], seen.xy[~hidden]))
    rows = np.nonzero(~capture.test)[0]
    names = [capture.names[i] for i in rows]
    data = open_dataset(posed, names, 0, tmp_path)
    xyz, rgb = training_points(model, ~capture.test, data.levels[1.0], rows)
    assert np.array_equal(xyz, model.xyz[10:])
    photos = [data.levels[1.0].photo(i).rgb for i in range(len(rows))]
    pixel = np.floor(model.cameras.project(model.xyz)[0]).astype(int)
    expected = np.mean([p[pixel[r, 40, 1], pixel[r, 40, 0]] for p, r in zip(photos, rows, strict=True)], 0)
    assert np.allclose(rgb[30], expected, atol=1e-5)


def test_random_points_lie_where_the_cameras_look(tmp_path: Path) -> None:
    _, posed = capture_of(tmp_path, 8)
    cameras = posed.model.cameras
    center, radius = common_ball(cameras)
    assert np.linalg.norm(center) < 0.05 and 0.5 < radius < 3
    xyz, rgb = random_points(cameras, 500, seed=1)
    pixels, z = cameras.project(xyz)
    inside = (z > 0) & (pixels >= 0).all(-1) & (pixels <= cameras.size[0]).all(-1)
    assert inside.mean() > 0.95
    assert np.array_equal(random_points(cameras, 500, seed=1)[1], rgb)
    assert scene_extent(cameras) == pytest.approx(3.3, rel=1e-6)


def test_spacing_is_the_distance_to_neighbours() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), -1).reshape(-1, 3) * 0.2
    assert np.allclose(spacing(grid, 1e-9), 0.2)
    assert spacing(np.zeros((1, 3)), 0.5).tolist() == [0.5]
    assert spacing(np.zeros((4, 3)), 0.5).tolist() == [0.5] * 4


def test_the_view_width_is_what_a_photo_spans_at_the_points() -> None:
    """Two cameras, 3 and 5 units from a wall; focal length twice the longer side: the photos span 1.5 and 2.5 units of it."""
    pose = np.tile(np.eye(4), (2, 1, 1))
    pose[:, 2, 3] = 3, 5
    cameras = Cameras(pose, np.tile([[200.0, 0, 50], [0, 200, 40], [0, 0, 1]], (2, 1, 1)), np.full((2, 2), (100, 80)))
    wall = np.column_stack([np.random.default_rng(0).uniform(-0.2, 0.2, (50, 2)), np.zeros(50)])
    behind = wall - [0, 0, 90]
    assert view_width(cameras, np.concatenate([wall, behind, behind])) == pytest.approx(2.0)
    assert view_width(cameras, behind) > 0


def test_scores_are_those_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    target = rng.random((40, 50, 3)).astype(np.float32)
    rgb = np.clip(target + rng.normal(scale=0.1, size=target.shape), 0, 1).astype(np.float32)
    score = compare(View(target, rgb, np.ones((40, 50), bool), False))
    assert score.ssim == pytest.approx(structural_similarity(target, rgb, channel_axis=-1, data_range=1), abs=1e-5)
    assert score.psnr == pytest.approx(-10 * np.log10(np.mean((target - rgb) ** 2)), abs=1e-4)


def test_masked_pixels_do_not_count_and_an_affine_change_is_told_apart() -> None:
    rng = np.random.default_rng(0)
    target = rng.random((40, 50, 3)).astype(np.float32) * 0.5
    valid = np.ones((40, 50), bool)
    valid[:20] = False
    spoilt = target.copy()
    spoilt[:20] = 1
    assert compare(View(target, spoilt, valid, False)).psnr == 100
    darker = (0.8 * target + 0.02).astype(np.float32)
    score = compare(View(target, darker, valid, False))
    assert score.psnr < 35 and score.psnr_affine > 80
    assert np.isnan(compare(View(target, target, np.zeros_like(valid), False)).psnr)


def test_summary_names_the_worst_and_survives_nothing() -> None:
    rows = [{"name": "a", "psnr": 20.0, "ssim": 0.8}, {"name": "b", "psnr": 30.0, "ssim": 0.9}]
    found = summary([*rows, {"name": "c", "psnr": float("nan"), "ssim": float("nan")}], "p", ["d"])
    assert found["psnr"] == 25 and found["worst"] == "a" and found["lost"] == ["d"]
    assert found["images"][2]["psnr"] is None
    assert summary([], "none held out", [])["psnr"] is None
    assert psnr(np.zeros(3), np.ones(3)) == 0


def test_shrinking_to_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).random((5, 7, 3)).astype(np.float32)
    assert shrink(image, (7, 5)) is image


def lpips_weights() -> dict[str, torch.Tensor]:
    draw, before, weights = torch.Generator().manual_seed(0), 3, {}
    for i, layers in enumerate(((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))):
        channels = (64, 128, 256, 512, 512)[i]
        for layer in layers:
            weights[f"net.slice{i + 1}.{layer}.weight"] = torch.randn(channels, before, 3, 3, generator=draw) / (
                3 * before**0.5
            )
            weights[f"net.slice{i + 1}.{layer}.bias"] = torch.zeros(channels)
            before = channels
        weights[f"lin{i}.model.1.weight"] = torch.rand(1, channels, 1, 1, generator=draw)
    return weights


def test_lpips_wants_its_own_weights(tmp_path: Path) -> None:
    weights = lpips_weights()
    torch.save(weights, tmp_path / "lpips.pth")
    distance = load_lpips(tmp_path / "lpips.pth")
    rng = np.random.default_rng(0)
    image = rng.random((32, 32, 3)).astype(np.float32)
    near, far = (np.clip(image + rng.normal(scale=s, size=image.shape), 0, 1).astype(np.float32) for s in (0.02, 0.3))
    assert distance(image, image) == 0 < distance(image, near) < distance(image, far)
    del weights["lin3.model.1.weight"]
    torch.save(weights, tmp_path / "half.pth")
    (tmp_path / "none.pth").write_bytes(b"no weights")
    for name in ("half.pth", "none.pth", "absent.pth"):
        with pytest.raises(InputError, match="LPIPS"):
            load_lpips(tmp_path / name)
