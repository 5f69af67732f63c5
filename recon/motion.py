"""What moves: moments and fixed cameras of a capture with times, the part of a picture that moves, and captures that cannot be
trained as moving scenes.

A fixed camera's pictures are compared pixel by pixel over time. The pictures of one moving camera cannot be: there the optical
flow is compared with what its poses allow (the distance from the epipolar line), which misses what moves along that line.
"""

from __future__ import annotations

import functools
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
MOVES, MOVES_BY_FLOW = 0.004, 0.002
"""Of the picture: less than this moving is nothing, before fixed cameras and before one that moves."""
FOLLOWED = 0.5
"""Of the picture: where flow follows less than this, it cannot tell that nothing moves."""
STEPS = ((-2, -1, 1, 2), (-6, -3, 3, 6), (-20, -10, 10, 20))
"""Photos before and after one, in time, that its flow leads to: what moves slowly shows over the longer ones."""
AGREE = 0.75
"""Of the photos that flow leads to: so many must say that a pixel moves."""
LOOKS, STATIONS, PICKS = 16, 6, 10
"""Photos of a fixed camera, fixed cameras, and photos of moving cameras that are looked at."""
SAME_POSE = 1e-6


@dataclass(frozen=True)
class Motion:
    """What a moving scene's trainer wants to know before it begins."""

    share: float
    """Of the picture that moves: of the fixed camera that sees the most, or the mean over photos of moving ones."""
    fixed: bool
    """All cameras stand still."""
    sure: bool = True
    """False: the photos are too different from each other to tell that nothing moves."""

    @property
    def moves(self) -> bool:
        """False: nothing does, train static."""
        return not self.sure or self.share >= (MOVES if self.fixed else MOVES_BY_FLOW)


def require_times(names: Sequence[str], time: Array | None, untimed: Sequence[str] = ()) -> Array:
    """The times f64[N] of photos. Raises InputError that names those without; `untimed` are those where others have one."""
    if time is None and not untimed:
        raise InputError(
            f"None of the {count(len(names), 'photo')} has a time, which a moving scene needs. Name a video, number the frames "
            "of one folder (0001.jpg, 0002.jpg, ... with --fps), or give a time to every frame of transforms.json."
        )
    missing = list(untimed)
    if time is not None:
        missing += [name for name, seconds in zip(names, time, strict=True) if not np.isfinite(seconds)]
    if missing or time is None:
        raise InputError(
            f"{count(len(missing), 'photo')} of {len(names)} without a time ({some(missing, 8)}), which a moving scene needs. "
            "Give them times, leave them out, or number all frames (0001.jpg, 0002.jpg, ...) and say --fps."
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


def cameras_by(names: Sequence[str], station: NDArray[np.int32]) -> NDArray[np.int32]:
    """i32[N], in order of first appearance: which camera took each photo. Photos of one pose are of one camera; the others, of
    one that moves, unless they lie in folders of their own."""
    ids: dict[tuple[int, str], int] = {}
    keys = [(int(one), "" if one >= 0 else name.rpartition("/")[0]) for name, one in zip(names, station, strict=True)]
    return np.array([ids.setdefault(key, len(ids)) for key in keys], np.int32)


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


def motion_of(
    cameras: Cameras, time: Array, read: Callable[[int], NDArray[np.uint8]], camera: NDArray[np.int32] | None = None
) -> Motion:
    """How much moves in photos of pinhole cameras; `read(row)` gives a photo u8[H, W, 3 or 4], of any size.

    `camera` [N] tells photos of several moving cameras apart. Raises InputError for one camera that does not move.
    """
    station = stations_of(cameras)
    check_cameras(cameras, station)
    camera = np.zeros(len(cameras), np.int32) if camera is None else camera
    rows = np.lexsort((time,))
    stations = np.unique(station[station >= 0])
    still = [0.0]
    for one in stations[_spread(len(stations), STATIONS)]:
        mine = rows[station[rows] == one]
        photos = [_small(read(int(row))) for row in mine[_spread(len(mine), LOOKS)]]
        still.append(float(temporal_median(photos)[1].mean()))
    alone = [rows[(station[rows] < 0) & (camera[rows] == one)] for one in np.unique(camera)]
    if max(still) >= MOVES or not any(len(mine) for mine in alone):
        return Motion(max(still), True)
    share, sure = _share_by_flow(cameras, [mine for mine in alone if len(mine)], read)
    return Motion(share, False, sure)


def _share_by_flow(
    cameras: Cameras, sequences: Sequence[NDArray[np.intp]], read: Callable[[int], NDArray[np.uint8]]
) -> tuple[float, bool]:
    """Mean share of the photos that moves, at the STEPS that show the most; and whether flow could follow at any of them.

    `sequences`: rows of one camera each, in order of time.
    """
    small = functools.cache(lambda row: grey(_small(read(row))))
    places = [(mine, place) for mine in sequences for place in range(len(mine))]
    chosen = [places[i] for i in _spread(len(places), PICKS)]
    shares = list[float]()
    for steps in STEPS:
        found = np.array([_moving_by_flow(cameras, mine, place, steps, small) for mine, place in chosen])
        if np.median(found[:, 1]) >= FOLLOWED:
            shares.append(float(found[:, 0].mean()))
    return max(shares, default=0.0), bool(shares)


def _moving_by_flow(
    cameras: Cameras,
    mine: NDArray[np.intp],
    place: int,
    steps: Sequence[int],
    small: Callable[[int], NDArray[np.uint8]],
) -> tuple[float, float]:
    """Share of the photo mine[place] that moves, and share that flow could follow to at least two of the photos `steps` away."""
    import cv2

    here = small(int(mine[place]))
    votes, followed = np.zeros(here.shape), np.zeros(here.shape)
    for step in steps:
        if not 0 <= place + step < len(mine) or (there := small(int(mine[place + step]))).shape != here.shape:
            continue
        pair = cameras[[int(mine[place]), int(mine[place + step])]].resized((here.shape[1], here.shape[0]))
        flow, back = flow_between(here, there), flow_between(there, here)
        trusted = consistent(flow, back)
        votes += trusted & (off_epipolar(pair, 0, 1, flow) > EPIPOLAR_PX)
        followed += trusted
    sure = followed >= 2
    moving = (sure & (votes > AGREE * followed)).astype(np.uint8)
    return float(cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)).mean()), float(sure.mean())


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of 0 .. count - 1, evenly, ends included."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


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


def nothing_moves(motion: Motion, asked: str, trained: str) -> str:
    """The sentence for a capture in which nothing moves, for which one scene was asked for and another is trained."""
    return (
        f"Nothing moves in the photos ({motion.share:.2%} of the picture differ from what a scene at rest shows): "
        f"--scene {trained} is trained instead of {asked}, which would gain nothing."
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
