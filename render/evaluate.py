"""How good a scene is on the photos that were held out: PSNR and SSIM by a stated protocol, and pictures to look at.

Held-out photos are undistorted, resized by area to the training size, and compared as clipped floats over their valid
pixels. Nothing is fitted to them in the headline numbers; a second, labelled PSNR allows each photo one affine colour
change. Photos that were filmed are told apart by time, and by what moves in them (render/filmed.py).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recon.cameras import fit_size
from recon.capture import Capture
from recon.errors import WorkspaceError
from recon.files import atomic_write, write_json
from recon.job import Job
from recon.system import cpu_seconds
from recon.wording import count
from render.dataset import read_photo
from render.devices import pick_device
from render.filmed import LEAST_PIXELS, Film, film_of, resized_mask, write_mask
from render.lpips import load_lpips
from render.options import EvalOptions
from render.report import write_report

if TYPE_CHECKING:
    from recon.reconstruction import Reconstruction
    from render.scene import Scene

FLOAT = NDArray[np.float32]
Color = tuple[float, float, float]
BACKGROUNDS: dict[str, Color] = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5)}
SSIM_BORDER = 3
"""Half of scikit-image's 7 x 7 window: it leaves out as many pixels at the border, so that the mean over valid pixels
is its mean."""
APART = ("moving_psnr", "still_psnr")
"""Of filmed photos: PSNR over what moves, and over the rest."""


@dataclass(frozen=True)
class ViewScore:
    """One held-out photo against its render."""

    psnr: float
    ssim: float
    psnr_affine: float
    """PSNR after the best affine colour change of the render: what exposure and white balance explain."""


def evaluate(
    capture: Capture, reconstruction: Reconstruction, scene: Scene, options: EvalOptions, job: Job
) -> dict[str, Any]:
    """Render the held-out views, write renders/NAME.png, metrics.json and report.html into job.folder, and return the metrics.

    Without held-out photos the headline numbers are null and `train_psnr` stands for a sample of training photos.
    """
    wall, cpu = time.monotonic(), cpu_seconds()
    registered = set(reconstruction.model.names)
    test = [n for n, is_test in zip(capture.names, capture.test, strict=True) if is_test]
    views = [n for n in test if n in registered]
    lost = [n for n in test if n not in registered]
    for name in lost:
        job.warn(f"held-out photo {name} has no pose and is not evaluated")
    lpips = None if options.lpips is None else load_lpips(Path(options.lpips))
    film = film_of(capture, reconstruction, scene)
    regions = {} if film is None else film.regions_of(views)
    scene = scene.to(pick_device(options.device))
    images, background, seconds = [], "black", []
    with job.task("rendering held-out views", total=len(views)) as task:
        for name in views:
            view = render_view(reconstruction, scene, name, BACKGROUNDS[options.background])
            write_png(job.folder / "renders" / f"{name}.png", view.rgb)
            score = compare(view)
            row: dict[str, Any] = {"name": name} | ({} if film is None else film.about(name))
            row |= {"psnr": score.psnr, "ssim": score.ssim, "psnr_affine": score.psnr_affine}
            if lpips is not None:
                row["lpips"] = lpips(view.target, view.rgb)
            if name in regions:
                write_mask(job.folder, name, regions[name])
                row |= apart(view, regions[name])
            images.append(row)
            seconds.append(view.seconds)
            background = options.background if view.matte else background
            task.advance()
    metrics = summary(images, capture.protocol, lost)
    if film is not None:
        metrics |= in_time(film, images, found=bool(regions))
    if not views:
        metrics["train_psnr"] = _train_psnr(reconstruction, scene, options)
        lacking = f"{count(len(lost), 'photo')} without a pose" if lost else "none"
        job.metrics |= {"held_out": f"{lacking}, so no error is measured", "train_psnr": metrics["train_psnr"]}
    metrics |= {key: scene.info[key] for key in ("splats", "steps", "long_side")} | {"background": background}
    write_json(job.folder / "metrics.json", metrics)
    job.metrics.update({key: metrics[key] for key in ("psnr", "ssim", *APART) if metrics.get(key) is not None})
    if film is not None and views:
        job.metrics["held_out"] = (
            f"{metrics['film']['moments_held_out']} of {count(metrics['film']['moments'], 'moment')}"
        )
    if seconds:
        job.metrics["seconds_a_view"] = round(float(np.median(seconds)), 5)
    if options.report:
        spent = {"wall_seconds": time.monotonic() - wall, "cpu_seconds": cpu_seconds() - cpu}
        write_report(job.folder, capture, reconstruction, metrics, scene.history, warnings=job.warnings, spent=spent)
    return metrics


def apart(view: View, region: NDArray[np.bool_]) -> dict[str, float | None]:
    """PSNR of the moving and of the still pixels of a view, None where they are too few, and the moving share of the photo."""
    height, width = view.valid.shape
    moving = resized_mask(region, (width, height))
    parts = zip(APART, (view.valid & moving, view.valid & ~moving), strict=True)
    scores = {k: psnr(view.target[m], view.rgb[m]) if m.sum() >= LEAST_PIXELS else None for k, m in parts}
    return scores | {"moving_share": float(moving.mean())}


def in_time(film: Film, images: list[dict[str, Any]], *, found: bool) -> dict[str, Any]:
    """What metrics.json tells of filmed photos: the film, and with a moving region the means of both parts over images."""
    told: dict[str, Any] = {"film": film.summary}
    if not found or film.regions is None:
        return told
    values = {key: [row[key] for row in images if row.get(key) is not None] for key in (*APART, "moving_share")}
    means = {key: float(np.mean(v)) if v else None for key, v in values.items()}
    return told | means | {"moving_region": f"estimated from photos and poses, not from the scene: {film.regions.how}"}


def _train_psnr(reconstruction: Reconstruction, scene: Scene, options: EvalOptions) -> float | None:
    """Mean PSNR of every 8th posed photo, all of which were trained on: what is left to say when nothing was held out."""
    color = BACKGROUNDS[options.background]
    views = [render_view(reconstruction, scene, name, color) for name in reconstruction.model.names[::8]]
    scores = [score for view in views if np.isfinite(score := compare(view).psnr)]  # NaN: masked all over
    return float(np.mean(scores)) if scores else None


@dataclass(frozen=True)
class View:
    """A photo at the training size beside the scene seen by its camera."""

    target: FLOAT
    """f32[H, W, 3], clipped to 0..1, over the background when it has a matte."""
    rgb: FLOAT
    """f32[H, W, 3], the render, clipped to 0..1."""
    valid: NDArray[np.bool_]
    """bool[H, W], pixels that count."""
    matte: bool
    seconds: float = 0.0
    """Wall seconds that the render took."""


def render_view(reconstruction: Reconstruction, scene: Scene, name: str, background: Color) -> View:
    """One photo and its render. `background` stands behind photos with a matte; others have what the scene was trained over."""
    import torch

    row = reconstruction.model.names.index(name)
    camera = reconstruction.model.cameras[row]
    camera = camera.resized(fit_size(camera.size, scene.info["long_side"]))
    photo = read_photo(reconstruction, name, camera.size[0])
    color = np.array(background if photo.matte is not None else scene.info["background"], np.float32)
    begun = time.perf_counter()
    with torch.no_grad():
        rgb = scene.render(camera, background=torch.from_numpy(color).to(scene.device)).rgb[0].clamp(0, 1).cpu().numpy()
    seconds = time.perf_counter() - begun
    valid = np.ones(rgb.shape[:2], bool) if photo.mask is None else photo.mask > 0.5
    return View(np.clip(photo.over(color), 0, 1), rgb, valid, photo.matte is not None, seconds)


def compare(view: View) -> ViewScore:
    """PSNR and SSIM over the view's valid pixels."""
    from skimage.metrics import structural_similarity

    target, rgb, valid = view.target, view.rgb, view.valid
    if not valid.any():
        return ViewScore(float("nan"), float("nan"), float("nan"))
    result: Any = structural_similarity(target, rgb, channel_axis=-1, data_range=1, full=True)
    inner = np.zeros_like(valid)
    inner[SSIM_BORDER:-SSIM_BORDER, SSIM_BORDER:-SSIM_BORDER] = True
    affine = np.concatenate([rgb[valid], np.ones((int(valid.sum()), 1), np.float32)], 1).astype(np.float64)
    fitted = affine @ np.linalg.lstsq(affine, target[valid].astype(np.float64), rcond=None)[0]
    return ViewScore(
        psnr(target[valid], rgb[valid]),
        float(result[1][valid & inner].mean(dtype=np.float64)),
        psnr(target[valid], np.clip(fitted, 0, 1)),
    )


def psnr(a: NDArray, b: NDArray) -> float:
    """Peak signal to noise ratio in dB of values in 0..1; 100 at most, so that equal images have a number."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return -10 * float(np.log10(max(error, 1e-10)))


def summary(images: list[dict[str, Any]], protocol: str, lost: list[str]) -> dict[str, Any]:
    """The metrics of a list of views: means over images (null without any), the worst view, and what was lost."""
    good = [row for row in images if np.isfinite(row["psnr"])]
    keys = [key for key in ("psnr", "ssim", "psnr_affine", "lpips") if good and key in good[0]]
    metrics: dict[str, Any] = {"psnr": None, "ssim": None}
    metrics |= {key: float(np.mean([row[key] for row in good])) for key in keys}
    metrics["worst"] = min(good, key=lambda row: row["psnr"])["name"] if good else None
    clean = [
        {k: v if v is None or isinstance(v, str) or np.isfinite(v) else None for k, v in row.items()} for row in images
    ]
    return metrics | {"images": clean, "lost": lost, "protocol": protocol}


def write_png(path: Path, rgb: FLOAT) -> None:
    """An image of 0..1 as 8-bit PNG; atomic."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    with atomic_write(path) as stream:
        stream.write(cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes())


def load_metrics(folder: Path) -> dict[str, Any]:
    """Read metrics.json. Raises WorkspaceError when it is damaged."""
    try:
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"{folder} is damaged ({error}). Run `recon eval` with --redo.") from error
