"""Line charts as inline SVG, for the report: over the seconds of training, or over the time in which photos were filmed. No
script is needed to read them, and lines differ in their dashes as well as in their colours.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

WIDTH, HEIGHT = 440, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 30
"""Size of a chart and its margins, in SVG units; the page scales it to its column."""
MAX_POINTS = 2000
"""More than a column of a page can show; longer histories are thinned evenly, first and last kept."""
MAX_LINES = 6
"""Of one chart: so many looks report.css has."""
MAX_DOTS = 60
"""Lines of no more points show each of them as a dot."""
Point = tuple[float, float]
"""(seconds, value)."""


@dataclass(frozen=True)
class Curve:
    """One chart: a column of the training history, or of the held-out photos."""

    key: str
    """Column of history.jsonl, or of `images` in metrics.json."""
    title: str
    unit: str
    digits: int
    """Decimals of the values that are written out."""
    log: bool = False
    """Logarithmic value axis, where all values are positive."""
    stepped: bool = False
    """The value holds until the next row (resolution), instead of running there in a line."""
    from_zero: bool = True
    """The seconds begin at 0, not at the first point."""


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    label: str
    """"": a chart's only line, which its title names."""
    points: Sequence[Point]
    """By rising seconds, one at least."""


CURVES = (
    Curve("loss", "Loss", "", 4, log=True),
    Curve("psnr", "PSNR, training photos", "dB", 2),
    Curve("splats", "Splats", "", 0),
    Curve("long_side", "Resolution (long side)", "px", 0, stepped=True),
)
"""What the report draws, in this order."""
PSNR_OF_RAYS = "PSNR, some pixels of the training photos"
"""What is watched of a scene without splats: drawing whole photos takes the time of many steps."""


def series(history: Sequence[Mapping[str, Any]], key: str, seconds: str = "seconds") -> list[Point]:
    """(seconds, value) of the rows that have a finite value of `key`, thinned to MAX_POINTS."""
    points = [
        (float(row[seconds]), float(row[key])) for row in history if _finite(row.get(seconds)) and _finite(row.get(key))
    ]
    if len(points) <= MAX_POINTS:
        return points
    last = len(points) - 1
    return [points[round(i * last / (MAX_POINTS - 1))] for i in range(MAX_POINTS)]


def charts(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """One <figure> for each curve that the history has."""
    of_rays = not any(row.get("splats") for row in history)
    drawn = []
    for curve in CURVES:
        points = series(history, curve.key)
        shown = replace(curve, title=PSNR_OF_RAYS) if of_rays and curve.key == "psnr" else curve
        drawn += [figure(shown, [Line("", points)])] if points else []
    return drawn


@dataclass(frozen=True)
class _Frame:
    """Where values lie in a chart."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool

    def at(self, point: Point) -> Point:
        (low, high), (x_low, x_high) = self.y, self.x
        a, b, v = (math.log10(low), math.log10(high), math.log10(point[1])) if self.log else (low, high, point[1])
        x = LEFT + (WIDTH - LEFT - RIGHT) * (point[0] - x_low) / ((x_high - x_low) or 1)
        return x, TOP + (HEIGHT - TOP - BOTTOM) * (1 - (v - a) / ((b - a) or 1))


def figure(curve: Curve, lines: Sequence[Line]) -> str:
    """A <figure> with the curve's title, the last value of its only line or a legend of several, and an SVG of one polyline a
    line, with one vertex a point. MAX_LINES lines at most.
    """
    points = [point for line in lines for point in line.points]
    seconds, values = [p[0] for p in points], [p[1] for p in points]
    log = curve.log and min(values) > 0
    ticks = log_ticks(min(values), max(values)) if log else nice_ticks(min(values), max(values))
    start = 0.0 if curve.from_zero else min(seconds)
    x_high = max(max(seconds), start + 1e-9)
    frame = _Frame((start, x_high), (ticks[0], ticks[-1]), log)
    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{short(t)}</text>'
        for t in ticks
        for _, y in [frame.at((start, t))]
    )
    grid += "".join(
        f'<text class="tick" x="{frame.at((t, ticks[-1]))[0]:.1f}" y="{HEIGHT - 10}" text-anchor="middle">'
        f"{short(t)}{' s' if i == 0 else ''}</text>"
        for i, t in enumerate(nice_ticks(start, x_high, inside=True))
    )
    unit = f" {curve.unit}" if curve.unit else ""
    label = html.escape(f"{curve.title}. " + " ".join(_in_words(curve, line, unit) for line in lines))
    final = "" if len(lines) > 1 else f"{values[-1]:,.{curve.digits}f}{unit}"
    drawn = "".join(_line(curve, line, i, frame, unit) for i, line in enumerate(lines))
    return (
        f'<figure class="chart" data-curve="{html.escape(curve.key)}"><figcaption><b>'
        f"{html.escape(curve.title)}</b> <output>{html.escape(final)}</output></figcaption>{_legend(lines)}"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{grid}{drawn}</svg></figure>'
    )


def _in_words(curve: Curve, line: Line, unit: str) -> str:
    """What a line says, for those who cannot see it."""
    seconds, values = [p[0] for p in line.points], [p[1] for p in line.points]
    first, last, low, high = (f"{v:,.{curve.digits}f}" for v in (values[0], values[-1], min(values), max(values)))
    name = f"{line.label}: f" if line.label else "F"
    return f"{name}rom {first} to {last}{unit}, between {low} and {high}, from {seconds[0]:.4g} to {seconds[-1]:.4g} s."


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) < 2:
        return ""
    keys = "".join(
        f'<li><svg viewBox="0 0 26 8" aria-hidden="true"><path class="curve l{i}" d="M1,4H25"/></svg>'
        f"{html.escape(line.label)}</li>"
        for i, line in enumerate(lines)
    )
    return f'<ul class="legend">{keys}</ul>'


def _line(curve: Curve, line: Line, look: int, frame: _Frame, unit: str) -> str:
    """A line, its dots where they are few, and the dot of the read-out at its end."""
    vertices = [frame.at(point) for point in line.points]
    data = " ".join(f"{x:.1f},{y:.1f}" for x, y in vertices)
    name = f"{line.label}, " if line.label else ""
    raw = html.escape(json.dumps([f"{name}{s:.4g} s: {v:,.{curve.digits}f}{unit}" for s, v in line.points]))
    kind = "vertices" if curve.stepped else f"curve l{look}"
    steps = f'<path class="curve l{look}" d="{_steps(vertices)}"/>' if curve.stepped else ""
    polyline = f'<polyline class="{kind}" data-points="{len(vertices)}" data-values="{raw}" points="{data}"/>'
    dots = (
        ""
        if curve.from_zero or len(vertices) > MAX_DOTS
        else "".join(f'<circle class="dot l{look}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in vertices)
    )
    end_x, end_y = vertices[-1]
    return f'{steps}{polyline}{dots}<circle class="end l{look}" cx="{end_x:.1f}" cy="{end_y:.1f}" r="3.5"/>'


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
