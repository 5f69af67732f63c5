"""LPIPS with the VGG network, from a file of weights that the user supplies.

Source: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018, version 0.1:
unit-normalised features of VGG-16 after relu1_2, 2_2, 3_3, 4_3 and 5_3, squared differences weighted per channel,
averaged over pixels, summed over layers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recon.errors import InputError

SLICES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""Indices of VGG-16's convolutions, by slice; all but the first slice begin with 2 x 2 max pooling."""
CHANNELS = (64, 128, 256, 512, 512)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""The input's normalisation, for values in -1..1."""


def load_lpips(path: Path) -> Callable[[NDArray[np.float32], NDArray[np.float32]], float]:
    """A function of two images f32[H, W, 3] in 0..1. The file is the state_dict of the lpips package's LPIPS(net="vgg"),
    saved by torch.save().

    Raises InputError for a file that is something else.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} cannot be read as LPIPS weights ({error}). {_EXPECTED}") from error
    shapes: dict[str, tuple[int, ...]] = {f"lin{i}.model.1.weight": (1, c, 1, 1) for i, c in enumerate(CHANNELS)}
    before = 3
    for i, (layers, channels) in enumerate(zip(SLICES, CHANNELS, strict=True)):
        for layer in layers:
            shapes[f"net.slice{i + 1}.{layer}.weight"] = (channels, before, 3, 3)
            shapes[f"net.slice{i + 1}.{layer}.bias"] = (channels,)
            before = channels
    wrong = [k for k, s in shapes.items() if k not in weights or tuple(weights[k].shape) != s]
    if wrong:
        raise InputError(f"{path} lacks {wrong[0]}{_shape(shapes[wrong[0]])}. {_EXPECTED}")
    kept = {name: weights[name].float() for name in shapes}
    return lambda a, b: _distance(kept, a, b)


_EXPECTED = 'Expected the state_dict of lpips.LPIPS(net="vgg"), saved with torch.save().'


def _shape(shape: tuple[int, ...]) -> str:
    return f" [{', '.join(map(str, shape))}]"


@torch.no_grad()
def _distance(weights: dict[str, Tensor], a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """LPIPS of two images [H, W, 3] in 0..1."""
    x = torch.from_numpy(np.stack([a, b])).permute(0, 3, 1, 2) * 2 - 1
    x = (x - torch.tensor(SHIFT)[:, None, None]) / torch.tensor(SCALE)[:, None, None]
    total = 0.0
    for i, layers in enumerate(SLICES):
        if i:
            x = functional.max_pool2d(x, 2)
        for layer in layers:
            name = f"net.slice{i + 1}.{layer}"
            x = functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1).relu_()
        unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
        difference = (unit[0] - unit[1]).square()
        total += float((weights[f"lin{i}.model.1.weight"][0] * difference).sum(0).mean())
    return total
