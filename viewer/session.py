"""One client: its panel, its nodes in viser's scene, its camera. What a client sees is its own, and so are its switches."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.errors import ReconError
from recon.geometry import quat_from_rotation, rotation_from_quat
from render.report_images import BACKGROUND_LEVEL
from viewer.live import Snapshot
from viewer.panel import Panel
from viewer.pictures import Packed, Place, Pose, compare, pose_of, thumbnail, true_depth, true_image, view_distance

if TYPE_CHECKING:
    import viser

    from viewer.painter import Painter

REST_SECONDS = 0.3
"""A camera that has not moved for so long rests."""
HIDE_SECONDS = 0.12
"""From sending the true image to hiding the splats in front of it: the browser decodes it meanwhile."""
REST_LONG_SIDE_WHILE_TRAINING = 640
COMPARE_LONG_SIDE = 480
DEPTH_SHARE = 4
"""The true image is so many times as wide as the depth that goes with it."""
TRAIN_COLOUR, TEST_COLOUR = (92, 154, 255), (255, 159, 67)
"""Frusta of training and of held-out photos."""
HIDE_WITHIN = 4.0
"""A frustum nearer to the eye than this times its size would stand in the way."""


@dataclass(frozen=True)
class Stand:
    """A client that was sent to a photo's camera."""

    row: int
    canvas: tuple[int, int]
    """Size for which its field of view was chosen."""
    arrived: bool
    """Whether it has reported from there."""


class Session:
    """What one browser tab shows. Called from the polling thread, from viser's threads and from the painter."""

    def __init__(
        self, client: viser.ClientHandle, painter: Painter, title: tuple[str, str], rest_long_side: int
    ) -> None:
        self._client, self._painter, self._title = client, painter, title
        self._rest_long_side = rest_long_side
        self._lock = threading.RLock()
        self._now = Snapshot()
        self._place: Place | None = None
        self._packed: Packed | None = None
        self._splats: viser.GaussianSplatHandle | None = None
        self._points: viser.PointCloudHandle | None = None
        self._frusta: list[viser.CameraFrustumHandle] = []
        self._folder: viser.FrameHandle | None = None
        self._pose: Pose | None = None
        self._at: Stand | None = None
        self._resting = self._closed = False
        self.panel = Panel(client.gui)
        self.panel.on_switch(self._switched)
        self.panel.home.on_click(lambda _: self._go_home())
        self.panel.photo.on_update(lambda _: self._ask_comparison())
        self.panel.step.on_click(lambda event: self._step(event.target.value))
        client.camera.on_update(lambda camera: self._moved(camera))
        self._moved(client.camera)

    # What the workspace holds

    def update(self, snapshot: Snapshot, place: Place | None, packed: Packed | None) -> None:
        """Show a snapshot. Parts that are the same objects as before are left alone."""
        with self._lock:
            before, self._now = self._now, snapshot
            if snapshot.sparse is not before.sparse:
                self._place, self._at = place, None
                self._show_sparse()
                if place is not None and frame_of(snapshot) != frame_of(before):
                    self._go_home()
            elif snapshot.test != before.test:
                self._show_sparse()
            if packed is not self._packed:
                if self._packed is None and self.panel.points.value:
                    self.panel.points.value = False  # they have served until there are splats
                self._packed = packed
                self._show_splats()
            if snapshot.scene is not before.scene:
                self._ask_rest()
                self._ask_comparison()
            if snapshot.history is not before.history:
                self.panel.show_curves(snapshot.history)
            if not snapshot.same(before):
                self.panel.tell(*self._title, snapshot)

    def _show_splats(self) -> None:
        """Bring the splats to the client, hidden while a true image stands for them."""
        packed, scene = self._packed, self._client.scene
        if packed is None or len(packed.buffer) == 0:
            if self._splats is not None:
                self._splats.remove()
                self._splats = None
            self._leave_rest()
            return
        if self._splats is None:
            one = np.zeros((1, 3), np.float32)
            self._splats = scene.add_gaussian_splats(
                "/splats", one, np.zeros((1, 3, 3)), one, np.zeros((1, 1)), visible=self._splats_visible
            )
        with self._client.atomic():
            self._splats.scale = packed.scale
            self._splats.buffer = packed.buffer

    def _show_sparse(self) -> None:
        """Points and cameras."""
        scene, sparse, place = self._client.scene, self._now.sparse, self._place
        if self._folder is not None:
            self._folder.remove()
        if self._points is not None:
            self._points.remove()
        self._folder, self._points, self._frusta = None, None, []
        if sparse is None or place is None:
            self.panel.list_photos((), frozenset())
            return
        model = sparse.model
        if len(model.xyz):
            self._points = scene.add_point_cloud(
                "/points",
                model.xyz.astype(np.float32),
                model.rgb,
                point_size=self._point_size,
                point_shape="circle",
                point_shading="flat",
                precision="float32",
                visible=self.panel.points.value,
            )
        self._folder = scene.add_frame("/cameras", show_axes=False, visible=self.panel.cameras.value)
        for row, name in enumerate(model.names):
            self._frusta.append(self._frustum(row, name))
        self.panel.list_photos(model.names, self._now.test)
        self._ask_thumbnail(0)

    def _frustum(self, row: int, name: str) -> viser.CameraFrustumHandle:
        """A camera's frustum; a click goes there."""
        assert self._now.sparse is not None
        cameras = self._now.sparse.model.cameras
        k, size, pose = cameras.K[row], cameras.size[row], cameras.world_from_cam[row]
        frustum = self._client.scene.add_camera_frustum(
            f"/cameras/{row}",
            fov=2 * float(np.arctan(0.5 * size[1] / k[1, 1])),
            aspect=float((size[0] / k[0, 0]) / (size[1] / k[1, 1])),
            scale=self._frustum_scale,
            thickness=1.5,
            thickness_units="screen",
            color=TEST_COLOUR if name in self._now.test else TRAIN_COLOUR,
            wxyz=quat_from_rotation(pose[:3, :3]),
            position=pose[:3, 3],
            format="jpeg",
            jpeg_quality=80,
        )
        frustum.on_click(lambda _: self.go_to(name))
        return frustum

    @property
    def _frustum_scale(self) -> float:
        assert self._place is not None
        return 0.35 * min(self._place.apart, 0.3 * self._place.size) * self.panel.camera_size.value

    @property
    def _point_size(self) -> float:
        assert self._place is not None
        return 0.002 * self._place.size * self.panel.point_size.value

    @property
    def _splats_visible(self) -> bool:
        return self.panel.splats.value and not self._resting

    # Where the client looks from

    def go_to(self, name: str) -> None:
        """Look from a photo's camera, and choose it for comparison."""
        with self._lock:
            sparse = self._now.sparse
            if sparse is None or name not in sparse.model.names:
                return
            self._look(sparse.model.names.index(name))
        self.panel.choose(name)

    def _go_home(self) -> None:
        with self._lock:
            if self._place is not None:
                self._look(self._place.home)

    def _look(self, row: int) -> None:
        """Move the client to a photo's camera. Orbiting keeps the world's up unless the photo is rolled by more than a little;
        the point it turns around is as far as what the photo shows. (Turning viser's root with set_up_direction() instead
        would race with the camera: the client reads a camera in terms of the root as it was.)"""
        assert self._place is not None and self._now.sparse is not None
        model, camera = self._now.sparse.model, self._client.camera
        pose = pose_of(model.cameras, row, (int(camera.image_width), int(camera.image_height)))
        rotation, up = rotation_from_quat(pose.wxyz), np.array(self._place.up)
        rolled = abs(float(up @ rotation[:, 0])) > 0.1 or float(up @ -rotation[:, 1]) < 0.1
        distance = view_distance(model.cameras, row, model.xyz)
        distance = distance if np.isfinite(distance) else self._place.size
        with self._client.atomic():
            camera.near, camera.far = 0.005 * self._place.size, 500 * self._place.size
            camera.fov = pose.fov
            camera.up_direction = -rotation[:, 1] if rolled else up
            camera.position = np.array(pose.position)
            camera.look_at = np.array(pose.position) + distance * rotation[:, 2]
        self._at = Stand(row, pose.size, arrived=False)

    def _moved(self, camera: Any) -> None:
        """Called with every camera that the client reports."""
        wxyz, position = tuple(map(float, camera.wxyz)), tuple(map(float, camera.position))
        pose = Pose(wxyz, position, float(camera.fov), (int(camera.image_width), int(camera.image_height)))
        with self._lock:
            if pose == self._pose or min(pose.size) < 1:
                return
            self._pose = pose
            self._keep_photo_in_view(pose)
            self._leave_rest()
            self._hide_frusta_in_the_way()
            self._ask_rest()

    def _keep_photo_in_view(self, pose: Pose) -> None:
        """A client that stands at a photo's camera goes on seeing all of the photo when its window changes."""
        if self._at is None or self._now.sparse is None or self._place is None:
            return
        cameras, stand = self._now.sparse.model.cameras, self._at
        if np.linalg.norm(cameras.centers[stand.row] - np.array(pose.position)) > 1e-3 * self._place.size:
            self._at = None if stand.arrived else stand
        elif not stand.arrived or stand.canvas != pose.size:
            self._at = Stand(stand.row, pose.size, arrived=True)
            if stand.canvas != pose.size:
                self._client.camera.fov = pose_of(cameras, stand.row, pose.size).fov

    def _hide_frusta_in_the_way(self) -> None:
        if self._pose is None or self._now.sparse is None or not self._frusta:
            return
        away = np.linalg.norm(self._now.sparse.model.cameras.centers - np.array(self._pose.position), axis=1)
        for frustum, near in zip(self._frusta, away < HIDE_WITHIN * self._frustum_scale, strict=True):
            if frustum.visible == bool(near):
                frustum.visible = not near

    def _switched(self) -> None:
        """A switch of the panel was moved."""
        with self._lock:
            self._leave_rest()
            if self._splats is not None:
                self._splats.visible = self._splats_visible
            if self._folder is not None:
                self._folder.visible = self.panel.cameras.value
            if self._points is not None:
                self._points.visible = self.panel.points.value
                self._points.point_size = self._point_size
            for frustum in self._frusta:
                frustum.scale = self._frustum_scale
                if not self.panel.photos.value:
                    frustum.image = None
            self._hide_frusta_in_the_way()
            self._ask_thumbnail(0)
            self._ask_rest()

    # Pictures drawn by the painter

    def _leave_rest(self) -> None:
        """Back to the splats that the browser draws."""
        self._painter.forget(lambda key: key == (id(self), "rest"))
        if self._resting:
            self._resting = False
            if self._splats is not None:
                self._splats.visible = self._splats_visible
            self._client.scene.set_background_image(None)

    def _ask_rest(self) -> None:
        if self.panel.rest.value and self.panel.splats.value and self._now.scene is not None and self._pose is not None:
            self._painter.ask((id(self), "rest"), self._paint_rest, REST_SECONDS)

    def _paint_rest(self) -> None:
        """Draw the true image for the camera of this moment, and show it if the camera is still there."""
        scene, pose = self._now.scene, self._pose
        if scene is None or pose is None or self._closed:
            return
        limit = REST_LONG_SIDE_WHILE_TRAINING if self._now.training else self._rest_long_side
        long_side = min(self._rest_long_side, limit)
        image = true_image(scene, pose, long_side)
        around = self.panel.cameras.value or self.panel.points.value
        z = true_depth(scene, pose, long_side // DEPTH_SHARE) if around else None
        with self._lock:
            if self._closed or pose != self._pose or not (self.panel.rest.value and self.panel.splats.value):
                return
            self._client.scene.set_background_image(image, format="jpeg", jpeg_quality=92, depth=z)
            self._resting = True
            threading.Timer(HIDE_SECONDS, self._hide_splats).start()

    def _hide_splats(self) -> None:
        with self._lock:
            if self._splats is not None and not self._closed:
                self._splats.visible = self._splats_visible

    def _ask_comparison(self) -> None:
        if self._now.scene is not None and self._now.sparse is not None:
            self._painter.ask((id(self), "compare"), self._paint_comparison, 0.1)

    def _paint_comparison(self) -> None:
        """Photo, render and error of the chosen photo."""
        scene, sparse, name = self._now.scene, self._now.sparse, self.panel.chosen
        if scene is None or sparse is None or name not in sparse.model.names:
            return
        try:
            grey = BACKGROUND_LEVEL.get((self._now.metrics or {}).get("background", "black"), 0.0)
            found = compare(scene, sparse, name, COMPARE_LONG_SIDE, grey)
        except ReconError as error:
            self.panel.say_picture(str(error))
            return
        self.panel.show_picture(found.picture, self._caption(name, found.psnr, found.long_side))

    def _caption(self, name: str, psnr: float, long_side: int) -> str:
        kind = "held out" if name in self._now.test else "seen in training"
        rows = (self._now.metrics or {}).get("images") or []
        exact = next((row["psnr"] for row in rows if row["name"] == name), None)
        if exact is not None:
            return f"photo, render, error; {kind}; PSNR {exact:.2f} dB at {(self._now.metrics or {})['long_side']} px"
        return f"photo, render, error; {kind}; PSNR {psnr:.2f} dB at {long_side} px"

    def _ask_thumbnail(self, row: int) -> None:
        if self.panel.photos.value and self.panel.cameras.value and row < len(self._frusta):
            self._painter.ask((id(self), "thumbnail"), lambda: self._paint_thumbnail(row), 0.05)

    def _paint_thumbnail(self, row: int) -> None:
        """The photo of one camera, then the next one's turn."""
        with self._lock:
            sparse, frusta = self._now.sparse, self._frusta
        if sparse is None or row >= len(frusta):
            return
        if frusta[row].image is None:
            try:
                image = thumbnail(sparse, sparse.model.names[row])
            except ReconError:
                image = None  # a frame without its photo says enough
            with self._lock:
                if frusta is self._frusta and image is not None and self.panel.photos.value:
                    frusta[row].image = image
        self._ask_thumbnail(row + 1)

    def _step(self, word: str) -> None:
        """The buttons below the list of photos."""
        self.go_to(self.panel.chosen if word == "there" else self.panel.neighbour(-1 if word == "previous" else 1))

    def close(self) -> None:
        """The client has gone: nothing more is drawn for it."""
        self._closed = True
        self._painter.forget(lambda key: isinstance(key, tuple) and key[0] == id(self))


def frame_of(snapshot: Snapshot) -> Any:
    """What tells one world frame from another; None without a reconstruction."""
    return None if snapshot.sparse is None else (snapshot.aligned, snapshot.sparse.model.world.to_json())
