"""`recon compare`: scenes of one workspace side by side, from what their evaluations left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recon import cli
from recon.errors import InputError, WorkspaceError
from recon.files import write_json
from recon.reconstruction import read_image
from recon.workspace import Workspace
from render.compare import chosen, write_comparison
from render.filmed import write_mask
from tests.fabricate import SIZE, fabricate, photo_of, write_history, write_photo, write_stage
from tests.test_report import parse

SCENES = {"splats": ("gs", 0.9), "field": ("ngp", 0.7)}
"""Name -> (kind, brightness of its renders)."""
VIEWS = {0: "photo 00.jpg", 4: "photo 04.jpg"}
"""The held-out photos of fabricate(), by their numbers."""


def psnr_of(photo: np.ndarray, bright: float) -> float:
    shown = np.rint(photo * bright * 255) / 255
    return float(-10 * np.log10(((photo - shown) ** 2).mean()))


def evaluated(root: Path, name: str, kind: str, bright: float, *, timed: bool = True, **more: Any) -> None:
    """train/NAME and eval/NAME as their stages leave them, as far as the comparison looks."""
    train, folder = root / "train" / name, root / "eval" / name
    seconds = {"seconds": 61.0 if kind == "gs" else 122.0}
    write_stage(
        train, options={"scene": kind}, metrics=seconds, cpu_seconds=99.0, inputs={"ingest": "ingest", "align": "align"}
    )
    (train / "scene.npz").write_bytes(bytes(3_000_000 if kind == "gs" else 9_000_000))
    rows = write_history(train / "history.jsonl", 8)
    if kind != "gs":
        bare = [{k: v for k, v in row.items() if k != "splats"} for row in rows]
        (train / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bare))
    images = []
    for i, view in VIEWS.items():
        write_photo(folder / "renders" / f"{view}.png", np.rint(photo_of(i) * 255) / 255 * bright)
        images.append({"name": view, "psnr": psnr_of(np.rint(photo_of(i) * 255) / 255, bright), "ssim": bright})
    told = {"images": images, "psnr": float(np.mean([row["psnr"] for row in images])), "ssim": bright}
    told |= {
        "splats": 1000 if kind == "gs" else None,
        "steps": 50,
        "long_side": more.get("long_side", 96),
        "protocol": "every 4th",
    }
    write_json(folder / "metrics.json", told)
    taken = {"seconds_a_view": 0.004 if kind == "gs" else 2.0} if timed else {}
    inputs = {"ingest": "ingest", "align": "align", "train": name}
    write_stage(folder, metrics=taken, inputs=inputs, device=more.get("device", "cpu"), threads=2, machine="box")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fabricate(tmp_path / "w", trained=False)
    write_stage(tmp_path / "w" / "sfm", inputs={"ingest": "ingest"})
    write_stage(tmp_path / "w" / "align", inputs={"ingest": "ingest", "sfm": "sfm"})
    for name, (kind, bright) in SCENES.items():
        evaluated(tmp_path / "w", name, kind, bright)
    return tmp_path / "w"


def test_a_field_stands_beside_splats(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "-w", str(root), "splats", "field"]) == 0
    said = capsys.readouterr().err
    assert "splats   gs, psnr" in said and "0.004 s a view, 3.0 MB" in said and str(root / "compare.html") in said
    page = parse(root / "compare.html")
    rows = {tr.text: tr for tr in page.all("tr")}
    a, b = (
        np.mean([psnr_of(np.rint(photo_of(i) * 255) / 255, bright) for i in (0, 4)]) for _, bright in SCENES.values()
    )
    assert f"PSNR, dB{a:.2f}{b:.2f}" in rows and "Kindgsngp" in rows and "Training1 min 01 s2 min 02 s" in rows
    assert "A view takes4 ms2.00 s" in rows and "On disk3.0 MB9.0 MB" in rows and "Splats1,000–" in rows
    bold = {n.text for n in page.all("b")}
    assert {f"{a:.2f}", "4 ms", "3.0 MB", "250.0"} <= bold and f"{b:.2f}" not in bold
    links = [n.attributes["href"] for n in page.all("a")]
    assert links == ["eval/splats/report.html", "eval/field/report.html"]
    pictures = [n.attributes["alt"] for n in page.all("img")]
    assert len(pictures) == 2 * 5 and "Render of photo 04.jpg by field" in pictures
    assert [n.attributes["data-curve"] for n in page.all("figure", class_="chart")] == ["psnr"]
    assert [int(p.attributes["data-points"] or 0) for p in page.all("polyline")] == [8, 8]
    assert any("the photos of field are looked at in some of their pixels" in p.text for p in page.all("p"))
    assert "http" not in (root / "compare.html").read_text().replace("http-equiv", "")


def test_all_are_judged_by_the_same_masks_of_what_moves(root: Path) -> None:
    mask = np.zeros(SIZE[::-1], bool)
    mask[:, :30] = True
    for view in VIEWS.values():
        write_mask(root / "eval" / "field", view, mask)
        for name in SCENES:
            metrics = json.loads((root / "eval" / name / "metrics.json").read_text())
            found = {"moving_psnr": 1.0, "moving_region": "estimated"} if name == "field" else {}
            images = [row | {"time": 1.5 * (row["name"] == VIEWS[4])} for row in metrics["images"]]
            write_json(root / "eval" / name / "metrics.json", metrics | found | {"images": images})
    scenes, _ = write_comparison(Workspace(root), ("splats", "field"), root / "c.html")
    for scene in scenes:
        for view in VIEWS.values():
            photo = read_image(root / "sfm" / "images" / f"{view}.png")[..., :3] / 255.0
            shown = read_image(root / "eval" / scene.name / "renders" / f"{view}.png")[..., :3] / 255.0
            square = ((photo - shown) ** 2).mean(-1)
            assert scene.parts[view]["moving_psnr"] == pytest.approx(-10 * np.log10(square[mask].mean()), abs=0.02)
            assert scene.parts[view]["still_psnr"] == pytest.approx(-10 * np.log10(square[~mask].mean()), abs=0.02)
    page = parse(root / "c.html")
    curves = [n.attributes["data-curve"] for n in page.all("figure", class_="chart")]
    assert curves == ["psnr", "psnr", "moving_psnr", "still_psnr"]
    strip = [n.attributes["alt"] for n in page.all("img") if " at " in (n.attributes["alt"] or "")]
    assert len(strip) == 2 * 5 and "Error of splats of photo 04.jpg at 1.50 s" in strip


def test_why_numbers_may_not_be_compared_is_said(root: Path) -> None:
    evaluated(root, "old", "gs", 0.8, timed=False, long_side=48, device="cuda")
    write_stage(
        root / "train" / "field",
        result="remade",
        options={"scene": "ngp"},
        inputs={"ingest": "ingest", "align": "align"},
    )
    _, lines = write_comparison(Workspace(root), (), root / "c.html")
    told = " ".join(lines)
    assert (
        "field was evaluated before train was remade" in told
        and "different sizes (field at 96 px, old at 48 px" in told
    )
    assert (
        "old on cuda" in told
        and f"of scene old took no time of its renders. `recon eval -w {root} --name old --redo`" in told
    )
    assert len(lines) == 4, "the others are as they should be"
    assert [li.text for li in parse(root / "c.html").all("li") if "remade" in li.text]


def test_what_cannot_be_compared_is_refused(root: Path, tmp_path: Path) -> None:
    workspace = Workspace(root)
    assert chosen(workspace, ()) == ["field", "splats"] and chosen(workspace, ("splats", "field", "splats")) == [
        "splats",
        "field",
    ]
    write_stage(root / "train" / "fresh", inputs={"ingest": "ingest", "align": "align"})
    with pytest.raises(WorkspaceError, match=r"fresh has not been evaluated\. Run `recon eval -w .* --name fresh`"):
        chosen(workspace, ("splats", "fresh"))
    with pytest.raises(WorkspaceError, match=r"nowhere is not in this workspace\. Run `recon run -w"):
        chosen(workspace, ("splats", "nowhere"))
    with pytest.raises(InputError, match="scene splats alone was found"):
        chosen(workspace, ("splats",))
    with pytest.raises(WorkspaceError, match="cannot name a result"):
        chosen(workspace, ("../x", "splats"))
    assert cli.main(["compare", "-w", str(tmp_path / "none")]) == 2
    assert cli.main(["compare", "-w", str(root), "--out", str(root / "sfm")]) == 2
    assert cli.main(["compare", "-w", str(root), "--out", str(tmp_path / "c.html")]) == 0
    assert not parse(tmp_path / "c.html").all("a"), "away from the workspace nothing can be linked"
