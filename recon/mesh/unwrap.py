"""UV unwrapping: the surface cut into charts that lie flat in one square, by xatlas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.errors import MissingPart

PADDING = 3
"""Texels between charts."""


def unwrap(xyz: NDArray, faces: NDArray, side: int) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """uv f32[F, 3, 2] of the corners (0..1, from the top left), and the texture's (width, height), `side` the longer one.

    Raises MissingPart without xatlas.
    """
    try:
        import xatlas
    except ImportError as error:
        raise MissingPart(
            "Texturing needs xatlas, which is not installed. Install it with: pip install xatlas, or colour the vertices "
            "instead with --texture-size 0."
        ) from error
    atlas = xatlas.Atlas()
    atlas.add_mesh(np.ascontiguousarray(xyz, np.float32), np.ascontiguousarray(faces, np.uint32))
    charts, pack = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 1
    pack.resolution, pack.padding, pack.bilinear, pack.rotate_charts = side, PADDING, True, True
    atlas.generate(charts, pack, False)
    vertex, corners, uv = atlas[0]
    if len(corners) != len(faces) or not (vertex[corners] == faces).all():
        raise ValueError("xatlas changed the order of the faces")
    longest = max(atlas.width, atlas.height, 1)
    width, height = (max(1, round(side * s / longest)) for s in (atlas.width, atlas.height))
    return np.clip(uv[corners], 0, 1).astype(np.float32), (width, height)
