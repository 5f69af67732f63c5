"""Depth from one photo behind one door: a local network guesses, the sparse points and stereo say at what scale.

    photo -> network (its map is a part that outlives a kill) -> scale and shift -> meets what is measured -> fills what is not

A guess is never a measurement: its confidence is 0.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from recon.cameras import Cameras
from recon.depth.maps import save_array
from recon.depth.mono_fit import Fit, Unfit, fit, met, planes_of, plausible
from recon.depth.mono_networks import (
    Kind,
    Network,
    marigold_kind,
    marigold_network,
    onnx_folder,
    onnx_kind,
    onnx_network,
    resized,
    transformers_kind,
    transformers_network,
)
from recon.depth.views import View
from recon.errors import InputError, MissingPart
from recon.files import sha256_file, sha256_json
from recon.job import Job
from recon.reconstruction import Reconstruction, read_image

Form = Literal["onnx", "transformers", "marigold"]
FORMS: dict[Form, tuple[tuple[str, ...], Callable[[Path], Kind], Callable[[Path], Network]]] = {
    "onnx": (("onnxruntime",), onnx_kind, onnx_network),
    "transformers": (("transformers", "torch"), transformers_kind, transformers_network),
    "marigold": (("diffusers", "transformers", "torch"), marigold_kind, marigold_network),
}
"""Form of a model -> the packages that it needs, what says its unit, and what opens it."""
WHERE = (
    "recon brings no weights and fetches none. Depth Anything V2 Small is Apache-2.0: download onnx/model.onnx of "
    "huggingface.co/onnx-community/depth-anything-v2-small, or the folder depth-anything/Depth-Anything-V2-Small-hf "
    "(config.json, preprocessor_config.json, model.safetensors), to any place on this machine, and name it with --mono. "
    "Base and Large are CC-BY-NC-4.0: not for commercial use."
)
LEAST_PIXELS, MOST_PIXELS = 500, 4000
"""Confident stereo pixels beside the points: fewer than this are not asked, more are thinned out."""
LEAST_FINITE = 0.5
"""Share of a network's map that must be finite numbers."""


def form_of(path: Path) -> Form:
    """What a path holds. Raises MissingPart when nothing is there, InputError when it is none of the three."""
    if path.is_file():
        if path.suffix.lower() == ".onnx":
            return "onnx"
        raise InputError(f"--mono {path} is no .onnx file. {WHERE}")
    if not path.is_dir():
        raise MissingPart(f"--mono {path} is not there: expected an .onnx file or a model's folder. {WHERE}")
    if (path / "model_index.json").is_file():
        return "marigold"
    if (path / "config.json").is_file():
        return "transformers"
    inside = sorted(p.relative_to(path).as_posix() for pattern in ("*.onnx", "*/*.onnx") for p in path.glob(pattern))
    hint = f"It holds {inside[0]}: name that file. " if inside else ""
    raise InputError(
        f"--mono {path} is no model: expected config.json (transformers) or model_index.json (diffusers) in it. {hint}{WHERE}"
    )


def check_mono(mono: str) -> None:
    """Raises MissingPart when the model or a package that it needs is not there, InputError when it is of no known kind."""
    path = Path(mono).expanduser()
    form = form_of(path)
    packages, kind, _ = FORMS[form]
    lacking = [name for name in packages if importlib.util.find_spec(name) is None]
    if lacking:
        extra = " diffusers" if form == "marigold" else ""
        raise MissingPart(
            f"--mono {path} needs {' and '.join(lacking)}, not installed here: pip install 'recon-scene[mono]'{extra}"
        )
    kind(path)


def fingerprint(mono: str) -> str:
    """What a model's files hold, as a short hash: the key of the stage depends on it and not on where they lie."""
    path = Path(mono).expanduser()
    if form_of(path) == "onnx":
        beside = [onnx_folder(path) / name for name in ("config.json", "preprocessor_config.json")]
        near = [
            p for p in path.parent.iterdir() if p.name.startswith(path.name) and p.is_file()
        ]  # weights may lie beside it
        files = {p.name[len(path.name) :]: p for p in near}
        files |= {p.name: p for p in beside if p.is_file()}
    else:
        read = (".json", ".safetensors", ".txt")
        files = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.suffix in read and p.is_file()}
    stats = tuple((name, str(p), p.stat().st_size, p.stat().st_mtime_ns) for name, p in sorted(files.items()))
    return f"sha256 {_digest(stats)[:16]}"


@functools.lru_cache(maxsize=8)
def _digest(files: tuple[tuple[str, str, int, int], ...]) -> str:
    """Of (name, path, size, time): weights of gigabytes are read once a run."""
    return sha256_json([(name, sha256_file(Path(path))) for name, path, _, _ in files])


@dataclass
class Mono:
    """The guesses of one network for the photos of one reconstruction."""

    path: Path
    kind: Kind
    opened: Callable[[Path], Network]
    digest: str
    reconstruction: Reconstruction
    cameras: Cameras
    """[N], at the size of the photos."""
    names: tuple[str, ...]
    views: list[View]
    """[N]: the points that each photo sees."""
    job: Job
    seed: int
    folder: Path
    """Where the network's maps lie; its name says what they depend on."""
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By photo, what depth.json says of it."""

    @staticmethod
    def of(
        mono: str, reconstruction: Reconstruction, names: tuple[str, ...], cameras: Cameras, views: list[View], job: Job,
        seed: int,
    ) -> Mono:  # fmt: skip
        """The model in the path `mono`, which is opened when a photo needs it. Raises as check_mono() does."""
        check_mono(mono)
        path = Path(mono).expanduser()
        _, kind, opened = FORMS[form_of(path)]
        digest = fingerprint(mono)
        times = [reconstruction.image_path(name).stat().st_mtime_ns for name in names]
        folder = job.scratch / f"mono_{sha256_json([digest, seed, names, times])[:16]}"
        return Mono(path, kind(path), opened, digest, reconstruction, cameras, names, views, job, seed, folder)

    def infer(self) -> None:
        """Let the network look at every photo that it has not looked at yet."""
        network: Network | None = None
        with self.job.task("depth from one photo", len(self.names)) as task:
            for i, name in enumerate(self.names):
                task.update(text=name)
                if not self._part(i).is_file():
                    network = network or self.opened(self.path)
                    image = read_image(self.reconstruction.image_path(name))
                    if image.shape[2] == 4:
                        image = np.rint(image[..., :3] * (image[..., 3:] / 255)).astype(np.uint8)
                    save_array(self._part(i), network.run(np.ascontiguousarray(image), self.seed + i))
                task.advance()

    def _part(self, i: int) -> Path:
        return self.folder / f"{self.names[i]}.npy"

    def guess(
        self, i: int, planes: NDArray[np.float32], confidence: NDArray[np.float32], usable: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """planes f32[3+, H, W] of a photo with guesses where nothing is measured, and bool[H, W] that says where they are.

        `confidence` [H, W] > 0 is measured and stays as it is. Without a fit there is no guess, and `found` says why.
        """
        known = confidence > 0
        try:
            w, about = self._scaled(i, np.where(known, planes[0], np.nan), confidence)
        except Unfit as reason:
            self.found[self.names[i]] = {"points": len(self.views[i].w), "reason": str(reason)}
            return planes, np.zeros(known.shape, bool)
        guessed = ~known & usable & np.isfinite(w)
        new = planes_of(met(w, planes[0], known))
        planes = np.array(planes)
        planes[:3, guessed] = new[:, guessed]
        self.found[self.names[i]] = about | {"guessed": round(float(guessed.mean()), 4)}
        return planes, guessed

    def _scaled(self, i: int, measured: NDArray, confidence: NDArray) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Inverse depth f64[H, W] in the scene's unit, and how it came about. Raises Unfit."""
        height, width = measured.shape
        raw = np.load(self._part(i), allow_pickle=False)
        if np.isfinite(raw).mean() < LEAST_FINITE:
            raise Unfit("the network's numbers are not finite")
        raw = resized(np.where(np.isfinite(raw), raw, np.nan), (width, height))
        view, size = self.views[i], self.cameras.size[i]
        at_points = sampled(raw, view.pixels * ([width, height] / size))
        rows, columns = _confident(confidence)
        weight = np.concatenate([np.ones(len(view.w)), np.full(len(rows), max(len(view.w), 100) / max(len(rows), 1))])
        w = np.concatenate([view.w, measured[rows, columns].astype(np.float64)])
        value = np.concatenate([at_points, raw[rows, columns].astype(np.float64)])
        found: Fit = fit(value, w, weight, self.kind, self.seed)
        return plausible(found.w(raw), w), {
            "points": int(np.isfinite(at_points).sum()),
            "pixels": len(rows),
            "error": round(found.error, 5),
            "scale": found.scale,
            "shift": found.shift,
        }

    def report(self) -> dict[str, Any]:
        """What depth.json says of the network; adds to the job's metrics, and warns of the photos without a guess."""
        fitted = [about for about in self.found.values() if "error" in about]
        without = {name: about["reason"] for name, about in self.found.items() if "error" not in about}
        if without:
            named = [f"{name} ({reason})" for name, reason in list(without.items())[:5]]
            self.job.warn(
                f"{self.path.name} could not be brought to scale on {len(without)} of {len(self.found)} photos, which get no "
                f"depth from it: {', '.join(named)}{' ...' if len(without) > 5 else ''}. {self._hint(without)}".rstrip()
            )
        error = round(float(np.median([about["error"] for about in fitted])), 4) if fitted else None
        guessed = round(sum(about["guessed"] for about in fitted) / max(len(self.found), 1), 4)
        self.job.metrics |= {
            "guessed": guessed,
            "mono_error": error,
            "mono_fitted": len(fitted),
            "mono": self.path.name,
        }
        return {"model": self.path.name, "content": self.digest, "kind": self.kind, "photos": self.found}

    def _hint(self, without: dict[str, str]) -> str:
        if not any("near for far" in reason for reason in without.values()):
            return ""
        kind = "inverse depth (near is large)" if self.kind == "inverse" else "depth (far is large)"
        return f'It is taken to say {kind}; "depth_estimation_type": "metric" or "relative" in its config.json says otherwise.'


def sampled(image: NDArray, pixels: NDArray) -> NDArray[np.float64]:
    """Values [M] of an image [H, W] at pixels [M, 2] (centres at +0.5), between the four around; NaN outside."""
    height, width = image.shape
    x, y = (np.clip(pixels[:, k] - 0.5, 0, size - 1) for k, size in ((0, width), (1, height)))
    u, v = np.minimum(x.astype(int), max(width - 2, 0)), np.minimum(y.astype(int), max(height - 2, 0))
    right, below = np.minimum(u + 1, width - 1), np.minimum(v + 1, height - 1)
    a, b = x - u, y - v
    value = (image[v, u] * (1 - a) + image[v, right] * a) * (1 - b) + (
        image[below, u] * (1 - a) + image[below, right] * a
    ) * b
    outside = ((pixels < 0) | (pixels > [width, height])).any(1)
    return np.where(outside, np.nan, value.astype(np.float64))


def _confident(confidence: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the measured pixels that are worth asking, evenly thinned out; none when they are few."""
    known = confidence > 0
    if known.sum() < LEAST_PIXELS:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows, columns = np.nonzero(confidence >= np.median(confidence[known]))
    step = max(1, len(rows) // MOST_PIXELS)
    return rows[::step], columns[::step]
