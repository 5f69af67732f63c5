"""What radiance fields have in common: shared tensors and no splats, drawn along rays. A field adds render_rays()."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from recon.cameras import Cameras
from render.densify import Edit
from render.initial import SceneSetup
from render.march import march_views
from render.rays import RayRendering, Rays
from render.scene import Parameters, Rendering

PREFIX = "shared."
"""Of the names of shared tensors in files."""


class FieldScene:
    """Tensors by name, and all of a Scene (render/scene.py) that does not depend on what they mean.

    `render_rays` and `rays_per_step` are how the trainer knows a field. Places in the world become the field's own by
    place(): the scene's ball becomes the unit ball.
    """

    rays_per_step: int = 1024
    ray_loss: Literal["mse", "charbonnier", "huber"] = "mse"
    """How colours are compared, see losses.ray_loss()."""
    behind_all: bool = False
    """Whether also rays of photos without mattes are trained over random colours, which leaves none of them transparent."""
    torch_threads: int | None = None
    """Of torch on the CPU while this trains; None: all. Networks want all of them."""

    def __init__(self, config: Any, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> None:
        self.config, self.setup = config, setup
        self.info: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.refined: dict[str, Any] = {}
        self.tensors = {
            name.removeprefix(PREFIX): tensor.detach().to(setup.device).clone().requires_grad_()
            for name, tensor in tensors.items()
        }
        self._parameters = Parameters({}, self.tensors, _no_rows)
        self._generator = torch.Generator().manual_seed(setup.seed)
        self._center = torch.tensor(tuple(setup.center), dtype=torch.float32, device=setup.device)

    @property
    def device(self) -> torch.device:
        return self._center.device

    def to(self, device: str) -> Any:
        """The scene on a device, for rendering; itself when it is there already."""
        if self.device.type == device:
            return self
        scene = self.config.load(replace(self.setup, device=device), self.tensors)
        scene.info, scene.history, scene.refined = self.info, self.history, self.refined
        return scene

    @property
    def jitter(self) -> torch.Generator | None:
        """What moves samples at random: the scene's generator in training, None where no gradients are asked for."""
        return self._generator if torch.is_grad_enabled() else None

    def place(self, xyz: Tensor) -> Tensor:
        """World positions [..., 3] in units of the scene's ball, around its centre."""
        return (xyz - self._center) / self.setup.radius

    def render_rays(self, rays: Rays, background: Tensor) -> RayRendering:
        """What R rays of this device show over a background [3] or [R, 3]."""
        raise NotImplementedError

    def render(
        self,
        cameras: Cameras,
        background: Tensor | None = None,
        cam_from_world: Tensor | None = None,
        *,
        with_z: bool = False,
    ) -> Rendering:
        """Views of one size, as in Scene; a field gives them no gradients."""
        return march_views(
            self.render_rays, cameras, background, self.setup, cam_from_world=cam_from_world, with_z=with_z
        )

    def parameters(self) -> Parameters:
        return self._parameters

    def regularize(self, rendering: Rendering) -> Tensor | None:
        """None: what a field adds to the loss comes with its rays, as RayRendering.penalty."""
        return None

    def after_step(self, step: int, progress: float) -> bool:
        return False

    def finish(self) -> None:
        """Nothing is left over from training."""

    def state(self) -> dict[str, Tensor]:
        return {**self.tensors, "generator": self._generator.get_state()}

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(state[name])
        self._generator.set_state(state["generator"])


def _no_rows(edit: Edit) -> None:
    raise ValueError("a field has no rows to edit")
