"""The published page under fingers: real touch events on a phone turn, shift, zoom, place points, and nothing by mistake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, CDPSession

from tests.browser import wait_for
from tests.page_browser import Tab, plain_server

pytestmark = pytest.mark.browser

SIZE = (390, 844)
Places = Sequence[tuple[float, float]]


class Fingers:
    """Fingers on a phone's screen, through the browser's own input."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self._session: CDPSession = tab.page.context.new_cdp_session(tab.page)

    def send(self, kind: str, places: Places) -> None:
        points = [
            {"x": x, "y": y, "id": i, "radiusX": 9, "radiusY": 9, "force": 0.5} for i, (x, y) in enumerate(places)
        ]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def drag(self, start: Places, end: Places, steps: int = 8, rest: int = 0) -> None:
        """Put fingers down, move all of them evenly, lift them. `rest`: milliseconds before they move."""
        a, b = np.array(start, float), np.array(end, float)
        self.send("touchStart", start)
        self.tab.page.wait_for_timeout(rest)
        for i in range(1, steps + 1):
            self.send("touchMove", [(float(x), float(y)) for x, y in a + (b - a) * i / steps])
        self.send("touchEnd", [])

    def tap(self, x: float, y: float) -> None:
        self.send("touchStart", [(x, y)])
        self.send("touchEnd", [])


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    with plain_server(site) as url:
        yield url


@pytest.fixture(scope="module")
def phone(browser: Browser, served: str) -> Iterator[Tab]:
    with Tab(browser, served, SIZE, has_touch=True, is_mobile=True, reduced_motion="reduce") as opened:
        yield opened


@pytest.fixture
def tab(phone: Tab) -> Iterator[Tab]:
    """The page at its start view, with nothing open."""
    phone.run("window.recon.ui.close(), window.recon.navigation.home(0)")
    phone.rest()
    yield phone
    assert phone.complaints == []


@pytest.fixture
def fingers(tab: Tab) -> Fingers:
    return Fingers(tab)


def eye(tab: Tab) -> NDArray[np.float64]:
    """Where the camera stands, frame of three.js."""
    return np.array(tab.run("window.recon.camera.position.toArray()"))


def ahead(tab: Tab) -> NDArray[np.float64]:
    """Where it looks: a unit vector."""
    return -np.array(tab.run("window.recon.camera.matrixWorld.elements"))[8:11]


def target(tab: Tab) -> NDArray[np.float64]:
    """What it turns round."""
    return np.array(tab.run("window.recon.navigation.target.toArray()"))


def points(tab: Tab) -> int:
    """How many points of measurements are in the picture."""
    return tab.run("document.querySelectorAll('[data-layer=measure] .dot').length")


def measure(tab: Tab) -> None:
    """Begin to measure a distance; what was measured before is forgotten."""
    tab.page.locator("#open-measure").tap()
    if tab.page.get_by_role("button", name="Delete all").is_visible():
        tab.page.get_by_role("button", name="Delete all").tap()
    tab.page.get_by_role("button", name="Distance", exact=True).tap()


def test_one_finger_turns_round_the_place(tab: Tab, fingers: Fingers) -> None:
    before, centre = eye(tab), target(tab)
    fingers.drag([(200, 400)], [(290, 400)])
    tab.rest()
    after = eye(tab)
    assert target(tab) == pytest.approx(centre, abs=1e-3)
    assert np.linalg.norm(after - centre) == pytest.approx(np.linalg.norm(before - centre), rel=1e-3)
    assert after[1] == pytest.approx(before[1], abs=1e-3), "a level drag stays on its level"
    assert np.linalg.norm(after - before) > 0.2 * np.linalg.norm(before - centre)


def test_two_fingers_shift_the_picture(tab: Tab, fingers: Fingers) -> None:
    before, look, centre = eye(tab), ahead(tab), target(tab)
    fingers.drag([(150, 400), (250, 400)], [(150, 500), (250, 500)])
    tab.rest()
    moved = eye(tab) - before
    assert ahead(tab) == pytest.approx(look, abs=1e-3), "it does not turn"
    assert target(tab) - centre == pytest.approx(moved, abs=1e-3)
    assert moved[1] > 0.02 and abs(moved @ look) < 0.1 * np.linalg.norm(moved), "the picture follows the fingers down"


def test_two_fingers_apart_come_nearer(tab: Tab, fingers: Fingers) -> None:
    before, centre, look = eye(tab), target(tab), ahead(tab)
    fingers.drag([(170, 422), (220, 422)], [(95, 422), (295, 422)])
    tab.rest()
    near = np.linalg.norm(eye(tab) - target(tab))
    assert near < 0.5 * np.linalg.norm(before - centre), "four times as far apart"
    assert ahead(tab) == pytest.approx(look, abs=1e-3)
    fingers.drag([(95, 422), (295, 422)], [(170, 422), (220, 422)])
    tab.rest()
    assert np.linalg.norm(eye(tab) - target(tab)) > 2 * near


def test_a_finger_lifted_from_a_pinch_does_not_throw_the_view(tab: Tab, fingers: Fingers) -> None:
    fingers.send("touchStart", [(120, 400)])
    fingers.send("touchStart", [(120, 400), (270, 400)])
    fingers.send("touchMove", [(125, 400), (265, 400)])
    fingers.send("touchEnd", [(125, 400)])
    tab.rest()
    before = eye(tab)
    fingers.send("touchEnd", [])
    tab.rest()
    assert eye(tab) == pytest.approx(before, abs=1e-6)
    fingers.drag([(200, 400)], [(260, 400)])  # and the next finger turns as ever
    tab.rest()
    assert np.linalg.norm(eye(tab) - before) > 0.1


def test_taps_place_points_and_drags_do_not(tab: Tab, fingers: Fingers) -> None:
    measure(tab)
    assert tab.page.locator("#panel-measure").is_hidden(), "the panel makes room"
    before = eye(tab)
    fingers.drag([(200, 400)], [(280, 430)])
    tab.rest()
    assert points(tab) == 0 and np.linalg.norm(eye(tab) - before) > 0.1, "a drag turns, and places nothing"
    fingers.drag([(150, 400), (250, 400)], [(140, 400), (260, 400)])
    tab.rest()
    assert points(tab) == 0, "nor do two fingers"
    fingers.tap(180, 420)
    assert wait_for(lambda: points(tab) == 1)
    fingers.tap(230, 440)
    assert wait_for(lambda: points(tab) == 2)
    tab.page.get_by_role("button", name="Finish").tap()
    tab.page.get_by_role("button", name="Done").tap()
    assert tab.page.locator("[data-figure] .entry-value").count() == 1
    before = eye(tab)
    assert tab.page.locator(".hud").is_hidden() and eye(tab) == pytest.approx(before)


def test_a_finger_that_rests_places_under_the_magnifier(tab: Tab, fingers: Fingers) -> None:
    measure(tab)
    before = eye(tab)
    fingers.send("touchStart", [(180, 420)])
    tab.page.locator(".loupe").wait_for(state="visible")
    fingers.send("touchMove", [(200, 440)])
    assert points(tab) <= 1
    fingers.send("touchEnd", [])
    assert wait_for(lambda: points(tab) == 1)
    assert tab.page.locator(".loupe").is_hidden()
    assert eye(tab) == pytest.approx(before), "the view stays under it"
    fingers.drag([(200, 300)], [(280, 300)])
    tab.rest()
    assert np.linalg.norm(eye(tab) - before) > 0.1, "and turns again afterwards"
    tab.page.get_by_role("button", name="Done").tap()


def test_a_double_tap_flies_there(tab: Tab, fingers: Fingers) -> None:
    before = eye(tab)
    fingers.tap(195, 430)
    tab.rest()
    assert eye(tab) == pytest.approx(before), "one tap does nothing"
    tab.page.wait_for_timeout(600)
    fingers.tap(195, 430)
    fingers.tap(195, 430)
    assert wait_for(lambda: np.linalg.norm(eye(tab) - before) > 0.1)
