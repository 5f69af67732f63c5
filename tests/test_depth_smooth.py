"""What neighbours decide together, who is believed, and what must not be: controls on patches that say nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import recon.depth.smooth as smoothing
from recon.cameras import Cameras
from recon.depth import DepthMaps, DepthOptions, depth
from recon.depth.consistency import GROWTH_ROUNDS, grown
from recon.depth.cost import COLOUR_SIGMA, Reference, Sources
from recon.depth.fill import filled
from recon.depth.photos import reference_of, sources_of
from recon.depth.reference import path_costs
from recon.depth.smooth import CANDIDATES, JUMP_CAP, JUMP_PRICE, along, begins, smooth
from recon.depth.solve import Group, judged
from recon.geometry import Array
from recon.job import Job
from recon.kernels.simd import LANES
from recon.sparse import Observations
from tests.depth_scene import FOCAL, SIZE, Room, room, written

WIDTH, HEIGHT = SIZE
BASELINE = 0.4
PIXEL = 1 / (FOCAL * BASELINE)
"""Inverse depth that moves a spot of the pair by a pixel."""


def pair_cameras() -> Cameras:
    pose = np.tile(np.eye(4), (2, 1, 1))
    pose[1, 0, 3] = -BASELINE
    k = np.tile(np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]), (2, 1, 1))
    return Cameras(pose, k, np.tile(np.array(SIZE, np.int32), (2, 1)))


def packed(photo: NDArray[np.uint8]) -> tuple[Reference, Sources]:
    cameras = pair_cameras()
    return reference_of(photo, cameras.K[0]), sources_of([photo], cameras)


def of_pair(place: Room, folder: Path, rgb: list[Array] | None = None) -> DepthMaps:
    """Depth of two photos without points."""
    capture, reconstruction = written(place, folder, rgb=rgb)
    model = reconstruction.model
    nothing = replace(
        model,
        xyz=model.xyz[:0],
        rgb=model.rgb[:0],
        error=model.error[:0],
        observations=Observations.none(),
    )
    options = DepthOptions(depth_near=2.0, depth_far=10.0)
    return depth(capture, replace(reconstruction, model=nothing), options, Job(folder / "depth"))


@pytest.mark.parametrize("step", [(1, 0), (0, -1), (-1, 1)])
def test_the_cost_of_a_path_is_that_of_its_twin(step: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    photo = rng.integers(90, 110, (HEIGHT, WIDTH, 4)).astype(np.uint8)
    photo[..., 3] = 1
    reference, _ = packed(photo)
    candidate = rng.normal(0, 1, (HEIGHT, WIDTH, 3, LANES)).astype(np.float32)
    candidate[..., 0, :] = 0.2 + 6 * PIXEL * candidate[..., 0, :]
    candidate[..., 1:, :] *= 0.5 * PIXEL
    unary = rng.uniform(0, 0.6, (HEIGHT, WIDTH, LANES)).astype(np.float32)
    unary[..., CANDIDATES:] = 1e9
    total, begin = np.zeros_like(unary), begins(WIDTH, HEIGHT, *step)
    along(0, len(begin), reference, begin, *step, JUMP_PRICE / np.float32(PIXEL), JUMP_CAP, candidate, unary, total)
    path = [begin[len(begin) // 2]]
    while (path[-1] + step >= 0).all() and (path[-1] + step < SIZE).all():
        path.append(path[-1] + step)
    x, y = np.array(path).T
    colours = photo[y, x, :3].astype(int)
    colours[:, 2] &= 254
    like = np.exp(-abs(np.diff(colours, axis=0)).sum(1) / COLOUR_SIGMA)
    planes = np.moveaxis(candidate[y, x], 1, 2)[:, :CANDIDATES].astype(float)
    twin = path_costs(planes, unary[y, x, :CANDIDATES].astype(float), like, step, PIXEL)
    assert len(path) > 40 and len(begin) >= min(SIZE)
    np.testing.assert_allclose(total[y, x, :CANDIDATES], twin, atol=1e-4)


def test_where_patches_say_nothing_neighbours_decide() -> None:
    rng = np.random.default_rng(2)
    reference, sources = packed(np.full((HEIGHT, WIDTH, 4), (120, 120, 120, 1), np.uint8))
    x, _ = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    true = 0.2 + 0.1 * PIXEL * x
    plane = np.stack([true, np.full(true.shape, 0.1 * PIXEL), np.zeros(true.shape)]).astype(np.float32)
    wild = rng.random(true.shape) < 0.2
    plane[0][wild] += rng.normal(0, 5 * PIXEL, wild.sum()).astype(np.float32)
    cost = np.ones(true.shape, np.float32)
    smooth(reference, sources, 1, plane, cost, PIXEL)
    middle = slice(2, -2), slice(20, -20)
    assert np.mean(abs(plane[0] - true)[middle] < 0.1 * PIXEL) > 0.99


def test_a_large_photo_is_smoothed_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seams do not show, and no more pixels than a band has are worked on at a time."""
    rng = np.random.default_rng(4)
    grey = cv2.GaussianBlur(rng.normal(0, 1, (HEIGHT, WIDTH)), (0, 0), 2)
    grey = np.clip(120 + 200 * grey * (np.arange(WIDTH) < WIDTH // 2), 0, 255)  # the right half is plain
    reference, sources = packed(np.stack([grey, grey, grey, np.ones_like(grey)], -1).astype(np.uint8))
    given = np.zeros((3, HEIGHT, WIDTH), np.float32)
    given[0] = (5 + rng.normal(0, 2, (HEIGHT, WIDTH)) * (rng.random((HEIGHT, WIDTH)) < 0.3)) * PIXEL
    paid = rng.uniform(0, 1, (HEIGHT, WIDTH)).astype(np.float32)
    made, sizes = [], []
    once = smoothing._smooth
    monkeypatch.setattr(smoothing, "_smooth", lambda *given: (sizes.append(given[4].size), once(*given)))
    monkeypatch.setattr(smoothing, "OVERLAP", 16)
    for band in (WIDTH * HEIGHT, WIDTH * 56):
        plane, cost = given.copy(), paid.copy()
        monkeypatch.setattr(smoothing, "BAND", band)
        smooth(reference, sources, 1, plane, cost, PIXEL)
        made.append((plane, cost))
    assert sizes[0] == WIDTH * HEIGHT and len(sizes) > 4 and max(sizes[1:]) <= WIDTH * 56
    (plane, cost), (banded, cost_banded) = made
    assert np.mean(abs(plane - given)[0] > 0.1 * PIXEL) > 0.05
    assert np.mean(abs(banded - plane).max(0) < 0.01 * PIXEL) > 0.998
    assert np.mean(abs(cost_banded - cost) < 1e-3) > 0.998


def test_belief_grows_along_a_surface_and_stops_at_its_edges() -> None:
    planes = np.zeros((3, 40, 60), np.float32)
    planes[0], planes[1] = 0.2 + 0.3 * PIXEL * np.arange(60), 0.3 * PIXEL
    planes[0, :10] += 3 * PIXEL
    photo = np.full((40, 60, 4), (90, 90, 90, 1), np.uint8)
    photo[30:, :, 0] = 160
    sure, weak = np.zeros((2, 40, 60), bool)
    sure[10:30, 20:30], weak[:, :50] = True, True
    more = grown(planes, sure, weak, photo, PIXEL)
    assert more[12:28, 30 : 30 + GROWTH_ROUNDS].all() and more[12:28, 20 - GROWTH_ROUNDS : 20].all()
    assert not more[:10].any() and not more[30:].any() and not more[sure].any()
    assert not more[:, 30 + GROWTH_ROUNDS :].any() and not more[:, : 20 - GROWTH_ROUNDS].any()
    weak[:, 33:] = False
    assert not grown(planes, sure, weak, photo, PIXEL)[:, 33:].any()


@pytest.mark.parametrize(("slope", "believed"), [(0.2, True), (0.9, False)])
def test_planes_that_stay_together_over_a_patch_agree_whatever_their_normals(slope: float, believed: bool) -> None:
    """Far away, 0.2 px in a pixel turn a normal by more than the 75 degrees that are allowed."""
    photo = np.full((HEIGHT, WIDTH, 4), (120, 120, 120, 1), np.uint8)
    w = 0.02
    x, _ = np.meshgrid(np.arange(WIDTH, dtype=float), np.arange(HEIGHT))
    flat = np.stack([np.full(x.shape, w), 0 * x, 0 * x, 0 * x]).astype(np.float32)
    steep = flat.copy()
    steep[1] = slope * PIXEL  # each pixel for itself: the same depth, another normal
    group = Group([photo, photo], pair_cameras())
    _, count, nearly = judged(group, 1, steep, [flat[:3]], (1.0, 0.05, 75.0))
    inside = slice(10, -10), slice(WIDTH // 2, -20)
    angle = np.degrees(np.arctan(FOCAL * slope * PIXEL / w))
    assert angle > 75 and (count[inside] == believed).all() and (nearly[inside] == 1).all()


def test_a_median_takes_the_streaks_out_of_a_filled_hole() -> None:
    plane = np.zeros((3, 40, 80), np.float32)
    plane[0] = 0.2
    known = np.ones((40, 80), bool)
    known[:, 30:50] = False
    plane[0, ::7, 50:52] = 0.1  # lines that end at a wrong plane
    out = filled(plane, known, np.full((40, 80, 4), 90, np.uint8), np.array([[1.0, 0, 0]], np.float32))
    np.testing.assert_allclose(out[0][~known], 0.2)


def test_swapped_views_fail(tmp_path: Path) -> None:
    place = room(cameras=pair_cameras())
    share = []
    for name, rgb in (("right", place.rgb), ("swapped", place.rgb[::-1])):
        maps = of_pair(place, tmp_path / name, list(rgb))
        off = abs(1 / np.asarray(maps.z[0]) - 1 / place.z[0]) / PIXEL
        share.append(np.mean((maps.confidence[0] > 0) & (np.nan_to_num(off, nan=99.0) < 1)))
    assert share[0] > 0.7 and share[1] < 0.1


def test_a_wall_without_texture_and_a_plain_sky_are_not_confident_nonsense(tmp_path: Path) -> None:
    place = room(cameras=pair_cameras())
    rng, rgb = np.random.default_rng(0), []
    for image, z, normal in zip(place.rgb, place.z, place.normal, strict=True):
        wall = (abs(normal[..., 1]) < 0.5) & (z > 4.2)
        noise = rng.normal(0, 0.003, image.shape)
        rgb.append(np.where(wall[..., None], 0.7, image) + noise)
    maps = of_pair(place, tmp_path, rgb)
    sure, true = maps.confidence[0] > 0, place.z[0]
    wrong = sure & (abs(1 / np.nan_to_num(maps.z[0], nan=1.0) - 1 / true) > 2 * PIXEL)
    assert sure.mean() > 0.2 and wrong.mean() < 0.03


def test_photos_of_different_sizes(tmp_path: Path) -> None:
    place = room()
    sizes = place.cameras.size.copy()
    sizes[1], sizes[3] = np.array(SIZE) // 2, np.array(SIZE) * 2
    capture, reconstruction = written(place, tmp_path)
    model = replace(reconstruction.model, cameras=place.cameras.resized(sizes))
    for name, size in zip(place.names, sizes.tolist(), strict=True):
        path = str(reconstruction.image_path(name))
        photo = cv2.imread(path)
        assert photo is not None and cv2.imwrite(path, cv2.resize(photo, size, interpolation=cv2.INTER_AREA))
    maps = depth(capture, replace(reconstruction, model=model), DepthOptions(depth_passes=1), Job(tmp_path / "depth"))
    for i, (z, c) in enumerate(zip(maps.z, maps.confidence, strict=True)):
        assert z.shape == (sizes[i, 1], sizes[i, 0])
        true = cv2.resize(place.z[i], sizes[i].tolist(), interpolation=cv2.INTER_NEAREST)
        sure = c > 0
        assert sure.mean() > 0.35 and np.mean(abs(z - true)[sure] < 0.03 * true[sure]) > 0.9
