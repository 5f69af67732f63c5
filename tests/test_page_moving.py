"""The page plays a scene that moves: true pictures at any time, keyboard, links; a sentence where a segment is broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser

from recon.cameras import Cameras
from recon.workspace import Workspace
from tests.fabricate import fabricate, ring_model
from tests.moving_splats import BallScene
from tests.page_browser import Tab, plain_server
from tests.test_page import look_from, psnr
from viewer.options import PublishOptions
from viewer.publish import publish

pytestmark = pytest.mark.browser

SIZE = (360, 240)
NAMES = tuple(f"photo {i:02d}.jpg" for i in range(8))
VIEW = 6
"""Of the ring, one that sees the ball and the flap before the wall."""
SCENE = BallScene(seconds=2.2, fps=12, detail=20)


@pytest.fixture(scope="module")
def moving_site(page_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("moving")
    workspace = Workspace(fabricate(root / "ws", NAMES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("render.edits.load_edited", lambda *_, **__: SCENE)
        manifest = publish(workspace, root / "site", PublishOptions(measure="no", splats=0))
    assert manifest["splats"] is None and len(manifest["moving"]["segments"]) > 1
    return root / "site"


@pytest.fixture(scope="module")
def tab(browser: Browser, moving_site: Path) -> Iterator[Tab]:
    with plain_server(moving_site) as url, Tab(browser, url, SIZE, reduced_motion="reduce") as opened:
        yield opened


def ours(time: float) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """recon's own picture at a time, and where something covers it."""
    camera: Cameras = ring_model(NAMES).cameras[[VIEW]].resized(np.array([SIZE]))
    drawn = SCENE.render(replace(camera, time=np.array([time])))
    return np.rint(255 * drawn.rgb[0].clamp(0, 1).numpy()).astype(np.uint8), drawn.alpha[0].numpy() > 0.5


def go(tab: Tab, time: float) -> None:
    tab.run("time => window.recon.content.setTime(time)", time)


def test_pictures_at_any_time_are_ours(tab: Tab) -> None:
    look_from(tab, VIEW)
    for time in (0.0, 0.61, 1.7, 2.2, 0.3):  # forward, to the end, and back
        go(tab, time)
        tab.rest()
        shown, (true, covered) = tab.picture(), ours(time)
        assert covered.mean() > 0.3
        assert psnr(shown, true, covered) >= 35
        other = ours(2.2 - time if time != 1.7 else 0.0)[0]
        differs = (np.abs(other.astype(int) - true).max(-1) > 24) & covered
        assert differs.sum() > 200
        assert psnr(shown, true, differs) > psnr(shown, other, differs) + 6  # another time fails the same check


def test_what_lies_under_a_pixel_moves_along(tab: Tab) -> None:
    look_from(tab, VIEW)
    found = []
    for time in (0.0, 1.0):
        go(tab, time)
        center = SCENE.at(time).mean[SCENE.ball].mean(0).double().numpy()
        camera = ring_model(NAMES).cameras[[VIEW]]
        x, y, z = camera.cam_from_world[0, :3, :3] @ center + camera.cam_from_world[0, :3, 3]
        k = camera.K[0] / np.array([[48], [32], [1]])
        ndc = (k[0, 0] * x / z + k[0, 2] - 1, 1 - k[1, 1] * y / z - k[1, 2])
        found.append(tab.run("([x, y]) => window.recon.content.pick(x, y)?.world", list(ndc)))
        place = np.array([found[-1][axis] for axis in "xyz"])
        assert abs(np.linalg.norm(place - center) - 0.45) < 0.1  # on the ball, where it is now
    assert found[0] != found[1]


def test_it_plays_and_is_stepped_by_keyboard(tab: Tab) -> None:
    go(tab, 0.5)
    slider = tab.page.locator("#time")
    slider.focus()
    before = tab.run("window.recon.content.time")
    tab.page.keyboard.press("ArrowRight")
    step = tab.run("window.recon.content.time") - before
    assert 0.03 < step < 0.14  # to the next frame of 1/12 s
    assert "seconds" in (slider.get_attribute("aria-valuetext") or "")
    tab.page.keyboard.press("End")
    assert tab.run("window.recon.content.time") == pytest.approx(2.2)
    tab.page.locator("#view").focus()
    tab.page.keyboard.press(",")
    assert tab.run("window.recon.content.time") == pytest.approx(2.2 - 2.2 / 26, abs=1e-6)
    tab.page.keyboard.press(".")
    go(tab, 0.0)
    tab.page.keyboard.press("k")
    tab.page.wait_for_selector("#play[aria-label=Pause]")
    tab.page.wait_for_selector("#time[aria-valuetext^='1.']")  # it goes on by itself
    tab.page.keyboard.press("k")
    tab.page.wait_for_selector("#play[aria-label=Play]")
    assert tab.page.locator("#loop").get_attribute("aria-pressed") == "true"


def test_speed_loop_and_steps_have_keys(tab: Tab) -> None:
    page = tab.page
    go(tab, 2.2)
    page.locator("#view").focus()
    for key in ("<", "u", "."):
        page.keyboard.press(key)
    assert page.locator("#speed").input_value() == "0.5"
    assert page.locator("#loop").get_attribute("aria-pressed") == "false"
    assert tab.run("window.recon.content.time") == pytest.approx(2.2)  # it ends there
    for key in ("u", ".", ">"):
        page.keyboard.press(key)
    assert tab.run("window.recon.content.time") == pytest.approx(0.0)  # round the end
    page.locator("#frame-back").click()
    assert tab.run("window.recon.content.time") == pytest.approx(2.2)
    page.keyboard.press("?")
    said = page.locator("#panel-help").inner_text()
    assert all(words in said for words in ("Play slower", "Play faster", "One frame back", "Play again and again"))
    page.keyboard.press("Escape")


def test_is_quiet_and_asks_no_other_host(tab: Tab) -> None:
    assert tab.state == "ready" and tab.complaints == []
    host = tab.page.url.split("/", 3)[2]
    assert all(url.startswith((f"http://{host}/", "data:", "blob:")) for url in tab.requests)
    assert sum("splats/m0" in url for url in tab.requests) >= 2


def test_a_link_keeps_the_time(tab: Tab, browser: Browser) -> None:
    go(tab, 1.25)
    link = tab.run("window.recon.share.link()")
    with Tab(browser, link, SIZE) as second:
        assert second.state == "ready"
        assert second.run("window.recon.content.time") == pytest.approx(1.25)  # and does not play by itself
        second.run("link => { location.href = link; }", link.replace("1.25", "0.5"))
        second.page.wait_for_selector("#time[aria-valuetext^='0.50']", state="attached")


def test_it_starts_at_the_moment_of_the_start_and_goes_to_those_of_cameras(
    browser: Browser, moving_site: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    shutil.copytree(moving_site, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["start"]["time"] = 1.7
    for i, camera in enumerate(manifest["cameras"]):
        camera["time"] = 0.2 * i
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with plain_server(folder) as url, Tab(browser, url, SIZE, reduced_motion="reduce") as tab:
        assert tab.run("window.recon.content.time") == 1.7 and not tab.run("window.recon.content.player.playing")
        tab.page.keyboard.press("k")
        tab.page.keyboard.press("[")  # the last one
        tab.page.wait_for_selector("#time[aria-valuetext^='1.40']", state="attached")
        assert not tab.run("window.recon.content.player.playing")
        tab.page.keyboard.press("r")
        tab.page.wait_for_selector("#time[aria-valuetext^='1.70']", state="attached")
    with plain_server(folder) as url, Tab(browser, url, SIZE, reduced_motion="no-preference") as tab:
        assert tab.run("window.recon.content.player.playing")


def test_the_first_picture_needs_no_segment(browser: Browser, moving_site: Path) -> None:
    hold = "const real = fetch; window.fetch = (url, o) => String(url).includes('m0') ? new Promise(() => {}) : real(url, o);"
    with (
        plain_server(moving_site) as url,
        Tab(browser, url, SIZE, scripts=[hold], state="html[data-recon=coarse]") as tab,
    ):
        look_from(tab, VIEW)
        true, covered = ours(0.0)
        assert psnr(tab.picture(), true, covered) >= 35


BROKEN = {
    "segment missing": ("splats/m0000.bin", None, "is missing on the server (404)"),
    "segment cut": ("splats/m0000.bin", slice(0, 100), "cut off"),
    "segment of noise": ("splats/m0000.bin", "noise", "m0000.bin is damaged"),
    "header cut": ("splats/moving.bin", slice(0, 40), "cut off"),
    "header of noise": ("splats/moving.bin", "noise", "no file of moving splats"),
}


def spoil(path: Path, how: object) -> None:
    data = path.read_bytes()
    if how is None:
        path.unlink()
    else:
        path.write_bytes(data[how] if isinstance(how, slice) else np.random.default_rng(0).bytes(len(data)))


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_part_ends_in_a_sentence(case: str, browser: Browser, moving_site: Path, tmp_path: Path) -> None:
    file, how, sentence = BROKEN[case]
    folder = tmp_path / "site"
    shutil.copytree(moving_site, folder)
    spoil(folder / file, how)
    with plain_server(folder) as url, Tab(browser, url, SIZE, reduced_motion="reduce") as tab:
        if file == "splats/moving.bin":  # nothing else is there to be shown
            assert tab.state == "error"
            assert sentence in tab.run("document.querySelector('[role=alert]').innerText")
            return
        assert tab.state == "ready" and sentence in tab.run("document.querySelector('[role=status]').innerText")
        look_from(tab, VIEW)
        tab.rest()
        true, covered = ours(0.0)
        assert psnr(tab.picture(), true, covered) >= 35  # what has come stays


def test_a_later_segment_that_is_broken_is_said(browser: Browser, moving_site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(moving_site, folder)
    last = json.loads((folder / "manifest.json").read_text())["moving"]["segments"][-1]
    spoil(folder / last["file"], "noise")
    with plain_server(folder) as url, Tab(browser, url, (320, 240)) as tab:
        assert tab.state == "ready"
        go(tab, last["end"])
        name = last["file"].split("/")[-1]
        assert f"{name} is damaged" in tab.run("document.body.innerText")
