"""SPZ: round trips, an independent reader and writer, and files that are broken."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from recon.errors import InputError
from render.formats import writer
from render.formats.spz import read_spz, spz_bytes, write_spz
from render.splats import Splats
from tests.splat_scenes import scene

SCALE_STEP, OPACITY_STEP, COLOUR_STEP = 1 / 16, 1 / 255, 1 / (0.15 * 255)


def splats(count: int = 400, degree: int = 3, seed: int = 0) -> Splats:
    return Splats(**scene(count, seed=seed, bands=(degree + 1) ** 2, size=-4.0))


def angle_deg(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle of the rotation between quaternions [N, 4]."""
    unit = [q.astype(np.float64) / np.linalg.norm(q, axis=1, keepdims=True) for q in (a, b)]
    return np.degrees(2 * np.arccos(np.abs((unit[0] * unit[1]).sum(1)).clip(0, 1)))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_what_was_written_is_read(tmp_path: Path, degree: int) -> None:
    before = splats(degree=degree)
    write_spz(tmp_path / "a.spz", before, sh_bits=(8, 8))
    after = read_spz(tmp_path / "a.spz")
    assert len(after) == 400 and after.sh_degree == degree
    assert (after.mean - before.mean).abs().max() < 1e-5
    assert (after.log_scale - before.log_scale).abs().max() <= 0.51 * SCALE_STEP
    assert (after.opacity - before.opacity).abs().max() <= 0.51 * OPACITY_STEP
    assert (after.sh[:, 0] - before.sh[:, 0]).abs().max() <= 0.51 * COLOUR_STEP
    assert angle_deg(after.quat.numpy(), before.quat.numpy()).max() < 0.25
    if degree:
        inside = before.sh[:, 1:].clamp(-1, 127 / 128)
        assert (after.sh[:, 1:] - inside).abs().max() <= 0.51 / 128
    assert spz_bytes(before) == spz_bytes(before)


def test_every_rotation_survives(tmp_path: Path) -> None:
    """Each component in turn the largest, of either sign, and no rotation at all."""
    base = np.concatenate([np.eye(4), -np.eye(4), np.full((1, 4), 0.5), np.zeros((1, 4))])
    rng = np.random.default_rng(0)
    quat = np.concatenate([base, *(base[:8] + rng.normal(0, 0.1, (8, 4)) for _ in range(20))]).astype(np.float32)
    before = Splats(**(scene(len(quat), bands=1) | {"quat": torch.from_numpy(quat)}))
    write_spz(tmp_path / "a.spz", before)
    after = read_spz(tmp_path / "a.spz").quat.numpy()
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(after[9], [1, 0, 0, 0], atol=2e-3)
    rest = np.arange(len(quat)) != 9
    assert angle_deg(after[rest], quat[rest]).max() < 0.25


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_an_independent_reader_agrees(tmp_path: Path, degree: int) -> None:
    gsply = pytest.importorskip("gsply")
    before = splats(degree=degree)
    write_spz(tmp_path / "a.spz", before, sh_bits=(8, 8))
    found = gsply.read_spz(tmp_path / "a.spz")
    assert np.abs(found.means - before.mean.numpy()).max() < 1e-5
    assert np.abs(found.scales - before.log_scale.numpy()).max() <= 0.51 * SCALE_STEP
    assert np.abs(1 / (1 + np.exp(-found.opacities)) - before.opacity.numpy()).max() <= 0.51 * OPACITY_STEP
    assert np.abs(found.sh0 - before.sh[:, 0].numpy()).max() <= 0.51 * COLOUR_STEP
    assert angle_deg(found.quats, before.quat.numpy()).max() < 0.25
    if degree:
        rest = found.shN.reshape(400, -1, 3)
        assert np.abs(rest - before.sh[:, 1:].numpy().clip(-1, 127 / 128)).max() <= 0.51 / 128


def test_a_file_of_an_independent_writer_is_read(tmp_path: Path) -> None:
    gsply = pytest.importorskip("gsply")
    before = splats()
    writer(tmp_path / "a.ply")(tmp_path / "a.ply", before)
    gsply.write_spz(tmp_path / "b.spz", gsply.plyread(tmp_path / "a.ply"))
    after = read_spz(tmp_path / "b.spz")
    assert (after.mean - before.mean).abs().max() < 2e-4
    assert (after.log_scale - before.log_scale).abs().max() <= 0.51 * SCALE_STEP
    assert angle_deg(after.quat.numpy(), before.quat.numpy()).max() < 0.25
    assert (after.sh[:, 1:] - before.sh[:, 1:].clamp(-1, 127 / 128)).abs().max() <= 1.01 / 128


def test_fewer_bits_of_sh_make_smaller_files_and_bounded_errors(tmp_path: Path) -> None:
    before = splats(2000)
    inside = before.sh[:, 1:].clamp(-0.9, 0.9)
    before = Splats(**(before.columns() | {"sh": torch.cat([before.sh[:, :1], inside], 1)}))
    sizes = []
    for bits in (8, 6, 4):
        write_spz(tmp_path / "a.spz", before, sh_bits=(bits, bits))
        error = (read_spz(tmp_path / "a.spz").sh[:, 1:] - inside).abs().max()
        assert error <= 0.51 * 2.0 ** (1 - bits)
        sizes.append((tmp_path / "a.spz").stat().st_size)
    assert sizes[0] > 1.1 * sizes[1] > 1.2 * sizes[2]


def test_a_stray_far_out_does_not_coarsen_the_others(tmp_path: Path) -> None:
    columns = scene(500, bands=1)
    columns["mean"][0] = torch.tensor([3e6, -4e6, 0.0])
    columns["log_scale"][0] = torch.tensor([4.0, 5.0, 6.0])
    write_spz(tmp_path / "a.spz", Splats(**columns))
    after = read_spz(tmp_path / "a.spz")
    assert (after.mean[1:] - columns["mean"][1:]).abs().max() < 1e-4
    direction = after.mean[0] / after.mean[0].norm()
    assert torch.allclose(direction, torch.tensor([0.6, -0.8, 0.0]), atol=1e-5)
    factor = float((after.mean[0].norm().double() / 5e6).log())  # it is seen at the same size
    assert (after.log_scale[0] - columns["log_scale"][0] - factor).abs().max() <= 0.51 * SCALE_STEP


def test_the_header_says_what_it_should() -> None:
    raw = gzip.decompress(spz_bytes(splats(7, 2), antialiased=True))
    magic, version, count, degree, fraction, flags, spare = struct.unpack_from("<IIIBBBB", raw)
    assert (magic, version, count, degree, flags, spare) == (0x5053474E, 3, 7, 2, 1, 0)
    assert raw[:4] == b"NGSP" and 12 <= fraction <= 20
    assert len(raw) == 16 + 7 * (9 + 1 + 3 + 3 + 4 + 24)
    assert spz_bytes(splats(7, 2))[4:8] == b"\0\0\0\0"  # gzip's time stamp


def test_no_splats_at_all(tmp_path: Path) -> None:
    write_spz(tmp_path / "a.spz", splats()[:0])
    assert len(read_spz(tmp_path / "a.spz")) == 0


def test_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    columns = scene(5)
    columns["log_scale"][2, 1] = torch.nan
    with pytest.raises(InputError, match="log_scale"):
        write_spz(tmp_path / "a.spz", Splats(**columns))
    assert not list(tmp_path.iterdir())


def test_broken_files_are_refused_with_a_sentence(tmp_path: Path) -> None:
    whole = spz_bytes(splats(50))
    raw = gzip.decompress(whole)
    header = struct.Struct("<IIIBBBB")
    cases = {
        "no end": broken_name(tmp_path, 0, whole[: len(whole) // 2]),
        "gzip": broken_name(tmp_path, 1, b"NGSP" + whole),
        "begin with NGSP": broken_name(tmp_path, 2, gzip.compress(b"PLY " + raw[4:])),
        "version 2": broken_name(tmp_path, 3, gzip.compress(header.pack(0x5053474E, 2, 50, 3, 12, 0, 0) + raw[16:])),
        "SH degree 9": broken_name(tmp_path, 4, gzip.compress(header.pack(0x5053474E, 3, 50, 9, 12, 0, 0) + raw[16:])),
        "are there": broken_name(tmp_path, 5, gzip.compress(raw[:-1])),
        "more are": broken_name(tmp_path, 6, gzip.compress(raw + b"\0")),
        "header of 16 bytes": broken_name(tmp_path, 7, gzip.compress(raw[:9])),
        "fractional": broken_name(tmp_path, 8, gzip.compress(header.pack(0x5053474E, 3, 50, 3, 99, 0, 0) + raw[16:])),
        "cannot be read": tmp_path / "absent.spz",
    }
    for words, path in cases.items():
        with pytest.raises(InputError, match=words):
            read_spz(path)


def broken_name(folder: Path, number: int, content: bytes) -> Path:
    path = folder / f"{number}.spz"
    path.write_bytes(content)
    return path


def test_a_count_that_the_file_cannot_hold_allocates_nothing(tmp_path: Path) -> None:
    path = broken_name(
        tmp_path, 0, gzip.compress(struct.pack("<IIIBBBB", 0x5053474E, 3, 2**32 - 1, 3, 12, 0, 0) + bytes(99))
    )
    tracemalloc.start()
    with pytest.raises(InputError, match="4294967295 splats"):
        read_spz(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_export_knows_the_ending(tmp_path: Path) -> None:
    assert writer(tmp_path / "scene.SPZ") is write_spz
