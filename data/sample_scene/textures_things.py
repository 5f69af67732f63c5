"""Textures of the things on the table. f64[H, W, 3], sRGB 0..1, the top row first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sample_scene.noise import fbm, fbm3, mix, palette, smooth_noise, stamp, step, word

Array = NDArray[np.float64]


def motif(u: Array, v: Array, kind: NDArray[np.int64], turn: Array) -> Array:
    """One of four block-print figures on -1..1 squares, 0..1 ink."""
    angle = np.arctan2(v, u) + turn * np.pi / 8
    r = np.hypot(u, v)
    petals = step(0.42 + 0.3 * np.cos(angle * 6) - r, 0, 0.05) - step(0.16 - r, 0, 0.04)
    star = step(0.34 + 0.34 * np.abs(np.cos(angle * 4)) - r, 0, 0.05) - step(0.3 - r, 0, 0.04) + step(0.14 - r, 0, 0.04)
    rings = step(0.09 - np.abs(r - 0.62), 0, 0.04) + step(0.3 - r, 0, 0.05)
    leaf = step(0.5 - np.abs(np.abs(u * np.cos(turn) + v * np.sin(turn)) * 2.2) - 0.5 * r, 0, 0.05)
    leaf = leaf * (1 - step(0.03 - np.abs(u * np.cos(turn) + v * np.sin(turn)), 0, 0.02))
    return np.clip(np.choose(kind, [petals, star, rings, leaf]), 0, 1)


def cloth(height: int, width: int, across: int, seed: int) -> Array:
    """Natural linen printed with indigo and madder blocks, each block turned and chosen at random, with borders."""
    rng = np.random.default_rng(seed)
    linen, indigo, madder, ochre = palette("cfc09e", "2b4468", "a4452f", "c58f3a")
    cell = width / across
    y, x = np.mgrid[0:height, 0:width]
    i, j = (y / cell).astype(int), (x / cell).astype(int)
    kinds = rng.integers(0, 4, (i.max() + 1, across + 1))
    turns = rng.uniform(0, 6, kinds.shape)
    inks = rng.choice(3, kinds.shape, p=[0.55, 0.3, 0.15])
    shift = rng.normal(0, 0.05, (*kinds.shape, 2))
    u, v = (x / cell % 1) * 2 - 1 + shift[i, j, 0], (y / cell % 1) * 2 - 1 + shift[i, j, 1]
    ink = motif(u, v, kinds[i, j], turns[i, j])
    corner = np.hypot(np.abs(u) - 1, np.abs(v) - 1)
    worn = 0.82 + 0.3 * fbm(height, width, 40, 20, seed, 4)
    color = mix(linen, np.array([indigo, madder, ochre])[inks[i, j]], ink * worn)
    color = mix(color, indigo, step(0.13 - corner, 0, 0.03) * worn)
    edge = np.minimum(x, width - 1 - x) / width
    for lo, hi, band in ((0.0, 0.03, linen), (0.03, 0.065, indigo), (0.065, 0.08, linen), (0.08, 0.09, madder)):
        color = np.where(((edge >= lo) & (edge < hi))[..., None], band, color)
    weave = 0.05 * np.sin(x * 2.4) * np.sin(y * 2.4)
    slubs = 0.08 * fbm(height, width, height / 2, width / 60, seed + 3, 1) + 0.08 * fbm(
        height, width, height / 60, width / 2, seed + 4, 1
    )
    return np.clip(color * (0.97 + weave + slubs)[..., None], 0, 1)


def glaze(height: int, width: int, seed: int) -> Array:
    """A reactive teal glaze that ran down over a pale body: drips, speckles, a painted band of leaves."""
    deep, teal, pale, rust, cream = palette("0d3440", "24696f", "86b3a6", "7a4a2b", "d9ccaa")
    v = np.linspace(0, 1, height)[:, None]
    run = 0.13 * fbm(height, width, 1, 14, seed, 4) + 0.04 * fbm(height, width, 3, 40, seed + 1, 2)
    depth = v + run
    color = mix(deep, teal, step(depth, 0.3, 0.2))
    color = mix(color, pale, step(depth, 0.66, 0.14))
    color = mix(color, cream, step(depth, 0.86, 0.04))
    streak = fbm(height, width, 3, 90, seed + 2, 3)
    color = color * (1 + 0.22 * streak * (1 - step(v, 0.75, 0.1)))[..., None]
    speck = step(fbm(height, width, height / 5, width / 5, seed + 3, 2), 0.66, 0.08)
    color = mix(color, rust, speck * 0.75)
    u = np.linspace(0, 1, width, endpoint=False)[None]
    wave = 0.5 + 0.028 * np.sin(2 * np.pi * u * 9)
    leaf = np.abs(v - wave - 0.035 * np.sign(np.sin(2 * np.pi * u * 9 * 2.5)))
    ink = step(0.02 * np.abs(np.sin(2 * np.pi * u * 9 * 2.5 / 2)) - leaf, 0, 0.004) + step(
        0.003 - np.abs(v - wave), 0, 0.002
    )
    return np.clip(mix(color, cream, ink * 0.9), 0, 1)


def terracotta(height: int, width: int, seed: int) -> Array:
    """Fired clay: turning marks, lime stains, an incised zigzag."""
    clay, dark, lime = palette("b4663f", "7c3f26", "d9c3a8")
    v, u = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width, endpoint=False)[None]
    tone = 0.35 + 0.4 * fbm(height, width, 8, 8, seed, 5) + 0.25 * smooth_noise(height, width, height / 3, 3, seed + 1)
    color = mix(clay, dark, tone)
    color = mix(color, lime, step(fbm(height, width, 6, 9, seed + 2, 5) + (v - 0.6) * 0.6, 0.42, 0.25) * 0.75)
    zigzag = np.abs(v - 0.45 - 0.05 * (np.abs((u * 18) % 2 - 1) * 2 - 1))
    color = mix(
        color, palette("e9dcc0")[0], step(0.011 - zigzag, 0, 0.004) * (0.8 + 0.3 * fbm(height, width, 60, 60, seed))
    )
    for at in (0.34, 0.56):
        color = mix(color, palette("3b4a5e")[0], step(0.009 - np.abs(v - at), 0, 0.004) + 0 * u)
    return np.clip(color, 0, 1)


def leaf(height: int, width: int, seed: int) -> Array:
    """A leaf along v: midrib, side veins, paler edge."""
    green, dark, vein = palette("5f8a3c", "2f5a2c", "b9c98a")
    v, u = np.linspace(0, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    color = mix(green, dark, 0.5 + 0.5 * fbm(height, width, 5, 4, seed, 4))
    side = np.abs(((v * 9 - np.abs(u) * 1.4) % 1) - 0.5)
    color = mix(color, vein, step(0.07 - side, 0, 0.05) * 0.55)
    color = mix(color, vein, step(0.05 - np.abs(u) + 0 * v, 0, 0.03))
    color = mix(color, palette("c2b25a")[0], step(np.abs(u), 0.9, 0.1) * 0.5 + 0 * v)
    return np.clip(color, 0, 1)


def globe(height: int, width: int, seed: int) -> Array:
    """An invented world in old-map colours: coasts, relief, a graticule, place names that mean nothing."""
    lat, lon = np.meshgrid(np.linspace(90, -90, height), np.linspace(-180, 180, width, endpoint=False), indexing="ij")
    a, b = np.radians(lat), np.radians(lon)
    p = np.stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)], -1)
    land = fbm3(p, 0.75, seed, 6, 0.55)
    relief = fbm3(p, 0.12, seed + 1, 3)
    sea = mix(*palette("8fb2ab", "5d8c8d"), 0.5 - land * 1.5)
    low, high, dry = palette("c9b06e", "8a6a3c", "dcc89a")
    ground = mix(mix(low, dry, 0.5 + fbm3(p, 0.3, seed + 2)), high, (land - 0.1) * 2.2 + 0.5 * relief)
    color = mix(sea, ground * (1 + 0.18 * relief[..., None]), step(land, 0.08, 0.01))
    color = mix(color, palette("4a3823")[0], step(0.013 - np.abs(land - 0.08), 0, 0.006) * 0.9)
    color = mix(color, palette("6d5a3a")[0], step(0.01 - np.abs(land + 0.02), 0, 0.004) * 0.5)
    grid = np.minimum(np.abs((lat + 7.5) % 15 - 7.5), np.abs((lon + 7.5) % 15 - 7.5) * np.cos(a))
    color = mix(color, palette("3f3a30")[0], step(0.28 - grid, 0, 0.14) * 0.55)
    equator = np.abs(lat) < 1.1
    color = np.where((equator & (lon // 5 % 2 == 0))[..., None], palette("8d3327")[0], color)
    rng = np.random.default_rng(seed)
    for name in ("TERRA", "OCEANUS", "BOREA", "ALBA", "VERDIA", "LUNARIS", "MARE", "SOLIS", "NORD", "INSULA"):
        stamp(
            color,
            word(name, 2),
            rng.integers(height // 4, 3 * height // 4),
            rng.integers(0, width - 120),
            (0.2, 0.15, 0.1),
        )
    return np.clip(color * (1 + 0.05 * fbm(height, width, 60, 120, seed, 3))[..., None], 0, 1)


def cover(height: int, width: int, seed: int, cloth_color: tuple, ink: tuple, title: str) -> Array:
    """A book's front: cloth, a double frame, a title, a printed sun with rays."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    aspect = width / height
    weave = 0.06 * fbm(height, width, height / 2, width / 2, seed, 2) + 0.07 * fbm(height, width, 4, 4, seed + 1, 4)
    color = np.asarray(cloth_color) * (1 + weave)[..., None]
    edge = np.minimum(np.minimum(x, 1 - x) * aspect, np.minimum(y, 1 - y))
    lines = step(0.006 - np.abs(edge - 0.05), 0, 0.003) + step(0.003 - np.abs(edge - 0.068), 0, 0.002)
    dx, dy = (x - 0.5) * aspect, y - 0.62
    r, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    ring = step(r, 0.11, 0.004) * step(0.21 + 0.02 * np.cos(angle * 24) - r, 0, 0.004)
    rays = step(np.cos(angle * (12 + seed % 7)), 0.2, 0.2) * ring
    sun = step(0.09 - r, 0, 0.004) - step(0.06 - r, 0, 0.004) + step(0.035 - r, 0, 0.004)
    color = mix(color, ink, np.clip(lines + rays + sun, 0, 1) * (0.85 + 0.3 * fbm(height, width, 50, 50, seed + 2)))
    mask = word(title, max(1, int(width * 0.7 / (6 * len(title)))))
    stamp(color, mask, int(height * 0.17), (width - mask.shape[1]) // 2, ink)
    return np.clip(color, 0, 1)


def pages(height: int, width: int, seed: int) -> Array:
    """The cut edge of a book block: leaves along the width."""
    lines = smooth_noise(height, width, height / 1.5, 2, seed) * 0.16 + 0.06 * fbm(height, width, 4, 12, seed + 1)
    return np.clip(np.asarray(palette("e2d3b0")[0]) * (0.92 + lines)[..., None], 0, 1)


def fruit(height: int, width: int, seed: int, color: tuple, blush: tuple) -> Array:
    """Peel: pores, a blush on one side, a few brown marks."""
    t = 0.5 + 0.7 * fbm(height, width, 2, 2, seed, 3)
    skin = mix(color, blush, t)
    pores = 0.10 * fbm(height, width, height / 4, width / 5, seed + 1, 2)
    marks = step(fbm(height, width, 12, 16, seed + 2, 3), 0.75, 0.1)
    return np.clip(mix(skin * (1 + pores)[..., None], palette("6b4420")[0], marks * 0.7), 0, 1)


def wax(height: int, width: int, seed: int) -> Array:
    """A candle with stripes of two waxes wound about it."""
    v, u = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width, endpoint=False)[None]
    wind = np.sin(2 * np.pi * (u + v * 5))
    color = mix(*palette("efe2c4", "b6503a"), step(wind, 0.2, 0.1))
    return np.clip(color * (1 + 0.06 * fbm(height, width, 40, 10, seed))[..., None], 0, 1)


def postcard(height: int, width: int, seed: int) -> Array:
    """The written side of a card: lines of script, a stamp, a postmark."""
    rng = np.random.default_rng(seed)
    paper, ink, red = palette("eadfc6", "2d3550", "a33a2e")
    image = np.asarray(paper) * (1 + 0.05 * fbm(height, width, height / 6, width / 6, seed, 3))[..., None]
    y, x = np.mgrid[0:height, 0:width]
    for k in range(9):
        line = height * (0.16 + 0.08 * k) + height * 0.022 * smooth_noise(1, width, 1, width / 5, seed + k)[0] * 1.6
        inside = (
            (x > width * 0.05)
            & (x < width * rng.uniform(0.42, 0.52))
            & (smooth_noise(1, width, 1, 18, seed + k)[0] > -0.55)
        )
        image = mix(image, ink, step(height * 0.009 - np.abs(y - line[None]), 0, 1.0) * inside)
    for k in range(4):
        inside = (x > width * 0.62) & (x < width * rng.uniform(0.85, 0.95))
        line = height * (0.55 + 0.1 * k) + height * 0.02 * smooth_noise(1, width, 1, width / 6, seed + 20 + k)[0]
        image = mix(image, ink, step(height * 0.009 - np.abs(y - line[None]), 0, 1.0) * inside)
    top, left, size = int(height * 0.07), int(width * 0.8), int(width * 0.14)
    image[top : top + size, left : left + size] = red
    image[top + 6 : top + size - 6, left + 6 : left + size - 6] = (
        fbm(size - 12, size - 12, 4, 4, seed)[..., None] * 0.2 + paper
    )
    r = np.hypot(x - width * 0.76, y - height * 0.22)
    return np.clip(
        mix(image, ink, sum(step(1.6 - np.abs(r - k), 0, 1.0) for k in (height * 0.15, height * 0.11)) * 0.7), 0, 1
    )
