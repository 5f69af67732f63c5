"""The splats of a site: as many and as simple as the device can show, in tiles, with a coarse picture of the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recon.cameras import Cameras, fit_size
from recon.errors import InputError
from recon.files import sha256_file
from recon.geometry import Array
from recon.job import Progress
from recon.reconstruction import read_image, shrink
from render.clusters import fewer
from render.formats.spz import write_spz
from render.kernels.reference import ALPHA_MIN
from render.lod import Contributions, Drawing, contributions, most_important, reduced, spread_views, tiles
from render.polish import polish
from render.rasterize import rasterize
from render.splats import Splats
from viewer.options import PublishOptions
from viewer.surroundings import Evidence
from viewer.targets import COARSE_LEAST, COARSE_SHARE, Target

VIEWS = 40
"""Most views in which contributions are measured, and against which simpler scenes are polished."""
COARSE_RATE = 2.5
"""Factor on the rates of polishing for the coarse picture, whose splats have farther to go."""


LIKENESS_SIDE = 320
"""Long side of the pictures that are compared with photos, pixels."""
CENTRAL_POWER = 2
"""How much more what is in the middle of all pictures is the subject than what is in the middle of some."""
TILE_PERCENT = (0.5, 99.5)
"""Percentiles of the splats' places that a tile's box holds: strays would make it hold the whole scene."""


@dataclass(frozen=True)
class Shown:
    """A scene's splats, on the CPU, and what the training cameras see of them."""

    splats: Splats
    drawing: Drawing
    seen: Contributions
    at: Callable[[float], Splats] | None = None
    """at(seconds): the same splats at another time; None where nothing moves."""

    def evidence(self) -> Evidence:
        """Where they are, and how they lie."""
        thinnest = self.splats.log_scale.argmin(1)
        up = self.splats.rotation[torch.arange(len(self.splats)), 2, thinnest].abs()
        xyz = self.splats.mean.numpy().astype(np.float64)
        looked_at = self.seen.middle * self.seen.central**CENTRAL_POWER
        return Evidence(xyz, looked_at, self.seen.total, up.numpy().astype(np.float64))


def look(splats: Splats, cameras: Cameras, drawing: Drawing, progress: Progress) -> Shown:
    """The splats that can be seen at all, and what training cameras see of them."""
    cut = splats.detach().to("cpu")
    fine = torch.stack(
        [torch.isfinite(c.flatten(1) if c.dim() > 1 else c[:, None]).all(1) for c in cut.columns().values()]
    )
    cut = cut[fine.all(0) & (cut.opacity >= ALPHA_MIN)]
    return Shown(cut, drawing, contributions(cut, spread_views(cameras, VIEWS), drawing, progress))


def likeness(shown: Shown, photos: Sequence[Path]) -> Array:
    """f64[V]: PSNR, dB, of the views that contributions were measured in, each at its time, against their photos; 0 where one
    cannot be read.
    """
    views, out = shown.seen.cameras, np.zeros(len(photos))
    moments = None if shown.at is None else views.time
    small = views.resized(fit_size(views.size, LIKENESS_SIDE))
    for i, photo in enumerate(photos):
        try:
            true = shrink(read_image(photo)[..., :3], small.size[i]).astype(np.float32) / 255
        except InputError:
            continue
        how = {"depth": False, "near": shown.drawing.near, "antialiased": shown.drawing.antialiased}
        splats = shown.splats if shown.at is None or moments is None else shown.at(float(moments[i]))
        drawn = rasterize(splats, small[i], **how).rgb[0].clamp(0, 1).numpy()
        out[i] = -10 * np.log10(max(float(((drawn - true) ** 2).mean()), 1e-10))
    return out


def write_splats(
    shown: Shown, folder: Path, target: Target, options: PublishOptions, progress: Progress
) -> dict[str, Any]:
    """Write splats/*.spz into the site and return the manifest's "splats"."""
    most = target.splats if options.splats is None else options.splats or len(shown.splats)
    degree = target.sh_degree if options.sh_degree is None else options.sh_degree
    published = simplified(shown, most, degree, options.polish, progress)
    parts = tiles(published.mean.numpy(), target.tile)
    seen = (
        shown.seen
        if published is shown.splats
        else contributions(published, shown.seen.cameras, shown.drawing, progress)
    )
    count = coarse_count(len(published), target)
    coarse = picture(Shown(published, shown.drawing, seen), count, options.polish, progress)
    (folder / "splats").mkdir()
    written = {"coarse": write_part(folder, "coarse", coarse, shown.drawing), "tiles": []}
    for i, rows in enumerate(parts):
        order = rows[most_important(seen.total[rows], len(rows))]
        tile = published[torch.from_numpy(order)]
        low, high = np.percentile(tile.mean.numpy().astype(np.float64), TILE_PERCENT, axis=0)
        box = {"min": low.tolist(), "max": high.tolist()}
        written["tiles"].append(write_part(folder, f"{i:04d}", tile, shown.drawing) | box)
    return {
        "count": len(published),
        "sh_degree": published.sh_degree,
        "antialiased": shown.drawing.antialiased,
        "format": "spz",
        "budget": target.splats,
        **written,
    }


def simplified(shown: Shown, most: int, degree: int, steps: int, progress: Progress) -> Splats:
    """At most so many splats of at most this SH degree that look like those shown; the same ones when they are simple enough."""
    splats, seen = shown.splats, shown.seen
    if len(splats) <= most and splats.sh_degree <= degree:
        return splats
    simple = reduced(splats, degree, seen)
    if len(splats) > most:
        simple = fewer(simple, seen.total, most, seen.cameras.centers)
    text = (
        f"making {len(simple)} splats of degree {simple.sh_degree} look like {len(splats)} of degree {splats.sh_degree}"
    )
    return polish(simple, splats, seen.cameras, shown.drawing, steps, progress=progress, text=text)


def coarse_count(splats: int, target: Target) -> int:
    """How many splats the coarse picture of so many may have."""
    return min(target.coarse, max(COARSE_LEAST, int(COARSE_SHARE * splats)))


def picture(shown: Shown, count: int, steps: int, progress: Progress) -> Splats:
    """The whole scene in a few splats of degree 0."""
    seen = shown.seen
    few = fewer(reduced(shown.splats, 0, seen), seen.total, count, seen.cameras.centers)
    text = f"a coarse picture of {len(few)} splats"
    return polish(few, shown.splats, seen.cameras, shown.drawing, steps, COARSE_RATE, progress, text)


def write_part(folder: Path, name: str, splats: Splats, drawing: Drawing) -> dict[str, Any]:
    """splats/NAME.spz, and what the manifest says of it."""
    file = f"splats/{name}.spz"
    path = folder / file
    write_spz(path, splats, antialiased=drawing.antialiased)
    return {"file": file, "count": len(splats), "bytes": path.stat().st_size, "sha256": sha256_file(path)}
