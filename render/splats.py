"""Splats: 3D Gaussians as columns, their activations, and how they move to another frame.

Spherical harmonics are the real ones of 3D Gaussian splatting (Condon-Shortley phase, order of bands 0, 1, 2, 3), evaluated in the
direction from the camera's centre to the splat's mean; colour = 0.5 + sum_k sh_k Y_k(direction), clamped below at 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from recon.geometry import World

SH_C0 = 0.28209479177387814


@dataclass(frozen=True)
class Splats:
    """N Gaussians. Every column is float32 on one device; `extra` columns ride along through every edit."""

    mean: Tensor
    """f32[N, 3], world."""
    log_scale: Tensor
    """f32[N, 3], natural logarithm of the standard deviations along the splat's own axes, world units."""
    quat: Tensor
    """f32[N, 4], wxyz, world_from_splat; normalised where used."""
    opacity_logit: Tensor
    """f32[N]; opacity = sigmoid(opacity_logit)."""
    sh: Tensor
    """f32[N, K, 3], K = 1, 4, 9 or 16; sRGB display colour."""
    extra: dict[str, Tensor] = field(default_factory=dict)
    """Further columns, each [N, ...]."""
    world: World = field(default_factory=World)

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def sh_degree(self) -> int:
        return round(self.sh.shape[1] ** 0.5) - 1

    def __getitem__(self, rows: Tensor | slice) -> Splats:
        """The given rows of every column."""
        return replace(
            self,
            mean=self.mean[rows],
            log_scale=self.log_scale[rows],
            quat=self.quat[rows],
            opacity_logit=self.opacity_logit[rows],
            sh=self.sh[rows],
            extra={name: column[rows] for name, column in self.extra.items()},
        )

    def columns(self) -> dict[str, Tensor]:
        """The five columns by name, without the extra ones."""
        return {
            "mean": self.mean,
            "log_scale": self.log_scale,
            "quat": self.quat,
            "opacity_logit": self.opacity_logit,
            "sh": self.sh,
        }

    def to(self, device: torch.device | str) -> Splats:
        moved = {name: column.to(device) for name, column in self.columns().items()}
        return replace(self, **moved, extra={name: column.to(device) for name, column in self.extra.items()})

    def detach(self) -> Splats:
        cut = {name: column.detach() for name, column in self.columns().items()}
        return replace(self, **cut, extra={name: column.detach() for name, column in self.extra.items()})
