"""Flat splats beside ordinary ones on the sample capture: held-out photos, true z, and the mesh of the hare.

python tests/bench/bench_flat.py -w DIR [--seconds 90] [--scenes gs flat] [--config '{"normals": 0.1}']

DIR is a workspace of the sample with finished stages ingest and align (recon run data/sample/images -w DIR). Every scene is
trained for the same CPU seconds, user and system. Meshes are made from the scene's own z and from its median z.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from bench_mesh import hare_scores, hare_truth
from common import OUT, cpu_seconds, record

from recon.cameras import Cameras
from recon.geometry import fit_sim3
from recon.job import Job
from recon.mesh.options import MeshOptions
from recon.sample import sample_cameras, sample_z
from recon.workspace import Workspace
from render.evaluate import BACKGROUNDS, compare, render_view
from render.kernels.warm import warm_up
from render.options import TrainOptions
from render.scenes import config_of
from render.splat_depth import surface_z
from render.stage_mesh import mesh_stage
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
    plain = SimpleNamespace(at=scene.at, setup=scene.setup, info=scene.info)
    kinds = {"median": plain} | ({"own": scene} if hasattr(scene, "surface") else {})
    out = {
        "psnr": float(np.mean(psnr)),
        "steps": run.pace.step,
        "splats": len(scale),
        "cpu_seconds": run.pace.spent,
        "thickness": float(np.median(scale[:, 0] / scale[:, 1])),
        "z": {kind: z_errors(posed, one, long_side) for kind, one in kinds.items()},
    }
    if mesh:
        true_from_world, truth = placed(posed), hare_truth(sample_cameras()[1])
        out["hare"] = {}
        for kind, one in kinds.items():
            with tempfile.TemporaryDirectory() as folder:
                made = mesh_stage(capture, posed, one, MeshOptions(texture_size=0), Job(Path(folder) / "mesh"))
            out["hare"][kind] = hare_scores(true_from_world.apply(made.xyz), made.faces, truth)[1]
    return out


def placed(posed: Any) -> Any:
    """true_from_world, fitted to the cameras' centres."""
    names, cameras = sample_cameras()
    rows = [names.index(name) for name in posed.model.names]
    return fit_sim3(cameras.centers[rows], posed.model.cameras.centers)


def z_errors(posed: Any, scene: Any, long_side: int) -> dict[str, float]:
    """Errors of the scene's z in the true cameras, over the pixels that it covers; shares: of all with truth."""
    true_from_world = placed(posed)
    names, cameras = sample_cameras()
    errors, known = [], 0
    for name, true in sample_z().items():
        true_camera = cameras[names.index(name)]
        step = max(1, round(true.shape[1] / long_side))
        pose = true_from_world.inverse().cameras(true_camera.cam_from_world)
        z, _ = surface_z(scene, Cameras(pose, true_camera.K, true_camera.size))
        error = np.abs(true_from_world.scale * z / true - 1)[::step, ::step]
        known += np.isfinite(true[::step, ::step]).sum()
        errors.append(error[np.isfinite(error)])
    e = np.concatenate(errors)
    shares = {f"within_{100 * t:g}_percent": float((e < t).sum() / known) for t in (0.005, 0.01, 0.03)}
    return {"median_relative": float(np.median(e)), **shares, "covered": len(e) / float(known)}


if __name__ == "__main__":
    main()
