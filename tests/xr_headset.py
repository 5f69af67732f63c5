"""An emulated headset (iwer's Quest 3) on a published page, driven from Python, and what the page tells of itself.

Room: the headset's reference space, metres, +Y up. Place: the world frame of the files, +Z up.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.page_browser import ARTEFACTS, Tab

Array = NDArray[np.float64]
IPD = 0.063
EYES = 1.6
SIZE = (320, 160)
HELPERS = """
;window.headset = (config, hit) => {
  window.device = new IWER.XRDevice(config, { stereoEnabled: true });
  device.installRuntime({ forceInstall: true });
  device.controlMode = "programmatic";
  const rigid = (position) => { const m = new Float32Array(16); m[0] = m[5] = m[10] = m[15] = 1; m.set(position, 12); return m; };
  if (hit) device.installSEM(class { constructor() { this.environmentCanvas = document.createElement("canvas"); }
    render() {} computeHitTestResults() { return window.surface ? [rigid(window.surface)] : []; }
    get trackedPlanes() { return new Set(); } get trackedMeshes() { return new Set(); } });
};
window.rest = (ms) => new Promise((done) => setTimeout(done, ms));
window.limited = (act) => Promise.race([act(), rest(60000).then(() => { throw new Error("no end in sight"); })]);
window.frames = async (count) => {
  for (let i = 0; i < count; i++) await new Promise((done) => {
    const session = recon.renderer.xr.getSession();
    (session ?? window).requestAnimationFrame(() => done());
  });
};
window.told = () => {
  const { camera, rig, renderer, spark } = recon;
  const eyes = renderer.xr.getCamera().cameras;
  return {
    presenting: renderer.xr.isPresenting, rig: rig.matrixWorld.toArray(), radial: spark.sortRadial,
    camera: camera.matrixWorld.toArray(),
    projection: camera.projectionMatrix.toArray(), clip: [camera.near, camera.far],
    canvas: [recon.stage.canvas.width, recon.stage.canvas.height],
    eyes: eyes.map((eye) => eye.matrixWorld.toArray()), projections: eyes.map((eye) => eye.projectionMatrix.toArray()),
    viewports: eyes.map((eye) => eye.viewport.toArray()), shift: rig.position.toArray(),
  };
};
"""


class Headset:
    """A page in a browser with a headset."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab

    def run(self, script: str) -> Any:
        """What an asynchronous script returns."""
        return self.tab.run(f"limited(async () => {{ {script} }})")

    def told(self, frames: int = 2) -> dict[str, Any]:
        """What the page knows of itself, some frames later; matrices as arrays."""
        told = self.run(f"await frames({frames}); return told();")
        for key in ("rig", "camera", "projection"):
            told[key] = matrix(told[key])
        told["eyes"] = [matrix(eye) for eye in told["eyes"]]
        return told

    def enter(self, mode: str) -> None:
        self.run("recon.ui.open('more'); recon.ui.close();")  # where the bar puts what has no room in a small window
        self.run(f"document.getElementById('enter-{mode.lower()}').click();")
        self.tab.page.wait_for_timeout(50)
        self.run(
            "while (!recon.renderer.xr.isPresenting) await new Promise((d) => setTimeout(d, 20)); await frames(2);"
        )

    def leave(self) -> None:
        self.run("await recon.renderer.xr.getSession()?.end(); await frames(1);")

    def head(self, x: float, y: float, z: float, yaw: float = 0.0) -> None:
        self.run(f"device.position.set({x}, {y}, {z}); device.quaternion.set({turned(0, yaw)});")

    def hand(self, side: str, x: float, y: float, z: float, pitch: float = 0.0, yaw: float = 0.0) -> None:
        """Put a controller somewhere, its ray pitched up by some radians."""
        self.run(
            f"const c = device.controllers.{side}; c.position.set({x}, {y}, {z}); c.quaternion.set({turned(pitch, yaw)});"
        )

    def button(self, side: str, name: str, value: float, frames: int = 2) -> None:
        self.run(f"device.controllers.{side}.updateButtonValue('{name}', {value}); await frames({frames});")

    def stick(self, side: str, x: float, y: float, frames: int = 2) -> None:
        self.run(f"device.controllers.{side}.updateAxes('thumbstick', {x}, {y}); await frames({frames});")

    def picture(self) -> NDArray[np.uint8]:
        """What both eyes see: [H, W, 4]."""
        url = self.run(
            "await frames(3); await new Promise((d) => setTimeout(d, 150)); await frames(2);"
            "return recon.stage.canvas.toDataURL();"
        )
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA"))

    def save(self, name: str) -> NDArray[np.uint8]:
        """What both eyes see, kept among the build's artefacts; in AR over a grey room."""
        picture = self.picture()
        ground = Image.new("RGBA", (picture.shape[1], picture.shape[0]), (120, 124, 130, 255))
        ground.alpha_composite(Image.fromarray(picture))
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        ground.convert("RGB").save(ARTEFACTS / f"{name}.png")
        return picture


def turned(pitch: float, yaw: float) -> str:
    """x, y, z, w of a quaternion that looks up by pitch and left by yaw, radians."""
    (sp, cp), (sy, cy) = ((np.sin(a / 2), np.cos(a / 2)) for a in (pitch, yaw))
    return f"{sp * cy}, {cp * sy}, {-sp * sy}, {cp * cy}"


def matrix(numbers: list[float]) -> Array:
    return np.array(numbers).reshape(4, 4).T


def to_place(told: dict[str, Any], room: Array) -> Array:
    """A point of the room in the place: three.js's frame of the place turned to +Z up."""
    x, y, z = (np.linalg.inv(told["rig"]) @ [*room, 1])[:3]
    return np.array([x, -z, y])


def scale_of(told: dict[str, Any]) -> float:
    return float(np.cbrt(np.linalg.det(told["rig"][:3, :3])))


@contextmanager
def visit(headset: Headset, mode: str) -> Iterator[Headset]:
    """Enter VR or AR with two controllers in the hands, and leave; nothing may be said on the console meanwhile."""
    headset.head(0, EYES, 0)
    for side, x in (("left", -0.25), ("right", 0.25)):
        headset.hand(side, x, 1.3, -0.4)
    headset.run("localStorage.clear(); device.primaryInputMode = 'controller'; window.surface = null;")
    headset.enter(mode)
    try:
        yield headset
    finally:
        headset.leave()
    assert headset.tab.complaints == []
