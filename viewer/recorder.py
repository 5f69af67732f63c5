"""Camera paths of one client: keyframes where it stands, played, and kept as DIR/paths/NAME.json for `recon render`."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.errors import InputError, ReconError
from recon.geometry import se3_inverse
from viewer.panel import NOTHING, paragraph
from viewer.paths import CameraPath, read_path, write_path

if TYPE_CHECKING:
    import viser

    from viewer.session import Session

PLAY_RATE = 20.0
"""Cameras a second that a client is sent while a path is played."""
DRAWN = 24
"""Pieces of the line between two keyframes."""
LINE_COLOUR = (255, 209, 102)
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_ -]{0,59}")


def path_file(root: Path, name: str) -> Path:
    """DIR/paths/NAME.json. Raises InputError for a name that is none."""
    if not SAFE.fullmatch(name):
        raise InputError(f"{name!r} cannot name a path. Use letters, digits, '-' and '_'.")
    return root / "paths" / f"{name}.json"


def saved_paths(root: Path) -> list[str]:
    """Names of the paths that were saved."""
    folder = root / "paths"
    found = folder.glob("*.json") if folder.is_dir() else ()
    return sorted(path.stem for path in found if SAFE.fullmatch(path.stem) and path.is_file())


class Recorder:
    """The folder "Camera path" of a client."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.path: CameraPath | None = None
        self._mine: set[str] = set()
        """Names that this client has loaded or saved: those it may replace."""
        self._line: viser.LineSegmentsHandle | None = None
        self._stop = threading.Event()
        self._player: threading.Thread | None = None
        gui = session.client.gui
        with gui.add_folder("Camera path", expand_by_default=False):
            self.keys = gui.add_button_group("Keyframe", ("add", "remove last"))
            self.apart = gui.add_slider("Seconds between", 0.5, 10.0, 0.5, 2.0)
            self.loop = gui.add_checkbox("Loop", False)
            self._text = gui.add_html(paragraph(["No keyframe yet: look from somewhere, and add one."]))
            self.play = gui.add_button_group("Play", ("play", "stop"))
            self.name = gui.add_text("Name", "path")
            self.saved: viser.GuiDropdownHandle[str] = gui.add_dropdown("Saved", NOTHING)
            self.files = gui.add_button_group("File", ("save", "load"))
        self.keys.on_click(lambda event: self.add() if event.target.value == "add" else self.remove_last())
        self.play.on_click(lambda event: self.start() if event.target.value == "play" else self.stop())
        self.files.on_click(lambda event: self.save() if event.target.value == "save" else self.load())
        self.loop.on_update(lambda _: self._changed(self.path))
        self._list_saved()

    @property
    def any_shown(self) -> bool:
        """Whether the path's line is in the scene."""
        return self._line is not None and self._line.visible

    def add(self) -> None:
        """The client's camera of this moment is the next keyframe."""
        with self._session.lock:
            pose, old = self._session.pose, self.path
            if pose is None:
                return
            camera, vfov = pose.cameras(max(pose.size)).cam_from_world, np.array([np.degrees(pose.fov)])
            if old is None:
                self._changed(CameraPath(np.zeros(1), camera, vfov))
                return
            times = np.append(old.time, old.time[-1] + float(self.apart.value))
            poses, vfovs = np.concatenate([old.cam_from_world, camera]), np.concatenate([old.vfov_deg, vfov])
            self._changed(CameraPath(times, poses, vfovs, old.fps))

    def remove_last(self) -> None:
        with self._session.lock:
            old = self.path
            if old is not None:
                n = len(old) - 1
                self._changed(
                    CameraPath(old.time[:n], old.cam_from_world[:n], old.vfov_deg[:n], old.fps) if n else None
                )

    def _changed(self, path: CameraPath | None, word: str = "") -> None:
        """Take a path, draw it and list it."""
        with self._session.lock:
            self.path = None if path is None else replace(path, loop=bool(self.loop.value))
            self._draw()
            self.say(word)

    def say(self, word: str = "") -> None:
        """The keyframes in a few words, and one word more."""
        lines = ["No keyframe yet: look from somewhere, and add one."]
        if self.path is not None:
            times = [f"{t:g}" for t in self.path.time]
            times = times if len(times) <= 12 else [*times[:6], "…", *times[-5:]]
            plural = "s" if len(self.path) > 1 else ""
            lines = [f"{len(self.path)} keyframe{plural}, {self.path.duration:g} s", f"at {', '.join(times)} s"]
        self._text.content = paragraph([*lines, *([word] if word else [])])

    def _draw(self) -> None:
        """The way of the camera as a line."""
        scene = self._session.client.scene
        if self._line is not None:
            self._line.remove()
            self._line = None
        if self.path is not None and len(self.path) > 1:
            count = DRAWN * len(self.path)
            moments = self.path.time[0] + self.path.duration * np.linspace(0, 1 - 1e-9, count)
            centers = se3_inverse(self.path.at(moments).cam_from_world)[:, :3, 3].astype(np.float32)
            pieces = np.stack([centers[:-1], centers[1:]], 1)
            self._line = scene.add_line_segments("/path", pieces, LINE_COLOUR, thickness=2.0, thickness_units="screen")

    # Playing

    def start(self) -> None:
        """Move the client along the path, once; a loop until it is stopped."""
        self.stop()
        if self.path is not None and len(self.path) > 1 and self._session.place is not None:
            self._stop = threading.Event()
            self._player = threading.Thread(
                target=self._run, args=(self.path, self._stop), name="recon-path", daemon=True
            )
            self._player.start()

    def stop(self) -> None:
        self._stop.set()

    def _run(self, path: CameraPath, stop: threading.Event) -> None:
        start = time.monotonic()
        with self._session.lock:
            if self._line is not None:
                self._line.visible = False  # the camera runs along it
        while not stop.is_set() and not self._session.closed:
            elapsed = time.monotonic() - start
            self.show_moment(path, float(path.time[0]) + elapsed)
            if elapsed > path.duration and not path.loop:
                break
            stop.wait(1 / PLAY_RATE)
        with self._session.lock:
            if self._line is not None and not self._session.closed:
                self._line.visible = True

    def show_moment(self, path: CameraPath, moment: float) -> None:
        """Stand where the path is at a moment, seconds of its clock."""
        sampled = path.at(moment)
        pose = se3_inverse(sampled.cam_from_world)[0]
        self._session.stand(pose[:3, :3], pose[:3, 3], float(np.radians(sampled.vfov_deg[0])))

    # Files

    def _list_saved(self) -> None:
        names, chosen = saved_paths(self._session.common.root) or list(NOTHING), self.saved.value
        self.saved.options = names
        self.saved.value = chosen if chosen in names else names[0]

    def save(self) -> None:
        """Write the path: on the user's click alone."""
        if self.path is None:
            self.say("Nothing to save.")
            return
        name = self.name.value.strip()
        try:
            file = path_file(self._session.common.root, name)
            file.parent.mkdir(exist_ok=True)
            with self._session.common.saving:
                if file.exists() and name not in self._mine:
                    raise InputError(f"paths/{name}.json is there already. Choose another name, or load it first.")
                write_path(file, self.path)
        except (OSError, ReconError) as error:
            self.say(f"Not saved: {error}")
            return
        self._mine.add(name)
        self._list_saved()
        self.saved.value = name
        self.say(f"Saved as paths/{name}.json.")

    def load(self) -> None:
        """Read the path that is chosen in the list."""
        self._list_saved()
        try:
            path = read_path(path_file(self._session.common.root, self.saved.value))
        except ReconError as error:
            self.say(f"Not loaded: {error}")
            return
        self._mine.add(self.saved.value)
        self.name.value, self.loop.value = self.saved.value, path.loop
        self._changed(path, f"Loaded {self.saved.value}.")

    def close(self) -> None:
        self.stop()
