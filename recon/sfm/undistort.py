"""One undistortion: every registered photo resampled once to a pinhole camera and written as a lossless PNG.

The pinhole camera of a lens sees the rectangle, in coordinates x/z and y/z, that the undistorted photo fills: each side runs
through the middle of the photo's edge, or further in where the edge's ends bend inwards (so that no pixel is without
content), but by KEEP_EDGE of the way at most. A barrel lens thus gives no invalid pixel and loses its corners' tips; a strong
pincushion lens gives invalid slivers, which the mask rules out. Pixels are square and as many as the photo has. Without
distortion nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras, distort, fit_size
from recon.capture import Capture
from recon.files import atomic_write
from recon.geometry import Array
from recon.job import Job
from recon.photos import BIG_PIXELS, Image8, read_mask, read_photo, workers
from recon.reconstruction import SUFFIX
from recon.sparse import Observations, SparseModel

KEEP_EDGE = 0.97
"""Of the way from the principal point to the middle of an edge, at least so much stays in the picture."""
SAME_SIZE = 0.01
"""A pinhole picture whose sides would differ from the photo's by less than this gets the photo's size."""
MAX_REACH = 1.75
"""tan(60 degrees): a pinhole picture of a fisheye lens is cut there, as it would stretch without end."""
EDGE_SAMPLES = 65
UNMOVED_PX = 0.02
"""A lens that moves no pixel by more than this is a pinhole: resampling would cost more sharpness than it mends."""
WHITE = 0.99
"""Share of a mask's pixel that must be white."""
PNG_LEVEL = 1
"""zlib level: 6 is 8 times slower and saves a tenth."""


def pinhole_of(cameras: Cameras) -> Cameras:
    """The same poses with the pinhole cameras described above, in the photos' full size."""
    if cameras.model == "pinhole" or cameras.distortion is None:
        return replace(cameras, model="pinhole", distortion=None)
    k, size = cameras.K.copy(), cameras.size.copy()
    lenses = np.concatenate([cameras.K.reshape(-1, 9), cameras.distortion, cameras.size], axis=1)
    _, first, same = np.unique(lenses, axis=0, return_index=True, return_inverse=True)
    for lens, row in enumerate(first.tolist()):
        of_lens = same.reshape(-1) == lens
        if not is_pinhole(cameras, row):
            k[of_lens], size[of_lens] = _fitted_pinhole(cameras, row)
    return replace(cameras, K=k, size=size, model="pinhole", distortion=None)


def is_pinhole(cameras: Cameras, row: int) -> bool:
    """Whether the lens of one camera moves no pixel noticeably."""
    if cameras.model == "pinhole" or cameras.distortion is None or not cameras.distortion[row].any():
        return cameras.model != "fisheye"
    grid = np.stack(np.meshgrid(*(np.linspace(0, s, EDGE_SAMPLES) for s in cameras.size[row])), -1).reshape(-1, 2)
    straight = (grid - cameras.K[row, :2, 2]) / np.diag(cameras.K[row])[:2]
    moved = distort(straight[None], cameras.model, cameras.distortion[row : row + 1])[0] - straight
    return bool(np.abs(moved * np.diag(cameras.K[row])[:2]).max() < UNMOVED_PX)


def _fitted_pinhole(cameras: Cameras, row: int) -> tuple[Array, NDArray[np.int32]]:
    """K [3, 3] and size [2] of the pinhole camera for the lens of camera `row`."""
    width, height = (float(s) for s in cameras.size[row])
    along = np.linspace(0, 1, EDGE_SAMPLES)
    side = lambda x, y: cameras.normalized(row, np.stack([x, y], -1))  # noqa: E731
    x, y, zero = along * width, along * height, np.zeros(EDGE_SAMPLES)
    left, right = -side(zero, y)[:, 0], side(zero + width, y)[:, 0]
    top, bottom = -side(x, zero)[:, 1], side(x, zero + height)[:, 1]
    reach = [_reach(edge) for edge in (left, right, top, bottom)]
    across, down = reach[0] + reach[1], reach[2] + reach[3]
    focal = float(np.sqrt(width * height / (across * down)))
    size = np.maximum(1, np.round([across * focal, down * focal])).astype(np.int32)
    if np.abs(size / cameras.size[row] - 1).max() < SAME_SIZE:
        size = cameras.size[row]
        focal = max(width / across, height / down)
    center = 0.5 * size + 0.5 * focal * np.array([reach[0] - reach[1], reach[2] - reach[3]])
    return np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]]), size


def _reach(edge: Array) -> float:
    """How far the picture goes towards one edge, whose undistorted points lie so far from the principal point.

    NaN stands for rays at right angles to the axis and beyond.
    """
    known = np.minimum(np.where(np.isfinite(edge), edge, MAX_REACH), MAX_REACH)
    return float(max(known.min(), KEEP_EDGE * known[len(known) // 2]))


def undistorted_model(model: SparseModel, pinhole: Cameras) -> SparseModel:
    """The model with pinhole cameras (of any size), its observations moved into their pixels."""
    cameras, seen = model.cameras, model.observations
    xy = np.empty_like(seen.xy)
    for row in range(len(model.names)):
        mine = seen.camera == row
        rays = cameras.normalized(row, seen.xy[mine])
        xy[mine] = rays * np.diag(pinhole.K[row])[:2] + pinhole.K[row, :2, 2]
    known = np.isfinite(xy).all(1)
    return replace(model, cameras=pinhole, observations=Observations(seen.camera[known], seen.point[known], xy[known]))


@dataclass(frozen=True)
class Warp:
    """Where each pixel of an undistorted photo lies in the photo as taken."""

    map_x: NDArray[np.float32]
    """f32[h, w], in OpenCV's pixels (centres at 0)."""
    map_y: NDArray[np.float32]
    valid: NDArray[np.bool_]
    """bool[h, w], whether that is inside the photo."""


def warp_of(cameras: Cameras, pinhole: Cameras, row: int) -> Warp:
    """The warp of one photo from its lens to its pinhole camera, both at full size."""
    width, height = (int(s) for s in pinhole.size[row])
    k = pinhole.K[row]
    x = (np.arange(width) + 0.5 - k[0, 2]) / k[0, 0]
    y = (np.arange(height) + 0.5 - k[1, 2]) / k[1, 1]
    straight = np.stack(np.meshgrid(x, y), -1).reshape(1, -1, 2)
    d = None if cameras.distortion is None else cameras.distortion[row : row + 1]
    bent = distort(straight, cameras.model, d)[0] * np.diag(cameras.K[row])[:2] + cameras.K[row, :2, 2]
    bent = bent.reshape(height, width, 2)
    valid = ((bent >= 0) & (bent <= cameras.size[row])).all(-1)
    valid &= ((straight**2).sum(-1) < radius_limit(cameras, row) ** 2).reshape(height, width)
    return Warp((bent[..., 0] - 0.5).astype(np.float32), (bent[..., 1] - 0.5).astype(np.float32), valid)


def radius_limit(cameras: Cameras, row: int) -> float:
    """The radius in coordinates x/z, y/z up to which one camera's distortion grows with it; beyond, its polynomial folds back."""
    if cameras.model != "opencv" or cameras.distortion is None:
        return np.inf
    radius = np.linspace(0, 4, 4001)
    ring = np.stack([radius, np.zeros_like(radius)], -1)[None]
    d = cameras.distortion[row : row + 1].copy()
    d[:, 2:4] = 0  # the tangential terms shift, they do not fold
    falls = np.flatnonzero(np.diff(distort(ring, "opencv", d)[0, :, 0]) <= 0)
    return float(radius[falls[0]]) if len(falls) else np.inf


def undistort_photos(
    capture: Capture, model: SparseModel, straight: SparseModel, pinhole: Cameras, folder: Path, job: Job
) -> NDArray[np.uint8]:
    """Write folder/images/NAME.png for every photo of the model, and folder/masks/NAME.png for those that need one.

    `model`: as taken; `straight`: undistorted, at the size to write; `pinhole`: its cameras at full size. Photos that are
    there already stay. Returns u8[O, 3], the colour at every observation of `straight`.
    """
    import cv2

    row_of = {name: row for row, name in enumerate(capture.names)}
    warp = _remembering(
        lambda row: None if is_pinhole(model.cameras, row) else warp_of(model.cameras, pinhole, row), model
    )
    seen, before = straight.observations, cv2.getNumThreads()
    colours = np.zeros((len(seen.camera), 3), np.uint8)

    def work(row: int) -> None:
        path = folder / "images" / f"{model.names[row]}{SUFFIX}"
        if path.is_file():
            pixels = read_photo(path)
        else:
            size = (int(straight.cameras.size[row, 0]), int(straight.cameras.size[row, 1]))
            pixels = _undistort(capture, row_of[model.names[row]], warp(row), size, folder)
        mine = slice(*np.searchsorted(seen.camera, [row, row + 1]))
        column, line = np.floor(seen.xy[mine]).astype(int).T
        inside = np.clip(line, 0, pixels.shape[0] - 1), np.clip(column, 0, pixels.shape[1] - 1)
        colours[mine] = pixels[inside][:, :3]

    big = bool(model.cameras.size.astype(np.int64).prod(1).max() > BIG_PIXELS)
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(1 if big else workers())
    try:
        with job.task("undistorting photos", total=len(model.names)) as task:
            for _ in pool.map(work, range(len(model.names))):
                task.advance()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(before)
    return colours


def _remembering(make: Callable[[int], Warp | None], model: SparseModel) -> Callable[[int], Warp | None]:
    """The warp of a photo; the last one is kept, as photos of one camera share theirs."""
    cameras = model.cameras
    last: list[tuple[bytes, Warp | None]] = []

    def warp(row: int) -> Warp | None:
        d = b"" if cameras.distortion is None else cameras.distortion[row].tobytes()
        key = cameras.K[row].tobytes() + cameras.size[row].tobytes() + d
        for known, value in last:
            if known == key:
                return value
        last[:] = [(key, make(row))]
        return last[0][1]

    return warp


def _undistort(capture: Capture, row: int, warp: Warp | None, size: tuple[int, int], folder: Path) -> Image8:
    """Write one photo, its mask first (a photo that is there counts as done), and return its pixels."""
    name = capture.names[row]
    pixels = read_photo(capture.photo(row), int(capture.orientation[row]))
    use = np.ones(pixels.shape[:2], bool)
    mask_path = capture.mask_path(row)
    if mask_path:
        use = read_mask(mask_path, (pixels.shape[1], pixels.shape[0]))
    pixels, use = resampled(pixels, use, warp, size)
    for kind, image in (("masks", None if use.all() else use.astype(np.uint8) * 255), ("images", pixels)):
        if image is not None:
            path = folder / kind / f"{name}{SUFFIX}"
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as stream:
                stream.write(png_bytes(image))
    return pixels


def resampled(
    pixels: Image8, use: NDArray[np.bool_], warp: Warp | None, size: tuple[int, int]
) -> tuple[Image8, NDArray[np.bool_]]:
    """Photo u8[H, W, C] and mask bool[H, W], undistorted and reduced by area to `size` = (width, height).

    A pixel of the mask stays white only where all that it covers is white.
    """
    import cv2

    if warp is not None:
        pixels = remap(pixels, warp)
        if not use.all():
            covered = cv2.remap(use.astype(np.float32), warp.map_x, warp.map_y, cv2.INTER_LINEAR, borderValue=0)
            use = (covered > WHITE) & warp.valid
        else:
            use = warp.valid
    if (pixels.shape[1], pixels.shape[0]) != size:
        pixels = reduced(pixels, size)
        use = cv2.resize(use.astype(np.float32), size, interpolation=cv2.INTER_AREA) > WHITE
    return pixels, use


def remap(pixels: Image8, warp: Warp) -> Image8:
    """u8[h, w, C], bicubic; colours of a matte are weighted with its alpha, so that what lies behind it does not bleed in."""
    import cv2

    source = pixels if pixels.shape[2] == 3 else _premultiplied(pixels)
    out = cv2.remap(source, warp.map_x, warp.map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return _straight(np.asarray(out))


def reduced(pixels: Image8, size: tuple[int, int]) -> Image8:
    """u8[h, w, C] of the given (width, height), by area; colours of a matte are weighted with its alpha."""
    import cv2

    source = pixels if pixels.shape[2] == 3 else _premultiplied(pixels)
    return _straight(np.asarray(cv2.resize(source, size, interpolation=cv2.INTER_AREA)))


def _premultiplied(rgba: Image8) -> NDArray[np.float32]:
    """f32[H, W, 4], colours times alpha; everything 0..255."""
    out = rgba.astype(np.float32)
    out[..., :3] *= out[..., 3:] / 255
    return out


def _straight(premultiplied: NDArray[Any]) -> Image8:
    """u8 with straight alpha; u8[H, W, 3] stays as it is."""
    if premultiplied.dtype == np.uint8:
        return premultiplied
    alpha = np.clip(premultiplied[..., 3:], 0, 255)
    rgb = np.where(alpha >= 0.5, premultiplied[..., :3] * 255 / np.maximum(alpha, 0.5), 0)
    return np.clip(np.round(np.concatenate([rgb, alpha], -1)), 0, 255).astype(np.uint8)


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """A PNG of u8[H, W], [H, W, 3] RGB or [H, W, 4] RGBA."""
    import cv2

    if image.ndim == 3:
        image = image[..., [2, 1, 0, 3]] if image.shape[2] == 4 else image[..., ::-1]
    done, data = cv2.imencode(".png", np.ascontiguousarray(image), [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    assert done
    return data.tobytes()


def output_cameras(pinhole: Cameras, long_side: int) -> Cameras:
    """The cameras of the photos to write: the longer side at most `long_side` (0: as it is)."""
    return pinhole.resized(fit_size(pinhole.size, long_side))
