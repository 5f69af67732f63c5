"""Scenes that move beside one that does not: python tests/bench/bench_moving.py synthetic|nrnerf|pose2sim [--budget CPU_SECONDS]

synthetic: one moving camera and six fixed ones before a door and a ball (tests/moving_scene.py), with exact masks. Moving and
static pixels of held-out photos, trembling of what stands still (jitter: colours over time in a camera that does not move, 0 for
a still scene; tremble: errors of points of the room from photo to photo), paths of the splats on the ball, seconds a rendered
frame (a ratio to that of kplanes where that scene is there). --ablate: each term off, over --seeds, beside negative controls
(photos whose times are shuffled: motion that cannot be learned). Defaults are chosen with --play trial: other textures, paths
and views; what is reported is the play "first".
nrnerf, pose2sim: every 8th moment held out. -w DIR: a workspace with finished stages ingest and align; nrnerf makes one of the
published poses without it. --masks DIR: NAME.png, white = moving; without masks only whole photos are judged.
Budgets are CPU seconds (user and system, all threads) of the training loop. Film strips: photo, render, twice the error.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import OUT, ROOT, datasets, record
from truth import OPENCV_FROM_OPENGL, llff

from recon.geometry import se3_inverse
from recon.workspace import Workspace
from render.evaluate import View, psnr, render_view, write_png
from render.kernels.warm import warm_up
from render.options import TrainOptions
from render.scenes import SCENES, config_of
from render.stage_train import initial_scene, training_data
from render.train import prepare
from tests.moving_scene import FIRST, TRIAL, MovingScene, one_camera, six_cameras
from tests.moving_training import (
    OPTIONS,
    errors,
    film_strip,
    held_out,
    jitter,
    path_error,
    prepared,
    render,
    trained,
    tremble,
)

PLAYS = {"first": FIRST, "trial": TRIAL}
ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "gs4d without smoothness": ("gs4d", {"smooth": 0.0, "variation": 0.0}),
    "gs4d without gates": ("gs4d", {"gate": 0.0, "settle": 0.0}),
    "gs4d without random points": ("gs4d", {"scatter": 0.0}),
    "gs_nodes without ARAP": ("gs_nodes", {"rigid": 0.0}),
    "gs_nodes, neighbours at rest alone": ("gs_nodes", {"company": 0.0}),
    "gs_nodes without smoothness": ("gs_nodes", {"smooth": 0.0}),
}
CONTROLS = {f"{name} with shuffled times": (name, {}) for name in ("gs4d", "gs_nodes")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["synthetic", "nrnerf", "pose2sim"])
    parser.add_argument("--budget", type=float, default=120.0)
    parser.add_argument("--scenes", nargs="+", default=["gs", "gs4d", "gs_nodes", "kplanes"])
    parser.add_argument("--cameras", nargs="+", choices=["one", "six"], default=["one", "six"])
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--long-side", type=int, help="default: 192 (synthetic), 384 (real)")
    parser.add_argument("--splats", type=int, help="default: 8000 (synthetic), 40000 (real)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--ablate", action="store_true")
    parser.add_argument("--play", choices=list(PLAYS), default="first")
    parser.add_argument(
        "--config", type=json.loads, default={}, help="changes to the configs of moving splats, as JSON"
    )
    parser.add_argument("-w", "--workspace", type=Path)
    parser.add_argument("--masks", type=Path)
    args = parser.parse_args()
    args.scenes = [name for name in args.scenes if name in SCENES]
    warm_up()
    values = synthetic(args) if args.what == "synthetic" else captured(args)
    cameras = args.cameras if args.what == "synthetic" and len(args.cameras) == 1 else []
    ablations = ["ablations"] if args.ablate else []
    name = "_".join(["moving", args.what, *cameras, *ablations, *{args.play} - {"first"}])
    record(name, values, seeds=args.seeds)


def options(args: argparse.Namespace, name: str, seed: int, long_side: int, splats: int) -> TrainOptions:
    """What a run is trained with."""
    small = {"long_side": args.long_side or long_side, "splats": args.splats or splats, "seed": seed}
    return replace(OPTIONS, scene=name, steps=None, minutes=args.budget / 60, **small)


def changes(args: argparse.Namespace, name: str) -> dict[str, Any]:
    return args.config if name in ("gs4d", "gs_nodes") else {}


def synthetic(args: argparse.Namespace) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for which in args.cameras:
        side = args.long_side or 192
        size = (side, side * 3 // 4)
        frames, play = max(4, args.frames // 2), PLAYS[args.play]
        one_or_six = partial(one_camera, args.frames) if which == "one" else partial(six_cameras, frames, fps=12.0)
        scene = one_or_six(size=size, play=play)
        runs = {name: (name, changes(args, name)) for name in args.scenes}
        if args.ablate:
            runs |= ABLATIONS | CONTROLS
        out[which] = {label: [one(args, scene, label, *runs[label], s, which) for s in args.seeds] for label in runs}
        add_ratios(out[which])
    return out


def one(
    args: argparse.Namespace, scene: MovingScene, label: str, name: str, config: dict[str, Any], seed: int, which: str
) -> dict[str, float]:
    """Train one scene and measure it."""
    shown = shuffled(scene, seed) if label in CONTROLS else scene
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(shown, Path(folder), options(args, name, seed, 192, 8000), config, time.process_time)
        found = trained(run, name)
    row = (len(scene) // 2) if which == "one" else 0
    render(found, scene, row)
    start = time.process_time(), time.perf_counter()
    for i in held_out(scene)[:5]:
        render(found, scene, i)
    drawn = (time.process_time() - start[0]) / 5, (time.perf_counter() - start[1]) / 5
    values = errors(found, scene) | {"jitter": jitter(found, scene, row), "steps": run.pace.step}
    values |= {"cpu_per_frame": drawn[0], "wall_per_frame": drawn[1], "cpu_seconds": run.pace.spent}
    if hasattr(found, "at"):
        values |= {f"ball_{key}": value for key, value in path_error(found, scene).items()}
        values |= {"splats": len(found.at()), "tremble": tremble(found, scene)}
    if hasattr(found, "times") and "moves" in found.parameters().per_splat:
        values["moving_splats"] = int((found.parameters().per_splat["moves"] > 0).sum())
    if hasattr(found, "edge_variance"):
        values["edge_variance"] = found.edge_variance()
    strip = film_strip(found, scene, held_out(scene)[:6])
    write_png(OUT / "moving" / f"{which}_{label.replace(' ', '_')}_{seed}.png", strip)
    print(which, label, seed, json.dumps(values, default=float), flush=True)
    return values


def shuffled(scene: MovingScene, seed: int) -> MovingScene:
    """The same photos with each other's times."""
    assert scene.cameras.time is not None
    times = np.random.default_rng(seed).permutation(scene.cameras.time)
    return replace(scene, cameras=replace(scene.cameras, time=times))


def add_ratios(runs: dict[str, list[dict[str, float]]]) -> None:
    """What each gains over the still scene with the same seed, and how much faster it renders than kplanes."""
    for label, rows in runs.items():
        for i, values in enumerate(rows):
            if "gs" in runs and label != "gs":
                for key in ("psnr_moving", "psnr_static"):
                    values[f"{key}_gain"] = values[key] - runs["gs"][i][key]
            if "kplanes" in runs:
                values["faster_than_kplanes"] = runs["kplanes"][i]["cpu_per_frame"] / values["cpu_per_frame"]


def captured(args: argparse.Namespace) -> dict[str, Any]:
    """A real capture."""
    folder = args.workspace or (published() if args.what == "nrnerf" else None)
    if folder is None:
        sys.exit(
            "Give -w DIR: recon ingest VIDEOS -w DIR with their calibration, recon sfm -w DIR and recon align -w DIR make it."
        )
    workspace = Workspace(folder)
    capture, posed = workspace.load("ingest"), workspace.load("align")
    if posed.model.cameras.time is None:
        index = {name: i / 30.0 for i, name in enumerate(capture.names)}
        times = np.array([index[name] for name in posed.model.names])
        posed = replace(posed, model=replace(posed.model, cameras=replace(posed.model.cameras, time=times)))
    return {name: [real(args, capture, posed, name, seed) for seed in args.seeds] for name in args.scenes}


def real(args: argparse.Namespace, capture: Any, posed: Any, name: str, seed: int) -> dict[str, Any]:
    """Train one scene and judge it on the held-out photos."""
    chosen = options(args, name, seed, 384, 40_000)
    with tempfile.TemporaryDirectory() as folder:
        data = training_data(capture, posed, chosen, Path(folder))
        config = config_of(name)(**changes(args, name))
        found = trained(
            prepare(config, initial_scene(posed, data, chosen), data, chosen, clock=time.process_time), name
        )
    names = [n for n, test in zip(capture.names, capture.test, strict=True) if test and n in posed.model.names]
    views = [render_view(posed, found, n, (0.0, 0.0, 0.0)) for n in names]
    values: dict[str, Any] = {"psnr": mean([over(v, v.valid) for v in views])}
    if args.masks is not None:
        moving = [moving_mask(args.masks / f"{n}.png", v) for n, v in zip(names, views, strict=True)]
        values["psnr_moving"] = mean([over(v, v.valid & m) for v, m in zip(views, moving, strict=True)])
        values["psnr_static"] = mean([over(v, v.valid & ~m) for v, m in zip(views, moving, strict=True)])
    if hasattr(found, "at"):
        values["splats"] = len(found.at())
    picked = views[:: max(1, len(views) // 6)][:6]
    strip = [np.concatenate([v.target, v.rgb, np.minimum(1, 2 * np.abs(v.target - v.rgb))]) for v in picked]
    write_png(OUT / "moving" / f"{args.what}_{name}_{seed}.png", np.concatenate(strip, 1))
    print(args.what, name, seed, json.dumps(values, default=float), flush=True)
    return values


def over(view: View, pixels: np.ndarray) -> float:
    return psnr(view.target[pixels], view.rgb[pixels]) if pixels.any() else float("nan")


def mean(values: list[float]) -> float:
    return float(np.nanmean(values))


def moving_mask(path: Path, view: View) -> np.ndarray:
    """bool[H, W] at the view's size; a photo without a file has nothing that moves."""
    import cv2

    if not path.is_file():
        return np.zeros_like(view.valid)
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    height, width = view.valid.shape
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) > 127


def published() -> Path:
    """A workspace of the NR-NeRF example sequence with its published poses, made once."""
    source, made, folder = datasets() / "nrnerf_example_sequence", OUT / "nrnerf", OUT / "nrnerf" / "ws"
    if (folder / "align" / "stage.json").is_file():
        return folder
    poses = llff(source).cam_from_world
    height, width, focal = (row[4] for row in json.loads((source / "precomputed.json").read_text())["poses"][0])
    frames = []
    (made / "source" / "images").mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(sorted(poses)):
        link = made / "source" / "images" / name
        if not link.exists():
            link.symlink_to(source / "images" / name)
        world_from_cam = se3_inverse(poses[name])
        world_from_cam[:3, :3] = world_from_cam[:3, :3] @ OPENCV_FROM_OPENGL
        frames.append({"file_path": f"images/{name}", "transform_matrix": world_from_cam.tolist(), "time": i / 30})
    head = {"w": int(width), "h": int(height), "fl_x": focal, "fl_y": focal, "cx": width / 2, "cy": height / 2}
    (made / "source" / "transforms.json").write_text(json.dumps(head | {"frames": frames}))
    for words in (["ingest", str(made / "source")], ["sfm"], ["align"]):
        subprocess.run([sys.executable, "-m", "recon", *words, "-w", str(folder)], check=True, cwd=ROOT)
    return folder


if __name__ == "__main__":
    main()
