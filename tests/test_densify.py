"""MCMC densification: relocation keeps the image, draws follow the weights, edits carry moments, noise has the right shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from recon.cameras import Cameras
from recon.geometry import rotation_from_quat
from render.densify import MAX_COPIES, noise, plan_edit, relocated
from render.initial import SceneInit, SceneSetup
from render.optimize import Optimizer
from render.rasterize import rasterize
from render.scenes.gs import DEAD, EDIT_EVERY, GsConfig, GsScene
from render.splats import SH_C0, Splats


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("copies", [1, 2, 3, 7, MAX_COPIES])
def test_relocation_follows_equation_9(copies: int) -> None:
    for o in (0.02, 0.5, 0.97):
        fewer, factor = relocated(torch.tensor([o]), torch.tensor([copies]))
        new = 1 - (1 - o) ** (1 / copies)
        total = sum(
            math.comb(i - 1, k) * (-1) ** k * new ** (k + 1) / math.sqrt(k + 1)
            for i in range(1, copies + 1)
            for k in range(i)
        )
        assert fewer.item() == pytest.approx(new, rel=1e-5)
        assert factor.item() == pytest.approx(o / total, rel=1e-5)


def render(splats: Splats) -> Tensor:
    k = np.array([[[60.0, 0, 16], [0, 60.0, 16], [0, 0, 1]]])
    cameras = Cameras(np.eye(4)[None], k, np.array([[32, 32]], np.int32))
    with torch.no_grad():
        return rasterize(splats, cameras).rgb[0]


def one_splat(opacity: float, scale: float, copies: int) -> Splats:
    return Splats(
        mean=torch.tensor([[0.0, 0, 3]]).repeat(copies, 1),
        log_scale=torch.full((copies, 3), math.log(scale)),
        quat=torch.tensor([[1.0, 0, 0, 0]]).repeat(copies, 1),
        opacity_logit=torch.full((copies,), math.log(opacity / (1 - opacity))),
        sh=torch.full((copies, 1, 3), 0.4 / SH_C0),
    )


def test_relocation_keeps_the_image_and_plain_copies_do_not() -> None:
    before = render(one_splat(0.9, 0.15, 1))
    fewer, factor = relocated(torch.tensor([0.9]), torch.tensor([4]))
    after = render(one_splat(fewer.item(), 0.15 * factor.item(), 4))
    copied = render(one_splat(0.9, 0.15, 4))
    assert (after - before).abs().mean() < 0.25 * (copied - before).abs().mean()
    assert (after - before).abs().max() < 0.1


def test_draws_follow_the_weights_and_spare_the_dead() -> None:
    weight = torch.tensor([1.0, 0.0, 3.0, 100.0])
    dead = torch.tensor([False, False, False, True])
    edit, rows, copies = plan_edit(weight, dead, 4, 4000, draw())
    assert edit.count == 4004
    assert edit.target.tolist() == [3, *range(4, 4004)]  # the dead one moves too
    share = np.bincount(edit.source.numpy(), minlength=4) / 4001
    assert share[3] == 0 and share[1] == 0
    assert share[2] == pytest.approx(0.75, abs=0.03)
    assert dict(zip(rows.tolist(), (copies - 1).tolist(), strict=True)) == {
        0: int((edit.source == 0).sum()),
        2: int((edit.source == 2).sum()),
    }


def test_nothing_alive_means_no_edit() -> None:
    edit, rows, _ = plan_edit(torch.ones(3), torch.ones(3, dtype=torch.bool), 3, 5, draw())
    assert len(edit.target) == 0 and edit.count == 3 and len(rows) == 0


def scene_of(n: int = 40, cap: int = 60, **config: float) -> GsScene:
    rng = np.random.default_rng(1)
    setup = SceneSetup(extent=2.0, near=0.01, splats=cap, sh_degree=1, grow_sh=False)
    xyz, rgb = rng.normal(size=(n, 3)), rng.random((n, 3)).astype(np.float32)
    return GsConfig(**config).build(SceneInit(xyz, rgb, np.full(n, 0.1, np.float32), setup))  # type: ignore[arg-type]


def test_growth_stops_at_the_cap_and_moments_follow() -> None:
    scene = scene_of(grow_rate=0.2, noise=0.0, error_power=0.0, spread=0.0)
    optimizer = Optimizer(scene.parameters())
    scene.schedule(0.0)
    for moments in (optimizer._first, optimizer._second):
        for column in moments.values():
            column[:40] = 1.0
    optimizer._count[:40] = 9
    with torch.no_grad():
        scene.parameters().per_splat["opacity_logit"][7] = -20.0
    old = scene.parameters().per_splat["mean"].detach().clone()
    assert scene.after_step(EDIT_EVERY, 0.0)
    assert len(scene) == 48
    mean = scene.parameters().per_splat["mean"].detach()
    untouched = optimizer._count[:40] == 9
    assert not untouched[7] and 20 <= untouched.sum() < 40
    assert torch.equal(mean[:40][untouched], old[untouched])
    assert not torch.equal(mean[7], old[7]) and (old == mean[7]).all(1).any()
    for column in optimizer._first.values():
        assert (column[:40][untouched] == 1).all() and (column[:48][optimizer._count[:48] == 0] == 0).all()
    for step in range(2, 6):
        scene.after_step(step * EDIT_EVERY, 0.0)
    assert len(scene) == 60
    assert (torch.sigmoid(scene.parameters().per_splat["opacity_logit"]) >= DEAD * 0.999).all()


def test_no_edits_when_densification_is_off_or_over() -> None:
    scene = scene_of(edit_until=0.5)
    scene.schedule(0.6)
    assert not scene.after_step(EDIT_EVERY, 0.6) and len(scene) == 40


def test_noise_has_the_covariance_and_spares_the_opaque() -> None:
    quat, scale = torch.tensor([[0.8, 0.2, -0.5, 0.3]]), torch.tensor([[0.5, 0.1, 0.02]])
    n = 20000
    opacity = torch.full((n,), 1e-6)
    offset = noise(scale.log().repeat(n, 1), quat.repeat(n, 1), opacity, draw()).double().numpy()
    r = rotation_from_quat(quat[0].numpy())
    sigma = r @ np.diag(scale[0].double().numpy() ** 2) @ r.T
    gate = 1 / (1 + math.exp(-0.5))
    assert np.allclose(np.cov(offset.T), gate**2 * sigma @ sigma, atol=0.03 * np.abs(sigma @ sigma).max())
    opaque = noise(scale.log().repeat(n, 1), quat.repeat(n, 1), torch.full((n,), 0.2), draw()).numpy()
    assert np.abs(opaque).max() < 1e-6 * np.abs(offset).max()
