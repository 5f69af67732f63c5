"""What a scene that moves asks of its photos, from the command line to the trained scene; and kills in its training."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import render.stage_train as stage
from recon.cameras import Cameras
from recon.cli import main
from recon.errors import InputError
from recon.job import Job
from recon.motion import motion_of, nothing_moves, off_epipolar
from render.initial import timeline
from render.moving_input import check_capture
from render.options import TrainOptions
from render.stage_train import load_scene, train_stage
from tests.moving_scene import MovingScene, as_folder, at_rest, one_camera, six_cameras, written
from tests.photo_files import exif_bytes, run_ingest, write_picture

ROOT = Path(__file__).resolve().parent.parent
MOVING = TrainOptions(
    scene="gs4d", steps=30, minutes=None, long_side=96, splats=600, sh_degree=0, device="cpu", coarse_to_fine="off"
)
STILL = replace(MOVING, scene="gs")


@functools.cache
def walk(rests: bool = False) -> MovingScene:
    return at_rest(walk()) if rests else one_camera(16)


@functools.cache
def ring(rests: bool = False) -> MovingScene:
    return at_rest(ring()) if rests else six_cameras(5, (96, 72))


# Before anything is computed


def test_photos_without_times_are_named(tmp_path: Path) -> None:
    for i, letter in enumerate("abcd"):
        exif = exif_bytes(photo={0x9003: f"2024:01:01 10:00:0{i}"}) if letter != "c" else b""
        write_picture(tmp_path / "p" / f"{letter}.jpg", i, exif=exif)
    some, _ = run_ingest(tmp_path / "p", tmp_path / "some")
    assert some.untimed == ("c.jpg",)
    with pytest.raises(InputError, match=r"1 photo of 4 without a time \(c.jpg\), which a moving scene needs"):
        check_capture(some, MOVING)
    (tmp_path / "p" / "c.jpg").unlink()
    every, _ = run_ingest(tmp_path / "p", tmp_path / "every")
    assert every.untimed == ()
    check_capture(every, MOVING)
    assert every.time is not None
    with pytest.raises(InputError, match="All photos were taken at one time"):
        check_capture(replace(every, time=every.time * 0), MOVING)
    none = replace(every, time=None)
    check_capture(none, STILL)
    for kind in ("gs4d", "gs_nodes"):
        with pytest.raises(InputError, match="None of the 3 photos has a time"):
            check_capture(none, replace(MOVING, scene=kind))


def test_one_fixed_camera_is_refused_before_structure_from_motion(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = as_folder(one_camera(16, still=True), tmp_path / "set", poses=False)
    words = ["run", str(folder), "-w", str(tmp_path / "w"), "--scene", "gs4d", "--steps", "1"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert (
        "All 16 photos were taken by one camera that does not move" in said and "Move the camera while filming" in said
    )
    assert (tmp_path / "w" / "ingest" / "stage.json").is_file() and not (tmp_path / "w" / ".building").exists()


def test_a_camera_that_moves_or_masks_leave_photos_alone(tmp_path: Path) -> None:
    moving, _ = run_ingest(as_folder(one_camera(16), tmp_path / "a", poses=False), tmp_path / "ja")
    assert moving.station is None
    fixed = as_folder(one_camera(16, still=True), tmp_path / "b", poses=False)
    assert (run_ingest(fixed, tmp_path / "jb")[0].station == 0).all()  # type: ignore[union-attr]
    (fixed / "masks").mkdir()
    for path in (fixed / "images").iterdir():
        Image.new("L", (128, 96), 255).save(fixed / "masks" / f"{path.name}.png")
    turned, _ = run_ingest(fixed, tmp_path / "jm")
    assert any(turned.mask) and turned.station is None


# Whether anything moves


def test_what_rests_before_a_moving_camera_is_told_from_what_moves() -> None:
    moving, resting = walk(), walk(rests=True)
    assert moving.cameras.time is not None
    time = moving.cameras.time
    assert motion_of(moving.cameras, time, lambda i: moving.photos[i]).moves
    found = motion_of(resting.cameras, time, lambda i: resting.photos[i])
    assert not found.moves and found.sure
    apart = np.array([0, 15, 3, 12])  # neighbours in time that see other places: nothing can be told
    far = motion_of(resting.cameras[apart], time[:4], lambda i: resting.photos[apart[i]])
    assert far.moves and not far.sure


def test_one_fixed_camera_of_several_that_sees_the_motion_is_enough() -> None:
    six, rest = ring(), ring(rests=True)
    assert six.cameras.time is not None
    found = motion_of(six.cameras, six.cameras.time, lambda i: (six if six.camera[i] == 0 else rest).photos[i])
    assert found.moves and found.fixed


def test_several_moving_cameras_are_followed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos of one moment by two cameras show no motion."""
    rest, pairs = walk(rests=True), list[bool]()

    def seen(pair: Cameras, a: int, b: int, flow: NDArray) -> NDArray:
        assert pair.time is not None
        pairs.append(bool(pair.time[a] == pair.time[b]))
        return off_epipolar(pair, a, b, flow)

    monkeypatch.setattr("recon.motion.off_epipolar", seen)
    time, camera = (
        np.tile(np.arange(4.0), 4) + np.repeat([0, 0.2, 0.4, 0.6], 4),
        np.repeat(range(4), 4).astype(np.int32),
    )
    found = motion_of(replace(rest.cameras, time=camera), time, lambda i: rest.photos[i], camera)
    assert found.sure and not found.moves
    assert len(pairs) > 20 and all(pairs)


def test_nothing_moves_and_a_static_scene_is_trained(tmp_path: Path) -> None:
    capture, reconstruction = written(walk(rests=True), tmp_path)
    job = Job(tmp_path / "train")
    train_stage(capture, reconstruction, MOVING, job)
    assert any("Nothing moves" in w and "--scene gs is trained instead of gs4d" in w for w in job.warnings)
    assert (job.metrics["scene"], job.metrics["asked"]) == ("gs", "gs4d")
    found = load_scene(job.folder)
    assert found.info["scene"] == "gs" and found.info["asked"] == "gs4d" and not hasattr(found, "times")
    train_stage(capture, reconstruction, STILL, other := Job(tmp_path / "still"))
    assert (job.folder / "scene.ply").read_bytes() == (other.folder / "scene.ply").read_bytes()
    assert "asked" not in other.metrics and "moving_share" not in other.metrics


def test_what_moves_is_trained_as_asked(tmp_path: Path) -> None:
    capture, reconstruction = written(walk(), tmp_path)
    job = Job(tmp_path / "train")
    train_stage(capture, reconstruction, replace(MOVING, steps=1), job)
    assert job.metrics["scene"] == "gs4d" and job.metrics["moving_share"] > 0.01 and "asked" not in job.metrics
    with pytest.raises(InputError, match="has a time"):
        train_stage(replace(capture, time=None), reconstruction, MOVING, Job(tmp_path / "untimed"))


def test_held_out_photos_do_not_decide(tmp_path: Path) -> None:
    """What moves in held-out photos alone is not known."""
    moving, rest = ring(), ring(rests=True)
    held = np.array(moving.split) == "test"
    mixed = replace(rest, photos=np.where(held[:, None, None, None], moving.photos, rest.photos))
    capture, reconstruction = written(mixed, tmp_path)
    train_stage(capture, reconstruction, replace(MOVING, steps=1), job := Job(tmp_path / "train"))
    assert job.metrics["scene"] == "gs"


def test_moments_a_second_of_cameras_that_alternate() -> None:
    six = ring()
    assert six.cameras.time is not None
    shifted = replace(six.cameras, time=six.cameras.time + 0.011 * six.camera)
    span, fps = timeline(shifted, six.names)
    assert span == pytest.approx((0, 4 / 6 + 0.055)) and fps == pytest.approx(6)
    assert timeline(replace(six.cameras, time=None), six.names) == (None, 0.0)


# Kills

CHILD = """
import os, signal, sys
from pathlib import Path
import tests.test_moving_input as here
here.stop_after(5, lambda: os.kill(os.getpid(), signal.SIGKILL))
here.train(Path(sys.argv[1]), "gs4d", "cut")
"""


def stop_after(count: int, stop) -> None:
    """Checkpoints after every step; `stop` is called when the count-th is written."""
    original, calls = stage.save_npz, []

    def save(path: Path, **arrays) -> None:
        original(path, **arrays)
        calls.append(path)
        if len(calls) == count:
            stop()

    stage.CHECKPOINT_SECONDS, stage.save_npz = 0.0, save


def train(root: Path, kind: str, name: str) -> Job:
    capture, reconstruction = written(walk(), root / "capture")
    job = Job(root / name)
    train_stage(capture, reconstruction, replace(MOVING, scene=kind, steps=12), job)
    return job


@pytest.mark.parametrize("kind, how", [("gs4d", "kill"), ("gs_nodes", "interrupt")])
def test_a_stopped_training_goes_on_to_the_same_bits(
    kind: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "kill":
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], env=environment, cwd=ROOT, check=False)
        assert child.returncode == -signal.SIGKILL
    else:
        with monkeypatch.context() as patched:
            patched.setattr(stage, "CHECKPOINT_SECONDS", 0.0)
            patched.setattr(stage, "save_npz", stage.save_npz)
            stop_after(5, lambda: signal.raise_signal(signal.SIGINT))
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path, kind, "cut")
    assert (tmp_path / "cut" / "scratch" / "checkpoint.npz").is_file() and not (tmp_path / "cut" / "scene.npz").exists()
    with np.load(tmp_path / "cut" / "scratch" / "checkpoint.npz") as arrays:
        assert 0 < json.loads(str(arrays["values"]))["pace"]["step"] < 12
    train(tmp_path, kind, "cut")
    train(tmp_path, kind, "whole")
    for name in ("scene.npz", "scene.ply"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_the_sentence_of_a_scene_at_rest_says_what_is_trained() -> None:
    rest = ring(rests=True)
    assert rest.cameras.time is not None
    said = nothing_moves(motion_of(rest.cameras, rest.cameras.time, lambda i: rest.photos[i]), "gs_nodes", "gs")
    assert "Nothing moves in the photos (0.00% of the picture" in said and "gs is trained instead of gs_nodes" in said
