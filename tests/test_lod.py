"""Simpler scenes: contributions, clusters, SH of a lower degree, polishing, tiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recon.cameras import Cameras
from recon.geometry import rotation_from_quat
from render.clusters import BETWEEN, clusters, fewer, merged
from render.kernels import reference
from render.lod import Drawing, contributions, most_important, reduced, spread, spread_views, tiles, window
from render.polish import polish
from render.rasterize import rasterize
from render.splats import Splats, sh_basis
from tests.fabricate import ring_cameras
from tests.splat_scenes import cameras, scene

PLAIN = Drawing(near=0.01)


def wall(side: int = 40, seed: int = 0, degree: int = 1) -> Splats:
    """An opaque wall of side * side flat splats in x, y = -1 .. 1 at z = 0, coloured smoothly, its normal along z."""
    rng = np.random.default_rng(seed)
    grid = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = (a.ravel() for a in np.meshgrid(grid, grid))
    mean = np.stack([x, y, 0.001 * rng.normal(size=side**2)], 1) + rng.normal(0, 0.2 / side, (side**2, 3)) * [1, 1, 0]
    sh = np.zeros((side**2, (degree + 1) ** 2, 3))
    sh[:, 0] = 0.8 * np.stack([np.sin(2 * x), np.cos(2 * y), x * y], 1)
    sh[:, 1:] = rng.normal(0, 0.15, sh[:, 1:].shape)
    columns = {
        "mean": mean,
        "log_scale": np.log([[1.4 / side, 1.4 / side, 0.002]]).repeat(side**2, 0),
        "quat": np.array([[1.0, 0, 0, 0]]).repeat(side**2, 0),
        "opacity_logit": np.full(side**2, 3.0),
        "sh": sh,
    }
    return Splats(
        **{name: torch.as_tensor(np.ascontiguousarray(c), dtype=torch.float32) for name, c in columns.items()}
    )


def views(count: int = 7, size: int = 64) -> Cameras:
    """In front of the wall, looking at its middle from different sides, upright to x; the wall fills the picture."""
    angle = np.linspace(-0.5, 0.5, count)
    poses = np.tile(np.eye(4), (count, 1, 1))
    for pose, a in zip(poses, angle, strict=True):
        pose[:3, :3] = rotation_from_quat([np.cos(a / 2), 0, np.sin(a / 2), 0])
        pose[:3, 3] = [0, 0, 2.0]
    k = np.tile([[1.6 * size, 0, size / 2], [0, 1.6 * size, size / 2], [0, 0, 1.0]], (count, 1, 1))
    return Cameras(poses, k, np.full((count, 2), size, np.int32))


@torch.no_grad()
def drawn(splats: Splats, at: Cameras) -> torch.Tensor:
    return rasterize(splats, at, depth=False).rgb.clamp(0, 1)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * ((a - b) ** 2).mean().log10())


def test_contributions_are_the_sums_of_blending_weights() -> None:
    columns, at = scene(40, bands=1), cameras()
    seen = contributions(Splats(**columns), at, PLAIN)
    flat = reference.project(
        columns, torch.from_numpy(at.cam_from_world[0]), torch.from_numpy(at.K[0]), (53, 37), sh_degree=0
    )
    true = reference.weights(flat, (53, 37))[0]
    expected, middle = np.zeros(40), np.zeros(40)
    expected[flat.rows] = true.sum((1, 2)).numpy()
    middle[flat.rows] = (true * torch.from_numpy(window(53, 37))).sum((1, 2)).numpy()
    assert expected.max() > 10
    np.testing.assert_allclose(seen.total, expected, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(seen.middle, middle, rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(seen.per_view[0] / 1e4 * 53 * 37, expected, rtol=3e-3, atol=0.05)
    assert (seen.central >= 0).all() and (seen.central <= 1 + 1e-6).all()


def test_the_window_falls_off_to_all_sides() -> None:
    found = window(41, 21)
    assert found[10, 20] == pytest.approx(1) and found[0, 0] < 0.03
    assert found[0, 20] == pytest.approx(found[10, 0], abs=0.02) and 0.1 < found[0, 20] < 0.2
    np.testing.assert_allclose(found, found[::-1, ::-1], atol=1e-6)


def test_what_is_hidden_contributes_nothing() -> None:
    front = wall()
    behind = replace(front, mean=front.mean + torch.tensor([0, 0, 1.0]), log_scale=front.log_scale - 1)
    both = Splats(**{name: torch.cat([c, behind.columns()[name]]) for name, c in front.columns().items()})
    seen = contributions(both, views(3), PLAIN)
    assert seen.total[1600:].sum() < 1e-2 * seen.total[:1600].sum()
    assert set(most_important(seen.total, 700)) < set(range(1600))


def test_the_most_important_come_first() -> None:
    assert most_important(np.array([1.0, 5, 2, 5]), 3).tolist() == [1, 3, 2]
    assert spread(10, 4).tolist() == [0, 3, 6, 9] and spread(3, 9).tolist() == [0, 1, 2]
    assert spread_views(ring_cameras(9), 4).size.max(1).tolist() == [96] * 4


def test_a_merged_splat_has_the_moments_of_its_cluster() -> None:
    columns = scene(30, bands=4)
    splats = Splats(**columns)
    weight, label = np.random.default_rng(0).uniform(0.5, 2, 30), np.arange(30) % 3
    found = merged(splats, weight, label)
    for k in range(3):
        rows = np.flatnonzero(label == k)
        share = weight[rows] / weight[rows].sum()
        mean = columns["mean"].numpy()[rows].astype(np.float64)
        centre = share @ mean
        axes = (splats.rotation * splats.scale[:, None]).numpy()[rows].astype(np.float64)
        spread = axes @ axes.transpose(0, 2, 1) + BETWEEN * np.einsum("ni,nj->nij", mean - centre, mean - centre)
        true = np.einsum("n,nij->ij", share, spread)
        axis = (found.rotation[k] * found.scale[k]).numpy().astype(np.float64)
        np.testing.assert_allclose(found.mean[k], centre, atol=1e-5)
        np.testing.assert_allclose(axis @ axis.T, true, atol=1e-4)
        assert torch.linalg.det(found.rotation[k]) > 0.99
        np.testing.assert_allclose(
            found.sh[k].numpy(), np.einsum("n,nkc->kc", share, columns["sh"].numpy()[rows]), atol=1e-5
        )


def test_a_cluster_of_one_is_the_splat_itself() -> None:
    splats = Splats(**scene(20, bands=4))
    found = merged(splats, np.ones(20), np.arange(20))
    at = cameras()
    assert psnr(drawn(found, at), drawn(splats, at)) > 60


def test_clusters_do_not_mix_colours_or_places() -> None:
    rng = np.random.default_rng(1)
    place = np.repeat([[0, 0, 0], [5, 0, 0], [0, 0, 0.0]], 50, 0) + rng.normal(0, 0.01, (150, 3))
    colour = np.repeat([[0, 0, 0], [0, 0, 0], [1, 1, 1.0]], 50, 0)
    label = clusters(place, colour, np.ones(150), 3, np.array([[0, 0, -4.0]]))
    groups = [set(label[i : i + 50]) for i in (0, 50, 100)]
    assert all(len(group) == 1 for group in groups) and len(set.union(*groups)) == 3


def test_clusters_are_small_near_the_viewpoints() -> None:
    mean = np.stack([np.zeros(4000), np.zeros(4000), np.linspace(1, 40, 4000)], 1)
    label = clusters(mean, np.zeros((4000, 3)), np.ones(4000), 100, np.zeros((1, 3)))
    assert len(set(label)) == 100
    near, far = (len(set(label[rows])) for rows in (mean[:, 2] < 10, mean[:, 2] > 31))
    assert near > 2 * far


@pytest.mark.parametrize("count", [160, 400, 800])
def test_fewer_splats_keep_the_budget_and_leave_no_holes(count: int) -> None:
    full, at = wall(), views()
    seen = contributions(full, at, PLAIN)
    few = fewer(full, seen.total, count, at.centers)
    assert 0.9 * count <= len(few) <= count and few.sh_degree == full.sh_degree
    better = polish(few, full, at, PLAIN, 30)
    with torch.no_grad():
        whole, alpha, polished = (rasterize(splats, at, depth=False).alpha for splats in (full, few, better))
    assert whole.min() > 0.9
    assert alpha.min() > 0.5 and alpha.mean() > 0.8
    assert polished.min() > 0.6 and polished.mean() > 0.9
    assert psnr(drawn(better, at), drawn(full, at)) > psnr(drawn(few, at), drawn(full, at)) > 18


def test_merging_shows_more_than_leaving_out() -> None:
    full, at = wall(), views()
    seen = contributions(full, at, PLAIN)
    best = full[torch.from_numpy(most_important(seen.total, 400))]
    few = fewer(full, seen.total, 400, at.centers)
    assert psnr(drawn(few, at), drawn(full, at)) > psnr(drawn(best, at), drawn(full, at)) + 3


def test_a_small_scene_is_left_as_it_is() -> None:
    splats = wall(5)
    assert fewer(splats, np.ones(25), 25, np.zeros((1, 3))).mean.equal(splats.mean)
    assert reduced(splats, 2) is splats
    assert polish(splats, splats, views(2), PLAIN, 0) is splats


def test_a_lower_degree_keeps_the_colours_that_the_views_saw() -> None:
    full, at = wall(20, degree=3), views(9)
    seen = contributions(full, at, PLAIN)
    true = drawn(full, at)
    for degree in (0, 1, 2):
        cut, kept = reduced(full, degree), reduced(full, degree, seen)
        assert cut.sh_degree == kept.sh_degree == degree
        assert psnr(drawn(kept, at), true) > psnr(drawn(cut, at), true) + 1.5


def test_a_lower_degree_that_can_show_all_shows_all() -> None:
    """Colours made of band 0 alone, written with three bands: nothing is lost, nothing is made up."""
    full = wall(10, degree=3)
    full.sh[:, 1:] = 0
    seen = contributions(full, views(), PLAIN)
    assert torch.allclose(reduced(full, 0, seen).sh, full.sh[:, :1], atol=1e-6)
    unseen = replace(seen, per_view=np.zeros_like(seen.per_view))
    wild = wall(10, degree=3)
    assert torch.allclose(reduced(wild, 1, unseen).sh, wild.sh[:, :4])


def test_a_lower_degree_solves_its_least_squares() -> None:
    """One splat, seen from many sides: the slow solution by lstsq on the same directions."""
    full, at = wall(20, degree=2), ring_cameras(12)
    seen = contributions(full, at, PLAIN)
    row = int(np.argmax((seen.per_view > 0).sum(0)))
    weight = seen.per_view[:, row].astype(np.float64)
    away = full.mean[row].double() - torch.from_numpy(at.centers)
    basis = sh_basis(away / away.norm(dim=-1, keepdim=True), 2).numpy()
    old = full.sh[row].double().numpy()
    root = np.sqrt(weight)[:, None]
    hold = np.sqrt(0.05 * (weight[:, None] * basis[:, :4] ** 2).sum() / 4) * np.eye(4)
    left = np.concatenate([root * basis[:, :4], hold])
    right = np.concatenate([root * (basis @ old), hold @ old[:4]])
    expected = np.linalg.lstsq(left, right, rcond=None)[0]
    np.testing.assert_allclose(reduced(full, 1, seen).sh[row], expected, atol=1e-3)


def test_polishing_brings_a_simpler_scene_nearer() -> None:
    full, at, apart = wall(), views(6), views(5)
    few = fewer(full, contributions(full, at, PLAIN).total, 300, at.centers)
    better = polish(few, full, at, PLAIN, 40)
    assert psnr(drawn(better, apart), drawn(full, apart)) > psnr(drawn(few, apart), drawn(full, apart)) + 1.5
    again = polish(few, full, at, PLAIN, 40)
    assert again.sh.equal(better.sh) and not better.sh.requires_grad


def test_tiles_hold_every_splat_once_and_are_balanced() -> None:
    mean = np.random.default_rng(0).normal(size=(1003, 3)) * [9, 2, 1]
    mean[0] = 1e6
    parts = tiles(mean, 100)
    assert sorted(np.concatenate(parts)) == list(range(1003))
    sizes = [len(part) for part in parts]
    assert len(parts) == 11 and max(sizes) <= 100 and min(sizes) >= 85
    widths = [np.ptp(mean[part][mean[part][:, 0] < 1e5], axis=0) for part in parts]
    assert np.median([w[0] for w in widths]) < 0.25 * np.ptp(mean[1:, 0])
    assert [len(part) for part in tiles(mean[:7], 100)] == [7] and tiles(mean[:0], 100) == []
