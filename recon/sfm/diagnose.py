"""Why photos stayed out, in words, from what the database and the models hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recon.capture import Capture
from recon.errors import SfmError
from recon.sfm.features import opened
from recon.sfm.mapping import registered
from recon.sfm.matching import MIN_INLIERS, feature_counts, tried_pairs, verified_pairs
from recon.sfm.pairs import Pair
from recon.wording import count, some

if TYPE_CHECKING:
    import pycolmap

FEW_FEATURES = 50
"""Below this a photo counts as without features."""


def reasons(
    capture: Capture, database: Path, placed: set[int], others: Sequence[pycolmap.Reconstruction]
) -> tuple[tuple[str, str], ...]:
    """(name, reason) of every photo that is not in `placed`, in the capture's order."""
    features = feature_counts(database, len(capture))
    links = {pair: n for pair, n in verified_pairs(database).items() if n >= MIN_INLIERS}
    groups = [registered(model) - placed for model in others]
    out = []
    for row in sorted(set(range(len(capture))) - placed):
        out.append((capture.names[row], _reason(capture, row, int(features[row]), links, placed, groups)))
    return tuple(out)


def _reason(
    capture: Capture, row: int, features: int, links: dict[Pair, int], placed: set[int], groups: list[set[int]]
) -> str:
    if features < FEW_FEATURES:
        return f"no features to speak of ({features} found): black, blurred or without texture"
    partners = {pair[0] + pair[1] - row: n for pair, n in links.items() if row in pair}
    if not partners:
        return (
            f"{features} features, but no matches with any other photo: it shows another place, or too little overlap"
        )
    best = sorted(partners, key=lambda r: -partners[r])
    inside = [r for r in best if r in placed]
    group = max((g for g in groups if row in g), key=len, default=set())
    apart = f"; it is part of a model of {len(group)} photos of its own" if len(group) > 1 else ""
    if not inside:
        return f"matches only with photos that stayed out too ({some(capture.names[r] for r in best)}){apart}"
    names = some(f"{capture.names[r]}: {partners[r]}" for r in inside)
    return (
        f"it matches {count(len(inside), 'placed photo')} ({names} points), but no pose agrees with them: too few points "
        f"in common, or similar things at different places{apart}"
    )


def no_model(capture: Capture, database: Path) -> SfmError:
    """The error for a capture of which nothing could be placed: what was found, and what to do."""
    import pycolmap

    n = len(capture)
    features = feature_counts(database, n)
    tried = tried_pairs(database)
    links = [pair for pair, inliers in verified_pairs(database).items() if inliers >= MIN_INLIERS]
    empty = [capture.names[row] for row in np.flatnonzero(features < FEW_FEATURES)]
    head = f"No reconstruction came out of {n} photos. "
    if len(empty) > n - 3:
        return SfmError(
            f"{head}{len(empty)} of them have fewer than {FEW_FEATURES} features ({some(empty)}): black, blurred or without "
            "texture. Take sharp, well lit photos of things with texture."
        )
    if not links:
        return SfmError(
            f"{head}They have {int(np.median(features))} features on average, but no two of the {len(tried)} pairs tried "
            "show the same place. Neighbouring photos must share more than half of what they show: take a step, not more, "
            "between two photos."
        )
    with opened(database) as db:
        kinds = [g.config for g in db.read_two_view_geometries()[1]]
    turned = {
        pycolmap.TwoViewGeometryConfiguration.PANORAMIC,
        pycolmap.TwoViewGeometryConfiguration.PLANAR_OR_PANORAMIC,
    }
    share = np.mean(
        [kind in turned for kind in kinds if kind != pycolmap.TwoViewGeometryConfiguration.DEGENERATE] or [0]
    )
    if share > 0.5:
        return SfmError(
            f"{head}{len(links)} pairs match, but nearly all as if the camera had only turned or stood still, or as if it saw "
            "one flat thing: there is no depth in them. Walk sideways between photos."
        )
    return SfmError(
        f"{head}{len(links)} of {len(tried)} pairs match, but no three photos agree on one geometry. Take more photos with more "
        "overlap from different places; photos of things that move or shine do not fit together."
    )
