"""Open a site in a browser without a window, and measure how long it takes to show something, and what it needs.

The browser draws in software, whatever the machine has, so that it works on servers: the times are a bound from above, and the
same machine's numbers compare with each other alone. What drew stands beside them ("renderer").
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recon.errors import MissingPart, WorkspaceError
from recon.job import Progress
from viewer.targets import TARGETS

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)
SOFTWARE = ("swiftshader", "llvmpipe", "softpipe", "basic render")
"""Words in the names of renderers that need no graphics card."""
MOST_NAME = 200
PATIENCE_MS = 180_000
"""A page that is not ready by then is not measured."""
FRAMES, FRAMES_MS = 30, 20_000
"""Frames that are timed, and how long at most."""
LISTEN = """
(() => {
  const times = (window.reconTimes = {});
  const look = () => {
    const state = document.documentElement.dataset.recon;
    if (state && times[state] === undefined) times[state] = performance.now();
  };
  new MutationObserver(look).observe(document, { attributes: true, subtree: true, attributeFilter: ["data-recon"] });
  look();
})();
"""
"""Notes when the page comes to each of its states, in ms from the start of navigation."""
TIME_FRAMES = """
([frames, most]) => new Promise((done) => {
  const { stage, renderer, camera } = window.recon;
  const gl = renderer.getContext();
  const pixel = new Uint8Array(4);
  const times = [];
  const start = performance.now();
  const tick = () => {
    const begin = performance.now();
    camera.rotateY(times.length % 20 < 10 ? 0.005 : -0.005);
    stage.draw();
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    times.push(performance.now() - begin);
    if (times.length > frames || performance.now() - start > most) done(times);
    else requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
})
"""
"""Times of frames with a turning camera, ms, each until its pixels can be read."""
RENDERER = """
(() => {
  const gl = window.recon.renderer.getContext();
  const told = gl.getExtension("WEBGL_debug_renderer_info");
  return String(gl.getParameter(told ? told.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
})()
"""


def find_browser() -> str | None:
    """A Chromium's path."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def check_browser() -> str:
    """The browser's path. Raises MissingPart when there is none, or nothing that drives it."""
    path = find_browser()
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        raise MissingPart(
            "The page is measured with playwright, which is not installed. `pip install playwright`, or use --measure no."
        ) from None
    if path is None:
        raise MissingPart(
            f"The page is measured in a Chromium, and none of {', '.join(BROWSERS)} is there. Install one."
        )
    return path


def measured(
    folder: Path, manifest: dict[str, Any], progress: Progress, *, insist: bool = False
) -> dict[str, Any] | None:
    """The manifest's "measured" of a site that is being built; None, with a sentence to the user, where it cannot be measured.

    insist: raise MissingPart or WorkspaceError instead.
    """
    try:
        browser = check_browser()
    except MissingPart as error:
        if insist:
            raise
        progress.say(f"not measured: {error}")
        return None
    from playwright.sync_api import Error

    try:
        with progress.task("measuring in a browser", None), serving(folder) as url:
            return _open(browser, url, manifest)
    except (Error, _PageFailed) as error:
        said = f"The page could not be measured in {Path(browser).name}: {str(error).strip().splitlines()[0]}"
        if insist:
            raise WorkspaceError(f"{said} Publish with --measure no, and open it in another browser.") from error
        progress.warn(said)
        return None


class _PageFailed(Exception):
    """The page shows why it cannot work."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A web server on the loopback address, at any free port, while the block runs; yields its URL."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Says nothing, and knows scripts whatever the system's table of types says."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript"}

    def log_message(self, format: str, *args: Any) -> None:
        pass


def launched(chromium: Any, executable: str, flags: tuple[str, ...] = FLAGS) -> Any:
    """A running browser that draws in software: in its sandbox, but for root, whom Chromium lets have none, and where the system
    offers no means for one (as in most containers). `chromium` is Playwright's."""
    from playwright.sync_api import Error

    how = {"executable_path": executable, "args": list(flags)}
    if getattr(os, "geteuid", lambda: 1)() != 0:
        try:
            return chromium.launch(chromium_sandbox=True, **how)
        except Error as error:
            if "sandbox" not in str(error).lower():
                raise
    return chromium.launch(chromium_sandbox=False, **how)


def in_software(renderer: str) -> bool:
    """Whether a WebGL renderer's name is that of one without a graphics card."""
    return any(word in renderer.lower() for word in SOFTWARE)


def _open(executable: str, url: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Load the page, let it get ready, move its camera."""
    from playwright.sync_api import sync_playwright

    width, height = TARGETS[manifest["target"]].window
    with sync_playwright() as tools:
        browser = launched(tools.chromium, executable)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(PATIENCE_MS)
            page.add_init_script(LISTEN)
            page.goto(url)
            page.wait_for_selector("html[data-recon=ready], html[data-recon=error]", state="attached")
            times = page.evaluate("window.reconTimes")
            if "error" in times:
                shown = page.evaluate("document.querySelector('.failure')?.innerText ?? 'it shows no reason'")
                raise _PageFailed(" ".join(shown.split()))
            frames = page.evaluate(TIME_FRAMES, [FRAMES, FRAMES_MS])
            return {
                "browser": f"Chromium {browser.version}",
                "renderer": page.evaluate(RENDERER)[:MOST_NAME],
                "size": [width, height],
                "first_ms": round(min(times.get("coarse", times["ready"]), times["ready"]), 1),
                "ready_ms": round(times["ready"], 1),
                "frame_ms": round(statistics.median(frames), 1),
                "memory_mb": _memory_mb(browser),
                "splats": (manifest["splats"] or manifest["moving"] or {"count": 0})["count"],
            }
        finally:
            browser.close()


def _memory_mb(browser: Any) -> float | None:
    """What the processes of the page and of its graphics hold, shared pages in part; None where the system does not tell."""
    try:
        processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
        total = 0
        for process in processes:
            if process["type"] in ("renderer", "GPU"):
                lines = Path(f"/proc/{process['id']}/smaps_rollup").read_text(encoding="ascii").splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return round(total / 1024, 1)
    except (OSError, StopIteration):
        return None
