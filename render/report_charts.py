"""Line charts as inline SVG, for the report: one series over the seconds of training. No script is needed to read them."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 440, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 30
"""Size of a chart and its margins, in SVG units; the page scales it to its column."""
MAX_POINTS = 2000
"""More than a column of a page can show; longer histories are thinned evenly, first and last kept."""


@dataclass(frozen=True)
class Curve:
    """One chart: a column of the training history."""

    key: str
    """Column of history.jsonl."""
    title: str
    unit: str
    digits: int
    """Decimals of the values that are written out."""
    log: bool = False
    """Logarithmic value axis, where all values are positive."""
    stepped: bool = False
    """The value holds until the next row (resolution), instead of running there in a line."""


CURVES = (
    Curve("loss", "Loss", "", 4, log=True),
    Curve("psnr", "PSNR, training photos", "dB", 2),
    Curve("splats", "Splats", "", 0),
    Curve("long_side", "Resolution (long side)", "px", 0, stepped=True),
)
"""What the report draws, in this order."""


def series(history: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """(seconds, value) of the rows that have a finite value of `key`, thinned to MAX_POINTS."""
    points = [
        (float(row["seconds"]), float(row[key]))
        for row in history
        if _finite(row.get("seconds")) and _finite(row.get(key))
    ]
    if len(points) <= MAX_POINTS:
        return points
    last = len(points) - 1
    return [points[round(i * last / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]


def charts(history: Sequence[dict[str, Any]]) -> list[str]:
    """One <figure> for each curve that the history has."""
    drawn = [(curve, series(history, curve.key)) for curve in CURVES]
    return [figure(curve, points) for curve, points in drawn if points]


def figure(curve: Curve, points: Sequence[tuple[float, float]]) -> str:
    """A <figure> with the curve's title, its last value and an SVG of one polyline with one vertex a point."""
    seconds, values = [p[0] for p in points], [p[1] for p in points]
    log = curve.log and min(values) > 0
    ticks = log_ticks(min(values), max(values)) if log else nice_ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    x_ticks = nice_ticks(0.0, max(max(seconds), 1e-9), inside=True)
    x_high = max(max(seconds), 1e-9)

    def x_of(second: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * second / x_high

    def y_of(value: float) -> float:
        a, b, v = (math.log10(low), math.log10(high), math.log10(value)) if log else (low, high, value)
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (v - a) / ((b - a) or 1))

    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(t):.1f}" y2="{y_of(t):.1f}"/>'
        f'<text class="tick" x="{LEFT - 7}" y="{y_of(t) + 4:.1f}" text-anchor="end">{short(t)}</text>'
        for t in ticks
    )
    grid += "".join(
        f'<text class="tick" x="{x_of(t):.1f}" y="{HEIGHT - 10}" text-anchor="middle">{short(t)}{" s" if i == 0 else ""}</text>'
        for i, t in enumerate(x_ticks)
    )
    vertices = [(x_of(s), y_of(v)) for s, v in points]
    data = " ".join(f"{x:.1f},{y:.1f}" for x, y in vertices)
    line = f'<polyline class="curve" data-points="{len(points)}" points="{data}"/>'
    if curve.stepped:
        line = f'<path class="curve" d="{_steps(vertices)}"/>' + line.replace('class="curve"', 'class="vertices"')
    end_x, end_y = vertices[-1]
    unit = f" {curve.unit}" if curve.unit else ""
    final = f"{values[-1]:,.{curve.digits}f}{unit}"
    label = html.escape(f"{curve.title}: from {values[0]:,.{curve.digits}f} to {final} in {seconds[-1]:.0f} s")
    raw = html.escape(";".join(f"{s:.1f} s: {v:,.{curve.digits}f}{unit}" for s, v in points))
    return (
        f'<figure class="chart" data-curve="{html.escape(curve.key)}" data-values="{raw}"><figcaption><b>'
        f"{html.escape(curve.title)}</b> <output>{html.escape(final)}</output></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{grid}{line}'
        f'<circle class="end" cx="{end_x:.1f}" cy="{end_y:.1f}" r="3.5"/></svg></figure>'
    )


def nice_ticks(low: float, high: float, *, inside: bool = False) -> list[float]:
    """3 to 7 round values around [low, high]; with `inside` none of them lies outside."""
    span = high - low
    if span <= abs(high) * 1e-9:
        half = abs(high) * 0.1 or 1.0
        low, high, span = low - half, high + half, 2 * half
    raw = span / 4
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if inside:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Values 1, 2 and 5 times powers of ten around [low, high], both positive; powers alone over more than two decades."""
    steps = (1, 2, 5) if high / low < 100 else (1,)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    values = [m * 10.0**p for p in powers for m in steps]
    first = max(i for i, v in enumerate(values) if v <= low * (1 + 1e-9))
    last = min(i for i, v in enumerate(values) if v >= high * (1 - 1e-9))
    return values[first : max(last, first + 1) + 1]


def short(value: float) -> str:
    """A tick's label: 60k, 1.2M, 0.05."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size * (10 if unit == "k" else 1):
            return f"{value / size:.6g}{unit}"
    return f"{value:.6g}"


def _steps(vertices: Sequence[tuple[float, float]]) -> str:
    """Path data that holds each value until the next vertex."""
    x, y = vertices[0]
    return f"M{x:.1f},{y:.1f}" + "".join(f"H{x:.1f}V{y:.1f}" for x, y in vertices[1:])


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
