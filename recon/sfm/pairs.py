"""Which pairs of photos are worth matching. Pairs are (i, j) with i < j, rows of the capture.

Retrieval: a VLAD descriptor of each photo over a small vocabulary learned from the capture itself (Jegou et al., Aggregating
local descriptors into a compact image representation, CVPR 2010; intra-normalised as Arandjelovic and Zisserman, All about
VLAD, CVPR 2013). It needs no vocabulary file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.capture import Capture
from recon.errors import SfmError
from recon.geodesy import enu_from_geodetic
from recon.geometry import Array
from recon.sfm.features import opened

Pair = tuple[int, int]

SMALL = 30
"""Up to so many photos every pair is matched."""
NEIGHBOURS = 20
"""So many photos that look most alike are matched to each photo of a larger set."""
WINDOW = 10
"""Video: so many following frames are matched to each frame, and those 16, 32, ... further on."""
LOOP_EVERY, LOOP_NEIGHBOURS = 3, 8
"""Video: every third frame looks for so many frames beyond its window that look alike, which closes loops."""
GPS_NEIGHBOURS, GPS_ALIKE = 20, 5
"""GPS: so many nearest photos are matched to each, and so many that look most alike, as fixes lie by tens of metres."""
MOST_PARTNERS = 150
"""A photo that stayed out is matched with so many others at most."""
GPS_SHARE = 0.8
"""Share of photos with a fix from which positions choose the pairs."""
WORDS, SAMPLES, ROUNDS = 64, 20_000, 8
"""VLAD: size of the vocabulary, descriptors that it is learned from, rounds of k-means."""


@dataclass(frozen=True)
class PairChoice:
    """Pairs and how they were chosen."""

    kind: str
    """"exhaustive", "sequential", "spatial" or "retrieval"."""
    pairs: tuple[Pair, ...]
    """Sorted, without repetition."""
    reason: str
    """Why this kind, in words."""


def every_pair(count: int) -> tuple[Pair, ...]:
    return tuple((i, j) for i in range(count) for j in range(i + 1, count))


def choose_kind(capture: Capture, matcher: str) -> tuple[str, str]:
    """The kind of matching and the reason for it. Raises SfmError when "spatial" is asked for and there is no GPS."""
    fixes = gps_share(capture)
    if matcher == "spatial" and fixes == 0:
        raise SfmError("`--matcher spatial` needs photos with GPS, and none has any. Leave the option out.")
    if matcher != "auto":
        return matcher, "as asked"
    if capture.kind == "video":
        return "sequential", "frames of a video"
    if len(capture) <= SMALL:
        return "exhaustive", f"{len(capture)} photos are few"
    if fixes >= GPS_SHARE:
        return "spatial", f"{fixes:.0%} of the photos have GPS"
    return "retrieval", f"the {NEIGHBOURS} that look most alike for each photo"


def choose_pairs(capture: Capture, matcher: str, database: Path) -> PairChoice:
    """The pairs to match first. The database holds the photos' features."""
    kind, reason = choose_kind(capture, matcher)
    if kind == "exhaustive":
        return PairChoice(kind, every_pair(len(capture)), reason)
    if kind == "sequential":
        pairs = _window(len(capture), WINDOW, far=True) | _loops(similarity(database, len(capture)))
    elif kind == "spatial":
        alike = similarity(database, len(capture))
        pairs = _nearest(capture) | _most_alike(alike, GPS_ALIKE) | _window(len(capture), 2, far=False)
    else:
        pairs = _most_alike(similarity(database, len(capture)), NEIGHBOURS) | _window(len(capture), 2, far=False)
    return PairChoice(kind, tuple(sorted(pairs)), reason)


def pairs_with(rows: Sequence[int], database: Path, count: int) -> tuple[Pair, ...]:
    """Pairs of these photos with all others; in a capture of more than MOST_PARTNERS photos with those that look most alike."""
    if count <= MOST_PARTNERS:
        return tuple(sorted(_ordered((row, other) for row in rows for other in range(count))))
    alike = similarity(database, count)
    np.fill_diagonal(alike, -np.inf)
    return tuple(sorted(_ordered((row, other) for row in rows for other in _top(alike[row], MOST_PARTNERS))))


def gps_share(capture: Capture) -> float:
    """Share of the photos that have a latitude and longitude."""
    return 0.0 if capture.gps is None else float(np.isfinite(capture.gps[:, :2]).all(1).mean())


def _window(count: int, reach: int, far: bool) -> set[Pair]:
    """Each photo with the `reach` that follow it, and with those 16, 32, ... further on (at most 5 of these)."""
    steps = list(range(1, reach + 1))
    while far and steps[-1] * 2 < count and len(steps) < reach + 5:
        steps.append(16 if len(steps) == reach else steps[-1] * 2)
    return {(i, i + step) for step in steps for i in range(count - step)}


def _loops(alike: Array) -> set[Pair]:
    """For every third frame the frames that look most alike beyond its window."""
    count = len(alike)
    beyond = np.abs(np.subtract.outer(np.arange(count), np.arange(count))) > WINDOW
    masked = np.where(beyond, alike, -np.inf)
    rows = range(0, count, LOOP_EVERY)
    return _ordered((i, j) for i in rows for j in _top(masked[i], LOOP_NEIGHBOURS) if beyond[i, j])


def _nearest(capture: Capture) -> set[Pair]:
    assert capture.gps is not None
    known = np.flatnonzero(np.isfinite(capture.gps[:, :2]).all(1))
    fixes = np.nan_to_num(capture.gps[known], nan=0.0)
    fixes[:, 2] = 0  # heights lie most; photos above one another see the same place
    east_north = enu_from_geodetic(fixes, tuple(fixes.mean(0)))[:, :2]
    apart = np.linalg.norm(east_north[:, None] - east_north[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    return _ordered((int(known[i]), int(known[j])) for i in range(len(known)) for j in _top(-apart[i], GPS_NEIGHBOURS))


def _most_alike(alike: Array, count: int) -> set[Pair]:
    masked = alike.copy()
    np.fill_diagonal(masked, -np.inf)
    return _ordered((i, j) for i in range(len(alike)) for j in _top(masked[i], count))


def _top(score: Array, count: int) -> list[int]:
    order = np.argsort(-score, kind="stable")[:count]
    return [int(j) for j in order if np.isfinite(score[j])]


def _ordered(pairs: Iterable[Pair]) -> set[Pair]:
    return {(min(i, j), max(i, j)) for i, j in pairs if i != j}


def similarity(database: Path, count: int) -> Array:
    """f64[N, N], how alike photos look: the dot products of their VLAD descriptors, at most 1."""
    with opened(database) as db:

        def read(row: int) -> NDArray[np.float32]:
            return np.asarray(db.read_descriptors(row + 1).data, np.float32) / np.float32(512)

        rng = np.random.default_rng(0)
        each = max(1, SAMPLES // max(count, 1))
        samples = [_sample(read(row), each, rng) for row in range(count)]
        pool = np.concatenate(samples) if samples else np.zeros((0, 128), np.float32)
        if len(pool) < WORDS:
            return np.zeros((count, count))
        words = _k_means(pool, rng)
        vectors = np.stack([_vlad(read(row), words) for row in range(count)])
    return (vectors @ vectors.T).astype(np.float64)


def _sample(rows: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return rows[rng.permutation(len(rows))[:count]].reshape(-1, 128)


def _assign(rows: NDArray[np.float32], words: NDArray[np.float32]) -> NDArray[np.intp]:
    """The nearest word of each descriptor."""
    return (rows @ words.T - 0.5 * (words**2).sum(1)).argmax(1)


def _k_means(rows: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    words = rows[rng.permutation(len(rows))[:WORDS]].copy()
    for _ in range(ROUNDS):
        nearest = _assign(rows, words)
        counts = np.bincount(nearest, minlength=WORDS)
        total = np.zeros_like(words)
        np.add.at(total, nearest, rows)
        words = np.where(counts[:, None] > 0, total / np.maximum(counts, 1)[:, None], words).astype(np.float32)
    return words


def _vlad(rows: NDArray[np.float32], words: NDArray[np.float32]) -> NDArray[np.float32]:
    """f32[WORDS * 128], each word's part of unit length, then the whole; zero for a photo without features."""
    rows = rows.reshape(-1, 128)
    nearest = _assign(rows, words)
    order = np.argsort(nearest, kind="stable")
    present, start = np.unique(nearest[order], return_index=True)
    vector = np.zeros((WORDS, 128), np.float32)
    if len(rows):
        vector[present] = np.add.reduceat((rows - words[nearest])[order], start, axis=0)
    vector /= np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-12)
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).ravel()
