"""sfm() from end to end on photos of the sample, whose cameras are known: files, accuracy, given poses, kills, errors."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recon.cameras import Cameras
from recon.capture import Capture, load_capture
from recon.errors import SfmError, WorkspaceError
from recon.geometry import fit_sim3, rotation_angle_deg, se3_inverse
from recon.ingest import IngestOptions, ingest
from recon.job import Job
from recon.photos import read_mask, read_photo
from recon.reconstruction import Reconstruction
from recon.sample import sample_cameras, sample_photos, sample_z
from recon.sfm import SfmOptions, load_sfm, sfm, worker
from recon.sfm.colours import mean_colours
from recon.sfm.ladder import Search
from recon.sfm.mapping import copy_database, save_model
from recon.sfm.pairs import choose_kind, choose_pairs, every_pair
from recon.sparse import Observations, SparseModel, read_colmap

FEATURES = 1200


def sample(rows: range) -> tuple[list[Path], Cameras]:
    """Photos of the sample and their true cameras."""
    names, cameras = sample_cameras()
    return [sample_photos() / names[row] for row in rows], cameras[np.array(rows)]


def pose_errors(true: Cameras, found: Cameras) -> tuple[float, float]:
    """RMSE of the centres in metres and the median angle in degrees, after a similarity."""
    sim = fit_sim3(true.centers, found.centers)
    rmse = np.sqrt(((sim.apply(found.centers) - true.centers) ** 2).sum(1).mean())
    turned = true.cam_from_world[:, :3, :3] @ np.swapaxes(sim.cameras(found.cam_from_world)[:, :3, :3], -1, -2)
    return float(rmse), float(np.median(rotation_angle_deg(turned)))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Capture, Reconstruction, Job, Cameras, Path]:
    """Ten photos of the sample: in a folder, with a space and an umlaut in a name, one as RGBA, one with a mask, two larger."""
    root = tmp_path_factory.mktemp("odd")
    paths, cameras = sample(range(10))
    photos = root / "photos"
    (photos / "Küche unten").mkdir(parents=True)
    for row, path in enumerate(paths):
        image = Image.open(path).convert("RGB")
        name = f"Küche unten/{row} ü.png" if row < 5 else f"{row}.png"
        if row in (8, 9):
            image = image.resize((1600, 1200), Image.Resampling.BICUBIC)
        if row == 3:
            image.putalpha(
                Image.fromarray(np.where(np.arange(640) < 600, 255, 0).astype(np.uint8)[None].repeat(480, 0))
            )
        image.save(photos / name, compress_level=1)
    (photos / "masks").mkdir()
    mask = np.full((480, 640), 255, np.uint8)
    mask[:, :100] = 0
    Image.fromarray(mask).save(photos / "masks" / "6.png.png")
    capture = ingest(photos, IngestOptions(), Job(root / "ingest"))
    job = Job(root / "sfm")
    order = [[f"Küche unten/{r} ü.png" if r < 5 else f"{r}.png" for r in range(10)].index(n) for n in capture.names]
    return capture, sfm(capture, SfmOptions(features=FEATURES), job), job, cameras[order], root / "sfm"


def test_all_photos_are_placed_where_they_were_taken(odd: tuple) -> None:
    capture, found, job, true, _ = odd
    assert found.model.names == capture.names and not found.left_out
    assert job.metrics["registered"] == 10 and job.metrics["rungs"] == [] and job.metrics["agreement"] > 0.95
    rmse, degrees = pose_errors(true, found.model.cameras)
    assert rmse < 0.004 and degrees < 0.5  # metres, over an arc of 2 m
    focal = found.model.cameras.K[:, 0, 0] / found.model.cameras.size[:, 0]
    np.testing.assert_allclose(focal, true.K[0, 0, 0] / true.size[0, 0], rtol=0.01)


def test_observations_agree_with_the_pinhole_cameras(odd: tuple) -> None:
    _, found, _, _, _ = odd
    model: SparseModel = found.model
    pixels, z = model.cameras.project(model.xyz)
    seen = model.observations
    miss = np.linalg.norm(pixels[seen.camera, seen.point] - seen.xy, axis=1)
    assert np.median(miss) < 0.5 and miss.max() < 8 and (z[seen.camera, seen.point] > 0).all()
    assert len(model.xyz) > 400 and np.bincount(seen.point).min() >= 2
    np.testing.assert_allclose(model.error.mean(), miss.mean(), rtol=0.3)


def test_the_files_are_where_others_look_for_them(odd: tuple) -> None:
    capture, found, _, _, folder = odd
    for row, name in enumerate(found.model.names):
        with Image.open(found.image_path(name)) as image:
            assert image.size == tuple(found.model.cameras.size[row]) and image.format == "PNG"
    assert found.image_path("Küche unten/3 ü.png") == folder / "images" / "Küche unten" / "3 ü.png.png"
    assert read_photo(found.image_path("Küche unten/3 ü.png")).shape[2] == 4
    mask_path = found.mask_path("6.png")
    assert mask_path is not None and found.mask_path("9.png") is None
    mask = read_mask(mask_path, (640, 480))
    assert not mask[:, :95].any() and mask[20:-20, 110:-20].all()
    as_taken = read_colmap(folder / "distorted")
    assert as_taken.names == capture.names
    np.testing.assert_array_equal(as_taken.cameras.size, capture.size)
    assert read_colmap(folder / "sparse").names == tuple(f"{name}.png" for name in capture.names)
    assert json.loads((folder / "sfm.json").read_text())["left_out"] == []


def test_no_feature_comes_from_masked_pixels(odd: tuple) -> None:
    _, found, _, _, _ = odd
    seen = found.model.observations
    for name, low, high in (("6.png", 98, 640), ("Küche unten/3 ü.png", 0, 602)):
        x = seen.xy[seen.camera == found.model.names.index(name), 0]
        assert len(x) > 50 and x.min() > low and x.max() < high


def test_points_have_the_colour_of_what_they_are_on(odd: tuple) -> None:
    _, found, _, _, _ = odd
    seen = found.model.observations
    row = found.model.names.index("7.png")
    image = read_photo(found.image_path("7.png"))
    mine = seen.camera == row
    x, y = np.floor(seen.xy[mine]).astype(int).T
    difference = np.abs(image[y, x].astype(int) - found.model.rgb[seen.point[mine]])
    assert np.median(difference) < 12 and found.model.rgb.std() > 25


def test_held_out_photos_give_no_colour(odd: tuple) -> None:
    capture, found, _, _, _ = odd
    seen = found.model.observations
    white = np.full((len(seen.camera), 3), 255, np.uint8)
    black_row = found.model.names.index("7.png")
    white[seen.camera == black_row] = 0
    split = tuple("test" if name == "7.png" else "train" for name in capture.names)
    assert (mean_colours(found.model, replace(capture, split=split), white) == 255).all()
    of_it = np.unique(seen.point[seen.camera == black_row])
    assert (mean_colours(found.model, capture, white)[of_it] < 255).all()


def test_what_was_written_is_read_back(odd: tuple, tmp_path: Path) -> None:
    _, found, _, _, folder = odd
    again = load_sfm(folder)
    assert again.model.names == found.model.names and again.left_out == found.left_out
    np.testing.assert_array_equal(again.model.xyz, found.model.xyz)
    with pytest.raises(WorkspaceError, match="--redo"):
        load_sfm(tmp_path)


@pytest.fixture(scope="module")
def posed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Capture, Cameras]:
    """Eight photos of the sample with their true poses; one of them (IMG_0001) has a depth map."""
    folder = tmp_path_factory.mktemp("posed")
    depth = sorted(sample_z())[0]
    names, _ = sample_cameras()
    first = max(0, names.index(depth) - 3)
    paths, cameras = sample(range(first, first + 8))
    for path in paths:
        (folder / path.name).symlink_to(path)
    capture = ingest(folder, IngestOptions(), Job(folder / "ingest"))
    none = np.zeros((0, 3))
    prior = SparseModel(
        capture.names, cameras, none, none.astype(np.uint8), np.zeros(0, np.float32), Observations.none()
    )
    return replace(capture, prior=prior), cameras


def test_given_poses_stay_and_get_points(posed: tuple[Capture, Cameras], tmp_path: Path) -> None:
    capture, cameras = posed
    capture = replace(capture, time=np.arange(8) * 0.5)
    found = sfm(capture, SfmOptions(features=FEATURES), Job(tmp_path)).model
    np.testing.assert_array_equal(found.cameras.time, capture.time)
    np.testing.assert_allclose(found.cameras.cam_from_world, cameras.cam_from_world, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.cameras.K, cameras.K, rtol=0, atol=1e-9)
    name, true_z = next((n, z) for n, z in sorted(sample_z().items()) if n in found.names)
    row = found.names.index(name)
    mine = found.observations.camera == row
    x, y = np.floor(found.observations.xy[mine]).astype(int).T
    z = found.cameras.project(found.xyz)[1][row, found.observations.point[mine]]
    assert mine.sum() > 150
    assert np.median(np.abs(z / true_z[y, x] - 1)) < 0.004  # the points lie on the surfaces of the scene
    pixels, _ = found.cameras.project(found.xyz)
    seen = found.observations
    assert np.median(np.linalg.norm(pixels[seen.camera, seen.point] - seen.xy, axis=1)) < 0.5
    assert found.rgb.std() > 20


def test_given_points_are_kept_as_they_are(posed: tuple[Capture, Cameras], tmp_path: Path) -> None:
    capture, _ = posed
    assert capture.prior is not None
    xyz = np.random.default_rng(0).normal(size=(50, 3))
    prior = replace(capture.prior, xyz=xyz, rgb=np.full((50, 3), 7, np.uint8), error=np.zeros(50, np.float32))
    found = sfm(replace(capture, prior=prior), SfmOptions(), Job(tmp_path)).model
    np.testing.assert_array_equal(found.xyz, xyz)
    assert (found.rgb == 7).all() and not (tmp_path / "scratch" / "given.db").exists()


def test_photos_without_texture_still_keep_their_given_poses(posed: tuple[Capture, Cameras], tmp_path: Path) -> None:
    capture, cameras = posed
    for name in capture.names:
        Image.new("RGB", (640, 480), (90, 90, 90)).save(tmp_path / name)
    job = Job(tmp_path / "sfm")
    found = sfm(replace(capture, root=tmp_path), SfmOptions(), job)
    assert len(found.model.xyz) == 0 and len(found.model.names) == 8
    assert any("Only 0 points" in warning for warning in job.warnings)
    np.testing.assert_allclose(found.model.cameras.cam_from_world, cameras.cam_from_world, rtol=0, atol=1e-9)


KILL = """
import os, signal, sys
from pathlib import Path
from recon.capture import load_capture
from recon.job import Job, NoProgress, _NoTask
from recon.sfm import SfmOptions, sfm
where, number = sys.argv[3], float(sys.argv[4])
class Deadly(NoProgress):
    def task(self, text, total):
        import contextlib
        class Task(_NoTask):
            done = 0.0
            def advance(self, amount=1):
                self.update(self.done + amount)
            def update(self, done=None, text=None, total=None):
                self.done = self.done if done is None else done
                if where in name and self.done >= number:
                    os.kill(os.getpid(), signal.SIGKILL)
        name = text
        return contextlib.nullcontext(Task())
options = SfmOptions(features=600, deterministic=True)
sfm(load_capture(Path(sys.argv[1])), options, Job(Path(sys.argv[2]), Deadly()))
"""


def run_until(capture: Path, folder: Path, where: str, number: float) -> int:
    """The exit status of an sfm that kills itself at this number of this task."""
    done = subprocess.run(
        [sys.executable, "-c", KILL, str(capture), str(folder), where, str(number)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    return done.returncode


def test_killed_again_and_again_the_result_is_the_same(tmp_path: Path) -> None:
    paths, _ = sample(range(20, 27))
    for path in paths:
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / path.name).symlink_to(path)
    ingest(tmp_path / "photos", IngestOptions(), Job(tmp_path / "ingest"))
    killed = tmp_path / "killed"
    for where, number in (("features", 3), ("matching", 0), ("placing", 4), ("adjusting", 0), ("undistorting", 2)):
        status = run_until(tmp_path / "ingest", killed, where, number)
        assert status in (-signal.SIGKILL, 0), status
        assert status != 0 or where in ("matching", "adjusting"), where  # these may be done before they are asked
    assert run_until(tmp_path / "ingest", killed, "nowhere", 0) == 0
    assert run_until(tmp_path / "ingest", tmp_path / "whole", "nowhere", 0) == 0
    files = sorted(p.relative_to(killed) for p in killed.rglob("*") if p.is_file() and "scratch" not in p.parts)
    assert len(files) >= 7 + 7
    for name in files:
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert load_capture(tmp_path / "ingest").names == load_sfm(killed).model.names


def test_an_interrupted_child_is_gone(odd: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[subprocess.Popen[Any]] = []
    start = subprocess.Popen

    def popen(*args: Any, **kwargs: Any) -> subprocess.Popen[Any]:
        children.append(start(*args, **kwargs))
        return children[-1]

    monkeypatch.setattr(worker.subprocess, "Popen", popen)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    database = copy_database(odd[2].scratch / "base.db", tmp_path / "copy.db")
    request = {"database": str(database), "out": str(tmp_path), "start": "", "settings": {}}
    with pytest.raises(KeyboardInterrupt):
        worker.run_worker("incremental", request, tmp_path / "log", interrupt)
    assert len(children) == 1 and children[0].returncode == -signal.SIGKILL


def test_a_child_that_dies_is_reported(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    request = {"database": str(tmp_path / "folder.db"), "out": str(tmp_path), "settings": {}}
    with pytest.raises(SfmError, match="pycolmap stopped"):
        worker.run_worker("global", request, tmp_path / "log")
    full = worker.died("match", -6, "what():  [database_sqlite.cc:1389] SQLite error: database or disk is full")
    assert isinstance(full, OSError) and full.errno == 28
    assert "memory" in str(worker.died("match", -6, "terminate ... std::bad_alloc"))


def test_a_model_cut_short_by_a_full_disk_is_noticed(odd: tuple, tmp_path: Path) -> None:
    import pycolmap

    model = pycolmap.Reconstruction(odd[2].scratch / "final")
    folder = save_model(model, tmp_path / "model")
    for name in ("points3D.bin", "images.bin"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(OSError, match="No space"):
            worker.check_written(model, folder)
        (folder / name).write_bytes(whole)
    worker.check_written(model, folder)


def test_models_numbered_otherwise_than_their_folders_are_no_full_disk(odd: tuple, tmp_path: Path) -> None:
    import pycolmap

    first = pycolmap.Reconstruction(odd[2].scratch / "final")
    second = pycolmap.Reconstruction(first)
    second.deregister_frame(second.image(second.reg_image_ids()[0]).frame_id)
    save_model(first, tmp_path / "1")
    save_model(second, tmp_path / "0")
    worker._check_all({0: first, 1: second}, str(tmp_path))
    shutil.rmtree(tmp_path / "0")
    with pytest.raises(OSError, match="No space"):
        worker._check_all({0: first, 1: second}, str(tmp_path))


def test_how_photos_are_matched(tmp_path: Path, odd: tuple) -> None:
    capture, _, job, _, _ = odd
    database = job.scratch / "base.db"
    assert choose_pairs(capture, "auto", database).pairs == every_pair(10)
    assert choose_kind(replace(capture, kind="video"), "auto")[0] == "sequential"
    with pytest.raises(SfmError, match="GPS"):
        choose_kind(capture, "spatial")
    located = replace(capture, gps=np.array([[47.0, 8.0 + 1e-5 * i, 400.0] for i in range(10)]))
    many = replace(located, names=capture.names * 4, gps=np.tile(located.gps, (4, 1)))  # type: ignore[arg-type]
    assert choose_kind(many, "auto")[0] == "spatial"
    assert choose_kind(replace(many, gps=None), "auto")[0] == "retrieval"
    alike = choose_pairs(capture, "retrieval", database)
    assert alike.kind == "retrieval" and {(i, i + 1) for i in range(9)} <= set(alike.pairs)


def test_only_photos_that_the_matches_bear_out_are_kept(odd: tuple) -> None:
    import pycolmap

    capture, _, job, _, _ = odd
    model = pycolmap.Reconstruction(job.scratch / "final")
    frame = model.frame(model.image(4).frame_id)
    pose = model.image(4).cam_from_world().matrix()
    pose[:3, :3] = pose[:3, :3] @ np.diag([-1.0, 1, -1])  # it looks the other way
    frame.rig_from_world = pycolmap.Rigid3d(pose)
    search = Search(capture, SfmOptions(), job, (), job.scratch / "base.db")
    assert search.offer([model]) and search.missing == [3]


def test_a_real_capture_with_surveyed_cameras(datasets: Path, tmp_path: Path) -> None:
    """fountain-P11: within 1.25 times the 7.1 mm and 0.46 degrees that plain pycolmap reached."""
    folder = datasets / "strecha2008_halfres" / "fountain-P11"
    capture = ingest(folder / "images", IngestOptions(), Job(tmp_path / "ingest"))
    found = sfm(capture, SfmOptions(), Job(tmp_path / "sfm"))
    assert len(found.model.names) == 11 and not found.left_out
    poses = []
    for name in found.model.names:
        stem = folder / "gt_dense_cameras" / name
        path = (
            stem.with_name(f"{name}.camera")
            if stem.with_name(f"{name}.camera").exists()
            else stem.with_suffix(".camera")
        )
        rows = [[float(v) for v in line.split()] for line in path.read_text().splitlines() if line.strip()]
        world_from_cam = np.eye(4)
        world_from_cam[:3, :3], world_from_cam[:3, 3] = rows[4:7], rows[7]
        poses.append(se3_inverse(world_from_cam))
    true = replace(found.model.cameras, cam_from_world=np.array(poses))
    rmse, degrees = pose_errors(true, found.model.cameras)
    assert rmse < 1.25 * 0.0071 and degrees < 1.25 * 0.46
