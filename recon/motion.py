"""What moves: moments and fixed cameras of a capture with times, the part of a picture that moves, and captures that cannot be
trained as moving scenes.

A fixed camera's pictures are compared pixel by pixel over time. The pictures of one moving camera cannot be: there the optical
flow is compared with what its poses allow (the distance from the epipolar line), which misses what moves along that line.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.errors import InputError
from recon.geometry import Array
from recon.wording import count, some

DEVIATION = 18
"""Grey levels from the median, in any channel, from which on a pixel of a fixed camera shows something else."""
DILATE = 0.01
"""Of the longer side: how far the moving part is widened."""
FLOW_SIDE = 256
EPIPOLAR_PX = 1.2
"""Pixels of the FLOW_SIDE copy: flow that is farther than this from its epipolar line is motion."""
MOVES = 0.004
"""Of the picture: less than this moving, in the middle of the pairs looked at, is nothing."""
PAIRS = 12
SAME_POSE = 1e-6


@dataclass(frozen=True)
class Motion:
    """What a moving scene's trainer wants to know before it begins."""

    share: float
    """Median share of the picture that moves."""
    fixed: bool
    """All cameras stand still."""

    @property
    def moves(self) -> bool:
        """False: train static."""
        return self.share >= MOVES


def require_times(names: Sequence[str], time: Array | None) -> Array:
    """The times f64[N] of photos. Raises InputError that names those without."""
    if time is None:
        raise InputError(
            f"None of the {count(len(names), 'photo')} has a time, which a moving scene needs. Name a video, number the frames "
            "of one folder (0001.jpg, 0002.jpg, ... with --fps), or give a time to every frame of transforms.json."
        )
    missing = [name for name, seconds in zip(names, time, strict=True) if not np.isfinite(seconds)]
    if missing:
        raise InputError(
            f"{count(len(missing), 'photo')} of {len(names)} without a time ({some(missing, 8)}), which a moving scene needs. "
            "Give them times, or leave them out."
        )
    return np.asarray(time, np.float64)


def moments_of(time: Array, camera: NDArray) -> NDArray[np.int32]:
    """i32[N]: which moment each photo is of, counted from 0 by time. `camera` [N] tells which camera took it.

    A moment holds at most one photo a camera, and photos less than half a frame apart.
    """
    gaps = [np.diff(np.unique(time[camera == c])) for c in np.unique(camera)]
    gap = np.concatenate(gaps) if gaps else np.zeros(0)
    near = 0.5 * float(np.median(gap)) if len(gap) else 0.0
    moment, found, start, seen = -1, np.zeros(len(time), np.int32), -np.inf, set[int]()
    for row in np.lexsort((camera, time)).tolist():
        if time[row] - start >= max(near, 1e-9) or int(camera[row]) in seen:
            moment, start, seen = moment + 1, float(time[row]), set()
        seen.add(int(camera[row]))
        found[row] = moment
    return found


def stations_of(cameras: Cameras) -> NDArray[np.int32]:
    """i32[N]: photos with one number were taken by a camera that stood still; -1: nowhere else was a photo taken from there.

    Stations are numbered in order of first appearance.
    """
    own = [cameras.cam_from_world.reshape(len(cameras), 16), cameras.K.reshape(len(cameras), 9) / cameras.size[:, :1]]
    key = np.round(np.concatenate(own, 1) / SAME_POSE).astype(np.int64)
    _, station, number = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    station = station.reshape(-1)
    several = number[station] > 1
    out = np.full(len(cameras), -1, np.int32)
    ids: dict[int, int] = {}
    out[several] = [ids.setdefault(int(one), len(ids)) for one in station[several]]
    return out


def temporal_median(photos: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The median picture u8[H, W, 3] of a fixed camera's photos, and bool[H, W] where something moves in any of them, widened."""
    import cv2

    stack = np.stack(photos)
    height, width = stack.shape[1:3]
    median = np.empty(stack.shape[1:], np.uint8)
    for top in range(0, height, 128):
        median[top : top + 128] = np.median(stack[:, top : top + 128], axis=0)
    blurred, moving = cv2.blur(median, (3, 3)), np.zeros((height, width), np.uint8)
    for photo in stack:
        away = cv2.absdiff(cv2.blur(photo, (3, 3)), blurred).max(-1) > DEVIATION
        moving |= away.astype(np.uint8)
    moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    reach = 2 * max(1, round(DILATE * max(width, height))) + 1
    return median, cv2.dilate(moving, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0


def flow_between(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Optical flow f32[H, W, 2] from grey picture a to b, pixels (Kroeger et al., Fast Optical Flow using DIS, 2016)."""
    import cv2

    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(dis.calc(a, b, np.zeros((*a.shape, 2), np.float32)), np.float32)


def off_epipolar(cameras: Cameras, a: int, b: int, flow: NDArray[np.float32]) -> Array:
    """f64[H, W]: how far flow from photo a to b leads from the epipolar line, pixels. Pinhole cameras of the flow's size.

    Where the cameras stand in one place there is no line: the distance from where the turn alone leads.
    """
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    start = np.stack([x, y, np.ones_like(x)], -1)
    end = start.copy()
    end[..., :2] += flow
    b_from_a = cameras.cam_from_world[b] @ cameras.world_from_cam[a]
    turn, shift = b_from_a[:3, :3], b_from_a[:3, 3]
    k_a, k_b = np.linalg.inv(cameras.K[a]), cameras.K[b]
    turned = start @ (k_b @ turn @ k_a).T
    if np.linalg.norm(shift) < 1e-9:
        return np.linalg.norm(end[..., :2] - turned[..., :2] / turned[..., 2:], axis=-1)
    line = np.cross(np.broadcast_to(k_b @ shift, turned.shape), turned)
    return np.abs((line * end).sum(-1)) / np.maximum(np.linalg.norm(line[..., :2], axis=-1), 1e-12)


def consistent(there: NDArray[np.float32], back: NDArray[np.float32], limit: float = 1.0) -> NDArray[np.bool_]:
    """bool[H, W]: where flow there and back again ends within `limit` pixels of where it began; no trust elsewhere."""
    import cv2

    height, width = there.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    returned = cv2.remap(back, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR, borderValue=(1e3, 1e3))
    return np.linalg.norm(there + returned, axis=-1) < limit


def motion_of(cameras: Cameras, time: Array, read: Callable[[int], NDArray[np.uint8]]) -> Motion:
    """How much moves in photos of pinhole cameras; `read(row)` gives a photo u8[H, W, 3 or 4].

    Raises InputError for one camera that does not move.
    """
    station = stations_of(cameras)
    check_cameras(cameras, station)
    rows = np.lexsort((time,))
    if (station >= 0).all():
        shares = []
        for one in np.unique(station):
            mine = rows[station[rows] == one]
            picks = mine[np.unique(np.linspace(0, len(mine) - 1, 8).round().astype(int))]
            shares.append(temporal_median([_small(read(int(row))) for row in picks])[1].mean())
        return Motion(float(np.median(shares)), True)
    alone = rows[station[rows] < 0]
    pairs = list(itertools.pairwise(alone.tolist()))
    chosen = [pairs[i] for i in np.unique(np.linspace(0, len(pairs) - 1, PAIRS).round().astype(int))]
    shares = []
    for a, b in chosen:
        here, there = (grey(_small(read(row))) for row in (a, b))
        if here.shape != there.shape:
            continue
        small = cameras[[a, b]].resized((here.shape[1], here.shape[0]))
        flow, back = flow_between(here, there), flow_between(there, here)
        shares.append(((off_epipolar(small, 0, 1, flow) > EPIPOLAR_PX) & consistent(flow, back)).mean())
    return Motion(float(np.median(shares)) if shares else 0.0, False)


def check_cameras(cameras: Cameras, station: NDArray[np.int32] | None = None) -> None:
    """Raises InputError when all photos were taken by one camera that stands still."""
    station = stations_of(cameras) if station is None else station
    if len(cameras) and (station == 0).all():
        raise InputError(one_fixed(len(cameras)))


def one_fixed(photos: int) -> str:
    """The sentence for a capture by one camera that does not move."""
    return (
        f"All {photos} photos were taken by one camera that does not move: how far away anything is cannot be known from them. "
        "Move the camera while filming, or film with several cameras at once."
    )


def nothing_moves(motion: Motion) -> str:
    """The sentence for a capture in which nothing moves."""
    return (
        f"Nothing moves in the photos (in the middle, {motion.share:.1%} of the picture): a static scene is trained. "
        "Use --scene gs, which is faster."
    )


def grey(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """u8[H, W] of u8[H, W, 3]."""
    import cv2

    return np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), np.uint8)


def _small(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    factor = min(1.0, FLOW_SIDE / max(photo.shape[:2]))
    size = (max(1, round(photo.shape[1] * factor)), max(1, round(photo.shape[0] * factor)))
    return np.asarray(cv2.resize(photo[..., :3], size, interpolation=cv2.INTER_AREA), np.uint8)
