"""The main job as a user runs it, on photos of the sample capture: results, repeatability, SIGKILL in every stage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recon.geometry import fit_sim3
from recon.sample import sample_cameras, sample_photos
from recon.sfm import load_sfm

ROOT = Path(__file__).resolve().parent.parent
STEPS, LONG_SIDE = 250, 160
SFM_OPTIONS = ["--deterministic", "--features", "1500"]
TRAIN_OPTIONS = ["--steps", str(STEPS), "--long-side", str(LONG_SIDE), "--splats", "3000"]
DEPTH_OPTIONS = ["--depth-long-side", "160", "--depth-sources", "3"]
MESH_OPTIONS = ["--from", "depth", "--faces", "4000", "--texture-size", "256"]
OPTIONS = [*SFM_OPTIONS, *TRAIN_OPTIONS, *DEPTH_OPTIONS, "--mesh", *MESH_OPTIONS]
STAGES = ("ingest", "sfm", "align", "depth", "train/main", "eval/main", "mesh/main")
TELLS_TIME = ("stage.json", "history.jsonl", "report.html")
"""Files that hold wall times, and so differ between equal runs."""


def recon(*words: object, kill: tuple[str, int] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; with `kill` it dies by SIGKILL at the n-th call of that function."""
    command = [sys.executable, "-m", "recon"] if kill is None else [sys.executable, "-c", DEADLY, kill[0], str(kill[1])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*command, *map(str, words)], capture_output=True, text=True, cwd=cwd, env=environment)


DEADLY = """
import os, signal, sys
name, wanted = sys.argv[1], int(sys.argv[2])
count, real = 0, getattr(os, name)
def deadly(*args, **words):
    global count
    count += 1
    if count >= wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **words)
setattr(os, name, deadly)
from recon.cli import main
sys.exit(main(sys.argv[3:]))
"""


def contents(root: Path, stage: str = "") -> dict[str, bytes]:
    files = sorted(p for p in (root / stage).rglob("*") if p.is_file() and p.name not in TELLS_TIME)
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in files
        if not p.relative_to(root).parts[0].startswith(".")
    }


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """The first 20 photos of the sample, one arc: enough for a held-out set."""
    folder = tmp_path_factory.mktemp("photos")
    for path in sorted(sample_photos().glob("*.jpg"))[:20]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def finished(photos, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("finished") / "w"
    done = recon("run", photos, "-w", root, *OPTIONS)
    assert done.returncode == 0, done.stderr
    return root


def copy_until(finished: Path, stage: str, root: Path) -> None:
    """A copy of the finished workspace that lacks `stage` and all that follows."""
    shutil.copytree(finished, root)
    for later in STAGES[STAGES.index(stage) :]:
        shutil.rmtree(root / later)


def flat_psnr(photo: Path) -> float:
    """What the best picture of one colour reaches."""
    small = Image.open(photo).convert("RGB").resize((LONG_SIDE, LONG_SIDE * 3 // 4), Image.Resampling.BOX)
    pixels = np.asarray(small, np.float64) / 255
    return float(-10 * np.log10(((pixels - pixels.mean((0, 1))) ** 2).mean()))


def test_the_main_job_ends_in_a_scene_that_resembles_the_photos(finished, photos):
    metrics = json.loads((finished / "eval/main/metrics.json").read_text())
    assert [image["name"] for image in metrics["images"]] == ["IMG_0001.jpg", "IMG_0009.jpg", "IMG_0017.jpg"]
    flat = np.mean([flat_psnr(photos / image["name"]) for image in metrics["images"]])
    assert metrics["psnr"] > flat + 3
    assert json.loads((finished / "sfm/stage.json").read_text())["metrics"]["registered"] == 20
    assert (finished / "eval/main/report.html").stat().st_size > 10_000
    header = (finished / "train/main/scene.ply").read_bytes()[:4000]
    assert f"element vertex {metrics['splats']}\n".encode() in header


def test_cameras_agree_with_the_truth(finished):
    model = load_sfm(finished / "sfm").model
    names, truth = sample_cameras()
    true = truth.centers[[names.index(name) for name in model.names]]
    fitted = fit_sim3(true, model.cameras.centers).apply(model.cameras.centers)
    extent = np.linalg.norm(true.max(0) - true.min(0))
    assert np.sqrt(((fitted - true) ** 2).sum(1).mean()) < 0.005 * extent


def test_a_second_run_keeps_everything(finished, photos):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file() and not p.name.startswith(".")}
    done = recon("run", photos, "-w", finished, *OPTIONS)
    assert done.returncode == 0
    assert done.stderr.count(" kept ") == len(STAGES)
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(finished, photos):
    for name, seed in (("again", 0), ("other", 1)):
        done = recon("run", photos, "-w", finished, *OPTIONS, "--name", name, "--seed", seed)
        assert done.returncode == 0, done.stderr
    for file in ("train/{}/scene.npz", "eval/{}/metrics.json"):
        main, again, other = ((finished / file.format(name)).read_bytes() for name in ("main", "again", "other"))
        assert main == again
        assert main != other


def test_status_and_export(finished, tmp_path):
    done = recon("status", "-w", finished)
    assert done.returncode == 0
    assert "train/main" in done.stdout
    assert recon("export", tmp_path / "out.ply", "-w", finished).returncode == 0
    assert (tmp_path / "out.ply").read_bytes() == (finished / "train/main/scene.ply").read_bytes()
    refused = recon("export", tmp_path / "out.xyz", "-w", finished)
    assert refused.returncode == 2
    assert ".ply" in refused.stderr


@pytest.mark.parametrize(
    ("stage", "function", "at"),
    [
        ("ingest", "replace", 3),
        ("ingest", "fsync", 8),
        ("sfm", "replace", 6),
        ("sfm", "replace", 26),
        ("align", "replace", 5),
        ("depth", "replace", 30),
        ("depth", "fsync", 150),
        ("train/main", "replace", 4),
        ("train/main", "fsync", 14),
        ("eval/main", "replace", 5),
        ("mesh/main", "replace", 2),
        ("mesh/main", "fsync", 4),
    ],
)
def test_sigkill_in_a_stage(finished, photos, tmp_path, stage, function, at):
    """The next run goes on, and its result equals that of a run that was not killed."""
    root = tmp_path / "w"
    copy_until(finished, stage, root)
    verb = stage.partition("/")[0]
    options = {
        "ingest": [photos],
        "sfm": SFM_OPTIONS,
        "train": TRAIN_OPTIONS,
        "depth": DEPTH_OPTIONS,
        "mesh": MESH_OPTIONS,
    }.get(verb, [])
    killed = recon(verb, "-w", root, *options, kill=(function, at))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = recon(verb, "-w", root, *options)
    assert resumed.returncode == 0, resumed.stderr
    assert not (root / ".building").exists()
    assert not (root / ".old").exists()
    assert contents(root, stage) == contents(finished, stage)


def test_ctrl_c_in_training_leaves_a_checkpoint_that_resumes(finished, photos, tmp_path):
    root = tmp_path / "w"
    copy_until(finished, "train/main", root)
    options = [*OPTIONS, "--steps", "2000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "recon", "run", str(photos), "-w", str(root), *options]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment)
    history = root / ".building/train/main/history.jsonl"
    for _ in range(600):
        if history.exists() and process.poll() is None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "goes on where it stopped" in said
    assert (root / ".building/train/main/scratch/checkpoint.npz").exists()
    assert not (root / "train/main").exists()
    assert "unfinished" in recon("status", "-w", root).stdout
    wanted = json.loads((root / ".building/train/main/building.json").read_text())
    assert wanted["cpu_seconds"] > 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        ("black", "black"),
        ("unrelated", "photo"),
        ("two", "3"),
    ],
)
def test_photos_that_cannot_become_a_scene_end_in_a_sentence(tmp_path, make, words):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2 if make == "two" else 5):
        pixels = rng.integers(0, 255, (240, 320, 3), np.uint8)
        if make == "black":
            pixels = np.full_like(pixels, 0)
            pixels[0, 0, 0] = i
        Image.fromarray(pixels).save(folder / f"{i}.png")
    done = recon("run", folder, "-w", tmp_path / "w", "--steps", "5")
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
