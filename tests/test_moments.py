"""Films and the live view of a scene that moves: each frame at its time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest

from recon.errors import InputError
from recon.workspace import Workspace
from tests.browser import FakeBrowser, wait_for
from tests.fabricate import ring_cameras
from tests.film_scene import whole
from tests.moving_splats import BallScene
from viewer.film import film
from viewer.frames import decode_png
from viewer.moments import moment_of, played
from viewer.options import RenderOptions
from viewer.panel import Panel
from viewer.panorama import panorama
from viewer.paths import CameraPath, Sampled, write_path
from viewer.pictures import pack
from viewer.shown import shown_scene

SCENE = BallScene(seconds=2.0, fps=10, detail=10)
START = 1.5
SCENE.times = (START, START + 2.0)


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr("render.edits.load_edited", lambda *_, **__: SCENE)
    return Workspace(whole(tmp_path / "ws"))


def path_of(space: Workspace, scene_time: list[float] | None) -> str:
    pose = ring_cameras(8).cam_from_world[[6, 6]]
    moments = None if scene_time is None else np.array(scene_time)
    file = space.root.parent / "path.json"
    write_path(file, CameraPath(np.array([0.0, 1.0]), pose, np.array([50.0, 50.0]), 2.0, False, moments))
    return str(file)


def frames(space: Workspace, name: str, scene_time: list[float] | None, time: float | None = None) -> list[np.ndarray]:
    out = space.root.parent / name
    options = RenderOptions(path=path_of(space, scene_time), video=out, long_side=48, device="cpu")
    film(space, options, None, time)
    return [decode_png(file.read_bytes()).astype(int) for file in sorted(out.glob("*.png"))]


def test_a_film_shows_each_frame_at_its_time(space: Workspace) -> None:
    still = frames(space, "still", None, START)
    assert len(still) == 3 and np.array_equal(still[0], still[2])  # --time stops the scene
    told = frames(space, "told", [START, START + 1.6])
    assert np.array_equal(told[0], still[0]) and np.abs(told[1] - still[0]).max() > 30
    plain = frames(space, "plain", None)
    assert np.array_equal(plain[0], still[0]) and np.abs(plain[2] - still[0]).max() > 30  # without a word it plays
    at_end = frames(space, "end", None, START + 1.6)
    assert np.array_equal(at_end[0], told[2])


def test_a_still_all_around_at_its_time(space: Workspace) -> None:
    def at(name: str, time: float | None) -> bytes:
        options = RenderOptions(panorama=space.root.parent / name, place="0,-2,0", long_side=64, device="cpu")
        return panorama(space, options, None, time).read_bytes()

    assert at("a.png", None) == at("b.png", START) != at("c.png", START + 1.0)


def test_moments_outside_are_refused_and_films_play_round(space: Workspace) -> None:
    with pytest.raises(InputError, match=r"expected 1\.5 to 3\.5 seconds"):
        moment_of(SCENE, "main", 0.0)
    with pytest.raises(InputError, match="stands still"):
        moment_of(object(), "main", 0.0)
    poses = ring_cameras(1).cam_from_world
    sampled = Sampled(np.array([7.0, 8.5, 9.5]), np.repeat(poses, 3, 0), np.full(3, 50.0), None)
    assert played(sampled, object(), "main", None).scene_time is None
    assert played(sampled, SCENE, "main", None).scene_time == pytest.approx([1.5, 3.0, 2.0])
    own = replace(sampled, scene_time=np.array([2.0, 2.0, 2.0]))
    assert played(own, SCENE, "main", None) is own


def test_the_live_view_shows_a_moment() -> None:
    import torch

    shown = shown_scene(SCENE, "cpu", 0.02)
    assert shown.times == SCENE.times and shown.at is not None and shown.splats is not None
    later = shown.at(START + 1.0)
    assert later.splats is not None and torch.equal(later.splats.mean, SCENE.at(START + 1.0).mean)
    camera, black = ring_cameras(8)[[6]], torch.zeros(3)
    first, second = (one.draw(camera, black).rgb for one in (shown, later))
    assert float((first - second).abs().max()) > 0.1
    timed = replace(camera, time=np.array([START + 1.0]))
    assert torch.equal(shown.draw(timed, black).rgb, second)  # a photo's camera has its own time
    panel = Panel(MagicMock())
    panel.time = Mock(min=0.0, max=1.0)
    panel.offer_time(shown.times)
    assert (panel.time.min, panel.time.max, panel.time.value, panel.time.visible) == (START, START + 2, START, True)
    panel.offer_time(None)
    assert panel.time.visible is False


def test_the_slider_of_a_client_moves_its_splats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("viser")
    from tests.test_viewer_clients import QUICK, splat_buffers
    from viewer.server import Viewer

    monkeypatch.setattr("render.scene_file.read_scene", lambda *_: SCENE)
    root = whole(tmp_path / "ws")
    with Viewer(root, QUICK) as viewer, FakeBrowser(viewer.port) as browser:
        browser.look((9, 0, 1))
        first, later = (pack(SCENE.at(t)).buffer.tobytes() for t in (START, START + 1.0))
        wait_for(lambda: splat_buffers(browser)[-1:] == [first])
        session = viewer.sessions[0]
        wait_for(lambda: session.panel.time.visible)
        session.panel.time.value = START + 1.0
        wait_for(lambda: splat_buffers(browser)[-1:] == [later])
        assert session.scene is not None and session.scene.splats is not None
        assert session.scene.splats.mean.equal(SCENE.at(START + 1.0).mean)
