"""Photos that were filmed: which camera took each, how fast they follow each other, and what to tell of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recon.capture import Capture
from recon.geometry import Array
from recon.motion import moments_of
from recon.wording import count

FILMED = ("video", "videos", "transforms")
"""Kinds of captures whose times are true. Numbered photos have made-up ones, which count once a scene moves."""
SAME_TAKE = 0.5
"""Seconds: photos of one camera that are farther apart, in the middle, were not filmed."""


def takes_of(names: Sequence[str], camera_id: NDArray, station: NDArray | None = None) -> NDArray[np.int32]:
    """i32[N]: which camera took each photo, numbered in order of first appearance. Where all stand still, a pose is a camera;
    else a folder is one, and in it what shares its intrinsics."""
    keys = [(name.rpartition("/")[0], int(one)) for name, one in zip(names, camera_id, strict=True)]
    if station is not None and (station >= 0).all():
        keys = [("", int(one)) for one in station]
    ids: dict[tuple[str, int], int] = {}
    return np.array([ids.setdefault(key, len(ids)) for key in keys], np.int32)


def rate_of(time: Array, take: NDArray[np.int32]) -> float:
    """Photos a second of one camera, in the middle of all; 0 where each camera has one. `take` [N] tells who took each."""
    gaps = [np.diff(np.unique(time[take == one])) for one in np.unique(take)]
    gap = np.concatenate(gaps) if gaps else np.zeros(0)
    return 1 / float(np.median(gap)) if len(gap) else 0.0


def is_film(time: Array | None, take: NDArray[np.int32]) -> bool:
    """Whether photos follow each other as closely as frames do."""
    return time is not None and bool(np.isfinite(time).all()) and rate_of(time, take) >= 1 / SAME_TAKE


def film_line(start: float, end: float, fps: float) -> str:
    """ "0 to 1.3 s, 30 a second"."""
    return f"{start:.4g} to {end:.4g} s" + (f", {fps:.4g} a second" if fps > 0 else "")


def film_of_capture(capture: Capture, *, numbered: bool) -> dict[str, str]:
    """What `recon status` tells of photos that were filmed: from when to when, how many a second, of how many moments.
    `numbered`: numbered photos were, too."""
    if capture.time is None or not (capture.kind in FILMED or numbered) or len(np.unique(capture.time)) < 2:
        return {}
    take = takes_of(capture.names, capture.camera_id, capture.station)
    line = film_line(float(capture.time.min()), float(capture.time.max()), rate_of(capture.time, take))
    return {"film": f"{line}, {count(int(moments_of(capture.time, take).max()) + 1, 'moment')}"}
