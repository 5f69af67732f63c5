"""Exposure compensation: one small affine colour change a training photo, zero on average over all of them.

rgb' = rgb @ (I + gain_i) + bias_i. Because the changes average to zero, the scene keeps the capture's mean exposure,
which is what held-out photos are compared with. Gradients are written out: three matrix products a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from render.optimize import SmallAdam

BETA2 = 0.99
"""A photo is seen only a few dozen times."""


class Exposure:
    """Affine colour changes of N training photos, with their own Adam: a photo's moments move when the photo is seen."""

    def __init__(self, photos: int, device: torch.device | str = "cpu") -> None:
        self.affine = torch.zeros(photos, 4, 3, device=device)
        """f32[N, 4, 3]: gain (3 rows, input channel by output channel) and bias (last row)."""
        self._adam = SmallAdam(self.affine, beta2=BETA2)

    def apply(self, index: int, rgb: Tensor) -> Tensor:
        """rgb [H, W, 3] as photo `index` would have exposed it."""
        affine = self.affine[index]
        return torch.addmm(rgb.reshape(-1, 3) + affine[3], rgb.reshape(-1, 3), affine[:3]).view_as(rgb)

    def backward(self, index: int, rgb: Tensor, d_out: Tensor, rate: float) -> Tensor:
        """The gradient [H, W, 3] by rgb, given the one by apply()'s result; steps the photo's change."""
        affine, d_flat = self.affine[index], d_out.reshape(-1, 3)
        d_rgb = (d_flat + d_flat @ affine[:3].T).view_as(rgb)
        d_affine = torch.cat([rgb.reshape(-1, 3).T @ d_flat, d_flat.sum(0, keepdim=True)])
        self._adam.step(index, self.affine, d_affine, rate)
        self.affine -= self.affine.mean(0, keepdim=True)
        return d_rgb

    def state(self) -> dict[str, Tensor]:
        return {"affine": self.affine} | self._adam.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        self.affine.copy_(state["affine"])
        self._adam.restore(state)
