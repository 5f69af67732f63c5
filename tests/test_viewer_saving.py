"""What a click on "save" in the live view may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from render.edits import Ball, edits_path
from tests.browser import FakeBrowser, wait_for
from tests.fabricate import fabricate
from viewer.options import ViewOptions
from viewer.paths import read_path
from viewer.server import Viewer

NEWER = '{"recon_edits": 2}'


@pytest.mark.parametrize("deletes", [True, False])
def test_edits_that_cannot_be_read_stay(tmp_path: Path, deletes: bool) -> None:
    root = fabricate(tmp_path / "ws")
    path = edits_path(root)
    path.parent.mkdir(exist_ok=True)
    path.write_text(NEWER, encoding="utf-8")
    with Viewer(root, ViewOptions(port=0, device="cpu")) as viewer, FakeBrowser(viewer.port) as browser:
        browser.look((3, 0, 1))
        wait_for(lambda: viewer.sessions and viewer.sessions[0].scene is not None)
        editor = viewer.sessions[0].editor
        if deletes:
            editor.select((Ball((0.4, 0.4, 0.4), 0.4),))
            editor.act("delete")
            assert editor.unsaved
        editor.write()
        assert path.read_text(encoding="utf-8") == NEWER and "Not saved" in editor._text.content


def test_a_path_replaces_its_own_file_alone(tmp_path: Path) -> None:
    root = fabricate(tmp_path / "ws")
    (root / "paths").mkdir()
    (root / "paths" / "theirs.json").write_text(NEWER, encoding="utf-8")
    with Viewer(root, ViewOptions(port=0, device="cpu")) as viewer, FakeBrowser(viewer.port) as browser:
        browser.look((3, 0, 1))
        wait_for(lambda: viewer.sessions and viewer.sessions[0].pose is not None)
        recorder = viewer.sessions[0].recorder
        recorder.add()
        recorder.name.value = "theirs"
        recorder.save()
        assert "there already" in recorder._text.content
        assert (root / "paths" / "theirs.json").read_text(encoding="utf-8") == NEWER
        recorder.name.value = "mine"
        recorder.save()
        recorder.add()
        recorder.save()
        assert len(read_path(root / "paths" / "mine.json")) == 2
