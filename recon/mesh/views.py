"""What a surface is made from: photos with a measured z, and photos with colours. One at a time is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.errors import InputError
from recon.kernels.jit import kernel, spread

LOWEST_COSINE = 0.2
"""Surfaces seen more obliquely than this (78 degrees) are not measured: their z is an edge's, not a surface's."""

AROUND = 2
"""Pixels on each side that a normal is taken from."""
GATE = 12.0
"""Neighbours belong to the same surface when their z differs by less than this many times the width that a pixel covers."""


@dataclass(frozen=True)
class DepthView:
    """The z of one photo."""

    name: str
    camera: Cameras
    """One pinhole camera, of the size of `z`."""
    z: NDArray[np.float32]
    """f32[H, W], world units; NaN or <= 0 where there is none, infinite where the photo shows that nothing is there."""
    confidence: NDArray[np.float32]
    """f32[H, W], 0 = not measured, 1 = as good as it gets."""


class DepthViews(Protocol):
    """Views that can be gone through several times."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[DepthView]: ...


class Photos(Protocol):
    """Colours of N posed photos, read when asked for."""

    @property
    def cameras(self) -> Cameras:
        """[N], pinhole, of the sizes of the images that read() gives."""
        ...

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """rgb u8[H, W, 3], and the pixels that may be used bool[H, W] (None: all)."""
        ...


@dataclass(frozen=True)
class Measured:
    """A DepthView made ready for fusion."""

    cam_from_world: NDArray[np.float64]
    """f64[4, 4]."""
    K: NDArray[np.float64]
    """f64[3, 3]."""
    z: NDArray[np.float32]
    """f32[H, W], 0 where nothing is measured."""
    weight: NDArray[np.float32]
    """f32[H, W], confidence times the cosine between ray and surface normal; 0 where nothing is measured."""
    slope: NDArray[np.float32]
    """f32[H, W], distance to the surface's tangent plane for each unit of z in front of it."""


def check_view(view: DepthView) -> None:
    """Raises InputError for a view that is of another size than its camera, not pinhole, or has a pose that is not finite."""
    width, height = (int(s) for s in view.camera.size[0])
    for what, image in (("z", view.z), ("confidence", view.confidence)):
        if image.shape != (height, width):
            raise InputError(
                f"The {what} image of {view.name} is {image.shape[1]}x{image.shape[0]} pixels, its camera {width}x{height}. "
                "Resize the image, or scale the camera with it."
            )
    if view.camera.model != "pinhole":
        raise InputError(
            f"{view.name} has a {view.camera.model} camera; depth is fused from pinhole ones. Undistort it first."
        )
    if not (np.isfinite(view.camera.cam_from_world).all() and np.isfinite(view.camera.K).all()):
        raise InputError(f"The camera of {view.name} is not finite. Leave this photo out.")


def measured(view: DepthView) -> Measured:
    """Weights and slopes from z: a pixel's normal is that of the plane through what lies around it on the same surface."""
    check_view(view)
    k = np.ascontiguousarray(view.camera.K[0], np.float64)
    z, confidence = np.asarray(view.z, np.float32), np.asarray(view.confidence, np.float32)
    known = np.isfinite(z) & (z > 0) & np.isfinite(confidence) & (confidence > 0)
    z = np.where(known, z, 0).astype(np.float32)
    cosine = np.zeros_like(z)
    spread(cosines, len(z), z, k, cosine)
    x = (np.arange(z.shape[1]) + 0.5 - k[0, 2]) / k[0, 0]
    y = (np.arange(z.shape[0])[:, None] + 0.5 - k[1, 2]) / k[1, 1]
    weight = np.where(known & (cosine > LOWEST_COSINE), confidence * cosine, 0).astype(np.float32)
    slope = np.maximum(cosine, LOWEST_COSINE) * np.sqrt(1 + x * x + y * y)
    return Measured(view.camera.cam_from_world[0], k, z, weight, slope.astype(np.float32))


@kernel
def cosines(start, stop, z, K, cosine):
    """|cos| of the angle between ray and normal, of the rows start .. stop of pixels; 0 without three neighbours on the surface.

    The plane z = c + a u + b v is fitted to the pixels around that lie within GATE. With x = (u - cx) / fx its normal is
    (-a fx, -b fy, z + a fx x + b fy y), and the product of that with the ray (x, y, 1) is z.
    """
    height, width = z.shape
    for v in range(start, stop):
        y = (v + 0.5 - K[1, 2]) / K[1, 1]
        for u in range(width):
            own = np.float64(z[v, u])
            if own <= 0:
                continue
            gate = GATE * own / K[0, 0]
            n, su, sv, suu, suv, svv, sz, suz, svz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(max(-AROUND, -v), min(AROUND, height - 1 - v) + 1):
                for i in range(max(-AROUND, -u), min(AROUND, width - 1 - u) + 1):
                    d = z[v + j, u + i] - own
                    if z[v + j, u + i] <= 0 or abs(d) > gate:
                        continue
                    n += 1
                    su, sv, sz = su + i, sv + j, sz + d
                    suu, suv, svv, suz, svz = suu + i * i, suv + i * j, svv + j * j, suz + i * d, svz + j * d
            if n < 4:
                continue
            uu, uv, vv = suu - su * su / n, suv - su * sv / n, svv - sv * sv / n
            uz, vz = suz - su * sz / n, svz - sv * sz / n
            det = uu * vv - uv * uv
            if det < 1e-9:
                continue
            a, b = K[0, 0] * (uz * vv - vz * uv) / det, K[1, 1] * (vz * uu - uz * uv) / det
            x = (u + 0.5 - K[0, 2]) / K[0, 0]
            third = own + a * x + b * y
            cosine[v, u] = own / np.sqrt((a * a + b * b + third * third) * (1 + x * x + y * y))
