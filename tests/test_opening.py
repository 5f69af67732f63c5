"""Opening a browser: the token stays out of its command line, and the page gets there all the same."""

import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import CHROMIUM
from tests.sites import site
from viewer.opening import opened
from viewer.options import ServeOptions
from viewer.static_server import folder_server


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the browser was started with."""
    found: list[str] = []
    monkeypatch.setattr("webbrowser.open", found.append)
    return found


def test_a_token_goes_through_a_file_of_ones_own(told: list[str]) -> None:
    url = 'http://192.0.2.7:8080/?token=abc&x="><script>'
    with opened(url):
        (shown,) = told
        assert shown.startswith("file:") and "abc" not in shown
        path = Path(unquote(urlsplit(shown).path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        page = path.read_text(encoding="utf-8")
        assert "token=abc" in page and "<script>" not in page
    assert not path.parent.exists()


def test_an_address_without_a_token_is_opened_as_it_is(told: list[str]) -> None:
    with opened("http://127.0.0.1:8080/"):
        pass
    with opened("http://127.0.0.1:8080/", False):
        pass
    assert told == ["http://127.0.0.1:8080/"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_browser_comes_in_by_the_file(told: list[str], tmp_path: Path) -> None:
    """The cookie of the guard is for our own pages alone, and a file is none: it must still let the browser in."""
    from tests.page_browser import chromium

    with folder_server(site(tmp_path), ServeOptions(port=0, host="127.0.0.1")) as door, chromium() as browser:
        assert "token=" in door.url
        with opened(door.url):
            tab = browser.new_page()
            tab.goto(told[0])
            tab.wait_for_url(f"http://127.0.0.1:{door.port}/", timeout=20_000)
            assert tab.title() == "page" and "token" not in tab.url
