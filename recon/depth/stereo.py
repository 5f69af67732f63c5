"""All photos of a reconstruction, pass by pass: what depth() does. A photo of a pass is a part that outlives a kill.

Pass 0 looks at the photos alone; each further one also at the planes that the pass before found in the sources. Of the
photos one and its sources are in memory.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras, fit_size
from recon.depth.consistency import grown, small_pieces
from recon.depth.fill import filled
from recon.depth.maps import save_array, save_index, save_map
from recon.depth.mono import Mono
from recon.depth.photos import prepare_photo
from recon.depth.solve import Group, Planes, camera_normals, judged, solve_alone, solve_together, w_of_a_pixel
from recon.depth.views import View, choose_views
from recon.errors import InputError
from recon.files import remove_tree, sha256_json
from recon.job import Job, Task
from recon.parallax import turned_on_the_spot
from recon.reconstruction import Reconstruction
from recon.sparse import SparseModel

if TYPE_CHECKING:
    from recon.capture import Capture
    from recon.depth import DepthOptions

FIRST_PASS_WORK, PASS_WORK, JUDGE_WORK = 1.0, 0.45, 0.05
"""Share of the time that a photo takes in the first pass, in each further one, and when it is judged."""
DOUBTFUL_COST = 0.8
"""A spot whose patches look this unlike (1 - NCC, mean of the best sources) is not believed, whoever agrees."""
WEAK, WEAK_COST = 0.5, 0.9
"""A spot that is believed because it continues what is believed: its confidence as a share of what it would be otherwise,
and the cost beyond which it is not believed either.
"""


@dataclass(frozen=True)
class Stereo:
    """The training photos of one reconstruction at the size that was asked for."""

    reconstruction: Reconstruction
    model: SparseModel
    """Training photos only, points that two of them saw."""
    cameras: Cameras
    """[N], at the size of the maps."""
    views: list[View]
    """[N]."""
    options: DepthOptions
    job: Job
    folder: Path
    """Where parts lie; its name says what they depend on."""
    mono: Mono | None = None
    """What guesses where stereo has no answer."""

    @staticmethod
    def of(capture: Capture, reconstruction: Reconstruction, options: DepthOptions, job: Job) -> Stereo:
        """Choose sources and ranges. Raises NoSource when no photo has a source and no network may guess."""
        test = capture.test_names
        rows = np.array([i for i, name in enumerate(reconstruction.model.names) if name not in test], np.int64)
        model = reconstruction.model.select(rows, min_views=2)
        views = choose_views(model, options.depth_sources, options.depth_near, options.depth_far)
        if turned_on_the_spot(model):
            views = [replace(view, sources=view.sources[:0]) for view in views]
        _check(model, views, job, bool(options.mono))
        size = fit_size(model.cameras.size, options.depth_long_side)
        poses = [model.cameras.cam_from_world.tolist(), model.cameras.K.tolist(), size.tolist()]
        paths = [reconstruction.image_path(name) for name in model.names]
        written = [path.stat().st_mtime_ns if path.is_file() else 0 for path in paths]
        label = sha256_json([asdict(options) | {"mono": None}, model.names, poses, written])[:16]
        folder = job.scratch / f"stereo_{label}"
        mono = None
        if options.mono is not None:
            mono = Mono.of(options.mono, reconstruction, model.names, model.cameras, views, job, options.depth_seed)
        return Stereo(reconstruction, model, model.cameras.resized(size), views, options, job, folder, mono)

    def run(self) -> dict[str, Any]:
        """Every pass over every photo; then judge, and write the maps. What depth.json says of them beside their names.

        Raises NoSource when there is nothing to write.
        """
        if self.mono is not None:
            self.mono.infer()
        n, passes = len(self.model.names), self.options.depth_passes
        total = n * (FIRST_PASS_WORK + passes * PASS_WORK + JUDGE_WORK)
        with self.job.task("depth", total) as task:
            first = self._first_open_pass()
            task.update(done=n * (FIRST_PASS_WORK + (first - 1) * PASS_WORK) if first else 0)
            for number in range(first, passes + 1):
                for i in range(n):
                    self._solve(number, i, task)
                if number >= 2:
                    remove_tree(self.folder / f"pass{number - 2}")
            measured = []
            for i in range(n):
                measured.append(self._finish(i))
                task.advance(JUDGE_WORK)
        notes = {} if self.mono is None else {"mono": self.mono.report()}
        if not any(len(view.sources) for view in self.views) and not self.job.metrics.get("guessed"):
            raise NoSource(NO_SOURCE.format(photos=n, points=len(self.model.xyz)))
        save_index(self.job.folder, self.model.names, self.cameras, self.model.world, **notes)
        self.job.metrics = {
            "photos": n,
            "measured": round(float(np.mean(measured)), 4),
            "without_depth": sum(share == 0 for share in measured),
            "long_side": int(self.cameras.size.max()),
        } | self.job.metrics
        self.job.say(f"depth of {n} photos; measured on {np.mean(measured):.0%} of their pixels")
        return notes

    def _part(self, number: int, i: int) -> Path:
        return self.folder / f"pass{number}" / f"{self.model.names[i]}.npy"

    def _first_open_pass(self) -> int:
        """The first pass that is not whole; passes before the last whole one need not be there any more."""
        everyone = range(len(self.model.names))
        whole = [p for p in range(self.options.depth_passes + 1) if all(self._part(p, i).is_file() for i in everyone)]
        return max(whole) + 1 if whole else 0

    def _planes(self, number: int, i: int) -> Planes:
        """f32[4, H, W] (w, wx, wy, cost), memory-mapped."""
        return np.load(self._part(number, i), mmap_mode="r", allow_pickle=False)

    def _photo(self, i: int) -> NDArray[np.uint8]:
        name = self.model.names[i]
        path = self.folder / "photos" / f"{name}.npy"
        if not path.is_file():
            prepare_photo(self.reconstruction, name, self.cameras.size[i], path)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _group(self, i: int) -> Group:
        rows = np.array([i, *self.views[i].sources], np.int64)
        return Group([self._photo(int(row)) for row in rows], self.cameras[rows])

    def _solve(self, number: int, i: int, task: Task) -> None:
        work = PASS_WORK if number else FIRST_PASS_WORK
        path, view = self._part(number, i), self.views[i]
        task.update(text=f"{self.model.names[i]}, pass {number + 1} of {self.options.depth_passes + 1}")
        if path.is_file():
            task.advance(work)
            return
        width, height = self.cameras.size[i]
        seed = (self.options.depth_seed * 16 + number) * len(self.model.names) + i
        if not len(view.sources):
            planes = np.zeros((4, height, width), np.float32)
        elif number == 0:
            planes = solve_alone(self._group(i), view, self._best(i), seed, lambda share: task.advance(work * share))
        else:
            own, *others = (self._planes(number - 1, int(j)) for j in (i, *view.sources))
            planes = solve_together(self._group(i), view, self._best(i), seed, own, others)
        if number or not len(view.sources):
            task.advance(work)
        save_array(path, planes)

    def _best(self, i: int) -> int:
        return min(self.options.depth_best, len(self.views[i].sources))

    def _finish(self, i: int) -> float:
        """Judge and write the maps of one photo. Returns the share of its pixels that are measured."""
        options, view, name = self.options, self.views[i], self.model.names[i]
        planes = np.array(self._planes(options.depth_passes, i))
        confidence = np.zeros(planes.shape[1:], np.float32)
        if len(view.sources):
            group = self._group(i)
            others = [self._planes(options.depth_passes, int(j))[:3] for j in view.sources]
            tolerance = (options.agree_px, options.agree_share, options.agree_deg)
            cost, count, nearly = judged(group, self._best(i), planes, others, tolerance)
            least = min(options.depth_agree, len(view.sources))
            confidence = confidence_of(cost, count, least)
            pixel = w_of_a_pixel(group.cameras, view)
            confidence[small_pieces(planes[0], confidence > 0, pixel, options.depth_piece)] = 0
            weak = WEAK * confidence_of(cost, nearly, least, WEAK_COST)
            more = grown(planes, confidence > 0, weak > 0, group.photos[0], pixel)
            confidence[more] = weak[more]
        known, usable = confidence > 0, self._photo(i)[..., 3] > 0
        if self.mono is not None:
            planes, guessed = self.mono.guess(i, planes, confidence, usable)
            known = known | guessed
        if options.fill_depth and len(view.sources):
            planes = filled(planes, known, self._photo(i), self._group(i).epipoles())
        known = known | (options.fill_depth & (planes[0] > 0) & usable)
        with np.errstate(divide="ignore"):
            z = np.where(known, 1 / planes[0], np.nan)
        normal = np.where(known[..., None], camera_normals(planes, self.cameras.K[i]), np.nan)
        save_map(self.job.folder, name, z, confidence, normal)
        return float((confidence > 0).mean())


def confidence_of(
    cost: NDArray[np.float32], count: NDArray[np.uint8], least: int, doubtful: float = DOUBTFUL_COST
) -> NDArray[np.float32]:
    """f32[H, W], 0..1: how alike the patches are times the share of believers, 1 - 2^-count; 0 with fewer than `least`, and
    from the cost `doubtful` on.
    """
    alike = np.clip(1 - cost, 0.05, 1)
    believed = (count >= least) & (cost < doubtful)
    return np.where(believed, alike * (1 - 0.5 ** count.astype(np.float32)), 0).astype(np.float32)


class NoSource(InputError):
    """No two photos measure anything together."""


NO_SOURCE = (
    "Depth needs photos that see the same points from different places: of {photos} training photos no two do ({points} points "
    "are seen by two of them or more). Take photos that overlap and move between them; turning on the spot shows no depth."
)


def _check(model: SparseModel, views: list[View], job: Job, mono: bool) -> None:
    """Raises NoSource when no photo has a source, unless `mono` may guess; warns of those that have none."""
    alone = [name for name, view in zip(model.names, views, strict=True) if not len(view.sources)]
    if len(alone) == len(model.names):
        if not mono:
            raise NoSource(NO_SOURCE.format(photos=len(alone), points=len(model.xyz)))
        job.warn(
            f"Stereo measures nothing: no two of {len(alone)} photos see the same points from different places. Its depth is "
            "guessed from single photos, and has confidence 0."
        )
    elif alone:
        job.warn(
            f"{len(alone)} of {len(model.names)} photos share too few points with photos taken from elsewhere, and get no "
            f"depth{' but a guess' if mono else ''}: {', '.join(alone[:5])}{' ...' if len(alone) > 5 else ''}."
        )
