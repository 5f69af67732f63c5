"""report.html: it says what metrics.json says, shows what the pictures show, and lets no file name through as markup."""

import base64
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from recon.capture import Capture
from recon.errors import InputError
from recon.geometry import World
from recon.page.pictures import UNKNOWN_RGB, colour_table, data_uri, embedded_size
from recon.reconstruction import Reconstruction
from render import report_charts
from render.report import worst_first, write_report
from render.report_charts import charts, log_ticks, nice_ticks, series
from render.report_images import (
    View,
    error_limit,
    error_picture,
    error_samples,
)
from tests.fabricate import SIZE, photo_of, ring_capture, ring_model, write_photo, write_stage

HOSTILE = "a & b/<script>alert('x')</script>.jpg"
NAMES = tuple(sorted([f"p{i:02d}.jpg" for i in range(7)] + [HOSTILE]))


@dataclass
class Node:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """Elements in document order, each with the text directly and indirectly inside it."""

    nodes: list[Node] = field(default_factory=list)
    open: list[Node] = field(default_factory=list)
    VOID = ("meta", "img", "input", "br", "link")

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self.nodes.append(node)
        if tag not in self.VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("line", "circle", "polyline", "path"):
            return
        assert self.open and self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag if self.open else '-'}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for node in self.open:
            node.text += data

    def all(self, tag: str, **attributes: str) -> list[Node]:
        return [
            n
            for n in self.nodes
            if n.tag == tag and all(n.attributes.get(k.rstrip("_")) == v for k, v in attributes.items())
        ]


def parse(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert not page.open, "unclosed elements"
    return page


def scores(names: tuple[str, ...]) -> list[dict[str, float | str | None]]:
    values = [27.125, 22.5, 31.25, 24.75]
    return [{"name": n, "psnr": v, "ssim": v / 40} for n, v in zip(names, values, strict=False)]


def write_pictures(folder: Path, names: tuple[str, ...]) -> None:
    for i, name in enumerate(names):
        write_photo(folder / "photos" / f"{name}.png", photo_of(i))
        write_photo(folder / "renders" / f"{name}.png", photo_of(i) * 0.8)


def make(root: Path, *, history: list[dict] | None = None, left_out: tuple = (), **more: object) -> tuple[Page, Path]:
    """A workspace with a report in .building/eval/main, where the evaluation writes it."""
    capture = ring_capture(root, NAMES, every=2)
    reconstruction = reconstruction_of(capture, root, left_out)
    folder = root / ".building" / "eval" / "main"
    folder.mkdir(parents=True)
    test = tuple(n for n, split in zip(NAMES, capture.split, strict=True) if split == "test")
    write_pictures(folder, test)
    images = scores(test)
    mean = float(np.mean([i["psnr"] for i in images]))
    metrics = {"psnr": mean, "ssim": 0.6543, "images": images, "splats": 12345, "steps": 678, "long_side": 96}
    write_report(folder, capture, reconstruction, metrics | {"protocol": "every <2nd> photo"} | more, history or [])
    return parse(folder / "report.html"), folder


def reconstruction_of(capture: Capture, root: Path, left_out: tuple = (), masks: Path | None = None) -> Reconstruction:
    model = ring_model(capture.names, world=World(scale="metric", up="gravity"))
    return Reconstruction(model, root / "sfm" / "images", masks, left_out)


def test_numbers_are_those_of_the_metrics(tmp_path: Path) -> None:
    page, _ = make(tmp_path / "scene")
    shown = [li.text for li in page.all("li")]
    assert any(s.startswith("26.41 dB") and "4 held-out views" in s for s in shown)
    assert {"0.6543SSIM", "12,345splats", "678training steps", "96 pxlong side"} <= set(shown)
    rows = [tr.text for tr in page.all("tr")]
    for image in scores(NAMES[::2]):
        assert any(
            str(image["name"]) in r and f"{image['psnr']:.2f}" in r and f"{image['ssim']:.4f}" in r for r in rows
        )
    assert any("every <2nd> photo" in p.text for p in page.all("p"))
    assert page.all("h1")[0].text == "scene"


def test_worst_view_is_named_and_comes_first(tmp_path: Path) -> None:
    page, _ = make(tmp_path / "scene")
    worst = min(scores(NAMES[::2]), key=lambda i: i["psnr"])["name"]
    assert page.all("b", id="worst")[0].text == worst
    assert page.all("h3")[0].text == worst
    assert [i["psnr"] for i in worst_first([{"name": "a", "psnr": None}, *scores(NAMES)])] == [
        22.5,
        24.75,
        27.125,
        31.25,
        None,
    ]


def test_times_are_those_of_the_stages_and_of_the_evaluation_so_far(tmp_path: Path) -> None:
    write_stage(tmp_path / "scene" / "ingest", wall_seconds=1.5, cpu_seconds=2.5, threads=2)
    _, folder = make(tmp_path / "scene")
    capture = ring_capture(tmp_path / "scene", NAMES)
    spent = {"wall_seconds": 12.25, "cpu_seconds": 84.0}
    write_report(folder, capture, reconstruction_of(capture, tmp_path / "scene"), {}, [], spent=spent)
    rows = [tr.text for tr in parse(folder / "report.html").all("tr")]
    assert "ingest1.5 s2.5 s" in rows
    assert "eval, up to this page12.2 s1 min 24 s" in rows


def test_no_text_from_a_file_becomes_markup(tmp_path: Path) -> None:
    root = tmp_path / "<b>bold</b>"
    record = {
        "warnings": ["</ul><script>bad()</script>"],
        "options": {"<i>": "<img src=x onerror=bad()>"},
        "threads": 2,
    }
    write_stage(root / "ingest", wall_seconds=1.0, cpu_seconds=1.0, machine="<u>box</u>", **record)
    page, _ = make(root, left_out=((HOSTILE, "<style>*{display:none}</style>"),))
    assert HOSTILE in NAMES[::2], "the hostile name is a held-out view"
    assert len(page.all("script")) == 1 and len(page.all("style")) == 1
    assert not page.all("i", src="x") and not [n for n in page.nodes if n.tag == "img" and n.attributes["src"] == "x"]
    assert not [key for n in page.nodes for key in n.attributes if key.startswith("on")]
    assert HOSTILE in [n.text for n in page.all("h3")]
    assert any(HOSTILE in (n.attributes["alt"] or "") for n in page.all("img"))
    assert "alert(" not in page.all("script")[0].text and "bad(" not in page.all("script")[0].text


def test_page_fetches_nothing(tmp_path: Path) -> None:
    page, folder = make(tmp_path / "scene")
    mesh = page.all(
        "a", href="../../mesh/main/geometry.html"
    )  # the one link to another page: nothing until it is clicked
    for node in page.nodes:
        if node in mesh:
            continue
        for key in ("src", "href", "data", "srcset"):
            value = node.attributes.get(key)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#")), (
                node.tag,
                key,
                (value or "")[:60],
            )
    whole = (folder / "report.html").read_text()
    assert "@import" not in whole and "url(" not in whole and "fetch(" not in whole
    assert len(page.all("img")) == 3 * 4
    targets = {n.attributes["id"] for n in page.nodes if n.attributes.get("id")}
    assert {n.attributes["href"][1:] for n in page.all("a") if n not in mesh} <= targets and len(mesh) == 1


def test_error_map_is_the_difference(tmp_path: Path) -> None:
    page, _ = make(tmp_path / "scene")
    index = worst_first(scores(NAMES[::2]))[0]
    source = NAMES[::2].index(index["name"])
    photo = np.rint(photo_of(source) * 255) / 255
    render = np.rint(photo_of(source) * 0.8 * 255) / 255
    truth = np.abs(photo - render).mean(-1)
    limit = error_limit([error_samples(truth.astype(np.float32))])
    assert any(f"{limit:.2f} and more" in n.text for n in page.all("span"))
    first = {n.attributes["alt"].split()[0]: decode(n.attributes["src"]) for n in page.all("img")[:3]}
    assert np.abs(first["Photo"] / 255 - photo).mean() < 0.02
    assert np.abs(first["Render"] / 255 - render).mean() < 0.02
    table = colour_table().astype(np.float64)
    nearest = np.argmin(((first["Error"].reshape(-1, 1, 3) - table) ** 2).sum(-1), 1).reshape(SIZE[::-1])
    assert np.abs(nearest / 255 * limit - np.minimum(truth, limit)).mean() < 0.02 * limit
    view = View(photo.astype(np.float32), render.astype(np.float32), None)
    np.testing.assert_allclose(view.error, truth, atol=1e-6)


def decode(uri: str) -> np.ndarray:
    import cv2

    data = np.frombuffer(base64.b64decode(uri.split(",", 1)[1]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float64)


def test_pixels_that_do_not_count_are_grey_and_leave_the_scale_alone() -> None:
    photo, render = np.zeros((20, 30, 3), np.float32), np.full((20, 30, 3), 0.1, np.float32)
    render[:, :10] = 1.0
    valid = np.ones((20, 30), bool)
    valid[:, :10] = False
    error = View(photo, render, valid).error
    assert error_limit([error_samples(error)]) == pytest.approx(0.10)
    picture = error_picture(error, (15, 10), 0.2)
    assert (picture[:, :5] == UNKNOWN_RGB).all()
    assert (picture[:, 5:] == colour_table()[128]).all()


def test_pictures_fit_their_budget() -> None:
    assert embedded_size((640, 480), 3) == (640, 480), "never enlarged"
    few, many = embedded_size((4000, 3000), 21), embedded_size((4000, 3000), 600)
    assert max(few) == 1280 and max(many) < max(few) and max(embedded_size((4000, 3000), 10**6)) == 240
    uri = data_uri(photo_of(0), (48, 32))
    assert decode(uri).shape == (32, 48, 3)


def test_curves_carry_every_point() -> None:
    history = [{"seconds": i, "step": i, "loss": 1 / (i + 1), "splats": 100 + i, "long_side": 100} for i in range(30)]
    for row in history[::3]:
        row["psnr"] = 20.0 + row["step"]
    history[4]["loss"] = float("nan")
    page = Page()
    page.feed("".join(charts(history)))
    drawn = {f.attributes["data-curve"]: p for f, p in zip(page.all("figure"), page.all("polyline"), strict=True)}
    counts = {key: len(p.attributes["points"].split()) for key, p in drawn.items()}
    assert counts == {"loss": 29, "psnr": 10, "splats": 30, "long_side": 30}
    assert all(int(p.attributes["data-points"]) == counts[key] for key, p in drawn.items())
    xy = np.array([[float(v) for v in p.split(",")] for p in drawn["splats"].attributes["points"].split()])
    assert (np.diff(xy[:, 0]) > 0).all() and (np.diff(xy[:, 1]) < 0).all(), "rising values rise on the page"
    assert np.ptp(np.diff(xy[:, 1])) < 0.25, "and evenly, as they are"


def test_long_histories_are_thinned_and_empty_ones_draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    history = [{"seconds": i, "loss": 1.0} for i in range(5000)]
    points = series(history, "loss")
    assert len(points) == report_charts.MAX_POINTS and points[0][0] == 0 and points[-1][0] == 4999
    assert charts([]) == [] and charts([{"seconds": 1.0}]) == []
    assert len(charts([{"seconds": 0.0, "loss": 0.5}])) == 1, "a single point is a dot"


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (17.3, 31.9), (8000, 60000), (5.0, 5.0), (-3.0, 2.0), (0.0, 0.0)]
)
def test_ticks_enclose_the_values(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low + 1e-9 and ticks[-1] >= high - 1e-9 and 2 <= len(ticks) <= 8
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_log_ticks_enclose_the_values() -> None:
    for low, high in [(0.02, 0.31), (0.5, 0.5), (1.0, 1000.0), (3e-4, 0.9)]:
        ticks = log_ticks(low, high)
        assert ticks[0] <= low * (1 + 1e-6) and ticks[-1] >= high * (1 - 1e-6) and len(ticks) <= 8


def test_stages_reasons_and_world_are_told(tmp_path: Path) -> None:
    root = tmp_path / "scene"
    write_stage(root / "sfm", wall_seconds=71.0, cpu_seconds=130.4, threads=2, machine="Linux", warnings=["lens cap"])
    write_stage(root / "train" / "main", wall_seconds=9.4, cpu_seconds=18.0, options={"minutes": 2.5})
    page, _ = make(root, left_out=(("lost.jpg", "no matches with any photo"),))
    rows = [tr.text for tr in page.all("tr")]
    assert any(r.startswith("sfm1 min 11 s2 min 10 s") for r in rows) and any(r.startswith("train9.4 s") for r in rows)
    assert "lost.jpgno matches with any photo" in rows
    assert any("lens cap" in li.text for li in page.all("li"))
    values = [dd.text for dd in page.all("dd")]
    assert "One unit is one metre." in values and "+Z, measured." in values and "2.5" in values


def test_the_page_of_the_mesh_is_linked_whether_it_is_there_or_not(tmp_path: Path) -> None:
    pages = []
    for name in ("before", "after"):
        root = tmp_path / name / "scene"
        if name == "after":
            write_stage(root / "mesh" / "main")
            (root / "mesh" / "main" / "geometry.html").touch()
        page, folder = make(root)
        pages.append((folder / "report.html").read_bytes())
        assert "Once `recon mesh` has run: depth, agreement and the mesh to turn." in [p.text for p in page.all("p")]
        link = str(page.all("a", href="../../mesh/main/geometry.html")[0].attributes["href"])
        assert (root / "eval" / "main" / link).resolve() == (root / "mesh" / "main" / "geometry.html").resolve()
    assert pages[0] == pages[1]


def test_without_held_out_photos_it_says_so(tmp_path: Path) -> None:
    page, _ = make(tmp_path / "scene", psnr=None, ssim=None, images=[], train_psnr=30.5)
    assert not page.all("b", id="worst") and not page.all("img")
    assert any("No photo was held out" in p.text for p in page.all("p"))
    assert any(li.text.startswith("30.50 dB") and "training photos" in li.text for li in page.all("li"))


def test_photo_comes_from_the_reconstruction_when_the_evaluation_wrote_none(tmp_path: Path) -> None:
    names = NAMES[:2]
    capture = ring_capture(tmp_path, names, every=2)
    folder = tmp_path / "eval" / "main"
    big = np.repeat(np.repeat(photo_of(0), 2, 0), 2, 1)
    write_photo(tmp_path / "sfm" / "images" / f"{names[0]}.png", big)
    write_photo(folder / "renders" / f"{names[0]}.png", photo_of(0))
    metrics = {"psnr": 40.0, "ssim": 0.99, "images": [{"name": names[0], "psnr": 40.0, "ssim": 0.99}]}
    write_report(folder, capture, reconstruction_of(capture, tmp_path), metrics, [])
    pictures = [decode(n.attributes["src"]) for n in parse(folder / "report.html").all("img")]
    assert np.abs(pictures[0] - pictures[1]).mean() < 1.0 and pictures[2].mean() < 8
    (folder / "renders" / f"{names[0]}.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="cannot be read"):
        write_report(folder, capture, reconstruction_of(capture, tmp_path), metrics, [])
    (folder / "renders" / f"{names[0]}.png").unlink()
    write_report(folder, capture, reconstruction_of(capture, tmp_path), metrics, [])
    assert any("not in this folder" in p.text for p in parse(folder / "report.html").all("p"))


def test_history_from_json_lines_draws(tmp_path: Path) -> None:
    from tests.fabricate import write_history

    write_history(tmp_path / "history.jsonl", rows=12)
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    page, _ = make(tmp_path / "scene", history=rows)
    assert [p.attributes["data-points"] for p in page.all("polyline")] == ["12"] * 4
