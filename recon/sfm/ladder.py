"""From a capture without poses to one model of all its photos: a ladder whose rungs are climbed only while photos stay out.

    place       one camera after the other, on matches of the chosen pairs
    pairs       (most photos stayed out) match the photos that stayed out with all others; place again
    features    (most photos stayed out) more features in all photos; place again
    relaxed     add cameras with relaxed thresholds
    merge       merge models that were built apart
    global      all cameras at once
    pairs       (few stayed out) match these with all others; add them, relaxed, merge, global again
    features    (few stayed out) more features in these and in photos like them; the same again

A later model replaces the best so far only when it places more photos that their matches bear out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recon.cameras import fit_size
from recon.capture import MIN_PHOTOS, Capture
from recon.errors import SfmError
from recon.job import Job
from recon.photos import workers
from recon.sfm.diagnose import no_model, reasons
from recon.sfm.features import WORK_SIDE, FeatureSpec, create_database, exif_focal, extract
from recon.sfm.mapping import (
    MIN_MODEL,
    RELAXED,
    MapOptions,
    agreement,
    copy_database,
    global_,
    incremental,
    registered,
    save_model,
)
from recon.sfm.matching import MIN_INLIERS, match, tried_pairs, verified_pairs
from recon.sfm.merge import merged
from recon.sfm.more import extended_database, richer_database, with_all_keypoints
from recon.sfm.pairs import choose_pairs, pairs_with
from recon.sfm.refine import refine
from recon.sparse import SparseModel, from_pycolmap
from recon.wording import count

if TYPE_CHECKING:
    import pycolmap

    from recon.sfm import SfmOptions

FEATURES = 3000
"""Features a photo, where the user does not say. 2000 lose accuracy on surveyed captures, 4000 gain none."""
TRUSTED = 0.5
"""Share of a photo's matches that the model must bear out; a photo placed wrongly has less than a tenth."""
DOUBTFUL = 0.7
"""Share of all matches that the model bears out, below which the user is warned: hard captures have 0.85, good ones 0.98."""
MOST = 0.5
"""Share of the photos from which a model counts as the trunk that others are added to."""
THREADED_RESIDUALS = 50_000
"""From so many residuals on pycolmap adjusts in several threads."""
RUNGS = ("features", "relaxed", "merge", "global", "pairs")
"""All rungs above the first attempt."""


@dataclass
class Search:
    """The state of one reconstruction while it climbs."""

    capture: Capture
    options: SfmOptions
    job: Job
    rungs: Sequence[str]
    database: Path
    best: pycolmap.Reconstruction | None = None
    others: list[pycolmap.Reconstruction] = field(default_factory=list)
    """Further models seen on the way, which may be merged."""
    climbed: list[str] = field(default_factory=list)
    """Rungs that were tried, in order."""

    @property
    def map_options(self) -> MapOptions:
        return MapOptions(self.options.sfm_seed, 1 if self.options.deterministic else 0)

    @property
    def spec(self) -> FeatureSpec:
        return FeatureSpec(self.options.features or FEATURES, WORK_SIDE)

    @property
    def rows(self) -> set[int]:
        """Rows placed so far."""
        return registered(self.best) if self.best else set()

    @property
    def most_missing(self) -> bool:
        """Whether the best model is too small to be a trunk that others are added to."""
        return len(self.missing) > (1 - MOST) * len(self.capture)

    @property
    def missing(self) -> list[int]:
        return sorted(set(range(len(self.capture))) - self.rows)

    def linked(self) -> list[int]:
        """Missing rows that match some other photo: those that placing again can help."""
        pairs = [pair for pair, inliers in verified_pairs(self.database).items() if inliers >= MIN_INLIERS]
        return sorted(set(self.missing) & {row for pair in pairs for row in pair})

    def offer(self, models: Sequence[pycolmap.Reconstruction]) -> bool:
        """Take the first model when it places more photos than the best so far, and keep the others for merging."""
        trimmed = [self._trusted(model) for model in models]
        trimmed = [model for model in trimmed if model.num_reg_images() >= MIN_MODEL]
        trimmed.sort(key=lambda m: -m.num_reg_images())
        better = bool(trimmed) and len(registered(trimmed[0])) > len(self.rows)
        if better:
            self.others += [self.best] if self.best else []
            self.best = trimmed[0]
        self.others += trimmed[1:] if better else trimmed
        return better

    def adopt_keypoints(self) -> None:
        """Make the models fit a database in which photos have more keypoints than before; they cannot be kept otherwise."""
        self.best = with_all_keypoints(self.best, self.database) if self.best else None
        self.others = [with_all_keypoints(model, self.database) for model in self.others]

    def _trusted(self, model: pycolmap.Reconstruction) -> pycolmap.Reconstruction:
        """The model without photos that most of their matches contradict, the worst taken out first."""
        found = agreement(model, self.database)
        while found.tried:
            worst = min({row for pair in found.tried for row in pair}, key=found.of_row)
            if found.of_row(worst) >= TRUSTED:
                break
            model.deregister_frame(model.image(worst + 1).frame_id)
            found = found.without(worst)
        return model


def reconstruct(
    capture: Capture, options: SfmOptions, job: Job, rungs: Sequence[str] = RUNGS
) -> tuple[SparseModel, tuple[tuple[str, str], ...]]:
    """The model of the photos as taken (names and pixels of the capture), and (name, reason) of those left out.

    Raises SfmError when fewer than three photos can be placed.
    """
    if len(capture) < MIN_PHOTOS:
        raise SfmError(f"{count(len(capture), 'photo')}, expected at least {MIN_PHOTOS} of the same place. Add photos.")
    database = job.scratch / "base.db"
    if not database.is_file():
        create_database(database, capture)
    search = Search(capture, options, job, rungs, database)
    extract(database, capture, search.spec, job)
    choice = choose_pairs(capture, options.matcher, database)
    job.say(f"Matching {len(choice.pairs)} pairs of {len(capture)} photos ({choice.kind}: {choice.reason}).")
    match(database, choice.pairs, job, options.sfm_seed)
    started = time.monotonic()
    place(search, "base")
    if "pairs" in rungs and search.most_missing:
        _more_pairs(search, "all-pairs", further=False)
    before = replace(search)
    if "features" in rungs and search.most_missing:
        _more_features_everywhere(search)
    climb(search, "base")
    if len(search.rows) < len(before.rows):
        search.database, search.best, search.others = before.database, before.best, before.others
    if "pairs" in rungs and search.missing:
        _more_pairs(search, "pairs", further=True)
    if "features" in rungs and search.missing:
        _more_features(search)
    if search.best is None:
        raise no_model(capture, search.database)
    model = _finished(search)
    if options.deterministic:
        job.say(_cost_of_one_thread(model, time.monotonic() - started))
    job.metrics |= {"matching": choice.kind, "pairs": len(choice.pairs), "rungs": search.climbed}
    share = agreement(model, search.database).share
    job.metrics["agreement"] = round(share, 4)
    if share < DOUBTFUL:
        job.warn(
            f"Only {share:.0%} of the matches agree with the cameras found: look at the result before relying on it. "
            "Things that look alike at different places, or that moved, do this."
        )
    left_out = reasons(capture, search.database, registered(model), search.others)
    for name, reason in left_out:
        job.warn(f"{name} left out: {reason}.")
    return _full_size(capture, model), left_out


def place(search: Search, level: str) -> None:
    """One camera after the other (or, when asked for, all at once), with the database as it is."""
    if search.options.mapper == "global":
        search.offer(_global(search, level))
    else:
        search.offer(_incremental(search, f"{level}-incremental"))


def climb(search: Search, level: str) -> None:
    """Further means of placing with the database as it is, while photos that match others stay out."""
    steps: dict[str, tuple[str, Callable[[], list[pycolmap.Reconstruction]]]] = {
        "relaxed": (
            "adding them with relaxed thresholds",
            lambda: _incremental(search, f"{level}-relaxed", RELAXED, _trunk(search, f"{level}-relaxed")),
        ),
        "merge": (
            "merging separate models",
            lambda: merged(search.best, search.others, search.database, search.job, search.map_options),
        ),
        "global": ("placing all cameras at once", lambda: _global(search, level)),
    }
    for name in (name for name in steps if name in search.rungs):
        if not search.linked() or (name == "global" and search.options.mapper != "auto"):
            continue
        with _rung(search, name, level, steps[name][0]):
            search.offer(steps[name][1]())


@contextmanager
def _rung(search: Search, name: str, level: str, words: str) -> Iterator[None]:
    """Says what is tried and what came of it."""
    search.climbed.append(f"{name} ({level})")
    before = len(search.rows)
    search.job.say(f"{count(len(search.missing), 'photo')} not placed yet: {words}.")
    yield
    search.job.say(f"  {len(search.rows) - before} more placed.")


def _incremental(
    search: Search, folder: str, extra: dict[str, Any] | None = None, start: Path | None = None
) -> list[pycolmap.Reconstruction]:
    path = search.job.scratch / folder
    return incremental(search.database, path, search.job, search.map_options, extra, start, len(search.capture))


def _trunk(search: Search, level: str) -> Path | None:
    """The best model on disk, when it is big enough to add the others to."""
    if search.best is None or search.most_missing:
        return None
    return save_model(search.best, search.job.scratch / f"{level}-trunk")


def _global(search: Search, level: str) -> list[pycolmap.Reconstruction]:
    """All cameras at once; those that this leaves out, or places against their matches, are then added one by one."""
    folder = search.job.scratch / f"{level}-global"
    found = search.offer(global_(search.database, folder, search.job, search.map_options))
    trunk = _trunk(search, f"{level}-global") if found and search.linked() else None
    return [] if trunk is None else _incremental(search, f"{level}-global-more", RELAXED, trunk)


def _more_features_everywhere(search: Search) -> None:
    with _rung(search, "features", "all", "looking for more features in all photos"):
        database = richer_database(search.database, search.capture, search.spec, search.job)
        matched = {pair for pair, inliers in verified_pairs(search.database).items() if inliers >= MIN_INLIERS}
        chosen = choose_pairs(search.capture, search.options.matcher, database).pairs
        match(database, sorted(matched.union(chosen)), search.job, search.options.sfm_seed)
        search.database, search.best, search.others = database, None, []
        place(search, "rich")


def _more_pairs(search: Search, level: str, further: bool) -> None:
    tried = tried_pairs(search.database)
    pairs = [pair for pair in pairs_with(search.missing, search.database, len(search.capture)) if pair not in tried]
    if not pairs:
        return
    with _rung(search, "pairs", level, f"matching them with all others ({len(pairs)} pairs)"):
        database = search.job.scratch / f"{level}.db"
        if not database.is_file():
            copy_database(search.database, database)
        match(database, pairs, search.job, search.options.sfm_seed)
        _place_if_gained(search, database, level, further)


def _more_features(search: Search) -> None:
    with _rung(search, "features", "missing", "looking for more features in them and in photos like them"):
        database = extended_database(search.database, search.capture, search.spec, search.missing, search.job)
        _place_if_gained(search, database, "features", further=True)


def _place_if_gained(search: Search, database: Path, level: str, further: bool) -> None:
    """Place again when the new matches link photos that stayed out, and climb `further`; else the old database stays."""
    links = lambda path: {  # noqa: E731
        (pair, inliers)
        for pair, inliers in verified_pairs(path).items()
        if inliers >= MIN_INLIERS and not set(search.missing).isdisjoint(pair)
    }
    if links(database) <= links(search.database):
        search.job.say("  No new matches.")
        return
    search.database = database
    search.adopt_keypoints()
    search.offer(_incremental(search, f"{level}-incremental", None, _trunk(search, level)))
    if further:
        climb(search, level)


def _finished(search: Search) -> pycolmap.Reconstruction:
    """The best model after its last adjustment; kept in scratch."""
    import pycolmap

    folder = search.job.scratch / "final"
    if not folder.is_dir():
        assert search.best is not None
        with search.job.task("adjusting cameras and points"):
            model = refine(search.best, search.map_options, exif_focal(search.capture))
        save_model(model, folder)
    return pycolmap.Reconstruction(folder)


def _cost_of_one_thread(model: pycolmap.Reconstruction, seconds: float) -> str:
    """What --deterministic costs, in words."""
    residuals, threads = 2 * model.compute_num_observations(), workers()
    head = f"Deterministic: cameras were placed and adjusted in one thread, in {seconds:.0f} s."
    if residuals < THREADED_RESIDUALS or threads == 1:
        return f"{head} That cost nothing: so small a problem ({residuals} residuals) takes one thread in any case."
    return f"{head} With {threads} threads it would have taken between {seconds / threads:.0f} s and as long."


def _full_size(capture: Capture, model: pycolmap.Reconstruction) -> SparseModel:
    """The model with the capture's names, its cameras and observations in the photos' own pixels."""
    small = from_pycolmap(model)
    rows = [int(name) for name in small.names]
    size = capture.size[rows]
    scale = size / fit_size(size, WORK_SIDE)
    seen = small.observations
    return replace(
        small,
        names=tuple(capture.names[row] for row in rows),
        cameras=small.cameras.resized(size),
        observations=replace(seen, xy=(seen.xy * scale[seen.camera]).astype(np.float32)),
        error=(small.error * scale.mean()).astype(np.float32),
    )
