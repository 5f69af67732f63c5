"""One view on the CPU, forward and back: the kernels in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from recon.kernels.jit import DOOR, spread
from recon.kernels.simd import LANES
from render.kernels.blend import PIXELS, blend, blend_backward
from render.kernels.features import gather_features
from render.kernels.gradient import project_backward
from render.kernels.grads import SPARE, ColumnGrads, ShFactors
from render.kernels.layout import BLOCK, CHUNK, MEMO, MOMENTS, RECORD, TILE, Visible
from render.kernels.project import project
from render.kernels.tiles import TileLists, tile_lists

F32 = NDArray[np.float32]
NAMES = ("mean", "log_scale", "quat", "opacity_logit", "sh")


@dataclass(frozen=True)
class View:
    """What the backward pass needs of a forward pass."""

    camera: NDArray[np.float64]
    """layout.camera_block."""
    size: tuple[int, int]
    """(width, height)."""
    degree: int
    """SH degree in use."""
    antialiased: bool
    background: F32
    """f32[3] or f32[H, W, 3]."""
    visible: Visible
    lists: TileLists
    through: F32
    """f32[tiles * 256], transmittance behind the last splat blended."""
    last: F32
    """f32[tiles * 256], the last splat blended, as its place in the tile's list. Both by tile and block."""
    blocks: NDArray[np.uint16]
    """u16[P], by slot: bits of the tile's blocks that the splat reaches."""
    features: F32 | None = None
    """f32[N, D], what was blended besides colour."""
    feature_image: F32 | None = None
    """f32[D, H, W], and what came of it."""

    def through_image(self) -> F32:
        """f32[H, W], the transmittance of every pixel."""
        width, height = self.size
        columns, n = self.lists.columns, TILE // BLOCK
        blocks = self.through.reshape(-1, columns, n, n, BLOCK, BLOCK).transpose(0, 2, 4, 1, 3, 5)
        return np.ascontiguousarray(blocks.reshape(-1, columns * TILE)[:height, :width])


@dataclass(frozen=True)
class ViewGradients:
    """Gradients of M visible rows."""

    rows: NDArray[np.int64]
    """i64[M], ascending."""
    columns: ColumnGrads
    pose: NDArray[np.float64] | None
    """f64[3, 4], by the entries of cam_from_world."""
    features: F32 | None = None
    """f32[N, D], of all rows: zero in those that are not visible."""


def padded(columns: Mapping[str, F32]) -> dict[str, F32]:
    """The five columns as contiguous float32 with at least LANES rows; rows added are NaN, which nothing draws."""
    out = {}
    for name in NAMES:
        column = np.ascontiguousarray(columns[name], np.float32)
        if len(column) < LANES:
            filler = np.full((LANES - len(column), *column.shape[1:]), np.nan, np.float32)
            column = np.concatenate([column, filler])
        out[name] = column
    return out


def render_view(
    columns: Mapping[str, F32],
    camera: NDArray[np.float64],
    size: tuple[int, int],
    background: F32,
    *,
    degree: int,
    antialiased: bool,
    depth: bool,
    gradients: bool,
    features: F32 | None = None,
) -> tuple[F32, F32, F32, View]:
    """(rgb [H, W, 3], alpha [H, W], z [H, W] or [0, W] without depth, what backward needs) of padded() columns.

    Without `gradients` the view is of no use to view_gradients(). features: f32[N, D], blended into View.feature_image.
    """
    width, height = size
    with DOOR:
        visible = see(columns, camera, degree, antialiased, gradients)
        lists = tile_lists(visible, size)
        tiles = len(lists.offset) - 1
        rgb, alpha = np.empty((height, width, 3), np.float32), np.empty((height, width), np.float32)
        z = np.empty((height if depth else 0, width), np.float32)
        through, last = np.empty(tiles * PIXELS, np.float32), np.empty(tiles * PIXELS, np.float32)
        images = (rgb.reshape(-1), alpha.reshape(-1), z.reshape(-1))
        pixels = (background.reshape(-1), 0 if background.size == 3 else 3)
        shape = (lists.columns, width, height, lists.offset, lists.splat, visible.records)
        blocks = np.empty(len(lists.splat), np.uint16)
        image = None if features is None else np.empty((features.shape[1], height, width), np.float32)
        more = _features(features, visible, image)
        spread(blend, tiles, *shape, *pixels, depth, *images, through, last, blocks, *more)
    kept = (through, last, blocks, features, image)
    view = View(camera, size, degree, antialiased, background, visible, lists, *kept)
    return rgb, alpha, z, view


def _features(features: F32 | None, visible: Visible, image: F32 | None) -> tuple:
    """What the blending kernels want to know of features, or of there being none."""
    if features is None or image is None:
        return None, None, 0, None
    return features.reshape(-1), visible.rows, features.shape[1], image.reshape(-1)


def see(
    columns: Mapping[str, F32], camera: NDArray[np.float64], degree: int, antialiased: bool, gradients: bool
) -> Visible:
    """Project and cull padded() columns."""
    count = len(columns["mean"])
    chunks = -(-count // CHUNK)
    visible = Visible(
        records=np.empty(count * RECORD, np.float32),
        rows=np.empty(count, np.int32),
        count=np.empty(chunks, np.int32),
        bound=np.empty(chunks, np.int64),
        memos=np.empty(count * MEMO if gradients else 0, np.float32),
    )
    v = visible
    outputs = (v.records, v.rows, v.count, v.bound, v.memos)
    flat = (columns[name].reshape(-1) for name in NAMES)
    spread(project, chunks, *flat, columns["sh"][0].size, degree, camera, antialiased, *outputs)
    return visible


def view_gradients(
    view: View,
    d_rgb: F32,
    d_alpha: F32 | None,
    d_features: F32 | None = None,
    *,
    pose: bool = False,
    penalty: tuple[float, float] = (0.0, 0.0),
) -> ViewGradients:
    """Gradients of the columns given to render_view, and of the pose if wanted; d_rgb [H, W, 3], d_alpha [H, W],
    d_features [D, H, W].

    penalty: weights of every visible splat's opacity, and of the sum of its scales, in the loss.
    """
    d_alpha = np.empty(0, np.float32) if d_alpha is None else np.ascontiguousarray(d_alpha, np.float32)
    d_rgb, image = np.ascontiguousarray(d_rgb, np.float32), None
    if d_features is not None:
        image = np.ascontiguousarray(d_features, np.float32)
    with DOOR:
        moments, sums = pair_moments(view, d_rgb, d_alpha, image)
        gradients = column_gradients(view, moments, pose, penalty)
        return gradients if sums is None else replace(gradients, features=_feature_gradients(view, sums))


def _feature_gradients(view: View, sums: F32) -> F32:
    """Gather each splat's sums into its row."""
    v, lists = view.visible, view.lists
    assert view.features is not None
    out = np.zeros_like(view.features)
    seen = (v.count, v.rows, lists.first, lists.pairs, lists.slot, sums)
    spread(gather_features, len(v.count), *seen, out.shape[1], out.reshape(-1))
    return out


def pair_moments(view: View, d_rgb: F32, d_alpha: F32, d_features: F32 | None = None) -> tuple[F32, F32 | None]:
    """f32[P * MOMENTS + LANES]: the sums over pixels of every pair of splat and tile; f32[P * D]: those of the features,
    where they have a gradient.
    """
    width, height = view.size
    lists = view.lists
    moments = np.empty(len(lists.splat) * MOMENTS + LANES, np.float32)
    pixels = (view.background.reshape(-1), 0 if view.background.size == 3 else 3)
    shape = (lists.columns, width, height, lists.offset, lists.splat, view.visible.records)
    saved = (view.through, view.last, view.blocks, d_rgb.reshape(-1), d_alpha.reshape(-1))
    more = _features(view.features, view.visible, d_features)
    sums = None if more[0] is None else np.empty(len(lists.splat) * more[2], np.float32)
    spread(blend_backward, len(lists.offset) - 1, *shape, *pixels, *saved, moments, *more, sums)
    return moments, sums


def column_gradients(view: View, moments: F32, pose: bool, penalty: tuple[float, float] = (0.0, 0.0)) -> ViewGradients:
    """Gather each splat's pair_moments and go back through its projection."""
    v, lists = view.visible, view.lists
    total, chunks = v.total, len(v.count)
    offset = np.zeros(chunks + 1, np.int64)
    np.cumsum(v.count, out=offset[1:])
    shapes = ((total, 3), (total, 3), (total, 4), (total,))
    grads = [np.empty(shape, np.float32) for shape in shapes]
    colour, direction = np.zeros((2, 3 * total + SPARE), np.float32)
    d_pose = np.empty((chunks if pose else 0, 12))
    seen = (v.count, v.memos, offset, lists.first, lists.pairs, lists.slot, moments, v.rows)
    rows = np.empty(total, np.int64)
    out = (rows, *(g.reshape(-1) for g in grads), colour, direction, d_pose)
    spread(project_backward, chunks, view.camera, view.antialiased, np.array(penalty, np.float64), *seen, *out)
    summed = None
    if pose:
        entries = d_pose.sum(0)
        summed = np.concatenate([entries[:9].reshape(3, 3), entries[9:, None]], 1)
    tensors = {name: torch.from_numpy(g) for name, g in zip(NAMES, grads, strict=False)}
    factors = ShFactors(direction, colour, view.degree)
    return ViewGradients(rows, ColumnGrads(tensors, factors), summed)
