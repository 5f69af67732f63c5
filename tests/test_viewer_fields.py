"""The viewer and radiance fields: pictures that grow part by part, small ones in motion, and previews in training."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("viser")

from recon.geometry import quat_from_rotation
from recon.job import Job
from render import stage_train
from render.options import TrainOptions
from render.scene import Rendering
from tests.fabricate import ring_cameras
from tests.synthetic_scene import capture_of
from viewer import patience
from viewer.live import Watch
from viewer.patience import Patience, ladder, rows_of
from viewer.pictures import Pose, true_image
from viewer.resting import Rest
from viewer.shown import Shown

CAMERA = ring_cameras(1).world_from_cam[0]
POSE = Pose(tuple(quat_from_rotation(CAMERA[:3, :3]).tolist()), tuple(CAMERA[:3, 3].tolist()), 0.7, (160, 96))
ELSEWHERE = replace(POSE, fov=0.9)


def directions(cameras: Any, background: torch.Tensor) -> Rendering:
    """A world that shows where one looks."""
    rgb = torch.from_numpy(0.5 + 0.5 * cameras.rays(0)[1].astype(np.float32))[None]
    return Rendering(rgb, torch.ones(rgb.shape[:3]), torch.ones(rgb.shape[:3]))


FIELD = Shown(None, directions, None, None, None)


class Client:
    """What Rest needs of a session, and what it was given to show."""

    def __init__(self, scene: Any) -> None:
        self.scene, self.pose, self.other, self.closed, self.lock = scene, POSE, None, False, threading.RLock()
        self.shown: list[Any] = []
        self.wishes: dict[Any, Any] = {}
        switch = SimpleNamespace(value=True)
        self.panel: Any = SimpleNamespace(rest=switch, splats=switch)
        self.editor = SimpleNamespace(selecting=False)
        self.now = SimpleNamespace(busy=False)
        self.painter = SimpleNamespace(ask=self.ask, forget=self.forget)
        self.client = SimpleNamespace(
            scene=SimpleNamespace(set_background_image=lambda image, **_: self.shown.append(image))
        )

    def key(self, what: str) -> Any:
        return (0, what)

    def ask(self, key: Any, draw: Any, delay: float = 0.0, *, urgent: bool = False) -> None:
        self.wishes[key[1]] = (draw, delay)

    def forget(self, matches: Any) -> None:
        self.wishes = {name: wish for name, wish in self.wishes.items() if not matches((0, name))}

    def hide_splats(self) -> None:
        pass

    def work(self, name: str) -> None:
        self.wishes.pop(name)[0]()


def test_parts_make_the_picture_that_is_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "UNKNOWN_COST", 1.0)  # as small a part as there is: a row
    patient = Patience()
    monkeypatch.setattr(patient, "affordable", lambda pose, seconds: 16)
    done, more, calls = [], True, 0
    while more:
        image, more = patient.part(FIELD, POSE, 100)
        calls += 1
        done += [] if image is None else [image]
    assert [max(image.shape) for image in done] == ladder(48, 100) == [48, 100] and calls > 2
    for image in done:
        assert np.array_equal(image, true_image(FIELD, POSE, max(image.shape)))


def test_rows_of_a_camera_are_its_own() -> None:
    camera = POSE.cameras(50)
    whole, part = camera.rays(0)[1], rows_of(camera, 7, 12).rays(0)[1]
    assert np.allclose(part, whole[7:12])


def test_a_new_place_begins_anew_and_what_is_cheap_is_drawn_large() -> None:
    patient = Patience()
    patient.part(FIELD, POSE, 2000)
    patient.part(FIELD, ELSEWHERE, 2000)
    assert patient._work is None or patient._work.pose == ELSEWHERE
    patient._cost = 1e-3
    dear = patient.affordable(POSE, 0.2)
    patient._cost = 1e-5
    assert dear == patience.LEAST < 100 < patient.affordable(POSE, 0.2)


def test_a_camera_that_moves_sees_small_pictures_of_a_field_and_splats_of_splats() -> None:
    client: Any = Client(FIELD)
    rest = Rest(client, 200)
    rest.leave()
    rest.ask()
    assert set(client.wishes) == {"glimpse", "rest"} and client.wishes["glimpse"][1] == 0 < client.wishes["rest"][1]
    rest._patience._cost = 1e-3
    client.work("glimpse")
    assert max(client.shown[-1].shape) == patience.LEAST and rest.showing
    rest.leave()
    assert client.shown[-1] is not None and "glimpse" in client.wishes  # the last one stays until the next
    rest.ask()
    while "rest" in client.wishes:
        client.work("rest")
    assert max(client.shown[-1].shape) == 160
    client.panel.rest.value = False
    rest.leave()
    assert client.shown[-1] is None
    made: Any = SimpleNamespace()
    splats: Any = Client(replace(FIELD, splats=made))
    Rest(splats, 200).leave()
    assert "glimpse" not in splats.wishes


def test_a_picture_for_a_place_that_was_left_is_not_shown() -> None:
    client: Any = Client(FIELD)
    rest, draw = Rest(client, 60), FIELD.draw

    def moving(cameras: Any, background: Any) -> Rendering:
        client.pose = ELSEWHERE
        return draw(cameras, background)

    client.scene = replace(FIELD, draw=moving)
    rest.ask()
    client.work("rest")
    assert not client.shown and "rest" not in client.wishes


@pytest.mark.parametrize("scene", ["nerf", "ngp"])
def test_a_field_in_training_can_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: str) -> None:
    capture, posed = capture_of(tmp_path)
    monkeypatch.setattr(stage_train, "PREVIEW_SECONDS", 0.0)
    job = Job(tmp_path / "ws" / ".building" / "train" / "main")
    options = TrainOptions(scene=scene, steps=4, minutes=None, long_side=32, device="cpu")
    seen, run = [], stage_train._Watcher.watch

    def watch(self: Any, event: Any) -> None:
        run(self, event)
        if event.step == 2:
            seen.append(Watch(tmp_path / "ws").poll().whole)
            camera = posed.model.cameras[0].resized([16, 12])
            with torch.no_grad():
                seen.append((seen[0].draw(camera, torch.zeros(3)).rgb, self._run.scene.render(camera).rgb))

    monkeypatch.setattr(stage_train._Watcher, "watch", watch)
    stage_train.train_stage(capture, posed, options, job)
    shown, (drawn, true) = seen[0], seen[1]
    assert shown is not None and shown.step == 2 and shown.splats is None
    assert torch.equal(drawn, true) and not (job.folder / "preview.npz").exists()
