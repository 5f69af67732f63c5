"""The viewer: its cameras and splats, what it reads of a workspace, what it draws, and that it leaves the machine to training."""

import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("viser")

from recon.geometry import World, rotation_from_quat
from recon.sparse import SparseModel
from render.splats import SH_C0
from tests.browser import PATIENCE, wait_for
from tests.fabricate import (
    TURN,
    fabricate,
    ring_cameras,
    ring_model,
    splat_columns,
    splats_of,
    tilted,
    write_history,
    write_preview,
    write_scene,
    write_sparse_stage,
)
from viewer import live
from viewer.live import Watch
from viewer.options import ViewOptions
from viewer.painter import Painter
from viewer.panel import state_lines
from viewer.pictures import (
    BACKGROUND,
    FAR_Z,
    compare,
    pack,
    place_of,
    pose_of,
    thumbnail,
    tiled,
    true_depth,
    true_image,
)
from viewer.queue import SHARE

QUICK = ViewOptions(port=0, rest_long_side=32, device="cpu")


# Cameras


def test_pose_projects_like_the_photos_camera() -> None:
    """A canvas of the photo's shape: the same picture, at any size."""
    cameras = ring_cameras(5)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 3))
    for row in range(5):
        pose = pose_of(cameras, row, (960, 640))
        truth, _ = cameras[row].project(points)
        for long_side in (96, 33, 960):
            drawn = pose.cameras(long_side)
            pixels, _ = drawn.project(points)
            scale = drawn.size[0] / cameras.size[row]
            np.testing.assert_allclose(pixels, truth * scale, atol=1e-6 * long_side)


def test_pose_shows_the_whole_photo_on_any_canvas() -> None:
    cameras = ring_cameras(1)
    corners = np.array([[0, 0], [96, 0], [0, 64], [96, 64]], float)
    origin, rays = cameras.rays(0, corners)
    for canvas in ((400, 900), (1600, 500), (640, 640)):
        drawn = pose_of(cameras, 0, canvas).cameras(1000)
        pixels = drawn.project(origin + 5 * rays)[0][0] / drawn.size[0]
        assert (pixels > -1e-9).all() and (pixels < 1 + 1e-9).all()
        assert np.isclose(np.ptp(pixels, axis=0), 1).any(), "and no smaller than needed"


# Splats


def test_packed_splats_are_the_splats() -> None:
    columns = splat_columns(50)
    packed = pack(splats_of(columns))
    center = packed.buffer[:, :3].view(np.float32) * packed.scale
    np.testing.assert_allclose(center, columns["mean"], rtol=1e-6)
    rotation = rotation_from_quat(columns["quat"])
    variance = np.exp(2 * columns["log_scale"].astype(float))
    truth = np.einsum("nij,nj,nkj->nik", rotation, variance, rotation)
    half = np.ascontiguousarray(packed.buffer[:, 4:7]).view(np.float16).astype(float) * packed.scale**2
    scale = variance.max(1)[:, None]
    assert np.abs(half - truth.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]]).max() < (2e-3 * scale).max()
    rgba = np.ascontiguousarray(packed.buffer[:, 7:]).view(np.uint8).reshape(-1, 4) / 255
    np.testing.assert_allclose(rgba[:, :3], np.clip(0.5 + SH_C0 * columns["sh"][:, 0], 0, 1), atol=0.003)
    np.testing.assert_allclose(rgba[:, 3], 1 / (1 + np.exp(-columns["opacity_logit"])), atol=0.003)


@pytest.mark.parametrize("size", [1e-5, 1e-3, 1.0, 300.0])
def test_packing_keeps_small_and_large_splats(size: float) -> None:
    """float16 alone would lose a splat of 0.1 mm in a world of metres, and overflow at 300 m."""
    columns = splat_columns(20)
    columns["log_scale"] = np.full((20, 3), np.log(size), np.float32)
    packed = pack(splats_of(columns))
    diagonal = np.ascontiguousarray(packed.buffer[:, 4:7]).view(np.float16)[:, [0, 3, 5]].astype(float)
    np.testing.assert_allclose(diagonal * packed.scale**2, size**2, rtol=3e-3)
    assert len(pack(splats_of(columns)[:0]).buffer) == 0


# What it reads


def test_watch_follows_a_workspace_from_nothing_to_the_end(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "ws")
    assert watch.poll().same(live.Snapshot())
    names = tuple(f"p{i}.jpg" for i in range(8))
    root = tmp_path / "ws"
    write_sparse_stage(root, "sfm", ring_model(names, points=30))
    seen = watch.poll()
    assert seen.sparse is not None and len(seen.sparse.model.xyz) == 30 and not seen.aligned and seen.scene is None
    assert seen.sparse.model.names == names and seen.sparse.image_path("p3.jpg").is_file()
    write_sparse_stage(root, "align", ring_model(names, points=31))
    aligned = watch.poll()
    assert aligned.aligned and aligned.sparse is not None and len(aligned.sparse.model.xyz) == 31
    assert aligned.sparse.model.world.up == "estimated"
    building = root / ".building" / "train" / "main"
    write_preview(building / "preview.npz", splat_columns(60), step=70)
    write_history(building / "history.jsonl", rows=3)
    (root / ".writer.json").write_text(f'{{"pid": {os.getpid()}, "verb": "run"}}')
    at_work = watch.poll()
    assert at_work.scene is not None and at_work.scene.step == 70 and at_work.training and at_work.working == "run"
    assert at_work.scene.splats is not None and len(at_work.scene.splats) == 60 and len(at_work.history) == 3
    assert watch.poll().same(at_work) and watch.poll().scene is at_work.scene, "nothing is read twice"
    write_scene(root / "train" / "main" / "scene.npz", splat_columns(80), World())
    write_history(root / "train" / "main" / "history.jsonl", rows=5)
    shutil.rmtree(root / ".building")
    (root / ".writer.json").unlink()
    done = watch.poll()
    assert done.scene is not None and done.scene.step is None and not done.training and len(done.history) == 5
    assert done.scene.splats is not None and len(done.scene.splats) == 80


def test_watch_sees_a_swapped_scene_and_outlives_the_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fabricate(tmp_path / "ws")
    watch = Watch(root)
    first = watch.poll()
    (root / "train" / "main").rename(tmp_path / "aside")
    assert watch.poll().scene is first.scene, "absent for the moment of a swap"
    write_scene(root / "train" / "main" / "scene.npz", splat_columns(90), World())
    second = watch.poll()
    assert second.scene is not None and second.scene.splats is not None and len(second.scene.splats) == 90
    shutil.rmtree(root / "train")
    monkeypatch.setattr(live, "SWAP_SECONDS", -1.0)
    assert watch.poll().scene is None, "and gone when it stays away"


def test_watch_names_what_it_cannot_read_and_keeps_what_it_had(tmp_path: Path) -> None:
    root = fabricate(tmp_path / "ws")
    watch = Watch(root)
    good = watch.poll()
    whole = (root / "train" / "main" / "scene.npz").read_bytes()
    (root / "train" / "main" / "scene.npz").write_bytes(whole[: len(whole) // 2])
    bad = watch.poll()
    assert bad.scene is good.scene and len(bad.problems) == 1 and "scene.npz" in bad.problems[0]
    assert any("cannot read" in line for line in state_lines(bad))
    (root / "train" / "main" / "scene.npz").write_bytes(whole)
    assert watch.poll().problems == ()
    with open(root / "train" / "main" / "history.jsonl", "a") as stream:
        stream.write('{"seconds": 98, "step": 980}\n{"seconds": 99, "st')
    assert watch.poll().history == (*good.history, {"seconds": 98, "step": 980}), "a line that is being written waits"


def test_a_stopped_training_is_no_training(tmp_path: Path) -> None:
    root = fabricate(tmp_path / "ws", trained=False)
    building = root / ".building" / "train" / "main"
    write_preview(building / "preview.npz", splat_columns(10), step=7)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (root / ".writer.json").write_text(f'{{"pid": {dead.pid}, "verb": "train"}}')
    seen = Watch(root).poll()
    assert seen.working is None and not seen.training
    assert "training stopped at step 7: run it again to go on" in state_lines(seen)


def test_home_and_up(tmp_path: Path) -> None:
    names = tuple("abcdef")
    upright = ring_model(names, world=World(up="gravity"))
    place = place_of(reconstruction(upright, tmp_path))
    assert place.up == (0, 0, 1) and 2 < place.size < 4 and 2 < place.apart < 4
    behind = replace(upright, xyz=upright.cameras.centers[4] * np.linspace(0.5, 0.9, 9)[:, None])
    assert place_of(reconstruction(behind, tmp_path)).home in (1, 4), "where the points before camera 4 are in view"
    np.testing.assert_allclose(place_of(reconstruction(tilted(upright), tmp_path)).up, TURN @ [0, 0, 1], atol=1e-6)


def reconstruction(model: SparseModel, root: Path) -> live.Reconstruction:
    return live.Reconstruction(model, root / "sfm" / "images", None, ())


# What it draws


def test_pictures_of_a_scene(tmp_path: Path) -> None:
    watch = Watch(fabricate(tmp_path / "ws"))
    seen = watch.poll()
    assert seen.scene is not None and seen.sparse is not None
    pose = pose_of(seen.sparse.model.cameras, 0, (96, 64))
    image = true_image(seen.scene, pose, 48)
    assert image.shape == (32, 48, 3) and (image[0, 0] == BACKGROUND).all() and image.std() > 10
    z = true_depth(seen.scene, pose, 24)
    assert z is not None and z.shape == (16, 24) and z[0, 0] == np.float32(FAR_Z)
    distance = np.linalg.norm(seen.sparse.model.cameras.centers[0])
    assert abs(z[8, 12] - distance) < 1.2, "the box of splats is as far as it is"
    away = replace(pose, position=tuple(4 * v for v in pose.position), wxyz=(1.0, 0.0, 0.0, 0.0))
    assert (true_image(seen.scene, away, 24) == BACKGROUND).all() and true_depth(seen.scene, away, 24) is None
    found = compare([seen.scene], seen.sparse, "photo 00.jpg", 48)
    assert found.picture.shape == (3 * 32 + 2 * 6, 48, 3) and found.long_side == 48
    photo, render = found.picture[:32] / 255, found.picture[38:70] / 255
    assert found.psnr[0] == pytest.approx(-10 * np.log10(((photo - render) ** 2).mean()), abs=0.1)
    assert tiled([np.zeros((9, 5, 3), np.uint8)] * 3).shape == (9, 3 * 5 + 2 * 6, 3)
    assert thumbnail(seen.sparse, "photo 03.jpg").shape == (64, 96, 3)


def test_painter_draws_one_at_a_time_and_the_newest_wish() -> None:
    painter, drawn, gate, busy = Painter(), [], threading.Event(), threading.Lock()

    def draw(what: str) -> None:
        assert busy.acquire(blocking=False), "two pictures at once"
        drawn.append(what)
        gate.wait(PATIENCE)
        busy.release()

    try:
        painter.ask("first", lambda: draw("first"))
        wait_for(lambda: drawn)
        for i in range(5):
            painter.ask(("client", "rest"), lambda i=i: draw(f"view {i}"))
        painter.ask(("gone", "rest"), lambda: draw("of a client that left"))
        painter.forget(lambda key: key == ("gone", "rest"))
        painter.ask("bad", lambda: 1 // 0)
        gate.set()
        painter.ask("last", lambda: draw("last"), delay=0.01)
        wait_for(lambda: "last" in drawn)
        assert drawn == ["first", "view 4", "last"]
    finally:
        painter.stop()
    painter.ask("late", lambda: draw("late"))
    assert not painter._thread.is_alive() and "late" not in drawn


def test_painter_waits_for_its_share_of_the_cpu_while_a_training_runs() -> None:
    """Its clocks are ours: a picture that cost 30 CPU seconds is followed by none until those have been earned."""
    import numba

    now, cpu, threads = [0.0], [0.0], []
    painter = Painter(lambda: now[0], lambda: cpu[0])

    def draw() -> None:
        cpu[0] += 30.0
        threads.append(numba.get_num_threads())

    try:
        painter.training = True
        painter.ask("a", draw)
        wait_for(lambda: threads)
        earned = 30.0 / (SHARE * painter.budget.cores)
        now[0] += 0.9 * earned
        painter.ask("b", draw)
        painter.ask("c", lambda: threads.append(-1))
        time.sleep(0.05)
        assert len(threads) == 1
        now[0] += 0.2 * earned
        painter.ask("d", lambda: None)
        wait_for(lambda: len(threads) == 2)
        painter.training = False
        painter.ask("e", draw)
        wait_for(lambda: len(threads) == 4)
    finally:
        painter.stop()
    assert threads[:2] == [1, 1] and numba.config.NUMBA_NUM_THREADS in threads[2:]  # type: ignore[attr-defined]
    assert painter.budget.pictures >= 2 and painter.budget.drawn == 60
