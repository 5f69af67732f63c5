"""Times of photos: what their files tell, what a data set tells, and what the numbers of frames tell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from recon.capture import MIN_PHOTOS_FOR_HOLDOUT, Capture, moving_split
from recon.errors import InputError
from recon.job import Job
from recon.motion import cameras_by, moments_of, stations_of
from recon.wording import some

FPS = 30.0
"""Of numbered frames that tell no times."""
NUMBER = re.compile(r"(|.*\D)(\d+)(\.\w+)")


def camera_ids(keys: Iterable[object]) -> np.ndarray:
    """i32[N], 0-based in order of first appearance: equal keys share a camera."""
    ids: dict[object, int] = {}
    return np.array([ids.setdefault(key, len(ids)) for key in keys], np.int32)


def times(seconds: Sequence[float]) -> np.ndarray | None:
    """f64[N], seconds from the first photo taken; None unless every photo tells its time."""
    if not seconds or any(math.isnan(s) for s in seconds):
        return None
    return np.array(seconds) - min(seconds)


def timed(capture: Capture, time: Mapping[str, float], own_split: bool, holdout: str) -> Capture:
    """The capture with the times of its data set, in seconds from its first photo, and the split of a moving scene."""
    seconds = np.array([time[name] for name in capture.names])
    assert capture.prior is not None
    station = stations_of(capture.prior.cameras)
    camera = cameras_by(capture.names, station)
    capture = replace(
        capture, time=seconds - seconds.min(), untimed=(), station=station if (station >= 0).any() else None
    )
    if own_split:
        return capture
    split, protocol = moving_split(capture.names, camera, moments_of(seconds, camera), holdout)
    return replace(capture, split=split, protocol=protocol)


def numbered(capture: Capture, fps: float, job: Job) -> Capture:
    """The capture with times by the numbers of its frames: 16 or more that tell none, or as --fps asks.

    Numbered are photos of one folder whose names differ in one number alone: its distance from the first, over `fps`, is the
    time.
    """
    if len(capture) < MIN_PHOTOS_FOR_HOLDOUT and not fps:
        return capture
    parts = [NUMBER.fullmatch(name) for name in capture.names]
    forms = {(part[1], part[3]) for part in parts if part}
    if len(forms) != 1 or not all(parts):
        if fps:
            raise InputError(
                "--fps gives times to numbered frames: photos of one folder called alike but for a number (0001.jpg, "
                f"0002.jpg, ...). Found {some(capture.names)}. Rename them, or leave --fps out."
            )
        return capture
    index = np.array([int(part[2]) for part in parts if part], np.float64)
    said = "as --fps says" if fps else "unless --fps says otherwise"
    job.say(
        f"The photos are numbered and tell no times: taken as {fps or FPS:g} frames a second, {said}; only moving scenes ask."
    )
    return replace(capture, time=(index - index.min()) / (fps or FPS), untimed=())
