"""Numbers of a set of maps: what is measured, how far neighbours disagree, and the error where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.geometry_page.disagreement import PhotoMaps
from recon.geometry_page.pictures import true_at

CLOSE = 0.01
"""z counts as agreeing, or as right, within this share."""
MOST_SAMPLES = 4_000_000
"""Pixels of all photos together that medians over the scene are taken over, spread evenly."""
MOST_KEPT = 40_000_000
"""Maps of no more pixels together are kept for their pictures (80 MB)."""
NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Score:
    """One photo's map. Shares of z; None where nothing can be said."""

    name: str
    measured: float
    """Share of the pixels."""
    checked: float
    """Share of the measured pixels that a neighbour says something about."""
    median: float | None
    """Median disagreement with the neighbours."""
    within: float | None
    """Share of the checked pixels that disagree by less than CLOSE."""
    true_median: float | None = None
    """Median |z - true z| / true z where both are known."""
    true_within: float | None = None
    """Share of these pixels within CLOSE."""
    true_covered: float | None = None
    """Share of the pixels with truth that are measured."""


@dataclass(frozen=True)
class Scores:
    """All photos, and the pixels that scales and medians are taken from."""

    photos: tuple[Score, ...]
    """[N], in the order of the maps."""
    z: NDArray[np.float32]
    """Some of the measured z."""
    disagreement: NDArray[np.float32]
    """Some of the disagreements."""
    error: NDArray[np.float32]
    """Some of the errors against truth; empty without it."""
    maps: Mapping[int, NDArray[np.float16]]
    """f16[H, W], the disagreement of photos, NaN where there is none; of all, or of none where they are too many to keep."""

    def metrics(self) -> dict[str, Any]:
        """For stage.json: over the pixels of all photos. None where nothing could be compared."""
        none = len(self.disagreement) == 0
        return {
            "agreement_median_relative": None if none else float(np.median(self.disagreement)),
            "agreement_within_1_percent": None if none else float((self.disagreement < CLOSE).mean()),
            "agreement_checked": float(np.mean([score.checked for score in self.photos])) if self.photos else 0.0,
        }


def error_of(z: NDArray, true: NDArray) -> NDArray[np.float32]:
    """f32[H, W]: |z - true| / true of a map (0: not measured) against truth [H', W'] (NaN: unknown); NaN where one is missing."""
    true = true_at(true, z.shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where((z > 0) & (true > 0), np.abs(z - true) / true, np.nan).astype(np.float32)


def score_all(maps: PhotoMaps, truth: Mapping[str, NDArray] | None, each: Callable[[], Any] = lambda: None) -> Scores:
    """Scores of all photos; `each` is called after every one. One photo and its neighbours are in memory."""
    return _scores(maps, maps.disagreement, truth or {}, each)


def held_out_scores(maps: PhotoMaps, held_out: PhotoMaps) -> Scores:
    """The z of held-out cameras against that of the photos near them."""
    return _scores(
        held_out, lambda i: maps.disagreement_of(held_out.measured(i), held_out.cameras[i]), {}, lambda: None
    )


def _scores(
    maps: PhotoMaps, share_of: Callable[[int], NDArray], truth: Mapping[str, NDArray], each: Callable[[], Any]
) -> Scores:
    pixels = int(maps.cameras.size.astype(np.int64).prod(-1).sum())
    step = max(1, -(-pixels // MOST_SAMPLES))
    photos, kept, whole = [], ([], [], []), {}
    for i, name in enumerate(maps.names):
        z, share, true = maps.measured(i), share_of(i), truth.get(name)
        error = NOTHING if true is None else error_of(z, true)
        photos.append(score_of(name, z, share, error, None if true is None else true_at(true, z.shape)))
        for values, samples in zip((z[z > 0], share[np.isfinite(share)], error[np.isfinite(error)]), kept, strict=True):
            samples.append(values[::step])
        if pixels <= MOST_KEPT:
            whole[i] = share.astype(np.float16)
        each()
    z, share, error = (np.concatenate([*part, NOTHING]) for part in kept)
    return Scores(tuple(photos), z, share, error, whole)


def score_of(name: str, z: NDArray, share: NDArray, error: NDArray, true: NDArray | None) -> Score:
    """The numbers of one photo's map from its z (0: not measured), its disagreement and its error."""
    known, judged, off = z > 0, share[np.isfinite(share)], error[np.isfinite(error)]
    checked = len(judged) / max(int(known.sum()), 1)
    covered = None if true is None else float((known & (true > 0)).sum() / max(int((true > 0).sum()), 1))
    return Score(name, float(known.mean()), checked, *_middle(judged), *_middle(off), covered)


def _middle(values: NDArray) -> tuple[float | None, float | None]:
    return (float(np.median(values)), float((values < CLOSE).mean())) if len(values) else (None, None)


def worst_first(scores: Scores) -> list[int]:
    """Rows by falling disagreement; first those of which nothing can be said."""

    def key(i: int) -> tuple[bool, float, str]:
        score = scores.photos[i]
        return score.median is not None, -(score.median or 0.0), score.name

    return sorted(range(len(scores.photos)), key=key)
