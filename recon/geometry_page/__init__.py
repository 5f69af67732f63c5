"""geometry.html: depth, normals, agreement and the mesh of a scene in one file that opens from disk and fetches nothing.

    scores.py (all photos' numbers) -> pictures.py (maps as colours) -> turntable.py (the mesh) -> parts.py (HTML)

The numbers are computed from the maps given, photo by photo; nothing else of the workspace is read. The same input gives the
same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon import __version__
from recon.files import atomic_write
from recon.geometry import World
from recon.geometry_page import parts
from recon.geometry_page.disagreement import Layers, PhotoMaps
from recon.geometry_page.parts import Surface
from recon.geometry_page.pictures import (
    coloured,
    error_limit,
    normal_picture,
    normals_of,
    photos_of,
    z_picture,
    z_span,
)
from recon.geometry_page.scores import Score, Scores, error_of, held_out_scores, score_all, worst_first
from recon.geometry_page.turntable import focus_of, frames, plans, sheet, shots, units_across
from recon.job import Job
from recon.page import page, text, warning_box, world_section
from recon.page.pictures import data_uri, embedded_size

__all__ = ["PAGE", "Geometry", "Layers", "PhotoMaps", "Surface", "photos_of", "write_geometry_page"]

PAGE = "geometry.html"
MOST_CARDS, MOST_HELD_OUT = 40, 12
"""Photos and held-out cameras that are shown; numbers are there for all."""
PIXELS, LONG_SIDES = 24e6, (200, 720)
"""Pixels of all maps together, and bounds of a map's long side; as text of a JPEG about 0.3 byte each, noisy ones more."""
FRAMES, COLUMNS, FRAME_SIZE, PLAN_SIZE = 24, 6, (600, 450), (480, 400)
FRAME_QUALITY, MAP_QUALITY = 80, 75


@dataclass(frozen=True)
class Geometry:
    """What a page is written about."""

    title: str
    source: str
    """Where z comes from: a sentence."""
    maps: PhotoMaps
    photo: Callable[[int, tuple[int, int]], NDArray[np.uint8]]
    """photo(i, (width, height)): u8[H, W, 3] of photo i of the maps."""
    world: World
    surface: Surface | None = None
    held_out: PhotoMaps | None = None
    """z in cameras that nothing was made from."""
    truth: Mapping[str, NDArray] | None = None
    """True z f[H', W'] by photo, world units, NaN or 0 where unknown; of as many photos as there are."""
    links: tuple[tuple[str, str], ...] = ()
    """(address relative to the page, name) of other pages."""


def write_geometry_page(path: Path, geometry: Geometry, job: Job) -> dict[str, Any]:
    """Write the page, atomically. Returns the numbers in it that belong into stage.json.

    {agreement_median_relative, agreement_within_1_percent, agreement_checked} over all photos, held_out_median_relative where
    there are held-out cameras, true_median_relative and true_within_1_percent where there is truth; None where nothing could
    be compared. Raises InputError when a photo cannot be read.
    """
    maps, shown = geometry.maps, min(len(geometry.maps), MOST_CARDS)
    turns = FRAMES if geometry.surface else 0
    with job.task("writing the geometry page", total=len(maps) + shown + turns) as task:
        scores = score_all(maps, geometry.truth, task.advance)
        apart = held_out_scores(maps, geometry.held_out) if geometry.held_out else None
        metrics = _metrics(scores, apart)
        body = [
            f'<header><p class="soft">recon geometry</p><h1>{text(geometry.title)}</h1>',
            f'<p class="soft">{text(geometry.source)}</p><p>{parts.link_line(geometry.links)}</p></header><main>',
            parts.head_figures(scores.photos, metrics, geometry.world, geometry.surface),
            warning_box(job.warnings),
        ]
        if geometry.surface is not None:
            body.append(_mesh_section(geometry.surface, geometry, task.advance))
        body.append(_photo_section(geometry, scores, task.advance))
        if geometry.held_out is not None and apart is not None:
            body.append(_held_out_section(geometry.maps, geometry.held_out, scores, apart))
    body.append(f"<h2>World</h2>{world_section(geometry.world)}</main><footer>recon {text(__version__)}.</footer>")
    style, script = (Path(__file__).with_name(f"geometry.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    document = page(f"{geometry.title} · recon geometry", "\n".join(body), style, script)
    with atomic_write(path) as stream:
        stream.write(document.encode("utf-8", "replace"))
    return metrics


def _metrics(scores: Scores, apart: Scores | None) -> dict[str, Any]:
    metrics = scores.metrics()
    if apart is not None:
        metrics["held_out_median_relative"] = apart.metrics()["agreement_median_relative"]
    if len(scores.error):
        metrics["true_median_relative"] = float(np.median(scores.error))
        metrics["true_within_1_percent"] = float((scores.error < 0.01).mean())
    return metrics


def _mesh_section(surface: Surface, geometry: Geometry, each: Callable[[], Any]) -> str:
    """The turntable, the plans, the holes."""
    mesh, focus = surface.mesh, focus_of(surface.mesh, geometry.maps.cameras)
    pairs = []
    for pair in frames(mesh, focus, FRAMES, FRAME_SIZE):
        pairs.append(pair)
        each()
    whole = {kind: sheet([pair[k] for pair in pairs], COLUMNS) for k, kind in enumerate(("textured", "bare"))}
    uris = {
        kind: data_uri(image, image.shape[1::-1], FRAME_QUALITY, full_chroma=False) for kind, image in whole.items()
    }
    across, north = units_across(focus, PLAN_SIZE), geometry.world.origin is not None
    captions = ("From above, north at the top" if north else "From above, the front at the bottom", "From the front")
    views = "".join(
        parts.plan(data_uri(shots(mesh, focus, camera)[0], PLAN_SIZE), caption, across, geometry.world, PLAN_SIZE)
        for camera, caption in zip(plans(focus, north, PLAN_SIZE), captions, strict=True)
    )
    up = "" if geometry.world.up != "unknown" else " Which way is up is not known: +Z is drawn upward."
    return (
        f'<h2>Mesh</h2><section class="shown">{parts.turntable(uris, FRAMES, COLUMNS, FRAME_SIZE)}'
        f'<div class="plans">{views}</div></section><p class="soft">What most of the photos look at. Surfaces that are turned '
        f"away are not drawn, nor is what stands in front.{up}</p><h2>Holes</h2>{parts.holes_card(surface, geometry.world)}"
    )


def _photo_section(geometry: Geometry, scores: Scores, each: Callable[[], Any]) -> str:
    """Numbers of all photos, pictures of the worst MOST_CARDS, the worst first."""
    order = worst_first(scores)
    chosen = order[:MOST_CARDS]
    limit, span = error_limit(np.concatenate([scores.disagreement, scores.error])), z_span(scores.z)
    cards, guesses = [], False
    for k, i in enumerate(chosen):
        layers = geometry.maps.read(i)
        width, height = (int(s) for s in geometry.maps.cameras.size[i])
        size = embedded_size((width, height), len(chosen) * (6 if geometry.truth else 5), PIXELS, LONG_SIDES)
        guesses |= bool((np.isfinite(layers.z) & (np.asarray(layers.confidence) == 0)).any())
        uris = _uris(_pictures(geometry, i, layers, scores.maps.get(i), size, limit, span), size)
        cards.append(parts.photo_card(k, scores.photos[i], uris, size))
        each()
    links = {scores.photos[i].name: k for k, i in enumerate(chosen)}
    truth = len(scores.error) > 0
    left = (
        f'<p class="soft">{len(chosen)} of {len(order)} photos are shown, the worst.</p>'
        if len(chosen) < len(order)
        else ""
    )
    return (
        f"<h2>Photos, worst first</h2>{parts.agreement_text(scores.photos[order[0]] if order else None)}"
        f"{parts.photo_table([scores.photos[i] for i in order], links, truth=truth)}"
        f'<section id="photos">{parts.legends(span, limit, geometry.world, guesses=guesses, truth=truth)}{left}'
        f"{''.join(cards)}</section>"
    )


def _pictures(
    geometry: Geometry,
    i: int,
    layers: Layers,
    share: NDArray | None,
    size: tuple[int, int],
    limit: float,
    span: tuple[float, float],
) -> dict[str, NDArray[np.uint8]]:
    """The pictures of photo i by kind; `share`: its disagreement, if it was kept."""
    maps, z = geometry.maps, layers.measured
    share = maps.disagreement(i) if share is None else share.astype(np.float32)
    normal = normals_of(z, maps.cameras.K[i]) if layers.normal is None else np.asarray(layers.normal)
    out = {
        "photo": geometry.photo(i, size),
        "z": z_picture(layers, span),
        "normal": normal_picture(np.where(z[..., None] > 0, normal, np.nan)),
        "confidence": coloured(np.where(z > 0, layers.confidence, np.nan), "cividis"),
        "disagreement": coloured(share / limit, "inferno"),
    }
    true = None if geometry.truth is None else geometry.truth.get(maps.names[i])
    return out if true is None else out | {"error": coloured(error_of(z, true) / limit, "inferno")}


def _uris(images: Mapping[str, NDArray[np.uint8]], size: tuple[int, int]) -> dict[str, str]:
    return {kind: data_uri(image, size, MAP_QUALITY, full_chroma=False) for kind, image in images.items()}


def _held_out_section(maps: PhotoMaps, held_out: PhotoMaps, scores: Scores, apart: Scores) -> str:
    limit, span = error_limit(scores.disagreement), z_span(scores.z)
    cards = []
    for i in worst_first(apart)[:MOST_HELD_OUT]:
        layers = held_out.read(i)
        width, height = (int(s) for s in held_out.cameras.size[i])
        size = embedded_size((width, height), 2 * MOST_HELD_OUT, PIXELS / 10, LONG_SIDES)
        share = maps.disagreement_of(layers.measured, held_out.cameras[i])
        images = {"z": z_picture(layers, span), "disagreement": coloured(share / limit, "inferno")}
        uris = _uris(images, size)
        cards.append(_held_out_card(apart.photos[i], uris, size))
    order = worst_first(apart)
    return parts.held_out_section([apart.photos[i] for i in order], cards)


def _held_out_card(score: Score, uris: Mapping[str, str], size: tuple[int, int]) -> str:
    pictures = parts.pictures(score.name, uris, size)
    return f'<article class="card"><h3>{text(score.name)}</h3><div class="layers">{pictures}</div></article>'
