"""Select and delete splats, in one client's panel: a ball where it clicks, a box, or proposed floaters. Deleting changes what
this client sees; "Save" writes the places to DIR/edits/NAME.json, from where they reach everybody. The trained scene stays.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.errors import ReconError
from render.edits import Ball, Box, Edits, Region, changing, edits_path, merged, read_edits, vector, write_edits
from render.floaters import floaters, spots, struck
from viewer.panel import paragraph
from viewer.pictures import Packed, marked, pack

if TYPE_CHECKING:
    import viser
    from numpy.typing import NDArray

    from recon.geometry import World
    from viewer.live import Snapshot
    from viewer.session import Session
    from viewer.shown import Shown

TOOLS: tuple[str, ...] = ("nothing", "ball", "box", "floaters")
HINTS = {
    "nothing": "",
    "ball": "Click on a splat: everything around it is selected. More clicks add.",
    "box": "Move and turn the box by its handles.",
    "floaters": "Proposed: small clouds far from the sparse points, and what hardly a camera sees.",
}
TOOL_COLOUR = (255, 90, 205)


class Editor:
    """The folder "Edit" of a client."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._regions: tuple[Region, ...] = ()
        """What is deleted in this client, saved or not."""
        self._base: tuple[Region, ...] = ()
        """What the file held when this client last read or wrote it."""
        self._undo: list[tuple[Region, ...]] = []
        """What each click on "delete" has deleted."""
        self._selected: tuple[Region, ...] = ()
        self._rows: NDArray[np.bool_] | None = None
        """Which of the scene's splats are selected."""
        self._own: Shown | None = None
        """The scene without what is deleted here; None while that is what is saved."""
        self._own_packed: Packed | None = None
        self._gizmo: viser.TransformControlsHandle | None = None
        self._ball: viser.IcosphereHandle | None = None
        self._build(session.client.gui)

    def _build(self, gui: viser.GuiApi) -> None:
        self._folder = gui.add_folder("Edit", visible=False, expand_by_default=False)
        with self._folder:
            self.tool: viser.GuiDropdownHandle[str] = gui.add_dropdown("Select", TOOLS)
            self.radius = gui.add_slider("Radius", 0.1, 20.0, 0.1, 3.0, visible=False, hint="% of the view's distance.")
            self.box_size = gui.add_vector3(
                "Box size", (1.0, 1.0, 1.0), min=(1e-4, 1e-4, 1e-4), step=0.01, visible=False
            )
            self.boldness = gui.add_slider("Boldness", 0.5, 8.0, 0.5, 1.0, visible=False)
            self._text = gui.add_html("")
            self.actions = gui.add_button_group("Do", ("delete", "unselect", "undo"))
            self.save = gui.add_button("Save edits", hint="Into edits/ of the workspace; export leaves them out.")
        self.tool.on_update(lambda _: self._chose_tool())
        self.radius.on_update(lambda _: self._resized_ball())
        self.box_size.on_update(lambda _: self._moved_box())
        self.boldness.on_update(lambda _: self._ask_floaters())
        self.actions.on_click(lambda event: self.act(event.target.value))
        self.save.on_click(lambda _: self.write())

    # What the session asks

    @property
    def scene(self) -> Shown | None:
        """The scene as this client sees it."""
        return self._session.now.scene if self._own is None else self._own

    @property
    def selecting(self) -> bool:
        """Whether splats are selected."""
        return self._rows is not None and bool(self._rows.any())

    @property
    def unsaved(self) -> bool:
        """Whether this client's edits are not those of the file."""
        return self._regions != self._session.now.edits.regions

    def packed(self, common: Packed | None) -> Packed | None:
        """The splats to send: the common ones, or one's own, with the selection marked."""
        packed = common if self._own is None else self._own_packed
        if packed is None or self._rows is None or len(self._rows) != len(packed.buffer):
            return packed
        return marked(packed, self._rows)

    def update(self, before: Snapshot) -> None:
        """The scene or its saved edits have changed: this client's unsaved ones are put on top."""
        now = self._session.now
        self._folder.visible = now.whole is not None and now.whole.splats is not None
        old, new = before.edits.regions, now.edits.regions
        if old != new:
            self._regions, self._base = merged(old, self._regions, new), new
        self._apply()

    # Selecting

    def _chose_tool(self) -> None:
        with self._session.lock:
            tool = self.tool.value
            self.radius.visible, self.box_size.visible = tool == "ball", tool == "box"
            self.boldness.visible = tool == "floaters"
            scene = self._session.client.scene
            scene.remove_click_callback("all")
            self._drop_helpers()
            self.select(())
            if tool == "ball":
                scene.on_click()(self.clicked)
            elif tool == "box":
                self._add_box()
            elif tool == "floaters":
                self._ask_floaters()

    def clicked(self, event: Any) -> None:
        """A ball around what the client clicked at."""
        with self._session.lock:
            if self.scene is None or self.scene.splats is None or self._session.place is None:
                return
            place = struck(self.scene.splats, np.array(event.ray_origin), np.array(event.ray_direction))
            if place is None:
                self.say("Nothing is there.")
                return
            self.select((*self._selected, Ball(vector(place), self._ball_radius)))
            self._show_ball()

    @property
    def _ball_radius(self) -> float:
        assert self._session.place is not None
        return 0.01 * float(self.radius.value) * self._session.place.size

    def _resized_ball(self) -> None:
        with self._session.lock:
            if self._selected and isinstance(last := self._selected[-1], Ball):
                self.select((*self._selected[:-1], Ball(last.center, self._ball_radius)))
                self._show_ball()

    def _show_ball(self) -> None:
        """The last ball, as a net that one sees through."""
        if self._ball is not None:
            self._ball.remove()
            self._ball = None
        if self._selected and isinstance(last := self._selected[-1], Ball):
            self._ball = self._session.client.scene.add_icosphere(
                "/edit/ball",
                last.radius,
                TOOL_COLOUR,
                wireframe=True,
                subdivisions=2,
                position=last.center,
                cast_shadow=False,
            )

    def _add_box(self) -> None:
        """A box with handles, before the client's eyes."""
        s = self._session
        if s.place is None or s.pose is None:
            return
        half = 0.1 * s.place.size
        forward = s.pose.cameras(64).world_from_cam[0, :3, 2]
        center = np.array(s.pose.position) + s.place.size * forward
        self.box_size.value = (2 * half, 2 * half, 2 * half)
        self._gizmo = s.client.scene.add_transform_controls(
            "/edit/box", scale=1.5 * half, position=center, line_width=4.0
        )
        self._gizmo.on_update(lambda _: self._moved_box())
        self._moved_box()

    def _moved_box(self) -> None:
        """Select what is in the box, once it has stopped."""
        s = self._session
        with s.lock:
            if self._gizmo is None:
                return
            s.client.scene.add_box(
                "/edit/box/frame", TOOL_COLOUR, self.box_size.value, wireframe=True, cast_shadow=False
            )
        s.painter.ask(s.key("edit"), self._select_box, 0.1)

    def _select_box(self) -> None:
        with self._session.lock:
            if self._gizmo is not None:
                w, x, y, z = (float(v) for v in self._gizmo.wxyz)
                a, b, c = (max(0.5 * float(v), 1e-9) for v in self.box_size.value)
                self.select((Box(vector(self._gizmo.position), (a, b, c), (w, x, y, z)),))

    def _ask_floaters(self) -> None:
        if self.tool.value == "floaters":
            self.say("Looking …")
            self._session.painter.ask(self._session.key("edit"), self._propose, 0.1)

    def _propose(self) -> None:
        scene, sparse = self.scene, self._session.now.sparse
        if scene is None or scene.splats is None or sparse is None:
            return
        found = floaters(scene.splats, sparse.model.cameras, sparse.model.xyz, float(self.boldness.value))
        mean, size = scene.splats.mean.numpy().astype(np.float64), scene.splats.scale.numpy().max(1)
        region = spots(mean, found, size.astype(np.float64)) if found.any() else None
        with self._session.lock:
            if self.tool.value == "floaters" and scene is self.scene:
                self.select((region,) if region is not None else ())

    def select(self, regions: tuple[Region, ...]) -> None:
        """Select what lies in some regions, and mark it."""
        s = self._session
        self._selected = regions
        before, splats = self.selecting, None if self.scene is None else self.scene.splats
        self._rows = None if splats is None or not regions else Edits(regions).removes(splats.mean.numpy())
        if before or self.selecting:
            s.rest.leave()
            s.show_splats()
            s.rest.ask()
        self.say()

    def _drop_helpers(self) -> None:
        if self._gizmo is not None:
            self._gizmo.remove()
            self._gizmo = None
        if self._ball is not None:
            self._ball.remove()
            self._ball = None

    # Deleting

    def act(self, word: str) -> None:
        """One of the buttons."""
        with self._session.lock:
            if word == "delete" and self.selecting:
                self._undo.append(self._selected)
                self._regions = (*self._regions, *self._selected)
                self._edited()
            elif word == "undo" and (self._undo or self._regions):
                back = self._undo.pop() if self._undo else self._regions[-1:]
                self._regions = tuple(region for region in self._regions if region not in back)
                self._edited()
            elif word == "unselect":
                self._drop_selection()

    def _drop_selection(self) -> None:
        """Nothing is selected; the box stays where it is."""
        if self._ball is not None:
            self._ball.remove()
            self._ball = None
        self.select(())

    def _edited(self) -> None:
        """Show the scene without what is deleted now."""
        self._apply()
        self._drop_selection()
        self._session.show_splats()
        self._session.rest.leave()
        self._session.scene_changed()

    def _apply(self) -> None:
        """Make this client's own scene, unless it is everybody's."""
        whole = self._session.now.whole
        if whole is None or whole.splats is None or not self.unsaved:
            self._own = self._own_packed = None
        else:
            self._own = whole.edited(Edits(self._regions))
            assert self._own.splats is not None
            self._own_packed = pack(self._own.splats)
        splats = None if self.scene is None else self.scene.splats
        stale = self._selected and splats is not None
        self._rows = Edits(self._selected).removes(splats.mean.numpy()) if stale and splats is not None else None
        self.say()

    def write(self) -> None:
        """Write the places into the workspace: on the user's click alone. What others have saved since this client last read
        the file stays in it, and the client is told."""
        s = self._session
        with s.common.saving, s.lock:
            whole = s.now.whole
            if whole is None or whole.splats is None:
                return
            try:
                path = edits_path(s.common.root, s.name)
                with changing(path):
                    theirs = self._saved(path, whole.splats.world)
                    stale = theirs != self._base
                    regions = merged(self._base, self._regions, theirs) if stale else self._regions
                    write_edits(path, Edits(regions, whole.splats.world, *s.now.sources, self._taken(whole, regions)))
            except (OSError, ReconError) as error:
                self.say(f"Not saved: {error}")
                return
            self._base = regions
            if regions != self._regions:
                self._regions = regions
                self._edited()
        self.say("Saved, with what somebody else had saved meanwhile." if stale else "Saved.")

    def _saved(self, path: Path, world: World) -> tuple[Region, ...]:
        """What the file holds now, in this frame; nothing where it means nothing here. Raises WorkspaceError for one that is
        damaged, or of a newer recon: somebody's work, that a save would replace."""
        if not path.is_file():
            return ()
        edits, sfm = read_edits(path), self._session.now.sources[0]
        if edits.sfm is not None and sfm is not None and edits.sfm != sfm:
            return ()
        return edits.in_world(world).regions

    def _taken(self, whole: Shown, regions: tuple[Region, ...]) -> tuple[int, ...]:
        """How many splats each region takes that none before it took."""
        assert whole.splats is not None
        mean, counts = whole.splats.mean.numpy(), []
        left = np.ones(len(mean), bool)
        for region in regions:
            takes = region.contains(mean) & left
            counts.append(int(takes.sum()))
            left &= ~takes
        return tuple(counts)

    def say(self, word: str = "") -> None:
        """What is selected and deleted, and one word more."""
        whole, scene = self._session.now.whole, self.scene
        lines = [HINTS[self.tool.value]] if HINTS[self.tool.value] and not self.selecting else []
        if self.selecting and self._rows is not None:
            lines.append(f"{int(self._rows.sum()):,} splats selected")
        if whole is not None and whole.splats is not None and scene is not None and scene.splats is not None:
            gone = len(whole.splats) - len(scene.splats)
            lines += [f"{gone:,} deleted{', not saved' if self.unsaved else ''}"] if gone or self.unsaved else []
        self._text.content = paragraph([*lines, *([word] if word else [])])
