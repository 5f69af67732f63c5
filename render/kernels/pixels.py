"""The pixels of one block of a tile, in an image of rows; what lies outside of it reads as 0."""

from __future__ import annotations

from recon.kernels.jit import helper
from recon.kernels.simd import fill
from recon.kernels.simd_memory import load3, load_first, store
from render.kernels.layout import BLOCK

EXCHANGE = 1536
"""Where a tile's scratch has 96 floats of room to reorder a block."""


@helper
def pixels_inside(x, y, block, row, width, height):
    """How many pixels of one row of a block lie in the image, and the number of the first."""
    i, j = x + BLOCK * (block % 4), y + BLOCK * (block // 4) + row
    count = max(0, min(BLOCK, width - i))
    return count if j < height else 0, j * width + i


@helper
def load_colours(image, x, y, block, width, height, buf):
    """The three channels of one block of an interleaved image; 0 outside."""
    for row in range(BLOCK):
        count, p = pixels_inside(x, y, block, row, width, height)
        store(buf, EXCHANGE + 12 * row, load_first(image, 3 * p, 3 * count))
    return load3(buf, EXCHANGE)


@helper
def load_background(background, stride, x, y, block, width, height, buf):
    """load_colours() of a background image (stride 3), or a background of one colour (stride 0)."""
    if stride == 0:
        return fill(background[0]), fill(background[1]), fill(background[2])
    return load_colours(background, x, y, block, width, height, buf)
