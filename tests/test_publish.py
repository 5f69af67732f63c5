"""Publishing: what a site holds and what it must not hold, the folder's swap, where a visitor starts, the measurement."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from recon.cli import main
from recon.errors import InputError, MissingPart, WorkspaceError
from recon.geometry import World
from recon.mesh import Mesh
from recon.workspace import Workspace
from render.edits import Ball, Edits, edits_path, write_edits
from render.formats.glb import write_glb
from render.formats.spz import read_spz
from tests.browser import CHROMIUM
from tests.fabricate import (
    fabricate,
    ring_model,
    splat_columns,
    write_scene,
    write_sparse_stage,
    write_stage,
)
from viewer import measure, publish, site_folder
from viewer.options import PublishOptions
from viewer.publish import publish as publish_site
from viewer.targets import TARGETS

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


def test_a_site_holds_what_its_manifest_says(tmp_path: Path, page: Path) -> None:
    site = tmp_path / "out" / "site"
    manifest = publish_site(workspace(tmp_path / "castle"), site, QUICK)
    assert json.loads((site / "manifest.json").read_text()) == manifest
    assert list(manifest) == [
        *("recon_manifest", "generator", "title", "target", "world", "bounds", "floor", "start"),
        *("splats", "mesh", "cameras", "moving", "measured"),
    ]
    assert manifest["title"] == "castle" and manifest["world"] == {"scale": "metric", "up": "gravity"}
    found = files(site)
    parts = [manifest["splats"]["coarse"], *manifest["splats"]["tiles"], manifest["mesh"]]
    for part in parts:
        assert part["bytes"] == len(found[part["file"]])
        assert part["sha256"] == hashlib.sha256(found[part["file"]]).hexdigest()
    expected = {"index.html", "assets/a.js", "notices.txt", "manifest.json", *(part["file"] for part in parts)}
    assert set(found) == expected and beside(site) == set()
    assert sum(t["count"] for t in manifest["splats"]["tiles"]) == manifest["splats"]["count"] <= 300
    assert [c["name"] for c in manifest["cameras"]] == [f"photo {i}" for i in range(1, 9)]
    assert [c["split"] for c in manifest["cameras"]].count("test") == 2
    assert {c["photo"] for c in manifest["cameras"]} == {None} and manifest["mesh"]["faces"] == 2


def test_the_published_splats_are_the_scene(tmp_path: Path, page: Path) -> None:
    site, space = tmp_path / "site", workspace(tmp_path / "ws")
    manifest = publish_site(space, site, QUICK)
    scene = space.load("train").at(None).detach()
    scene = scene[scene.opacity >= 1 / 255]
    tiles = [read_spz(site / tile["file"]) for tile in manifest["splats"]["tiles"]]
    mean = torch.cat([tile.mean for tile in tiles])
    distance, row = torch.cdist(mean.double(), scene.mean.double()).min(1)
    assert distance.max() < 1e-4 and sorted(row.tolist()) == list(range(len(scene)))
    assert (torch.cat([tile.log_scale for tile in tiles]) - scene.log_scale[row]).abs().max() <= 0.04
    assert manifest["splats"]["sh_degree"] == 1


def test_budget_and_degree_are_respected(tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space, site = workspace(tmp_path / "ws"), tmp_path / "site"
    small = replace(TARGETS["quest3"], splats=120, tile=50, coarse=40)
    monkeypatch.setitem(publish.TARGETS, "quest3", small)
    monkeypatch.setattr("viewer.site_splats.COARSE_LEAST", 40)
    splats = publish_site(space, site, replace(QUICK, target="quest3", sh_degree=0))["splats"]
    assert 100 <= splats["count"] <= 120 and splats["sh_degree"] == 0 and splats["budget"] == 120
    assert splats["coarse"]["count"] <= 40 and max(t["count"] for t in splats["tiles"]) <= 50
    for tile in splats["tiles"]:
        found = read_spz(site / tile["file"])
        assert len(found) == tile["count"] and found.sh_degree == 0
        inside = (
            (found.mean >= torch.tensor(tile["min"]) - 0.1) & (found.mean <= torch.tensor(tile["max"]) + 0.1)
        ).all(1)
        assert inside.float().mean() > 0.9
    all_of_it = publish_site(space, site, replace(QUICK, target="quest3", splats=0))["splats"]
    assert all_of_it["count"] > 250 and all_of_it["budget"] == 120


def test_what_was_deleted_in_the_viewer_stays_out(tmp_path: Path, page: Path) -> None:
    made = workspace(tmp_path / "w")
    splats = made.load("train").at(None)
    gone = Ball((0.5, 0.5, 0.5), 0.5)
    write_edits(edits_path(made.root), Edits((gone,), splats.world))
    kept = int((~gone.contains(splats.mean.detach().numpy())).sum())
    assert 0 < kept < len(splats)
    publish_site(made, tmp_path / "site", QUICK)
    tiles = sorted((tmp_path / "site" / "splats").glob("0*.spz"))
    shown = np.concatenate([read_spz(tile).mean.detach().numpy() for tile in tiles])
    assert len(shown) <= kept and not Ball(gone.center, 0.49).contains(shown).any()
    publish_site(made, tmp_path / "all", replace(QUICK, edits=False))
    shown = np.concatenate(
        [read_spz(tile).mean.detach().numpy() for tile in (tmp_path / "all" / "splats").glob("0*.spz")]
    )
    assert Ball(gone.center, 0.49).contains(shown).any()


def test_nothing_tells_where_it_was_made(tmp_path: Path, page: Path) -> None:
    """Neither the machine's folders, nor the place on earth, nor, without --photos, what the photos are called."""
    names = tuple(f"holiday/DSC{i:05d}.jpg" for i in range(8))
    site = tmp_path / "site"
    space = workspace(tmp_path / "secret folder", names)
    publish_site(space, site, replace(QUICK, title="A place"))
    glb = (site / "mesh" / "mesh.glb").read_bytes()
    assert b"recon_world" in (space.folder("mesh") / "mesh.glb").read_bytes() and b"recon_world" not in glb
    assert struct.unpack_from("<I", glb, 8)[0] == len(glb)
    words = [str(tmp_path), "secret", "DSC0", "holiday", "47.36", "408.25", "4326", "world_from_sfm"]
    for name, content in files(site).items():
        text = content.decode("latin-1")
        assert not [word for word in words if word in text], name


def test_photos_go_out_only_when_asked_for_and_bare(tmp_path: Path, page: Path) -> None:
    names = (NASTY, *(f"b{i}.jpg" for i in range(7)))
    space, site = workspace(tmp_path / "ws", names), tmp_path / "site"
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[2] = (47.0, 22.0, 0.0)
    png = space.root / "sfm" / "images" / f"{NASTY}.png"
    pixels = np.full((64, 96, 3), 60, np.uint8)
    pixels[:, 48:] = 220
    Image.fromarray(pixels).save(png, exif=exif)
    (space.root / "sfm" / "masks").mkdir()
    mask = np.full((64, 96), 255, np.uint8)
    mask[:32, 48:] = 0
    Image.fromarray(mask).save(space.root / "sfm" / "masks" / f"{NASTY}.png")
    manifest = publish_site(space, site, replace(QUICK, photos=True, photo_side=48))
    by_name = {c["name"]: c["photo"] for c in manifest["cameras"]}
    assert set(by_name) == set(names) and sorted(by_name.values()) == [f"photos/{i:04d}.jpg" for i in range(8)]
    assert len(list((site / "photos").iterdir())) == 8
    path = site / by_name[NASTY]
    with Image.open(path) as photo:
        assert photo.format == "JPEG" and photo.size == (48, 32) and not photo.getexif()
        values = np.asarray(photo.convert("L"), np.float64)
    assert b"Secret" not in path.read_bytes() and b"Exif" not in path.read_bytes()
    assert abs(values[20, 10] - 60) < 6 and abs(values[24, 40] - 220) < 6
    assert abs(values[8, 40] - 110) < 6, "what the mask hides is grey"


def test_html_in_names_and_titles_stays_text(tmp_path: Path, page: Path) -> None:
    title = '</script><script>alert("x")</script>' + "x" * 500
    names = (NASTY, *(f"b{i}.jpg" for i in range(7)))
    site = tmp_path / "site"
    manifest = publish_site(workspace(tmp_path / "ws", names), site, replace(QUICK, title=title, photos=True))
    assert manifest["title"] == title[:200]
    for name, content in files(site).items():
        if name != "manifest.json":
            assert b"alert(" not in content and NASTY.encode() not in content, name
    assert not [name for name in files(site) if "<" in name]


def test_a_name_that_leads_out_is_refused(tmp_path: Path, page: Path) -> None:
    names = ("../../outside.jpg", *(f"z{i}.jpg" for i in range(7)))
    space = workspace(tmp_path / "ws")
    Image.new("RGB", (96, 64)).save(tmp_path / "ws" / "outside.jpg.png")
    model = ring_model(names)
    reconstruction = replace(space.load("align"), model=model)
    with pytest.raises(InputError, match="leads out of images"):
        publish.published_photo(reconstruction, names[0], 100)
    link = reconstruction.images / "photo 01.jpg.png"
    link.unlink()
    link.symlink_to(tmp_path / "ws" / "outside.jpg.png")
    with pytest.raises(InputError, match="leads out of images"):
        publish_site(space, tmp_path / "site", QUICK)
    assert not (tmp_path / "site").exists() and beside(tmp_path / "site") == set()


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


def test_a_mesh_alone_is_published(tmp_path: Path, page: Path) -> None:
    space = workspace(tmp_path / "ws", world=World(up="unknown"))
    for path in (tmp_path / "ws" / "train" / "main").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="--no-mesh leaves the mesh out"):
        publish_site(space, tmp_path / "site", replace(QUICK, mesh=False))
    manifest = publish_site(space, tmp_path / "site", QUICK)
    assert manifest["splats"] is None and manifest["mesh"]["faces"] == 2 and manifest["floor"] is None
    low, high = np.array(manifest["bounds"]["min"]), np.array(manifest["bounds"]["max"])
    assert (low < -0.5).all() and (high > 0.5).all() and (high < 0.8).all()
    data = bytearray((space.folder("mesh") / "mesh.glb").read_bytes())
    (space.folder("mesh") / "mesh.glb").write_bytes(data[:-5])
    with pytest.raises(WorkspaceError, match="damaged"):
        publish_site(space, tmp_path / "site", QUICK)


def test_refined_cameras_are_published(tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = workspace(tmp_path / "ws")
    load = Workspace.load

    def refined(self: Workspace, stage: str, name: str = "main") -> Any:
        result = load(self, stage, name)
        if stage == "train":
            moved = space.load("align").model.cameras.cam_from_world[1].copy()
            moved[0, 3] += 0.25
            result.refined = {"photo 01.jpg": moved}
        return result

    plain = publish_site(space, tmp_path / "site", QUICK)["cameras"]
    monkeypatch.setattr(Workspace, "load", refined)
    moved = publish_site(space, tmp_path / "site", QUICK)["cameras"]
    difference = np.array(
        [np.subtract(b["cam_from_world"], a["cam_from_world"]) for a, b in zip(plain, moved, strict=True)]
    )
    assert difference[1].reshape(4, 4)[0, 3] == pytest.approx(0.25) and np.abs(difference[[0, *range(2, 8)]]).max() == 0


@pytest.mark.parametrize("wrong", [{"splats": -1}, {"sh_degree": 4}, {"polish": -1}, {"photo_side": 3}])
def test_options_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected"):
        PublishOptions(**wrong)


def test_the_verb_publishes_and_says_what(tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace(tmp_path / "ws")
    words = ["publish", "-w", str(tmp_path / "ws"), str(tmp_path / "site"), "--measure", "no", "--polish", "1"]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "splats" in said and "mesh    2 faces" in said and (tmp_path / "site" / "manifest.json").is_file()
    assert main(["publish", "-w", str(tmp_path / "none"), str(tmp_path / "site2")]) == 2


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
    assert list(found) == ["browser", "size", "first_ms", "ready_ms", "frame_ms", "memory_mb", "splats"]
    assert 0 < found["first_ms"] < found["ready_ms"] and found["splats"] == manifest["splats"]["count"]
    (page / "assets" / "a.js").write_text("document.documentElement.dataset.recon = 'error'", encoding="utf-8")
    with pytest.raises(WorkspaceError, match="could not be measured"):
        publish_site(Workspace(tmp_path / "ws"), tmp_path / "site", replace(QUICK, measure="yes"))
    assert (
        publish_site(Workspace(tmp_path / "ws"), tmp_path / "site", replace(QUICK, measure="auto"))["measured"] is None
    )
