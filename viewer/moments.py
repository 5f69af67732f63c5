"""When the frames of a film show a scene that moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from recon.errors import InputError
from viewer.paths import Sampled


def moment_of(scene: Any, name: str, time: float | None) -> float | None:
    """The moment that --time names. Raises InputError for one that the scene called `name` does not have."""
    times = getattr(scene, "times", None)
    if time is None:
        return None
    if times is None:
        raise InputError(f"--time does nothing: scene {name} stands still. Leave it out.")
    if not times[0] <= time <= times[1]:
        raise InputError(
            f"--time {time:g} is outside of scene {name}: expected {times[0]:g} to {times[1]:g} seconds from its start."
        )
    return time


def played(sampled: Sampled, scene: Any, name: str, time: float | None) -> Sampled:
    """The frames with the scene's moments: the one that --time names, those of the camera path, or the scene played from its
    start, again and again. A scene that stands still has none.
    """
    moment, times = moment_of(scene, name, time), getattr(scene, "times", None)
    if moment is not None:
        return replace(sampled, scene_time=np.full(len(sampled), float(moment)))
    if times is None or sampled.scene_time is not None:
        return sampled
    start, span = float(times[0]), float(times[1] - times[0])
    return replace(sampled, scene_time=start + np.mod(sampled.time - sampled.time[0], span))
