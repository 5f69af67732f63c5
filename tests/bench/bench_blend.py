"""The speed of the splatting kernels: against a C++ reference of tile blending, and the CPU time of each phase of a
training step.

    python tests/bench/bench_blend.py [ANCHOR]

ANCHOR (or the environment variable RECON_ANCHOR): a folder with blend.cpp and inputs.py; without it or without g++ only
the phases are measured. Both sides run on one thread, interleaved, on the same inputs; the ratio is of medians of CPU
time.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from recon.kernels.simd import LANES
from render.kernels import layout
from render.kernels.adam import row_adam
from render.kernels.blend import PIXELS, blend, blend_backward
from render.kernels.pipeline import NAMES, column_gradients, padded, pair_moments, render_view, see
from render.kernels.ssim import photometric
from render.kernels.tiles import tile_lists
from render.kernels.warm import warm_up
from tests.bench.common import cpu_seconds, record

NOTHING = np.empty(0, np.float32)
SCENES = ((100_000, 640, 480), (20_000, 320, 240))
SIZES = ((480, 270), (960, 540))
SPLATS = 60_000


def interleaved(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each call, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: 1e3 * statistics.median(values[1:]) for name, values in times.items()}


def compile_anchor(folder: Path) -> ctypes.CDLL | None:
    """The reference, built into a temporary folder; None without g++ or without its source."""
    if not (folder / "blend.cpp").is_file() or shutil.which("g++") is None:
        return None
    out = Path(tempfile.mkdtemp()) / "libblend.so"
    flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC"]
    subprocess.run(["g++", *flags, str(folder / "blend.cpp"), "-o", str(out)], check=True)
    return ctypes.CDLL(str(out))


def anchor_inputs(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("anchor_inputs", folder / "inputs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def records_of(xy: np.ndarray, conic: np.ndarray, colour: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """layout records of splats given by image position, inverse covariance, colour and opacity."""
    out = np.zeros((len(xy), layout.RECORD), np.float32)
    a, b, c = conic.astype(np.float64).T
    whole = np.floor(xy.astype(np.float64))
    out[:, [layout.IX, layout.IY]], out[:, [layout.FX, layout.FY]] = whole, xy - whole
    su = np.sqrt(0.5 * np.log2(np.e) * a)
    out[:, layout.SU], out[:, layout.SK] = su, su * b / a
    out[:, layout.SV], out[:, layout.LOG_O] = np.sqrt(0.5 * np.log2(np.e) * (c - b * b / a)), np.log2(opacity)
    out[:, layout.RGB : layout.RGB + 3] = colour
    return out.reshape(-1)


def against_anchor(library: ctypes.CDLL, inputs: Any, shape: tuple[int, int, int], rounds: int) -> dict[str, float]:
    """Both blendings of one of the reference's scenes; the images and gradients are compared, too."""
    count, width, height = shape
    xy, conic, colour, opacity, rx, ry = inputs.scene(count, width, height)
    columns, rows, offset, ids = inputs.bins(xy, rx, ry, width, height)
    tiles, pairs = columns * rows, len(ids)
    out, through = np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32)
    last, theirs = np.zeros((height, width), np.int32), np.zeros((pairs, 9), np.float32)
    d_rgb = np.random.default_rng(1).normal(size=(height, width, 3)).astype(np.float32)

    def p(*arrays: np.ndarray) -> list[ctypes.c_void_p]:
        return [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]

    head = (width, height, columns, rows, *p(offset, ids, xy, conic, colour, opacity, ry))
    saved = p(through, last)
    records, black = records_of(xy, conic, colour, opacity), np.zeros(3, np.float32)
    rgb, alpha = np.empty(height * width * 3, np.float32), np.empty(height * width, np.float32)
    state = np.empty(tiles * PIXELS, np.float32), np.empty(tiles * PIXELS, np.float32), np.empty(pairs, np.uint16)
    ours = np.empty(pairs * layout.MOMENTS + LANES, np.float32)
    mine = (columns, width, height, offset.astype(np.int32), ids, records, black, 0)
    flat = d_rgb.reshape(-1)
    values = interleaved(
        {
            "anchor_forward_ms": lambda: library.fwd(*head, *p(out), *saved),
            "forward_ms": lambda: blend(0, tiles, *mine, False, rgb, alpha, NOTHING, *state, None, None, 0, None),
            "anchor_backward_ms": lambda: library.bwd(*head, *saved, *p(d_rgb, theirs)),
            "backward_ms": lambda: blend_backward(
                0, tiles, *mine, *state, flat, NOTHING, ours, None, None, 0, None, None
            ),
        },
        rounds,
    )
    values["forward_ratio"] = values["forward_ms"] / values["anchor_forward_ms"]
    values["backward_ratio"] = values["backward_ms"] / values["anchor_backward_ms"]
    values["image_difference"] = float(np.abs(rgb.reshape(out.shape) - out).mean())
    totals = ours[: pairs * layout.MOMENTS].reshape(pairs, -1)[:, :3].sum(0), theirs[:, :3].sum(0)
    values["gradient_difference"] = float(np.abs(totals[0] - totals[1]).max() / np.abs(totals[1]).max())
    return values


def room(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Splats on the walls of a room and on three balls in it, flat, as large as their spacing: what a trained scene
    looks like.
    """
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(count, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    balls = np.array([[0.5, 0.3, -0.2], [-0.6, 0.4, 0.3], [0.1, 0.5, 0.7]])[rng.integers(0, 3, count)]
    on_ball = rng.random(count) < 0.5
    wall = normal / np.abs(normal).max(1, keepdims=True) * [2.0, 1.2, 2.0]
    mean = np.where(on_ball[:, None], balls + 0.3 * normal, wall)
    size = np.where(on_ball, 0.3, 2.0) * np.sqrt(4 * np.pi / (0.5 * count))
    log_scale = np.log(0.7 * size)[:, None] + rng.normal(0, 0.5, (count, 3))
    log_scale[:, 2] -= 1.5
    columns = {
        "mean": mean + 0.02 * rng.normal(size=(count, 3)),
        "log_scale": log_scale,
        "quat": rng.normal(size=(count, 4)),
        "opacity_logit": rng.normal(0, 2, count),
        "sh": 0.3 * rng.normal(size=(count, 16, 3)),
    }
    return {name: column.astype(np.float32) for name, column in columns.items()}


def phases(size: tuple[int, int], rounds: int, splats: int = SPLATS) -> dict[str, float]:
    """CPU milliseconds of each phase of a training step, over all threads."""
    width, height = size
    columns = padded(room(splats))
    pose = np.eye(4)
    pose[2, 3] = 1.6
    k = np.array([[0.7 * width, 0, width / 2], [0, 0.7 * width, height / 2], [0, 0, 1]])
    camera, black = layout.camera_block(pose, k, size, 0.01), np.zeros(3, np.float32)
    target = torch.rand(height, width, 3, generator=torch.Generator().manual_seed(0))
    params = {name: torch.from_numpy(column.copy()) for name, column in columns.items()}
    first, second = ({name: torch.zeros_like(p) for name, p in params.items()} for _ in range(2))
    count = torch.zeros(splats, dtype=torch.int32)
    spent: dict[str, list[float]] = {}
    info: dict[str, float] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = call()
        spent.setdefault(name, []).append(time.process_time() - start)
        return result

    options: dict[str, Any] = {"degree": 3, "antialiased": False, "depth": False, "gradients": True}
    lr = dict.fromkeys(NAMES, 1e-3)
    for _ in range(rounds):
        visible = timed("project", lambda: see(columns, camera, 3, False, True))
        timed("bin", lambda v=visible: tile_lists(v, size))
        rgb, _, _, view = timed("forward", lambda: render_view(columns, camera, size, black, **options))
        _, d_rgb, _, _ = timed("loss", lambda image=rgb: photometric(torch.from_numpy(image), target))
        flat = d_rgb.numpy()
        moments = timed("blend_backward", lambda v=view, d=flat: pair_moments(v, d, NOTHING)[0])
        found = timed("project_backward", lambda v=view, m=moments: column_gradients(v, m, False))
        grads, rows = found.columns, torch.from_numpy(found.rows)
        timed("adam", lambda g=grads, r=rows: row_adam(params, first, second, g, r, count, lr))
        info = {"visible": view.visible.total, "pairs": len(view.lists.splat)}
    values = {name: 1e3 * statistics.median(times[1:]) for name, times in spent.items()}
    values["blend"] = values["forward"] - values["project"] - values["bin"]
    values["step"] = sum(values[n] for n in ("forward", "loss", "blend_backward", "project_backward", "adam"))
    return values | info


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("anchor", nargs="?", default=os.environ.get("RECON_ANCHOR"), type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)  # as in training: torch's own threads spin between its small operations
    started = cpu_seconds()
    warm_up()
    values: dict[str, Any] = {"warm_up_cpu_s": cpu_seconds() - started}
    library = compile_anchor(options.anchor) if options.anchor else None
    if library is None:
        print("no reference: give its folder as argument or in RECON_ANCHOR, and have g++")
    else:
        for shape in SCENES:
            found = against_anchor(library, anchor_inputs(options.anchor), shape, options.rounds)
            values["{}_splats_{}x{}".format(*shape)] = found
            print(
                f"{shape[0]} splats, {shape[1]}x{shape[2]}: forward {found['forward_ms']:.1f} ms,"
                f" {found['forward_ratio']:.2f} of C++; backward {found['backward_ms']:.1f} ms,"
                f" {found['backward_ratio']:.2f} of C++"
            )
    for size in SIZES:
        found = phases(size, options.rounds)
        values[f"step_{size[0]}x{size[1]}"] = found
        print(f"step, {SPLATS} splats, {size[0]}x{size[1]}: " + ", ".join(f"{k} {v:.1f}" for k, v in found.items()))
    record("blend", values, seeds=[0])


if __name__ == "__main__":
    main()
