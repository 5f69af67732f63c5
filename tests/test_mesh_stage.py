"""The mesh stage: a trained scene to files, what a kill leaves, what is refused; and the surface that splats have."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import render.splat_depth
import render.stage_mesh as stage
import tests.synthetic_scene
from recon import cli
from recon.cameras import Cameras
from recon.errors import InputError, WorkspaceError
from recon.files import write_json
from recon.geometry import World, quat_from_rotation, rotation_between
from recon.job import Job
from recon.keys import changes, key_options
from recon.mesh import Mesh, face_normals, load_mesh, save_mesh
from recon.mesh.options import MeshOptions
from recon.mesh.picture import picture
from recon.stages import STAGES
from recon.workspace import Workspace
from render.initial import SceneSetup
from render.kernels import reference
from render.mesh_views import TrainingPhotos
from render.rasterize import rasterize
from render.scene_file import read_refined
from render.scenes import config_of
from render.splats import SH_C0, Splats
from tests.fabricate import fabricate
from tests.mesh_scenes import cube, exact_views, sphere_t
from tests.splat_scenes import cameras, scene
from tests.synthetic_scene import SIZE, capture_of

FAST = MeshOptions(faces=800, texture_size=128, voxel=0.08, geometry_page=False)


def shell(count: int = 900) -> Splats:
    """Flat opaque splats on a sphere of radius 0.8, coloured by direction."""
    step = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * step / count), np.pi * (1 + 5**0.5) * step
    normal = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], -1)
    rotations = np.stack([rotation_between([0, 0, 1.0], n) for n in normal])
    return Splats(
        mean=torch.tensor(0.8 * normal, dtype=torch.float32),
        log_scale=torch.log(torch.tensor([[0.05, 0.05, 0.003]])).repeat(count, 1),
        quat=torch.tensor(quat_from_rotation(rotations), dtype=torch.float32),
        opacity_logit=torch.full((count,), 3.0),
        sh=torch.tensor(0.4 * normal[:, None] / SH_C0, dtype=torch.float32),
    )


@pytest.fixture(autouse=True)
def photos_of_the_shell(monkeypatch):
    monkeypatch.setattr(tests.synthetic_scene, "true_splats", shell)


def trained():
    """The scene that the synthetic photos were rendered from, as if it had been trained."""
    columns = shell().columns()
    count = len(columns["mean"])
    setup = SceneSetup(extent=3.3, near=0.03, splats=count, sh_degree=0, world=World(up="estimated"))
    built = config_of("gs")().load(setup, columns)
    built.info = {"scene": "gs", "background": [0, 0, 0], "splats": count, "steps": 1, "long_side": max(SIZE)}
    return built


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("through", [0.5, 0.75])
def test_median_z_agrees_with_its_slow_twin(seed, through):
    columns = scene(300, seed=seed, size=-2.0, spread=1.0)
    columns["opacity_logit"] += 1.5
    view = cameras()
    got = rasterize(Splats(**columns), view, median=through).extra["median_z"][0].double()
    pose, k = torch.as_tensor(view.cam_from_world[0]), torch.as_tensor(view.K[0])
    size = (int(view.size[0, 0]), int(view.size[0, 1]))
    want = reference.median_z(reference.project(columns, pose, k, size, sh_degree=0), columns, pose, k, size, through)
    assert int((torch.isnan(got) != torch.isnan(want)).sum()) <= 2
    both = ~torch.isnan(got) & ~torch.isnan(want)
    assert int(both.sum()) > 1000
    off = (got - want).abs()[both]
    assert float(off.median()) < 1e-6 and int((off > 1e-3).sum()) <= 2


def test_flat_splats_have_the_z_of_their_plane():
    """One wide flat splat, tilted: the median z is the plane's at every pixel, not that of its centre."""
    turn = np.cos(0.3), np.sin(0.3)  # a turn by 0.6 about the camera's x axis
    columns = {
        "mean": torch.tensor([[0.0, 0.0, 4.0]]),
        "log_scale": torch.log(torch.tensor([[2.0, 2.0, 1e-4]])),
        "quat": torch.tensor([[turn[0], turn[1], 0.0, 0.0]]),
        "opacity_logit": torch.tensor([6.0]),
        "sh": torch.zeros(1, 1, 3),
    }
    view = Cameras(np.eye(4)[None], np.array([[[50.0, 0, 32], [0, 50, 24], [0, 0, 1]]]), np.array([[64, 48]], np.int32))
    z = rasterize(Splats(**columns), view, median=0.5).extra["median_z"][0].numpy()
    normal = np.array([0, -np.sin(0.6), np.cos(0.6)])
    y = (np.arange(48) + 0.5 - 24) / 50
    plane = 4 * normal[2] / (normal[1] * y + normal[2])
    known = np.isfinite(z)
    assert known.sum() > 500
    assert np.abs(z - plane[:, None])[known].max() < 1e-3
    assert np.ptp(plane[known.any(1)]) > 0.5


def test_the_stage_writes_a_mesh_and_its_numbers(tmp_path):
    capture, posed = capture_of(tmp_path)
    job = Job(tmp_path / "mesh")
    mesh = stage.mesh_stage(capture, posed, trained(), replace(FAST, geometry_page=True), job)
    job.finish()
    assert {p.name for p in job.folder.iterdir()} == {"mesh.glb", "mesh.npz", "holes.json", "geometry.html"}
    assert 300 < len(mesh.faces) <= 800 and mesh.texture is not None and max(mesh.texture.shape) == 128
    assert np.abs(np.linalg.norm(mesh.xyz, axis=1) - 0.8).mean() < 0.02
    assert (np.einsum("fi,fi->f", face_normals(mesh.xyz, mesh.faces), mesh.xyz[mesh.faces[:, 0]]) > 0).mean() > 0.97
    row = int(np.flatnonzero(~capture.test)[1])
    camera = posed.model.cameras[row]
    photo = TrainingPhotos(posed, capture.names).read(row)[0] / 255
    seen = picture(mesh, camera)
    hit = (seen > 0).any(-1) & (photo > 0.02).any(-1)
    assert hit.sum() > 300 and np.abs(seen - photo)[hit].mean() < 0.06
    again = load_mesh(job.folder)
    assert np.array_equal(again.xyz, mesh.xyz) and again.world.up == "estimated"
    assert job.metrics["faces"] == len(mesh.faces) and job.metrics["unit"].startswith("scene units")
    assert 0 < job.metrics["agreement_median_relative"] < 0.01
    assert 0 < job.metrics["held_out_median_relative"] < 0.01


def test_held_out_photos_are_not_used(tmp_path, monkeypatch):
    capture, posed = capture_of(tmp_path)
    seen: list[str] = []
    read = render.splat_depth.SplatViews._render
    monkeypatch.setattr(
        render.splat_depth.SplatViews, "_render", lambda self, i: seen.append(self.names[i]) or read(self, i)
    )
    photos: list[str] = []
    real = stage.TrainingPhotos.read
    monkeypatch.setattr(stage.TrainingPhotos, "read", lambda self, i: photos.append(self.names[i]) or real(self, i))
    stage.mesh_stage(capture, posed, trained(), FAST, Job(tmp_path / "mesh"))
    held_out = {name for name, test in zip(capture.names, capture.test, strict=True) if test}
    assert held_out and not held_out & {*seen, *photos}
    assert set(seen) == set(photos) == set(capture.names) - held_out


def test_a_stopped_stage_goes_on_from_its_last_whole_part(tmp_path, monkeypatch):
    capture, posed = capture_of(tmp_path)
    whole = stage.mesh_stage(capture, posed, trained(), FAST, Job(tmp_path / "whole"))
    job = Job(tmp_path / "mesh")

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(stage, "clean", killed)
        with pytest.raises(KeyboardInterrupt):
            stage.mesh_stage(capture, posed, trained(), FAST, job)
    assert (job.scratch / "fused.npz").is_file() and not (job.scratch / "cleaned.npz").exists()
    monkeypatch.setattr(stage, "build_volume", killed)
    monkeypatch.setattr(render.splat_depth.SplatViews, "_render", killed)
    resumed = stage.mesh_stage(capture, posed, trained(), FAST, job)
    assert np.array_equal(resumed.xyz, whole.xyz) and np.array_equal(resumed.texture, whole.texture)


@dataclass(frozen=True)
class Maps:
    """What a mesh reads of depth maps."""

    names: tuple[str, ...]
    cameras: Cameras
    z: list[np.ndarray]
    confidence: list[np.ndarray]


def test_depth_maps_are_fused_too(tmp_path):
    capture, posed = capture_of(tmp_path)
    train = [i for i, test in enumerate(capture.test) if not test]
    views = exact_views(sphere_t, 0.8, posed.model.cameras)
    maps = Maps(capture.names, posed.model.cameras, [v.z for v in views], [v.confidence for v in views])
    options = replace(FAST, mesh_from="depth", texture_size=0, faces=0, smoothing=0)
    mesh = stage.mesh_stage(capture, posed, maps, options, Job(tmp_path / "mesh"))
    assert len(train) < len(views) and len(mesh.faces) > 500
    assert np.abs(np.linalg.norm(mesh.xyz, axis=1) - 0.8).mean() < 0.15 * 0.08
    enough, few = Job(tmp_path / "enough"), Job(tmp_path / "few")
    for faces, job in ((800, enough), (4, few)):
        stage.mesh_stage(capture, posed, maps, replace(options, faces=faces), job)
    assert any("--faces 4 holds" in w for w in few.warnings) and not any("holds" in w for w in enough.warnings)
    none = replace(maps, confidence=[0 * c for c in maps.confidence])
    with pytest.raises(InputError, match="usable z"):
        stage.mesh_stage(capture, posed, none, options, Job(tmp_path / "none"))
    with pytest.raises(InputError, match="depth map"):
        stage.mesh_stage(capture, posed, replace(maps, names=("x",) * len(maps.names)), options, Job(tmp_path / "x"))


def with_whole_records(root: Path) -> Path:
    """The fabricated workspace with stage.json files that say what a real one says."""
    made: dict[str, str] = {}
    for name, needs in (
        ("ingest", ()),
        ("sfm", ("ingest",)),
        ("align", ("ingest", "sfm")),
        ("train/main", ("ingest", "align")),
    ):
        record = {
            "stage": name.partition("/")[0],
            "key": name,
            "result": name,
            "version": 1,
            "options": {},
            "metrics": {},
        }
        record |= {"inputs": {need: made[need] for need in needs}, "wall_seconds": 0, "warnings": []}
        made[name.partition("/")[0]] = name
        write_json(root / name / "stage.json", record)
    return root


def test_the_verb_says_what_to_run_first(tmp_path, capsys):
    root = with_whole_records(fabricate(tmp_path / "w"))
    assert cli.main(["mesh", "-w", str(root), "--from", "depth"]) == 2
    assert "recon depth" in capsys.readouterr().err
    assert cli.main(["mesh", "-w", str(root), "--faces", "2"]) == 2
    assert "--faces 2 is too few" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path / "room.glb"), "-w", str(root)]) == 2
    assert "recon mesh" in capsys.readouterr().err


def test_what_a_mesh_needs_follows_its_options(tmp_path):
    workspace, row = Workspace(with_whole_records(fabricate(tmp_path / "w"))), STAGES["mesh"]
    assert row.needs_for(MeshOptions()) == ("ingest", "align", "train") == row.needs_for(None)
    assert row.needs_for(MeshOptions(mesh_from="depth"))[-1] == "depth"
    assert set(workspace.input_keys("mesh", options=MeshOptions())) == {"ingest", "align", "train"}
    with pytest.raises(WorkspaceError, match=r"recon depth.*first, or `recon run`\.$"):
        workspace.input_keys("mesh", options=MeshOptions(mesh_from="depth"))
    made = json.loads((tmp_path / "w/train/main/stage.json").read_text())
    record = made | {"stage": "mesh", "version": row.version, "options": key_options(MeshOptions())}
    (tmp_path / "w/mesh/main").mkdir(parents=True)
    write_json(tmp_path / "w/mesh/main/stage.json", record)
    with pytest.raises(WorkspaceError, match=r"recon depth.*made otherwise: --from was splats, now depth"):
        workspace.input_keys("mesh", options=MeshOptions(mesh_from="depth"))


def test_inputs_that_other_options_need_were_not_remade():
    record = {
        "version": STAGES["mesh"].version,
        "options": key_options(MeshOptions(mesh_from="depth")),
        "inputs": {"depth": "1"},
    }
    told = list(changes(record, STAGES["mesh"], MeshOptions(), {"train": "2"}))
    assert told == ["--from was depth, now splats"]  # as the command line calls it
    assert "depth has been remade since" in list(changes(record, STAGES["mesh"], MeshOptions(), {"depth": "2"}))


def test_export_writes_meshes_and_colliders(tmp_path, capsys):
    root = fabricate(tmp_path / "w")
    xyz, faces, _ = cube(3)
    folder = root / "mesh" / "main"
    folder.mkdir(parents=True)
    save_mesh(folder / "mesh.npz", Mesh(xyz, faces, np.full((len(xyz), 3), 90, np.uint8)))
    record = {"key": "", "result": "", "version": 1, "options": {}, "inputs": {}, "metrics": {}, "wall_seconds": 0}
    write_json(folder / "stage.json", {"stage": "mesh"} | record)
    for words in (("room.glb",), ("room.obj",), ("m.ply", "--what", "mesh"), ("h.glb", "--what", "hull")):
        out = tmp_path / words[0]
        assert cli.main(["export", str(out), "-w", str(root), *words[1:]]) == 0, capsys.readouterr().err
        assert out.stat().st_size > 200
    assert (tmp_path / "m.ply").read_bytes().split(b"\n")[3] == f"element vertex {len(xyz)}".encode()


def test_paths_are_not_kept(tmp_path):
    """The job's folder moves when the stage is done."""
    capture, posed = capture_of(tmp_path)
    job = Job(tmp_path / "building" / "mesh")
    stage.mesh_stage(capture, posed, trained(), replace(FAST, texture_size=0), job)
    job.finish()
    text = b"".join(p.read_bytes() for p in Path(job.folder).iterdir())
    assert str(job.folder).encode() not in text


def test_a_mesh_from_depth_is_not_out_of_date_without_a_scene(tmp_path, monkeypatch):
    """What a result was made from decides whether it is stale, not what the default options would need."""
    root = with_whole_records(fabricate(tmp_path / "w"))
    monkeypatch.setitem(STAGES, "depth", replace(STAGES["align"], name="depth", needs=("ingest", "align")))
    made = {"ingest": "ingest", "align": "align", "depth": "depth"}
    whole = {"key": "", "version": 1, "options": {}, "metrics": {}, "wall_seconds": 0, "warnings": []}
    for name, needs in (("depth", ("ingest", "align")), ("mesh/main", ("ingest", "align", "depth"))):
        (root / name).mkdir(parents=True)
        record = whole | {"stage": name[:5], "result": name, "inputs": {need: made[need] for need in needs}}
        write_json(root / name / "stage.json", record)
    workspace = Workspace(root)
    assert workspace.stale_inputs("mesh") == []
    write_json(root / "depth" / "stage.json", whole | {"stage": "depth", "result": "another", "inputs": {}})
    assert workspace.stale_inputs("mesh") == ["depth"]


def test_cameras_that_training_refined_are_used(tmp_path):
    """Poses from structure from motion that are off, and training that put them right: shape and colours fit again."""
    capture, posed = capture_of(tmp_path)
    right = posed.model.cameras
    moved = right.cam_from_world.copy()
    moved[:, 0, 3] += np.random.default_rng(0).uniform(-0.15, 0.15, len(moved))
    off = replace(posed, model=replace(posed.model, cameras=replace(right, cam_from_world=moved)))
    scenes = [trained(), trained()]
    scenes[1].refined = dict(zip(posed.model.names, right.cam_from_world, strict=True))
    options, errors = replace(FAST, texture_size=0, level_exposure=False), []
    for i, scene_of in enumerate(scenes):
        mesh = stage.mesh_stage(capture, off, scene_of, options, Job(tmp_path / f"mesh{i}"))
        toward = mesh.xyz / np.linalg.norm(mesh.xyz, axis=1, keepdims=True)
        errors.append(np.abs(mesh.rgb / 255 - np.clip(0.5 + 0.4 * toward, 0, 1)).mean())
    assert errors[1] < 0.03 and errors[1] < 0.6 * errors[0]


def test_refined_cameras_are_read_with_the_scene(tmp_path):
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, 0, 3] = 7
    np.savez(tmp_path / "cameras.npz", names=np.array(["a.jpg", "b/c.jpg"]), cam_from_world=poses)
    read = read_refined(tmp_path / "cameras.npz")
    assert list(read) == ["a.jpg", "b/c.jpg"] and read["b/c.jpg"][0, 3] == 7
    assert read_refined(tmp_path / "nothing.npz") == {}
