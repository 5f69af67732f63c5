"""Progress in the terminal: each line says once what is going on."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from recon.progress import TerminalProgress


@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_names_its_task_once(monkeypatch, terminal: bool):
    monkeypatch.setattr("recon.progress.SECONDS_BETWEEN_LINES", 0.0)
    progress, shown = TerminalProgress(), io.StringIO()
    progress.console = Console(file=shown, force_terminal=terminal, width=200, color_system=None)
    with progress.task("training", total=1.0) as task:
        for step in (5, 9):
            task.update(done=step / 10, text=f"step {step} [0]")
    assert "training: step 9 [0]" in shown.getvalue()
    assert "training: training" not in shown.getvalue()


def test_a_log_names_at_once_what_has_no_measure():
    progress, shown = TerminalProgress(), io.StringIO()
    progress.console = Console(file=shown, width=200, color_system=None)
    with progress.task("unwrapping", total=None):
        assert shown.getvalue() == "  unwrapping\n"
    with progress.task("training", total=1.0):
        assert "training" not in shown.getvalue()


def test_the_estimate_leaves_out_what_came_before_the_first_step(monkeypatch):
    """Kernels compile for 40 s, then each of 10 steps takes 2 s; an earlier run did 3 of 10 photos."""
    clock = [0.0]
    monkeypatch.setattr("recon.progress.time", SimpleNamespace(monotonic=lambda: clock[0]))
    progress, shown = TerminalProgress(), io.StringIO()
    progress.console = Console(file=shown, width=200, color_system=None)
    with progress.task("training", total=10) as task:
        for clock[0] in (40.0, 48.0, 56.0):
            task.update(done=(clock[0] - 38) / 2)
    first, last = shown.getvalue().splitlines()
    assert first == "  training 10%"  # one step tells nothing of the next
    assert last == "  training 90%, about 2 s left"
    clock[0] = 0.0
    with progress.task("depth", total=10) as task:
        task.update(done=3)
        for clock[0] in (30.0, 60.0):
            task.advance()
    assert shown.getvalue().splitlines()[-1] == "  depth 50%, about 2 min left"
