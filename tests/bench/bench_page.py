"""The published page beside SuperSplat's viewer in the same software-rendering Chromium, on the same scene.

    python bench_page.py [--splats 500000] [--size 640 480] [--seconds 12]

Prints time to the first picture, time to the full one, memory of the browser, and time a frame while the view turns. The scene is
made of the sample capture's true surfaces. SuperSplat's viewer (MIT) comes from the npm registry into build/bench/supersplat.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
from playwright.sync_api import BrowserContext, Page, sync_playwright

from recon.cli import main as recon
from recon.geometry import World
from recon.sample import sample_z
from recon.workspace import Workspace
from tests.browser import CHROMIUM
from tests.fabricate import write_scene
from tests.page_browser import FLAGS, PATIENCE_MS, plain_server
from tests.sample_scene import sample_workspace, surface_splats

VIEWER = "@playcanvas/supersplat-viewer@1.36.2"
PROBE = """window.firstFrame = () => performance.mark('first-frame');
const getContext = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, options) {
    return getContext.call(this, kind, kind === 'webgl2' ? { ...options, preserveDrawingBuffer: true } : options);
};"""
"""Says when SuperSplat's viewer has drawn, and keeps what a canvas shows readable."""
COUNT_FRAMES = """seconds => new Promise(done => {
    const canvas = document.querySelector('canvas'), gl = canvas.getContext('webgl2');
    const side = 48, pixels = new Uint8Array(4 * side * side);
    let start = null, last = null, pictures = 0, before = null;
    const step = now => {
        const frame = gl.getParameter(gl.READ_FRAMEBUFFER_BINDING), pack = gl.getParameter(gl.PIXEL_PACK_BUFFER_BINDING);
        gl.bindFramebuffer(gl.READ_FRAMEBUFFER, null);
        gl.bindBuffer(gl.PIXEL_PACK_BUFFER, null);
        gl.readPixels((canvas.width - side) / 2, (canvas.height - side) / 2, side, side, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
        gl.bindFramebuffer(gl.READ_FRAMEBUFFER, frame);
        gl.bindBuffer(gl.PIXEL_PACK_BUFFER, pack);
        let sum = 0;
        for (let i = 0; i < pixels.length; i++) sum = (sum * 31 + pixels[i]) >>> 0;
        const at = performance.now();
        start ??= at;
        if (sum !== before) { pictures++; before = sum; last = at; }
        if (at - start < 1000 * seconds) requestAnimationFrame(step);
        else done((last - start) / Math.max(1, pictures - 1));
    };
    requestAnimationFrame(step);
})"""
"""Milliseconds from picture to picture: reading the middle of the canvas waits for its drawing, and tells a new one."""
MARK = "name => performance.getEntriesByName(name)[0]?.startTime ?? null"
POLL_SECONDS = 0.25


def big_workspace(root: Path, splats: int) -> Path:
    """The sample's true surfaces as about so many splats."""
    workspace = sample_workspace(root)
    parts = [surface_splats(name, 1) for name in sample_z()]
    columns = {key: np.concatenate([part[key] for part in parts]).astype(np.float32) for key in parts[0]}
    count = len(columns["mean"])
    rows = np.sort(np.random.default_rng(0).permutation(count)[:splats])
    columns = {key: column[rows] for key, column in columns.items()}
    columns["log_scale"][:, :2] += 0.5 * np.log(count / len(rows))
    write_scene(workspace / "train" / "main" / "scene.npz", columns, World(scale="metric", up="gravity"))
    return workspace


def supersplat_site(folder: Path, workspace: Path) -> Path:
    """SuperSplat's viewer with the same splats as PLY and the same first view."""
    packages = common.ROOT / "build" / "bench" / "supersplat"
    public = packages / "node_modules" / VIEWER.rsplit("@", 1)[0] / "public"
    if not public.is_dir():
        packages.mkdir(parents=True, exist_ok=True)
        (packages / "package.json").write_text("{}")
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", VIEWER], cwd=packages, check=True)
    shutil.copytree(public, folder)
    assert recon(["export", str(folder / "scene.ply"), "-w", str(workspace)]) == 0
    cameras = Workspace(workspace).load("align").model.cameras
    eye, forward = cameras.centers[0], cameras.cam_from_world[0, 2, :3]
    place = {"position": eye.tolist(), "target": (eye + 2 * forward).tolist(), "fov": 50}
    off: dict[str, Any] = {"enabled": False}
    settings = {
        "version": 2,
        "tonemapping": "none",
        "highPrecisionRendering": False,
        "background": {"color": [0, 0, 0]},
        "postEffectSettings": {
            "sharpness": off | {"amount": 0},
            "bloom": off | {"intensity": 0, "blurLevel": 0},
            "grading": off | {"brightness": 1, "contrast": 1, "saturation": 1, "tint": [1, 1, 1]},
            "vignette": off | {"intensity": 0, "inner": 0, "outer": 1, "curvature": 0},
            "fringing": off | {"intensity": 0},
        },
        "animTracks": [],
        "cameras": [{"initial": place}],
        "annotations": [],
        "startMode": "default",
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


def descendants(root: int) -> list[int]:
    """A process and all that it started."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def memory_mib(profile: Path) -> float:
    """Proportional resident memory of the browser that uses a profile, over all its processes."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"--user-data-dir={profile}".encode() in words and not any(w.startswith(b"--type=") for w in words):
            for pid in descendants(int(entry.name)):
                try:
                    lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
                    total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
                except (OSError, StopIteration):
                    continue
    return total / 1024


def wait_for(page: Page, mark: str, profile: Path) -> tuple[float, float]:
    """When the page set a mark, ms since its address was opened, and the most memory until then, MiB."""
    peak, end = 0.0, time.monotonic() + PATIENCE_MS / 1000 * 5
    while time.monotonic() < end:
        peak = max(peak, memory_mib(profile))
        at = page.evaluate(MARK, mark)
        if at is not None:
            return at, peak
        time.sleep(POLL_SECONDS)
    sys.exit(f"{page.url} never set {mark}")


def turn(page: Page, size: tuple[int, int], seconds: float) -> float:
    """Milliseconds from frame to frame while the mouse drags the view round."""
    page.evaluate(f"() => {{ window.__frames = ({COUNT_FRAMES})({seconds}); }}")  # evaluate() would await a promise
    x, y, end = size[0] / 2, size[1] / 2, time.monotonic() + seconds
    page.mouse.move(x, y)
    page.mouse.down()
    step = 0
    while time.monotonic() < end:
        step += 1
        page.mouse.move(x + 60 * np.sin(step / 10), y + 10 * np.cos(step / 10))
    page.mouse.up()
    return page.evaluate("() => window.__frames")


def look(name: str, site: Path, query: str, marks: tuple[str, str], args: argparse.Namespace) -> dict[str, float]:
    """Open a site in a browser of its own and measure it."""
    size = tuple(args.size)
    with tempfile.TemporaryDirectory() as folder, plain_server(site) as url, sync_playwright() as playwright:
        profile = Path(folder)
        context: BrowserContext = playwright.chromium.launch_persistent_context(
            folder, executable_path=CHROMIUM, args=FLAGS, viewport={"width": size[0], "height": size[1]}
        )
        context.set_default_timeout(5 * PATIENCE_MS)
        page = context.new_page()
        page.add_init_script(PROBE)
        page.goto(url + query, wait_until="commit")
        first, _ = wait_for(page, marks[0], profile)
        full, peak = wait_for(page, marks[1], profile)
        frame = turn(page, size, args.seconds)
        peak = max(peak, memory_mib(profile))
        page.screenshot(path=common.OUT / f"page_{name}.png")
        context.close()
    return {"first_ms": first, "full_ms": full, "frame_ms": frame, "memory_mib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splats", type=int, default=500_000)
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480))
    parser.add_argument("--seconds", type=float, default=12.0)
    args = parser.parse_args()
    common.OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        workspace = big_workspace(Path(folder) / "workspace", args.splats)
        ours = Path(folder) / "ours"
        assert recon(["publish", "-w", str(workspace), str(ours), "--target", "desktop", "--measure", "no"]) == 0
        theirs = supersplat_site(Path(folder) / "theirs", workspace)
        values: dict[str, Any] = {"splats": args.splats, "size": list(args.size)}
        values["recon"] = look("recon", ours, "", ("recon-coarse", "recon-ready"), args)
        query = "?content=scene.ply&settings=settings.json&noui&noanim&webgl"
        values["supersplat"] = look("supersplat", theirs, query, ("first-frame", "first-frame"), args)
        values["recon"]["mb"] = sum(f.stat().st_size for f in (ours / "splats").iterdir()) / 1e6
        values["supersplat"]["mb"] = (theirs / "scene.ply").stat().st_size / 1e6
    for key, unit in (
        ("first_ms", "ms to the first picture"),
        ("full_ms", "ms to the full picture"),
        ("frame_ms", "ms a frame while turning"),
        ("memory_mib", "MiB of memory"),
        ("mb", "MB fetched"),
    ):
        a, b = values["recon"][key], values["supersplat"][key]
        print(f"{unit:26} recon {a:9.0f}   SuperSplat's viewer {b:9.0f}   ratio {a / b:.2f}")
    print(common.record("page", values))


if __name__ == "__main__":
    main()
