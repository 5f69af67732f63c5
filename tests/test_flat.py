"""Flat splats: their planes, the two losses against brute force and known planes, and what training with them brings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tests.synthetic_scene
from recon.cameras import Cameras
from recon.capture import Capture
from recon.errors import InputError
from recon.job import Job
from render import planes
from render.formats.ply import read_ply
from render.kernels import reference
from render.options import TrainOptions, check_options
from render.rasterize import rasterize
from render.scenes import config_of
from render.scenes.flat import FlatConfig
from render.splats import Splats, quat_product
from render.stage_train import initial_scene, load_scene, train_stage, training_data
from render.train import Training, prepare, train, training_psnr
from tests.splat_scenes import cameras, scene
from tests.synthetic_scene import Posed
from tests.test_mesh_stage import shell
from tests.test_train import SMALL

VIEW = Cameras(np.eye(4)[None], np.array([[[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]]), np.array([[64, 48]], np.int32))
POSE = torch.eye(4)


def tilted(angle: float = 0.6, z: float = 4.0, size: float = 2.0, count: int = 1) -> Splats:
    """`count` wide flat splats on one plane that leans by `angle` about the camera's x axis, in a row along it."""
    along = torch.linspace(-1, 1, count) if count > 1 else torch.zeros(1)
    step = torch.tensor([1.0, np.cos(angle), np.sin(angle)], dtype=torch.float32)
    return Splats(
        mean=torch.tensor([0.0, 0.0, z]) + along[:, None] * step,
        log_scale=torch.log(torch.tensor([[size, size, 1e-4]])).repeat(count, 1),
        quat=torch.tensor([[np.cos(angle / 2), np.sin(angle / 2), 0.0, 0.0]], dtype=torch.float32).repeat(count, 1),
        opacity_logit=torch.full((count,), 6.0),
        sh=torch.zeros(count, 1, 3),
    )


def plane_z(angle: float = 0.6, z: float = 4.0) -> np.ndarray:
    """f64[H, 1], the exact z of that plane in VIEW."""
    normal = np.array([0, -np.sin(angle), np.cos(angle)])
    y = (np.arange(48) + 0.5 - 24) / 50
    return (z * normal[2] / (normal[1] * y + normal[2]))[:, None]


def weights(splats: Splats, view: Cameras) -> tuple[Tensor, Tensor]:
    """Rows i64[M] and w f64[M, H, W] of the splats in a camera, by the slow twin."""
    width, height = (int(s) for s in view.size[0])
    pose, k = torch.as_tensor(view.cam_from_world[0]), torch.as_tensor(view.K[0])
    flat = reference.project(splats.columns(), pose, k, (width, height), sh_degree=0)
    return flat.rows, reference.weights(flat, (width, height))[0]


def blended(splats: Splats, features: Tensor, view: Cameras = VIEW) -> tuple[Tensor, Tensor]:
    """Features [H, W, D] and alpha [H, W] by the slow twin, differentiable."""
    rows, w = weights(splats, view)
    return torch.einsum("nhw,nd->hwd", w, features.double()[rows]), w.sum(0)


# The formulas


def test_distortion_is_the_double_sum_over_the_splats_of_a_pixel() -> None:
    view, splats = cameras(17, 13), Splats(**scene(40, bands=1, size=-1.0))
    pose = torch.as_tensor(view.cam_from_world[0], dtype=torch.float32)
    features = planes.moments(splats, pose, 3.0)
    image, alpha = blended(splats, features, view)
    rows, w = weights(splats, view)
    m = 3.0 / (splats.mean @ pose[:3, :3].T + pose[:3, 3])[rows, 2].double()
    brute = torch.einsum("ihw,jhw,ij->hw", w, w, (m[:, None] - m) ** 2)
    assert float(brute.max()) > 1e-2
    assert torch.allclose(planes.distortion(image, alpha), brute, atol=1e-6)
    fast = rasterize(splats, view, features=features)
    assert torch.allclose(planes.distortion(fast.extra["features"][0], fast.alpha[0]).double(), brute, atol=2e-4)


def test_the_planes_z_is_exact_where_that_of_the_centre_is_not() -> None:
    splats = tilted()
    seen = rasterize(splats, VIEW, features=planes.planes(splats, POSE))
    z = 1 / planes.inverse_z(seen.extra["features"][0], VIEW.K[0]).numpy()
    covered = seen.alpha[0].numpy() > 0.05
    assert covered.sum() > 1500
    off = np.abs(z - plane_z())[covered]
    assert off.max() < 1e-3
    assert np.abs(seen.z[0].numpy() - plane_z())[covered].max() > 0.5


def test_normals_face_the_camera_and_are_those_of_the_shortest_axis() -> None:
    splats = Splats(**scene(60, bands=1))
    view = cameras()
    pose = torch.as_tensor(view.cam_from_world[0], dtype=torch.float32)
    normal, distance = planes.planes(splats, pose).split([3, 1], -1)
    point = splats.mean @ pose[:3, :3].T + pose[:3, 3]
    assert bool(((normal * point).sum(-1) <= 0).all()) and torch.allclose((normal * point).sum(-1), distance[:, 0])
    covariance = splats.rotation @ torch.diag_embed(splats.scale**2) @ splats.rotation.mT
    world = normal @ pose[:3, :3]
    least = torch.linalg.eigh(covariance.double())[0][:, 0]
    assert torch.allclose(torch.einsum("ni,nij,nj->n", world, covariance, world).double(), least, rtol=1e-2, atol=1e-7)


@pytest.mark.parametrize("angle", [0.0, 0.6, -1.0])
def test_the_normals_of_a_plane_come_out_of_its_z(angle: float) -> None:
    inverse = torch.as_tensor(1 / plane_z(angle)).repeat(1, 64)
    normal = planes.normals_of(inverse, VIEW.K[0])
    want = torch.tensor([0.0, np.sin(angle), -np.cos(angle)], dtype=normal.dtype)
    assert normal.shape == (46, 62, 3) and float((normal - want).abs().max()) < 1e-5


def loss_of(splats: Splats) -> Tensor:
    image, alpha = blended(splats, planes.planes(splats, POSE))
    return planes.disagreement(image, alpha, VIEW.K[0], torch.zeros(48, 64, 3))


def turned(splats: Splats, by: float) -> Splats:
    """The same places, each splat turned by an angle about the camera's y axis, every other one the other way."""
    sign = torch.tensor([1.0, -1.0]).repeat(len(splats))[: len(splats)]
    half = 0.5 * by * sign
    turn = torch.stack([torch.cos(half), 0 * half, torch.sin(half), 0 * half], -1)
    return replace(splats, quat=quat_product(turn, splats.quat))


def test_the_loss_of_normals_is_nothing_on_a_plane_and_grows_with_the_angle() -> None:
    flat, bit, much = (float(loss_of(turned(tilted(0.4, size=0.5, count=9), by))) for by in (0.0, 0.2, 0.5))
    assert abs(flat) < 1e-6
    assert bit > 1e-3 and much > 2 * bit


def test_edges_of_the_picture_do_not_count() -> None:
    rgb = torch.zeros(6, 8, 3)
    assert bool((planes.smoothness(rgb) == 1).all())
    rgb[:, 4:] = 1.0
    weight = planes.smoothness(rgb)
    assert weight.shape == (4, 6) and bool((weight[:, 2:4] == 0).all()) and bool((weight[:, [0, 1, 4, 5]] == 1).all())


# Gradients


def objective(splats: Splats, view: Cameras, pose: Tensor, draw: Tensor) -> Tensor:
    features = torch.cat([planes.planes(splats, pose), planes.moments(splats, pose, 2.0)], -1)
    image, alpha = blended(splats, features, view)
    loss = planes.disagreement(image[..., :4], alpha, view.K[0], draw) + planes.distortion(image[..., 4:], alpha).mean()
    return loss


@pytest.mark.parametrize("name", ["mean", "log_scale", "quat", "opacity_logit"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    view = cameras(23, 17)
    pose = torch.as_tensor(view.cam_from_world[0])
    columns = {key: column.double() for key, column in scene(25, bands=1, size=-0.8).items()}
    draw = torch.rand(17, 23, 3, generator=torch.Generator().manual_seed(1)).double()
    leaf = columns[name].clone().requires_grad_()
    objective(Splats(**columns | {name: leaf}), view, pose, draw).backward()
    assert leaf.grad is not None
    direction = torch.randn(leaf.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    step = 1e-6
    with torch.no_grad():
        ends = [
            objective(Splats(**columns | {name: columns[name] + s * direction}), view, pose, draw)
            for s in (step, -step)
        ]
    slope = float(ends[0] - ends[1]) / (2 * step)
    assert abs(slope) > 1e-5
    assert float((leaf.grad * direction).sum()) == pytest.approx(slope, rel=2e-3)


@pytest.mark.parametrize("terms", [(0.7, 0.0), (0.0, 1.3), (0.7, 1.3)])
def test_the_kernels_do_what_their_twins_do(terms: tuple[float, float]) -> None:
    draw = torch.Generator().manual_seed(4)
    view = cameras(29, 19)
    channels = 4 * (terms[0] > 0) + 2 * (terms[1] > 0)
    image = torch.rand(2, 19, 29, channels, generator=draw)
    if terms[0]:
        image[..., 2] -= 2.0
        image[..., 3] -= 3.0
    alpha, rgb = 0.4 + 0.6 * torch.rand(2, 19, 29, generator=draw), torch.rand(2, 19, 29, 3, generator=draw)
    K = np.concatenate([view.K, 1.1 * view.K])
    found = []
    for kind in (torch.float32, torch.float64):
        leaves = [tensor.to(kind, copy=True).requires_grad_() for tensor in (image, alpha)]
        if kind == torch.float32:
            loss = planes.penalty(leaves[0], leaves[1], rgb, K, *terms)
        else:
            loss = torch.stack([planes.twin(leaves[0][i], leaves[1][i], rgb[i], K[i], *terms) for i in range(2)]).mean()
        (3 * loss).backward()
        found.append((float(loss.detach()), *(leaf.grad.double() for leaf in leaves if leaf.grad is not None)))
    (value, *fast), (want, *slow) = found
    assert abs(want) > 1e-2 and value == pytest.approx(want, rel=1e-5)
    for a, b in zip(fast, slow, strict=True):
        assert float((a - b).abs().max()) < 1e-4 * float(b.abs().max()) and float(b.abs().max()) > 0


# Training


@pytest.mark.parametrize("terms", [(1.0, 0.0), (0.0, 1.0)])
def test_each_term_alone_brings_splats_into_line(terms: tuple[float, float]) -> None:
    """The same plane in many small splats, turned and moved along z at random; only the term itself is descended."""
    draw = torch.Generator().manual_seed(3)
    flat = tilted(0.3, size=0.3, count=1)
    place = 2 * torch.rand(150, 2, generator=draw) - 1
    mean = torch.stack([place[:, 0], place[:, 1], 4 + np.tan(0.3) * place[:, 1]], -1)
    shift = 0.2 * torch.randn(150, generator=draw) * (terms[1] > 0)
    lean = 0.3 * torch.randn(150, 4, generator=draw) * (terms[0] > 0)
    columns = {name: column.repeat(150, *[1] * (column.dim() - 1)) for name, column in flat.columns().items()}
    mean = (mean * (1 + shift / 4)[:, None]).requires_grad_()
    quat = (columns["quat"] + lean).requires_grad_()
    splats = Splats(**columns | {"mean": mean, "quat": quat, "opacity_logit": torch.zeros(150)})

    def wrong() -> float:
        with torch.no_grad():
            normal = planes.planes(splats, POSE)[:, :3] @ torch.tensor([0.0, np.sin(0.3), -np.cos(0.3)]).float()
            off = (mean[:, 2] - np.tan(0.3) * mean[:, 1] - 4).std()
            return float(torch.acos(normal.clamp(-1, 1)).mean() if terms[0] else off)

    before, descent = wrong(), torch.optim.Adam([quat if terms[0] else mean], 5e-3)
    for _ in range(60):
        features = planes.planes(splats, POSE) if terms[0] else planes.moments(splats, POSE, 4.0)
        seen = rasterize(splats, VIEW, features=features)
        descent.zero_grad()
        planes.penalty(seen.extra["features"], seen.alpha, seen.rgb, VIEW.K, *terms).backward()
        descent.step()
    assert before > 0.1 and wrong() < 0.8 * before


@pytest.fixture
def ball(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Capture, Posed, Path]:
    """Photos of the flat splats of a sphere of radius 0.8, and points near it."""
    monkeypatch.setattr(tests.synthetic_scene, "true_splats", lambda: shell(500))
    return *tests.synthetic_scene.capture_of(tmp_path, 8), tmp_path


def begin(ball: tuple[Capture, Posed, Path], config: dict[str, float], steps: int = 200) -> Training:
    capture, posed, root = ball
    options = replace(SMALL, steps=steps, splats=500, scene="flat", sh_degree=0)
    (root / "data").mkdir(exist_ok=True)
    data = training_data(capture, posed, options, root / "data")
    return prepare(FlatConfig(**config), initial_scene(posed, data, options), data, options)  # type: ignore[arg-type]


OFF = {"flatten": 0.0, "normals": 0.0, "distortion": 0.0}


def test_training_with_the_terms_lays_splats_onto_the_surface(ball: tuple[Capture, Posed, Path]) -> None:
    found = []
    for config in (OFF, {}):
        run = begin(ball, config)
        for _ in train(run):
            pass
        splats = run.scene.at().detach()  # type: ignore[attr-defined]
        scale = splats.scale.sort(-1)[0]
        radius = splats.mean.norm(dim=-1)
        axis = splats.rotation.gather(2, splats.log_scale.argmin(-1)[:, None, None].expand(-1, 3, 1))[..., 0]
        leaning = torch.rad2deg(torch.acos((axis * splats.mean).sum(-1).abs().div(radius).clamp_max(1)))
        seen = (splats.opacity > 0.3) & (splats.mean[:, 2].abs() < 0.6)
        off = (radius - 0.8).abs()[seen].mean()
        flatness = (scale[:, 0] / scale[:, 1])[seen].median()
        found.append((float(flatness), float(leaning[seen].median()), float(off), training_psnr(run, [1, 3], 1.0)))
    (thick, leaning, off, psnr), (thin, upright, on, psnr_with) = found
    assert thin < 0.25 * thick
    assert upright < 0.5 * leaning
    assert on < 0.5 * off and psnr_with > psnr - 0.5


def test_a_run_that_goes_on_gives_the_bits_of_an_unbroken_one(ball: tuple[Capture, Posed, Path]) -> None:
    config = {"normals_from": 0.1, "distortion_from": 0.1, "every": 3}
    whole, first = begin(ball, config, 40), begin(ball, config, 40)
    for _ in train(whole):
        pass
    for event in train(first):
        if event.step == 20:
            break
    tensors, values = first.state()
    second = begin(ball, config, 40)
    second.restore({name: tensor.detach().clone() for name, tensor in tensors.items()}, values)
    for _ in train(second):
        pass
    for name, column in whole.scene.parameters().per_splat.items():
        assert torch.equal(column, second.scene.parameters().per_splat[name]), name


def test_terms_and_the_z_for_depth_maps_share_a_rendering(ball: tuple[Capture, Posed, Path]) -> None:
    run = begin(ball, {"normals_from": 0.0, "distortion_from": 0.0})
    scene: Any = run.scene
    camera = run.dataset.levels[1.0].cameras[0]
    scene.schedule(0.5)
    both, alone = scene.render(camera, with_z=True), scene.render(camera)
    scene.after_step(1, 0.5)  # every other step has no terms
    bare = scene.render(camera, with_z=True)
    assert scene.regularize(bare) is None and float(scene.regularize(alone).detach()) > 0
    assert torch.equal(scene.regularize(both), scene.regularize(alone))
    assert torch.allclose(both.extra["weighted_z"], bare.extra["weighted_z"], atol=1e-5)
    assert torch.equal(both.rgb, bare.rgb)


def test_it_is_trained_stored_and_exported_as_other_scenes_are(ball: tuple[Capture, Posed, Path]) -> None:
    capture, posed, root = ball
    options = replace(SMALL, steps=30, splats=500, scene="flat")
    job = Job(root / "train")
    made = train_stage(capture, posed, options, job)
    job.finish()
    loaded: Any = load_scene(job.folder)
    assert loaded.info["scene"] == "flat" and loaded.config == FlatConfig()
    ply = read_ply(job.folder / "scene.ply")
    assert torch.equal(ply.mean, loaded.at().mean.detach()) and len(ply) == len(made.at())


def test_the_command_line_knows_the_scene() -> None:
    check_options(TrainOptions(scene="flat"))
    with pytest.raises(InputError, match="gs, flat"):
        check_options(TrainOptions(scene="round"))
    assert config_of("flat") is FlatConfig
