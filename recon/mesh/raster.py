"""Which triangle each pixel sees: a z-buffer on the CPU, for visibility, textures and pictures of a mesh.

Rasterisation in homogeneous coordinates (Olano and Greer, Triangle scan conversion using 2D homogeneous coordinates, 1997):
a triangle a, b, c of the camera frame meets the ray d = (x, y, 1) where e_a = d.(b x c), e_b = d.(c x a), e_c = d.(a x b)
have one sign; then z = det(a, b, c) / (e_a + e_b + e_c) and its barycentric coordinates are e / sum. Nothing needs to be
clipped: triangles that reach behind the camera are treated like all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.kernels.jit import kernel, spread


@dataclass(frozen=True)
class Seen:
    """What one camera sees of a mesh."""

    z: NDArray[np.float32]
    """f32[H, W], world units; infinite where there is nothing."""
    face: NDArray[np.int32]
    """i32[H, W], -1 where there is nothing."""

    def weights(self, camera: Cameras, xyz: NDArray, faces: NDArray) -> NDArray[np.float32]:
        """f32[H, W, 3], barycentric coordinates of the point seen; 0 where there is nothing."""
        out = np.zeros((*self.z.shape, 3), np.float32)
        spread(barycentric, len(out), in_camera(camera, xyz), faces, camera.K[0], self.face, out)
        return out


def in_camera(camera: Cameras, xyz: NDArray) -> NDArray[np.float64]:
    """f64[V, 3], world points in the frame of the one camera."""
    m = camera.cam_from_world[0]
    return xyz.astype(np.float64) @ m[:3, :3].T + m[:3, 3]


def look(camera: Cameras, xyz: NDArray, faces: NDArray, near: float = 0.0) -> Seen:
    """Draw triangles [F, 3] of points [V, 3] (world) into one pinhole camera, both sides, nearest first; z > near."""
    width, height = (int(s) for s in camera.size[0])
    points, k = in_camera(camera, xyz), camera.K[0]
    z, face = np.full((height, width), np.inf, np.float32), np.full((height, width), -1, np.int32)
    rows = np.empty((len(faces), 4), np.int32)
    spread(boxes, len(faces), points, faces, k, width, height, max(near, 1e-9), rows)
    drawn = np.flatnonzero(rows[:, 0] <= rows[:, 1]).astype(np.int32)
    spread(draw, height, points, faces, k, drawn, rows, max(near, 1e-9), z, face)
    return Seen(z, face)


@kernel
def boxes(start, stop, points, faces, K, width, height, near, rows):
    """First and last row and column of pixels that each triangle may touch; first > last: none."""
    for f in range(start, stop):
        x0, x1, y0, y1, behind = np.inf, -np.inf, np.inf, -np.inf, 0
        for corner in range(3):
            p = points[faces[f, corner]]
            if p[2] <= near:
                behind += 1
                continue
            u, v = K[0, 0] * p[0] / p[2] + K[0, 2], K[1, 1] * p[1] / p[2] + K[1, 2]
            x0, x1, y0, y1 = min(x0, u), max(x1, u), min(y0, v), max(y1, v)
        if behind > 0:
            x0, x1, y0, y1 = 0.0, float(width), 0.0, float(height)
        rows[f, 0], rows[f, 1] = 1, 0
        if behind == 3 or x1 < 0.5 or y1 < 0.5 or x0 > width - 0.5 or y0 > height - 0.5:
            continue
        rows[f, 0], rows[f, 1] = max(0, int(np.ceil(y0 - 0.5))), int(min(height - 1.0, np.floor(y1 - 0.5)))
        rows[f, 2], rows[f, 3] = max(0, int(np.ceil(x0 - 0.5))), int(min(width - 1.0, np.floor(x1 - 0.5)))


@kernel
def cross(a, b):
    """a x b of vectors [3]."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@kernel
def draw(start, stop, points, faces, K, drawn, rows, near, z, face):
    """Draw the triangles `drawn` into the rows start .. stop of pixels."""
    for f in drawn:
        first, last = max(start, rows[f, 0]), min(stop - 1, rows[f, 1])
        if first > last:
            continue
        a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
        na, nb, nc = cross(b, c), cross(c, a), cross(a, b)
        det = a[0] * na[0] + a[1] * na[1] + a[2] * na[2]
        if det == 0:
            continue
        for v in range(first, last + 1):
            y = (v + 0.5 - K[1, 2]) / K[1, 1]
            for u in range(rows[f, 2], rows[f, 3] + 1):
                x = (u + 0.5 - K[0, 2]) / K[0, 0]
                ea = na[0] * x + na[1] * y + na[2]
                eb = nb[0] * x + nb[1] * y + nb[2]
                ec = nc[0] * x + nc[1] * y + nc[2]
                total = ea + eb + ec
                if total * det <= 0:  # behind the camera, or along the plane
                    continue
                if min(ea * det, eb * det, ec * det) < 0:
                    continue
                depth = np.float32(det / total)
                if depth > near and (depth < z[v, u] or (depth == z[v, u] and f < face[v, u])):
                    z[v, u] = depth
                    face[v, u] = f


@kernel
def barycentric(start, stop, points, faces, K, face, out):
    """Barycentric coordinates of what the rows start .. stop of pixels see."""
    for v in range(start, stop):
        for u in range(face.shape[1]):
            f = face[v, u]
            if f < 0:
                continue
            x, y = (u + 0.5 - K[0, 2]) / K[0, 0], (v + 0.5 - K[1, 2]) / K[1, 1]
            a, b, c = points[faces[f, 0]], points[faces[f, 1]], points[faces[f, 2]]
            na, nb, nc = cross(b, c), cross(c, a), cross(a, b)
            ea = na[0] * x + na[1] * y + na[2]
            eb = nb[0] * x + nb[1] * y + nb[2]
            ec = nc[0] * x + nc[1] * y + nc[2]
            total = ea + eb + ec
            out[v, u, 0], out[v, u, 1], out[v, u, 2] = ea / total, eb / total, ec / total


def visible(camera: Cameras, seen: Seen, points: NDArray, slack: float) -> NDArray[np.bool_]:
    """bool[P]: which world points [P, 3] lie in the image and no farther behind what their pixel sees than `slack`, world units.

    Of the pixel and its neighbours the farthest z of one surface counts, so that points beside a slanted edge are not lost;
    where a pixel sees nothing, the nearest z around it. A point with nothing around it is thinner than a pixel, and visible.
    """
    import cv2

    width, height = (int(s) for s in camera.size[0])
    p, k = in_camera(camera, points), camera.K[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = k[0, 0] * p[:, 0] / p[:, 2] + k[0, 2], k[1, 1] * p[:, 1] / p[:, 2] + k[1, 2]
    inside = (p[:, 2] > 0) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    out = np.zeros(len(points), bool)
    far, near = (function(seen.z, np.ones((3, 3), np.uint8)) for function in (cv2.dilate, cv2.erode))
    col, row = u[inside].astype(np.int64), v[inside].astype(np.int64)
    near_z, far_z = (
        np.minimum(seen.z[row, col], np.where(np.isinf(seen.z[row, col]), near[row, col], np.inf)),
        far[row, col],
    )
    far_z = np.where(far_z <= near_z + 4 * slack, far_z, near_z)  # a neighbour beyond a step is another surface
    out[inside] = p[inside, 2] <= far_z + slack
    return out
