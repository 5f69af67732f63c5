"""Radiance fields beside each other and beside splats: python tests/bench/bench_fields.py lego100 --budget 600 --seeds 0 1 2

Budgets are CPU seconds (user and system, all threads) of the training loop; set-up and evaluation are outside.
lego100: what ngp reaches in a fifth of nerf's budget. lego200: ngp alone. fox240: ngp, and gs in a tenth
of its budget, and how much faster gs renders.
unbounded: a made-up scene of spheres 1 to 60 units away: mip360 with and without contraction (PSNR of far pixels), with and
without integrated encoding at a quarter of the resolution. ablations: ngp on lego at 100 px with a table of 2^6 rows, without
occupancy, and what occupancy saves in queries and costs in PSNR beside a mask that is wrong.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_train import Suite, posed
from common import OUT, cpu_seconds, record
from numpy.typing import NDArray

from recon.cameras import Cameras, fit_size
from recon.geometry import se3, se3_inverse
from recon.sparse import Observations, SparseModel
from render.evaluate import BACKGROUNDS, compare, psnr, render_view
from render.kernels.warm import warm_up
from render.options import TrainOptions
from render.scenes import config_of
from render.stage_train import initial_scene, training_data
from render.train import prepare, train
from tests.fabricate import ring_capture
from tests.synthetic_scene import Posed, write

OPTIONS = TrainOptions(steps=None, device="cpu", coarse_to_fine="off")
LEGO, FOX = "nerf_synthetic_lego_400", "fox/images"
ROUNDS = 10
"""How often views are drawn to know what one costs: CPU seconds are counted in hundredths."""
SIDE, FAR = 96, 8.0
"""Longer side of the unbounded scene's photos, and the z from which on its pixels are far."""


@dataclass(frozen=True)
class Trained:
    """A scene and what it took."""

    scene: Any
    steps: int
    cpu: float


def fit(capture: Any, reconstruction: Any, options: TrainOptions, budget: float, config: dict[str, Any]) -> Trained:
    """Train a scene for `budget` CPU seconds."""
    folder = OUT / "fields"
    folder.mkdir(parents=True, exist_ok=True)
    options = replace(options, minutes=budget / 60)
    data = training_data(capture, reconstruction, options, folder)
    init = initial_scene(reconstruction, data, options)
    run = prepare(config_of(options.scene)(**config), init, data, options, clock=cpu_seconds)
    run.scene.info = {"background": (0.0, 0.0, 0.0), "long_side": int(data.cameras.size.max())}
    for _ in train(run):
        pass
    run.scene.finish()
    return Trained(run.scene, run.pace.step, run.pace.spent)


def held_out(capture: Any, reconstruction: Any) -> list[str]:
    return [n for n, t in zip(capture.names, capture.test, strict=True) if t and n in reconstruction.model.names]


def measured_on(trained: Trained, reconstruction: Any, names: list[str]) -> dict[str, float]:
    """Mean PSNR of views, and CPU seconds of rendering one (of rendering alone: photos are read outside)."""
    model, side = reconstruction.model, trained.scene.info["long_side"]
    cameras = [model.cameras[model.names.index(name)] for name in names[:3]]
    cameras = [camera.resized(fit_size(camera.size, side)[0]) for camera in cameras]
    trained.scene.render(cameras[0])
    before = cpu_seconds()
    for _ in range(ROUNDS):
        for camera in cameras:
            trained.scene.render(camera)
    per_view = (cpu_seconds() - before) / (ROUNDS * len(cameras))
    scores = [compare(render_view(reconstruction, trained.scene, n, BACKGROUNDS["white"])).psnr for n in names]
    return {"psnr": float(np.mean(scores)), "steps": trained.steps, "cpu": trained.cpu, "cpu_per_view": per_view}


def real(source: str, long_side: int, runs: dict[str, float], seeds: list[int], most: int) -> dict[str, Any]:
    """Scenes by name, each for its CPU seconds, on one capture; `most` held-out views are measured."""
    capture, reconstruction = posed(source, Suite(source, OPTIONS, ()))
    names = held_out(capture, reconstruction)
    names = names[:: max(1, len(names) // most)][:most]
    values = {}
    for scene, budget in runs.items():
        options = replace(OPTIONS, scene=scene, long_side=long_side)
        found = [
            measured_on(fit(capture, reconstruction, replace(options, seed=s), budget, {}), reconstruction, names)
            for s in seeds
        ]
        mean = statistics.mean(f["psnr"] for f in found)
        print(
            f"{source} {long_side} px {scene:8} {budget:6g} CPU s  {mean:6.2f} dB  {found[0]['steps']} steps",
            flush=True,
        )
        values[scene] = {"budget": budget, "mean": mean, "runs": found}
    return values


NGP_ABLATIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "T = 2^6": {"log2_size": 6},
    "no occupancy": {"occupancy": False},
}


def ngp_ablations(source: str, long_side: int, budget: float, seeds: list[int], most: int) -> dict[str, Any]:
    """ngp and its switches at one budget, and of the first what passing over empty cells saves and costs."""
    capture, reconstruction = posed(source, Suite(source, OPTIONS, ()))
    names = held_out(capture, reconstruction)
    names = names[:: max(1, len(names) // most)][:most]
    values: dict[str, Any] = {}
    for label, config in NGP_ABLATIONS.items():
        found = []
        for seed in seeds:
            options = replace(OPTIONS, scene="ngp", long_side=long_side, seed=seed)
            trained = fit(capture, reconstruction, options, budget, config)
            result = measured_on(trained, reconstruction, names) | {"trained_on": trained.scene.queries}
            found.append(result | (masks_of(trained.scene, reconstruction, names) if label == "as it is" else {}))
        mean = {key: statistics.mean(f[key] for f in found) for key in found[0]}
        values[label] = {"mean": mean, "runs": found}
        print(f"ngp {label:14} " + "  ".join(f"{k} {v:.6g}" for k, v in mean.items()), flush=True)
    mean = values["as it is"]["mean"]
    values["table_db"] = mean["psnr"] - values["T = 2^6"]["mean"]["psnr"]
    values["occupancy_saves"] = mean["all_queries"] / mean["own_queries"]
    values["occupancy_costs_db"] = mean["all_psnr"] - mean["own_psnr"]
    values["rolled_costs_db"] = mean["all_psnr"] - mean["rolled_psnr"]
    return values


def masks_of(scene: Any, reconstruction: Any, names: list[str]) -> dict[str, float]:
    """PSNR of views of one scene, and the places it is asked at, passing over the cells that it found to be empty (own), over
    none (all), and over as many others (rolled by half the grid: the negative control)."""
    own, march, values, asked = scene.occupancy.mask, scene._march, {}, []

    def counted(rays: Any) -> Any:
        found = march(rays)
        asked.append(len(found[0]))
        return found

    half = len(own) // 2
    scene._march = counted
    for label, mask in {"own": own, "all": own * 0 + 1, "rolled": own.roll((half, half, half), (0, 1, 2))}.items():
        asked.clear()
        scene.occupancy.mask = mask
        views = [render_view(reconstruction, scene, name, BACKGROUNDS["white"]) for name in names]
        values |= {f"{label}_psnr": float(np.mean([compare(v).psnr for v in views])), f"{label}_queries": sum(asked)}
    scene.occupancy.mask, scene._march = own, march
    return values


# The scene without an end


def spheres() -> tuple[NDArray, NDArray, NDArray]:
    """Centres [N, 3], radii [N] and colours [N, 3]: a few within 1 of the origin, the others up to 60 away, as wide seen."""
    rng = np.random.default_rng(3)
    away = np.concatenate([rng.uniform(0, 0.8, 8), np.exp(rng.uniform(np.log(8), np.log(60), 60))])
    direction = rng.normal(size=(len(away), 3)) * [1, 1, 0.35]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * away[:, None], np.maximum(0.3, 0.18 * away), rng.random((len(away), 3))


def photograph(cameras: Cameras, index: int, fine: int = 3) -> tuple[NDArray, NDArray]:
    """rgb f64[H, W, 3], each pixel the mean of fine^2, and z f64[H, W] at its middle (inf: the sky)."""
    width, height = (int(s) for s in cameras.size[index])
    offsets = (np.arange(fine) + 0.5) / fine
    x, y = np.arange(width)[:, None] + offsets, np.arange(height)[:, None] + offsets
    u, v = np.meshgrid(x.ravel(), y.ravel())
    origin, direction = cameras.rays(index, np.stack([u, v], -1))
    rgb = np.array([0.5, 0.7, 0.9]) * (0.75 + 0.25 * direction[..., 2:])
    nearest = np.full(direction.shape[:2], np.inf)
    for center, radius, color in zip(*spheres(), strict=True):
        along = (center - origin) @ direction.reshape(-1, 3).T
        inside = radius**2 - ((center - origin) ** 2).sum() + along**2
        t = np.where((inside > 0) & (along > 0), along - np.sqrt(np.maximum(inside, 0)), np.inf).reshape(nearest.shape)
        hit = (t < nearest) & (t > 0)
        place = origin + direction[hit] * t[hit][:, None]
        stripes = 0.75 + 0.25 * np.sign(np.sin(6 * (place - center) @ [1.0, 0.6, 0.8] / radius))
        rgb[hit], nearest[hit] = color * stripes[:, None], t[hit]
    blocks = rgb.reshape(height, fine, width, fine, 3).mean((1, 3))
    return blocks, nearest[fine // 2 :: fine, fine // 2 :: fine]


def unbounded_capture(root: Path, count: int = 40) -> tuple[Any, Posed, dict[str, tuple[NDArray, NDArray]]]:
    """The capture, its model, and (rgb, distance) of the held-out photos by name."""
    angle = 2 * np.pi * np.arange(count) / count
    height = 0.6 + 0.5 * np.sin(3 * angle)
    centers = np.stack([3 * np.cos(angle), 3 * np.sin(angle), height], -1)
    forward = -centers / np.linalg.norm(centers, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    poses = se3_inverse(se3(np.stack([right, np.cross(forward, right), forward], -1), centers))
    size = np.tile(np.array([SIDE, SIDE * 3 // 4], np.int32), (count, 1))
    k = np.tile(np.array([[0.7 * SIDE, 0, SIDE / 2], [0, 0.7 * SIDE, SIDE * 3 / 8], [0, 0, 1]]), (count, 1, 1))
    cameras, names = Cameras(poses, k, size), tuple(f"{i:03}.jpg" for i in range(count))
    truth = {name: photograph(cameras, i) for i, name in enumerate(names)}
    for name, (rgb, _) in truth.items():
        write(root / "images" / f"{name}.png", rgb)
    xyz, radius, color = spheres()
    rng = np.random.default_rng(0)
    around = rng.normal(size=(4, *xyz.shape))
    around /= np.linalg.norm(around, axis=-1, keepdims=True)
    points = (xyz + radius[:, None] * around).reshape(-1, 3)
    xy, z = cameras.project(points)
    camera, point = np.nonzero((z > 0) & ((xy >= 0) & (xy < size[:, None])).all(-1))
    seen = Observations(camera.astype(np.int32), point.astype(np.int32), xy[camera, point].astype(np.float32))
    rgb = np.tile((255 * color).astype(np.uint8), (4, 1))
    model = SparseModel(names, cameras, points, rgb, np.ones(len(points), np.float32), seen)
    return ring_capture(root, names, every=8), Posed(model, root / "images"), truth


def unbounded(budget: float, seeds: list[int]) -> dict[str, Any]:
    """mip360 and its switches; `far` and `near`: PSNR of pixels beyond and before FAR; `quarter`: at 1/4 of the size."""
    capture, reconstruction, truth = unbounded_capture(OUT / "fields" / "unbounded")
    names, values = held_out(capture, reconstruction), {}
    for label, config in {
        "as it is": {},
        "no contraction": {"contraction": False},
        "PE": {"integrated": False},
    }.items():
        found = []
        for seed in seeds:
            options = replace(OPTIONS, scene="mip360", long_side=SIDE, seed=seed)
            trained = fit(capture, reconstruction, options, budget, config)
            found.append(by_distance(trained.scene, reconstruction, names, truth) | {"steps": trained.steps})
        values[label] = {"mean": {k: statistics.mean(f[k] for f in found) for k in found[0]}, "runs": found}
        print(
            f"unbounded {label:16} " + "  ".join(f"{k} {v:.2f}" for k, v in values[label]["mean"].items()), flush=True
        )
    mean = {label: value["mean"] for label, value in values.items()}
    values["contraction_far_db"] = mean["as it is"]["far"] - mean["no contraction"]["far"]
    values["ipe_quarter_db"] = mean["as it is"]["quarter"] - mean["PE"]["quarter"]
    return values


def by_distance(scene: Any, reconstruction: Posed, names: list[str], truth: dict[str, Any]) -> dict[str, float]:
    columns: dict[str, list[tuple[NDArray, NDArray]]] = {"all": [], "far": [], "near": [], "quarter": []}
    for name in names:
        camera = reconstruction.model.cameras[reconstruction.model.names.index(name)]
        rgb, t = truth[name]
        drawn = scene.render(camera).rgb[0].clamp(0, 1).numpy()
        columns["all"].append((rgb.reshape(-1, 3), drawn.reshape(-1, 3)))
        columns["far"].append((rgb[t > FAR], drawn[t > FAR]))
        columns["near"].append((rgb[t <= FAR], drawn[t <= FAR]))
        small = camera.resized(camera.size[0] // 4)
        height, width = rgb.shape[0] // 4, rgb.shape[1] // 4
        shrunk = rgb.reshape(height, 4, width, 4, 3).mean((1, 3))
        columns["quarter"].append(
            (shrunk.reshape(-1, 3), scene.render(small).rgb[0].clamp(0, 1).numpy().reshape(-1, 3))
        )
    return {k: psnr(*(np.concatenate(side) for side in zip(*pairs, strict=True))) for k, pairs in columns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=["lego100", "lego200", "fox240", "unbounded", "ablations"])
    parser.add_argument("--budget", type=float, help="CPU seconds; default: 600 for lego100 and unbounded, else 900")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--scenes", nargs="+", help="instead of those that the suite compares")
    parser.add_argument("--views", type=int, default=25, help="held-out views that are measured, at most")
    args = parser.parse_args()
    budget = args.budget or (600.0 if args.suite in ("lego100", "unbounded") else 900.0)
    warm_up()
    started = time.monotonic()
    if args.suite == "unbounded":
        values = unbounded(budget, args.seeds)
    elif args.suite == "ablations":
        values = ngp_ablations(LEGO, 100, args.budget or 120.0, args.seeds, args.views)
    else:
        source, side, runs = {
            "lego100": (LEGO, 100, {"nerf": budget, "ngp": budget / 5}),
            "lego200": (LEGO, 200, {"ngp": budget}),
            "fox240": (FOX, 240, {"gs": budget / 10, "ngp": budget}),
        }[args.suite]
        runs = {name: runs.get(name, budget) for name in args.scenes or runs}
        values = real(source, side, runs, args.seeds, args.views)
        if {"ngp", "gs"} <= set(values):
            per = {name: statistics.mean(r["cpu_per_view"] for r in values[name]["runs"]) for name in ("ngp", "gs")}
            values["gs_renders_faster"] = per["ngp"] / per["gs"]
    values["wall_seconds"] = time.monotonic() - started
    record(f"fields_{args.suite}", values, seeds=args.seeds)


if __name__ == "__main__":
    main()
