"""Fully connected networks as named tensors: "NAME.0.weight", "NAME.0.bias", ... so that they are saved like all others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def new_mlp(
    name: str, sizes: Sequence[int], generator: torch.Generator, *, skip: int | None = None
) -> dict[str, Tensor]:
    """Weights [out, in] and zero biases of layers sizes[0] -> sizes[1] -> ..., normal with He's variance (the last: Glorot's).

    `skip`: the layer that gets the input once more behind what the layer before it gives.
    """
    tensors, last = {}, len(sizes) - 2
    for i in range(len(sizes) - 1):
        fan_in, out = sizes[i] + (sizes[0] if i == skip else 0), sizes[i + 1]
        deviation = math.sqrt(2 / (fan_in + out)) if i == last else math.sqrt(2 / fan_in)
        tensors[f"{name}.{i}.weight"] = torch.randn(out, fan_in, generator=generator) * deviation
        tensors[f"{name}.{i}.bias"] = torch.zeros(out)
    return tensors


class _Layer(torch.autograd.Function):
    """x [N, in] through weights [out, in] and a bias, and a ReLU where `rectify`; the products are of x's type."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, rectify: bool) -> Tensor:
        cast = weight.to(x.dtype)
        out = torch.addmm(bias.to(x.dtype), x, cast.t())
        if rectify:
            out.relu_()
        ctx.rectify = rectify
        ctx.save_for_backward(x, cast, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, cast, out = ctx.saved_tensors
        grad = grads[0].contiguous()
        if ctx.rectify:
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        to_x = grad @ cast if ctx.needs_input_grad[0] else None
        return to_x, (grad.t() @ x).float(), grad.sum(0).float(), None


def mlp(
    tensors: Mapping[str, Tensor],
    name: str,
    x: Tensor,
    *,
    skip: int | None = None,
    kind: torch.dtype = torch.float32,
) -> Tensor:
    """What a network of new_mlp() gives for x [..., in]: ReLU between layers, the last one linear. Products are taken in
    `kind`, which is also the type of what comes out; weights stay as they are."""
    shape, x = x.shape[:-1], x.reshape(-1, x.shape[-1]).to(kind)
    given, i = x, 0
    while f"{name}.{i}.weight" in tensors:
        x = torch.cat([x, given], -1) if i == skip else x
        last = f"{name}.{i + 1}.weight" not in tensors
        x = _Layer.apply(x, tensors[f"{name}.{i}.weight"], tensors[f"{name}.{i}.bias"], not last)
        i += 1
    return x.view(*shape, -1)
