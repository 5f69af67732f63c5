"""A depth camera's recording through the whole chain: cameras, metres, depth maps, mesh; against depth images held out.

python tests/bench/bench_rgbd.py [--frames 24]     sevenscenes, neighbouring frames, with its poses and with ours

z of the mesh stands beside the Kinect's own z in the frames that neither the scale nor the mesh has seen. The control is the same
chain with each photo given another photo's depth image: it must be refused.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, datasets, measured, record

from recon.cameras import Cameras
from recon.depth_images import read_depth
from recon.mesh import load_mesh
from recon.mesh.raster import look
from recon.workspace import Workspace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        copy(datasets() / "sevenscenes_rgbd_tsdf", home / "own", args.frames, 0)
        copy(datasets() / "sevenscenes_rgbd_tsdf", home / "shuffled", args.frames, args.frames // 2)
        values = {
            "given_poses": chain(home / "own", home / "given", "keep"),
            "our_poses": chain(home / "own", home / "ours", "ignore"),
            "control_shuffled": control(home / "shuffled", home / "control"),
        }
    sys.stdout.write(json.dumps(values, indent=1, default=float) + "\n")
    record("rgbd", values, seeds=[0])


def copy(source: Path, target: Path, frames: int, shift: int) -> None:
    """The first frames of the recording; each depth image that of the frame `shift` later."""
    target.mkdir()
    shutil.copy(source / "camera-intrinsics.txt", target)
    photos = sorted(source.glob("frame-*.color.*"))[:frames]
    for i, photo in enumerate(photos):
        stem, other = photo.name.split(".")[0], photos[(i + shift) % len(photos)].name.split(".")[0]
        shutil.copy(photo, target)
        shutil.copy(source / f"{stem}.pose.txt", target)
        shutil.copy(source / f"{other}.depth.png", target / f"{stem}.depth.png")


def run(verb: str, folder: Path, *words: str) -> None:
    subprocess.run([sys.executable, "-m", "recon", verb, *words, "-w", str(folder)], check=True, cwd=ROOT)


def chain(source: Path, folder: Path, poses: str) -> dict[str, Any]:
    with measured() as spent:
        run("ingest", folder, str(source), "--poses", poses)
        run("sfm", folder)
        run("align", folder)
        run("depth", folder, "--depth-long-side", "640")
        run("mesh", folder, "--from", "depth")
    values = {stage: (Workspace(folder).record(stage) or {})["metrics"] for stage in ("align", "depth", "mesh")}
    return {"cpu_seconds": spent.cpu, "evidence": evidence(folder), "held_out": held_out(folder)} | values


def control(source: Path, folder: Path) -> dict[str, Any]:
    run("ingest", folder, str(source), "--poses", "ignore")
    run("sfm", folder)
    run("align", folder)
    return evidence(folder)


def evidence(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "align/world.json").read_text(encoding="utf-8"))["evidence"]["depth_images"]


def held_out(folder: Path) -> list[dict[str, float]]:
    """z of the mesh against the depth image of each held-out frame, in the depth camera."""
    workspace = Workspace(folder)
    capture, model, mesh = workspace.load("ingest"), workspace.load("align").model, load_mesh(workspace.folder("mesh"))
    camera, values = capture.depth_camera, []
    fx, fy, cx, cy = camera.K
    k = np.array([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]])
    for i in np.flatnonzero(capture.test):
        if capture.names[i] not in model.names:
            continue
        true = read_depth(capture.depth_path(int(i)), camera)
        pose = model.cameras.cam_from_world[[model.names.index(capture.names[i])]].copy()
        pose[0, :3, 3] -= camera.shift
        z = look(Cameras(pose, k, np.array([true.shape[::-1]], np.int32)), mesh.xyz, mesh.faces).z
        both = np.isfinite(true) & np.isfinite(z)
        error = np.abs(z[both] - true[both]) / true[both]
        covered = float(both.sum() / np.isfinite(true).sum())
        values.append(
            {"median": float(np.median(error)), "within_3_percent": float((error < 0.03).mean()), "covered": covered}
        )
    return values


if __name__ == "__main__":
    main()
