"""Progress in the terminal: bars with an estimate where there is a terminal, a line now and then where there is none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from recon.job import Task

SECONDS_BETWEEN_LINES = 15.0


class TerminalProgress:
    """Writes to standard error, so that standard output stays for results."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)

    @contextlib.contextmanager
    def task(self, text: str, total: float | None) -> Iterator[Task]:
        if not self.console.is_terminal:
            yield _Lines(self.console, text, total)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield _Bar(progress, text, total)

    def say(self, text: str) -> None:
        self.console.print(escape(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        self.console.print(f"[yellow]![/] {escape(text)}", soft_wrap=True)


class _Bar:
    def __init__(self, progress: Progress, text: str, total: float | None) -> None:
        self._progress, self._text = progress, text
        self._id = progress.add_task(escape(text), total=total)

    def advance(self, amount: float = 1) -> None:
        self._progress.advance(self._id, amount)

    def update(self, done: float | None = None, text: str | None = None, total: float | None = None) -> None:
        described = None if text is None else escape(f"{self._text}: {text}")
        self._progress.update(self._id, completed=done, description=described, total=total)


class _Lines:
    """For logs: what is done, and an estimate from the mean speed so far, every SECONDS_BETWEEN_LINES. What cannot say how much
    is done is named as it begins.

    The speed is that since the first step was done: kernels are compiled in it, and what an earlier run did counts as one.
    """

    def __init__(self, console: Console, text: str, total: float | None) -> None:
        self._console, self._text, self._total = console, text, total
        self._done, self._detail = 0.0, ""
        self._first: tuple[float, float] | None = None  # when the first step was done, and how much that was
        self._last = time.monotonic()
        if total is None:
            console.print(escape(f"  {text}"), soft_wrap=True)

    def advance(self, amount: float = 1) -> None:
        self.update(self._done + amount)

    def update(self, done: float | None = None, text: str | None = None, total: float | None = None) -> None:
        self._total = total if total is not None else self._total
        self._done = done if done is not None else self._done
        self._detail = f": {text}" if text is not None else self._detail
        now = time.monotonic()
        if self._first is None and self._done > 0:
            self._first = (now, self._done)
        if now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        share = ""
        if self._total:
            share = f" {min(1.0, self._done / self._total):.0%}"
            when, before = self._first or (now, self._done)
            if self._done > before:
                rest = (now - when) * max(0.0, self._total - self._done) / (self._done - before)
                share += f", about {_duration(rest)} left"
        self._console.print(escape(f"  {self._text}{self._detail}{share}"), soft_wrap=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
