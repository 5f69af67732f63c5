"""Matching: descriptors of chosen pairs, verified by their two-view geometry, into the COLMAP database."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recon.job import Job
from recon.sfm.features import opened, row_name
from recon.sfm.pairs import Pair
from recon.sfm.worker import run_worker

BLOCK = 64
"""Pairs that are matched and written together: what a kill can cost."""
MIN_BLOCKS = 12
"""Blocks that fewer pairs are spread over, so that progress shows."""
BEGUN = re.compile(rb"Processing block \[(\d+)/")
LOG_TAIL = 4096
TRIED = "CREATE TABLE IF NOT EXISTS tried_pairs (i INTEGER, j INTEGER, PRIMARY KEY (i, j)) WITHOUT ROWID"
"""A table of our own in the database; rows of the capture."""
MIN_INLIERS = 15
"""Matches that agree with one two-view geometry, below which two photos count as not matched (COLMAP's default)."""


def match(database: Path, pairs: Sequence[Pair], job: Job, seed: int = 0) -> None:
    """Match and verify the pairs that the database does not have yet. The same pair gives the same matches in every run."""
    todo = sorted(set(pairs) - tried_pairs(database))
    if not todo:
        return
    listing = database.with_suffix(".pairs.txt")
    listing.write_text("".join(f"{row_name(i)} {row_name(j)}\n" for i, j in todo), encoding="utf-8")
    block, log = min(BLOCK, max(1, len(todo) // MIN_BLOCKS)), database.with_suffix(".log")
    request = {
        "database": str(database),
        "listing": str(listing),
        "block": block,
        "min_inliers": MIN_INLIERS,
        "seed": seed,
    }
    with job.task("matching photos", total=len(todo)) as task:
        run_worker("match", request, log, lambda _: task.update(block * blocks_done(log)))
    _remember(database, todo)


def blocks_done(log: Path) -> int:
    """Blocks of pairs that pycolmap has finished, from its log: the database itself is not to be touched while it writes."""
    with open(log, "rb") as stream:
        stream.seek(max(0, stream.seek(0, 2) - LOG_TAIL))
        begun = BEGUN.findall(stream.read())
    return int(begun[-1]) - 1 if begun else 0


def verified_pairs(database: Path) -> dict[Pair, int]:
    """Number of verified matches of the pairs that have any features in common; 0 where no geometry bears them out."""
    with opened(database) as db:
        keys, counts = db.read_two_view_geometry_num_inliers()
    return {_rows(key): int(count) for key, count in zip(keys, counts, strict=True)}


def tried_pairs(database: Path) -> set[Pair]:
    """All pairs that were matched, also those with nothing in common, which pycolmap does not write down."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(TRIED)
        empty = {(int(i), int(j)) for i, j in connection.execute("SELECT i, j FROM tried_pairs")}
    return empty | set(verified_pairs(database))


def _remember(database: Path, pairs: Sequence[Pair]) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(TRIED)
        connection.executemany("INSERT OR IGNORE INTO tried_pairs VALUES (?, ?)", pairs)


def forget_pairs(database: Path, pairs: Sequence[Pair]) -> None:
    """Take the matches of these pairs out, so that they are matched anew."""
    with opened(database) as db:
        for i, j in pairs:
            db.delete_matches(i + 1, j + 1)
            db.delete_two_view_geometry(i + 1, j + 1)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany("DELETE FROM tried_pairs WHERE i = ? AND j = ?", pairs)


def _rows(key: int) -> Pair:
    import pycolmap

    a, b = pycolmap.pair_id_to_image_pair(key)
    return (min(a, b) - 1, max(a, b) - 1)


def feature_counts(database: Path, count: int) -> NDArray[np.int64]:
    """i64[N], features of each photo."""
    with opened(database) as db:
        return np.array([db.num_keypoints_for_image(row + 1) for row in range(count)], np.int64)
