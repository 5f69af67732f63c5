"""Pictures of scenes without splats, which take long to draw: a small one at once, also while the camera moves, and while it
rests larger ones, part by part, so that nobody waits for a whole picture.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from viewer.pictures import BACKGROUND, Pose, as_bytes, draw

if TYPE_CHECKING:
    from viewer.shown import Shown

GLIMPSE_SECONDS = 0.2
"""What the small picture may take."""
PART_SECONDS = 0.4
"""What a part of a larger one may take."""
TRAINING_SECONDS = 2.0
"""What a whole picture may take while a training runs."""
GROWTH = 3
"""Each picture's sides are so many times those of the one before."""
LEAST = 24
"""Long side of the smallest picture, pixels."""
UNKNOWN_COST = 1e-4
"""Seconds a pixel, until something was drawn."""
SMOOTHING = 0.5
"""Weight of the newest measurement of that."""


@dataclass(eq=False)
class Work:
    """A picture in the making, and the larger ones after it."""

    scene: Shown
    pose: Pose
    sides: list[int]
    """Long sides still to draw, the first one being drawn."""
    image: NDArray[np.uint8]
    """u8[H, W, 3], whole up to `row`."""
    row: int = 0


class Patience:
    """The pictures of one client. Used by the painter's thread alone."""

    def __init__(self) -> None:
        self._cost = UNKNOWN_COST
        self._work: Work | None = None

    def affordable(self, pose: Pose, seconds: float) -> int:
        """The long side of a picture that takes so long."""
        wide, high = pose.size
        return max(LEAST, int((seconds / self._cost * max(wide, high) / min(wide, high)) ** 0.5))

    def glimpse(self, scene: Shown, pose: Pose, most: int) -> NDArray[np.uint8]:
        """u8[h, w, 3]: as large as can be had at once, `most` at most."""
        return self._draw(scene, pose.cameras(min(most, self.affordable(pose, GLIMPSE_SECONDS))))

    def part(self, scene: Shown, pose: Pose, most: int) -> tuple[NDArray[np.uint8] | None, bool]:
        """Draw a part more: (a picture that has become whole, u8[h, w, 3], or None; whether there is more to draw)."""
        work = self._work
        if work is None or work.scene is not scene or work.pose != pose:
            most = min(most, max(pose.size))
            first = min(most, GROWTH * self.affordable(pose, GLIMPSE_SECONDS))
            work = self._work = self._begin(scene, pose, ladder(first, most))
        height, width = work.image.shape[:2]
        end = min(height, work.row + max(1, int(PART_SECONDS / (self._cost * width))))
        work.image[work.row : end] = self._draw(scene, rows_of(pose.cameras(work.sides[0]), work.row, end))
        work.row = end
        if end < height:
            return None, True
        done, left = work.image, work.sides[1:]
        self._work = self._begin(scene, pose, left) if left else None
        return done, bool(left)

    def _begin(self, scene: Shown, pose: Pose, sides: list[int]) -> Work:
        width, height = (int(side) for side in pose.cameras(sides[0]).size[0])
        return Work(scene, pose, sides, np.zeros((height, width, 3), np.uint8))

    def _draw(self, scene: Shown, cameras: Cameras) -> NDArray[np.uint8]:
        start = time.perf_counter()
        image = as_bytes(draw(scene, cameras, np.array(BACKGROUND, np.float32) / np.float32(255)))
        took = (time.perf_counter() - start) / (image.shape[0] * image.shape[1])
        self._cost += SMOOTHING * (max(took, 1e-9) - self._cost)
        return image


def ladder(first: int, most: int) -> list[int]:
    """Long sides from `first` on, GROWTH times each, up to `most`."""
    sides = [first]
    while sides[-1] < most:
        sides.append(most if sides[-1] * GROWTH * GROWTH**0.5 > most else sides[-1] * GROWTH)
    return sides


def rows_of(cameras: Cameras, start: int, end: int) -> Cameras:
    """One camera that sees the rows start .. end - 1 of a camera's picture."""
    k, size = cameras.K.copy(), cameras.size.copy()
    k[:, 1, 2] -= start
    size[:, 1] = end - start
    return Cameras(cameras.cam_from_world, k, size, time=cameras.time)
