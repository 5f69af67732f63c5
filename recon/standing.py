"""Whether photos without poses were all taken by one camera that stands still, which is told from a few of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recon.capture import Capture
from recon.photos import read_photo
from recon.video import look_at
from recon.videos import SAMPLES, stands_still


def with_station(capture: Capture) -> Capture:
    """The capture; with a station for its photos where they are all of one size and the same corners stay in their places.

    Photos with masks are left alone, as what is masked out may be a background that stands still behind something that turns; and
    so are photos with depth images, which tell how far away things are.
    """
    if (
        any(capture.mask)
        or any(capture.depth)
        or (capture.size != capture.size[0]).any()
        or len(set(capture.camera_id.tolist())) > 1
    ):
        return capture
    if not stands_still(_looks(capture)):
        return capture
    return replace(capture, station=np.zeros(len(capture), np.int32))


def _looks(capture: Capture) -> Iterator[NDArray[np.uint8]]:
    """Small grey copies of photos spread over the capture, the two ends first; read as they are asked for."""
    rows = np.unique(np.linspace(0, len(capture) - 1, min(SAMPLES, len(capture))).round().astype(int))
    for row in (rows[0], rows[-1], *rows[1:-1]):
        photo = read_photo(capture.photo(int(row)), int(capture.orientation[row]))
        yield look_at(np.ascontiguousarray(photo[..., 2::-1]))[1]
