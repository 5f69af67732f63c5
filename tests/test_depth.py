"""Stereo against scenes whose depth is known, with controls that must fail, and input that has no depth to find."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from recon.cameras import Cameras
from recon.capture import save_capture
from recon.cli import VERBS, main
from recon.commands import MAIN_JOB
from recon.depth import DepthMaps, DepthOptions, depth, load_maps, save_maps
from recon.depth.cost import OFFSETS, WORST, score
from recon.depth.photos import reference_of, sources_of
from recon.depth.reference import homography, source_cost
from recon.depth.views import choose_views
from recon.errors import InputError, WorkspaceError
from recon.geometry import World, se3
from recon.job import Job, NoProgress
from recon.kernels import jit
from recon.parallax import turned_on_the_spot
from recon.reconstruction import Reconstruction
from recon.sample import sample_cameras, sample_photos, sample_z
from recon.sparse import Observations, SparseModel
from tests.depth_scene import FOCAL, SIZE, Room, cameras_in_a_row, room, sparse_of, written
from tests.fabricate import write_photo, write_sparse_stage, write_stage
from tests.posed import capture_of

QUICK = DepthOptions(depth_passes=1)


@pytest.fixture(scope="module")
def place() -> Room:
    return room()


@pytest.fixture(scope="module")
def found(place: Room, tmp_path_factory: pytest.TempPathFactory) -> DepthMaps:
    folder = tmp_path_factory.mktemp("room")
    return depth(*written(place, folder), DepthOptions(), Job(folder / "depth"))


def right(maps: DepthMaps, place: Room) -> float:
    """Share of all pixels that are measured, and within 2 % of the true z."""
    good = [
        (c > 0) & (np.abs(np.nan_to_num(z) - true) < 0.02 * true)
        for z, c, true in zip(maps.z, maps.confidence, place.z, strict=True)
    ]
    return float(np.mean(good))


def test_depth_and_normals_are_the_truth(found: DepthMaps, place: Room) -> None:
    assert right(found, place) > 0.75
    for i, true in enumerate(place.z):
        sure = found.confidence[i] > 0
        error = np.abs(found.z[i] - true)[sure] / true[sure]
        assert np.median(error) < 0.003 and np.mean(error < 0.02) > 0.93
        cos = (found.normal[i] * place.normal[i]).sum(-1)[sure]
        assert np.degrees(np.arccos(np.clip(np.median(cos), -1, 1))) < 8
        assert np.isnan(found.z[i][~sure]).all() and np.isnan(found.normal[i][~sure]).all()


def test_confidence_tells_right_from_wrong(found: DepthMaps, place: Room) -> None:
    c, error = (
        np.concatenate([a[s] for a, s in zip(arrays, [x > 0 for x in found.confidence], strict=True)])
        for arrays in (found.confidence, [np.abs(z - t) / t for z, t in zip(found.z, place.z, strict=True)])
    )
    high = c > np.median(c)
    assert np.mean(error[high] < 0.01) > np.mean(error[~high] < 0.01)
    assert c.min() > 0 and c.max() <= 1


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (2, 0, 3, 1)], ids=["swapped", "shuffled"])
def test_photos_in_the_wrong_place_fail_the_same_check(place: Room, tmp_path: Path, order: tuple[int, ...]) -> None:
    capture, reconstruction = written(place, tmp_path, rgb=[place.rgb[i] for i in order])
    maps = depth(capture, reconstruction, QUICK, Job(tmp_path / "depth"))
    assert right(maps, place) < 0.15


def test_the_kernels_cost_is_that_of_its_twin() -> None:
    """Random slanted planes: homography, bilateral weights and NCC, each from the textbook."""
    rng = np.random.default_rng(3)
    place = room(2)
    photos = [
        np.concatenate([np.rint(255 * rgb), np.ones((*rgb.shape[:2], 1))], -1).astype(np.uint8) for rgb in place.rgb
    ]
    for photo in photos:
        photo[..., 2] &= 254
    grey = [np.rint(p[..., :3] @ [0.299, 0.587, 0.114]) for p in photos]
    reference, sources = reference_of(photos[0], place.cameras.K[0]), sources_of(photos[1:], place.cameras)
    k = place.cameras.K
    src_from_ref = place.cameras.cam_from_world[1] @ np.linalg.inv(place.cameras.cam_from_world[0])
    plane, cost = np.zeros((3, SIZE[1], SIZE[0]), np.float32), np.empty((SIZE[1], SIZE[0]), np.float32)
    picked, normals = rng.integers([0, 0], SIZE, (150, 2)), rng.normal(size=(150, 3)) * [0.5, 0.5, 0.1] - [0, 0, 1]
    z = rng.uniform(2.5, 7, 150)
    for (x, y), n, depth_there in zip(picked, normals, z, strict=True):
        inverse = np.linalg.inv(k[0])
        abc = inverse.T @ n / (n @ (depth_there * inverse @ [x + 0.5, y + 0.5, 1]))
        plane[:, y, x] = 1 / depth_there, abc[0], abc[1]
    score(0, SIZE[1], reference, sources, 1, plane, cost)
    twins = [
        source_cost(photos[0][..., :3], grey[0], grey[1], homography(k[0], k[1], src_from_ref, d, n, p + 0.5), *p)
        for p, n, d in zip(picked, normals, z, strict=True)
    ]
    mine = cost[picked[:, 1], picked[:, 0]]
    assert 100 < np.sum(mine < WORST) < 150 and len(OFFSETS) == 32
    np.testing.assert_allclose(mine, twins, atol=2e-3)


def test_the_true_plane_costs_least(place: Room) -> None:
    photos = [
        np.concatenate([np.rint(255 * rgb), np.ones((*rgb.shape[:2], 1))], -1).astype(np.uint8) for rgb in place.rgb
    ]
    reference, sources = reference_of(photos[0], place.cameras.K[0]), sources_of(photos[1:], place.cameras)
    costs = []
    for factor in (1.0, 0.97, 1.03):
        w = 1 / (factor * place.z[0])
        wx, wy = np.gradient(w, axis=1), np.gradient(w, axis=0)
        cost = np.empty(w.shape, np.float32)
        score(0, SIZE[1], reference, sources, 3, np.stack([w, wx, wy]).astype(np.float32), cost)
        costs.append(np.median(cost))
    assert costs[0] < 0.05 and min(costs[1:]) > 3 * costs[0]


def test_masked_pixels_are_not_measured(place: Room, tmp_path: Path) -> None:
    hidden = np.zeros((SIZE[1], SIZE[0]), bool)
    hidden[30:60, 40:80] = True
    capture, reconstruction = written(place, tmp_path, masks=dict.fromkeys(range(4), ~hidden))
    maps = depth(capture, reconstruction, replace(QUICK, fill_depth=True), Job(tmp_path / "depth"))
    for i in range(4):
        assert (maps.confidence[i][hidden] == 0).all() and np.isnan(maps.z[i][hidden]).all()
        sure = maps.confidence[i] > 0
        assert sure.mean() > 0.45 and np.mean(np.abs(maps.z[i] - place.z[i])[sure] < 0.02 * place.z[i][sure]) > 0.93


def test_what_a_matte_leaves_out_is_not_measured(place: Room, tmp_path: Path) -> None:
    alpha = np.ones((SIZE[1], SIZE[0], 1))
    alpha[:, :50] = 0
    capture, reconstruction = written(place, tmp_path)
    for i, name in enumerate(place.names):
        bgra = np.concatenate([place.rgb[i][..., ::-1], alpha], -1)
        assert cv2.imwrite(str(reconstruction.image_path(name)), np.rint(255 * bgra).astype(np.uint8))
    maps = depth(capture, reconstruction, QUICK, Job(tmp_path / "depth"))
    for confidence in maps.confidence:
        assert (confidence[:, :50] == 0).all() and (confidence[:, 50:] > 0).mean() > 0.4


def test_without_texture_nothing_is_measured(place: Room, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plain = [0.5 + rng.normal(0, 0.002, (SIZE[1], SIZE[0], 3)) for _ in range(4)]
    maps = depth(*written(place, tmp_path, rgb=plain), QUICK, Job(tmp_path / "depth"))
    assert max(float((c > 0).mean()) for c in maps.confidence) < 0.01


def test_held_out_photos_have_no_part(place: Room, tmp_path: Path) -> None:
    """Neither their pixels nor the points that they alone saw: without them the bits are the same."""
    split = ("train", "train", "test", "train")
    results = []
    for run, image in enumerate((place.rgb[2], np.random.default_rng(0).random(place.rgb[2].shape))):
        rgb = [*place.rgb[:2], image, place.rgb[3]]
        capture, reconstruction = written(place, tmp_path / str(run), rgb=rgb)
        capture = replace(capture, split=split)
        results.append(depth(capture, reconstruction, QUICK, Job(tmp_path / str(run) / "depth")))
    assert results[0].names == tuple(place.names[i] for i in (0, 1, 3))
    for a, b in zip(results[0].z + results[0].confidence, results[1].z + results[1].confidence, strict=True):
        np.testing.assert_array_equal(a, b)


class _Interrupt(NoProgress):
    """Ctrl-C after so many photos."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, amount: float = 1) -> None: ...

    def update(self, done: float | None = None, text: str | None = None, total: float | None = None) -> None:
        self.left -= text is not None
        if self.left < 0:
            raise KeyboardInterrupt

    def task(self, text: str, total: float | None):
        return contextlib.nullcontext(self)


def test_an_interrupted_run_goes_on_and_ends_with_the_same_bits(
    place: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, reconstruction = written(place, tmp_path)
    monkeypatch.setattr(jit, "threads", lambda: 1)
    whole = depth(capture, reconstruction, QUICK, Job(tmp_path / "whole"))
    monkeypatch.setattr(jit, "threads", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        depth(capture, reconstruction, QUICK, Job(tmp_path / "cut", _Interrupt(6)))
    parts = {p: p.stat().st_mtime_ns for p in (tmp_path / "cut").rglob("pass*/**/*.npy")}
    assert len(parts) == 6
    resumed = depth(capture, reconstruction, QUICK, Job(tmp_path / "cut"))
    assert all(p.stat().st_mtime_ns == then for p, then in parts.items())
    for a, b in zip(whole.z + whole.confidence, resumed.z + resumed.confidence, strict=True):
        np.testing.assert_array_equal(a, b)


def test_photos_from_one_place_have_no_depth(tmp_path: Path) -> None:
    poses = cameras_in_a_row(4)
    turned = Cameras(se3(poses.cam_from_world[:, :3, :3], np.zeros(3)), poses.K, poses.size)
    with pytest.raises(InputError, match="turning on the spot"):
        depth(*written(room(cameras=turned), tmp_path), QUICK, Job(tmp_path / "depth"))


def test_places_made_up_for_a_turning_camera_give_no_depth(place: Room, tmp_path: Path) -> None:
    """Poses that agree with what a turning camera saw, though they stand apart: as structure from motion finds them."""
    capture, reconstruction = written(place, tmp_path)
    model = reconstruction.model
    assert not turned_on_the_spot(model)
    o, cameras = model.observations, model.cameras
    spun = Cameras(
        se3(np.array([rotation_about_y(0.1 * i) for i in range(len(cameras))]), np.zeros(3)), cameras.K, cameras.size
    )
    pixels, _ = spun.project(model.xyz)
    noise = np.random.default_rng(0).normal(0, 0.1, (len(o.camera), 2))
    seen = replace(model, observations=Observations.of(o.camera, o.point, pixels[o.camera, o.point] + noise))
    assert turned_on_the_spot(seen)
    with pytest.raises(InputError, match="turning on the spot"):
        depth(capture, replace(reconstruction, model=seen), QUICK, Job(tmp_path / "depth"))


def rotation_about_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def test_photos_that_share_nothing_have_no_depth(place: Room, tmp_path: Path) -> None:
    capture, reconstruction = written(place, tmp_path)
    model = reconstruction.model
    alone = replace(model, observations=Observations.of(np.arange(40) % 4, np.arange(40), np.zeros((40, 2))))
    with pytest.raises(InputError, match="no two do"):
        depth(capture, replace(reconstruction, model=alone), QUICK, Job(tmp_path / "depth"))


def test_one_photo_that_shares_nothing_is_named_and_empty(place: Room, tmp_path: Path) -> None:
    capture, reconstruction = written(place, tmp_path)
    seen = reconstruction.model.observations
    mine = seen.camera != 3
    others = Observations.of(seen.camera[mine], seen.point[mine], seen.xy[mine])
    job = Job(tmp_path / "depth")
    maps = depth(capture, replace(reconstruction, model=replace(reconstruction.model, observations=others)), QUICK, job)
    assert (maps.confidence[3] == 0).all() and np.isnan(maps.z[3]).all() and (maps.confidence[0] > 0).mean() > 0.4
    assert len(job.warnings) == 1 and place.names[3] in job.warnings[0] and job.metrics["without_depth"] == 1


def test_points_that_are_not_numbers_are_passed_over(place: Room) -> None:
    model = sparse_of(place)
    bad = model.xyz.copy()
    bad[::7] = np.nan
    views = choose_views(replace(model, xyz=bad), 3)
    assert all(len(v.sources) == 3 and np.isfinite(v.w).all() and np.isfinite(v.w_range).all() for v in views)


def test_a_rectified_pair_without_points(tmp_path: Path) -> None:
    """Two cameras side by side, a range of depth, and the disparity comes out: the way of two-view benchmarks."""
    pose = np.tile(np.eye(4), (2, 1, 1))
    pose[1, 0, 3] = -0.4
    k = np.tile(np.array([[FOCAL, 0, SIZE[0] / 2], [0, FOCAL, SIZE[1] / 2], [0, 0, 1]]), (2, 1, 1))
    place = room(cameras=Cameras(pose, k, np.tile(np.array(SIZE, np.int32), (2, 1))))
    capture, reconstruction = written(place, tmp_path)
    nothing = np.zeros((0, 3))
    empty = SparseModel(
        place.names, place.cameras, nothing, nothing.astype(np.uint8), np.zeros(0, np.float32), Observations.none()
    )
    options = DepthOptions(depth_near=2.0, depth_far=10.0)
    maps = depth(capture, replace(reconstruction, model=empty), options, Job(tmp_path / "depth"))
    sure = maps.confidence[0] > 0
    off = np.abs(FOCAL * 0.4 / maps.z[0] - FOCAL * 0.4 / place.z[0])[sure]
    assert sure.mean() > 0.6 and np.mean(off < 0.5) > 0.93


def test_the_samples_true_depth(tmp_path: Path) -> None:
    """Photos that were path-traced, true cameras; at a third of the size."""
    names, cameras = sample_cameras()
    wanted = ("IMG_0003.jpg", "IMG_0004.jpg", "IMG_0005.jpg")
    for name in wanted:
        photo = cv2.imread(str(sample_photos() / name))
        (tmp_path / "images").mkdir(exist_ok=True)
        assert photo is not None and cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), photo)
    nothing, none = np.zeros((0, 3)), np.zeros(0, np.float32)
    mine = cameras[[names.index(name) for name in wanted]]
    model = SparseModel(wanted, mine, nothing, nothing.astype(np.uint8), none, Observations.none(), World("metric"))
    options = DepthOptions(depth_long_side=216, depth_near=0.5, depth_far=6.0, depth_passes=1)
    maps = depth(capture_of(model), Reconstruction(model, tmp_path / "images", None), options, Job(tmp_path / "depth"))
    true = cv2.resize(sample_z()["IMG_0004.jpg"], (216, 162), interpolation=cv2.INTER_NEAREST)
    sure = (maps.confidence[1] > 0) & np.isfinite(true)
    error = np.abs(maps.z[1] - true)[sure] / true[sure]
    assert sure.mean() > 0.5 and np.median(error) < 0.01 and np.mean(error < 0.05) > 0.85


def test_filling_leaves_what_is_measured_and_marks_what_is_not(place: Room, tmp_path: Path) -> None:
    capture, reconstruction = written(place, tmp_path)
    job = Job(tmp_path / "depth")
    holes = depth(capture, reconstruction, QUICK, job)
    full = depth(capture, reconstruction, replace(QUICK, fill_depth=True), Job(tmp_path / "full"))
    for i in range(4):
        sure = holes.confidence[i] > 0
        np.testing.assert_array_equal(holes.confidence[i], full.confidence[i])
        np.testing.assert_array_equal(holes.z[i][sure], full.z[i][sure])
        assert np.isfinite(full.z[i]).all() and np.isfinite(full.normal[i]).all() and not sure.all()


def test_maps_come_back_as_they_were_saved(found: DepthMaps, tmp_path: Path) -> None:
    save_maps(found, tmp_path / "depth")
    again = load_maps(tmp_path / "depth")
    assert again.names == found.names and again.world.to_json() == found.world.to_json()
    assert all(isinstance(a, np.memmap) and a.dtype == np.float32 for a in (*again.z, *again.confidence))
    for a, b in zip(again.z + again.normal, found.z + found.normal, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(again.cameras.K, found.cameras.K)
    path = tmp_path / "depth" / "z" / f"{found.names[1]}.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WorkspaceError, match="damaged"):
        load_maps(tmp_path / "depth")


@pytest.mark.parametrize(
    "wrong", [{"depth_best": 5}, {"depth_sources": 0}, {"agree_px": 0.0}, {"depth_near": 3.0, "depth_far": 2.0}]
)
def test_options_are_refused_at_the_door(place: Room, tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(InputError, match="--"):
        depth(*written(place, tmp_path), DepthOptions(**wrong), Job(tmp_path / "depth"))


def test_the_verb_works_in_a_workspace_and_run_leaves_it_out(
    place: Room, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert "depth" in VERBS and "depth" not in MAIN_JOB
    capture, reconstruction = written(place, tmp_path / "photos")
    root = tmp_path / "ws"
    root.mkdir()
    (root / "recon.json").write_text('{"format": 1}', encoding="utf-8")
    (root / "ingest").mkdir()
    save_capture(capture, root / "ingest")
    for stage in ("sfm", "align"):
        write_sparse_stage(root, stage, reconstruction.model)
    (root / "sfm" / "sfm.json").write_text(
        json.dumps({"left_out": [], "time": None, "world": World().to_json()}), encoding="utf-8"
    )
    for name, rgb in zip(place.names, place.rgb, strict=True):
        write_photo(root / "sfm" / "images" / f"{name}.png", rgb)
    inputs = {"ingest": {}, "sfm": {"ingest": "1"}, "align": {"ingest": "1", "sfm": "2"}}
    for number, stage in enumerate(("ingest", "sfm", "align"), 1):
        write_stage(
            root / stage,
            key="k",
            result=str(number),
            version=1,
            inputs=inputs[stage],
            wall_seconds=0.0,
            cpu_seconds=0.0,
        )
    assert main(["depth", "-w", str(root), "--depth-passes", "0", "--depth-long-side", "100"]) == 0
    maps = load_maps(root / "depth")
    assert maps.names == place.names and tuple(maps.cameras.size[0]) == (100, 75)
    assert not (root / "depth" / "scratch").exists()
    record = json.loads((root / "depth" / "stage.json").read_text(encoding="utf-8"))
    assert record["metrics"]["photos"] == 4 and record["metrics"]["measured"] > 0.3
    capsys.readouterr()
    assert main(["status", "-w", str(root)]) == 0
    assert "depth" in capsys.readouterr().out
