"""What tests of the published page share: a browser, and a site that recon published from the sample's truth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from recon.cli import main
from recon.errors import MissingPart
from tests.page_browser import chromium, need
from tests.sample_scene import sample_workspace
from viewer.web_page import built_page


@pytest.fixture(scope="session")
def page_built() -> Path:
    """The built page; skips where it cannot be built."""
    try:
        return built_page()
    except MissingPart as missing:
        need(False, f"the built page ({missing})")
        raise


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Playwright's driver runs once in a process, and what recon measures with it in tests has its own."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def truth_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of the sample's truth (tests/sample_scene.py)."""
    return sample_workspace(tmp_path_factory.mktemp("truth") / "sample")


@pytest.fixture(scope="session")
def site(page_built: Path, truth_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That workspace, published with photos."""
    folder = tmp_path_factory.mktemp("published") / "site"
    assert main(["publish", "-w", str(truth_workspace), str(folder), "--photos", "--measure", "no"]) == 0
    return folder
