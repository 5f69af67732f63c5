"""Colours of the sparse points, from the undistorted photos."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.capture import Capture
from recon.sparse import SparseModel

UNSEEN = 128
"""Grey of points without a colour."""


def mean_colours(model: SparseModel, capture: Capture, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """u8[P, 3], the mean over the photos that see a point, of the `colours` u8[O, 3] at its observations.

    Held-out photos give no colour: points that they alone see stay grey, as no training may learn from them.
    """
    seen = model.observations
    held_out = dict(zip(capture.names, capture.test.tolist(), strict=True))
    counts = ~np.array([held_out[name] for name in model.names], bool)[seen.camera]
    total, number = np.zeros((len(model.xyz), 3)), np.zeros(len(model.xyz))
    np.add.at(total, seen.point[counts], colours[counts])
    np.add.at(number, seen.point[counts], 1)
    mean = np.where(number[:, None] > 0, total / np.maximum(number, 1)[:, None], UNSEEN)
    return np.round(mean).astype(np.uint8)
