"""Splat rendering on CUDA by gsplat, with the meaning that the CPU kernels have (see rasterize.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recon.errors import MissingPart
from render.kernels.grads import ColumnGrads
from render.kernels.pipeline import NAMES
from render.kernels.reference import FILTER
from render.scene import Rendering
from render.splats import Splats

if TYPE_CHECKING:
    from render.rasterize import RowGrads


def rasterize_cuda(
    splats: Splats,
    options: Any,
    background: Tensor | None,
    cam_from_world: Tensor | None,
    features: Tensor | None = None,
) -> Rendering:
    """rasterize() for splats whose columns are on a CUDA device. Raises MissingPart without gsplat.

    Features take a second call, as colours of D channels that gsplat blends as they are (sh_degree None) over 0.
    """
    try:
        from gsplat import rasterization  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingPart(
            "Rendering on CUDA needs gsplat, which is not installed. Install it with: pip install 'recon-scene[cuda]' "
            "(it compiles on first use and needs the CUDA toolkit), or render on the CPU with --device cpu."
        ) from error
    device = splats.mean.device
    columns = splats.columns()
    seen: list[Tensor] = []
    if options.sink is not None:
        columns = dict(
            zip(NAMES, _Capture.apply(options.sink, seen, splats, options.degree, *columns.values()), strict=True)
        )
    poses = torch.as_tensor(options.cameras.cam_from_world) if cam_from_world is None else cam_from_world
    width, height = options.size
    shape = (columns["mean"], columns["quat"], columns["log_scale"].exp(), columns["opacity_logit"].sigmoid())
    where = (
        poses.to(device, torch.float32),
        torch.as_tensor(options.cameras.K, dtype=torch.float32, device=device),
        width,
        height,
    )
    how = {
        "near_plane": options.near,
        "eps2d": FILTER,
        "packed": False,
        "rasterize_mode": "antialiased" if options.antialiased else "classic",
    }
    mode = "RGB+ED" if options.depth else "RGB"
    image, alpha, meta = rasterization(*shape, columns["sh"], *where, **how, sh_degree=options.degree, render_mode=mode)
    extra = {}
    if features is not None:
        numbers = features.to(device, torch.float32)
        extra["features"], _, _ = rasterization(*shape, numbers, *where, **how, sh_degree=None, render_mode="RGB")
    seen.append(torch.nonzero((meta["radii"] > 0).reshape(len(options.cameras), len(splats), -1).all(-1).any(0))[:, 0])
    rgb, alpha = image[..., :3], alpha[..., 0]
    if background is not None:
        rgb = rgb + (1 - alpha[..., None]) * background.to(device)
    z = torch.full((), torch.nan, device=device).expand_as(alpha)
    if options.depth:
        z = torch.where(alpha > 0, image[..., 3], torch.nan).detach()
    return Rendering(rgb, alpha, z, extra)


class _Capture(torch.autograd.Function):
    """Identity on the columns whose backward hands the visible rows of their gradients to a RowGrads."""

    @staticmethod
    def forward(
        ctx: Any, sink: RowGrads, seen: list[Tensor], splats: Splats, degree: int, *columns: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.sink, ctx.seen, ctx.splats, ctx.degree = sink, seen, splats, degree
        return tuple(column.view_as(column) for column in columns)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, ...]:
        (rows,) = ctx.seen
        picked: dict[str, Tensor] = dict(zip(NAMES, (g[rows] for g in grads), strict=True))
        picked["sh"] = picked["sh"][:, : (ctx.degree + 1) ** 2]
        of_opacity, of_scale = ctx.sink.penalty
        opacity = ctx.splats.opacity_logit.detach()[rows].sigmoid()
        picked["opacity_logit"] = picked["opacity_logit"] + of_opacity * opacity * (1 - opacity)
        picked["log_scale"] = picked["log_scale"] + of_scale * ctx.splats.log_scale.detach()[rows].exp()
        ctx.sink.add(rows, ColumnGrads(picked))
        return (None,) * (4 + len(grads))
