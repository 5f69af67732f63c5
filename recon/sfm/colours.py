"""Colours of the sparse points, from the undistorted photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.capture import Capture
from recon.reconstruction import SUFFIX
from recon.sparse import SparseModel


def coloured(model: SparseModel, capture: Capture, images: Path) -> NDArray[np.uint8]:
    """u8[P, 3], the mean over the photos that see a point, of its pixel in each.

    Held-out photos give no colour: points that they alone see stay grey, as no training may learn from them.
    """
    import cv2

    seen = model.observations
    total, count = np.zeros((len(model.xyz), 3)), np.zeros(len(model.xyz))
    held_out = {name for name, is_test in zip(capture.names, capture.test, strict=True) if is_test}
    for row, name in enumerate(model.names):
        mine = seen.camera == row
        if name in held_out or not mine.any():
            continue
        image = cv2.imdecode(np.fromfile(images / f"{name}{SUFFIX}", np.uint8), cv2.IMREAD_COLOR_RGB)
        assert image is not None
        column, line = np.floor(seen.xy[mine]).astype(int).T
        pixel = image[np.clip(line, 0, image.shape[0] - 1), np.clip(column, 0, image.shape[1] - 1)]
        np.add.at(total, seen.point[mine], pixel)
        np.add.at(count, seen.point[mine], 1)
    mean = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], 128)
    return np.round(mean).astype(np.uint8)
