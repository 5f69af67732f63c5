"""Static Gaussian splats: columns of parameters, their schedules, and densification by Markov chain (densify.py)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.cameras import Cameras
from render.densify import Edit, noise, plan_edit, relocated, rotate
from render.depth_loss import camera_z
from render.initial import SceneInit, SceneSetup
from render.kernels.reference import ALPHA_MIN
from render.rasterize import RowGrads, rasterize
from render.scene import Parameters, Rendering
from render.splats import SH_C0, Splats

SH_STARTS = (0.0, 0.05, 0.1, 0.15)
"""Progress at which each band of the spherical harmonics is switched on."""
SH_SHARE = 0.1
"""Rate of the higher bands relative to band 0: 3D Gaussian splatting has 0.05, short schedules want more."""
EDIT_EVERY = 50
"""Steps between edits (relocation and growth)."""
DEAD = 0.005
"""Opacity below which a splat counts as dead (3DGS-MCMC)."""

WANDER_LOGIT = math.log(0.1 / 0.9)
"""Noise is left out above this opacity, where equation 8 switches it off anyway (by 7e-5)."""


@dataclass(frozen=True)
class GsConfig:
    """Rates are Adam's at the start; those of positions are in units of the scene's extent."""

    lr_mean: float = 4.5e-4
    lr_log_scale: float = 3e-2
    lr_quat: float = 4e-3
    lr_opacity: float = 5e-2
    lr_sh: float = 1.5e-2
    """Of band 0; the higher ones get SH_SHARE of it."""
    lr_final: float = 0.2
    """Share of every rate that is left at the end; between, the decay is exponential."""
    init_opacity: float = 0.5
    """Of splats that start at measured points."""
    init_opacity_guessed: float = 0.1
    """Of splats that start at random ones."""
    init_scale: float = 0.5
    """Standard deviation of a splat at the start, in units of the distance to its neighbours."""
    grow_rate: float = 0.07
    """Share by which the scene grows at each edit."""
    edit_until: float = 0.85
    """Progress at which edits stop."""
    noise: float = 8e5
    """Strength of the exploring noise, in units of the rate of positions; 0: none."""
    opacity_penalty: float = 0.0
    """3DGS-MCMC has 0.01: that costs 0.9 dB on lego in short schedules, and brings nothing on photos."""
    scale_penalty: float = 0.01
    error_power: float = 1.0
    """Growth prefers splats whose place the loss pulls at, by this power of the pull; 0: by opacity alone, as in the paper."""
    spread: float = 0.5
    """Copies move apart by so many standard deviations and shrink to match; 0: they share one place, as in the paper."""

    def build(self, init: SceneInit) -> GsScene:
        """A scene of one splat a point, with room for `init.splats`."""
        setup, points = init.setup, len(init.xyz)
        if points > setup.splats:
            chosen = np.sort(np.random.default_rng(setup.seed).choice(points, setup.splats, replace=False))
        else:
            chosen = np.arange(points)
        n, bands = len(chosen), (setup.sh_degree + 1) ** 2
        opacity = self.init_opacity_guessed if init.guessed else self.init_opacity
        columns = {
            "mean": torch.as_tensor(init.xyz[chosen], dtype=torch.float32),
            "log_scale": torch.as_tensor(np.log(self.init_scale * init.spacing[chosen]))[:, None].repeat(1, 3),
            "quat": torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
            "opacity_logit": torch.full((n,), math.log(opacity / (1 - opacity))),
            "sh": torch.zeros(n, bands, 3),
        }
        columns["sh"][:, 0] = (torch.as_tensor(init.rgb[chosen]) - 0.5) / SH_C0
        return self.load(setup, {name: column.float() for name, column in columns.items()})

    def load(self, setup: SceneSetup, columns: dict[str, Tensor]) -> GsScene:
        """A scene of stored columns."""
        return GsScene(self, setup, columns)


class GsScene:
    """Splats in buffers with room to grow; the live rows are views of the buffers."""

    def __init__(self, config: GsConfig, setup: SceneSetup, columns: dict[str, Tensor]) -> None:
        self.config, self.setup = config, setup
        self.info: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.refined: dict[str, Any] = {}
        capacity = max(setup.splats, len(columns["mean"]))
        self._buffers = {
            name: torch.zeros(capacity, *column.shape[1:], device=setup.device) for name, column in columns.items()
        }
        for name, column in columns.items():
            self._buffers[name][: len(column)] = column.to(setup.device)
        self._parameters = Parameters({}, {}, self._edit, capacity, RowGrads(), penalize=self._penalize)
        self._show(len(columns["mean"]))
        self._sh_degree = setup.sh_degree
        self._generator = torch.Generator().manual_seed(setup.seed)
        bands = columns["sh"].shape[1]
        self._bands = torch.tensor([1.0] + [SH_SHARE] * (bands - 1), device=setup.device)[:, None]
        self._rates: dict[str, float | Tensor] = {}
        self._pull = torch.zeros(capacity, device=setup.device)
        """f32[capacity]: |d loss / d mean| times the largest standard deviation, summed since the last edit."""

    @property
    def device(self) -> torch.device:
        return self._parameters.per_splat["mean"].device

    def to(self, device: str) -> GsScene:
        """The scene on a device, for rendering; itself when it is there already."""
        if self.device.type == device:
            return self
        shared = {f"shared.{name}": tensor for name, tensor in self._parameters.shared.items()}
        scene = self.config.load(replace(self.setup, device=device), self._parameters.per_splat | shared)
        scene.info, scene.history, scene.refined = self.info, self.history, self.refined
        return scene

    def __len__(self) -> int:
        return len(self._parameters.per_splat["mean"])

    def at(self, time: float | None = None) -> Splats:
        """The splats; they stand still."""
        c = self._parameters.per_splat
        return Splats(c["mean"], c["log_scale"], c["quat"], c["opacity_logit"], c["sh"], world=self.setup.world)

    def render(
        self,
        cameras: Cameras,
        background: Tensor | None = None,
        cam_from_world: Tensor | None = None,
        *,
        with_z: bool = False,
    ) -> Rendering:
        splats = self._seen(cameras)
        if not with_z:
            return self._draw(splats, cameras, background, cam_from_world)
        poses = torch.as_tensor(cameras.cam_from_world) if cam_from_world is None else cam_from_world
        z = camera_z(splats.mean, poses.to(self.device, torch.float32))
        drawn = self._draw(splats, cameras, background, cam_from_world, z)
        drawn.extra["weighted_z"] = drawn.extra.pop("features")[..., 0]
        return drawn

    def _seen(self, cameras: Cameras) -> Splats:
        """What these cameras see; the gradients of its columns go through the sink."""
        return self.at()

    def _draw(
        self,
        splats: Splats,
        cameras: Cameras,
        background: Tensor | None,
        cam_from_world: Tensor | None,
        features: Tensor | None = None,
    ) -> Rendering:
        return rasterize(
            splats,
            cameras,
            background=background,
            cam_from_world=cam_from_world,
            sh_degree=self._sh_degree,
            antialiased=self.setup.antialiased,
            depth=False,
            near=self.setup.near,
            row_grads=self._parameters.row_grads if torch.is_grad_enabled() else None,
            features=features,
        )

    def parameters(self) -> Parameters:
        return self._parameters

    def schedule(self, progress: float) -> dict[str, float | Tensor]:
        c = self.config
        if self.setup.grow_sh:
            self._sh_degree = min(self.setup.sh_degree, sum(progress >= start for start in SH_STARTS) - 1)
        rates = {
            "mean": c.lr_mean * self.setup.extent,
            "log_scale": c.lr_log_scale,
            "quat": c.lr_quat,
            "opacity_logit": c.lr_opacity,
            "sh": c.lr_sh * self._bands,
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
        if progress >= c.edit_until or step % EDIT_EVERY != 0:
            return False
        n = len(self)
        grow = min(self._parameters.capacity - n, int(n * c.grow_rate))
        columns = self._parameters.per_splat
        opacity = torch.sigmoid(columns["opacity_logit"])
        weight = opacity * self._pull[:n] ** c.error_power if c.error_power else opacity
        self._pull.zero_()
        edit, rows, copies = plan_edit(weight, opacity < DEAD, n, grow, self._generator)
        if len(edit.target) == 0:
            return False
        fewer, factor = relocated(opacity[rows], copies)
        fewer = torch.lerp(fewer, opacity[rows], c.spread)  # copies that stand apart hide each other less
        columns["opacity_logit"][rows] = torch.logit(fewer.clamp(DEAD, 1 - 1e-4))
        columns["log_scale"][rows] += (1 - c.spread) * torch.log(factor)[:, None]
        self._parameters.edit(edit)
        if c.spread:
            self._part(edit.restart)
        return True

    def _part(self, rows: Tensor) -> None:
        """Move rows by `spread` standard deviations along their own axes; shrink them to keep the mixture's covariance."""
        columns, spread = self._parameters.per_splat, self.config.spread
        draw = torch.randn(len(rows), 3, generator=self._generator).to(rows.device)
        quat = torch.nn.functional.normalize(columns["quat"][rows], dim=-1)
        columns["mean"][rows] += rotate(quat, torch.exp(columns["log_scale"][rows]) * draw * spread)
        columns["log_scale"][rows] += 0.5 * math.log(1 - spread**2)

    @torch.no_grad()
    def finish(self) -> None:
        """All bands are on, and splats too faint to be drawn anywhere are dropped."""
        self._sh_degree = self.setup.sh_degree
        kept = torch.sigmoid(self._parameters.per_splat["opacity_logit"]) >= ALPHA_MIN
        for name, column in self._parameters.per_splat.items():
            self._buffers[name] = column.detach()[kept].clone()
        self._show(int(kept.sum()))

    def state(self) -> dict[str, Tensor]:
        own = {"generator": self._generator.get_state(), "pull": self._pull[: len(self)]}
        shared = {f"shared.{name}": tensor for name, tensor in self._parameters.shared.items()}
        return self._parameters.per_splat | shared | own

    def restore(self, state: dict[str, Tensor]) -> None:
        count = len(state["mean"])
        for name, buffer in self._buffers.items():
            buffer[:count] = state[name].to(buffer.device)
        self._show(count)
        with torch.no_grad():
            for name, tensor in self._parameters.shared.items():
                tensor.copy_(state[f"shared.{name}"])
        self._pull[:count] = state["pull"].to(self._pull.device)
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
        size = torch.exp(columns["log_scale"].detach()[rows].amax(-1))
        self._pull[rows] += row_grads.grads["mean"].norm(dim=-1) * size
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
        step = self.config.noise * float(self._rates["mean"]) / self.setup.extent
        offset = step * noise(log_scale, quat, torch.sigmoid(logit), self._generator) / self.setup.extent
        columns["mean"].index_add_(0, rows, offset)
