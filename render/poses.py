"""Refinement of training poses: a small rigid motion a training camera, learned from the photometric loss.

cam_from_world = exp(delta_i) @ given. The deltas average to zero over the training cameras, so that the scene stays
where structure from motion put it and held-out cameras, which are never moved, still fit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recon.geometry import Array
from render.optimize import SmallAdam

BETA2 = 0.99
"""A camera is seen only a few dozen times."""


class Poses:
    """Motions of N training cameras, with their own Adam: a camera's moments move when its photo is seen."""

    def __init__(self, cam_from_world: Array, extent: float, device: torch.device | str = "cpu") -> None:
        """`extent`: the scene's size in world units; translations are learned in units of it."""
        self.given = torch.as_tensor(np.asarray(cam_from_world), dtype=torch.float32, device=device)
        """f32[N, 4, 4]."""
        self.extent = extent
        self.delta = torch.zeros(len(self.given), 6, device=device)
        """f32[N, 6]: rotation vector (radians), translation (units of extent), both in the camera frame."""
        self._adam = SmallAdam(self.delta, beta2=BETA2)

    def leaf(self, index: int) -> Tensor:
        """f32[6], a leaf that collects the gradient of one step."""
        return self.delta[index].clone().requires_grad_()

    def cam_from_world(self, index: int, leaf: Tensor) -> Tensor:
        """f32[1, 4, 4], differentiable in `leaf`."""
        return (motion(leaf, self.extent) @ self.given[index])[None]

    def step(self, index: int, grad: Tensor, rate: float) -> None:
        """One Adam step of camera `index`, then all deltas are centred."""
        self._adam.step(index, self.delta, grad, rate)
        self.delta -= self.delta.mean(0, keepdim=True)

    def refined(self) -> Array:
        """f64[N, 4, 4], rigid to float64 precision."""
        moved = torch.stack([motion(d.double(), self.extent) for d in self.delta.cpu()])
        return (moved @ self.given.double().cpu()).numpy()

    def state(self) -> dict[str, Tensor]:
        return {"delta": self.delta} | self._adam.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        self.delta.copy_(state["delta"])
        self._adam.restore(state)


def motion(delta: Tensor, extent: float) -> Tensor:
    """The rigid transform [4, 4] of a rotation vector and a translation in units of extent, [6]; differentiable at zero.

    The rotation is Rodrigues' formula with its coefficients as series around zero, where sin(x)/x has no derivative to compute.
    """
    w, t = delta[:3], delta[3:] * extent
    x2 = (w * w).sum()
    small = x2 < 1e-4
    x = torch.where(small, torch.ones_like(x2), x2).sqrt()
    a = torch.where(small, 1 - x2 / 6 + x2 * x2 / 120, torch.sin(x) / x)
    b = torch.where(small, 0.5 - x2 / 24 + x2 * x2 / 720, (1 - torch.cos(x)) / (x * x))
    zero = torch.zeros_like(x2)
    k = torch.stack([zero, -w[2], w[1], w[2], zero, -w[0], -w[1], w[0], zero]).view(3, 3)
    rotation = torch.eye(3, dtype=delta.dtype, device=delta.device) + a * k + b * (k @ k)
    bottom = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=delta.dtype, device=delta.device)
    return torch.cat([torch.cat([rotation, t[:, None]], 1), bottom])
