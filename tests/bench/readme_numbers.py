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


TABLE: dict[str, Callable[[Record], Iterator[Row]]] = {
    **dict.fromkeys(CAPTURES, training),
    "run_preview": whole_run,
    "run_memory": whole_run,
    "sfm": structure,
    "align": alignment,
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
