"""One client: its panel, its nodes in viser's scene, its camera. What a client sees is its own, and so are its switches.

The parts of what it sees stand in files of their own: cameras and points (nodes.py), mesh and depth (layers.py), the true image
(resting.py), the photo beside the render (comparing.py), edits (editor.py) and camera paths (recorder.py). They share what is
public here.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.geometry import Array, rotation_from_quat
from viewer.comparing import Comparing
from viewer.editor import Editor
from viewer.layers import Clouds, Layers
from viewer.live import Snapshot, Trained
from viewer.nodes import SparseNodes
from viewer.panel import Panel, score_line
from viewer.pictures import Packed, Place, Pose, pack, pose_of, view_distance
from viewer.recorder import Recorder
from viewer.resting import Rest
from viewer.shelf import Shelf

if TYPE_CHECKING:
    import viser

    from viewer.options import ViewOptions
    from viewer.painter import Painter
    from viewer.shown import Shown


@dataclass(frozen=True)
class Stand:
    """A client that was sent to a photo's camera."""

    row: int
    canvas: tuple[int, int]
    """Size for which its field of view was chosen."""
    arrived: bool
    """Whether it has reported from there."""


@dataclass(frozen=True, eq=False)
class Common:
    """What all clients of a viewer share."""

    root: Path
    """The workspace."""
    painter: Painter
    options: ViewOptions
    clouds: Clouds
    thumbnails: Shelf
    comparisons: Shelf
    saving: threading.Lock
    """Held while a file is written: one client saves at a time."""


class Session:
    """What one browser tab shows. Called from the polling thread, from viser's threads and from the painter."""

    def __init__(self, client: viser.ClientHandle, common: Common) -> None:
        self.client, self.common, self.painter, self.name = client, common, common.painter, common.options.name
        self.lock = threading.RLock()
        self.now = Snapshot()
        self.place: Place | None = None
        self.pose: Pose | None = None
        self.closed = False
        self._packed: Packed | None = None
        self._moment: Shown | None = None
        """The scene at a time that the client has chosen; None: at its first, or it stands still."""
        self._moment_of: Shown | None = None
        """The scene that it is a moment of."""
        self.splats: viser.GaussianSplatHandle | None = None
        self._at: Stand | None = None
        self.panel = Panel(client.gui)
        self.nodes, self.layers = SparseNodes(self), Layers(self, common.clouds)
        self.rest, self.comparing = Rest(self, common.options.rest_long_side), Comparing(self)
        self.editor, self.recorder = Editor(self), Recorder(self)
        self.panel.on_switch(self._switched)
        self.panel.time.on_update(lambda _: self._at_time())
        self.panel.home.on_click(lambda _: self._go_home())
        self.panel.photo.on_update(lambda _: self.comparing.ask())
        self.panel.step.on_click(lambda event: self._step(event.target.value))
        self.panel.other.on_update(lambda _: self._chose_other())
        self.panel.divider.on_update(lambda _: self.rest.ask(0.0))
        client.camera.on_update(lambda camera: self._moved(camera))
        self._moved(client.camera)

    def key(self, what: str) -> Hashable:
        """The painter's key of this client's wish."""
        return (id(self), what)

    @property
    def scene(self) -> Shown | None:
        """The scene as this client sees it, its own edits counted in."""
        return self.editor.scene if self._moment is None else self._moment

    @property
    def edited(self) -> bool:
        """Whether something of the scene is deleted."""
        return self.editor.scene is not self.now.whole

    @property
    def other(self) -> Trained | None:
        """The second scene, when one is chosen and there."""
        chosen = self.panel.chosen_other
        return None if chosen is None else self.now.others.get(chosen)

    # What the workspace holds

    def update(self, snapshot: Snapshot, place: Place | None, packed: Packed | None) -> None:
        """Show a snapshot. Parts that are the same objects as before are left alone."""
        with self.lock:
            before, self.now = self.now, snapshot
            if snapshot.sparse is not before.sparse:
                self.place, self._at = place, None
                self.nodes.show()
                if place is not None and frame_of(snapshot) != frame_of(before):
                    self._go_home()
            elif snapshot.test != before.test:
                self.nodes.show()
            if snapshot.meshes != before.meshes or snapshot.depth is not before.depth:
                self.layers.update(before)
                self.nodes.ask_picture(0)
            first = self._packed is None and packed is not None
            if packed is not self._packed or snapshot.whole is not before.whole or snapshot.edits is not before.edits:
                if first and self.panel.points.value:
                    self.panel.points.value = False  # they have served until there are splats
                self._packed, self._moment = packed, None
                self.editor.update(before)
                self.panel.offer_time(None if snapshot.whole is None else snapshot.whole.times)
                if self.panel.time.visible:
                    self.painter.ask(self.key("time"), self._show_moment, urgent=True)
                self.show_splats()
            self.panel.list_scenes([name for name in snapshot.names if name != self.name])
            if snapshot.scene is not before.scene or snapshot.others != before.others:
                self.scene_changed()
            if snapshot.history is not before.history:
                self.panel.show_curves(snapshot.history)
            if not snapshot.same(before):
                self.panel.tell(self.common.root.resolve().name, self.name, snapshot)

    def scene_changed(self) -> None:
        """What is drawn is not what it was: draw it again."""
        self._tell_scores()
        self.rest.ask()
        self.comparing.ask()

    def show_splats(self) -> None:
        """Bring the splats to the client, hidden while a true image stands for them."""
        moment, scene = self._moment, self.client.scene
        if moment is not None and self._moment_of is not self.editor.scene:  # edited meanwhile
            self.painter.ask(self.key("time"), self._show_moment, urgent=True)
        later = None if moment is None or self.editor.selecting else moment.splats  # a selection is marked in the first
        packed = self.editor.packed(self._packed) if later is None else pack(later)
        if packed is None or len(packed.buffer) == 0:
            if self.splats is not None:
                self.splats.remove()
                self.splats = None
            self.rest.leave()
            return
        if self.splats is None:
            one = np.zeros((1, 3), np.float32)
            self.splats = scene.add_gaussian_splats(
                "/splats", one, np.zeros((1, 3, 3)), one, np.zeros((1, 1)), visible=self._splats_visible
            )
        with self.client.atomic():
            self.splats.scale = packed.scale
            self.splats.buffer = packed.buffer

    def _at_time(self) -> None:
        """The time slider was moved: the painter makes the splats of that moment."""
        self.rest.leave()
        self.painter.ask(self.key("time"), self._show_moment, urgent=True)

    def _show_moment(self) -> None:
        """Show the scene at the chosen time."""
        whole, time = self.editor.scene, float(self.panel.time.value)
        made = None if whole is None or whole.at is None or whole.times is None else whole.at(time)
        with self.lock:
            if not self.closed:
                self._moment, self._moment_of = made, whole
                self.show_splats()
                self.rest.ask()

    def _tell_scores(self) -> None:
        """How good the two scenes are that are compared."""
        other, now = self.other, self.now
        self.panel.divider.visible = other is not None
        if other is None:
            self.panel.tell_scores([])
            return
        steps = [None if shown is None else shown.step for shown in (now.whole, other.whole)]
        rows = (("A", self.name, now.metrics), ("B", self.panel.chosen_other or "", other.metrics))
        self.panel.tell_scores([score_line(*row, step) for row, step in zip(rows, steps, strict=True)])

    @property
    def point_size(self) -> float:
        assert self.place is not None
        return 0.002 * self.place.size * self.panel.point_size.value

    @property
    def stands_before_splats(self) -> bool:
        """Whether anything else is in the scene, which the true image has to hide where it is behind."""
        panel = self.panel
        return panel.cameras.value or panel.points.value or self.layers.any_shown or self.recorder.any_shown

    @property
    def _splats_visible(self) -> bool:
        return self.panel.splats.value and not self.rest.showing

    # Where the client looks from

    def go_to(self, name: str) -> None:
        """Look from a photo's camera, and choose it for comparison."""
        with self.lock:
            sparse = self.now.sparse
            if sparse is None or name not in sparse.model.names:
                return
            self._look(sparse.model.names.index(name))
        self.panel.choose(name)

    def _go_home(self) -> None:
        with self.lock:
            if self.place is not None:
                self._look(self.place.home)

    def _look(self, row: int) -> None:
        """Move the client to a photo's camera."""
        assert self.place is not None and self.now.sparse is not None
        model, camera = self.now.sparse.model, self.client.camera
        pose = pose_of(model.cameras, row, (int(camera.image_width), int(camera.image_height)))
        distance = view_distance(model.cameras, row, model.xyz)
        distance = distance if np.isfinite(distance) else self.place.size
        self.stand(rotation_from_quat(pose.wxyz), np.array(pose.position), pose.fov, distance)
        self._at = Stand(row, pose.size, arrived=False)

    def stand(self, rotation: Array, position: Array, fov: float, distance: float | None = None) -> None:
        """Move the client. rotation [3, 3]: world_from_cam; fov: vertical, radians; distance: to the point it turns around.

        Orbiting keeps the world's up unless the view is rolled by more than a little. (Turning viser's root with
        set_up_direction() instead would race with the camera: the client reads a camera in terms of the root as it was.)
        """
        assert self.place is not None
        camera, up = self.client.camera, np.array(self.place.up)
        rolled = abs(float(up @ rotation[:, 0])) > 0.1 or float(up @ -rotation[:, 1]) < 0.1
        with self.client.atomic():
            camera.near, camera.far = 0.005 * self.place.size, 500 * self.place.size
            camera.fov = fov
            camera.up_direction = -rotation[:, 1] if rolled else up
            camera.position = position
            camera.look_at = position + (distance or self.place.size) * rotation[:, 2]

    def _moved(self, camera: Any) -> None:
        """Called with every camera that the client reports."""
        wxyz, position = tuple(map(float, camera.wxyz)), tuple(map(float, camera.position))
        pose = Pose(wxyz, position, float(camera.fov), (int(camera.image_width), int(camera.image_height)))
        with self.lock:
            if pose == self.pose or min(pose.size) < 1:
                return
            self.pose = pose
            self._keep_photo_in_view(pose)
            self.rest.leave()
            self.nodes.hide_in_the_way(pose)
            self.rest.ask()

    def _keep_photo_in_view(self, pose: Pose) -> None:
        """A client that stands at a photo's camera goes on seeing all of the photo when its window changes."""
        if self._at is None or self.now.sparse is None or self.place is None:
            return
        cameras, stand = self.now.sparse.model.cameras, self._at
        if np.linalg.norm(cameras.centers[stand.row] - np.array(pose.position)) > 1e-3 * self.place.size:
            self._at = None if stand.arrived else stand
        elif not stand.arrived or stand.canvas != pose.size:
            self._at = Stand(stand.row, pose.size, arrived=True)
            if stand.canvas != pose.size:
                self.client.camera.fov = pose_of(cameras, stand.row, pose.size).fov

    def _step(self, word: str) -> None:
        """The buttons below the list of photos."""
        self.go_to(self.panel.chosen if word == "there" else self.panel.neighbour(-1 if word == "previous" else 1))

    # Switches

    def _switched(self) -> None:
        """A switch of the panel was moved."""
        with self.lock:
            self.rest.leave()
            self.hide_splats()
            self.nodes.switched()
            self.layers.switched()
            self.rest.ask()

    def _chose_other(self) -> None:
        """A second scene was chosen, or none: the next look at the workspace brings it."""
        with self.lock:
            self.scene_changed()

    def hide_splats(self) -> None:
        """Show the browser's splats, or hide them."""
        with self.lock:
            if self.splats is not None and not self.closed:
                self.splats.visible = self._splats_visible

    def close(self) -> None:
        """The client has gone: nothing more is drawn for it."""
        self.closed = True
        self.recorder.close()
        self.painter.forget(lambda key: isinstance(key, tuple) and key[0] == id(self))


def frame_of(snapshot: Snapshot) -> Any:
    """What tells one world frame from another; None without a reconstruction."""
    return None if snapshot.sparse is None else (snapshot.aligned, snapshot.sparse.model.world.to_json())
