"""What the viewer computes: cameras of viser's clients, splats as viser packs them, true images, comparisons, thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras, fit_size
from recon.geometry import Array, quat_from_rotation, rotation_from_quat, se3, se3_inverse
from render.splats import SH_C0

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction
    from render.report_images import View
    from render.splats import Splats
    from viewer.shown import Shown

BACKGROUND = (20, 20, 20)
"""Colour of viser's canvas in its dark theme, behind whatever the splats leave free."""
FAR_Z = 167.0
"""The largest z that viser's depth image can hold."""
THUMBNAIL = 160
"""Long side of the photo in a camera's frustum, pixels."""


@dataclass(frozen=True)
class Pose:
    """Where a client looks from, as viser tells it: OpenCV axes, +Z forward, +Y down."""

    wxyz: tuple[float, ...]
    """world_from_cam."""
    position: tuple[float, ...]
    """World."""
    fov: float
    """Vertical, radians."""
    size: tuple[int, int]
    """Canvas (width, height), pixels."""

    def cameras(self, long_side: int) -> Cameras:
        """The one camera of this pose, its picture `long_side` pixels at most."""
        size = fit_size(np.array(self.size), long_side)
        focal = 0.5 * size[1] / np.tan(0.5 * self.fov)
        aspect = (self.size[0] / self.size[1]) / (
            size[0] / size[1]
        )  # rounding of the size must not stretch the picture
        k = np.array([[focal / aspect, 0, 0.5 * size[0]], [0, focal, 0.5 * size[1]], [0, 0, 1]])
        cam_from_world = se3_inverse(se3(rotation_from_quat(self.wxyz), self.position))
        return Cameras(cam_from_world[None], k[None], size[None].astype(np.int32))


def pose_of(cameras: Cameras, row: int, canvas: tuple[int, int]) -> Pose:
    """The pose that shows a photo's whole view on a canvas (width, height). A principal point off the centre is not followed."""
    world_from_cam = cameras.world_from_cam[row]
    k, size = cameras.K[row], cameras.size[row]
    tangent = 0.5 * max(size[1] / k[1, 1], size[0] / k[0, 0] * canvas[1] / canvas[0])
    wxyz = tuple(float(v) for v in quat_from_rotation(world_from_cam[:3, :3]))
    return Pose(wxyz, tuple(float(v) for v in world_from_cam[:3, 3]), 2 * float(np.arctan(tangent)), canvas)


@dataclass(frozen=True)
class Packed:
    """Splats as viser's client takes them (see its GaussianSplatHandle): degree 0 of the colour alone."""

    buffer: NDArray[np.uint32]
    """u32[N, 8]: centre f32[3], one spare, upper triangle of the covariance f16[6], RGBA u8[4]; lengths in units of `scale`."""
    scale: float
    """World units per unit of the buffer: brings the median covariance near 1, because float16 cannot hold small ones."""


MARK = (255, 40, 190)
"""Colour of selected splats."""


def marked(packed: Packed, rows: NDArray[np.bool_]) -> Packed:
    """The same splats with some of them bool[N] in the colour of a selection, and well to be seen."""
    if not rows.any():
        return packed
    buffer = packed.buffer.copy()
    rgba = buffer[:, 7:].copy().view(np.uint8).reshape(-1, 4)
    rgba[rows, :3] = MARK
    rgba[rows, 3] = np.maximum(rgba[rows, 3], 150)
    buffer[:, 7:] = rgba.view(np.uint32)
    return Packed(buffer, packed.scale)


def pack(splats: Splats) -> Packed:
    """Splats [N] for viser. The scale is a power of 4, so that it changes seldom while a scene trains."""
    columns = {name: column.detach().cpu().numpy() for name, column in splats.columns().items()}
    log_scale = columns["log_scale"]
    scale = float(2.0 ** (2 * np.round(np.median(log_scale) / np.log(4)))) if len(log_scale) else 1.0
    q = columns["quat"] / np.maximum(np.linalg.norm(columns["quat"], axis=1, keepdims=True), 1e-12)
    axes = rotation_from_quat(q).astype(np.float32) * np.exp(log_scale)[:, None, :] / np.float32(scale)
    cov = axes @ axes.transpose(0, 2, 1)
    upper = cov.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]].clip(-65000, 65000).astype(np.float16)
    rgb = 0.5 + SH_C0 * columns["sh"][:, 0]
    alpha = 1 / (1 + np.exp(-columns["opacity_logit"].astype(np.float64)))
    rgba = np.concatenate([rgb, alpha[:, None]], 1)
    buffer = np.zeros((len(q), 8), np.uint32)
    buffer[:, :3] = np.ascontiguousarray(columns["mean"] / np.float32(scale)).view(np.uint32)
    buffer[:, 4:7] = np.ascontiguousarray(upper).view(np.uint32)
    buffer[:, 7:] = (np.clip(rgba, 0, 1) * 255 + 0.5).astype(np.uint8).view(np.uint32)
    return Packed(buffer, scale)


def true_image(scene: Shown, pose: Pose, long_side: int) -> NDArray[np.uint8]:
    """u8[H, W, 3]: the scene as it is, from a client's camera, over the canvas's colour."""
    return as_bytes(draw(scene, pose.cameras(long_side), np.array(BACKGROUND, np.float32) / np.float32(255)))


def true_depth(scene: Shown, pose: Pose, long_side: int) -> NDArray[np.float32] | None:
    """f32[H, W], z of what the true image shows, FAR_Z where it is mostly clear; None when the scene or viser has none for it.

    viser hides what lies behind; it carries z as 24 bits of 0.01 mm, so that larger scenes go without.
    """
    if scene.depth is None:
        return None
    rendering = scene.depth(pose.cameras(long_side))
    z, alpha = rendering.z[0].cpu().numpy(), rendering.alpha[0].cpu().numpy()
    solid = (alpha > 0.5) & np.isfinite(z)
    if not solid.any() or z[solid].max() >= FAR_Z:
        return None
    return np.where(solid, z, FAR_Z).astype(np.float32)


def draw(scene: Shown, cameras: Cameras, background: NDArray) -> NDArray[np.float32]:
    """f32[H, W, 3], 0..1: the first camera's view."""
    import torch

    rgb = scene.draw(cameras, torch.from_numpy(np.asarray(background, np.float32))).rgb[0]
    return rgb.clamp(0, 1).cpu().numpy()


@dataclass(frozen=True)
class Comparison:
    """A photo beside the renders of its camera."""

    picture: NDArray[np.uint8]
    """u8[h, w, 3]: photo, then render and error of each scene; beside each other when they are upright, below each other when
    they are wide."""
    psnr: tuple[float, ...]
    """dB, over the valid pixels at the picture's size, of each scene."""
    long_side: int


def compare(
    scenes: Sequence[Shown], sparse: Reconstruction, name: str, long_side: int, background: Sequence[float] = (0.0, 0.0)
) -> Comparison:
    """Photo, render and error of a registered photo in each scene, a matte's free parts over each scene's level of grey. The
    errors have one scale of colours. Raises InputError when the photo cannot be read."""
    from render.dataset import read_photo
    from render.report_images import View, error_limit, error_picture, error_samples

    camera = sparse.model.cameras[sparse.model.names.index(name)]
    camera = camera.resized(fit_size(camera.size, long_side))
    size = (int(camera.size[0, 0]), int(camera.size[0, 1]))
    photo = read_photo(sparse, name, size)
    views = []
    for scene, level in zip(scenes, background, strict=False):
        grey = np.full(3, level, np.float32)
        target = np.clip(photo.over(grey), 0, 1).astype(np.float32)
        views.append(View(target, draw(scene, camera, grey), None if photo.mask is None else photo.mask > 0))
    limit = error_limit([error_samples(view.error) for view in views])
    pictures = [as_bytes(views[0].photo)]
    for view in views:
        pictures += [as_bytes(view.render), error_picture(view.error, size, limit)]
    return Comparison(tiled(pictures), tuple(psnr_of(view) for view in views), max(size))


def psnr_of(view: View) -> float:
    """dB over the valid pixels; NaN without any."""
    valid = np.ones(view.photo.shape[:2], bool) if view.valid is None else view.valid
    if not valid.any():
        return float("nan")
    mean = float(np.mean((view.photo[valid].astype(np.float64) - view.render[valid]) ** 2))
    return -10 * float(np.log10(max(mean, 1e-10)))


def split(a: NDArray[Any], b: NDArray[Any], share: float, *, line: bool = True) -> NDArray[Any]:
    """Two pictures of one size in one: a left of `share` of the width, b right of it, with a line between."""
    width = a.shape[1]
    column = round(min(max(share, 0.0), 1.0) * width)
    out = np.concatenate([a[:, :column], b[:, column:]], 1)
    if line and 0 < column < width:
        out[:, max(0, column - 1) : column + 1] = 255
    return out


def labelled(image: NDArray[np.uint8], names: tuple[str, str], share: float) -> NDArray[np.uint8]:
    """Two names at the foot of a split picture, each on its side of the divider, where there is room for it."""
    import cv2

    out, height, width = image.copy(), image.shape[0], image.shape[1]
    size = max(0.35, height / 1200)
    column, pad = round(min(max(share, 0.0), 1.0) * width), max(4, round(height / 80))
    for i, name in enumerate(names):
        text = name.encode("ascii", "replace").decode()  # the fonts have no more
        (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        room = column if i == 0 else width - column
        if wide + 4 * pad > room:
            continue
        x, y = (column - wide - 2 * pad if i == 0 else column + 2 * pad), height - 2 * pad
        box = (slice(y - high - pad, y + below + pad // 2), slice(x - pad, x + wide + pad))
        out[box] = (out[box] * 0.35).astype(np.uint8)
        cv2.putText(out, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return out


def tiled(pictures: list[NDArray[np.uint8]], gap: int = 6) -> NDArray[np.uint8]:
    """Pictures of one size beside each other when they are upright, else below each other."""
    height, width = pictures[0].shape[:2]
    axis = 1 if height > width else 0
    space = np.full((height, gap, 3) if axis else (gap, width, 3), BACKGROUND, np.uint8)
    parts: list[Any] = [pictures[0]]
    for picture in pictures[1:]:
        parts += [space, picture]
    return np.concatenate(parts, axis)


def thumbnail(sparse: Reconstruction, name: str) -> NDArray[np.uint8]:
    """u8[h, w, 3]: a small copy of a photo. Raises InputError when it cannot be read."""
    from render.dataset import read_photo

    size = sparse.model.cameras.size[sparse.model.names.index(name)]
    photo = read_photo(sparse, name, fit_size(size, THUMBNAIL).tolist(), masks=False)
    return as_bytes(photo.over(np.zeros(3)))


def as_bytes(rgb: NDArray) -> NDArray[np.uint8]:
    """u8 from 0..1."""
    return np.asarray(np.clip(rgb, 0, 1) * 255 + 0.5, np.uint8)


@dataclass(frozen=True)
class Place:
    """Sizes and directions of a reconstruction, for whoever looks at it."""

    up: tuple[float, float, float]
    """+Z when the world's up is known, else the mean of the cameras' upward axes."""
    size: float
    """Median distance from the cameras to what they see, world units: the measure for clipping planes and points."""
    apart: float
    """Median distance from a camera to its nearest neighbour, world units: the measure for frusta."""
    home: int
    """The camera to begin with: the one whose picture holds most of the points."""


def place_of(sparse: Reconstruction) -> Place:
    """Where to begin looking at a reconstruction, and how large things are in it."""
    model = sparse.model
    cameras, centers = model.cameras, model.cameras.centers
    up = np.array([0.0, 0.0, 1.0])
    if model.world.up == "unknown":
        mean = -cameras.world_from_cam[:, :3, 1].mean(0)
        up = mean / np.linalg.norm(mean) if np.linalg.norm(mean) > 1e-6 else up
    some = np.unique(np.linspace(0, len(centers) - 1, min(len(centers), 40)).astype(int))
    xyz = model.xyz[:: max(1, len(model.xyz) // 5000)]
    views = [in_view(cameras, int(row), xyz) for row in some]
    seen = [float(np.median(z)) for z in views if len(z)]
    spread = np.linalg.norm(centers - np.median(centers, 0), axis=1)
    size = float(np.median(seen)) if seen else float(np.median(spread)) or 1.0
    home = int(some[np.argmax([len(z) for z in views])])
    gaps = np.sort(np.linalg.norm(centers[some][:, None] - centers, axis=-1), axis=1)
    apart = float(np.median(gaps[:, 1])) if len(centers) > 1 else 0.0
    return Place((float(up[0]), float(up[1]), float(up[2])), size, apart or 0.1 * size, home)


def view_distance(cameras: Cameras, row: int, xyz: Array) -> float:
    """Median z of the points [P, 3] in a camera's picture; NaN when it shows none."""
    z = in_view(cameras, row, xyz)
    return float(np.median(z)) if len(z) else float("nan")


def in_view(cameras: Cameras, row: int, xyz: Array) -> Array:
    """z [M] of those of the points [P, 3] that lie in a camera's picture."""
    pixels, z = (a[0] for a in cameras[row].project(xyz))
    with np.errstate(invalid="ignore"):
        return z[(z > 0) & (pixels >= 0).all(-1) & (pixels < cameras.size[row]).all(-1)]
