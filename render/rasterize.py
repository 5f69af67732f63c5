"""The one door to splat rendering: rasterize(Splats, Cameras) -> Rendering, with gradients, on the CPU and on CUDA."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.cameras import Cameras
from recon.errors import InputError
from render.kernels import reference
from render.scene import Rendering
from render.splats import Splats


@dataclass
class RowGrads:
    """A sink for gradients of visible rows only. Backward passes add to it; clear() empties it."""

    rows: Tensor | None = None
    """i64[M], rows that some camera saw, ascending; None before a backward pass."""
    grads: dict[str, Tensor] = field(default_factory=dict)
    """Column name -> f32[M, ...]; "sh" holds the bands in use only: f32[M, (sh_degree + 1)^2, 3]."""

    def clear(self) -> None:
        self.rows, self.grads = None, {}

    def add(self, rows: Tensor, grads: dict[str, Tensor]) -> None:
        """Add gradients of further rows (i64[M], ascending, unique)."""
        if self.rows is None:
            self.rows, self.grads = rows, dict(grads)
            return
        union = torch.unique(torch.cat([self.rows, rows]))
        here, there = torch.searchsorted(union, self.rows), torch.searchsorted(union, rows)
        for name, new in grads.items():
            old = self.grads[name]
            shape = list(new.shape)
            shape[0] = len(union)
            if new.dim() == 3:
                shape[1] = max(old.shape[1], new.shape[1])
            total = new.new_zeros(shape)
            if new.dim() == 3:
                total[here, : old.shape[1]] += old
                total[there, : new.shape[1]] += new
            else:
                total[here] += old
                total[there] += new
            self.grads[name] = total
        self.rows = union


def rasterize(
    splats: Splats,
    cameras: Cameras,
    *,
    background: Tensor | None = None,
    cam_from_world: Tensor | None = None,
    sh_degree: int | None = None,
    antialiased: bool = False,
    depth: bool = True,
    near: float = 0.01,
    row_grads: RowGrads | None = None,
) -> Rendering:
    """Render splats [N] in C pinhole cameras of one size, on the device of the splats' columns.

    background: f32[3] or f32[C, H, W, 3]; black without one.
    cam_from_world: f32[C, 4, 4], rigid, instead of the cameras' own poses; gradients flow to it if it requires them.
    sh_degree: use the first bands only (None: all that the splats have).
    antialiased: scale opacity by what the 0.3 px filter adds to the splat's area (Yu et al., Mip-Splatting, 2024).
    depth: also blend z; without it Rendering.z is NaN everywhere. z carries no gradient.
    near: splats at z <= near are left out, world units. A scene's units are arbitrary: pass what suits its size.
    row_grads: a sink for the columns' gradients; then autograd gives the columns none, and they must require gradients.
    Raises InputError when the cameras differ in size or are not pinhole.
    """
    size = _check(splats, cameras, background, cam_from_world)
    degree = splats.sh_degree if sh_degree is None else min(sh_degree, splats.sh_degree)
    columns = splats.columns()
    seen: list[Tensor] = []
    if row_grads is not None:
        columns = dict(zip(columns, _Capture.apply(row_grads, seen, degree, *columns.values()), strict=True))
    views = []
    for i in range(len(cameras)):
        pose = torch.as_tensor(cameras.cam_from_world[i]) if cam_from_world is None else cam_from_world[i]
        flat = reference.project(
            columns, pose, torch.as_tensor(cameras.K[i]), size, sh_degree=degree, antialiased=antialiased, near=near
        )
        seen.append(flat.rows)
        bg = torch.zeros(3) if background is None else background[i] if background.dim() == 4 else background
        views.append(reference.blend(flat, size, bg))
    rgb, alpha, z = (torch.stack(v).float() for v in zip(*views, strict=True))
    return Rendering(rgb, alpha, z.detach() if depth else torch.full_like(alpha, torch.nan))


def _check(
    splats: Splats, cameras: Cameras, background: Tensor | None, cam_from_world: Tensor | None
) -> tuple[int, int]:
    """(width, height) of all cameras, after the checks that rasterize() promises."""
    if cameras.model != "pinhole":
        raise InputError(
            f"Splats are rendered in pinhole cameras, these are {cameras.model!r}: undistort the photos first (recon sfm)."
        )
    if len(cameras) == 0 or (cameras.size != cameras.size[0]).any():
        sizes = sorted({(int(w), int(h)) for w, h in cameras.size})
        raise InputError(
            f"One call renders cameras of one size, these have {sizes}: resize them or call once per size."
        )
    width, height = (int(s) for s in cameras.size[0])
    if np.abs(cameras.K[:, 0, 1]).max() > 1e-9 * np.abs(cameras.K[:, 0, 0]).max():
        raise InputError("Splats are rendered in cameras without skew: K[0, 1] is not 0.")
    count = len(cameras)
    if background is not None and background.shape not in {(3,), (count, height, width, 3)}:
        raise ValueError(f"background must be [3] or [{count}, {height}, {width}, 3], not {list(background.shape)}")
    if cam_from_world is not None and cam_from_world.shape != (count, 4, 4):
        raise ValueError(f"cam_from_world must be [{count}, 4, 4], not {list(cam_from_world.shape)}")
    return width, height


class _Capture(torch.autograd.Function):
    """Identity on the columns whose backward hands the visible rows of their gradients to a RowGrads."""

    @staticmethod
    def forward(ctx: Any, sink: RowGrads, seen: list[Tensor], degree: int, *columns: Tensor) -> tuple[Tensor, ...]:
        ctx.sink, ctx.seen, ctx.degree = sink, seen, degree
        return tuple(column.view_as(column) for column in columns)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, ...]:
        rows = torch.unique(torch.cat(ctx.seen))
        picked = dict(zip(("mean", "log_scale", "quat", "opacity_logit", "sh"), (g[rows] for g in grads), strict=True))
        picked["sh"] = picked["sh"][:, : (ctx.degree + 1) ** 2]
        ctx.sink.add(rows, picked)
        return (None,) * (3 + len(grads))
