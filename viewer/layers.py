"""Surfaces in one client's scene: the mesh and the points of the depth maps. Sent when they are switched on, not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from viewer.surfaces import DepthCloud, DepthFolder, MeshFile

if TYPE_CHECKING:
    import viser

    from recon.reconstruction import Reconstruction
    from viewer.live import Snapshot
    from viewer.session import Session

WORLD_FROM_GLTF = (float(np.sqrt(0.5)), float(np.sqrt(0.5)), 0.0, 0.0)
"""wxyz: glTF's (x, y, z) is the world's (x, -z, y)."""


class Clouds:
    """The points of the depth maps, made once for all clients. Used by the painter's thread alone."""

    def __init__(self) -> None:
        self._cloud: DepthCloud | None = None

    def of(self, maps: DepthFolder, sparse: Reconstruction) -> DepthCloud:
        """The cloud of these maps, as far as it has been made."""
        if self._cloud is None or self._cloud.maps is not maps or self._cloud.sparse is not sparse:
            self._cloud = DepthCloud(maps, sparse)
        return self._cloud


class Layers:
    """Mesh and depth points of a client."""

    def __init__(self, session: Session, clouds: Clouds) -> None:
        self._session, self._clouds = session, clouds
        self._mesh: tuple[MeshFile, viser.GlbHandle] | None = None
        self._depth: tuple[DepthFolder, viser.PointCloudHandle] | None = None

    @property
    def any_shown(self) -> bool:
        """Whether something of these is to be seen."""
        panel = self._session.panel
        return (self._mesh is not None and panel.mesh.value) or (self._depth is not None and panel.depth.value)

    def update(self, before: Snapshot) -> None:
        """The workspace has changed."""
        s = self._session
        if s.now.meshes != before.meshes:
            s.panel.list_meshes([mesh.name for mesh in s.now.meshes])
            if not before.meshes and s.now.scene is None:
                s.panel.mesh.value = True  # there is nothing else to look at
        if s.now.depth is not before.depth:
            s.panel.offer_depth(s.now.depth is not None)
        self.switched()

    def switched(self) -> None:
        """Bring the nodes in line with the switches."""
        self._bring_mesh()
        self._bring_depth()

    def _bring_mesh(self) -> None:
        s = self._session
        wanted = next((mesh for mesh in s.now.meshes if mesh.name == s.panel.which_mesh.value), None)
        if self._mesh is not None and self._mesh[0] is not wanted:
            self._mesh[1].remove()
            self._mesh = None
        if self._mesh is not None:
            self._mesh[1].visible = s.panel.mesh.value
        elif wanted is not None and s.panel.mesh.value:
            try:
                data = wanted.path.read_bytes()
            except OSError:
                return  # it is being replaced: the next look at the workspace brings the new one
            node = s.client.scene.add_glb("/mesh", data, wxyz=WORLD_FROM_GLTF, cast_shadow=False, receive_shadow=False)
            self._mesh = (wanted, node)

    def _bring_depth(self) -> None:
        s = self._session
        if self._depth is not None and self._depth[0] is not s.now.depth:
            self._depth[1].remove()
            self._depth = None
        if self._depth is not None:
            self._depth[1].visible = s.panel.depth.value
            self._depth[1].point_size = 0.5 * s.point_size
        elif s.now.depth is not None and s.panel.depth.value:
            s.painter.ask(s.key("depth points"), self._paint_depth, 0.05)

    def _paint_depth(self) -> None:
        """One photo more, until all are there."""
        s = self._session
        maps, sparse = s.now.depth, s.now.sparse
        if maps is None or sparse is None or not s.panel.depth.value:
            return
        cloud = self._clouds.of(maps, sparse)
        if not cloud.done:
            cloud.step()
            s.painter.ask(s.key("depth points"), self._paint_depth)
            return
        xyz, rgb = cloud.points
        with s.lock:
            if s.closed or maps is not s.now.depth or self._depth is not None or s.place is None:
                return
            node = s.client.scene.add_point_cloud(
                "/depth",
                xyz,
                rgb,
                point_size=0.5 * s.point_size,
                point_shape="circle",
                point_shading="flat",
                precision="float32",
                visible=s.panel.depth.value,
            )
            self._depth = (maps, node)
            s.rest.ask()
