"""Radiance fields over a grid of features: asked in occupied cells alone, samples of all rays packed one after another.

A grid (of hashes, of planes) gives features of places in the unit cube; two small networks (heads.py) make density and
colour of them. The cube is that around the scene's ball, or, for scenes without an edge, that around the ball of radius 2
into which contraction takes all of space. Densities are per diameter of the scene's ball.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from render import heads
from render.field import FieldScene
from render.initial import SceneSetup
from render.kernels.field_reference import ray_of
from render.kernels.march_contracted import march_contracted, steps
from render.kernels.volume import composite_packed, march_occupied
from render.march import contract
from render.occupancy import EVERY, Occupancy
from render.rays import RayRendering, Rays

Contraction = Literal["auto", "on", "off"]
CONE = 1 / 32
"""Of unbounded scenes: length of a step in units of the distance, beyond where that is longer than the first steps."""
HIDDEN = 1e-3
"""Share of the light that reaches a sample, below which it is left out."""
START = 1.0
"""Density of a new field per diameter of the scene's ball."""
LOOK_COST = 0.25
"""Of a sample that is looked at and left out, in units of one that is trained on."""
FEWEST, MOST = 64, 16384
"""Rays of a step."""
MEMORY = 0.8
"""Of the cost of a ray: weight of the steps before the last."""


def contracted(setup: SceneSetup, contraction: Contraction) -> bool:
    """Whether space is contracted: as asked for, else where the scene has no edge (photos without mattes)."""
    return not setup.bounded if contraction == "auto" else contraction == "on"


class GridField(FieldScene):
    """Subclasses give features() and, where they like, penalty(). The config's fields that are read here:
    contraction, occupancy, warm_up, steps_across, samples, half, ray_loss, lr, lr_final, lr_grid."""

    torch_threads = 1
    behind_all = True

    def __init__(self, config: Any, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(config, setup, tensors)
        self.ray_loss = config.ray_loss
        self._contracted = contracted(setup, config.contraction)
        step = 2 * setup.radius / config.steps_across
        self._unit = 2 * setup.radius / START
        self._step = step
        self._edges = torch.from_numpy(steps(setup.ray_near, setup.ray_far, step, CONE)).to(self.device)
        self.tensors["occupancy"].requires_grad_(False)
        self.occupancy = Occupancy(self.tensors["occupancy"], step / self._unit, config.warm_up)
        if config.occupancy and bool((self.tensors["occupancy"] > 0).any()):
            self.occupancy.refresh()
        self._kind = torch.bfloat16 if config.half and heads.half_is_fast(self.device) else torch.float32
        self._ray_cost = float(config.steps_across)
        self.queries = 0
        """Places asked for their density in training."""
        self._pace()

    def features(self, x: Tensor, time: Tensor | None, known: Tensor | None = None) -> Tensor:
        """Features [N, F] at places [N, 3] of the unit cube and times f32[N] in seconds; `known`: what it gave there before,
        where that need not be computed again for the sake of gradients."""
        raise NotImplementedError

    def penalty(self) -> Tensor | None:
        """A loss beside the photometric one, of the grid alone."""
        return None

    def some_times(self, count: int) -> Tensor | None:
        """Random times f32[count] in seconds at which occupancy looks; None: the field stands still."""
        return None

    def query(self, xyz: Tensor, direction: Tensor, time: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(colours f32[N, 3], densities f32[N] per world unit) at world places and unit directions [N, 3], times [N]."""
        sigma, geometry = heads.density(self.tensors, self.features(self._cube(xyz), time), self._kind)
        return heads.color(self.tensors, geometry, heads.harmonics(direction)), sigma / self._unit

    def render_rays(self, rays: Rays, background: Tensor) -> RayRendering:
        training = torch.is_grad_enabled()
        t, dt, start = self._march(rays)
        looked = len(t)
        ray = ray_of(start)
        x = self._cube(torch.addcmul(rays.origin.index_select(0, ray), t[:, None], rays.direction.index_select(0, ray)))
        time = None if rays.time is None else rays.time[ray]
        with torch.no_grad():
            features = self.features(x, time)
            known = heads.inner(self.tensors, features, self._kind)
            kept = torch.nonzero(_reached(heads.opacity(known[1]) * dt / self._unit, start, ray)).ravel()
        if len(kept) < looked:
            t, dt, ray, x, features = (a.index_select(0, kept) for a in (t, dt, ray, x, features))
            known = (known[0].index_select(0, kept), known[1].index_select(0, kept))
            time = None if time is None else time.index_select(0, kept)
        if training:
            features = self.features(x, time, features)
        counts = torch.bincount(ray, minlength=len(rays))
        start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        sigma, rgb = heads.shade(self.tensors, features, heads.harmonics(rays.direction), ray, known)
        seen, alpha, weighted = composite_packed(sigma, rgb, t, dt / self._unit, start)
        with torch.no_grad():
            mean = torch.where(alpha > 0, weighted / alpha, torch.nan)
        if training:
            self.queries += looked
            cost = (LOOK_COST * looked + (1 - LOOK_COST) * len(t)) / max(len(rays), 1)
            self._ray_cost = MEMORY * self._ray_cost + (1 - MEMORY) * cost
        behind = (1 - alpha)[:, None] * background
        return RayRendering(seen + behind, alpha, mean, penalty=self.penalty() if training else None)

    def _march(self, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
        """(t, dt, start) of samples in occupied cells; world units."""
        where = self.jitter
        half = torch.full((len(rays),), 0.5)
        jitter = (half if where is None else torch.rand(len(rays), generator=where)).to(self.device)
        origin, mask = self.place(rays.origin), self.occupancy.mask
        if self._contracted:
            direction = rays.direction / self.setup.radius
            return march_contracted(origin, direction, rays.near, rays.far, mask, self._edges, jitter)
        low, high = self._center - self.setup.radius, self._center + self.setup.radius
        return march_occupied(rays.origin, rays.direction, rays.near, rays.far, mask, low, high, self._step, jitter)

    def _cube(self, xyz: Tensor) -> Tensor:
        """World places in the unit cube."""
        x = self.place(xyz)
        return 0.25 * contract(x) + 0.5 if self._contracted else 0.5 * x + 0.5

    def schedule(self, progress: float) -> dict[str, float | Tensor]:
        c = self.config
        fade = c.lr_final**progress
        return {name: (c.lr if name in _WEIGHTS else c.lr_grid) * fade for name in self.tensors}

    @torch.no_grad()
    def after_step(self, step: int, progress: float) -> bool:
        """Occupancy, every few steps, and how many rays the next step can afford."""
        if self.config.occupancy and step % EVERY == 0:
            self.occupancy.update(step, self._look, self._generator)
        self._pace()
        return False

    def _look(self, x: Tensor) -> Tensor:
        """Densities at places of the unit cube, at random times."""
        features = self.features(x, self.some_times(len(x)))
        return heads.opacity(heads.inner(self.tensors, features, self._kind)[1])

    def _pace(self) -> None:
        """Rays of the next step: as many as keep its samples at `samples`."""
        self.rays_per_step = max(FEWEST, min(MOST, int(self.config.samples / max(self._ray_cost, 1e-3))))

    def finish(self) -> None:
        """The mask is that of the densities from here on, as when the scene is read again."""
        if self.config.occupancy:
            self.occupancy.finish()
        self.info |= {
            "contraction": self._contracted,
            "queries": self.queries,
            "occupied": round(self.occupancy.share(), 5),
        }

    def state(self) -> dict[str, Tensor]:
        own = torch.tensor([self._ray_cost, float(self.queries)], dtype=torch.float64)
        return super().state() | {"mask": self.occupancy.mask, "cost": own}

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        super().restore(state)
        self.occupancy.mask = state["mask"].to(self.device)
        self._ray_cost, self.queries = float(state["cost"][0]), int(state["cost"][1])
        self._pace()


_WEIGHTS = frozenset(heads.new_heads(1, 1, torch.Generator()))


def _reached(passed: Tensor, start: Tensor, ray: Tensor) -> Tensor:
    """bool[S]: samples that more than HIDDEN of the light reaches, of samples that keep `passed` in optical depth."""
    passed = passed.double().clamp(max=100)
    before = passed.cumsum(0) - passed
    first = torch.cat([before, before.new_zeros(1)])[start[:-1]]
    return torch.exp(first[ray] - before) > HIDDEN
