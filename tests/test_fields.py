"""Radiance fields: rays, samples, weights and encodings against closed forms; small fields learn, resume and are delivered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recon.errors import InputError
from recon.job import Job
from render import march
from render.dataset import open_dataset
from render.evaluate import evaluate
from render.initial import SceneInit, SceneSetup, surroundings
from render.mlp import mlp, new_mlp
from render.optimize import WholeAdam
from render.options import EvalOptions, TrainOptions, check_options
from render.rays import CONE, camera_rays, sample_batch
from render.scene_file import save_scene
from render.scenes.mip360 import Mip360Config
from render.scenes.nerf import NerfConfig
from render.stage_train import initial_scene, load_scene, train_stage, training_data
from render.train import prepare, train
from tests.fabricate import ring_cameras
from tests.synthetic_scene import capture_of

OPEN = SceneSetup(extent=1.0, near=0.01, splats=1, ray_near=0.1, ray_far=20.0)
SMALL = TrainOptions(scene="nerf", steps=3, minutes=None, long_side=32, device="cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads wait for each other where others work on the same cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Rays


def test_rays_go_through_the_middles_of_their_pixels() -> None:
    cameras = ring_cameras(3)
    camera, pixel = np.array([0, 1, 2, 2]), np.array([0, 500, 96 * 64 - 1, 95])
    rays = camera_rays(cameras, camera, pixel, OPEN)
    xyz = (rays.origin + 2.5 * rays.direction).double().numpy()
    seen, z = cameras.project(xyz)
    for i, c in enumerate(camera):
        assert np.allclose(seen[c, i], [pixel[i] % 96 + 0.5, pixel[i] // 96 + 0.5], atol=1e-3)
        assert np.isclose(z[c, i], 2.5 * rays.cos[i].item(), atol=1e-5)
    assert torch.allclose(rays.direction.norm(dim=1), torch.ones(4))
    middle = camera_rays(cameras, np.array([0]), np.array([96 * 32 + 48]), OPEN)
    assert middle.radius.item() == pytest.approx(CONE / 90, rel=1e-3)


def test_rays_of_a_bounded_scene_begin_and_end_on_its_ball() -> None:
    setup = replace(OPEN, bounded=True, radius=0.5)
    rays = camera_rays(ring_cameras(1), np.array([0, 0]), np.array([96 * 32 + 48, 0]), setup)
    ends = [rays.origin + t[:, None] * rays.direction for t in (rays.near, rays.far)]
    assert all(end[0].norm().item() == pytest.approx(0.5, abs=1e-4) for end in ends)
    assert (rays.far > rays.near).all() and ends[0][1].norm() > 0.5  # the corner misses it


def test_batches_hold_the_photos_pixels_and_none_that_is_masked(tmp_path: Path) -> None:
    masked = np.zeros((48, 64), bool)
    masked[:, :40] = True
    capture, posed = capture_of(tmp_path, 4, matte=True, masked=masked)
    level = open_dataset(posed, capture.names, 0, tmp_path).levels[1.0]
    batch = sample_batch(level, np.random.default_rng(0), 300, OPEN)
    assert len(batch.rays) == 300 and len(set(batch.photo.tolist())) == 4
    for i in range(0, 300, 17):
        photo = level.photo(int(batch.photo[i]))
        xyz = (batch.rays.origin[i] + 3 * batch.rays.direction[i]).double().numpy()
        u, v = np.floor(level.cameras[int(batch.photo[i])].project(xyz[None])[0][0, 0]).astype(int)
        assert u >= 40 and photo.matte is not None and batch.matte is not None
        assert np.allclose(batch.rgb[i], photo.rgb[v, u]) and batch.matte[i] == photo.matte[v, u]
    black = replace(level, data=np.zeros_like(level.data))
    with pytest.raises(InputError, match="masks"):
        sample_batch(black, np.random.default_rng(0), 10, OPEN)


# Along rays


def test_a_slab_of_constant_density_has_its_closed_form() -> None:
    sigma, near, far = 1.7, 1.0, 3.0
    edges = torch.linspace(near, far, 2001)[None].double()
    middle, dt = (edges[:, 1:] + edges[:, :-1]) / 2, edges[:, 1:] - edges[:, :-1]
    w = march.weights_of(torch.full_like(dt, sigma), dt)
    color = torch.tensor([0.2, 0.5, 0.9]).double()
    rgb, alpha, t = march.composite(w, color.expand(1, 2000, 3), middle, torch.ones(3).double())
    passed = np.exp(-sigma * (far - near))
    mean = (near + 1 / sigma - passed * (far + 1 / sigma)) / (1 - passed)
    assert alpha.item() == pytest.approx(1 - passed, abs=1e-6) and t.item() == pytest.approx(mean, abs=1e-5)
    assert torch.allclose(rgb[0], (1 - passed) * color + passed)
    assert march.composite(0 * w, color.expand(1, 2000, 3), middle, torch.zeros(3).double())[2].isnan().all()


def test_samples_follow_the_weights() -> None:
    edges, weights = torch.tensor([[0.0, 0.1, 0.6, 1.0]]), torch.tensor([[1.0, 0.0, 3.0]])
    u = march.evenly(1, 4000, seeded(), "cpu")
    x = march.inverse_cdf(edges, weights, u, floor=0.0)
    assert torch.allclose(x, torch.where(u < 0.25, 0.4 * u, 0.6 + 0.4 * (u - 0.25) / 0.75), atol=1e-5)
    new = march.resample(edges, weights, 64, None)
    assert new.shape == (1, 65) and (new.diff() > 0).all() and new.min() >= 0 and new.max() <= 1
    jittered = march.stratified(50, 16, seeded(), "cpu")
    assert (jittered.diff() > 0).all() and jittered.std(0)[1:-1].min() > 0.005
    t = march.t_of_s(torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([2.0]), torch.tensor([6.0]), "disparity")
    assert torch.allclose(t, torch.tensor([[2.0, 3.0, 6.0]]))


def test_the_contraction_keeps_the_unit_ball_and_comes_back() -> None:
    x = torch.randn(500, 3, generator=seeded()).double() * torch.logspace(-1, 2, 500)[:, None]
    y = march.contract(x)
    inside = x.norm(dim=1) <= 1
    assert torch.equal(y[inside], x[inside]) and inside.any() and (y.norm(dim=1) < 2).all()
    assert torch.allclose(march.uncontract(y), x, rtol=1e-6)
    edge = torch.tensor([[1.0, 0, 0], [1e6, 0, 0]])
    assert torch.allclose(march.contract(edge).norm(dim=1), torch.tensor([1.0, 2.0]), atol=1e-5)


def test_contracted_variance_is_that_of_the_derivative() -> None:
    x = torch.randn(6, 1, 3, generator=seeded()).double() * 2
    d = torch.nn.functional.normalize(torch.randn(6, 3, generator=seeded(1)).double(), dim=1)
    along, across, basis = (
        torch.full((6, 1), 0.3).double(),
        torch.full((6, 1), 0.1).double(),
        march.icosahedron().double(),
    )
    found = march.contracted_variance(x, d, along, across, basis)
    for i in range(6):
        j: Any = torch.autograd.functional.jacobian(march.contract, x[i, 0])
        cov = 0.1 * torch.eye(3).double() + 0.2 * torch.outer(d[i], d[i])
        assert torch.allclose(found[i, 0], ((basis @ j @ cov @ j.T) * basis).sum(1))
    assert len(basis) == 21 and (basis @ basis.T).triu(1).abs().max() < 0.86


def test_integrated_encoding_is_the_mean_over_the_cone() -> None:
    radius, t0, t1 = 0.2, 2.0, 3.0
    mean, along, across = march.frustums(torch.tensor([[t0, t1]]), torch.tensor([radius]))
    rng = np.random.default_rng(0)
    t = (t0**3 + (t1**3 - t0**3) * rng.random(400_000)) ** (1 / 3)
    r, angle = radius * t * np.sqrt(rng.random(400_000)), 2 * np.pi * rng.random(400_000)
    x = np.stack([r * np.cos(angle), r * np.sin(angle), t], -1)
    assert mean.item() == pytest.approx(t.mean(), abs=2e-3) and along.item() == pytest.approx(t.var(), rel=0.02)
    assert across.item() == pytest.approx(x[:, 0].var(), rel=0.02)
    center, spread = torch.tensor([0.3, -0.8, 2.0]), torch.tensor([0.05, 0.2, 0.01])
    many = center + spread.sqrt() * torch.randn(400_000, 3, generator=seeded())
    assert torch.allclose(march.frequencies(center, 3, spread), march.frequencies(many, 3).mean(0), atol=5e-3)


def test_distortion_and_interlevel_are_their_definitions() -> None:
    edges = torch.sort(torch.rand(3, 9, generator=seeded()), 1).values
    w = torch.rand(3, 8, generator=seeded(1))
    m, ds = (edges[:, 1:] + edges[:, :-1]) / 2, edges.diff()
    slow = (w[:, :, None] * w[:, None] * (m[:, :, None] - m[:, None]).abs()).sum((1, 2)) + (w**2 * ds).sum(1) / 3
    assert torch.allclose(march.distortion(edges, w), slow, atol=1e-6)
    other, p = torch.linspace(0, 1, 6).expand(3, -1), (0.3 * torch.rand(3, 5, generator=seeded(2))).requires_grad_()
    touches = (other[:, None, :-1] < edges[:, 1:, None]) & (other[:, None, 1:] > edges[:, :-1, None])
    slow = ((w - (touches * p[:, None]).sum(2)).clamp_min(0) ** 2 / (w + march.TINY)).sum(1)
    found = march.interlevel(edges, w, other, p)
    assert torch.allclose(found, slow, atol=1e-5) and found.min() > 0
    found.sum().backward()
    assert p.grad is not None and (p.grad <= 0).all() and p.grad.min() < 0


def test_octaves_below_keep_what_rays_reach_from_repeating() -> None:
    open_scene = replace(OPEN, ray_far=50.0, radius=2.0)
    below = march.lower_octaves(open_scene, 2.0)
    assert march.lower_octaves(open_scene, 2.0**below * 2) == 0 < below
    x = torch.tensor([[-26.0], [26.0]])  # the ends of the longest ray through the ball, in its radii
    alone, more = (march.frequencies(torch.pi * x, 3 + k, first=-k) for k in (0, below))
    assert torch.allclose(alone[0], alone[1], atol=1e-4) and (more[0] - more[1]).abs().max() > 0.5
    assert torch.allclose(more.reshape(2, 2, -1)[:, :, below:], alone.reshape(2, 2, -1), atol=1e-5)


def test_contraction_and_samples_even_in_disparity_are_switched_apart() -> None:
    rays = camera_rays(ring_cameras(1), np.array([0]), np.array([96 * 32 + 48]), OPEN)
    edges = torch.linspace(0, 1, 5)[None]
    found = {}
    for contraction in (True, False):
        for disparity in (True, False):
            config: Any = replace(TINY_MIP, contraction=contraction, disparity=disparity)
            scene = config.build(SceneInit(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0), OPEN))
            found[contraction, disparity] = scene._t(rays, edges), scene._code(rays, edges)[0]
    even, inverse = torch.linspace(0.1, 20, 5)[None], 1 / torch.linspace(10, 0.05, 5)[None]
    for (contraction, disparity), (t, code) in found.items():
        assert torch.allclose(t, inverse if disparity else even, rtol=1e-4)
        assert (code.shape[-1] == 6 * TINY_MIP.octaves) == contraction


# Networks


def test_a_network_and_its_gradients_are_torchs() -> None:
    tensors = new_mlp("a", [5, 8, 8, 3], seeded(), skip=2)
    for tensor in tensors.values():
        tensor += 0.1 * torch.randn(tensor.shape, generator=seeded(3))
        tensor.requires_grad_()
    x, pull = torch.randn(4, 7, 5, generator=seeded(1)), torch.randn(4, 7, 3, generator=seeded(2))
    x.requires_grad_()
    leaves = [x, *tensors.values()]
    weights = [(tensors[f"a.{i}.weight"], tensors[f"a.{i}.bias"]) for i in range(3)]
    hidden = torch.relu(torch.nn.functional.linear(x, *weights[0]))
    hidden = torch.relu(torch.nn.functional.linear(hidden, *weights[1]))
    slow = torch.nn.functional.linear(torch.cat([hidden, x], -1), *weights[2])
    found = mlp(tensors, "a", x, skip=2)
    assert torch.allclose(found, slow, atol=1e-5)
    grads = [torch.autograd.grad(out, leaves, pull) for out in (found, slow)]
    for a, b in zip(*grads, strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    half = mlp(tensors, "a", x, skip=2, kind=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and torch.allclose(half.float(), slow, atol=0.1)
    for a, b in zip(torch.autograd.grad(half, leaves, pull.bfloat16()), grads[0], strict=True):
        assert a.dtype == torch.float32 and (a - b).norm() < 0.05 * b.norm()


# The optimiser


def test_adam_of_shared_tensors_is_torchs_and_the_lazy_one_leaves_zeros_alone() -> None:
    start = torch.randn(40, 3, generator=seeded())
    ours, theirs, lazy = (start.clone().requires_grad_() for _ in range(3))
    reference = torch.optim.Adam([theirs], 1e-2, (0.9, 0.99), 1e-12)
    plain = WholeAdam(ours, beta1=0.9, beta2=0.99, eps=1e-12, lazy=False)
    idle = WholeAdam(lazy, beta1=0.9, beta2=0.99, eps=1e-12, lazy=True)
    for step in range(5):
        grad = torch.randn(40, 3, generator=seeded(step)) * (torch.arange(40) >= 10)[:, None]
        theirs.grad = grad.clone()
        reference.step()
        plain.step(ours, grad, 1e-2)
        idle.step(lazy, grad, 1e-2)
    assert torch.allclose(ours, theirs, atol=1e-6) and torch.allclose(lazy, theirs, atol=1e-6)
    lazy_before, grad = lazy.detach().clone(), torch.zeros(40, 3)
    idle.step(lazy, grad, 1e-2)
    assert torch.equal(lazy, lazy_before) and torch.equal(lazy[:10], start[:10])


# Whole fields

TINY_NERF = NerfConfig(layers=2, width=32, rays=192, coarse=16, fine=16, lr=5e-3, xyz_frequencies=5, view_frequencies=1)
TINY_MIP = Mip360Config(layers=2, width=32, rays=192, proposed=12, final=12, lr=5e-3, octaves=6, view_octaves=1)


@pytest.mark.parametrize(("config", "matte"), [(TINY_NERF, True), (TINY_MIP, False)])
def test_a_small_field_learns_colours_and_depth(tmp_path: Path, config: Any, matte: bool) -> None:
    capture, posed = capture_of(tmp_path, matte=matte)
    options = replace(SMALL, steps=150)
    data = training_data(capture, posed, options, tmp_path)
    run = prepare(config, initial_scene(posed, data, options), data, options)
    last = list(train(run))[-1]
    assert last.kind == "end" and last.splats == 0
    scene, row = run.scene, posed.model.names.index(min(capture.test_names))
    camera = posed.model.cameras[row].resized([32, 24])
    seen = scene.render(camera, with_z=True)
    truth = open_dataset(posed, [posed.model.names[row]], 32, tmp_path, mattes=False).levels[1.0].photo(0).rgb
    flat = -10 * np.log10(np.mean((truth - truth.mean((0, 1))) ** 2))
    assert -10 * np.log10(np.mean((truth - seen.rgb[0].numpy()) ** 2)) > flat + 3
    middle, away = seen.z[0, 9:15, 12:20], float(np.linalg.norm(camera.centers[0]))
    assert away - 1.1 < middle.median().item() < away + 0.1  # the near half of a ball of radius 1
    assert torch.allclose(seen.extra["weighted_z"], torch.nan_to_num(seen.z) * seen.alpha)


def test_a_resumed_field_has_the_same_bits(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path, matte=True)
    options = replace(SMALL, steps=8)
    data = training_data(capture, posed, options, tmp_path)
    init = initial_scene(posed, data, options)
    whole, first, second = (prepare(TINY_NERF, init, data, options) for _ in range(3))
    for _ in train(whole):
        pass
    events: Any = train(first)
    for _ in range(4):
        next(events)
    tensors, values = first.state()
    second.restore({name: tensor.detach().clone() for name, tensor in tensors.items()}, values)
    events.close()
    for _ in train(second):
        pass
    for name, tensor in whole.scene.parameters().shared.items():
        assert torch.equal(tensor, second.scene.parameters().shared[name]), name
        assert not torch.equal(tensor, init_of(init)[name]) or tensor.ndim == 0


def init_of(init: Any) -> dict[str, torch.Tensor]:
    return TINY_NERF.build(init).tensors


def test_a_field_passes_the_stages_and_is_the_same_when_read(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path)
    job = Job(tmp_path / "train")
    made = train_stage(capture, posed, replace(SMALL, splats=9), job)
    assert any("--splats" in warning for warning in job.warnings)
    job.finish()
    scene = load_scene(job.folder)
    assert {p.name for p in job.folder.iterdir()} == {"scene.npz", "history.jsonl"}
    camera = posed.model.cameras[0].resized([16, 12])
    assert torch.equal(made.render(camera).rgb, scene.render(camera).rgb)
    metrics = evaluate(capture, posed, scene, EvalOptions(), Job(tmp_path / "eval"))
    assert metrics["splats"] is None and metrics["psnr"] > 0 and metrics["long_side"] == 32
    assert "splats</" not in (tmp_path / "eval" / "report.html").read_text()
    save_scene(tmp_path / "again.npz", scene)
    assert (tmp_path / "again.npz").read_bytes() == (job.folder / "scene.npz").read_bytes()


@pytest.mark.parametrize("change", [{"exposure": True}, {"refine_poses": True}, {"depth_weight": 0.5}])
def test_what_a_field_cannot_follow_is_refused_at_the_door(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="single rays"):
        check_options(replace(SMALL, **change))
    check_options(replace(SMALL, scene="gs", **change))


def test_the_ball_of_a_scene_is_what_its_cameras_look_at() -> None:
    cameras = ring_cameras(8)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (200, 3))
    found = surroundings(cameras, points, bounded=False)
    assert np.allclose(found.center, 0, atol=1e-6) and found.radius == pytest.approx(np.sqrt(10), rel=1e-6)
    z = cameras.project(points)[1]
    assert found.ray_near < z.min() and found.ray_far > z.max()
    bounded = surroundings(cameras, points, bounded=True)
    assert bounded.bounded and 0.8 < bounded.radius < 2
