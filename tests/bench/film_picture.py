"""The film strip of the README: photo, render and error of held-out moments of the synthetic moving capture.

    python tests/bench/film_picture.py [--scene gs_nodes] [--budget 120] [--out docs/film-strip.jpg]

One camera in motion before a door that swings and a ball that rolls (tests/moving_scene.py); every 8th moment is held out. The
budget is CPU seconds (user and system, all threads) of the training loop.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from common import ROOT
from numpy.typing import NDArray

from recon.page.pictures import colour_table
from render.kernels.warm import warm_up
from tests.moving_scene import one_camera
from tests.moving_training import OPTIONS, errors, held_out, prepared, render, trained

SIDE, FRAMES = 256, 40
COLUMN = 230
"""Pixels across a picture of the strip."""
LIMIT = 0.3
"""Error of the brightest colour."""
GAP, HEAD, MARGIN = 6, 26, 74
QUALITY = 85


def strip(columns: list[tuple[float, list[NDArray[np.float32]]]]) -> NDArray[np.uint8]:
    """u8[H, W, 3]: (seconds, [photo, render, error]) one beside the other, times above and rows named on the left."""
    height = round(COLUMN * columns[0][1][0].shape[0] / columns[0][1][0].shape[1])
    out = np.full((HEAD + 3 * (height + GAP), MARGIN + len(columns) * (COLUMN + GAP), 3), 255, np.uint8)
    for i, name in enumerate(("photo", "render", "error")):
        write(out, name, 4, HEAD + i * (height + GAP) + height // 2)
    for k, (seconds, pictures) in enumerate(columns):
        x = MARGIN + k * (COLUMN + GAP)
        write(out, f"{seconds:.2f} s", x, 18)
        for i, picture in enumerate(pictures):
            y = HEAD + i * (height + GAP)
            pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
            out[y : y + height, x : x + COLUMN] = cv2.resize(pixels, (COLUMN, height), interpolation=cv2.INTER_AREA)
    return out


def write(out: NDArray[np.uint8], words: str, x: int, y: int) -> None:
    cv2.putText(out, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (60, 60, 60), 1, cv2.LINE_AA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", default="gs_nodes")
    parser.add_argument("--budget", type=float, default=120.0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "film-strip.jpg")
    args = parser.parse_args()
    warm_up()
    scene = one_camera(FRAMES, (SIDE, SIDE * 3 // 4))
    options = replace(OPTIONS, scene=args.scene, steps=None, minutes=args.budget / 60, long_side=SIDE, splats=10_000)
    with tempfile.TemporaryDirectory() as folder:
        found = trained(prepared(scene, Path(folder), options, clock=time.process_time), args.scene)
    columns = []
    for row in held_out(scene):
        photo, drawn = scene.photos[row] / np.float32(255), render(found, scene, row)
        error = np.clip(np.abs(photo - drawn).mean(-1) / LIMIT * 255, 0, 255).astype(np.uint8)
        columns.append((scene.time(row), [photo, drawn, colour_table()[error] / np.float32(255)]))
    assert cv2.imwrite(str(args.out), strip(columns)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    parts = ", ".join(f"{name} {value:.2f} dB" for name, value in errors(found, scene).items())
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB; {parts}")


if __name__ == "__main__":
    main()
