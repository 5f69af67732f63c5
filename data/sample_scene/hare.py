"""The main object: a sitting stoneware hare, one closed surface of a signed-distance field, with a painted pattern."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage import measure

from sample_scene.noise import fbm3, mix, palette, step
from sample_scene.shapes import Mesh

Array = NDArray[np.float64]

VOXEL = 0.0032
"""Metres, in the hare's own unscaled frame: it faces +x and sits on z = 0."""


def ellipsoid(p: Array, center: ArrayLike, radii: ArrayLike) -> Array:
    """About the distance to an ellipsoid, exact in sign and near the surface in size."""
    q = p - np.asarray(center, np.float64)
    r = np.asarray(radii, np.float64)
    k0, k1 = np.linalg.norm(q / r, axis=-1), np.linalg.norm(q / r**2, axis=-1)
    return k0 * (k0 - 1) / np.maximum(k1, 1e-9)


def capsule(p: Array, a: ArrayLike, b: ArrayLike, radius_a: float, radius_b: float) -> Array:
    """Distance to a stick from a to b whose radius changes evenly."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    t = np.clip(((p - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(p - a - t[..., None] * (b - a), axis=-1) - (radius_a + t * (radius_b - radius_a))


def union(a: Array, b: Array, blend: float) -> Array:
    """The smooth minimum, quadratic within `blend` metres."""
    h = np.maximum(blend - np.abs(a - b), 0) / blend
    return np.minimum(a, b) - h * h * blend / 4


def distance(p: Array) -> Array:
    """The signed distance of the hare at points [..., 3], negative inside."""
    d = ellipsoid(p, (-0.022, 0, 0.072), (0.068, 0.054, 0.07))
    d = union(d, ellipsoid(p, (0.028, 0, 0.085), (0.04, 0.041, 0.062)), 0.03)
    d = union(d, ellipsoid(p, (0.052, 0, 0.16), (0.042, 0.032, 0.035)), 0.035)
    d = union(d, ellipsoid(p, (0.086, 0, 0.15), (0.022, 0.019, 0.018)), 0.02)
    d = union(d, np.linalg.norm(p - [-0.094, 0, 0.05], axis=-1) - 0.021, 0.012)
    for side in (-1, 1):
        y = np.array([1, side, 1])
        d = union(d, capsule(p, y * [0.045, 0.024, 0.075], y * [0.066, 0.024, 0.012], 0.017, 0.012), 0.014)
        d = union(d, ellipsoid(p, y * [0.076, 0.024, 0.009], (0.02, 0.013, 0.01)), 0.01)
        d = union(d, ellipsoid(p, y * [-0.028, 0.044, 0.052], (0.046, 0.023, 0.046)), 0.012)
        d = union(d, capsule(p, y * [-0.04, 0.052, 0.012], y * [0.038, 0.054, 0.01], 0.014, 0.011), 0.012)
        ear = capsule(p, y * [0.036, 0.014, 0.182], y * [-0.018, 0.03, 0.285], 0.0125, 0.0085)
        hollow = capsule(p, y * [0.046, 0.017, 0.212], y * [0.004, 0.032, 0.278], 0.0085, 0.005)
        d = union(d, np.maximum(ear, -hollow), 0.01)
        d = np.minimum(d, np.linalg.norm(p - y * [0.072, 0.0255, 0.17], axis=-1) - 0.0062)
    return np.maximum(d, 0.0005 - p[..., 2])


def hare() -> Mesh:
    """The closed surface in its own frame."""
    lo, hi = np.array([-0.125, -0.085, -0.008]), np.array([0.118, 0.085, 0.305])
    axes = [np.arange(a, b, VOXEL) for a, b in zip(lo, hi, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    xyz, faces, _, _ = measure.marching_cubes(distance(grid), 0.0, spacing=(VOXEL,) * 3)
    xyz = xyz.astype(np.float64) + lo
    inside = xyz[faces].mean(1)
    a, b, c = (xyz[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    probe = 1e-4 * normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
    if np.mean(distance(inside + probe) - distance(inside - probe)) < 0:
        faces = faces[:, ::-1]
    return Mesh(xyz, np.ascontiguousarray(faces, np.int32), np.zeros((len(xyz), 2)))


def spread(points: Array, count: int, seed: int) -> NDArray[np.int64]:
    """Indices of `count` points far from each other: each next one is the farthest from those before."""
    first = int(np.random.default_rng(seed).integers(len(points)))
    chosen, far = [first], np.linalg.norm(points - points[first], axis=1)
    for _ in range(count - 1):
        chosen.append(int(far.argmax()))
        far = np.minimum(far, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def paint(xyz: Array, normal: Array) -> Array:
    """Colours [P, 3] at points of the hare in its own frame: cream slip with iron specks, cobalt flowers, rust bands."""
    cream, iron, cobalt, rust, ochre, blush = palette("d3b98f", "6f4a2d", "2f4b7c", "a8492f", "cf9a3d", "d39a82")
    rng = np.random.default_rng(5)
    x, y, z = xyz.T
    color = mix(cream, np.asarray(cream) * 0.84, 0.5 + 0.5 * fbm3(xyz, 0.03, 1, 4))
    body = (z < 0.16) & (z > 0.02)
    index = spread(xyz[body], 64, 3)
    places, facing = xyz[body][index], normal[body][index]
    for k, (p, n) in enumerate(zip(places, facing, strict=True)):
        near = np.linalg.norm(xyz - p, axis=1) < 0.016
        q = xyz[near] - p
        a = np.cross(n, [0.3, 0.2, 1.0])
        a /= np.linalg.norm(a)
        u, v = q @ a, q @ np.cross(n, a)
        r, angle = np.hypot(u, v) / rng.uniform(0.0085, 0.0115), np.arctan2(v, u) + rng.uniform(0, 6)
        petals = step(0.72 + 0.28 * np.cos(angle * rng.integers(5, 8)) - r, 0, 0.08)
        painted = mix(color[near], (cobalt, cobalt, rust)[k % 3], petals * 0.95)
        color[near] = mix(painted, (ochre, cream, ochre)[k % 3], step(0.28 - r, 0, 0.06))
    neck = np.abs((xyz - [0.04, 0, 0.128]) @ np.array([0.35, 0, 0.94]))
    around = (x > -0.06) & (z > 0.1)
    color = mix(color, rust, step(0.0035 - neck, 0, 0.001) * around)
    dots = np.sin(np.arctan2(y, x - 0.03) * 16) > 0
    color = mix(color, cobalt, step(0.002 - np.abs(neck - 0.0085), 0, 0.001) * around * dots)
    ear = step(z, 0.205, 0.004)
    stripes = step(np.sin(z * 2 * np.pi / 0.013 + 2 * fbm3(xyz, 0.02, 8)), 0.35, 0.2)
    front = normal[:, 0] > 0.45
    color = mix(color, cobalt, ear * stripes * ~front)
    color = mix(color, blush, ear * front * 0.9)
    for side in (-1, 1):
        eye = np.linalg.norm(xyz - [0.074, side * 0.028, 0.17], axis=1)
        color = mix(color, cobalt, step(0.0125 - eye, 0, 0.001))
        color = mix(color, cream, step(0.0098 - eye, 0, 0.0008))
        color = mix(color, (0.06, 0.05, 0.05), step(0.0075 - eye, 0, 0.0008))
    nose = np.linalg.norm((xyz - [0.108, 0, 0.153]) / [1, 1.2, 0.8], axis=1)
    color = mix(color, rust, step(0.0075 - nose, 0, 0.001))
    specks = step(fbm3(xyz, 0.006, 2, 2), 0.72, 0.12)
    color = mix(color, iron, specks * 0.8)
    color = mix(color, iron, step(0.004 - z, 0, 0.002) * 0.6)
    return np.clip(color, 0, 1)
