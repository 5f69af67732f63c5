"""The room: floor, walls with a window, shelves, pictures, rug, table; and where everything of the still life stands."""

from __future__ import annotations

import numpy as np

from sample_scene import textures_room as art
from sample_scene import things
from sample_scene.noise import fbm, palette
from sample_scene.shapes import Material, Mesh, Part, box, join, lathe, quad, smooth_profile

WEST, EAST, SOUTH, NORTH, CEILING = -1.75, 2.2, -2.25, 1.75, 2.7
RAIL = 0.78
"""Height of the panelling, metres."""
WINDOW = (-1.55, 0.05, 0.95, 2.25)
"""(y0, y1, z0, z1) of the opening in the west wall, metres."""
TABLE = (0.66, 0.45)
"""Half length along x, half depth along y, metres."""
PAINT = palette("e9e2d2")[0]


def walls() -> list[Part]:
    """Wallpaper above, panelling below; the west wall leaves the window open."""
    sage, clay = palette("dcd8c0", "e2cdb0")
    leaf_green, leaf_blue = palette("7f9468", "6d8790")
    spans = {
        "north": ((WEST, NORTH), (1, 0), EAST - WEST, sage, leaf_green),
        "east": ((EAST, NORTH), (0, -1), NORTH - SOUTH, clay, leaf_blue),
        "south": ((EAST, SOUTH), (-1, 0), EAST - WEST, sage, leaf_green),
    }
    out = []
    for i, (name, (start, way, length, ground, leaf)) in enumerate(spans.items()):
        right = np.array([*way, 0.0]) * length
        high = art.wallpaper(900, 1850, 1850 / length, 100 + i, ground, leaf)
        low = art.panelling(360, 1850, 38, 110 + i, palette("8d9b86")[0])
        out.append(Part(f"wall_{name}", quad((*start, RAIL), right, (0, 0, CEILING - RAIL)), Material("matt", high)))
        out.append(Part(f"panel_{name}", quad((*start, 0), right, (0, 0, RAIL)), Material("matt", low)))
    return out + west_wall(sage, leaf_green)


def west_wall(ground: tuple, leaf: tuple) -> list[Part]:
    """Four pieces of wall around the window, its reveal, its frame."""
    y0, y1, z0, z1 = WINDOW
    length = NORTH - SOUTH
    high = art.wallpaper(900, 1850, 1850 / length, 104, ground, leaf)

    def piece(a: float, b: float, lo: float, hi: float) -> Mesh:
        face = quad((WEST, a, lo), (0, b - a, 0), (0, 0, hi - lo))
        u = (face.xyz[:, 1] - SOUTH) / length
        v = (CEILING - face.xyz[:, 2]) / (CEILING - RAIL)
        return Mesh(face.xyz, face.faces, np.stack([u, v], -1))

    beside = piece(SOUTH, y0, RAIL, CEILING), piece(y1, NORTH, RAIL, CEILING)
    wall = join(*beside, piece(y0, y1, RAIL, z0), piece(y0, y1, z1, CEILING))
    low = art.panelling(360, 1850, 38, 114, palette("8d9b86")[0])
    deep = 0.14
    frame = [
        box((WEST - deep, y0 - 0.02, z0 - 0.05), (WEST + 0.05, y1 + 0.02, z0)),
        box((WEST - deep, y0 - 0.02, z1), (WEST + 0.015, y1 + 0.02, z1 + 0.05)),
        box((WEST - deep, y0 - 0.05, z0 - 0.05), (WEST + 0.015, y0, z1 + 0.05)),
        box((WEST - deep, y1, z0 - 0.05), (WEST + 0.015, y1 + 0.05, z1 + 0.05)),
    ]
    for k in (1, 2):
        y = y0 + (y1 - y0) * k / 3
        frame.append(box((WEST - 0.1, y - 0.014, z0), (WEST - 0.07, y + 0.014, z1)))
    for k in (1, 2):
        z = z0 + (z1 - z0) * k / 3
        frame.append(box((WEST - 0.1, y0, z - 0.014), (WEST - 0.07, y1, z + 0.014)))
    white = np.clip(np.asarray(PAINT) * (1 + 0.05 * fbm(128, 256, 30, 60, 3)[..., None]), 0, 1)
    return [
        Part("wall_west", wall, Material("matt", high)),
        Part("panel_west", quad((WEST, SOUTH, 0), (0, length, 0), (0, 0, RAIL)), Material("matt", low)),
        Part("window", join(*frame), Material("matt", white)),
    ]


def trim() -> list[Part]:
    """Skirting boards and the rail over the panelling."""
    bars = []
    for z, h, d in ((0.0, 0.09, 0.014), (RAIL - 0.02, 0.045, 0.022)):
        bars += [
            box((WEST, NORTH - d, z), (EAST, NORTH, z + h)),
            box((WEST, SOUTH, z), (EAST, SOUTH + d, z + h)),
            box((WEST, SOUTH, z), (WEST + d, NORTH, z + h)),
            box((EAST - d, SOUTH, z), (EAST, NORTH, z + h)),
        ]
    wood = art.boards(128, 1024, 1, 55, *palette("a97c50", "6a4529"))
    return [Part("trim", join(*bars), Material("matt", wood))]


def floor() -> list[Part]:
    """Boards, a ceiling, a rug with a slightly raised pile."""
    planks = art.boards(1200, 1400, 22, 61, *palette("b48a5c", "6f4a2c"), joints=3)
    size = np.array([EAST - WEST, NORTH - SOUTH])
    ground = quad((WEST, SOUTH, 0), (size[0], 0, 0), (0, size[1], 0))
    carpet = box(
        (-1.05, -0.85, 0), (1.15, 0.75, 0.008), dict.fromkeys(("-x", "+x", "-y", "+y"), (0, 0, 0.02, 0.02)), "-z"
    )
    top = quad((WEST, NORTH, CEILING), (size[0], 0, 0), (0, -size[1], 0))
    return [
        Part("floor", ground, Material("glaze", planks, 0.3)),
        Part("rug", carpet, Material("matt", art.rug(700, 960, 71))),
        Part("ceiling", top, Material("matt", PAINT)),
    ]


def table() -> list[Part]:
    """Five boards, an apron, turned legs."""
    x, y = TABLE
    side = (0.0, 0.02, 1.0, 0.1)
    top = box((-x, -y, things.TOP - 0.032), (x, y, things.TOP), dict.fromkeys(("-x", "+x", "-y", "+y"), side))
    wood = art.boards(900, 1320, 5, 81, *palette("c79560", "7a4e2c"), groove=2.0)
    apron = [
        box(
            (-x + 0.06, s * (y - 0.07) - 0.011, things.TOP - 0.12),
            (x - 0.06, s * (y - 0.07) + 0.011, things.TOP - 0.032),
        )
        for s in (-1, 1)
    ]
    apron += [
        box(
            (s * (x - 0.07) - 0.011, -y + 0.06, things.TOP - 0.12),
            (s * (x - 0.07) + 0.011, y - 0.06, things.TOP - 0.032),
        )
        for s in (-1, 1)
    ]
    outline = [(0, 0), (0.018, 0), (0.022, 0.02), (0.014, 0.05), (0.028, 0.3), (0.022, 0.36)]
    outline += [(0.034, 0.4), (0.034, 0.72), (0, 0.72)]
    legs = [
        lathe(smooth_profile(outline, 40), 24).moved((sx * (x - 0.07), sy * (y - 0.07), 0))
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    dark = art.boards(256, 1024, 1, 83, *palette("94623a", "4c2d19"))
    return [
        Part("table_top", top, Material("glaze", wood, 0.28)),
        Part("table_frame", join(*apron, *legs), Material("glaze", dark, 0.3)),
    ]


def bookcase(name: str, width: float, seed: int, rows: int = 3) -> list[Part]:
    """Shelves with books, its back at y = 0, open to -y, centred on x = 0."""
    rng = np.random.default_rng(seed)
    pitch, deep, thick = 0.36, 0.24, 0.02
    height = rows * pitch + thick
    case = [
        box((s * width / 2 - thick * (s > 0), -deep, 0), (s * width / 2 + thick * (s < 0), 0, height)) for s in (-1, 1)
    ]
    case += [box((-width / 2, -deep, r * pitch), (width / 2, 0, r * pitch + thick)) for r in range(rows + 1)]
    case.append(quad((-width / 2, -0.004, 0), (width, 0, 0), (0, 0, height)))
    columns, shelves = 24, 4
    spines = []
    for r in range(rows):
        x = -width / 2 + thick + 0.004
        while x < width / 2 - thick - 0.06:
            if rng.uniform() < 0.06:
                x += rng.uniform(0.03, 0.12)
                continue
            w, h, d = rng.uniform(0.02, 0.052), rng.uniform(0.2, 0.315), rng.uniform(0.14, 0.2)
            c, s = rng.integers(columns), rng.integers(shelves)
            cell = (c / columns, s / shelves, (c + 1) / columns, (s + 1) / shelves)
            plain = (cell[0], cell[1], cell[0] + 0.2 / columns, cell[1] + 0.04 / shelves)
            uv = {**dict.fromkeys(("-x", "+x", "+z"), plain), "-y": cell}
            z = r * pitch + thick
            spines.append(box((x, -d - 0.02, z), (x + w, -0.02, z + h), uv, skip="-z +y"))
            x += w + rng.uniform(0.0006, 0.003)
    wood = art.boards(256, 1024, 2, seed + 5, *palette("9a6b42", "553620"))
    atlas = art.spine_atlas(shelves, columns, (300, 48), seed)
    return [
        Part(f"{name}_case", join(*case), Material("matt", wood)),
        Part(f"{name}_books", join(*spines), Material("matt", atlas)),
    ]


def picture(name: str, seed: int, size: tuple[float, float], inks: tuple) -> list[Part]:
    """A framed print that hangs at y = 0 and looks to -y, centred on the origin."""
    w, h = size
    d, b = 0.022, 0.025
    frame = join(
        box((-w / 2, -d, -h / 2), (w / 2, 0, -h / 2 + b)),
        box((-w / 2, -d, h / 2 - b), (w / 2, 0, h / 2)),
        box((-w / 2, -d, -h / 2 + b), (-w / 2 + b, 0, h / 2 - b)),
        box((w / 2 - b, -d, -h / 2 + b), (w / 2, 0, h / 2 - b)),
    )
    sheet = quad((-w / 2 + b, -0.008, -h / 2 + b), (w - 2 * b, 0, 0), (0, 0, h - 2 * b))
    wood = art.boards(96, 512, 1, seed, *palette("7b5232", "3c2616"))
    print_art = art.landscape(int(900 * h), int(900 * w), seed, *inks)
    return [Part(f"{name}_frame", frame, Material("glaze", wood, 0.3)), Part(name, sheet, Material("matt", print_art))]


def placed(parts: list[Part], at: tuple[float, float, float], turn: float = 0.0) -> list[Part]:
    return [Part(p.name, p.mesh.moved(at, turn), p.material, p.paint) for p in parts]


def scene() -> list[Part]:
    """All parts of the scene, the main object first."""
    z = things.TOP
    on_cloth = z + things.CLOTH + 0.0012
    out = things.hare((0.06, -0.17, on_cloth), -66, 1.12)
    out += things.teapot((-0.265, 0.05, z), -28)
    out += things.plant((0.08, 0.27, on_cloth), 8)
    out += things.books((0.43, -0.16, z))
    out += things.basket((-0.41, -0.2, z), 15)
    out += things.globe((0.42, 0.2, z), -120)
    out += things.candlestick((-0.43, 0.25, z))
    out += things.cards([(0.43, -0.355, 8), (-0.265, 0.345, -14)])
    out += things.cloth(0.04, 0.42, TABLE[1])
    out += walls() + trim() + floor() + table()
    out += placed(bookcase("bookcase_north", 1.5, 5), (0.75, NORTH - 0.015, 0))
    out += placed(bookcase("bookcase_east", 1.3, 6), (EAST - 0.015, -0.55, 0), -90)
    out += placed(bookcase("bookcase_south", 1.2, 7, 2), (0.9, SOUTH + 0.015, 0), 180)
    inks = [
        palette("a9c6c9", "4f7058"),
        palette("e8c79a", "7a5a5e"),
        palette("9fb8d4", "4a6680"),
        palette("d9cfa6", "8a7440"),
    ]
    out += placed(picture("print_west", 31, (0.55, 0.7), inks[0]), (WEST + 0.002, 0.85, 1.32), 90)
    out += placed(picture("print_north", 32, (0.7, 0.5), inks[1]), (-0.75, NORTH - 0.002, 1.3))
    out += placed(picture("print_east", 33, (0.6, 0.6), inks[2]), (EAST - 0.002, 0.85, 1.3), -90)
    out += placed(picture("print_south", 34, (0.8, 0.55), inks[3]), (-0.6, SOUTH + 0.002, 1.25), 180)
    return out
