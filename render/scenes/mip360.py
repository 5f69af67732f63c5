"""A radiance field for scenes without an end: cones instead of rays, all of space in a ball, small networks that propose.

Source: Barron et al., Mip-NeRF 360: Unbounded Anti-Aliased Neural Radiance Fields, CVPR 2022; cones and integrated encoding:
Mip-NeRF, ICCV 2021. Smaller networks, and the three axes instead of 21 directions, on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from render.field import FieldScene
from render.heads import half_is_fast
from render.initial import SceneInit, SceneSetup
from render.march import (
    Spacing,
    composite,
    contract,
    contracted_variance,
    distortion,
    frequencies,
    frustums,
    icosahedron,
    interlevel,
    lower_octaves,
    resample,
    stratified,
    t_of_s,
    weights_of,
)
from render.mlp import mlp, new_mlp
from render.rays import RayRendering, Rays

START = -3.0
"""Added to raw densities before the softplus: a new field is thin, or fog before each camera learns its photo."""
SCALE = 10.0
"""Densities that a raw 1 stands for, about: per radius of the scene's ball within it, per distance from its centre beyond,
where things are seen from as much farther away."""
ANNEALING = 10.0
"""How much faster than the training the power of the proposals' weights rises at first."""
SPREAD = 0.05
"""Share of a proposal's weights that is laid evenly along the ray, so that no place is ever given up."""


@dataclass(frozen=True)
class Mip360Config:
    """0: about the paper's value on CUDA, a small one on the CPU (see SMALL and PAPER)."""

    by_rays: ClassVar[bool] = True
    layers: int = 0
    width: int = 0
    rays: int = 0
    """Of a step."""
    proposed: int = 0
    """Intervals of each of the two rounds of proposals."""
    final: int = 0
    """Intervals that get colours."""
    directions: int = 0
    """Along which places are encoded: 3, the axes, or 21."""
    lr: float = 0.0
    """Adam's at the start."""
    lr_final: float = 0.05
    """Share of the rate that is left at the end; between, the decay is exponential."""
    octaves: int = 9
    """Of places, from one period across the ball of all space on."""
    view_octaves: int = 4
    """Of directions."""
    contraction: bool = True
    """All of space as a ball. Off: places as they are, with so many more octaves that nothing that rays reach repeats."""
    disparity: bool = True
    """Where scenes have no edge: samples even in 1 / t. Off: even in t."""
    integrated: bool = True
    """Encode the cone's pieces; off: their middles alone."""
    cone: float = 1.0
    """Radius of the cones in units of the pixels' own."""
    distortion: float = 0.001
    """Weight of the loss that gathers each ray's weights in one place."""

    def build(self, init: SceneInit) -> Mip360Scene:
        """A new field: its points are not used."""
        chosen = SMALL if init.setup.device == "cpu" else PAPER
        config = replace(self, **{name: getattr(self, name) or value for name, value in chosen.items()})
        generator = torch.Generator().manual_seed(init.setup.seed)
        coded, view = 2 * config.all_octaves(init.setup) * config.directions, 3 + 6 * config.view_octaves
        hidden, skip = [config.width] * config.layers, config.skip
        tensors = new_mlp("proposal", [coded, config.width, config.width, 1], generator)
        tensors |= new_mlp("density", [coded, *hidden, config.width], generator, skip=skip)
        tensors |= new_mlp("color", [config.width + view, config.width // 2, 3], generator)
        return config.load(init.setup, tensors)

    def contracts(self, setup: SceneSetup) -> bool:
        """Whether space is contracted: what has an edge needs it not."""
        return self.contraction and not setup.bounded

    def all_octaves(self, setup: SceneSetup) -> int:
        """Octaves of places, those counted in that are added below where space is not contracted."""
        fits = self.contracts(setup) or setup.bounded
        return self.octaves + (0 if fits else lower_octaves(setup, 2 * math.pi))

    @property
    def skip(self) -> int | None:
        """The layer that gets the place once more, where there is one behind it."""
        return 5 if self.layers > 5 else None

    def load(self, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> Mip360Scene:
        """A field of stored tensors."""
        return Mip360Scene(self, setup, tensors)


PAPER = {"layers": 8, "width": 256, "rays": 4096, "proposed": 64, "final": 32, "directions": 21, "lr": 1e-3}
SMALL = {"layers": 4, "width": 64, "rays": 256, "proposed": 24, "final": 24, "directions": 3, "lr": 5e-3}


class Mip360Scene(FieldScene):
    """Networks "proposal" (place to density), "density" (place to density and features) and "color"."""

    config: Mip360Config
    ray_loss = "charbonnier"

    def __init__(self, config: Mip360Config, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(config, setup, tensors)
        self.rays_per_step = config.rays
        self._basis = (icosahedron() if config.directions == 21 else torch.eye(3)).to(setup.device)
        self._kind = torch.bfloat16 if half_is_fast(self.device) else torch.float32
        self._contracted = config.contracts(setup)
        self._spacing: Spacing = "disparity" if config.disparity and not setup.bounded else "linear"
        self._octaves = config.all_octaves(setup)
        self._power = annealed(0.0)

    def schedule(self, progress: float) -> dict[str, float | Tensor]:
        self._power = annealed(progress)
        rate = float(self.config.lr * self.config.lr_final**progress)
        return dict.fromkeys(self.tensors, rate)

    def render_rays(self, rays: Rays, background: Tensor) -> RayRendering:
        c = self.config
        edges = stratified(len(rays), c.proposed, self.jitter, rays.origin.device)
        edges = torch.cat([torch.zeros_like(edges[:, :1]), edges[:, 1:-1], torch.ones_like(edges[:, :1])], 1)
        proposals, power = [], self._power if torch.is_grad_enabled() else 1.0
        for count in (c.proposed, c.final):
            w = self._weights("proposal", rays, edges)[0]
            proposals.append((edges, w))
            edges = resample(edges, w.detach() ** power, count, self.jitter, spread=SPREAD)
        w, raw = self._weights("density", rays, edges)
        view = torch.cat([rays.direction, frequencies(rays.direction, c.view_octaves)], -1)
        view = view.to(self._kind)[:, None].expand(-1, c.final, -1)
        rgb = torch.sigmoid(mlp(self.tensors, "color", torch.cat([raw, view], -1), kind=self._kind).float())
        t = self._t(rays, edges)
        seen, alpha, mean = composite(w, rgb, (t[:, 1:] + t[:, :-1]) / 2, background)
        if not torch.is_grad_enabled():
            return RayRendering(seen, alpha, mean)
        penalty = torch.stack([interlevel(edges, w, *proposal).mean() for proposal in proposals]).sum()
        if c.distortion:
            penalty = penalty + c.distortion * distortion(edges, w).mean()
        return RayRendering(seen, alpha, mean, penalty)

    def _t(self, rays: Rays, edges: Tensor) -> Tensor:
        return t_of_s(edges, rays.near, rays.far, self._spacing)

    def _weights(self, network: str, rays: Rays, edges: Tensor) -> tuple[Tensor, Tensor]:
        """w [R, S] of intervals by a network, and all that it gives [R, S, ...]."""
        coded, unit = self._code(rays, edges)
        skip = self.config.skip if network == "density" else None
        raw = mlp(self.tensors, network, coded, skip=skip, kind=self._kind)
        sigma = SCALE * torch.nn.functional.softplus(raw[..., 0].float() + START) / unit
        t = self._t(rays, edges)
        return weights_of(sigma, (t[:, 1:] - t[:, :-1]) / self.setup.radius), raw

    @torch.no_grad()
    def _code(self, rays: Rays, edges: Tensor) -> tuple[Tensor, Tensor]:
        """The encoding [R, S, ...] of the pieces of the rays' cones between edges s [R, S + 1], and the unit of length in which
        densities are there [R, S], radii of the scene's ball."""
        c = self.config
        t, along, across = frustums(self._t(rays, edges) / self.setup.radius, c.cone * rays.radius)
        x = self.place(rays.origin)[:, None] + rays.direction[:, None] * t[..., None]
        placed = contract(x) if self._contracted else x
        variance = None
        if c.integrated:
            variance = contracted_variance(x, rays.direction, along, across, self._basis, contracted=self._contracted)
        first = c.octaves - self._octaves
        coded = frequencies(placed @ self._basis.T, self._octaves, variance, first=first, kind=self._kind)
        return coded, torch.linalg.norm(x, dim=-1).clamp_min(1)


def annealed(progress: float) -> float:
    """The power of the proposals' weights by which samples are drawn, 0 (evenly) to 1: at first proposals know nothing, and
    what they pass over is never learned (Mip-NeRF 360, appendix)."""
    return ANNEALING * progress / ((ANNEALING - 1) * progress + 1)
