"""The page under hands: what is measured is true, and everything can be done by keyboard."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from tests.browser import wait_for
from tests.page_browser import Tab, need, plain_server
from tests.sample_scene import photos_used, true_point
from viewer.web_page import SOURCES, node_tools

pytestmark = pytest.mark.browser

SIZE = (1280, 960)
"""Twice the sample's photos: a captured camera fills it."""
VIEW = "IMG_0017.jpg"
PAIRS = (((210.5, 330.5), (330.5, 400.5)), ((120.5, 380.5), (300.5, 330.5)), ((100.5, 100.5), (100.5, 200.5)))
"""Pixels of that photo, two by two, on the table and on a wall."""


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    with plain_server(site) as url:
        yield url


@pytest.fixture
def tab(browser: Browser, served: str) -> Iterator[Tab]:
    with Tab(browser, served, SIZE, reduced_motion="reduce") as opened:
        yield opened


def metres(text: str) -> float:
    """ "43.21 cm" in metres."""
    number, unit = text.replace("\N{NO-BREAK SPACE}", " ").split()
    return float(number) * {"m": 1, "cm": 0.01, "mm": 0.001}[unit]


def look_through(tab: Tab, name: str) -> None:
    tab.page.keyboard.press("c")
    tab.page.locator("#camera-list").select_option(str(photos_used().index(name)))
    tab.rest()


def test_measured_distances_are_true(tab: Tab) -> None:
    look_through(tab, VIEW)
    tab.page.keyboard.press("Escape")
    tab.page.locator("#view").focus()
    tab.page.keyboard.press("m")
    tab.page.get_by_role("button", name="Distance", exact=True).click()
    for pair in PAIRS:
        for x, y in pair:
            tab.page.mouse.click(2 * x, 2 * y)
        tab.page.keyboard.press("Shift+Enter")
    found = [metres(text) for text in tab.page.locator("[data-figure] .entry-value").all_text_contents()]
    true = [float(np.linalg.norm(true_point(VIEW, *a) - true_point(VIEW, *b))) for a, b in PAIRS]
    assert len(found) == len(true)
    assert found == pytest.approx(true, rel=0.005)


def test_what_is_measured_can_be_changed_at_any_time(tab: Tab) -> None:
    """Another kind is chosen while points are being placed: the angle at a known corner comes out true."""
    look_through(tab, VIEW)
    tab.page.keyboard.press("Escape")
    tab.page.locator("#view").focus()
    tab.page.keyboard.press("m")
    tab.page.get_by_role("button", name="Distance", exact=True).click()
    tab.page.mouse.click(2 * PAIRS[0][0][0], 2 * PAIRS[0][0][1])
    tab.page.get_by_role("button", name="Angle", exact=True).click()
    corner = (PAIRS[1][0], PAIRS[0][0], PAIRS[0][1])
    for x, y in corner:
        tab.page.mouse.click(2 * x, 2 * y)
    a, b, c = (true_point(VIEW, *pixel) for pixel in corner)
    true = np.degrees(np.arccos((a - b) @ (c - b) / np.linalg.norm(a - b) / np.linalg.norm(c - b)))
    [found] = tab.page.locator("[data-kind=angle] .entry-value").all_text_contents()
    assert float(found.removesuffix("°")) == pytest.approx(true, abs=0.5)
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("Escape")
    assert tab.page.locator(".hud").is_hidden() and tab.page.locator(".loupe").is_hidden()


FOCUSABLE = "button, input, select, textarea, a[href], [tabindex='0']"
CONTROLS = """([root, kinds]) => [...document.querySelector(root).querySelectorAll(kinds)]
    .filter(one => one.checkVisibility() && !one.disabled && !(one.type === 'radio' && !one.checked))
    .map((one, i) => (one.dataset.seen = String(i), one.ariaLabel || one.innerText || one.id || one.outerHTML.slice(0, 80)))"""


def reached(tab: Tab, root: str) -> tuple[set[str], set[str]]:
    """Controls below an element, and those of them that Tab comes to in one round."""
    steps = 3 * len(tab.run(CONTROLS, ["body", FOCUSABLE])) // 2 + 5
    tab.run("document.querySelectorAll('[data-seen]').forEach(one => delete one.dataset.seen)")
    wanted = tab.run(CONTROLS, [root, FOCUSABLE])
    seen = set()
    for _ in range(steps):
        tab.page.keyboard.press("Tab")
        index = tab.run("root => document.activeElement.closest(root) && document.activeElement.dataset.seen", root)
        if index is not None:
            seen.add(wanted[int(index)])
    return set(wanted), seen


def test_every_control_is_reached_and_opened_by_keyboard(tab: Tab) -> None:
    wanted, seen = reached(tab, "body")
    assert len(wanted) > 5 and wanted == seen
    keys = tab.run(
        "[...document.querySelectorAll('[aria-controls][aria-keyshortcuts]')].map(b => "
        "[b.getAttribute('aria-controls'), b.getAttribute('aria-keyshortcuts')])"
    )
    assert len(keys) >= 5
    for panel, key in keys:
        tab.page.locator("#view").focus()
        tab.page.keyboard.press(key.lower())
        assert tab.page.locator(f"#{panel}").is_visible(), panel
        wanted, seen = reached(tab, f"#{panel}")
        assert wanted == seen, panel
        tab.page.locator(f"#{panel} button").first.focus()
        tab.page.keyboard.press("Escape")
        assert not tab.page.locator(f"#{panel}").is_visible(), panel
    assert tab.complaints == []


def test_arrows_and_letters_move_the_view(tab: Tab) -> None:
    tab.page.locator("#view").focus()
    place = "window.recon.camera.position.toArray().concat(window.recon.camera.quaternion.toArray())"
    for key in ("ArrowLeft", "ArrowUp", "w", "d", "q"):
        tab.rest()
        before = np.array(tab.run(place))
        tab.page.keyboard.down(key)
        moved = wait_for(lambda before=before: np.abs(np.array(tab.run(place)) - before).max() > 1e-3)
        tab.page.keyboard.up(key)
        assert moved, key


def test_a_share_link_restores_the_view(tab: Tab, browser: Browser, served: str) -> None:
    look_through(tab, VIEW)
    tab.page.keyboard.press("Escape")
    tab.page.locator("#view").focus()
    tab.page.keyboard.press("ArrowLeft")
    tab.rest()
    link, pose = tab.run("window.recon.share.link()"), tab.run("window.recon.camera.matrixWorld.elements")
    assert link.startswith(served)
    with Tab(browser, link, SIZE, reduced_motion="reduce") as other:
        other.rest()
        assert other.run("window.recon.camera.matrixWorld.elements") == pytest.approx(pose, abs=1e-4)
    with Tab(browser, served + "#v=%7B%22camera%22%3A%22nonsense", (320, 240)) as other:
        assert other.state == "ready" and other.complaints == []


def test_units_of_the_page(page_built: Path) -> None:
    """The page's own unit tests: frames, lengths, measuring, paths, files that lie."""
    npm = node_tools()
    need(npm, "npm")
    done = subprocess.run([npm, "test"], cwd=SOURCES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
