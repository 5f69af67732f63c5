"""Films: frames that wait in the workspace: whose they are, and when they go."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from recon.errors import WorkspaceError
from recon.files import write_json
from recon.workspace import Workspace
from tests.film_scene import SMALL, whole
from viewer import film as film_module
from viewer.film import film
from viewer.options import RenderOptions


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return whole(tmp_path_factory.mktemp("film") / "ws")


def stopped(root: Path, options: RenderOptions) -> Path:
    """The folder of frames of a film that was stopped after two of them."""
    drawn, real = [], film_module.draw_frame

    def draw(*what):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(1)
        return real(*what)

    before = set((root / ".film").iterdir()) if (root / ".film").is_dir() else set()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(film_module, "draw_frame", draw)
        film(Workspace(root), options)
    (made,) = set((root / ".film").iterdir()) - before
    assert len(list(made.glob("*.png"))) == 2
    return made


def age(folder: Path, days: float) -> None:
    for path in [*folder.iterdir(), folder]:
        os.utime(path, (time.time() - days * 86400,) * 2)


def test_two_processes_do_not_render_one_film(root, tmp_path):
    import filelock

    options = RenderOptions(video=tmp_path / "f", **SMALL)
    key = film_module.plan_film(Workspace(root), options).key("train/main", "cpu")
    (root / ".film").mkdir()
    with filelock.FileLock(root / ".film" / f"{key[:20]}.lock"), pytest.raises(WorkspaceError, match="Another recon"):
        film(Workspace(root), options)
    shutil.rmtree(root / ".film")


def test_two_films_for_one_place_are_told_apart(root, tmp_path, monkeypatch):
    """The second would take the first one's frames for given up, and then its place."""
    options, real, said = RenderOptions(video=tmp_path / "f", **SMALL), film_module.draw_frame, []

    def draw(*what):
        if not said:
            with pytest.raises(WorkspaceError) as error:
                film(Workspace(root), replace(options, background="white"))
            said.append(str(error.value))
            film(Workspace(root), replace(options, background="white", video=tmp_path / "g"))
        return real(*what)

    monkeypatch.setattr(film_module, "draw_frame", draw)
    film(Workspace(root), options)
    assert "another film for" in said[0] and (tmp_path / "g").is_dir() and not (root / ".film").exists()
    assert len(json.loads((tmp_path / "f" / "frames.json").read_text())["frames"]) == 6


def test_frames_that_nobody_will_take_go_and_others_stay(root, tmp_path):
    options = RenderOptions(video=tmp_path / "f", **SMALL)
    given_up = stopped(root, replace(options, background="#111111"))
    for_another = stopped(root, replace(options, background="#222222", video=tmp_path / "g"))
    old = stopped(root, replace(options, background="#333333", video=tmp_path / "h"))
    age(old, 31)
    age(for_another, 29)
    other_scene = stopped(root, replace(options, background="#444444", video=tmp_path / "i"))
    note = json.loads((other_scene / "film.json").read_text())
    write_json(other_scene / "film.json", note | {"scene": "trained before"})
    nameless = root / ".film" / "0123"
    nameless.mkdir()
    (root / ".film" / "4567.lock").touch()
    held = shutil.copytree(other_scene, root / ".film" / "89ab")
    import filelock

    with filelock.FileLock(root / ".film" / "89ab.lock"):
        film(Workspace(root), options)
        assert held.is_dir(), "somebody is at it"
    left = {path.name for path in (root / ".film").iterdir()}
    assert left - {"89ab.lock"} == {for_another.name, "89ab"}
    assert not given_up.exists() and not old.exists() and not other_scene.exists() and not nameless.exists()
    film(Workspace(root), replace(options, background="#222222", video=tmp_path / "g"))
    assert not (root / ".film").exists()
