"""The training loop, one for every representation: a generator of TrainEvents over a Training.

A step: pick a photo, render its camera, compare through the photo's exposure, go back, update, let the scene densify.
Of a scene that has render_rays(), a step is as many random pixels of all photos as its `rays_per_step` says.
All schedules are functions of progress in 0..1 (pace.py). Counting steps, the same seed, machine and number of threads
give the same bits.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recon.cameras import fit_size
from render.dataset import Dataset, Level
from render.depth_loss import DepthTargets
from render.exposure import Exposure
from render.initial import SceneInit
from render.losses import photometric, ray_loss
from render.optimize import Optimizer
from render.options import TrainOptions, check_for_field
from render.pace import Pace
from render.poses import Poses
from render.rays import sample_batch
from render.scene import Scene, TrainEvent

SCALES = ((0.0, 0.25), (0.15, 0.5), (0.4, 1.0))
"""(progress, scale of the photos from there on)."""
MIN_SIDE = 96
"""Scales at which the photos' longer side would be shorter than this are passed over."""
STEP_COST = 0.15
"""Of a step, relative to the cost of its pixels at the training size: what does not depend on resolution."""
RATE_EXPOSURE, RATE_POSE = 6e-3, 2e-4
"""Learning rates at the start, of colours (0..1) and of radians and units of extent."""
RATE_FINAL = 0.1
"""Share of these rates that is left at the end."""
RAYS_WATCHED = 1024
SMOOTHING = 0.02
"""Weight of the newest loss in the running mean."""


@dataclass
class Training:
    """A run and all that it changes."""

    scene: Scene
    optimizer: Optimizer
    dataset: Dataset
    pace: Pace
    scales: tuple[tuple[float, float], ...]
    exposure: Exposure | None
    poses: Poses | None
    rng: np.random.Generator
    random_background: bool
    device: str
    depth: DepthTargets | None = None
    loss: float = 0.0
    """Smoothed."""
    order: list[int] = field(default_factory=list)
    """Photos still to come in this round over all of them."""
    realised: list[dict[str, float]] = field(default_factory=list)
    """Where each scale began: {scale, step, seconds}."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON values of a checkpoint: restore() then goes on with the same bits."""
        tensors = _named("scene", self.scene.state()) | _named("optimizer", self.optimizer.state())
        if self.exposure is not None:
            tensors |= _named("exposure", self.exposure.state())
        if self.poses is not None:
            tensors |= _named("poses", self.poses.state())
        values = {
            "pace": self.pace.state(),
            "rng": self.rng.bit_generator.state,
            "loss": self.loss,
            "order": self.order,
            "realised": self.realised,
        }
        return tensors, values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        self.scene.restore(_part("scene", tensors))
        self.optimizer.restore(_part("optimizer", tensors))
        if self.exposure is not None:
            self.exposure.restore(_part("exposure", tensors))
        if self.poses is not None:
            self.poses.restore(_part("poses", tensors))
        self.pace.restore(values["pace"])
        self.rng.bit_generator.state = values["rng"]
        self.loss, self.order = float(values["loss"]), [int(i) for i in values["order"]]
        self.realised = list(values["realised"])


def _named(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in state.items()}


def _part(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(prefix + "/")}


def effective_long_side(size: NDArray, long_side: int) -> int:
    """The longer side of the largest photo once it is resized (0: as it is)."""
    return int(fit_size(size, long_side).max())


def resolution_plan(long_side: int, coarse: bool) -> tuple[tuple[float, float], ...]:
    """(progress, scale) steps for photos of a longer side, from small to full; one step when nothing starts coarse."""
    if not coarse:
        return ((0.0, 1.0),)
    used = [(start, scale) for start, scale in SCALES if scale == 1 or long_side * scale >= MIN_SIDE]
    return ((0.0, used[0][1]), *used[1:])


def scale_at(plan: tuple[tuple[float, float], ...], progress: float) -> float:
    """The scale of the photos at a moment."""
    return next(scale for start, scale in reversed(plan) if progress >= start)


def prepare(
    config: Any,
    init: SceneInit,
    dataset: Dataset,
    options: TrainOptions,
    *,
    depth: DepthTargets | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Training:
    """A run at its first step. `config` is a representation's (it has build()); `dataset` holds the scales of
    resolution_plan(), `depth` the maps of its photos."""
    scene = config.build(init)
    by_rays = hasattr(scene, "render_rays")
    if by_rays:
        check_for_field(options)
    plan = resolution_plan(int(dataset.cameras.size.max()), options.coarse_to_fine in ("both", "resolution"))
    cost = {scale: 1.0 if by_rays else STEP_COST + (1 - STEP_COST) * scale**2 for _, scale in plan}
    seconds = None if options.minutes is None else 60 * options.minutes
    return Training(
        scene=scene,
        optimizer=Optimizer(scene.parameters()),
        dataset=dataset,
        pace=Pace(options.steps, seconds, clock, lambda progress: cost[scale_at(plan, progress)]),
        scales=plan,
        exposure=Exposure(len(dataset), init.setup.device) if options.exposure else None,
        poses=Poses(dataset.cameras.cam_from_world, init.setup.extent, init.setup.device)
        if options.refine_poses
        else None,
        rng=np.random.default_rng(options.seed),
        random_background=dataset.matte,
        device=init.setup.device,
        depth=depth,
    )


def train(run: Training) -> Iterator[TrainEvent]:
    """Train to the end of the run's pace; one event a step, and one of kind "end"."""
    with _torch_threads(run.device, getattr(run.scene, "torch_threads", 1)):
        yield from _train(run)


@contextlib.contextmanager
def _torch_threads(device: str, wanted: int | None) -> Iterator[None]:
    """As many threads of torch's as the scene wants; None: as there are. One, where it says nothing: on the CPU the kernels
    bring their own threads, and torch's would spin between its small operations and cost several times the work itself (97
    instead of 19 CPU ms a step on two cores)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads if device != "cpu" or wanted is None else min(wanted, threads))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(run: Training) -> Iterator[TrainEvent]:
    run.pace.start()
    step = _ray_step if hasattr(run.scene, "render_rays") else _step
    while not run.pace.over:
        scale = scale_at(run.scales, run.pace.progress)
        if not run.realised or run.realised[-1]["scale"] != scale:
            run.realised.append({"scale": scale, "step": run.pace.step, "seconds": run.pace.spent})
        edited = step(run, run.dataset.levels[scale])
        run.pace.tick()
        yield _event(run, "densify" if edited else "step", scale)
    yield _event(run, "end", 1.0)


def _event(run: Training, kind: str, scale: float) -> TrainEvent:
    count = len(next(iter(run.scene.parameters().per_splat.values()), ()))
    long_side = int(run.dataset.levels[scale].cameras.size.max())
    return TrainEvent(kind, run.pace.step, run.pace.progress, run.loss, run.pace.spent, count, long_side)


def _step(run: Training, level: Level) -> bool:
    """One photo; True when rows were edited."""
    progress = run.pace.progress
    rates = run.scene.schedule(progress)
    if not run.order:
        run.order = [int(i) for i in run.rng.permutation(len(run.dataset))]
    index = run.order.pop()
    background = run.rng.random(3).astype(np.float32) if run.random_background else np.zeros(3, np.float32)
    photo = level.photo(index)
    target = torch.from_numpy(photo.over(background)).to(run.device)
    mask = None if photo.mask is None else torch.from_numpy(photo.mask).to(run.device)
    leaf = None if run.poses is None else run.poses.leaf(index)
    pose = None if run.poses is None or leaf is None else run.poses.cam_from_world(index, leaf)
    camera, behind = level.cameras[index], torch.from_numpy(background).to(run.device)
    teacher = None if run.depth is None else run.depth.at_step(run.pace.step, index)
    more = {} if teacher is None else {"with_z": True}
    rendering = run.scene.render(camera, behind, pose, **more)
    rgb = rendering.rgb[0]
    pulls = [(rgb, _loss(run, index, rgb.detach(), target, mask, RATE_EXPOSURE * RATE_FINAL**progress))]
    if teacher is not None:
        seen = (rendering.extra["weighted_z"][0], rendering.alpha[0])
        pulls += zip(seen, teacher.pulls(index, camera, *seen, mask, progress), strict=True)
    penalty = run.scene.regularize(rendering)
    if penalty is not None:
        pulls.append((penalty, torch.ones_like(penalty)))
    torch.autograd.backward([image for image, _ in pulls], [gradient for _, gradient in pulls])
    run.optimizer.step(rates)
    if run.poses is not None and leaf is not None and leaf.grad is not None:
        run.poses.step(index, leaf.grad, RATE_POSE * RATE_FINAL**progress)
    return run.scene.after_step(run.pace.step + 1, progress)


def _ray_step(run: Training, level: Level) -> bool:
    """Random pixels of all photos, each over a colour of its own where photos have mattes."""
    scene: Any = run.scene
    progress = run.pace.progress
    rates = scene.schedule(progress)
    batch = sample_batch(level, run.rng, scene.rays_per_step, scene.setup)
    behind = np.zeros((len(batch.rays), 3), np.float32)
    if run.random_background or scene.behind_all:
        behind = run.rng.random((len(batch.rays), 3), np.float32)
    target = torch.from_numpy(batch.over(behind)).to(run.device)
    seen = scene.render_rays(batch.rays.to(run.device), torch.from_numpy(behind).to(run.device))
    loss = ray_loss(scene.ray_loss, seen.rgb, target)
    _note_loss(run, float(loss.detach()))
    for rgb in seen.others:
        loss = loss + ray_loss(scene.ray_loss, rgb, target)
    if seen.penalty is not None:
        loss = loss + seen.penalty
    loss.backward()
    run.optimizer.step(rates)
    return scene.after_step(run.pace.step + 1, progress)


def _note_loss(run: Training, loss: float) -> None:
    run.loss = loss if run.pace.step == 0 else run.loss + SMOOTHING * (loss - run.loss)


def _loss(run: Training, index: int, rgb: Tensor, target: Tensor, mask: Tensor | None, rate: float) -> Tensor:
    """d loss / d rgb [H, W, 3] through the photo's exposure, which takes a step of its own."""
    with torch.no_grad():
        exposed = rgb if run.exposure is None else run.exposure.apply(index, rgb)
        loss, d_rgb, _, _ = photometric(exposed, target, mask)
        if run.exposure is not None:
            d_rgb = run.exposure.backward(index, rgb, d_rgb, rate)
    _note_loss(run, loss)
    return d_rgb


@torch.no_grad()
def _rays_psnr(scene: Any, level: Level, device: str) -> float:
    batch = sample_batch(level, np.random.default_rng(0), RAYS_WATCHED, scene.setup)
    black = np.zeros(3, np.float32)
    rgb = scene.render_rays(batch.rays.to(device), torch.from_numpy(black).to(device)).rgb.clamp(0, 1).cpu().numpy()
    error = np.mean((batch.over(black) - rgb) ** 2, dtype=np.float64)
    return float(-10 * np.log10(max(float(error), 1e-10)))


@torch.no_grad()
def training_psnr(run: Training, views: list[int], scale: float) -> float:
    """Mean PSNR of some training photos at a scale, exposure applied: the curve that one watches. Of a scene of rays, over
    RAYS_WATCHED pixels of all training photos, the same ones each time."""
    if hasattr(run.scene, "render_rays"):
        return _rays_psnr(run.scene, run.dataset.levels[scale], run.device)
    level, errors = run.dataset.levels[scale], []
    for index in views:
        photo = level.photo(index)
        background = np.zeros(3, np.float32)
        rgb = run.scene.render(level.cameras[index], torch.from_numpy(background).to(run.device)).rgb[0]
        rgb = (rgb if run.exposure is None else run.exposure.apply(index, rgb)).clamp(0, 1).cpu().numpy()
        valid = np.ones(rgb.shape[:2], bool) if photo.mask is None else photo.mask > 0.5
        error = np.mean((photo.over(background)[valid] - rgb[valid]) ** 2, dtype=np.float64) if valid.any() else 1.0
        errors.append(-10 * np.log10(max(float(error), 1e-10)))
    return float(np.mean(errors))
