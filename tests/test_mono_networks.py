"""Networks that tell depth from one photo: opened from real files by the real libraries, and refused with a next step."""

from __future__ import annotations

import importlib.util
import json
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from recon.depth import DepthOptions, mono_networks
from recon.depth.mono import check_mono, fingerprint, form_of, sampled
from recon.depth.mono_networks import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preparation,
    as_map,
    marigold_network,
    onnx_kind,
    onnx_network,
    preparation_of,
    resized,
    transformers_kind,
    transformers_network,
)
from recon.errors import InputError, MissingPart
from recon.keys import changes, key_options, stage_key
from recon.stages import STAGES
from tests.mono_files import marigold_folder, onnx_file, transformers_folder

needs_onnx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")), reason="needs onnx and onnxruntime"
)
needs_transformers = pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
needs_diffusers = pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="needs diffusers")


def ramp(width: int, height: int) -> NDArray[np.uint8]:
    """Red rises along x and green along y, from 0 at the left edge to 255 at the right one (pixel centres at +0.5)."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return np.rint(255 * np.stack([x, y, 0 * x], -1)).astype(np.uint8)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks for another machine fails."""

    def refuse(*_: object) -> None:
        raise AssertionError("something wants to be fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@needs_onnx
@pytest.mark.parametrize("size", [("height", "width"), (70, 84), (56, "width")], ids=["free", "fixed", "half"])
def test_an_onnx_file_of_any_size_lies_over_its_photo(tmp_path: Path, size: tuple) -> None:
    """A ramp comes back as the same ramp, wherever it was resized: a shift of half a pixel would show."""
    network = onnx_network(onnx_file(tmp_path / "net.onnx", 2.0, 0.5, size=size))
    said = network.run(ramp(320, 240), 0)
    expected = [want if isinstance(want, int) else None for want in size]
    height, width = expected[0] or 518, expected[1] or 686
    assert said.shape == (height, width) and network.kind == "inverse"
    for scale in ((320, 240), (40, 30), (1000, 750)):
        there = resized(said, scale)
        true = 2 * (np.arange(scale[0]) + 0.5) / scale[0] + 0.5
        inner = slice(scale[0] // 8, -scale[0] // 8)
        off = there.mean(0)[inner] - true[inner]
        assert abs(off.mean()) < 2e-4 and np.abs(off).max() < 6e-3


def test_resizing_keeps_the_middle_of_every_pixel() -> None:
    x, y = np.meshgrid(np.arange(90) + 0.5, np.arange(60) + 0.5)
    image = (x / 90 + 10 * y / 60).astype(np.float32)
    for width, height in ((45, 30), (180, 120), (70, 100), (31, 17)):
        u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
        inner = (slice(3, -3), slice(3, -3))
        np.testing.assert_allclose(resized(image, (width, height))[inner], (u + 10 * v)[inner], atol=5e-3)


def test_values_are_read_at_pixel_centres() -> None:
    x, y = np.meshgrid(np.arange(20) + 0.5, np.arange(10) + 0.5)
    pixels = np.array([[3.5, 4.5], [7.25, 2.8], [0.5, 9.5], [20.5, 3], [5, -0.1]])
    found = sampled(3 * x + 7 * y, pixels)
    np.testing.assert_allclose(found[:3], pixels[:3] @ [3, 7])
    assert np.isnan(found[3:]).all()


def test_a_free_input_keeps_the_aspect_in_whole_patches() -> None:
    assert Preparation().size_of(2048, 1536) == (686, 518)
    assert Preparation().size_of(1536, 2048) == (518, 686)
    wide = Preparation().size_of(8000, 800)
    assert wide[0] <= 3 * 518 and wide[1] >= 140 and all(side % 14 == 0 for side in wide)
    assert Preparation(width=256, height=192).size_of(2048, 1536) == (256, 192)


def test_a_photo_is_normalised_as_imagenet_is() -> None:
    rgb = np.full((518, 518, 3), (10, 120, 250), np.uint8)
    ready = Preparation().apply(rgb)
    assert ready.shape == (1, 3, 518, 518) and ready.dtype == np.float32
    expected = (np.array([10, 120, 250]) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(ready.mean((0, 2, 3)), expected, atol=1e-5)


def test_what_a_folder_says_of_its_photos_is_done(tmp_path: Path) -> None:
    said = {"size": {"height": 384, "width": 384}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(said), encoding="utf-8")
    found = preparation_of(tmp_path)
    assert found.size_of(2048, 1000) == (384, 384) and found.mean == (0.5, 0.5, 0.5)
    path.write_text(json.dumps(said | {"keep_aspect_ratio": True, "ensure_multiple_of": 32}), encoding="utf-8")
    assert preparation_of(tmp_path).size_of(1024, 768) == (512, 384)
    for wrong in ({"image_std": [0, 1, 1]}, {"image_mean": "x"}, {"ensure_multiple_of": 0}, {"size": [3]}):
        path.write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(InputError, match="not understood"):
            preparation_of(tmp_path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        preparation_of(tmp_path)


@needs_onnx
def test_onnx_files_that_are_no_network_for_depth_are_refused(tmp_path: Path) -> None:
    photo = ramp(60, 40)
    with pytest.raises(InputError, match=r"output of shape \[1, 3, 518, 784\]"):
        onnx_network(onnx_file(tmp_path / "three.onnx", channels=3, squeeze=False)).run(photo, 0)
    with pytest.raises(InputError, match="expected one photo"):
        onnx_network(onnx_file(tmp_path / "batch.onnx", inputs=[4, 3, "h", "w"]))
    (tmp_path / "junk.onnx").write_bytes(b"not a network" * 9)
    with pytest.raises(InputError, match="cannot be opened"):
        onnx_network(tmp_path / "junk.onnx")
    with pytest.raises(InputError, match="shape"):
        as_map(np.zeros((1, 1000), np.float32), "a classifier")
    with pytest.raises(InputError, match="int64"):
        as_map(np.zeros((1, 8, 8), np.int64), "labels")


@needs_onnx
def test_metric_or_relative_is_read_from_what_lies_beside_an_onnx_file(tmp_path: Path) -> None:
    plain, named = tmp_path / "onnx" / "model.onnx", tmp_path / "depth_metric_small.onnx"
    assert onnx_kind(plain) == "inverse" and onnx_kind(named) == "depth"
    (tmp_path / "config.json").write_text('{"depth_estimation_type": "metric"}', encoding="utf-8")
    assert onnx_kind(plain) == "depth"  # one folder up, as in folders made for transformers.js
    (tmp_path / "config.json").write_text('{"depth_estimation_type": "relative"}', encoding="utf-8")
    assert onnx_kind(named) == "inverse"


@needs_transformers
@pytest.mark.usefixtures("no_network")
def test_a_transformers_folder_says_what_its_network_says(tmp_path: Path) -> None:
    """Against the network called by hand, on a photo of the very size that it wants, and on one that has to be resized."""
    import torch
    from transformers import DepthAnythingForDepthEstimation

    folder = transformers_folder(tmp_path / "da")
    twin = DepthAnythingForDepthEstimation.from_pretrained(str(folder), local_files_only=True).eval()
    network = transformers_network(folder)
    photo = ramp(70, 56)
    ready = (photo.astype(np.float64) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    with torch.inference_mode():
        expected = twin(torch.tensor(ready.transpose(2, 0, 1)[None], dtype=torch.float32)).predicted_depth[0].numpy()
    said = network.run(photo, 0)
    assert said.shape == (56, 70) and network.kind == "inverse" and np.ptp(expected) > 1e-3
    np.testing.assert_allclose(said, expected, atol=1e-5 * expected.max())
    large = network.run(cv2.resize(photo, (280, 224), interpolation=cv2.INTER_NEAREST), 0)
    np.testing.assert_allclose(large, expected, atol=1e-4 * expected.max())


@needs_transformers
@pytest.mark.usefixtures("no_network")
def test_transformers_folders_that_lack_something_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = transformers_folder(tmp_path / "da", depth_estimation_type="metric", max_depth=20)
    assert transformers_kind(folder) == "depth" and form_of(folder) == "transformers"
    check_mono(str(folder))
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "head.conv2" not in k}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(InputError, match=r"lacks 2 weights.*head\.conv2"):
        transformers_network(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded by transformers"):
        transformers_network(folder)
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(InputError, match=r"'bert'.*depth_anything"):
        check_mono(str(folder))


@needs_diffusers
@pytest.mark.usefixtures("no_network")
def test_a_marigold_folder_guesses_the_same_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mono_networks, "ENSEMBLE", 1)  # aligning guesses of random weights takes long
    folder = marigold_folder(tmp_path / "marigold")
    check_mono(str(folder))
    network = marigold_network(folder)
    said = network.run(ramp(40, 32), 5)
    assert said.shape == (32, 40) and network.kind == "affine" and 0 <= said.min() < said.max() <= 1
    np.testing.assert_array_equal(said, network.run(ramp(40, 32), 5))
    assert np.abs(said - network.run(ramp(40, 32), 6)).max() > 1e-4


def test_a_model_that_is_not_there_is_named_with_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(MissingPart, match=r"not there.*Small is Apache-2\.0.*CC-BY-NC"):
        check_mono(str(tmp_path / "model.onnx"))
    (tmp_path / "model.pth").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no \.onnx file.*Apache-2\.0"):
        check_mono(str(tmp_path / "model.pth"))
    (tmp_path / "folder" / "onnx").mkdir(parents=True)
    with pytest.raises(InputError, match=r"expected config\.json"):
        check_mono(str(tmp_path / "folder"))
    (tmp_path / "folder" / "onnx" / "model.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"It holds onnx/model\.onnx: name that file"):
        check_mono(str(tmp_path / "folder"))
    (tmp_path / "folder" / "model_index.json").write_text(
        '{"_class_name": "StableDiffusionPipeline"}', encoding="utf-8"
    )
    with pytest.raises((InputError, MissingPart), match=r"StableDiffusionPipeline|diffusers"):
        check_mono(str(tmp_path / "folder"))


@pytest.mark.parametrize("package", ["onnxruntime", "transformers", "diffusers"])
def test_a_missing_package_is_named_with_what_to_install(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = tmp_path / "model.onnx", tmp_path / "folder"
    file.write_bytes(b"x")
    folder.mkdir()
    marker = {"transformers": "config.json", "diffusers": "model_index.json"}.get(package)
    if marker:
        (folder / marker).write_text("{}", encoding="utf-8")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingPart, match=rf"{package}.*pip install 'recon-scene\[mono\]'"):
        check_mono(str(folder if marker else file))


def test_the_key_is_the_models_content_and_not_its_place(tmp_path: Path) -> None:
    def key(path: Path | None) -> str:
        return stage_key(STAGES["depth"], DepthOptions(mono=None if path is None else str(path)), {"ingest": "1"})

    here, there = tmp_path / "a.onnx", tmp_path / "elsewhere" / "b.onnx"
    there.parent.mkdir()
    here.write_bytes(b"weights")
    there.write_bytes(b"weights")
    first = key(here)
    assert first == key(there) != key(None)
    record = {"version": STAGES["depth"].version, "options": key_options(DepthOptions(mono=str(here))), "inputs": {}}
    there.write_bytes(b"other weights")
    assert key(there) != first
    (told,) = changes(record, STAGES["depth"], DepthOptions(mono=str(there)), {})
    assert told.startswith("--mono was sha256 ") and len(told) < 90
    there.write_bytes(b"weights")
    assert key(there) == first
    (there.parent / "b.onnx_data").write_bytes(b"1")  # large networks keep their weights beside the file
    assert key(there) != first
    odd = tmp_path / "depth[small].onnx"
    (tmp_path / f"{odd.name}.d").mkdir()
    odd.write_bytes(b"weights")
    assert fingerprint(str(odd)) == fingerprint(str(here))
    folder = tmp_path / "folder"
    (folder / "unet").mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    before = fingerprint(str(folder))
    (folder / "README.md").write_text("no weights", encoding="utf-8")
    assert fingerprint(str(folder)) == before
    (folder / "unet" / "model.safetensors").write_bytes(b"1")
    assert fingerprint(str(folder)) != before
