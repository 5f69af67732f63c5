"""A neural radiance field: two networks of sines and cosines, the second asked where the first one found something.

Source: Mildenhall et al., NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis, ECCV 2020. What differs:
raw densities go through a softplus (no ray starts dead), scenes without a ball around them are sampled evenly in 1 / t,
and on the CPU the networks, batches and sample counts are small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from render.field import FieldScene
from render.heads import half_is_fast
from render.initial import SceneInit, SceneSetup
from render.march import composite, evenly, frequencies, inverse_cdf, lower_octaves, stratified, t_of_s, weights_of
from render.mlp import mlp, new_mlp
from render.rays import RayRendering, Rays

START = -3.0
"""Added to raw densities before the softplus: a new field is thin."""
SCALE = 10.0
"""Densities per radius of the scene's ball that a raw 1 stands for, about: what is solid within a hundredth of it must be in
reach of networks whose outputs are near 1."""


@dataclass(frozen=True)
class NerfConfig:
    """0: the paper's value on CUDA, a small one on the CPU (see SMALL and PAPER)."""

    by_rays: ClassVar[bool] = True
    layers: int = 0
    width: int = 0
    rays: int = 0
    """Of a step."""
    coarse: int = 0
    """Samples of the first network."""
    fine: int = 0
    """Samples drawn from its weights; the second network is asked at both."""
    lr: float = 0.0
    """Adam's at the start."""
    lr_final: float = 0.1
    """Share of the rate that is left at the end; between, the decay is exponential."""
    xyz_frequencies: int = 10
    """Octaves of positions, from one period across the scene's ball on, and below as many more as keep what rays reach from
    repeating; 0: positions as they are."""
    view_frequencies: int = 4
    """Octaves of directions."""

    def build(self, init: SceneInit) -> NerfScene:
        """A new field: its points are not used."""
        chosen = SMALL if init.setup.device == "cpu" else PAPER
        config = replace(self, **{name: getattr(self, name) or value for name, value in chosen.items()})
        generator = torch.Generator().manual_seed(init.setup.seed)
        tensors: dict[str, Tensor] = {}
        xyz, view = 3 + 6 * sum(config.octaves(init.setup)), 3 + 6 * config.view_frequencies
        for level in ("coarse", "fine"):
            sizes = [xyz, *[config.width] * (config.layers + 1)]
            tensors |= new_mlp(f"{level}.density", sizes, generator, skip=config.skip)
            tensors |= new_mlp(f"{level}.color", [config.width + view, config.width // 2, 3], generator)
        return config.load(init.setup, tensors)

    def octaves(self, setup: SceneSetup) -> tuple[int, int]:
        """How many octaves of positions lie below the period of the scene's ball, and how many from it on."""
        return (lower_octaves(setup, 2.0) if self.xyz_frequencies and not setup.bounded else 0), self.xyz_frequencies

    @property
    def skip(self) -> int | None:
        """The layer that gets the position once more: the fifth hidden one, where there is one behind it."""
        return 5 if self.layers > 5 else None

    def load(self, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> NerfScene:
        """A field of stored tensors."""
        return NerfScene(self, setup, tensors)


PAPER = {"layers": 8, "width": 256, "rays": 4096, "coarse": 64, "fine": 128, "lr": 5e-4}
SMALL = {"layers": 4, "width": 64, "rays": 256, "coarse": 32, "fine": 32, "lr": 7e-3}


class NerfScene(FieldScene):
    """Networks "coarse" and "fine", each of a part "density" (position to density and features) and a part "color"."""

    config: NerfConfig

    def __init__(self, config: NerfConfig, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(config, setup, tensors)
        self.rays_per_step = config.rays
        self._kind = torch.bfloat16 if half_is_fast(self.device) else torch.float32
        self._below, self._above = config.octaves(setup)

    def schedule(self, progress: float) -> dict[str, float | Tensor]:
        rate = float(self.config.lr * self.config.lr_final**progress)
        return dict.fromkeys(self.tensors, rate)

    def render_rays(self, rays: Rays, background: Tensor) -> RayRendering:
        c, device = self.config, rays.origin.device
        spacing = "linear" if self.setup.bounded else "disparity"
        edges = stratified(len(rays), c.coarse, self.jitter, device)
        place = (edges[:, 1:] + edges[:, :-1]) / 2
        ends = t_of_s(edges[:, [0, -1]], rays.near, rays.far, spacing)
        coarse, w, _ = self._show("coarse", rays, t_of_s(place, rays.near, rays.far, spacing), ends, background)
        drawn = inverse_cdf(edges, w.detach(), evenly(len(rays), c.fine, self.jitter, device))
        both = torch.sort(torch.cat([place, drawn], 1), 1).values
        seen, _, t = self._show("fine", rays, t_of_s(both, rays.near, rays.far, spacing), ends, background)
        return RayRendering(*seen, t, others=(coarse[0],))

    def _show(
        self, level: str, rays: Rays, t: Tensor, ends: Tensor, background: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
        """((rgb, alpha), weights, expected t) by one network, asked at t [R, S], of rays between `ends` [R, 2]. A sample
        stands for what is nearer to it than to its neighbours."""
        middle = (t[:, 1:] + t[:, :-1]) / 2
        edges = torch.cat([ends[:, :1], middle, ends[:, 1:]], 1)
        xyz = rays.origin[:, None] + rays.direction[:, None] * t[..., None]
        sigma, rgb = self._ask(level, self.place(xyz), rays.direction)
        length = (edges[:, 1:] - edges[:, :-1]) / self.setup.radius
        w = weights_of(sigma, length)
        shown, alpha, mean = composite(w, rgb, t, background)
        return (shown, alpha), w, mean

    def _ask(self, level: str, xyz: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Densities [R, S], per radius of the scene's ball, and colours [R, S, 3] at places [R, S, 3] in such
        radii from its centre."""
        c = self.config
        kind = self._kind
        coded = frequencies(torch.pi * xyz, self._below + self._above, first=-self._below, kind=kind)
        coded = torch.cat([(xyz * 2.0**-self._below).to(kind), coded], -1)
        raw = mlp(self.tensors, f"{level}.density", coded, skip=c.skip, kind=kind)
        view = torch.cat([direction, frequencies(direction, c.view_frequencies)], -1)
        view = view.to(kind)[:, None].expand(-1, xyz.shape[1], -1)
        rgb = mlp(self.tensors, f"{level}.color", torch.cat([raw, view], -1), kind=kind)
        return SCALE * torch.nn.functional.softplus(raw[..., 0].float() + START), torch.sigmoid(rgb.float())
