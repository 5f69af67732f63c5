"""Splats: activations, spherical harmonics, and the move to another frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from recon.cameras import Cameras
from recon.geometry import Sim3, World, rotation_from_quat
from render.rasterize import rasterize
from render.splats import Splats, sh_basis, sh_rotation


def some_splats(count: int = 400) -> Splats:
    g = torch.Generator().manual_seed(0)
    return Splats(
        mean=torch.randn(count, 3, generator=g),
        log_scale=-2 + 0.5 * torch.randn(count, 3, generator=g),
        quat=torch.randn(count, 4, generator=g),
        opacity_logit=torch.randn(count, generator=g),
        sh=0.4 * torch.randn(count, 16, 3, generator=g),
        extra={"label": torch.arange(count)},
    )


def random_sim3(seed: int) -> Sim3:
    rng = np.random.default_rng(seed)
    return Sim3(float(rng.uniform(0.3, 4)), rotation_from_quat(rng.normal(size=4)), rng.normal(size=3))


def test_basis_is_that_of_scipy() -> None:
    """Real harmonics of complex ones: sqrt 2 Im for m < 0, sqrt 2 Re for m > 0, phase included."""
    d = np.random.default_rng(0).normal(size=(50, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    theta, phi = np.arccos(d[:, 2]), np.arctan2(d[:, 1], d[:, 0])
    want = []
    for band in range(4):
        for m in range(-band, band + 1):
            y = sph_harm_y(band, abs(m), theta, phi)
            want.append(y.real if m == 0 else np.sqrt(2) * (y.imag if m < 0 else y.real))
    assert np.abs(sh_basis(torch.as_tensor(d), 3).numpy() - np.stack(want, 1)).max() < 1e-12


def test_sh_rotation_is_orthogonal_and_composes() -> None:
    a, b = random_sim3(1).rotation, random_sim3(2).rotation
    both = sh_rotation(a @ b, 3)
    assert np.abs(sh_rotation(a, 3) @ sh_rotation(b, 3) - both).max() < 1e-12
    assert np.abs(both @ both.T - np.eye(16)).max() < 1e-12
    assert np.abs(both[:1, 1:]).max() == 0 and np.abs(both[4:9, 9:]).max() == 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_camera_that_moves_along_sees_the_same(seed: int) -> None:
    splats, move = some_splats(), random_sim3(seed)
    pose = np.eye(4)[None].copy()
    pose[0, :3, 3] = [0.2, -0.1, 4]
    k = np.array([[[60, 0, 30], [0, 60, 20], [0, 0, 1.0]]])
    size = np.array([[60, 40]], np.int32)
    here = rasterize(splats, Cameras(pose, k, size))
    there = rasterize(splats.transformed(move), Cameras(move.cameras(pose), k, size))
    assert (here.rgb - there.rgb).abs().max() < 1e-4
    assert torch.allclose(there.z, here.z * move.scale, rtol=1e-4, equal_nan=True)
    without_bands = rasterize(splats.transformed(move), Cameras(move.cameras(pose), k, size), sh_degree=0)
    assert (here.rgb - without_bands.rgb).abs().max() > 0.05


def test_there_and_back() -> None:
    splats, move = some_splats(50), random_sim3(5)
    back = splats.transformed(move).transformed(move.inverse())
    assert torch.allclose(back.mean, splats.mean, atol=1e-5)
    assert torch.allclose(back.log_scale, splats.log_scale, atol=1e-5)
    assert torch.allclose(back.sh, splats.sh, atol=1e-5)
    assert torch.allclose(back.rotation, splats.rotation, atol=1e-5)
    assert torch.equal(back.extra["label"], splats.extra["label"])
    assert np.allclose(back.world.world_from_sfm.matrix(), np.eye(4), atol=1e-9)


def test_the_world_of_moved_splats() -> None:
    splats, move = some_splats(5), random_sim3(3)
    assert splats.transformed(move).world.scale == "arbitrary"
    assert np.allclose(splats.transformed(move).world.world_from_sfm.matrix(), move.matrix())
    metric = World(scale="metric", up="gravity")
    assert splats.transformed(move, metric).world is metric


def test_activations() -> None:
    splats = some_splats(20)
    assert torch.allclose(splats.scale.log(), splats.log_scale, atol=1e-5)
    assert torch.allclose(torch.logit(splats.opacity), splats.opacity_logit, atol=1e-4)
    want = rotation_from_quat(splats.quat.numpy())
    assert np.abs(splats.rotation.numpy() - want).max() < 1e-6
    assert splats.sh_degree == 3 and len(splats[2:7]) == 5
