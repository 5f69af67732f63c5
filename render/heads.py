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
from torch.autograd.function import once_differentiable

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


# The same, fast: by blocks of one size, which stay in the cache and for which matrix products are prepared once


NAMES = ("density.0", "density.1", "color.0", "color.1", "color.2")
BLOCK = 4096
"""Samples that go through the networks together on the CPU."""
Known = tuple[Tensor, Tensor]
"""What inner() gave: the hidden layer [N, H] of the density network, and the 16 values [N, 16] of it, in `kind`."""


@torch.no_grad()
def inner(weights: Mapping[str, Tensor], features: Tensor, kind: torch.dtype) -> Known:
    """The density network's layers at features [N, F]: for opacity() and for shade()."""
    first, second = (weights[name].detach().to(kind) for name in NAMES[:2])
    count, block = len(features), _block(features)
    hidden = features.new_empty(count, first.shape[1], dtype=kind)
    geometry = features.new_empty(count, GEOMETRY, dtype=kind)
    for low in range(0, count, block):
        part = _rows(features, low, block, kind)
        layer = (part @ first).relu_()
        hidden[low : low + block] = layer[: count - low]
        geometry[low : low + block] = (layer @ second)[: count - low]
    return hidden, geometry


def opacity(geometry: Tensor) -> Tensor:
    """Densities f32[N] of the values [N, 16] that inner() gives."""
    return torch.exp(geometry[:, 0].float().clamp(max=LOG_MOST))


def shade(
    weights: Mapping[str, Tensor], features: Tensor, around: Tensor, ray: Tensor, known: Known
) -> tuple[Tensor, Tensor]:
    """(densities f32[N], colours f32[N, 3]) as density() and color() give them, of features f32[N, F] and the harmonics
    around[ray[n]], [R, 16]; `known` is what inner() gave for these features. Differentiable once, by features and weights.
    """
    return _Shade.apply(features, around, ray, *known, *(weights[name] for name in NAMES))


class _Shade(torch.autograd.Function):
    """The colour network, and the way back through both."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, around: Tensor, ray: Tensor, hidden: Tensor, geometry: Tensor, *given: Tensor
    ) -> tuple[Tensor, Tensor]:
        kind, count, block = geometry.dtype, len(features), _block(features)
        weights = [weight.detach().to(kind) for weight in given]
        around = around.to(kind)
        rgb = features.new_empty(count, 3)
        kept = []
        for low in range(0, count, block):
            here = slice(low, low + block)
            size = min(block, count - low)
            both = (geometry.new_empty if size == block else geometry.new_zeros)(block, GEOMETRY + HARMONICS)
            both[:size, :GEOMETRY] = geometry[here]
            both[:size, GEOMETRY:] = around.index_select(0, ray[here])
            one = (both @ weights[2]).relu_()
            two = (one @ weights[3]).relu_()
            rgb[here] = (two @ weights[4])[:size]
            if any(ctx.needs_input_grad):
                kept.append((both, one, two))
        rgb.sigmoid_()
        sigma = opacity(geometry)
        ctx.kept, ctx.weights = kept, weights
        ctx.save_for_backward(features, hidden, geometry, rgb)
        return sigma, rgb

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_sigma: Tensor, d_rgb: Tensor) -> tuple[Tensor | None, ...]:
        features, hidden, geometry, rgb = ctx.saved_tensors
        kind, count, block = geometry.dtype, len(features), _block(features)
        d_color = d_rgb * rgb * (1 - rgb)
        d_log = (d_sigma * torch.exp(geometry[:, 0].float().clamp(-LOG_LIMIT, LOG_LIMIT))).to(kind)
        weights = ctx.weights
        back = [weight.T.contiguous() for weight in (weights[0], weights[1], weights[2][:GEOMETRY], *weights[3:])]
        pulls = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        d_features = torch.empty_like(features)
        for low, (both, one, two) in zip(range(0, count, block), ctx.kept, strict=True):
            size = min(block, count - low)
            pull = _rows(d_color, low, block, kind)
            pulls[4] += two.T @ pull
            pull = _gate(pull @ back[4], two)
            pulls[3] += one.T @ pull
            pull = _gate(pull @ back[3], one)
            pulls[2] += both.T @ pull
            pull = pull @ back[2]
            pull[:size, 0] += d_log[low : low + block]
            layer = _rows(hidden, low, block, kind)
            pulls[1] += layer.T @ pull
            pull = _gate(pull @ back[1], layer)
            pulls[0] += _rows(features, low, block, kind).T @ pull
            d_features[low : low + block] = (pull @ back[0])[:size]
        ctx.kept = ()
        return d_features, None, None, None, None, *pulls


def _gate(pull: Tensor, layer: Tensor) -> Tensor:
    """What a ReLU that gave `layer` lets back."""
    return torch.ops.aten.threshold_backward(pull, layer, 0)


def _block(rows: Tensor) -> int:
    return BLOCK if rows.device.type == "cpu" else max(len(rows), 1)


def _rows(values: Tensor, low: int, block: int, kind: torch.dtype) -> Tensor:
    """Rows low .. low + block in `kind`, zeros after the last one."""
    part = values[low : low + block].to(kind)
    if len(part) == block:
        return part
    return torch.cat([part, part.new_zeros(block - len(part), part.shape[1])])
