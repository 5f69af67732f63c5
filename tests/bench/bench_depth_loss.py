"""What depth maps change in training, at the same CPU budget: python tests/bench/bench_depth_loss.py fox --seeds 0 1 2

For each weight (0: off) and seed: PSNR of the held-out photos; their consistency, the share of the pixels of a held-out camera's
rendered median z that its neighbours' renderings have at the same place (1 % of z), of those that see it or look through
it; on the sample capture also the error of the z against the truth, for the photos whose truth is known, which are
held out as well. Budgets are CPU seconds of the training loop; the depth maps and the points from them are counted beside it.
With --validate every 8th training photo stands in for the held-out ones, before depth is measured: that is how the weight is
chosen. What is made on the way is kept below build/bench.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from bench_train import FOX, Suite, posed, validation
from common import OUT, cpu_seconds, measured, record

from recon.cameras import Cameras
from recon.capture import Capture
from recon.depth import DepthMaps, DepthOptions, depth, load_maps
from recon.geometry import World, fit_sim3
from recon.job import Job
from recon.kernels.jit import spread
from recon.mesh.consistency import TOLERANCE, neighbours_of
from recon.mesh.consistency import compare as count
from recon.reconstruction import Reconstruction
from recon.sample import sample_cameras, sample_photos, sample_z
from render.evaluate import BACKGROUNDS, compare, render_view
from render.kernels.warm import warm_up
from render.options import TrainOptions
from render.rasterize import rasterize
from render.scene import SplatScene
from render.scenes import config_of
from render.stage_train import depth_targets, initial_scene, training_data
from render.train import prepare, train

SUITES = {
    "fox": Suite("fox/images", replace(FOX, long_side=480, splats=60_000), (120,)),
    "sample": Suite(str(sample_photos()), replace(FOX, long_side=480, splats=60_000), (120,)),
}


@dataclass(frozen=True)
class Place:
    """What is trained on, and judged."""

    capture: Capture
    reconstruction: Reconstruction
    maps: DepthMaps
    views: list[str]
    """Names of the photos that are judged; none of them is trained on, or was looked at for depth."""
    truth: dict[str, np.ndarray]
    """z of some of them, f64[H, W], metres, NaN where unknown."""


def open_place(name: str, long_side: int, validate: bool) -> Place:
    """The capture, its cameras and its depth maps, each made once."""
    capture, reconstruction = posed(name, SUITES[name])
    truth = {}
    if name == "sample":
        truth = sample_z()
        split = tuple("test" if n in truth else s for n, s in zip(capture.names, capture.split, strict=True))
        capture = replace(capture, split=split)
        reconstruction = replace(reconstruction, model=in_metres(reconstruction))
    if validate:
        capture, views = validation(capture, reconstruction)
        truth = {}
    else:
        names = reconstruction.model.names
        views = [n for n, t in zip(capture.names, capture.test, strict=True) if t and n in names]
    folder = OUT / "depth_loss" / f"{name}_{'validation' if validate else 'test'}_{long_side}"
    if not (folder / "done").is_file():
        with measured() as spent:
            depth(capture, reconstruction, DepthOptions(depth_long_side=long_side), Job(folder))
        (folder / "done").write_text(f"{spent.cpu}")
    return Place(capture, reconstruction, load_maps(folder), views, truth)


def in_metres(reconstruction: Reconstruction) -> Any:
    """The sample's model, put onto its true cameras by a similarity."""
    names, cameras = sample_cameras()
    rows = [names.index(n) for n in reconstruction.model.names]
    metres_from_model = fit_sim3(cameras.centers[rows], reconstruction.model.cameras.centers)
    return reconstruction.model.transformed(metres_from_model, World("metric"))


def one_run(place: Place, options: TrainOptions, budget: float) -> dict[str, Any]:
    """Train for `budget` CPU seconds, and judge."""
    import torch

    torch.set_num_threads(2)
    options = replace(options, minutes=budget / 60)
    (OUT / "train").mkdir(parents=True, exist_ok=True)
    data = training_data(place.capture, place.reconstruction, options, OUT / "train")
    with measured() as spent:
        targets = depth_targets(place.maps, data, options)
        init = initial_scene(place.reconstruction, data, options, targets)
    run = prepare(config_of(options.scene)(), init, data, options, depth=targets, clock=cpu_seconds)
    run.scene.info = {"background": (0.0, 0.0, 0.0), "long_side": int(data.cameras.size.max())}
    for _ in train(run):
        pass
    scene: Any = run.scene
    scene.finish()
    scores = [compare(render_view(place.reconstruction, scene, n, BACKGROUNDS["white"])).psnr for n in place.views]
    return {
        "psnr": float(np.mean(scores)),
        **judge_z(place, scene),
        "steps": run.pace.step,
        "start": len(init.xyz),
        "splats": len(scene.at()),
        "cpu": run.pace.spent,
        "setup_cpu": spent.cpu,
    }


def judge_z(place: Place, scene: SplatScene) -> dict[str, float]:
    """Consistency of the median z of the held-out cameras, and its error where the truth is known."""
    model, long_side = place.reconstruction.model, int(scene.info["long_side"])
    cameras = model.cameras.resized(np.rint(model.cameras.size * long_side / model.cameras.size.max()).astype(np.int32))
    seen: dict[int, np.ndarray] = {}
    yes_total, no_total, errors = 0, 0, []
    for name in place.views:
        i = model.names.index(name)
        for j in (i, *neighbours_of(cameras, i)):
            seen.setdefault(int(j), median_z(scene, cameras[int(j)]))
        yes, no = np.zeros((2, *seen[i].shape), np.int32)
        for j in neighbours_of(cameras, i):
            pose = cameras.cam_from_world[j] @ cameras.world_from_cam[i]
            given = (seen[i], seen[int(j)], cameras.K[i], cameras.K[j], pose, TOLERANCE, yes, no)
            spread(count, len(seen[i]), *given)
        yes_total, no_total = yes_total + int(yes.sum()), no_total + int(no.sum())
        if name in place.truth:
            true = place.truth[name]
            rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in zip(seen[i].shape, true.shape, strict=True))
            true = true[rows.astype(int)[:, None], columns.astype(int)]
            known = np.isfinite(true) & (seen[i] > 0)
            errors.append(np.abs(seen[i] / true - 1)[known])
    out = {"consistent": yes_total / max(yes_total + no_total, 1)}
    if errors:
        error = np.concatenate(errors)
        out |= {"z_median_error": float(np.median(error)), "z_within_1_percent": float((error < 0.01).mean())}
    return out


def median_z(scene: SplatScene, camera: Cameras) -> np.ndarray:
    """f32[H, W], 0 where there is none."""
    import torch

    with torch.no_grad():
        drawn = rasterize(scene.at(), camera, sh_degree=0, near=scene.setup.near, median=0.5)
    return np.nan_to_num(drawn.extra["median_z"][0].numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=list(SUITES))
    parser.add_argument("--weights", nargs="+", type=float, default=[0.0, 1.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budgets", nargs="+", type=float, help="CPU seconds of the training loop")
    parser.add_argument("--long-side", type=int, default=DepthOptions().depth_long_side, help="of the depth maps")
    parser.add_argument("--validate", action="store_true", help="judge on training photos, as for choosing settings")
    args = parser.parse_args()
    warm_up()
    for name in args.sets:
        place, values = open_place(name, args.long_side, args.validate), []
        for budget in args.budgets or SUITES[name].budgets:
            for weight in args.weights:
                options = replace(SUITES[name].options, depth_weight=weight)
                runs = [one_run(place, replace(options, seed=seed), budget) for seed in args.seeds]
                mean = {key: statistics.fmean(r[key] for r in runs) for key in runs[0]}
                print(f"{name} {budget:g} s weight {weight:g}", {k: round(v, 4) for k, v in mean.items()}, flush=True)
                values.append({"budget": budget, "weight": weight, "mean": mean, "runs": runs})
        record(f"depth_loss_{name}{'_validation' if args.validate else ''}", values, seeds=args.seeds)


if __name__ == "__main__":
    main()
