"""Errors of meshes against truth, and of textured meshes against held-out photos.

python tests/bench/bench_mesh.py sample [-w DIR]     the sample capture: recon run (or a finished workspace), recon mesh
python tests/bench/bench_mesh.py sevenscenes         fusion of the Kinect's own depth and poses, half of the frames held out

Each case runs its negative controls beside it: shuffled depth, and a texture from wrong cameras. Distances in metres.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_run import run_and_watch
from common import ROOT, datasets, measured, record

from recon.cameras import Cameras, fit_size
from recon.geometry import fit_sim3, se3_inverse
from recon.mesh import load_mesh
from recon.mesh.marching import extract
from recon.mesh.raster import look
from recon.mesh.views import DepthView
from recon.mesh.volume import build_volume
from recon.sample import sample_cameras, sample_mesh
from recon.workspace import Workspace
from render.stage_mesh import SLACK
from tests.bench import surface
from tests.bench.textured import held_out

MAIN_SHARE = 0.01
"""Threshold as a share of the diagonal of the main object's box."""
BORDER = 0.01
"""Metres around the main object's box in which the measured surface is judged."""
MINUTES = "5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=["sample", "sevenscenes"])
    parser.add_argument("-w", "--workspace", type=Path, help="a workspace of the sample that has been trained")
    args = parser.parse_args()
    if args.case == "sevenscenes":
        record("mesh_sevenscenes", sevenscenes(), seeds=[0])
        return
    with tempfile.TemporaryDirectory() as folder:
        workspace = args.workspace or train(Path(folder) / "w")
        record("mesh_sample", sample(workspace), seeds=[0])


def train(folder: Path) -> Path:
    words = ["run", str(ROOT / "data/sample/images"), "-w", str(folder), "--minutes", MINUTES, "--long-side", "640"]
    subprocess.run([sys.executable, "-m", "recon", *words, "--splats", "80000"], check=True, cwd=ROOT)
    return folder


SOURCES = {"main": [], "stereo": ["--from", "depth", "--name", "stereo"]}
"""Meshes of the sample by name, and the words that make them."""


def sample(folder: Path) -> dict[str, Any]:
    """Mesh the sample from its splats and from its depth maps, and measure both."""
    workspace = Workspace(folder)
    if workspace.record("depth") is None:
        subprocess.run([sys.executable, "-m", "recon", "depth", "-w", str(folder)], check=True, cwd=ROOT)
    truth, values = hare_truth(sample_cameras()[1]), {}
    for name, words in SOURCES.items():
        values[name] = one_mesh(workspace, name, words, truth)
        print(name, json.dumps(values[name], default=float))
    return values


def one_mesh(workspace: Workspace, name: str, words: list[str], truth: dict[str, Any]) -> dict[str, Any]:
    """Make one mesh, and measure it."""
    kept = workspace.record("mesh", name) is not None
    peak = run_and_watch([sys.executable, "-m", "recon", "mesh", "-w", str(workspace.root), *words])
    made = workspace.record("mesh", name) or {}
    mesh, posed = load_mesh(workspace.folder("mesh", name)), workspace.load("align")
    slack = SLACK * float(made["metrics"]["voxel"])
    names, cameras = sample_cameras()
    rows = [names.index(photo) for photo in posed.model.names]
    true_from_world = fit_sim3(cameras.centers[rows], posed.model.cameras.centers)
    xyz = true_from_world.apply(mesh.xyz)
    return {
        "cpu_seconds": made["cpu_seconds"],
        "peak_gib": None if kept else peak,
        "mesh": made.get("metrics"),
        "hare": hare_scores(xyz, mesh.faces, truth),
        "hare_faces": len(surface.near_box(xyz, mesh.faces, *truth["box"])),
        "held_out": held_out(workspace.load("ingest"), posed, workspace.load("train"), mesh, slack),
        "control_shuffled_depth": shuffled(workspace, name, true_from_world, truth),
    }


def hare_truth(cameras: Cameras) -> dict[str, Any]:
    """Points of the hare that three photos see, and the true surface around it, densely."""
    xyz, faces = sample_mesh()
    own, own_faces = sample_mesh("hare")
    points = surface.sample_points(own, own_faces, 30_000)
    points = points[surface.seen_by(points, cameras, xyz, faces, 0.002) >= 3]
    low, high = own.min(0) - BORDER, own.max(0) + BORDER
    near = surface.near_box(xyz, faces, low - 0.02, high + 0.02)
    dense = surface.inside(surface.sample_points(xyz, near, 4_000_000), low - 0.03, high + 0.03)
    diagonal = float(np.linalg.norm(np.ptp(own, axis=0)))
    return {"points": points, "dense": dense, "box": (low, high), "threshold": MAIN_SHARE * diagonal}


def hare_scores(xyz: np.ndarray, faces: np.ndarray, truth: dict[str, Any]) -> list[dict[str, float]]:
    """Scores at half, once and twice the threshold, of the surface in the hare's box (the table it stands on, too)."""
    low, high = truth["box"]
    part = surface.near_box(xyz, faces, low, high)
    points = surface.sample_points(xyz, part, 200_000) if len(part) else np.zeros((0, 3))
    steps = [truth["threshold"] * s for s in (0.5, 1, 2)]
    return [
        s.to_json() for s in surface.scores(surface.inside(points, low, high), truth["points"], truth["dense"], steps)
    ]


def shuffled(workspace: Workspace, name: str, true_from_world: Any, truth: dict[str, Any]) -> list[dict[str, float]]:
    """The same scores for a surface fused from z that was given to the wrong cameras."""
    from render.mesh_views import TrainingPhotos, map_views, training_names
    from render.splat_depth import SplatViews

    capture, posed = workspace.load("ingest"), workspace.load("align")
    names = training_names(capture, posed)
    if name == "stereo":
        all_views = list(map_views(workspace.load("depth"), names))
    else:
        cameras = TrainingPhotos(posed, names).cameras
        cameras = cameras.resized(fit_size(cameras.size, 320))
        views = SplatViews(workspace.load("train"), names, cameras, Path(tempfile.mkdtemp()))
        all_views = [views.alone(i) for i in range(len(views))]
    order = np.random.default_rng(0).permutation(len(all_views))
    pairs = [(v, all_views[i]) for v, i in zip(all_views, order, strict=True)]
    wrong = [replace(v, camera=o.camera) for v, o in pairs if v.z.shape == o.z.shape]
    xyz, faces = extract(build_volume(wrong), 0.3)
    return hare_scores(true_from_world.apply(xyz), faces, truth)


def sevenscenes() -> dict[str, Any]:
    """Fuse every other frame; z of the mesh in the frames between against the Kinect's own."""
    views = kinect_views(datasets() / "sevenscenes_rgbd_tsdf")
    fused, between = views[::2], views[1::2]
    with measured() as spent:
        volume = build_volume(fused)
        xyz, faces = extract(volume, 0.3)
    wrong = [replace(v, camera=fused[(i + 17) % len(fused)].camera) for i, v in enumerate(fused)]
    control = extract(build_volume(wrong, 2 * volume.voxel), 0.3)
    values = {
        "views": len(fused),
        "voxel": volume.voxel,
        "faces": len(faces),
        "cpu_seconds": spent.cpu,
        "held_out": z_errors(xyz, faces, between),
        "control_shuffled_depth": z_errors(*control, between),
    }
    print(json.dumps(values, indent=1, default=float))
    return values


def kinect_views(folder: Path) -> list[DepthView]:
    """Depth in millimetres (0 and 65535: none), camera-to-world poses of the depth camera, K in camera-intrinsics.txt."""
    import cv2

    k = np.loadtxt(next(iter(sorted(folder.rglob("camera-intrinsics.txt")))))
    views = []
    for path in sorted(folder.rglob("frame-*.depth.png")):
        raw: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        pose = se3_inverse(np.loadtxt(path.with_name(path.name.replace("depth.png", "pose.txt"))))
        size = np.array([raw.shape[::-1]], np.int32)
        known = (raw > 0) & (raw < 65535)
        z = np.where(known, raw / np.float32(1000), np.nan).astype(np.float32)
        views.append(DepthView(path.name, Cameras(pose[None], k[None], size), z, known.astype(np.float32)))
    return views


def z_errors(xyz: np.ndarray, faces: np.ndarray, views: list[DepthView]) -> dict[str, float]:
    """Median relative error of the mesh's z, the shares within 1 and 3 %, and the share of measured pixels that it covers."""
    errors, covered = [], []
    for view in views:
        z = look(view.camera, xyz, faces).z
        known = np.isfinite(view.z)
        both = known & np.isfinite(z)
        errors.append(np.abs(z[both] - view.z[both]) / view.z[both])
        covered.append(both.sum() / max(known.sum(), 1))
    e = np.concatenate(errors)
    shares = {f"within_{100 * t:.0f}_percent": float((e < t).mean()) for t in (0.01, 0.03)}
    return {"median_relative": float(np.median(e)), **shares, "covered": float(np.mean(covered))}


if __name__ == "__main__":
    main()
