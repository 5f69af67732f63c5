"""The viewer: what it reads of a workspace, what it sends to a browser, what it draws, and that it stays out of the way."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("viser")

from recon.cameras import Cameras
from recon.errors import WorkspaceError
from recon.geometry import World, quat_from_rotation, rotation_from_quat
from recon.sparse import SparseModel
from render.splats import SH_C0, Splats
from tests.browser import CHROMIUM, PATIENCE, FakeBrowser, chromium, wait_for
from tests.fabricate import (
    fabricate,
    ring_cameras,
    ring_model,
    splat_columns,
    write_history,
    write_preview,
    write_scene,
    write_sparse_stage,
)
from viewer import live
from viewer.live import Watch
from viewer.options import ViewOptions
from viewer.painter import SHARE_WHILE_TRAINING, Painter
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
from viewer.server import HOST, Viewer, start_server
from viewer.session import TEST_COLOUR, TRAIN_COLOUR, Session

QUICK = ViewOptions(port=0, rest_long_side=32, device="cpu")


def splats_of(columns: dict[str, np.ndarray]) -> Splats:
    order = ("mean", "log_scale", "quat", "opacity_logit", "sh")
    return Splats(*(torch.from_numpy(columns[name]) for name in order))


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


TURN = rotation_from_quat([0.9, 0.3, -0.2, 0.1])


def tilted(model: SparseModel) -> SparseModel:
    """The same in a frame that nobody has turned upright."""
    poses = model.cameras.cam_from_world.copy()
    poses[:, :3, :3] = poses[:, :3, :3] @ TURN.T
    return replace(model, cameras=replace(model.cameras, cam_from_world=poses), xyz=model.xyz @ TURN.T, world=World())


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
    found = compare(seen.scene, seen.sparse, "photo 00.jpg", 48)
    assert found.picture.shape == (3 * 32 + 2 * 6, 48, 3) and found.long_side == 48
    photo, render = found.picture[:32] / 255, found.picture[38:70] / 255
    assert found.psnr == pytest.approx(-10 * np.log10(((photo - render) ** 2).mean()), abs=0.1)
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


def test_painter_leaves_the_machine_to_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    rests: list[float] = []
    threads: list[int] = []
    monkeypatch.setattr(Painter, "_rest", lambda self, seconds: rests.append(seconds))
    painter = Painter()
    work = threading.Event()
    spent: list[float] = []

    def draw() -> None:
        import time

        start = time.monotonic()
        work.wait(0.05)
        threads.append(numba.get_num_threads())
        spent.append(time.monotonic() - start)

    try:
        painter.training = True
        painter.ask("a", draw)
        wait_for(lambda: rests)
        painter.training = False
        painter.ask("b", draw)
        wait_for(lambda: len(threads) == 2)
    finally:
        painter.stop()
    assert threads[0] == 1 and threads[1] == numba.config.NUMBA_NUM_THREADS
    assert len(rests) == 1 and rests[0] >= 0.999 * spent[0] * (1 / SHARE_WHILE_TRAINING - 1)


# What it sends


def test_a_browser_is_sent_splats_cameras_and_points(tmp_path: Path) -> None:
    root = fabricate(tmp_path / "ws")
    before = tree(root)
    with Viewer(root, QUICK) as viewer, FakeBrowser(viewer.port) as browser:
        browser.look((9, 0, 1))
        wait_for(lambda: len(browser.of("CameraFrustumMessage")) == 8)
        colours = [tuple(m["props"]["color"]) for m in browser.of("CameraFrustumMessage")]
        assert colours == [TEST_COLOUR, *[TRAIN_COLOUR] * 3] * 2
        model = ring_model(tuple(f"photo {i:02d}.jpg" for i in range(8)))
        frustum = browser.of("CameraFrustumMessage", name="/cameras/2")[0]
        assert frustum["props"]["fov"] == pytest.approx(2 * np.arctan(32 / 90)) and frustum["props"]["aspect"] == 1.5
        place = browser.of("SetPositionMessage", name="/cameras/3")[0]["position"]
        np.testing.assert_allclose(place, model.cameras.centers[3], atol=1e-6)
        wxyz = browser.of("SetOrientationMessage", name="/cameras/3")[0]["wxyz"]
        np.testing.assert_allclose(rotation_from_quat(wxyz), model.cameras.world_from_cam[3, :3, :3], atol=1e-6)
        points = browser.of("PointCloudMessage")[0]["props"]
        np.testing.assert_allclose(np.frombuffer(points["points"], np.float32).reshape(-1, 3), model.xyz, atol=1e-6)
        packed = pack(splats_of(splat_columns()))
        assert wait_for(lambda: splat_buffers(browser))[-1] == packed.buffer.tobytes()
        wait_for(lambda: len(thumbnails(browser)) == 8)
        np.testing.assert_allclose(
            last_camera(browser, "Position"), model.cameras.centers[viewer._place.home], atol=1e-6
        )
    assert tree(root) == before, "it writes nothing"


def tree(root: Path) -> dict[str, tuple[int, int]]:
    found = {p.relative_to(root).as_posix(): p.stat() for p in root.rglob("*")}
    return {name: (s.st_size, s.st_mtime_ns) for name, s in found.items()}


def splat_buffers(browser: FakeBrowser) -> list[bytes]:
    updates = [m["updates"] for m in browser.of("SceneNodeUpdateMessage", name="/splats")]
    return [u["buffer"] for u in updates if "buffer" in u]


def thumbnails(browser: FakeBrowser) -> set[str]:
    updates = browser.of("SceneNodeUpdateMessage")
    return {m["name"] for m in updates if m["name"].startswith("/cameras/") and m["updates"].get("_image_data")}


def last_camera(browser: FakeBrowser, what: str) -> list[float]:
    return wait_for(lambda: browser.of(f"SetCamera{what}Message"))[-1][
        {"Position": "position", "LookAt": "look_at"}[what]
    ]


def test_a_new_scene_reaches_a_browser_that_is_there(tmp_path: Path) -> None:
    root = fabricate(tmp_path / "ws", trained=False)
    with Viewer(root, QUICK) as viewer, FakeBrowser(viewer.port) as browser:
        browser.look((9, 0, 1))
        wait_for(lambda: browser.of("PointCloudMessage"))
        assert not splat_buffers(browser)
        building = root / ".building" / "train" / "main"
        for step, count in ((10, 40), (20, 70)):
            write_preview(building / "preview.npz", splat_columns(count), step)
            expected = pack(splats_of(splat_columns(count))).buffer.tobytes()
            wait_for(lambda e=expected: e in splat_buffers(browser))
        write_scene(root / "train" / "main" / "scene.npz", splat_columns(55, seed=9), World())
        shutil.rmtree(root / ".building")
        wait_for(lambda: splat_buffers(browser)[-1] == pack(splats_of(splat_columns(55, seed=9))).buffer.tobytes())


def test_the_true_image_comes_at_rest_and_goes_with_the_next_movement(tmp_path: Path) -> None:
    root = fabricate(tmp_path / "ws")
    cameras = ring_cameras(8)
    with Viewer(root, QUICK) as viewer, FakeBrowser(viewer.port) as browser:
        pose = pose_of(cameras, 1, (96, 64))
        browser.look(pose.position, pose.wxyz, pose.fov)
        wait_for(lambda: viewer.sessions and splat_buffers(browser))
        browser.look(pose.position, pose.wxyz, pose.fov + 1e-3)
        shown = wait_for(lambda: [m for m in browser.of("BackgroundImageMessage") if m["rgb_data"]])[-1]
        wait_for(lambda: visibility(browser)[-1:] == [False])
        sent = picture(shown["rgb_data"])
        session = viewer.sessions[0]
        seen = viewer._snapshot
        assert seen is not None and seen.scene is not None and session._pose is not None
        other = pose_of(cameras, 2, (96, 64))
        near, far = (np.abs(sent - true_image(seen.scene, p, 32)).mean() for p in (session._pose, other))
        assert near < 10 and near < 0.4 * far, "up to JPEG it is the render for this very camera"
        browser.look(np.array(pose.position) * 1.1, pose.wxyz, pose.fov)
        wait_for(lambda: browser.of("BackgroundImageMessage")[-1]["rgb_data"] is None)
        wait_for(lambda: visibility(browser)[-1:] == [True])
        wait_for(lambda: browser.of("BackgroundImageMessage")[-1]["rgb_data"])
        session.panel.rest.value = False
        wait_for(lambda: browser.of("BackgroundImageMessage")[-1]["rgb_data"] is None)
        assert not session._resting


def visibility(browser: FakeBrowser) -> list[bool]:
    return [m["visible"] for m in browser.of("SetSceneNodeVisibilityMessage", name="/splats")]


def picture(data: bytes) -> np.ndarray:
    import cv2

    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(float)


def test_a_click_on_a_camera_goes_there_and_clears_the_view(tmp_path: Path) -> None:
    cameras = ring_cameras(8)
    with Viewer(fabricate(tmp_path / "ws"), QUICK) as viewer, FakeBrowser(viewer.port) as browser:
        browser.look((9, 0, 1))
        owner = (
            wait_for(lambda: len(browser.of("CameraFrustumMessage")) == 8)
            and browser.of("CameraFrustumMessage")[5]["owner"]
        )
        browser.click("/cameras/5", owner)
        wait_for(lambda: np.allclose(last_camera(browser, "Position"), cameras.centers[5], atol=1e-6))
        look = np.array(last_camera(browser, "LookAt")) - cameras.centers[5]
        np.testing.assert_allclose(look / np.linalg.norm(look), cameras.world_from_cam[5, :3, 2], atol=1e-6)
        session = viewer.sessions[0]
        wait_for(lambda: session.panel.chosen == "photo 05.jpg")
        browser.look(cameras.centers[5], quat_from_rotation(cameras.world_from_cam[5, :3, :3]))
        wait_for(lambda: not session._frusta[5].visible)
        assert [f.visible for f in session._frusta].count(False) == 1


def test_a_client_at_a_photo_sees_all_of_it_when_its_window_changes(tmp_path: Path) -> None:
    cameras = ring_cameras(8)
    with Viewer(fabricate(tmp_path / "ws"), QUICK) as viewer, FakeBrowser(viewer.port) as browser:
        browser.look((9, 0, 1), size=(96, 64))
        home = wait_for(lambda: viewer._place).home
        wait_for(lambda: browser.of("SetCameraPositionMessage"))
        wide = pose_of(cameras, home, (96, 64))
        wait_for(lambda: abs(browser.of("SetCameraFovMessage")[-1]["fov"] - wide.fov) < 1e-6)
        browser.look((9, 0, 1), size=(48, 64))
        browser.look(cameras.centers[home], wide.wxyz, wide.fov, size=(48, 64))
        narrow = pose_of(cameras, home, (48, 64)).fov
        assert narrow > wide.fov + 0.1
        wait_for(lambda: abs(browser.of("SetCameraFovMessage")[-1]["fov"] - narrow) < 1e-6)
        browser.look((7, 0, 1), wide.wxyz, narrow, size=(48, 64))
        wait_for(lambda: viewer.sessions[0]._at is None)


# What it lets nobody do


def test_it_listens_on_the_loopback_address_alone(tmp_path: Path) -> None:
    with Viewer(fabricate(tmp_path / "ws", trained=False), QUICK) as viewer:
        assert HOST == "127.0.0.1"
        socket.create_connection((HOST, viewer.port), timeout=5).close()
        others = {"127.0.0.2"} if sys.platform == "linux" else set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))  # sends nothing; asks which address would be used
                others.add(probe.getsockname()[0])
            except OSError:
                assert others or sys.platform != "linux"
        for address in others - {HOST}:
            with pytest.raises(OSError):
                socket.create_connection((address, viewer.port), timeout=5).close()


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        server = start_server(taken.getsockname()[1])
        try:
            assert server.get_port() != taken.getsockname()[1]
            assert server.request_share_url() is None, "no tunnel to the outside"
        finally:
            server.stop()


def test_a_page_of_another_site_is_shown_nothing(tmp_path: Path) -> None:
    with Viewer(fabricate(tmp_path / "ws"), QUICK) as viewer:
        with FakeBrowser(viewer.port, origin="https://evil.example") as stranger, FakeBrowser(viewer.port) as friend:
            stranger.look((3, 0, 1))
            friend.look((3, 0, 1))
            wait_for(lambda: splat_buffers(friend))
            kinds = {m["type"] for m in stranger.messages}
            assert kinds and not kinds & {
                "GaussianSplatsMessage",
                "CameraFrustumMessage",
                "PointCloudMessage",
                "GuiHtmlMessage",
            }
        with FakeBrowser(viewer.port, origin=viewer.url) as own:
            own.look((3, 0, 1))
            wait_for(lambda: splat_buffers(own))


def test_a_client_that_leaves_is_forgotten(tmp_path: Path) -> None:
    with Viewer(fabricate(tmp_path / "ws"), QUICK) as viewer:
        with FakeBrowser(viewer.port) as browser:
            browser.look((9, 0, 1))
            wait_for(lambda: len(viewer.sessions) == 1)
        wait_for(lambda: len(viewer.sessions) == 0)


def test_no_folder_is_an_error_that_helps(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError, match="recon run"):
        Viewer(tmp_path / "nowhere", QUICK)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_command_serves_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    root = fabricate(tmp_path / "ws")
    command = [sys.executable, "-m", "recon", "view", "-w", str(root), "--port", "0"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )
    try:
        assert process.stderr is not None
        line = ""
        while "http://127.0.0.1:" not in line:
            line = process.stderr.readline()
            assert line, "it ended before it served"
        port = int(line.split("http://127.0.0.1:")[1].split()[0])
        with FakeBrowser(port) as browser:
            browser.look((9, 0, 1))
            wait_for(lambda: splat_buffers(browser))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0 and out == "" and "Traceback" not in err


# In a real browser


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_chromium_draws_points_and_splats_where_our_cameras_see_them(tmp_path: Path) -> None:
    """One bright point in a tilted frame, the same upright, then one bright splat: the browser's picture against
    Cameras.project(), pixel by pixel.
    """
    root, spot = tmp_path / "ws", np.array([0.25, -0.3, 0.35])
    model = ring_model(tuple(f"photo {i:02d}.jpg" for i in range(8)), points=1)
    model = replace(model, xyz=spot[None], rgb=np.full((1, 3), 255, np.uint8))
    write_sparse_stage(root, "sfm", tilted(model))
    with Viewer(root, QUICK) as viewer, chromium(viewer.url, tmp_path / "profile"):
        session = wait_for(lambda: viewer.sessions[:1])[0]
        wait_for(lambda: session._points is not None)
        session.panel.cameras.value, session.panel.point_size.value = False, 5.0
        assert_spot(session, tilted(model).cameras, 1, TURN @ spot)
        write_sparse_stage(root, "align", model)
        wait_for(lambda: session._now.aligned)
        assert_spot(session, model.cameras, 4, spot)
        columns = {name: column[:1].copy() for name, column in splat_columns(1).items()}
        columns["mean"][0], columns["log_scale"][:], columns["opacity_logit"][:] = -spot, np.log(0.02), 6.0
        columns["sh"][:] = 0
        columns["sh"][:, 0] = 0.5 / SH_C0
        write_scene(root / "train" / "main" / "scene.npz", columns, World())
        wait_for(lambda: session._splats is not None)
        session.panel.points.value, session.panel.rest.value = False, False
        assert_spot(session, model.cameras, 2, -spot)


def assert_spot(session: Session, cameras: Cameras, row: int, spot: np.ndarray) -> None:
    """The brightest place of the browser's picture is where the browser's camera projects `spot`, within a pixel and a half.

    The client stands at a photo's camera: of a camera of one's own choice viser's client draws splats with the field of view
    of its canvas.
    """
    session.go_to(f"photo {row:02d}.jpg")

    def found() -> bool:
        pose = session._pose
        if pose is None or not np.allclose(pose.position, cameras.centers[row], atol=1e-4):
            return False
        shot = session._client.get_render(pose.size[1], pose.size[0], transport_format="png", timeout=PATIENCE)
        expected = pose.cameras(max(pose.size)).project(spot[None])[0][0, 0]
        light = shot[..., :3].astype(float).sum(-1)
        bright = np.argwhere(light > 0.7 * max(light.max(), 300))
        return len(bright) > 0 and bool(np.abs(bright.mean(0)[::-1] + 0.5 - expected).max() < 1.5)

    wait_for(found)
    seen = session._pose
    assert seen is not None
    pixel = seen.cameras(max(seen.size)).project(spot[None])[0][0, 0]
    truth = pose_of(cameras, row, seen.size).cameras(max(seen.size)).project(spot[None])[0][0, 0]
    assert np.abs(pixel - truth).max() < 1.5, "and it stands as the photo's camera did"
