"""The viewer and those who look at it: what a browser is sent, what it may not have, and what a real one draws."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("viser")

from recon.cameras import Cameras
from recon.errors import WorkspaceError
from recon.geometry import World, quat_from_rotation, rotation_from_quat
from render.splats import SH_C0
from tests.browser import CHROMIUM, PATIENCE, FakeBrowser, chromium, wait_for
from tests.fabricate import (
    TURN,
    fabricate,
    ring_cameras,
    ring_model,
    splat_columns,
    splats_of,
    tilted,
    write_preview,
    write_scene,
    write_sparse_stage,
)
from viewer.nodes import TEST_COLOUR, TRAIN_COLOUR
from viewer.options import ViewOptions
from viewer.pictures import (
    pack,
    pose_of,
    true_image,
)
from viewer.server import HOST, Viewer, start_server
from viewer.session import Session

QUICK = ViewOptions(port=0, rest_long_side=32, device="cpu")


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
        assert seen is not None and seen.scene is not None and session.pose is not None
        other = pose_of(cameras, 2, (96, 64))
        near, far = (np.abs(sent - true_image(seen.scene, p, 32)).mean() for p in (session.pose, other))
        assert near < 10 and near < 0.4 * far, "up to JPEG it is the render for this very camera"
        browser.look(np.array(pose.position) * 1.1, pose.wxyz, pose.fov)
        wait_for(lambda: browser.of("BackgroundImageMessage")[-1]["rgb_data"] is None)
        wait_for(lambda: visibility(browser)[-1:] == [True])
        wait_for(lambda: browser.of("BackgroundImageMessage")[-1]["rgb_data"])
        session.panel.rest.value = False
        wait_for(lambda: browser.of("BackgroundImageMessage")[-1]["rgb_data"] is None)
        assert not session.rest.showing


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
        wait_for(lambda: not session.nodes.frusta[5].visible)
        assert [f.visible for f in session.nodes.frusta].count(False) == 1


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


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "http://localhost", "http://["])
def test_a_page_of_another_site_is_shown_nothing(tmp_path: Path, origin: str) -> None:
    with Viewer(fabricate(tmp_path / "ws"), QUICK) as viewer:
        with FakeBrowser(viewer.port, origin=origin) as stranger, FakeBrowser(viewer.port) as friend:
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
            assert len(viewer.sessions) == 1
        wait_for(lambda: len(viewer.sessions) == 0)
        assert not viewer.sessions


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
        wait_for(lambda: session.nodes.points is not None)
        session.panel.cameras.value, session.panel.point_size.value = False, 5.0
        assert_spot(session, tilted(model).cameras, 1, TURN @ spot)
        write_sparse_stage(root, "align", model)
        wait_for(lambda: session.now.aligned)
        assert_spot(session, model.cameras, 4, spot)
        columns = {name: column[:1].copy() for name, column in splat_columns(1).items()}
        columns["mean"][0], columns["log_scale"][:], columns["opacity_logit"][:] = -spot, np.log(0.02), 6.0
        columns["sh"][:] = 0
        columns["sh"][:, 0] = 0.5 / SH_C0
        write_scene(root / "train" / "main" / "scene.npz", columns, World())
        wait_for(lambda: session.splats is not None)
        session.panel.points.value, session.panel.rest.value = False, False
        assert_spot(session, model.cameras, 2, -spot)


def assert_spot(session: Session, cameras: Cameras, row: int, spot: np.ndarray) -> None:
    """The brightest place of the browser's picture is where the browser's camera projects `spot`, within a pixel and a half.

    The client stands at a photo's camera: of a camera of one's own choice viser's client draws splats with the field of view
    of its canvas.
    """
    session.go_to(f"photo {row:02d}.jpg")

    def found() -> bool:
        pose = session.pose
        if pose is None or not np.allclose(pose.position, cameras.centers[row], atol=1e-4):
            return False
        shot = session.client.get_render(pose.size[1], pose.size[0], transport_format="png", timeout=PATIENCE)
        expected = pose.cameras(max(pose.size)).project(spot[None])[0][0, 0]
        light = shot[..., :3].astype(float).sum(-1)
        bright = np.argwhere(light > 0.7 * max(light.max(), 300))
        return len(bright) > 0 and bool(np.abs(bright.mean(0)[::-1] + 0.5 - expected).max() < 1.5)

    wait_for(found)
    seen = session.pose
    assert seen is not None
    pixel = seen.cameras(max(seen.size)).project(spot[None])[0][0, 0]
    truth = pose_of(cameras, row, seen.size).cameras(max(seen.size)).project(spot[None])[0][0, 0]
    assert np.abs(pixel - truth).max() < 1.5, "and it stands as the photo's camera did"
