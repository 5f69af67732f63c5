"""The photometric loss of splat training, L1 and D-SSIM, with its gradient in one call."""

from __future__ import annotations

import torch
from torch import Tensor

from render.kernels import reference


def photometric(
    rgb: Tensor, target: Tensor, mask: Tensor | None = None, ssim_weight: float = 0.2
) -> tuple[float, Tensor, float, float]:
    """(loss, d loss / d rgb f32[H, W, 3], l1, ssim) of CPU images f32[H, W, 3] (target also u8); the meaning is
    reference.photometric's.

    mask: f32, bool or u8 (0 or 1) [H, W], or None.
    """
    x = rgb.detach().requires_grad_()
    with torch.enable_grad():
        loss, l1, ssim = reference.photometric(x, target, mask, ssim_weight)
        (grad,) = torch.autograd.grad(loss, x)
    return float(loss.detach()), grad, float(l1.detach()), float(ssim.detach())
