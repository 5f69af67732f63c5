"""HTML of the comparison of several scenes: one file that fetches nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from recon import __version__
from recon.page import number, page, span_of_time, text, warning_box
from recon.page.pictures import data_uri, embedded_size
from recon.reconstruction import Reconstruction
from recon.wording import count
from render.compare import Compared, mean_of, seconds_a_view, training_seconds
from render.report_charts import Curve, Line, figure, series
from render.report_images import error_limit, error_picture, error_samples, load_view
from render.report_time import (
    StripRow,
    by_time,
    cell,
    film_strip,
    fullest,
    moment_link,
    notes,
    said,
    strip_size,
    strip_title,
    strips_of,
)

TRAINING = Curve("psnr", "PSNR in training, of training photos", "dB", 2)
OVER_TIME = (
    ("psnr", "held-out photos"),
    ("moving_psnr", "what moves (estimated)"),
    ("still_psnr", "the rest (estimated)"),
)
VIEW_SIDES = (240, 640)
"""Bounds of a view's pictures' longer sides, pixels."""


def comparison(
    root: Path,
    reconstruction: Reconstruction,
    scenes: Sequence[Compared],
    views: Sequence[str],
    warnings: Sequence[str],
    *,
    linked: bool,
) -> str:
    """The page. `views` are the photos that all scenes held out; `linked`: it stands in the workspace, beside their reports."""
    ranked = sorted(views, key=lambda name: _mean([scene.images[name].get("psnr") for scene in scenes]))
    limit = _limit(reconstruction, scenes, views)
    title = f"{root.absolute().name}: {', '.join(scene.name for scene in scenes)}"
    parts = [
        f'<header><p class="soft">recon comparison</p><h1>{text(title)}</h1>',
        f'<p class="soft">{text(scenes[0].metrics.get("protocol") or "")}</p></header><main>',
        warning_box(warnings),
        f"<h2>Side by side</h2>{_about(scenes, views)}{score_table(scenes, views, linked=linked)}",
        _charts(scenes, views),
        _over_time(reconstruction, scenes, views, ranked, limit),
        _views(reconstruction, scenes, ranked, limit),
        f"</main><footer>recon {text(__version__)}. Errors are |photo − render|, the mean of R, G and B, of 1.</footer>",
    ]
    style, script = (Path(__file__).with_name(f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return page(f"{title} · recon comparison", "\n".join(parts), style, script)


def score_table(scenes: Sequence[Compared], views: Sequence[str], *, linked: bool) -> str:
    """Scores, times and sizes: a row each, a scene a column; the best of a row is bold."""
    names = [
        f'<a href="eval/{text(quote(s.name))}/report.html">{text(s.name)}</a>' if linked else text(s.name)
        for s in scenes
    ]
    heads = "".join(f'<th scope="col" class="n">{name}</th>' for name in names)
    kinds = "".join(f'<td class="n">{text(s.train.get("options", {}).get("scene", "–"))}</td>' for s in scenes)
    rows = [
        _row("PSNR, dB", [mean_of(s, "psnr", views) for s in scenes], _digits(2), max),
        _row("SSIM", [mean_of(s, "ssim", views) for s in scenes], _digits(4), max),
        _row("LPIPS", [mean_of(s, "lpips", views) for s in scenes], _digits(4), min),
        _row("What moves, dB", [mean_of(s, "moving_psnr", views) for s in scenes], _digits(2), max),
        _row("The rest, dB", [mean_of(s, "still_psnr", views) for s in scenes], _digits(2), max),
        _row("Training", [training_seconds(s) for s in scenes], span_of_time, None),
        _row("CPU time of it", [s.train.get("cpu_seconds") for s in scenes], span_of_time, None),
        _row("A view takes", [seconds_a_view(s) for s in scenes], _view_time, min),
        _row("Views a second", [_rate(seconds_a_view(s)) for s in scenes], lambda v: number(v, 1), max),
        _row("On disk", [float(s.size) for s in scenes], _megabytes, min),
        _row("Splats", [s.metrics.get("splats") for s in scenes], number, None),
        _row("Steps", [s.metrics.get("steps") for s in scenes], number, None),
        _row("Long side, px", [s.metrics.get("long_side") for s in scenes], number, None),
    ]
    return (
        f'<div class="card scroll"><table id="scores"><thead><tr><th scope="col">Scene</th>{heads}</tr></thead>'
        f'<tbody><tr><th scope="row">Kind</th>{kinds}</tr>{"".join(rows)}</tbody></table></div>'
    )


def _row(
    label: str,
    values: Sequence[float | None],
    shown: Callable[[float | None], str],
    best: Callable[[Sequence[float]], float] | None,
) -> str:
    """A row of the table, "" when no scene has a value."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    first = best(known) if best is not None and len(known) > 1 else None
    cells = "".join(
        f'<td class="n">{f"<b>{text(shown(v))}</b>" if v is not None and v == first else text(shown(v))}</td>'
        for v in values
    )
    return f'<tr><th scope="row">{text(label)}</th>{cells}</tr>'


def _digits(digits: int) -> Callable[[float | None], str]:
    return lambda value: number(value, digits)


def _view_time(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def _megabytes(size: float | None) -> str:
    return f"{(size or 0) / 1e6:.1f} MB"


def _rate(seconds: float | None) -> float | None:
    return 1 / seconds if seconds else None


def _about(scenes: Sequence[Compared], views: Sequence[str]) -> str:
    """What the numbers are of."""
    machines = dict.fromkeys(
        f"{s.judged.get('threads', '?')} threads, {s.judged.get('machine', 'unknown')}" for s in scenes
    )
    lines = [
        f"Errors are means over {count(len(views), 'photo')} that all of these scenes held out.",
        "Training is the wall time of its loop, CPU time that of the whole stage over all threads. A view is one of these photos "
        f"at the size below, in the middle of all. Times depend on what else the machine did ({'; '.join(machines)}). "
        "On disk is scene.npz, all that recon needs of a scene.",
    ]
    return notes(lines)


def _charts(scenes: Sequence[Compared], views: Sequence[str]) -> str:
    """Training, and held-out photos over time."""
    drawn = []
    lines = [Line(s.name, points) for s in scenes if (points := series(s.history, "psnr"))]
    drawn += [figure(TRAINING, lines)] if lines else []
    fields = [s.name for s in scenes if s.history and not any(row.get("splats") for row in s.history)]
    told = (
        [f"In training, the photos of {', '.join(fields)} are looked at in some of their pixels alone."]
        if fields
        else []
    )
    rows = {s.name: [s.images[name] for name in views if s.images[name].get("time") is not None] for s in scenes}
    if all(len({row["time"] for row in own}) > 1 for own in rows.values()):
        for key, what in OVER_TIME:
            label = fullest(rows[scenes[0].name])[0]
            curve = Curve(key, f"PSNR of {what}{label}", "dB", 2, from_zero=False)
            lines = [Line(name, points) for name, own in rows.items() if (points := by_time(fullest(own)[1], key))]
            drawn += [figure(curve, lines)] if lines else []
    return f'<h2>Curves</h2>{notes(told)}<div class="charts">{"".join(drawn)}</div>' if drawn else ""


def _over_time(
    reconstruction: Reconstruction,
    scenes: Sequence[Compared],
    views: Sequence[str],
    ranked: Sequence[str],
    limit: float,
) -> str:
    """A film strip: the photos of the camera with the most of them, and each scene's render and error; "" without times."""
    rows = [scenes[0].images[name] for name in views]
    rows = [row for row in rows if all(scene.images[row["name"]].get("time") is not None for scene in scenes)]
    if len({row["time"] for row in rows}) < 2:
        return ""
    label, chosen = strips_of(rows)[0]
    cards = {name: k for k, name in enumerate(ranked)}
    photos, size, lines = [], (1, 1), []
    for scene in scenes:
        renders, errors = [], []
        for row in chosen:
            view = load_view(scene.folder, reconstruction, row["name"], scene.background)
            if view is None:
                for cells in (renders, errors, *([photos] if scene is scenes[0] else [])):
                    cells.append(("", ""))
                continue
            size = strip_size(view, (1 + 2 * len(scenes)) * len(chosen))
            renders.append(cell(f"Render of {scene.name}", row, data_uri(view.render, size)))
            errors.append(cell(f"Error of {scene.name}", row, data_uri(error_picture(view.error, size, limit), size)))
            if scene is scenes[0]:
                photos.append(cell("Photo", row, data_uri(view.photo, size)))
        lines += [StripRow(scene.name, renders), StripRow("Error", errors)]
    heads = [moment_link(row, cards) for row in chosen]
    told = notes(said(next((s.metrics for s in scenes if s.metrics.get("moving_region")), scenes[0].metrics)))
    return f"<h2>Over time</h2>{told}{strip_title(limit)}{film_strip(heads, [StripRow('Photo', photos), *lines], size, label)}"


def _views(reconstruction: Reconstruction, scenes: Sequence[Compared], ranked: Sequence[str], limit: float) -> str:
    """A card a photo: the photo, and each scene's render above its error; the photo with the worst mean PSNR first."""
    if not ranked:
        return '<p class="card">No photo was held out of all of these scenes, so there is no view to compare.</p>'
    cards = []
    for k, name in enumerate(ranked):
        columns, when = [], ""
        for scene in scenes:
            row, view = scene.images[name], load_view(scene.folder, reconstruction, name, scene.background)
            when = when or ("" if row.get("time") is None else f"{row['time']:.2f} s")
            if view is None:
                columns.append((scene.name, f"{scene.name}: its render is not in its folder", "", ""))
                continue
            pictures = (1 + 2 * len(scenes)) * len(ranked)
            size = embedded_size((view.render.shape[1], view.render.shape[0]), pictures, long_sides=VIEW_SIDES)
            if not columns:
                columns.append(("", "Photo", _picture(data_uri(view.photo, size), size, f"Photo {name}"), ""))
            error = data_uri(error_picture(view.error, size, limit), size)
            columns.append(
                (
                    scene.name,
                    f"{scene.name}, {number(row.get('psnr'), 2)} dB",
                    _picture(data_uri(view.render, size), size, f"Render of {name} by {scene.name}"),
                    _picture(error, size, f"Error of {scene.name} in {name}"),
                )
            )
        shown = "".join(
            f"<figure><figcaption>{text(title)}</figcaption>{render}{error}</figure>"
            for _, title, render, error in columns
        )
        cards.append(
            f'<article class="card view" id="view-{k}"><div class="head"><h3>{text(name)}</h3><span>{when}</span></div>'
            f'<div class="row" role="region" tabindex="0" aria-label="Pictures of {text(name)}">{shown}</div></article>'
        )
    return f"<h2>The same views, worst first</h2>{''.join(cards)}"


def _picture(uri: str, size: tuple[int, int], alt: str) -> str:
    return f'<img src="{uri}" width="{size[0]}" height="{size[1]}" loading="lazy" decoding="async" alt="{text(alt)}">'


def _limit(reconstruction: Reconstruction, scenes: Sequence[Compared], views: Sequence[str]) -> float:
    """The upper end of the error maps' colours, one for all scenes."""
    found = (load_view(s.folder, reconstruction, name, s.background) for s in scenes for name in views)
    return error_limit([error_samples(view.error) for view in found if view is not None])


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("inf")
