"""Rows of README.md's table about radiance fields and scenes that move; readme_numbers.py writes the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import mean
from typing import Any

Record = dict[str, Any]
Row = tuple[str, str]
"""What was measured, and what came out."""

MOVERS = ("gs", "gs4d", "gs_nodes", "kplanes")


def decibels(runs: list[dict[str, Any]], key: str = "psnr") -> str:
    """The mean over seeds, and the least and the most where they differ."""
    found = [run[key] for run in runs]
    spread = f" ({min(found):.2f} to {max(found):.2f})" if len(found) > 1 else ""
    return f"{mean(found):.2f}{spread}"


def fields(record: Record) -> Iterator[Row]:
    """Scenes of one real capture, each for its CPU seconds."""
    title = {
        "fields_lego100": "lego, 100 px",
        "fields_lego200": "lego, 200 px",
        "fields_fox240": "fox, 240 px",
    }[record["name"]]
    rows = {name: v for name, v in record["values"].items() if isinstance(v, dict)}
    took = ", ".join(f"`{name}` after {v['budget']:g} CPU s" for name, v in rows.items())
    found = ", ".join(decibels(v["runs"]) for v in rows.values()) + " dB"
    if faster := record["values"].get("gs_renders_faster"):
        found += f"; `gs` renders {faster:.0f} times as fast"
    yield f"{title}: {took}", found


def ngp_terms(record: Record) -> Iterator[Row]:
    v = record["values"]
    own, small = v["as it is"]["mean"], v["T = 2^6"]["mean"]
    yield (
        "`ngp` on lego, 100 px: as it is; with a hash table of 2^6 rows",
        f"{own['psnr']:.2f}; {small['psnr']:.2f} dB",
    )
    yield (
        "its occupancy grid: places asked for colour in the held-out views; what passing over the others costs",
        f"1/{v['occupancy_saves']:.1f} of them; {v['occupancy_costs_db']:+.2f} dB (a mask moved by half the grid: "
        f"{v['rolled_costs_db']:+.1f} dB)",
    )


def without_end(record: Record) -> Iterator[Row]:
    """mip360's terms: what each is worth, the least over the seeds beside the mean."""
    v = record["values"]

    def worth(label: str, key: str) -> str:
        lost = v[label]["lost_db"][key]
        return f"{lost:+.2f} dB (worst seed {min(row[key] for row in v[label]['lost_db_by_seed']):+.2f})"

    yield (
        "`mip360`, a made-up scene without an end: contraction, on what is far; the same with samples even in distance",
        f"{worth('no contraction', 'far')}; "
        f"{v['samples even in t']['mean']['far'] - v['neither']['mean']['far']:+.2f} dB",
    )
    yield "its integrated encoding, at a quarter of the resolution", worth("PE", "quarter")


def planes(record: Record) -> Iterator[Row]:
    v = record["values"]
    names = ("dense", "multiply", "add", "without time", "times shuffled")
    yield (
        "`kplanes`: memory beside a dense grid of 128x128x128x50; PSNR at 32x32x32x16: dense, multiplied, added, without time, "
        "times shuffled",
        f"1/{v['memory']['ratio']:.0f}; " + ", ".join(f"{v[name]['mean']['psnr']:.2f}" for name in names) + " dB",
    )


def made_up_motion(record: Record) -> Iterator[Row]:
    """The synthetic moving capture, by how many cameras filmed it."""
    words = {"one": "one moving camera", "six": "six fixed cameras"}
    for cameras, runs in record["values"].items():
        present = [name for name in MOVERS if name in runs]
        yield (
            f"a door and a ball, {words[cameras]}, {runs[present[0]][0]['cpu_seconds']:.0f} CPU s: moving pixels of held-out "
            f"photos: {', '.join(f'`{name}`' for name in present)}",
            ", ".join(decibels(runs[name], "psnr_moving") for name in present) + " dB",
        )
        trembling = [name for name in present if "tremble" in runs[name][0]]
        yield (
            f"how much what stands still trembles: {', '.join(f'`{name}`' for name in trembling)}",
            ", ".join(f"{mean(r['tremble'] for r in runs[name]):.4f}" for name in trembling),
        )
        if "kplanes" in runs:
            yield (
                "`gs4d` renders a frame beside `kplanes`",
                f"{mean(r['faster_than_kplanes'] for r in runs['gs4d']):.0f} times as fast",
            )


def filmed(record: Record) -> Iterator[Row]:
    """A real moving capture."""
    title = {
        "moving_nrnerf": "nrnerf's example (one moving camera, every 8th photo held out)",
        "moving_pose2sim": "pose2sim's single (four fixed cameras, every 8th moment held out)",
    }[record["name"]]
    runs = record["values"]
    yield (
        f"{title}: moving region; the rest: {', '.join(f'`{name}`' for name in runs)}",
        "; ".join(
            ", ".join(decibels(rows, key) for rows in runs.values()) + " dB" for key in ("psnr_moving", "psnr_static")
        ),
    )


def moving_file(record: Record) -> Iterator[Row]:
    v = record["values"]
    ours = v["gs4d"][0]
    yield (
        f"`.gs4d` of {v['frames']} frames, {ours['splats']:,} splats, beside SPZ and PLY of every frame; what each loses",
        f"1/{ours['spz_by_gs4d']:.0f}, 1/{ours['ply_by_gs4d']:.0f} of their size; "
        f"{ours['loss']:.2f} dB (SPZ {v['spz_loss']:.2f})",
    )


def kernels(record: Record) -> Iterator[Row]:
    v = record["values"]
    kinds = {"hash grid": "hash ", "planes": "planes ", "compositing": "composite", "marching": "march"}
    ratios = {kind: [v[name]["ratio"] for name in v if name.startswith(start)] for kind, start in kinds.items()}
    yield (
        f"kernels beside plain torch, forward and backward, {v['points']:,} points: {', '.join(ratios)}",
        ", ".join(
            f"{min(found):.0f} to {max(found):.0f}" if len(found) > 1 else f"{found[0]:.0f}"
            for found in ratios.values()
        )
        + " times as fast",
    )


TABLE: dict[str, Callable[[Record], Iterator[Row]]] = {
    "fields_lego100": fields,
    "fields_lego200": fields,
    "fields_ablations": ngp_terms,
    "fields_fox240": fields,
    "fields_unbounded": without_end,
    "planes": planes,
    "moving_synthetic_one": made_up_motion,
    "moving_synthetic_six": made_up_motion,
    "moving_nrnerf": filmed,
    "moving_pose2sim": filmed,
    "moving_file": moving_file,
    "field_kernels": kernels,
}
