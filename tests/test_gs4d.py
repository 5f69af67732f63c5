"""Scenes that move: nothing moves at birth, gradients are exact, kills cost nothing, and training finds the motion."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from recon.cameras import Cameras
from recon.errors import InputError
from recon.job import Job
from render.densify import Edit
from render.depth_loss import camera_z
from render.evaluate import evaluate
from render.formats.ply import read_ply
from render.initial import SceneInit, SceneSetup
from render.motion import MOVED, moved
from render.optimize import Optimizer
from render.options import EvalOptions
from render.rasterize import rasterize
from render.scene_file import read_scene, save_scene
from render.scenes import config_of
from render.splats import Splats
from render.stage_train import load_scene, train_stage
from render.train import train
from tests.moving_scene import MovingScene, one_camera, six_cameras, written
from tests.moving_training import OPTIONS, errors, jitter, path_error, prepared, trained
from tests.splat_scenes import cameras, scene

KINDS = ("gs4d", "gs_nodes")
SMALL: dict[str, dict[str, Any]] = {"gs4d": {"cells": (8,), "features": 4, "width": 8}, "gs_nodes": {"nodes": 12}}
SETUP = SceneSetup(extent=2.0, near=0.05, splats=80, sh_degree=0, times=(1.0, 3.0), fps=5.0, densify=False)


def small(kind: str, count: int = 40, **config: Any) -> Any:
    """A scene of random splats, in motion, whose motion is still zero."""
    return config_of(kind)(**(SMALL[kind] | config)).load(SETUP, scene(count, bands=1, size=-1.5))


def stirred(kind: str, **config: Any) -> Any:
    """The same with a motion of some size."""
    moving, draw = small(kind, **config), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in moving.parameters().shared.items():
            if name not in moving.fixed:
                tensor += 0.1 * torch.randn(tensor.shape, generator=draw)
    return moving


def view(time: float) -> Cameras:
    return replace(cameras(31, 23), time=np.array([time]))


# What a scene is


@pytest.mark.parametrize("kind", KINDS)
def test_at_birth_the_scene_that_moves_is_the_still_one(kind: str) -> None:
    moving, still = small(kind), config_of("gs")().load(SETUP, scene(40, bands=1, size=-1.5))
    for time in (1.0, 1.7, 3.0):
        for name, column in still.at().columns().items():
            assert torch.equal(moving.at(time).columns()[name], column.detach())
        assert torch.equal(moving.render(view(time)).rgb, still.render(view(time)).rgb)
    assert not torch.equal(stirred(kind).at(1.7).mean, still.at().mean)


@pytest.mark.parametrize("kind", KINDS)
def test_gates_of_zero_stand_still_and_the_start_is_the_default(kind: str) -> None:
    moving = stirred(kind)
    moving.parameters().per_splat["moves"].data[::2] = 0.0
    rest, later = moving.parameters().per_splat["mean"].detach(), moving.at(2.5)
    assert torch.equal(later.mean[::2], rest[::2]) and bool((later.mean[1::2] != rest[1::2]).any(1).all())
    assert torch.equal(moving.at().mean, moving.at(1.0).mean) and torch.equal(moving.at(9.0).mean, moving.at(3.0).mean)
    assert moving.times == (1.0, 3.0) and moving.fps == 5.0


@pytest.mark.parametrize("kind", KINDS)
def test_cameras_of_several_times_see_each_its_own(kind: str) -> None:
    moving, one = stirred(kind), cameras(31, 23)
    pair = Cameras(np.repeat(one.cam_from_world, 2, 0), np.repeat(one.K, 2, 0), np.repeat(one.size, 2, 0))
    both = moving.render(replace(pair, time=np.array([1.0, 2.2])), with_z=True)
    for i, time in enumerate((1.0, 2.2)):
        assert torch.equal(both.rgb[i], moving.render(view(time)).rgb[0])
    assert not torch.equal(both.rgb[0], both.rgb[1]) and both.extra["weighted_z"].shape == both.alpha.shape
    assert torch.equal(moving.render(one).rgb[0], both.rgb[0])  # without a time: the start


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_through_the_sink_are_those_of_autograd(kind: str) -> None:
    """Of a loss on colours and z, a third of the splats standing still; autograd takes the whole way in dense columns."""
    moving, camera = stirred(kind, gate=1e-30, gate_from=0.0, scale_penalty=0.0), view(2.3)
    p, draw = moving.parameters(), torch.Generator().manual_seed(5)
    p.per_splat["moves"].data[:] = torch.where(torch.arange(40) % 3 == 0, 0.0, 0.7)
    weight = torch.randn(1, 23, 31, 3, generator=draw), 0.1 * torch.randn(1, 23, 31, generator=draw)

    def loss(drawn: Any) -> torch.Tensor:
        return (weight[0] * drawn.rgb).sum() + (weight[1] * drawn.extra["weighted_z"]).sum()

    loss(moving.render(camera, with_z=True)).backward()
    assert p.row_grads is not None and p.penalize is not None and p.row_grads.rows is not None
    p.row_grads.absorb(p.per_splat)
    p.penalize(p.row_grads)
    rows, found = p.row_grads.rows, {name: p.row_grads.grads[name] for name in p.per_splat}
    shared = {name: tensor.grad for name, tensor in p.shared.items() if name not in moving.fixed}
    for tensor in p.shared.values():
        tensor.grad = None

    leaves = {name: column.detach().clone().requires_grad_() for name, column in p.per_splat.items()}
    motion = moving.motion_at(torch.arange(40), leaves["mean"], moving.share(2.3))
    shift, turn, stretch = (leaves["moves"][:, None] * part for part in motion)
    three = moved([leaves[name] for name in MOVED], (shift, turn, stretch))
    splats = Splats(*three, leaves["opacity_logit"], leaves["sh"])
    z = camera_z(splats.mean, torch.as_tensor(camera.cam_from_world, dtype=torch.float32))
    drawn = rasterize(splats, camera, depth=False, near=SETUP.near, features=z)
    drawn.extra["weighted_z"] = drawn.extra["features"][..., 0]
    loss(drawn).backward()
    leaves["moves"].grad[::3] = 0.0  # type: ignore[index]  # who stands still has no motion to learn of
    for name, leaf in leaves.items():
        assert leaf.grad is not None and float(leaf.grad.abs().max()) > 1e-3
        assert torch.allclose(found[name], leaf.grad[rows], atol=1e-4 * float(leaf.grad.abs().max())), name
    for name, gradient in shared.items():
        want = p.shared[name].grad
        assert want is not None and gradient is not None
        assert torch.allclose(gradient, want, atol=1e-4 * float(want.abs().max())), name


def test_nodes_that_turn_together_carry_all_splats_as_one_body() -> None:
    moving = small("gs_nodes")
    shared, turn = moving.parameters().shared, torch.tensor([0.3, -0.2, 0.5])
    x, y, z, w = torch.nn.functional.normalize(torch.cat([turn, torch.ones(1)]), dim=0).tolist()
    rotation = torch.tensor(Rotation.from_quat([x, y, z, w]).as_matrix(), dtype=torch.float32)
    with torch.no_grad():
        shared["track"][..., 3:] = turn
        shared["track"][..., :3] = (shared["node"] @ rotation.T - shared["node"]) / SETUP.extent
    rest, later = moving.parameters().per_splat, moving.at(1.9)
    assert torch.allclose(later.mean, rest["mean"] @ rotation.T, atol=1e-5)
    turned = [
        torch.tensor(Rotation.from_quat(q[:, [1, 2, 3, 0]]).as_matrix()) for q in (rest["quat"].detach(), later.quat)
    ]
    assert torch.allclose(turned[1].float(), rotation @ turned[0].float(), atol=1e-5)


def test_nodes_that_part_are_no_neighbours() -> None:
    """Two bodies whose nodes lie among each other at rest go different ways: neither bends, unless places at rest decide."""
    bent = {}
    for company in (1.0, 0.0):
        moving = small("gs_nodes", 80, nodes=16, company=company)
        with torch.no_grad():
            moving.parameters().shared["track"][:, ::2, 0] = 30 * torch.linspace(-1, 1, 8)[:, None]
        bent[company] = float(moving.bending(0.8).detach())
    assert bent[1.0] < 1e-9 and bent[0.0] > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_edits_carry_the_gates_along(kind: str) -> None:
    moving = stirred(kind)
    optimizer = Optimizer(moving.parameters())
    moving.parameters().per_splat["moves"].data[:] = torch.arange(40.0) / 40
    before = moving.at(2.0)
    edit = Edit(torch.tensor([3, 5, 7]), torch.tensor([0, 40, 41]), 42, torch.tensor([0, 40, 41]))
    moving.parameters().edit(edit)
    after = moving.at(2.0)
    assert len(after) == 42 and after.extra["moves"][[0, 40, 41]].tolist() == before.extra["moves"][[3, 5, 7]].tolist()
    assert torch.allclose(after.mean[[0, 40, 41]], before.mean[[3, 5, 7]], atol=1e-6)
    assert len(optimizer.state()["first.moves"]) == 42


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_same_scene_back(kind: str, tmp_path: Path) -> None:
    moving = stirred(kind)
    moving.info = {"scene": kind}
    save_scene(tmp_path / "scene.npz", moving)
    again = read_scene(tmp_path / "scene.npz")
    assert again.times == moving.times and again.fps == 5.0
    for time in (1.0, 2.2):
        for name, column in moving.at(time).columns().items():
            assert torch.equal(again.at(time).columns()[name], column)
    assert torch.equal(again.to("cpu").at(2.2).extra["moves"], moving.at(2.2).extra["moves"])


@pytest.mark.parametrize("times", [None, (2.0, 2.0)])
def test_photos_without_times_are_refused_with_the_next_step(times: tuple[float, float] | None) -> None:
    init = SceneInit(
        np.zeros((4, 3)), np.zeros((4, 3), np.float32), np.ones(4, np.float32), replace(SETUP, times=times)
    )
    with pytest.raises(InputError, match=r"--fps.*--scene gs"):
        config_of("gs4d")().build(init)


# Training


@functools.cache
def capture() -> MovingScene:
    return one_camera(frames=24, size=(96, 72), fps=20.0)


@functools.cache
def fitted(kind: str, steps: int = 300, **config: Any) -> Any:
    """A scene trained on it."""
    with tempfile.TemporaryDirectory() as folder:
        options = replace(OPTIONS, scene=kind, steps=steps, long_side=96, splats=2000)
        return trained(prepared(capture(), Path(folder), options, config), kind)


def test_what_moves_is_seen_far_better_and_what_does_not_no_worse() -> None:
    still = errors(fitted("gs"), capture())
    for kind in KINDS:
        found = errors(fitted(kind), capture())
        assert found["psnr_moving"] > still["psnr_moving"] + 3 and found["psnr_static"] > still["psnr_static"] - 0.3


def test_what_stands_still_hardly_trembles() -> None:
    free = jitter(fitted("gs4d", gate=0.0, settle=0.0), capture())
    assert jitter(fitted("gs4d"), capture()) < 0.6 * free
    moves = fitted("gs4d").at().extra["moves"]
    assert 0.05 < float((moves > 0).float().mean()) < 0.7


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_cut_gives_the_same_bits(kind: str, tmp_path: Path) -> None:
    options = replace(OPTIONS, scene=kind, steps=110, long_side=96, splats=900)
    config = {"still_until": 0.1, "gate_from": 0.2, "settle_from": 0.3}
    whole = prepared(capture(), tmp_path, options, config)
    for event in train(whole):
        if event.step == 75 and event.kind != "end":
            tensors, values = whole.state()
            kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}, dict(values)
            kept[1].update(order=list(values["order"]), realised=list(values["realised"]))
            state = whole.rng.bit_generator.state
    resumed = prepared(capture(), tmp_path, options, config)
    resumed.restore(*kept)
    assert resumed.rng.bit_generator.state["state"] == state["state"]
    for _ in train(resumed):
        pass
    a, b = whole.state()[0], resumed.state()[0]
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_stage_writes_the_start_and_judges_each_photo_at_its_time(tmp_path: Path) -> None:
    recorded, reconstruction = written(capture(), tmp_path)
    options = replace(OPTIONS, scene="gs_nodes", steps=60, long_side=96, splats=900)
    job = Job(tmp_path / "train")
    train_stage(recorded, reconstruction, options, job)
    job.finish()
    found: Any = load_scene(job.folder)
    assert torch.equal(read_ply(job.folder / "scene.ply").mean, found.at(found.times[0]).mean)
    assert not torch.equal(found.at(found.times[1]).mean, found.at().mean)
    assert found.times == (0.0, pytest.approx(23 / 20)) and found.fps == pytest.approx(20)
    metrics = evaluate(recorded, reconstruction, found, EvalOptions(report=False), Job(tmp_path / "eval"))
    stopped = replace(reconstruction.model.cameras, time=None)
    frozen = replace(reconstruction, model=replace(reconstruction.model, cameras=stopped))
    at_start = evaluate(recorded, frozen, found, EvalOptions(report=False), Job(tmp_path / "frozen"))
    assert metrics["images"][0]["psnr"] == at_start["images"][0]["psnr"]
    assert metrics["images"][-1]["psnr"] != at_start["images"][-1]["psnr"]


def test_nodes_keep_their_distances_when_asked_to() -> None:
    free, kept = fitted("gs_nodes", rigid=0.0).edge_variance(), fitted("gs_nodes").edge_variance()
    assert 2 * kept < free


def test_splats_on_the_ball_follow_its_path(tmp_path: Path) -> None:
    """Six fixed cameras: one alone does not know how far away the ball is."""
    seen = six_cameras(frames=12, size=(96, 72), fps=10.0)
    options = replace(OPTIONS, scene="gs_nodes", steps=300, long_side=96, splats=2000)
    followed = path_error(trained(prepared(seen, tmp_path, options), "gs_nodes"), seen)
    assert followed["splats"] >= 3 and followed["error"] < 0.25 * followed["length"]
    assert followed["error"] < 0.5 * followed["still"]
