"""The photometric losses of training: (1 - w) L1 + w (1 - SSIM) of photos, with its gradient in one call, and those of rays."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from render.kernels import reference, ssim

SSIM_WEIGHT = 0.2
"""Of 3D Gaussian splatting (Kerbl et al., 2023)."""


def photometric(
    rgb: Tensor, target: Tensor, mask: Tensor | None, ssim_weight: float = SSIM_WEIGHT
) -> tuple[float, Tensor, float, float]:
    """(loss, d loss / d rgb [H, W, 3], l1, ssim) of images [H, W, 3]; means over the mask's pixels [H, W] (1 = use).

    On the CPU the fused kernel; elsewhere its twin in torch, with autograd.
    """
    if rgb.device.type == "cpu":
        return ssim.photometric(rgb, target, mask, ssim_weight)
    x = rgb.detach().requires_grad_()
    with torch.enable_grad():
        loss, l1, similarity = reference.photometric(x, target, mask, ssim_weight)
        (grad,) = torch.autograd.grad(loss, x)
    return float(loss.detach()), grad, float(l1.detach()), float(similarity.detach())


CHARBONNIER = 1e-3
"""Difference from which on a Charbonnier loss is linear (Mip-NeRF 360)."""
HUBER = 0.1
"""Difference from which on a Huber loss is linear (Instant-NGP)."""


def ray_loss(kind: Literal["mse", "charbonnier", "huber"], rgb: Tensor, target: Tensor) -> Tensor:
    """f32[]: mean over rays and channels of how far colours [R, 3] are from their targets; differentiable."""
    if kind == "mse":
        return torch.nn.functional.mse_loss(rgb, target)
    if kind == "huber":
        return torch.nn.functional.huber_loss(rgb, target, delta=HUBER)
    return torch.sqrt((rgb - target) ** 2 + CHARBONNIER**2).mean()
