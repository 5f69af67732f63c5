"""The viewer's page in an installation: built when it is missing or out of date; what is said when it cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from recon.errors import MissingPart
from viewer import web_page


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of a page, and a build that takes down what it was told to build."""
    folder = tmp_path / "web"
    (folder / "src").mkdir(parents=True)
    (folder / "package.json").write_text("{}")
    (folder / "src" / "main.ts").write_text("one")
    monkeypatch.setattr(web_page, "CARRIED", tmp_path / "_page")
    monkeypatch.setattr(web_page, "SOURCES", folder)

    def build(at: Path) -> None:
        shutil.rmtree(at / "dist", ignore_errors=True)
        (at / "dist").mkdir()
        (at / "dist" / "index.html").write_text((at / "src" / "main.ts").read_text())

    monkeypatch.setattr(web_page, "build", build)
    return folder


def test_built_when_missing_and_when_sources_changed(sources: Path) -> None:
    said: list[str] = []
    page = web_page.built_page(said.append)
    assert (page / "index.html").read_text() == "one" and len(said) == 1
    assert web_page.built_page(said.append) == page and len(said) == 1  # nothing changed: nothing built
    (sources / "src" / "main.ts").write_text("two")
    assert (web_page.built_page(said.append) / "index.html").read_text() == "two" and len(said) == 2
    (sources / "src" / "more.ts").write_text("")  # a new file counts, what was built and fetched does not
    assert web_page.stamp_of(page) != web_page.sources_digest(sources)
    digest = web_page.sources_digest(sources)
    (sources / "node_modules").mkdir()
    (sources / "node_modules" / "x.js").write_text("")
    assert web_page.sources_digest(sources) == digest


def test_half_a_build_is_built_again(sources: Path) -> None:
    page = web_page.built_page()
    (page / web_page.STAMP).unlink()  # the stamp is written last
    (page / "index.html").write_text("half")
    assert (web_page.built_page() / "index.html").read_text() == "one"


def test_carried_page_comes_first(sources: Path) -> None:
    carried = sources.parent / "_page"
    carried.mkdir()
    (carried / "index.html").write_text("carried")
    assert web_page.built_page() == carried and not (sources / "dist").exists()


def test_neither_page_nor_sources(sources: Path) -> None:
    (sources / "package.json").unlink()
    with pytest.raises(MissingPart, match="released wheel"):
        web_page.built_page()


def test_without_node_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_page.shutil, "which", lambda name: None)
    with pytest.raises(MissingPart, match=r"needs Node 20\.19 or newer"):
        web_page.node_tools()


def test_too_old_node_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v18.3.1\n")
    node.chmod(0o755)
    monkeypatch.setattr(web_page.shutil, "which", lambda name: str(node))
    with pytest.raises(MissingPart, match=r"found v18\.3\.1"):
        web_page.node_tools()
    node.write_text("#!/bin/sh\necho v22.1.0\n")
    assert web_page.node_tools() == str(node)


def test_a_failing_build_says_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(MissingPart, match=r"type error in main\.ts"):
        web_page.run(["/bin/sh", "-c", "echo type error in main.ts >&2; exit 3"], tmp_path)
