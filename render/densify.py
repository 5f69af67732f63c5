"""Densification as Markov chain Monte Carlo: where splats die, where they are born, and how they wander.

Source: Kheradmand et al., 3D Gaussian Splatting as Markov Chain Monte Carlo, NeurIPS 2024 (arXiv 2404.09591): dead
splats are moved onto live ones so that the rendered image stays what it was (their equation 9), the scene grows by a
fixed share to a cap, and noise shaped by each splat's covariance explores (their equation 8).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recon.geometry import Array

MAX_COPIES = 32
"""Most splats that share one place after a relocation; beyond, the formula is evaluated as if there were this many."""


@dataclass(frozen=True)
class Edit:
    """Rows that become copies of others. Rows at `count` and beyond are new."""

    source: Tensor
    """i64[M], rows copied from."""
    target: Tensor
    """i64[M], rows written to; none of them is a source."""
    count: int
    """Rows after the edit."""
    restart: Tensor
    """i64[R], rows whose optimiser moments start from zero: targets and sources."""


def plan_edit(
    weight: Tensor, dead: Tensor, count: int, grow: int, generator: torch.Generator
) -> tuple[Edit, Tensor, Tensor]:
    """Draw a live splat for each dead one and for each of `grow` new rows, with probability proportional to weight [N].

    Returns the edit, the distinct rows that were drawn i64[D], and how many splats now stand where each of them stood
    i64[D] (itself counted in).
    """
    alive = torch.nonzero(~dead).ravel()
    lost = torch.nonzero(dead).ravel()
    if len(alive) == 0:
        lost = lost[:0]
        grow = 0
    target = torch.cat([lost, torch.arange(count, count + grow, device=lost.device)])
    if len(target) == 0:
        none = target
        return Edit(none, none, count, none), none, none
    source = alive[_draw(weight[alive], len(target), generator)]
    rows, copies = torch.unique(source, return_counts=True)
    return Edit(source, target, count + grow, torch.cat([rows, target])), rows, copies + 1


def _draw(weight: Tensor, amount: int, generator: torch.Generator) -> Tensor:
    """i64[amount] rows drawn with replacement, by inverting the cumulative distribution (torch.multinomial is limited
    to 2^24 rows)."""
    cumulative = torch.cumsum(weight.double().clamp_min(1e-12), 0)
    uniform = torch.rand(amount, generator=generator, dtype=torch.float64).to(weight.device)
    return torch.searchsorted(cumulative, uniform * cumulative[-1]).clamp_max(len(weight) - 1)


def relocated(opacity: Tensor, copies: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity [M] and the factor on the standard deviations [M] of each of n = copies [M] splats that replace one of
    opacity [M].

    o' = 1 - (1 - o)^(1/n); the factor is o / sum_{i=1..n} sum_{k=0..i-1} C(i-1, k) (-1)^k o'^(k+1) / sqrt(k+1).
    """
    n = copies.clamp(1, MAX_COPIES)
    o = opacity.double().clamp(1e-6, 1 - 1e-6)
    fewer = 1 - (1 - o) ** (1 / n)
    table = torch.as_tensor(_COEFFICIENTS, device=o.device)[n]
    powers = fewer[:, None] ** torch.arange(1, MAX_COPIES + 1, device=o.device)
    factor = o / (table * powers).sum(1)
    return fewer.float(), factor.float()


def _coefficients() -> Array:
    """f64[MAX_COPIES + 1, MAX_COPIES]: row n, column k: the factor of o'^(k+1), summed over i: (-1)^k C(n, k+1) / sqrt(k+1)."""
    table = np.zeros((MAX_COPIES + 1, MAX_COPIES))
    for n in range(1, MAX_COPIES + 1):
        row = 1.0
        for k in range(n):
            row = row * (n - k) / (k + 1)  # C(n, k+1), by the hockey-stick identity over i
            table[n, k] = (-1) ** k * row / np.sqrt(k + 1)
    return table


_COEFFICIENTS = _coefficients()


def noise(log_scale: Tensor, quat: Tensor, opacity: Tensor, generator: torch.Generator) -> Tensor:
    """Offsets [M, 3] for means: covariance @ normal noise, switched off where a splat is opaque by sigmoid(100 (0.005 - o)).

    Units: those of the covariance, squared world units; the caller's step size makes a length of them.
    """
    draw = torch.randn(len(opacity), 3, generator=generator).to(opacity.device)
    gate = torch.sigmoid(100 * (0.005 - opacity))
    q = torch.nn.functional.normalize(quat, dim=-1)
    variance = torch.exp(2 * log_scale)
    return rotate(q, variance * rotate(q * q.new_tensor([1.0, -1.0, -1.0, -1.0]), draw * gate[:, None]))


def rotate(quat: Tensor, xyz: Tensor) -> Tensor:
    """Vectors [M, 3] turned by unit quaternions wxyz [M, 4]."""
    w, v = quat[:, :1], quat[:, 1:]
    twice = 2 * torch.linalg.cross(v, xyz)
    return xyz + w * twice + torch.linalg.cross(v, twice)
