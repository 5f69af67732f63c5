"""Writes README.md's table of numbers from what the benchmarks measured: python tests/bench/readme_numbers.py

Records that lie in build/bench are taken over into docs/numbers/ (kept in git, with command, commit, machine, load and
seeds), and the table between the marks `<!-- numbers -->` in README.md is made anew from those. --check only compares.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import readme_scenes

ROOT = Path(__file__).resolve().parents[2]
KEPT, NEW = ROOT / "docs" / "numbers", ROOT / "build" / "bench"
BEGIN, END = "<!-- numbers -->\n", "<!-- /numbers -->"
Record = dict[str, Any]
Row = tuple[str, str]
"""What was measured, and what came out."""

CAPTURES = {
    "train_fox480": "fox (50 phone photos, 7 held out), long side 480",
    "train_fox960": "fox, long side 960",
    "train_lego": "lego (NeRF synthetic, 400 px, its 20 test views, white background)",
    "train_fountain": "fountain-P11, long side 640 (2 of 11 held out)",
    "train_temple": "templeRing, 640 px (6 of 47 held out)",
}
SFM = {"herz-jesu": "Herz-Jesus-P25", "temple": "templeRing", "fountain": "fountain-P11"}


def training(record: Record) -> Iterator[Row]:
    """All budgets of CPU seconds in one row."""
    budgets, psnr, ssim = [], [], []
    for value in record["values"]:
        found = [r["psnr"] for r in value["runs"]]
        spread = f" ± {stdev(found):.2f}" if len(found) > 1 else ""
        budgets.append(f"{value['budget']:g}")
        psnr.append(f"{mean(found):.2f}{spread}")
        ssim.append(f"{mean(r['ssim'] for r in value['runs']):.3f}")
    yield (
        f"{CAPTURES[record['name']]}: after {', '.join(budgets)} CPU s of training",
        f"{', '.join(psnr)} dB; SSIM {', '.join(ssim)}",
    )


def whole_run(record: Record) -> Iterator[Row]:
    v = record["values"]
    yield (
        f"`recon run fox/images {' '.join(v['arguments'])}`, photos to report",
        f"{v['wall_seconds']:.0f} s of wall time, {v['cpu_seconds']:.0f} CPU s, "
        f"{v['peak_gib']:.2f} GiB at the peak; {v['psnr']:.2f} dB",
    )


def structure(record: Record) -> Iterator[Row]:
    """Photos placed, and errors against published cameras where there are some."""
    placed = []
    for name, v in record["values"].items():
        if not isinstance(v, dict) or "photos" not in v:
            continue
        title, count = SFM.get(name, name), f"{v['registered']:g} of {v['photos']}"
        if "center_percent" in v:
            error = f"centres {v['center_percent']:.3f} % of the extent, rotations {v['rotation_deg']:.2f}°"
            yield f"cameras of {title}", f"{count} photos placed; {error}"
        else:
            placed.append(f"{title} {count}")
    if placed:
        yield "photos placed of other captures", ", ".join(placed)
    ratio = record["values"].get("fox, CPU seconds over plain")
    if ratio:
        yield "CPU time of `recon sfm` on fox beside plain pycolmap with as many features", f"{ratio:.2f} of it"


def blending(record: Record) -> Iterator[Row]:
    for name, v in record["values"].items():
        if isinstance(v, dict) and "forward_ratio" in v:
            count, _, size = name.split("_")
            yield (
                f"blending {int(count):,} splats at {size}, forward / backward, beside C++ with AVX",
                f"{v['forward_ratio']:.2f} / {v['backward_ratio']:.2f} of its time",
            )


def alignment(record: Record) -> Iterator[Row]:
    v = record["values"].get("brighton")
    if v:
        gps = v["metrics"]
        yield (
            "brighton (18 drone photos with GPS) to the published point cloud, as it comes out",
            f"{v['raw_m']['median']:.2f} m (median); {gps['gps_agree']} of {gps['gps_fixes']} fixes agree to "
            f"{gps['gps_rms_across_m']:.2f} m across",
        )


def command_line(record: Record) -> Iterator[Row]:
    yield "`recon --help` beside `import tyro`", f"{record['values']['ratio']['recon --help']:.2f} of its CPU time"


def stereo(record: Record) -> Iterator[Row]:
    values = record["values"]
    if v := values.get("motorcycle"):
        own, other = (f"{v[who]['bad2']:.1f} %, {v[who]['bad2_filled']:.1f} %" for who in ("recon", "sgbm"))
        yield (
            "stereo of two views, Middlebury motorcycle: pixels more than 2 px off, missing ones counted; after filling",
            f"{own} (OpenCV's SGBM: {other})",
        )
    if v := values.get("sevenscenes"):
        yield (
            f"stereo of {v['frames']} frames of 7-Scenes at {v['long_side']} px beside their Kinect",
            f"{100 * v['median_relative_error']:.1f} % off (median) on the {100 * v['measured']:.0f} % that it measures; "
            f"{v['cpu_s_per_photo']:.0f} CPU s a photo",
        )
    if v := values.get("sample"):
        errors = [photo["median_relative_error"] for photo in v["photos"].values()]
        shares = [photo["measured"] for photo in v["photos"].values()]
        yield (
            f"stereo of the sample at {v['long_side']} px against its true z",
            f"{100 * median(errors):.2f} % off (median) on the {100 * mean(shares):.0f} % that it measures",
        )


def sample_meshes(record: Record) -> Iterator[Row]:
    words = {"main": "from splats", "stereo": "from stereo"}
    for name, v in record["values"].items():
        hare, seen = v["hare"][1], v["held_out"]
        yield (
            f"mesh of the sample {words[name]}: F-score of its hare within 1 % of its size; held-out PSNR where it covers",
            f"{hare['f']:.3f} at {1000 * hare['threshold']:.1f} mm; {seen['mesh_where_covered']:.1f} dB "
            f"(splats {seen['splats_where_covered']:.1f} dB); {v['cpu_seconds']:.0f} CPU s"
            + (f", {v['peak_gib']:.1f} GiB" if v["peak_gib"] else ""),
        )


def half_of_temple(record: Record) -> Iterator[Row]:
    v = record["values"]
    yield (
        f"templeRing's mesh from {v['half']['photos']} instead of {v['all']['photos']} photos",
        ", ".join(
            f"{words}: {100 * v['half_vs_all'][key]['within_half_mm_of_full']:.0f} % within 0.5 mm of the full mesh, of which "
            f"{100 * v['half_vs_all'][key]['full_within_1_mm']:.0f} % lie within 1 mm"
            for key, words in (("all", "all of it"), ("temple", "in the temple's box"))
        ),
    )


def mesh_of_fountain(record: Record) -> Iterator[Row]:
    v = record["values"]
    yield (
        f"fountain-P11, {v['photos']} photos at {v['long_side']} px: depth, fusion, texture",
        f"{v['cpu_minutes']:.1f} CPU minutes, {v['peak_gib']:.1f} GiB; held out {v['held_out']['mesh_where_covered']:.1f} dB "
        f"on the {100 * v['held_out']['covered']:.0f} % that it covers (splats {v['held_out']['splats_where_covered']:.1f} dB)",
    )


def taught_by_depth(record: Record) -> Iterator[Row]:
    for without, taught in zip(record["values"][::2], record["values"][1::2], strict=True):
        a, b = without["mean"], taught["mean"]
        yield (
            f"fox, {without['budget']:g} CPU s: `--depth-weight {taught['weight']:g}` instead of none",
            f"{b['psnr']:.2f} instead of {a['psnr']:.2f} dB; z agrees to 1 % with the neighbours' on "
            f"{100 * b['consistent']:.1f} % instead of {100 * a['consistent']:.1f} %",
        )


def depth_camera(record: Record) -> Iterator[Row]:
    for name, words in (("given_poses", "its poses"), ("our_poses", "our own poses")):
        found = record["values"][name]["held_out"]
        off, covered = (mean(frame[key] for frame in found) for key in ("median", "covered"))
        yield (
            f"mesh of a 7-Scenes recording from its depth images, {words}: z in {len(found)} held-out frames beside the Kinect's",
            f"{100 * off:.2f} % off (median) on the {100 * covered:.0f} % that it covers",
        )


def published_page(record: Record) -> Iterator[Row]:
    v = record["values"]
    ours, theirs = v["recon"], v["supersplat"]
    yield (
        f"the page with {v['splats']:,} splats in Chromium without a graphics card, {v['size'][0]}x{v['size'][1]} "
        "(SuperSplat's viewer, same run): first picture; all; memory; a frame while turning",
        f"{ours['first_ms'] / 1e3:.1f} s ({theirs['first_ms'] / 1e3:.1f}); {ours['full_ms'] / 1e3:.1f} s "
        f"({theirs['full_ms'] / 1e3:.1f}); {ours['memory_mib']:.0f} MiB ({theirs['memory_mib']:.0f}); "
        f"{ours['frame_ms'] / 1e3:.1f} s ({theirs['frame_ms'] / 1e3:.1f})",
    )


def live_view(record: Record) -> Iterator[Row]:
    v = record["values"]
    yield (
        f"`recon view` while training: {v['clients']} clients that move their cameras for {v['minutes']:g} minutes",
        f"{v['errors']} errors; memory {v['rss_start_mb']:.0f} to {v['rss_end_mb']:.0f} MB; pictures take "
        f"{100 * v['share_of_pictures']:.1f} % of the CPU, the whole server {100 * v['share_of_server']:.1f} %",
    )


TABLE: dict[str, Callable[[Record], Iterator[Row]]] = {
    **dict.fromkeys(CAPTURES, training),
    "run_preview": whole_run,
    "run_memory": whole_run,
    "sfm": structure,
    "align": alignment,
    "depth": stereo,
    "mesh_sample": sample_meshes,
    "geometry_temple": half_of_temple,
    "geometry_fountain": mesh_of_fountain,
    "depth_loss_fox": taught_by_depth,
    "rgbd": depth_camera,
    "page": published_page,
    "live": live_view,
    **readme_scenes.TABLE,
    "blend": blending,
    "cli": command_line,
}


def table() -> str:
    """The Markdown of all records that are kept."""
    lines = ["| what | measured | load | command (in `tests/bench`) |", "|---|---|---|---|"]
    for name, rows in TABLE.items():
        path = KEPT / f"{name}.json"
        if not path.is_file():
            continue
        record = json.loads(path.read_text())
        for i, (what, found) in enumerate(rows(record)):
            load, command = (f"{median(record['load']):.1f}", f"`{record['command']}`") if i == 0 else ("", "")
            lines.append(f"| {what} | {found} | {load} | {command} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 when README.md does not hold this table")
    args = parser.parse_args()
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    if not args.check:
        KEPT.mkdir(parents=True, exist_ok=True)
        for name in TABLE:
            if (NEW / f"{name}.json").is_file():
                shutil.copyfile(NEW / f"{name}.json", KEPT / f"{name}.json")
    made = head + BEGIN + table() + END + tail
    if args.check:
        sys.exit(int(made != text))
    readme.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
