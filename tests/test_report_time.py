"""Filmed photos in metrics.json and the report: what moves is judged apart, moments are those of the capture, strips are even."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recon.cameras import Cameras
from recon.job import Job
from recon.moving_region import MovingRegions, worth_telling
from recon.status import numbers
from recon.takes import is_film, rate_of, takes_of
from render.evaluate import evaluate
from render.filmed import film_of, read_mask
from render.options import EvalOptions
from render.report_time import camera_lines, evenly, fullest
from render.scene import Rendering
from tests.moving_scene import MovingScene, as_folder, one_camera, six_cameras, written
from tests.photo_files import run_ingest
from tests.test_report import Page, decode, parse

FADE = 0.3


class Faded:
    """Renders the true photos, but for what moves, which is darker by FADE."""

    def __init__(self, truth: MovingScene, *, moves: bool = True) -> None:
        self.truth, self.history, self.device = truth, [], torch.device("cpu")
        self.info: dict[str, Any] = {"splats": 3, "steps": 5, "long_side": 128, "background": (0.0, 0.0, 0.0)}
        if moves:
            self.times = (0.0, 1.0)

    def to(self, device: str) -> Faded:
        return self

    def render(self, cameras: Cameras, background: Any = None) -> Rendering:
        assert cameras.time is not None
        poses = np.abs(self.truth.cameras.cam_from_world - cameras.cam_from_world).max((1, 2))
        row = int(np.argmin(poses + np.abs(self.truth.cameras.time - cameras.time)))  # type: ignore[operator]
        rgb = self.truth.photos[row] / np.float32(255)
        rgb = torch.from_numpy(np.where(self.truth.moving[row][..., None], (1 - FADE) * rgb, rgb).astype(np.float32))
        return Rendering(rgb[None], torch.ones(rgb.shape[:2])[None], torch.ones(rgb.shape[:2])[None])


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Job, Page, MovingScene]:
    """Six fixed cameras, evaluated."""
    truth, folder = six_cameras(), tmp_path_factory.mktemp("judged")
    capture, reconstruction = written(truth, folder)
    job = Job(folder / "w" / "eval" / "main")
    metrics = evaluate(capture, reconstruction, Faded(truth), EvalOptions(), job)  # type: ignore[arg-type]
    return metrics, job, parse(job.folder / "report.html"), truth


def test_the_moving_region_of_fixed_cameras_is_the_true_one(tmp_path: Path) -> None:
    truth = six_cameras()
    _, reconstruction = written(truth, tmp_path)
    regions = MovingRegions(reconstruction, truth.camera)
    found = np.stack([regions(row) for row in range(0, len(truth), 7)])
    true = truth.moving[::7]
    assert (found & true).sum() > 0.75 * true.sum(), "what moves is found"
    assert (found & true).sum() > 0.6 * found.sum(), "and little else"
    assert "median" in regions.how and "flow" not in regions.how


def test_nothing_moves_before_fixed_cameras_in_an_empty_room(tmp_path: Path) -> None:
    truth = six_cameras()
    still = replace(truth, photos=truth.photos[truth.camera * 12], moving=np.zeros_like(truth.moving))
    _, reconstruction = written(still, tmp_path)
    regions = MovingRegions(reconstruction, still.camera)
    assert not worth_telling([regions(row).mean() for row in range(0, len(still), 7)])
    assert worth_telling([0.01, 0.02, 0.0])


def test_what_moves_is_judged_apart(judged: tuple[dict[str, Any], Job, Page, MovingScene]) -> None:
    metrics, job, _, truth = judged
    assert metrics["still_psnr"] > metrics["psnr"] + 3 and metrics["moving_psnr"] < metrics["psnr"] - 1
    row = next(row for row in metrics["images"] if row["name"] == "cam4/0005.png")
    index = truth.names.index(row["name"])
    assert (row["camera"], row["moment"]) == ("cam4", 5) and row["time"] == pytest.approx(5 / 6.0, abs=1e-6)
    mask = read_mask(job.folder, row["name"])
    assert mask is not None and row["moving_share"] == pytest.approx(mask.mean())
    photo = truth.photos[index] / 255.0
    error = np.where(truth.moving[index], ((FADE * photo) ** 2).mean(-1), 0.0)[mask].mean()
    assert row["moving_psnr"] == pytest.approx(-10 * np.log10(error), abs=0.1)
    film = metrics["film"]
    assert (film["moments"], film["moments_held_out"], film["cameras"]) == (12, 2, 6), (
        "cam4 is held out, its moments are not"
    )
    assert (film["start"], film["fps"]) == (0, 6.0) and film["end"] == pytest.approx(11 / 6.0, abs=1e-6)
    assert "held out 2 of 12 moments" in numbers(job.metrics) and job.metrics["seconds_a_view"] > 0


def test_the_report_has_curves_by_camera_and_film_strips(judged: tuple[dict[str, Any], Job, Page, MovingScene]) -> None:
    _, _, page, truth = judged
    curves = [f.attributes["data-curve"] for f in page.all("figure", class_="chart")]
    assert curves[:3] == ["psnr", "ssim", "parts"]
    points = [int(p.attributes["data-points"] or 0) for p in page.all("polyline")]
    assert points[:6] == [2, 2, 2, 12, 2, 2], "cam4 has all moments"
    assert points[12:14] == [12, 12], "moving and still pixels: of the one camera that is there all the time"
    titles = [b.text for b in page.all("b") if "what moves" in b.text]
    assert titles == ["PSNR of what moves and of the rest (estimated), cam4"]
    assert any("estimated from photos and poses, not from the scene" in p.text for p in page.all("p"))
    strips = [n.attributes["aria-label"] for n in page.all("div") if "strip" in (n.attributes.get("class") or "")]
    assert [s.split(",")[0] for s in strips if s] == [f"Film strip of {c}" for c in ("cam4", "cam1", "cam2", "cam3")]
    pictures = [n for n in page.all("img") if " at " in (n.attributes["alt"] or "")]
    assert len(pictures) == 4 * (8 + 2 + 2 + 2) and all(n.attributes["src"].startswith("data:") for n in pictures)
    first = next(n for n in pictures if n.attributes["alt"] == "Photo of cam4/0000.png at 0.00 s")
    photo = truth.photos[truth.names.index("cam4/0000.png")]
    assert np.abs(decode(first.attributes["src"] or "") - photo).mean() < 8
    assert any(tr.text.startswith("cam4/0005.png") and "0.83" in tr.text for tr in page.all("tr"))


def test_a_still_scene_of_a_moving_camera_is_told_no_motion(tmp_path: Path) -> None:
    truth = one_camera(24)
    capture, reconstruction = written(truth, tmp_path)
    assert film_of(capture, reconstruction, Faded(truth, moves=False)) is None, "numbered photos: made-up times"
    film = film_of(replace(capture, kind="video"), reconstruction, Faded(truth, moves=False))
    assert film is not None and film.regions is None and "camera" not in film.about("0003.png")
    film = film_of(capture, reconstruction, Faded(truth))
    assert film is not None and film.regions is not None and "epipolar" in film.regions.how


def test_the_status_of_photos_tells_their_film(tmp_path: Path) -> None:
    _, job = run_ingest(as_folder(six_cameras(), tmp_path / "set"), tmp_path / "job")
    assert numbers(job.metrics).startswith("film 0 to 1.833 s, 6 a second, 12 moments, ")


def test_takes_and_their_rate() -> None:
    names = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    assert takes_of(names, np.zeros(4)).tolist() == [0, 0, 1, 1]
    assert takes_of(names, np.zeros(4), np.array([3, 3, 3, 3])).tolist() == [0, 0, 0, 0], "one pose, one camera"
    take, time = np.array([0, 0, 1, 1]), np.array([0.0, 0.1, 0.03, 0.13])
    assert rate_of(time, take) == pytest.approx(10), "another camera's clock does not count"
    assert is_film(time, take) and not is_film(10 * time, take) and not is_film(None, take)


def test_moments_of_a_strip_are_even() -> None:
    rows = [{"name": str(i), "time": t} for i, t in enumerate([0, 0.1, 0.2, 0.3, 5.0, 10.0])]
    assert [row["time"] for row in evenly(rows, 3)] == [0, 5.0, 10.0]
    assert [row["time"] for row in evenly(rows, 20)] == [0, 0.3, 5.0, 10.0], "none twice"


def test_more_cameras_than_a_chart_can_tell_apart() -> None:
    rows = [
        {"name": f"{c}/{t}", "camera": f"c{c}", "time": t + 0.001 * c, "moment": t, "psnr": 20.0 + c}
        for c in range(9)
        for t in range(6)
        if c == 4 or t % 3 == 0
    ]
    lines = {line.label: line.points for line in camera_lines(rows, "psnr")}
    assert list(lines) == ["mean of the cameras", "worst camera", "best camera", "c4"]
    assert [v for _, v in lines["mean of the cameras"]] == [24.0, 24.0] and len(lines["c4"]) == 6
    assert [v for _, v in lines["worst camera"]] == [20.0, 20.0]
    assert fullest(rows)[0] == ", c4" and {row["camera"] for row in fullest(rows)[1]} == {"c4"}
