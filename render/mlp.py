"""Fully connected networks as named tensors: "NAME.0.weight", "NAME.0.bias", ... so that they are saved like all others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear


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


def mlp(tensors: Mapping[str, Tensor], name: str, x: Tensor, *, skip: int | None = None) -> Tensor:
    """What a network of new_mlp() gives for x [..., in]: ReLU between layers, the last one linear."""
    given, i = x, 0
    while f"{name}.{i}.weight" in tensors:
        x = torch.relu(x) if i else x
        x = torch.cat([x, given], -1) if i == skip else x
        x = linear(x, tensors[f"{name}.{i}.weight"], tensors[f"{name}.{i}.bias"])
        i += 1
    return x
