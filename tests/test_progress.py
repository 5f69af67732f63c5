"""Progress in the terminal: each line says once what is going on."""

import io

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


def test_what_is_said_stands_there_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Fingerprints and file names are no markup."""
    TerminalProgress().say("SHA-256 AE:AB:B5 [bold]a[/bold] photos/:smile:.jpg http://[::1]:80/")
    assert capsys.readouterr().err == "SHA-256 AE:AB:B5 [bold]a[/bold] photos/:smile:.jpg http://[::1]:80/\n"
