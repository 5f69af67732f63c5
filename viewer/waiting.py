"""Where a film's frames wait until it is whole: DIR/.film/KEY/00000.png ..., beside locks and a note of what they are for.

KEY is a hash of the scene, the path, and every option that changes a pixel. One process renders a film, and one a place; frames
of films that nobody will go on with are removed by the next film: those given up for the same place, those of a scene that was
trained again since, and those that nothing was added to for KEPT_DAYS.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon.errors import WorkspaceError
from recon.files import remove_tree, sha256_json, write_json

if TYPE_CHECKING:
    from recon.workspace import Workspace

NOTE = "film.json"
"""Beside the frames: {"out", "name", "scene"}."""
KEPT_DAYS = 30.0


@contextlib.contextmanager
def waiting(workspace: Workspace, key: str, out: Path, scene: tuple[str, str]) -> Iterator[Path]:
    """The folder of a film's frames while the block runs; removed when it ends without an error, kept when not.

    out: where the film goes; scene: its name, and the result of its training. Raises WorkspaceError while another process renders
    the same film, or another film for the same place.
    """
    base, name = workspace.root / ".film", key[:20]
    base.mkdir(exist_ok=True)
    place = f"place-{sha256_json(str(out))[:20]}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(_alone(base, name, "this film"))
        stack.enter_context(_alone(base, place, f"another film for {out}"))
        _tidy(workspace, base, out, name)
        cache = base / name
        cache.mkdir(exist_ok=True)
        write_json(cache / NOTE, {"out": str(out), "name": scene[0], "scene": scene[1]})
        yield cache
        remove_tree(cache)
    with contextlib.suppress(OSError):
        base.rmdir()


@contextlib.contextmanager
def _alone(base: Path, name: str, what: str) -> Iterator[None]:
    """Hold one of the locks."""
    import filelock

    path = base / f"{name}.lock"
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise WorkspaceError(f"Another recon is rendering {what}. Wait for it, or stop it.") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # before the release: who gets a lock whose file is gone tries again
            path.unlink(missing_ok=True)
        lock.release()


def _tidy(workspace: Workspace, base: Path, out: Path, mine: str) -> None:
    """Remove frames that nobody will go on with, unless somebody is at them just now, and locks that nobody holds."""
    names = {path.name for path in base.iterdir() if path.is_dir()} | {path.stem for path in base.glob("*.lock")}
    for name in sorted(names - {mine}):
        cache = base / name
        if cache.is_dir() and not _useless(workspace, cache, out):
            continue
        with contextlib.suppress(WorkspaceError), _alone(base, name, name):
            remove_tree(cache)


def _useless(workspace: Workspace, cache: Path, out: Path) -> bool:
    """Whether no film will take these frames: for the same place, of a scene that is no more, old, or of no known film."""
    try:
        note = json.loads((cache / NOTE).read_text(encoding="utf-8"))
        old = time.time() - max(path.stat().st_mtime for path in cache.iterdir()) > KEPT_DAYS * 86400
        return bool(old or note["out"] == str(out) or note["scene"] != _result(workspace, note["name"]))
    except (OSError, ValueError, KeyError, TypeError):
        return True


def _result(workspace: Workspace, name: Any) -> str | None:
    """What was last trained under a name."""
    try:
        return (workspace.record("train", str(name)) or {}).get("result")
    except WorkspaceError:
        return None
