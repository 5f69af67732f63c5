"""Radiance fields beside each other and beside splats: python tests/bench/bench_fields.py lego100 --budget 600 --seeds 0 1 2

Budgets are CPU seconds (user and system, all threads) of the training loop; set-up and evaluation are outside.
lego100: what ngp reaches in a fifth of nerf's budget. lego200: ngp alone. fox240: ngp, and gs in a tenth
of its budget, and how much faster gs renders.
unbounded: a made-up scene of spheres 1 to 60 units away: mip360 as it is, and with one thing off or wrong at a time: contraction
(PSNR of far pixels), samples even in 1 / t, integrated encoding (PSNR at a quarter of the resolution); `--scenes` picks rows.
ablations: ngp on lego at 100 px with a table of 2^6 rows, without
occupancy, and what occupancy saves in queries and costs in PSNR beside a mask that is wrong.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from bench_train import Suite, posed
from common import OUT, cpu_seconds, record
from unbounded import FULL, SIDE, VARIANTS, by_distance, moved, unbounded_capture

from recon.cameras import fit_size
from render.evaluate import BACKGROUNDS, compare, render_view
from render.initial import SceneInit
from render.kernels.warm import warm_up
from render.options import TrainOptions
from render.scenes import config_of
from render.stage_train import initial_scene, training_data
from render.train import prepare, train

OPTIONS = TrainOptions(steps=None, device="cpu", coarse_to_fine="off")
LEGO, FOX = "nerf_synthetic_lego_400", "fox/images"
ROUNDS = 10
"""How often views are drawn to know what one costs: CPU seconds are counted in hundredths."""


@dataclass(frozen=True)
class Trained:
    """A scene and what it took."""

    scene: Any
    steps: int
    cpu: float


def fit(
    capture: Any,
    reconstruction: Any,
    options: TrainOptions,
    budget: float,
    config: dict[str, Any],
    change: Callable[[SceneInit], SceneInit] = lambda init: init,
) -> Trained:
    """Train a scene for `budget` CPU seconds, from what `change` makes of its start."""
    folder = OUT / "fields"
    folder.mkdir(parents=True, exist_ok=True)
    options = replace(options, minutes=budget / 60)
    data = training_data(capture, reconstruction, options, folder)
    init = change(initial_scene(reconstruction, data, options))
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


# The scene without an end (unbounded.py)


def unbounded(budget: float, seeds: list[int], only: list[str] | None) -> dict[str, Any]:
    """mip360 as it is and with one thing changed; PSNR of far and of near pixels, of the sky, and at a quarter of the size."""
    capture, reconstruction, truth = unbounded_capture(OUT / "fields" / "unbounded")
    names, values = held_out(capture, reconstruction), {}
    for label, (config, center) in VARIANTS.items():
        if only and label not in only:
            continue
        found = []
        for seed in seeds:
            options = replace(OPTIONS, scene="mip360", long_side=SIDE, seed=seed)
            trained = fit(capture, reconstruction, options, budget, config, moved(center))
            found.append(by_distance(trained.scene, reconstruction, names, truth) | {"steps": trained.steps})
        values[label] = {"mean": {k: statistics.mean(f[k] for f in found) for k in found[0]}, "runs": found}
        print(
            f"unbounded {label:22} " + "  ".join(f"{k} {v:.2f}" for k, v in values[label]["mean"].items()), flush=True
        )
    for label in [label for label in values if label != FULL and FULL in values]:
        runs = zip(values[FULL]["runs"], values[label]["runs"], strict=True)
        lost = [{k: a[k] - b[k] for k in ("all", "far", "near", "quarter")} for a, b in runs]
        values[label]["lost_db"] = {k: statistics.mean(row[k] for row in lost) for k in lost[0]}
        values[label]["lost_db_by_seed"] = lost
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=["lego100", "lego200", "fox240", "unbounded", "ablations"])
    parser.add_argument(
        "--budget", type=float, help="CPU seconds; default: 40 for unbounded, 600 for lego100, else 900"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--scenes", nargs="+", help="instead of those that the suite compares")
    parser.add_argument("--views", type=int, default=25, help="held-out views that are measured, at most")
    args = parser.parse_args()
    budget = args.budget or {"unbounded": 40.0, "lego100": 600.0}.get(args.suite, 900.0)
    warm_up()
    started = time.monotonic()
    if args.suite == "unbounded":
        values = unbounded(budget, args.seeds, args.scenes)
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
