"""What a depth camera measured -> z and confidence in the cameras of the undistorted photos.

    depth image -> without flying pixels -> surface through its pixels, torn at jumps -> drawn with a z-buffer

Each pixel is put where its ray says: that of the depth camera's own K, or of the photo's lens as it was taken, distortion
and all, where the images are registered. Between pixels the surface is flat; nothing wider than a pixel is filled. Lengths
are metres here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.depth_images import read_confidence, read_depth
from recon.geometry import Array
from recon.photos import upright
from recon.reconstruction import Reconstruction, as_taken
from recon.sparse import SparseModel

if TYPE_CHECKING:
    from recon.capture import Capture

GATE = 12.0
"""Neighbours belong to one surface when their z differs by less than this many times the width of a pixel there (85 degrees)."""
NOISE = 0.0015
"""1 / metres: a depth camera's z errs by this times z squared, 1 sigma (Khoshelham and Elberink, Sensors 2012, Kinect)."""
FAIR_Z = 3.0
"""Metres at which the confidence of a depth camera that tells none has fallen to half."""
LEAST_CONFIDENCE = 0.02
OFF_CORNER = 1e-6
"""Pixels by which z is drawn beside its place: rays through the very corners of triangles would miss all of them by rounding."""
AROUND, WIDE = 2, 320
"""A normal is taken from so many pixels on each side, so many apart as the map is times WIDE pixels wide: noise is of pixels."""
Z = NDArray[np.float32]


@dataclass(frozen=True)
class Sensor:
    """The depth images of a reconstruction's training photos."""

    capture: Capture
    reconstruction: Reconstruction
    row: dict[str, int]
    """Row in the capture of each training photo that was placed and has a depth image."""

    @staticmethod
    def of(capture: Capture, reconstruction: Reconstruction) -> Sensor | None:
        """None where no training photo has a depth image."""
        placed = set(reconstruction.model.names)
        row = {
            name: i
            for i, name in enumerate(capture.names)
            if name in placed and capture.split[i] != "test" and capture.depth_path(i)
        }
        return Sensor(capture, reconstruction, row) if row else None

    @cached_property
    def taken(self) -> SparseModel:
        """The cameras before undistortion."""
        return as_taken(self.reconstruction)

    def read(self, name: str) -> tuple[Z, Z | None]:
        """z f32[H, W] in metres, NaN where there is none, and how far it is to be trusted 0..1 where that is told."""
        i, camera = self.row[name], self.capture.depth_camera
        path, trust_path = self.capture.depth_path(i), self.capture.confidence_path(i)
        assert path is not None
        z = read_depth(path, camera)
        trust = read_confidence(trust_path, z.shape) if trust_path else None
        width, height = self.capture.size[i]
        orientation = int(self.capture.orientation[i])
        if camera.K is None and orientation >= 5 and (z.shape[1] > z.shape[0]) != (width > height):
            z = upright(z[..., None], orientation)[..., 0]
            trust = None if trust is None else upright(trust[..., None], orientation)[..., 0]
        return z, trust

    def rays(self, name: str, x: Array, y: Array) -> Array:
        """x/z, y/z [len(y), len(x), 2] of the places x [.], y [.] in its depth image, as shares of its width and height."""
        camera = self.capture.depth_camera
        if camera.K is not None:
            fx, fy, cx, cy = camera.K
            width, height = camera.size or (2 * cx, 2 * cy)
            return np.stack(np.meshgrid((x * width - cx) / fx, (y * height - cy) / fy), -1)
        row = self.taken.names.index(name)
        width, height = self.taken.cameras.size[row]
        return self.taken.cameras.normalized(row, np.stack(np.meshgrid(x * width, y * height), -1))

    def look(self, name: str, camera: Cameras) -> tuple[Z, Z]:
        """z f32[H, W] (metres, NaN where nothing is) and trust f32[H, W] of a photo's depth image in one pinhole camera of any
        size that stands where the photo's does.
        """
        z, trust = self.read(name)
        z, trust = (z, np.ones_like(z)) if trust is None else (np.where(trust > 0, z, np.nan), trust)
        height, width = z.shape
        x, y = (np.concatenate([[0], np.arange(n) + 0.5, [n]]) / n for n in (width, height))
        rays = self.rays(name, x, y)
        focal = width / max(float(np.nanmax(np.ptp(rays[..., 0], axis=1))), 1e-9)
        z = to_the_edge(without_cracks(without_flying(z, focal), focal))
        return drawn(z, np.pad(trust, 1, "edge"), rays, focal, self.capture.depth_camera.shift, camera)


def gate(z: NDArray, focal: float) -> NDArray:
    """By how much the z of neighbours on one surface may differ, metres."""
    return GATE * z / focal + 3 * NOISE * z * z


def around(z: Z, down: int, right: int) -> Z:
    """z of the pixel that lies so far down and right of each; NaN beyond the edge."""
    reach = max(abs(down), abs(right), 1)
    padded = np.pad(z, reach, constant_values=np.nan)
    return padded[reach + down : reach + down + z.shape[0], reach + right : reach + right + z.shape[1]]


def without_flying(z: Z, focal: float) -> Z:
    """z without pixels that hang between a near and a far surface: a jump on both sides, or hardly a neighbour."""
    most = gate(z, focal)
    near = {(j, i): np.abs(around(z, j, i) - z) <= most for j in (-1, 0, 1) for i in (-1, 0, 1) if (j, i) != (0, 0)}
    jump = {side: np.isfinite(around(z, *side)) & ~near[side] for side in ((-1, 0), (1, 0), (0, -1), (0, 1))}
    flies = (jump[-1, 0] & jump[1, 0]) | (jump[0, -1] & jump[0, 1]) | (np.sum(list(near.values()), 0) < 3)
    return np.where(flies, np.float32(np.nan), z)


def without_cracks(z: Z, focal: float) -> Z:
    """z with the one-pixel cracks filled: pixels without z between two of one surface, left and right or above and below."""
    out = z.copy()
    for a, b in (((0, -1), (0, 1)), ((-1, 0), (1, 0))):
        before, after = around(z, *a), around(z, *b)
        crack = np.isnan(out) & (np.abs(before - after) <= gate(np.minimum(before, after), focal))
        out[crack] = (2 * before * after / (before + after))[crack]
    return out


def to_the_edge(z: Z) -> Z:
    """[H + 2, W + 2]: z continued for half a pixel on all sides, to the edge of the image (1 / z linear)."""
    with np.errstate(divide="ignore"):
        w = np.pad(1 / z, 1, constant_values=np.nan)
    for turned in (w, w.T):
        for edge, one, two in ((0, 1, 2), (-1, -2, -3)):
            on = np.where(np.isfinite(turned[two]), 1.5 * turned[one] - 0.5 * turned[two], turned[one])
            turned[edge] = np.clip(on, 0.9 * turned[one], 1.1 * turned[one])
    return (1 / w).astype(np.float32)


def drawn(z: Z, trust: Z, rays: Array, focal: float, shift: tuple[float, float, float], camera: Cameras) -> tuple[Z, Z]:
    """z and trust in a pinhole camera, of the surface through z f32[H, W] along rays [H, W, 2] from `shift` in its frame."""
    from recon.mesh.raster import look

    height, width = z.shape
    known = np.isfinite(z) & np.isfinite(rays).all(-1)
    flat = np.where(known, z, 1).ravel()
    xyz = np.concatenate([np.nan_to_num(rays), np.ones((height, width, 1))], -1).reshape(-1, 3) * flat[:, None] + shift
    first = (np.arange(height - 1)[:, None] * width + np.arange(width - 1)).ravel()
    faces = np.concatenate([first[:, None] + [0, 1, width], first[:, None] + [1, width + 1, width]]).astype(np.int32)
    corner = flat[faces]
    whole = known.ravel()[faces].all(1) & (np.ptp(corner, axis=1) <= gate(corner.min(1), focal))
    faces = faces[whole]
    k = camera.K.copy()
    k[:, :2, 2] += OFF_CORNER
    seen = look(Cameras(np.eye(4)[None], k, camera.size), xyz, faces)
    out = without_cracks(np.where(seen.face >= 0, seen.z, np.float32(np.nan)), float(camera.K[0, 0, 0]))
    low = np.append(trust.ravel()[faces].min(1), np.nan).astype(np.float32)[seen.face]
    beside = np.fmax.reduce([around(low, *side) for side in ((0, -1), (0, 1), (-1, 0), (1, 0))])
    return out, np.where(np.isfinite(out), np.where(np.isfinite(low), low, beside), 0).astype(np.float32)


def planes_of(z: Z, focal: float) -> NDArray[np.float32]:
    """f32[3, H, W]: 1 / z and its slope along x and y, of the plane through what lies around each pixel on the same surface;
    NaN where that is too little.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        w, most = (1 / z).astype(np.float64), gate(z, focal)
        sums = {key: np.zeros(z.shape) for key in ("n", "x", "y", "xx", "xy", "yy", "w", "xw", "yw")}
        step = max(1, round(z.shape[1] / WIDE))
        reach = range(-AROUND * step, AROUND * step + 1, step)
        for j in reach:
            for i in reach:
                other = around(z, j, i)
                mine = np.abs(other - z) <= most
                d = np.where(mine, 1 / other - w, 0)
                for key, value in (("n", 1), ("x", i), ("y", j), ("xx", i * i), ("xy", i * j), ("yy", j * j)):
                    sums[key] += value * mine
                for key, value in (("w", 1), ("xw", i), ("yw", j)):
                    sums[key] += value * d
        n, sx, sy = sums["n"], sums["x"], sums["y"]
        xx, xy, yy = sums["xx"] - sx * sx / n, sums["xy"] - sx * sy / n, sums["yy"] - sy * sy / n
        xw, yw = sums["xw"] - sx * sums["w"] / n, sums["yw"] - sy * sums["w"] / n
        det = xx * yy - xy * xy
        planes = np.stack([w, (xw * yy - yw * xy) / det, (yw * xx - xw * xy) / det])
        return np.where((n >= 5) & (det > 1e-9), planes, np.nan).astype(np.float32)


def confidence_of(z: Z, trust: Z, told: bool, cosine: Z) -> Z:
    """f32[H, W], 0 where nothing was measured: the camera's own trust, or less the farther away; less the more obliquely seen."""
    with np.errstate(invalid="ignore"):
        own = trust if told else 1 / (1 + (z / FAIR_Z) ** 2)
        known = np.isfinite(z) & (trust > 0) & np.isfinite(cosine)
        return np.where(known, np.clip(own * cosine, LEAST_CONFIDENCE, 1), 0).astype(np.float32)
