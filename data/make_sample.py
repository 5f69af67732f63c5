"""Makes the sample capture: `python data/make_sample.py` models the still life, path-traces it and writes data/sample/.

Rendering goes in passes of a few paths a pixel over all photos; every pass is kept under --scratch, so that an interrupted run
goes on where it stopped and more passes only refine what is there. Needs: pip install mitsuba pyoidn scipy scikit-image pillow.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from sample_scene import path, room, truth  # noqa: E402

PASS_SPP = 16
DEPTH_VIEWS = (3, 16, 27)
"""Photos that get a z map, 0-based."""
FIRST_SHOT = datetime(2025, 5, 17, 16, 42, 8)


def exif(index: int) -> Image.Exif:
    """Make, model, time, focal length, exposure: what a phone writes and recon reads."""
    when = (FIRST_SHOT + timedelta(seconds=2.4 * index)).strftime("%Y:%m:%d %H:%M:%S")
    tags = Image.Exif()
    tags[271], tags[272], tags[274], tags[306] = "recon", "sample", 1, when  # make, model, upright, time
    sub = tags.get_ifd(0x8769)
    sub[36867] = when
    sub[33434], sub[33437], sub[34855] = (1, 60), (18, 10), 200  # seconds, f-number, ISO
    sub[37386], sub[41989] = (43, 10), path.FOCAL_35MM  # mm, 35 mm equivalent
    return tags


def pass_file(scratch: Path, index: int, number: int) -> Path:
    return scratch / f"pass{number:02d}_{index:02d}.npy"


def render_passes(parts: list[Any], scratch: Path, passes: int) -> None:
    """Render what is missing of the passes, pass by pass; progress goes to scratch/progress.txt."""
    from sample_scene import render

    scene, poses = render.load(parts, scratch / "ply"), path.poses()
    for number in range(passes):
        for index in range(path.PHOTOS):
            target = pass_file(scratch, index, number)
            if target.exists():
                continue
            started = time.time()
            raw = render.samples(scene, poses[index], path.SIZE, PASS_SPP, seed=1000 * number + index)
            part = target.with_suffix(".part")
            with open(part, "wb") as stream:
                np.save(stream, raw.astype(np.float16))
            os.replace(part, target)
            line = f"pass {number + 1}/{passes}, photo {index + 1}/{path.PHOTOS}, {time.time() - started:.0f} s"
            (scratch / "progress.txt").write_text(f"{datetime.now():%H:%M:%S} {line}\n")
            print(line, flush=True)


def develop(scratch: Path, out: Path, quality: int) -> int:
    """Denoise, encode and write every photo from the passes that are there; returns the passes used (the same for all)."""
    from sample_scene import render

    passes = 0
    while all(pass_file(scratch, i, passes).exists() for i in range(path.PHOTOS)):
        passes += 1
    if not passes:
        raise SystemExit("no pass is complete yet")
    folder = out / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(path.names()):
        raw = np.mean([np.load(pass_file(scratch, index, k)).astype(np.float32) for k in range(passes)], 0)
        pixels = (render.developed(raw) * 255 + 0.5).astype(np.uint8)
        options = {"quality": quality, "optimize": True, "exif": exif(index).tobytes()}
        Image.fromarray(pixels).save(folder / name, **options)
    return passes


def z_maps(parts: list[Any], scratch: Path) -> dict[str, NDArray[np.float64]]:
    from sample_scene import render

    scene, poses = render.load(parts, scratch / "ply"), path.poses()
    return {path.names()[i]: render.z_map(scene, poses[i], path.SIZE) for i in DEPTH_VIEWS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "sample")
    parser.add_argument("--scratch", type=Path, default=HERE.parent / "build" / "sample")
    parser.add_argument("--passes", type=int, default=2, help=f"of {PASS_SPP} paths a pixel")
    parser.add_argument("--quality", type=int, default=86, help="of the JPEG files")
    parser.add_argument("--only", choices=("render", "develop", "truth"), help="one step instead of all")
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    parts = room.scene() if options.only != "develop" else []
    if options.only in (None, "render"):
        render_passes(parts, options.scratch, options.passes)
    if options.only in (None, "develop"):
        print(f"developed from {develop(options.scratch, options.out, options.quality)} passes")
    if options.only in (None, "truth"):
        truth.write(options.out / "truth", parts, z_maps(parts, options.scratch))


if __name__ == "__main__":
    main()
