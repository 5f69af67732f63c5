"""The published page in a real browser: it shows what recon renders, measures truly, and keeps to itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser

from recon.sample import sample_cameras
from recon.workspace import Workspace
from tests.page_browser import Tab, plain_server
from tests.sample_scene import photos_used
from viewer.web_page import SOURCES

pytestmark = pytest.mark.browser

SIZE = (640, 480)
"""Of the sample's photos."""
PANELS = "[...document.querySelectorAll('section.panel')].map(section => section.id.replace('panel-', ''))"


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    with plain_server(site) as url:
        yield url


@pytest.fixture(scope="module")
def tab(browser: Browser, served: str) -> Iterator[Tab]:
    """The page with all of it loaded, for tests that leave it as it was."""
    with Tab(browser, served, SIZE, reduced_motion="reduce") as opened:
        yield opened


def psnr(a: NDArray, b: NDArray, where: NDArray[np.bool_]) -> float:
    """dB between two pictures u8 [H, W, 3] over some pixels."""
    error = (a[where].astype(np.float64) - b[where]) / 255
    return -10 * np.log10(np.mean(error**2))


def rendered(workspace: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """recon's own picture of a photo's camera on black, and where something covers it."""
    names, cameras = sample_cameras()
    picture = Workspace(workspace).load("train").render(cameras[[names.index(name)]])
    rgb = np.clip(picture.rgb[0].detach().numpy(), 0, 1)
    return np.rint(255 * rgb).astype(np.uint8), picture.alpha[0].detach().numpy() > 0.5


def look_from(tab: Tab, index: int) -> NDArray[np.uint8]:
    """The canvas through a captured camera."""
    tab.run("window.recon.ui.open('capture')")
    tab.page.locator("#camera-list").select_option(str(index))
    tab.page.locator("#frustums").uncheck()
    tab.rest()
    return tab.picture()


def test_canvas_matches_our_own_render(tab: Tab, truth_workspace: Path) -> None:
    names = photos_used()
    for name in ("IMG_0017.jpg", "IMG_0028.jpg"):
        shown = look_from(tab, names.index(name))
        ours, covered = rendered(truth_workspace, name)
        assert covered.mean() > 0.8
        assert psnr(shown, ours, covered) >= 28
        assert psnr(shown[:, ::-1], ours, covered) < 20  # a mirrored picture fails the same check
        assert psnr(np.roll(shown, 4, axis=1), ours, covered) < 28  # and so does one that is four pixels off


def test_is_quiet_and_asks_no_other_host(tab: Tab, served: str) -> None:
    assert tab.state == "ready"
    assert tab.complaints == []
    assert all(url.startswith((served, "data:", "blob:")) for url in tab.requests)
    assert any(url.endswith(".spz") for url in tab.requests)  # it did ask for something


def test_nothing_serious_for_axe(browser: Browser, served: str, page_built: Path) -> None:
    axe = (SOURCES / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
    with Tab(browser, served, (1440, 900), scripts=[axe]) as tab:
        for panel in [None, *tab.run(PANELS)]:
            if panel:
                tab.run("id => window.recon.ui.open(id)", panel)
            found = tab.run("() => axe.run(document, { resultTypes: ['violations'] }).then(r => r.violations)")
            serious = [v for v in found if v["impact"] in ("serious", "critical")]
            assert [(panel, v["id"], v["nodes"][0]["html"]) for v in serious] == []
        tab.run("document.querySelector('button').setAttribute('aria-label', '')")  # negative control
        tab.run("document.querySelector('button').removeAttribute('title')")
        found = tab.run("() => axe.run(document).then(r => r.violations)")
        assert any(v["id"] == "button-name" for v in found)


Spoil = Callable[[Path], None]


def manifest_edit(change: Callable[[dict[str, Any]], None]) -> Spoil:
    def spoil(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return spoil


def cut(file: str, keep: int) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / file
        path.write_bytes(path.read_bytes()[:keep])

    return spoil


def noise(file: str) -> Spoil:
    def spoil(folder: Path) -> None:
        size = (folder / file).stat().st_size
        (folder / file).write_bytes(np.random.default_rng(0).bytes(size))

    return spoil


TILE = "splats/0000.spz"
BROKEN: dict[str, tuple[Spoil, str]] = {
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing"),
    "manifest cut": (cut("manifest.json", 100), "damaged"),
    "newer manifest": (manifest_edit(lambda m: m.update(recon_manifest=99)), "version 99"),
    "path out of the folder": (
        manifest_edit(lambda m: m["splats"]["tiles"][0].update(file="../secret.spz")),
        "expected the path",
    ),
    "another host": (
        manifest_edit(lambda m: m["splats"]["coarse"].update(file="//example.com/x.spz")),
        "expected the path",
    ),
    "too many splats": (manifest_edit(lambda m: m["splats"]["tiles"][0].update(count=10**12)), "expected a number"),
    "tile missing": (lambda folder: (folder / TILE).unlink(), "is missing on the server (404)"),
    "tile cut": (cut(TILE, 500), "cut off"),
    "tile of noise": (noise(TILE), "damaged"),
    "coarse of noise": (noise("splats/coarse.spz"), "damaged"),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_broken_scenes_end_in_a_sentence(case: str, browser: Browser, site: Path, tmp_path: Path) -> None:
    spoil, sentence = BROKEN[case]
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    spoil(folder)
    with plain_server(folder) as url, Tab(browser, url, (320, 240)) as tab:
        assert tab.state == "error"
        assert sentence in tab.run("document.querySelector('[role=alert]').innerText")
        assert not [url for url in tab.requests if "example.com" in url or "secret" in url]


def test_texts_of_files_are_text(browser: Browser, site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    evil = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>'

    def change(manifest: dict[str, Any]) -> None:
        manifest["title"] = evil
        for camera in manifest["cameras"]:
            camera["name"] = evil

    manifest_edit(change)(folder)
    with plain_server(folder) as url, Tab(browser, url, SIZE) as tab:
        for panel in tab.run(PANELS):
            tab.run("id => window.recon.ui.open(id)", panel)
        assert tab.run("document.body.innerText").count("onerror") > 0  # it is shown
        assert tab.run("window.owned ?? null") is None  # and does nothing
        assert tab.run("document.querySelectorAll('#app img[src=x], #app script').length") == 0


SCREENS = {"desktop": (1440, 900), "phone": (390, 844)}


@pytest.mark.parametrize("screen", list(SCREENS))
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_panel_fits_its_screen(screen: str, scheme: Any, browser: Browser, served: str) -> None:
    """Screenshots for people to look at; and no panel leaves the screen, hides a button of its own, or scrolls sideways."""
    phone = screen == "phone"
    with Tab(browser, served, SCREENS[screen], color_scheme=scheme, has_touch=phone, is_mobile=phone) as tab:
        tab.save(f"{screen}-{scheme}-start")
        for panel in tab.run(PANELS):
            tab.run("id => window.recon.ui.open(id)", panel)
            tab.page.wait_for_timeout(300)
            tab.save(f"{screen}-{scheme}-{panel}")
            box = tab.run("id => document.getElementById('panel-' + id).getBoundingClientRect().toJSON()", panel)
            width, height = SCREENS[screen]
            assert box["width"] > 100 and box["left"] >= 0 and box["right"] <= width + 1 and box["top"] < height, panel
            assert tab.run("document.documentElement.scrollWidth") <= width
        assert tab.complaints == []
