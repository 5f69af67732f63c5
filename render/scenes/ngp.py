"""A radiance field over a hash grid: features of places from tables of a few sizes, small networks, empty space passed over.

Source: Mueller et al., Instant Neural Graphics Primitives with a Multiresolution Hash Encoding, SIGGRAPH 2022. What
differs: fewer levels of more features each, which CPUs read faster; scenes without an edge are contracted (Mip-NeRF 360)
instead of being divided into cascades; samples that no light reaches are left out before the networks are trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from render.grid_field import Contraction, GridField
from render.heads import new_heads
from render.initial import SceneInit, SceneSetup
from render.kernels.hash_grid import HashGridSpec, hash_grid

ADAM = (0.9, 0.99, 1e-15)
"""beta1, beta2, epsilon of the paper."""


@dataclass(frozen=True)
class NgpConfig:
    """What a hash grid is made of, and how it is trained."""

    by_rays: ClassVar[bool] = True
    levels: int = 8
    features: int = 4
    """Of a level; 1, 2, 4, 8 or 16."""
    log2_size: int = 17
    """log2 of the most rows that a level's table has."""
    coarsest: int = 16
    """Cells along a side of the cube on the first level."""
    finest: int = 512
    """On the last level."""
    hidden: int = 64
    """Width of the networks."""
    contraction: Contraction = "auto"
    """Whether space is contracted, so that far things have room; auto: where photos have no mattes."""
    occupancy: bool = True
    """Whether cells that hold nothing are passed over."""
    cells: int = 64
    """Of that, along a side."""
    warm_up: int = 64
    """Steps until cells are first passed over."""
    steps_across: int = 256
    """Samples of a ray along a side of the scene's ball."""
    samples: int = 32768
    """That a step is trained on; how many rays that makes follows from the scene."""
    half: bool = True
    """Multiply in bfloat16 where that is faster."""
    ray_loss: Literal["mse", "huber", "charbonnier"] = "huber"
    lr: float = 1e-2
    """Adam's, of the networks, at the start."""
    lr_grid: float = 1e-2
    """Of the table."""
    lr_final: float = 0.1
    """Share of the rates that is left at the end; between, the decay is exponential."""

    @property
    def spec(self) -> HashGridSpec:
        """The levels of the grid."""
        return HashGridSpec.make(self.levels, self.features, self.log2_size, self.coarsest, self.finest)

    def build(self, init: SceneInit) -> NgpScene:
        """A new field: its points are not used."""
        generator = torch.Generator().manual_seed(init.setup.seed)
        tensors = new_heads(self.spec.width, self.hidden, generator)
        tensors["table"] = self.spec.make_table(generator)
        tensors["occupancy"] = torch.zeros(self.cells, self.cells, self.cells)
        return self.load(init.setup, tensors)

    def load(self, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> NgpScene:
        """A field of stored tensors."""
        return NgpScene(self, setup, tensors)


class NgpScene(GridField):
    """Shared tensors: "table" [rows, features], the networks of heads.py, "occupancy" [G, G, G]."""

    config: NgpConfig

    def __init__(self, config: NgpConfig, setup: SceneSetup, tensors: Mapping[str, Tensor]) -> None:
        self._spec = config.spec
        super().__init__(config, setup, tensors)
        self._parameters.adam = dict.fromkeys(self.tensors, ADAM)
        self._parameters.lazy = frozenset({"table"})

    def features(self, x: Tensor, time: Tensor | None, known: Tensor | None = None) -> Tensor:
        return hash_grid(x, self.tensors["table"], self._spec, known)
