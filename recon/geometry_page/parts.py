"""HTML of the geometry page's parts. Whatever text comes from a file goes through recon.page.text()."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recon.geometry import World
from recon.geometry_page.scores import Score
from recon.mesh import Mesh
from recon.mesh.loops import Holes
from recon.page import definitions, figures, number, text
from recon.page.pictures import colours_of

CAPTIONS = {
    "photo": "Photo",
    "z": "z",
    "normal": "Normals",
    "confidence": "Confidence",
    "disagreement": "Disagreement",
    "error": "Error",
}
SHOWN_HOLES = 8


@dataclass(frozen=True)
class Surface:
    """A mesh and what its stage knows of it."""

    mesh: Mesh
    voxel: float
    """Spacing of the lattice that it was fused on, world units."""
    area: float
    """World units squared."""
    holes: Holes
    closed: bool
    unseen: float
    """Share of the triangles that no photo sees."""


def unit_of(world: World) -> str:
    """The unit of lengths, short."""
    return "m" if world.scale == "metric" else "scene units"


def length(value: float, world: World) -> tuple[str, str]:
    """A length as (number, unit), three digits."""
    if world.scale != "metric":
        return digits(value), "scene units"
    unit, size = next(((u, s) for u, s in (("mm", 1e-3), ("cm", 1e-2)) if abs(value) < 99.95 * s), ("m", 1.0))
    return digits(value / size), unit


def digits(value: float) -> str:
    """Three significant digits, without an exponent where it can be read without."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}" if places <= 6 else f"{value:.2e}"


def percent(share: float | None) -> str:
    """A share as a number of percent, three digits at most; a dash for none."""
    if share is None or not math.isfinite(share):
        return "–"
    value = 100 * share
    return f"{value:.0f}" if value >= 99.95 or value == 0 else digits(value) if value >= 0.01 else "<0.01"


def head_figures(
    scores: Sequence[Score], metrics: Mapping[str, float | None], world: World, surface: Surface | None
) -> str:
    """The row of numbers at the top."""
    measured = sum(s.measured for s in scores) / max(len(scores), 1)
    known = "unit of length" if world.scale == "metric" else "unit of length: the true scale is not known"
    items = [
        (number(len(scores)), "", "photos with a map of z"),
        (percent(measured), "%", "of their pixels are measured"),
        (percent(metrics["agreement_median_relative"]), "%", "of z: median disagreement with neighbouring photos"),
        (percent(metrics["agreement_within_1_percent"]), "%", "of the compared pixels agree within 1 %"),
        (percent(metrics.get("held_out_median_relative")), "%", "of z: median disagreement of held-out cameras"),
        (percent(metrics.get("true_median_relative")), "%", "of z: median error against truth"),
        ("metres" if world.scale == "metric" else "scene units", "", known),
    ]
    if surface is not None:
        square = f"{unit_of(world)}²" if world.scale == "metric" else "square scene units"
        items += [
            (number(len(surface.mesh.faces)), "", "triangles"),
            (number(len(surface.mesh.xyz)), "", "vertices"),
            (*length(surface.voxel, world), "spacing of the lattice (voxel)"),
            (digits(surface.area), square, "area of the surface"),
            (number(surface.holes.loops), "", "holes"),
            (percent(surface.unseen), "%", "of the triangles no photo sees: coloured from around"),
        ]
    return figures([item for item in items if item[0] != "–"])


def holes_card(surface: Surface, world: World) -> str:
    """Holes in the surface, longest first, and where it ends."""
    found, unit = surface.holes, unit_of(world)
    items = [
        ("Closed", "yes" if surface.closed else "no: its borders are where no photo measured a surface"),
        ("Holes", number(found.loops)),
        (f"Their length, {unit}", _lengths(found.lengths)),
        ("Open borders", f"{number(len(found.open_lengths))}: where a piece of the surface ends"),
        (f"Their length, {unit}", _lengths(found.open_lengths)),
    ]
    return f'<div class="card" id="holes">{definitions(items)}</div>'


def _lengths(lengths: NDArray[np.float64]) -> str:
    """The sum, and the longest of them, which come first."""
    if len(lengths) == 0:
        return "none"
    longest = ", ".join(digits(float(v)) for v in lengths[:SHOWN_HOLES])
    more = f", and {len(lengths) - SHOWN_HOLES:,} shorter ones" if len(lengths) > SHOWN_HOLES else ""
    return f"{digits(float(lengths.sum()))} ({longest}{more})"


def agreement_text(worst: Score | None) -> str:
    """What the disagreement is, and the photo where it is worst."""
    told = (
        '<p class="soft">Disagreement: each measured point of a photo is carried into the neighbouring photos and compared with '
        "the z measured there; a pixel shows the median, as a share of z. It needs no truth and is none: maps that are wrong "
        "together agree.</p>"
    )
    if worst is None:
        return told
    number_ = "nothing to compare it with" if worst.median is None else f"{percent(worst.median)} % median disagreement"
    return (
        f'<p class="card worst"><span>Worst photo</span> <b id="worst">{text(worst.name)}</b> <span>{number_}</span> '
        f'<a href="#photo-0">look at it</a></p>{told}'
    )


def legends(span: tuple[float, float], limit: float, world: World, *, guesses: bool, truth: bool) -> str:
    """The colour bars of all maps."""
    near, middle, far = span[0], math.sqrt(span[0] * span[1]), span[1]
    unit = unit_of(world)
    bars = [
        _bar(f"z {digits(near)}", "viridis", f"{digits(far)} {unit}", backwards=True),
        _bar("confidence 0", "cividis", "1"),
        _bar("disagreement and error 0" if truth else "disagreement 0", "inferno", f"{100 * limit:g} % of z and more"),
    ]
    notes = f"The middle of the bar of z is {digits(middle)} {unit}. Normals: red to the right, green upward, blue towards the"
    notes += " camera. Grey: not measured."
    notes += " Paler z: a guess, not measured." if guesses else ""
    return f'<div class="bar legends">{"".join(bars)}</div><p class="soft">{notes}</p>'


def _bar(low: str, scale: str, high: str, *, backwards: bool = False) -> str:
    colours = colours_of(scale)  # type: ignore[arg-type]
    ramp = ",".join(reversed(colours) if backwards else colours)
    style = f"background:linear-gradient(90deg,{ramp})"
    return f'<div class="scale"><span>{text(low)}</span><i style="{style}"></i><span>{text(high)}</span></div>'


def photo_table(scores: Sequence[Score], links: Mapping[str, int], *, truth: bool) -> str:
    """The numbers of every photo, in the order given. `links`: the number of the card of those that have one."""
    most = max((s.median or 0.0 for s in scores), default=0.0) or 1.0
    heads = '<th class="n">error, median %</th><th class="n">right within 1 %</th>' if truth else ""
    rows = ""
    for s in scores:
        name = f'<a href="#photo-{links[s.name]}">{text(s.name)}</a>' if s.name in links else text(s.name)
        cells = [percent(s.measured), percent(s.checked), percent(s.median), percent(s.within)]
        cells += [percent(s.true_median), percent(s.true_within)] if truth else []
        rows += f'<tr><td class="wrap">{name}</td>' + "".join(f'<td class="n">{cell}</td>' for cell in cells)
        rows += f'<td class="meter"><i style="width:{100 * (s.median or 0.0) / most:.1f}%"></i></td></tr>'
    return (
        '<div class="card scroll"><table id="photos-table"><thead><tr><th>Photo</th><th class="n">measured %</th>'
        '<th class="n">of it compared %</th><th class="n">disagreement, median %</th><th class="n">agree within 1 %</th>'
        f"{heads}<th>disagreement</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def photo_card(index: int, score: Score, uris: Mapping[str, str], size: tuple[int, int]) -> str:
    """One photo: its maps side by side, and its numbers."""
    numbers = f"measured {percent(score.measured)} % &ensp; disagreement {percent(score.median)} %"
    if score.true_median is not None:
        numbers += f" &ensp; error {percent(score.true_median)} %"
    return (
        f'<article class="card view" id="photo-{index}"><div class="head"><h3>{text(score.name)}</h3>'
        f'<span>{numbers}</span></div><div class="layers">{pictures(score.name, uris, size)}</div></article>'
    )


def pictures(name: str, uris: Mapping[str, str], size: tuple[int, int]) -> str:
    """Figures of the maps of one photo."""
    return "".join(
        f'<figure class="{kind}"><img src="{uri}" width="{size[0]}" height="{size[1]}" loading="lazy" decoding="async" '
        f'alt="{CAPTIONS[kind]} of {text(name)}"><figcaption>{CAPTIONS[kind]}</figcaption></figure>'
        for kind, uri in uris.items()
    )


def held_out_section(scores: Sequence[Score], cards: Sequence[str]) -> str:
    """Cameras that no map was made from: z rendered there against that of the photos around."""
    rows = "".join(
        f'<tr><td class="wrap">{text(s.name)}</td><td class="n">{percent(s.measured)}</td>'
        f'<td class="n">{percent(s.checked)}</td><td class="n">{percent(s.median)}</td>'
        f'<td class="n">{percent(s.within)}</td></tr>'
        for s in scores
    )
    return (
        '<h2>Held-out cameras</h2><p class="soft">The z of the scene rendered where photos were held out from training, '
        "against the z rendered for the training photos around: what does not hold from a new place shows here.</p>"
        '<div class="card scroll"><table id="held-out-table"><thead><tr><th>Camera</th><th class="n">measured %</th>'
        '<th class="n">of it compared %</th><th class="n">disagreement, median %</th><th class="n">agree within 1 %</th>'
        f'</tr></thead><tbody>{rows}</tbody></table></div><div class="held">{"".join(cards)}</div>'
    )


def turntable(sheets: Mapping[str, str], count: int, columns: int, size: tuple[int, int]) -> str:
    """The mesh to turn: sheets of frames (data URIs by kind), the first frame shown where there is no script."""
    names, checked = {"textured": "Textured", "bare": "Bare surface"}, {"textured": " checked"}
    labels = "".join(
        f'<label><input type="radio" name="surface" value="{kind}"{checked.get(kind, "")}>{names[kind]}</label>'
        for kind in sheets
    )
    images = "".join(
        f'<img class="{kind}" src="{uri}" alt="{names[kind]} mesh, seen from the side" draggable="false">'
        for kind, uri in sheets.items()
    )
    rows = -(-count // columns)
    style = f"--columns:{columns};--rows:{rows};aspect-ratio:{size[0]}/{size[1]}"
    return (
        f'<div class="turntable" data-frames="{count}" data-columns="{columns}"><div class="window" style="{style}">{images}'
        f'</div><div class="bar still"><div class="switch" role="group" aria-label="What the mesh shows">{labels}</div>'
        f'<label class="turn">Turn <input type="range" min="0" max="{count - 1}" value="0" step="1" '
        'aria-label="Turn the mesh" aria-valuetext="0 degrees"></label></div></div>'
    )


def plan(uri: str, caption: str, across: float, world: World, size: tuple[int, int]) -> str:
    """A view of the mesh with a bar of known length; `across`: world units that its width covers."""
    bar = round_length(0.3 * across)
    told = " ".join(length(bar, world)) if world.scale == "metric" else f"{digits_short(bar)} scene units"
    return (
        f'<figure class="plan"><div class="framed"><img src="{uri}" width="{size[0]}" height="{size[1]}" '
        f'alt="The mesh, {text(caption.lower())}"><div class="rule" style="width:{100 * bar / across:.2f}%">'
        f"<span>{told}</span></div></div><figcaption>{text(caption)}</figcaption></figure>"
    )


def digits_short(value: float) -> str:
    """A round number without trailing zeros."""
    return f"{value:,.10g}" if value >= 1e-4 else f"{value:g}"


def round_length(most: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is no more than `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-12))


def link_line(links: Sequence[tuple[str, str]]) -> str:
    """Links to other pages of the workspace."""
    return " · ".join(f'<a href="{text(to)}">{text(name)}</a>' for to, name in links)
