"""Further numbers of splats, blended like their colours in the same pass, and back; lane = pixel of a block (see blend.py).

Where there are none the kernels get None, for which Numba compiles them without any of this. Channels are planes:
images are f32[D, H, W], and in a tile's scratch a channel has 256 floats, by block. With f a splat's features and g the
gradient of the pixel's, dL/dalpha = T (f . g - B): B, what lies behind dotted with the gradients, is one number for colours and
features together.
"""

from __future__ import annotations

import numpy as np

from recon.kernels.jit import helper, kernel
from recon.kernels.simd import fill
from recon.kernels.simd_memory import load, load_first, peek, poke, store, store_first
from recon.kernels.simd_shuffle import lane_sum
from render.kernels.layout import BLOCK, CHUNK, TILE
from render.kernels.pixels import EXCHANGE, pixels_inside

PLANE = TILE * TILE
MOST = 8
"""Features that rasterize() takes in one call."""


@helper
def clear(buf, base, count):
    """Zeros into `count` floats of the scratch, a multiple of 16."""
    for i in range(base, base + count, 16):
        store(buf, i, np.float32(0))


@helper
def add(features, at, channels, w, buf, base):
    """A splat's features, at features[at ...], times w to one block of each plane."""
    for c in range(channels):
        p = base + PLANE * c
        store(buf, p, load(buf, p) + w * peek(features, at + c))


@helper
def write_row(image, first, count, pixels, channels, buf, base):
    """Up to 4 pixels of one row of a block into the planes of the image; `pixels`: of the image."""
    for c in range(channels):
        store_first(image, pixels * c + first, load(buf, base + PLANE * c), count)


@helper
def read_block(image, x, y, block, width, height, channels, buf, base):
    """One block of each plane of an image into those of the scratch; 0 outside of the image."""
    for c in range(channels):
        for row in range(BLOCK):
            count, p = pixels_inside(x, y, block, row, width, height)
            store(buf, EXCHANGE + BLOCK * row, load_first(image, width * height * c + p, count))
        store(buf, base + PLANE * c + 16 * block, load(buf, EXCHANGE))


@helper
def pull(features, at, channels, w, buf, base, sums):
    """f . g in one block; w g is added to the splat's `sums` in the scratch."""
    total = fill(np.float32(0))
    for c in range(channels):
        g = load(buf, base + PLANE * c)
        total = total + g * peek(features, at + c)
        store(buf, sums + 16 * c, load(buf, sums + 16 * c) + w * g)
    return total


@helper
def finish(channels, buf, sums, out, at):
    """A splat's sums over the pixels of a tile into out[at ...]."""
    for c in range(channels):
        poke(out, at + c, lane_sum(load(buf, sums + 16 * c)))


@kernel
def gather_features(start, stop, count, rows, first, pairs, slot, sums, channels, out):
    """out f32[N channels], by row: the sums of the visible splats of chunks start .. stop over their tiles."""
    for chunk in range(start, stop):
        for at in range(chunk * CHUNK, chunk * CHUNK + count[chunk]):
            row = channels * np.int64(peek(rows, at))
            for pair in range(peek(first, at), peek(first, at) + peek(pairs, at)):
                s = channels * np.int64(peek(slot, pair))
                for c in range(channels):
                    poke(out, row + c, peek(out, row + c) + peek(sums, s + c))
