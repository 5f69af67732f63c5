"""The published page in a headset: an emulated Quest 3 (iwer) enters it, looks, walks, teleports, grabs, scales and leaves."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route

from tests.page_browser import Tab, plain_server
from tests.xr_headset import EYES, HELPERS, IPD, SIZE, Headset, matrix, scale_of, to_place, turned, visit
from tests.xr_site import HALF, START, TALL, headset_script, write_site

pytestmark = pytest.mark.browser

QUEST = "headset(IWER.metaQuest3, true);"


@pytest.fixture(scope="module")
def place(page_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with a place whose truth is known (tests/xr_site.py)."""
    return write_site(tmp_path_factory.mktemp("xr") / "site", page_built)


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    with plain_server(place) as url:
        yield url


@pytest.fixture(scope="module")
def shared(browser: Browser, address: str) -> Iterator[Headset]:
    with Tab(browser, address, SIZE, [headset_script() + HELPERS + QUEST]) as tab:
        yield Headset(tab)


@pytest.fixture
def vr(shared: Headset) -> Iterator[Headset]:
    with visit(shared, "VR") as inside:
        yield inside


@pytest.fixture
def ar(shared: Headset) -> Iterator[Headset]:
    with visit(shared, "AR") as inside:
        yield inside


def test_two_eyes_stand_in_the_place(vr: Headset) -> None:
    told = vr.told()
    left, right = (eye[:3, 3] for eye in told["eyes"])
    assert np.linalg.norm(right - left) == pytest.approx(IPD, abs=1e-5)
    assert np.linalg.norm(to_place(told, right) - to_place(told, left)) == pytest.approx(IPD / scale_of(told), abs=1e-5)
    assert scale_of(told) == pytest.approx(1), "the place is metric"
    # over the camera's place, at the height of the person's own eyes over the floor, looking along +y
    assert to_place(told, (left + right) / 2) == pytest.approx([START[0], START[1], EYES], abs=1e-4)
    ahead = to_place(told, (left + right) / 2 + told["eyes"][0][:3, :3] @ [0, 0, -1]) - to_place(
        told, (left + right) / 2
    )
    assert ahead == pytest.approx([0, 1, 0], abs=1e-4)
    assert [v[0] for v in told["viewports"]] == [0, SIZE[0] / 2]
    assert told["radial"] is True


def test_each_eye_sees_the_posts_where_they_are(vr: Headset) -> None:
    told, picture = vr.told(), vr.picture()
    red = (picture[..., 0] > 120) & (picture[..., 1] < 90) & (picture[..., 2] < 90)
    assert picture[..., :3].std() > 10, "the canvas is not blank"
    post = np.array([-1.0, 1.0, TALL / 2])
    for eye, projection, viewport in zip(told["eyes"], told["projections"], told["viewports"], strict=True):
        x, _, width, _ = (int(v) for v in viewport)
        room = told["rig"] @ [post[0], post[2], -post[1], 1]
        clip = matrix(projection) @ np.linalg.inv(eye) @ room
        expected = (clip[0] / clip[3] + 1) / 2 * width
        columns = np.nonzero(red[:, x : x + width])[1]
        assert len(columns) > 10
        assert np.median(columns) + 0.5 == pytest.approx(expected, abs=2)


def test_the_view_follows_the_head(vr: Headset) -> None:
    before = vr.told()
    vr.head(0.3, EYES + 0.1, -0.2, yaw=0.5)
    after = vr.told()
    middle = [np.mean([eye[:3, 3] for eye in told["eyes"]], axis=0) for told in (before, after)]
    assert middle[1] - middle[0] == pytest.approx([0.3, 0.1, -0.2], abs=1e-4)
    assert to_place(after, middle[1]) - to_place(before, middle[0]) == pytest.approx([0.3, 0.2, 0.1], abs=1e-4)
    assert after["rig"] == pytest.approx(before["rig"])
    assert after["eyes"][0][:3, 2] == pytest.approx([np.sin(0.5), 0, np.cos(0.5)], abs=1e-4)


def test_the_left_stick_walks_where_the_head_looks(vr: Headset) -> None:
    vr.head(0, EYES, 0, yaw=np.pi / 2)  # to the left: along -x of the place
    before = vr.told()
    vr.stick("left", 0, -1, frames=12)
    assert vr.run("return reconVisit.drawing.vignette.now") > 0.05
    vr.stick("left", 0, 0)
    after = vr.told()
    gone = to_place(after, np.array([0, EYES, 0])) - to_place(before, np.array([0, EYES, 0]))
    assert gone[0] < -0.1
    assert gone[1:] == pytest.approx([0, 0], abs=1e-6)


def test_the_right_stick_turns_in_steps_about_the_head(vr: Headset) -> None:
    vr.head(0.4, EYES, 0.3)
    before = vr.told()
    vr.stick("right", 1, 0, frames=4)
    vr.stick("right", 0, 0)
    after = vr.told()
    head = np.array([0.4, EYES, 0.3])
    assert to_place(after, head) == pytest.approx(to_place(before, head), abs=1e-5)
    ahead = to_place(after, head - np.array([0, 0, 1])) - to_place(after, head)
    angle = np.deg2rad(30)  # to the right of +y is +x
    assert ahead == pytest.approx([np.sin(angle), np.cos(angle), 0], abs=1e-5)


@pytest.mark.parametrize("by", ["stick", "trigger"])
def test_teleport_lands_on_the_ring(vr: Headset, by: str) -> None:
    vr.hand("right", 0.2, 1.4, -0.3, pitch=-0.3)
    if by == "stick":
        vr.stick("right", 0, -1)
    else:
        vr.button("right", "trigger", 1)
    told = vr.told()
    ring = np.array(vr.run("return reconVisit.drawing.landing.toArray()"))
    ahead, speed, g = np.array([np.cos(-0.3), np.sin(-0.3)]), 7.0, 9.81  # thrown as a ball: along -z, and up
    fall = (speed * ahead[1] + np.sqrt((speed * ahead[1]) ** 2 + 2 * g * 1.4)) / g
    assert ring == pytest.approx([0.2, 0, -0.3 - speed * ahead[0] * fall], abs=0.02)
    if by == "stick":
        vr.stick("right", 0, 0)
    else:
        vr.button("right", "trigger", 0)
    after = vr.told()
    assert to_place(after, np.array([0, EYES, 0])) == pytest.approx([*to_place(told, ring)[:2], EYES], abs=1e-4)


def test_one_hand_carries_the_place(vr: Headset) -> None:
    grip = "return reconVisit.grips.right"
    held = to_place(vr.told(), np.array(vr.run(grip)))
    vr.button("right", "squeeze", 1)
    vr.hand("right", 0.5, 1.5, -0.2, yaw=0.6)
    after = vr.told()
    assert to_place(after, np.array(vr.run(grip))) == pytest.approx(held, abs=1e-4)
    assert np.arctan2(after["rig"][0, 2], after["rig"][0, 0]) == pytest.approx(0.6, abs=1e-3)
    assert after["rig"][:3, 1] == pytest.approx([0, 1, 0], abs=1e-6)
    vr.button("right", "squeeze", 0)


def test_two_hands_scale_the_place_and_the_eyes_come_closer(vr: Headset) -> None:
    for side in ("left", "right"):
        vr.button(side, "squeeze", 1)
    first = {side: np.array(vr.run(f"return reconVisit.grips.{side}")) for side in ("left", "right")}
    middle = (first["left"] + first["right"]) / 2
    held = to_place(vr.told(), middle)
    vr.hand("left", -0.5, 1.3, -0.4)
    vr.hand("right", 0.5, 1.3, -0.4)
    told = vr.told()
    apart = {side: np.array(vr.run(f"return reconVisit.grips.{side}")) for side in ("left", "right")}
    grown = np.linalg.norm(apart["right"] - apart["left"]) / np.linalg.norm(first["right"] - first["left"])
    assert 1.9 < grown < 2.1
    assert scale_of(told) == pytest.approx(grown, abs=1e-4)
    assert to_place(told, middle) == pytest.approx(held, abs=1e-3)
    left, right = (eye[:3, 3] for eye in told["eyes"])
    assert np.linalg.norm(right - left) == pytest.approx(IPD, abs=1e-5)
    assert np.linalg.norm(to_place(told, right) - to_place(told, left)) == pytest.approx(IPD / grown, abs=1e-5)
    for side in ("left", "right"):
        vr.button(side, "squeeze", 0)
    vr.button("right", "thumbstick", 1)  # start again
    assert scale_of(vr.told()) == pytest.approx(1)
    vr.button("right", "thumbstick", 0)


def test_bare_hands_pinch_and_carry(vr: Headset) -> None:
    vr.run("device.primaryInputMode = 'hand'; device.hands.right.position.set(0.2, 1.3, -0.4); await frames(3);")
    before = vr.told()
    vr.run(
        "device.hands.right.updatePinchValue(1); await frames(2); device.hands.right.position.x += 0.05; await frames(2);"
    )
    vr.run("device.hands.right.position.x += 0.3; await frames(2); device.hands.right.updatePinchValue(0);")
    after = vr.told()
    assert after["rig"][:3, 3] - before["rig"][:3, 3] == pytest.approx([0.3, 0, 0], abs=1e-3)


def test_the_menu_is_pressed_by_a_ray_and_remembers(vr: Headset) -> None:
    vr.button("right", "a-button", 1)
    vr.button("right", "a-button", 0)
    spot = np.array(vr.run("return reconVisit.menu.spot('turn')"))
    away = spot - [0.2, 1.3, -0.1]
    vr.hand(
        "right",
        0.2,
        1.3,
        -0.1,
        float(np.arctan2(away[1], np.hypot(away[0], away[2]))),
        float(np.arctan2(-away[0], -away[2])),
    )
    before = vr.told()
    vr.button("right", "trigger", 1)
    vr.button("right", "trigger", 0)
    assert vr.run("return reconVisit.settings.comfort.angle") == 45
    assert vr.told()["rig"] == pytest.approx(before["rig"]), "a press on the menu is no teleport"
    assert '"angle":45' in vr.run("return localStorage.getItem('recon-xr')")


def test_a_pinch_at_the_other_wrist_opens_the_menu(vr: Headset) -> None:
    opened = vr.run("""device.primaryInputMode = 'hand';
        device.hands.left.position.set(-0.2, 1.2, -0.4); device.hands.right.position.set(0.3, 1.3, -0.4); await frames(3);
        const pinch = async () => {
          device.hands.right.updatePinchValue(1); await frames(3); device.hands.right.updatePinchValue(0); await frames(3);
          return reconVisit.menu.open;
        };
        const away = await pinch();
        const [tip, wrist] = await new Promise((done) => device.activeSession.requestAnimationFrame((_, frame) => {
          const space = recon.renderer.xr.getReferenceSpace();
          const joints = (side) => device.hands[side].inputSource.hand;
          const at = (side, joint) => frame.getJointPose(joints(side).get(joint), space).transform.position;
          done([at('right', 'index-finger-tip'), at('left', 'wrist')]);
        }));
        for (const axis of ['x', 'y', 'z']) device.hands.right.position[axis] += wrist[axis] - tip[axis];
        await frames(2);
        return [away, await pinch()];""")
    assert opened == [False, True]


def test_ar_shows_a_cropped_model_on_a_table(ar: Headset) -> None:
    told = ar.told()
    assert 2 * HALF * scale_of(told) == pytest.approx(0.6)
    bottom = (told["rig"] @ [0, 0, 0, 1])[:3]
    assert bottom[1] == pytest.approx(0.85, abs=0.01)
    assert np.hypot(bottom[0], bottom[2]) == pytest.approx(0.85, abs=0.01)
    ar.run(f"device.quaternion.set({turned(-0.6, 0)});")  # look down at it
    picture = ar.picture()
    assert (picture[0, :, 3] == 0).all(), "the room shows through above the model"
    assert (picture[..., 3] > 200).mean() > 0.02
    magenta = (picture[..., 0] > 150) & (picture[..., 1] < 90) & (picture[..., 2] > 150)
    assert not magenta.any(), "what is outside the bounds is cropped"


def test_ar_places_the_model_on_a_real_surface(ar: Headset) -> None:
    ar.run("window.surface = [0.2, 0.7, -1.1]; await frames(3);")
    assert (ar.told()["rig"] @ [0, 0, 0, 1])[:3] == pytest.approx([0.2, 0.7, -1.1], abs=1e-5)
    ar.button("right", "trigger", 1)
    ar.button("right", "trigger", 0)
    ar.run("window.surface = [2, 0, -3]; await frames(3);")
    assert (ar.told()["rig"] @ [0, 0, 0, 1])[:3] == pytest.approx([0.2, 0.7, -1.1], abs=1e-5), (
        "it stays where it was left"
    )
    ar.run("reconVisit.arrange('life');")
    told = ar.told()
    assert scale_of(told) == pytest.approx(1)
    assert told["rig"][1, 3] == pytest.approx(0, abs=1e-5)


def test_leaving_restores_the_flat_view_exactly(shared: Headset) -> None:
    before = shared.told()
    children = shared.run("return recon.scene.children.length")
    with visit(shared, "VR") as inside:
        inside.head(1, 1.2, 0.5, yaw=1)
        inside.stick("left", 0.5, -1, frames=3)
        inside.stick("left", 0, 0)
        assert inside.told()["presenting"]
    after = shared.told()
    for key in ("rig", "camera", "projection", "clip", "canvas", "radial", "presenting"):
        assert np.array_equal(after[key], before[key]), key
    assert np.array_equal(after["rig"], np.eye(4))
    assert shared.run("return recon.scene.children.length") == children, "nothing is left in the scene"
    assert shared.run("return window.reconVisit === null && recon.navigation.enabled")


def test_a_headset_that_does_not_know_the_floor(browser: Browser, address: str) -> None:
    script = """const config = { ...IWER.metaQuest3 };
        config.supportedFeatures = config.supportedFeatures.filter((feature) => feature !== "local-floor");
        headset(config);"""
    with Tab(browser, address, SIZE, [headset_script() + HELPERS + script]) as tab:
        headset = Headset(tab)
        headset.enter("VR")
        told = headset.told()
        eyes = np.mean([eye[:3, 3] for eye in told["eyes"]], axis=0)
        assert headset.run("return reconVisit.knowsFloor") is False
        assert to_place(told, eyes) == pytest.approx([START[0], START[1], EYES], abs=1e-4)
        headset.leave()
        assert tab.complaints == []


def reason(page: Page) -> str:
    """What the panel says on a page that offers neither VR nor AR."""
    page.keyboard.press("z")
    page.wait_for_selector("#panel-xr .xr-enter .hint")
    page.evaluate("recon.ui.open('more')")  # puts all buttons into the page
    assert page.locator("#enter-vr, #enter-ar").count() == 0
    return page.inner_text("#panel-xr .xr-enter") or page.locator("#panel-xr .xr-enter").text_content() or ""


def test_without_a_headset_the_panel_says_so(browser: Browser, address: str) -> None:
    with Tab(browser, address, SIZE) as tab:
        assert "no headset" in reason(tab.page)
        assert tab.complaints == []


def test_over_plain_http_the_panel_names_the_way_to_https(browser: Browser, place: Path) -> None:
    page = browser.new_page()

    def answer(route: Route) -> None:
        file = place / (urlparse(route.request.url).path.strip("/") or "index.html")
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        route.fulfill(body=file.read_bytes(), content_type=kind)

    page.route("http://place.test/**", answer)  # another machine's name, not this one's loopback
    page.goto("http://place.test/")
    page.wait_for_selector("html[data-recon=ready]", state="attached")
    assert "recon serve" in reason(page)
    page.close()


@pytest.mark.parametrize("mode", ["VR", "AR"])
def test_pictures_to_look_at(browser: Browser, site: Path, mode: str) -> None:
    """A published scene as both eyes see it, its menu, and a throw; and none of them is blank."""
    with plain_server(site) as url, Tab(browser, url, (960, 480), [headset_script() + HELPERS + QUEST]) as tab:
        with visit(Headset(tab), mode) as inside:
            if mode == "AR":
                inside.run(f"device.quaternion.set({turned(-0.6, 0)});")
            pictures = [inside.save(f"xr-{mode.lower()}")]
            inside.button("right", "b-button", 1)
            pictures.append(inside.save(f"xr-{mode.lower()}-menu"))
            inside.run("reconVisit.menu.close();")
            if mode == "VR":
                inside.hand("right", 0.2, 1.3, -0.4, pitch=0.2, yaw=0.2)
                inside.button("right", "trigger", 1)
                pictures.append(inside.save("xr-vr-throw"))
        for picture in pictures:
            assert picture[..., :3].std() > 5
