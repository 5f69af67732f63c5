"""`recon compare`: the scenes of a workspace side by side on the photos that all of them held out.

It reads what training and evaluation left (records, metrics, renders) and asks no scene anything, so that a field stands beside
splats. Where one evaluation found what moves, all scenes are judged by its masks: they come from photos and poses alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tyro.conf import Positional

from recon.arguments import OfWorkspace, parse
from recon.errors import InputError, WorkspaceError
from recon.files import atomic_write
from recon.progress import TerminalProgress
from recon.reconstruction import Reconstruction
from recon.stages import resolve
from recon.status import COMPARISON
from recon.wording import command, count
from recon.workspace import Workspace
from render.filmed import LEAST_PIXELS, read_mask, resized_mask
from render.report_charts import MAX_LINES
from render.report_images import BACKGROUND_LEVEL, View, load_view

MOST = MAX_LINES
"""Scenes side by side: more cannot be told apart."""


@dataclass(frozen=True)
class CompareArguments:
    """`recon compare -w DIR [NAME ...]`."""

    names: Positional[tuple[str, ...]] = ()
    """Scenes, by the --name they were trained with; without any, all that have been evaluated."""
    out: Path | None = None
    """File to write; without it, compare.html in the workspace."""


@dataclass(frozen=True)
class Compared:
    """One scene with what is known of it."""

    name: str
    metrics: dict[str, Any]
    """metrics.json of its evaluation."""
    train: dict[str, Any]
    """stage.json of its training."""
    judged: dict[str, Any]
    """stage.json of its evaluation."""
    history: list[dict[str, Any]]
    """The training's curves."""
    folder: Path
    """Of its evaluation."""
    size: int
    """Bytes of its scene.npz, which is all that recon needs of it."""
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    """{photo: {moving_psnr, still_psnr}} by the masks that all scenes share."""

    @property
    def images(self) -> dict[str, dict[str, Any]]:
        """Its held-out photos by name, with the scores of both parts where they are known."""
        apart = ("moving_psnr", "still_psnr")
        return {
            row["name"]: {k: v for k, v in row.items() if k not in apart} | self.parts.get(row["name"], {})
            for row in self.metrics.get("images") or []
        }

    @property
    def background(self) -> float:
        return BACKGROUND_LEVEL.get(self.metrics.get("background", "black"), 0.0)


def compare(verb: str, summary: str, argv: Sequence[str]) -> None:
    """Write the page, and the numbers to the terminal."""
    args = parse(verb, summary, argv, CompareArguments, OfWorkspace)
    workspace, progress = Workspace(args.workspace), TerminalProgress()
    if not workspace.exists:
        raise WorkspaceError(
            f"{args.workspace} is no recon workspace. `{command('recon', 'run', 'INPUT', '-w', args.workspace)}` makes one."
        )
    out = args.out or workspace.root / COMPARISON
    scenes, lines = write_comparison(workspace, args.names, out)
    for line in lines:
        progress.warn(line)
    for scene in scenes:
        progress.say(in_one_line(scene))
    progress.say(f"page    {out}")


def write_comparison(workspace: Workspace, names: Sequence[str], out: Path) -> tuple[list[Compared], list[str]]:
    """Write the page of the named scenes (none: all) to `out`, atomically; returns them, and what to beware of.

    Raises WorkspaceError for scenes without an evaluation, InputError when there are not two.
    """
    scenes = [_gather(workspace, name) for name in chosen(workspace, names)]
    reconstruction = workspace.load("align")
    shared = set.intersection(*(set(scene.images) for scene in scenes))
    views = [name for name in scenes[0].images if name in shared]
    scenes = _apart(scenes, reconstruction, views)
    lines = beware(workspace, scenes, views)
    linked = out.absolute().parent == workspace.root.absolute()
    page = resolve("render.compare_page:comparison")(
        workspace.root, reconstruction, scenes, views, lines, linked=linked
    )
    try:
        with atomic_write(out) as stream:
            stream.write(page.encode("utf-8", "replace"))
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror or error}). Choose another place.") from error
    return scenes, lines


def chosen(workspace: Workspace, names: Sequence[str]) -> list[str]:
    """The scenes to compare, each once. Raises InputError when they are fewer than two or more than MOST."""
    results = workspace.results()
    judged = [name for stage, name in results if stage == "eval"]
    wanted = list(dict.fromkeys(names)) or judged
    for name in wanted:
        workspace.folder("eval", name)
        if name not in judged:
            verb = ("eval",) if ("train", name) in results else ("run",)
            words = ["recon", *verb, "-w", workspace.root, *(["--name", name] if name != "main" else [])]
            what = "has not been evaluated" if verb == ("eval",) else "is not in this workspace"
            raise WorkspaceError(f"Scene {name} {what}. Run `{command(*words)}` first.")
    if len(wanted) < 2:
        found = f"scene {wanted[0]} alone" if wanted else "none"
        example = command("recon", "run", "-w", workspace.root, "--scene", "ngp", "--name", "ngp")
        raise InputError(
            f"Two scenes or more can be compared, and {found} was found. Train another beside it, as in `{example}`."
        )
    if len(wanted) > MOST:
        raise InputError(f"{len(wanted)} scenes are too many side by side: name {MOST} of {', '.join(wanted)} at most.")
    return wanted


def _gather(workspace: Workspace, name: str) -> Compared:
    train, judged = workspace.record("train", name), workspace.record("eval", name)
    folder = workspace.folder("train", name)
    scene = folder / "scene.npz"
    curves = folder / "history.jsonl"
    return Compared(
        name=name,
        metrics=workspace.load("eval", name),
        train=train or {},
        judged=judged or {},
        history=[json.loads(row) for row in curves.read_text(encoding="utf-8").splitlines()]
        if curves.is_file()
        else [],
        folder=workspace.folder("eval", name),
        size=scene.stat().st_size if scene.is_file() else 0,
    )


def _apart(scenes: list[Compared], reconstruction: Reconstruction, views: Sequence[str]) -> list[Compared]:
    """The scenes with the PSNR of moving and of still pixels, all by the masks of the first evaluation that has them."""
    source = next((scene.folder for scene in scenes if scene.metrics.get("moving_psnr") is not None), None)
    if source is None:
        return scenes
    for name in views:
        mask = read_mask(source, name)
        for scene in scenes:
            view = None if mask is None else load_view(scene.folder, reconstruction, name, scene.background)
            if view is not None and mask is not None:
                scene.parts[name] = apart(view, mask)
    return scenes


def apart(view: View, region: NDArray[np.bool_]) -> dict[str, float]:
    """PSNR of the moving and of the still pixels of a view; without those of which there are too few."""
    height, width = view.photo.shape[:2]
    moving = resized_mask(region, (width, height))
    valid = np.ones_like(moving) if view.valid is None else view.valid
    square = ((view.photo - view.render) ** 2).mean(-1, dtype=np.float64)
    parts = {"moving_psnr": valid & moving, "still_psnr": valid & ~moving}
    return {
        key: -10 * float(np.log10(max(square[part].mean(), 1e-10)))
        for key, part in parts.items()
        if part.sum() >= LEAST_PIXELS
    }


def mean_of(scene: Compared, key: str, views: Sequence[str]) -> float | None:
    """The mean of a score over views that have it."""
    images = scene.images
    values = [images[name][key] for name in views if images[name].get(key) is not None]
    return float(np.mean(values)) if values else None


def beware(workspace: Workspace, scenes: Sequence[Compared], views: Sequence[str]) -> list[str]:
    """Why the numbers may not be compared, as sentences."""
    lines = [
        f"Scene {scene.name} was evaluated before {' and '.join(stale)} was remade. `{again(workspace, scene)}` judges it anew."
        for scene in scenes
        if (stale := workspace.stale_inputs("eval", scene.name))
    ]
    sizes = {scene.name: scene.metrics.get("long_side") for scene in scenes}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} at {side} px" for name, side in sizes.items())
        lines.append(
            f"The scenes were trained and judged at different sizes ({told}): smaller pictures have higher PSNR."
        )
    left = sorted({name for scene in scenes for name in scene.images} - set(views))
    if left:
        lines.append(f"{count(len(left), 'photo')} held out of some scenes but not of all stay out of this comparison.")
    devices = {scene.name: scene.judged.get("device") for scene in scenes}
    if len(set(devices.values())) > 1:
        told = ", ".join(f"{name} on {device}" for name, device in devices.items())
        lines.append(f"The views were rendered on different devices ({told}): their times do not compare.")
    lines += [
        f"The evaluation of scene {scene.name} took no time of its renders. `{again(workspace, scene)}` does."
        for scene in scenes
        if seconds_a_view(scene) is None and scene.images
    ]
    return lines


def again(workspace: Workspace, scene: Compared) -> str:
    """The command that evaluates a scene anew."""
    named = ["--name", scene.name] if scene.name != "main" else []
    return command("recon", "eval", "-w", workspace.root, *named, "--redo")


def seconds_a_view(scene: Compared) -> float | None:
    """Wall seconds that a held-out view took to render, in the middle; None of evaluations that did not measure it."""
    return scene.judged.get("metrics", {}).get("seconds_a_view")


def training_seconds(scene: Compared) -> float | None:
    """Wall seconds of the training loop."""
    return scene.train.get("metrics", {}).get("seconds")


def in_one_line(scene: Compared) -> str:
    """A scene's numbers for the terminal."""
    psnr, view, loop = scene.metrics.get("psnr"), seconds_a_view(scene), training_seconds(scene)
    parts = [str(scene.train.get("options", {}).get("scene", "")), "" if psnr is None else f"psnr {psnr:.2f}"]
    parts += ["" if loop is None else f"trained {loop:.0f} s", "" if view is None else f"{view:.3g} s a view"]
    return f"{scene.name:8} {', '.join(part for part in [*parts, f'{scene.size / 1e6:.1f} MB'] if part)}"
