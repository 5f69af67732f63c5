"""What a scene is to the trainer, the evaluator and the viewer: a protocol, its parameters, renderings and events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.cameras import Cameras

if TYPE_CHECKING:
    from render.densify import Edit
    from render.initial import SceneSetup
    from render.rasterize import RowGrads
    from render.splats import Splats


@dataclass(frozen=True)
class Rendering:
    """C views of one size."""

    rgb: Tensor
    """f32[C, H, W, 3], sRGB 0..1: sum of w_i c_i over the background given (black when none is given)."""
    alpha: Tensor
    """f32[C, H, W], sum of w_i."""
    z: Tensor
    """f32[C, H, W], alpha-normalised expected depth along +Z, world units; NaN where alpha = 0. Carries no gradient
    unless asked."""
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
    """Grids, MLPs: never densified."""
    edit: Callable[[Edit], None]
    """Copies rows of every per-splat column, and replaces `per_splat`; an optimiser hooks in to carry its moments along."""
    capacity: int = 0
    """Most rows that the columns will ever have."""
    row_grads: RowGrads | None = None
    """Where a backward pass leaves the gradients of the visible rows; None: gradients are in each tensor's `grad`."""
    adam: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """(beta1, beta2, eps) of Adam by the name of a shared tensor, where they are not the usual ones."""
    lazy: frozenset[str] = frozenset()
    """Names of shared tensors whose entries stay as they are, moments and all, where their gradient is exactly 0: hash tables,
    of which a step touches few entries."""
    penalize: Callable[[RowGrads], None] | None = None
    """Adds the gradients of row-wise regularisers to those of the visible rows, after the backward pass."""


class Scene(Protocol):
    """One representation. What more it can do is asked by method: a scene with `at(time) -> Splats` exports splats."""

    setup: SceneSetup
    config: Any
    """The frozen config that built it."""
    info: dict[str, Any]
    """JSON values about how the scene came to be: scene, splats, steps, long_side, background."""
    history: list[dict[str, Any]]
    """Rows of history.jsonl, of a scene that was read from its stage's folder."""
    refined: dict[str, NDArray[np.float64]]
    """cam_from_world f64[4, 4] of the training photos, by name, where training refined them; of a scene that was read."""

    @property
    def device(self) -> torch.device: ...

    def to(self, device: str) -> Any:
        """The scene on a device, for rendering."""
        ...

    def render(
        self,
        cameras: Cameras,
        background: Tensor | None = None,
        cam_from_world: Tensor | None = None,
        *,
        with_z: bool = False,
    ) -> Rendering:
        """Views of one size; `cam_from_world` [C, 4, 4] replaces the cameras' poses and may carry a gradient.

        with_z: also extra["weighted_z"] f32[C, H, W], sum of w_i z_i along +Z: over alpha it is the expected z, with gradients.
        """
        ...

    def parameters(self) -> Parameters: ...

    def schedule(self, progress: float) -> dict[str, float | Tensor]:
        """Set what depends on progress (0..1), and return this moment's learning rate of each parameter."""
        ...

    def regularize(self, rendering: Rendering) -> Tensor | None:
        """A loss beside the photometric one, differentiable; None: none."""
        ...

    def after_step(self, step: int, progress: float) -> bool:
        """Densification lives here. True when rows were edited."""
        ...

    def finish(self) -> None:
        """Called once after the last step: what never shows may go."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything that restore() needs to go on with the same bits."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None: ...


class SplatScene(Scene, Protocol):
    """A scene that is splats at any time."""

    def at(self, time: float | None = None) -> Splats: ...
