"""HTML of the report's parts. Whatever text comes from a file goes through recon.page.text()."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recon.page import definitions, number, span_of_time, text
from recon.takes import film_line

if TYPE_CHECKING:
    from recon.capture import Capture
    from recon.sparse import SparseModel


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
    when = "" if image.get("time") is None else f"{image['time']:.2f} s &ensp; "
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
        f"<span>{when}{number(image['psnr'], 2)} dB &ensp; SSIM {number(image.get('ssim'), 4)}</span></div>"
        f"{pictures}{missing}</article>"
    )


def view_table(images: Sequence[Mapping[str, Any]]) -> str:
    """PSNR and SSIM of every held-out view, worst first."""
    values = [i["psnr"] for i in images if i["psnr"] is not None]
    low, high = (min(values) - 1, max(values)) if values else (0.0, 1.0)
    extra = [key for key in EXTRA_COLUMNS if any(i.get(key) is not None for i in images)]
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


EXTRA_COLUMNS = {
    "time": ("time, s", 2),
    "psnr_affine": ("colours fitted, dB", 2),
    "moving_psnr": ("moving, dB", 2),
    "still_psnr": ("still, dB", 2),
    "lpips": ("LPIPS", 4),
}
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


def photo_section(
    capture: Capture,
    model: SparseModel,
    left_out: Sequence[tuple[str, str]],
    film: Mapping[str, Any] | None = None,
) -> str:
    """Which photos the scene is made of, which were held out, and which stayed out and why. `film`: metrics.json's."""
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
    if film:
        counts += [
            ("Filmed", film_line(film["start"], film["end"], film["fps"])),
            ("Moments", f"{film['moments']:,}, of which {film['moments_held_out']:,} held out"),
            *([("Cameras", number(film["cameras"]))] if film["cameras"] > 1 else []),
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


def settings_section(records: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """The options of every stage, folded away."""
    parts = []
    for name, record in records:
        options = record.get("options") or {}
        seed_free = [(key.replace("_", " "), "not set" if value is None else value) for key, value in options.items()]
        versions = [(f"version of {key}", value) for key, value in (record.get("versions") or {}).items()]
        parts.append(f"<details><summary>{text(name)}</summary>{definitions(seed_free + versions)}</details>")
    return f'<div class="card">{"".join(parts)}</div>' if parts else ""
