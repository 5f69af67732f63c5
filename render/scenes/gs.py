"""Static Gaussian splats: columns of parameters, their schedules, and densification by Markov chain Monte Carlo (see
densify.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.cameras import Cameras
from render.densify import Edit, noise, plan_edit, relocated
from render.initial import SceneInit, SceneSetup
from render.kernels.reference import ALPHA_MIN
from render.rasterize import RowGrads, rasterize
from render.scene import Parameters, Rendering
from render.splats import SH_C0, Splats

SH_STARTS = (0.0, 0.1, 0.2, 0.3)
"""Progress at which each band of the spherical harmonics is switched on."""
DEAD = 0.005
"""Opacity below which a splat counts as dead (3DGS-MCMC)."""

WANDER_LOGIT = math.log(0.1 / 0.9)
"""Noise is left out above this opacity, where equation 8 switches it off anyway (by 7e-5)."""


@dataclass(frozen=True)
class GsConfig:
    """Rates are Adam's at the start; those of positions are in units of the scene's extent."""

    lr_mean: float = 6e-4
    lr_log_scale: float = 2e-2
    lr_quat: float = 4e-3
    lr_opacity: float = 5e-2
    lr_sh: float = 1e-2
    """Of band 0; higher bands get a twentieth."""
    lr_final: float = 0.25
    """Share of every rate that is left at the end; between, the decay is exponential."""
    init_opacity: float = 0.5
    init_scale: float = 0.5
    """Standard deviation of a splat at the start, in units of the distance to its neighbours."""
    grow_rate: float = 0.07
    """Share by which the scene grows at each edit."""
    edit_every: int = 50
    """Steps between edits (relocation and growth)."""
    edit_until: float = 0.85
    """Progress at which edits stop."""
    noise: float = 5e5
    """Strength of the exploring noise, in units of the rate of positions; 0: none."""
    opacity_penalty: float = 0.01
    scale_penalty: float = 0.01
    """Weights of the mean opacity and of the mean standard deviation (in units of the extent) in the loss."""

    def build(self, init: SceneInit) -> GsScene:
        """A scene of one splat a point, with room for `init.splats`."""
        setup, points = init.setup, len(init.xyz)
        if points > setup.splats:
            chosen = np.sort(np.random.default_rng(setup.seed).choice(points, setup.splats, replace=False))
        else:
            chosen = np.arange(points)
        n, bands = len(chosen), (setup.sh_degree + 1) ** 2
        columns = {
            "mean": torch.as_tensor(init.xyz[chosen], dtype=torch.float32),
            "log_scale": torch.as_tensor(np.log(self.init_scale * init.spacing[chosen]))[:, None].repeat(1, 3),
            "quat": torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
            "opacity_logit": torch.full((n,), math.log(self.init_opacity / (1 - self.init_opacity))),
            "sh": torch.zeros(n, bands, 3),
        }
        columns["sh"][:, 0] = (torch.as_tensor(init.rgb[chosen]) - 0.5) / SH_C0
        return GsScene(self, setup, {name: column.float() for name, column in columns.items()})

    def load(self, setup: SceneSetup, columns: dict[str, Tensor]) -> GsScene:
        """A scene of stored columns."""
        return GsScene(self, setup, columns)


class GsScene:
    """Splats in buffers with room to grow; the live rows are views of the buffers."""

    def __init__(self, config: GsConfig, setup: SceneSetup, columns: dict[str, Tensor]) -> None:
        self.config, self.setup = config, setup
        self.info: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        capacity = max(setup.splats, len(columns["mean"]))
        self._buffers = {
            name: torch.zeros(capacity, *column.shape[1:], device=setup.device) for name, column in columns.items()
        }
        for name, column in columns.items():
            self._buffers[name][: len(column)] = column.to(setup.device)
        self._parameters = Parameters({}, {}, self._edit, capacity, RowGrads(), self._penalize)
        self._show(len(columns["mean"]))
        self._sh_degree = setup.sh_degree
        self._generator = torch.Generator().manual_seed(setup.seed)
        self._rates = {}

    @property
    def device(self) -> torch.device:
        return self._parameters.per_splat["mean"].device

    def to(self, device: str) -> GsScene:
        """The scene on a device, for rendering; itself when it is there already."""
        if self.device.type == device:
            return self
        scene = GsScene(self.config, replace(self.setup, device=device), self._parameters.per_splat)
        scene.info, scene.history = self.info, self.history
        return scene

    def __len__(self) -> int:
        return len(self._parameters.per_splat["mean"])

    def at(self, time: float | None = None) -> Splats:
        """The splats; they stand still."""
        c = self._parameters.per_splat
        return Splats(c["mean"], c["log_scale"], c["quat"], c["opacity_logit"], c["sh"], world=self.setup.world)

    def render(
        self, cameras: Cameras, background: Tensor | None = None, cam_from_world: Tensor | None = None
    ) -> Rendering:
        return rasterize(
            self.at(),
            cameras,
            background=background,
            cam_from_world=cam_from_world,
            sh_degree=self._sh_degree,
            antialiased=self.setup.antialiased,
            depth=False,
            near=self.setup.near,
            row_grads=self._parameters.row_grads if torch.is_grad_enabled() else None,
        )

    def parameters(self) -> Parameters:
        return self._parameters

    def schedule(self, progress: float) -> dict[str, float]:
        c = self.config
        if self.setup.grow_sh:
            self._sh_degree = min(self.setup.sh_degree, sum(progress >= start for start in SH_STARTS) - 1)
        rates = {
            "mean": c.lr_mean * self.setup.extent,
            "log_scale": c.lr_log_scale,
            "quat": c.lr_quat,
            "opacity_logit": c.lr_opacity,
            "sh": c.lr_sh,
        }
        self._rates = {name: rate * c.lr_final**progress for name, rate in rates.items()}
        return self._rates

    def regularize(self, rendering: Rendering) -> Tensor | None:
        """None: the regularisers of opacity and scale are row-wise, see _penalize()."""
        return None

    @torch.no_grad()
    def after_step(self, step: int, progress: float) -> bool:
        """Noise at every step; every few steps dead splats move and new ones come."""
        if not self.setup.densify:
            return False
        c = self.config
        if c.noise > 0:
            self._wander()
        if progress >= c.edit_until or step % c.edit_every != 0:
            return False
        n = len(self)
        grow = min(self._parameters.capacity - n, int(n * c.grow_rate))
        columns = self._parameters.per_splat
        opacity = torch.sigmoid(columns["opacity_logit"])
        edit, rows, copies = plan_edit(opacity, opacity < DEAD, n, grow, self._generator)
        if len(edit.target) == 0:
            return False
        fewer, factor = relocated(opacity[rows], copies)
        columns["opacity_logit"][rows] = torch.logit(fewer.clamp(DEAD, 1 - 1e-4))
        columns["log_scale"][rows] += torch.log(factor)[:, None]
        self._parameters.edit(edit)
        return True

    @torch.no_grad()
    def finish(self) -> None:
        """All bands are on, and splats too faint to be drawn anywhere are dropped."""
        self._sh_degree = self.setup.sh_degree
        kept = torch.sigmoid(self._parameters.per_splat["opacity_logit"]) >= ALPHA_MIN
        for name, column in self._parameters.per_splat.items():
            self._buffers[name] = column.detach()[kept].clone()
        self._show(int(kept.sum()))

    def state(self) -> dict[str, Tensor]:
        return self._parameters.per_splat | {"generator": self._generator.get_state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        count = len(state["mean"])
        for name, buffer in self._buffers.items():
            buffer[:count] = state[name].to(buffer.device)
        self._show(count)
        self._generator.set_state(state["generator"])

    def _show(self, count: int) -> None:
        """Make the first `count` rows the live ones."""
        self._parameters.per_splat = {name: buffer[:count].requires_grad_() for name, buffer in self._buffers.items()}

    def _edit(self, edit: Edit) -> None:
        for buffer in self._buffers.values():
            buffer[edit.target] = buffer[edit.source]
        self._show(edit.count)

    def _penalize(self, row_grads: RowGrads) -> None:
        """Add the gradients of opacity_penalty * mean(o) + scale_penalty * mean(sigma) / extent (3DGS-MCMC, equation 10)."""
        if row_grads.rows is None or not self.setup.densify:
            return
        c, n, columns, rows = self.config, len(self), self._parameters.per_splat, row_grads.rows
        opacity = torch.sigmoid(columns["opacity_logit"].detach()[rows])
        row_grads.grads["opacity_logit"] += (c.opacity_penalty / n) * opacity * (1 - opacity)
        scale = torch.exp(columns["log_scale"].detach()[rows])
        row_grads.grads["log_scale"] += (c.scale_penalty / (3 * n * self.setup.extent)) * scale

    def _wander(self) -> None:
        """Equation 8: noise shaped by the covariance, for splats that are nearly dead (the others would not feel it)."""
        columns = self._parameters.per_splat
        rows = torch.nonzero(columns["opacity_logit"] < WANDER_LOGIT).ravel()
        if len(rows) == 0:
            return
        log_scale, quat, logit = (columns[name][rows] for name in ("log_scale", "quat", "opacity_logit"))
        step = self.config.noise * self._rates["mean"] / self.setup.extent
        offset = step * noise(log_scale, quat, torch.sigmoid(logit), self._generator) / self.setup.extent
        columns["mean"].index_add_(0, rows, offset)
