"""A common clock for several videos: by their sound, by offsets that the user knows, or as they are.

Offsets are in seconds of the common clock: moment = time in the video + offset. Sound: the rise of its loudness (log energy of
RATE windows a second) is correlated between the first video and each other; the peak must stand out from all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recon.errors import InputError, MissingPart
from recon.geometry import Array

RATE = 500
"""Windows a second: 2 ms, an eighth of a frame of 60 a second."""
SAMPLES = 8000
NEAR = 0.05
"""Seconds around the peak that belong to it."""
CLEAR = 1.25
"""How much higher than any other peak the right one must be."""
LEAST_OVERLAP = 0.5
"""Seconds that two sounds must share."""


@dataclass(frozen=True)
class Heard:
    """What the sound of two videos says."""

    offset: float
    """Seconds to add to the second's times."""
    confidence: float
    """Height of the peak over that of the next best one; CLEAR at least."""


def offsets(sync: str, videos: Sequence[Path], rates: Sequence[float]) -> tuple[Array, str]:
    """f64[V] seconds to add to each video's own times, and how they came about, in words.

    `sync`: "none", "audio", or numbers of frames with commas, a video each: so many of its frames later than the clock it began.
    Raises InputError where they cannot be had, MissingPart where sound cannot be read for want of a package.
    """
    if sync == "none":
        return np.zeros(len(videos)), "the videos are taken to begin together (--sync none)"
    if sync != "audio":
        frames = _numbers(sync, len(videos))
        return np.array(frames) / np.array(rates), f"offsets of {sync} frames were given (--sync)"
    sounds = [loudness(video) for video in videos]
    heard = [
        heard_between(sounds[0], sound, videos[0], video) for sound, video in zip(sounds[1:], videos[1:], strict=True)
    ]
    found = np.array([0.0] + [one.offset for one in heard])
    told = ", ".join(
        f"{video.name} {one.offset:+.3f} s ({one.confidence:.1f})" for video, one in zip(videos[1:], heard, strict=True)
    )
    return found, f"their sound tells the offsets to {videos[0].name}: {told}; in brackets how clear the peak is"


def _numbers(sync: str, videos: int) -> list[float]:
    try:
        frames = [float(part) for part in sync.split(",")]
    except ValueError:
        raise InputError(f'--sync {sync} is neither audio nor none nor frames with commas, as in "0,3,-2".') from None
    if len(frames) != videos or not np.isfinite(frames).all():
        raise InputError(
            f"--sync {sync} gives {len(frames)} offsets, and there are {videos} videos. Give one for each."
        )
    return frames


def loudness(video: Path) -> Array:
    """f64[W]: how fast the sound of a video rises, in RATE windows a second from its first frame on.

    Raises InputError when it has no sound.
    """
    try:
        import av
    except ImportError:
        raise MissingPart('--sync audio needs an optional part: pip install "recon-scene[video]"') from None
    try:
        with av.open(str(video)) as container:
            if not container.streams.audio:
                raise InputError(
                    f"{video} has no sound, which --sync audio needs. Give offsets in frames, as in --sync 0,3,-2, or none."
                )
            stream, picture = container.streams.audio[0], container.streams.video[0]
            later = _start(stream) - _start(picture)
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLES)
            parts = [part.to_ndarray()[0] for frame in container.decode(stream) for part in resampler.resample(frame)]
    except (OSError, ValueError) as error:
        raise InputError(
            f"The sound of {video} cannot be read ({error}). Give offsets in frames, as in --sync 0,3,-2."
        ) from error
    sound = np.concatenate(parts) if parts else np.zeros(0)
    lead = round(later * SAMPLES)
    sound = np.concatenate([np.zeros(lead), sound]) if lead > 0 else sound[-lead:]
    return rise(sound)


def _start(stream: object) -> float:
    start, base = getattr(stream, "start_time", None), getattr(stream, "time_base", None)
    return float(start * base) if start is not None and base is not None else 0.0


def rise(sound: Array) -> Array:
    """f64[W] of samples [S] at SAMPLES a second: the increase of log energy from window to window, 0 where it falls."""
    step = SAMPLES // RATE
    windows = sound[: len(sound) // step * step].reshape(-1, step)
    energy = (windows.astype(np.float64) ** 2).mean(1)
    floor = max(1e-10, 1e-3 * float(energy.mean())) if len(energy) else 1.0
    return np.maximum(0.0, np.diff(np.log(energy + floor), prepend=np.log(floor + energy[:1])))


def heard_between(first: Array, second: Array, a: Path, b: Path) -> Heard:
    """The offset of video b to video a from their loudness(). Raises InputError when no peak stands out."""
    least = round(LEAST_OVERLAP * RATE)
    if min(len(first), len(second)) < least:
        raise InputError(
            f"The sound of {a.name} or {b.name} is shorter than {LEAST_OVERLAP} s. Give offsets in frames (--sync 0,3)."
        )
    score = correlation(first, second, least)
    peak = int(np.argmax(score))
    away = np.abs(np.arange(len(score)) - peak) > NEAR * RATE
    next_best = max(float(score[away].max(initial=0.0)), 1e-9)
    confidence = float(score[peak]) / next_best
    if not confidence >= CLEAR or score[peak] <= 0:
        raise InputError(
            f"The sound of {a.name} and {b.name} does not tell how they belong together: the best offset is only "
            f"{confidence:.2f} times as good as the next ({CLEAR} is needed). Clap once at the start of filming, or give offsets "
            "in frames, as in --sync 0,3,-2."
        )
    left, mid, right = (float(score[min(max(peak + d, 0), len(score) - 1)]) for d in (-1, 0, 1))
    bend = left - 2 * mid + right
    fine = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return Heard((peak + fine - (len(second) - 1)) / RATE, confidence)


def correlation(first: Array, second: Array, least: int) -> Array:
    """f64[A + B - 1]: correlation of the standardised curves, at lag = index - (B - 1): first[i + lag] beside second[i].

    Divided by the square root of the overlap, so that a short one does not win by chance; 0 where it is less than `least`.
    """
    a, b = (x - x.mean() for x in (first, second))
    a, b = a / (a.std() + 1e-12), b / (b.std() + 1e-12)
    size = 1 << (len(a) + len(b) - 2).bit_length()
    both = np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b[::-1], size), size)[: len(a) + len(b) - 1]
    lag = np.arange(len(both)) - (len(b) - 1)
    overlap = np.minimum(len(a), len(b) + lag) - np.maximum(0, lag)
    return np.where(overlap >= least, both / np.sqrt(np.maximum(overlap, 1)), 0.0)
