"""The truth of the synthetic moving captures: what is said of them agrees with their photos, and with itself."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from recon.reconstruction import read_image
from recon.sources import look
from tests.moving_scene import (
    BALL,
    DOOR,
    FIRST,
    ROOM,
    TRIAL,
    as_folder,
    cast,
    colour,
    one_camera,
    point_at,
    six_cameras,
    velocity_at,
    written,
)


def sampled(photo: NDArray, xy: NDArray) -> NDArray:
    """Colours f32[P, 3] between the pixels."""
    at = (xy.astype(np.float32) - 0.5)[None]
    return cv2.remap(
        photo.astype(np.float32), at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )[0]


def trial():
    return one_camera(play=TRIAL)


@pytest.mark.parametrize(
    "make, row, other", [(one_camera, 9, 12), (six_cameras, 16, 25), (six_cameras, 3, 4), (trial, 9, 12)]
)
def test_a_point_followed_through_time_lands_on_its_own_colour(make, row, other):
    scene = make()
    xy, seen = scene.correspondence(row, other)
    assert seen.mean() > 0.5
    x, y = np.floor(xy[seen]).astype(int).T
    there = scene.body[other][y, x]
    for body in (ROOM, DOOR, BALL):
        mine = (scene.body[row][seen] == body) & (there == body)  # at outlines a pixel sees two bodies
        assert mine.sum() > 40
        here = scene.photos[row][seen][mine].astype(float)
        difference = here - sampled(scene.photos[other], xy[seen][mine])
        stays, _ = scene.cameras[other].project(scene.xyz(row)[seen][mine])
        wrong = here - sampled(scene.photos[other], stays[0])
        assert np.median(np.abs(difference)) < 7
        if body != ROOM:
            assert np.median(np.abs(wrong)) > 4 * np.median(np.abs(difference))


def test_what_is_tried_and_what_is_reported_have_no_photo_in_common():
    first, other = one_camera(frames=3, size=(32, 24)), one_camera(frames=3, size=(32, 24), play=TRIAL)
    local = np.random.default_rng(0).uniform(-1, 1, (4000, 3))
    for body in (ROOM, DOOR, BALL):
        assert np.abs(colour(body, local, FIRST.paint) - colour(body, local, TRIAL.paint)).mean() > 0.1
    assert np.abs(first.photos.astype(int) - other.photos).mean() > 25
    assert np.abs(first.cameras.centers - other.cameras.centers).max() > 0.2


def test_scene_flow_is_the_derivative_of_motion():
    scene, h = one_camera(), 1e-5
    for row in (0, 7, 23):
        body, local, time = scene.body[row], scene.local[row], scene.time(row)
        measured = (point_at(body, local, time + h) - point_at(body, local, time - h)) / (2 * h)
        np.testing.assert_allclose(scene.scene_flow(row), measured, atol=1e-7)
        assert (velocity_at(body, local, time)[body == ROOM] == 0).all()
        assert np.linalg.norm(scene.scene_flow(row)[body == BALL], axis=-1).max() > 0.3


def test_z_body_and_colour_belong_to_the_pixel():
    scene, row = six_cameras(), 30
    xy, z = scene.cameras[row].project(scene.xyz(row).reshape(-1, 3))
    np.testing.assert_allclose(z.reshape(scene.z[row].shape), scene.z[row], rtol=1e-9)
    height, width = scene.z[row].shape
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    np.testing.assert_allclose(xy.reshape(height, width, 2), np.stack([x, y], -1), atol=1e-6)
    for body in (ROOM, DOOR, BALL):
        mine = scene.body[row] == body
        exact = 255 * colour(body, scene.local[row][mine])
        assert np.abs(exact - scene.photos[row][mine]).mean() < 10
    assert (scene.moving[row] >= (scene.body[row] != ROOM)).all()


def test_rays_hit_the_nearest_surface():
    scene, row = one_camera(), 5
    origin, ray = scene.cameras.rays(row)
    body, _, t = cast(origin, ray, scene.time(row))
    door = point_at(np.array([DOOR]), np.array([[0.5, 0, 0.8]]), scene.time(row))
    pixel, z = scene.cameras[row].project(door)
    x, y = np.floor(pixel[0, 0]).astype(int)
    assert body[y, x] in (DOOR, BALL)
    assert t[y, x] <= np.linalg.norm(door - origin) + 0.05
    assert z[0, 0] > 0


def test_masks_and_split_of_both_captures():
    one, six = one_camera(), six_cameras()
    for scene in (one, six):
        assert 0.05 < scene.moving.mean() < 0.4
        still = scene.static[0] & scene.static[1]
        assert still.any()
    same = six.static[0] & six.static[1]  # one fixed camera: what is static keeps its colour, what moves does not
    assert (six.photos[0][same] == six.photos[1][same]).all()
    assert (six.photos[0][~same] != six.photos[1][~same]).mean() > 0.4
    assert [i for i, kind in enumerate(one.split) if kind == "test"] == [0, 8, 16, 24, 32]
    held = {name for name, kind in zip(six.names, six.split, strict=True) if kind == "test"}
    expected = {f"cam{c}/{f:04d}.png" for c in range(1, 7) for f in (0, 8)} | {f"cam4/{f:04d}.png" for f in range(12)}
    assert held == expected
    assert six.cameras.time is not None
    np.testing.assert_allclose(six.cameras.time, six.frame / 6.0)


def test_what_training_takes(tmp_path: Path):
    scene = six_cameras()
    capture, reconstruction = written(scene, tmp_path, masks=True)
    model = reconstruction.model
    assert capture.names == model.names == scene.names
    seen = model.observations
    xy, _ = model.cameras.project(model.xyz)
    np.testing.assert_allclose(xy[seen.camera, seen.point], seen.xy, atol=1e-3)
    assert np.bincount(seen.point, minlength=len(model.xyz)).min() >= 1
    assert len(np.unique(seen.point)) > 150
    for i in (0, 40, 71):
        path = reconstruction.mask_path(scene.names[i])
        assert path is not None
        assert (read_image(reconstruction.image_path(scene.names[i])) == scene.photos[i]).all()
        assert ((read_image(path)[..., 0] > 127) == scene.static[i]).all()
    assert look(as_folder(scene, tmp_path / "set")).kind == "transforms"
