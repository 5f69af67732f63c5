"""One frame of a film: rendered by the scene itself, as the bytes of a PNG; and what those bytes mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.errors import InputError
from recon.sparse import SparseModel

LEAST_ALPHA = 0.5
"""Where the scene covers less of a pixel, it has no z."""
MILLIMETRE = 0.001
COLORS: dict[str, tuple[float, float, float]] = {"white": (1, 1, 1), "black": (0, 0, 0), "grey": (0.5, 0.5, 0.5)}
END = b"IEND\xaeB`\x82"
"""The last bytes of a whole PNG."""

Kind = Literal["rgb", "depth", "alpha"]


@dataclass(frozen=True)
class Look:
    """How every frame of a film is drawn."""

    kind: Kind
    background: tuple[float, float, float]
    """sRGB 0..1."""
    supersample: int
    coloured: bool
    """Whether z is shown as colours, for a video, instead of measured."""
    unit: float
    """World units per step of a 16-bit z."""
    span: tuple[float, float]
    """z from the brightest to the darkest colour, world units."""


def color_of(text: str) -> tuple[float, float, float]:
    """sRGB 0..1 of a colour's name or #rrggbb. Raises InputError for anything else."""
    if text in COLORS:
        return COLORS[text]
    digits = text.removeprefix("#")
    if len(digits) == 6 and text.startswith("#") and all(c in "0123456789abcdefABCDEF" for c in digits):
        red, green, blue = (int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4))
        return red, green, blue
    raise InputError(f"--background {text} is no colour: expected {', '.join(COLORS)} or #rrggbb, as in '#1a2b3c'.")


def draw_frame(scene: Any, camera: Cameras, look: Look) -> bytes:
    """One camera's PNG: RGB, RGBA with straight alpha, or z in 16 bits (0: nothing there; 65535: there or beyond)."""
    if look.kind == "depth":
        z = z_of(scene, camera)
        return encode_png(z_colours(z, look.span) if look.coloured else z_steps(z, look.unit))
    background = (0.0, 0.0, 0.0) if look.kind == "alpha" else look.background
    rgb, alpha = draw(scene, camera, background, look.supersample)
    if look.kind == "rgb":
        return encode_png(as_bytes(rgb))
    straight = rgb / np.maximum(alpha, 1e-6)[..., None]
    return encode_png(as_bytes(np.concatenate([np.where(alpha[..., None] > 0, straight, 0), alpha[..., None]], -1)))


def draw(
    scene: Any, camera: Cameras, background: tuple[float, float, float], supersample: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """rgb f32[H, W, 3] over the background and alpha f32[H, W] of one camera."""
    import torch

    from recon.reconstruction import shrink

    size = camera.size[0]
    with torch.no_grad():
        color = torch.tensor(background, dtype=torch.float32, device=scene.device)
        drawn = scene.render(camera.resized(size * supersample), background=color)
        rgb, alpha = drawn.rgb[0].cpu().numpy(), drawn.alpha[0].cpu().numpy()
    return shrink(rgb, size), shrink(alpha, size)


def z_of(scene: Any, camera: Cameras) -> NDArray[np.float32]:
    """f32[H, W]: median z of a scene that is splats, expected z of another; NaN where it covers less than half of a pixel."""
    import torch

    from render.rasterize import rasterize

    with torch.no_grad():
        if not hasattr(scene, "at"):
            drawn = scene.render(camera, with_z=True)
            alpha = drawn.alpha[0].cpu().numpy()
            z = drawn.extra["weighted_z"][0].cpu().numpy() / np.maximum(alpha, 1e-6)
        else:
            time = None if camera.time is None else float(camera.time[0])
            setup = scene.setup
            drawn = rasterize(
                scene.at(time), camera, sh_degree=0, antialiased=setup.antialiased, near=setup.near, median=LEAST_ALPHA
            )
            alpha, z = drawn.alpha[0].cpu().numpy(), drawn.extra["median_z"][0].cpu().numpy()
    return np.where(alpha >= LEAST_ALPHA, z, np.nan).astype(np.float32)


def z_steps(z: NDArray, unit: float) -> NDArray[np.uint16]:
    """u16[H, W]: z in steps of `unit`, rounded; 0 where there is none."""
    steps = np.clip(np.rint(np.nan_to_num(z.astype(np.float64), nan=0.0) / unit), 1, 65535)
    return np.where(np.isfinite(z), steps, 0).astype(np.uint16)


def z_colours(z: NDArray, span: tuple[float, float]) -> NDArray[np.uint8]:
    """u8[H, W, 3]: near is bright, far is dark, in even steps of log z; grey where there is none."""
    from recon.geometry_page.pictures import coloured

    low, high = np.log(span)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (high - np.log(np.where(z > 0, z, np.nan))) / max(high - low, 1e-9)
    return coloured(share, "viridis")


def depth_scale(model: SparseModel, cameras: Cameras) -> tuple[float, tuple[float, float]]:
    """The unit of 16-bit z, and the span of colours, fit for all frames of a film: from the sparse points in its views.

    The unit is a millimetre in a metric world that is small enough, else the next 1, 2 or 5 times a power of ten that holds
    four times the z of the farthest point but one in a hundred.
    """
    from viewer.pictures import in_view

    xyz = model.xyz[:: max(1, len(model.xyz) // 5000)]
    rows = np.unique(np.linspace(0, len(cameras) - 1, min(len(cameras), 24)).astype(int))
    z = np.concatenate([in_view(cameras, int(row), xyz) for row in rows])
    if len(z) == 0:
        away = np.linalg.norm(model.cameras.centers - model.cameras.centers.mean(0), axis=1).max()
        z = np.array([0.1, 4.0]) * (float(away) or 1.0)
    near, far = (float(v) for v in np.percentile(z, (1, 99)))
    smallest = 4 * far / 65534
    if model.world.scale == "metric" and smallest <= MILLIMETRE:
        return MILLIMETRE, (0.9 * near, 1.1 * far)
    power = 10.0 ** np.floor(np.log10(smallest))
    unit = next(float(step * power) for step in (1, 2, 5, 10) if step * power >= smallest)
    return unit, (0.9 * near, 1.1 * far)


def as_bytes(values: NDArray) -> NDArray[np.uint8]:
    """u8 from 0..1."""
    return np.asarray(np.clip(values, 0, 1) * 255 + 0.5, np.uint8)


def encode_png(pixels: NDArray) -> bytes:
    """u8 or u16 [H, W], or [H, W, 3 or 4] as RGB or RGBA."""
    import cv2

    order = {2: slice(None), 3: [2, 1, 0], 4: [2, 1, 0, 3]}[2 if pixels.ndim == 2 else pixels.shape[2]]
    swapped = pixels if pixels.ndim == 2 else pixels[..., order]
    return cv2.imencode(".png", np.ascontiguousarray(swapped))[1].tobytes()


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """u8[H, W, 3], RGB."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("these bytes are no picture")
    return np.asarray(np.ascontiguousarray(pixels[..., ::-1]), np.uint8)
