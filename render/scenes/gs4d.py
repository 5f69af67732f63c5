"""Splats that a field of space and time moves: six planes over (x, y, z, t) and a small network.

Source: Wu et al., 4D Gaussian Splatting for Real-Time Dynamic Scene Rendering, CVPR 2024 (still start, planes, heads);
Cao and Johnson, HexPlane, CVPR 2023; Fridovich-Keil et al., K-Planes, CVPR 2023 (start of the planes, their total variation
and smoothness in time). Two departures: rotations are composed, not added, and splats that need not move are let go
(motion.py).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from render.initial import SceneSetup
from render.kernels.plane_grid import plane_grid
from render.motion import Motion, MotionConfig, MovingScene

PAIRS = list(itertools.combinations(range(4), 2))
"""The axes of the planes; 3 is time."""
MARGIN = 1.3
"""The box of the planes, relative to the middle nine tenths of the points."""
BIRTH = (0.1, 0.5)
"""Range of the planes of space at the start (K-Planes); those of time start at 1."""


@dataclass(frozen=True)
class Gs4dConfig(MotionConfig):
    """That of motion.py, and the size, rates and weights of the field."""

    cells: tuple[int, ...] = (32, 64)
    """Resolutions of the planes in space; their features stand side by side."""
    features: int = 16
    """Of each resolution."""
    width: int = 64
    """Of the network's hidden layer."""
    moments: float = 0.5
    """Resolution of the planes in time, relative to the number of moments that were photographed."""
    lr_planes: float = 2e-2
    lr_network: float = 2e-3
    smooth: float = 1e-2
    """Of the squared second differences of the planes in time; 0: off."""
    variation: float = 1e-3
    """Of the squared differences of the planes in space; 0: off."""

    def motion(self, setup: SceneSetup, mean: Tensor) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(setup.seed)
        start, end = setup.times or (0.0, 0.0)
        steps = max(4, 1 + round(self.moments * setup.fps * (end - start)))
        inputs = self.features * len(self.cells)
        shared = {"box": box_of(mean.cpu())}
        for level, cells in enumerate(self.cells):
            for i, j in PAIRS:
                low, high = BIRTH if j < 3 else (1.0, 1.0)
                shape = (cells, steps if j == 3 else cells, self.features)
                shared[f"plane.{level}.{i}{j}"] = low + (high - low) * torch.rand(shape, generator=draw)
        bound = math.sqrt(6 / inputs)
        shared["network.in"] = bound * (2 * torch.rand(inputs, self.width, generator=draw) - 1)
        shared["network.in_bias"] = torch.zeros(self.width)
        shared["network.out"] = torch.zeros(self.width, 9)
        shared["network.out_bias"] = torch.zeros(9)
        return shared

    def scene(self, setup: SceneSetup, columns: dict[str, Tensor], shared: dict[str, Tensor]) -> Gs4dScene:
        return Gs4dScene(self, setup, columns, shared)


class Gs4dScene(MovingScene):
    """MovingScene whose motion is the field's."""

    config: Gs4dConfig
    fixed = ("box",)

    def motion_at(self, rows: Tensor, mean: Tensor, s: float) -> Motion:
        shared = self._parameters.shared
        low, high = shared["box"]
        place = (2 * (mean - low) / (high - low) - 1).clamp(-1, 1)
        point = torch.cat([place, torch.full_like(place[:, :1], 2 * s - 1)], -1)
        read: list[Tensor] = [plane_grid(point, self._planes(i), "multiply") for i in range(len(self.config.cells))]
        hidden = torch.addmm(shared["network.in_bias"], torch.cat(read, -1), shared["network.in"]).relu()
        out = torch.addmm(shared["network.out_bias"], hidden, shared["network.out"])
        shift, turn, stretch = out.split(3, -1)
        return self.setup.extent * shift, turn, stretch

    def _planes(self, level: int) -> list[Tensor]:
        return [self._parameters.shared[f"plane.{level}.{i}{j}"] for i, j in PAIRS]

    def motion_rates(self) -> dict[str, float]:
        c = self.config
        return {name: c.lr_planes if name.startswith("plane") else c.lr_network for name in self._parameters.shared}

    def motion_penalty(self, s: float) -> Tensor | None:
        """smooth * sum of the planes' mean squared second differences in time + variation * those of first ones in space."""
        c, terms = self.config, []
        for level in range(len(c.cells)):
            for (_, j), plane in zip(PAIRS, self._planes(level), strict=True):
                if j == 3 and c.smooth > 0:
                    terms.append(c.smooth * plane.diff(n=2, dim=1).square().mean())
                if c.variation > 0:
                    terms.append(c.variation * plane.diff(dim=0).square().mean())
                    if j < 3:
                        terms.append(c.variation * plane.diff(dim=1).square().mean())
        return torch.stack(terms).sum() if terms else None


def box_of(mean: Tensor) -> Tensor:
    """f32[2, 3]: the corners of a box around most of the points [N, 3]; what lies beyond moves like its nearest side."""
    low, high = torch.quantile(mean[:: 1 + len(mean) // 100_000].float(), torch.tensor([0.05, 0.95]), dim=0)
    middle, half = (low + high) / 2, (MARGIN * (high - low) / 2).clamp_min(1e-6 + 1e-3 * float((high - low).max()))
    return torch.stack([middle - half, middle + half])
