"""A small workspace as far as `recon render` reads one, for the tests of films and panoramas."""

from __future__ import annotations

from pathlib import Path

from recon.files import write_json
from recon.geometry import World
from tests.fabricate import fabricate

NAMES = tuple(f"photo {i:02d}.jpg" for i in range(12))
SMALL = {"long_side": 64, "seconds": 1.0, "fps": 6.0, "device": "cpu"}
"""Options of a film of 6 frames."""


def whole(root: Path) -> Path:
    """The fabricated workspace as far as `recon render` reads it: with records and the list of photos."""
    fabricate(root, NAMES)
    for stage in ("ingest", "sfm", "align", "train/main"):
        record = {"key": stage, "result": stage, "version": 1, "options": {}, "inputs": {}, "wall_seconds": 0}
        write_json(root / stage / "stage.json", record | {"metrics": {"background": [0.0, 0.0, 0.0]}, "warnings": []})
    write_json(root / "sfm" / "sfm.json", {"world": World().to_json(), "left_out": [], "time": None})
    return root
