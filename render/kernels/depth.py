"""The gradient of the depth loss (render/depth_loss.py, its twin) straight from a map of another size, in one pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.kernels.jit import DOOR, kernel, spread

_GRAIN, _1 = 64, np.float32(1)
F32 = NDArray[np.float32]
Places = NDArray[np.int64]


def depth_pulls(
    weighted: F32,
    alpha: F32,
    mask: F32 | None,
    z: F32,
    confidence: F32,
    places: tuple[Places, Places],
    weight: float,
    constants: tuple[float, float, float],
) -> tuple[F32, F32]:
    """d loss / d F and d loss / d A, f32[H, W] each, of F = `weighted` and A = `alpha` f32[H, W].

    z, confidence: of the map; places: the rows i64[H] and columns i64[W] of it that the pixels take, -1: none.
    constants: SOFT, GUESS, LEAST_ALPHA.
    """
    out = np.empty((2, *weighted.shape), np.float32)
    mask = np.empty((0, 0), np.float32) if mask is None else np.ascontiguousarray(mask, np.float32)
    images = (np.ascontiguousarray(weighted), np.ascontiguousarray(alpha), mask, z, confidence, *places)
    with DOOR:
        numbers = (np.float32(number) for number in (weight / weighted.size, *constants))
        spread(_pulls, len(weighted), *images, *numbers, out[0], out[1], grain=_GRAIN)
    return out[0], out[1]


@kernel
def _pulls(
    start, stop, weighted, alpha, mask, z, confidence, rows, columns, scale, soft, guess, least, d_weighted, d_alpha
):
    """Rows start .. stop of the pixels."""
    for v in range(start, stop):
        for u in range(weighted.shape[1]):
            d_weighted[v, u] = 0
            d_alpha[v, u] = 0
            row, column, a = rows[v], columns[u], alpha[v, u]
            if row < 0 or column < 0 or not a > least:
                continue
            true, sure = z[row, column], confidence[row, column]
            if not (true > 0 and true < np.inf):
                continue
            c = scale * (sure if sure > 0 else guess)
            if len(mask) > 0:
                c *= mask[v, u]
            mean = weighted[v, u] / a
            error = (mean - true) / true
            pull = c * np.sign(error) / ((_1 + abs(error) / soft) * true)
            d_weighted[v, u] = pull
            d_alpha[v, u] = -pull * mean
