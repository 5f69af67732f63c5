"""What an evaluation tells the terminal and the report when there is little to tell."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recon.job import Job
from recon.status import numbers
from render.evaluate import ViewScore, evaluate, load_metrics
from render.options import EvalOptions, TrainOptions
from render.stage_train import train_stage
from tests.synthetic_scene import capture_of

FEW_STEPS = TrainOptions(steps=5, minutes=None, long_side=64, splats=250, sh_degree=1, device="cpu")


def test_no_held_out_photos_are_said(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path, 4)
    capture = replace(capture, split=("train",) * 4, protocol="no photo held out (asked for)")
    scene = train_stage(capture, posed, FEW_STEPS, Job(tmp_path / "train"))
    job = Job(tmp_path / "eval")
    metrics = evaluate(capture, posed, scene, EvalOptions(), job)
    assert metrics == load_metrics(tmp_path / "eval")
    assert metrics["psnr"] is None and metrics["train_psnr"] > 5 and "no photo" in metrics["protocol"]
    assert numbers(job.metrics) == f"held out none, so no error is measured, train psnr {metrics['train_psnr']:.4g}"
    assert "eval, up to this page" in (tmp_path / "eval/report.html").read_text(encoding="utf-8")


def test_held_out_photos_that_are_all_lost_are_said(tmp_path: Path) -> None:
    capture, posed = capture_of(tmp_path, 4)
    capture = replace(capture, split=("test", "train", "train", "train"))
    posed = replace(posed, model=posed.model.select(np.arange(1, 4)))
    scene = train_stage(capture, posed, FEW_STEPS, Job(tmp_path / "train"))
    job = Job(tmp_path / "eval")
    assert evaluate(capture, posed, scene, EvalOptions(report=False), job)["lost"] == [capture.names[0]]
    assert numbers(job.metrics).startswith("held out 1 photo without a pose, so no error is measured, train psnr ")


def test_photos_masked_all_over_have_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture, posed = capture_of(tmp_path, 4)
    capture = replace(capture, split=("train",) * 4)
    scene = train_stage(capture, posed, FEW_STEPS, Job(tmp_path / "train"))
    monkeypatch.setattr("render.evaluate.compare", lambda view: ViewScore(np.nan, np.nan, np.nan))
    assert evaluate(capture, posed, scene, EvalOptions(report=False), Job(tmp_path / "eval"))["train_psnr"] is None
