"""The kernels beside rendering: sorting into tiles, the photometric loss, Adam, and how kernels are run and kept."""

from __future__ import annotations

from pathlib import Path

import numba
import numpy as np
import pytest
import torch

import render.kernels.depth
from recon.depth.maps import load_maps, save_maps
from recon.kernels import jit
from render.depth_loss import DepthTargets
from render.kernels import layout, pipeline, reference, tiles, warm
from render.kernels.adam import row_adam
from render.kernels.ssim import photometric
from render.rasterize import RowGrads, rasterize
from render.splats import SH_C0, Splats
from tests.splat_scenes import cameras, scene
from tests.wall_scene import wall

GRADIENT = 1e-4
"""Allowed difference of gradients, by the largest."""
NAMES = pipeline.NAMES


def test_an_error_in_a_kernel_reaches_the_caller() -> None:
    def fail(start: int, stop: int) -> None:
        raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        jit.spread(fail, 100)


def test_every_tile_that_an_ellipse_touches_and_no_other() -> None:
    """Against a count of pixels: no tile with a pixel at alpha >= ALPHA_MIN is missing, and nearly every listed tile
    has one.
    """
    columns, cams = scene(300, seed=6, size=-1.5, spread=1.0), cameras(160, 340)
    size = (160, 340)
    camera = layout.camera_block(cams.cam_from_world[0], cams.K[0], size, 0.01)
    visible = pipeline.see(pipeline.padded({n: c.numpy() for n, c in columns.items()}), camera, 0, False, False)
    lists = tiles.tile_lists(visible, size)
    listed = np.zeros((300, len(lists.offset) - 1), bool)
    tile_of_pair = np.repeat(np.arange(len(lists.offset) - 1), np.diff(lists.offset))
    listed[visible.rows[lists.splat], tile_of_pair] = True
    flat = reference.project(
        columns, torch.as_tensor(cams.cam_from_world[0]), torch.as_tensor(cams.K[0]), size, sh_degree=0
    )
    alpha = reference.alphas(flat, size).numpy()
    padded = np.pad(alpha, ((0, 0), (0, -size[1] % 16), (0, -size[0] % 16)))
    blocks = (
        padded.reshape(len(alpha), -(-size[1] // 16), 16, -(-size[0] // 16), 16).max((2, 4)).reshape(len(alpha), -1)
    )
    wanted = np.zeros_like(listed)
    wanted[flat.rows.numpy()] = blocks >= reference.ALPHA_MIN * 1.0001
    assert not (wanted & ~listed).any()
    assert (listed & ~wanted).sum() < 0.03 * wanted.sum()
    boxes = visible.bound.sum()
    assert listed.sum() < 0.9 * boxes


def test_near_to_far() -> None:
    rng = np.random.default_rng(0)
    z = rng.uniform(0.01, 1e4, 3000).astype(np.float32)
    z[100:200] = z[50]
    records = np.zeros((3000, layout.RECORD), np.float32)
    records[:, layout.Z] = z
    count = np.array([1024, 1000, 900], np.int32)
    places = np.concatenate([np.arange(c) + layout.CHUNK * i for i, c in enumerate(count)])
    order = np.empty(len(places), np.int32)
    bits = records.reshape(-1).view(np.uint32)
    tiles.depth_order(count, bits, order, np.empty((3, len(order)), np.uint32))
    assert np.array_equal(order, places[np.argsort(z[places], kind="stable")])


@pytest.mark.parametrize(
    ("height", "width", "masked", "as_bytes"),
    [(70, 53, False, False), (64, 33, True, False), (33, 17, False, True), (5, 4, False, False), (90, 40, True, True)],
)
def test_photometric(height: int, width: int, masked: bool, as_bytes: bool) -> None:
    g = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, height // 4 + 2, width // 4 + 2, generator=g)
    target = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0].permute(1, 2, 0).contiguous()
    rgb = target + 0.1 * torch.randn(height, width, 3, generator=g)
    if as_bytes:
        target = (255 * target).round().to(torch.uint8)
    mask = torch.rand(height, width, generator=g) > 0.3 if masked else None
    loss, d_rgb, l1, ssim = photometric(rgb, target, mask, 0.3)
    x = rgb.double().requires_grad_()
    want = reference.photometric(x, target if as_bytes else target.double(), mask, 0.3)
    want[0].backward()
    assert x.grad is not None
    for ours, theirs in zip((loss, l1, ssim), want, strict=True):
        assert abs(ours - float(theirs.detach())) < 1e-6
    assert (d_rgb - x.grad).abs().max() < GRADIENT * x.grad.abs().max()
    if mask is not None:
        assert bool((d_rgb[~mask] == 0).all())
        rgb[~mask] = torch.nan  # what lies under the mask does not matter
        again = photometric(rgb, target, mask, 0.3)
        assert again[0] == loss and torch.equal(again[1], d_rgb)


def test_ssim_is_that_of_scikit_image() -> None:
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(0)
    a = rng.random((40, 50, 3))
    b = np.clip(a + 0.1 * rng.normal(size=a.shape), 0, 1)
    options = {
        "channel_axis": -1,
        "data_range": 1,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    _, full = structural_similarity(a, b, full=True, **options)
    ours = reference.ssim_map(torch.as_tensor(a), torch.as_tensor(b)).numpy()
    assert np.abs(ours - full)[5:-5, 5:-5].max() < 1e-9


@pytest.mark.parametrize(("bands", "used"), [(16, 16), (16, 9), (16, 4), (16, 1), (9, 9), (4, 4), (1, 1)])
def test_row_adam(bands: int, used: int) -> None:
    g = torch.Generator().manual_seed(0)
    params = scene(100, bands=bands)
    exact = {n: p.double() for n, p in params.items()}
    moments = [{n: torch.zeros_like(p) for n, p in params.items()} for _ in range(2)]
    exact_moments = [{n: torch.zeros_like(p) for n, p in exact.items()} for _ in range(2)]
    count, exact_count = torch.zeros(100, dtype=torch.int32), torch.zeros(100, dtype=torch.int32)
    lr = dict.fromkeys(NAMES, 0.01) | {"sh": torch.linspace(0.01, 0.02, bands)[:, None]}
    untouched = {n: p[99].clone() for n, p in params.items()}
    for step in range(4):
        rows = torch.nonzero(torch.rand(100, generator=g) < 0.6)[:, 0]
        rows = rows[rows != 99]
        grads = {n: torch.randn(len(rows), *p.shape[1:], generator=g) * (step + 1) for n, p in params.items()}
        grads["sh"] = grads["sh"][:, :used].contiguous()
        row_adam(params, *moments, grads, rows, count, lr)
        reference.row_adam(exact, *exact_moments, {n: v.double() for n, v in grads.items()}, rows, exact_count, lr)
    assert torch.equal(count, exact_count)
    for name in NAMES:
        assert (params[name] - exact[name]).abs().max() < 1e-5
        assert torch.equal(params[name][99], untouched[name])


def test_moments_that_fade_end_at_zero() -> None:
    """A splat that is seen but hidden has no gradient: its moments must not linger as subnormal numbers, which are slow."""
    params = scene(20)
    moments = [{n: torch.full_like(p, 2e-36) for n, p in params.items()} for _ in range(2)]
    grads = {n: torch.zeros_like(p) for n, p in params.items()}
    rows, count = torch.arange(20), torch.zeros(20, dtype=torch.int32)
    for _ in range(8):
        row_adam(params, *moments, grads, rows, count, dict.fromkeys(NAMES, 0.01), beta2=0.9)
    assert all(bool((m[n] == 0).all()) for m in moments for n in NAMES)


def test_row_adam_takes_gradients_in_factors() -> None:
    columns = {n: c.requires_grad_() for n, c in scene(3000, size=-4.0).items()}
    results = []
    for asked in ("never", "to read", "to change"):
        sink = RowGrads()
        rasterize(Splats(**columns), cameras(), sh_degree=2, row_grads=sink).rgb.square().sum().backward()
        assert sink.rows is not None and sink.grads.factors is not None
        colour = sink.grads.colour().clone()
        if asked != "never":
            assert torch.allclose(sink.grads["sh"][:, 0] / SH_C0, colour)
            assert sink.grads.factors is not None
        if asked == "to change":
            sink.grads["sh"].mul_(1)
            assert sink.grads.factors is None
            assert torch.allclose(sink.grads.colour(), colour)
        params = {n: c.detach().clone() for n, c in columns.items()}
        zeros = [{n: torch.zeros_like(c) for n, c in params.items()} for _ in range(2)]
        row_adam(params, *zeros, sink.grads, sink.rows, torch.zeros(3000, dtype=torch.int32), dict.fromkeys(NAMES, 0.1))
        results.append(params["sh"])
    assert not torch.equal(results[0], columns["sh"])
    assert torch.equal(results[0], results[1])
    assert torch.allclose(results[0], results[2], atol=1e-6)


def test_a_warm_up_compiles_the_depth_loss_for_maps_from_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[tuple] = []
    monkeypatch.setattr(render.kernels.depth, "_pulls", lambda *args: seen.append(tuple(map(numba.typeof, args))))
    warm.warm_up()
    warmed, maps = set(seen), wall(tmp_path)[2]
    save_maps(maps, tmp_path / "depth")
    targets, image = DepthTargets.of(load_maps(tmp_path / "depth"), maps.names, 1.0), torch.ones(48, 64)
    for mask in (None, image):
        targets.pulls(0, maps.cameras[0], image, image, mask, 0.0)
    assert warmed == set(seen)


def test_the_cache_is_complete_after_a_warm_up() -> None:
    warm.warm_up()
    assert warm.kernels_are_compiled() and any(warm.CACHE.rglob("*.nbi"))
