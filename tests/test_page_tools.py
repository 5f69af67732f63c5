"""The published page's tools under hands: crop box, damaged links, long camera paths, jumps on slow machines, notes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser

from tests.browser import wait_for
from tests.page_browser import Tab, plain_server

pytestmark = pytest.mark.browser

SIZE = (640, 480)


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    with plain_server(site) as url:
        yield url


@pytest.fixture
def tab(browser: Browser, served: str) -> Iterator[Tab]:
    with Tab(browser, served, SIZE, reduced_motion="reduce") as opened:
        yield opened


def status(tab: Tab) -> str:
    """What the page says."""
    return tab.page.locator(".status").inner_text()


def at_rest(tab: Tab) -> Any:
    """The canvas when it has come to rest."""
    tab.rest()
    return tab.picture()


def test_the_crop_box_hides_nothing_until_it_is_moved(tab: Tab) -> None:
    whole = at_rest(tab)
    tab.page.keyboard.press("t")
    tab.page.locator("#crop-on").check()
    assert np.array_equal(at_rest(tab), whole)
    assert tab.run("document.querySelectorAll('[data-layer=crop] path').length") > 0, "the box is drawn"
    tab.page.locator("#crop-fit").click()
    fitted = at_rest(tab)
    assert (fitted.max(2) == 0).mean() > (whole.max(2) == 0).mean() + 0.1, "walls and floor are gone"
    tab.page.locator("#crop-reset").click()
    assert np.array_equal(at_rest(tab), whole)
    size = float(tab.page.locator("#crop-size-0-number").input_value())
    low, high = (tab.run(f"window.recon.manifest.splats.tiles[0].{end}[0]") for end in ("min", "max"))
    assert size > high - low, "it begins round all splats"
    tab.page.locator("#crop-size-0-number").fill(str(size / 3))
    assert not np.array_equal(at_rest(tab), whole)
    assert tab.complaints == []


def test_a_damaged_link_says_so(tab: Tab, browser: Browser, served: str) -> None:
    start = tab.run("window.recon.camera.matrixWorld.elements")
    tab.page.keyboard.press("]")
    link = tab.run("window.recon.share.link()")
    for spoilt in (link[: len(link) // 2], link[:-3]):
        with Tab(browser, spoilt, SIZE, reduced_motion="reduce") as other:
            assert "damaged" in status(other)
            assert other.run("window.recon.camera.matrixWorld.elements") == pytest.approx(start, abs=1e-6)
            assert other.complaints == []
            other.run("link => { location.href = link }", link)  # the whole link, pasted into the same tab
            assert wait_for(lambda other=other: other.run("!document.querySelector('.camera-strip').hidden"))
    with Tab(browser, link, SIZE, reduced_motion="reduce") as other:
        assert status(other) == ""


def test_a_path_of_twenty_thousand_keyframes_is_read(tab: Tab, tmp_path: Path) -> None:
    tab.page.keyboard.press("p")
    tab.page.locator("#path-add").click()
    view = tab.run("window.recon.manifest.start.cam_from_world")
    key = {"cam_from_world": view, "vfov_deg": 50, "scene_time": None}
    file = {"recon_path": 1, "fps": 30, "loop": False, "keyframes": [{**key, "time": i / 10} for i in range(20_000)]}
    (tmp_path / "path.json").write_text(json.dumps(file))
    with tab.page.expect_file_chooser() as chooser:
        tab.page.get_by_role("button", name="Load", exact=True).click()
    chooser.value.set_files(tmp_path / "path.json")
    panel = tab.page.locator("#panel-path")
    panel.get_by_text("Keyframes 1 to 100 of 20000.").wait_for()
    assert panel.locator("[data-keyframe]").count() == 100
    panel.get_by_role("button", name="Later").click()
    assert panel.locator("[data-keyframe]").first.get_attribute("data-keyframe") == "100"
    assert tab.run("document.querySelectorAll('[data-layer=path] path').length") < 1000
    file["keyframes"].append({**key, "time": 1e4})
    (tmp_path / "path.json").write_text(json.dumps(file))
    with tab.page.expect_file_chooser() as chooser:
        tab.page.get_by_role("button", name="Load", exact=True).click()
    chooser.value.set_files(tmp_path / "path.json")
    tab.page.get_by_text("20001 keyframes; the page reads at most 20000").wait_for()


def test_a_jump_keeps_the_old_picture_until_the_new_one_is_sorted(tab: Tab) -> None:
    at_rest(tab)
    tab.run(
        "window.recon.spark.sortDelay = 2500; window.recon.content.draft.tick = () => {}"
    )  # a late frame asks for no draft
    tab.page.locator("#view").focus()
    held, sign = tab.page.locator(".held"), tab.page.locator(".sorting")
    assert held.is_hidden() and sign.is_hidden()
    old = tab.picture()
    tab.page.keyboard.press("]")
    held.wait_for(state="visible")
    shown = "document.querySelector('.held').toDataURL() !== document.querySelector('#view').toDataURL()"
    wait_for(lambda: tab.run(shown))  # behind the old picture the camera moves, with the next frame
    assert held.is_visible()
    sign.wait_for(state="visible")
    held.wait_for(state="hidden")
    sign.wait_for(state="hidden")
    tab.run("window.recon.spark.sortDelay = 0")
    assert not np.array_equal(at_rest(tab), old)


def test_a_message_takes_no_more_room_than_it_needs(browser: Browser, served: str) -> None:
    """On a phone with a panel open and a captured camera chosen, which each have a place of their own for it."""
    with Tab(browser, served, (390, 844), reduced_motion="reduce", has_touch=True, is_mobile=True) as tab:
        tab.page.keyboard.press("]")
        for panel in (None, "capture"):
            if panel:
                tab.run("panel => window.recon.ui.open(panel)", panel)
            tab.run("window.recon.ui.say('One sentence.', 60)")
            box = tab.page.locator(".status").bounding_box()
            assert box and box["height"] < 60 and 0 <= box["y"] < 844 - box["height"], panel


KEEP_BLOB = """() => {
  const make = URL.createObjectURL.bind(URL);
  URL.createObjectURL = (blob) => make((window.blob = blob));
}"""
"""What the page hands to the browser to be saved, kept."""
NOTE = {"at": [0.0, 0.0, 0.8], "title": "A vase", "text": "Found in the garden.", "view": None}


def test_published_notes_stand_beside_ones_own(browser: Browser, site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    (folder / "notes.json").write_text(json.dumps({"recon_notes": 1, "notes": [NOTE]}))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "notes": "notes.json"}))
    with plain_server(folder) as url, Tab(browser, url, SIZE, reduced_motion="reduce") as tab:
        tab.page.keyboard.press("n")
        panel = tab.page.locator("#panel-notes")
        panel.get_by_role("button", name="A vase").click()
        assert panel.get_by_text("Found in the garden.").is_visible()
        assert panel.get_by_text("Published with this place.").is_visible()
        assert panel.get_by_role("button", name="Delete").count() == 0, "a published note is read only"
        panel.get_by_role("button", name="Add a note").click()
        tab.page.locator("#view").focus()
        tab.page.keyboard.press("Enter")
        tab.page.locator("#note-title").fill("My own")
        tab.page.get_by_role("button", name="Keep").click()
        assert panel.locator("[data-note]").count() == 2
        tab.run(KEEP_BLOB)
        panel.get_by_role("button", name="Save notes").press("Enter")
        saved = json.loads(tab.run("window.blob.text()"))
        assert saved["recon_notes"] == 1
        assert [note["title"] for note in saved["notes"]] == ["A vase", "My own"]
        assert saved["notes"][0] == NOTE | {"time": None} and len(saved["notes"][1]["view"]["cam_from_world"]) == 16
        tab.page.reload()
        tab.page.wait_for_selector("html[data-recon=ready]", state="attached")
        assert tab.run("document.querySelectorAll('.pin').length") == 2
        assert tab.complaints == []
