"""Group axioms of rotations and similarities, the fit of a similarity, and World's JSON."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recon.cameras import Cameras
from recon.geometry import (
    Sim3,
    World,
    fit_sim3,
    quat_from_rotation,
    rotation_angle_deg,
    rotation_between,
    rotation_from_quat,
    se3,
    se3_inverse,
)

unit = st.floats(-1, 1, allow_nan=False)
vectors = arrays(np.float64, 3, elements=st.floats(-100, 100, allow_nan=False))
quats = arrays(np.float64, 4, elements=unit).filter(lambda q: np.linalg.norm(q) > 0.1)
directions = arrays(np.float64, 3, elements=unit).filter(lambda v: np.linalg.norm(v) > 0.1)
sim3s = st.builds(lambda s, q, t: Sim3(float(np.exp(s)), rotation_from_quat(q), t), st.floats(-3, 3), quats, vectors)
quick = settings(max_examples=60, deadline=None)


def close(a: Sim3, b: Sim3, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(a.matrix(), b.matrix(), rtol=1e-9, atol=atol * max(1.0, np.abs(b.matrix()).max()))


@quick
@given(quats)
def test_quaternion_round_trip(q: np.ndarray):
    r = rotation_from_quat(q)
    np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(r) == pytest.approx(1)
    back = quat_from_rotation(r)
    assert back[0] >= 0 and np.linalg.norm(back) == pytest.approx(1)
    unit_q = q / np.linalg.norm(q)
    assert min(np.abs(back - unit_q).max(), np.abs(back + unit_q).max()) < 1e-9


@pytest.mark.parametrize("axis", [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, -2, 3], [1e-9, 0, 1]])
@pytest.mark.parametrize("angle_deg", [0.0, 1e-6, 90.0, 179.9999, 180.0])
def test_quaternion_round_trip_at_the_hard_angles(axis: list, angle_deg: float):
    half = np.radians(angle_deg) / 2
    q = np.array([np.cos(half), *(np.sin(half) * np.array(axis) / np.linalg.norm(axis))])
    r = rotation_from_quat(q)
    np.testing.assert_allclose(rotation_from_quat(quat_from_rotation(r)), r, atol=1e-14)
    assert rotation_angle_deg(r) == pytest.approx(angle_deg, abs=1e-7)


def test_a_quarter_turn_about_z_is_what_it_should_be():
    """Fixes the order wxyz and the sense of rotation, which round trips alone do not."""
    r = rotation_from_quat([np.sqrt(0.5), 0, 0, np.sqrt(0.5)])
    np.testing.assert_allclose(r @ [1, 0, 0], [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(r @ [0, 1, 0], [-1, 0, 0], atol=1e-15)


@quick
@given(directions, directions)
def test_rotation_between(a: np.ndarray, b: np.ndarray):
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    r = rotation_between(a, b)
    np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(r @ a, b, atol=1e-6)
    assert rotation_angle_deg(r) == pytest.approx(
        np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)), abs=1e-4
    )


@pytest.mark.parametrize("a", [[1.0, 0, 0], [0, 0, -2.0], [1.0, 2, 3]])
def test_rotation_between_opposite_directions(a: list):
    r = rotation_between(a, -np.array(a))
    np.testing.assert_allclose(r @ np.array(a), -np.array(a), atol=1e-12)
    assert np.linalg.det(r) == pytest.approx(1)


@quick
@given(quats, vectors)
def test_se3_inverse(q: np.ndarray, t: np.ndarray):
    m = se3(rotation_from_quat(q), t)
    np.testing.assert_allclose(se3_inverse(m) @ m, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(se3_inverse(se3_inverse(m)), m, atol=1e-9)


@quick
@given(sim3s, sim3s, sim3s, vectors)
def test_sim3_is_a_group_that_acts(a: Sim3, b: Sim3, c: Sim3, p: np.ndarray):
    close((a @ b) @ c, a @ (b @ c))
    close(a @ Sim3(), a)
    close(Sim3() @ a, a)
    np.testing.assert_allclose((a @ a.inverse()).matrix(), np.eye(4), atol=1e-6)
    np.testing.assert_allclose((a.inverse() @ a).matrix(), np.eye(4), atol=1e-6)
    np.testing.assert_allclose((a @ b).apply(p), a.apply(b.apply(p)), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(a.matrix() @ [*p, 1], [*a.apply(p), 1], rtol=1e-9, atol=1e-6)


def camera(seed: int = 0) -> Cameras:
    rng = np.random.default_rng(seed)
    poses = se3(
        rotation_from_quat([[9, 1, -1, 0.5], [8, 0.1, 2, 1], [9, -2, 0, 1]]),
        rng.normal(size=(3, 3)) + np.array([0, 0, 8.0]),
    )
    k = np.tile(np.array([[500.0, 0, 320], [0, 490, 240], [0, 0, 1]]), (3, 1, 1))
    return Cameras(poses, k, np.tile(np.array([640, 480], np.int32), (3, 1)))


@quick
@given(sim3s)
def test_cameras_and_points_under_a_similarity_project_the_same(a_from_b: Sim3):
    cams, points = camera(), np.random.default_rng(1).normal(size=(50, 3))
    moved = Cameras(a_from_b.cameras(cams.cam_from_world), cams.K, cams.size)
    before, z = cams.project(points)
    after, z_after = moved.project(a_from_b.apply(points))
    np.testing.assert_allclose(after, before, atol=1e-6)
    np.testing.assert_allclose(z_after, a_from_b.scale * z, rtol=1e-6)
    np.testing.assert_allclose(moved.centers, a_from_b.apply(cams.centers), rtol=1e-7, atol=1e-7)
    r = moved.cam_from_world[:, :3, :3]
    np.testing.assert_allclose(r @ np.swapaxes(r, 1, 2), np.tile(np.eye(3), (3, 1, 1)), atol=1e-9)  # still rigid


def test_projection_notices_a_wrong_transform():
    """The negative control of the test above: points moved by another similarity than the cameras project elsewhere."""
    cams, points = camera(), np.random.default_rng(1).normal(size=(50, 3))
    right = Sim3(2.0, rotation_from_quat([1, 0.2, 0.3, -0.1]), np.array([1.0, 2, 3]))
    for wrong in (
        Sim3(2.01, right.rotation, right.translation),
        Sim3(2.0, right.rotation.T, right.translation),
        Sim3(2.0, right.rotation, right.translation + np.array([0, 0.02, 0])),
    ):
        moved = Cameras(right.cameras(cams.cam_from_world), cams.K, cams.size)
        assert np.nanmax(np.abs(moved.project(wrong.apply(points))[0] - cams.project(points)[0])) > 0.3


@quick
@given(sim3s, st.integers(3, 20), st.integers(0, 1000))
def test_fit_recovers_a_similarity(a_from_b: Sim3, count: int, seed: int):
    b = np.random.default_rng(seed).normal(size=(count, 3))
    fit = fit_sim3(a_from_b.apply(b), b)
    np.testing.assert_allclose(fit.apply(b), a_from_b.apply(b), atol=1e-6 * a_from_b.scale)
    if count >= 4:
        assert fit.scale == pytest.approx(a_from_b.scale, rel=1e-6)
        np.testing.assert_allclose(fit.rotation, a_from_b.rotation, atol=1e-5)


def test_fit_of_a_plane_and_of_mirrored_points_is_a_rotation():
    rng = np.random.default_rng(0)
    true = Sim3(3.0, rotation_from_quat([1, 2, 3, 4]), np.array([1.0, -2, 3]))
    flat = rng.normal(size=(30, 3)) * [1, 1, 0]
    np.testing.assert_allclose(fit_sim3(true.apply(flat), flat).rotation, true.rotation, atol=1e-9)
    b = rng.normal(size=(30, 3)) * [3, 2, 1]
    fit = fit_sim3(b * [1, 1, -1], b)  # no rotation does this: the best one must still be a rotation
    assert np.linalg.det(fit.rotation) == pytest.approx(1)
    others = [rotation_from_quat(q) for q in rng.normal(size=(300, 4))] + [np.eye(3)]
    cost = lambda r: float(((b * [1, 1, -1] - (b - b.mean(0)) @ r.T) ** 2).sum())  # noqa: E731
    centred = Sim3(1.0, fit.rotation)
    assert cost(centred.rotation) <= min(cost(r) for r in others) + 3 * 30  # scale left out of both


def test_fit_with_weights_and_without_scale():
    rng = np.random.default_rng(0)
    true = Sim3(2.0, rotation_from_quat([1, 0.1, 0.2, 0.3]), np.array([5.0, 6, 7]))
    b = rng.normal(size=(20, 3))
    a = true.apply(b)
    a[:5] += 100
    weights = np.r_[np.zeros(5), rng.uniform(0.5, 2, 15)]
    np.testing.assert_allclose(fit_sim3(a, b, weights).matrix(), true.matrix(), atol=1e-9)
    assert np.abs(fit_sim3(a, b).matrix() - true.matrix()).max() > 1
    rigid = fit_sim3(true.apply(b), b, with_scale=False)
    assert rigid.scale == 1.0
    np.testing.assert_allclose(rigid.rotation, true.rotation, atol=1e-9)


def test_fit_is_the_least_squares_optimum():
    rng = np.random.default_rng(3)
    b = rng.normal(size=(15, 3))
    a = Sim3(1.5, rotation_from_quat([1, 0.4, -0.2, 0.3]), np.ones(3)).apply(b) + rng.normal(size=(15, 3)) * 0.3
    fit = fit_sim3(a, b)
    least = ((fit.apply(b) - a) ** 2).sum()
    for _ in range(200):
        nudge = Sim3(
            np.exp(rng.normal() * 1e-3),
            rotation_from_quat([1, *(rng.normal(size=3) * 1e-3)]),
            rng.normal(size=3) * 1e-3,
        )
        assert (((nudge @ fit).apply(b) - a) ** 2).sum() >= least


@pytest.mark.parametrize(
    "world",
    [
        World(),
        World(
            "metric",
            "gravity",
            (46.8426600341, -91.9940054, 153.67),
            None,
            Sim3(3.3, rotation_from_quat([1, 2, 3, 4]), np.arange(3.0)),
        ),
        World("metric", "estimated", None, 32615, Sim3(1 / 3)),
    ],
)
def test_world_survives_json_exactly(world: World):
    back = World.from_json(json.loads(json.dumps(world.to_json())))
    assert (back.scale, back.up, back.origin, back.crs) == (world.scale, world.up, world.origin, world.crs)
    assert back.world_from_sfm.matrix().tobytes() == world.world_from_sfm.matrix().tobytes()
    assert back.world_from_sfm.scale == world.world_from_sfm.scale
