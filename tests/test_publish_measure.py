"""Publishing: the page opened in a browser and measured."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from recon.errors import MissingPart, WorkspaceError
from recon.workspace import Workspace
from tests.browser import CHROMIUM
from tests.publish_scene import QUICK, workspace
from viewer import measure, publish
from viewer.publish import publish as publish_site


def test_without_a_browser_the_site_is_published_unmeasured(
    tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "BROWSERS", ("no-such-browser",))
    manifest = publish_site(workspace(tmp_path / "ws"), tmp_path / "site", replace(QUICK, measure="auto"))
    assert manifest["measured"] is None
    with pytest.raises(MissingPart):
        publish_site(Workspace(tmp_path / "ws"), tmp_path / "site", replace(QUICK, measure="yes"))


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_browser_measures_the_site(tmp_path: Path, page: Path) -> None:
    pytest.importorskip("playwright")
    manifest = publish_site(workspace(tmp_path / "ws"), tmp_path / "site", replace(QUICK, measure="yes"))
    found = manifest["measured"]
    assert found == json.loads((tmp_path / "site" / "manifest.json").read_text())["measured"]
    assert list(found) == ["browser", "renderer", "size", "first_ms", "ready_ms", "frame_ms", "memory_mb", "splats"]
    said = " ".join(publish.in_words(manifest, tmp_path / "site"))
    assert found["renderer"] in said and measure.in_software(found["renderer"]) and "That is software" in said
    assert 0 < found["first_ms"] < found["ready_ms"] and found["splats"] == manifest["splats"]["count"]
    (page / "assets" / "a.js").write_text("document.documentElement.dataset.recon = 'error'", encoding="utf-8")
    with pytest.raises(WorkspaceError, match="could not be measured"):
        publish_site(Workspace(tmp_path / "ws"), tmp_path / "site", replace(QUICK, measure="yes"))
    assert (
        publish_site(Workspace(tmp_path / "ws"), tmp_path / "site", replace(QUICK, measure="auto"))["measured"] is None
    )


def test_a_graphics_card_is_not_called_software() -> None:
    card = "ANGLE (NVIDIA, NVIDIA GeForce RTX 3080 Direct3D11 vs_5_0 ps_5_0, D3D11)"
    assert not measure.in_software(card) and measure.in_software("ANGLE (Google, Vulkan 1.3.0 (SwiftShader Device))")
    times = {"browser": "Chromium 1", "renderer": card, "first_ms": 1, "ready_ms": 2, "frame_ms": 3}
    said = publish.in_words(
        {"splats": None, "moving": None, "mesh": None, "notes": None, "measured": times}, Path("site")
    )
    assert card in said[0] and "software" not in " ".join(said)


@pytest.mark.parametrize("user", [0, 1000])
def test_the_browser_keeps_its_sandbox_where_it_can(monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    from playwright.sync_api import Error

    monkeypatch.setattr(os, "geteuid", lambda: user, raising=False)
    asked: list[bool] = []

    def launch(works: bool, says: str, *, chromium_sandbox: bool, args: list[str], executable_path: str) -> str:
        asked.append(chromium_sandbox)
        assert "--no-sandbox" not in args
        if chromium_sandbox and not works:
            raise Error(says)
        return executable_path

    for works, wanted in ((True, [user != 0]), (False, [True, False] if user else [False])):
        asked.clear()
        chromium = Mock(launch=lambda works=works, **how: launch(works, "No usable sandbox! ...", **how))
        assert measure.launched(chromium, "/chromium") == "/chromium" and asked == wanted
    if user:
        with pytest.raises(Error, match="no such file"):
            measure.launched(Mock(launch=lambda **how: launch(False, "no such file", **how)), "/chromium")
