"""Workspace: keys, reuse, resume, swaps under real SIGKILL, one writer, full and read-only disks."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recon import files
from recon.errors import WorkspaceError
from recon.status import status_rows
from recon.workspace import Workspace
from tests import stage_table
from tests.stage_table import FirstOptions, SecondOptions, ThirdOptions

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setattr("recon.workspace.STAGES", stage_table.TABLE)
    monkeypatch.setattr("recon.status.STAGES", stage_table.TABLE)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.txt"
    path.write_text("photos")
    return path


def build(
    root: Path, source: Path, *, size=3, factor=2.0, seed=0, redo=False, name="main", fail=False, threads=1
) -> Workspace:
    """Run the three stages."""
    workspace = Workspace(root)
    inputs = {"source": files.sha256_file(source)}
    with workspace.writing("test"):
        first = FirstOptions(size=size, threads=threads)
        workspace.run("first", first, inputs, redo=redo, arguments=(source,))
        second = SecondOptions(factor=factor, fail=fail)
        workspace.run("second", second, workspace.input_keys("second"), redo=redo)
        workspace.run("third", ThirdOptions(seed), workspace.input_keys("third"), name=name, redo=redo)
    return workspace


def contents(root: Path) -> dict[str, bytes]:
    """Every stage's own files; records and the log tell of times and attempts."""
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.parent != root and p.name != "stage.json"
    }


def made(root: Path) -> list[str]:
    return (root / "log").read_text().split()


def test_a_second_run_makes_nothing_again(tmp_path, source):
    workspace = build(tmp_path / "w", source)
    before = contents(workspace.root)
    build(tmp_path / "w", source, threads=8)
    assert made(workspace.root) == ["0", "1", "2", "3"]
    assert contents(workspace.root) == before
    record = workspace.record("second")
    assert record["warnings"] == ["second warns"]
    assert record["outputs"]["second.txt"] == files.sha256_file(workspace.root / "second/second.txt")
    assert list(record["outputs"]) == ["second.txt"]
    assert workspace.load("third").endswith("3\n0")


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"size": 4}, "--size was 3, now 4"),
        ({"factor": 3.0}, "--factor was 2.0, now 3.0"),
        ({"seed": 5}, "--seed was 0, now 5"),
    ],
)
def test_another_option_stops_and_names_it(tmp_path, source, changed, word):
    workspace = build(tmp_path / "w", source)
    before = contents(workspace.root)
    with pytest.raises(WorkspaceError, match=word) as error:
        build(tmp_path / "w", source, **changed)
    assert "--redo" in str(error.value)
    assert contents(workspace.root) == before
    build(tmp_path / "w", source, **changed, redo=True)
    assert contents(workspace.root) != before


def test_changed_photos_are_noticed(tmp_path, source):
    build(tmp_path / "w", source)
    source.write_text("other photos")
    with pytest.raises(WorkspaceError, match="the photos have changed"):
        build(tmp_path / "w", source)


def test_another_version_of_a_stage_is_noticed(tmp_path, source, monkeypatch):
    build(tmp_path / "w", source)
    newer = {**stage_table.TABLE, "second": stage_table.row("second", ("first",), version=2)}
    monkeypatch.setattr("recon.workspace.STAGES", newer)
    with pytest.raises(WorkspaceError, match="another version of the stage"):
        build(tmp_path / "w", source)
    assert Workspace(tmp_path / "w").load("second")


def test_names_stand_side_by_side(tmp_path, source):
    build(tmp_path / "w", source)
    workspace = build(tmp_path / "w", source, seed=7, name="other")
    assert workspace.results() == [("first", "main"), ("second", "main"), ("third", "main"), ("third", "other")]
    assert workspace.load("third", "main") != workspace.load("third", "other")
    with pytest.raises(WorkspaceError, match="cannot name a result"):
        build(tmp_path / "w", source, name="../escape")


def test_a_remade_stage_makes_what_stands_on_it_stale(tmp_path, source):
    workspace = build(tmp_path / "w", source)
    with workspace.writing("test"):
        inputs = {"source": files.sha256_file(source)}
        workspace.run("first", FirstOptions(size=9), inputs, redo=True, arguments=(source,))
    assert workspace.stale_inputs("second") == ["first"]
    assert workspace.stale_inputs("third") == ["second"]
    with pytest.raises(WorkspaceError, match="made from an earlier first"):
        workspace.input_keys("third")


def test_a_failure_keeps_the_old_result_and_the_parts_of_the_new(tmp_path, source):
    workspace = build(tmp_path / "w", source)
    old = (workspace.root / "second/second.txt").read_bytes()
    with pytest.raises(RuntimeError, match="a defect"):
        build(tmp_path / "w", source, factor=5.0, fail=True, redo=True)
    assert (workspace.root / "second/second.txt").read_bytes() == old
    assert (workspace.root / ".building/second/scratch/part1").exists()
    (workspace.root / "log").write_text("")
    with pytest.raises(RuntimeError):
        build(tmp_path / "w", source, factor=6.0, fail=True, redo=True)
    assert made(workspace.root) == ["0", "1"], "parts of another key must not be reused"


CHILD = """
import os, signal, sys
from pathlib import Path
import recon.workspace, recon.files, shutil
from tests import stage_table, test_workspace
recon.workspace.STAGES = stage_table.TABLE
count, wanted, after = 0, int(sys.argv[3]), sys.argv[4] == "after"
def deadly(function):
    def call(*args, **words):
        global count
        count += 1
        if count == wanted and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **words)
        if count == wanted and after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
os.replace, os.fsync, shutil.rmtree, Path.unlink = map(deadly, (os.replace, os.fsync, shutil.rmtree, Path.unlink))
test_workspace.build(Path(sys.argv[1]), Path(sys.argv[2]), **eval(sys.argv[5]))
"""


def child(root: Path, source: Path, at: int, when: str, options: dict) -> int:
    command = [sys.executable, "-c", CHILD, str(root), str(source), str(at), when, repr(options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).returncode


def test_sigkill_anywhere_leaves_a_workspace_that_the_next_run_completes(tmp_path, source):
    """Every rename, fsync, unlink and rmtree is a place to die, before and after it, in a first run and in a --redo."""
    whole = contents(build(tmp_path / "whole", source).root)
    other = contents(build(tmp_path / "other", source, size=4, factor=9.0).root)
    killed = 0
    for when in ("before", "after"):
        for at in range(1 if when == "before" else 2, 400, 7):
            root = tmp_path / f"{when}{at}"
            first = child(root, source, at, when, {})
            assert contents(build(root, source).root) == whole, (when, at)
            second = child(root, source, at, when, {"size": 4, "factor": 9.0, "redo": True})
            assert (root / "second/second.txt").exists() or (root / ".old").exists() or (root / ".building").exists()
            assert contents(build(root, source, size=4, factor=9.0, redo=True).root) == other, (when, at)
            killed += (first == -signal.SIGKILL) + (second == -signal.SIGKILL)
            if first == second == 0:
                break
    assert killed >= 20


def test_two_writers_at_once(tmp_path, source):
    workspace = build(tmp_path / "w", source)
    code = (
        "import sys; from pathlib import Path; from recon.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1])).writing('train'):\n    print('holding', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(workspace.root)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "holding\n"
        with pytest.raises(WorkspaceError, match=f"process {holder.pid}, `recon train`"):
            build(tmp_path / "w", source)
        assert workspace.load("third")
    finally:
        holder.communicate("")
    build(tmp_path / "w", source)


def test_a_newer_workspace_is_refused_and_untouched(tmp_path, source):
    workspace = build(tmp_path / "w", source)
    (workspace.root / "recon.json").write_text(json.dumps({"format": 99}))
    before = contents(workspace.root)
    with pytest.raises(WorkspaceError, match="newer recon"):
        build(tmp_path / "w", source)
    assert contents(workspace.root) == before


def test_a_folder_of_somebody_elses_is_refused(tmp_path, source):
    (tmp_path / "w").mkdir()
    (tmp_path / "w/thesis.txt").write_text("mine")
    with pytest.raises(WorkspaceError, match="not empty"):
        build(tmp_path / "w", source)
    assert [p.name for p in (tmp_path / "w").iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way(tmp_path, source):
    (tmp_path / "w").write_text("a file")
    with pytest.raises(WorkspaceError, match="is a file; expected a folder"):
        build(tmp_path / "w", source)


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")]
)
def test_a_disk_that_refuses_loses_nothing(tmp_path, source, monkeypatch, code, words):
    workspace = build(tmp_path / "w", source)
    before = contents(workspace.root)
    real, calls = os.fsync, 0

    def refuse(handle):
        nonlocal calls
        calls += 1
        if calls > 8:
            raise OSError(code, os.strerror(code))
        return real(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(WorkspaceError, match=words):
        build(tmp_path / "w", source, factor=5.0, redo=True)
    monkeypatch.setattr(os, "fsync", real)
    kept = {k: v for k, v in contents(workspace.root).items() if not k.startswith((".building", "."))}
    assert kept == {k: v for k, v in before.items() if not k.startswith(".")}
    build(tmp_path / "w", source, factor=5.0, redo=True)


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"key": "x"}'])
def test_a_damaged_record_is_named_and_remade_by_redo(tmp_path, source, damage):
    whole = contents(build(tmp_path / "whole", source).root)
    workspace = build(tmp_path / "w", source)
    (workspace.root / "first/stage.json").write_text(damage)
    rows = {row[0]: row[1] for row in status_rows(workspace)}
    assert (rows["first"], rows["second"]) == ("damaged", "out of date")
    with pytest.raises(WorkspaceError, match=r"damaged.*--redo"):
        build(tmp_path / "w", source)
    assert contents(build(tmp_path / "w", source, redo=True).root) == whole


def test_a_kill_after_the_stage_and_before_its_record_finds_the_checkpoints(tmp_path, source, monkeypatch):
    def die(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("recon.workspace.sha256_file", die)
        with pytest.raises(KeyboardInterrupt):
            Workspace(tmp_path / "w").run("second", SecondOptions(), {}, arguments=("text",))
    assert made(tmp_path / "w") == ["0", "1", "2", "3"]
    Workspace(tmp_path / "w").run("second", SecondOptions(), {}, arguments=("text",))
    assert made(tmp_path / "w") == ["0", "1", "2", "3"], "finished parts were made again"
    assert not (tmp_path / "w/second/scratch").exists()


def test_a_place_that_cannot_be_made_is_an_error_in_words(tmp_path, source, monkeypatch):
    def refuse(path, *args, **words):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "a"))  # the parent, as mkdir says it

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(WorkspaceError, match="read-only"):
        build(tmp_path / "a/b", source)


@pytest.mark.parametrize("marker", ['{"format": "new"}', '{"format": null}', "[]", ""])
def test_a_damaged_marker_is_an_error_in_words(tmp_path, marker):
    (tmp_path / "recon.json").write_text(marker)
    with pytest.raises(WorkspaceError, match=r"recon\.json cannot be read"):
        Workspace(tmp_path)


def test_a_metric_that_is_no_number_does_not_cost_the_result(tmp_path, source, monkeypatch):
    def first(source, options, job):
        job.metrics["residual"] = [float("nan"), float("inf"), 1.5]

    monkeypatch.setattr(stage_table, "first", first)
    record = Workspace(tmp_path / "w").run("first", FirstOptions(), {}, arguments=(source,))
    assert record["metrics"] == {"residual": [None, None, 1.5]}


def test_a_file_system_without_locks_is_named(tmp_path, source, monkeypatch):
    def refuse(lock):
        raise NotImplementedError("flock")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(WorkspaceError, match="has no locks"):
        build(tmp_path / "w", source)


def test_atomic_write_keeps_the_old_file_when_the_writer_fails(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="half"), files.atomic_write(path) as stream:
        stream.write(b"new")
        raise ValueError("half way")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_equal_arrays_give_equal_bytes(tmp_path):
    import numpy as np

    rng = np.random.default_rng(0)
    data = {"a": rng.normal(size=(5, 3)).astype(np.float32), "b": np.arange(4)}
    for name in ("one.npz", "two.npz"):
        files.save_npz(tmp_path / name, **data)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz") as back:
        np.testing.assert_array_equal(back["a"], data["a"])
    with pytest.raises(ValueError, match="pickle"):
        files.save_npz(tmp_path / "bad.npz", x=np.array([object()]))


def test_the_commands_that_errors_name_can_be_copied(tmp_path, source):
    workspace = Workspace(tmp_path / "my dir")
    with pytest.raises(WorkspaceError, match=re.escape(f"`recon third -w '{workspace.root}' --name fine`")):
        workspace.load("third", "fine")
    build(workspace.root, source, name="fine")
    with workspace.writing("test"):
        inputs = {"source": files.sha256_file(source)}
        workspace.run("first", FirstOptions(size=9), inputs, redo=True, arguments=(source,))
    with pytest.raises(WorkspaceError, match=re.escape(f"`recon second -w '{workspace.root}' --redo`")):
        workspace.input_keys("third", "fine")


def test_a_place_that_refuses_is_named_when_it_was_given_as_a_relative_path(tmp_path, source, monkeypatch):
    def refuse(lock):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / "w/.lock"))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with pytest.raises(WorkspaceError, match="no permission"):
        build(Path("w"), source)
