"""Where a visitor starts: the subject's box, the ground under it, the first view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recon.cameras import Cameras
from tests.fabricate import ring_cameras
from viewer.surroundings import Evidence, first_view, ground, subject, weighted_percentiles, whole


def test_subject_ground_and_start() -> None:
    """A ball of radius 0.5 on a floor at z = -0.5, walls far round, cameras on a ring that look at the ball."""
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(3000, 3))
    ball *= 0.5 / np.linalg.norm(ball, axis=1, keepdims=True)
    floor = np.concatenate([rng.uniform(-2, 2, (3000, 2)), np.full((3000, 1), -0.5)], 1)
    under = floor[:100] - [0, 0, 2.5]
    wall = rng.normal(size=(3000, 3)) * [1, 1, 0.2]
    wall *= 8 / np.linalg.norm(wall, axis=1, keepdims=True)
    xyz = np.concatenate([ball, floor, under, wall])
    weight = np.repeat([10.0, 1.0, 0.1, 0.05], [3000, 3000, 100, 3000])
    up = np.concatenate([np.abs(ball[:, 2]) / 0.5, np.ones(3100), np.zeros(3000)])
    evidence = Evidence(xyz, weight, np.ones(len(xyz)), up)
    low, high = subject(evidence)
    assert (low < -0.4).all() and (low > -1.0).all() and (high > 0.4).all() and (high < 1.0).all()
    at = ring_cameras(6)
    found = ground(evidence, low, high, at)
    assert found == pytest.approx(-0.5, abs=0.05)
    away = at.cam_from_world.copy()
    away[3, :3, :3] = np.diag([-1.0, 1, -1]) @ away[3, :3, :3]
    away[3, :3, 3] = np.diag([-1.0, 1, -1]) @ away[3, :3, 3]
    at = Cameras(away, at.K, at.size)
    shown = whole(evidence, low, high, at)
    assert shown[3] < 0.3 and np.delete(shown, 3).min() > 0.8
    start = first_view(at, low, high, shown, np.array([20.0, 20, 20, 30, 25, 20]))
    np.testing.assert_allclose(np.reshape(start["cam_from_world"], (4, 4)), at.cam_from_world[4])
    assert np.linalg.norm(start["target"]) < 0.3 and start["vfov_deg"] == pytest.approx(
        np.degrees(2 * np.arctan(32 / 90))
    )
    assert ground(replace(evidence, up=np.zeros(len(xyz))), low, high, at) is None


def test_weighted_percentiles() -> None:
    assert weighted_percentiles(np.array([3.0, 1, 2]), np.array([1.0, 1, 8]), (5, 50, 99)).tolist() == [1, 2, 3]
    assert weighted_percentiles(np.zeros(0), np.zeros(0), (5, 95)).tolist() == [0, 0]
