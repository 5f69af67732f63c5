"""The ladder of sfm: for each rung a capture that stays incomplete without it, and the reasons given for what stays out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest

from recon.capture import Capture
from recon.errors import SfmError
from recon.geometry import se3
from recon.ingest import IngestOptions, ingest
from recon.job import Job
from recon.sample import sample_cameras, sample_photos
from recon.sfm import SfmOptions, ladder, pairs, refine
from recon.sfm.features import create_database
from recon.sfm.ladder import RUNGS, reconstruct
from recon.sfm.mapping import MapOptions, incremental
from recon.sfm.matching import match
from recon.sfm.pairs import choose_pairs
from recon.sparse import SparseModel
from tests import sfm_scene
from tests.sfm_scene import FOCAL, Place, arc, cameras_at, straight_down


def climb(
    place: Place, folder: Path, rungs: tuple[str, ...], **options: object
) -> tuple[SparseModel, dict[str, str], Job]:
    """The model of a place, the reasons for the photos left out, and the job."""
    job = Job(folder)
    place.write(job)
    model, left_out = reconstruct(place.capture, SfmOptions(**options), job, rungs)  # type: ignore[arg-type]
    return model, dict(left_out), job


def assert_complete(place: Place, model: SparseModel, centers: float = 2e-3, degrees: float = 0.5) -> None:
    assert model.names == place.capture.names
    rmse, angle = place.errors(model.names, model.cameras.cam_from_world)
    assert rmse < centers and angle < degrees


def weakly_linked(share: int = 22) -> Place:
    """Eight photos, the last of which shares `share` points with the others: fewer than pycolmap asks for (30)."""
    place = arc(8, 90)
    sees = place.sees.copy()
    sees[-1, share:] = False
    return replace(place, sees=sees)


def two_groups() -> Place:
    """Two groups of six photos that share points in pairs: enough to align the two models, too few to add one photo."""
    place = arc(12, 130, points=560)
    sees = np.zeros_like(place.sees)
    sees[:6, :250] = sees[6:, 250:500] = True
    for group in range(6):
        shared = slice(500 + 10 * group, 510 + 10 * group)
        for photo in (group, (group + 1) % 6):
            sees[[photo, photo + 6], shared] = True
    return replace(place, sees=sees & place.sees)


def shuffled_orbit(count: int = 30) -> Place:
    """A full circle in random order around a ball, of which each photo sees the half that faces it."""
    rng = np.random.default_rng(3)
    angle = 2 * np.pi * rng.permutation(count) / count
    centers = np.stack([6 * np.cos(angle), 6 * np.sin(angle), 1 + 0.3 * np.sin(3 * angle)], -1)
    xyz = rng.normal(size=(800, 3))
    xyz *= 1.4 / np.linalg.norm(xyz, axis=1, keepdims=True)
    facing = (centers / np.linalg.norm(centers, axis=1, keepdims=True)) @ (xyz / 1.4).T > np.cos(np.radians(50))
    return Place(cameras_at(centers, np.zeros(3)), xyz, facing)


def test_photos_straight_down_at_flat_ground_keep_the_focal_length_of_exif(tmp_path: Path) -> None:
    """Their matches fit any focal length nearly as well, with heights scaled by it: mapping may end at a wrong one."""
    place, job = straight_down(relief=0.05), Job(tmp_path)
    place.write(job)
    database = job.scratch / "base.db"
    match(database, choose_pairs(place.capture, "exhaustive", database).pairs, job)
    wrong = incremental(database, tmp_path / "models", job, MapOptions())[0]
    camera = wrong.camera(1)
    camera.params = [4 * FOCAL, *camera.params[1:]]
    refine.adjust(wrong, MapOptions(), hold="intrinsics")
    free = refine.refine(pycolmap.Reconstruction(wrong), MapOptions())
    assert free.camera(1).params[0] > 1.5 * FOCAL, "this capture is too easy to be a test"
    held = refine.refine(wrong, MapOptions(), {1: FOCAL})
    assert held.camera(1).params[0] == FOCAL
    assert held.compute_mean_reprojection_error() < 1.01 * free.compute_mean_reprojection_error()
    poses = {place.capture.names[i - 1]: held.image(i).cam_from_world().matrix() for i in sorted(held.reg_image_ids())}
    centers, degrees = place.errors(
        tuple(poses), np.array([np.vstack([pose, [0, 0, 0, 1]]) for pose in poses.values()])
    )
    assert len(poses) == 16 and centers < 2e-3 and degrees < 1.5  # a tilt and a shift of such photos look alike too


def test_a_wrong_focal_length_of_exif_is_not_kept(tmp_path: Path) -> None:
    place = arc(10, 90)
    with_wrong_exif = replace(place.capture, focal_prior=np.full(10, 1.3 * FOCAL))
    job = Job(tmp_path)
    place.write(job)
    model, _ = reconstruct(with_wrong_exif, SfmOptions(), job)
    np.testing.assert_allclose(model.cameras.K[:, 0, 0], FOCAL, rtol=0.01)
    assert_complete(place, model)


def test_relaxed_thresholds_add_a_weakly_linked_photo(tmp_path: Path) -> None:
    place = weakly_linked()
    without, reasons, _ = climb(place, tmp_path / "without", ())
    assert set(reasons) == {"photo 07.jpg"} and len(without.names) == 7
    model, reasons, job = climb(place, tmp_path / "with", ("relaxed",))
    assert not reasons and job.metrics["rungs"] == ["relaxed (base)"]
    assert_complete(place, model)


def test_models_built_apart_are_merged(tmp_path: Path) -> None:
    place = two_groups()
    without, reasons, job = climb(place, tmp_path / "without", ())
    assert len(without.names) == 6
    assert all("a model of 6 photos of its own" in reason for reason in reasons.values())
    assert job.warnings == [f"{name} left out: {reason}." for name, reason in reasons.items()]
    model, reasons, _ = climb(place, tmp_path / "with", ("merge",))
    assert not reasons
    assert_complete(place, model)
    assert np.bincount(model.observations.point).max() > 3  # points of the seam are seen from both groups


def test_all_cameras_at_once_where_no_pair_is_wide_enough(tmp_path: Path) -> None:
    place = arc(10, 4)  # degrees, from first to last
    with pytest.raises(SfmError, match="No reconstruction came out of 10 photos"):
        climb(place, tmp_path / "without", ())
    model, reasons, _ = climb(place, tmp_path / "with", ("global",))
    assert not reasons
    assert_complete(place, model, centers=0.01, degrees=4)  # what so narrow a view can tell


def test_photos_in_no_order_are_matched_with_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "WINDOW", 2)
    monkeypatch.setattr(pairs, "LOOP_NEIGHBOURS", 0)
    place = shuffled_orbit()
    without, reasons, _ = climb(place, tmp_path / "without", (), matcher="sequential")
    assert len(without.names) < 30 and len(without.names) + len(reasons) == 30
    model, reasons, job = climb(place, tmp_path / "with", ("pairs",), matcher="sequential")
    assert not reasons and job.metrics["rungs"][0].startswith("pairs")
    assert_complete(place, model)


@pytest.fixture(scope="module")
def faint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven neighbouring photos of the sample, the middle one with a tenth of its contrast."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("faint")
    for number, path in enumerate(sorted(sample_photos().iterdir())[2:9]):
        pixels = np.asarray(Image.open(path)).astype(float)
        if number == 3:
            pixels = 110 + 0.1 * (pixels - 110)
        Image.fromarray(np.round(pixels).astype(np.uint8)).save(folder / f"{path.stem}.png")
    return folder


def of_folder(folder: Path, work: Path) -> Capture:
    return ingest(folder, IngestOptions(), Job(work))


def test_more_features_bring_in_a_faint_photo(faint: Path, tmp_path: Path) -> None:
    capture = of_folder(faint, tmp_path / "ingest")
    options = SfmOptions(features=1500)
    without, left_out = reconstruct(capture, options, Job(tmp_path / "without"), ())
    assert [name for name, _ in left_out] == [capture.names[3]] and len(without.names) == 6
    assert "matches 1 placed photo" in left_out[0][1] or "features" in left_out[0][1]
    job = Job(tmp_path / "with")
    model, left_out = reconstruct(capture, options, job, ("features",))
    assert not left_out and job.metrics["rungs"] == ["features (missing)"]
    names, cameras = sample_cameras()
    rows = [names.index(f"{Path(name).stem}.jpg") for name in model.names]
    true = replace(arc(3, 9), cameras=cameras[rows])
    assert true.errors(tuple(f"photo {i:02d}" for i in range(7)), model.cameras.cam_from_world)[0] < 5e-3


def test_more_features_everywhere_when_most_stay_out(faint: Path, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted(faint.iterdir())[:3]:
        pixels = np.asarray(Image.open(path)).astype(float)
        Image.fromarray(np.round(110 + 0.1 * (pixels - 110)).astype(np.uint8)).save(folder / path.name)
    capture = of_folder(folder, tmp_path / "ingest")
    with pytest.raises(SfmError):
        reconstruct(capture, SfmOptions(), Job(tmp_path / "without"), ())
    job = Job(tmp_path / "with")
    model, left_out = reconstruct(capture, SfmOptions(), job, RUNGS)
    assert len(model.names) == 3 and not left_out and job.metrics["rungs"][0] == "features (all)"


@pytest.mark.parametrize(
    ("noise", "turned", "found"),
    [(0.3, True, True), (2.5, True, False), (0.3, False, False)],
    ids=["turned", "restless", "level"],
)
def test_the_principal_point_is_found_where_photos_can_tell_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: float, turned: bool, found: bool
) -> None:
    """Photos held level and upright tell it to 1 % only; residuals of a scene that moves would draw it along."""
    monkeypatch.setattr(sfm_scene, "NOISE_PX", noise)
    place = arc(12, 120, points=1500)
    pose, k = place.cameras.cam_from_world.copy(), place.cameras.K.copy()
    if turned:  # every other photo is held upright
        pose[::2] = se3(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.zeros(3)) @ pose[::2]
    k[:, :2, 2] += (17, -9)
    model, _, _ = climb(replace(place, cameras=replace(place.cameras, K=k, cam_from_world=pose)), tmp_path, ())
    off = model.cameras.K[0, :2, 2] - np.array(sfm_scene.SIZE) / 2
    np.testing.assert_allclose(off, (17, -9) if found else (0, 0), atol=1.5 if found else 1e-9)


def test_the_best_model_so_far_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking for more features everywhere begins anew; where that comes to less, what was there before counts."""
    place = arc(12, 130, points=600)
    sees = np.zeros_like(place.sees)
    for group in range(3):
        sees[4 * group : 4 * group + 4, 200 * group : 200 * group + 200] = True

    def nothing(database: Path, *_: object) -> Path:
        create_database(database.with_name("rich.db"), place.capture)
        return database.with_name("rich.db")

    monkeypatch.setattr(ladder, "richer_database", nothing)
    monkeypatch.setattr(ladder, "_more_features", lambda search: None)
    model, reasons, job = climb(replace(place, sees=sees & place.sees), tmp_path, ("features",))
    assert len(model.names) == 4 and len(reasons) == 8 and job.metrics["rungs"] == ["features (all)"]
    assert all("matches only with photos that stayed out too" in reason for reason in reasons.values())


def test_a_photo_of_another_place_is_named_with_its_reason(tmp_path: Path) -> None:
    place = arc(6, 70, points=400)
    sees = place.sees.copy()
    sees[:5, 300:] = False
    sees[5, :300] = False  # 100 points that nobody else sees
    _, reasons, job = climb(replace(place, sees=sees), tmp_path, ("relaxed", "merge", "global", "pairs"))
    assert reasons.keys() == {"photo 05.jpg"} and "no matches with any other photo" in reasons["photo 05.jpg"]
    assert job.metrics["rungs"] == []  # nothing that could help: all pairs are matched, and it matches none


def test_nothing_overlaps(tmp_path: Path) -> None:
    place = arc(4, 60, points=400)
    sees = np.zeros_like(place.sees)
    for row in range(4):
        sees[row, 100 * row : 100 * row + 100] = True
    with pytest.raises(SfmError, match=r"no two of the 6 pairs tried show the same place.*[Tt]ake"):
        climb(replace(place, sees=sees), tmp_path, ("relaxed", "merge", "global", "pairs"))


def test_nothing_to_see(tmp_path: Path) -> None:
    place = arc(4, 60)
    with pytest.raises(SfmError, match="fewer than 50 features"):
        climb(replace(place, sees=np.zeros_like(place.sees)), tmp_path, ("relaxed", "merge", "global", "pairs"))


def test_a_camera_that_only_turned(tmp_path: Path) -> None:
    target = np.array([[6.0, 0.5 * i, 0] for i in range(5)])
    cameras = cameras_at(np.full((5, 3), 0.01), target)
    xyz = np.random.default_rng(0).uniform([4, -3, -2], [9, 6, 2], (600, 3))
    pixels, z = cameras.project(xyz)
    place = Place(cameras, xyz, (z > 0) & ((pixels > 0) & (pixels < 1000)).all(-1))
    with pytest.raises(SfmError, match="Walk sideways"):
        climb(place, tmp_path, ())


def test_two_photos_are_too_few(tmp_path: Path) -> None:
    with pytest.raises(SfmError, match="2 photos, expected at least 3"):
        climb(arc(2, 20), tmp_path, ())
