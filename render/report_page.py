"""HTML of the report's parts. Whatever text comes from a file goes through `text()`: nothing else keeps it from being markup."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon.capture import Capture
    from recon.geometry import World
    from recon.sparse import SparseModel


def text(value: Any) -> str:
    """Any value as HTML text; safe inside attributes too."""
    return html.escape(str(value), quote=True)


def number(value: Any, digits: int = 0) -> str:
    """A number with thousands separators; a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}"


def span_of_time(seconds: Any) -> str:
    """9.4 s, 3 min 20 s, 2 h 05 min."""
    if not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def page(title: str, body: str) -> str:
    """The whole document, with the style and the script inside it."""
    style, script = (Path(__file__).with_name(f"report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(title)}</title><style>{style}</style></head>\n<body>\n{body}\n"
        f"<script>{script}</script></body></html>\n"
    )


def figures(items: Sequence[tuple[str, str, str]]) -> str:
    """The row of key figures: (value, unit, what it is)."""
    cells = "".join(
        f"<li><b>{text(value)}{f' <small>{text(unit)}</small>' if unit else ''}</b><span>{text(label)}</span></li>"
        for value, unit, label in items
    )
    return f'<ul class="figures">{cells}</ul>'


def definitions(items: Sequence[tuple[str, Any]]) -> str:
    """A <dl> of plain values."""
    return "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in items) + "</dl>"


def warning_box(warnings: Sequence[str]) -> str:
    """All warnings, or nothing."""
    if not warnings:
        return ""
    lines = "".join(f"<li>{text(line)}</li>" for line in warnings)
    return f'<div class="warnings"><b>{len(warnings)} warning{"s" * (len(warnings) > 1)}</b><ul>{lines}</ul></div>'


def worst_line(images: Sequence[Mapping[str, Any]]) -> str:
    """The worst held-out view, named, with a link to its pictures. `images` is sorted from worst to best."""
    worst = images[0]
    return (
        f'<p class="card worst"><span>Worst view</span> <b id="worst">{text(worst["name"])}</b> '
        f"<span>{number(worst['psnr'], 2)} dB, SSIM {number(worst.get('ssim'), 4)}</span> "
        '<a href="#view-0">look at it</a></p>'
    )


def view_controls(colours: Sequence[str], limit: float) -> str:
    """The switch of the views' layout, and the colour bar of the error maps."""
    modes = (("side", "Side by side"), ("render", "Slide: render"), ("error", "Slide: error"))
    labels = "".join(
        f'<label><input type="radio" name="mode" value="{value}"{" checked" if value == "side" else ""}>{name}</label>'
        for value, name in modes
    )
    return (
        f'<div class="bar"><div class="switch" role="group" aria-label="Layout of the views">{labels}</div>'
        '<div class="scale"><span>error 0</span>'
        f'<i style="background:linear-gradient(90deg,{",".join(colours)})"></i><span>{limit:.2f} and more</span></div></div>'
    )


def view_card(index: int, image: Mapping[str, Any], uris: Mapping[str, str], size: tuple[int, int]) -> str:
    """One held-out view: photo, render, error; with a slider that works where the layout puts them over each other."""
    width, height = size
    name = text(image["name"])
    captions = {"photo": "Photo", "render": "Render", "error": "Error"}
    shown = "".join(
        f'<figure class="{kind}"><img src="{uris[kind]}" width="{width}" height="{height}" loading="lazy" decoding="async" '
        f'alt="{captions[kind]} of {name}"><figcaption>{captions[kind]}</figcaption></figure>'
        for kind in captions
        if kind in uris
    )
    slider = f'<input type="range" min="0" max="100" value="50" step="0.5" aria-label="Compare the pictures of {name}">'
    shape = "portrait" if height > width else "wide"
    pictures = f'<div class="trio {shape}" style="--ratio:{width / height:.4f}">{shown}{slider}</div>' if uris else ""
    missing = "" if uris else '<p class="soft">Its render is not in this folder.</p>'
    return (
        f'<article class="card view" id="view-{index}"><div class="head"><h3>{name}</h3>'
        f"<span>{number(image['psnr'], 2)} dB &ensp; SSIM {number(image.get('ssim'), 4)}</span></div>"
        f"{pictures}{missing}</article>"
    )


def view_table(images: Sequence[Mapping[str, Any]]) -> str:
    """PSNR and SSIM of every held-out view, worst first."""
    values = [i["psnr"] for i in images if i["psnr"] is not None]
    low, high = (min(values) - 1, max(values)) if values else (0.0, 1.0)
    extra = [key for key in ("psnr_affine", "lpips") if any(i.get(key) is not None for i in images)]
    heads = "".join(f'<th class="n">{EXTRA_COLUMNS[key][0]}</th>' for key in extra)
    rows = ""
    for k, image in enumerate(images):
        more = "".join(f'<td class="n">{number(image.get(key), EXTRA_COLUMNS[key][1])}</td>' for key in extra)
        width = 100 * ((low if image["psnr"] is None else image["psnr"]) - low) / (high - low)
        rows += (
            f'<tr><td class="wrap"><a href="#view-{k}">{text(image["name"])}</a></td>'
            f'<td class="n">{number(image["psnr"], 2)}</td><td class="n">{number(image.get("ssim"), 4)}</td>{more}'
            f'<td class="meter"><i style="width:{width:.1f}%"></i></td></tr>'
        )
    return (
        '<div class="card scroll"><table id="views-table"><thead><tr><th>View</th><th class="n">PSNR dB</th>'
        f'<th class="n">SSIM</th>{heads}<th>PSNR, from {low:.0f} dB</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


EXTRA_COLUMNS = {"psnr_affine": ("colours fitted, dB", 2), "lpips": ("LPIPS", 4)}
"""Further numbers of a view: column head, decimals."""


def stage_table(records: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Wall and CPU seconds by stage."""
    longest = max((float(r.get("cpu_seconds") or 0) for _, r in records), default=0)
    longest = max(longest, *(float(r.get("wall_seconds") or 0) for _, r in records), 1e-9)
    rows = ""
    for name, record in records:
        wall, cpu = (float(record.get(key) or 0) for key in ("wall_seconds", "cpu_seconds"))
        rows += (
            f'<tr><td>{text(name)}</td><td class="n">{span_of_time(wall)}</td><td class="n">{span_of_time(cpu)}</td>'
            f'<td class="meter"><i style="width:{100 * wall / longest:.1f}%"></i>'
            f'<i style="width:{100 * cpu / longest:.1f}%"></i></td></tr>'
        )
    machine = next((r for _, r in reversed(records) if r.get("threads")), {})
    where = f"{machine['threads']} threads, {machine.get('machine', '')}" if machine else ""
    return (
        '<div class="card scroll"><table id="stages"><thead><tr><th>Stage</th><th class="n">Time</th><th class="n">CPU time</th>'
        '<th class="key"><i></i>time<i class="second"></i>CPU time, all threads</th></tr></thead>'
        f'<tbody>{rows}</tbody></table></div><p class="soft">{text(where)}</p>'
    )


def photo_section(capture: Capture, model: SparseModel, left_out: Sequence[tuple[str, str]]) -> str:
    """Which photos the scene is made of, which were held out, and which stayed out and why."""
    placed = set(model.names)
    test = [name for name, split in zip(capture.names, capture.split, strict=True) if split == "test"]
    lost = [name for name in test if name not in placed]
    counts = [
        ("Photos", number(len(capture))),
        ("Placed", f"{len(model.names):,} of {len(capture):,}"),
        ("Training", number(len(placed - set(test)))),
        ("Held out", f"{len(test) - len(lost):,}" + (f" ({len(lost)} more could not be placed)" if lost else "")),
        ("Sparse points", number(len(model.xyz))),
        ("Came in as", capture.kind),
    ]
    reasons = "".join(
        f'<tr><td class="wrap">{text(n)}</td><td class="wrap">{text(why)}</td></tr>' for n, why in left_out
    )
    table = (
        f'<div class="card scroll"><table id="left-out"><thead><tr><th>Left out</th><th>Why</th></tr></thead>'
        f"<tbody>{reasons}</tbody></table></div>"
        if left_out
        else ""
    )
    return f'<div class="two"><div class="card">{definitions(counts)}</div>{table}</div>'


def world_section(world: World) -> str:
    """What is known of the frame, in sentences."""
    scale = {"metric": "One unit is one metre.", "arbitrary": "Not known: lengths are in arbitrary units."}[world.scale]
    up = {
        "unknown": "Not known: the scene may stand at any angle.",
        "estimated": "+Z, estimated from the photos.",
        "gravity": "+Z, measured.",
    }[world.up]
    place = "Not known."
    if world.origin:
        lat, lon, height = world.origin
        place = f"Origin at {lat:.6f}°, {lon:.6f}°, {height:.1f} m (WGS84); +X east, +Y north."
    items = [("Scale", scale), ("Up", up), ("Place", place)]
    items += [("Coordinates", f"EPSG:{world.crs}")] if world.crs else []
    return f'<div class="card">{definitions(items)}</div>'


def settings_section(records: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """The options of every stage, folded away."""
    parts = []
    for name, record in records:
        options = record.get("options") or {}
        seed_free = [(key.replace("_", " "), "not set" if value is None else value) for key, value in options.items()]
        versions = [(f"version of {key}", value) for key, value in (record.get("versions") or {}).items()]
        parts.append(f"<details><summary>{text(name)}</summary>{definitions(seed_free + versions)}</details>")
    return f'<div class="card">{"".join(parts)}</div>' if parts else ""
