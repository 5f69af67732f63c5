"""Camera paths: PCHIP beside scipy's, no overshoot, loops without a seam, files that are refused; paths made from a capture."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator
from scipy.spatial import ConvexHull

from recon.cameras import Cameras
from recon.errors import InputError
from recon.geometry import Array, World, se3, se3_inverse
from recon.sparse import Observations, SparseModel
from tests.fabricate import ring_cameras, ring_model, tilted
from tests.path_cases import FILE, around, cases, paths, wandering
from viewer.curves import pchip
from viewer.orbit import captured, orbit, vfov_of
from viewer.paths import MOST_BYTES, MOST_KEYFRAMES, CameraPath, from_json, read_path, to_json, write_path
from viewer.web_page import SOURCES

STEPS = st.lists(st.floats(0.01, 10), min_size=1, max_size=8)
VALUES = st.floats(-100, 100).map(lambda v: round(v, 3))


def centers(cam_from_world: Array) -> Array:
    return se3_inverse(cam_from_world)[:, :3, 3]


# Curves


@settings(max_examples=150, deadline=None)
@given(STEPS, st.data())
def test_curves_are_scipys_and_never_overshoot(steps, data):
    knots = np.concatenate([[0.0], np.cumsum(steps)])
    values = np.array(data.draw(st.lists(VALUES, min_size=len(knots), max_size=len(knots))))[:, None]
    t = np.linspace(knots[0], knots[-1], 257)
    ours = pchip(knots, values, t)
    np.testing.assert_allclose(ours, PchipInterpolator(knots, values)(t), atol=1e-9)
    piece = np.clip(np.searchsorted(knots, t, side="right") - 1, 0, len(knots) - 2)
    ends = np.stack([values[piece], values[piece + 1]])
    assert (ours >= ends.min(0) - 1e-9).all() and (ours <= ends.max(0) + 1e-9).all()


@pytest.mark.parametrize("name", list(paths()))
def test_a_path_goes_through_its_keyframes_and_is_rigid(name):
    path = paths()[name]
    there = path.at(path.time)
    np.testing.assert_allclose(there.cam_from_world, path.cam_from_world, atol=1e-9)
    np.testing.assert_allclose(there.vfov_deg, path.vfov_deg, atol=1e-9)
    pose = path.at(np.linspace(path.time[0] - 1, path.time[0] + 2 * path.duration + 1, 101)).cam_from_world
    np.testing.assert_allclose(
        pose[:, :3, :3] @ np.swapaxes(pose[:, :3, :3], 1, 2), np.eye(3) + 0 * pose[:, :3, :3], atol=1e-9
    )


@pytest.mark.parametrize("name", [name for name, path in paths().items() if len(path) > 1])
def test_motion_has_no_kinks(name):
    """The speed before and after each keyframe, and in a loop across its end, is one."""
    path, h = paths()[name], 1e-7
    inner = path.time if path.loop else path.time[1:-1]
    for t in inner:
        before, here, after = (path.at([t + d]) for d in (-h, 0, h))
        for values in (lambda s: s.cam_from_world, lambda s: s.vfov_deg):
            left, right = values(here) - values(before), values(after) - values(here)
            assert np.abs(left - right).max() / h < 0.02, t


def test_a_loop_comes_back_and_a_path_rests_at_its_ends():
    loop, line = paths()["loop, a full turn"], paths()["uneven times"]
    assert loop.duration == pytest.approx(6.0)
    t = np.linspace(0, 6, 40)
    np.testing.assert_allclose(loop.at(t + 12).cam_from_world, loop.at(t).cam_from_world, atol=1e-9)
    away = np.linalg.norm(centers(loop.at(t).cam_from_world)[:, :2], axis=1)
    assert away.max() < 3.1 and away.min() > 2.55, "and the way back is as round as the rest"
    np.testing.assert_allclose(line.at([-9, 9]).cam_from_world, line.cam_from_world[[0, -1]], atol=1e-9)


def test_zoom_is_even_in_the_logarithm():
    path = CameraPath(np.array([0.0, 1.0]), wandering(2, 0), np.array([20.0, 80.0]))
    middle = float(path.at([0.5]).vfov_deg[0])
    tangents = [math.tan(math.radians(v) / 2) for v in (20.0, middle, 80.0)]
    assert tangents[1] ** 2 == pytest.approx(tangents[0] * tangents[2], rel=1e-6)


def test_moments_of_the_scene_are_linear_between_those_that_are_given():
    found = paths()["moments of the scene"].at([0, 1, 2, 3]).scene_time
    assert found is not None
    np.testing.assert_allclose(found, [0.5, 0.5, 1.75, 3.0])
    around_ = paths()["loop with moments"].at([2.0, 2.5, 3.0]).scene_time
    assert around_ is not None
    np.testing.assert_allclose(around_, [4.0, 2.0, 0.0])
    assert paths()["two keyframes"].at([0]).scene_time is None


def test_frames_are_spread_evenly_and_a_loop_has_no_frame_twice():
    line = CameraPath(np.array([1.0, 3.0]), wandering(2, 0), np.array([50.0, 50.0]), 10.0)
    np.testing.assert_allclose(line.frame_times(), 1 + np.arange(21) / 10)
    loop = paths()["loop, a full turn"]
    assert len(loop.frame_times(10)) == 60 and loop.frame_times(10)[-1] == pytest.approx(5.9)
    assert len(paths()["one keyframe"].frame_times()) == 1
    assert line.retimed(5).duration == pytest.approx(5) and line.retimed(5).time[0] == 1
    with pytest.raises(InputError, match="too long"):
        CameraPath(np.array([0.0, 86000.0]), wandering(2, 0), np.array([50.0, 50.0])).frame_times(240)


def test_cameras_show_the_angle_that_the_path_says():
    camera = paths()["one keyframe"].at([0]).cameras((160, 90))
    _, direction = camera.rays(0, np.array([[80.0, 0.0], [80.0, 45.0], [80.0, 90.0]]))
    assert np.degrees(np.arccos(direction[0] @ direction[2])) == pytest.approx(40.0)
    np.testing.assert_allclose(direction[1], camera.world_from_cam[0, :3, 2], atol=1e-12)


def test_the_cases_of_the_page_are_up_to_date():
    told = json.loads(FILE.read_text(encoding="utf-8"))
    for one, other in zip(told, json.loads(json.dumps(cases())), strict=True):
        assert (one["name"], one["path"].keys()) == (other["name"], other["path"].keys())
        assert len(one["samples"]) == len(other["samples"])
        for a, b in zip(one["samples"], other["samples"], strict=True):
            flat = [[v["time"], v["vfov_deg"], v["scene_time"] or 0, *v["cam_from_world"]] for v in (a, b)]
            np.testing.assert_allclose(*flat, atol=1e-9, err_msg="run python -m tests.path_cases")


# Files


@pytest.mark.parametrize("name", list(paths()))
def test_what_is_written_is_read(name, tmp_path):
    path = paths()[name]
    write_path(tmp_path / "p.json", path)
    back = read_path(tmp_path / "p.json")
    for field in ("time", "vfov_deg", "scene_time"):
        np.testing.assert_array_equal(getattr(back, field), getattr(path, field))
    np.testing.assert_allclose(back.cam_from_world, path.cam_from_world, atol=1e-14)
    assert (back.fps, back.loop) == (path.fps, path.loop)


def changed(**changes: object) -> dict:
    """The JSON of a path of three keyframes; `k_NAME` changes the middle one."""
    data = to_json(CameraPath(np.arange(3.0), wandering(3, 4), np.full(3, 50.0)))
    data["keyframes"][1] |= {k[2:]: v for k, v in changes.items() if k.startswith("k_")}
    return data | {k: v for k, v in changes.items() if not k.startswith("k_")}


IDENTITY = np.eye(4).ravel().tolist()
MIRROR = np.diag([1.0, 1.0, -1.0, 1.0]).ravel().tolist()
LARGE = np.diag([2.0, 2.0, 2.0, 1.0]).ravel().tolist()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], '"recon_path"'),
        ({}, '"recon_path"'),
        (changed(recon_path=2), "newer recon"),
        (changed(recon_path="1"), "expected"),
        (changed(recon_path=True), "expected"),
        (changed(fps=0), "fps of 0.1 to 240"),
        (changed(fps="30"), "a number as fps"),
        (changed(fps=True), "a number as fps"),
        (changed(loop=0), "true or false"),
        (changed(keyframes=[]), "at least one keyframe"),
        (changed(keyframes={}), "list of at least one"),
        (changed(keyframes=[1]), "object as keyframe 0"),
        (changed(keyframes=[{}] * 20_001), "at most 20000 keyframes, found 20001"),
        (changed(k_time=0.0), "times that rise, found 0 s and then 0 s in keyframe 1"),
        (changed(k_time=-1.0), "times that rise"),
        (changed(k_time=2.5), "in keyframe 2"),
        (changed(k_time=None), "a number as time of keyframe 1"),
        (changed(k_time=10**400), "finite"),
        (changed(k_vfov_deg=0), "vfov_deg of 0.5 to 170, found 0 in keyframe 1"),
        (changed(k_vfov_deg=180), "found 180"),
        (changed(k_cam_from_world=IDENTITY[:15]), "16 numbers"),
        (changed(k_cam_from_world=[*IDENTITY[:15], "1"]), "a number as cam_from_world of keyframe 1"),
        (changed(k_cam_from_world=[*IDENTITY[:15], 2.0]), "no rigid transform"),
        (changed(k_cam_from_world=LARGE), "no rigid transform"),
        (changed(k_cam_from_world=[0.0] * 16), "no rigid transform"),
        (changed(k_cam_from_world=MIRROR), "keyframe 1 is a mirror"),
        (changed(k_cam_from_world=[*IDENTITY[:3], 1e12, *IDENTITY[4:]]), "further than"),
        (changed(k_scene_time="now"), "scene_time of keyframe 1"),
        ({k: v for k, v in changed().items() if k != "loop"}, 'no "loop"'),
        (changed(keyframes=[{"time": 0}]), 'keyframe 0 has no "cam_from_world"'),
    ],
)
def test_what_is_no_path_is_refused(data, words, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=words) as error:
        read_path(tmp_path / "p.json")
    assert "p.json" in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (json.dumps(changed()).replace("50.0", "NaN").encode(), "NaN is no number"),
        (json.dumps(changed()).replace("50.0", "1e999").encode(), "finite"),
        (b" " * (MOST_BYTES + 1), "larger than"),
    ],
)
def test_what_is_no_json_is_refused(data, words, tmp_path):
    (tmp_path / "p.json").write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_path(tmp_path / "p.json")
    with pytest.raises(InputError, match="takes orbit, captured"):
        read_path(tmp_path / "none.json")


def test_a_pose_in_single_precision_is_made_whole():
    data = changed()
    data["keyframes"][1]["cam_from_world"] = np.float32(data["keyframes"][1]["cam_from_world"]).tolist()
    r = from_json(data).cam_from_world[1, :3, :3]
    np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-14)


# Paths made from a capture


def model_of(cam_from_world: Array, world: World | None = None) -> SparseModel:
    """Photos of 640x480 in these poses, and points about the origin."""
    count = len(cam_from_world)
    k = np.tile(np.array([[550.0, 0, 320], [0, 550, 240], [0, 0, 1]]), (count, 1, 1))
    cameras = Cameras(cam_from_world, k, np.tile(np.array([[640, 480]], np.int32), (count, 1)))
    xyz = np.random.default_rng(0).uniform(-0.7, 0.7, (300, 3))
    names = tuple(f"{i:03d}.jpg" for i in range(count))
    rgb, error = np.zeros((300, 3), np.uint8), np.ones(300, np.float32)
    return SparseModel(names, cameras, xyz, rgb, error, Observations.none(), world or World(up="gravity"))


def shaken(cam_from_world: Array, seed: int, by: float) -> Array:
    """The same cameras from places beside, as hands hold them."""
    pose = se3_inverse(cam_from_world)
    pose[:, :3, 3] += np.random.default_rng(seed).normal(0, by, (len(pose), 3))
    return se3_inverse(pose)


def outside(points: Array, of: Array) -> float:
    """How far the farthest of the points lies outside of the hull of others."""
    hull = ConvexHull(of, qhull_options="QJ")
    return float((points @ hull.equations[:, :3].T + hull.equations[:, 3]).max())


def bend(c: Array) -> float:
    """The largest change of a step, in steps."""
    return float(
        np.linalg.norm(np.diff(c, 2, axis=0), axis=1).max() / np.linalg.norm(np.diff(c, axis=0), axis=1).mean()
    )


def rolls(path: CameraPath, up: Array) -> float:
    """The largest tilt of the horizon, in degrees."""
    return float(np.degrees(np.abs(np.arcsin(se3_inverse(path.cam_from_world)[:, :3, 0] @ up)).max()))


@pytest.mark.parametrize("seed", range(3))
def test_an_orbit_goes_round_where_photos_were_taken(seed):
    model = model_of(shaken(around(20, radius=3.0 + seed), seed, 0.15))
    planned = orbit(model, 16 / 9)
    path, stood = planned.path, model.cameras.centers
    assert planned.kind == "loop" and path.loop
    c = centers(path.at(path.frame_times(30)).cam_from_world)
    assert outside(c, stood) < 0.01
    assert c[:, 2].min() > stood[:, 2].min() and c[:, 2].max() < stood[:, 2].max()
    angle = np.unwrap(np.arctan2(c[:, 1], c[:, 0]))
    assert np.ptp(angle) > np.radians(355) and (np.diff(angle) > 0).all(), "once round, never back"
    assert np.linalg.norm(c[:, :2], axis=1).min() > 0.85 * (3 + seed), "and no nearer to things than the photos"
    pace = np.linalg.norm(np.diff(np.append(c, c[:1], 0), axis=0), axis=1)
    assert pace.max() < 1.25 * pace.min()
    assert rolls(path, np.array([0, 0, 1])) < 0.01
    axis = se3_inverse(path.cam_from_world)[:, :3, 2]
    to = -centers(path.cam_from_world)
    assert np.degrees(np.arccos((axis * to).sum(1) / np.linalg.norm(to, axis=1))).max() < 5


def test_up_is_found_where_the_world_does_not_know_it():
    model = tilted(ring_model(tuple(f"{i}.jpg" for i in range(12))))
    up = model.cameras.cam_from_world[0, :3, :3].T  # the ring's axis is level to all photos
    found = orbit(model, 1.0).path
    normal = np.linalg.svd(model.cameras.centers - model.cameras.centers.mean(0))[2][2]
    assert rolls(found, normal) < 0.5 and abs(up[:, 0] @ normal) < 1e-6


def test_an_arc_is_swayed_along_and_its_gap_is_not_entered():
    model = model_of(shaken(around(15, turn=200.0), 0, 0.1))
    planned = orbit(model, 16 / 9)
    c = centers(planned.path.at(planned.path.frame_times()).cam_from_world)
    angle = np.degrees(np.mod(np.arctan2(c[:, 1], c[:, 0]) + np.radians(80), 2 * np.pi)) - 80
    assert planned.kind == "sway" and planned.path.loop
    assert angle.min() > 0 and angle.max() < 200 and np.ptp(angle) > 120
    assert outside(c, model.cameras.centers) < 0.01
    pace = np.linalg.norm(np.diff(c, axis=0), axis=1)
    assert np.abs(np.diff(pace)).max() < 0.1 * pace.max(), "without a jerk"


def test_photos_beside_each_other_are_swayed_along():
    """Parallel axes have no point in common; these cameras look along -Y from a wall."""
    x, z = (v.ravel() for v in np.meshgrid(np.linspace(-1, 1, 5), np.linspace(1, 1.6, 3)))
    center = np.stack([x, np.full(15, 4.0), z], -1)
    pose = se3(np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]]), center)
    model = model_of(se3_inverse(pose))
    planned = orbit(model, 4 / 3)
    c = centers(planned.path.cam_from_world)
    assert planned.kind == "sway" and np.ptp(c[:, 0]) > 1.0 and np.ptp(c[:, 2]) > 0.1
    assert outside(c, center + 1e-6) < 0.01 and rolls(planned.path, np.array([0, 0, 1])) < 0.01
    assert (se3_inverse(planned.path.cam_from_world)[:, 1, 2] < -0.9).all()


def test_where_photos_look_at_no_one_thing_they_are_followed():
    """A walk through a room: along X, looking to the left and to the right."""
    turn = np.radians(90 * np.sin(np.arange(30) / 4))
    forward = np.stack([np.cos(turn), np.sin(turn), 0 * turn], -1)
    right = np.cross(forward, [0, 0, 1.0])
    center = np.stack([0.2 * np.arange(30), 0 * turn, 0 * turn + 1.6], -1)
    model = model_of(se3_inverse(se3(np.stack([right, np.cross(forward, right), forward], -1), center)))
    planned = orbit(model, 16 / 9)
    c = centers(planned.path.cam_from_world)
    assert planned.kind == "captured" and not planned.path.loop
    assert (np.diff(c[:, 0]) > 0).all() and np.ptp(c[:, 0]) > 4.5
    assert np.abs(c[:, 1]).max() < 0.01 and np.abs(c[:, 2] - 1.6).max() < 0.01


def test_a_captured_path_is_smoother_than_the_hand_that_held_the_camera():
    pose = shaken(around(60), 1, 0.05)
    path = captured(model_of(pose), 16 / 9).path
    assert bend(centers(path.cam_from_world)) < 0.2 * bend(centers(pose))
    assert rolls(path, np.array([0, 0, 1])) < 0.01


def test_photos_without_an_order_are_not_flown_between():
    """Straight lines between photos in random order would lead through what they show."""
    order = np.random.default_rng(2).permutation(40)
    path = captured(model_of(around(40)[order]), 16 / 9).path
    assert np.linalg.norm(centers(path.cam_from_world)[:, :2], axis=1).min() > 2.7
    turned = np.ptp(np.unwrap(np.arctan2(*centers(path.cam_from_world)[:, 1::-1].T)))
    assert turned > np.radians(200), "and much of them is seen"


def test_a_picture_shows_what_the_photos_show():
    cameras = ring_cameras(3)  # 96 x 64 at 90 px: tangents of the half angles 0.533 and 0.356
    for aspect, tangent in ((1.5, 0.356), (1.0, 0.356), (4.0, 0.16), (1 / 1.5, 0.356 * 1.5)):
        assert math.tan(math.radians(vfov_of(cameras, aspect)) / 2) == pytest.approx(tangent, rel=5e-3)


def test_too_few_photos_are_said():
    with pytest.raises(InputError, match="at least 2"):
        orbit(model_of(around(1)), 1.0)
    with pytest.raises(InputError, match="at least 2"):
        captured(model_of(around(1)), 1.0)
    assert np.isfinite(orbit(model_of(around(40)[:2]), 1.0).path.cam_from_world).all()
    same = np.repeat(around(1), 5, 0)
    assert np.isfinite(orbit(model_of(same), 1.0).path.cam_from_world).all()


def test_the_reader_the_writer_and_the_page_take_equally_many_keyframes(tmp_path):
    page = (SOURCES / "src" / "tools" / "path_file.ts").read_text(encoding="utf-8")
    most = int(re.search(r"MOST_KEYFRAMES = (\d+);", page)[1])
    assert most == MOST_KEYFRAMES
    path = CameraPath(np.arange(most + 1.0), np.tile(np.eye(4), (most + 1, 1, 1)), np.full(most + 1, 50.0))
    with pytest.raises(InputError, match=f"at most {most} keyframes, found {most + 1}"):
        write_path(tmp_path / "p.json", path)
    assert not list(tmp_path.iterdir())
