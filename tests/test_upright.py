"""Up from how photos were held and from the ground, on places whose up is known."""

from dataclasses import replace

import numpy as np
import pytest

from recon.cameras import Cameras
from recon.geometry import Array
from recon.sparse import SparseModel
from recon.upright import find_ground, scene_middle, up_from_cameras
from tests.posed import Posed, looking, posed, ring

UP = np.array([0, 0, 1.0])


def off_deg(place: Posed, direction: Array) -> float:
    """Degrees between a direction of the model's frame and the true up."""
    return float(np.degrees(np.arccos(np.clip((place.model_from_truth.rotation.T @ direction)[2], -1, 1))))


def around(count: int, pitch_deg: float, roll_deg: float, seed: int = 0, arc_deg: float = 360.0) -> Posed:
    """Photos from an arc around a heap, looking down by about pitch_deg."""
    rng = np.random.default_rng(seed)
    angle = np.radians(arc_deg) * np.arange(count) / count
    height = 5 * np.tan(np.radians(pitch_deg + rng.normal(0, 5, count)))
    centers = np.stack([5 * np.cos(angle), 5 * np.sin(angle), height], 1)
    poses = np.stack([looking(c, np.zeros(3), rng.normal(0, roll_deg)) for c in centers])
    return posed(poses, rng.normal(size=(200, 3)) * 0.5, seed)


@pytest.mark.parametrize("pitch_deg", [0.0, 25.0, 50.0])
@pytest.mark.parametrize("arc_deg", [360.0, 120.0])
def test_up_within_two_degrees_for_photos_that_look_down(pitch_deg: float, arc_deg: float):
    for seed in range(5):
        place = around(24, pitch_deg, 2.0, seed, arc_deg)
        up = up_from_cameras(place.model.cameras)
        assert up is not None and up.held == "upright"
        assert off_deg(place, up.direction) < 2.0
        naive = -place.model.cameras.cam_from_world[:, 1, :3].mean(0)
        if pitch_deg == 50.0 and arc_deg == 120.0:  # what the mean of the -Y axes would give
            assert off_deg(place, naive / np.linalg.norm(naive)) > 10.0


def test_a_few_photos_held_askew_do_not_matter():
    place = around(20, 20.0, 1.0)
    poses = place.truth.cameras.cam_from_world.copy()
    askew = {3, 4, 5, 6, 7}
    for i in askew:
        poses[i] = looking(place.truth.cameras.centers[i], np.zeros(3), 40.0)
    place = posed(poses, place.truth.xyz)
    up = up_from_cameras(place.model.cameras)
    assert up is not None
    assert off_deg(place, up.direction) < 1.0
    assert set(np.flatnonzero(~up.agree)) == askew


@pytest.mark.parametrize("turn_deg", [90.0, -90.0])
def test_photos_on_their_side_are_recognised(turn_deg: float):
    rng = np.random.default_rng(0)
    upright = around(24, 15.0, 2.0)
    centers = upright.truth.cameras.centers
    poses = np.stack([looking(c, np.zeros(3), turn_deg + rng.normal(0, 2)) for c in centers])
    place = posed(poses, upright.truth.xyz)
    up = up_from_cameras(place.model.cameras)
    assert up is not None and up.held == "sideways"
    assert off_deg(place, up.direction) < 2.0


def test_photos_held_every_which_way_say_nothing():
    rng = np.random.default_rng(4)
    centers = around(40, 20.0, 0.0).truth.cameras.centers
    poses = np.stack([looking(c, np.zeros(3), rng.uniform(-180, 180)) for c in centers])
    assert up_from_cameras(posed(poses, np.zeros((1, 3))).model.cameras) is None


def test_photos_that_all_look_one_way_are_right_within_their_own_error():
    rng = np.random.default_rng(5)
    centers = np.stack([np.linspace(-4, 4, 12), np.zeros(12), np.full(12, 1.6)], 1)
    for pitch in (-10.0, 0.0, 12.0):
        targets = centers + np.array([0, 5, 5 * np.tan(np.radians(pitch))])
        place = posed(
            np.stack([looking(c, t, rng.normal(0, 2)) for c, t in zip(centers, targets, strict=True)]), targets
        )
        up = up_from_cameras(place.model.cameras)
        assert up is not None
        assert up.error_deg > 5.0  # that looking level is a guess is said
        assert off_deg(place, up.direction) < 2 * up.error_deg
        across = np.degrees(np.arcsin(place.model_from_truth.rotation.T @ up.direction)[0])
        assert abs(across) < 2.0  # about the direction of view they do say it


def test_error_is_what_it_says():
    z = []
    for seed in range(40):
        place = ring(16, roll_deg=3.0, seed=seed)
        up = up_from_cameras(place.model.cameras)
        assert up is not None
        z.append(off_deg(place, up.direction) / up.error_deg)
    assert 0.3 < np.sqrt(np.mean(np.square(z)) / 2) < 1.5  # of two axes


# ---- the ground ----


def on_floor(
    tilt_deg: float = 0.0,
    floor: float = 0.0,
    floor_share: float = 0.4,
    roll_deg: float = 4.0,
    seed: int = 0,
    heap_height: float = 0.0,
) -> Posed:
    """Eight photos around a heap (or a box) that stands on a floor; the floor may be tilted, or lie above the cameras."""
    rng = np.random.default_rng(seed)
    count = int(2000 * floor_share)
    flat = np.stack([*rng.uniform(-6, 6, (2, count)), rng.normal(0, 0.005, count)], 1)
    c, s = np.cos(np.radians(tilt_deg)), np.sin(np.radians(tilt_deg))
    flat = flat @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) + [0, 0, floor]
    heap = rng.normal(size=(2000 - count, 3)) * [0.8, 0.8, 0.4] + [0, 0, 1.2]
    if heap_height:
        heap[:, 2] = 0.2 + rng.uniform(0, heap_height, len(heap))
    heap = heap[heap[:, 2] > 0.1]
    angle = 2 * np.pi * np.arange(8) / 8
    centers = np.stack([6 * np.cos(angle), 6 * np.sin(angle), np.full(8, 1.7)], 1)
    poses = np.stack([looking(c, np.array([0, 0, 0.8]), rng.normal(0, roll_deg)) for c in centers])
    return posed(poses, np.concatenate([flat, heap]), seed)


def test_the_floor_makes_up_exact():
    before, after = [], []
    for seed in range(6):
        place = on_floor(seed=seed)
        up = up_from_cameras(place.model.cameras)
        assert up is not None
        ground = find_ground(place.model, up.direction, up.information)
        assert ground is not None
        before.append(off_deg(place, up.direction))
        after.append(off_deg(place, ground.normal))
        height = (place.model_from_truth.inverse().apply(ground.offset * ground.normal))[2]
        assert abs(height) < 0.02 * 6
        assert 0.3 < ground.support < 0.9
    assert max(after) < 0.03
    assert np.mean(before) > 5 * np.mean(after)


@pytest.mark.parametrize("case", ["tilted", "ceiling", "none", "box"])
def test_what_is_no_floor_is_not_taken_for_one(case: str):
    place = {
        "tilted": on_floor(tilt_deg=25.0, roll_deg=1.0),
        "ceiling": on_floor(floor=3.0, roll_deg=1.0),
        "none": on_floor(floor_share=0.0),
        "box": on_floor(floor_share=0.0, heap_height=0.5),
    }[case]
    up = up_from_cameras(place.model.cameras)
    assert up is not None
    assert find_ground(place.model, up.direction, up.information) is None


def test_middle_is_where_the_cameras_look():
    place = ring(12)
    middle = place.model_from_truth.inverse().apply(scene_middle(place.model))
    np.testing.assert_allclose(middle, [0, 0, 1.0], atol=0.2)


def test_middle_of_parallel_views_is_among_the_points():
    centers = np.stack([np.linspace(-4, 4, 9), np.zeros(9), np.full(9, 1.6)], 1)
    rng = np.random.default_rng(0)
    xyz = rng.normal(size=(100, 3)) + np.array([0, 10, 1.6])
    place = posed(np.stack([looking(c, c + np.array([0, 1, 0]) + rng.normal(0, 0.02, 3)) for c in centers]), xyz)
    middle = place.model_from_truth.inverse().apply(scene_middle(place.model))
    np.testing.assert_allclose(middle, [0, 10, 1.6], atol=2)


def test_a_model_without_points_has_no_ground_and_a_middle():
    place = ring(6)
    empty = replace(place.model.select(np.arange(6)), xyz=np.zeros((0, 3)))
    empty = SparseModel(
        empty.names,
        Cameras(empty.cameras.cam_from_world, empty.cameras.K, empty.cameras.size),
        np.zeros((0, 3)),
        np.zeros((0, 3), np.uint8),
        np.zeros(0, np.float32),
        empty.observations.none(),
    )
    assert find_ground(empty, UP, np.eye(3)) is None
    assert np.isfinite(scene_middle(empty)).all()
