"""Writes viewer/web/tests/moving_cases.json: a small .gs4d file, and what this package reads of it, for the page's own reader."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from render.formats.moving import moving_file, read_moving
from tests.moving_splats import TurningBall

PATH = Path(__file__).resolve().parents[1] / "viewer" / "web" / "tests" / "moving_cases.json"
MOMENTS = ((0, 0.0), (0, 0.37), (1, 0.5), (1, 1.0))


def cases(folder: Path) -> dict[str, Any]:
    """The file's parts, and values of the splats that move at some moments."""
    made = moving_file(TurningBall(seconds=1.5, fps=12, detail=6, sh_degree=0))
    path = folder / "case.gs4d"
    path.write_bytes(made.head + b"".join(made.segments))
    read, header = read_moving(path), made.header
    keys = ("start", "end", "fps", "count", "sh_degree", "antialiased")
    spans = header["segments"]
    moments = []
    for segment, share in MOMENTS:
        splats = read.at(spans[segment]["start"] + share * (spans[segment]["end"] - spans[segment]["start"]))
        if share == 1:
            assert segment == len(spans) - 1, "the end of a segment belongs to the next one"
        found = {name: splats.columns()[name][read.moves] for name in ("mean", "quat", "log_scale")}
        values = {name: [round(float(v), 6) for v in column.flatten()] for name, column in found.items()}
        moments.append({"segment": segment, "share": share} | values)
    return {
        "head": base64.b64encode(made.head).decode(),
        "segments": [base64.b64encode(segment).decode() for segment in made.segments],
        "moving": {name: header[name] for name in keys}
        | {
            "bytes": len(made.head),
            "segments": [
                {"file": f"splats/m{i:04d}.bin", "bytes": row["bytes"], "start": row["start"], "end": row["end"]}
                for i, row in enumerate(spans)
            ],
        },
        "rows": read.moves.tolist(),
        "moments": moments,
    }


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        PATH.write_text(json.dumps(cases(Path(scratch))) + "\n", encoding="utf-8")
