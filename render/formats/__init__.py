"""One file per interchange format; which one writes a file is chosen by what is written and by the file's ending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from recon.errors import InputError
from recon.stages import resolve

Content = Literal["splats", "mesh"]

WRITERS: dict[str, dict[str, str]] = {
    "splats": {".ply": "render.formats.ply:write_ply", ".spz": "render.formats.spz:write_spz"},
    "mesh": {
        ".glb": "render.formats.glb:write_glb",
        ".obj": "render.formats.obj:write_obj",
        ".ply": "render.formats.mesh_ply:write_mesh_ply",
    },
}
"""What is written -> file ending -> "module:function(path, splats or mesh)"."""


def writer(out: Path, content: Content = "splats") -> Callable[[Path, Any], None]:
    """The function that writes `out`. Raises InputError for an ending that no format has, or a folder that is not there."""
    known = WRITERS[content]
    ending = out.suffix.lower()
    if ending not in known:
        raise InputError(
            f"{out} ends in {out.suffix or 'nothing'}; expected one of {', '.join(known)}, as in scene{next(iter(known))}."
        )
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no folder. Make it first, or write somewhere else.")
    return resolve(known[ending])
