"""Networks that tell depth from one photo, opened from local files alone: ONNX, transformers, Marigold (diffusers).

Each becomes a Network: a function from a photo to a map of whatever unit the network speaks, and the word for that unit.
The photo is resized and normalised here: the libraries' own image processors want torchvision. With pixel centres at
+0.5 a resize stretches and shifts nothing, so that a map of any size lies over its photo as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recon.errors import InputError
from recon.reconstruction import shrink

Kind = Literal["inverse", "depth", "affine"]
"""What a network says: inverse depth up to scale and shift, depth up to scale, or depth up to scale and shift."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHORT_SIDE, MULTIPLE = 518, 14
"""Pixels that Depth Anything was trained at, and the patch of its backbone (Yang et al., NeurIPS 2024)."""
LONGEST = 3
"""An input is at most so many times longer than the shorter side should be: attention costs the square of its area."""
MARIGOLD_SIDE, ENSEMBLE = 768, 10
"""Longer side in pixels and predictions that are averaged, as Marigold's authors do (Ke et al., CVPR 2024)."""
RELATIVE_TYPES = ("depth_anything", "dpt")
"""Architectures of transformers whose predicted_depth is inverse depth, unless their config says "metric"."""


@dataclass(frozen=True)
class Network:
    """A network that is ready to look at photos."""

    run: Callable[[NDArray[np.uint8], int], NDArray[np.float32]]
    """(photo u8[H, W, 3], seed) -> f32[h, w] over the same field of view; larger and smaller values as `kind` says."""
    kind: Kind


@dataclass(frozen=True)
class Preparation:
    """What a network wants done to a photo."""

    width: int | None = None
    """Pixels; None: SHORT_SIDE for the shorter side, the aspect kept."""
    height: int | None = None
    short_side: int = SHORT_SIDE
    multiple: int = MULTIPLE
    """Width and height that are not fixed are rounded to multiples of this."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def size_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the input for a photo of these."""
        scale = min(self.short_side / min(width, height), LONGEST * self.short_side / max(width, height))
        rounded = [max(1, round(side * scale / self.multiple)) * self.multiple for side in (width, height)]
        return self.width or rounded[0], self.height or rounded[1]

    def apply(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """f32[1, 3, h, w], normalised, of a photo u8[H, W, 3]."""
        size = self.size_of(rgb.shape[1], rgb.shape[0])
        small = resized(rgb.astype(np.float32), size) / 255
        normal = (small - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(2, 0, 1)[None], np.float32)


def resized(image: NDArray[np.float32], size: ArrayLike) -> NDArray[np.float32]:
    """f32[H, W(, C)] at `size` (width, height): averaged over area along an axis that shrinks, interpolated linearly along
    one that grows. NaN spreads to what is made of it.
    """
    import cv2

    width, height = (int(s) for s in np.asarray(size))
    for new in ((width, image.shape[0]), (width, height)):
        grows = new[0] > image.shape[1] or new[1] > image.shape[0]
        larger = cv2.resize(image, new, interpolation=cv2.INTER_LINEAR) if grows else shrink(image, new)
        image = np.asarray(larger, np.float32)
    return image


def preparation_of(folder: Path) -> Preparation:
    """As preprocessor_config.json in a folder says, where there is one. Raises InputError when it cannot be read."""
    data = read_config(folder / "preprocessor_config.json")
    try:
        size = data.get("size") or {}
        if isinstance(size, int):
            size = {"width": size, "height": size}
        width, height = int(size.get("width", SHORT_SIDE)), int(size.get("height", SHORT_SIDE))
        kept = bool(data.get("keep_aspect_ratio", not size))
        plain = data.get("do_normalize") is False
        mean, std = data.get("image_mean", IMAGENET_MEAN), data.get("image_std", IMAGENET_STD)
        found = Preparation(
            width=None if kept else width,
            height=None if kept else height,
            short_side=min(width, height),
            multiple=int(data.get("ensure_multiple_of", MULTIPLE)),
            mean=(0.0, 0.0, 0.0) if plain else tuple(float(v) for v in mean),
            std=(1.0, 1.0, 1.0) if plain else tuple(float(v) for v in std),
        )
        if min(width, height, found.multiple, *found.std) <= 0 or len(found.mean) != 3 or len(found.std) != 3:
            raise ValueError("sizes and deviations must be above 0, means and deviations three")
        return found
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / 'preprocessor_config.json'} is not understood ({error}). Get it again.") from error


def read_config(path: Path) -> dict[str, Any]:
    """A JSON object; {} where there is no such file. Raises InputError when it is damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}). Get the model's folder again.") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} is not understood: expected a JSON object. Get the model's folder again.")
    return data


def as_map(output: Any, where: object) -> NDArray[np.float32]:
    """f32[h, w] of a network's output with any axes of length 1 around it. Raises InputError for another shape."""
    array = np.asarray(output)
    flat = array.squeeze()
    if flat.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"{where} gives an output of shape {list(array.shape)} ({array.dtype}): expected one number for each pixel, "
            "[1, height, width] or [1, 1, height, width] of floats. Is it a network for depth?"
        )
    return np.ascontiguousarray(flat, np.float32)


def onnx_folder(path: Path) -> Path:
    """Where the config files of an ONNX file lie: beside it, or one folder up where it stands in a folder onnx/."""
    here = (path.parent / name for name in ("config.json", "preprocessor_config.json"))
    return path.parent.parent if path.parent.name == "onnx" and not any(c.is_file() for c in here) else path.parent


def onnx_kind(path: Path) -> Kind:
    """As the config.json of an ONNX file says; without one, by the word "metric" in the file's name."""
    said = read_config(onnx_folder(path) / "config.json").get("depth_estimation_type")
    metric = said == "metric" if said else "metric" in path.stem.lower()
    return "depth" if metric else "inverse"


def onnx_network(path: Path) -> Network:
    """A file with one image input [1, 3, height, width], of fixed or free size, by onnxruntime on the CPU.

    Raises InputError for a file that onnxruntime cannot open, and for other inputs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base
        raise InputError(f"{path} cannot be opened as an ONNX network ({error}). Get the file again.") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = list(inputs[0].shape)
    numbers = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    free = [size if isinstance(size, int) and size > 0 else None for size in shape]
    if len(inputs) != 1 or len(shape) != 4 or free[0] not in (None, 1) or free[1] not in (None, 3):
        raise InputError(
            f"{path} wants {len(inputs)} input(s), the first of shape {shape}: expected one photo, [1, 3, height, width]. "
            "Is it a network for depth?"
        )
    if inputs[0].type not in numbers:
        raise InputError(f"{path} wants {inputs[0].type}: expected a photo of floats. Export it with a float input.")
    said = preparation_of(onnx_folder(path))
    preparation = replace(said, width=free[3] or said.width, height=free[2] or said.height)
    output = next((o.name for o in outputs if "depth" in o.name.lower()), outputs[0].name)

    def run(rgb: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
        photo = preparation.apply(rgb).astype(numbers[inputs[0].type])
        try:
            (found,) = session.run([output], {inputs[0].name: photo})
        except Exception as error:
            raise InputError(
                f"{path} fails on a photo of {photo.shape[3]}x{photo.shape[2]} pixels ({error}). Export it for this size, or "
                "with free height and width."
            ) from error
        return as_map(found, path)

    return Network(run, onnx_kind(path))


def transformers_kind(folder: Path) -> Kind:
    """As config.json says. Raises InputError for an architecture that recon does not know the unit of."""
    config = read_config(folder / "config.json")
    if config.get("model_type") not in RELATIVE_TYPES:
        raise InputError(
            f"{folder} holds a model of type {config.get('model_type')!r}, and what its numbers mean is not known: expected "
            f"{' or '.join(RELATIVE_TYPES)}. Export it to ONNX to use it nevertheless."
        )
    return "depth" if config.get("depth_estimation_type") == "metric" else "inverse"


def transformers_network(folder: Path) -> Network:
    """A folder with config.json and model.safetensors, as save_pretrained() writes it; nothing is fetched.

    Raises InputError when the folder cannot be loaded, or does not have all weights of its architecture.
    """
    import torch
    from transformers import AutoModelForDepthEstimation
    from transformers.utils import logging

    kind, preparation = transformers_kind(folder), preparation_of(folder)
    words: Any = {"local_files_only": True, "use_safetensors": True, "trust_remote_code": False}
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, found = AutoModelForDepthEstimation.from_pretrained(str(folder), output_loading_info=True, **words)
    except (
        Exception
    ) as error:  # whatever is wrong with a folder comes as OSError, ValueError, KeyError, RuntimeError ...
        raise InputError(f"{folder} cannot be loaded by transformers ({error}). Get the folder again.") from error
    lacking = sorted(str(key) for key in (*found["missing_keys"], *found["mismatched_keys"]))
    if lacking:
        raise InputError(
            f"{folder} lacks {len(lacking)} weights of its architecture ({lacking[0]} is the first). Get the folder again."
        )
    model = model.float().eval()

    def run(rgb: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
        with torch.inference_mode():
            return as_map(model(torch.from_numpy(preparation.apply(rgb))).predicted_depth.numpy(), folder)

    return Network(run, kind)


def marigold_kind(folder: Path) -> Kind:
    """As model_index.json says. Raises InputError for another pipeline than Marigold's for depth."""
    index = read_config(folder / "model_index.json")
    if index.get("_class_name") != "MarigoldDepthPipeline":
        raise InputError(
            f"{folder} holds the pipeline {index.get('_class_name')!r}: expected MarigoldDepthPipeline. Name another folder."
        )
    return "inverse" if index.get("prediction_type") == "disparity" else "affine"


def marigold_network(folder: Path) -> Network:
    """A diffusers pipeline in a folder, as save_pretrained() writes it: the median of ENSEMBLE predictions.

    Raises InputError when the folder cannot be loaded.
    """
    import torch
    from diffusers import MarigoldDepthPipeline  # type: ignore[reportMissingImports]
    from diffusers.utils import logging  # type: ignore[reportMissingImports]
    from PIL import Image

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        pipeline = MarigoldDepthPipeline.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    except Exception as error:
        raise InputError(f"{folder} cannot be loaded by diffusers ({error}). Get the folder again.") from error
    pipeline.set_progress_bar_config(disable=True)

    def run(rgb: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
        size = np.maximum(1, np.rint(np.array(rgb.shape[1::-1]) * min(1, MARIGOLD_SIDE / max(rgb.shape[:2]))))
        photo, chance = Image.fromarray(shrink(rgb, size)), torch.Generator().manual_seed(seed)
        return as_map(pipeline(photo, ensemble_size=ENSEMBLE, generator=chance, output_type="np").prediction, folder)

    return Network(run, marigold_kind(folder))
