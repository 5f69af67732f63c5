"""Training: it learns a scene with known truth, keeps time, forgets nothing when it is killed, and gives the same bits twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recon.capture import Capture
from recon.errors import InputError, WorkspaceError
from recon.geometry import Sim3, World, rotation_from_quat, se3
from recon.job import Job, NoProgress
from render.dataset import open_dataset, read_photo
from render.evaluate import evaluate, load_metrics
from render.formats.ply import read_ply
from render.options import EvalOptions, TrainOptions
from render.poses import Poses
from render.scenes.gs import GsConfig
from render.stage_train import initial_scene, load_scene, train_stage, training_data
from render.train import prepare, train
from tests.synthetic_scene import Posed, capture_of

SMALL = TrainOptions(steps=120, minutes=None, long_side=64, splats=250, sh_degree=1, exposure=False, device="cpu")


def fit(
    root: Path, options: TrainOptions, capture: Capture, posed: Posed, name: str = "train"
) -> tuple[Any, dict[str, Any]]:
    """Train and evaluate; the scene as loaded from disk, and its metrics."""
    job = Job(root / name)
    train_stage(capture, posed, options, job)
    job.finish()
    scene = load_scene(job.folder)
    return scene, evaluate(capture, posed, scene, EvalOptions(report=False), Job(root / f"eval_{name}"))


# The whole way


def test_it_learns_the_scene_and_writes_what_others_rely_on(tmp_path: Path) -> None:
    world = World("metric", "gravity", None, None, Sim3(2.0, np.eye(3), np.ones(3)))
    capture, posed = capture_of(tmp_path, world=world)
    scene, metrics = fit(tmp_path, SMALL, capture, posed)
    start, _ = fit(tmp_path, replace(SMALL, steps=1), capture, posed, "start")
    assert metrics["psnr"] > load_metrics(tmp_path / "eval_start")["psnr"] + 5
    assert metrics["psnr"] > 24 and len(metrics["images"]) == 3 and metrics["steps"] == 120
    assert metrics["splats"] == len(scene.at()) <= 250 and metrics["long_side"] == 64
    assert len(scene.at()) > len(start.at())
    assert {p.name for p in (tmp_path / "train").iterdir()} == {"scene.npz", "scene.ply", "history.jsonl"}
    assert scene.setup.world.to_json() == world.to_json()
    ply = read_ply(tmp_path / "train" / "scene.ply")
    assert torch.equal(ply.mean, scene.at().mean.detach()) and ply.world.to_json() == world.to_json()
    rows = [json.loads(line) for line in (tmp_path / "train" / "history.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 120 and set(rows[-1]) == {"seconds", "step", "loss", "splats", "long_side", "psnr"}
    assert (tmp_path / "eval_train" / "renders" / "a" / "000.jpg.png").is_file()
    assert scene.history == rows


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path)
    options = replace(SMALL, steps=60, exposure=True, refine_poses=True)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        fit(tmp_path, replace(options, seed=seed), capture, posed, name)

    def read(name: str) -> tuple[bytes, ...]:
        files = (f"{name}/scene.npz", f"{name}/cameras.npz", f"eval_{name}/metrics.json")
        return tuple((tmp_path / file).read_bytes() for file in files)

    assert read("a") == read("b")
    assert all(x != y for x, y in zip(read("a"), read("c"), strict=True))


def test_minutes_end_the_schedule_on_time(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path)
    job = Job(tmp_path / "train")
    train_stage(capture, posed, replace(SMALL, steps=None, minutes=0.05), job)
    assert 3 * 0.5 < job.metrics["seconds"] < 3 * 1.5
    assert job.metrics["schedule"][-1]["scale"] == 1.0 and job.metrics["steps"] > 5


# Resume

CHILD = """
import os, signal, sys
from pathlib import Path
import render.stage_train as stage
from tests.test_train import CHILD_OPTIONS
from tests.synthetic_scene import capture_of
root, how = Path(sys.argv[1]), sys.argv[2]
capture, posed = capture_of(root)
stage.CHECKPOINT_SECONDS = 0.0
original, calls = stage.save_npz, []
def save(path, **arrays):
    calls.append(path)
    if len(calls) == 25 and how == "writing":  # in the middle of a write: the part file is there, the rename is not done
        path.with_name(f".{path.name}.part{os.getpid()}").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    original(path, **arrays)
    if len(calls) == 25:
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "interrupt": signal.SIGINT}[how])
stage.save_npz = save
stage.train_stage(capture, posed, CHILD_OPTIONS, stage.Job(root / "train"))
"""
CHILD_OPTIONS = replace(SMALL, steps=60, exposure=True, refine_poses=True)


@pytest.mark.parametrize("how", ["kill", "writing", "interrupt"])
def test_a_killed_run_resumed_is_an_unbroken_run(tmp_path: Path, how: str) -> None:
    capture, posed = capture_of(tmp_path)
    root = Path(__file__).resolve().parent.parent
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), how],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if how == "interrupt":
        assert "KeyboardInterrupt" in child.stderr
    else:
        assert child.returncode == -signal.SIGKILL, child.stderr
    assert not (tmp_path / "train" / "scene.npz").exists()
    said = Said()
    job = Job(tmp_path / "train", progress=said)
    train_stage(capture, posed, CHILD_OPTIONS, job)
    assert any("goes on at step 2" in text for text in said.lines), said.lines
    train_stage(capture, posed, CHILD_OPTIONS, Job(tmp_path / "unbroken"))
    for name in ("scene.npz", "scene.ply", "cameras.npz"):
        assert (tmp_path / "train" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes(), name
    steps = [json.loads(line)["step"] for line in (tmp_path / "train" / "history.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == 60


class Said:
    """A Progress that remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def task(self, text: str, total: float | None) -> Any:

        return NoProgress().task(text, total)

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = say


def test_a_checkpoint_of_other_options_is_not_used(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path)
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", CHILD, str(tmp_path), "kill"], cwd=root, timeout=300, check=False)
    assert (tmp_path / "train" / "scratch" / "checkpoint.npz").is_file()
    said = Said()
    train_stage(capture, posed, replace(SMALL, steps=3), Job(tmp_path / "train", progress=said))
    assert not any("goes on" in text for text in said.lines)
    assert json.loads((tmp_path / "train" / "history.jsonl").read_text().splitlines()[-1])["step"] == 3


def test_a_damaged_scene_is_named(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path, 4)
    train_stage(capture, posed, replace(SMALL, steps=1), Job(tmp_path / "train"))
    path = tmp_path / "train" / "scene.npz"
    whole = path.read_bytes()
    at = whole.index(b"mean.npy") + 400
    for data in (whole[:-200], b"", whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]):
        path.write_bytes(data)
        with pytest.raises(WorkspaceError, match=r"scene\.npz"):
            load_scene(tmp_path / "train")


# What may not leak, and what the switches do


def test_nothing_of_a_held_out_photo_reaches_training(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path)
    options = replace(SMALL, steps=30)
    train_stage(capture, posed, options, Job(tmp_path / "a"))
    for name, test in zip(capture.names, capture.test, strict=True):
        if test:
            posed.image_path(name).unlink()
    train_stage(capture, posed, options, Job(tmp_path / "b"))
    assert (tmp_path / "a" / "scene.npz").read_bytes() == (tmp_path / "b" / "scene.npz").read_bytes()


def test_masks_keep_what_they_hide_out_of_the_scene(tmp_path: Path) -> None:
    masked = np.zeros((48, 64), bool)
    masked[16:36, 20:44] = True
    capture, posed = capture_of(tmp_path, masked=masked)
    _, used = fit(tmp_path, replace(SMALL, steps=80), capture, posed, "used")
    magenta = {}
    for name in ("used", "ignored"):
        scene, _ = fit(
            tmp_path, replace(SMALL, steps=80, masks="both" if name == "used" else "off"), capture, posed, name
        )
        rgb = scene.render(posed.model.cameras[0]).rgb[0].detach().numpy()[masked]
        magenta[name] = float((np.minimum(rgb[:, 0], rgb[:, 2]) - rgb[:, 1]).mean())
    assert magenta["ignored"] > magenta["used"] + 0.3
    assert used["psnr"] > 22  # over valid pixels


def test_mattes_leave_the_background_empty(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path, matte=True)
    scene, metrics = fit(tmp_path, replace(SMALL, steps=100), capture, posed)
    alpha = scene.render(posed.model.cameras[1]).alpha[0].detach().numpy()
    true = read_photo(posed, capture.names[1], (64, 48)).matte
    assert true is not None and np.abs(alpha - true).mean() < 0.05
    empty = true == 0
    assert empty.sum() > 500 and alpha[empty].mean() < 0.03
    assert metrics["background"] == "white" and metrics["psnr"] > 22
    black = evaluate(capture, posed, scene, EvalOptions("black", report=False), Job(tmp_path / "black"))
    assert abs(black["psnr"] - metrics["psnr"]) < 4  # a scene over random backgrounds is right over any


def test_exposure_changes_are_found_and_taken_out(tmp_path: Path) -> None:
    gains = np.tile([0.75, 1.0], 6)  # zero mean over the capture: -14 % and +14 %
    capture, posed = capture_of(tmp_path, every=100, gains=gains)
    clean = capture_of(tmp_path / "clean", every=100, gains=np.full(12, 0.875))[1]
    errors = {}
    for on in (True, False):
        name = "on" if on else "off"
        scene, _ = fit(tmp_path, replace(SMALL, exposure=on, steps=300), capture, posed, name)
        errors[name] = evaluate(capture, clean, scene, EvalOptions(report=False), Job(tmp_path / "x"))["psnr"]
    assert errors["on"] > errors["off"] + 0.2
    options = replace(SMALL, exposure=True, steps=300)
    data = training_data(capture, posed, options, tmp_path)
    run = prepare(GsConfig(), initial_scene(posed, data, options), data, options)
    for _ in train(run):
        pass
    assert run.exposure is not None
    white = run.exposure.affine[:, :3].sum(1).mean(-1) + run.exposure.affine[:, 3].mean(-1)  # what becomes of 1
    dark = np.array([n in capture.names[0::2] for n in data.names])
    assert white[~dark].mean() - white[dark].mean() > 0.15
    assert run.exposure.affine.mean(0).abs().max() < 1e-6


def test_a_lost_held_out_photo_is_counted(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path)
    kept = posed.model.select(np.arange(1, 12))
    _, metrics = fit(tmp_path, replace(SMALL, steps=2), capture, replace(posed, model=kept))
    assert metrics["lost"] == [capture.names[0]] and len(metrics["images"]) == 2


@pytest.mark.parametrize(
    "bad",
    [
        {"scene": "unknown"},
        {"steps": 0},
        {"splats": 0},
        {"sh_degree": 4},
        {"steps": None, "minutes": 0.0},
        {"steps": None},
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    capture, posed = capture_of(tmp_path, 3)
    with pytest.raises(InputError):
        train_stage(capture, posed, replace(SMALL, **bad), Job(tmp_path / "train"))


def test_all_photos_held_out_is_an_error(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path, 3)
    with pytest.raises(InputError, match="held out"):
        train_stage(replace(capture, split=("test",) * 3), posed, SMALL, Job(tmp_path / "train"))


def test_refinement_brings_a_shaken_camera_back(tmp_path: Path) -> None:
    """The scene is learned from true cameras; then one of them is moved and only poses may follow."""
    capture, posed = capture_of(tmp_path, every=100)
    scene, _ = fit(tmp_path, replace(SMALL, steps=150), capture, posed)
    data = open_dataset(posed, capture.names, 64, tmp_path)
    true = posed.model.cameras.cam_from_world[5]
    shaken = posed.model.cameras.cam_from_world.copy()
    shaken[5] = se3(rotation_from_quat([1, 0.01, -0.01, 0.005]), [0.02, -0.03, 0.02]) @ true
    poses = Poses(shaken, 3.0)
    target = torch.from_numpy(data.levels[1.0].photo(5).rgb)
    for step in range(120):
        leaf = poses.leaf(5)
        rgb = scene.render(data.cameras[5], None, poses.cam_from_world(5, leaf)).rgb[0]
        (rgb - target).abs().mean().backward()
        assert leaf.grad is not None
        poses.step(5, leaf.grad, 2e-3 * 0.05 ** (step / 120))
    found = poses.refined()
    xyz, cameras = posed.model.xyz, posed.model.cameras
    pixels = [replace(cameras, cam_from_world=p).project(xyz)[0][5] for p in (cameras.cam_from_world, shaken, found)]
    off = [np.linalg.norm(p - pixels[0], axis=-1).mean() for p in pixels[1:]]
    assert off[0] > 1 and off[1] < 0.25 * off[0], off
