"""The machine under a workspace: what it has, what it has spent, and its errors in words."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recon import __version__
from recon.errors import ReconError, WorkspaceError


@contextlib.contextmanager
def system_errors(root: Path) -> Iterator[None]:
    """Full disks, read-only folders and the like, said in a sentence."""
    import errno

    hints = {
        errno.ENOSPC: "the disk is full. Free some space and run the same command again: it goes on where it stopped",
        errno.EDQUOT: "your disk quota is used up. Free some space and run the same command again",
        errno.EROFS: "the folder is on a read-only file system. Choose another folder with -w",
        errno.EACCES: "no permission to write there. Choose another folder with -w, or change its permissions",
        errno.EPERM: "no permission to write there. Choose another folder with -w, or change its permissions",
        errno.ENOTDIR: "a part of that path is a file, not a folder. Choose another folder with -w",
        errno.EEXIST: "there is a file of that name. Choose a folder with -w",
    }
    try:
        yield
    except ReconError:
        raise
    except OSError as error:
        base = root.resolve()
        path = base if error.filename is None else Path(os.fsdecode(error.filename)).resolve()
        inside = path.is_relative_to(base) or base.is_relative_to(path)
        if error.errno not in hints or not inside:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise WorkspaceError(f"Writing to {root} failed{where}: {hints[error.errno]}.") from error


def cpu_seconds() -> float:
    """User and system seconds of this process and of its finished children, over all threads."""
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def versions() -> dict[str, str]:
    from importlib import metadata

    found = {"recon": __version__, "python": platform.python_version()}
    for package in ("numpy", "torch", "numba", "pycolmap", "gsplat"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def machine(options: Any) -> dict[str, Any]:
    return {
        "device": getattr(options, "device", "cpu"),
        "threads": os.cpu_count(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
