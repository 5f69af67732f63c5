"""HTML that several pages share: one file each, nothing fetched. Whatever text comes from a file goes through `text()`: nothing
else keeps it from being markup.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon.geometry import World


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


def page(title: str, body: str, style: str = "", script: str = "") -> str:
    """The whole document, with its style (the common look, then `style`) and its script inside it."""
    look = Path(__file__).with_name("look.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{text(title)}</title><style>{look}{style}</style></head>\n<body>\n{body}\n"
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
