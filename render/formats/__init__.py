"""One file per interchange format; which one writes a file is chosen by the file's ending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import InputError
from recon.stages import resolve

if TYPE_CHECKING:
    from render.splats import Splats

WRITERS: dict[str, str] = {
    ".ply": "render.formats.ply:write_ply",
}
"""File ending -> "module:function(path, splats)"."""


def writer(out: Path) -> Callable[[Path, Splats], None]:
    """The function that writes `out`. Raises InputError for an ending that no format has, or a folder that is not there."""
    if out.suffix.lower() not in WRITERS:
        raise InputError(
            f"{out} ends in {out.suffix or 'nothing'}; expected one of {', '.join(WRITERS)}, as in scene.ply."
        )
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder. Make it first, or write somewhere else.")
    return resolve(WRITERS[out.suffix.lower()])
