"""The slow, readable twins of the kernels of radiance fields, in plain torch: any device, any float type, gradients by
autograd.

The kernels of hash_grid.py, plane_grid.py and volume.py are tested against these, and CUDA tensors are computed here.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from render.kernels.hash_grid import HashGridSpec

PRIMES = (1, 2654435761, 805459861)
"""Factors of the spatial hash by axis (Mueller et al., "Instant neural graphics primitives", SIGGRAPH 2022, eq. 4)."""
_RAYS = 1024
"""Rays that march() looks at together: it tests every step of them."""


def hash_grid(x: Tensor, table: Tensor, spec: HashGridSpec) -> Tensor:
    """[N, levels * F], the meaning of hash_grid.hash_grid(): eight rows of the table per point and level, weighted
    trilinearly.
    """
    inside = x.clamp(0, 1)
    out = []
    for level, cells in enumerate(spec.cells):
        position = inside * cells
        low = position.detach().floor().clamp(max=cells - 1)
        fraction = position - low
        total = torch.zeros(len(x), table.shape[1], dtype=table.dtype, device=table.device)
        for corner in itertools.product((0, 1), repeat=3):
            vertex = low.nan_to_num(0).long() + torch.tensor(corner, device=x.device)
            weight = torch.where(torch.tensor(corner, device=x.device) == 1, fraction, 1 - fraction).prod(1)
            total = total + weight[:, None].to(table) * table[hash_rows(vertex, level, spec)]
        out.append(total)
    return torch.cat(out, 1)


def hash_rows(vertex: Tensor, level: int, spec: HashGridSpec) -> Tensor:
    """Rows i64[N] of the table for vertices i64[N, 3] of a level: numbered through where they fit, else hashed."""
    side = spec.cells[level] + 1
    if spec.dense[level]:
        return spec.first[level] + vertex[:, 0] + side * (vertex[:, 1] + side * vertex[:, 2])
    mixed = (vertex[:, 0] * PRIMES[0]) ^ (vertex[:, 1] * PRIMES[1]) ^ (vertex[:, 2] * PRIMES[2])
    return spec.first[level] + mixed % 2**spec.log2_size


def plane_grid(x: Tensor, planes: Sequence[Tensor], combine: str) -> Tensor:
    """[N, F], the meaning of plane_grid.plane_grid(): the product or the sum of the planes' bilinear samples."""
    samples = []
    pairs = itertools.combinations(range(x.shape[1]), 2)
    for (i, j), plane in zip(pairs, planes, strict=True):
        along_i, low_i, high_i = _texels(x[:, i], plane.shape[0])
        along_j, low_j, high_j = _texels(x[:, j], plane.shape[1])
        along_i, along_j = along_i[:, None].to(plane), along_j[:, None].to(plane)
        near = (1 - along_j) * plane[low_i, low_j] + along_j * plane[low_i, high_j]
        far = (1 - along_j) * plane[high_i, low_j] + along_j * plane[high_i, high_j]
        samples.append((1 - along_i) * near + along_i * far)
    stacked = torch.stack(samples)
    return stacked.prod(0) if combine == "multiply" else stacked.sum(0)


def _texels(x: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Fraction [N] between the two texels i64[N] around each coordinate [N] of -1 .. 1."""
    position = (x.clamp(-1, 1) + 1) * (0.5 * (count - 1))
    low = position.detach().nan_to_num(0).floor().long().clamp(max=max(count - 2, 0))
    return position - low, low, (low + 1).clamp(max=count - 1)


def composite_packed(sigma: Tensor, rgb: Tensor, t: Tensor, dt: Tensor, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(rgb [R, 3], alpha [R], sum of w t [R]), the meaning of volume.composite_packed()."""
    ray = ray_of(start)
    depth = sigma * dt
    before = depth.cumsum(0) - depth  # over all rays; the ray's own starts at its first sample
    first = torch.cat([before, before.new_zeros(1)])[start[:-1].clamp(max=len(depth))]
    w = torch.exp(-(before - first[ray])) * -torch.expm1(-depth)
    rays = len(start) - 1
    return (
        rgb.new_zeros(rays, 3).index_add(0, ray, w[:, None] * rgb),
        w.new_zeros(rays).index_add(0, ray, w),
        w.new_zeros(rays).index_add(0, ray, w * t),
    )


def ray_of(start: Tensor) -> Tensor:
    """The ray i64[S] of each sample, from start i64[R + 1]."""
    return torch.repeat_interleave(torch.arange(len(start) - 1, device=start.device), start.diff())


def march_occupied(
    origin: Tensor,
    direction: Tensor,
    near: Tensor,
    far: Tensor,
    occupancy: Tensor,
    low: Tensor,
    high: Tensor,
    step: float,
    jitter: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """(t f32[S], dt f32[S], start i64[R + 1]), the meaning of volume.march_occupied(): every step of every ray is
    tested, in float64.
    """
    t, dt, count = [], [], []
    for rays in torch.arange(len(origin), device=origin.device).split(_RAYS):
        o, d = origin[rays].double(), direction[rays].double()
        enter, leave = box_range(o, d, near[rays].double(), far[rays].double(), low.double(), high.double())
        steps = ((leave - enter) / step).ceil().clamp(min=0)
        k = torch.arange(int(steps.max()) if len(steps) else 0, device=o.device)
        begin = enter[:, None] + k * step
        width = (leave[:, None] - begin).clamp(max=step)
        at = begin + jitter[rays].double()[:, None] * width
        full = occupied(o[:, None] + at[..., None] * d[:, None], occupancy, low.double(), high.double())
        full &= k < steps[:, None]
        t.append(at[full].float())
        dt.append(width[full].float())
        count.append(full.sum(1))
    start = torch.zeros(len(origin) + 1, dtype=torch.long, device=origin.device)
    start[1:] = torch.cat([*count, start[:0]]).cumsum(0)
    nothing = origin.new_zeros(0, dtype=torch.float32)
    return torch.cat([nothing, *t]), torch.cat([nothing, *dt]), start


def box_range(
    origin: Tensor, direction: Tensor, near: Tensor, far: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Where rays [R, 3] are in the box, between near and far [R]: distances from, to [R]; to <= from where they miss
    it.
    """
    along = direction != 0
    slope = torch.where(along, direction, 1)
    a, b = (low - origin) / slope, (high - origin) / slope
    between = (origin >= low) & (origin < high)  # a ray along a side of the box stays in it, or never comes in
    enter = torch.where(along, torch.minimum(a, b), torch.where(between, -torch.inf, torch.inf))
    leave = torch.where(along, torch.maximum(a, b), torch.inf)
    return torch.maximum(near, enter.amax(1)), torch.minimum(far, leave.amin(1))


def occupied(xyz: Tensor, occupancy: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """bool[...] for points [..., 3]: whether the cell that a point lies in (or the next one in the box) is occupied."""
    size = torch.tensor(occupancy.shape, device=xyz.device)
    cell = ((xyz - low) * (size / (high - low))).floor().long()
    cell = torch.minimum(cell.clamp(min=0), size - 1)
    return occupancy[cell[..., 0], cell[..., 1], cell[..., 2]] != 0
