"""Where to ask a field of unbounded space: along each ray at steps that grow with distance, in occupied cells alone.

Cells divide the cube around the ball of radius 2 into which contraction takes all of space (Mip-NeRF 360, CVPR 2022,
equation 10). Steps lie between edges that are the same for all rays, steps() gives them: as long as a given step near by,
then in proportion to the distance.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.kernels.jit import DOOR, helper, kernel, spread

_GRAIN = 64


def steps(near: float, far: float, step: float, cone: float) -> NDArray[np.float32]:
    """Rising edges t f32[K + 1] from near to far or a little beyond: intervals of length max(step, cone * t)."""
    edges = [near]
    while edges[-1] < far:
        edges.append(edges[-1] + max(step, cone * edges[-1]))
    return np.array(edges, np.float32)


def march_contracted(
    origin: Tensor, direction: Tensor, near: Tensor, far: Tensor, occupancy: Tensor, edges: Tensor, jitter: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(t f32[S], dt f32[S], start i64[R + 1]): samples of R rays, those of ray r at start[r] .. start[r + 1], rising.

    origin, direction f32[R, 3] in units of the ball of radius 1, around its centre; near, far f32[R] and edges f32[K + 1] are t
    along the direction as it is. occupancy u8[G, G, G]. jitter f32[R] in 0..1: where in its interval a sample lies.
    """
    if origin.device.type != "cpu":
        return reference(origin, direction, near, far, occupancy, edges, jitter)
    rays = len(origin)
    given = [a.detach().contiguous().numpy() for a in (origin, direction, near, far, occupancy, edges, jitter)]
    start = np.zeros(rays + 1, np.int64)
    with DOOR:
        spread(_count, rays, *given, start, grain=_GRAIN)
        np.cumsum(start, out=start)
        t, dt = np.empty(start[-1], np.float32), np.empty(start[-1], np.float32)
        spread(_fill, rays, *given, start, t, dt, grain=_GRAIN)
    return torch.from_numpy(t), torch.from_numpy(dt), torch.from_numpy(start)


def reference(
    origin: Tensor, direction: Tensor, near: Tensor, far: Tensor, occupancy: Tensor, edges: Tensor, jitter: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The meaning of march_contracted(), in plain torch on any device: every step of every ray is tested."""
    begin = torch.maximum(edges[:-1], near[:, None])
    width = torch.minimum(edges[1:], far[:, None]) - begin
    t = begin + jitter[:, None] * width
    x = origin[:, None] + t[..., None] * direction[:, None]
    r = torch.linalg.norm(x, dim=-1, keepdim=True).clamp_min(1)
    side = len(occupancy)
    cell = ((x * ((2 - 1 / r) / r) * 0.25 + 0.5) * side).long().clamp(0, side - 1)
    kept = (width > 0) & (occupancy[cell[..., 0], cell[..., 1], cell[..., 2]] != 0)
    start = torch.cat([kept.new_zeros(1, dtype=torch.long), kept.sum(1).cumsum(0)])
    return t[kept], width[kept], start


@helper
def _full(origin, direction, r, t, occupancy):
    """Whether the cell at distance t of ray r is occupied."""
    x = origin[r, 0] + t * direction[r, 0]
    y = origin[r, 1] + t * direction[r, 1]
    z = origin[r, 2] + t * direction[r, 2]
    norm = np.sqrt(x * x + y * y + z * z)
    factor = np.float32(0.25)
    if norm > np.float32(1):
        factor = np.float32(0.25) * (np.float32(2) - np.float32(1) / norm) / norm
    side = occupancy.shape[0]
    last = side - 1
    i = min(max(int((x * factor + np.float32(0.5)) * side), 0), last)
    j = min(max(int((y * factor + np.float32(0.5)) * side), 0), last)
    k = min(max(int((z * factor + np.float32(0.5)) * side), 0), last)
    return occupancy[i, j, k] != 0


@kernel
def _count(begin, end, origin, direction, near, far, occupancy, edges, jitter, start):
    """start[r + 1] = the number of samples of ray r."""
    for r in range(begin, end):
        count = 0
        for k in range(len(edges) - 1):
            low = max(edges[k], near[r])
            width = min(edges[k + 1], far[r]) - low
            if width > 0 and _full(origin, direction, r, low + jitter[r] * width, occupancy):
                count += 1
        start[r + 1] = count


@kernel
def _fill(begin, end, origin, direction, near, far, occupancy, edges, jitter, start, t, dt):
    """The samples of rays begin .. end, at their places."""
    for r in range(begin, end):
        at = start[r]
        for k in range(len(edges) - 1):
            low = max(edges[k], near[r])
            width = min(edges[k + 1], far[r]) - low
            middle = low + jitter[r] * width
            if width > 0 and _full(origin, direction, r, middle, occupancy):
                t[at] = middle
                dt[at] = width
                at += 1
