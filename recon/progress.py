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
        self.console = Console(stderr=True, highlight=False, emoji=False)  # ":AB:" stays what it is

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
    """For logs: what is done, and an estimate from the mean speed so far, every SECONDS_BETWEEN_LINES."""

    def __init__(self, console: Console, text: str, total: float | None) -> None:
        self._console, self._text, self._total = console, text, total
        self._done, self._detail = 0.0, ""
        self._start = self._last = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        self.update(self._done + amount)

    def update(self, done: float | None = None, text: str | None = None, total: float | None = None) -> None:
        self._total = total if total is not None else self._total
        self._done = done if done is not None else self._done
        self._detail = f": {text}" if text is not None else self._detail
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        share = ""
        if self._total:
            fraction = min(1.0, self._done / self._total)
            rest = (now - self._start) * (1 - fraction) / fraction if fraction > 0 else None
            share = f" {fraction:.0%}" + (f", about {_duration(rest)} left" if rest is not None else "")
        self._console.print(escape(f"  {self._text}{self._detail}{share}"), soft_wrap=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
