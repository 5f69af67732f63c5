"""The report of photos that were filmed: their errors over time, and film strips of photo, render and error.

Everything comes from metrics.json and the pictures in the evaluation's folder; photos whose rows tell no time are left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.page import number, text
from recon.page.pictures import data_uri, embedded_size
from recon.takes import film_line
from recon.wording import count
from render.filmed import read_mask, resized_mask
from render.report_charts import MAX_LINES, Curve, Line, Point, figure, series
from render.report_images import View, error_picture, load_view

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction

PSNR = Curve("psnr", "PSNR of held-out photos", "dB", 2, from_zero=False)
SSIM = Curve("ssim", "SSIM of held-out photos", "", 4, from_zero=False)
PARTS = Curve("parts", "PSNR of what moves and of the rest (estimated)", "dB", 2, from_zero=False)
PART_LINES = (("moving_psnr", "moving pixels"), ("still_psnr", "still pixels"))
MOMENTS = 8
"""Of a film strip at most."""
STRIPS = 4
"""Cameras with a film strip of their own at most."""
STRIP_SIDES = (160, 360)
"""Bounds of a strip's pictures' longer sides, pixels."""
DIM = 0.3
"""What is left of the brightness of pixels that stand still, where the moving ones are shown."""
Row = Mapping[str, Any]


Cell = tuple[str, str]
"""A picture's data URI and what it shows; ("", "") where there is none."""


@dataclass(frozen=True)
class StripRow:
    """One row of a film strip."""

    title: str
    cells: Sequence[Cell]


def time_section(
    folder: Path, reconstruction: Reconstruction, metrics: Row, images: Sequence[Row], background: float, limit: float
) -> str:
    """Curves and film strips; "" without times. `images` in the order of the report's cards, which the strips link to;
    `limit` is the upper end of the error maps' colours."""
    rows = [row for row in images if row.get("time") is not None]
    if len({row["time"] for row in rows}) < 2:
        return ""
    cards = {row["name"]: k for k, row in enumerate(images)}
    drawn = "".join(time_charts(rows))
    strips = ""
    for label, chosen in strips_of(rows):
        heads = [f"{moment_link(row, cards)} {number(row.get('psnr'), 1)} dB" for row in chosen]
        strips += film_strip(heads, *strip_of(folder, reconstruction, chosen, background, limit), label)
    return f'<h2>Over time</h2>{notes(said(metrics))}<div class="charts">{drawn}</div>{strip_title(limit)}{strips}'


def notes(lines: Sequence[str]) -> str:
    """Sentences above pictures."""
    return "".join(f'<p class="soft note">{text(line)}</p>' for line in lines)


def strip_title(limit: float) -> str:
    """What comes above film strips."""
    return (
        f'<h3 class="striped">Film strip</h3><p class="soft">Errors: black is 0, light yellow {limit:.2f} and more.</p>'
    )


def moment_link(row: Row, cards: Mapping[str, int]) -> str:
    """A moment's time, linked to the card of its photo."""
    return f'<a href="#view-{cards[row["name"]]}">{row["time"]:.2f} s</a>'


def said(metrics: Row) -> list[str]:
    """What the film is, and how moving pixels were told from still ones, as sentences."""
    film, lines = metrics.get("film") or {}, []
    if film:
        cameras = f" of {film['cameras']} cameras" if film["cameras"] > 1 else ""
        lines.append(
            f"Filmed from {film_line(film['start'], film['end'], film['fps'])}: {count(film['moments'], 'moment')}{cameras}, "
            f"{film['moments_held_out']} of which training never saw."
        )
    if metrics.get("moving_region"):
        lines.append(
            f"What moves is {metrics['moving_region']}. It covers {100 * (metrics.get('moving_share') or 0):.1f} % of these "
            "photos, and may miss things that move or take in some that do not."
        )
    return lines


def time_charts(rows: Sequence[Row]) -> list[str]:
    """PSNR and SSIM by camera; moving and still pixels apart."""
    charts = [figure(curve, lines) for curve in (PSNR, SSIM) if (lines := camera_lines(rows, curve.key))]
    label, steady = fullest(rows)
    parts = [Line(name, points) for key, name in PART_LINES if (points := by_time(steady, key))]
    return charts + ([figure(replace(PARTS, title=PARTS.title + label), parts)] if parts else [])


def by_camera(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by rising time, by camera in the order of their names."""
    cameras: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.get("camera", ""), row["time"])):
        cameras[row.get("camera", "")].append(row)
    return dict(cameras)


def fullest(rows: Sequence[Row]) -> tuple[str, list[Row]]:
    """The rows of the cameras with the most, and what to add to a title where that is not all of them: means over cameras
    that come and go would jump without any photo being worse."""
    cameras = by_camera(rows)
    most = max(len(own) for own in cameras.values())
    kept = [camera for camera, own in cameras.items() if len(own) == most]
    label = "" if len(kept) == len(cameras) else f", {kept[0]}" if len(kept) == 1 else f", {len(kept)} cameras"
    return label, [row for camera in kept for row in cameras[camera]]


def camera_lines(rows: Sequence[Row], key: str) -> list[Line]:
    """A line a camera; of more than a chart can tell apart, their mean, best and worst at each time, and the first of those
    that were held out more often than others by itself."""
    cameras = by_camera(rows)
    if len(cameras) <= MAX_LINES:
        lines = [Line(camera, series(own, key, "time")) for camera, own in cameras.items()]
        return [line for line in lines if line.points]
    label, apart = fullest(rows)
    alone = apart[0].get("camera", "") if label else None
    others = [row for row in rows if row.get("camera", "") != alone]
    ways = (("mean of the cameras", np.mean), ("worst camera", np.min), ("best camera", np.max))
    lines = [Line(name, by_time(fullest(others)[1], key, how)) for name, how in ways]
    lines += [] if alone is None else [Line(alone, series(cameras[alone], key, "time"))]
    return [line for line in lines if line.points]


def by_time(rows: Sequence[Row], key: str, how: Any = np.mean) -> list[Point]:
    """(seconds, value): what `how` makes of the values of each moment; of rows that tell none, of each time."""
    values: dict[float, list[float]] = defaultdict(list)
    time: dict[float, float] = {}
    for row in sorted(rows, key=lambda row: row["time"]):
        moment = row.get("moment", row["time"])
        time.setdefault(moment, row["time"])
        values[moment] += [float(row[key])] if row.get(key) is not None else []
    return [(time[moment], float(how(own))) for moment, own in values.items() if own]


def strips_of(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """(what it shows, its photos by time) of each film strip: the cameras with the most held-out photos first."""
    cameras = by_camera(rows)
    longest = sorted(cameras, key=lambda camera: -len(cameras[camera]))[:STRIPS]
    of_all = f", of {len(cameras)} cameras" if len(cameras) > len(longest) else ""
    return [(f"{camera}{of_all}" if camera else "", evenly(cameras[camera])) for camera in longest]


def evenly(rows: Sequence[Row], most: int = MOMENTS) -> list[Row]:
    """At most so many of the rows, which are in the order of time, evenly over time: those nearest to even times, none twice."""
    time = np.array([row["time"] for row in rows], np.float64)
    wanted = np.linspace(time[0], time[-1], min(most, len(rows)))
    nearest = np.abs(time[None] - wanted[:, None]).argmin(1)
    return [rows[i] for i in sorted(set(nearest.tolist()))]


def strip_of(
    folder: Path, reconstruction: Reconstruction, rows: Sequence[Row], background: float, limit: float
) -> tuple[list[StripRow], tuple[int, int]]:
    """The rows of an evaluation's film strip, and their pictures' size. One view at a time is in memory."""
    shown: dict[str, list[Cell]] = {title: [] for title in ("Photo", "Render", "Error", "Moves")}
    size = (1, 1)
    for row in rows:
        view, mask = load_view(folder, reconstruction, row["name"], background), read_mask(folder, row["name"])
        uris = dict.fromkeys(shown, "")
        if view is not None:
            size = strip_size(view, 4 * len(rows))
            uris |= {"Photo": data_uri(view.photo, size), "Render": data_uri(view.render, size)}
            uris["Error"] = data_uri(error_picture(view.error, size, limit), size)
            uris["Moves"] = "" if mask is None else data_uri(dimmed(view, mask), size)
        for title, uri in uris.items():
            shown[title].append(cell(title, row, uri))
    lines = [StripRow(title, cells) for title, cells in shown.items()]
    return [line for line in lines if any(uri for uri, _ in line.cells)], size


def strip_size(view: View, pictures: int) -> tuple[int, int]:
    """(width, height) of a strip's pictures."""
    return embedded_size((view.render.shape[1], view.render.shape[0]), pictures, long_sides=STRIP_SIDES)


def cell(title: str, row: Row, uri: str) -> Cell:
    """A picture of a film strip with what it shows in words."""
    return (uri, f"{title} of {row['name']} at {row['time']:.2f} s") if uri else ("", "")


def dimmed(view: View, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The photo f32[H, W, 3] with what stands still dark and grey."""
    height, width = view.photo.shape[:2]
    grey = DIM * view.photo.mean(-1, keepdims=True)
    return np.where(resized_mask(mask, (width, height))[..., None], view.photo, grey).astype(np.float32)


def film_strip(heads: Sequence[str], strip: Sequence[StripRow], size: tuple[int, int], label: str) -> str:
    """A table of pictures, headed column by column by `heads` (HTML)."""
    body = ""
    for line in strip:
        cells = "".join(
            f'<td><img src="{uri}" width="{size[0]}" height="{size[1]}" loading="lazy" decoding="async" alt="{text(alt)}"></td>'
            if uri
            else "<td></td>"
            for uri, alt in line.cells
        )
        body += f'<tr><th scope="row"><span>{text(line.title)}</span></th>{cells}</tr>'
    columns = "".join(f'<th scope="col">{head}</th>' for head in heads)
    caption = f"<caption>{text(label)}</caption>" if label else ""
    named = f"Film strip of {label}" if label else "Film strip"
    return (
        f'<div class="card strip" role="region" tabindex="0" aria-label="{text(named)}"><table style="--n:{len(heads)}">{caption}'
        f"<thead><tr><td></td>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )
