"""The train stage: from a capture and its reconstruction to a scene on disk, with checkpoints, a live preview, and resume.

Writes scene.npz (what load_scene() reads), scene.ply when the scene is splats, cameras.npz when training refined the
cameras, and history.jsonl (the curves). While it works: preview.npz, and a checkpoint in the job's scratch folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from recon.capture import Capture
from recon.errors import InputError
from recon.files import atomic_write, save_npz, sha256_json
from recon.job import Job
from recon.takes import film_line
from render.dataset import Dataset, open_dataset
from render.depth_loss import DepthTargets
from render.depth_points import SEED_SHARE, depth_points
from render.devices import get_ready, pick_device
from render.filmed import in_motion
from render.formats.ply import write_ply
from render.initial import (
    MIN_POINTS,
    RANDOM_POINTS,
    SceneInit,
    SceneSetup,
    common_ball,
    random_points,
    scene_extent,
    spacing,
    surroundings,
    timeline,
    training_points,
    view_width,
)
from render.moving_input import as_it_moves, check_capture
from render.options import TrainOptions, check_options, left_out_by_field
from render.scene import Scene, TrainEvent
from render.scene_file import read_npz, read_refined, read_scene, save_scene
from render.scenes import config_of
from render.train import Training, effective_long_side, prepare, resolution_plan, train, training_psnr

if TYPE_CHECKING:
    from recon.depth.maps import DepthMaps
    from recon.reconstruction import Reconstruction

CHECKPOINT_SECONDS = 20.0
PREVIEW_SECONDS = 5.0
HISTORY_SECONDS, HISTORY_SHARE = 2.0, 0.02
"""A line of history comes after this time, or this share of the time spent, whichever is longer."""
HISTORY_VIEWS = 2
"""Training photos whose PSNR stands in the history."""


def train_stage(
    capture: Capture,
    reconstruction: Reconstruction,
    options: TrainOptions,
    job: Job,
    maps: DepthMaps | None = None,
) -> Scene:
    """Train a scene on the capture's training photos, and on their depth maps where --depth-weight says so.

    Raises InputError when there is nothing to train on.
    """
    check_options(options)
    check_capture(capture, options)
    get_ready(pick_device(options.device), job)
    dataset = training_data(capture, reconstruction, options, job.scratch)
    options, moves = as_it_moves(options, capture, dataset, job)
    depth = depth_targets(maps, dataset, options)
    init = initial_scene(reconstruction, dataset, options, depth)
    run = prepare(config_of(options.scene)(), init, dataset, options, depth=depth)
    run.scene.info = {"scene": options.scene, **moves, "background": (0.0, 0.0, 0.0)}
    if not run.scene.parameters().per_splat and (unused := left_out_by_field(options)):
        job.warn(f"{', '.join(unused)}: --scene {options.scene} has no splats, so this changes nothing")
    watcher = _Watcher(run, job, _fingerprint(options, dataset, depth))
    watcher.resume()
    with job.task("training", total=1.0) as task, _interruptible() as interrupted:
        for event in train(run):
            task.update(done=event.progress, text=_line(event))
            watcher.watch(event)
            if interrupted.is_set():
                watcher.checkpoint()
                raise KeyboardInterrupt
    return _finish(run, job)


def train_from(capture: Capture, reconstruction: Reconstruction, *rest: Any) -> Scene:
    """train_stage() as the stage table calls it: where the options ask for depth maps, these come before the options."""
    *maps, options, job = rest
    return train_stage(capture, reconstruction, options, job, *maps)


def training_data(capture: Capture, reconstruction: Reconstruction, options: TrainOptions, folder: Path) -> Dataset:
    """The registered training photos, resized into `folder`."""
    test = capture.test_names
    names = [name for name in reconstruction.model.names if name not in test]
    if not names:
        raise InputError(
            "No training photo has a pose: every photo that structure from motion placed is held out. "
            "Use --holdout none, or add photos."
        )
    coarse = options.coarse_to_fine in ("both", "resolution")
    long_side = effective_long_side(reconstruction.model.cameras.size, options.long_side)
    scales = [scale for _, scale in resolution_plan(long_side, coarse)]
    return open_dataset(
        reconstruction,
        names,
        options.long_side,
        folder,
        scales=scales,
        masks=options.masks in ("both", "masks"),
        mattes=options.masks in ("both", "mattes"),
    )


def depth_targets(maps: DepthMaps | None, dataset: Dataset, options: TrainOptions) -> DepthTargets | None:
    """The training photos' depth maps as a loss; None without --depth-weight. Raises InputError when there are none."""
    if options.depth_weight == 0:
        return None
    if maps is None:
        raise InputError("--depth-weight needs depth maps, and there are none. Make them with `recon depth` first.")
    return DepthTargets.of(maps, dataset.names, options.depth_weight)


def initial_scene(
    reconstruction: Reconstruction, dataset: Dataset, options: TrainOptions, depth: DepthTargets | None = None
) -> SceneInit:
    """Points that the training photos and their depth maps know, with colours from training photos; without such points,
    random ones.
    """
    model = reconstruction.model
    index = {name: i for i, name in enumerate(model.names)}
    rows = np.array([index[name] for name in dataset.names], np.int64)
    is_train = np.zeros(len(model.names), bool)
    is_train[rows] = True
    xyz, rgb = training_points(model, is_train, dataset.levels[1.0], rows)
    measured = len(xyz)
    if depth is not None:
        more = depth_points(depth, dataset, xyz, int(SEED_SHARE * options.splats), options.seed)
        xyz, rgb = np.concatenate([xyz, more[0]]), np.concatenate([rgb, more[1]])
    guessed = len(xyz) < MIN_POINTS
    if guessed:
        xyz, rgb = random_points(dataset.cameras, min(RANDOM_POINTS, options.splats), options.seed)
    times, fps = timeline(model.cameras, model.names)
    extent = view_width(dataset.cameras, xyz[:measured] if measured >= MIN_POINTS else xyz)
    setup = SceneSetup(
        extent=extent,
        near=0.01 * scene_extent(dataset.cameras),
        splats=options.splats,
        sh_degree=options.sh_degree,
        antialiased=options.antialiased,
        densify=options.densify == "mcmc",
        grow_sh=options.coarse_to_fine in ("both", "sh"),
        seed=options.seed,
        device=pick_device(options.device),
        world=model.world,
        times=times,
        fps=fps,
        **dataclasses.asdict(surroundings(dataset.cameras, xyz if measured >= MIN_POINTS else xyz[:0], dataset.matte)),
    )
    volume = common_ball(dataset.cameras)
    return SceneInit(xyz, rgb, spacing(xyz, 1e-6 * extent), setup, guessed, volume)


class _Watcher:
    """Checkpoints, previews and history of a run; it listens and changes nothing."""

    def __init__(self, run: Training, job: Job, fingerprint: str) -> None:
        self._run, self._job, self._fingerprint = run, job, fingerprint
        self._saved = self._shown = time.monotonic()
        self._noted, self._noted_step = -1.0, -1
        self._views = sorted({0, len(run.dataset) // 2})[:HISTORY_VIEWS]

    @property
    def _checkpoint(self) -> Path:
        return self._job.scratch / "checkpoint.npz"

    @property
    def _history(self) -> Path:
        return self._job.folder / "history.jsonl"

    def resume(self) -> None:
        """Go on from the checkpoint of the same run, where there is one."""
        step = -1
        if self._checkpoint.is_file():
            arrays = read_npz(self._checkpoint)
            values = json.loads(str(arrays.pop("values")))
            if values["fingerprint"] == self._fingerprint:
                tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
                self._run.restore(tensors, values)
                step = self._run.pace.step
                self._job.say(f"training goes on at step {step}, {self._run.pace.spent:.0f} s in")
        kept = [line for line in _lines(self._history) if line.endswith("}") and json.loads(line)["step"] <= step]
        with atomic_write(self._history) as stream:
            stream.write("".join(line + "\n" for line in kept).encode())

    def watch(self, event: TrainEvent) -> None:
        """Called after every step."""
        now, last = time.monotonic(), event.kind == "end"
        if last or event.seconds - self._noted >= max(HISTORY_SECONDS, HISTORY_SHARE * event.seconds):
            self._noted = event.seconds
            self._note(event)
        if not last and now - self._shown >= PREVIEW_SECONDS:
            self._preview(event)
            self._shown = time.monotonic()
        if not last and now - self._saved >= CHECKPOINT_SECONDS:
            self.checkpoint()
            self._saved = time.monotonic()

    def checkpoint(self) -> None:
        tensors, values = self._run.state()
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        save_npz(self._checkpoint, values=json.dumps(values | {"fingerprint": self._fingerprint}), **arrays)

    def _note(self, event: TrainEvent) -> None:
        if event.step == self._noted_step:  # the end comes after the last step's own event
            return
        self._noted_step = event.step
        scale = self._run.realised[-1]["scale"]
        row = {
            "seconds": round(event.seconds, 3),
            "step": event.step,
            "loss": round(event.loss, 6),
            **({"splats": event.splats} if event.splats else {}),
            "long_side": event.long_side,
            "psnr": round(training_psnr(self._run, self._views, scale), 3),
        }
        with open(self._history, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def _preview(self, event: TrainEvent) -> None:
        columns = self._run.scene.parameters().per_splat
        if not columns:  # a field is shown when it is finished: drawing it takes the time of many steps
            return
        arrays = {name: column.detach().cpu().numpy() for name, column in columns.items()}
        world = json.dumps(self._run.scene.setup.world.to_json())
        save_npz(self._job.folder / "preview.npz", step=event.step, world=world, **arrays)


def _finish(run: Training, job: Job) -> Scene:
    """Write the results, remove the preview, and hand over the scene."""
    scene: Any = run.scene
    scene.finish()
    scene.info |= {
        "splats": len(scene.at()) if hasattr(scene, "at") else None,
        "steps": run.pace.step,
        "long_side": int(run.dataset.cameras.size.max()),
    }
    save_scene(job.folder / "scene.npz", scene)
    if hasattr(scene, "at"):
        write_ply(job.folder / "scene.ply", scene.at())
    if run.poses is not None:
        cameras, names = run.dataset.cameras, np.array(run.dataset.names)
        moved = run.poses.refined()
        save_npz(job.folder / "cameras.npz", names=names, cam_from_world=moved, K=cameras.K, size=cameras.size)
    (job.folder / "preview.npz").unlink(missing_ok=True)
    first = {"scene": scene.info["scene"]} | time_line(scene)
    first |= {key: scene.info[key] for key in ("splats", "steps", "long_side")} | {"seconds": round(run.pace.spent, 2)}
    job.metrics.update(first | scene.info | {"device": run.device, "schedule": run.realised})
    return scene


def time_line(scene: Any) -> dict[str, str]:
    """What `recon status` tells of a scene in motion: from when to when, and at how many moments a second."""
    times = scene.setup.times if in_motion(scene) else None
    return {} if times is None else {"film": film_line(times[0], times[1], scene.setup.fps)}


def load_scene(folder: Path) -> Scene:
    """Read what train_stage() wrote, onto the CPU. Raises WorkspaceError when it is damaged."""
    scene = read_scene(folder / "scene.npz")
    scene.history = [json.loads(line) for line in _lines(folder / "history.jsonl")]
    scene.refined = read_refined(folder / "cameras.npz")
    return scene


def _lines(path: Path) -> list[str]:
    """The lines of a text file; none of one that is not there."""
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _fingerprint(options: TrainOptions, dataset: Dataset, depth: DepthTargets | None) -> str:
    """What a checkpoint belongs to: the options that decide the result, the photos, their cameras and depth maps."""
    keyed = {f.name: getattr(options, f.name) for f in dataclasses.fields(options) if f.metadata.get("key", True)}
    cameras = dataset.cameras
    maps = [] if depth is None else [depth.fingerprint()]
    return sha256_json([keyed, dataset.names, cameras.cam_from_world.tolist(), cameras.K.tolist(), *maps])


def _line(event: TrainEvent) -> str:
    splats = f"{event.splats} splats, " if event.splats else ""
    return f"step {event.step}, {event.long_side} px, {splats}loss {event.loss:.4f}"


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that a step is never cut in half; a second Ctrl-C interrupts at once.

    Outside of the main thread Python delivers no signals, and the event stays unset.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
