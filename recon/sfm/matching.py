"""Matching: descriptors of chosen pairs, verified by their two-view geometry, into the COLMAP database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from recon.job import Job
from recon.photos import workers
from recon.sfm.background import run_beside
from recon.sfm.features import opened, row_name
from recon.sfm.pairs import Pair

if TYPE_CHECKING:
    import pycolmap

BLOCK = 64
"""Pairs that are matched and written together: what a kill can cost, and what Ctrl-C waits for."""
MIN_INLIERS = 15
"""Matches that agree with one two-view geometry, below which two photos count as not matched (COLMAP's default)."""


def match(database: Path, pairs: Sequence[Pair], job: Job, seed: int = 0) -> None:
    """Match and verify the pairs that the database does not have yet. The same pair gives the same matches in every run."""
    import pycolmap

    todo = sorted(set(pairs) - set(verified_pairs(database)))
    if not todo:
        return
    listing = database.with_suffix(".pairs.txt")
    listing.write_text("".join(f"{row_name(i)} {row_name(j)}\n" for i, j in todo))
    before, token = _count_verified(database), pycolmap.CancellationToken()
    matching, pairing, verification = _options(listing, seed)
    with job.task("matching photos", total=len(todo)) as task:
        run_beside(
            lambda: pycolmap.match_image_pairs(
                database, matching, pairing, verification, pycolmap.Device.cpu, cancellation_token=token
            ),
            lambda: task.update(_count_verified(database) - before),
            token,
        )


def _options(
    listing: Path, seed: int
) -> tuple[pycolmap.FeatureMatchingOptions, pycolmap.ImportedPairingOptions, pycolmap.TwoViewGeometryOptions]:
    import pycolmap

    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = workers()
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path, pairing.block_size = listing, BLOCK
    verification = pycolmap.TwoViewGeometryOptions()
    verification.min_num_inliers = MIN_INLIERS
    verification.ransac.random_seed = seed
    return matching, pairing, verification


def _count_verified(database: Path) -> int:
    """Also while pycolmap writes. Through pycolmap's own SQLite alone: a second copy of SQLite in one process (Python's)

    drops the first one's file locks, and the writer dies of SIGBUS.
    """
    with opened(database) as db:
        return int(db.num_verified_image_pairs())


def verified_pairs(database: Path) -> dict[Pair, int]:
    """Number of verified matches (0 for none) of every pair that was tried."""
    with opened(database) as db:
        keys, counts = db.read_two_view_geometry_num_inliers()
    return {_rows(key): int(count) for key, count in zip(keys, counts, strict=True)}


def raw_matches(database: Path) -> dict[Pair, int]:
    """Number of matches before verification of every pair that was tried."""
    with opened(database) as db:
        keys, counts = db.read_num_matches()
    return {_rows(key): int(count) for key, count in zip(keys, counts, strict=True)}


def _rows(key: int) -> Pair:
    import pycolmap

    a, b = pycolmap.pair_id_to_image_pair(key)
    return (min(a, b) - 1, max(a, b) - 1)


def feature_counts(database: Path, count: int) -> NDArray[np.int64]:
    """i64[N], features of each photo."""
    with opened(database) as db:
        return np.array([db.num_keypoints_for_image(row + 1) for row in range(count)], np.int64)
