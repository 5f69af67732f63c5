"""What each splat of a scene contributes to its views; SH of a lower degree; spatial tiles.

Notation: w_ip is the weight with which splat i is blended into pixel p of a view. A splat's contribution is the sum of w_ip over
the pixels of the views; it is the gradient of the image of a blended feature by that feature, so that the kernels of the
backward pass compute it (the slow twin: reference.weights()).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.cameras import Cameras, fit_size
from recon.geometry import Array
from recon.job import NoProgress, Progress
from render.kernels.layout import camera_block
from render.kernels.pipeline import padded, render_view, view_gradients
from render.splats import Splats, sh_basis

VIEW_SIDE = 480
"""Long side of the views in which contributions are measured, pixels."""
WINDOW = 0.25
"""Standard deviation of the window in the middle of a view that tells what a photographer looked at, in units of its size."""
TRUST = 0.05
"""How strongly lower bands of SH are held to what they were, relative to what the views say, see reduced()."""


@dataclass(frozen=True)
class Contributions:
    """What splats [N] contribute to pixels of V views."""

    total: Array
    """f64[N], summed over pixels and views."""
    middle: Array
    """f64[N], as `total`, but pixels count less the farther they are from the middle of their view."""
    central: Array
    """f64[N], 0..1: how near to the middle a splat is, averaged over all views; a view that does not show it counts as 0."""
    per_view: NDArray[np.float16]
    """f16[V, N], share of all pixels of the view, times 1e4."""
    cameras: Cameras
    """[V], the views."""


@dataclass(frozen=True)
class Drawing:
    """How a scene's own trainer draws it."""

    near: float = 0.01
    antialiased: bool = False


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of the rows 0 .. count - 1, evenly."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


def spread_views(cameras: Cameras, most: int) -> Cameras:
    """At most so many of the cameras, evenly over their order, at VIEW_SIDE."""
    chosen = cameras[spread(len(cameras), most)]
    return chosen.resized(fit_size(chosen.size, VIEW_SIDE))


def contributions(
    splats: Splats, cameras: Cameras, drawing: Drawing, progress: Progress | None = None
) -> Contributions:
    """Of splats on the CPU, over pinhole cameras of any sizes. Costs a forward and a backward pass a view."""
    n, views = len(splats), len(cameras)
    arrays = padded({name: column.detach().numpy() for name, column in splats.columns().items()})
    ones = np.ones((len(arrays["mean"]), 2), np.float32)
    total, middle, central = np.zeros((3, n))
    per_view = np.zeros((views, n), np.float16)
    how = {"degree": 0, "antialiased": drawing.antialiased, "depth": False, "gradients": True}
    with (progress or NoProgress()).task("what each splat contributes", views) as task:
        for i in range(views):
            width, height = (int(s) for s in cameras.size[i])
            camera = camera_block(cameras.cam_from_world[i], cameras.K[i], (width, height), drawing.near)
            *_, view = render_view(arrays, camera, (width, height), np.zeros(3, np.float32), **how, features=ones)
            pull = np.stack([np.ones((height, width), np.float32), window(width, height)])
            found = view_gradients(view, np.zeros((height, width, 3), np.float32), None, pull)
            assert found.features is not None
            seen = found.features[:n].astype(np.float64)
            total += seen[:, 0]
            middle += seen[:, 1]
            central += seen[:, 1] / np.maximum(seen[:, 0], 1e-9) / views
            per_view[i] = np.minimum(seen[:, 0] / (width * height) * 1e4, 60000)
            task.advance()
    return Contributions(total, middle, central, per_view, cameras)


def window(width: int, height: int) -> NDArray[np.float32]:
    """f32[H, W]: 1 in the middle of a view, falling off like a Gaussian of WINDOW times its size."""
    x = (np.arange(width) + 0.5) / width - 0.5
    y = (np.arange(height) + 0.5) / height - 0.5
    return np.exp(-0.5 * (x**2 + (y**2)[:, None]) / WINDOW**2).astype(np.float32)


def most_important(importance: Array, count: int) -> NDArray[np.int64]:
    """Rows of the `count` most important splats, the most important first; ties by row."""
    return np.argsort(-importance, kind="stable")[:count]


def reduced(splats: Splats, degree: int, seen: Contributions | None = None) -> Splats:
    """The splats with SH of a lower degree (or as they are when theirs is not higher).

    With `seen`, the colours that the views saw are kept as far as the bands left can: least squares over the views' directions,
    weighted by what the splat contributes to each, held to the old coefficients with the weight TRUST. Without, bands are cut.
    """
    if degree >= splats.sh_degree:
        return splats
    bands = (degree + 1) ** 2
    old = splats.sh.detach()[:, :bands]
    if seen is None or len(splats) == 0:
        return replace(splats, sh=old.contiguous())
    chunks = [slice(start, start + 65536) for start in range(0, len(splats), 65536)]
    return replace(splats, sh=torch.cat([_refitted(splats[rows], bands, seen, rows) for rows in chunks]))


def _refitted(splats: Splats, bands: int, seen: Contributions, rows: slice) -> Tensor:
    """f32[n, bands, 3]: see reduced(). Solved for the change, whose right-hand side is what the bands cut off had shown."""
    n = len(splats)
    normal, side = torch.zeros(n, bands, bands), torch.zeros(n, bands, 3)
    for i, centre in enumerate(seen.cameras.centers):
        weight = torch.from_numpy(seen.per_view[i, rows].astype(np.float32))
        away = splats.mean.detach() - torch.as_tensor(centre, dtype=torch.float32)
        basis = sh_basis(away / away.norm(dim=-1, keepdim=True).clamp(min=1e-12), splats.sh_degree)
        lost = torch.einsum("nk,nkc->nc", basis[:, bands:], splats.sh.detach()[:, bands:])
        low = basis[:, :bands] * weight[:, None]
        normal += low[:, :, None] * basis[:, None, :bands]
        side += low[:, :, None] * lost[:, None]
    total = normal.diagonal(dim1=1, dim2=2).sum(1).clamp(min=1e-9)
    hold = (TRUST * total / bands)[:, None, None] * torch.eye(bands)
    return splats.sh.detach()[:, :bands] + torch.linalg.solve(normal + hold, side)


def tiles(mean: NDArray, largest: int) -> list[NDArray[np.int64]]:
    """Rows of each spatial tile of points [N, 3]: every row in one, sizes equal to within one a cut, none above `largest`.

    The longest side (10 to 90 % of the points, so that strays do not decide) is cut again and again.
    """
    return list(_cut(np.asarray(mean, np.float64), np.arange(len(mean)), -(-len(mean) // largest)))


def _cut(mean: Array, rows: NDArray[np.int64], parts: int) -> Iterator[NDArray[np.int64]]:
    if parts <= 1:
        if len(rows):
            yield rows
        return
    low, high = np.percentile(mean[rows], [10, 90], axis=0)
    axis = int(np.argmax(high - low))
    order = rows[np.argsort(mean[rows, axis], kind="stable")]
    first = parts // 2
    middle = len(rows) * first // parts
    yield from _cut(mean, order[:middle], first)
    yield from _cut(mean, order[middle:], parts - first)
