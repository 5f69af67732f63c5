"""A small workspace to publish, a page that is built already, and what lies in a site, for the tests of publishing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recon.geometry import World
from recon.mesh import Mesh
from recon.workspace import Workspace
from render.formats.glb import write_glb
from tests.fabricate import (
    fabricate,
    ring_model,
    splat_columns,
    write_scene,
    write_sparse_stage,
    write_stage,
)
from viewer import publish
from viewer.options import PublishOptions

ORIGIN = (47.36667, 8.55, 408.25)
NASTY = "<img src=x onerror=alert(1)>.jpg"
QUICK = PublishOptions(measure="no", polish=2)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page that is built already: it shows nothing, and says that it is ready."""
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(
        "<!doctype html><html data-recon=loading><canvas></canvas><script src=assets/a.js></script></html>",
        encoding="utf-8",
    )
    (folder / "assets" / "a.js").write_text(
        "window.recon = {stage: {draw() {}}, camera: {rotateY() {}},"
        " renderer: {getContext: () => document.querySelector('canvas').getContext('webgl2')}};"
        "setTimeout(() => { document.documentElement.dataset.recon = 'coarse'; }, 30);"
        "setTimeout(() => { document.documentElement.dataset.recon = 'ready'; }, 90);",
        encoding="utf-8",
    )
    (folder / "notices.txt").write_text("notices", encoding="utf-8")
    (folder / "sources.sha256").write_text("stamp", encoding="utf-8")
    monkeypatch.setattr(publish, "built_page", lambda say: folder)
    return folder


def workspace(root: Path, names: tuple[str, ...] | None = None, world: World | None = None) -> Workspace:
    """A fabricated one whose frame has a place on earth, unless another is given, with a mesh."""
    fabricate(root, names)
    world = world or World("metric", "gravity", ORIGIN, 4326)
    names = names or tuple(sorted(f"photo {i:02d}.jpg" for i in range(8)))
    for stage in ("sfm", "align"):
        write_sparse_stage(root, stage, ring_model(names, world=world))
    write_scene(root / "train" / "main" / "scene.npz", splat_columns(), world)
    xyz = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 1, 2], [0, 3, 1]], np.int32)
    mesh = Mesh(xyz, faces, np.full((4, 3), 200, np.uint8), world=world)
    (root / "mesh" / "main").mkdir(parents=True)
    write_glb(root / "mesh" / "main" / "mesh.glb", mesh)
    write_stage(root / "mesh" / "main")
    return Workspace(root)


def files(site: Path) -> dict[str, bytes]:
    return {p.relative_to(site).as_posix(): p.read_bytes() for p in sorted(site.rglob("*")) if p.is_file()}


def beside(site: Path) -> set[str]:
    """What lies beside the site and looks like a leftover of it."""
    return {p.name for p in site.parent.iterdir() if p.name.startswith(f".{site.name}")}
