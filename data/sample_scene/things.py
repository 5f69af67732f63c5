"""The things of the still life, each a list of Parts that stands on the table's top (z = TOP)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sample_scene import hare as hare_shape
from sample_scene import textures_room as room_art
from sample_scene import textures_things as art
from sample_scene.noise import palette, smooth_noise
from sample_scene.shapes import (
    Material,
    Mesh,
    Part,
    box,
    circle,
    join,
    lathe,
    quad,
    rotation,
    sheet,
    smooth_profile,
    sphere,
    tube,
)

Array = NDArray[np.float64]

TOP = 0.75
CLOTH = 0.003
"""Height of the cloth over the table, metres."""
BRASS = Material("metal", palette("d9b25c")[0], 0.22)
COPPER = Material("metal", palette("c98a62")[0], 0.28)


def hare(at: ArrayLike, turn: float, scale: float) -> list[Part]:
    """The main object."""
    own = hare_shape.hare()
    back = rotation(2, turn)

    def paint(xyz: Array, normal: Array) -> Array:
        return hare_shape.paint((xyz - np.asarray(at)) @ back / scale, normal @ back)

    return [Part("hare", own.moved(at, turn, scale=scale), Material("matt", "vertex"), paint)]


def teapot(at: ArrayLike, turn: float) -> list[Part]:
    """A glazed pot with a lid, a spout and a cane-like handle of brass."""
    belly = [(0, 0.004), (0.05, 0), (0.058, 0.006), (0.088, 0.035)]
    belly += [(0.1, 0.075), (0.09, 0.115), (0.06, 0.142), (0.042, 0.15)]
    dome = [(0.046, 0.149), (0.05, 0.153), (0.04, 0.163), (0.016, 0.171)]
    dome += [(0.01, 0.178), (0.016, 0.19), (0.011, 0.2), (0, 0.202)]
    body, lid = smooth_profile(belly, 44), smooth_profile(dome, 30)
    spout = smooth_profile(
        [(0.07, 0, 0.06), (0.118, 0, 0.074), (0.138, 0, 0.112), (0.152, 0, 0.142), (0.172, 0, 0.158)], 26
    )
    arch = np.linspace(-1.25, 1.25, 40)
    handle = np.stack([0.085 * np.sin(arch), 0 * arch, 0.115 + 0.14 * np.cos(arch) ** 0.8], -1)
    texture = art.glaze(640, 1280, 11)
    pot = lathe(body, 72)
    cap = lathe(lid, 48)
    cap = Mesh(cap.xyz, cap.faces, cap.uv * [1, 0.5])
    pipe = tube(spout, np.interp(np.linspace(0, 1, 26), [0, 0.35, 1], [0.025, 0.0155, 0.0085]), 20)
    pipe = Mesh(pipe.xyz, pipe.faces, pipe.uv * [0.16, -0.62] + [0.05, 0.72])
    place = lambda m: m.moved(at, turn)  # noqa: E731
    ends = [sphere(0.009, 10, 16).moved(handle[i]) for i in (0, -1)]
    return [
        Part("teapot", place(join(pot, cap, pipe)), Material("glaze", texture, 0.07)),
        Part("teapot_handle", place(join(tube(handle, 0.0048, 12), *ends)), BRASS),
    ]


def leaf_mesh(base: Array, heading: Array, up: Array, length: float, width: float, droop: float) -> Mesh:
    """A folded, drooping leaf from `base` along `heading`."""
    side = np.cross(heading, up)
    side /= np.linalg.norm(side)
    rise = np.cross(side, heading)
    t, s = np.linspace(0, 1, 8), np.linspace(-1, 1, 5)
    half = width / 2 * np.maximum(np.sin(np.pi * t**0.75), 0.03)
    lift = -droop * length * t**2
    xyz = base + t[:, None, None] * length * heading + (half[:, None] * s)[..., None] * side
    xyz = xyz + (lift[:, None] + 0.35 * half[:, None] * np.abs(s))[..., None] * rise
    return sheet(xyz)


def plant(at: ArrayLike, seed: int) -> list[Part]:
    """Thin stems with leaves out of a clay pot with a rolled rim."""
    rng = np.random.default_rng(seed)
    profile = [(0, 0), (0.058, 0), (0.064, 0.02), (0.08, 0.1)]
    profile += [(0.083, 0.118), (0.091, 0.122), (0.092, 0.142), (0.084, 0.144)]
    outside = np.concatenate([np.array(profile), [(0.08, 0.125), (0.078, 0.122)]])
    pot = lathe(np.concatenate([smooth_profile(outside[:5], 30), smooth_profile(outside[4:], 16)]), 64)
    a = np.linspace(0, 1, 12)
    soil = lathe(np.stack([0.079 * (1 - a), np.full(12, 0.124)], -1), 40)
    soil.xyz[:, 2] += 0.006 * rng.uniform(-1, 1, len(soil.xyz))
    stems, leaves = [], [[], []]
    for k in range(19):
        around = k * 2.399 + rng.uniform(-0.3, 0.3)
        out = np.array([np.cos(around), np.sin(around), 0])
        reach, height = rng.uniform(0.04, 0.2), rng.uniform(0.2, 0.36)
        root = out * rng.uniform(0.005, 0.05) + [0, 0, 0.12]
        t = np.linspace(0, 1, 14)[:, None]
        bend = np.cross(out, [0, 0, 1]) * rng.uniform(-0.05, 0.05)
        path = root + out * reach * t**1.8 + np.array([0, 0, height]) * (t - 0.12 * t**3) + bend * np.sin(3 * t)
        stems.append(tube(path, np.linspace(0.0021, 0.0009, 14), 6))
        for i in range(5, 14):
            tangent = path[min(i + 1, 13)] - path[i - 1]
            tangent /= np.linalg.norm(tangent)
            spin = k + i * 2.4
            side = np.cross(tangent, [np.cos(spin), np.sin(spin), 0.2])
            heading = side / np.linalg.norm(side) * 0.85 + tangent * (0.55 if i < 13 else 2.0)
            heading /= np.linalg.norm(heading)
            size = rng.uniform(0.045, 0.07) * (1 - 0.035 * (i - 5))
            shape = leaf_mesh(
                path[i], heading, np.array([0, 0, 1.0]) + 0.01 * out, size, size * 0.52, rng.uniform(0.1, 0.45)
            )
            leaves[int(rng.uniform() < 0.35)].append(shape)
    place = lambda m: m.moved(at)  # noqa: E731
    green, young = art.leaf(160, 96, 3), np.clip(art.leaf(160, 96, 4) * [1.25, 1.12, 0.95], 0, 1)
    grit = np.clip(np.asarray(palette("3b2c20")[0]) * (1 + 0.9 * smooth_noise(128, 256, 60, 120, 9)[..., None]), 0, 1)
    return [
        Part("plant_pot", place(pot), Material("matt", art.terracotta(512, 1024, 21))),
        Part("plant_soil", place(soil), Material("matt", grit)),
        Part("plant_stems", place(join(*stems)), Material("matt", palette("5b6b34")[0])),
        Part("plant_leaves", place(join(*leaves[0])), Material("glaze", green, 0.35, thin=True)),
        Part("plant_young_leaves", place(join(*leaves[1])), Material("glaze", young, 0.35, thin=True)),
    ]


def book(
    at: ArrayLike, turn: float, size: tuple[float, float, float], seed: int, colors: tuple, title: str
) -> list[Part]:
    """A book that lies flat: size = (along the spine, depth, thickness); the spine looks to -y before the turn."""
    length, depth, thick = size
    board, name = 0.0028, title.lower()
    front = art.cover(768, int(768 * depth / length), seed, *colors, title)
    spine = np.rot90(room_art.spine(640, max(48, int(640 * thick / length)), seed))
    whole = np.concatenate([np.rot90(front), _fit(spine, 128, 768)], 0)
    split = front.shape[1] / whole.shape[0]
    top, back = (0.0, 0.0, 1.0, split), (0.0, split, 1.0, 1.0)
    plain = (0.4, 0.01, 0.6, 0.03)
    edges = dict.fromkeys(("-x", "+x", "-y", "+y"), plain)
    covers = join(
        box((0, 0, 0), (length, depth, board), {**edges, "-z": top, "+z": top}),
        box((0, 0, thick - board), (length, depth, thick), {**edges, "-z": top, "+z": top}),
        box((0, -board, 0), (length, 0, thick), {**edges, "-z": plain, "+z": plain, "+y": plain, "-y": back}),
    )
    block = box((0.003, 0, board), (length - 0.003, depth - 0.004, thick - board), skip="-z +z -y")
    offset = np.array([-length / 2, -depth / 2, 0])
    place = lambda m: m.moved(offset).moved(at, turn)  # noqa: E731
    return [
        Part(f"book_{name}", place(covers), Material("matt", whole)),
        Part(f"book_{name}_pages", place(block), Material("matt", art.pages(96, 512, seed))),
    ]


def _fit(image: Array, height: int, width: int) -> Array:
    rows = (np.arange(height) * image.shape[0] / height).astype(int)
    columns = (np.arange(width) * image.shape[1] / width).astype(int)
    return image[rows][:, columns]


def books(at: ArrayLike) -> list[Part]:
    """A stack of four, each turned a little."""
    inks = palette("e6cf94", "efe6d2", "22252b", "d9b45a")
    cloths = palette("7a2f2b", "27495c", "c7a86a", "44583b")
    sizes = [(0.25, 0.175, 0.034), (0.235, 0.165, 0.026), (0.215, 0.15, 0.03), (0.18, 0.125, 0.02)]
    titles, turns = ("OPTICS", "RIVERS", "GARDEN", "LIGHT"), (4, -9, 7, -16)
    out, z = [], 0.0
    for i in range(4):
        place = np.asarray(at, np.float64) + np.array([0.006 * (-1) ** i, 0.004 * i, z])
        out += book(place, turns[i], sizes[i], 40 + i, (cloths[i], inks[i]), titles[i])
        z += sizes[i][2] + 0.0004
    return out


def basket(at: ArrayLike, turn: float) -> list[Part]:
    """A wire basket with fruit."""
    curve = smooth_profile([(0.045, 0.012), (0.085, 0.024), (0.113, 0.06), (0.128, 0.1)], 16)
    wires = []
    for k in range(20):
        a = 2 * np.pi * k / 20
        path = np.stack([curve[:, 0] * np.cos(a), curve[:, 0] * np.sin(a), curve[:, 1]], -1)
        wires.append(tube(path, 0.0016, 6))
    for i, r in ((0, 0.0018), (6, 0.0014), (11, 0.0014), (15, 0.0032)):
        wires.append(tube(circle(curve[i, 0], curve[i, 1], 64), r, 8, closed=True))
    wires.append(tube(circle(0.06, 0.002, 48), 0.002, 8, closed=True))
    for k in range(5):
        a = 2 * np.pi * k / 5
        d = np.array([np.cos(a), np.sin(a), 0])
        wires.append(tube([0.06 * d + [0, 0, 0.002], 0.053 * d + [0, 0, 0.012], 0.05 * d + [0, 0, 0.0135]], 0.0017, 6))
    place = lambda m: m.moved(at, turn)  # noqa: E731
    out = [Part("basket", place(join(*wires)), Material("metal", palette("8b6f52")[0], 0.3))]
    kinds = [palette("e8bf3a", "d79a2b"), palette("cf7a2c", "b9532a"), palette("a9b24a", "c9573f")]
    spots = [(0.052, 0.0, 0.065), (-0.03, 0.05, 0.062), (-0.028, -0.052, 0.064)]
    spots += [(0.012, 0.006, 0.122), (-0.068, 0.004, 0.088)]
    shape = smooth_profile(
        [(0, -0.036), (0.022, -0.031), (0.036, -0.006), (0.032, 0.018), (0.014, 0.036), (0, 0.043)], 26
    )
    tilts = [(80, 20), (25, 70), (-60, 40), (75, -30), (10, 15)]
    for i, (spot, tilt) in enumerate(zip(spots, tilts, strict=True)):
        fruit = lathe(shape, 36).moved(spot, 70 * i, tilt)
        color, blush = kinds[(0, 1, 2, 0, 1)[i]]
        out.append(Part(f"fruit_{i}", place(fruit), Material("glaze", art.fruit(256, 512, 60 + i, color, blush), 0.3)))
    return out


def globe(at: ArrayLike, turn: float) -> list[Part]:
    """A globe on a turned foot, within a brass meridian."""
    radius, height = 0.098, 0.245
    outline = [(0, 0), (0.074, 0), (0.078, 0.008), (0.07, 0.018), (0.032, 0.026)]
    outline += [(0.015, 0.05), (0.022, 0.075), (0.013, 0.1), (0.012, 0.135)]
    foot = smooth_profile(outline, 48)
    wood = room_art.boards(256, 512, 1, 77, *palette("8a5a36", "4a2c19"))
    a = np.radians(np.linspace(-90, 90, 48))
    meridian = np.stack([(radius + 0.012) * np.cos(a), 0 * a, (radius + 0.012) * np.sin(a)], -1)
    stub = np.array([[0, 0, radius - 0.004], [0, 0, radius + 0.012], [0, 0, radius + 0.02]])
    pins = [tube(s * stub, 0.0034, 8) for s in (1, -1)]
    tilt = (0.0, 23.4)
    ball = sphere(radius, 36, 72).moved(turn=130).moved((0, 0, height), 0, tilt)
    ring = join(tube(meridian, 0.0042, 10), *pins).moved((0, 0, height), 180, (0, -23.4))
    place = lambda m: m.moved(at, turn)  # noqa: E731
    return [
        Part("globe", place(ball), Material("glaze", art.globe(768, 1536, 7), 0.18)),
        Part("globe_meridian", place(ring), BRASS),
        Part("globe_foot", place(lathe(foot, 48)), Material("glaze", wood, 0.2)),
    ]


def candlestick(at: ArrayLike) -> list[Part]:
    """Turned brass with a wound candle."""
    outline = [(0, 0), (0.05, 0), (0.052, 0.006), (0.04, 0.014), (0.014, 0.022), (0.009, 0.04), (0.019, 0.055)]
    outline += [(0.009, 0.07), (0.008, 0.1), (0.016, 0.112), (0.024, 0.118), (0.024, 0.122)]
    outline += [(0.012, 0.124), (0.012, 0.132), (0, 0.132)]
    candle = [(0, 0.13), (0.0095, 0.13), (0.0095, 0.255), (0.008, 0.259), (0.003, 0.257), (0, 0.257)]
    wick = tube([[0, 0, 0.255], [0.0005, 0, 0.262], [0.002, 0.001, 0.268]], 0.0011, 6)
    place = lambda m: m.moved(at)  # noqa: E731
    return [
        Part("candlestick", place(lathe(smooth_profile(outline, 90), 48)), BRASS),
        Part("candle", place(lathe(candle, 28)), Material("matt", art.wax(512, 128, 3))),
        Part("wick", place(wick), Material("matt", palette("2a2420")[0])),
    ]


def cards(places: list[tuple[float, float, float]]) -> list[Part]:
    """Postcards on the table: (x, y, turn) each; one picture side, one written side."""
    out = []
    sides = [room_art.landscape(384, 576, 90, *palette("7fa3b0", "3d5a4a")), art.postcard(384, 576, 91)]
    for i, (x, y, turn) in enumerate(places):
        card = quad((-0.075, -0.05, 0), (0.15, 0, 0), (0, 0.1, 0), (6, 4))
        card.xyz[:, 2] += 0.0008 + 0.0024 * ((card.xyz[:, 0] / 0.075) ** 2) * (i % 2 == 0)
        out.append(Part(f"card_{i}", card.moved((x, y, TOP), turn), Material("matt", sides[i % 2])))
    return out


def cloth(center: float, width: float, half_depth: float) -> list[Part]:
    """A printed runner across the table, along y, that hangs over both long edges with soft folds."""
    drop, bend = 0.2, 0.009
    s = np.linspace(-(half_depth + drop), half_depth + drop, 120)
    x = np.linspace(-width / 2, width / 2, 40)
    side, over = np.sign(s), np.maximum(np.abs(s) - half_depth, 0)
    arc = np.minimum(over / bend, np.pi / 2)
    y = side * (np.minimum(np.abs(s), half_depth) + bend * np.sin(arc))
    z = TOP + CLOTH - bend * (1 - np.cos(arc)) - np.maximum(over - bend * np.pi / 2, 0)
    hang = np.maximum(over - bend * np.pi / 2, 0) / drop
    fold = 0.016 * np.sin(x[None] * 34 + side[:, None] * 1.3) + 0.006 * np.sin(x[None] * 71 + 2)
    ripple = (
        0.0016 * (1 + np.sin(x[None] * 23 + s[:, None] * 9)) * (over[:, None] <= 0) * np.abs(np.sin(s[:, None] * 7))
    )
    xyz = np.stack(
        [
            x[None] * (1 + 0.03 * hang[:, None]) + 0.006 * np.sin(s[:, None] * 11) + center,
            y[:, None] + side[:, None] * (fold + 0.012) * hang[:, None] ** 0.7,
            z[:, None] + ripple,
        ],
        -1,
    )
    texture = art.cloth(2048, 760, 7, 31)
    return [Part("cloth", sheet(xyz), Material("matt", texture, thin=True))]
