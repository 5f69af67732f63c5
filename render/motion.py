"""What scenes of moving splats share: a still start, offsets of each splat over time, and gradients that go back through them.

Notation: s is a moment as a share of the scene's time, 0..1. A splat's columns hold it at rest; at a moment it is moved by a
shift (world units), turned by the quaternion (1, turn) normalised, and stretched (added to log_scale). A motion of zeros
leaves every bit as it is, so that the scene that begins to move is the still one.

Gradients: rasterize() sees leaves, the moved columns, and leaves the gradients of the visible rows in the sink. Before the
optimiser uses them they are taken back through the motion of just these rows: to the columns at rest, which stay on the
optimiser's path of visible rows, and to the shared tensors, which have gradients of autograd's.

A splat with moves = 0 stands still, by definition and in training too: leaving out its motion is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from recon.cameras import Cameras
from recon.errors import InputError
from render.initial import SceneInit, SceneSetup, ball_points, spacing
from render.rasterize import RowGrads
from render.scene import Rendering
from render.scenes.gs import EDIT_EVERY, GsConfig, GsScene
from render.splats import Splats, quat_product

MOVED = ("mean", "log_scale", "quat")
LOOKS = 9
"""Moments at which a splat's path is looked at to tell whether it stands still."""
Motion = tuple[Tensor, Tensor, Tensor]
"""(shift f32[M, 3] world units, turn f32[M, 3], stretch f32[M, 3])."""


@dataclass(frozen=True)
class MotionConfig(GsConfig):
    """That of gs.py, and when and how much splats move."""

    needs_times: ClassVar[bool] = True
    still_until: float = 0.05
    """Progress at which motion begins: up to there the scene is trained as if nothing moved."""
    scatter: float = 0.25
    """Random points in the volume that the cameras share, relative to the measured ones; 0: none."""
    gate: float = 5e-3
    """Weight of the mean gate of the visible splats that move: those whose motion brings nothing come to a stand; 0: all move."""
    gate_from: float = 0.2
    """Progress from which on gates are learned; before, all are open."""
    lr_moves: float = 0.02
    """Of the gates."""
    rest: float = 0.0
    """Weight of the mean length of the visible splats' shifts, in units of the extent; costs where things do move."""
    settle: float = 2e-3
    """Splats whose path is shorter than this, in units of the extent, stand still from then on; 0: none does."""
    settle_from: float = 0.3
    """Progress from which on they do."""
    every: int = 4
    """Steps between those whose loss holds the terms of the motion, which then weigh as many times more."""

    def build(self, init: SceneInit) -> Any:
        """A scene at rest that will begin to move at `still_until`."""
        if init.setup.times is None or init.setup.times[0] == init.setup.times[1]:
            found = "the photos tell no times" if init.setup.times is None else "all photos were taken at one time"
            raise InputError(
                f"A scene that moves needs photos of two moments or more, and {found}. Give a video, numbered frames with "
                "--fps, or transforms.json with a time for each frame; or train what stands still with --scene gs."
            )
        more = self._scattered(init)
        scene: Any = super().build(more)
        scene.stand_still(len(init.xyz) if len(more.xyz) > len(init.xyz) else None)
        return scene

    def _scattered(self, init: SceneInit) -> SceneInit:
        """With random points as well: structure from motion finds none on what moves."""
        amount = min(int(self.scatter * len(init.xyz)), init.setup.splats - len(init.xyz))
        if init.guessed or init.volume is None or amount <= 0:
            return init
        xyz, rgb = ball_points(*init.volume, amount, init.setup.seed)
        xyz, rgb = np.concatenate([init.xyz, xyz]), np.concatenate([init.rgb, 0.4 + 0.2 * rgb])
        return replace(init, xyz=xyz, rgb=rgb, spacing=spacing(xyz, 1e-6 * init.setup.extent))

    def load(self, setup: SceneSetup, columns: dict[str, Tensor]) -> Any:
        """A scene of stored columns and shared tensors; of columns alone, one whose motion is zero."""
        shared = {name.removeprefix("shared."): t for name, t in columns.items() if name.startswith("shared.")}
        columns = {name: t for name, t in columns.items() if not name.startswith("shared.")}
        columns.setdefault("moves", torch.ones(len(columns["mean"]), device=columns["mean"].device))
        return self.scene(setup, columns, shared or self.motion(setup, columns["mean"].detach()))

    def motion(self, setup: SceneSetup, mean: Tensor) -> dict[str, Tensor]:
        """The shared tensors of a motion of zero for splats at `mean` f32[N, 3]."""
        raise NotImplementedError

    def scene(self, setup: SceneSetup, columns: dict[str, Tensor], shared: dict[str, Tensor]) -> Any:
        raise NotImplementedError


class MovingScene(GsScene):
    """GsScene whose splats move. A representation says how: motion_at(), motion_rates(), motion_penalty()."""

    config: MotionConfig
    fixed: tuple[str, ...] = ()
    """Shared tensors that no optimiser changes."""

    def __init__(
        self, config: MotionConfig, setup: SceneSetup, columns: dict[str, Tensor], shared: dict[str, Tensor]
    ) -> None:
        super().__init__(config, setup, columns)
        self._parameters.shared = {
            name: tensor.detach().to(setup.device, copy=True).requires_grad_(name not in self.fixed)
            for name, tensor in shared.items()
        }
        self._progress, self._step = 1.0, 0
        self._drawn: _Drawn | None = None

    # What a representation says

    def motion_at(self, rows: Tensor, mean: Tensor, s: float) -> Motion:
        """The motion at s of rows i64[M], at rest at mean f32[M, 3]; differentiable in `mean` and the shared tensors."""
        raise NotImplementedError

    def motion_rates(self) -> dict[str, float]:
        """Learning rates of the shared tensors at the start."""
        raise NotImplementedError

    def motion_penalty(self, s: float) -> Tensor | None:
        """What the loss holds beside the photos, of the shared tensors at a moment of the photo's; None: nothing."""
        raise NotImplementedError

    def begin(self) -> None:
        """Called once, when motion begins."""

    # What all do

    @property
    def times(self) -> tuple[float, float]:
        """(start, end), seconds."""
        assert self.setup.times is not None
        start, end = self.setup.times
        return start, end

    @property
    def fps(self) -> float:
        """Moments a second at which there were photos."""
        return self.setup.fps

    @torch.no_grad()
    def stand_still(self, measured: int | None) -> None:
        """Before the first step: nothing moves yet, and rows from `measured` on are guesses."""
        self._progress = 0.0
        if measured is not None:
            faint = self.config.init_opacity_guessed
            self._parameters.per_splat["opacity_logit"][measured:] = math.log(faint / (1 - faint))

    def share(self, time: float | None) -> float:
        """s of a time in seconds; the ends beyond the ends, the start for None."""
        start, end = self.times
        return 0.0 if time is None else min(1.0, max(0.0, (float(time) - start) / (end - start)))

    @torch.no_grad()
    def at(self, time: float | None = None) -> Splats:
        """The splats at a time in seconds, at the start for None; without gradients. extra["moves"]: 0 where a splat
        stands still."""
        rows = self._moving()
        columns = {name: self._parameters.per_splat[name].detach() for name in self._parameters.per_splat}
        if len(rows):
            rest = [columns[name][rows] for name in MOVED]
            motion = self._motion(rows, rest[0], columns["moves"][rows], self.share(time))
            for name, column in zip(MOVED, moved(rest, motion), strict=True):
                columns[name] = columns[name].index_copy(0, rows, column)
        return self._splats(columns)

    def render(
        self,
        cameras: Cameras,
        background: Tensor | None = None,
        cam_from_world: Tensor | None = None,
        *,
        with_z: bool = False,
    ) -> Rendering:
        """Each camera at its own time; cameras without times see the start."""
        if cameras.time is None or (cameras.time == cameras.time[0]).all():
            return super().render(cameras, background, cam_from_world, with_z=with_z)
        parts = []
        for i in range(len(cameras)):
            behind = background[i : i + 1] if background is not None and background.dim() == 4 else background
            pose = None if cam_from_world is None else cam_from_world[i : i + 1]
            parts.append(super().render(cameras[i], behind, pose, with_z=with_z))
        extra = {name: torch.cat([part.extra[name] for part in parts]) for name in parts[0].extra}
        rgb, alpha, z = (torch.cat(images) for images in zip(*((p.rgb, p.alpha, p.z) for p in parts), strict=True))
        return Rendering(rgb, alpha, z, extra)

    def _seen(self, cameras: Cameras) -> Splats:
        time = None if cameras.time is None else float(cameras.time[0])
        if not torch.is_grad_enabled():
            return self.at(time)
        rows, columns = self._moving(), dict(self._parameters.per_splat)
        s = self.share(time)
        rest = [columns[name].detach()[rows].requires_grad_() for name in MOVED]
        gate = columns["moves"].detach()[rows].requires_grad_()
        motion = self._motion(rows, rest[0], gate, s) if len(rows) else None
        placed = moved(rest, motion) if motion else tuple(rest)
        for name, column in zip(MOVED, placed, strict=True):
            columns[name] = columns[name].detach().index_copy(0, rows, column.detach()).requires_grad_()
        self._drawn = _Drawn(s, rows, rest, gate, motion, placed, {name: columns[name] for name in MOVED})
        return self._splats(columns)

    def _splats(self, columns: dict[str, Tensor]) -> Splats:
        five = (columns[name] for name in ("mean", "log_scale", "quat", "opacity_logit", "sh"))
        return Splats(*five, extra={"moves": columns["moves"].detach()}, world=self.setup.world)

    def _moving(self) -> Tensor:
        """i64[M], the rows that have a motion now."""
        if self._progress < self.config.still_until:
            return torch.zeros(0, dtype=torch.int64, device=self.device)
        return torch.nonzero(self._parameters.per_splat["moves"].detach() > 0).ravel()

    def _motion(self, rows: Tensor, mean: Tensor, gate: Tensor, s: float) -> Motion:
        """motion_at() times the splats' gates [M]."""
        shift, turn, stretch = self.motion_at(rows, mean, s)
        return gate[:, None] * shift, gate[:, None] * turn, gate[:, None] * stretch

    def schedule(self, progress: float) -> dict[str, float | Tensor]:
        before, self._progress = self._progress, progress
        if before < self.config.still_until <= progress:
            self.begin()
        rates = super().schedule(progress)
        rates["moves"] = self.config.lr_moves
        return rates | {name: rate * self.config.lr_final**progress for name, rate in self.motion_rates().items()}

    def regularize(self, rendering: Rendering) -> Tensor | None:
        if self._drawn is None or self._step % self.config.every or len(self._drawn.rows) == 0:
            return None
        penalty = self.motion_penalty(self._drawn.s)
        return None if penalty is None else self.config.every * penalty

    def _penalize(self, row_grads: RowGrads) -> None:
        """Take the gradients of the moved columns back to the columns at rest and to the shared tensors."""
        drawn, self._drawn = self._drawn, None
        if drawn is not None and row_grads.rows is not None:
            c = self.config
            drawn.back(row_grads, c.rest / self.setup.extent, c.gate if self._progress >= c.gate_from else 0.0)
        super()._penalize(row_grads)

    def after_step(self, step: int, progress: float) -> bool:
        self._step = step
        with torch.no_grad():
            self._parameters.per_splat["moves"].clamp_(0, 1)
        edited = super().after_step(step, progress)
        if self.config.settle > 0 and progress >= self.config.settle_from and step % (2 * EDIT_EVERY) == 0:
            self._settle()
        return edited

    @torch.no_grad()
    def _settle(self) -> None:
        """Splats whose ends hardly move over the scene's time stand still from now on, where they are on average."""
        rows, columns = self._moving(), self._parameters.per_splat
        if len(rows) == 0:
            return
        path, middle = self.path_lengths(rows)
        still = path < self.config.settle * self.setup.extent
        rest = rows[still]
        shift, turn, stretch = (part[still] for part in middle)
        held = moved([columns[name].detach()[rest] for name in MOVED], (shift, turn, stretch))
        for name, column in zip(MOVED, held, strict=True):
            columns[name][rest] = column
        columns["moves"][rest] = 0.0

    @torch.no_grad()
    def path_lengths(self, rows: Tensor) -> tuple[Tensor, Motion]:
        """f32[M], world units, how far the ends of rows i64[M] go from where they are on average; and their mean motion."""
        columns = self._parameters.per_splat
        mean, gate = columns["mean"].detach()[rows], columns["moves"].detach()[rows]
        looks = [self._motion(rows, mean, gate, i / (LOOKS - 1)) for i in range(LOOKS)]
        shift, turn, stretch = (torch.stack(parts) for parts in zip(*looks, strict=True))
        size = torch.exp(columns["log_scale"].detach()[rows].amax(-1))
        path = _span(shift) + size * (2 * _span(turn) + _span(stretch))
        return path, (shift.mean(0), turn.mean(0), stretch.mean(0))

    def state(self) -> dict[str, Tensor]:
        when = torch.tensor([self._progress, self._step], dtype=torch.float64)
        return super().state() | {"when": when}

    def restore(self, state: dict[str, Tensor]) -> None:
        super().restore(state)
        self._progress, self._step = float(state["when"][0]), int(state["when"][1])


def moved(rest: Sequence[Tensor], motion: Motion) -> tuple[Tensor, Tensor, Tensor]:
    """The columns mean, log_scale and quat [M, ...] at rest, moved: the same bits where the motion is zero."""
    (mean, log_scale, quat), (shift, turn, stretch) = rest, motion
    turned = quat_product(torch.cat([torch.ones_like(turn[:, :1]), turn], -1), quat)
    return mean + shift, log_scale + stretch, turned


def swung(turn: Tensor, arm: Tensor) -> Tensor:
    """How vectors [..., 3] change when the quaternion (1, turn) normalised turns them; exactly 0 for a turn of 0."""
    cross = torch.linalg.cross(turn, arm)
    return 2 * (cross + torch.linalg.cross(turn, cross)) / (1 + turn.square().sum(-1, keepdim=True))


def swings(turn: Tensor) -> Tensor:
    """f32[K, 3, 3]: R - 1 of the quaternions (1, turn) normalised; exactly 0 for turns of 0."""
    x, y, z = turn.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(-1, 3, 3)
    return 2 * (cross + cross @ cross) / (1 + turn.square().sum(-1))[:, None, None]


def _span(path: Tensor) -> Tensor:
    """f32[M]: the longest way of a path [T, M, 3] from its mean."""
    return (path - path.mean(0)).norm(dim=-1).amax(0)


@dataclass(frozen=True)
class _Drawn:
    """What was rendered last, with its graph."""

    s: float
    rows: Tensor
    """i64[M], that move."""
    rest: list[Tensor]
    """Leaves [M, ...]: their columns at rest."""
    gate: Tensor
    """Leaf [M]: their gates."""
    motion: Motion | None
    """None before anything moves."""
    placed: tuple[Tensor, ...]
    """[M, ...], computed from both."""
    columns: dict[str, Tensor]
    """Leaves [N, ...]: what rasterize() was given."""

    def back(self, row_grads: RowGrads, rest: float, gate: float) -> None:
        """Replace the gradients of visible rows that move by those of their columns at rest, `rest` times the mean length of
        their shifts counted in; leave those of the shared tensors in these."""
        row_grads.absorb(self.columns)
        assert row_grads.rows is not None
        if self.motion is None:
            return
        slot = torch.full((len(self.columns["mean"]),), -1, device=self.rows.device)
        slot[row_grads.rows] = torch.arange(len(row_grads.rows), device=slot.device)
        here = torch.nonzero(slot[self.rows] >= 0).ravel()
        there = slot[self.rows][here]
        if len(here) == 0:
            return
        pulls = [torch.zeros_like(column) for column in (*self.placed, self.motion[0])]
        for name, pull in zip(MOVED, pulls, strict=False):
            pull[here] = row_grads.grads[name][there]
        pulls[-1][here] = rest / len(here) * torch.nn.functional.normalize(self.motion[0].detach()[here], dim=-1)
        with torch.enable_grad():
            torch.autograd.backward((*self.placed, self.motion[0]), pulls)
        for name, leaf in zip(MOVED, self.rest, strict=True):
            assert leaf.grad is not None
            row_grads.grads[name][there] = leaf.grad[here]
        if gate > 0:
            assert self.gate.grad is not None
            row_grads.grads["moves"] = torch.zeros(len(row_grads.rows), device=slot.device)
            row_grads.grads["moves"][there] = self.gate.grad[here] + gate / len(here)
