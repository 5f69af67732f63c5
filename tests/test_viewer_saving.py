"""What a click on "save" in the live view may replace."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from recon.errors import WorkspaceError
from recon.geometry import World
from render import edits
from render.edits import Ball, Edits, edits_path, read_edits, write_edits
from tests.browser import FakeBrowser, wait_for
from tests.fabricate import fabricate
from viewer import server
from viewer.options import ViewOptions
from viewer.paths import read_path
from viewer.server import Viewer

ROOT = Path(__file__).resolve().parent.parent
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


MINE, THEIRS, OLD = Ball((0.4, 0.4, 0.4), 0.2), Ball((-0.4, 0.2, 0.1), 0.2), Ball((0.0, -0.5, 0.0), 0.1)


def test_two_that_save_in_the_same_second_both_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither has seen the other's save: the workspace is not looked at in between."""
    monkeypatch.setattr(server, "POLL_SECONDS", 3600.0)
    root = fabricate(tmp_path / "ws")
    path = edits_path(root)
    write_edits(path, Edits((OLD,), World()))
    with Viewer(root, ViewOptions(port=0, device="cpu")) as viewer, contextlib.ExitStack() as stack:
        for i in range(2):
            stack.enter_context(FakeBrowser(viewer.port)).look((3, i, 1))
        wait_for(lambda: len(viewer.sessions) == 2 and all(s.scene is not None for s in viewer.sessions))
        first, second = (session.editor for session in viewer.sessions)
        for editor, region in ((first, MINE), (second, THEIRS)):
            editor.select((region,))
            editor.act("delete")
        first.act("undo")
        first.act("undo")  # the one that was there
        first.select((MINE,))
        first.act("delete")
        first.write()
        assert read_edits(path).regions == (MINE,) and "Saved." in first._text.content
        second.write()
        assert read_edits(path).regions == (MINE, THEIRS) == second._regions
        assert "what somebody else had saved meanwhile" in second._text.content
        second.act("undo")
        second.write()
        assert read_edits(path).regions == (MINE,), "its own deletion alone is taken back"
        assert second._undo == []
        viewer._look.set()
        wait_for(lambda: first._session.now.edits.regions == second._session.now.edits.regions == (MINE,))
        assert first._regions == second._regions == (MINE,) and not first.unsaved and not second.unsaved


def test_a_save_waits_for_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits, "PATIENCE_SECONDS", 0.05)
    path = tmp_path / "edits" / "main.json"
    code = (
        "import sys; from pathlib import Path; from render.edits import changing\n"
        "with changing(Path(sys.argv[1])): print('holds', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as other:
        assert other.stdout and other.stdout.readline() == b"holds\n"
        with pytest.raises(WorkspaceError, match="Another viewer is writing"), edits.changing(path):
            pass
        other.communicate()
    with edits.changing(path):
        assert path.parent.is_dir()
