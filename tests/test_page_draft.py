"""A slow device shows a draft while the view moves, and the whole again when it rests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser

from tests.browser import wait_for
from tests.page_browser import Tab, plain_server

pytestmark = pytest.mark.browser

SIZE = (640, 480)
SLOW = "() => { window.recon.content.draft.slow = true; }"
DRAFTING = "window.recon.stage.drawsDraft"


@pytest.fixture(scope="module")
def tab(browser: Browser, site: Path) -> Iterator[Tab]:
    with plain_server(site) as url, Tab(browser, url, SIZE, reduced_motion="reduce") as opened:
        yield opened


def wait_until(tab: Tab, drafting: bool) -> None:
    wait_for(lambda: tab.run(DRAFTING) is drafting)


def small(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """f64[48, 64, 3], means over blocks."""
    block = picture.shape[0] // 48
    return picture.astype(np.float64).reshape(48, block, 64, block, 3).mean((1, 3))


def test_a_draft_is_coarse_and_the_whole_comes_back(tab: Tab) -> None:
    before = tab.picture()
    assert not tab.run(DRAFTING)
    tab.run(SLOW)
    tab.page.mouse.move(320, 240)
    tab.page.mouse.down()
    for step in range(1, 6):
        tab.page.mouse.move(320 + 4 * step, 240)
    wait_until(tab, True)
    tab.page.wait_for_timeout(1500)
    assert tab.run(DRAFTING)  # a hand holds the view
    tab.save("draft")
    draft = tab.picture()
    assert draft.shape == (288, 384, 3)
    tab.page.mouse.up()
    wait_until(tab, False)
    tab.rest()
    whole = tab.picture()
    assert whole.shape == before.shape
    error = np.abs(small(draft) - small(whole)).mean()
    assert 1 < error < np.abs(small(before) - small(whole)).mean() / 2  # the same place, drawn otherwise
    assert tab.complaints == []


def test_splats_come_in_batches(tab: Tab) -> None:
    """The renderer draws all splats with few instances."""
    drawn, instances = tab.run("[window.recon.spark.activeSplats, window.recon.spark.geometry.instanceCount]")
    assert drawn == tab.run("window.recon.content.drawn")
    assert instances == -(-drawn // 512)
