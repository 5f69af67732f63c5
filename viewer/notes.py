"""Notes pinned to places, as the page exports them: read with suspicion, and published beside the scene.

{"recon_notes": 1, "notes": [{"at": [x, y, z], "title", "text", "view": {"cam_from_world": [16], "vfov_deg"} | null,
"time": s | null}]}, places in the world frame of the files, times in seconds of a scene that moves (the key may be missing).
The page reads the same in TypeScript (viewer/web/src/tools/notes_data.ts), with the same limits.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import InputError
from recon.files import write_json
from recon.wording import value_shown

FORMAT = 1
NOTES = "notes.json"
"""In the site."""
MOST_NOTES = 500
MOST_TITLE = 120
MOST_TEXT = 4000
"""Characters as JavaScript counts them, UTF-16 units."""
MOST_BYTES = 4_000_000
FARTHEST = 1e9
VFOV_SPAN = (1.0, 170.0)
"""Degrees."""
RIGID = 1e-3
"""How far R R^T of a view may be from the unit matrix."""
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but for tabs and new lines, and marks that turn the reading direction of what follows."""
NEXT = "Export the notes again from the page (Notes, Export)."


def read_notes(path: Path) -> list[dict[str, Any]]:
    """The notes of a file, each {"at", "title", "text", "view", "time"}; texts without what cannot be seen. Raises InputError
    that says what was expected, what was found, and what to do.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"--notes {path} cannot be read ({error.strerror or error}): expected a file that the page exported."
        ) from error
    if len(data) > MOST_BYTES:
        raise InputError(f"--notes {path}: expected at most {MOST_BYTES / 1e6:g} MB, found more. {NEXT}")
    try:
        return notes_of(json.loads(data.decode("utf-8-sig")))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"--notes {path}: expected notes as JSON, found something else ({error}). {NEXT}") from error
    except ValueError as error:
        raise InputError(f"--notes {path}: {error}. {NEXT}") from error


def write_notes(folder: Path, notes: list[dict[str, Any]]) -> str:
    """notes.json in a site; returns its name there."""
    write_json(folder / NOTES, {"recon_notes": FORMAT, "notes": notes})
    return NOTES


def notes_of(data: Any) -> list[dict[str, Any]]:
    """Checked notes from JSON values. Raises ValueError in words."""
    version = data.get("recon_notes") if isinstance(data, dict) else None
    if type(version) is not int or version != FORMAT:
        raise ValueError(f'expected an object with "recon_notes": {FORMAT}, found {value_shown(version)}')
    notes = data.get("notes")
    if not isinstance(notes, list):
        raise ValueError(f'expected a list as "notes", found {value_shown(notes)}')
    if len(notes) > MOST_NOTES:
        raise ValueError(f"expected at most {MOST_NOTES} notes, found {len(notes)}")
    return [_note(note, f"note {i + 1}") for i, note in enumerate(notes)]


def _note(note: Any, where: str) -> dict[str, Any]:
    if not isinstance(note, dict):
        raise ValueError(f"expected an object as {where}, found {value_shown(note)}")
    view, time = note.get("view"), note.get("time")
    return {
        "at": _numbers(note.get("at"), 3, f'"at" of {where}'),
        "title": _text(note.get("title", ""), MOST_TITLE, f'"title" of {where}'),
        "text": _text(note.get("text", ""), MOST_TEXT, f'"text" of {where}'),
        "view": None if view is None else _view(view, f'"view" of {where}'),
        "time": None if time is None else _numbers([time], 1, f'"time" of {where}')[0],
    }


def _view(view: Any, where: str) -> dict[str, Any]:
    """Where the camera stood."""
    if not isinstance(view, dict):
        raise ValueError(f"expected an object or null as {where}, found {value_shown(view)}")
    low, high = VFOV_SPAN
    (vfov,) = _numbers([view.get("vfov_deg")], 1, f'"vfov_deg" in {where}')
    if not low <= vfov <= high:
        raise ValueError(f'expected {low:g} to {high:g} degrees as "vfov_deg" in {where}, found {vfov:g}')
    pose = _numbers(view.get("cam_from_world"), 16, f'"cam_from_world" in {where}')
    m = np.array(pose).reshape(4, 4)
    r = m[:3, :3]
    if np.abs(r @ r.T - np.eye(3)).max() > RIGID or np.linalg.det(r) < 0 or m[3].tolist() != [0, 0, 0, 1]:
        raise ValueError(
            f'expected a rotation and a shift, row by row, as "cam_from_world" in {where}, found another matrix'
        )
    return {"cam_from_world": pose, "vfov_deg": vfov}


def _numbers(values: Any, count: int, where: str) -> list[float]:
    """`count` finite numbers."""
    numbers = [] if not isinstance(values, list) else [v for v in values if type(v) in (int, float)]
    if (
        len(numbers) != count
        or len(values) != count
        or not all(math.isfinite(v) and abs(v) < FARTHEST for v in numbers)
    ):
        what = "a finite number" if count == 1 else f"{count} finite numbers"
        raise ValueError(f"expected {what} as {where}, found {value_shown(values[0] if count == 1 else values)}")
    return [float(v) for v in numbers]


def _text(value: Any, most: int, where: str) -> str:
    """A text of bounded length, without what cannot be seen, which any file can hold."""
    if not isinstance(value, str):
        raise ValueError(f"expected a text as {where}, found {value_shown(value)}")
    units = len(value.encode("utf-16-le", "surrogatepass")) // 2
    if units > most:
        raise ValueError(f"expected at most {most} characters as {where}, found {units}")
    seen = UNSEEN.sub("", re.sub("\r\n?", "\n", value))
    return seen.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
