"""report.html of an evaluation: one file that opens from disk with a double click and fetches nothing.

Every held-out view as photo, render and error map, the worst one first and named at the top; of filmed photos, curves and film
strips over time; curves over the training; counts, times, settings, warnings, and what is known of the world. It repeats the
numbers of metrics.json and computes none of its own but the error maps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from recon import __version__
from recon.files import atomic_write
from recon.page import figures, number, page, span_of_time, text, warning_box, world_section
from recon.page.pictures import colours_of, data_uri, embedded_size
from render.report_charts import charts
from render.report_images import (
    BACKGROUND_LEVEL,
    error_limit,
    error_picture,
    error_samples,
    load_view,
)
from render.report_page import (
    photo_section,
    settings_section,
    stage_table,
    view_card,
    view_controls,
    view_table,
    worst_line,
)
from render.report_time import time_section

if TYPE_CHECKING:
    from recon.capture import Capture
    from recon.reconstruction import Reconstruction

STAGE_ORDER = ("ingest", "sfm", "align", "depth", "train")
"""Stages whose stage.json the report reads; the evaluation's own is not written yet."""


def write_report(
    folder: Path,
    capture: Capture,
    reconstruction: Reconstruction,
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    *,
    warnings: Sequence[str] = (),
    spent: Mapping[str, float] | None = None,
) -> None:
    """Write folder/report.html, atomically.

    `metrics` is metrics.json; `history` the rows of history.jsonl {seconds, step, loss, splats, long_side, psnr?}. Renders are
    read from folder/renders/NAME.png, photos from folder/photos/NAME.png or the reconstruction. stage.json files of the
    workspace around `folder` are used where they exist. `warnings` are the evaluation's own, and `spent` its wall_seconds and
    cpu_seconds so far. Raises InputError when a picture cannot be read.
    """
    records = stage_records(folder)
    images = worst_first(metrics.get("images") or [])
    noted = [line for _, record in records for line in record.get("warnings") or []] + list(warnings)
    root = workspace_root(folder)
    title = f"{root.name}: {folder.name}" if folder.name != "main" else root.name
    background = BACKGROUND_LEVEL.get(metrics.get("background", "black"), 0.0)
    limit = scale_of(folder, reconstruction, images, background)
    parts = [
        f'<header><p class="soft">recon report</p><h1>{text(title)}</h1>',
        f'<p class="soft">{text(metrics.get("protocol") or capture.protocol)}</p></header><main>',
        _key_figures(capture, reconstruction, metrics, records),
        worst_line(images) if images else '<p class="card">No photo was held out, so there is no error to measure.</p>',
        warning_box(list(dict.fromkeys(noted))),
        time_section(folder, reconstruction, metrics, images, background, limit),
        _views(folder, reconstruction, images, background, limit),
    ]
    drawn = charts([dict(row) for row in history])
    if drawn:
        parts.append(f'<h2>Training, over seconds</h2><div class="charts">{"".join(drawn)}</div>')
    film = metrics.get("film")
    parts.append(f"<h2>Photos</h2>{photo_section(capture, reconstruction.model, reconstruction.left_out, film)}")
    times = [*records, ("eval, up to this page", spent)] if spent else records
    if times:
        parts.append(f"<h2>Time</h2>{stage_table(times)}")
    parts.append(f"<h2>Surfaces</h2>{_geometry_line(folder.name)}")
    parts.append(f"<h2>World</h2>{world_section(reconstruction.model.world)}")
    if records:
        parts.append(f"<h2>Settings</h2>{settings_section(records)}")
    parts.append(
        f"</main><footer>recon {text(__version__)}. Errors are |photo − render|, the mean of R, G and B, of 1.</footer>"
    )
    style, script = (Path(__file__).with_name(f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    with atomic_write(folder / "report.html") as stream:
        stream.write(page(f"{title} · recon report", "\n".join(parts), style, script).encode("utf-8", "replace"))


def _geometry_line(name: str) -> str:
    """Where depth, agreement and the mesh of scene `name` are shown: the same whether they are there yet, as a mesh is made
    after the evaluation.
    """
    named = f" --name {name}" if name != "main" else ""
    return (
        f'<p class="soft">Once `recon mesh{text(named)}` has run: <a href="../../mesh/{text(quote(name))}/geometry.html">depth, '
        "agreement and the mesh to turn</a>.</p>"
    )


def worst_first(images: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The views by rising PSNR; views without one come last."""
    return sorted(images, key=lambda i: (i.get("psnr") is None, i.get("psnr") or 0.0, i["name"]))


def workspace_root(folder: Path) -> Path:
    """The workspace around eval/NAME or .building/eval/NAME."""
    root = folder.absolute().parent.parent
    return root.parent if root.name == ".building" else root


def stage_records(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """(stage, stage.json) of the finished stages around an evaluation folder, as far as they are there and whole."""
    root, records = workspace_root(folder), []
    for stage in STAGE_ORDER:
        path = root / stage / (f"{folder.name}/stage.json" if stage == "train" else "stage.json")
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # a report of a bare folder, without a workspace around it
        records.append((stage, record))
    return records


def _key_figures(
    capture: Capture,
    reconstruction: Reconstruction,
    metrics: Mapping[str, Any],
    records: Sequence[tuple[str, Mapping[str, Any]]],
) -> str:
    """The row of numbers at the top."""
    train = dict(records).get("train", {})
    views = len(metrics.get("images") or [])
    items = [
        (number(metrics.get("psnr"), 2), "dB", f"PSNR, mean of {views} held-out view{'s' * (views != 1)}"),
        (number(metrics.get("ssim"), 4), "", "SSIM"),
        (number(metrics.get("lpips"), 4), "", "LPIPS"),
        (number(metrics.get("psnr_affine"), 2), "dB", "PSNR after fitting each view's colours"),
        (number(metrics.get("train_psnr"), 2), "dB", "PSNR of training photos, seen in training"),
        (number(metrics.get("moving_psnr"), 2), "dB", "PSNR of what moves, estimated"),
        (number(metrics.get("still_psnr"), 2), "dB", "PSNR of the rest, estimated"),
        (number(metrics.get("splats")), "", "splats"),
        (number(metrics.get("long_side")), "px", "long side"),
        (number(metrics.get("steps")), "", "training steps"),
        (span_of_time(train.get("metrics", {}).get("seconds")), "", "training loop"),
        (f"{len(reconstruction.model.names)} of {len(capture)}", "", "photos placed"),
    ]
    return figures([item for item in items if item[0] != "–"])


def scale_of(
    folder: Path, reconstruction: Reconstruction, images: Sequence[Mapping[str, Any]], background: float
) -> float:
    """The upper end of the error maps' colours, the same for all views."""
    samples = []
    for image in images:
        view = load_view(folder, reconstruction, image["name"], background)
        samples += [] if view is None else [error_samples(view.error)]
    return error_limit(samples)


def _views(
    folder: Path,
    reconstruction: Reconstruction,
    images: Sequence[Mapping[str, Any]],
    background: float,
    limit: float,
) -> str:
    """Table and cards of the held-out views. One view at a time is in memory."""
    if not images:
        return ""
    cards = []
    for k, image in enumerate(images):
        view = load_view(folder, reconstruction, image["name"], background)
        if view is None:
            cards.append(view_card(k, image, {}, (1, 1)))
            continue
        size = embedded_size((view.render.shape[1], view.render.shape[0]), 3 * len(images))
        uris = {
            "photo": data_uri(view.photo, size),
            "render": data_uri(view.render, size),
            "error": data_uri(error_picture(view.error, size, limit), size),
        }
        cards.append(view_card(k, image, uris, size))
    return (
        f"<h2>Held-out views, worst first</h2>{view_table(images)}"
        f'<section id="views">{view_controls(colours_of("inferno"), limit)}{"".join(cards)}</section>'
    )
