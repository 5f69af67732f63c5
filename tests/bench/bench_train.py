"""What training reaches, and at what cost: python tests/bench/bench_train.py fox480 --seeds 0 1 2

Budgets are CPU seconds (user and system, all threads) of the training loop; set-up and evaluation are outside. Without
--validate the held-out photos are the real ones; with it, every 8th training photo stands in for them and they are not
looked at, which is how settings are chosen. Suites: fox480, fox960, lego, fountain, temple, ablations. Renders are
written beside photos into build/bench/train/.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from common import OUT, cpu_seconds, datasets, record

from recon.capture import Capture
from recon.job import Job
from recon.reconstruction import Reconstruction
from recon.sparse import Observations
from render.evaluate import BACKGROUNDS, compare, render_view, write_png
from render.kernels.warm import warm_up
from render.options import TrainOptions
from render.scenes import config_of
from render.stage_train import initial_scene, training_data
from render.train import prepare, train


@dataclass(frozen=True)
class Suite:
    """One capture at one size, trained for several budgets."""

    source: str
    """Below RECON_DATASETS."""
    options: TrainOptions
    budgets: tuple[float, ...]
    """CPU seconds."""
    goals: tuple[str, ...] = ()
    """What is to be reached, for the table."""
    points: bool = True
    """False: the reconstruction's points are not used; training starts from random ones."""


FOX = TrainOptions(steps=None, device="cpu")
SUITES = {
    "fox480": Suite(
        "fox/images",
        replace(FOX, long_side=480, splats=60_000),
        (15, 60, 120, 240, 600),
        ("26.5", "29.5", "31.0", "31.3", "(31.8)"),
    ),
    "fox960": Suite("fox/images", replace(FOX, long_side=960), (110, 280, 600), ("28.8", "30.3", "31")),
    "lego": Suite("nerf_synthetic_lego_400", replace(FOX, long_side=400), (170, 320, 600), ("32", "33", "34"), False),
    "fountain": Suite("strecha2008_halfres/fountain-P11/images", replace(FOX, long_side=640), (60, 240)),
    "temple": Suite("middlebury_templeRing", replace(FOX, long_side=640), (60, 240)),
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no densification": {"densify": "off"},
    "resolution not coarse to fine": {"coarse_to_fine": "sh"},
    "SH not coarse to fine": {"coarse_to_fine": "resolution"},
    "exposure compensation": {"exposure": True},
    "poses refined": {"refine_poses": True},
    "anti-aliased": {"antialiased": True},
    "SH degree 0": {"sh_degree": 0},
}
CONFIG_ABLATIONS: dict[str, dict[str, Any]] = {
    "no noise": {"noise": 0.0},
    "no scale penalty": {"scale_penalty": 0.0},
    "opacity penalty of 3DGS-MCMC": {"opacity_penalty": 0.01},
    "growth by opacity alone": {"error_power": 0.0},
    "copies in one place": {"spread": 0.0},
}


def posed(name: str, suite: Suite) -> tuple[Capture, Reconstruction]:
    """The capture and its reconstruction, made once by recon itself and kept under build/bench/posed."""
    from recon.ingest import IngestOptions, ingest
    from recon.sfm import SfmOptions, load_sfm, sfm

    folder = OUT / "posed" / suite.source.replace("/", "_")
    capture = ingest(datasets() / suite.source, IngestOptions(), Job(folder / "ingest"))
    capture = hold_out(capture)
    if not (folder / "done").is_file():
        job = Job(folder / "sfm")
        sfm(capture, SfmOptions(), job)
        job.finish()
        (folder / "done").touch()
    reconstruction = load_sfm(folder / "sfm")
    if not suite.points:
        model, none = reconstruction.model, Observations.none()
        empty = np.zeros((0, 3))
        model = replace(model, xyz=empty, rgb=empty.astype(np.uint8), error=np.zeros(0, np.float32), observations=none)
        reconstruction = replace(reconstruction, model=model)
    return capture, reconstruction


def hold_out(capture: Capture) -> Capture:
    """Every 8th photo is held out even of captures that are too small for recon to do so."""
    if capture.test.any():
        return capture
    return replace(capture, split=tuple("test" if i % 8 == 0 else "train" for i in range(len(capture))))


def validation(capture: Capture, reconstruction: Reconstruction) -> tuple[Capture, list[str]]:
    """The capture with every 8th training photo held out as well, and their names: the true test photos are not looked at."""
    train_names = [n for n, t in zip(capture.names, capture.test, strict=True) if not t]
    views = train_names[3::8]
    split = tuple("test" if t or n in views else "train" for n, t in zip(capture.names, capture.test, strict=True))
    return replace(capture, split=split), [n for n in views if n in reconstruction.model.names]


@dataclass(frozen=True)
class Result:
    """One training run."""

    psnr: float
    ssim: float
    psnr_affine: float
    steps: int
    splats: int
    cpu: float
    views: dict[str, float]


def run(
    capture: Capture,
    reconstruction: Reconstruction,
    views: list[str],
    options: TrainOptions,
    budget: float,
    config: dict[str, Any],
    pictures: Path | None = None,
) -> Result:
    """Train for `budget` CPU seconds and measure the views."""
    import torch

    torch.set_num_threads(2)
    options = replace(options, minutes=budget / 60)
    (OUT / "train").mkdir(parents=True, exist_ok=True)
    data = training_data(capture, reconstruction, options, OUT / "train")
    init = initial_scene(reconstruction, data, options)
    training = prepare(config_of(options.scene)(**config), init, data, options, clock=cpu_seconds)
    training.scene.info = {"background": (0.0, 0.0, 0.0), "long_side": int(data.cameras.size.max())}
    for _ in train(training):
        pass
    scene: Any = training.scene
    scene.finish()
    scores = {}
    for name in views:
        view = render_view(reconstruction, scene, name, BACKGROUNDS["white"])
        scores[name] = compare(view)
        if pictures is not None:
            error = np.repeat(np.abs(view.target - view.rgb).mean(-1, keepdims=True), 3, -1)
            write_png(pictures / f"{Path(name).stem}.png", np.concatenate([view.target, view.rgb, 4 * error], 1))
    mean = {key: float(np.mean([getattr(s, key) for s in scores.values()])) for key in ("psnr", "ssim", "psnr_affine")}
    steps, splats = training.pace.step, len(scene.at())
    per_view = {name: score.psnr for name, score in scores.items()}
    return Result(**mean, steps=steps, splats=splats, cpu=training.pace.spent, views=per_view)


def line(label: str, results: list[Result], goal: str = "") -> str:
    psnr, ssim = [r.psnr for r in results], [r.ssim for r in results]
    spread = f" +- {statistics.stdev(psnr):.2f}" if len(psnr) > 1 else ""
    worst = min(results[0].views, key=lambda n: results[0].views[n])
    return (
        f"{label:32} {statistics.mean(psnr):6.2f}{spread} dB  SSIM {statistics.mean(ssim):.4f}  {results[0].steps:6} steps "
        f"{results[0].splats:7} splats  {statistics.mean([r.cpu for r in results]):6.1f} CPU s  "
        f"worst {worst} {results[0].views[worst]:.2f}  {f'goal {goal}' if goal else ''}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", choices=[*SUITES, "ablations"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budgets", nargs="+", type=float, help="CPU seconds; default: those of the suite")
    parser.add_argument("--validate", action="store_true", help="judge on training photos, as for choosing settings")
    args = parser.parse_args()
    warm_up()
    for name in args.suites:
        ablate = name == "ablations"
        suite = SUITES["fox480" if ablate else name]
        capture, reconstruction = posed(name, suite)
        views = [n for n, t in zip(capture.names, capture.test, strict=True) if t and n in reconstruction.model.names]
        if args.validate or ablate:
            capture, views = validation(capture, reconstruction)
        variants = {**ABLATIONS, **CONFIG_ABLATIONS} if ablate else {"": {}}
        budgets = args.budgets or ([60.0] if ablate else suite.budgets)
        values = []
        for label, change in variants.items():
            config = change if label in CONFIG_ABLATIONS else {}
            options = replace(suite.options, **({} if label in CONFIG_ABLATIONS else change))
            for i, budget in enumerate(budgets):
                folder = OUT / "train" / name / f"{budget:g}"
                results = [
                    run(
                        capture,
                        reconstruction,
                        views,
                        replace(options, seed=s),
                        budget,
                        config,
                        folder if s == args.seeds[0] else None,
                    )
                    for s in args.seeds
                ]
                goal = suite.goals[i] if suite.goals and not args.budgets and not ablate and not args.validate else ""
                print(line(f"{name} {budget:g} s {label}", results, goal), flush=True)
                values.append({"budget": budget, "variant": label, "goal": goal, "runs": [vars(r) for r in results]})
        record(f"train_{name}", values, seeds=args.seeds)


if __name__ == "__main__":
    main()
