"""The splatting kernels against their slow float64 twins, on random scenes and on the cases that break rasterizers."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from recon.cameras import Cameras
from recon.errors import InputError, MissingPart
from recon.kernels import jit
from render.kernels import pipeline, reference, tiles
from render.kernels.ssim import photometric
from render.rasterize import RowGrads, rasterize
from render.splats import Splats
from tests.splat_scenes import cameras, scene

IMAGE, THRESHOLD, GRADIENT = 1e-5, 4e-3, 1e-4
"""Allowed differences: of pixels, of the few pixels where a splat stands at a threshold, of gradients by the largest of
their group.
"""
NAMES = pipeline.NAMES


def twin(
    columns: dict[str, Tensor], cams: Cameras, pose: Tensor, background: Tensor, degree: int, **options: bool
) -> tuple[Tensor, Tensor, Tensor]:
    size = (int(cams.size[0, 0]), int(cams.size[0, 1]))
    k = torch.as_tensor(cams.K[0])
    return reference.blend(reference.project(columns, pose, k, size, sh_degree=degree, **options), size, background)


def near_threshold(columns: dict[str, Tensor], cams: Cameras, degree: int, **options: bool) -> Tensor:
    """bool[H, W]: pixels where some splat's alpha, or the transmittance, is within rounding of where it is cut off."""
    size = (int(cams.size[0, 0]), int(cams.size[0, 1]))
    pose = torch.as_tensor(cams.cam_from_world[0])
    with torch.no_grad():
        flat = reference.project(columns, pose, torch.as_tensor(cams.K[0]), size, sh_degree=degree, **options)
        alpha = reference.alphas(flat, size)
        through = torch.cumprod(1 - torch.where(alpha >= reference.ALPHA_MIN, alpha, 0.0), 0)
    cut = (alpha - reference.ALPHA_MIN).abs() < 1e-6
    return (cut | ((through - reference.T_MIN).abs() < 1e-8)).any(0)


def assert_agrees_with_twin(columns: dict[str, Tensor], cams: Cameras, *, degree: int = 3, **options: bool) -> None:
    """Images and all gradients of the kernels and of the twin."""
    height, width = int(cams.size[0, 1]), int(cams.size[0, 0])
    g = torch.Generator().manual_seed(7)
    d_rgb, d_alpha = torch.randn(height, width, 3, generator=g), torch.randn(height, width, generator=g)
    edge = near_threshold(columns, cams, degree, **options)
    d_rgb[edge], d_alpha[edge] = 0, 0  # a splat that is drawn here and not there has different gradients
    background = torch.rand(1, height, width, 3, generator=g).requires_grad_()
    exact = {name: c.double().requires_grad_() for name, c in columns.items()}
    exact_pose = torch.as_tensor(cams.cam_from_world[0]).float().double().requires_grad_()
    exact_background = background[0].detach().double().requires_grad_()
    rgb, alpha, z = twin(exact, cams, exact_pose, exact_background, degree, **options)
    ((rgb * d_rgb).sum() + (alpha * d_alpha).sum()).backward()
    leaves = {name: c.clone().requires_grad_() for name, c in columns.items()}
    pose = exact_pose.detach().float()[None].requires_grad_()
    got = rasterize(
        Splats(**leaves),
        cams,
        background=background,
        cam_from_world=pose,
        sh_degree=degree,
        **options,  # type: ignore[arg-type]
    )
    torch.autograd.backward([got.rgb, got.alpha], [d_rgb[None], d_alpha[None]])
    for ours, theirs in ((got.rgb[0], rgb), (got.alpha[0], alpha)):
        off = (ours - theirs).abs().detach().view(height, width, -1).amax(-1)
        assert off.max() < THRESHOLD
        assert bool(edge[off > IMAGE].all()) and int((off > IMAGE).sum()) <= max(1, 1e-4 * off.numel())
    assert torch.equal(torch.isnan(got.z[0]), torch.isnan(z))
    known = ~torch.isnan(z) & (alpha > 0.01)
    assert torch.allclose(got.z[0][known].double(), z[known], rtol=1e-4)
    for name in NAMES:
        ours, theirs = leaves[name].grad, exact[name].grad
        assert ours is not None and theirs is not None
        assert (ours - theirs).abs().max() <= GRADIENT * theirs.abs().max(), name
    for ours, theirs in ((pose.grad, exact_pose.grad), (background.grad, exact_background.grad)):
        assert ours is not None and theirs is not None
        assert (ours[0] - theirs).abs().max() <= GRADIENT * theirs.abs().max()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_kernels_agree_with_the_twin(degree: int) -> None:
    assert_agrees_with_twin(scene(300, seed=degree), cameras(), degree=degree)


@pytest.mark.parametrize("bands", [1, 4, 9])
def test_columns_with_fewer_bands(bands: int) -> None:
    assert_agrees_with_twin(scene(60, bands=bands), cameras(), degree=round(bands**0.5) - 1)


def test_antialiased() -> None:
    assert_agrees_with_twin(scene(300, size=-4.0), cameras(), antialiased=True)


def test_many_small_splats() -> None:
    assert_agrees_with_twin(scene(3000, size=-4.5, spread=0.4), cameras(40, 30))


def test_big_and_needle_shaped_splats() -> None:
    columns = scene(150, seed=3, size=-0.5, spread=1.2)
    columns["log_scale"][::3, 0] -= 5
    columns["log_scale"][::3, 1] += 1
    assert_agrees_with_twin(columns, cameras(70, 50))


def test_camera_among_the_splats() -> None:
    assert_agrees_with_twin(scene(400, seed=4, size=-2.0), cameras(distance=0.2))


def test_principal_point_off_centre_and_outside() -> None:
    assert_agrees_with_twin(scene(200), cameras(61, 20, center=(0.2, 0.9)))
    assert_agrees_with_twin(scene(200), cameras(20, 61, center=(1.3, -0.2)))


def test_image_of_whole_tiles_and_of_one_pixel() -> None:
    assert_agrees_with_twin(scene(100), cameras(32, 16))
    assert_agrees_with_twin(scene(100, size=-1.0), cameras(1, 1))


def test_opaque_splats_stop_the_pixel() -> None:
    columns = scene(300, seed=5, size=-1.2, spread=0.3)
    columns["opacity_logit"] += 6
    assert_agrees_with_twin(columns, cameras(40, 30))


def test_where_alpha_is_capped_opacity_gets_no_gradient() -> None:
    columns = scene(3, seed=5, size=0.5, spread=0.2)
    columns["mean"] *= 0.1
    columns["opacity_logit"] += 9
    assert_agrees_with_twin(columns, cameras(40, 30))


def test_degenerate_scales() -> None:
    columns = scene(60, size=-2.0)
    columns["log_scale"][::2, 0] = -30
    columns["log_scale"][::3] = -30
    columns["log_scale"][:3] = -1000
    assert_agrees_with_twin(columns, cameras())


def test_twin_has_the_gradients_of_finite_differences() -> None:
    cams = cameras(7, 6)
    columns = {name: c.double().requires_grad_() for name, c in scene(3, seed=2, bands=4, size=-0.7).items()}
    pose = torch.as_tensor(cams.cam_from_world[0]).requires_grad_()

    def image(pose: Tensor, *values: Tensor) -> Tensor:
        named = dict(zip(NAMES, values, strict=True))
        return twin(named, cams, pose, torch.tensor([0.2, 0.4, 0.6]), 1, antialiased=True)[0]

    assert torch.autograd.gradcheck(image, (pose, *columns.values()), eps=1e-6, atol=1e-5, rtol=1e-4)


def test_rows_in_any_order_give_one_image() -> None:
    columns, cams = scene(500), cameras()
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    a = rasterize(Splats(**columns), cams)
    b = rasterize(Splats(**{name: c[order] for name, c in columns.items()}), cams)
    assert torch.equal(a.rgb, b.rgb) and torch.equal(a.alpha, b.alpha)


BAD = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_are_not_finite_are_skipped(name: str) -> None:
    columns, cams = scene(200), cameras()
    good = torch.arange(200) % 4 != 0
    broken = {n: c.clone() for n, c in columns.items()}
    rows = torch.nonzero(~good)[:, 0]
    for i, row in enumerate(rows):
        broken[name][row].view(-1)[i % broken[name][row].numel()] = BAD[i % 3]
    if name == "log_scale":
        broken[name][rows[1], 0] = 50.0  # finite, and its exponential absurd
    if name == "quat":
        broken[name][rows[1]] = 0.0
    leaves = {n: c.requires_grad_() for n, c in broken.items()}
    sink = RowGrads()
    got = rasterize(Splats(**leaves), cams, row_grads=sink)
    want = rasterize(Splats(**{n: c[good] for n, c in columns.items()}), cams)
    assert torch.equal(got.rgb, want.rgb)
    got.rgb.square().sum().backward()
    assert sink.rows is not None and bool(good[sink.rows].all())
    assert all(torch.isfinite(g).all() for g in sink.grads.values())


def test_nothing_to_draw() -> None:
    columns, cams = scene(5), cameras()
    columns["opacity_logit"][:] = -20
    background = torch.tensor([0.25, 0.5, 0.75])
    got = rasterize(Splats(**columns), cams, background=background)
    assert torch.equal(got.rgb, background.expand_as(got.rgb)) and bool((got.alpha == 0).all())
    assert bool(torch.isnan(got.z).all())
    none = rasterize(Splats(**{n: c[:0] for n, c in columns.items()}), cams, background=background)
    assert torch.equal(none.rgb, got.rgb)


def test_rows_in_front_of_the_near_plane_only() -> None:
    columns, cams = scene(50), cameras()
    z = cams.project(columns["mean"].numpy())[1][0]
    limit = float(np.median(z))
    sink = RowGrads()
    rasterize(
        Splats(**{n: c.requires_grad_() for n, c in columns.items()}), cams, near=limit, row_grads=sink
    ).rgb.sum().backward()
    assert sink.rows is not None and bool((z[sink.rows.numpy()] > limit).all()) and len(sink.rows) > 5


def test_row_gradients_are_the_dense_ones() -> None:
    """Several cameras, several backward passes, and bands left out."""
    columns = {n: c.requires_grad_() for n, c in scene(3000, size=-4.0).items()}
    one, other = cameras(), cameras(distance=0.5)
    cams = Cameras(
        np.concatenate([one.cam_from_world, other.cam_from_world]),
        np.concatenate([one.K] * 2),
        np.concatenate([one.size] * 2),
    )
    sink = RowGrads()
    splats = Splats(**columns)
    rasterize(splats, cams, sh_degree=1, row_grads=sink).rgb.square().sum().backward()
    rasterize(splats, one, sh_degree=2, row_grads=sink).rgb.square().sum().backward()
    assert all(c.grad is None for c in columns.values())
    (
        rasterize(splats, cams, sh_degree=1).rgb.square().sum() + rasterize(splats, one, sh_degree=2).rgb.square().sum()
    ).backward()
    assert sink.rows is not None and 0 < len(sink.rows) < 3000
    assert bool((sink.rows[1:] > sink.rows[:-1]).all())
    assert sink.grads["sh"].shape[1] == 9
    for name, column in columns.items():
        dense = column.grad
        assert dense is not None
        mine = torch.zeros_like(dense)
        (mine[:, :9] if name == "sh" else mine)[sink.rows] = sink.grads[name]
        assert torch.allclose(mine, dense, rtol=1e-5, atol=1e-6 * float(dense.abs().max())), name
    sink.clear()
    assert sink.rows is None and len(sink.grads) == 0


def test_penalties_are_added_to_visible_rows() -> None:
    columns = {n: c.requires_grad_() for n, c in scene(2000, size=-4.0).items()}
    plain, sink = RowGrads(), RowGrads(penalty=(0.3, 0.7))
    for into in (plain, sink):
        rasterize(Splats(**columns), cameras(), row_grads=into).rgb.square().sum().backward()
    rows = sink.rows
    assert rows is not None and plain.rows is not None and torch.equal(rows, plain.rows)
    chosen = {n: c.detach()[rows].double().requires_grad_() for n, c in columns.items()}
    (0.3 * chosen["opacity_logit"].sigmoid().sum() + 0.7 * chosen["log_scale"].exp().sum()).backward()
    for name in ("opacity_logit", "log_scale"):
        extra = chosen[name].grad
        assert extra is not None and float(extra.abs().max()) > 0.05
        assert torch.allclose((sink.grads[name] - plain.grads[name]).double(), extra, atol=1e-4), name
    assert torch.equal(sink.grads["mean"], plain.grads["mean"])


def test_columns_that_come_out_of_a_module() -> None:
    columns, cams = scene(100), cameras()
    shift = torch.zeros(3, requires_grad=True)
    rasterize(Splats(**(columns | {"mean": columns["mean"] + shift})), cams).rgb.square().sum().backward()
    mean = columns["mean"].clone().requires_grad_()
    rasterize(Splats(**(columns | {"mean": mean})), cams).rgb.square().sum().backward()
    assert shift.grad is not None and mean.grad is not None
    assert torch.allclose(shift.grad, mean.grad.sum(0), rtol=1e-4) and float(shift.grad.abs().max()) > 0


def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {n: c.requires_grad_() for n, c in scene(5000, size=-3.5).items()}
    cams = cameras(150, 90)
    target = torch.rand(90, 150, 3, generator=torch.Generator().manual_seed(0))

    def run(threads: int) -> list[Tensor]:
        monkeypatch.setattr(jit, "threads", lambda: threads)
        for module in (tiles,):
            monkeypatch.setattr(module, "threads", lambda: threads)
        pose = torch.as_tensor(cams.cam_from_world).float().requires_grad_()
        sink = RowGrads()
        got = rasterize(Splats(**columns), cams, cam_from_world=pose, row_grads=sink)
        _, d_rgb, _, _ = photometric(got.rgb[0], target)
        got.rgb.backward(d_rgb[None])
        assert sink.rows is not None and pose.grad is not None
        return [got.rgb.detach(), d_rgb, sink.rows, pose.grad, *sink.grads.values()]

    alone = run(1)
    for threads in (2, 5):
        assert all(torch.equal(a, b) for a, b in zip(alone, run(threads), strict=True))


def test_callers_in_several_threads() -> None:
    columns, cams = scene(2000, size=-3.0), cameras(120, 80)
    want = rasterize(Splats(**columns), cams).rgb
    got: list[Tensor] = []
    workers = [threading.Thread(target=lambda: got.append(rasterize(Splats(**columns), cams).rgb)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(got) == 6 and all(torch.equal(image, want) for image in got)


def test_what_cannot_be_rendered_is_said() -> None:
    splats, cams = Splats(**scene(20)), cameras()
    fisheye = Cameras(cams.cam_from_world, cams.K, cams.size, "fisheye")
    with pytest.raises(InputError, match="pinhole"):
        rasterize(splats, fisheye)
    two = Cameras(cams.cam_from_world.repeat(2, 0), cams.K.repeat(2, 0), np.array([[20, 10], [10, 20]], np.int32))
    with pytest.raises(InputError, match="one size"):
        rasterize(splats, two)
    vast = Cameras(cams.cam_from_world, cams.K, np.array([[70000, 10]], np.int32))
    with pytest.raises(InputError, match="65536"):
        rasterize(splats, vast)
    with pytest.raises(ValueError, match="background"):
        rasterize(splats, cams, background=torch.zeros(4))


def test_cuda_without_gsplat_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from render import rasterize_cuda

    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(MissingPart, match="gsplat"):
        rasterize_cuda.rasterize_cuda(Splats(**scene(5)), None, None, None)


@pytest.mark.cuda
@pytest.mark.parametrize("antialiased", [False, True])
def test_cuda_agrees_with_the_cpu(antialiased: bool) -> None:
    """gsplat behind the same door: the same image, gradients of visible rows, and z, to what float32 and its fast exp
    give.
    """
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pytest.importorskip("gsplat")
    cams, results = cameras(120, 80), []
    for device in ("cpu", "cuda"):
        columns = {n: c.to(device).requires_grad_() for n, c in scene(500, size=-3.0).items()}
        sink = RowGrads()
        background = torch.tensor([0.2, 0.3, 0.4], device=device)
        got = rasterize(Splats(**columns), cams, background=background, antialiased=antialiased, row_grads=sink)
        _, d_rgb, _, _ = photometric(got.rgb[0], torch.zeros(80, 120, 3, device=device))
        got.rgb.backward(d_rgb[None])
        assert sink.rows is not None and all(c.grad is None for c in columns.values())
        dense = {n: torch.zeros(c.shape).index_add(0, sink.rows.cpu(), sink.grads[n].cpu()) for n, c in columns.items()}
        results.append((got.rgb.detach().cpu(), got.z.detach().cpu(), dense))
    (rgb, z, grads), (cuda_rgb, cuda_z, cuda_grads) = results
    off = (rgb - cuda_rgb).abs()
    assert off.max() < THRESHOLD and (off > 1e-4).float().mean() < 1e-3
    known = ~torch.isnan(z) & ~torch.isnan(cuda_z)
    assert known.float().mean() > 0.5 and torch.isclose(z[known], cuda_z[known], rtol=1e-2).float().mean() > 0.99
    for name in NAMES:
        assert (grads[name] - cuda_grads[name]).abs().max() < 0.02 * grads[name].abs().max(), name
