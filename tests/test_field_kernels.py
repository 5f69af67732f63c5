"""The kernels of radiance fields against their float64 twins, and the twins against what is known."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recon.kernels import jit
from render.kernels import field_reference
from render.kernels.hash_grid import HashGridSpec, hash_grid
from render.kernels.plane_grid import plane_grid, plane_shapes

VALUES, GRADIENTS = 1e-5, 1e-4
COUNTS = st.integers(0, 70)


def agree(kernel: Callable[..., Tensor], twin: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Check values and gradients of a kernel against its twin in float64, relative to their scale; returns the
    kernel's.
    """
    generator = torch.Generator().manual_seed(5)
    given = [tensor.clone().requires_grad_() for tensor in inputs]
    out = kernel(*given)
    exact = [tensor.double().requires_grad_() for tensor in inputs]
    expected = twin(*exact)
    pull = torch.randn(out.shape, generator=generator)
    grads = torch.autograd.grad(out, given, pull)
    expected_grads = torch.autograd.grad(expected, exact, pull.double())
    assert out.dtype == torch.float32 and out.shape == expected.shape
    pairs = [(out, expected), *zip(grads, expected_grads, strict=True)]
    for (found, wanted), limit in zip(pairs, [VALUES] + [GRADIENTS] * len(grads), strict=True):
        assert found.shape == wanted.shape
        if wanted.numel():
            scale = max(float(wanted.detach().abs().max()), 1e-3)
            assert float((found.detach() - wanted.detach()).abs().max()) <= limit * scale
    return [out.detach(), *grads]


def points(count: int, dimensions: int, low: float, high: float, seed: int = 0) -> Tensor:
    """Random points, some of them outside, on the borders and on corners."""
    generator = torch.Generator().manual_seed(seed)
    x = low + (high - low) * torch.rand(count, dimensions, generator=generator)
    wide = low - 0.2 * (high - low) + 1.4 * (high - low) * torch.rand(count, dimensions, generator=generator)
    x = torch.where(torch.rand(count, 1, generator=generator) < 0.2, wide, x)
    special = torch.tensor([low, high, 0.5 * (low + high)])
    pick = special[torch.randint(0, 3, (count, dimensions), generator=generator)]
    return torch.where(torch.rand(count, dimensions, generator=generator) < 0.05, pick, x)


@pytest.mark.parametrize(("levels", "features", "finest"), [(8, 4, 2048), (16, 2, 2048), (3, 1, 64), (2, 8, 300)])
def test_hash_grid_agrees_with_the_twin(levels: int, features: int, finest: int) -> None:
    spec = HashGridSpec.make(levels, features, 13, 8, finest)
    table = torch.randn(spec.rows, features, generator=torch.Generator().manual_seed(1))
    x = points(5003, 3, 0, 1)
    x = x[~field_borders(x, spec)]  # there the slope has two sides
    agree(lambda x, t: hash_grid(x, t, spec), lambda x, t: field_reference.hash_grid(x, t, spec), [x, table])


def field_borders(x: Tensor, spec: HashGridSpec) -> Tensor:
    """bool[N]: points inside that lie on the border of a cell, where the slopes of two cells meet."""
    cells = torch.tensor(spec.cells, dtype=torch.float64)
    at = x.double()[:, :, None] * cells
    return ((at == at.floor()) & (at > 0) & (at < cells)).any(2).any(1)


@settings(max_examples=30, deadline=None)
@given(COUNTS, st.integers(0, 10**6), st.sampled_from([1, 2, 4, 8]), st.integers(4, 12), st.integers(1, 40))
def test_hash_grid_agrees_on_any_shape(count: int, seed: int, features: int, log2_size: int, coarsest: int) -> None:
    spec = HashGridSpec.make(3, features, log2_size, coarsest, 3 * coarsest)
    table = torch.randn(spec.rows, features, generator=torch.Generator().manual_seed(seed))
    x = points(count, 3, 0, 1, seed)
    x = x[~field_borders(x, spec)]
    agree(lambda x, t: hash_grid(x, t, spec), lambda x, t: field_reference.hash_grid(x, t, spec), [x, table])


def test_a_dense_level_is_trilinear_interpolation() -> None:
    spec = HashGridSpec.make(1, 2, 12, 9, 9)
    table = torch.randn(spec.rows, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x = torch.rand(200, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    volume = table[: 10**3].view(10, 10, 10, 2).permute(3, 0, 1, 2)[None]  # z, y, x: x runs fastest
    expected = torch.nn.functional.grid_sample(volume, 2 * x[None, None, None] - 1, align_corners=True)
    twin = field_reference.hash_grid(x, table, spec)
    assert torch.allclose(twin, expected[0, :, 0, 0].T, atol=1e-12)


def test_rows_of_the_hash_are_those_of_the_papers_formula() -> None:
    spec = HashGridSpec.make(2, 1, 10, 4, 512)
    vertex = torch.tensor([[3, 5, 7], [512, 0, 511], [0, 0, 1]])
    by_hand = [(x ^ (y * 2654435761) ^ (z * 805459861)) % 2**32 % 2**10 for x, y, z in vertex.tolist()]
    assert field_reference.hash_rows(vertex, 1, spec).tolist() == [spec.first[1] + row for row in by_hand]
    assert field_reference.hash_rows(torch.tensor([[1, 2, 3]]), 0, spec).tolist() == [1 + 5 * (2 + 5 * 3)]
    table = torch.arange(float(spec.rows))[:, None]
    x = (vertex / 512).float()
    assert hash_grid(x, table, spec)[:, 1].tolist() == [spec.first[1] + row for row in by_hand]


def test_levels_grow_geometrically_and_keep_apart() -> None:
    spec = HashGridSpec.make(8, 4, 14, 16, 2048)
    assert spec.cells == (16, 32, 64, 128, 256, 512, 1024, 2048)
    assert spec.dense == (True,) + (False,) * 7 and spec.width == 32
    assert spec.first[1] == 17**3 + 15 and spec.rows == spec.first[1] + 7 * 2**14
    table = spec.make_table(torch.Generator().manual_seed(0))
    assert table.shape == (spec.rows, 4) and 0.9e-4 < float(table.abs().max()) <= 1e-4
    for level in range(8):
        only = torch.zeros_like(table)
        only[spec.first[level] : spec.first[level + 1]] = 1
        found = hash_grid(torch.rand(50, 3), only, spec).view(-1, 8, 4)
        assert torch.allclose(found[:, level], torch.ones(50, 4)) and float(found.sum()) == pytest.approx(200, rel=1e-5)


@pytest.mark.parametrize("combine", ["multiply", "add"])
@pytest.mark.parametrize(
    ("resolution", "features"), [((16, 17, 18), 32), ((8, 9, 10, 5), 16), ((5, 1, 7, 2), 20), ((2, 3, 40), 7)]
)
def test_plane_grid_agrees_with_the_twin(resolution: tuple[int, ...], features: int, combine: str) -> None:
    x = points(3001, len(resolution), -1, 1)
    x = x[~plane_borders(x, resolution)]
    planes = random_planes(resolution, features)
    agree(
        lambda x, *p: plane_grid(x, p, combine), lambda x, *p: field_reference.plane_grid(x, p, combine), [x, *planes]
    )


def plane_borders(x: Tensor, resolution: tuple[int, ...]) -> Tensor:
    """bool[N]: points inside that lie on a texel's centre."""
    last = torch.tensor(resolution, dtype=torch.float64) - 1
    at = (x.double() + 1) * 0.5 * last
    return ((at == at.floor()) & (at > 0) & (at < last)).any(1)


def random_planes(resolution: tuple[int, ...], features: int, seed: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(h, w, features, generator=generator) for h, w in plane_shapes(resolution)]


@settings(max_examples=30, deadline=None)
@given(COUNTS, st.integers(0, 10**6), st.lists(st.integers(1, 9), min_size=3, max_size=4), st.integers(1, 40))
def test_plane_grid_agrees_on_any_shape(count: int, seed: int, resolution: list[int], features: int) -> None:
    sizes = tuple(resolution)
    x = points(count, len(sizes), -1, 1, seed)
    x = x[~plane_borders(x, sizes)]
    planes = random_planes(sizes, features, seed)
    combine = "multiply" if seed % 2 else "add"
    agree(
        lambda x, *p: plane_grid(x, p, combine), lambda x, *p: field_reference.plane_grid(x, p, combine), [x, *planes]
    )


def test_chunks_of_points_add_up() -> None:
    """More points than backward takes at once."""
    x, planes = points(40_000, 3, -1, 1), random_planes((3, 40, 4), 4)
    x = x[~plane_borders(x, (3, 40, 4))]
    agree(lambda x, *p: plane_grid(x, p), lambda x, *p: field_reference.plane_grid(x, p, "multiply"), [x, *planes])


def test_the_planes_twin_is_grid_sample() -> None:
    resolution = (6, 7, 8, 3)
    planes = [plane.double() for plane in random_planes(resolution, 5)]
    x = points(300, 4, -1, 1).double()
    samples = [
        torch.nn.functional.grid_sample(
            plane.permute(2, 0, 1)[None], x[None, None][..., [j, i]], align_corners=True, padding_mode="border"
        )[0, :, 0].T
        for plane, (i, j) in zip(planes, itertools.combinations(range(4), 2), strict=True)
    ]
    for combine, expected in (("multiply", torch.stack(samples).prod(0)), ("add", torch.stack(samples).sum(0))):
        assert torch.allclose(field_reference.plane_grid(x, planes, combine), expected, atol=1e-12)


def test_twins_have_the_slopes_of_finite_differences() -> None:
    spec = HashGridSpec.make(2, 2, 6, 3, 9)
    table = torch.randn(spec.rows, 2, dtype=torch.float64, requires_grad=True)
    x = (0.02 + 0.3 * torch.rand(4, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, t: field_reference.hash_grid(x, t, spec), (x, table))
    planes = [plane.double().requires_grad_() for plane in random_planes((3, 4, 5), 2)]
    assert torch.autograd.gradcheck(lambda x, *p: plane_grid(x, p), (x, *planes))


def test_x_outside_counts_as_the_nearest_point_and_has_no_slope() -> None:
    spec = HashGridSpec.make(2, 2, 6, 3, 9)
    table, outside = torch.randn(spec.rows, 2), torch.tensor([[-0.3, 0.4, 7.0], [2.0, -1.0, 0.2]])
    x = outside.clone().requires_grad_()
    found = hash_grid(x, table, spec)
    assert torch.equal(found, hash_grid(outside.clamp(0, 1), table, spec))
    (slope,) = torch.autograd.grad(found.sum(), x)
    assert ((slope == 0) == (outside < 0) | (outside > 1)).all()


def test_nan_stays_in_its_point() -> None:
    spec = HashGridSpec.make(2, 2, 6, 3, 9)
    x = torch.rand(40, 3)
    x[17, 1] = torch.nan
    found = hash_grid(x, torch.randn(spec.rows, 2), spec).isnan().any(1)
    assert found.nonzero().flatten().tolist() == [17]
    found = plane_grid(x, random_planes((3, 4, 5), 2)).isnan().any(1)
    assert found.nonzero().flatten().tolist() == [17]


def test_memory_that_is_not_contiguous() -> None:
    spec = HashGridSpec.make(2, 4, 8, 3, 9)
    x, table = torch.rand(3, 100).T, torch.randn(4, spec.rows).T
    agree(lambda x, t: hash_grid(x, t, spec), lambda x, t: field_reference.hash_grid(x, t, spec), [x, table])
    assert torch.equal(hash_grid(x, table, spec), hash_grid(x.contiguous(), table.contiguous(), spec))
    planes = [plane.transpose(0, 1) for plane in random_planes((5, 5, 5), 6)]
    assert torch.equal(plane_grid(x, planes), plane_grid(x, [plane.contiguous() for plane in planes]))
    leaf = table.clone().requires_grad_()
    (found,) = torch.autograd.grad(hash_grid(x, leaf, spec).mean(), leaf)  # the pull is one number, expanded
    assert float(found.sum()) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_the_same_bits_for_any_number_of_threads(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = HashGridSpec.make(4, 4, 12, 8, 200)
    table = torch.randn(spec.rows, 4, generator=torch.Generator().manual_seed(1))
    x, planes = points(20_000, 3, 0, 1), random_planes((9, 33, 5), 16)

    def results() -> list[Tensor]:
        leaves = [
            x.clone().requires_grad_(),
            table.clone().requires_grad_(),
            *(p.clone().requires_grad_() for p in planes),
        ]
        a, b = hash_grid(leaves[0], leaves[1], spec), plane_grid(leaves[0] * 2 - 1, leaves[2:])
        return [a, b, *torch.autograd.grad([a, b], leaves, [a.detach(), b.detach()])]

    first = results()
    monkeypatch.setattr(jit.config, "NUMBA_NUM_THREADS", count)
    assert all(np.array_equal(a.detach(), b.detach()) for a, b in zip(first, results(), strict=True))
    assert all(np.array_equal(a.detach(), b.detach()) for a, b in zip(first, results(), strict=True))


def test_what_does_not_fit_is_refused() -> None:
    spec = HashGridSpec.make(2, 2, 6, 3, 9)
    with pytest.raises(ValueError, match="must be"):
        hash_grid(torch.rand(4, 3), torch.zeros(spec.rows - 1, 2), spec)
    with pytest.raises(ValueError, match="must be"):
        hash_grid(torch.rand(4, 2), torch.zeros(spec.rows, 2), spec)
    with pytest.raises(ValueError, match="features"):
        HashGridSpec.make(2, 3, 6, 3, 9)
    with pytest.raises(ValueError, match="one plane for each pair"):
        plane_grid(torch.rand(4, 4), random_planes((3, 4, 5), 2))
    with pytest.raises(ValueError, match="same F"):
        plane_grid(torch.rand(4, 3), [torch.zeros(2, 2, f) for f in (1, 1, 2)])
