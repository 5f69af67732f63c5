"""align() on places with known truth: what it knows it gets right, what it does not know it says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon.align import AlignOptions, align, load_align, read_aligned
from recon.capture import Capture
from recon.errors import InputError, WorkspaceError
from recon.geodesy import enu_from_ecef, enu_from_geodetic, geodetic_from_enu
from recon.geometry import Sim3, World, rotation_from_quat
from recon.job import Job, NoProgress
from recon.reconstruction import Reconstruction
from recon.sparse import SparseModel, write_colmap
from tests.posed import PLACE, Posed, capture_of, gps_of, looking, posed, ring, street, tilt_deg


class Heard(NoProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(text)


class Run:
    """One run of align() on a place."""

    def __init__(self, place: Posed, folder: Path, capture: Capture | None = None, **options) -> None:
        self.place = place
        sfm = folder / "sfm"
        write_colmap(place.model, sfm / "distorted")
        reconstruction = Reconstruction(place.model, sfm / "images", None, (("lost.jpg", "no features"),))
        heard = Heard()
        self.job = Job(folder / "align", progress=heard)
        self.result = align(capture or capture_of(place.model), reconstruction, AlignOptions(**options), self.job)
        self.model: SparseModel = self.result.model
        self.world: World = self.model.world
        self.said = " ".join(heard.lines)
        self.evidence = json.loads((self.job.folder / "world.json").read_text())["evidence"]

    @property
    def world_from_truth(self) -> Sim3:
        return self.world.world_from_sfm @ self.place.model_from_truth


def reprojects(model: SparseModel) -> float:
    """The largest distance, in pixels, of a point's projection from where it was observed."""
    seen = model.observations
    pixels, z = model.cameras.project(model.xyz)
    assert (z[seen.camera, seen.point] > 0).all()
    return float(np.abs(pixels[seen.camera, seen.point] - seen.xy).max())


def with_gps(place: Posed, noise: tuple[float, float] = (2.0, 4.0), outliers: int = 0, seed: int = 0) -> Capture:
    return capture_of(place.model, gps_of(place.truth, noise, outliers, seed)[0])


def test_gps_gives_metres_up_and_a_place(tmp_path: Path):
    for seed in range(3):
        place = ring(30, radius=40.0, seed=seed)
        run = Run(place, tmp_path / str(seed), with_gps(place, (3.0, 6.0), outliers=5, seed=seed))
        world, gps = run.world, run.evidence["gps"]
        assert (world.scale, world.crs) == ("metric", None) and world.origin is not None
        assert world.up in ("gravity", "estimated")
        off, heading, tilt = place.error(run.model)
        assert abs(off) < 3.5 * gps["scale_error_percent"] / 100 < 0.12
        assert abs(heading) < 3.5 * gps["heading_error_deg"] and tilt < 3.5 * gps["tilt_error_deg"]
        assert gps["fixes"] == 30 and gps["agree"] == 25
        # the world's coordinates are those of its own origin: the heap's middle is where it is on Earth
        where = geodetic_from_enu(run.model.xyz.mean(0), world.origin)
        truth = geodetic_from_enu(place.truth.xyz.mean(0), PLACE)
        assert np.linalg.norm(enu_from_geodetic(where, truth)) < 5
        assert np.linalg.norm(run.model.xyz.mean(0)[:2]) < 1.5  # and near the origin
        assert f"{len(place.model.names) - 5} of 30 fixes agree" in run.said and "metres (from GPS)" in run.said


def test_gps_residual_of_each_photo_is_kept(tmp_path: Path):
    place = ring(20, radius=40.0)
    fixes, wrong = gps_of(place.truth, (0.5, 1.0), outliers=3)
    run = Run(place, tmp_path, capture_of(place.model, fixes))
    residuals = {r["name"]: r for r in run.evidence["gps"]["residuals_m"]}
    assert {name for name, r in residuals.items() if not r["used"]} == {place.model.names[i] for i in wrong}
    offset = enu_from_ecef(PLACE) @ enu_from_ecef(run.world.origin).inverse()  # type: ignore[arg-type]
    expected = offset.apply(run.model.cameras.centers) - enu_from_geodetic(fixes, PLACE)
    for i, name in enumerate(place.model.names):
        r = residuals[name]
        np.testing.assert_allclose([r["east"], r["north"], r["up"]], expected[i], atol=0.01)
        assert run.job.metrics["gps_residual_m"][name] == pytest.approx(np.linalg.norm(expected[i]), abs=0.02)
    assert run.job.metrics["gps_rms_across_m"] < 1.0 < max(run.job.metrics["gps_residual_m"].values())


def test_gps_of_drones_is_gravity_and_of_a_street_only_estimated(tmp_path: Path):
    wide = ring(30, radius=80.0)
    assert Run(wide, tmp_path / "wide", with_gps(wide, (1.0, 2.0))).world.up == "gravity"
    line = street(24)
    run = Run(line, tmp_path / "line", with_gps(line))
    assert (run.world.scale, run.world.up) == ("metric", "estimated")
    assert "how the photos were held" in run.evidence["up_from"]
    assert tilt_deg(run.world_from_truth.rotation) < 5


def test_gps_at_one_place_is_not_used_and_the_reason_is_said(tmp_path: Path):
    place = ring(30, radius=3.0)
    run = Run(place, tmp_path, with_gps(place, (3.0, 6.0)))
    assert run.world.scale == "arbitrary" and run.world.origin is None and run.world.up == "estimated"
    assert run.evidence["gps"]["used"] is False
    assert "the scale would be uncertain by" in run.evidence["gps"]["why_not"]
    assert any("the scale would be uncertain by" in w for w in run.job.warnings)
    assert run.world.world_from_sfm.scale == 1.0


@pytest.mark.parametrize(
    ("rows", "says"), [([0, 1, 2], "3 positions"), ([], "0 positions"), (list(range(24)), "1 positions")]
)
def test_too_few_positions_are_not_used(tmp_path: Path, rows: list[int], says: str):
    place = ring(24)
    gps = np.full((24, 3), np.nan)
    fixes = gps_of(place.truth, (1.0, 1.0))[0]
    gps[rows] = fixes[0] if len(rows) > 3 else fixes[rows]
    run = Run(place, tmp_path, capture_of(place.model, gps))
    assert run.world.scale == "arbitrary" and says in run.evidence["gps"]["why_not"]


def test_without_gps_up_comes_from_the_photos(tmp_path: Path):
    for seed in range(3):
        place = ring(24, seed=seed)
        run = Run(place, tmp_path / str(seed))
        assert run.world == replace(World("arbitrary", "estimated"), world_from_sfm=run.world.world_from_sfm)
        assert tilt_deg(run.world_from_truth.rotation) < 2
        assert run.world.world_from_sfm.scale == 1.0
        heights = run.model.xyz[:, 2]
        assert np.quantile(heights, 0.02) == pytest.approx(0, abs=1e-6 * np.ptp(heights))
        assert run.evidence["gps"] == {"used": False, "why_not": "no photo has GPS"}
        assert "scale not known" in run.said and "no place on Earth" in run.said and not run.job.warnings


def test_the_floor_is_at_zero(tmp_path: Path):
    rng = np.random.default_rng(0)
    flat = np.stack([*rng.uniform(-6, 6, (2, 800)), rng.normal(0, 0.005, 800)], 1)
    heap = np.abs(rng.normal(size=(800, 3))) * 0.8 + [0, 0, 0.3]
    angle = 2 * np.pi * np.arange(8) / 8
    centers = np.stack([6 * np.cos(angle), 6 * np.sin(angle), np.full(8, 1.7)], 1)
    place = posed(
        np.stack([looking(c, np.array([0, 0, 0.8]), rng.normal(0, 4)) for c in centers]), np.concatenate([flat, heap])
    )
    run = Run(place, tmp_path)
    assert run.evidence["ground"] == "plane" and "ground plane" in run.evidence["up_from"]
    assert tilt_deg(run.world_from_truth.rotation) < 0.05
    assert np.abs(run.model.xyz[:800, 2]).max() * place.model_from_truth.inverse().scale < 0.05
    assert (run.model.cameras.centers[:, 2] > 0).all()


def test_photos_held_every_which_way_leave_up_unknown(tmp_path: Path):
    rng = np.random.default_rng(4)
    base = ring(30)
    poses = np.stack([looking(c, np.array([0, 0, 1.0]), rng.uniform(-180, 180)) for c in base.truth.cameras.centers])
    run = Run(posed(poses, base.truth.xyz), tmp_path)
    assert run.world.up == "unknown"
    np.testing.assert_array_equal(run.world.world_from_sfm.rotation, np.eye(3))
    assert any("up is not known" in w for w in run.job.warnings)


@pytest.mark.parametrize("factor", [1.0, 1.15])
def test_metres_that_were_given_stay_with_gps(tmp_path: Path, factor: float):
    place = ring(30, radius=40.0)
    model = place.truth.transformed(Sim3(1 / factor), World("metric"))
    model = replace(model, world=World("metric"))
    capture = capture_of(model, gps_of(place.truth, (0.3, 0.6))[0], model)
    run = Run(replace(place, model=model), tmp_path, capture, gps="on")
    assert (run.world.scale, run.evidence["scale_from"]) == ("metric", "as given") and run.world.origin is not None
    assert run.world.world_from_sfm.scale == pytest.approx(1, abs=1e-12)
    assert (" % larger than the given cameras" in run.evidence.get("remark", "")) == (factor > 1)


# ---- the model itself ----


def test_the_aligned_model_reprojects_as_before(tmp_path: Path):
    place = ring(24, radius=40.0)
    assert reprojects(place.model) < 1e-3  # observations are float32
    run = Run(place, tmp_path, with_gps(place))
    assert reprojects(run.model) < 1e-3
    np.testing.assert_array_equal(run.model.observations.xy, place.model.observations.xy)
    np.testing.assert_array_equal(run.model.cameras.K, place.model.cameras.K)
    applied = run.world.world_from_sfm.apply(place.model.xyz)
    np.testing.assert_allclose(run.model.xyz, applied, atol=1e-9 * np.abs(applied).max())
    other = run.world.world_from_sfm @ Sim3(1.0, rotation_from_quat([1, 1e-3, 0, 0]))
    wrong = replace(run.model, xyz=other.apply(place.model.xyz))
    assert reprojects(wrong) > 0.3  # the negative control


def test_what_is_written_is_what_is_returned(tmp_path: Path):
    place = ring(24, radius=40.0)
    place = replace(place, model=replace(place.model, names=tuple(f"à b/{n}" for n in place.model.names)))
    run = Run(place, tmp_path, with_gps(place))
    read = read_aligned(run.job.folder)
    assert read.names == run.model.names == place.model.names
    assert (read.world.scale, read.world.up, read.world.origin) == (run.world.scale, run.world.up, run.world.origin)
    assert read.world.world_from_sfm.matrix().tobytes() == run.world.world_from_sfm.matrix().tobytes()
    np.testing.assert_allclose(read.cameras.cam_from_world, run.model.cameras.cam_from_world, atol=1e-9)
    np.testing.assert_array_equal(read.xyz, run.model.xyz)
    images = (run.job.folder / "sparse" / "images.bin").read_bytes()
    assert (place.model.names[0] + ".png").encode() in images
    assert run.result.images == tmp_path / "sfm" / "images" and run.result.left_out == (("lost.jpg", "no features"),)
    assert not list(run.job.folder.rglob("*.part*"))


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    place = ring(30, radius=40.0)
    folders = [Run(place, tmp_path / n, with_gps(place, outliers=4)).job.folder for n in ("a", "b")]
    for name in ("world.json", "sparse/cameras.bin", "sparse/images.bin", "sparse/points3D.bin"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_a_half_written_folder_is_overwritten_and_a_damaged_one_is_named(tmp_path: Path):
    place = ring(24)
    (tmp_path / "align" / "sparse").mkdir(parents=True)
    (tmp_path / "align" / "sparse" / "images.bin").write_bytes(b"torn")
    folder = Run(place, tmp_path).job.folder
    assert read_aligned(folder).names == place.model.names
    for damage in ("", "{}", '{"scale": "metric"'):
        (folder / "world.json").write_text(damage)
        with pytest.raises(WorkspaceError, match=r"is damaged.*--redo"):
            read_aligned(folder)
    (folder / "world.json").unlink()
    with pytest.raises(WorkspaceError, match="is damaged"):
        read_aligned(folder)


def test_loading_takes_photos_times_and_reasons_from_sfm(tmp_path: Path):
    place = ring(6)
    run = Run(place, tmp_path)
    sfm = tmp_path / "sfm"
    write_colmap(place.model, sfm / "sparse", ".png")
    head = {
        "left_out": [{"name": "lost.jpg", "reason": "no features"}],
        "time": [0, 1, 2, 3, 4, 7],
        "world": World().to_json(),
    }
    (sfm / "sfm.json").write_text(json.dumps(head))
    loaded = load_align(run.job.folder)
    assert loaded.images == sfm / "images" and loaded.left_out == (("lost.jpg", "no features"),)
    np.testing.assert_array_equal(loaded.model.xyz, run.model.xyz)
    np.testing.assert_array_equal(loaded.model.cameras.time, [0, 1, 2, 3, 4, 7])
    assert loaded.model.world.up == "estimated"
    write_colmap(place.model.select(np.arange(5)), sfm / "sparse", ".png")
    (sfm / "sfm.json").write_text(json.dumps(head | {"time": None}))
    with pytest.raises(WorkspaceError, match="different photos"):
        load_align(run.job.folder)


# ---- known distances, and which rule wins ----


def marks(place: Posed, metres: float, a=(0.0, 0, 1), b=(2.0, 1, 2), factor: float = 1.0) -> str:
    sides = []
    for spot in (a, b):
        pixels = place.truth.cameras.project(np.array([spot], float))[0][:, 0] * factor
        sides.append(" ".join(f"{pixels[i, 0]:.6f},{pixels[i, 1]:.6f}@{place.model.names[i]}" for i in (0, 5, 9)))
    return f"{' | '.join(sides)} = {metres}"


def test_a_known_distance_gives_metres(tmp_path: Path):
    place = ring(24)
    run = Run(place, tmp_path, known_distance=(marks(place, float(np.linalg.norm([2, 1, 1]))),))
    assert (run.world.scale, run.world.up, run.world.origin) == ("metric", "estimated", None)
    assert place.error(run.model)[0] == pytest.approx(0, abs=1e-6)
    assert run.evidence["scale_from"] == "known distances"
    assert run.evidence["known_distances"]["each"][0]["difference_percent"] == pytest.approx(0, abs=1e-6)
    assert "metres (from known distances)" in run.said


def test_a_known_distance_wins_over_gps_which_does_the_rest(tmp_path: Path):
    place = ring(30, radius=40.0)
    length = float(np.linalg.norm([2, 1, 1]))
    run = Run(place, tmp_path / "a", with_gps(place), known_distance=(marks(place, length),))
    assert place.error(run.model)[0] == pytest.approx(0, abs=1e-6)
    assert run.world.origin is not None and abs(place.error(run.model)[1]) < 5
    assert run.evidence["scale_from"] == "known distances" and run.evidence["gps"]["used"]
    assert not run.job.warnings
    wrong = Run(place, tmp_path / "b", with_gps(place), known_distance=(marks(place, 1.3 * length),))
    assert place.error(wrong.model)[0] == pytest.approx(0.3, abs=1e-6)
    assert any("smaller than the known distances" in w for w in wrong.job.warnings)


def test_known_distances_need_the_cameras_as_taken(tmp_path: Path):
    place = ring(24)
    reconstruction = Reconstruction(place.model, tmp_path / "sfm" / "images", None, ())
    with pytest.raises(WorkspaceError, match=r"before undistortion.*--redo"):
        align(
            capture_of(place.model),
            reconstruction,
            AlignOptions(known_distance=(marks(place, 1.0),)),
            Job(tmp_path / "align"),
        )


def test_given_poses_are_kept(tmp_path: Path):
    place = ring(24, radius=40.0)
    given = replace(place, model=replace(place.model, world=World(up="estimated")))
    capture = replace(with_gps(place), prior=place.model)
    run = Run(given, tmp_path / "a", capture)
    assert run.world == World(up="estimated", world_from_sfm=run.world.world_from_sfm)
    np.testing.assert_array_equal(run.model.cameras.cam_from_world, place.model.cameras.cam_from_world)
    np.testing.assert_array_equal(run.model.xyz, place.model.xyz)
    assert run.evidence["frame"] == "kept as given" and not run.job.warnings
    metric = Run(given, tmp_path / "b", capture, known_distance=(marks(place, float(np.linalg.norm([2, 1, 1]))),))
    assert metric.world.scale == "metric" and place.error(metric.model)[0] == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(metric.world.world_from_sfm.rotation, np.eye(3))


def test_given_poses_are_moved_when_asked(tmp_path: Path):
    place = ring(24, radius=40.0)
    capture = replace(with_gps(place), prior=place.model)
    upright = Run(place, tmp_path / "a", capture, up="estimate")
    assert tilt_deg(upright.world_from_truth.rotation) < 2 and upright.world.scale == "arbitrary"
    located = Run(place, tmp_path / "b", capture, gps="on")
    assert located.world.scale == "metric" and abs(place.error(located.model)[0]) < 0.06


def test_keep_and_off(tmp_path: Path):
    place = ring(24, radius=40.0)
    kept = Run(place, tmp_path / "a", with_gps(place), up="keep")
    assert kept.world == World(world_from_sfm=kept.world.world_from_sfm)
    np.testing.assert_array_equal(kept.model.xyz, place.model.xyz)
    off = Run(place, tmp_path / "b", with_gps(place), gps="off")
    assert off.world.scale == "arbitrary" and off.world.up == "estimated" and off.world.origin is None
    assert not off.job.warnings


def test_gps_on_means_it(tmp_path: Path):
    place = ring(24, radius=2.0)
    with pytest.raises(InputError, match=r"asked for and cannot be used: the scale would be uncertain"):
        Run(place, tmp_path / "a", with_gps(place, (3.0, 6.0)), gps="on")
    with pytest.raises(InputError, match="no photo has GPS"):
        Run(place, tmp_path / "b", gps="on")
    with pytest.raises(InputError, match=r"--up keep.*--gps on"):
        Run(place, tmp_path / "c", with_gps(place), up="keep", gps="on")


def test_gps_without_altitude_says_so(tmp_path: Path):
    place = ring(30, radius=40.0)
    capture = with_gps(place, (1.0, 2.0))
    assert capture.gps is not None
    flat = capture.gps.copy()
    flat[:, 2] = np.nan
    run = Run(place, tmp_path, replace(capture, gps=flat))
    assert run.world.scale == "metric" and run.evidence["gps"]["rms_height_m"] is None
    assert any("No photo has an altitude" in w for w in run.job.warnings)
    assert run.evidence["gps"]["residuals_m"][0]["up"] is None


@pytest.mark.parametrize(
    ("prior", "warned"), [(515.0, False), (470.0, False), (380.0, True), (700.0, True), (np.nan, False)]
)
def test_a_focal_length_far_from_exif_is_said(tmp_path: Path, prior: float, warned: bool):
    place = ring(24, radius=40.0)
    capture = with_gps(place)
    run = Run(place, tmp_path, replace(capture, focal_prior=np.full(24, prior)))
    assert run.evidence["focal_length_over_exif"] == (None if np.isnan(prior) else pytest.approx(520 / prior, abs=1e-4))
    assert any("times the focal length" in w for w in run.job.warnings) == warned


def test_photos_on_their_side_are_said(tmp_path: Path):
    rng = np.random.default_rng(0)
    base = ring(24, height=6.0, radius=20.0)
    poses = np.stack([looking(c, np.zeros(3), 90 + rng.normal(0, 2)) for c in base.truth.cameras.centers])
    place = posed(poses, base.truth.xyz)
    run = Run(place, tmp_path)
    assert tilt_deg(run.world_from_truth.rotation) < 2
    assert any("lie on their side" in w for w in run.job.warnings)
