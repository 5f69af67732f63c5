"""Textures of the room: wood, wallpaper, rug, plaster, prints, rows of book spines. f64[H, W, 3], sRGB 0..1."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sample_scene.noise import fbm, mix, palette, smooth_noise, stamp, step, word

Array = NDArray[np.float64]


def grain(height: int, width: int, seed: int, light: tuple, dark: tuple) -> Array:
    """One board, its grain along the width."""
    y = np.linspace(0, 1, height)[:, None]
    bend = 0.35 * fbm(height, width, 2, 3, seed, 3)
    knots = np.zeros((height, width))
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, width)[None]
    for _ in range(rng.integers(0, 3)):
        cy, cx, size = rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.22)
        d = np.sqrt(((y - cy) / size) ** 2 + ((x - cx) * width / height / size / 2) ** 2)
        bend = bend + 0.5 * np.exp(-(d**2)) * np.sign(cy - 0.5 + 1e-9)
        knots = np.maximum(knots, step(-d, -0.33, 0.12))
    rings = np.sin(2 * np.pi * (y * 3.2 + bend) * rng.uniform(1.3, 2.4)) * 0.5 + 0.5
    fibre = fbm(height, width, height / 2.2, width / 60, seed + 1, 2)
    pores = step(fbm(height, width, height / 2, width / 26, seed + 2, 1), 0.62, 0.2)
    tone = 0.45 * rings**2.2 + 0.28 * fibre + 0.2 * fbm(height, width, 2, 6, seed + 3) + 0.12
    color = mix(light, dark, tone + 0.25 * pores)
    return mix(color, np.asarray(dark) * 0.45, knots * 0.85)


def boards(
    height: int, width: int, count: int, seed: int, light: tuple, dark: tuple, joints: int = 0, groove: float = 2.0
) -> Array:
    """`count` boards one above the other, each cut `joints` times along its length, with dark grooves."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    edges = np.round(np.linspace(0, height, count + 1)).astype(int)
    for i, (top, bottom) in enumerate(pairwise(edges)):
        cuts = np.sort(rng.integers(0, width, joints)) if joints else np.array([], int)
        cuts = np.concatenate([[0], cuts, [width]])
        for j, (left, right) in enumerate(pairwise(cuts)):
            if right - left < 8:
                continue
            shade = rng.uniform(0.82, 1.12)
            piece = grain(bottom - top, right - left, seed * 97 + i * 13 + j, light, dark) * shade
            x, y = np.arange(right - left), np.arange(bottom - top)[:, None]
            edge = np.minimum(np.minimum(y, bottom - top - 1 - y), np.minimum(x, right - left - 1 - x) + 0 * y)
            image[top:bottom, left:right] = piece * (0.35 + 0.65 * step(edge, groove * 0.6, groove * 0.6))[..., None]
    return np.clip(image, 0, 1)


def leaf_outline(length: float, width: float, points: int = 9) -> Array:
    """A leaf [2 * points, 2] from the origin along +x."""
    t = np.linspace(0, 1, points)
    half = width / 2 * np.sin(np.pi * t**0.8) * (1 - 0.25 * t)
    return np.concatenate([np.stack([t * length, half], -1), np.stack([t[::-1] * length, -half[::-1]], -1)])


def sprig(
    draw: ImageDraw.ImageDraw, at: Array, angle: float, size: float, rng: np.random.Generator, inks: list
) -> None:
    """A twig with leaves, drawn in pixels; every one is different."""
    curve = rng.uniform(-0.9, 0.9)
    t = np.linspace(0, 1, 14)
    heading = angle + curve * t
    path = at + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1), 0) * size / 14
    stem, leaf, berry = inks
    draw.line([tuple(p) for p in path], fill=stem, width=max(2, int(size / 40)))
    for i in range(2, 14, rng.integers(2, 4)):
        for side in (-1, 1):
            turn = heading[i] + side * rng.uniform(0.6, 1.0)
            outline = leaf_outline(size * rng.uniform(0.2, 0.3), size * rng.uniform(0.09, 0.14))
            c, s = np.cos(turn), np.sin(turn)
            ink = tuple(int(np.clip(v + rng.integers(-18, 18), 0, 255)) for v in leaf)
            draw.polygon([tuple(p) for p in path[i] + outline @ np.array([[c, s], [-s, c]])], fill=ink)
            tip = path[i] + np.array([c, s]) * size * 0.2
            draw.line([tuple(path[i]), tuple(tip)], fill=stem, width=max(1, int(size / 90)))
    for _ in range(rng.integers(0, 4)):
        p = path[-1] + rng.normal(0, size * 0.07, 2)
        r = size * rng.uniform(0.025, 0.045)
        draw.ellipse([p[0] - r, p[1] - r, p[0] + r, p[1] + r], fill=berry)


def to_ink(color: tuple) -> tuple[int, int, int]:
    return tuple(round(255 * c) for c in color)  # type: ignore[return-value]


def wallpaper(height: int, width: int, per_metre: float, seed: int, ground: tuple, leaf: tuple) -> Array:
    """Hand-painted sprigs, none like another, on a washed ground."""
    rng = np.random.default_rng(seed)
    base = mix(ground, np.asarray(ground) * 0.9, 0.5 + 0.5 * fbm(height, width, 5, 8, seed, 5))
    picture = Image.fromarray((np.clip(base, 0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    taken: list[Array] = []
    gap = 0.125 * per_metre
    stem = tuple(c * 0.72 for c in leaf)
    accents = palette("b5654a", "c9974f", "6f8795")
    for _ in range(9000):
        p = rng.uniform([0, 0], [width, height])
        if not taken or np.min(np.sum((np.array(taken) - p) ** 2, 1)) > gap**2:
            taken.append(p)
            size = per_metre * rng.uniform(0.13, 0.2)
            berry = accents[rng.integers(3)]
            sprig(draw, p, rng.uniform(0, 2 * np.pi), size, rng, [to_ink(stem), to_ink(leaf), to_ink(berry)])
    image = np.asarray(picture, np.float64) / 255
    paper = 0.05 * fbm(height, width, height / 5, width / 5, seed + 5, 2) + 0.03 * fbm(height, width, 9, 14, seed + 6)
    return np.clip(image * (1 + paper[..., None]), 0, 1)


def panelling(height: int, width: int, boards_count: int, seed: int, color: tuple) -> Array:
    """Upright painted boards whose wood shows through where they are worn."""
    wood = boards(width, height, boards_count, seed, *palette("b98d5e", "7a5433"), groove=1.5).swapaxes(0, 1)
    wear = step(fbm(height, width, 14, 40, seed, 5) + 0.5 * fbm(height, width, 60, 160, seed + 1, 2), 0.62, 0.18)
    shade = 1 + 0.09 * fbm(height, width, 30, 120, seed + 2, 3) + 0.1 * (wood.mean(-1) / wood.mean() - 1)
    return (
        np.clip(mix(np.asarray(color) * shade[..., None], wood, wear * 0.8), 0, 1)
        * (0.55 + 0.45 * step(wood.mean(-1), 0.28, 0.1))[..., None]
    )


def rug(height: int, width: int, seed: int) -> Array:
    """A woven rug: borders, lozenges of changing colours, threads."""
    rng = np.random.default_rng(seed)
    inks = palette("7d2f28", "c8a165", "2e3f52", "e3d3b1", "5d6b4f", "a2553a")
    y, x = np.mgrid[0:height, 0:width]
    edge = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y)) / min(height, width)
    image = np.broadcast_to(inks[0], (height, width, 3)).copy()
    cell = height // 6
    u, v = (x % cell) / cell - 0.5, (y % cell) / cell - 0.5
    d = np.abs(u) + np.abs(v)
    picks = rng.integers(1, 6, (height // cell + 1, width // cell + 1, 3))[y // cell, x // cell]
    table = np.array(inks)
    for ring, size in enumerate((0.46, 0.32, 0.16)):
        image = np.where((d < size)[..., None], table[picks[..., ring]], image)
    for lo, hi, ink in ((0, 0.02, 3), (0.02, 0.05, 2), (0.05, 0.06, 1), (0.06, 0.1, 5), (0.1, 0.11, 3)):
        image = np.where(((edge >= lo) & (edge < hi))[..., None], table[ink], image)
    teeth = (edge > 0.062) & (edge < 0.098) & ((x + y) // (cell // 5) % 2 == 0)
    image = np.where(teeth[..., None], table[1], image)
    thread = 0.10 * np.sin(y * 2.1) + 0.16 * smooth_noise(height, width, height / 2, width / 9, seed)
    fade = 0.12 * fbm(height, width, 5, 8, seed + 1)
    return np.clip(image * (0.92 + thread + fade)[..., None], 0, 1)


def landscape(height: int, width: int, seed: int, sky: tuple, ground: tuple) -> Array:
    """A framed print: hills behind hills, a sun, brush strokes, a paper border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    image = mix(np.asarray(sky), palette("f3e3c3")[0], y * 1.6) * np.ones((1, 1, 1))
    cx, cy, r = rng.uniform(0.25, 0.75), rng.uniform(0.2, 0.32), 0.09
    disc = np.hypot((x - cx) * width / height, y - cy)
    image = mix(image, palette("d9673d")[0], step(-disc, -r, 0.006))
    for i in range(6):
        line = 0.36 + 0.1 * i + (0.13 - 0.012 * i) * smooth_noise(1, width, 1, 3 + i, seed + i)[0]
        tone = mix(np.asarray(sky) * 0.85, ground, (i + 1) / 6)
        stroke = 0.14 * fbm(height, width, 26, 12, seed + 20 + i, 3)
        image = mix(image, tone * (1 + stroke[..., None]), step(y - line[None], 0, 0.004))
    for _ in range(60):  # trees
        tx, ty = rng.uniform(0, 1), rng.uniform(0.62, 0.95)
        size = 0.03 + 0.09 * (ty - 0.55)
        crown = ((x - tx) * width / height / size) ** 2 + ((y - ty + size) / size / 1.5) ** 2
        image = mix(image, np.asarray(ground) * rng.uniform(0.35, 0.9), step(-crown, -1, 0.2))
    border = np.minimum(np.minimum(x, 1 - x) * width / height, np.minimum(y, 1 - y))
    image = mix(palette("efe6d2")[0], image, step(border, 0.085, 0.002))
    return np.clip(image * (1 + 0.04 * fbm(height, width, height / 4, width / 4, seed + 9, 2))[..., None], 0, 1)


TITLES = ["LIGHT", "OPTICS", "ATLAS", "GARDEN", "TREES", "RIVERS", "STONE", "VISION"]
TITLES += ["MOTION", "SILVER", "FOREST", "HARBOR", "WINTER", "COLOUR", "MAPS", "GLASS"]


def spine(height: int, width: int, seed: int) -> Array:
    """A book's spine, upright: cloth, bands, a title that runs down."""
    rng = np.random.default_rng(seed)
    covers = palette("7b2e2a", "23445a", "3f5b3d", "b58a3c", "5a3b52", "c4b28a", "2f2f36", "a65d38", "6d8a8c", "d7c7a4")
    inks = palette("e8d8a8", "d8b45c", "f0ead8", "1f1c1a")
    cover = np.array(covers[rng.integers(len(covers))]) * rng.uniform(0.85, 1.1)
    ink = inks[3] if cover.mean() > 0.6 else inks[rng.integers(3)]
    cloth = 1 + 0.07 * fbm(height, width, height / 3, width / 3, seed, 2) + 0.06 * fbm(height, width, 6, 2, seed + 1)
    image = cover * cloth[..., None]
    other = covers[rng.integers(len(covers))]
    for at in (0.08, 0.12, 0.84, 0.9)[rng.integers(0, 2) :: rng.integers(1, 3)]:
        band = slice(int(at * height), int(at * height) + max(2, height // rng.integers(40, 90)))
        image[band] = ink
    if rng.uniform() < 0.5:
        image[int(0.66 * height) : int(0.8 * height)] = np.asarray(other) * 0.9
    title = np.rot90(word(TITLES[rng.integers(len(TITLES))], max(1, width // 14)), 3)
    stamp(image, title, int(height * 0.17), max(0, (width - title.shape[1]) // 2), ink)
    return np.clip(image, 0, 1)


def spine_atlas(rows: int, columns: int, cell: tuple[int, int], seed: int) -> Array:
    """rows x columns different spines in one texture; cell = (height, width)."""
    cells = [[spine(*cell, seed * 1000 + r * columns + c) for c in range(columns)] for r in range(rows)]
    return np.concatenate([np.concatenate(row, 1) for row in cells], 0)
