"""Publishing: what a site holds and what it must not hold."""

from __future__ import annotations

import hashlib
import json
import re
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
from recon.errors import InputError, WorkspaceError
from recon.geometry import World
from recon.job import NoProgress
from recon.workspace import Workspace
from render.edits import Ball, Edits, edits_path, write_edits
from render.formats.spz import read_spz
from tests.fabricate import (
    ring_model,
)
from tests.publish_scene import QUICK, beside, files, workspace
from viewer import publish
from viewer.options import MOST_SPLATS, PublishOptions
from viewer.publish import publish as publish_site
from viewer.targets import TARGETS
from viewer.web_page import SOURCES

NASTY = "<img src=x onerror=alert(1)>.jpg"


def test_a_site_holds_what_its_manifest_says(tmp_path: Path, page: Path) -> None:
    site = tmp_path / "out" / "site"
    manifest = publish_site(workspace(tmp_path / "castle"), site, QUICK)
    assert json.loads((site / "manifest.json").read_text()) == manifest
    assert list(manifest) == [
        *("recon_manifest", "generator", "title", "target", "world", "bounds", "floor", "start"),
        *("splats", "mesh", "cameras", "moving", "notes", "measured"),
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


def test_what_still_shows_the_deleted_is_said(tmp_path: Path, page: Path) -> None:
    made, progress = workspace(tmp_path / "w"), Mock(wraps=NoProgress())
    publish_site(made, tmp_path / "site", QUICK, progress)
    assert not progress.warn.called, "nothing is deleted"
    write_edits(edits_path(made.root), Edits((Ball((0.5, 0.5, 0.5), 0.5),), made.load("train").at(None).world))
    said = {}
    for name, options in (
        ("mesh", QUICK),
        ("both", replace(QUICK, photos=True)),
        ("none", replace(QUICK, mesh=False)),
        ("kept", replace(QUICK, edits=False, photos=True)),
    ):
        progress.warn.reset_mock()
        publish_site(made, tmp_path / "site", options, progress)
        said[name] = " ".join(call.args[0] for call in progress.warn.call_args_list)
    assert "the mesh may still show it" in said["mesh"] and "Publish with --no-mesh to" in said["mesh"]
    assert "the mesh and the photos" in said["both"] and "--no-mesh and no --photos" in said["both"]
    assert said["none"] == said["kept"] == ""


def test_a_scene_larger_than_the_page_holds_is_refused(
    tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "MOST_SPLATS", 299)
    with pytest.raises(InputError, match=r"has 300 splats, and the page holds at most 299\. Give --splats 299"):
        publish_site(workspace(tmp_path / "ws"), tmp_path / "site", replace(QUICK, splats=0))
    assert not (tmp_path / "site").exists()


def test_the_limits_are_those_of_the_page() -> None:
    page = (SOURCES / "src" / "manifest.ts").read_text()
    most, tiles = (float(re.search(rf"{name} = ([0-9e]+);", page)[1]) for name in ("MAX_SPLATS", "MAX_TILES"))
    assert most == MOST_SPLATS and max(MOST_SPLATS / target.tile for target in TARGETS.values()) <= tiles


def test_a_photo_side_without_photos_is_refused() -> None:
    with pytest.raises(InputError, match="--photo-side does nothing without --photos"):
        PublishOptions(photo_side=800)
    assert PublishOptions(photo_side=800, photos=True).photo_side == 800


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


@pytest.mark.parametrize(
    "wrong", [{"splats": -1}, {"splats": 20_000_001}, {"sh_degree": 4}, {"polish": -1}, {"photo_side": 3}]
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="expected"):
        PublishOptions(**wrong)


def test_the_verb_publishes_and_says_what(tmp_path: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace(tmp_path / "ws")
    words = ["publish", "-w", str(tmp_path / "ws"), str(tmp_path / "site"), "--measure", "no", "--polish", "1"]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "splats" in said and "mesh    2 faces" in said and (tmp_path / "site" / "manifest.json").is_file()
    assert main(["publish", "-w", str(tmp_path / "none"), str(tmp_path / "site2")]) == 2
