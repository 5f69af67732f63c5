"""The published folder: built beside, swapped in at the end, so that the site that is there survives a failure or a kill."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from recon.errors import InputError, WorkspaceError
from recon.files import remove_parts, remove_tree, sync_folder, sync_tree

MANIFEST = "manifest.json"
OURS = frozenset(
    {"index.html", "assets", "icon.svg", MANIFEST, "splats", "mesh", "photos", "notices.txt", "notes.json"}
)
"""Top-level names of a site. Others (.git, CNAME) are somebody else's, and stay when a site is replaced."""


@contextlib.contextmanager
def building(site: Path, workspace: Path) -> Iterator[Path]:
    """An empty folder beside `site`, which becomes the site when the block ends without an error.

    Raises InputError when `site` is a file, holds the workspace, or is a folder that is neither empty nor a site of recon's, and
    WorkspaceError while another process publishes there.
    """
    import filelock

    site = Path(os.path.realpath(site.expanduser()))
    fresh, old = site.with_name(f".{site.name}.publishing"), site.with_name(f".{site.name}.old")
    check(site, workspace)
    try:
        fresh.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(fresh / ".lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise WorkspaceError(f"Another recon publishes to {site}. Wait for it, or choose another folder.") from None
    except OSError as error:
        raise InputError(f"{site} cannot be written ({error.strerror or error}). Choose another folder.") from error
    try:
        if old.exists() and not site.exists():  # a kill between the two renames of a swap
            os.replace(old, site)
        _clear(old, site)
        for left in fresh.iterdir():
            if left.name != ".lock":
                remove_tree(left)
        yield fresh
        remove_parts(fresh)
        sync_tree(fresh)  # takes long, and nobody else may clear the folder meanwhile
        lock.release()
        (fresh / ".lock").unlink(missing_ok=True)
        _swap(fresh, site, old)
    finally:
        lock.release()
        if fresh.exists():
            remove_tree(fresh)


def check(site: Path, workspace: Path) -> None:
    """Refuse a place that must not be replaced."""
    if site.exists() and not site.is_dir():
        raise InputError(f"{site} is a file; expected a folder for the site. Choose another one.")
    if not site.name or Path(os.path.realpath(workspace)).is_relative_to(site):
        raise InputError(f"{site} holds the workspace, and a site is replaced as a whole. Choose another folder.")
    if site.is_dir() and any(site.iterdir()) and not is_site(site):
        raise InputError(
            f"{site} is not empty and no site of recon's: it has no {MANIFEST} with recon_manifest. Choose a new or empty folder."
        )


def is_site(folder: Path) -> bool:
    """Whether recon published this folder."""
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return "recon_manifest" in data
    except (OSError, ValueError, TypeError):
        return False


def _swap(fresh: Path, site: Path, old: Path) -> None:
    """Put `fresh` in the place of `site`, with what of the old one is not ours."""
    if site.exists():
        os.replace(site, old)
    os.replace(fresh, site)
    _clear(old, site)
    sync_folder(site.parent)


def _clear(old: Path, site: Path) -> None:
    """Remove what a swap has put aside, after what is not ours has gone over to the new site."""
    if old.exists():
        for entry in old.iterdir():
            if entry.name not in OURS and not (site / entry.name).exists():
                os.replace(entry, site / entry.name)
        remove_tree(old)
