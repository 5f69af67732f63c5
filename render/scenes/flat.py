"""Splats that lie on surfaces: those of gs.py, made flat, and pulled together and into line with the z that they render.

Training renders, every few steps, the planes of the splats beside their colours (planes.py), and adds the two losses of
2D Gaussian splatting. What comes out are ordinary splats: every viewer and file format takes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.cameras import Cameras
from recon.geometry import quat_from_rotation
from render import planes
from render.depth_loss import camera_z
from render.initial import SceneInit, SceneSetup
from render.rasterize import RowGrads
from render.scene import Rendering
from render.scenes.gs import GsConfig, GsScene

LOG_FLAT_ENOUGH = math.log(0.01)
"""Logarithm of the thickness, in units of a splat's second axis, from which on it is flattened no more."""
LOG_FLAT_START = math.log(0.2)
"""The same at the start, across the plane of its neighbours."""


@dataclass(frozen=True)
class FlatConfig(GsConfig):
    """That of gs.py, and the weights of what pulls splats onto surfaces; 0 switches a term off."""

    flatten: float = 0.1
    """Of the splats' mean thickness, in units of the scene's extent (PGSR)."""
    normals: float = 0.05
    """Of the disagreement between the splats' normals and those of their z, per pixel (2DGS)."""
    normals_from: float = 0.5
    """Progress at which that term is switched on."""
    distortion: float = 1e-3
    """Of the squared distances between the splats of a pixel, in extent / z (2DGS). Far more makes scenes transparent."""
    distortion_from: float = 0.5
    """Progress at which that term is switched on."""
    every: int = 2
    """Steps between those that have these two terms, which then weigh as many times more."""

    def build(self, init: SceneInit) -> FlatScene:
        """Splats at the points, flat along the planes of their neighbours where the points were measured."""
        scene: Any = super().build(init)
        if self.flatten > 0 and not init.guessed:
            scene.lie_down()
        return scene

    def load(self, setup: SceneSetup, columns: dict[str, Tensor]) -> FlatScene:
        return FlatScene(self, setup, columns)


class FlatScene(GsScene):
    """GsScene with terms that depend on its surface."""

    config: FlatConfig
    _progress = 0.0
    _step = 0

    @torch.no_grad()
    def lie_down(self) -> None:
        """Turn every splat's third axis to the normal of its neighbourhood, and make it thin."""
        columns = self._parameters.per_splat
        axes = planes.flat_start(columns["mean"].double().cpu().numpy())
        columns["quat"].copy_(torch.as_tensor(quat_from_rotation(axes)))
        columns["log_scale"][:, 2] += LOG_FLAT_START

    def schedule(self, progress: float) -> dict[str, float | Tensor]:
        self._progress = progress
        return super().schedule(progress)

    def _terms(self) -> tuple[float, float]:
        """The weights that normals and distortion have in this step's loss."""
        c = self.config
        if not torch.is_grad_enabled() or self._step % c.every != 0:
            return 0.0, 0.0
        normals = c.normals if self._progress >= c.normals_from else 0.0
        distortion = c.distortion if self._progress >= c.distortion_from else 0.0
        return c.every * normals, c.every * distortion

    def render(
        self,
        cameras: Cameras,
        background: Tensor | None = None,
        cam_from_world: Tensor | None = None,
        *,
        with_z: bool = False,
    ) -> Rendering:
        """In training, at the steps that have these terms, with their weighted sum as extra["penalty"]."""
        terms = self._terms()
        if not any(terms):
            return super().render(cameras, background, cam_from_world, with_z=with_z)
        poses = self._poses(cameras, cam_from_world)
        splats, parts = self.at(), []
        if terms[0]:
            parts.append(torch.stack([planes.planes(splats, pose) for pose in poses]))
        if terms[1]:
            parts.append(torch.stack([planes.moments(splats, pose, self.setup.extent) for pose in poses]))
        if with_z:
            parts.append(camera_z(splats.mean, poses))
        seen = self._draw(splats, cameras, background, cam_from_world, torch.cat(parts, -1))
        blended = seen.extra.pop("features")
        if with_z:
            seen.extra["weighted_z"], blended = blended[..., -1], blended[..., :-1]
        seen.extra["penalty"] = planes.penalty(blended, seen.alpha, seen.rgb, cameras.K, *terms)
        return seen

    def _poses(self, cameras: Cameras, cam_from_world: Tensor | None) -> Tensor:
        poses = torch.as_tensor(cameras.cam_from_world) if cam_from_world is None else cam_from_world
        return poses.to(self.device, torch.float32)

    def regularize(self, rendering: Rendering) -> Tensor | None:
        return rendering.extra.get("penalty")

    def after_step(self, step: int, progress: float) -> bool:
        self._step = step
        return super().after_step(step, progress)

    def _penalize(self, row_grads: RowGrads) -> None:
        """Add the gradient of flatten * mean(thickness) / extent as well, where splats are not flat enough."""
        super()._penalize(row_grads)
        if row_grads.rows is None or self.config.flatten <= 0:
            return
        log_scale = self._parameters.per_splat["log_scale"].detach()[row_grads.rows]
        (thin, middle, _), axes = log_scale.sort(-1)[0].unbind(-1), log_scale.argmin(-1, keepdim=True)
        pull = torch.exp(thin) * (thin > middle + LOG_FLAT_ENOUGH)
        pull *= self.config.flatten / (len(self) * self.setup.extent)
        row_grads.grads["log_scale"].scatter_add_(1, axes, pull[:, None])

    def state(self) -> dict[str, Tensor]:
        return super().state() | {"step": torch.tensor(self._step)}

    def restore(self, state: dict[str, Tensor]) -> None:
        super().restore(state)
        self._step = int(state["step"])
