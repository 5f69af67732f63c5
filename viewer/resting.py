"""The true image of a client whose camera rests, drawn by recon with all view-dependent colour; of two scenes, split."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from viewer.pictures import Pose, labelled, split, true_depth, true_image

if TYPE_CHECKING:
    from viewer.session import Session
    from viewer.shown import Shown

REST_SECONDS = 0.3
"""A camera that has not moved for so long rests."""
HIDE_SECONDS = 0.12
"""From sending the true image to hiding the splats in front of it: the browser decodes it meanwhile."""
REST_LONG_SIDE_WHILE_TRAINING = 640
DEPTH_SHARE = 4
"""The true image is so many times as wide as the depth that goes with it."""


@dataclass(frozen=True, eq=False)
class View:
    """One scene from one place, kept so that a divider can move without drawing it again."""

    scene: Shown
    pose: Pose
    long_side: int
    image: NDArray[np.uint8]
    """u8[H, W, 3]."""
    z: NDArray[np.float32] | None
    """f32[H', W'], smaller; None: there is none, or nobody needs it."""
    has_z: bool
    """Whether z was asked for."""


class Rest:
    """What stands for the splats while the camera rests."""

    def __init__(self, session: Session, long_side: int) -> None:
        self._session, self._long_side = session, long_side
        self.showing = False
        self._views: list[View] = []

    @property
    def wanted(self) -> bool:
        """Whether a true image is to stand for the splats. Not while some are selected: their mark is in the splats."""
        s = self._session
        return bool(s.panel.rest.value and s.panel.splats.value and not s.editor.selecting)

    def leave(self) -> None:
        """Back to the splats that the browser draws."""
        s = self._session
        s.painter.forget(lambda key: key == s.key("rest"))
        if self.showing:
            self.showing = False
            s.hide_splats()
            s.client.scene.set_background_image(None)

    def ask(self, delay: float = REST_SECONDS) -> None:
        """Draw it when the camera has rested for `delay` seconds."""
        s = self._session
        if self.wanted and s.scene is not None and s.pose is not None:
            s.painter.ask(s.key("rest"), self._paint, delay)

    def _paint(self) -> None:
        """Draw the true image for the camera of this moment, and show it if the camera is still there."""
        s = self._session
        scene, pose, other = s.scene, s.pose, s.other
        if scene is None or pose is None or s.closed:
            return
        scenes = [scene, *([other.scene] if other is not None and other.scene is not None else [])]
        self._views = [self._view(one, pose) for one in scenes]
        image, z = self._views[0].image, self._views[0].z
        if len(self._views) == 2:
            share, second = s.panel.divider.value / 100, self._views[1]
            image = split(image, second.image, share)
            image = labelled(image, (f"A  {s.name}", f"B  {s.panel.chosen_other}"), share)
            z = None if z is None or second.z is None else split(z, second.z, share, line=False)
        with s.lock:
            if s.closed or pose != s.pose or not self.wanted:
                return
            s.client.scene.set_background_image(image, format="jpeg", jpeg_quality=92, depth=z)
            self.showing = True
            threading.Timer(HIDE_SECONDS, s.hide_splats).start()

    def _view(self, scene: Shown, pose: Pose) -> View:
        s = self._session
        limit = REST_LONG_SIDE_WHILE_TRAINING if s.now.training else self._long_side
        long_side, with_z = min(self._long_side, limit), s.stands_before_splats
        for view in self._views:
            if view.scene is scene and view.pose == pose and view.long_side == long_side and view.has_z == with_z:
                return view
        image = true_image(scene, pose, long_side)
        z = true_depth(scene, pose, long_side // DEPTH_SHARE) if with_z else None
        return View(scene, pose, long_side, image, z, with_z)
