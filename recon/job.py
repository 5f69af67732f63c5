"""Job: what a stage may use while it works. Its folder, its progress, its warnings, its metrics.

A stage is a function `stage(*inputs, options, job) -> result` that writes what it makes into `job.folder`. From the command line
the workspace makes the job; from Python `Job(Path("somewhere"))` will do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from recon.files import remove_parts, remove_tree


class Task(Protocol):
    """One line of progress."""

    def advance(self, amount: float = 1) -> None: ...
    def update(self, done: float | None = None, text: str | None = None, total: float | None = None) -> None: ...


class Progress(Protocol):
    """Where progress, warnings and messages go. Two exist: none, and the terminal (progress.py)."""

    def task(self, text: str, total: float | None) -> contextlib.AbstractContextManager[Task]: ...
    def say(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


class _NoTask:
    def advance(self, amount: float = 1) -> None: ...
    def update(self, done: float | None = None, text: str | None = None, total: float | None = None) -> None: ...


class NoProgress:
    """Says nothing."""

    @contextlib.contextmanager
    def task(self, text: str, total: float | None) -> Iterator[Task]:
        yield _NoTask()

    def say(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


@dataclass
class Job:
    """One run of one stage."""

    folder: Path
    """What is written here becomes the stage's folder. It outlives a kill: finished parts that are here get reused."""
    progress: Progress = field(default_factory=NoProgress)
    warnings: list[str] = field(default_factory=list)
    """Kept in stage.json."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """JSON values; kept in stage.json and shown by `recon status`."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def scratch(self) -> Path:
        """A folder for checkpoints and intermediate files: it outlives a kill, and is removed when the stage is done."""
        path = self.folder / "scratch"
        path.mkdir(exist_ok=True)
        return path

    def finish(self) -> None:
        """Remove the scratch folder and what killed writes left: for a stage run without a workspace."""
        remove_tree(self.folder / "scratch")
        self.tidy()

    def tidy(self) -> None:
        """Remove what killed writes left. The workspace calls this when the stage has returned."""
        for folder in [self.folder, *(path for path in self.folder.rglob("*") if path.is_dir())]:
            remove_parts(folder)

    def task(self, text: str, total: float | None = None) -> contextlib.AbstractContextManager[Task]:
        """`with job.task("extracting features", total=50) as task: task.advance()`. The bar estimates the rest."""
        return self.progress.task(text, total)

    def say(self, text: str) -> None:
        """One line to the terminal, not kept."""
        self.progress.say(text)

    def warn(self, text: str) -> None:
        """One line to the terminal, kept in stage.json."""
        if text not in self.warnings:
            self.warnings.append(text)
            self.progress.warn(text)
