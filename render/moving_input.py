"""What a scene that moves asks of a capture: times of all photos, cameras that tell depth, and something that moves.

A config with `needs_times` is that of such a scene. What can be known before structure from motion is said before it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import InputError
from recon.job import Job
from recon.motion import FLOW_SIDE, cameras_by, motion_of, nothing_moves, one_fixed, require_times, stations_of
from render.options import TrainOptions
from render.scenes import config_of

if TYPE_CHECKING:
    from recon.capture import Capture
    from render.dataset import Dataset

AT_REST = "gs"
"""What is trained where nothing moves."""


def needs_times(options: TrainOptions) -> bool:
    """Whether a scene that moves is asked for."""
    return getattr(config_of(options.scene), "needs_times", False)


def check_capture(capture: Capture, options: TrainOptions) -> None:
    """Raises InputError for photos that the scene asked for cannot be trained on: without times, or of one fixed camera."""
    if not needs_times(options):
        return
    if len(np.unique(require_times(capture.names, capture.time, capture.untimed))) < 2:
        raise InputError(
            "All photos were taken at one time, and a scene that moves needs two moments or more. Train --scene gs."
        )
    if capture.station is not None and (capture.station == 0).all() and not capture.depth:
        raise InputError(one_fixed(len(capture)))


def as_it_moves(
    options: TrainOptions, capture: Capture, dataset: Dataset, job: Job
) -> tuple[TrainOptions, dict[str, Any]]:
    """The options, and what was found, for the scene's info. Where a scene that moves is asked for and nothing does, the options
    are those of a static one, which is said.

    Looks at training photos alone. Raises InputError for one camera that does not move.
    """
    if not needs_times(options):
        return options, {}
    level = min(
        (level for level in dataset.levels.values() if level.cameras.size.max() >= FLOW_SIDE),
        key=lambda level: int(level.cameras.size.max()),
        default=dataset.levels[1.0],
    )

    def read(row: int) -> NDArray[np.uint8]:
        return np.rint(255 * level.photo(row).rgb).astype(np.uint8)

    if len(dataset) < 2 or (capture.depth and (stations_of(level.cameras) == 0).all()):
        return options, {}
    assert level.cameras.time is not None
    with job.task("looking for what moves"):
        camera = cameras_by(dataset.names, stations_of(level.cameras))
        motion = motion_of(level.cameras, level.cameras.time, read, camera)
    if not motion.sure:
        job.say(
            f"The photos are too far apart to see whether anything moves: --scene {options.scene} is trained as asked."
        )
    found = {"moving_share": round(motion.share, 5) if motion.sure else None}
    if motion.moves:
        return options, found
    job.warn(nothing_moves(motion, options.scene, AT_REST))
    return replace(options, scene=AT_REST), {"asked": options.scene} | found
