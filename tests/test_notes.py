"""Notes that are published: the page's own limits, text as text, and files that are refused in words."""

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recon.errors import InputError
from tests.publish_scene import QUICK, files, workspace
from viewer import notes as notes_module
from viewer.notes import read_notes
from viewer.publish import in_words
from viewer.publish import publish as publish_site
from viewer.web_page import SOURCES

VIEW = {"cam_from_world": [1, 0, 0, 0.5, 0, 1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1], "vfov_deg": 50}
NOTE = {"at": [1, 2.5, -3], "title": "<b>Crack</b>", "text": "mend\r\nthis\u202e\x07", "view": VIEW}
GOOD = {"recon_notes": 1, "notes": [NOTE, {"at": [0, 0, 0], "time": 1.5}]}


def written(tmp_path: Path, data: Any) -> Path:
    path = tmp_path / "place-notes.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def changed(key: str, value: Any) -> dict[str, Any]:
    """GOOD with another value in its first note, or in that note's view."""
    data = copy.deepcopy(GOOD)
    note = data["notes"][0]
    (note["view"] if key in VIEW else note)[key] = value
    return data


def test_notes_are_published_as_text(tmp_path: Path, page: Path) -> None:
    site, space = tmp_path / "site", workspace(tmp_path / "ws")
    manifest = publish_site(space, site, replace(QUICK, notes=written(tmp_path, GOOD)))
    assert manifest["notes"] == "notes.json" == json.loads((site / "manifest.json").read_text())["notes"]
    found = json.loads((site / "notes.json").read_text(encoding="utf-8"))
    pose = [float(v) for v in VIEW["cam_from_world"]]
    assert found["recon_notes"] == 1 and found["notes"] == [
        {
            "at": [1, 2.5, -3],
            "title": "<b>Crack</b>",
            "text": "mend\nthis",
            "view": {"cam_from_world": pose, "vfov_deg": 50},
            "time": None,
        },
        {"at": [0, 0, 0], "title": "", "text": "", "view": None, "time": 1.5},
    ]
    assert [line for line in in_words(manifest, site) if "notes.json" in line]
    assert publish_site(space, site, QUICK)["notes"] is None and "notes.json" not in files(site)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{", "expected notes as JSON"),
        ("[" * 100_000, "expected notes as JSON"),
        ([], 'expected an object with "recon_notes": 1'),
        ({"recon_notes": True, "notes": []}, "found true"),
        ({"recon_notes": 2, "notes": []}, "found 2"),
        ({"recon_notes": 1}, 'expected a list as "notes"'),
        ({"recon_notes": 1, "notes": [NOTE] * 501}, "at most 500 notes, found 501"),
        ({"recon_notes": 1, "notes": [NOTE, 3]}, "as note 2, found 3"),
        (changed("at", [1, 2]), '3 finite numbers as "at" of note 1'),
        (changed("at", [1, 2, float("nan")]), "finite"),
        (changed("at", [1, 2, 1e12]), "finite"),
        (changed("at", [1, 2, True]), "finite"),
        (changed("time", "noon"), 'a finite number as "time" of note 1'),
        (changed("title", 7), 'expected a text as "title" of note 1, found 7'),
        (changed("title", "x" * 121), "at most 120 characters"),
        (changed("title", "\U0001f600" * 61), "at most 120 characters"),
        (changed("text", "x" * 4001), "at most 4000 characters"),
        (changed("view", "here"), "expected an object or null"),
        (changed("vfov_deg", 171), "1 to 170 degrees"),
        (changed("vfov_deg", None), "a finite number"),
        (changed("cam_from_world", [0] * 16), "a rotation and a shift"),
        (changed("cam_from_world", [-1, *VIEW["cam_from_world"][1:]]), "a rotation and a shift"),
        (" " * 4_000_001, "at most 4 MB"),
    ],
)
def test_what_are_no_notes_is_refused(tmp_path: Path, data: Any, said: str) -> None:
    path = written(tmp_path, data)
    with pytest.raises(InputError, match=re.escape(said)) as error:
        read_notes(path)
    assert path.name in str(error.value) and "Export the notes again" in str(error.value)


def test_bad_notes_leave_the_site_alone(tmp_path: Path, page: Path) -> None:
    space = workspace(tmp_path / "ws")
    for path, said in ((tmp_path / "none.json", "cannot be read"), (written(tmp_path, "{}"), "recon_notes")):
        with pytest.raises(InputError, match=said):
            publish_site(space, tmp_path / "site", replace(QUICK, notes=path))
    assert not (tmp_path / "site").exists()


def test_half_a_character_becomes_one_that_files_can_hold(tmp_path: Path) -> None:
    (note, _) = read_notes(written(tmp_path, changed("title", "a\ud800b")))
    assert note["title"] == "a\ufffdb"


def test_the_limits_are_those_of_the_page() -> None:
    page = (SOURCES / "src" / "tools" / "notes_data.ts").read_text(encoding="utf-8")
    for theirs, ours in (
        ("MAX_NOTES", "MOST_NOTES"),
        ("MAX_TITLE", "MOST_TITLE"),
        ("MAX_TEXT", "MOST_TEXT"),
        ("MAX_FILE_BYTES", "MOST_BYTES"),
    ):
        found = re.search(rf"const {theirs} = ([0-9e]+);", page)
        assert found and float(found[1]) == getattr(notes_module, ours), theirs
