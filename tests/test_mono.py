"""Depth from one photo: brought to scale against known truth, with outliers and nonsense; used where nothing is measured."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon.cameras import Cameras
from recon.capture import Capture
from recon.depth import DepthMaps, DepthOptions, check_options, depth
from recon.depth import mono as mono_module
from recon.depth.mono_fit import Unfit, fit, met, planes_of, plausible
from recon.depth.solve import camera_normals
from recon.errors import InputError, MissingPart, WorkspaceError
from recon.geometry import se3
from recon.job import Job, NoProgress
from recon.reconstruction import Reconstruction
from recon.sparse import Observations
from recon.workspace import Workspace
from tests.depth_scene import SIZE, Room, cameras_in_a_row, room, written
from tests.mono_files import onnx_file

needs_onnx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")), reason="needs onnx and onnxruntime"
)
QUICK = DepthOptions(depth_passes=1)
NEAREST = 2.0
"""Nothing in the room is nearer: red is NEAREST / z."""


def with_red(place: Room, of_z: Callable[[np.ndarray], np.ndarray] = lambda z: NEAREST / z) -> Room:
    """The room with of_z(z) as the red of its photos, so that a network that reads red knows depth."""
    rgb = [image.copy() for image in place.rgb]
    for image, z in zip(rgb, place.z, strict=True):
        image[..., 0] = np.clip(of_z(z), 0, 1)
    return replace(place, rgb=rgb)


def from_one_spot(count: int = 2) -> Room:
    """Photos from one place, in which stereo has no answer at all; their points have known depth."""
    poses = cameras_in_a_row(count)
    return with_red(room(cameras=Cameras(se3(poses.cam_from_world[:, :3, :3], np.zeros(3)), poses.K, poses.size)))


def astray(reconstruction: Reconstruction, share: float) -> Reconstruction:
    """With a share of the sparse points at a wrong depth: between a third and three times as far from the first camera."""
    rng, model = np.random.default_rng(1), reconstruction.model
    wrong = rng.random(len(model.xyz)) < share
    factor = np.where(wrong, np.exp(rng.uniform(-1.1, 1.1, len(wrong))), 1.0)
    center = model.cameras.centers[0]
    return replace(reconstruction, model=replace(model, xyz=center + (model.xyz - center) * factor[:, None]))


def notes(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "depth.json").read_text(encoding="utf-8"))["mono"]


def errors(maps: DepthMaps, place: Room, i: int) -> np.ndarray:
    """|z - true| / true of a photo, NaN where there is no z."""
    return np.abs(maps.z[i] - place.z[i]) / place.z[i]


@pytest.mark.parametrize("kind", ["inverse", "affine", "depth"])
def test_scale_and_shift_are_found_among_outliers(kind: str) -> None:
    rng = np.random.default_rng(0)
    z = rng.uniform(2, 30, 200)
    y = 1 / z if kind == "inverse" else z
    scale, shift = 0.02, 0.0 if kind == "depth" else 0.3
    value = (y - shift) / scale
    w = 1 / z * np.exp(rng.normal(0, 0.005, 200))
    w[:70] = 1 / rng.uniform(1, 60, 70)
    found = fit(value, w, np.ones(200), kind, 0)  # type: ignore[arg-type]
    assert found.scale == pytest.approx(scale, rel=0.01) and found.shift == pytest.approx(shift, abs=0.02)
    np.testing.assert_allclose(found.w(value), 1 / z, rtol=0.01)
    assert found.error < 0.2 and np.isnan(found.w(np.array([-1e6, np.nan]))).all()


def test_the_fits_error_is_the_median_of_what_the_points_say() -> None:
    rng = np.random.default_rng(0)
    w = 1 / rng.uniform(2, 9, 4000)
    noise = rng.normal(0, 0.04, 4000)
    found = fit(w, w * (1 + noise), np.ones(4000), "inverse", 0)
    assert found.error == pytest.approx(np.median(np.abs(noise)), rel=0.1)


def test_what_cannot_be_brought_to_scale_is_refused_with_a_reason() -> None:
    rng = np.random.default_rng(0)
    w, one = 1 / np.exp(rng.uniform(0, 3, 100)), np.ones(100)
    for value, rows, reason in (
        (w, slice(0, 9), "9 points"),
        (np.where(np.arange(100) < 92, np.nan, w), slice(None), "8 points"),
        (one, slice(None), "the same everywhere"),
        (5 - 3 * w, slice(None), "near for far"),
        (1 / w, slice(None), "near for far"),
    ):
        with pytest.raises(Unfit, match=reason):
            fit(value[rows], w[rows], one[rows], "inverse", 0)
    with pytest.raises(Unfit, match="near for far"):
        fit(w, w, one, "affine", 0)
    for seed in range(8):  # a network that says anything: as little worth as one depth for the whole photo
        with pytest.raises(Unfit, match=r"off at the points, one depth|near for far"):
            fit(np.random.default_rng(seed).random(100), w**0.1, one, "inverse", 0)


def test_far_beyond_what_is_known_there_is_no_guess() -> None:
    w = np.array([[0.001, 0.15, 0.5, 1.2, 30.0, np.nan]])
    found = plausible(w, np.linspace(0.1, 2, 50))
    np.testing.assert_array_equal(np.isfinite(found), [[False, True, True, True, False, False]])


def test_a_guess_meets_the_measurement_and_stays_itself_far_away() -> None:
    true = np.full((120, 160), 0.5)
    guess = true * np.where(np.arange(160) < 80, 0.9, 1.0)
    known = np.zeros(true.shape, bool)
    known[30:90, 20:60] = True
    measured = np.where(known, true, np.nan)
    measured[40:44, 20:24] = 0.9  # one of both is wrong there: not learnt from
    joined = met(guess, measured, known)
    ring = np.zeros(true.shape, bool)
    ring[28:92, 18:62] = True
    ring &= ~known
    assert np.abs(joined / true - 1)[ring].max() < 0.02 < np.abs(guess / true - 1)[ring].min()
    np.testing.assert_allclose(joined[:, -30:], guess[:, -30:], rtol=1e-3)
    np.testing.assert_array_equal(met(guess, measured, np.zeros(true.shape, bool)), guess)


def test_slopes_are_those_of_the_surface_and_do_not_cross_edges() -> None:
    x, y = np.meshgrid(np.arange(20.0), np.arange(12.0))
    w = 0.3 + 0.004 * x - 0.002 * y
    step = w + np.where(x < 10, 0, 2.0)
    step[:, 0] = np.nan
    found = planes_of(step)
    np.testing.assert_allclose(found[1][:, 1:], 0.004, atol=1e-6)
    np.testing.assert_allclose(found[2][:, 1:], -0.002, atol=1e-6)
    assert np.isfinite(found[1:]).all()


@needs_onnx
@pytest.mark.parametrize("metric", [False, True], ids=["relative", "metric"])
def test_guesses_are_the_truth_where_stereo_has_no_answer(tmp_path: Path, metric: bool) -> None:
    """A real ONNX file that reads inverse depth (or depth, in a unit of its own) from red; every fourth point is wrong."""
    place = from_one_spot()
    model = onnx_file(tmp_path / "net.onnx", 3.0, 0.0 if metric else 0.7)
    if metric:
        place = with_red(place, lambda z: z / 10)
        (tmp_path / "config.json").write_text('{"depth_estimation_type": "metric"}', encoding="utf-8")
    capture, reconstruction = written(place, tmp_path)
    job = Job(tmp_path / "depth")
    maps = depth(capture, astray(reconstruction, 0.25), replace(QUICK, mono=str(model)), job)
    for i in range(2):
        assert (maps.confidence[i] == 0).all() and np.isfinite(maps.z[i]).mean() > 0.99
        assert np.nanmedian(errors(maps, place, i)) < 0.005 and np.nanquantile(errors(maps, place, i), 0.95) < 0.01
        np.testing.assert_allclose(np.linalg.norm(maps.normal[i], axis=-1)[np.isfinite(maps.z[i])], 1, rtol=1e-5)
        x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
        ray = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(maps.cameras.K[i]).T
        assert np.nanmean((maps.normal[i] * ray).sum(-1) < 0) > 0.99
    said = notes(tmp_path / "depth")
    assert said["kind"] == ("depth" if metric else "inverse") and said["model"] == "net.onnx"
    for about in said["photos"].values():
        assert about["points"] > 60 and about["error"] < 0.01 and about["guessed"] > 0.99 and about["pixels"] == 0
    assert any("Stereo measures nothing" in text for text in job.warnings)
    assert job.metrics["measured"] == 0 and job.metrics["guessed"] > 0.99 and job.metrics["mono_fitted"] == 2
    assert job.metrics["mono_error"] < 0.01


@needs_onnx
def test_a_network_that_sees_it_the_wrong_way_round_gets_no_say(tmp_path: Path) -> None:
    capture, reconstruction = written(from_one_spot(), tmp_path)
    options = replace(QUICK, mono=str(onnx_file(tmp_path / "net.onnx", -1.0, 1.0)))
    job = Job(tmp_path / "depth")
    with pytest.raises(InputError, match="turning on the spot"):
        depth(capture, reconstruction, options, job)
    assert any("near for far" in text and "config.json" in text for text in job.warnings)


@needs_onnx
def test_numbers_that_are_none_leave_holes_or_the_whole_photo(tmp_path: Path) -> None:
    place = from_one_spot()
    far = float(np.quantile(np.concatenate([z.ravel() for z in place.z]), 0.8))
    rgb = [*place.rgb[:1], place.rgb[1].copy()]
    rgb[1][..., 0] *= 0.01  # all of the second photo is NaN
    capture, reconstruction = written(place, tmp_path, rgb=rgb)
    model = onnx_file(tmp_path / "net.onnx", nan_below=NEAREST / far)
    job = Job(tmp_path / "depth")
    maps = depth(capture, reconstruction, replace(QUICK, mono=str(model)), job)
    assert np.isnan(maps.z[0][place.z[0] > 1.05 * far]).all()
    assert np.isfinite(maps.z[0][place.z[0] < 0.9 * far]).mean() > 0.95 and np.nanmedian(errors(maps, place, 0)) < 0.01
    assert np.isnan(maps.z[1]).all() and "not finite" in notes(tmp_path / "depth")["photos"][place.names[1]]["reason"]
    assert any(place.names[1] in text and "not finite" in text for text in job.warnings)


@needs_onnx
def test_only_points_of_training_photos_count(tmp_path: Path) -> None:
    capture, reconstruction = written(from_one_spot(4), tmp_path)
    seen, model = reconstruction.model.observations, reconstruction.model
    capture = replace(capture, split=("train", "train", "test", "test"))
    keep = (seen.camera >= 2) | (
        seen.point < 25
    )  # 25 points in the training photos, the others in those held out alone
    few = Observations.of(seen.camera[keep], seen.point[keep], seen.xy[keep])
    options = replace(QUICK, mono=str(onnx_file(tmp_path / "net.onnx")))
    place = replace(reconstruction, model=replace(model, observations=few))
    maps = depth(capture, place, options, Job(tmp_path / "depth"))
    assert maps.names == model.names[:2]
    assert all(0 < about["points"] <= 25 for about in notes(tmp_path / "depth")["photos"].values())


def two_groups(folder: Path) -> tuple[Room, Capture, Reconstruction]:
    """Three photos side by side, and two from one spot that share no point with them."""
    poses = cameras_in_a_row(5).cam_from_world.copy()
    spot = poses[4, :3, 3].copy()
    poses[3, :3, 3] = poses[3, :3, :3] @ poses[4, :3, :3].T @ spot
    row = cameras_in_a_row(5)
    place = with_red(room(cameras=Cameras(poses, row.K, row.size)))
    capture, reconstruction = written(place, folder)
    seen = reconstruction.model.observations
    same = (seen.camera < 3) == (seen.point < 3 * 60)
    model = replace(
        reconstruction.model, observations=Observations.of(seen.camera[same], seen.point[same], seen.xy[same])
    )
    return place, capture, replace(reconstruction, model=model)


@needs_onnx
def test_guesses_fill_what_stereo_leaves_and_change_nothing_else(tmp_path: Path) -> None:
    place, capture, reconstruction = two_groups(tmp_path)
    hidden = np.zeros((SIZE[1], SIZE[0]), bool)
    hidden[20:50, 30:60] = True
    _, masked = written(place, tmp_path, masks=dict.fromkeys(range(5), ~hidden))
    reconstruction = replace(reconstruction, masks=masked.masks)
    quick = replace(QUICK, depth_passes=0)
    alone = depth(capture, reconstruction, quick, Job(tmp_path / "alone"))
    job = Job(tmp_path / "both")
    options = replace(quick, mono=str(onnx_file(tmp_path / "net.onnx", 4.0, -0.3)))
    both = depth(capture, reconstruction, options, job)
    filled = depth(capture, reconstruction, replace(options, fill_depth=True), Job(tmp_path / "filled"))
    for i in range(5):
        sure, guessed = alone.confidence[i] > 0, np.isfinite(both.z[i]) & (both.confidence[i] == 0)
        np.testing.assert_array_equal(both.confidence[i], alone.confidence[i])
        for a, b in ((both.z[i], alone.z[i]), (both.normal[i], alone.normal[i])):
            np.testing.assert_array_equal(a[sure], b[sure])
        assert guessed[~sure & ~hidden].mean() > 0.99 and np.isnan(both.z[i][hidden]).all()
        assert np.median(errors(both, place, i)[guessed]) < 0.01
        assert np.isnan(filled.z[i][hidden]).all()
        np.testing.assert_array_equal(filled.z[i][guessed], both.z[i][guessed])  # filling comes after guessing
        assert (sure.mean() > 0.3) == (i < 3)
    said = notes(tmp_path / "both")["photos"]
    assert said[place.names[0]]["pixels"] > 500 and said[place.names[4]]["pixels"] == 0
    assert job.metrics["without_depth"] == 2 and job.metrics["guessed"] > 0.3
    assert any("but a guess" in text and place.names[3] in text for text in job.warnings)


class _Interrupt(NoProgress):
    """Ctrl-C when the second photo is to be looked at."""

    photos = 0

    def advance(self, amount: float = 1) -> None: ...

    def update(self, done: float | None = None, text: str | None = None, total: float | None = None) -> None:
        self.photos += text is not None
        if self.photos == 2:
            raise KeyboardInterrupt

    def task(self, text: str, total: float | None):
        return contextlib.nullcontext(self)


@needs_onnx
def test_an_interrupted_run_does_not_look_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture, reconstruction = written(from_one_spot(), tmp_path)
    options = replace(QUICK, mono=str(onnx_file(tmp_path / "net.onnx")))
    with pytest.raises(KeyboardInterrupt):
        depth(capture, reconstruction, options, Job(tmp_path / "cut", _Interrupt()))
    parts = {p: p.stat().st_mtime_ns for p in (tmp_path / "cut" / "scratch").rglob("mono_*/**/*.npy")}
    assert len(parts) == 1
    resumed = depth(capture, reconstruction, options, Job(tmp_path / "cut"))
    assert all(p.stat().st_mtime_ns == then for p, then in parts.items())
    whole = depth(capture, reconstruction, options, Job(tmp_path / "whole"))
    for a, b in zip(whole.z, resumed.z, strict=True):
        np.testing.assert_array_equal(a, b)

    def opened(path: Path) -> None:
        raise AssertionError("all photos have been looked at")

    monkeypatch.setitem(mono_module.FORMS, "onnx", (*mono_module.FORMS["onnx"][:2], opened))
    again = depth(capture, reconstruction, options, Job(tmp_path / "cut"))
    np.testing.assert_array_equal(again.z[0], whole.z[0])
    onnx_file(tmp_path / "net.onnx", 2.0)  # another network: its photos are to be looked at
    with pytest.raises(AssertionError, match="looked at"):
        depth(capture, reconstruction, options, Job(tmp_path / "cut"))


@needs_onnx
def test_a_workspace_keeps_the_guesses_of_the_same_network_alone(tmp_path: Path) -> None:
    stage = written(from_one_spot(), tmp_path)
    here, moved = onnx_file(tmp_path / "net.onnx"), onnx_file(tmp_path / "elsewhere" / "other.onnx")
    workspace, options = Workspace(tmp_path / "ws"), replace(QUICK, mono=str(here))
    with workspace.writing("depth"):
        first = workspace.run("depth", options, {}, arguments=stage)
        assert workspace.plan("depth", replace(options, mono=str(moved)), {}).action == "reuse"
        onnx_file(moved, 2.0)
        with pytest.raises(WorkspaceError, match=r"made otherwise: --mono was sha256 \w+, now sha256 \w+\. Nothing"):
            workspace.run("depth", replace(options, mono=str(moved)), {}, arguments=stage)
        (told,) = workspace.plan("depth", replace(options, mono=str(here), depth_piece=7), {}).changes
    assert told.startswith("--depth-piece") and first["metrics"]["mono"] == "net.onnx"


def test_a_missing_model_stops_the_run_at_the_door(tmp_path: Path) -> None:
    capture, reconstruction = written(room(2), tmp_path)
    with pytest.raises(MissingPart, match=r"Apache-2\.0"):
        check_options(replace(QUICK, mono=str(tmp_path / "no.onnx")))  # before an earlier stage has begun
    with pytest.raises(MissingPart, match=r"Apache-2\.0"):
        depth(capture, reconstruction, replace(QUICK, mono=str(tmp_path / "no.onnx")), Job(tmp_path / "depth"))
    assert not list((tmp_path / "depth").rglob("*.npy"))


def test_normals_of_a_guess_are_those_of_its_surface() -> None:
    k = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    n = np.array([0.3, -0.2, -0.9]) / np.linalg.norm([0.3, -0.2, -0.9])
    x, y = np.meshgrid(np.arange(100) + 0.5, np.arange(80) + 0.5)
    w = np.stack([x, y, np.ones_like(x)], -1) @ (np.linalg.inv(k).T @ n / -4.0)
    np.testing.assert_allclose(camera_normals(planes_of(w), k), np.broadcast_to(n, (80, 100, 3)), atol=1e-3)
