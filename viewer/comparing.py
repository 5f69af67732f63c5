"""A photo beside the render of its camera and the error, of one scene or of two, in a client's panel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon.errors import ReconError
from render.report_images import BACKGROUND_LEVEL
from viewer.pictures import compare

if TYPE_CHECKING:
    from viewer.session import Session
    from viewer.shown import Shown

LONG_SIDE = 480


class Comparing:
    """The folder "Photo and render"."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def ask(self) -> None:
        s = self._session
        if s.scene is not None and s.now.sparse is not None:
            s.painter.ask(s.key("compare"), self._paint, 0.1)

    def _paint(self) -> None:
        """Photo, render and error of the chosen photo; and render and error of the second scene."""
        s = self._session
        scene, sparse, name, other = s.editor.scene, s.now.sparse, s.panel.chosen, s.other
        if scene is None or sparse is None or name not in sparse.model.names:
            return
        second = None if other is None else other.scene
        scenes: list[Shown] = [scene, *([second] if second is not None else [])]
        metrics = [s.now.metrics, other.metrics if other is not None else None]
        levels = [BACKGROUND_LEVEL.get((m or {}).get("background", "black"), 0.0) for m in metrics]
        try:
            key = (sparse, name, *scenes, *levels)
            found = s.common.comparisons.get(key, lambda: compare(scenes, sparse, name, LONG_SIDE, levels))
        except ReconError as error:
            s.panel.say_picture([str(error)])
            return
        kind = "held out" if name in s.now.test else "seen in training"
        order = "photo, render, error" if len(scenes) == 1 else "photo; A render, error; B render, error"
        edited = [s.edited, False]  # the evaluation saw the scene as it was trained
        lines = [f"{order}; {kind}"]
        for i, psnr in enumerate(found.psnr):
            who = "" if len(scenes) == 1 else f"{'AB'[i]} {(s.name, s.panel.chosen_other)[i]}: "
            lines.append(who + self._psnr(name, psnr, found.long_side, None if edited[i] else metrics[i]))
        s.panel.show_picture(found.picture, lines)

    def _psnr(self, name: str, psnr: float, long_side: int, metrics: dict[str, Any] | None) -> str:
        """The evaluation's number where there is one."""
        rows = (metrics or {}).get("images") or []
        exact = next((row["psnr"] for row in rows if row["name"] == name), None)
        if exact is not None and metrics is not None:
            return f"PSNR {exact:.2f} dB at {metrics['long_side']} px"
        return f"PSNR {psnr:.2f} dB at {long_side} px"
