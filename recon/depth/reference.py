"""The readable twins of cost.py and smooth.py, in float64: one pixel, one plane, one source; one path of pixels.

The plane is a point and a normal in the reference camera's frame, the warp a 3x3 homography, the photos are float
arrays; nothing is shared with the kernels but the constants.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.depth.cost import COLOUR_SIGMA, NOISE, OFFSETS, SPACE_SIGMA, WORST
from recon.depth.smooth import JUMP_CAP, JUMP_PRICE, LEAST_LIKE
from recon.geometry import Array


def homography(k_ref: Array, k_src: Array, src_from_ref: Array, z: float, normal: Array, pixel: Array) -> Array:
    """[3, 3] from reference pixels to source pixels by the plane through depth z at `pixel` [2] (centres at +0.5).

    H = K_s (R + t n^T / d) K_r^-1 for the plane n . X = d (Hartley and Zisserman, Multiple view geometry, 13.1).
    """
    point = z * np.linalg.solve(k_ref, [*pixel, 1.0])
    outer = np.outer(src_from_ref[:3, 3], normal) / (normal @ point)
    return k_src @ (src_from_ref[:3, :3] + outer) @ np.linalg.inv(k_ref)


def bilinear(image: NDArray, xy: Array) -> Array:
    """Values [M] of image [H, W] at xy [M, 2], pixels (centres at +0.5); beyond the edge, the edge's."""
    height, width = image.shape
    x, y = np.clip(xy[:, 0] - 0.5, 0, width - 1), np.clip(xy[:, 1] - 0.5, 0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, low = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    x, y = x - left, y - top
    above = image[top, left] * (1 - x) + image[top, right] * x
    below = image[low, left] * (1 - x) + image[low, right] * x
    return above * (1 - y) + below * y


def source_cost(rgb: NDArray, grey: NDArray, source: NDArray, warp: Array, column: int, row: int) -> float:
    """1 - NCC of the patch around a pixel of the reference, rgb [H, W, 3] and grey [H, W] of 0..255, in `source` [H', W']."""
    height, width = grey.shape
    x, y = np.clip(column + OFFSETS[:, 0], 0, width - 1), np.clip(row + OFFSETS[:, 1], 0, height - 1)
    apart = np.abs(rgb[y, x].astype(float) - rgb[row, column]).sum(1)
    weight = np.exp(-apart / COLOUR_SIGMA) * np.exp(-(OFFSETS**2).sum(1) / (2 * SPACE_SIGMA**2))
    weight /= weight.sum()
    corners = np.concatenate([OFFSETS + np.array([column + 0.5, row + 0.5]), np.ones((len(OFFSETS), 1))], 1)
    there = corners @ warp.T
    centre = warp @ [column + 0.5, row + 0.5, 1.0]
    at = centre[:2] / centre[2] - 0.5
    if not (centre[2] > 0 and (at >= 0).all() and (at <= np.array(source.shape[::-1]) - 1).all()):
        return WORST
    a, b = grey[y, x].astype(float), bilinear(source, there[:, :2] / there[:, 2:])
    a, b = a - weight @ a, b - weight @ b
    return float(1 - weight @ (a * b) / np.sqrt((weight @ a**2 + NOISE) * (weight @ b**2 + NOISE)))


def path_costs(planes: Array, unary: Array, like: Array, step: tuple[int, int], pixel: float) -> Array:
    """Costs [L, K] of ending in each candidate of each pixel of a path, less the cheapest of the pixel before.

    planes [L, K, 3] (w, wx, wy) and unary [L, K] of the L pixels, which follow each other by `step` (x, y); like [L - 1]:
    their likeness by colour; pixel: w that moves a spot by one in the sources. Hirschmüller, PAMI 2008, equation 13.
    """
    out = [unary[0]]
    for i in range(1, len(unary)):
        price = max(like[i - 1], LEAST_LIKE)
        costs = []
        for k in range(unary.shape[1]):
            w, slope = planes[i, k, 0], planes[i, k, 1:] @ step
            there, there_slope = planes[i - 1, :, 0], planes[i - 1, :, 1:] @ step
            apart = (abs(there + there_slope - w) + abs(w - slope - there)) / 2 / pixel
            reached = out[-1] - out[-1].min() + price * JUMP_PRICE * apart
            costs.append(unary[i, k] + min(reached.min(), price * JUMP_CAP))
        out.append(np.array(costs))
    return np.array(out)
