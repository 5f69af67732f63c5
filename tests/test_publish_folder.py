"""Publishing: the folder's swap, and places that must not be replaced."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

from recon.errors import InputError, MissingPart, WorkspaceError
from recon.workspace import Workspace
from tests.fabricate import (
    fabricate,
)
from tests.publish_scene import QUICK, beside, files, workspace
from viewer import publish, site_folder
from viewer.publish import publish as publish_site


def test_the_old_site_survives_a_failure(tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, site = workspace(tmp_path / "ws"), tmp_path / "site"
    publish_site(space, site, QUICK)
    (site / ".git").mkdir()
    (site / ".git" / "HEAD").write_text("ref", encoding="utf-8")
    before = files(site)
    for error in (KeyboardInterrupt(), OSError("disk full")):
        with monkeypatch.context() as patch:
            patch.setattr(publish, "surroundings", Mock(side_effect=error))
            with pytest.raises(type(error)):
                publish_site(space, site, replace(QUICK, title="new"))
        assert files(site) == before and beside(site) == set()
    publish_site(space, site, replace(QUICK, title="new"))
    assert json.loads((site / "manifest.json").read_text())["title"] == "new"
    assert (site / ".git" / "HEAD").read_text() == "ref", "what is not ours stays"


def test_a_folder_that_is_no_site_is_refused(tmp_path: Path, page: Path) -> None:
    space = workspace(tmp_path / "ws")
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "manifest.json").write_text('{"name": "of another program"}', encoding="utf-8")
    for place, words in (
        (letters, "not empty"),
        (space.root, "workspace"),
        (tmp_path, "workspace"),
        (page / "index.html", "file"),
    ):
        with pytest.raises(InputError, match=words):
            publish_site(space, place, QUICK)
    assert [p.name for p in letters.iterdir()] == ["manifest.json"]
    with pytest.raises(WorkspaceError, match="neither a scene nor a mesh"):
        publish_site(Workspace(fabricate(tmp_path / "empty", trained=False)), tmp_path / "site", QUICK)
    with pytest.raises(WorkspaceError, match="no recon workspace"):
        publish_site(Workspace(tmp_path / "nowhere"), tmp_path / "site", QUICK)


def test_a_kill_in_the_middle_of_the_swap_is_repaired(
    tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, site = workspace(tmp_path / "ws"), tmp_path / "site"
    publish_site(space, site, QUICK)
    (site / "CNAME").write_text("a.example", encoding="utf-8")
    site.rename(tmp_path / ".site.old")
    (tmp_path / ".site.publishing").mkdir()
    (tmp_path / ".site.publishing" / "half").write_text("x", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(publish, "surroundings", Mock(side_effect=OSError("again")))
        with pytest.raises(OSError, match="again"):
            publish_site(space, site, QUICK)
    assert site_folder.is_site(site) and (site / "CNAME").is_file() and beside(site) == set()
    publish_site(space, site, QUICK)
    assert (site / "CNAME").is_file() and not (site / "half").exists()


def test_two_at_once_are_told_apart(tmp_path: Path) -> None:
    with site_folder.building(tmp_path / "site", tmp_path / "ws") as folder:
        (folder / "manifest.json").write_text('{"recon_manifest": 1}', encoding="utf-8")
        with (
            pytest.raises(WorkspaceError, match="Another recon"),
            site_folder.building(tmp_path / "site", tmp_path / "ws"),
        ):
            pass
        assert (folder / "manifest.json").is_file()
    assert site_folder.is_site(tmp_path / "site") and beside(tmp_path / "site") == set()


def test_nobody_else_gets_the_folder_while_it_is_written_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []

    def sync(folder: Path) -> None:
        with (
            pytest.raises(WorkspaceError, match="Another recon"),
            site_folder.building(tmp_path / "site", tmp_path / "ws"),
        ):
            pass
        said.append(sorted(path.name for path in folder.iterdir() if path.name != ".lock"))

    monkeypatch.setattr(site_folder, "sync_tree", sync)
    with site_folder.building(tmp_path / "site", tmp_path / "ws") as folder:
        (folder / "manifest.json").write_text('{"recon_manifest": 1}', encoding="utf-8")
    assert said == [["manifest.json"]] and site_folder.is_site(tmp_path / "site")


def test_without_a_page_the_site_stays_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(say: object) -> Path:
        raise MissingPart("no page")

    monkeypatch.setattr(publish, "built_page", missing)
    with pytest.raises(MissingPart):
        publish_site(workspace(tmp_path / "ws"), tmp_path / "site", QUICK)
    assert not (tmp_path / "site").exists() and beside(tmp_path / "site") == set()
