"""What turns the features of a grid into density and colour: two small networks, and spherical harmonics of the direction.

As in Instant-NGP (Mueller et al., SIGGRAPH 2022, section 5.4): one hidden layer from features to 16 values, the first of
them the logarithm of the density; these 16 beside the direction's 16 harmonics through two hidden layers to a colour.
No biases. Where processors multiply matrices in bfloat16 products may be taken in it; weights stay float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

GEOMETRY = 16
"""Values that the density network gives."""
HARMONICS = 16
"""Spherical harmonics of degree 4 (four bands)."""
LOG_LIMIT = 15.0
"""Logarithm of the density beyond which gradients grow no more."""
LOG_MOST = 40.0
"""Largest logarithm of a density."""


class _SafeExp(torch.autograd.Function):
    """exp(x), with the gradient of exp(clamp(x)): far out it pulls back gently instead of overflowing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.exp(x.clamp(max=LOG_MOST))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * torch.exp(x.clamp(-LOG_LIMIT, LOG_LIMIT))


def safe_exp(x: Tensor) -> Tensor:
    """exp(x), finite, with gradients that stay finite where x is large and do not vanish where it is very negative."""
    return _SafeExp.apply(x)  # type: ignore[return-value]


def harmonics(direction: Tensor) -> Tensor:
    """The 16 real spherical harmonics f32[N, 16] of unit directions [N, 3], orthonormal on the sphere."""
    x, y, z = direction.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    root = lambda a, b: math.sqrt(a / (b * math.pi))  # noqa: E731
    return torch.stack(
        [
            torch.full_like(x, root(1, 4)),
            root(3, 4) * y,
            root(3, 4) * z,
            root(3, 4) * x,
            root(15, 4) * x * y,
            root(15, 4) * y * z,
            root(5, 16) * (3 * zz - 1),
            root(15, 4) * x * z,
            root(15, 16) * (xx - yy),
            root(35, 32) * y * (3 * xx - yy),
            root(105, 4) * x * y * z,
            root(21, 32) * y * (5 * zz - 1),
            root(7, 16) * z * (5 * zz - 3),
            root(21, 32) * x * (5 * zz - 1),
            root(105, 16) * z * (xx - yy),
            root(35, 32) * x * (xx - 3 * yy),
        ],
        -1,
    )


def new_heads(features: int, hidden: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Weights [in, out] by name, uniform with variance 2 / (in + out) (Glorot and Bengio, 2010)."""
    shapes = {
        "density.0": (features, hidden),
        "density.1": (hidden, GEOMETRY),
        "color.0": (GEOMETRY + HARMONICS, hidden),
        "color.1": (hidden, hidden),
        "color.2": (hidden, 3),
    }
    draw = lambda shape: 2 * torch.rand(shape, generator=generator) - 1  # noqa: E731
    return {name: draw(shape) * math.sqrt(6 / sum(shape)) for name, shape in shapes.items()}


def half_is_fast(device: torch.device) -> bool:
    """Whether a device multiplies matrices in bfloat16 faster than in float32."""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


def density(weights: Mapping[str, Tensor], features: Tensor, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Density f32[N], and 16 values [N, 16] for color(), of features [N, F]; products are taken in `kind`."""
    hidden = torch.relu(features.to(kind) @ weights["density.0"].to(kind))
    geometry = hidden @ weights["density.1"].to(kind)
    return safe_exp(geometry[:, 0].float()), geometry


def color(weights: Mapping[str, Tensor], geometry: Tensor, around: Tensor) -> Tensor:
    """Colours f32[N, 3] in 0..1 of what density() gave and harmonics [N, 16]."""
    kind = geometry.dtype
    hidden = torch.relu(torch.cat([geometry, around.to(kind)], -1) @ weights["color.0"].to(kind))
    hidden = torch.relu(hidden @ weights["color.1"].to(kind))
    return torch.sigmoid((hidden @ weights["color.2"].to(kind)).float())
