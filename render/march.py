"""Along rays: where a field is asked, how its answers become colours, and what keeps them tidy. Plain torch, any device.

Notation: R rays, S intervals of each. s in 0..1 is a place on a ray counted from its beginning to its end, t the same as a
distance; edges [R, S + 1] rise along a ray, and interval i lies between edges i and i + 1. sigma is density per unit of
length, w_i = T_i (1 - exp(-sigma_i dt_i)) the weight of interval i, T_i what the intervals before it let through.
Sources: Mildenhall et al., NeRF, ECCV 2020; Barron et al., Mip-NeRF, ICCV 2021, and Mip-NeRF 360, CVPR 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from recon.cameras import Cameras
from recon.geometry import Array
from render.initial import SceneSetup
from render.rays import RayRendering, Rays, view_rays
from render.scene import Rendering

Spacing = Literal["linear", "disparity"]
"""How s becomes t: evenly in t, or evenly in 1 / t, as far things want."""
CHUNK = 8192
"""Rays that a view is drawn by at a time."""
TINY = 1e-7


# Where to ask


def t_of_s(s: Tensor, near: Tensor, far: Tensor, spacing: Spacing) -> Tensor:
    """Distances [R, ...] of places s [R, ...] on rays from near [R] to far [R]."""
    near, far = (v.reshape(-1, *[1] * (s.ndim - 1)) for v in (near, far))
    if spacing == "linear":
        return near + s * (far - near)
    return 1 / ((1 - s) / near + s / far)


def stratified(rays: int, count: int, generator: torch.Generator | None, device: torch.device | str) -> Tensor:
    """Edges s [R, count + 1]: even, and with a generator each moved at random, halfway to its neighbours at most."""
    edges = torch.linspace(0, 1, count + 1, device=device).expand(rays, -1)
    if generator is None:
        return edges
    middle = (edges[:, 1:] + edges[:, :-1]) / 2
    lower, upper = torch.cat([edges[:, :1], middle], 1), torch.cat([middle, edges[:, -1:]], 1)
    return lower + (upper - lower) * torch.rand(rays, count + 1, generator=generator).to(device)


def evenly(rays: int, count: int, generator: torch.Generator | None, device: torch.device | str) -> Tensor:
    """Rising u [R, count] in 0..1, one in each of `count` equal parts: in its middle, or anywhere in it with a generator."""
    start = torch.arange(count, device=device) / count
    if generator is None:
        return (start + 0.5 / count).expand(rays, -1)
    return start + torch.rand(rays, count, generator=generator).to(device) / count


@torch.no_grad()
def inverse_cdf(edges: Tensor, weights: Tensor, u: Tensor, floor: float = 1e-5) -> Tensor:
    """Places [R, M] where the share u [R, M] of the weights [R, S] of intervals lies before, the density even within each.

    `floor` is added to each weight, so that rays without any are sampled evenly.
    """
    weights = weights + floor
    cdf = torch.cumsum(weights / weights.sum(-1, keepdim=True), -1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf[:, :-1], torch.ones_like(cdf[:, :1])], -1)
    right = torch.searchsorted(cdf, u.contiguous(), right=True).clamp(1, weights.shape[-1])
    low, high = cdf.gather(1, right - 1), cdf.gather(1, right)
    start, end = edges.gather(1, right - 1), edges.gather(1, right)
    return torch.lerp(start, end, ((u - low) / (high - low).clamp_min(TINY)).clamp(0, 1))


@torch.no_grad()
def resample(
    edges: Tensor, weights: Tensor, count: int, generator: torch.Generator | None, *, spread: float = 0.0
) -> Tensor:
    """Edges s [R, count + 1] of new intervals, fine where the weights [R, S] of the old ones are large.

    `count` places are drawn by inverse CDF; edges lie halfway between them, and the first and last so that each place is
    in the middle of an interval, within 0..1. `spread`: a share of the weights that is laid evenly over 0..1.
    """
    if spread:
        even = edges[:, 1:] - edges[:, :-1]
        weights = (1 - spread) * weights / weights.sum(-1, keepdim=True).clamp_min(TINY) + spread * even
    place = inverse_cdf(edges, weights, evenly(len(edges), count, generator, edges.device))
    middle = (place[:, 1:] + place[:, :-1]) / 2
    first, last = 2 * place[:, :1] - middle[:, :1], 2 * place[:, -1:] - middle[:, -1:]
    return torch.cat([first.clamp_min(0), middle, last.clamp_max(1)], 1)


# From densities to colours


def weights_of(sigma: Tensor, dt: Tensor) -> Tensor:
    """w [R, S] of densities and lengths of intervals, [R, S] each."""
    passed = sigma * dt
    before = torch.cumsum(passed, -1) - passed
    return torch.exp(-before) * -torch.expm1(-passed)


def composite(w: Tensor, rgb: Tensor, t: Tensor, background: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(rgb [R, 3], alpha [R], t [R]) of weights [R, S], colours [R, S, 3] and distances [R, S], over a background [3] or
    [R, 3]; t carries no gradient, and is NaN where alpha = 0."""
    alpha = w.sum(-1)
    seen = (w[..., None] * rgb).sum(-2) + (1 - alpha)[:, None] * background
    with torch.no_grad():
        mean = torch.where(alpha > 0, (w * t).sum(-1) / alpha, torch.nan)
    return seen, alpha, mean


# What keeps weights tidy


def distortion(edges: Tensor, w: Tensor) -> Tensor:
    """[R]: sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 (s_{i+1} - s_i), m the middles: how spread a ray's weights are
    (Mip-NeRF 360, equation 15). Linear in S: the middles rise, so the double sum is one over cumulative sums.
    """
    middle, length = (edges[:, 1:] + edges[:, :-1]) / 2, edges[:, 1:] - edges[:, :-1]
    weighted = w * middle
    before = torch.cumsum(w, -1) - w
    pairs = w * middle * before - w * (torch.cumsum(weighted, -1) - weighted)
    return 2 * pairs.sum(-1) + (w**2 * length).sum(-1) / 3


def interlevel(edges: Tensor, w: Tensor, proposed_edges: Tensor, proposed_w: Tensor) -> Tensor:
    """[R]: what a proposal's weights fall short of bounding those of the final intervals, sum max(0, w - bound)^2 / w
    (Mip-NeRF 360, equation 13). The gradient goes into the proposal alone.
    """
    edges, w, proposed_edges = edges.detach().contiguous(), w.detach(), proposed_edges.detach().contiguous()
    total = torch.cat([torch.zeros_like(proposed_w[:, :1]), torch.cumsum(proposed_w, -1)], -1)
    count = proposed_w.shape[-1]
    first = (torch.searchsorted(proposed_edges, edges[:, :-1].contiguous(), right=True) - 1).clamp(0, count)
    last = torch.searchsorted(proposed_edges, edges[:, 1:].contiguous(), right=False).clamp(0, count)
    bound = total.gather(1, last) - total.gather(1, torch.minimum(first, last))
    return ((w - bound).clamp_min(0) ** 2 / (w + TINY)).sum(-1)


# Where rays become inputs of a network


def contract(x: Tensor) -> Tensor:
    """All of space [..., 3] into the ball of radius 2: what is within 1 stays, x beyond becomes (2 - 1 / |x|) x / |x|
    (Mip-NeRF 360, equation 10)."""
    r = torch.linalg.norm(x, dim=-1, keepdim=True).clamp_min(1)
    return (2 - 1 / r) * (x / r)


def uncontract(y: Tensor) -> Tensor:
    """The inverse of contract(), for |y| < 2."""
    r = torch.linalg.norm(y, dim=-1, keepdim=True).clamp_min(1)
    return y / (r * (2 - r).clamp_min(TINY))


def frustums(edges: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(mean of t, variance along the ray, variance across it), [R, S] each, of the pieces that edges t [R, S + 1] cut from
    cones of radius [R] at t = 1 (Mip-NeRF, equation 7)."""
    middle, half = (edges[:, 1:] + edges[:, :-1]) / 2, (edges[:, 1:] - edges[:, :-1]) / 2
    both = (3 * middle**2 + half**2).clamp_min(1e-20)
    mean = middle + 2 * middle * half**2 / both
    along = half**2 / 3 - (4 / 15) * half**4 * (12 * middle**2 - half**2) / both**2
    across = middle**2 / 4 + (5 / 12) * half**2 - (4 / 15) * half**4 / both
    return mean, along.clamp_min(0), radius[:, None] ** 2 * across


def contracted_variance(
    x: Tensor, direction: Tensor, along: Tensor, across: Tensor, basis: Tensor, *, contracted: bool = True
) -> Tensor:
    """Variances [R, S, B] along the unit vectors `basis` [B, 3] of Gaussians around x [R, S, 3] with variances `along`
    [R, S] the rays' directions [R, 3] and `across` them, after contract() in its linear approximation at x.

    With J = g I + h x x^T the derivative of contract(), the covariance is J (across I + (along - across) d d^T) J.
    """
    d = direction[:, None]
    if not contracted:
        return across[..., None] + (along - across)[..., None] * (d @ basis.T) ** 2
    r = torch.linalg.norm(x, dim=-1, keepdim=True).clamp_min(1)
    g = 2 / r - 1 / r**2
    h = torch.where(r > 1, (2 / r**3 - 2 / r**2) / r, 0)
    x_b, jd_b = x @ basis.T, g * (d @ basis.T) + h * (x * d).sum(-1, keepdim=True) * (x @ basis.T)
    jj = g**2 + (2 * g * h + (h * r) ** 2) * x_b**2
    return across[..., None] * jj + (along - across)[..., None] * jd_b**2


@torch.no_grad()
def frequencies(
    x: Tensor, count: int, variance: Tensor | None = None, *, first: int = 0, kind: torch.dtype = torch.float32
) -> Tensor:
    """sin and cos [..., 2 * count * D] of 2^l x, l = first .. first + count - 1, of x [..., D]; with a variance [..., D]
    their means over a Gaussian, exp(-4^l var / 2) times as large: integrated positional encoding (Mip-NeRF, equation 14).
    Of type `kind`; without gradients."""
    octave = (2.0 ** torch.arange(first, first + count, device=x.device)).repeat_interleave(x.shape[-1])
    angle = x.repeat(*[1] * (x.ndim - 1), count) * octave
    out = torch.cat([angle, angle + torch.pi / 2], -1).sin_()
    if variance is not None:
        fade = (variance.repeat(*[1] * (x.ndim - 1), count) * (-0.5 * octave**2)).exp_()
        out *= torch.cat([fade, fade], -1)
    return out.to(kind)


def lower_octaves(setup: SceneSetup, period: float) -> int:
    """Octaves below one that repeats after `period` radii of the scene's ball, until nothing that rays reach repeats."""
    return max(0, math.ceil(math.log2(2 * (setup.ray_far / setup.radius + 1) / period)))


def icosahedron() -> Tensor:
    """f32[21, 3]: unit vectors spread over half of the sphere: corners and middles of the edges of an icosahedron (15 of its
    30 edges, 6 of its 12 corners): directions for integrated encoding, finer than the three axes."""
    golden = (1 + math.sqrt(5)) / 2
    corners = [[0.0, a, b * golden] for a in (1.0, -1.0) for b in (1.0, -1.0)]
    corner = torch.tensor([c[k:] + c[:k] for c in corners for k in range(3)], dtype=torch.float64)
    distance = torch.cdist(corner, corner)
    a, b = torch.nonzero(torch.triu(distance < 2.1, 1), as_tuple=True)
    every = torch.nn.functional.normalize(torch.cat([corner, (corner[a] + corner[b]) / 2]), dim=1)
    key = every @ torch.tensor([1.0, 1e-2, 1e-4], dtype=torch.float64)
    return every[key > 0].float()


# Views


@torch.no_grad()
def march_views(
    render_rays: Callable[[Rays, Tensor], RayRendering],
    cameras: Cameras,
    background: Tensor | None,
    setup: SceneSetup,
    *,
    cam_from_world: Tensor | None = None,
    with_z: bool = False,
    chunk: int = CHUNK,
) -> Rendering:
    """Whole views of one size, `chunk` rays at a time, without gradients. What with_z adds is in Scene.render()."""
    device = torch.device(setup.device)
    behind = torch.zeros(3, device=device) if background is None else background.to(device)
    poses: Array | None = None if cam_from_world is None else cam_from_world.detach().cpu().double().numpy()
    width, height = (int(side) for side in cameras.size[0])
    views = []
    for index in range(len(cameras)):
        parts = []
        for start in range(0, width * height, chunk):
            rays = view_rays(cameras, index, setup, start, min(start + chunk, width * height), poses).to(device)
            seen = render_rays(rays, behind)
            parts.append((seen.rgb, seen.alpha, seen.t * rays.cos))
        views.append([torch.cat(column) for column in zip(*parts, strict=True)])
    rgb, alpha, z = (torch.stack(column) for column in zip(*views, strict=True))
    rgb, alpha, z = rgb.reshape(-1, height, width, 3), *(v.reshape(-1, height, width) for v in (alpha, z))
    extra = {"weighted_z": torch.where(alpha > 0, z * alpha, 0)} if with_z else {}
    return Rendering(rgb, alpha, z, extra)
