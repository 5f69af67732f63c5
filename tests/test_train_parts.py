"""What training is made of: its pace, its plans, exposure, the refinement of poses."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recon.geometry import rotation_from_quat, se3
from recon.job import Job, NoProgress
from render.exposure import Exposure
from render.options import TrainOptions
from render.pace import Pace
from render.poses import motion
from render.stage_train import train_stage
from render.train import resolution_plan, scale_at
from tests.synthetic_scene import capture_of

SMALL = TrainOptions(steps=120, minutes=None, long_side=64, splats=250, sh_degree=1, exposure=False, device="cpu")


# Parts


def run_pace(pace: Pace, times: list[float], cost: Any) -> list[float]:
    """Progress after each step, on a clock that each step moves by cost(progress)."""
    seen = []
    pace.start()
    while not pace.over:
        times[0] += cost(pace.progress)
        pace.tick()
        seen.append(pace.progress)
    return seen


@pytest.mark.parametrize("true_ratio", [4.0, 16.0, 40.0])
def test_time_becomes_even_progress_whatever_steps_cost(true_ratio: float) -> None:
    """Steps of the second half are dearer than of the first; the pace believes 16 times, which may be wrong."""
    times = [100.0]
    pace = Pace(None, 10.0, lambda: times[0], lambda p: 1.0 if p < 0.5 else 16.0)
    seen = run_pace(pace, times, lambda p: 0.01 if p < 0.5 else 0.01 * true_ratio)
    assert 9.4 < times[0] - 100 < 10.6 and seen[-1] == 1.0
    gain = np.diff(seen)
    wrong = max(true_ratio / 16, 16 / true_ratio)  # how far off the belief is
    assert (gain >= 0).all() and gain[10:-10].max() < 1.5 * wrong * np.median(gain)


def test_a_resumed_pace_counts_the_time_before() -> None:
    times = [0.0]
    first = Pace(None, 10.0, lambda: times[0], lambda p: 1.0)
    first.start()
    for _ in range(40):
        times[0] += 0.1
        first.tick()
    second = Pace(None, 10.0, lambda: times[0], lambda p: 1.0)
    second.restore(json.loads(json.dumps(first.state())))
    times[0] += 1000  # the machine was off
    run_pace(second, times, lambda p: 0.1)
    assert second.spent == pytest.approx(10, abs=0.3) and 95 <= second.step <= 102


@pytest.mark.parametrize("slow", [0, 1, 300, 700])
def test_one_slow_step_says_nothing_of_those_to_come(slow: int) -> None:
    """A step that takes as long as 200 others uses up 200 steps' time; the schedule stays even around it."""
    times, step = [0.0], [0]
    pace = Pace(None, 10.0, lambda: times[0], lambda p: 1.0)

    def cost(progress: float) -> float:
        step[0] += 1
        return 2.0 if step[0] - 1 == slow else 0.01

    seen = run_pace(pace, times, cost)
    assert times[0] == pytest.approx(10, abs=0.3) and len(seen) == pytest.approx(801, abs=20)
    assert np.diff(seen).max() < 0.006 and seen[0] < 0.01


def test_a_time_that_ends_within_the_first_step_ends_training() -> None:
    times = [0.0]
    assert run_pace(Pace(None, 1.0, lambda: times[0], lambda p: 1.0), times, lambda p: 5.0) == [1.0]


def test_compiling_comes_before_the_clock_starts_and_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []

    class Terminal(NoProgress):
        def say(self, text: str) -> None:
            said.append(text)

    compiled = []
    monkeypatch.setattr("render.kernels.warm.kernels_are_compiled", lambda: False)
    monkeypatch.setattr("render.kernels.warm.warm_up", lambda: compiled.append(time.sleep(1.5)))
    capture, posed = capture_of(tmp_path)
    job = Job(tmp_path / "train", progress=Terminal())
    train_stage(capture, posed, replace(SMALL, steps=None, minutes=0.01), job)
    assert compiled and any("Compiling for this processor" in text for text in said)
    assert job.metrics["steps"] > 5, "the second and a half of compiling was taken from the 0.6 seconds of training"


def test_steps_are_counted_exactly() -> None:
    pace = Pace(7, 1.0, time.perf_counter, lambda p: 1.0)
    assert run_pace(pace, [0.0], lambda p: 0.0) == [pytest.approx((i + 1) / 7) for i in range(7)]


def test_resolution_plans() -> None:
    assert resolution_plan(960, False) == ((0.0, 1.0),)
    assert resolution_plan(100, True) == ((0.0, 1.0),)
    plan = resolution_plan(960, True)
    scales = [scale_at(plan, p) for p in np.linspace(0, 1, 101)]
    assert scales == sorted(scales) and scales[0] < 1 and scales[-1] == 1
    assert resolution_plan(250, True)[0] == (0.0, 0.5)


def test_exposure_gradients_are_those_of_autograd() -> None:
    exposure = Exposure(3)
    exposure.affine.copy_(0.1 * torch.randn(3, 4, 3, generator=torch.Generator().manual_seed(0)))
    exposure.affine -= exposure.affine.mean(0)
    affine = exposure.affine[1].clone().requires_grad_()
    rgb = torch.rand(5, 6, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    weight = torch.rand(5, 6, 3, generator=torch.Generator().manual_seed(2))
    out = rgb + rgb @ affine[:3] + affine[3]
    assert torch.allclose(exposure.apply(1, rgb.detach()), out.detach(), atol=1e-6)
    (out * weight).sum().backward()
    before = exposure.affine[1].clone()
    d_rgb = exposure.backward(1, rgb.detach(), weight, 1e-3)
    assert rgb.grad is not None and affine.grad is not None
    assert torch.allclose(d_rgb, rgb.grad, atol=1e-6)
    moved = exposure.affine[1] - before
    assert torch.equal(torch.sign(moved), -torch.sign(affine.grad))
    assert exposure.affine.mean(0).abs().max() < 1e-7


def test_motions_are_rigid_and_have_a_derivative_at_zero() -> None:
    delta = torch.tensor([0.3, -0.2, 0.5, 0.1, 0.2, 0.3], dtype=torch.float64)
    angle = float(delta[:3].norm())
    quat = np.concatenate([[np.cos(0.5 * angle)], np.sin(0.5 * angle) / angle * delta[:3].numpy()])
    assert np.allclose(motion(delta, 2.0).numpy(), se3(rotation_from_quat(quat), 2 * delta[3:].numpy()), atol=1e-12)
    zero = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: motion(d, 2.0), (zero,))
    small = torch.tensor([1e-3, 2e-3, -1e-3, 0, 0, 0], dtype=torch.float64)
    assert torch.allclose(
        motion(small, 1.0)[:3, :3] @ motion(small, 1.0)[:3, :3].T, torch.eye(3, dtype=torch.float64), atol=1e-12
    )


def test_an_interrupt_outside_the_main_thread_is_left_alone() -> None:
    import threading

    from render.stage_train import _interruptible

    results = []

    def work() -> None:
        with _interruptible() as asked:
            results.append(asked.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [False] and signal.getsignal(signal.SIGINT) is not None and os.getpid() > 0
