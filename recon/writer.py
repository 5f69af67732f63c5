"""Who writes to a workspace now: DIR/.writer.json, there while somebody holds the lock, for readers that take none."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from recon.files import write_json

FILE = ".writer.json"


@dataclass(frozen=True)
class Writer:
    """A process that holds, or held, a workspace."""

    pid: int
    verb: str
    stage: str | None = None
    """What it makes at the moment; None: nothing yet."""
    name: str | None = None
    """Of what it makes: main, or another of the results that live side by side."""

    @property
    def alive(self) -> bool:
        """Whether the process is there; True where the system cannot be asked."""
        if os.name != "posix":
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it lives, and is somebody else's
            return True
        return True

    def __str__(self) -> str:
        return f"process {self.pid}, `recon {self.verb}`"


def note(root: Path, writer: Writer) -> None:
    """Say who writes."""
    write_json(root / FILE, {key: value for key, value in vars(writer).items() if value is not None})


def note_stage(root: Path, stage: str, name: str) -> None:
    """Say what the writer makes now."""
    if (writer := noted(root)) is not None:
        note(root, Writer(writer.pid, writer.verb, stage, name))


def forget(root: Path) -> None:
    """Nobody writes any more."""
    with contextlib.suppress(OSError):
        (root / FILE).unlink(missing_ok=True)


def noted(root: Path) -> Writer | None:
    """Who is said to write, dead or alive."""
    try:
        data = json.loads((root / FILE).read_text(encoding="utf-8"))
        stage, name = data.get("stage"), data.get("name")
        made = (None, None) if stage is None or name is None else (str(stage), str(name))
        return Writer(int(data["pid"]), str(data["verb"]), *made)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def at_work(root: Path) -> Writer | None:
    """Who writes now; None when nobody does, or its process has died (where that can be asked)."""
    writer = noted(root)
    return writer if writer is not None and writer.alive else None
