"""Fields over grids: hash tables and planes learn exact photos of a ball, pass over empty space, tell the time, and resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from render import heads
from render.dataset import Level
from render.kernels import march_contracted
from render.scene_file import read_scene, save_scene
from render.scenes.kplanes import KplanesConfig, dense_bytes, name_of, roughness, variation
from render.scenes.ngp import NgpConfig
from render.train import train
from tests.field_scenes import RADIUS, dataset_of, orbit, photograph, psnr, start, trained

NGP = NgpConfig(
    levels=4, log2_size=13, finest=64, hidden=32, cells=24, warm_up=32, steps_across=64, samples=4096, ray_loss="mse"
)
PLANES = KplanesConfig(
    features=8, scales=(16, 32), moments=8, hidden=32, cells=24, warm_up=32, steps_across=64, samples=4096
)
STEPS = 200
HELD = orbit(5)


@pytest.fixture(scope="module")
def ball() -> Any:
    """A hash grid trained on the ball."""
    return trained(NGP, dataset_of(orbit(24)), STEPS)


def flat_psnr(cameras: Any) -> float:
    """Of the best single colour."""
    true = [photograph(cameras[i]) for i in range(len(cameras))]
    views = np.stack([rgb + (1 - matte[..., None]) for rgb, matte, _ in true])
    return float(-10 * np.log10(np.mean((views - views.mean((0, 1, 2))) ** 2)))


# What it learns


def test_a_hash_grid_learns_the_ball(ball: Any) -> None:
    assert psnr(ball, HELD) > flat_psnr(HELD) + 6
    misses = []
    for i in range(len(HELD)):
        seen = ball.render(HELD[i])
        z, matte = photograph(HELD[i])[2], seen.alpha[0].numpy()
        core = np.isfinite(z) & (matte > 0.9)
        assert core.mean() > 0.1
        misses.append(np.abs(seen.z[0].numpy()[core] - z[core]))
    assert np.median(np.concatenate(misses)) < 0.2 * RADIUS


def test_occupancy_marks_the_ball_and_not_the_corners(ball: Any) -> None:
    side = len(ball.occupancy.mask)
    radius = ball.setup.radius
    axis = ((np.arange(side) + 0.5) / side * 2 - 1) * radius
    distance = np.sqrt((np.stack(np.meshgrid(axis, axis, axis, indexing="ij")) ** 2).sum(0))
    full = ball.occupancy.mask.numpy() > 0
    assert full[np.abs(distance - RADIUS) < 0.5 * radius / side].mean() > 0.9
    assert full[(distance > 1.5 * RADIUS) & (distance < radius)].mean() < 0.1
    assert ball.info["occupied"] == round(float(full.mean()), 5) and ball.info["queries"] == ball.queries > 0


def test_passing_over_empty_cells_changes_no_picture_and_saves_queries(ball: Any) -> None:
    with_mask, mask = psnr(ball, HELD), ball.occupancy.mask
    counts = []
    march = ball._march

    def counted(rays: Any) -> Any:
        counts.append(0)
        found = march(rays)
        counts[-1] = len(found[0])
        return found

    ball._march = counted
    psnr(ball, HELD)
    few = sum(counts)
    counts.clear()
    ball.occupancy.mask = torch.ones_like(mask)
    try:
        assert abs(psnr(ball, HELD) - with_mask) < 0.1
    finally:
        ball.occupancy.mask, ball._march = mask, march
    assert sum(counts) > 3 * few


def test_too_small_a_table_loses(ball: Any) -> None:
    small = trained(replace(NGP, log2_size=6), dataset_of(orbit(24)), STEPS)
    assert psnr(small, HELD) < psnr(ball, HELD) - 2


def test_seeds_differ_and_repeat() -> None:
    data = dataset_of(orbit(6))
    tables = [trained(NGP, data, 3, seed=seed).tensors["table"] for seed in (0, 0, 1)]
    assert torch.equal(tables[0], tables[1]) and not torch.equal(tables[0], tables[2])


def test_rays_of_a_step_follow_from_its_samples(ball: Any) -> None:
    config = replace(NGP, samples=16384)
    scene: Any = start(config, dataset_of(orbit(6)), 3).scene
    assert scene.rays_per_step == config.samples // config.steps_across
    assert start(NGP, dataset_of(orbit(6)), 3).scene.rays_per_step < ball.rays_per_step  # type: ignore[attr-defined]


# Kill and read


@pytest.mark.parametrize("config", [NGP, PLANES], ids=["ngp", "kplanes"])
def test_a_resumed_run_gives_the_same_bits(config: Any) -> None:
    data = dataset_of(orbit(12, 2.0))
    whole = start(config, data, 50)
    for event in train(whole):
        if event.step == 35 and event.kind != "end":
            tensors, values = whole.state()
            kept = {name: tensor.detach().clone() for name, tensor in tensors.items()}
            after = dict(values)
            order = list(values["order"])
    again = start(config, data, 50)
    again.restore(kept, after | {"order": order})
    for _ in train(again):
        pass
    for name, tensor in whole.scene.state().items():
        assert torch.equal(tensor, again.scene.state()[name]), name


@pytest.mark.parametrize("config", [NGP, PLANES], ids=["ngp", "kplanes"])
def test_a_scene_read_again_shows_the_same(config: Any, tmp_path: Path) -> None:
    name = "ngp" if config is NGP else "kplanes"
    scene = trained(config, dataset_of(orbit(12, 2.0)), 50)
    scene.info["scene"] = name
    save_scene(tmp_path / "scene.npz", scene)
    again = read_scene(tmp_path / "scene.npz")
    view = orbit(12, 2.0)[3]
    assert again.config == scene.config and again.info["queries"] == scene.queries
    assert torch.equal(again.occupancy.mask, scene.occupancy.mask) and 0 < scene.occupancy.share() < 1
    assert torch.equal(again.render(view).rgb, scene.render(view).rgb)


# Parts


def test_contraction_is_chosen_by_the_photos() -> None:
    data = dataset_of(orbit(6))
    chosen: list[Any] = [
        start(replace(NGP, contraction=asked), data, 1, bounded=bounded).scene
        for asked, bounded in [("auto", True), ("auto", False), ("on", True), ("off", False)]
    ]
    for scene in chosen:
        scene.finish()
    assert [scene.info["contraction"] for scene in chosen] == [False, True, True, False]
    far = torch.tensor([[1e6, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert torch.allclose(chosen[1]._cube(far)[0], torch.tensor([1.0, 0.5, 0.5]), atol=0.01)
    assert torch.allclose(chosen[1]._cube(far)[1], torch.tensor([0.5, 0.5, 0.5]), atol=0.01)


def test_marching_contracted_space_agrees_with_its_twin() -> None:
    draw = torch.Generator().manual_seed(0)
    origin = torch.randn(50, 3, generator=draw)
    direction = torch.nn.functional.normalize(torch.randn(50, 3, generator=draw), dim=1)
    near, far = torch.rand(50, generator=draw), 2 + 50 * torch.rand(50, generator=draw)
    occupancy = (torch.rand(48, 48, 48, generator=draw) < 0.5).to(torch.uint8)
    edges = torch.from_numpy(march_contracted.steps(0.05, 40.0, 0.05, 1 / 16))
    given = (origin, direction, near, far, occupancy, edges, torch.rand(50, generator=draw))
    fast, slow = march_contracted.march_contracted(*given), march_contracted.reference(*given)
    assert len(slow[0]) > 500
    assert abs(len(fast[0]) - len(slow[0])) <= 2  # a place on the border of two cells may fall to either
    assert abs(float(fast[1].sum() / slow[1].sum()) - 1) < 1e-2
    places = [set(np.round(found[0].numpy(), 3)) for found in (fast, slow)]
    assert len(places[0] ^ places[1]) < 0.01 * len(slow[0])
    assert (edges.diff() > 0).all() and edges[-1] >= 40


def test_harmonics_are_orthonormal() -> None:
    z, angle = np.meshgrid((np.arange(200) + 0.5) / 100 - 1, np.arange(64) * 2 * np.pi / 64)
    flat = np.sqrt(1 - z**2)
    d = torch.from_numpy(np.stack([flat * np.cos(angle), flat * np.sin(angle), z], -1).reshape(-1, 3))
    y = heads.harmonics(d)
    assert torch.allclose(4 * np.pi * y.T @ y / len(y), torch.eye(16, dtype=y.dtype), atol=1e-3)


def test_the_way_back_by_hand_is_that_of_autograd() -> None:
    draw = torch.Generator().manual_seed(0)
    weights = {name: w.requires_grad_() for name, w in heads.new_heads(12, 8, draw).items()}
    count = heads.BLOCK + 37  # one whole block, and a part of one
    given, around = torch.randn(count, 12, generator=draw), torch.randn(9, 16, generator=draw)
    ray = torch.randint(0, 9, (count,), generator=draw)
    pull = torch.randn(count, 3, generator=draw)
    found = []
    for fast in (True, False):
        x = given.clone().requires_grad_()
        if fast:
            sigma, rgb = heads.shade(weights, x, around, ray, heads.inner(weights, given, torch.float32))
        else:
            sigma, geometry = heads.density(weights, x, torch.float32)
            rgb = heads.color(weights, geometry, around[ray])
        leaves = [x, *weights.values()]
        back = torch.autograd.grad((sigma.log1p() * pull[:, 0]).sum() + (rgb * pull).sum(), leaves)
        found.append((sigma.detach(), rgb.detach(), *back))
    for quick, slow in zip(*found, strict=True):
        assert float((quick - slow).norm() / slow.norm()) < 1e-5
    assert all(float(part.norm()) > 0 for part in found[0])


def test_features_that_are_known_are_not_computed_again() -> None:
    scene: Any = start(NGP, dataset_of(orbit(6)), 1).scene
    x = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    table = scene.tensors["table"]
    plain = scene.features(x, None)
    marked = scene.features(x, None, plain.detach() + 1)
    assert torch.equal(marked, plain + 1)
    pull = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    there, again = (torch.autograd.grad(out, table, pull)[0] for out in (plain, marked))
    assert torch.equal(there, again) and float(there.abs().sum()) > 0


def test_training_that_ends_in_the_warm_up_passes_over_nothing(tmp_path: Path) -> None:
    run = start(replace(NGP, warm_up=1000), dataset_of(orbit(6)), 20)
    for _ in train(run):
        pass
    scene: Any = run.scene
    assert float(scene.tensors["occupancy"].min()) > 0  # cells were looked at
    scene.tensors["occupancy"][:12] *= 1e-3
    scene.finish()
    assert bool(scene.occupancy.mask.all()) and scene.info["occupied"] == 1
    scene.info["scene"] = "ngp"
    save_scene(tmp_path / "scene.npz", scene)
    assert bool(read_scene(tmp_path / "scene.npz").occupancy.mask.all())


def test_photos_without_mattes_are_trained_over_random_colours() -> None:
    data = dataset_of(orbit(6))
    data = replace(data, matte=False, levels={1.0: without_matte(data.levels[1.0])})
    run = start(NGP, data, 1, bounded=False)
    scene: Any = run.scene
    seen, drawn = [], scene.render_rays
    scene.render_rays = lambda rays, behind: (seen.append(behind), drawn(rays, behind))[1]
    for _ in train(run):
        pass
    assert seen[0].shape == (len(seen[0]), 3) and float(seen[0].std(0).min()) > 0.2


def without_matte(level: Level) -> Level:
    """The same photos over black."""
    size = level.cameras.size.astype(np.int64).prod(1)
    rgb = [level.data[at : at + 3 * n] for at, n in zip(level.offsets[:-1], size, strict=True)]
    offsets = np.concatenate([[0], np.cumsum(3 * size)])
    return Level(level.cameras, False, False, offsets, np.concatenate(rgb))


def test_densities_pull_back_from_far_out() -> None:
    x = torch.tensor([-100.0, 0.0, 3.0, 100.0], requires_grad=True)
    heads.safe_exp(x).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all() and (x.grad > 0).all()
    assert torch.allclose(x.grad[1:3], torch.exp(x.detach()[1:3]))


# Planes


def test_planes_that_know_the_time_beat_those_that_do_not() -> None:
    data, held = dataset_of(orbit(40, 2.0)), orbit(6, 2.0)
    configs = (PLANES, replace(PLANES, timed=False), replace(PLANES, combine="add"))
    moving, still, added = (trained(config, data, 150) for config in configs)
    assert moving.info["planes"] == 6 and still.info["planes"] == 3
    assert psnr(moving, held) > psnr(still, held) + 1
    assert psnr(moving, held) > psnr(added, held) + 1


def test_planes_of_time_start_at_one_and_weigh_little() -> None:
    scene: Any = start(PLANES, dataset_of(orbit(6, 2.0)), 1).scene
    x = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
    early, late = scene.features(x, torch.zeros(20)), scene.features(x, torch.full((20,), 2.0))
    assert torch.allclose(early, late, atol=1e-6)
    with torch.no_grad():
        scene.tensors[name_of(16, 0, 3)][:, -1] = 2
    assert not torch.allclose(early, scene.features(x, torch.full((20,), 2.0)), atol=1e-3)
    scene.finish()
    assert scene.info["plane_bytes"] == 4 * 8 * 3 * (16**2 + 32**2 + 16 * 8 + 32 * 8)
    paper = KplanesConfig(features=32).features
    assert dense_bytes((128, 128, 128, 50), paper) > 1000 * 4 * paper * 3 * (128**2 + 128 * 50)


def test_the_penalties_of_planes_are_their_formulas() -> None:
    ramp = torch.arange(5.0)[None, :, None].repeat(4, 1, 2)
    assert float(roughness(ramp)) == 0 and float(roughness(ramp**2)) == 4
    assert float(variation(ramp)) == 1
    scene: Any = start(PLANES, dataset_of(orbit(6, 2.0)), 1).scene
    for name, tensor in scene.tensors.items():
        if name.startswith("plane"):
            tensor.data.fill_(1.0)
    assert float(scene.penalty().detach()) == 0
    scene.tensors[name_of(16, 0, 3)].data.fill_(3.0)
    assert float(scene.penalty().detach()) == pytest.approx(PLANES.penalty_every * PLANES.still * 2)
