"""Stage records as lines for the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recon.errors import WorkspaceError
from recon.stages import STAGES
from recon.workspace import Workspace
from recon.writer import at_work

MOST_NUMBERS = 6


def numbers(metrics: dict[str, Any]) -> str:
    """The first scalar metrics, in the stage's own order: "photos 50, points 12034"."""
    scalars = [(k, v) for k, v in metrics.items() if isinstance(v, (int, float, str)) and not isinstance(v, bool)]
    return ", ".join(f"{k.replace('_', ' ')} {_number(v)}" for k, v in scalars[:MOST_NUMBERS])


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def stage_line(record: dict[str, Any], *, reused: bool = False) -> str:
    """One line about a finished stage."""
    how = "kept" if reused else f"{record['wall_seconds']:.0f} s"
    return f"{record['stage']:7} {how:>6}  {numbers(record['metrics'])}"


PAGES = {"eval": "report.html", "depth": "geometry.html", "mesh": "geometry.html"}
"""What a finished stage leaves to be looked at in a browser."""
COMPARISON = "compare.html"
"""What `recon compare` leaves in the workspace."""


def page_of(workspace: Workspace, stage: str, name: str = "main") -> Path | None:
    """The page of a finished stage, where it wrote one."""
    path = workspace.folder(stage, name) / PAGES.get(stage, "")
    return path if path.is_file() else None


def pages_of(workspace: Workspace) -> list[Path]:
    """All pages of a workspace: those of its finished stages, then the comparison of its scenes."""
    found = [page_of(workspace, stage, name) for stage, name in workspace.results()]
    comparison = workspace.root / COMPARISON
    return [page for page in found if page is not None] + [comparison] * comparison.is_file()


def status_rows(workspace: Workspace) -> Iterator[tuple[str, str, str, str, str]]:
    """(stage, state, numbers, wall seconds, what a rerun with the same options would do) of every stage and name."""
    found, writer = workspace.results(), at_work(workspace.root)
    for stage in STAGES.values():
        names = [name for s, name in found if s == stage.name]
        working = _working(workspace, stage.name, stage.named)
        running = {writer.name} if writer is not None and writer.stage == stage.name else set()
        for name in sorted({*names, *working}) or ["main"]:
            title = f"{stage.name}/{name}" if stage.named else stage.name
            try:
                record = workspace.record(stage.name, name) if name in names else None
            except WorkspaceError:
                yield title, "damaged", "", "", "stop: its stage.json cannot be read; --redo remakes this"
                continue
            if record is None:
                state, rerun = ("unfinished", "go on with it") if name in working else ("-", "run it")
                if name in working and name in running:
                    state, rerun = "running", f"stop: {writer} is at it"
                yield title, state, "", "", rerun
                continue
            stale = workspace.stale_inputs(stage.name, name)
            state = "out of date" if stale else "done"
            rerun = f"stop: {' and '.join(stale)} remade since; --redo remakes this" if stale else "keep it"
            if name in working and name in running:
                rerun = f"stop: {writer} makes it anew"
            elif name in working:
                rerun = f"{rerun}; an unfinished --redo is there"
            yield title, state, numbers(record["metrics"]), f"{record['wall_seconds']:.0f}", rerun


def _working(workspace: Workspace, stage: str, named: bool) -> list[str]:
    base = workspace.root / ".building" / stage
    folders = (list(base.iterdir()) if base.is_dir() else []) if named else [base]
    return [f.name if named else "main" for f in folders if _has_key(f)]


def _has_key(folder: Any) -> bool:
    try:
        return bool(json.loads((folder / "building.json").read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError):
        return False
