"""Depth maps in training: where colours say nothing they decide how far a surface is; held-out photos' maps decide nothing."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import render.stage_train as stage
from recon import commands
from recon.cameras import Cameras
from recon.depth.maps import DepthMaps
from recon.errors import InputError
from recon.job import Job
from recon.stages import STAGES
from render.depth_loss import EVERY, FINAL, GUESS, DepthTargets, camera_z, depth_loss
from render.depth_points import depth_points, thinned
from render.options import TrainOptions, check_options
from render.stage_train import load_scene, train_from, train_stage, training_data
from tests.wall_scene import SIZE, true_z, wall, wall_cameras

SMALL = TrainOptions(
    steps=150, minutes=None, long_side=48, splats=400, sh_degree=0, coarse_to_fine="off", device="cpu", depth_weight=1.0
)


def changed(maps: DepthMaps, rows: list[int], **images: Any) -> DepthMaps:
    """Maps whose images of some rows are replaced: z=function of the old z."""
    out = {}
    for kind, change in images.items():
        out[kind] = tuple(change(a) if i in rows else a for i, a in enumerate(getattr(maps, kind)))
    return replace(maps, **out)


def shuffled(maps: DepthMaps) -> DepthMaps:
    order = np.roll(np.arange(len(maps)), 3)
    return replace(maps, z=tuple(maps.z[i] for i in order))


def z_error(root: Path, name: str = "train") -> float:
    """Median relative error of the expected z at the held-out cameras."""
    scene, cameras, errors = load_scene(root / name), wall_cameras(), []
    for i in (0, 4):
        with torch.no_grad():
            seen = scene.render(cameras[i], with_z=True)
        z = (seen.extra["weighted_z"] / seen.alpha)[0].numpy()
        errors.append(np.abs(z / true_z(cameras)[i] - 1).ravel())
    return float(np.median(np.concatenate(errors)))


def fit(root: Path, options: TrainOptions, inputs: tuple, name: str = "train") -> bytes:
    """Train; the bytes of the scene."""
    capture, posed, maps = inputs
    job = Job(root / name)
    train_stage(capture, posed, options, job, maps)
    job.finish()
    return (root / name / "scene.npz").read_bytes()


def test_a_bare_wall_is_where_its_depth_maps_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the loss alone, from points that are too near; and by points of the maps. Maps of other photos mislead."""
    capture, posed, maps = wall(tmp_path)
    long = replace(SMALL, steps=300, depth_weight=10.0)
    monkeypatch.setattr(stage, "SEED_SHARE", 0.25)
    fit(tmp_path, replace(long, steps=100), (capture, posed, maps), "seeded")
    monkeypatch.setattr(stage, "SEED_SHARE", 0.0)
    fit(tmp_path, replace(long, steps=100), (capture, posed, maps), "unseeded")
    fit(tmp_path, replace(long, depth_weight=0.0), (capture, posed, None), "photos")
    fit(tmp_path, long, (capture, posed, maps))
    fit(tmp_path, long, (capture, posed, shuffled(maps)), "shuffled")
    alone, taught, misled = z_error(tmp_path, "photos"), z_error(tmp_path), z_error(tmp_path, "shuffled")
    assert taught < 0.01 < alone / 5
    assert misled > 10 * taught
    assert z_error(tmp_path, "seeded") < z_error(tmp_path, "unseeded") / 2


def test_the_gradient_is_that_of_finite_differences() -> None:
    g = torch.Generator().manual_seed(0)
    z = 1 + torch.rand(6, 7, generator=g).double()
    alpha = 0.1 + 0.8 * torch.rand(6, 7, generator=g).double()
    weighted = alpha * z * (1 + 0.3 * torch.randn(6, 7, generator=g).double())
    c = torch.rand(6, 7, generator=g).double()
    alpha[0, 0], c[0, 1] = 0.01, 0.0  # too empty, and not measured
    _, d_weighted, d_alpha = depth_loss(weighted, alpha, z, c, 2.0)
    assert d_weighted[0, 0] == d_alpha[0, 0] == d_weighted[0, 1] == 0
    step = 1e-6
    for row, column in ((1, 1), (3, 4), (5, 6), (0, 1)):
        hold = torch.zeros(6, 7).double()
        hold[row, column] = step
        # the weight alpha has no gradient: what changes E = F / A at a fixed A, as F and A change, is what counts
        mean, there = weighted / alpha, (row, column)
        by_f, by_a = (weighted + hold) / alpha, weighted / (alpha + hold)
        for moved, gradient in ((by_f, d_weighted), (by_a, d_alpha)):
            change = depth_loss(moved * alpha, alpha, z, c, 2.0)[0] - depth_loss(mean * alpha, alpha, z, c, 2.0)[0]
            assert change / step == pytest.approx(float(gradient[there]), rel=1e-4, abs=1e-9)


def test_far_errors_pull_less_and_the_weight_fades() -> None:
    z = torch.full((1, 3), 2.0)
    alpha, c = torch.ones(1, 3), torch.ones(1, 3)
    _, pull, _ = depth_loss(z * torch.tensor([[1.001, 1.1, 3.0]]), alpha, z, c, 1.0)
    assert pull[0, 0] > 1.8 * pull[0, 1] > 9 * pull[0, 2] > 0
    assert depth_loss(z, alpha, z, c, 1.0)[0] == 0


def test_targets_are_the_maps_at_the_photo_s_size(tmp_path: Path) -> None:
    _, _, maps = wall(tmp_path)
    hole = [np.array(image) for image in maps.z]
    hole[2][:24], hole[2][30] = np.nan, 7.0
    sure = [np.array(image) for image in maps.confidence]
    sure[2][:36], sure[2][40:] = 0, 0.5
    maps = replace(maps, z=tuple(hole), confidence=tuple(sure))
    some = replace(maps, names=tuple(f"x{n}" if i == 3 else n for i, n in enumerate(maps.names)))
    targets = DepthTargets.of(some, ("003.jpg", "002.jpg"), 0.5)
    cameras = wall_cameras()
    assert targets.target(0, cameras[3]) is None
    assert [targets.at_step(0, i) for i in (0, 1)] == [None, targets] and targets.at_step(1, 1) is None
    target = targets.target(1, cameras[2])
    assert target is not None
    z, c = target
    assert z.shape == c.shape == (SIZE[1], SIZE[0])
    assert (c[:18] == 0).all() and (c[18:27] == np.float32(GUESS)).all() and (c[31:] == 0.5).all()
    assert np.abs(z[31:] / true_z(cameras)[2][31:] - 1).max() < 0.01
    assert_pulls_agree(targets, 1, cameras[2])
    beyond = np.array([[[0, 0, 9.0], [0, 0, -7.0], [0, 0, 0]]])
    rolled = replace(cameras[2], K=cameras[2].K + beyond)  # looks beyond the map
    assert_pulls_agree(targets, 1, rolled)
    edge = targets.target(1, rolled)
    assert edge is not None and (edge[1][-7:] == 0).all() and (edge[1][:, :9] == 0).all()
    with pytest.raises(InputError, match="recon depth --redo"):
        DepthTargets.of(maps, ("other.jpg",), 1.0)


def assert_pulls_agree(targets: DepthTargets, index: int, camera: Cameras) -> None:
    """The kernel and its twin; and the weight fades."""
    g = torch.Generator().manual_seed(0)
    alpha, mask = torch.rand(2, SIZE[1], SIZE[0], generator=g)
    weighted, target = alpha * (4 + torch.rand(SIZE[1], SIZE[0], generator=g)), targets.target(index, camera)
    assert target is not None
    z, c = (torch.from_numpy(image) for image in target)
    for given in (None, (mask > 0.5).float()):
        want = depth_loss(weighted, alpha, z, c if given is None else c * given, targets.weight)[1:]
        for progress, share in ((0.0, EVERY), (1.0, EVERY * FINAL)):
            got = targets.pulls(index, camera, weighted, alpha, given, progress)
            for ours, theirs in zip(got, want, strict=True):
                assert torch.allclose(ours, share * theirs, rtol=1e-4, atol=1e-9) and theirs.abs().max() > 0


def test_points_of_maps_lie_on_the_wall_and_agree(tmp_path: Path) -> None:
    capture, posed, maps = wall(tmp_path)
    dataset = training_data(capture, posed, SMALL, tmp_path)
    none = np.zeros((0, 3))

    def points(maps: DepthMaps, known: np.ndarray = none, most: int = 200) -> tuple[np.ndarray, np.ndarray]:
        return depth_points(DepthTargets.of(maps, dataset.names, 1.0), dataset, known, most, 0)

    xyz, rgb = points(maps)
    assert 80 < len(xyz) <= 200 and np.abs(xyz[:, 2] - 4 - 0.3 * xyz[:, 0]).max() < 1e-3
    assert np.abs(rgb - [0.6, 0.4, 0.3]).max() < 0.01
    assert np.array_equal(points(maps)[0], xyz)
    assert len(points(shuffled(maps))[0]) < 0.5 * len(xyz)
    assert len(points(changed(maps, list(range(8)), confidence=lambda a: 0.3 * a))[0]) == 0
    assert len(points(maps, xyz, 10**6)[0]) > 0 and len(points(maps, xyz, 0)[0]) == 0
    held_out = changed(maps, [0, 4], z=lambda a: 0.5 * a)
    assert np.array_equal(points(held_out)[0], xyz)


def test_thinning_keeps_points_apart_and_few() -> None:
    draw = np.random.default_rng(0)
    xyz, known = draw.uniform(-1, 1, (3000, 3)), draw.uniform(-1, 0, (500, 3))
    for most in (1, 7, 300):
        kept = thinned(xyz, known, most, 0.01)
        assert len(np.unique(kept)) == len(kept) <= most
    assert len(kept) > 100
    few = thinned(xyz[:50], xyz[:20], 1000, 1e-6)
    assert np.array_equal(few, np.arange(20, 50))


def test_held_out_maps_and_a_weight_of_zero_change_no_bit(tmp_path: Path) -> None:
    capture, posed, maps = wall(tmp_path)
    short = replace(SMALL, steps=25, refine_poses=True)
    first = fit(tmp_path, short, (capture, posed, maps), "a")
    assert fit(tmp_path, short, (capture, posed, maps), "b") == first
    held_out = changed(maps, [0, 4], z=lambda a: 0.5 * a, confidence=np.zeros_like)
    assert fit(tmp_path, short, (capture, posed, held_out), "c") == first
    trained = changed(maps, [5], z=lambda a: 0.5 * a)
    assert fit(tmp_path, short, (capture, posed, trained), "d") != first
    off = replace(short, depth_weight=0.0)
    assert fit(tmp_path, off, (capture, posed, maps), "e") == fit(tmp_path, off, (capture, posed, None), "f") != first


def test_a_stopped_run_goes_on_unless_its_maps_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture, posed, maps = wall(tmp_path)
    short, other = replace(SMALL, steps=40, refine_poses=True), changed(maps, [5], z=lambda a: 0.9 * a)
    whole = [fit(tmp_path, short, (capture, posed, m), f"whole{i}") for i, m in enumerate((maps, other))]
    train, begun = stage.train, []

    def stopping(run: Any) -> Any:
        begun.append(run.pace.step)
        for event in train(run):
            yield event
            if event.step == 20 and len(begun) in (1, 3):
                raise KeyboardInterrupt

    monkeypatch.setattr(stage, "train", stopping)
    monkeypatch.setattr(stage, "CHECKPOINT_SECONDS", 0.0)
    for name, then in (("goes on", maps), ("starts again", other)):
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path, short, (capture, posed, maps), name)
        assert fit(tmp_path, short, (capture, posed, then), name) == whole[then is other]
    assert begun == [0, 20, 0, 0]


def test_z_follows_the_pose_that_is_refined() -> None:
    mean = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    poses = torch.as_tensor(wall_cameras().cam_from_world[:2]).float().requires_grad_()
    z = camera_z(mean, poses)
    assert z.shape == (2, 5, 1) and torch.allclose(z[1, :, 0], mean[:, 2] + poses[1, 2, 3])
    z.sum().backward()
    assert poses.grad is not None and torch.allclose(poses.grad[:, 2, 3], torch.tensor(5.0))
    assert mean.grad is not None and torch.allclose(mean.grad, torch.tensor([0.0, 0.0, 2.0]).expand(5, 3))


def test_what_the_weight_needs_is_said(tmp_path: Path) -> None:
    capture, posed, maps = wall(tmp_path)
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--depth-weight"):
            check_options(replace(SMALL, depth_weight=weight))
    with pytest.raises(InputError, match="recon depth"):
        train_stage(capture, posed, SMALL, Job(tmp_path / "train"))
    row = STAGES["train"]
    assert row.needs_for(TrainOptions()) == row.needs == ("ingest", "align")
    assert row.needs_for(SMALL) == ("ingest", "align", "depth")
    seen: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "train_stage", lambda *given: seen.append(given))
        train_from(capture, posed, SMALL, "job")
        train_from(capture, posed, maps, SMALL, "job")
    assert seen == [(capture, posed, SMALL, "job"), (capture, posed, SMALL, "job", maps)]


def test_a_run_makes_depth_maps_before_it_trains_on_them() -> None:
    job = commands._stages(Namespace(depth_weight=0.5, mesh=False))
    assert job.index("align") < job.index("depth") < job.index("train")
    assert "depth" not in commands._stages(Namespace(depth_weight=0.0, mesh=False))
    both = commands._stages(Namespace(depth_weight=0.0, mesh=True, mesh_from="depth"))
    assert both.index("eval") < both.index("depth") < both.index("mesh")
