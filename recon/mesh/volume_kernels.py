"""Kernels of the sparse volume: a hash of blocks of 8 x 8 x 8 lattice points, allocation along rays, fusion of one view.

Lattice point (i, j, k) lies at voxel * (i, j, k) in the world. Block b holds the points 8 b .. 8 b + 7; inside it point
(x, y, z) has the number x + 8 y + 64 z. A block's key packs its three coordinates, 21 bits each.
"""

from __future__ import annotations

import numpy as np

from recon.kernels.jit import kernel

SIDE = 8
"""Lattice points along a block's side."""
POINTS = SIDE**3
REACH = 1 << 20
"""Block coordinates lie in -REACH .. REACH - 1."""


@kernel
def key_of(x, y, z):
    """The key of a block."""
    return (np.int64(x) + REACH) | (np.int64(y) + REACH) << 21 | (np.int64(z) + REACH) << 42


@kernel
def coordinate(key, axis):
    """A block's coordinate along an axis."""
    return (key >> np.int64(21 * axis) & np.int64(2 * REACH - 1)) - REACH


@kernel
def slot_of(key, keys):
    """Where a key stands, or would stand, in the table (open addressing; its length a power of 2)."""
    mixed = key * np.int64(-7046029254386353131)
    slot = (mixed ^ mixed >> np.int64(32)) & np.int64(len(keys) - 1)
    while keys[slot] != -1 and keys[slot] != key:
        slot = slot + 1 & np.int64(len(keys) - 1)
    return slot


@kernel
def find(key, keys, number):
    """A block's number, or -1."""
    slot = slot_of(key, keys)
    return number[slot] if keys[slot] == key else -1


@kernel
def insert_all(found, keys, number):
    """Put the keys found[i] with the numbers i into an empty table."""
    for i in range(len(found)):
        slot = slot_of(found[i], keys)
        keys[slot] = found[i]
        number[slot] = i


@kernel
def allocate(z, weight, world_from_cam, K, band, block_side, farthest, keys, number, found, count, outside):
    """Enter the blocks within `band` of every measured pixel, along its ray; returns how many blocks there are now.

    found: i64[capacity], their keys in order. Stops when it is full: then the result is more than its length. outside:
    i64[1], counts samples beyond the range of coordinates.
    """
    height, width = z.shape
    last = np.int64(-1)
    for v in range(height):
        for u in range(width):
            if weight[v, u] <= 0 or z[v, u] > farthest:
                continue
            x, y = (u + 0.5 - K[0, 2]) / K[0, 0], (v + 0.5 - K[1, 2]) / K[1, 1]
            length = np.sqrt(1 + x * x + y * y)
            steps = int(np.ceil(4 * band / block_side)) + 1
            for i in range(steps + 1):
                at = z[v, u] + (2 * i / steps - 1) * band / length
                if at <= 0:
                    continue
                b = np.empty(3, np.int64)
                fits = True
                for axis in range(3):
                    m = world_from_cam[axis]
                    b[axis] = np.int64(np.floor((at * (m[0] * x + m[1] * y + m[2]) + m[3]) / block_side))
                    fits = fits and -REACH < b[axis] < REACH - 1
                if not fits:
                    outside[0] += 1
                    continue
                key = key_of(b[0], b[1], b[2])
                if key == last:
                    continue
                last = key
                slot = slot_of(key, keys)
                if keys[slot] == -1:
                    if count >= len(found):
                        return count + 1
                    keys[slot] = key
                    number[slot] = count
                    found[count] = key
                    count += 1
    return count


@kernel
def fuse(start, stop, found, z, weight, slope, cam_from_world, K, voxel, band, farthest, tsdf, total):
    """Average one view into the blocks start .. stop.

    tsdf, total: f32[blocks, POINTS], distance / band clipped to 1 and the sum of weights. A point's distance is how far
    it lies in front of the tangent plane of what its pixel sees; behind, where nothing is seen, its weight fades to 0 at
    -band (Curless and Levoy, A volumetric method for building complex models from range images, 1996).
    """
    height, width = z.shape
    m = cam_from_world
    reach = 0.5 * np.sqrt(3.0) * SIDE * voxel
    for block in range(start, stop):
        corner = np.empty(3)
        for axis in range(3):
            corner[axis] = coordinate(found[block], axis) * SIDE * voxel
        middle = corner + 0.5 * (SIDE - 1) * voxel
        far = m[2, 0] * middle[0] + m[2, 1] * middle[1] + m[2, 2] * middle[2] + m[2, 3]
        if far < -reach or far - reach > farthest + band:
            continue
        if far > reach:  # a ball around the block, against the image's borders
            px = K[0, 0] * (m[0, 0] * middle[0] + m[0, 1] * middle[1] + m[0, 2] * middle[2] + m[0, 3])
            py = K[1, 1] * (m[1, 0] * middle[0] + m[1, 1] * middle[1] + m[1, 2] * middle[2] + m[1, 3])
            rx = reach * (K[0, 0] + max(K[0, 2], width - K[0, 2]))
            ry = reach * (K[1, 1] + max(K[1, 2], height - K[1, 2]))
            if px + rx < -K[0, 2] * far or px - rx > (width - K[0, 2]) * far:
                continue
            if py + ry < -K[1, 2] * far or py - ry > (height - K[1, 2]) * far:
                continue
        for k in range(SIDE):
            for j in range(SIDE):
                wx, wy, wz = corner[0], corner[1] + j * voxel, corner[2] + k * voxel
                cx = m[0, 0] * wx + m[0, 1] * wy + m[0, 2] * wz + m[0, 3]
                cy = m[1, 0] * wx + m[1, 1] * wy + m[1, 2] * wz + m[1, 3]
                cz = m[2, 0] * wx + m[2, 1] * wy + m[2, 2] * wz + m[2, 3]
                for i in range(SIDE):
                    pz = cz + i * voxel * m[2, 0]
                    if pz <= 1e-9:
                        continue
                    u = K[0, 0] * (cx + i * voxel * m[0, 0]) / pz + K[0, 2]
                    v = K[1, 1] * (cy + i * voxel * m[1, 0]) / pz + K[1, 2]
                    if not (0 <= u < width and 0 <= v < height):
                        continue
                    col, row = int(u), int(v)
                    w = weight[row, col]
                    if w <= 0 or z[row, col] > farthest:
                        continue
                    seen = interpolated(z, weight, u, v, col, row, band)
                    distance = (seen - pz) * slope[row, col]
                    if distance < -band:
                        continue
                    if distance < 0:
                        w = w * np.float32(1 + distance / band)
                    value = np.float32(min(1.0, distance / band))
                    point = i + SIDE * j + SIDE * SIDE * k
                    before = total[block, point]
                    total[block, point] = before + w
                    if w > 0:
                        tsdf[block, point] += (value - tsdf[block, point]) * w / (before + w)


@kernel
def interpolated(z, weight, u, v, col, row, band):
    """z between four pixels where they are one surface, the pixel's own where they are not."""
    height, width = z.shape
    own = np.float64(z[row, col])
    x0, y0 = int(np.floor(u - 0.5)), int(np.floor(v - 0.5))
    if x0 < 0 or y0 < 0 or x0 + 1 >= width or y0 + 1 >= height:
        return own
    for dy in range(2):
        for dx in range(2):
            if weight[y0 + dy, x0 + dx] <= 0 or abs(z[y0 + dy, x0 + dx] - own) > 0.5 * band:
                return own
    fx, fy = u - 0.5 - x0, v - 0.5 - y0
    top = z[y0, x0] * (1 - fx) + z[y0, x0 + 1] * fx
    bottom = z[y0 + 1, x0] * (1 - fx) + z[y0 + 1, x0 + 1] * fx
    return top * (1 - fy) + bottom * fy
