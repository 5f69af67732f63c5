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
        import cv2

        flat, d = np.ascontiguousarray(uv.reshape(-1, 1, 2)), self.distortion[index]
        if self.model == "fisheye":
            out = cv2.fisheye.undistortPoints(flat, np.eye(3), d)
        else:
            criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-12)
            out = cv2.undistortPointsIter(flat, np.eye(3), d, None, None, criteria)
        return np.asarray(out, np.float64).reshape(uv.shape)


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


def fit_size(size: ArrayLike, long_side: int) -> NDArray[np.int32]:
    """Sizes i32[..., 2] whose longer side is `long_side` at most (0: as they are), never enlarged, at least 1 pixel."""
    s = np.asarray(size, np.int64)
    factor = np.minimum(1.0, long_side / s.max(-1, keepdims=True)) if long_side > 0 else np.ones((*s.shape[:-1], 1))
    return np.maximum(1, np.floor(s * factor + 0.5)).astype(np.int32)
