"""Size and PSNR of .gs4d beside per-frame PLY and SPZ: `python tests/bench/bench_moving_file.py [--workspace DIR]`.

Without a workspace: the synthetic ball and flap of tests/moving_splats.py. PSNR is against the scene's own renders; `loss` is
what a scene that is 30 dB from its photos would lose by it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from recon.cameras import Cameras, fit_size
from render.formats.moving import TOLERANCE, frame_times, read_moving, write_moving
from render.formats.ply import write_ply
from render.formats.spz import splats_of, spz_bytes
from render.rasterize import rasterize
from render.splats import Splats
from tests.bench.common import cpu_seconds, record
from tests.moving_splats import BallScene, camera

PHOTOS_DB = 30.0
SIDE = 480


def views_of(workspace: Path | None, name: str) -> tuple[Any, Cameras]:
    """A scene and the cameras to look from."""
    if workspace is None:
        return None, camera((320, 240))
    from recon.workspace import Workspace

    space = Workspace(workspace)
    cameras = space.load("align").model.cameras[::16]
    return space.load("train", name), cameras.resized(fit_size(cameras.size, SIDE))


def loss(psnr: float) -> float:
    """dB that a scene at PHOTOS_DB loses by an error that is `psnr` below its own renders and independent of it."""
    return float(10 * np.log10(1 + 10 ** ((PHOTOS_DB - psnr) / 10)))


def psnr_over(
    scene: Any, shown: Callable[[float], Splats], times: list[float], cameras: Cameras, antialiased: bool
) -> float:
    errors = []
    for i, time in enumerate(times):
        view = cameras[[i % len(cameras)]]
        a, b = (
            rasterize(s.detach(), view, depth=False, antialiased=antialiased).rgb[0].clamp(0, 1)
            for s in (scene.at(time), shown(time))
        )
        errors.append(float(((a - b) ** 2).mean()))
    return float(-10 * np.log10(np.mean(errors)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--name", default="main")
    parser.add_argument("--detail", type=int, default=60, help="of the synthetic scene: 2.25 detail^2 splats")
    parser.add_argument("--moments", type=int, default=12)
    parser.add_argument("--tolerance", type=float, nargs="+", default=[TOLERANCE])
    args = parser.parse_args()
    scene, cameras = views_of(args.workspace, args.name)
    scene = scene or BallScene(seconds=3.0, fps=30, detail=args.detail)
    antialiased = bool(scene.setup.antialiased)
    frames = frame_times(scene.times[0], scene.times[1], scene.fps)
    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, args.moments).round().astype(int)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_ply(folder / "a.ply", scene.at(frames[0]))
        ply = len(frames) * (folder / "a.ply").stat().st_size
        packed = {time: spz_bytes(scene.at(time)) for time in chosen}
        spz = len(frames) * float(np.mean([len(data) for data in packed.values()]))
        from_spz = psnr_over(scene, lambda t: splats_of(packed[t], folder), chosen, cameras, antialiased)
        values: dict[str, Any] = {
            "frames": len(frames),
            "ply_bytes": ply,
            "spz_bytes": round(spz),
            "spz_psnr": round(from_spz, 2),
            "spz_loss": round(loss(from_spz), 3),
            "gs4d": [],
        }
        for tolerance in args.tolerance:
            before = cpu_seconds()
            made = write_moving(folder / "m.gs4d", scene, antialiased=antialiased, tolerance=tolerance)
            written = cpu_seconds() - before
            read = read_moving(folder / "m.gs4d")
            found = psnr_over(scene, read.at, chosen, cameras, antialiased)
            row = {"tolerance": tolerance, "splats": len(read), "moving": made.header["moving"], "bytes": len(made)}
            row |= {"spz_by_gs4d": round(spz / len(made), 1), "ply_by_gs4d": round(ply / len(made), 1)}
            row |= {"psnr": round(found, 2), "loss": round(loss(found), 3), "write_cpu_seconds": round(written, 2)}
            values["gs4d"].append(row)
    print(values)
    record("moving_file", values, seeds=[0])


if __name__ == "__main__":
    main()
