"""The one door to splat rendering: rasterize(Splats, Cameras) -> Rendering, with gradients, on the CPU and on CUDA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recon.cameras import Cameras
from recon.errors import InputError
from render.kernels.features import MOST
from render.kernels.grads import ColumnGrads
from render.kernels.layout import camera_block
from render.kernels.median import median_z
from render.kernels.pipeline import NAMES, View, ViewGradients, padded, render_view, view_gradients
from render.scene import Rendering
from render.splats import Splats

MAX_SIDE = 65536
"""Pixels: the tiles of a larger image have numbers of more bits than the kernels give them."""


@dataclass
class RowGrads:
    """A sink for gradients of visible rows only. Backward passes add to it; clear() empties it."""

    rows: Tensor | None = None
    """i64[M], rows that some camera saw, ascending; None before a backward pass."""
    grads: ColumnGrads = field(default_factory=lambda: ColumnGrads({}))
    """Column name -> f32[M, ...]; "sh" holds the bands in use only, f32[M, (sh_degree + 1)^2, 3], and is made when
    asked for."""
    penalty: tuple[float, float] = (0.0, 0.0)
    """Weights, in the loss, of every visible splat's opacity and of the sum of its scales (world units): their gradients
    are added to each view's, at next to no cost. The loss that the caller computes does not hold them."""

    def clear(self) -> None:
        self.rows, self.grads = None, ColumnGrads({})

    def add(self, rows: Tensor, grads: ColumnGrads) -> None:
        """Add gradients of further rows (i64[M], ascending, unique)."""
        if self.rows is None:
            self.rows, self.grads = rows, grads
            return
        union = torch.unique(torch.cat([self.rows, rows]))
        here, there = torch.searchsorted(union, self.rows), torch.searchsorted(union, rows)
        totals = {}
        for name, new in grads.items():
            old = self.grads[name]
            shape = [len(union), *new.shape[1:]]
            if name == "sh":
                shape[1] = max(old.shape[1], new.shape[1])
            totals[name] = new.new_zeros(shape)
            for index, part in ((here, old), (there, new)):
                _leading(totals[name], part).index_add_(0, index, part)
        self.rows, self.grads = union, ColumnGrads(totals)

    def absorb(self, columns: Mapping[str, Tensor]) -> None:
        """Add the visible rows of the gradients that autograd left in the columns [N, ...] themselves, and clear those.

        They come from what a loss computes of columns beside rasterize(): features, regularisers. Rows that no camera saw
        stay out: an optimiser of visible rows does not move them. Does nothing before a backward pass of rasterize().
        """
        for name, column in columns.items():
            if column.grad is None or self.rows is None:
                continue
            part = column.grad[self.rows]
            if name == "sh":
                part = part[:, : self.grads[name].shape[1]]
            self.grads[name] = self.grads[name] + part
            column.grad = None


def _leading(column: Tensor, part: Tensor) -> Tensor:
    """The first entries of `column` [N, K, ...] that `part` [M, k, ...] is about."""
    return column[:, : part.shape[1]] if part.dim() == 3 else column


@dataclass(frozen=True)
class _Options:
    cameras: Cameras
    size: tuple[int, int]
    degree: int
    antialiased: bool
    depth: bool
    near: float
    sink: RowGrads | None


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
    median: float | None = None,
    features: Tensor | None = None,
) -> Rendering:
    """Render splats [N] in C pinhole cameras of one size, on the device of the splats' columns.

    background: f32[3] or f32[C, H, W, 3]; black without one.
    cam_from_world: f32[C, 4, 4], rigid, instead of the cameras' own poses; gradients flow to it if it requires them.
    sh_degree: use the first bands only (None: all that the splats have).
    antialiased: scale opacity by what the 0.3 px filter adds to the splat's area (Yu et al., Mip-Splatting, 2024).
    depth: also blend z; without it Rendering.z is NaN everywhere. z carries no gradient.
    near: splats at z <= near are left out, world units. A scene's units are arbitrary: pass what suits its size.
    row_grads: a sink for the columns' gradients; then autograd gives the columns none. One of them must require
    gradients, or no backward pass takes place.
    median: also put extra["median_z"] f32[C, H, W] on the CPU: z where the transmittance comes to this, 0.5 for the median;
    NaN where it stays above (kernels/median.py). At least 0.1. Carries no gradient; costs a second pass.
    features: f32[N, D] or f32[C, N, D], D = 1 to 8 further numbers of every splat, finite where it is visible: blended like
    colours, over 0, into extra["features"] f32[C, H, W, D], the sum of w_i f_i (not divided by alpha). Gradients flow to
    them by autograd, zero in rows that are not visible, and through the weights w_i to columns and poses as those of rgb
    do, into row_grads, too. Features that were computed from columns also leave gradients in the columns' own `grad`:
    RowGrads.absorb() adds those up.
    Raises InputError when the cameras differ in size or are not pinhole, MissingPart on CUDA without gsplat.
    """
    size = _check(cameras, background, cam_from_world)
    _check_features(features, len(cameras), len(splats))
    degree = splats.sh_degree if sh_degree is None else min(sh_degree, splats.sh_degree)
    options = _Options(cameras, size, degree, antialiased, depth, near, row_grads)
    extra = {} if median is None else {"median_z": _median(splats, options, cam_from_world, median)}
    if splats.mean.is_cuda:
        from render.rasterize_cuda import rasterize_cuda

        drawn = rasterize_cuda(splats, options, background, cam_from_world, features)
        return replace(drawn, extra=drawn.extra | extra)
    rgb, alpha, z, blended = _Rasterize.apply(options, background, cam_from_world, features, *splats.columns().values())
    if not depth:
        z = torch.full((), torch.nan).expand_as(alpha)
    if features is not None:
        extra["features"] = blended
    return Rendering(rgb, alpha, z, extra)


def _check(cameras: Cameras, background: Tensor | None, cam_from_world: Tensor | None) -> tuple[int, int]:
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
    if not 0 < max(width, height) <= MAX_SIDE or min(width, height) < 1:
        raise InputError(f"Images may be 1 to {MAX_SIDE} pixels wide and high, these are {width}x{height}.")
    if np.abs(cameras.K[:, 0, 1]).max() > 1e-9 * np.abs(cameras.K[:, 0, 0]).max():
        raise InputError(
            "Splats are rendered in cameras without skew, and K[0, 1] is not 0: undistort the photos first."
        )
    count = len(cameras)
    if background is not None and background.shape not in {(3,), (count, height, width, 3)}:
        raise ValueError(f"background must be [3] or [{count}, {height}, {width}, 3], not {list(background.shape)}")
    if cam_from_world is not None and cam_from_world.shape != (count, 4, 4):
        raise ValueError(f"cam_from_world must be [{count}, 4, 4], not {list(cam_from_world.shape)}")
    return width, height


def _check_features(features: Tensor | None, views: int, count: int) -> None:
    if features is None:
        return
    shapes = f"[{count}, D] or [{views}, {count}, D], D = 1 to {MOST}"
    if features.dim() not in (2, 3) or features.shape[:-1] not in {(count,), (views, count)}:
        raise ValueError(f"features must be {shapes}, not {list(features.shape)}")
    if not 1 <= features.shape[-1] <= MOST:
        raise ValueError(f"features must be {shapes}, not {list(features.shape)}: call once per {MOST} of them")


class _Rasterize(torch.autograd.Function):
    """The CPU kernels as one differentiable step."""

    @staticmethod
    def forward(
        ctx: Any,
        options: _Options,
        background: Tensor | None,
        cam_from_world: Tensor | None,
        features: Tensor | None,
        *columns: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        arrays = padded({name: c.numpy() for name, c in zip(NAMES, columns, strict=True)})
        poses = options.cameras.cam_from_world if cam_from_world is None else cam_from_world.double().numpy()
        behind = np.zeros(3, np.float32) if background is None else np.ascontiguousarray(background.numpy(), np.float32)
        numbers = None if features is None else np.ascontiguousarray(features.numpy(), np.float32)
        images, views = [], []
        for i in range(len(poses)):
            camera = camera_block(poses[i], options.cameras.K[i], options.size, options.near)
            *image, view = render_view(
                arrays,
                camera,
                options.size,
                behind[i] if behind.ndim == 4 else behind,
                degree=options.degree,
                antialiased=options.antialiased,
                depth=options.depth,
                gradients=any(ctx.needs_input_grad),
                features=numbers[i] if numbers is not None and numbers.ndim == 3 else numbers,
            )
            images.append(image)
            views.append(view)
        ctx.options, ctx.views = options, views
        ctx.save_for_backward(background)
        ctx.shapes = [column.shape for column in columns]
        ctx.per_view = features is not None and features.dim() == 3
        rgb, alpha, z = (_batch(parts) for parts in zip(*images, strict=True))
        ctx.mark_non_differentiable(z)
        ctx.set_materialize_grads(False)
        planes = [view.feature_image for view in views if view.feature_image is not None]
        return rgb, alpha, z, _batch(tuple(planes)).permute(0, 2, 3, 1) if planes else None

    @staticmethod
    def backward(
        ctx: Any, d_rgb: Tensor | None, d_alpha: Tensor | None, d_z: None, d_features: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        (background,) = ctx.saved_tensors
        if d_rgb is None:
            width, height = ctx.options.size
            d_rgb = torch.zeros(len(ctx.views), height, width, 3)
        found = [
            view_gradients(
                view,
                d_rgb[i].numpy(),
                None if d_alpha is None else d_alpha[i].numpy(),
                None if d_features is None else d_features[i].permute(2, 0, 1).numpy(),
                pose=ctx.needs_input_grad[2],
                penalty=(0.0, 0.0) if ctx.options.sink is None else ctx.options.sink.penalty,
            )
            for i, view in enumerate(ctx.views)
        ]
        d_background = _background_gradient(ctx.views, background, d_rgb) if ctx.needs_input_grad[1] else None
        d_pose = _pose_gradient(found) if ctx.needs_input_grad[2] else None
        d_numbers = _of_features(found, ctx.per_view) if ctx.needs_input_grad[3] else None
        if ctx.options.sink is not None:
            for f in found:
                ctx.options.sink.add(torch.from_numpy(f.rows), f.columns)
            return None, d_background, d_pose, d_numbers, *(None for _ in NAMES)
        wanted = ctx.needs_input_grad[4:]
        dense = [
            _dense(name, shape, found) if want else None
            for name, shape, want in zip(NAMES, ctx.shapes, wanted, strict=True)
        ]
        return None, d_background, d_pose, d_numbers, *dense


def _median(splats: Splats, options: _Options, cam_from_world: Tensor | None, through: float) -> Tensor:
    """f32[C, H, W] on the CPU, where the kernel is."""
    arrays = padded({name: column.detach().cpu().numpy() for name, column in splats.columns().items()})
    given = cam_from_world is not None
    poses = cam_from_world.detach().double().cpu().numpy() if given else options.cameras.cam_from_world
    images = []
    for pose, k in zip(poses, options.cameras.K, strict=True):
        camera = camera_block(pose, k, options.size, options.near)
        how = {"degree": 0, "antialiased": options.antialiased, "depth": False, "gradients": False}
        *_, view = render_view(arrays, camera, options.size, np.zeros(3, np.float32), **how)
        images.append(median_z(view, arrays, through))
    return _batch(tuple(images))


def _batch(parts: tuple[np.ndarray, ...]) -> Tensor:
    """[C, ...] of C images, without a copy of a single one."""
    return torch.from_numpy(parts[0])[None] if len(parts) == 1 else torch.from_numpy(np.stack(parts))


def _dense(name: str, shape: torch.Size, found: list[ViewGradients]) -> Tensor:
    """The gradient of a whole column [N, ...]: zero in rows that no view saw."""
    total = torch.zeros(shape)
    for f in found:
        part = f.columns[name]
        _leading(total, part).index_add_(0, torch.from_numpy(f.rows), part)
    return total


def _of_features(found: list[ViewGradients], per_view: bool) -> Tensor | None:
    """The gradient of features [N, D], summed over the views, or [C, N, D]; None where they have none."""
    parts = [torch.from_numpy(f.features) for f in found if f.features is not None]
    if not parts:
        return None
    return torch.stack(parts) if per_view else parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def _pose_gradient(found: list[ViewGradients]) -> Tensor:
    """f32[C, 4, 4]; the last row is zero."""
    out = torch.zeros(len(found), 4, 4)
    for i, f in enumerate(found):
        if f.pose is not None:
            out[i, :3] = torch.from_numpy(f.pose)
    return out


def _background_gradient(views: list[View], background: Tensor, d_rgb: Tensor) -> Tensor:
    """The background is seen through each pixel's transmittance."""
    through = torch.stack([torch.from_numpy(view.through_image()) for view in views])
    grad = through[..., None] * d_rgb
    return grad if background.dim() == 4 else grad.sum((0, 1, 2))
