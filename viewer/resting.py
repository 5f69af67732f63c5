"""The true image of a client whose camera rests, drawn by recon with all view-dependent colour; of two scenes, split."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from viewer.patience import TRAINING_SECONDS, Patience
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
        self._patience = Patience()

    @property
    def wanted(self) -> bool:
        """Whether a true image is to stand for the splats. Not while some are selected: their mark is in the splats."""
        s = self._session
        return bool(s.panel.rest.value and s.panel.splats.value and not s.editor.selecting)

    @property
    def alone(self) -> bool:
        """Whether nothing but these pictures shows the scene: it has no splats that the browser could draw."""
        s = self._session
        return self.wanted and s.other is None and s.scene is not None and s.scene.splats is None

    def leave(self) -> None:
        """Back to the splats that the browser draws; without any, to small pictures that follow the camera."""
        s = self._session
        s.painter.forget(lambda key: key == s.key("rest"))
        if self.alone:
            s.painter.ask(s.key("glimpse"), self._glimpse, urgent=True)
        elif self.showing:
            self.showing = False
            s.hide_splats()
            s.client.scene.set_background_image(None)

    def ask(self, delay: float = REST_SECONDS) -> None:
        """Draw it when the camera has rested for `delay` seconds."""
        s = self._session
        if self.wanted and s.scene is not None and s.pose is not None:
            s.painter.ask(s.key("rest"), self._paint, delay, urgent=True)

    def _paint(self) -> None:
        """Draw the true image for the camera of this moment, and show it if the camera is still there."""
        s = self._session
        scene, pose, other = s.scene, s.pose, s.other
        if scene is None or pose is None or s.closed:
            return
        if self.alone:
            self._paint_part(scene, pose)
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

    def _glimpse(self) -> None:
        """A small picture for the camera of this moment."""
        s = self._session
        scene, pose = s.scene, s.pose
        if scene is not None and pose is not None and self.alone:
            self._put(self._patience.glimpse(scene, pose, self._most(pose)))

    def _paint_part(self, scene: Shown, pose: Pose) -> None:
        """A part more of the picture of a scene that takes long to draw."""
        s = self._session
        image, more = self._patience.part(scene, pose, self._most(pose))
        with s.lock:
            if s.closed or pose != s.pose or not self.alone:
                return
            if image is not None:
                self._put(image)
            if more:
                s.painter.ask(s.key("rest"), self._paint)

    def _put(self, image: NDArray[np.uint8]) -> None:
        s = self._session
        with s.lock:
            if not s.closed and self.alone:
                s.client.scene.set_background_image(image, format="jpeg", jpeg_quality=92)
                self.showing = True

    def _most(self, pose: Pose) -> int:
        """Long side of the largest picture that is drawn now of a scene that takes long."""
        if not self._session.now.busy:
            return self._long_side
        return min(self._long_side, REST_LONG_SIDE_WHILE_TRAINING, self._patience.affordable(pose, TRAINING_SECONDS))

    def _view(self, scene: Shown, pose: Pose) -> View:
        s = self._session
        limit = REST_LONG_SIDE_WHILE_TRAINING if s.now.busy else self._long_side
        long_side, with_z = min(self._long_side, limit), s.stands_before_splats
        for view in self._views:
            if view.scene is scene and view.pose == pose and view.long_side == long_side and view.has_z == with_z:
                return view
        image = true_image(scene, pose, long_side)
        z = true_depth(scene, pose, long_side // DEPTH_SHARE) if with_z else None
        return View(scene, pose, long_side, image, z, with_z)
