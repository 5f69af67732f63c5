"""The planes of one photo: first guess, coarse to fine, then with the planes of its sources. Notation as in cost.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recon.cameras import Cameras
from recon.depth.consistency import agreement
from recon.depth.cost import Reference, Sources, score
from recon.depth.offers import take_offers
from recon.depth.patchmatch import REGIONS, sweep
from recon.depth.photos import HALF, at_level, reference_of, sources_of
from recon.depth.smooth import smooth
from recon.depth.views import View
from recon.geometry import Array
from recon.kernels.jit import DOOR, spread

COARSEST = 100
"""The longer side of the smallest level is at least this, pixels."""
LEVELS = 3
SWEEPS = (6, 4, 3)
"""Sweeps over both colours at the coarsest level, the next, and all others."""
GEOMETRIC_SWEEPS = 2
NEARLY = 2.0
"""Sources that agree up to so many times the tolerance nearly agree, whatever their normals."""
ROWS = 4
"""Rows that are worth a call of a kernel."""
Planes = NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """A reference photo and its sources at one size."""

    photos: list[NDArray[np.uint8]]
    """u8[H, W, 4] each, the reference first."""
    cameras: Cameras
    """[1 + S], at these sizes."""

    def level(self, factor: float) -> Group:
        """The same at `factor` times the size."""
        size = np.maximum(2, np.rint(self.cameras.size * factor)).astype(np.int32)
        return Group([at_level(p, s) for p, s in zip(self.photos, size, strict=True)], self.cameras.resized(size))

    def epipoles(self) -> NDArray[np.float32]:
        """f32[S, 3]: the sources' centres in the reference photo, homogeneous, (0, 0) the centre of the first pixel."""
        centers = (
            self.cameras.centers[1:] @ self.cameras.cam_from_world[0, :3, :3].T + self.cameras.cam_from_world[0, :3, 3]
        )
        return (centers @ (HALF @ self.cameras.K[0]).T).astype(np.float32)

    def packed(self, planes: list[Planes] | None = None) -> tuple[Reference, Sources]:
        """For the kernels; `planes` of the sources, f32[3, H, W] each."""
        reference = reference_of(self.photos[0], self.cameras.K[0])
        return reference, sources_of(self.photos[1:], self.cameras, planes)


def solve_alone(group: Group, view: View, best: int, seed: int, tick: Callable[[float], None]) -> Planes:
    """Planes f32[4, H, W] (w, wx, wy, cost) of the first photo from the photos alone. tick(share of the work) as it goes."""
    factors = level_factors(group.cameras.size[0])
    work = np.array([SWEEPS[min(i, 2)] * f * f for i, f in enumerate(factors)])
    state: Planes | None = None
    for i, factor in enumerate(factors):
        small = group.level(factor)
        reference, sources = small.packed()
        shape = (reference.height, reference.width)
        plane = first_guess(view, group.cameras, shape, seed) if state is None else enlarged(state[:3], shape)
        pixel = w_of_a_pixel(small.cameras, view)
        reach, turn = (4.0, 0.5) if i == 0 else (2.0, 0.3)
        state = _swept(reference, sources, best, plane, SWEEPS[min(i, 2)], pixel, reach, turn, view.w_range, seed + i)
        smooth(reference, sources, best, state[:3], state[3], pixel)
        tick(float(work[i] / work.sum()))
    assert state is not None  # there is a level at least
    return state


def solve_together(group: Group, view: View, best: int, seed: int, own: Planes, others: list[Planes]) -> Planes:
    """Planes f32[4, H, W] from those f32[4, H, W] of an earlier pass: `own`, and of its sources.

    Planes of the sources that look better here are taken over; then all should agree with the sources.
    """
    reference, sources = group.packed([o[:3] for o in others])
    plane, cost = np.array(own[:3]), np.empty(own.shape[1:], np.float32)
    alone = sources._replace(geometric=False)
    with DOOR:
        spread(score, reference.height, reference, alone, best, plane, cost, grain=ROWS)
    take_offers(reference, alone, group.cameras, best, plane, cost, others)
    pixel = w_of_a_pixel(group.cameras, view)
    return _swept(reference, sources, best, plane, GEOMETRIC_SWEEPS, pixel, 1.0, 0.15, view.w_range, seed)


def _swept(
    reference: Reference,
    sources: Sources,
    best: int,
    plane: Planes,
    sweeps: int,
    pixel: float,
    reach: float,
    turn: float,
    w_range: tuple[float, float],
    seed: int,
) -> Planes:
    """Planes f32[4, H, W] after so many sweeps from f32[3, H, W]; the numbers are those of sweep(), of the first one."""
    state = np.empty((4, *plane.shape[1:]), np.float32)
    state[:3] = plane
    own, cost = state[:3], state[3]
    with DOOR:
        spread(score, reference.height, reference, sources, best, own, cost, grain=ROWS)
        for i in range(sweeps):
            shrink = 0.6**i
            numbers = [np.float32(v) for v in (pixel, reach * shrink, turn * shrink, *w_range)]
            for colour in (0, 1):
                draw = (seed * 64 + i) * 2 + colour
                work = (reference, sources, best, own, cost, REGIONS, colour, draw, *numbers)
                spread(sweep, reference.height, *work, grain=ROWS)
    return state


def judged(
    group: Group, best: int, own: Planes, others: list[Planes], tolerance: tuple[float, float, float]
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Photometric cost f32[H, W] of the planes `own`, how many sources agree with them u8[H, W], and how many nearly do.

    tolerance: pixels of forward-backward error, share of the depth, degrees between normals.
    """
    reference, sources = group.packed(others)
    shape = (reference.height, reference.width)
    cost, count, nearly = np.empty(shape, np.float32), np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    pixels, share, degrees = tolerance
    limits = (np.float32(pixels), np.float32(share), np.float32(np.cos(np.radians(degrees))))
    loose = (np.float32(NEARLY * pixels), np.float32(NEARLY * share), np.float32(-1))
    plane = np.array(own[:3])
    with DOOR:
        spread(agreement, shape[0], reference, sources, plane, *limits, count, grain=ROWS)
        spread(agreement, shape[0], reference, sources, plane, *loose, nearly, grain=ROWS)
        alone = sources._replace(geometric=False)
        spread(score, shape[0], reference, alone, best, plane, cost, grain=ROWS)
    return cost, count, nearly


def level_factors(size: ArrayLike) -> list[float]:
    """Factors of the levels from the coarsest to 1."""
    long_side = float(np.max(size))
    count = 1
    while count < LEVELS and long_side / 2**count >= COARSEST:
        count += 1
    return [0.5**i for i in reversed(range(count))]


def first_guess(view: View, cameras: Cameras, shape: tuple[int, int], seed: int) -> Planes:
    """Planes f32[3, H, W] that face the camera: every other pixel at the depth of the sparse point nearest to it in the
    photo, the others (all of them without points) anywhere in the range.
    """
    from scipy.spatial import KDTree

    height, width = shape
    plane = np.zeros((3, height, width), np.float32)
    least, most = view.w_range
    plane[0] = least + (most - least) * np.random.default_rng(seed).random(shape)
    if len(view.w):
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        scale = cameras.size[0] / [width, height]
        at = np.stack([x, y], -1) * scale
        nearest = view.w[KDTree(view.pixels).query(at.reshape(-1, 2))[1]].reshape(shape)
        known = (np.floor(x) + np.floor(y) // 2) % 2 == 0
        plane[0][known] = nearest[known]
    return plane


def enlarged(plane: Planes, shape: tuple[int, int]) -> Planes:
    """Planes f32[3, H, W] for a larger photo: each pixel continues the plane of the small pixel that it lies in."""
    height, width = shape
    sy, sx = plane.shape[1] / height, plane.shape[2] / width
    x, y = (np.arange(width) + 0.5) * sx - 0.5, (np.arange(height) + 0.5) * sy - 0.5
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    column, row = np.clip(column, 0, plane.shape[2] - 1), np.clip(row, 0, plane.shape[1] - 1)
    w, wx, wy = (p[row[:, None], column] for p in plane)
    return np.stack([w + wx * (x - column) + wy * (y - row)[:, None], wx * sx, wy * sy]).astype(np.float32)


def w_of_a_pixel(cameras: Cameras, view: View) -> float:
    """The change of 1 / z that moves the spot in the middle of the first camera by a pixel in the others (the mean)."""
    w = float(np.median(view.w)) if len(view.w) else sum(view.w_range) / 2
    step = 1e-3 * w
    middle = cameras.size[0] / 2
    ray = np.append(cameras[0].normalized(0, middle), 1.0)
    spots = cameras.world_from_cam[0] @ np.append(ray, 0)[:, None] / [w, w + step]
    pixels, _ = cameras[slice(1, None)].project((spots[:3] + cameras.centers[:1].T).T)
    moved = np.linalg.norm(pixels[:, 1] - pixels[:, 0], axis=-1)
    moved = moved[np.isfinite(moved) & (moved > 0)]
    return step / float(moved.mean()) if len(moved) else step


def camera_normals(planes: Planes, k: Array) -> NDArray[np.float32]:
    """Unit normals f32[H, W, 3] towards the camera, in its frame, of planes f32[3, H, W] of a photo with K [3, 3]."""
    w, wx, wy = planes[:3].astype(np.float64)
    height, width = w.shape
    x, y = np.meshgrid(np.arange(width) + 0.5 - k[0, 2], np.arange(height) + 0.5 - k[1, 2])
    normal = np.stack([k[0, 0] * wx, k[1, 1] * wy, w - wx * x - wy * y], -1)
    length = np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-30)
    return (-normal / length).astype(np.float32)
