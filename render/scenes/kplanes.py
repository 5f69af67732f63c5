"""A radiance field over planes: features of a place are read from planes of each pair of its coordinates, time among them.

Source: Fridovich-Keil et al., K-Planes: Explicit Radiance Fields in Space, Time, and Appearance, CVPR 2023. Three planes
for captures that stand still, six where photos have times that differ: space (xy, xz, yz) and time (xt, yt, zt), the latter
1 at the start so that they change nothing. Products of planes on several scales, one beside another, go through the
small networks of heads.py; occupied cells (at any time) are sampled, as in ngp.py, instead of proposals.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from render.grid_field import Contraction, GridField
from render.heads import new_heads
from render.initial import SceneInit, SceneSetup
from render.kernels.plane_grid import plane_grid

ADAM = (0.9, 0.99, 1e-15)
"""beta1, beta2, epsilon."""
TIME = 3
"""The coordinate that is time."""


@dataclass(frozen=True)
class KplanesConfig:
    """What planes are made of, and how they are trained."""

    by_rays: ClassVar[bool] = True
    features: int = 16
    """Of a plane."""
    scales: tuple[int, ...] = (32, 64, 128)
    """Texels along a side of the space planes."""
    moments: int = 25
    """Texels along time."""
    combine: Literal["multiply", "add"] = "multiply"
    """How the planes of a scale become one feature."""
    timed: bool = True
    """Whether photos' times are used."""
    tv: float = 2e-4
    """Weight of the squared differences between neighbours on space planes."""
    smooth: float = 1e-2
    """Of the squared second differences along time."""
    still: float = 1e-4
    """Of |value - 1| on time planes: what does not move should not change."""
    penalty_every: int = 4
    """Steps between those that have these terms, which then weigh as many times more."""
    hidden: int = 64
    contraction: Contraction = "auto"
    """Whether space is contracted, so that far things have room; auto: where photos have no mattes."""
    occupancy: bool = True
    """Whether cells that hold nothing at any time are passed over."""
    cells: int = 64
    """Of that, along a side."""
    warm_up: int = 64
    """Steps until cells are first passed over."""
    steps_across: int = 192
    """Samples of a ray along a side of the scene's ball."""
    samples: int = 16384
    """That a step is trained on; how many rays that makes follows from the scene."""
    half: bool = True
    """Multiply in bfloat16 where that is faster."""
    ray_loss: Literal["mse", "huber", "charbonnier"] = "mse"
    lr: float = 1e-2
    """Adam's, of the networks, at the start."""
    lr_grid: float = 2e-2
    """Of the planes."""
    lr_final: float = 0.1
    """Share of the rates that is left at the end; between, the decay is exponential."""

    def build(self, init: SceneInit) -> KplanesScene:
        """A new field: its points are not used."""
        generator = torch.Generator().manual_seed(init.setup.seed)
        tensors = new_heads(self.features * len(self.scales), self.hidden, generator)
        moving = self.moves(init.setup)
        for side in self.scales:
            for i, j in itertools.combinations(range(4 if moving else 3), 2):
                shape = (side, self.moments if j == TIME else side, self.features)
                plane = torch.ones(shape) if j == TIME else 0.1 + 0.4 * torch.rand(shape, generator=generator)
                tensors[name_of(side, i, j)] = plane
        tensors["occupancy"] = torch.zeros(self.cells, self.cells, self.cells)
        return self.load(init.setup, tensors)

    def moves(self, setup: SceneSetup) -> bool:
        """Whether there are planes of time: where the photos' times are told, and differ."""
        return self.timed and setup.times is not None and setup.times[1] > setup.times[0]

    def load(self, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> KplanesScene:
        """A field of stored tensors."""
        return KplanesScene(replace(self, scales=tuple(self.scales)), setup, tensors)


def name_of(side: int, i: int, j: int) -> str:
    """The shared tensor that holds the plane of coordinates i and j on a scale: "plane.64.xt"."""
    return f"plane.{side}.{'xyzt'[i]}{'xyzt'[j]}"


class KplanesScene(GridField):
    """Shared tensors: "plane.SIDE.ij" [H, W, features], the networks of heads.py, "occupancy" [G, G, G]."""

    config: KplanesConfig

    def __init__(self, config: KplanesConfig, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(config, setup, tensors)
        self.moving = config.moves(setup)
        self._parameters.adam = dict.fromkeys(self.tensors, ADAM)
        pairs = list(itertools.combinations(range(4 if self.moving else 3), 2))
        self._planes = [[self.tensors[name_of(side, i, j)] for i, j in pairs] for side in config.scales]
        self._timed = [j == TIME for _, j in pairs]
        self._steps = 0

    def features(self, x: Tensor, time: Tensor | None, known: Tensor | None = None) -> Tensor:
        place = 2 * x - 1
        if self.moving:
            assert self.setup.times is not None
            start, end = self.setup.times
            when = x.new_full((len(x),), start) if time is None else time
            place = torch.cat([place, (2 * (when - start) / (end - start) - 1)[:, None]], 1)
        return torch.cat([plane_grid(place, planes, self.config.combine) for planes in self._planes], 1)

    def some_times(self, count: int) -> Tensor | None:
        if not self.moving or self.setup.times is None:
            return None
        start, end = self.setup.times
        return (start + (end - start) * torch.rand(count, generator=self._generator)).to(self.device)

    def penalty(self) -> Tensor | None:
        """Planes smooth in space, smooth in time, and time planes near 1; means over texels, summed over planes."""
        c = self.config
        if self._steps % c.penalty_every:
            return None
        total = torch.zeros((), device=self.device)
        for planes in self._planes:
            for plane, timed in zip(planes, self._timed, strict=True):
                if timed:
                    total = total + c.smooth * roughness(plane) + c.still * (plane - 1).abs().mean()
                    total = total + c.tv * (plane[1:] - plane[:-1]).square().mean()
                else:
                    total = total + c.tv * variation(plane)
        return c.penalty_every * total

    def after_step(self, step: int, progress: float) -> bool:
        self._steps = step
        return super().after_step(step, progress)

    def finish(self) -> None:
        super().finish()
        self.info |= {"planes": len(self._timed), "plane_bytes": plane_bytes(self._planes)}

    def state(self) -> dict[str, Tensor]:
        return super().state() | {"steps": torch.tensor(self._steps)}

    def restore(self, state: dict[str, Tensor]) -> None:
        super().restore(state)
        self._steps = int(state["steps"])


def variation(plane: Tensor) -> Tensor:
    """f32[]: mean squared difference between neighbours of a plane [H, W, F] along both of its axes (total variation)."""
    return (plane[1:] - plane[:-1]).square().mean() + (plane[:, 1:] - plane[:, :-1]).square().mean()


def roughness(plane: Tensor) -> Tensor:
    """f32[]: mean squared second difference along time, the second axis of a plane [H, W, F]; 0 with fewer than 3 moments."""
    if plane.shape[1] < 3:
        return plane.new_zeros(())
    return (plane[:, 2:] - 2 * plane[:, 1:-1] + plane[:, :-2]).square().mean()


def plane_bytes(planes: Sequence[Sequence[Tensor]]) -> int:
    """Bytes of all planes."""
    return sum(plane.numel() * plane.element_size() for scale in planes for plane in scale)


def dense_bytes(resolution: Sequence[int], features: int) -> int:
    """Bytes of a dense float32 grid with `resolution` cells along each coordinate: what planes stand for."""
    return 4 * features * math.prod(resolution)
