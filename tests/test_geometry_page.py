"""geometry.html: its numbers are those of the known truth, wrong maps show, the turntable turns, and no name becomes markup."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from recon.cameras import Cameras
from recon.depth.maps import DepthMaps
from recon.depth.page import depth_page
from recon.geometry import World
from recon.geometry_page import (
    COLUMNS,
    FRAME_SIZE,
    FRAMES,
    PLAN_SIZE,
    Geometry,
    Layers,
    PhotoMaps,
    Surface,
    write_geometry_page,
)
from recon.geometry_page.parts import digits, head_figures, holes_card, length, percent, round_length
from recon.geometry_page.pictures import normals_of, true_at
from recon.geometry_page.turntable import BACKDROP, Focus, focus_of, looking, plans, shots, turned, units_across
from recon.job import Job
from recon.mesh import Mesh, area
from recon.mesh.clean import is_closed
from recon.mesh.loops import holes
from recon.page.pictures import UNKNOWN_RGB
from recon.reconstruction import Reconstruction
from tests.browser import CHROMIUM, Tab
from tests.depth_scene import SIZE, Room, cameras_in_a_row, room, sparse_of
from tests.fabricate import write_photo
from tests.mesh_scenes import SIDE_COLOURS, cameras_around, cube
from tests.test_report import HOSTILE, Page, parse

METRIC = World(scale="metric", up="gravity")


@pytest.fixture(scope="module")
def place() -> Room:
    return room(6)


def maps_of(
    place: Room, z: Sequence[np.ndarray], known: np.ndarray | None = None, names: tuple[str, ...] = ()
) -> PhotoMaps:
    """Maps of the room's cameras; `known` bool[H, W]: where they are measured."""
    sure = np.ones(z[0].shape, np.float32) if known is None else known.astype(np.float32)
    return PhotoMaps(names or place.names, place.cameras, lambda i: Layers(z[i].astype(np.float32), sure))


def write(folder: Path, maps: PhotoMaps, **more: Any) -> tuple[Page, dict[str, Any]]:
    """The page of some maps over grey photos, and its numbers."""
    job = Job(folder)
    grey = lambda i, size: np.full((size[1], size[0], 3), 99, np.uint8)  # noqa: E731
    geometry = Geometry(**{"title": "room", "source": "Made up.", "maps": maps, "photo": grey, "world": METRIC} | more)
    return parse_page(folder, write_geometry_page(job.folder / "geometry.html", geometry, job))


def parse_page(folder: Path, metrics: dict[str, Any]) -> tuple[Page, dict[str, Any]]:
    return parse(folder / "geometry.html"), metrics


def rows_of(page: Page, table: str) -> list[list[str]]:
    """The cells of a table's body, by row."""
    at = next(i for i, node in enumerate(page.nodes) if node.attributes.get("id") == table)
    rows: list[list[str]] = []
    for node in page.nodes[at + 1 :]:
        if node.tag == "table":
            break
        if node.tag == "tr":
            rows.append([])
        if node.tag == "td":
            rows[-1].append(node.text)
    return [row for row in rows if row]


def number(cell: str) -> float:
    """The number of a cell of a table."""
    return float(cell.removeprefix("<"))


def image(uri: str | None) -> np.ndarray:
    """u8[H, W, 3], RGB, of a data URI."""
    assert uri is not None and uri.startswith("data:image/jpeg;base64,")
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",", 1)[1]), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels[..., ::-1]


def pictures(page: Page, kind: str) -> dict[str, np.ndarray]:
    """The pictures of a kind by photo."""
    found = [n for n in page.all("img") if (n.attributes.get("alt") or "").startswith(f"{kind} of ")]
    return {str(n.attributes["alt"]).removeprefix(f"{kind} of "): image(n.attributes["src"]) for n in found}


def test_perfect_maps_agree_and_the_numbers_are_the_truths(tmp_path: Path, place: Room) -> None:
    known = np.ones(place.z[0].shape, bool)
    known[:, : SIZE[0] // 4] = False
    page, metrics = write(tmp_path, maps_of(place, place.z, known))
    assert metrics["agreement_median_relative"] < 1e-6 and metrics["agreement_within_1_percent"] > 0.995
    assert metrics["agreement_checked"] > 0.9
    shown = [li.text for li in page.all("li")]
    assert "6photos with a map of z" in shown and "75.0 %of their pixels are measured" in shown
    assert [row[1] for row in rows_of(page, "photos-table")] == ["75.0"] * 6
    assert all(row[3] == "<0.01" for row in rows_of(page, "photos-table"))
    for picture in pictures(page, "Disagreement").values():
        part = picture[:, SIZE[0] // 4 + 8 :].astype(int)
        assert np.median(part) < 8, "black: no disagreement"
        assert np.abs(picture[:, : SIZE[0] // 4 - 8].astype(int) - UNKNOWN_RGB).max() < 12, "grey: not measured"


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_a_wrong_map_shows_and_its_neighbours_stay_right(tmp_path: Path, place: Room, factor: float) -> None:
    """Also one that is too far: its points are hidden behind what the others see, but it looks through that."""
    z = [place.z[i] * (factor if i == 2 else 1) for i in range(6)]
    page, metrics = write(tmp_path, maps_of(place, z))
    rows = rows_of(page, "photos-table")
    assert rows[0][0] == place.names[2] and number(rows[0][3]) > 10 and number(rows[0][4]) < 5
    assert number(rows[0][2]) > 95, "hardly a point of it is taken for hidden"
    assert all(row[3] == "<0.01" and number(row[4]) > 90 for row in rows[1:])
    assert next(n.text for n in page.all("b", id="worst")) == place.names[2]
    bright = {name: float(np.median(p)) for name, p in pictures(page, "Disagreement").items()}
    assert bright.pop(place.names[2]) > 50 and max(bright.values()) < 8
    assert metrics["agreement_median_relative"] < 1e-6, "the median of all still is of the others"


def test_shuffled_maps_fail(tmp_path: Path, place: Room) -> None:
    _, metrics = write(tmp_path, maps_of(place, [place.z[(i + 3) % 6] for i in range(6)]))
    assert metrics["agreement_median_relative"] > 0.05 and metrics["agreement_within_1_percent"] < 0.1


def test_errors_against_truth(tmp_path: Path, place: Room) -> None:
    """Three maps have truth of twice their size; one of these maps is 3 % off, over its left half."""
    z = [np.array(part) for part in place.z]
    z[1][:, : SIZE[0] // 2] *= 1.03
    truth = {place.names[i]: np.kron(place.z[i], np.ones((2, 2))) for i in (0, 1, 2)}
    page, metrics = write(tmp_path, maps_of(place, z), truth=truth)
    rows = {row[0]: row for row in rows_of(page, "photos-table")}
    assert (
        metrics["true_within_1_percent"] == pytest.approx(5 / 6, abs=0.001) and metrics["true_median_relative"] < 1e-6
    )
    assert rows[place.names[1]][6] == "50.0" and rows[place.names[0]][6] == "100" and rows[place.names[4]][6] == "–"
    found = pictures(page, "Error")
    assert set(found) == set(truth) and found[place.names[0]].max() < 8
    half = found[place.names[1]].mean((0, 2))
    assert half[: SIZE[0] // 2 - 8].min() > 30 and half[SIZE[0] // 2 + 8 :].max() < 8
    all_off, numbers = write(tmp_path / "off", maps_of(place, [1.03 * part for part in place.z]), truth=truth)
    assert numbers["true_median_relative"] == pytest.approx(0.03, rel=1e-4)
    assert "3.00 %of z: median error against truth" in [li.text for li in all_off.all("li")]
    assert np.array_equal(true_at(truth[place.names[0]], place.z[0].shape), place.z[0])


def test_normals_and_held_out_cameras(tmp_path: Path, place: Room) -> None:
    normal = normals_of(place.z[0].astype(np.float32), place.cameras.K[0])
    known = np.isfinite(normal).all(-1)
    assert known.mean() > 0.9
    assert np.median(np.abs(normal - place.normal[0])[known]) < 1e-3
    rest = np.array([0, 1, 3, 4, 5])
    maps = PhotoMaps(
        tuple(np.array(place.names)[rest]),
        place.cameras[rest],
        lambda i: Layers(place.z[rest[i]].astype(np.float32), np.ones(place.z[0].shape, np.float32)),
    )
    for factor, low, high in ((1.0, 0, 1e-6), (0.9, 0.05, 0.2)):
        z = factor * place.z[2].astype(np.float32)
        apart = PhotoMaps(("held",), place.cameras[2], lambda i, z=z: Layers(z, np.ones(z.shape, np.float32)))
        page, metrics = write(tmp_path / str(factor), maps, held_out=apart)
        assert low <= metrics["held_out_median_relative"] <= high
        assert [row[0] for row in rows_of(page, "held-out-table")] == ["held"]
        assert metrics["agreement_median_relative"] < 1e-6


def test_names_are_text_and_nothing_is_fetched(tmp_path: Path, place: Room) -> None:
    names = (HOSTILE, *place.names[1:])
    page, _ = write(
        tmp_path,
        maps_of(place, place.z, names=names),
        title=HOSTILE,
        source=HOSTILE,
        links=(("../../eval/x/report.html", HOSTILE),),
    )
    raw = (tmp_path / "geometry.html").read_text(encoding="utf-8")
    assert raw.count("<script") == 1 and "alert('x')" not in raw
    assert any(n.text == HOSTILE for n in page.all("h3")) and page.all("h1")[0].text == HOSTILE
    bare = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", raw)
    assert not re.search(r"https?://|//[a-z]|@import|url\(|<link|<iframe", bare.replace("// Behaviour", ""))
    assert all((n.attributes.get("src") or "").startswith("data:") and n.attributes.get("alt") for n in page.all("img"))
    assert not any(key.startswith("on") for n in page.nodes for key in n.attributes)


def test_units_are_said(tmp_path: Path, place: Room) -> None:
    surface = surface_of(coloured_cube()[0])
    texts = {}
    for world in (METRIC, World()):
        page, metrics = write(tmp_path / world.scale, maps_of(place, place.z), world=world)
        heads = head_figures((), metrics, world, surface) + holes_card(surface, world)
        texts[world.scale] = (re.sub("<[^>]+>", "", heads), " ".join(n.text for n in page.all("div")))
    assert "metresunit of length" in texts["metric"][0] and "30.0 mmspacing" in texts["metric"][0]
    assert "scene unitsunit of length: the true scale is not known" in texts["arbitrary"][0]
    assert "15.4 m²area" in texts["metric"][0] and "15.4 square scene unitsarea" in texts["arbitrary"][0]
    assert "25.0 %of the triangles no photo sees" in texts["metric"][0] and "432triangles" in texts["metric"][0]
    assert "Their length, m" in texts["metric"][0] and "Their length, scene units" in texts["arbitrary"][0]
    assert re.search(r"z [\d.]+ m\b", texts["metric"][1]) and "scene units" not in texts["metric"][1]
    assert re.search(r"[\d.]+ scene units", texts["arbitrary"][1])
    assert length(0.0174, METRIC) == ("17.4", "mm") and length(0.0174, World()) == ("0.0174", "scene units")
    assert length(0.5, METRIC) == ("50.0", "cm") and length(20, METRIC) == ("20.0", "m")
    assert (digits(1234.0), digits(0.05), digits(0), digits(1e-9)) == ("1,234", "0.0500", "0", "1.00e-09")
    assert (percent(1.0), percent(0.0), percent(1e-6), percent(None)) == ("100", "0", "<0.01", "–")


def coloured_cube() -> tuple[Mesh, Cameras]:
    """A cube of six colours, not textured, and cameras around it."""
    xyz, faces, side = cube()
    split = xyz[faces].reshape(-1, 3)
    mesh = Mesh(split, np.arange(len(split), dtype=np.int32).reshape(-1, 3), np.repeat(SIDE_COLOURS[side], 3, axis=0))
    return mesh, cameras_around()


def surface_of(mesh: Mesh) -> Surface:
    return Surface(mesh, 0.03, area(mesh.xyz, mesh.faces), holes(mesh.xyz, mesh.faces), is_closed(mesh.faces), 0.25)


@pytest.fixture(scope="module")
def turning(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page, dict[str, Any]]:
    """A page with the cube on it, and one photo that saw nothing."""
    return write_cube(tmp_path_factory.mktemp("cube"))


def write_cube(folder: Path) -> tuple[Path, Page, dict[str, Any]]:
    mesh, cameras = coloured_cube()
    maps = PhotoMaps(("a",), cameras[0], lambda i: Layers(*np.zeros((2, 72, 96), np.float32)))
    return folder / "geometry.html", *write(folder, maps, surface=surface_of(mesh))


def test_frame_k_shows_the_mesh_turned_by_k_steps(tmp_path: Path, turning: tuple[Path, Page, dict[str, Any]]) -> None:
    (mesh, cameras), (path, page, metrics) = coloured_cube(), turning
    sheets = {
        str(n.attributes["class"]): image(n.attributes["src"]) for n in page.all("img") if "class" in n.attributes
    }
    focus, (width, height) = focus_of(mesh, cameras[0]), FRAME_SIZE
    for k in (0, 1, 7, 18):
        angle = 2 * np.pi * k / FRAMES
        c, s = np.cos(angle), np.sin(angle)
        spin = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        xyz = ((mesh.xyz - focus.center) @ spin.T + focus.center).astype(np.float32)
        direct = shots(replace(mesh, xyz=xyz), focus, turned(focus, 0, FRAME_SIZE))
        row, column = divmod(k, COLUMNS)
        for kind, want in zip(("textured", "bare"), direct, strict=True):
            cell = sheets[kind][row * height : (row + 1) * height, column * width : (column + 1) * width].astype(int)
            assert np.abs(cell - want)[4:-4, 4:-4].mean() < 2, f"frame {k}, {kind}"
            other = sheets[kind][:height, -width:].astype(int)
            assert np.abs(other - want)[4:-4, 4:-4].mean() > 4, "another frame is another picture"
    assert write_cube(tmp_path)[0].read_bytes() == path.read_bytes(), "the same input, the same bytes"
    assert metrics["agreement_median_relative"] is None, "one photo has nobody to agree with"
    assert "nothing to compare it with" in next(p.text for p in page.all("p") if "Worst photo" in p.text)


def test_the_scale_bar_is_as_long_as_it_says(turning: tuple[Path, Page, dict[str, Any]]) -> None:
    (mesh, cameras), (_, page, _) = coloured_cube(), turning
    focus = Focus(np.zeros(3), 1.4, -np.pi / 2, 0.4)
    for camera in plans(focus, False, PLAN_SIZE):
        seen = (np.abs(shots(mesh, focus, camera)[0].astype(int) - np.rint(255 * np.array(BACKDROP))) > 3).any(-1)
        wide = seen.any(0).sum() / PLAN_SIZE[0] * units_across(focus, PLAN_SIZE)
        assert wide == pytest.approx(1.6, rel=0.01), "the cube's side"
    across = units_across(focus_of(mesh, cameras[0]), PLAN_SIZE)
    bars = list(page.all("div", class_="rule"))
    shares = [float(re.findall(r"width:([\d.]+)%", str(n.attributes["style"]))[0]) / 100 for n in bars]
    told = [n.text for n in bars]
    value, unit = told[0].split()
    metres = float(value) * {"m": 1, "cm": 0.01, "mm": 0.001}[unit]
    assert len(told) == 2 and shares[0] * across == pytest.approx(metres, rel=0.01)
    assert [round_length(x) for x in (0.3, 1.0, 7.0, 0.0499)] == pytest.approx([0.2, 1, 5, 0.02])


def test_turned_views_stand_upright() -> None:
    focus = Focus(np.array([1.0, 2, 3]), 0.5, 0.3, 0.4)
    for angle in (0.0, 1.0, 4.0):
        camera = turned(focus, angle, FRAME_SIZE)
        pixels = camera.project(focus.center + np.array([[0, 0, 0], [0, 0, 0.4]]))[0][0]
        assert pixels[0] == pytest.approx([FRAME_SIZE[0] / 2, FRAME_SIZE[1] / 2])
        assert pixels[1, 0] == pytest.approx(pixels[0, 0]) and pixels[1, 1] < pixels[0, 1]
    above = plans(focus, True, PLAN_SIZE)[0]
    pixels = above.project(focus.center + np.array([[0, 0.3, 0], [0.3, 0, 0]]))[0][0] - np.array(PLAN_SIZE) / 2
    assert pixels[0, 1] < -20 and pixels[1, 0] > 20, "north up, east to the right"
    assert np.linalg.det(looking(np.zeros(3), np.ones(3), np.array([0, 0, 1.0]), 9, (4, 4)).cam_from_world[0]) > 0


def test_of_many_photos_the_worst_are_shown_and_all_are_in_the_table(tmp_path: Path) -> None:
    many = room(45, cameras_in_a_row(45, 0.04))
    page, _ = write(tmp_path, maps_of(many, many.z))
    rows = rows_of(page, "photos-table")
    assert len(page.all("article", class_="card view")) == 40 and len(rows) == 45
    assert list(pictures(page, "z")) == [row[0] for row in rows[:40]]
    assert "40 of 45 photos are shown, the worst." in [p.text for p in page.all("p")]


def test_the_depth_stages_page(tmp_path: Path, place: Room) -> None:
    """The maps as recon depth writes them, one photo without depth, one guess that was not measured."""
    z = [part.astype(np.float32) for part in place.z]
    sure = [np.ones(part.shape, np.float32) for part in z]
    z[0][:], sure[0][:], sure[1][:20] = np.nan, 0, 0
    for name, rgb in zip(place.names, place.rgb, strict=True):
        write_photo(tmp_path / "images" / f"{name}.png", rgb)
    maps = DepthMaps(place.names, place.cameras, tuple(z), tuple(sure), tuple(place.normal), World())  # type: ignore[arg-type]
    job = Job(tmp_path / "castle" / ".building" / "depth")
    depth_page(maps, Reconstruction(sparse_of(place), tmp_path / "images", None), job)
    page, metrics = parse_page(job.folder, job.metrics)
    assert page.all("h1")[0].text == "castle" and metrics["agreement_median_relative"] < 1e-6
    rows = rows_of(page, "photos-table")
    assert rows[0][:2] == [place.names[0], "0"] and rows[0][3] == "–", "the photo without depth comes first"
    shown = pictures(page, "Photo")[place.names[3]]
    assert np.abs(shown / 255 - place.rgb[3]).mean() < 0.05
    assert any("Paler z" in p.text for p in page.all("p"))
    assert np.abs(pictures(page, "z")[place.names[0]].astype(int) - UNKNOWN_RGB).max() < 6


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_turntable_is_turned_by_keys_in_chromium(
    tmp_path: Path, turning: tuple[Path, Page, dict[str, Any]]
) -> None:
    with Tab(turning[0], tmp_path / "profile") as tab:
        tab.run("document.querySelector('.turn input').focus()")
        for _ in range(COLUMNS + 1):
            tab.press("ArrowRight", 39)
        place = "['--column','--row'].map(k => document.querySelector('.window').style.getPropertyValue(k)).join()"
        assert tab.run(place) == "1,1"
        for _ in range(COLUMNS + 2):
            tab.press("ArrowLeft", 37)
        assert tab.run("document.querySelector('.turn input').value") == str(FRAMES - 1), "and around the end"
        tab.run("document.querySelector('input[value=bare]').click()")
        assert tab.run("getComputedStyle(document.querySelector('.window .bare')).display") == "block"
        assert tab.run("document.documentElement.scrollWidth <= innerWidth")
