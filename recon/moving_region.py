"""Which pixels of a filmed photo show something that moves: a quick estimate from photos and poses alone, never from a model.

Fixed cameras: what differs from the median over time. A moving camera: optical flow to neighbours in time (STEPS photos away)
less what the poses allow (the distance from the epipolar line); a pixel moves when most of the neighbours in which flow can be
trusted say so. What moves along the epipolar line is missed. Masks are opened and widened.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras, fit_size
from recon.geometry import Array
from recon.motion import MOVES, consistent, flow_between, grey, off_epipolar, stations_of, temporal_median
from recon.reconstruction import Reconstruction, read_image, shrink

STEPS = (-6, -3, 3, 6)
LIMIT = 0.0045
"""Of the longer side: flow farther than this from its epipolar line is motion (1.7 px of 384)."""
REACH = 0.012
"""Of the longer side: how far the region is widened."""
SHARE = 0.5
LOOKS = 25
FEW = 5
"""Photos from one pose: with fewer there is no median to compare with, and flow is asked."""
LONG_SIDE = 384
"""Of the copies on which the region is found."""

Read = Callable[[int], NDArray[np.uint8]]


def median_of(read: Read, rows: NDArray) -> NDArray[np.uint8]:
    """The median picture u8[H, W, 3] of LOOKS photos at most, evenly chosen."""
    picks = rows[np.unique(np.linspace(0, len(rows) - 1, min(LOOKS, len(rows))).round().astype(int))]
    return np.median(np.stack([read(int(i)) for i in picks]), axis=0).astype(np.uint8)


def off_median(median: NDArray[np.uint8], photo: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """bool[H, W]: where a photo of a fixed camera differs from the median over time, widened."""
    return temporal_median([median, median, photo])[1]


def off_neighbours(
    cameras: Cameras, time: Array, read: Read, row: int, steps: Sequence[int] = STEPS
) -> NDArray[np.bool_]:
    """bool[H, W]: where flow from photo `row` of a moving camera to its neighbours in time is not what the poses allow."""
    import cv2

    order = np.lexsort((time,))
    place = int(np.flatnonzero(order == row)[0])
    here, votes, trusted = grey(read(row)), 0.0, 0.0
    side = max(here.shape)
    for step in steps:
        if not 0 <= place + step < len(order):
            continue
        other = int(order[place + step])
        there = grey(read(other))
        flow, back = flow_between(here, there), flow_between(there, here)
        sure = consistent(flow, back, 0.004 * side)
        votes = votes + (sure & (off_epipolar(cameras, row, other, flow) > LIMIT * side))
        trusted = trusted + sure
    moving = (np.broadcast_to(votes, here.shape) > SHARE * np.asarray(trusted)).astype(np.uint8)
    moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    reach = 2 * round(REACH * side) + 1
    return cv2.dilate(moving, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0


class MovingRegions:
    """The moving region of any photo of a reconstruction whose photos were filmed."""

    def __init__(self, reconstruction: Reconstruction, take: NDArray[np.int32], long_side: int = LONG_SIDE) -> None:
        """`take` [N] tells which camera took each of the model's photos; they have times."""
        model = reconstruction.model
        assert model.cameras.time is not None
        self._found, self._names, self._take, self._time = reconstruction, model.names, take, model.cameras.time
        self._cameras = model.cameras.resized(fit_size(model.cameras.size, long_side))
        station = stations_of(self._cameras)
        several = np.bincount(station[station >= 0], minlength=1) >= FEW
        self._station = np.where((station >= 0) & several[np.maximum(station, 0)], station, -1)
        self._read = functools.lru_cache(maxsize=len(STEPS) + 1)(self._photo)
        self._median = functools.lru_cache(maxsize=64)(self._median_of)

    def __call__(self, row: int) -> NDArray[np.bool_]:
        """bool[h, w] of the model's photo `row`, `long_side` at most."""
        if self._station[row] >= 0:
            return off_median(self._median(int(self._station[row])), self._photo(row))
        mine = np.flatnonzero((self._take == self._take[row]) & (self._station < 0))
        place = int(np.flatnonzero(mine == row)[0])
        return off_neighbours(self._cameras[mine], self._time[mine], lambda i: self._read(int(mine[i])), place)

    @property
    def how(self) -> str:
        """How the region is found, in words."""
        fixed = self._station >= 0
        median = "what differs from the median of its camera's photos over time"
        flow = (
            "optical flow to neighbouring photos that leaves the epipolar line of their poses, "
            "which misses what moves along it"
        )
        return median if fixed.all() else flow if not fixed.any() else f"fixed cameras: {median}; moving ones: {flow}"

    def _photo(self, row: int) -> NDArray[np.uint8]:
        rgb = read_image(self._found.image_path(self._names[row]))[..., :3]
        return np.ascontiguousarray(shrink(rgb, self._cameras.size[row]))

    def _median_of(self, station: int) -> NDArray[np.uint8]:
        return median_of(self._photo, np.flatnonzero(self._station == station))


def worth_telling(shares: Sequence[float]) -> bool:
    """Whether so much moves, in the middle of the photos, that it is more than the estimate's own faults."""
    return len(shares) > 0 and float(np.median(shares)) >= MOVES
