"""The control panel of one client: its switches, and what it is told. Knows viser's GUI and nothing of the scene."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from render.report_charts import charts

if TYPE_CHECKING:
    import viser

    from viewer.live import Snapshot

NO_PHOTOS: tuple[str, ...] = ("-",)
NOTHING: tuple[str, ...] = ("-",)
NO_OTHER: str = "no other scene"
IN_CAMERAS: tuple[str, ...] = ("photos", "depth", "nothing")
"""What the frames of the cameras can hold."""
HELD_OUT = " · held out"
"""Marks a held-out photo in the list."""
CHART_STYLE = """<style>
.rc{display:grid;gap:4px;font-size:12px;padding:0 8px}.rc figure{margin:0}
.rc figcaption{display:flex;justify-content:space-between}.rc output{opacity:.7}
.rc svg{width:100%;height:auto;display:block;overflow:visible}.rc .grid{stroke:currentColor;stroke-opacity:.15}
.rc .tick{fill:currentColor;opacity:.6;font-size:15px}.rc .vertices{fill:none}.rc .end{fill:#6ea8ff}
.rc .curve{fill:none;stroke:#6ea8ff;stroke-width:2.5;stroke-linejoin:round}
</style>"""


class Panel:
    """Switches (read their `.value`), texts and pictures. Callbacks are set by the session."""

    def __init__(self, gui: viser.GuiApi) -> None:
        self._gui = gui
        self._heading = gui.add_html("")
        with gui.add_folder("Show"):
            self.splats = gui.add_checkbox("Splats", True)
            self.rest = gui.add_checkbox(
                "True colours at rest",
                True,
                hint="When the camera rests, the picture is drawn by recon with all view-dependent colour. "
                "While it moves, the browser draws the splats without it.",
            )
            self.mesh = gui.add_checkbox("Mesh", False, visible=False)
            self.which_mesh: viser.GuiDropdownHandle[str] = gui.add_dropdown("Which mesh", NOTHING, visible=False)
            self.points = gui.add_checkbox("Sparse points", True)
            self.depth = gui.add_checkbox(
                "Depth points", False, visible=False, hint="What the depth maps of the training photos measured."
            )
            self.cameras = gui.add_checkbox("Cameras", True)
            self.in_cameras: viser.GuiDropdownHandle[str] = gui.add_dropdown("In cameras", IN_CAMERAS[::2])
            self.camera_size = gui.add_slider("Camera size", 0.1, 4.0, 0.1, 1.0)
            self.point_size = gui.add_slider("Point size", 0.2, 5.0, 0.2, 1.0)
            self.time = gui.add_slider(
                "Time", 0.0, 1.0, 0.01, 0.0, visible=False, hint="Seconds from the capture's start."
            )
            self.home = gui.add_button("Back to the start")
        self._photo_folder = gui.add_folder("Photo and render", visible=False)
        with self._photo_folder:
            self.photo: viser.GuiDropdownHandle[str] = gui.add_dropdown("Photo", NO_PHOTOS)
            self.step = gui.add_button_group("Go", ("previous", "next", "there"))
            self._caption = gui.add_html("")
        self._picture: viser.GuiImageHandle | None = None
        self._compare_folder = gui.add_folder("Two scenes", visible=False, expand_by_default=False)
        with self._compare_folder:
            self.other: viser.GuiDropdownHandle[str] = gui.add_dropdown(
                "Compare with", (NO_OTHER,), hint="Shown to the right of the divider while the camera rests."
            )
            self.divider = gui.add_slider("Divider", 0, 100, 1, 50, visible=False)
            self._scores = gui.add_html("")
        self._curve_folder = gui.add_folder("Training", visible=False)
        with self._curve_folder:
            self._curves = gui.add_html("")

    def on_switch(self, act: Callable[[], None]) -> None:
        """Call act() whenever one of the switches of "Show" is moved."""
        for handle in (
            self.splats,
            self.rest,
            self.mesh,
            self.which_mesh,
            self.points,
            self.depth,
            self.cameras,
            self.in_cameras,
            self.camera_size,
            self.point_size,
        ):
            handle.on_update(lambda _: act())

    def tell(self, root_name: str, name: str, snapshot: Snapshot) -> None:
        """The heading: what this is, and how far it is."""
        title = root_name if name == "main" else f"{root_name} · {name}"
        lines = [f"<b style='font-size:15px;overflow-wrap:anywhere'>{html.escape(title)}</b>"]
        lines += [f"<span style='opacity:.75'>{html.escape(line)}</span>" for line in state_lines(snapshot)]
        style = "display:grid;gap:1px;padding:2px 8px 6px;font-size:13px;line-height:1.4"
        self._heading.content = f'<div style="{style}">{"".join(lines)}</div>'

    def offer_time(self, times: tuple[float, float] | None) -> None:
        """The moments of a scene that moves; None: it stands still."""
        if times is not None and (self.time.min, self.time.max) != times:
            low, high = times
            self.time.max, self.time.min, self.time.step = high, low, (high - low) / 200
            self.time.value = low
        self.time.visible = times is not None

    def list_meshes(self, names: Sequence[str]) -> None:
        """The meshes to choose from; the choice stays when it can."""
        chosen = self.which_mesh.value
        self.which_mesh.options = list(names) or list(NOTHING)
        self.which_mesh.value = chosen if chosen in names else (*names, *NOTHING)[0]
        self.mesh.visible, self.which_mesh.visible = bool(names), len(names) > 1

    def offer_depth(self, there: bool) -> None:
        """Whether there are depth maps."""
        self.depth.visible = there
        options = list(IN_CAMERAS if there else IN_CAMERAS[::2])
        if list(self.in_cameras.options) != options:
            chosen = self.in_cameras.value
            self.in_cameras.options = options
            self.in_cameras.value = chosen if chosen in options else options[0]

    def list_scenes(self, names: Sequence[str]) -> None:
        """The scenes that this one can be compared with."""
        options, chosen = [NO_OTHER, *names], self.other.value
        if options != list(self.other.options):
            self.other.options = options
            self.other.value = chosen if chosen in options else NO_OTHER
        self._compare_folder.visible = bool(names)
        self.divider.visible = self.chosen_other is not None

    @property
    def chosen_other(self) -> str | None:
        """The name of the second scene."""
        return None if self.other.value == NO_OTHER else self.other.value

    def tell_scores(self, rows: Sequence[str]) -> None:
        """A line of text for each of two scenes."""
        self._scores.content = paragraph(rows) if rows else ""

    def list_photos(self, names: Sequence[str], test: frozenset[str]) -> None:
        """The photos to choose from, held-out ones first; the choice stays when it can."""
        options = [n + HELD_OUT for n in names if n in test] + [n for n in names if n not in test]
        self._photo_folder.visible = bool(options)
        if options and tuple(options) != tuple(self.photo.options):
            chosen = self.photo.value
            self.photo.options = options
            self.photo.value = chosen if chosen in options else options[0]

    @property
    def chosen(self) -> str:
        """The photo's name."""
        return self.photo.value.removesuffix(HELD_OUT)

    def choose(self, name: str) -> None:
        """Choose a photo by its name."""
        found = [option for option in self.photo.options if option in (name, name + HELD_OUT)]
        if found:
            self.photo.value = found[0]

    def neighbour(self, by: int) -> str:
        """Choose the photo `by` places further in the list, and return its name."""
        options = list(self.photo.options)
        self.photo.value = options[(options.index(self.photo.value) + by) % len(options)]
        return self.chosen

    def show_picture(self, picture: NDArray[np.uint8], caption: Sequence[str]) -> None:
        """The comparison and its lines of text."""
        self.say_picture(caption)
        if self._picture is None:
            with self._photo_folder:
                self._picture = self._gui.add_image(picture, format="jpeg", jpeg_quality=88)
        else:
            self._picture.image = picture

    def say_picture(self, caption: Sequence[str]) -> None:
        """The lines of text alone."""
        self._caption.content = paragraph(caption)

    def show_curves(self, history: Sequence[dict[str, Any]]) -> None:
        """The curves of the training; none without a history."""
        drawn = charts(history)
        self._curve_folder.visible = bool(drawn)
        self._curves.content = f"{CHART_STYLE}<div class='rc'>{''.join(drawn)}</div>" if drawn else ""


def paragraph(lines: Sequence[str]) -> str:
    """Lines of text as HTML."""
    style = "padding:0 8px;opacity:.75;font-size:13px;line-height:1.4;overflow-wrap:anywhere"
    return f'<div style="{style}">{"<br>".join(html.escape(line) for line in lines)}</div>'


def score_line(letter: str, name: str, metrics: dict[str, Any] | None, step: int | None) -> str:
    """What is known of how good a scene is."""
    if metrics and metrics.get("psnr") is not None:
        return f"{letter}  {name}: PSNR {metrics['psnr']:.2f} dB (held out)"
    return f"{letter}  {name}: {'not evaluated' if step is None else f'in training, step {step:,}'}"


def state_lines(snapshot: Snapshot) -> list[str]:
    """What is there and what is going on, in a few short lines."""
    lines = []
    scene, last = snapshot.scene, snapshot.history[-1] if snapshot.history else None
    if snapshot.metrics and snapshot.metrics.get("psnr") is not None:
        lines.append(f"PSNR {snapshot.metrics['psnr']:.2f} dB, SSIM {snapshot.metrics.get('ssim') or 0:.4f} (held out)")
    if scene is not None and scene.splats is not None:
        lines.append(f"{len(scene.splats):,} splats")
    elif scene is not None:
        lines.append("a field without splats: recon draws it, coarsely while the camera moves")
    if snapshot.training and last:
        lines.append(f"training: step {last['step']:,}, {last['seconds']:.0f} s, {last['long_side']} px")
    elif scene is not None and scene.step is not None:
        lines.append(f"training stopped at step {scene.step:,}: run it again to go on")
    elif scene is None and snapshot.working:
        lines.append(f"recon {snapshot.working} is at work; the scene appears when training begins")
    elif scene is None:
        lines.append("no scene yet")
    if snapshot.sparse is not None:
        model = snapshot.sparse.model
        up = "" if model.world.up != "unknown" else ", up not known"
        lines.append(f"{len(model.names)} photos, {len(model.xyz):,} points{up}")
    return [*lines, *(f"cannot read {problem}" for problem in snapshot.problems)]
