"""Cameras: poses and intrinsics of N photos as arrays; projection, rays, resizing, undistortion.

The only file that looks at a camera's model. Notation: K in pixels, pixel centres at +0.5, cam_from_world as in geometry.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recon.geometry import Array, se3_inverse

CameraModel = Literal["pinhole", "opencv", "fisheye"]


@dataclass(frozen=True)
class Cameras:
    """N posed cameras. Index with a slice or an index array to get fewer; the result is always a Cameras."""

    cam_from_world: Array
    """f64[N, 4, 4], rigid, OpenCV camera frame, world units."""
    K: Array
    """f64[N, 3, 3], pixels."""
    size: NDArray[np.int32]
    """i32[N, 2], (width, height), pixels."""
    model: CameraModel = "pinhole"
    """"opencv": radial-tangential; "fisheye": OpenCV's equidistant model. What sfm() hands on is always "pinhole"."""
    distortion: Array | None = None
    """f64[N, D]: opencv D = 4, 5 or 8 (k1 k2 p1 p2 [k3 [k4 k5 k6]]); fisheye D = 4 (k1 k2 k3 k4); None for pinhole."""
    time: Array | None = None
    """f64[N], seconds from the capture's start, or None."""

    def __len__(self) -> int:
        return len(self.K)

    def __getitem__(self, index: slice | ArrayLike) -> Cameras:
        if isinstance(index, (int, np.integer)):
            index = slice(int(index), int(index) + 1) if index != -1 else slice(-1, None)
        i = index if isinstance(index, slice) else np.asarray(index)
        pick = lambda a: None if a is None else a[i]  # noqa: E731
        return Cameras(
            self.cam_from_world[i], self.K[i], self.size[i], self.model, pick(self.distortion), pick(self.time)
        )

    @property
    def world_from_cam(self) -> Array:
        """f64[N, 4, 4]."""
        return se3_inverse(self.cam_from_world)

    @property
    def centers(self) -> Array:
        """f64[N, 3], world."""
        return self.world_from_cam[:, :3, 3]

    def resized(self, size: ArrayLike) -> Cameras:
        """The same cameras for photos resampled to `size` ([2] or [N, 2], (width, height)).

        With pixel centres at +0.5 a resize scales K's first two rows and shifts nothing.
        """
        new = np.broadcast_to(np.asarray(size, np.int32), self.size.shape).copy()
        k = self.K.copy()
        k[:, :2] *= (new / self.size)[:, :, None]
        return replace(self, K=k, size=new)

    def project(self, xyz: ArrayLike) -> tuple[Array, Array]:
        """Pixels [N, P, 2] and z [N, P] of world points [P, 3] in every camera. Points with z <= 0 get NaN pixels."""
        p = np.asarray(xyz, np.float64)
        cam = np.einsum("nij,pj->npi", self.cam_from_world[:, :3, :3], p) + self.cam_from_world[:, None, :3, 3]
        z = cam[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            uv = np.where(z[..., None] > 0, cam[..., :2] / z[..., None], np.nan)
        uv = distort(uv, self.model, self.distortion)
        pixels = np.einsum("nij,npj->npi", self.K[:, :2, :2], uv) + self.K[:, None, :2, 2]
        return pixels, z

    def rays(self, index: int, pixels: ArrayLike | None = None) -> tuple[Array, Array]:
        """Origin [3] and unit directions [..., 3], world, through pixels [..., 2] of one camera.

        Without `pixels`: every pixel centre, [H, W, 3].
        """
        if pixels is None:
            width, height = (int(s) for s in self.size[index])
            x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
            pixels = np.stack([x, y], -1)
        uv = self.normalized(index, pixels)
        directions = np.concatenate([uv, np.ones_like(uv[..., :1])], -1) @ self.cam_from_world[index, :3, :3]
        return self.centers[index], directions / np.linalg.norm(directions, axis=-1, keepdims=True)

    def normalized(self, index: int, pixels: ArrayLike) -> Array:
        """Undistorted coordinates (x/z, y/z) [..., 2] of pixels [..., 2] of one camera."""
        p = np.asarray(pixels, np.float64)
        k = self.K[index]
        y = (p[..., 1] - k[1, 2]) / k[1, 1]
        uv = np.stack([(p[..., 0] - k[0, 2] - k[0, 1] * y) / k[0, 0], y], -1)
        if self.model == "pinhole" or self.distortion is None:
            return uv
        return undistort(uv.reshape(1, -1, 2), self.model, self.distortion[index : index + 1]).reshape(uv.shape)


def distort(uv: Array, model: CameraModel, distortion: Array | None) -> Array:
    """Distorted normalised coordinates [N, P, 2] of undistorted ones [N, P, 2], distortion [N, D].

    Source: OpenCV's camera calibration and fisheye models (docs.opencv.org, calib3d).
    """
    if model == "pinhole" or distortion is None:
        return uv
    x, y = uv[..., 0], uv[..., 1]
    r2 = x * x + y * y
    if model == "fisheye":
        r = np.sqrt(r2)
        theta = np.arctan(r)
        t2 = theta * theta
        k1, k2, k3, k4 = (distortion[:, i, None] for i in range(4))
        with np.errstate(invalid="ignore", divide="ignore"):
            factor = np.where(r > 1e-12, theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))) / r, 1.0)
        return uv * factor[..., None]
    d = np.zeros((len(distortion), 8))
    d[:, : distortion.shape[1]] = distortion
    k1, k2, p1, p2, k3, k4, k5, k6 = (d[:, i, None] for i in range(8))
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    dx = 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    dy = p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([x * radial + dx, y * radial + dy], -1)


def undistort(uv: Array, model: CameraModel, distortion: Array | None) -> Array:
    """Undistorted normalised coordinates [N, P, 2] of distorted ones [N, P, 2]: the inverse of distort(), by Newton's method.

    NaN where there is none: fisheye rays at right angles to the axis and beyond, and what lies outside of the polynomial's range.
    """
    if model == "pinhole" or distortion is None:
        return uv
    return _undistort_fisheye(uv, distortion) if model == "fisheye" else _undistort_opencv(uv, distortion)


def _undistort_fisheye(uv: Array, distortion: Array) -> Array:
    bent = np.linalg.norm(uv, axis=-1)
    theta, value = bent.copy(), bent
    k1, k2, k3, k4 = (distortion[:, i, None] for i in range(4))
    for _ in range(30):
        t2 = theta * theta
        value = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))) - bent
        slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
        move = value / np.where(np.abs(slope) < 1e-3, 1e-3, slope)
        theta = theta - np.clip(move, -0.3, 0.3)
        if not np.abs(move).max(initial=0) > 1e-13:
            break
    good = (theta >= 0) & (theta < np.pi / 2) & (np.abs(value) < 1e-7)
    factor = np.where(bent > 1e-12, np.tan(np.where(good, theta, 0)) / np.maximum(bent, 1e-12), 1.0)
    return np.where(good[..., None], uv * factor[..., None], np.nan)


def _undistort_opencv(uv: Array, distortion: Array) -> Array:
    along_x, along_y = np.array([1e-6, 0]), np.array([0, 1e-6])  # central differences, good to 1e-10
    bend = lambda p: distort(p, "opencv", distortion)  # noqa: E731
    out = uv.copy()
    for _ in range(30):
        miss = bend(out) - uv
        dx = (bend(out + along_x) - bend(out - along_x)) / 2e-6
        dy = (bend(out + along_y) - bend(out - along_y)) / 2e-6
        det = dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]
        safe = np.where(np.abs(det) < 1e-3, 1e-3, det)
        move_x = (miss[..., 0] * dy[..., 1] - miss[..., 1] * dy[..., 0]) / safe
        move_y = (miss[..., 1] * dx[..., 0] - miss[..., 0] * dx[..., 1]) / safe
        out = out - np.clip(np.stack([move_x, move_y], -1), -0.3, 0.3)
        if not max(np.abs(move_x).max(initial=0), np.abs(move_y).max(initial=0)) > 1e-12:
            break
    before_fold = np.linalg.norm(out, axis=-1) < _fold(distortion)[:, None]
    found = (np.linalg.norm(bend(out) - uv, axis=-1) < 1e-7) & before_fold & ((out * uv).sum(-1) >= 0)
    return np.where(found[..., None], out, np.nan)


def _fold(distortion: Array) -> Array:
    """The undistorted radius [N] from which on the radial polynomial turns back and names pixels twice; inf without one."""
    radius = np.linspace(0, 10, 10001)
    straight = distortion.copy()
    straight[:, 2:4] = 0
    bent = distort(
        np.stack([np.broadcast_to(radius, (len(distortion), 10001)), np.zeros((len(distortion), 10001))], -1),
        "opencv",
        straight,
    )
    back = np.diff(bent[..., 0], axis=1) <= 0
    return np.where(back.any(1), radius[back.argmax(1)], np.inf)


def fit_size(size: ArrayLike, long_side: int) -> NDArray[np.int32]:
    """Sizes i32[..., 2] whose longer side is `long_side` at most (0: as they are), never enlarged, at least 1 pixel."""
    s = np.asarray(size, np.int64)
    factor = np.minimum(1.0, long_side / s.max(-1, keepdims=True)) if long_side > 0 else np.ones((*s.shape[:-1], 1))
    return np.maximum(1, np.floor(s * factor + 0.5)).astype(np.int32)
