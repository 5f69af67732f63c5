"""What a scene is to the trainer, the evaluator and the viewer: a protocol, its parameters, its renderings, its training events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from recon.cameras import Cameras

if TYPE_CHECKING:
    from render.splats import Splats


@dataclass(frozen=True)
class Rendering:
    """C views of one size."""

    rgb: Tensor
    """f32[C, H, W, 3], sRGB 0..1: sum of w_i c_i over the background given (black when none is given)."""
    alpha: Tensor
    """f32[C, H, W], sum of w_i."""
    z: Tensor
    """f32[C, H, W], alpha-normalised expected depth along +Z, world units; NaN where alpha = 0. Carries no gradient unless asked."""
    extra: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainEvent:
    """What train() yields; viewers and progress bars listen."""

    kind: str
    """"step", "checkpoint", "densify" or "end"."""
    step: int
    progress: float
    """0..1 of the schedule."""
    loss: float
    """Smoothed over the last steps."""
    seconds: float
    """Training wall time, resumed time counted in."""
    splats: int
    long_side: int
    """Resolution of this moment."""
    values: dict[str, float] = field(default_factory=dict)


@dataclass
class Parameters:
    """The tensors that an optimiser may change, kept apart by what densification may do with them."""

    per_splat: dict[str, Tensor]
    """Columns [N, ...]: rows come and go together, and the optimiser's moments with them."""
    shared: dict[str, Tensor]
    """Grids, MLPs, poses: never densified."""
    edit: Callable[[Any], None]
    """edit(rows): keep, copy or add rows of every per-splat column and of its moments. See densify.py."""


class Scene(Protocol):
    """One representation. What more it can do is asked by method: a scene with `at(time) -> Splats` exports splats."""

    def render(self, cameras: Cameras, background: Tensor | None = None) -> Rendering: ...
    def parameters(self) -> Parameters: ...
    def regularize(self, rendering: Rendering) -> Tensor: ...
    def after_step(self, step: int, info: Any) -> None: ...
    def state(self) -> dict[str, Tensor]: ...


class SplatScene(Scene, Protocol):
    """A scene that is splats at any time."""

    def at(self, time: float | None = None) -> Splats: ...
