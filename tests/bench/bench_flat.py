"""Flat splats beside ordinary ones on the sample capture: held-out photos, true z, and the mesh of the hare.

python tests/bench/bench_flat.py -w DIR [--seconds 90] [--scenes gs flat] [--config '{"normals": 0.1}']

DIR is a workspace of the sample with finished stages ingest and align (recon run data/sample/images -w DIR). Every scene is
trained for the same CPU seconds, user and system. Surfaces are fused from the median z, and from the z of flat splats' planes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bench_mesh import hare_scores, hare_truth
from common import OUT, cpu_seconds, record

from recon.cameras import Cameras, fit_size
from recon.geometry import fit_sim3
from recon.mesh.marching import extract
from recon.mesh.volume import build_volume
from recon.sample import sample_cameras, sample_z
from recon.workspace import Workspace
from render import planes
from render.evaluate import BACKGROUNDS, compare, render_view
from render.kernels.warm import warm_up
from render.mesh_views import TrainingPhotos, training_names
from render.options import TrainOptions
from render.rasterize import rasterize
from render.scenes import config_of
from render.splat_depth import SplatViews
from render.stage_mesh import LEAST_WEIGHT
from render.stage_train import initial_scene, training_data
from render.train import prepare, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-w", "--workspace", type=Path, required=True)
    parser.add_argument("--scenes", nargs="+", default=["gs", "flat"])
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--steps", type=int, help="instead of seconds: then the terms' cost is seen, not its effect")
    parser.add_argument("--long-side", type=int, default=480)
    parser.add_argument("--splats", type=int, default=40_000)
    parser.add_argument("--config", type=json.loads, default={}, help="changes to the config, as JSON")
    parser.add_argument("--no-mesh", action="store_true")
    args = parser.parse_args()
    warm_up()
    workspace = Workspace(args.workspace)
    capture, posed = workspace.load("ingest"), workspace.load("align")
    values = {}
    for name in args.scenes:
        minutes = None if args.steps else args.seconds / 60
        options = TrainOptions(
            scene=name, steps=args.steps, minutes=minutes, long_side=args.long_side, splats=args.splats, device="cpu"
        )
        values[name] = measure(capture, posed, options, args.config, not args.no_mesh)
        print(name, json.dumps(values[name], default=float), flush=True)
    record("flat_sample", values, seeds=[0])


def measure(capture: Any, posed: Any, options: TrainOptions, config: dict[str, Any], mesh: bool) -> dict[str, Any]:
    """Train one scene and measure it."""
    (OUT / "train").mkdir(parents=True, exist_ok=True)
    data = training_data(capture, posed, options, OUT / "train")
    run = prepare(
        config_of(options.scene)(**config), initial_scene(posed, data, options), data, options, clock=cpu_seconds
    )
    for _ in train(run):
        pass
    scene: Any = run.scene
    scene.finish()
    long_side = int(data.cameras.size.max())
    scene.info = {"scene": options.scene, "background": (0.0, 0.0, 0.0), "long_side": long_side}
    held_out = [n for n, test in zip(capture.names, capture.test, strict=True) if test and n in posed.model.names]
    psnr = [compare(render_view(posed, scene, name, BACKGROUNDS["white"])).psnr for name in held_out]
    scale = np.sort(scene.at().scale.detach().numpy(), axis=1)
    kinds: dict[str, type[SplatViews]] = {"median": SplatViews} | (
        {"planes": PlaneViews} if options.scene == "flat" else {}
    )
    out = {
        "psnr": float(np.mean(psnr)),
        "steps": run.pace.step,
        "splats": len(scale),
        "cpu_seconds": run.pace.spent,
        "thickness": float(np.median(scale[:, 0] / scale[:, 1])),
        "z": {kind: z_errors(posed, views, scene, long_side) for kind, views in kinds.items()},
    }
    if mesh:
        true_from_world, truth = placed(posed), hare_truth(sample_cameras()[1])
        names = training_names(capture, posed)
        cameras = TrainingPhotos(posed, names).cameras
        cameras = cameras.resized(fit_size(cameras.size, long_side))
        out["hare"] = {}
        for kind, views in kinds.items():
            with tempfile.TemporaryDirectory() as folder:
                xyz, faces = extract(build_volume(views(scene, names, cameras, Path(folder))), LEAST_WEIGHT)
            out["hare"][kind] = hare_scores(true_from_world.apply(xyz), faces, truth)[1]
    return out


class PlaneViews(SplatViews):
    """z of the splats' planes instead of median z."""

    def _render(self, index: int) -> dict[str, np.ndarray]:
        import torch

        setup, camera = self.scene.setup, self.cameras[index]
        with torch.no_grad():
            splats = self.scene.at()
            features = planes.planes(splats, torch.as_tensor(camera.cam_from_world[0], dtype=torch.float32))
            seen = rasterize(
                splats, camera, sh_degree=0, antialiased=setup.antialiased, near=setup.near, features=features
            )
            inverse, alpha = planes.inverse_z(seen.extra["features"][0], camera.K[0]).numpy(), seen.alpha[0].numpy()
        with np.errstate(divide="ignore"):
            z = np.where((alpha >= planes.COVERED) & (inverse > 0), 1 / inverse, np.nan)
        return {"z": z, "confidence": np.where(np.isfinite(z), 2 * alpha - 1, 0).astype(np.float32)}


def placed(posed: Any) -> Any:
    """true_from_world, fitted to the cameras' centres."""
    names, cameras = sample_cameras()
    rows = [names.index(name) for name in posed.model.names]
    return fit_sim3(cameras.centers[rows], posed.model.cameras.centers)


def z_errors(posed: Any, views: type[SplatViews], scene: Any, long_side: int) -> dict[str, float]:
    """Errors of the scene's z in the true cameras, over the pixels that it covers; shares: of all with truth."""
    true_from_world = placed(posed)
    names, cameras = sample_cameras()
    errors, known = [], 0
    for name, true in sample_z().items():
        true_camera = cameras[names.index(name)]
        step = max(1, round(true.shape[1] / long_side))
        pose = true_from_world.inverse().cameras(true_camera.cam_from_world)
        with tempfile.TemporaryDirectory() as folder:
            camera = Cameras(pose, true_camera.K, true_camera.size)
            z = views(scene, (name,), camera, Path(folder)).alone(0).z
        error = np.abs(true_from_world.scale * z / true - 1)[::step, ::step]
        known += np.isfinite(true[::step, ::step]).sum()
        errors.append(error[np.isfinite(error)])
    e = np.concatenate(errors)
    shares = {f"within_{100 * t:g}_percent": float((e < t).sum() / known) for t in (0.005, 0.01, 0.03)}
    return {"median_relative": float(np.median(e)), **shares, "covered": len(e) / float(known)}


if __name__ == "__main__":
    main()
