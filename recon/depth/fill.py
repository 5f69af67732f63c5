"""Holes filled from around, for those who want every pixel. What is filled in is a guess, and its confidence stays 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recon.depth.cost import COLOUR_SIGMA
from recon.kernels.jit import DOOR, kernel, spread

BEHIND = 0.1
"""The quantile of inverse depth that fills a hole: most holes are what a nearer surface hides from the other photos, and
lie behind it.
"""
MEDIAN_REACH = 8
"""Half the side of the square, pixels, whose median takes the streaks out of what was filled line by line."""


@kernel
def _fill(start, stop, plane, known, rgb, epipoles, sigma, quantile, out, reached):
    """out f32[3, H, W] of the holes in rows start .. stop: the weighted `quantile` of inverse depth at the
    pixel, over the nearest known planes either way along the sources' epipolar lines. A plane weighs more when it is
    near and its pixel has the same colour. reached u8[H, W] becomes 1 where there is one.
    """
    height, width = known.shape
    count = 2 * epipoles.shape[0]
    value, weight, at = np.empty(count, np.float32), np.empty(count, np.float32), np.empty((count, 2), np.int64)
    for y in range(start, stop):
        for x in range(width):
            if known[y, x]:
                continue
            least, most = np.float32(np.inf), np.float32(0)
            for k in range(count):
                e = epipoles[k // 2]
                dx, dy = e[0] - x * e[2], e[1] - y * e[2]
                size = (1 - 2 * (k % 2)) / max(abs(dx), abs(dy), np.float32(1e-12))
                u, v, far = x, y, 0
                while 0 <= u < width and 0 <= v < height and not known[v, u] and far < width + height:
                    far += 1  # its bound is for the epipole itself, from where no line leads away
                    u, v = x + np.int64(np.rint(far * dx * size)), y + np.int64(np.rint(far * dy * size))
                weight[k] = 0
                if 0 <= u < width and 0 <= v < height and known[v, u]:
                    apart = np.float32(0)
                    for c in range(3):
                        apart += abs(np.float32(rgb[y, x, c]) - np.float32(rgb[v, u, c]))
                    weight[k] = (np.exp(-apart / sigma) + np.float32(0.01)) / np.float32(far)
                    value[k] = plane[0, v, u] + plane[1, v, u] * (x - u) + plane[2, v, u] * (y - v)
                    at[k, 0], at[k, 1] = v, u
                    least, most = min(least, plane[0, v, u]), max(most, plane[0, v, u])
            best, price = -1, np.float32(np.inf)
            for k in range(count):
                if weight[k] > 0:
                    value[k] = min(max(value[k], least), most)  # no plane runs off beyond what is around
                    total = np.float32(0)
                    for other in range(count):
                        if weight[other] > 0:
                            ahead = min(max(value[other], least), most) - value[k]
                            total += weight[other] * (quantile * ahead if ahead > 0 else (quantile - 1) * ahead)
                    if total < price:
                        best, price = k, total
            if best >= 0:
                v, u, reached[y, x] = at[best, 0], at[best, 1], 1
                out[0, y, x], out[1, y, x], out[2, y, x] = value[best], plane[1, v, u], plane[2, v, u]


@kernel
def _settle(start, stop, plane, known, reached, rgb, sigma, out):
    """out f32[3, H, W]: in the holes of rows start .. stop the plane whose inverse depth is the weighted median of those
    around (every other pixel of a square, of those `reached`), a pixel of the same colour weighing more.
    """
    height, width = known.shape
    most = (MEDIAN_REACH + 1) ** 2
    value, weight, at = np.empty(most, np.float32), np.empty(most, np.float32), np.empty((most, 2), np.int64)
    for y in range(start, stop):
        for x in range(width):
            if known[y, x]:
                continue
            count, total = 0, np.float32(0)
            for v in range(y - MEDIAN_REACH, y + MEDIAN_REACH + 1, 2):
                for u in range(x - MEDIAN_REACH, x + MEDIAN_REACH + 1, 2):
                    if u < 0 or v < 0 or u >= width or v >= height or reached[v, u] == 0:
                        continue
                    apart = np.float32(0)
                    for c in range(3):
                        apart += abs(np.float32(rgb[y, x, c]) - np.float32(rgb[v, u, c]))
                    value[count], at[count, 0], at[count, 1] = plane[0, v, u], v, u
                    weight[count] = np.exp(-apart / sigma) + np.float32(0.01)
                    total += weight[count]
                    count += 1
            below = np.float32(0)
            for k in np.argsort(value[:count]):
                below += weight[k]
                if 2 * below >= total:
                    v, u = at[k, 0], at[k, 1]
                    out[0, y, x], out[1, y, x], out[2, y, x] = plane[0, v, u], plane[1, v, u], plane[2, v, u]
                    break


def filled(
    planes: NDArray[np.float32], known: NDArray[np.bool_], photo: NDArray[np.uint8], epipoles: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Planes f32[3, H, W] of which those that are not `known` [H, W] come from around, by the colours of u8[H, W, 4].

    What hides a spot from a source lies beside it on their epipolar line: holes look along these. epipoles f32[S, 3]:
    the sources' centres in the photo, homogeneous, (0, 0) being the first pixel's centre. A weighted median
    then takes the lines' streaks out (Ma et al., Constant time weighted median filtering for stereo matching and beyond,
    ICCV 2013). Where nothing is known along the lines or near, w is 0: what was not believed is no guess either.
    """
    plane, rgb, reached = np.where(known, planes[:3], np.float32(0)), np.array(photo), known.astype(np.uint8)
    out = plane.copy()
    sigma, quantile = np.float32(COLOUR_SIGMA), np.float32(BEHIND)
    with DOOR:
        spread(_fill, known.shape[0], plane, known, rgb, epipoles, sigma, quantile, out, reached, grain=4)
        lines = out.copy()
        spread(_settle, known.shape[0], lines, known, reached, rgb, sigma, out, grain=4)
    return out
