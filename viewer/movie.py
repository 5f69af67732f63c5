"""MP4 through PyAV, an optional extra. The encoder and its licence are said; the default is free of both GPL and royalties.

PyAV's wheels bring FFmpeg (LGPL) with libvpx and SVT-AV1 (BSD), and beside them libx264 and libx265, which are GPL software.
recon contains none of these; a video is its maker's, whatever encoded it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recon.errors import MissingPart
from recon.files import sync_folder

MARK = "recon film "
"""Begins the comment of a file that we wrote; the film's key follows."""
BT709, LIMITED = 1, 1
"""Colour of high definition video, as FFmpeg numbers it."""


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's encoders, set for pictures that look like their frames."""

    name: str
    """FFmpeg's."""
    licence: str
    options: dict[str, str]


CODECS: dict[str, tuple[Encoder, ...]] = {
    "vp9": (
        Encoder(
            "libvpx-vp9", "BSD", {"crf": "22", "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1", "g": "120"}
        ),
    ),
    "av1": (Encoder("libsvtav1", "BSD", {"crf": "24", "preset": "8", "g": "120"}),),
    "h264": (
        Encoder("libopenh264", "BSD", {"b": "12M", "g": "120"}),
        Encoder("libx264", "GPL", {"crf": "17", "preset": "medium", "g": "120"}),
    ),
    "mpeg4": (Encoder("mpeg4", "LGPL", {"flags": "+qscale", "global_quality": "236", "g": "120"}),),
}
"""Codec -> encoders for it, the first one that is there is taken."""
AUTO = ("vp9", "av1", "mpeg4")


def encoder_for(codec: str) -> tuple[str, Encoder]:
    """The codec ("auto": the first of AUTO that can be) and its encoder. Raises MissingPart without PyAV or the encoder."""
    av = _av()
    for name in AUTO if codec == "auto" else (codec,):
        for encoder in CODECS[name]:
            with contextlib.suppress(ValueError):  # UnknownCodecError is one
                av.codec.Codec(encoder.name, "w")
                return name, encoder
    wanted = " or ".join(encoder.name for encoder in CODECS.get(codec, ()))
    raise MissingPart(
        f"This build of PyAV has no encoder for {codec} ({wanted or 'none of ' + ', '.join(AUTO)}). Choose another --codec, or "
        "write frames into a folder."
    )


def _av() -> Any:
    try:
        import av
        import av.codec
    except ImportError as error:
        raise MissingPart(
            "Videos need the package av: pip install 'recon-scene[video]'. Frames in a folder (--video FOLDER) need nothing more."
        ) from error
    return av


def write_movie(
    path: Path, frames: Iterable[NDArray[np.uint8]], size: tuple[int, int], fps: Fraction, encoder: Encoder, key: str
) -> None:
    """Encode RGB frames u8[H, W, 3] of an even `size` (width, height). Built beside, then renamed: what stood there stays
    until then. Plays while it loads; colours are marked as BT.709."""
    av = _av()
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    try:
        with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            container.metadata["comment"] = MARK + key
            stream: Any = container.add_stream(encoder.name, rate=fps)
            stream.width, stream.height, stream.pix_fmt = size[0], size[1], "yuv420p"
            stream.options = dict(encoder.options)
            context = stream.codec_context
            context.color_primaries = context.color_trc = context.colorspace = BT709
            context.color_range = LIMITED
            for index, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
                frame.pts, frame.time_base = index, 1 / fps
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        with open(part, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(part, path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    sync_folder(path.parent)


def key_of_movie(path: Path) -> str | None:
    """The key of a whole film of ours; None for any other file, or when that cannot be told."""
    av = _av()
    try:
        with av.open(str(path)) as container:
            comment = container.metadata.get("comment", "")
    except (OSError, ValueError):  # PyAV's errors are both
        return None
    return comment.removeprefix(MARK) if comment.startswith(MARK) else None
