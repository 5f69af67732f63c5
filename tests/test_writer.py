"""Who writes to a workspace, as `recon status` says it; and that an input that is none leaves nothing behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recon import writer
from recon.errors import InputError
from recon.job import Job
from recon.status import status_rows
from recon.workspace import Workspace
from tests import stage_table
from tests.stage_table import FirstOptions, SecondOptions


@pytest.fixture(autouse=True)
def table(monkeypatch):
    monkeypatch.setattr("recon.workspace.STAGES", stage_table.TABLE)
    monkeypatch.setattr("recon.status.STAGES", stage_table.TABLE)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.txt"
    path.write_text("photos")
    return path


def make_first(workspace: Workspace, source: Path, **options) -> None:
    workspace.run("first", FirstOptions(**options), {"source": "x"}, arguments=(source,), redo=bool(options))


def states(workspace: Workspace) -> dict[str, tuple[str, str]]:
    return {row[0]: (row[1], row[4]) for row in status_rows(workspace)}


def test_a_stage_that_a_living_process_makes_is_running(tmp_path, source, monkeypatch):
    workspace, seen = Workspace(tmp_path / "w"), []
    original = stage_table.first

    def watched(*given):
        seen.append(states(workspace))
        original(*given)

    monkeypatch.setattr(stage_table, "first", watched)
    with workspace.writing("run"):
        make_first(workspace, source)
        make_first(workspace, source, size=5)
    assert seen[0]["first"] == ("running", f"stop: process {os.getpid()}, `recon run` is at it")
    assert seen[1]["first"] == ("done", f"stop: process {os.getpid()}, `recon run` makes it anew")
    assert {state for stage, (state, _) in seen[0].items() if stage != "first"} == {"-"}
    assert states(workspace)["first"] == ("done", "keep it") and not (workspace.root / ".writer.json").exists()


def test_a_stage_of_a_dead_or_other_writer_is_unfinished(tmp_path, source):
    workspace = Workspace(tmp_path / "w")
    with workspace.writing("test"):
        make_first(workspace, source)
        with pytest.raises(RuntimeError):
            workspace.run("second", SecondOptions(fail=True), workspace.input_keys("second"))
    assert states(workspace)["second"] == ("unfinished", "go on with it")
    note = workspace.root / ".writer.json"
    note.write_text(json.dumps({"pid": os.getpid(), "verb": "mesh", "stage": "third", "name": "main"}))
    assert states(workspace)["second"][0] == "unfinished", "it is at another stage"
    note.write_text(json.dumps({"pid": os.getpid(), "verb": "second", "stage": "second", "name": "main"}))
    assert states(workspace)["second"][0] == "running"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    note.write_text(json.dumps({"pid": dead.pid, "verb": "second", "stage": "second", "name": "main"}))
    assert states(workspace)["second"][0] == "unfinished" and writer.at_work(workspace.root) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "verb": "run"}', '{"pid": 1}'])
def test_a_damaged_note_of_the_writer_is_none(tmp_path, text):
    (tmp_path / ".writer.json").write_text(text)
    assert writer.noted(tmp_path) is None and writer.at_work(tmp_path) is None


@pytest.mark.parametrize("there", [False, True])
def test_an_input_that_is_none_leaves_nothing_however_late(tmp_path, source, monkeypatch, there):
    def refuses(source: Path, options: FirstOptions, job: Job) -> None:
        (job.scratch / "half").write_text("read")
        raise InputError("no photos")

    root = tmp_path / "w"
    if there:
        root.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(stage_table, "first", refuses)
        workspace = Workspace(root)
        with pytest.raises(InputError), workspace.writing("run"):
            make_first(workspace, source)
    assert root.exists() == there and (not there or not list(root.iterdir()))


def test_what_was_finished_or_stopped_stays(tmp_path, source, monkeypatch):
    def stopped(source: Path, options: FirstOptions, job: Job) -> None:
        (job.scratch / "half").write_text("read")
        raise KeyboardInterrupt

    workspace = Workspace(tmp_path / "w")
    with monkeypatch.context() as patch:
        patch.setattr(stage_table, "first", stopped)
        with pytest.raises(KeyboardInterrupt), workspace.writing("run"):
            make_first(workspace, source)
    assert (workspace.root / ".building/first/scratch/half").exists()
    other = Workspace(tmp_path / "other")
    with pytest.raises(InputError), other.writing("run"):
        make_first(other, source)
        raise InputError("the next stage refuses")
    assert (other.root / "first/first.json").exists() and other.exists
