"""The 3DGS .ply: what goes in comes out, an independent reader agrees, and damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from plyfile import PlyData

from recon.errors import InputError
from recon.geometry import Sim3, World, rotation_from_quat
from render.formats.ply import COLUMNS, read_ply, write_ply
from render.splats import Splats


def some_splats(n: int = 7, degree: int = 3) -> Splats:
    draw = torch.Generator().manual_seed(3)
    quat = torch.randn(n, 4, generator=draw)
    turn = Sim3(2.5, rotation_from_quat([0.9, 0.1, -0.3, 0.2]), np.array([1.0, -2.0, 0.25]))
    return Splats(
        mean=torch.randn(n, 3, generator=draw),
        log_scale=torch.randn(n, 3, generator=draw) - 3,
        quat=quat / quat.norm(dim=1, keepdim=True),
        opacity_logit=torch.randn(n, generator=draw),
        sh=torch.randn(n, (degree + 1) ** 2, 3, generator=draw),
        world=World("metric", "gravity", (50.8, -0.1, 12.0), None, turn),
    )


def test_round_trip_is_exact(tmp_path: Path) -> None:
    splats = some_splats()
    write_ply(tmp_path / "a.ply", splats)
    back = read_ply(tmp_path / "a.ply")
    for name, column in splats.columns().items():
        tolerance = 1e-7 if name == "quat" else 0.0
        assert torch.allclose(back.columns()[name], column, rtol=0, atol=tolerance), name
    assert back.world.to_json() == splats.world.to_json()


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_lower_degrees_are_padded_with_zeros(tmp_path: Path, degree: int) -> None:
    splats = some_splats(degree=degree)
    write_ply(tmp_path / "a.ply", splats)
    back = read_ply(tmp_path / "a.ply")
    bands = splats.sh.shape[1]
    assert back.sh.shape == (7, 16, 3)
    assert torch.equal(back.sh[:, :bands], splats.sh) and not back.sh[:, bands:].any()


def test_an_independent_reader_finds_the_documented_layout(tmp_path: Path) -> None:
    splats = some_splats()
    write_ply(tmp_path / "a.ply", splats)
    vertex = PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    assert tuple(p.name for p in vertex.properties) == COLUMNS and len(COLUMNS) == 62
    assert np.array_equal(vertex["x"], splats.mean[:, 0].numpy())
    assert np.array_equal(vertex["f_dc_2"], splats.sh[:, 0, 2].numpy())
    assert np.array_equal(vertex["f_rest_0"], splats.sh[:, 1, 0].numpy())  # the first of 15 of red
    assert np.array_equal(vertex["f_rest_17"], splats.sh[:, 3, 1].numpy())  # the third of 15 of green
    assert np.array_equal(vertex["f_rest_44"], splats.sh[:, 15, 2].numpy())
    assert np.array_equal(vertex["opacity"], splats.opacity_logit.numpy())
    assert np.array_equal(vertex["scale_1"], splats.log_scale[:, 1].numpy())
    assert np.allclose(vertex["rot_0"], splats.quat[:, 0].numpy(), atol=1e-7)


@pytest.mark.parametrize("order", ["<", ">"])
def test_files_of_others_are_read(tmp_path: Path, order: str) -> None:
    """Either byte order, doubles, columns shuffled, SH degree 1, no normals, foreign columns and elements after the splats."""
    rest = [f"f_rest_{i}" for i in range(9)]
    names = ["rot_3", "rot_2", "rot_1", "rot_0", "z", "y", "x", "opacity", "confidence", *rest]
    names += ["scale_2", "scale_1", "scale_0", "f_dc_2", "f_dc_1", "f_dc_0"]
    values = np.random.default_rng(0).normal(size=(4, len(names)))
    header = f"ply\nformat binary_{'little' if order == '<' else 'big'}_endian 1.0\ncomment by hand\nelement vertex 4\n"
    header += "".join(f"property double {name}\n" for name in names) + "element face 1\nproperty list uchar int v\n"
    (tmp_path / "b.ply").write_bytes(
        header.encode() + b"end_header\n" + values.astype(order + "f8").tobytes() + b"\x00"
    )
    splats = read_ply(tmp_path / "b.ply")
    at = {name: values[:, i].astype(np.float32) for i, name in enumerate(names)}
    assert np.array_equal(splats.mean.numpy(), np.stack([at["x"], at["y"], at["z"]], 1))
    assert np.array_equal(splats.quat[:, 0].numpy(), at["rot_0"])
    assert splats.sh.shape == (4, 4, 3)
    assert np.array_equal(splats.sh[:, 2, 1].numpy(), at["f_rest_4"])  # green, second of three
    assert splats.world.to_json() == World().to_json()


def test_equal_splats_give_equal_bytes(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", some_splats())
    write_ply(tmp_path / "b.ply", some_splats())
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_no_splats_make_a_valid_file(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", some_splats()[:0])
    assert len(read_ply(tmp_path / "a.ply")) == 0


def damaged(data: bytes, how: str) -> bytes:
    world = json.dumps(some_splats().world.to_json(), separators=(",", ":")).encode()
    return {
        "cut": data[:-10],
        "empty": b"",
        "no ply": b"\x89PNG\r\n\x1a\n" + data,
        "text": data.replace(b"binary_little_endian", b"ascii"),
        "endless header": data[:200] + b"comment x\n" * 2000,
        "no opacity": data.replace(b"property float opacity", b"property float opaqueness"),
        "list": data.replace(b"property float nx", b"property list uchar float nx"),
        "count": data.replace(b"element vertex 7", b"element vertex seven"),
        "rest": data.replace(b"property float f_rest_44", b"property float other"),
        "world": data.replace(world, b"{}"),
        "face first": data.replace(b"element vertex", b"element face"),
    }[how]


HOWS = [
    "cut",
    "empty",
    "no ply",
    "text",
    "endless header",
    "no opacity",
    "list",
    "count",
    "rest",
    "world",
    "face first",
]


@pytest.mark.parametrize("how", HOWS)
def test_damage_is_named(tmp_path: Path, how: str) -> None:
    write_ply(tmp_path / "a.ply", some_splats())
    whole = (tmp_path / "a.ply").read_bytes()
    assert damaged(whole, how) != whole
    (tmp_path / "a.ply").write_bytes(damaged(whole, how))
    with pytest.raises(InputError, match=r"a\.ply"):
        read_ply(tmp_path / "a.ply")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_ply(tmp_path / "none.ply")
