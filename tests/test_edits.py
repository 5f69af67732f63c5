"""Edits: what is deleted in the viewer, by regions whose contents are known; how they are kept; what they do to a scene."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.cli import main
from recon.errors import WorkspaceError
from recon.files import write_json
from recon.geometry import Sim3, World, quat_from_rotation, rotation_from_quat
from recon.workspace import Workspace
from render.edits import Ball, Box, Edits, Spots, edited, edits_path, load_edited, read_edits, write_edits
from render.floaters import clouds, floaters, spots, struck
from render.scene_file import read_scene
from render.splats import Splats
from tests.fabricate import fabricate, ring_cameras, ring_model, splat_columns, splats_of, write_scene, write_stage

RNG = np.random.default_rng(5)
TURNED = (0.8, 0.0, 0.6, 0.0)
MOVE = Sim3(2.5, rotation_from_quat([0.5, 0.1, -0.7, 0.5]), np.array([3.0, -1.0, 2.0]))


def some_edits() -> Edits:
    regions = (
        Ball((0.2, 0.0, 0.1), 0.4),
        Box((-0.3, 0.1, 0.0), (0.3, 0.2, 0.5), TURNED),
        Spots(((0.5, 0.5, 0.5), (0.0, 0.6, 0.0)), (0.2, 0.1)),
    )
    return Edits(regions, World(up="estimated"), "sfm 1", "scene 1", (3, 4, 5))


# Regions


def test_regions_hold_what_lies_in_them() -> None:
    assert Ball((1, 2, 3), 0.5).contains([[1, 2, 3.49], [1, 2, 3.51], [1.3, 2.3, 3.3]]).tolist() == [True, False, False]
    axes = rotation_from_quat(TURNED)
    box = Box((1.0, 2.0, 3.0), (0.1, 0.2, 0.3), TURNED)
    corners = np.array([[x, y, z] for x in (-0.1, 0.1) for y in (-0.2, 0.2) for z in (-0.3, 0.3)])
    for factor, inside in ((0.99, True), (1.01, False)):
        assert (box.contains(factor * corners @ axes.T + [1, 2, 3]) == inside).all()
    points = RNG.uniform(-1, 1, (500, 3))
    both = Spots(((0, 0, 0), (0.5, 0.5, 0)), (0.3, 0.6))
    truth = (np.linalg.norm(points, axis=1) <= 0.3) | (np.linalg.norm(points - [0.5, 0.5, 0], axis=1) <= 0.6)
    assert 20 < truth.sum() < 400 and (both.contains(points) == truth).all()


def test_regions_move_with_the_world() -> None:
    points = RNG.uniform(-1, 1, (3000, 3))
    edits = some_edits()
    moved = edits.in_world(World(scale="metric", world_from_sfm=MOVE))
    for region, after in zip(edits.regions, moved.regions, strict=True):
        held = region.contains(points)
        assert 5 < held.sum() < 2000
        np.testing.assert_array_equal(after.contains(MOVE.apply(points)), held)
    assert moved.world.scale == "metric" and moved.in_world(moved.world) is moved


def test_applying_keeps_the_other_splats_bit_for_bit() -> None:
    splats = replace(splats_of(splat_columns(400)), extra={"number": torch.arange(400.0)})
    edits = some_edits()
    gone = edits.removes(splats.mean.numpy())
    left = edits.apply(splats)
    assert 30 < gone.sum() < 370 and left.extra["number"].tolist() == np.flatnonzero(~gone).tolist()
    assert torch.equal(left.sh, splats.sh[torch.from_numpy(~gone)]) and Edits().apply(splats) is splats


def test_a_file_of_edits_comes_back_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    path, edits = tmp_path / "edits" / "main.json", some_edits()
    write_edits(path, edits)
    found = read_edits(path)
    assert found.to_json() == edits.to_json() and found.regions == edits.regions and found.removed == (3, 4, 5)
    good = json.loads(path.read_text())
    for row, key, value in ((0, "radius", -1), (0, "radius", "NaN"), (0, "kind", "os.system"), (1, "half", [1, 2])):
        bad = json.loads(path.read_text())
        bad["regions"][row][key] = value
        write_json(path, bad)
        with pytest.raises(WorkspaceError, match="no edits"):
            read_edits(path)
        write_json(path, good)
    for text in ("", "[]", '{"recon_edits": 2}', "{"):
        path.write_text(text)
        with pytest.raises(WorkspaceError, match="delete the file"):
            read_edits(path)
    write_edits(path, Edits())
    assert not path.exists()


# Scenes


def finished(tmp_path: Path, sfm: str = "sfm 1", world: World | None = None) -> Workspace:
    """A workspace whose records are whole enough for Workspace.load()."""
    root = fabricate(tmp_path / "ws")
    record = {"key": "k", "version": 1, "inputs": {}, "wall_seconds": 1.0}
    write_stage(root / "sfm", result=sfm, **record)
    write_scene(root / "train" / "main" / "scene.npz", splat_columns(), world or World(up="estimated"))
    write_stage(root / "train" / "main", result="scene 1", **record)
    return Workspace(root)


def test_a_scene_is_read_without_what_was_deleted_and_stays_as_it_was(tmp_path: Path) -> None:
    workspace = finished(tmp_path)
    file = workspace.folder("train") / "scene.npz"
    before = file.read_bytes()
    whole = read_scene(file)
    assert len(load_edited(workspace).at()) == len(whole.at()) == 300
    edits = some_edits()
    write_edits(edits_path(workspace.root), edits)
    scene = load_edited(workspace)
    kept = ~edits.removes(whole.at().mean.detach().numpy())
    assert len(scene.at()) == kept.sum() < 300 and scene.info["splats"] == kept.sum()
    assert torch.equal(scene.at().mean, whole.at().mean[torch.from_numpy(kept)])
    assert len(scene.history) == 20 and type(scene) is type(whole)
    assert len(load_edited(workspace, edits=False).at()) == 300 and file.read_bytes() == before
    cameras = ring_cameras(1)
    only = edited(whole, Edits((Ball((0, 0, 0), 9.0),)))
    assert len(only.at()) == 0 and float(only.render(cameras).alpha.detach().max()) == 0, "nothing is left to see"


def test_edits_follow_a_world_that_was_chosen_anew_but_not_another_reconstruction(tmp_path: Path) -> None:
    workspace = finished(tmp_path, world=World(scale="metric", world_from_sfm=MOVE))
    local = Ball((0.1, 0.0, 0.0), 0.5)
    write_edits(edits_path(workspace.root), Edits((local,), World(), "sfm 1"))
    mean = read_scene(workspace.folder("train") / "scene.npz").at().mean.detach().numpy()
    gone = local.contains(MOVE.inverse().apply(mean))
    assert 0 < len(load_edited(workspace).at()) == 300 - gone.sum()
    write_edits(edits_path(workspace.root), Edits((local,), World(), "another sfm"))
    with pytest.raises(WorkspaceError, match="structure from motion was redone"):
        load_edited(workspace)
    assert len(load_edited(workspace, edits=False).at()) == 300


def test_export_leaves_out_what_was_deleted(tmp_path: Path) -> None:
    workspace = finished(tmp_path)
    write_edits(edits_path(workspace.root), some_edits())
    counts = []
    for flags in ([], ["--no-edits"]):
        out = tmp_path / "out.ply"
        assert main(["export", str(out), "-w", str(workspace.root), *flags]) == 0
        head = out.read_bytes()[:400].decode(errors="replace")
        counts.append(int(head.split("element vertex ")[1].split()[0]))
    assert counts[1] == 300 and counts[0] == len(load_edited(workspace).at()) < 300


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    for name in ("../main", "a/b", "..", "", ".hidden", "a\\b"):
        with pytest.raises(WorkspaceError):
            edits_path(tmp_path, name)


# What is proposed, and what a click meets


def cloud_of(mean: np.ndarray, scale: float = 0.05, opacity_logit: float = 3.0) -> Splats:
    columns = splat_columns(len(mean))
    columns["mean"] = mean.astype(np.float32)
    columns["log_scale"][:] = np.log(scale)
    columns["opacity_logit"][:] = opacity_logit
    return splats_of(columns)


def test_floaters_are_found_and_the_thing_is_left_alone() -> None:
    cameras, model = ring_cameras(8), ring_model(tuple("abcdefgh"))
    thing = RNG.uniform(-0.7, 0.7, (600, 3))
    before_cameras = 0.75 * cameras.centers[[0, 3, 5]]
    pair = before_cameras[:1] + np.array([0.0, 0.05, 0.0])
    unseen = np.array([[0.0, 0.0, 9.0], [0.0, 0.0, -30.0], [12.0, 9.0, 1.0]])
    splats = cloud_of(np.concatenate([thing, before_cameras, pair, unseen]))
    found = floaters(splats, cameras, model.xyz)
    assert np.flatnonzero(found).tolist() == list(range(600, 607))
    assert not floaters(splats[:600], cameras, model.xyz).any()
    assert len(floaters(splats[:0], cameras, model.xyz)) == 0
    large = cloud_of(np.concatenate([thing, before_cameras[0] + RNG.normal(0, 0.03, (60, 3))]))
    assert not floaters(large, cameras, model.xyz).any(), "a cloud of a tenth of all splats is a thing"
    assert floaters(large, cameras, model.xyz, boldness=60)[600:].all()


def test_clouds_are_splats_that_touch() -> None:
    mean = np.array([[0, 0, 0], [0.3, 0, 0], [0.6, 0, 0], [2, 0, 0], [2.1, 0, 0], [9, 9, 9]], float)
    found = clouds(mean, np.full(6, 0.1))
    assert found[0] == found[1] == found[2] and found[3] == found[4] and len(set(found.tolist())) == 3
    assert clouds(mean[:1], np.ones(1)).tolist() == [0]


def test_spots_take_the_chosen_splats_and_no_other() -> None:
    mean = RNG.uniform(-1, 1, (2000, 3))
    chosen = RNG.random(2000) < 0.3
    region = spots(mean, chosen, np.full(2000, 0.5))
    assert max(region.radii) < 0.5 and (region.contains(mean) == chosen).all()
    as_stored = Spots.from_json(json.loads(json.dumps(region.to_json())))
    assert (as_stored.contains(mean.astype(np.float32)) == chosen).all()
    assert spots(mean, np.zeros(2000, bool), np.ones(2000)).centers == ()


def test_a_ray_meets_the_first_thing_that_hides_what_is_behind() -> None:
    wall = np.array([[x, y, z] for z in (4.0, 6.0, 8.0) for x in np.arange(-1, 1, 0.1) for y in np.arange(-1, 1, 0.1)])
    splats = cloud_of(wall, 0.08)
    for target in ([0.0, 0.0, 4.0], [0.4, -0.3, 4.0]):
        hit = struck(splats, np.zeros(3), np.array(target))
        assert hit is not None and np.abs(hit - target).max() < 0.05
    assert struck(splats, np.zeros(3), np.array([0, 0, -1.0])) is None
    behind = struck(splats, np.array([0, 0, 5.0]), np.array([0, 0, 1.0]))
    assert behind is not None and behind[2] == pytest.approx(6, abs=0.05)
    faint = cloud_of(wall, 0.08, opacity_logit=-6.0)
    assert struck(faint, np.zeros(3), np.array([0, 0, 1.0])) is None
    turned = cloud_of(np.array([[0.0, 0, 3]]), 0.001)
    quat = torch.as_tensor(
        quat_from_rotation(rotation_from_quat([np.cos(0.4), 0, np.sin(0.4), 0])), dtype=torch.float32
    )
    long = replace(turned, log_scale=torch.log(torch.tensor([[1.0, 0.01, 0.01]])), quat=quat[None])
    along = rotation_from_quat(quat.numpy())[:, 0]
    hit = struck(long, np.zeros(3), np.array([0, 0, 3]) + 0.5 * along)
    assert hit is not None and np.abs(hit - np.array([0, 0, 3]) - 0.5 * along).max() < 0.02
