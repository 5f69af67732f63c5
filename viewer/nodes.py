"""Cameras and sparse points of one client's scene: their nodes, and the pictures in the cameras' frusta."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from recon.errors import ReconError
from recon.geometry import quat_from_rotation
from viewer.pictures import Pose, thumbnail
from viewer.surfaces import depth_picture

if TYPE_CHECKING:
    import viser
    from numpy.typing import NDArray

    from viewer.session import Session

TRAIN_COLOUR, TEST_COLOUR = (92, 154, 255), (255, 159, 67)
"""Frusta of training and of held-out photos."""
HIDE_WITHIN = 4.0
"""A frustum nearer to the eye than this times its size would stand in the way."""


class SparseNodes:
    """What structure from motion found, in the scene of a client."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.points: viser.PointCloudHandle | None = None
        self.frusta: list[viser.CameraFrustumHandle] = []
        self._held: list[str] = []
        """What each frustum's picture is: "photos", "depth" or "nothing"."""
        self._folder: viser.FrameHandle | None = None

    def show(self) -> None:
        """Make the nodes anew."""
        s, panel = self._session, self._session.panel
        if self._folder is not None:
            self._folder.remove()
        if self.points is not None:
            self.points.remove()
        self._folder, self.points, self.frusta, self._held = None, None, [], []
        sparse = s.now.sparse
        if sparse is None or s.place is None:
            panel.list_photos((), frozenset())
            return
        model = sparse.model
        if len(model.xyz):
            self.points = s.client.scene.add_point_cloud(
                "/points",
                model.xyz.astype(np.float32),
                model.rgb,
                point_size=s.point_size,
                point_shape="circle",
                point_shading="flat",
                precision="float32",
                visible=panel.points.value,
            )
        self._folder = s.client.scene.add_frame("/cameras", show_axes=False, visible=panel.cameras.value)
        for row, name in enumerate(model.names):
            self.frusta.append(self._frustum(row, name))
        self._held = ["nothing"] * len(self.frusta)
        panel.list_photos(model.names, s.now.test)
        self.ask_picture(0)

    def _frustum(self, row: int, name: str) -> viser.CameraFrustumHandle:
        """A camera's frustum; a click goes there."""
        s = self._session
        assert s.now.sparse is not None
        cameras = s.now.sparse.model.cameras
        k, size, pose = cameras.K[row], cameras.size[row], cameras.world_from_cam[row]
        frustum = s.client.scene.add_camera_frustum(
            f"/cameras/{row}",
            fov=2 * float(np.arctan(0.5 * size[1] / k[1, 1])),
            aspect=float((size[0] / k[0, 0]) / (size[1] / k[1, 1])),
            scale=self._frustum_scale,
            thickness=1.5,
            thickness_units="screen",
            color=TEST_COLOUR if name in s.now.test else TRAIN_COLOUR,
            wxyz=quat_from_rotation(pose[:3, :3]),
            position=pose[:3, 3],
            format="jpeg",
            jpeg_quality=80,
        )
        frustum.on_click(lambda _: s.go_to(name))
        return frustum

    @property
    def _frustum_scale(self) -> float:
        s = self._session
        assert s.place is not None
        return 0.35 * min(s.place.apart, 0.3 * s.place.size) * s.panel.camera_size.value

    def switched(self) -> None:
        """The switches of the panel may have moved."""
        s = self._session
        if self._folder is not None:
            self._folder.visible = s.panel.cameras.value
        if self.points is not None:
            self.points.visible = s.panel.points.value
            self.points.point_size = s.point_size
        for row, frustum in enumerate(self.frusta):
            frustum.scale = self._frustum_scale
            if s.panel.in_cameras.value == "nothing" and self._held[row] != "nothing":
                frustum.image, self._held[row] = None, "nothing"
        self.hide_in_the_way(s.pose)
        self.ask_picture(0)

    def hide_in_the_way(self, pose: Pose | None) -> None:
        """Hide the frusta that are right before the eye."""
        s = self._session
        if pose is None or s.now.sparse is None or not self.frusta:
            return
        away = np.linalg.norm(s.now.sparse.model.cameras.centers - np.array(pose.position), axis=1)
        for frustum, near in zip(self.frusta, away < HIDE_WITHIN * self._frustum_scale, strict=True):
            if frustum.visible == bool(near):
                frustum.visible = not near

    def ask_picture(self, row: int) -> None:
        """Ask for the picture of the first camera from `row` on that has another than is wanted."""
        s = self._session
        wanted = s.panel.in_cameras.value
        if wanted == "nothing" or not s.panel.cameras.value:
            return
        row = next((i for i in range(row, len(self._held)) if self._held[i] != wanted), len(self._held))
        if row < len(self._held):
            s.painter.ask(s.key("thumbnail"), lambda: self._paint_picture(row, wanted), 0.05)

    def _paint_picture(self, row: int, wanted: str) -> None:
        """The photo or depth of one camera, then the next one's turn."""
        s = self._session
        with s.lock:
            frusta, held = self.frusta, self._held
        if row < len(frusta):
            image = self._picture(row, wanted)
            with s.lock:
                if frusta is self.frusta and s.panel.in_cameras.value == wanted and not s.closed:
                    frusta[row].image, held[row] = image, wanted
        self.ask_picture(row + 1)

    def _picture(self, row: int, wanted: str) -> NDArray[Any] | None:
        """None where there is none: a frame without its photo says enough."""
        now = self._session.now
        if now.sparse is None or row >= len(now.sparse.model.names):
            return None
        name = now.sparse.model.names[row]
        try:
            if wanted == "photos":
                return thumbnail(now.sparse, name)
            return (
                depth_picture(now.depth, now.sparse, name)
                if now.depth is not None and name in now.depth.names
                else None
            )
        except ReconError:
            return None
