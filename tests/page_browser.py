"""A published page in headless Chromium through Playwright: what it says, asks for and draws.

The page's Content-Security-Policy forbids eval, so Playwright's wait_for_function() does not work in it: wait for selectors.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import CHROMIUM
from viewer import measure

NEEDED = "RECON_NEED_BROWSER"
"""Set where a missing browser or Node is a failure and no reason to skip."""
FLAGS = [
    *measure.FLAGS,
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
plain_server = measure.serving
"""Any web server's way of serving a folder, on loopback: a context manager that gives its address."""
PATIENCE_MS = 120_000
"""A test gives up after this time; none measures how long anything takes."""
SETTLED = (
    "html[data-recon=ready]",
    "html[data-recon=error]",
)


def need(there: object, what: str) -> None:
    """Skip where something is missing, but for machines that must have it."""
    if not there:
        assert not os.environ.get(NEEDED), f"{what} is missing, and {NEEDED} is set"
        pytest.skip(f"{what} is not on this machine")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium that draws in software."""
    need(CHROMIUM, "Chromium")
    with sync_playwright() as playwright:
        browser = measure.launched(playwright.chromium, str(CHROMIUM), tuple(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A tab with the page in it."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        size: tuple[int, int] = (640, 480),
        scripts: Sequence[str] = (),
        state: str = ",".join(SETTLED),
        **context: Any,
    ) -> None:
        self._context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **context)
        self._context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self._context.new_page()
        self.complaints: list[str] = []
        """Errors and warnings of the console, and uncaught errors."""
        self.requests: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        for script in scripts:
            self.page.add_init_script(script)
        self.page.goto(url)
        self.page.wait_for_selector(state, state="attached")

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and "GPU stall due to ReadPixels" not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")

    @property
    def state(self) -> str:
        """loading, coarse, ready or error."""
        return self.run("document.documentElement.dataset.recon")

    def run(self, code: str, argument: Any = None) -> Any:
        """The value of a JavaScript expression, or of a function of the argument."""
        return self.page.evaluate(code, argument)

    def rest(self) -> None:
        """Wait until pictures stop changing: sorting and loading have ended."""
        before = None
        for _ in range(40):
            self.page.wait_for_timeout(150)
            now = self.picture()
            if before is not None and np.array_equal(before, now):
                return
            before = now
        raise AssertionError("the picture does not come to rest")

    def picture(self) -> NDArray[np.uint8]:
        """The canvas, without what lies over it: u8 [H, W, 3]."""
        data = self.run("document.querySelector('#view').toDataURL('image/png')")
        image = Image.open(io.BytesIO(base64.b64decode(data.split(",", 1)[1])))
        return np.asarray(image.convert("RGB"))

    def save(self, name: str) -> Path:
        """A screenshot among the build's artefacts."""
        path = ARTEFACTS / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
        return path

    def close(self) -> None:
        self._context.close()

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


ARTEFACTS = Path(__file__).resolve().parents[1] / "build" / "page"
"""Screenshots to be looked at; outside of git."""
