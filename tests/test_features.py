"""Features: further numbers of splats, blended with gradients, against their slow float64 twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from recon.cameras import Cameras
from recon.kernels import jit
from render.kernels import pipeline, reference, tiles
from render.optimize import Optimizer
from render.rasterize import RowGrads, rasterize
from render.scene import Parameters, Rendering
from render.splats import Splats
from tests.splat_scenes import cameras, scene
from tests.test_kernels import near_threshold

IMAGE, GRADIENT = 1e-5, 1e-4
"""Allowed differences: of pixels, and of gradients, by the largest of their group."""
NAMES = pipeline.NAMES


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def camera_z(mean: Tensor, pose: Tensor) -> Tensor:
    """[N, 1], along the camera's +Z."""
    return (mean @ pose[:3, :3].T + pose[:3, 3])[:, 2:]


def twin(columns: dict[str, Tensor], cams: Cameras, pose: Tensor, features: Tensor, **options: bool) -> list[Tensor]:
    """rgb over grey, alpha and features of the twin."""
    size = (int(cams.size[0, 0]), int(cams.size[0, 1]))
    flat = reference.project(columns, pose, torch.as_tensor(cams.K[0]), size, sh_degree=3, **options)
    rgb, alpha, _ = reference.blend(flat, size, torch.full((3,), 0.5))
    return [rgb, alpha, reference.blend_features(flat, size, features)]


def images(got: Rendering) -> list[Tensor]:
    return [got.rgb[0], got.alpha[0], got.extra["features"][0]]


def assert_agrees_with_twin(columns: dict[str, Tensor], cams: Cameras, channels: int, **options: bool) -> None:
    """Images and all gradients; the first feature is the z of the splat, computed from its mean."""
    height, width = int(cams.size[0, 1]), int(cams.size[0, 0])
    edge = near_threshold(columns, cams, 3, **options)
    pulls = [
        numbers(height, width, 3, seed=2),
        numbers(height, width, seed=3),
        numbers(height, width, channels, seed=4),
    ]
    for pull in pulls:
        pull[edge] = 0
    given = numbers(len(columns["mean"]), channels)
    exact = {name: c.double().requires_grad_() for name, c in columns.items()}
    exact_pose = torch.as_tensor(cams.cam_from_world[0]).float().double().requires_grad_()
    exact_given = given.double().requires_grad_()
    with_z = torch.cat([camera_z(exact["mean"], exact_pose), exact_given[:, 1:]], 1)
    want = twin(exact, cams, exact_pose, with_z, **options)
    torch.autograd.backward(want, [pull.double() for pull in pulls])
    leaves = {name: c.clone().requires_grad_() for name, c in columns.items()}
    pose = exact_pose.detach().float().requires_grad_()
    ours_given = given.clone().requires_grad_()
    with_z = torch.cat([camera_z(leaves["mean"], pose), ours_given[:, 1:]], 1)
    background = torch.full((3,), 0.5)
    extra: dict = options
    got = rasterize(Splats(**leaves), cams, background=background, cam_from_world=pose[None], features=with_z, **extra)
    assert got.extra["features"].shape == (1, height, width, channels)
    torch.autograd.backward(images(got), pulls)
    for ours, theirs in zip(images(got), want, strict=True):
        off = (ours - theirs).abs().detach().view(height, width, -1).amax(-1)[~edge]
        assert off.max() <= IMAGE * max(1.0, float(theirs.detach().abs().max()))
    pairs = {name: (leaves[name].grad, exact[name].grad) for name in NAMES}
    pairs |= {"pose": (pose.grad, exact_pose.grad), "features": (ours_given.grad, exact_given.grad)}
    for name, (ours, theirs) in pairs.items():
        if theirs is None or (channels == 1 and name == "features"):
            continue
        assert ours is not None and theirs.abs().max() > 0, name
        assert (ours - theirs).abs().max() <= GRADIENT * theirs.abs().max(), name


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_features_agree_with_the_twin(channels: int) -> None:
    assert_agrees_with_twin(scene(300, seed=channels), cameras(), channels)


def test_antialiased() -> None:
    assert_agrees_with_twin(scene(300, size=-4.0), cameras(), 2, antialiased=True)


def test_many_small_splats_in_images_of_odd_sizes() -> None:
    assert_agrees_with_twin(scene(3000, size=-4.5, spread=0.4), cameras(41, 30), 5)
    assert_agrees_with_twin(scene(100, size=-1.0), cameras(1, 1), 4)


def test_opaque_splats_stop_the_pixel() -> None:
    columns = scene(300, seed=5, size=-1.2, spread=0.3)
    columns["opacity_logit"] += 6
    assert_agrees_with_twin(columns, cameras(40, 30), 3)


def test_the_weights_of_features_are_those_of_alpha_and_of_z() -> None:
    columns, cams = scene(4000, size=-3.5), cameras(150, 90)
    z = camera_z(columns["mean"].double(), torch.as_tensor(cams.cam_from_world[0])).float()
    got = rasterize(Splats(**columns), cams, features=torch.cat([torch.ones_like(z), z], 1))
    ones, depth = got.extra["features"][0].unbind(-1)
    assert torch.allclose(ones, got.alpha[0], atol=1e-6)
    seen = got.alpha[0] > 0.01
    assert seen.sum() > 1000 and torch.allclose((depth / ones)[seen], got.z[0][seen], rtol=1e-4)


def test_features_leave_everything_else_as_it_is() -> None:
    """Bit for bit, and where only colours have a gradient."""
    found = []
    for features in (None, numbers(2000, 2)):
        columns = {n: c.requires_grad_() for n, c in scene(2000, size=-3.5).items()}
        sink = RowGrads()
        got = rasterize(Splats(**columns), cameras(), features=features, row_grads=sink)
        got.rgb.square().sum().backward()
        assert sink.rows is not None
        found.append([got.rgb, got.alpha, got.z, sink.rows, *sink.grads.values()])
    assert all(torch.equal(a.nan_to_num(-1), b.nan_to_num(-1)) for a, b in zip(*found, strict=True))


def test_nothing_to_draw_and_a_background_that_is_not_theirs() -> None:
    columns = scene(5)
    columns["opacity_logit"][:] = -20
    features = numbers(5, 3).requires_grad_()
    got = rasterize(Splats(**columns), cameras(), background=torch.ones(3), features=features)
    blended = got.extra["features"]
    assert bool((got.rgb == 1).all()) and blended.shape == (1, 37, 53, 3) and bool((blended == 0).all())
    blended.sum().backward()
    assert features.grad is not None and bool((features.grad == 0).all())
    none = rasterize(Splats(**{n: c[:0] for n, c in columns.items()}), cameras(), features=torch.zeros(0, 2))
    assert bool((none.extra["features"] == 0).all())


def test_rows_that_no_camera_sees_get_no_gradient_whatever_their_features_are() -> None:
    columns = scene(200)
    unseen = torch.arange(200) % 3 == 0
    columns["opacity_logit"][unseen] = -20
    features = numbers(200, 2)
    features[unseen] = torch.nan
    features.requires_grad_()
    got = rasterize(Splats(**columns), cameras(), features=features).extra["features"]
    assert bool(torch.isfinite(got).all())
    got.square().sum().backward()
    assert features.grad is not None and bool((features.grad[unseen] == 0).all())
    assert int((features.grad[~unseen] != 0).all(-1).sum()) > 50


def two_cameras() -> Cameras:
    one, other = cameras(), cameras(distance=2.5)
    parts = [np.concatenate(pair) for pair in ((one.cam_from_world, other.cam_from_world), (one.K, other.K))]
    return Cameras(parts[0], parts[1], np.concatenate([one.size, other.size]))


def test_features_of_several_cameras() -> None:
    """[C, N, D] is each camera's own, [N, D] is all cameras' alike and sums its gradient over them."""
    columns, cams, pulls = scene(300), two_cameras(), numbers(2, 37, 53, 2, seed=5)
    own, alike = numbers(2, 300, 2).requires_grad_(), numbers(300, 2, seed=8).requires_grad_()
    for given in (own, alike):
        got = rasterize(Splats(**columns), cams, features=given).extra["features"]
        got.backward(pulls)
        parts = []
        for i in range(2):
            single = (given[i] if given.dim() == 3 else given).detach().requires_grad_()
            want = rasterize(Splats(**columns), cams[i], features=single).extra["features"]
            assert torch.equal(got[i], want[0])
            want.backward(pulls[i : i + 1])
            parts.append(single.grad)
        total = torch.stack(parts) if given.dim() == 3 else parts[0] + parts[1]
        assert given.grad is not None and torch.allclose(given.grad, total, atol=1e-6)


def test_gradients_are_those_of_finite_differences() -> None:
    """The whole chain in float32, a loss of z over alpha, by a step of each column and of the pose; splats end inside of
    the image nowhere, where they are cut off and the loss jumps.
    """
    cams = cameras(21, 18)
    columns = scene(6, seed=6, size=0.7, spread=0.1, bands=4)
    columns["mean"] *= 0.5
    pose = torch.as_tensor(cams.cam_from_world[0]).float()
    pull = torch.arange(18.0)[:, None] - 0.4 * torch.arange(21.0)

    def loss(c: dict[str, Tensor], p: Tensor) -> Tensor:
        got = rasterize(Splats(**c), cams, cam_from_world=p[None], features=camera_z(c["mean"], p), sh_degree=1)
        return (pull * got.extra["features"][0, ..., 0] / got.alpha[0]).double().sum()

    leaves = {n: c.clone().requires_grad_() for n, c in columns.items()}
    leaf = pose.clone().requires_grad_()
    loss(leaves, leaf).backward()
    for name in ("mean", "log_scale", "quat", "opacity_logit", "pose"):
        tensor = leaf if name == "pose" else leaves[name]
        grad = tensor.grad
        assert grad is not None
        step = 1e-2 * grad / grad.abs().max()
        if name == "pose":
            values = [loss(columns, pose + sign * step) for sign in (1, -1)]
        else:
            values = [loss(columns | {name: columns[name] + sign * step}, pose) for sign in (1, -1)]
        measured, expected = float(values[0] - values[1]) / 2, float((grad * step).double().sum())
        assert abs(measured - expected) < 0.01 * expected, name


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    columns, cams = scene(5000, size=-3.5), cameras(150, 90)
    found = []
    for count in (1, 5):
        for module in (jit, tiles):
            monkeypatch.setattr(module, "threads", lambda count=count: count)
        features = numbers(5000, 3).requires_grad_()
        got = rasterize(Splats(**columns), cams, features=features).extra["features"]
        got.square().sum().backward()
        found.append((got.detach(), features.grad))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def depth_loss(splats: Splats, cams: Cameras, sink: RowGrads | None) -> Tensor:
    """One of features that come from a column, of colour, and of a regulariser on every row."""
    z = camera_z(splats.mean, torch.as_tensor(cams.cam_from_world[0]).float())
    got = rasterize(splats, cams, features=z, row_grads=sink)
    return (got.extra["features"] + got.rgb).square().sum() + splats.log_scale.exp().sum()


def test_a_sink_absorbs_what_autograd_leaves_in_the_columns() -> None:
    columns = scene(3000, size=-4.0)
    plain = {n: c.clone().requires_grad_() for n, c in columns.items()}
    sunk = {n: c.clone().requires_grad_() for n, c in columns.items()}
    depth_loss(Splats(**plain), cameras(), None).backward()
    sink = RowGrads()
    sink.absorb(sunk)
    depth_loss(Splats(**sunk), cameras(), sink).backward()
    assert sunk["mean"].grad is not None and sunk["quat"].grad is None
    sink.absorb(sunk)
    assert sink.rows is not None and 100 < len(sink.rows) < 3000
    for name in NAMES:
        dense = plain[name].grad
        assert dense is not None and sunk[name].grad is None
        wanted = dense[sink.rows]
        assert torch.allclose(sink.grads[name], wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max())), name


def test_the_optimiser_takes_both_gradients() -> None:
    """A step of Adam moves by the sign of the gradient: of the sum, and in the rows that are seen."""
    columns = {n: c.requires_grad_() for n, c in scene(500).items()}
    before = {n: c.detach().clone() for n, c in columns.items()}
    parameters = Parameters(columns, {}, lambda edit: None, 500, RowGrads())
    optimizer = Optimizer(parameters)
    sink = parameters.row_grads
    assert sink is not None
    depth_loss(Splats(**columns), cameras(), sink).backward()
    rows = sink.rows
    dense = {n: c.clone().requires_grad_() for n, c in before.items()}
    depth_loss(Splats(**dense), cameras(), None).backward()
    optimizer.step(dict.fromkeys(columns, 1e-3))
    assert rows is not None and all(c.grad is None for c in columns.values())
    for name in ("mean", "log_scale"):
        grad, moved = dense[name].grad, columns[name].detach() - before[name]
        assert grad is not None
        clear = grad[rows].abs() > 1e-3 * grad.abs().max()
        assert clear.sum() > 100 and bool((moved[rows][clear] * grad[rows][clear] < 0).all()), name
        unseen = torch.ones(500, dtype=torch.bool).index_fill(0, rows, False)
        assert bool((moved[unseen] == 0).all())


def test_features_of_wrong_shapes_are_refused() -> None:
    splats = Splats(**scene(20))
    for wrong in (torch.zeros(20), torch.zeros(19, 3), torch.zeros(20, 9), torch.zeros(20, 0), torch.zeros(2, 20, 3)):
        with pytest.raises(ValueError, match="features must be"):
            rasterize(splats, cameras(), features=wrong)
