"""The command line: flags from Options, presets, exit codes, sentences instead of tracebacks."""

import argparse
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from recon import arguments, cli, commands, doctor
from recon.arguments import InWorkspace, Named, Redo, WithInput, WithPreset, WithView
from recon.commands import MAIN_JOB
from recon.errors import MissingPart
from recon.presets import PRESETS
from recon.stages import STAGES, resolve

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = [resolve(STAGES[name].options) for name in MAIN_JOB]


def parse(*words: str):
    parts = (WithInput, InWorkspace, Named, WithPreset, WithView, Redo, *OPTIONS)
    return arguments.parse("run", "", words, *parts)


def recon(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment_path = {"PYTHONPATH": str(ROOT)}
    import os

    return subprocess.run(
        [sys.executable, "-m", "recon", *words],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment_path},
    )


def test_every_options_class_keeps_the_house_rules():
    seen: dict[str, type] = {}
    for options in OPTIONS:
        fields = dataclasses.fields(options)
        assert len(fields) <= 15, options
        docs = arguments.field_docs(options)
        for field in fields:
            assert docs.get(field.name), f"{options.__name__}.{field.name} has no sentence"
            assert field.name not in seen or field.name in ("seed", "device"), (
                f"{field.name}: in {options} and {seen[field.name]}"
            )
            seen[field.name] = options
        options()
    assert set(PRESETS["standard"]) <= set(seen)
    assert all(set(preset) == set(PRESETS["standard"]) for preset in PRESETS.values())


def test_presets_move_defaults_and_explicit_options_win():
    assert parse("photos", "-w", "d").minutes == PRESETS["standard"]["minutes"]
    assert parse("photos", "-w", "d", "--preset", "preview").long_side == PRESETS["preview"]["long_side"]
    args = parse("photos", "-w", "d", "--preset=high", "--long-side", "300")
    assert args.long_side == 300
    assert args.minutes == PRESETS["high"]["minutes"]
    assert args.input == (Path("photos"),)
    assert args.workspace == Path("d")
    assert arguments.take(OPTIONS[MAIN_JOB.index("train")], args).long_side == 300


def test_a_flag_of_several_values_given_twice_keeps_them_all():
    together = parse("photos", "--known-distance", "a b", "c", "-w", "d")
    apart = parse("photos", "--known-distance", "a b", "-w", "d", "--known-distance=c")
    assert together.known_distance == apart.known_distance == ("a b", "c")
    assert (apart.input, apart.workspace) == ((Path("photos"),), Path("d"))


@pytest.mark.parametrize("words", [("--preset", "fast"), ("--nonsense",), ("--minutes", "soon")])
def test_wrong_arguments_end_with_2(words):
    with pytest.raises(SystemExit) as stop:
        parse("photos", "-w", "d", *words)
    assert stop.value.code == 2


def test_help_names_every_verb_and_help_of_a_verb_its_options(capsys):
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {verb} " in printed for verb in cli.VERBS)
    done = recon("sfm", "--help")
    assert done.returncode == 0
    assert "--matcher" in done.stdout
    assert "--workspace" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("rum",), "Did you mean `recon run`"),
        (("run", "absent", "-w", "w"), "absent does not exist"),
        (("run", "-w", "w"), "No input"),
        (("status", "-w", "w"), "no recon workspace"),
        (("train", "-w", "w"), "no recon workspace"),
        (("export", "scene.ply", "-w", "w"), "no recon workspace"),
        (("export", "-w", "w", "scene.ply"), "no recon workspace"),
        (("view", "-w", "w"), "no recon workspace"),
        (("view", "-w", "w", "--port", "70000"), "expected 0 to 65535"),
        (("run", "absent", "-w", "w", "--view"), "absent does not exist"),
        (("run", ".", "-w", "w", "--name", "a/b"), "cannot name a result"),
        (("run", ".", "-w", "w", "--known-distance", "1 m"), "Cannot read the known distance"),
        (("run", ".", "-w", "w", "--up", "keep", "--gps", "on"), "Give one of the two"),
        (("run", ".", "-w", "w", "--frames", "2"), "--frames 2 is too few"),
        (("run", ".", "-w", "w", "--sh-degree", "9"), "expected 0 to 3"),
        (("run", ".", "-w", "w", "--steps", "9", "--minutes", "2"), "Give one of the two"),
        (("train", "-w", "w", "--minutes=2", "--steps=9"), "Give one of the two"),
        (("run", "-w", "my dir"), "`recon run PHOTOS -w 'my dir'`"),
        (("status", "-w", "my dir"), "`recon run INPUT -w 'my dir'`"),
        (("view", "-w", "my dir"), "`recon run INPUT -w 'my dir'`"),
    ],
)
def test_errors_are_sentences(tmp_path, words, expected):
    done = recon(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_a_defect_is_called_one(monkeypatch, capsys):
    def broken(verb, summary, argv):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("recon.commands.status", broken)
    assert cli.main(["status", "-w", "w"]) == 1
    assert "fault of recon's" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        cli.main(["status", "-w", "w", "--debug"])


def test_ctrl_c_is_130(monkeypatch, capsys):
    def stopped(verb, summary, argv):
        raise KeyboardInterrupt

    for target, verb, said in (
        ("recon.commands.run", "run", "goes on where it stopped"),
        ("viewer.commands.render", "render", "goes on where it stopped"),
        ("viewer.commands.publish", "publish", "stays as it was; the same command starts anew"),
        ("recon.commands.status", "status", "Nothing was changed"),
    ):
        monkeypatch.setattr(target, stopped)
        assert cli.main(["--debug", verb]) == 130
        assert said in capsys.readouterr().err


def test_help_says_which_verbs_need_a_workspace_that_is_there(capsys):
    for verb, new in (("run", True), ("ingest", True), ("view", False), ("publish", False), ("render", False)):
        with pytest.raises(SystemExit):
            cli.main([verb, "--help"])
        said = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert ("New, or a workspace of earlier runs" in said) == new, verb
        assert ("A workspace, as `recon run` made it" in said) != new, verb


def test_doctor_says_what_the_page_needs(monkeypatch, tmp_path):
    for found in ("", str(tmp_path)):
        monkeypatch.setattr("viewer.measure.find_browser", lambda found=found: found or None)
        row = doctor._browser()
        assert row.ok and row.found == (found or "not found") and bool(row.advice) != bool(found)
    monkeypatch.setattr("viewer.web_page.CARRIED", tmp_path)
    (tmp_path / "index.html").touch()
    assert "not needed" in doctor._node().found
    monkeypatch.setattr("viewer.web_page.CARRIED", tmp_path / "none")
    monkeypatch.setattr("viewer.web_page.SOURCES", tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: None)
    row = doctor._node()
    assert row.ok and "not found" in row.found and "Install Node" in row.advice


def test_export_to_a_place_that_cannot_be_written_is_an_error_of_the_user(tmp_path, monkeypatch, capsys):
    from types import SimpleNamespace

    (tmp_path / "w").mkdir()
    (tmp_path / "w/recon.json").write_text('{"format": 1}')
    (tmp_path / "scene.ply").mkdir()
    monkeypatch.setattr("recon.workspace.Workspace.load", lambda *words: SimpleNamespace(at=lambda time: None))
    monkeypatch.setattr("render.formats.ply.write_ply", lambda path, splats: path.write_bytes(b""))
    assert cli.main(["export", str(tmp_path / "scene.ply"), "-w", str(tmp_path / "w")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_no_verb_takes_an_option_that_does_nothing_there():
    for verb in ("view", "export"):
        assert "--json" not in recon(verb, "--help").stdout


def test_ctrl_c_at_the_open_viewer_ends_a_run_that_succeeded(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from recon import commands

    class Viewer:
        def wait(self):
            raise KeyboardInterrupt

        def poll(self):
            return 0

    monkeypatch.setattr(commands, "_spawn_viewer", lambda args: Viewer())
    monkeypatch.setattr(commands, "_run_stage", lambda *words, **more: {})
    monkeypatch.setattr(commands, "_check_at_the_door", lambda *words: None)
    args = SimpleNamespace(workspace=tmp_path / "w", view=True, json=False, name="main")
    assert commands.main_job(args, "run") is None


def test_steps_win_over_the_minutes_of_a_preset():
    assert parse("photos", "-w", "d", "--preset", "high", "--steps", "9").steps == 9
    assert parse("photos", "-w", "d", "--steps", "None", "--minutes", "3").minutes == 3


@pytest.fixture
def kept_stages(monkeypatch):
    """Stages that are always there."""
    from recon import commands

    def record(workspace, name, args, progress, *, force, ahead):
        progress.say(f"{name} kept")
        return {"stage": name, "redo": args.redo, "name": args.name}

    monkeypatch.setattr(commands, "_run_stage", record)


def test_run_prints_one_json_document_and_nothing_else(tmp_path, capsys, kept_stages):
    assert cli.main(["run", "photos", "-w", str(tmp_path / "w"), "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert {name: record["stage"] for name, record in records.items()} == {name: name for name in MAIN_JOB}


def test_a_watched_run_leaves_standard_output_to_the_result(monkeypatch):
    from types import SimpleNamespace

    from recon import commands

    monkeypatch.setattr(subprocess, "Popen", lambda words, **how: how)
    how = commands._spawn_viewer(SimpleNamespace(workspace=Path("w"), name="main"))
    assert how == {"stdout": sys.stderr}


def test_the_last_lines_can_be_copied_into_a_shell(tmp_path, capsys, kept_stages):
    import shlex

    root = tmp_path / "my dir; no"
    assert cli.main(["run", "photos", "-w", str(root), "--name", "fine"]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert shlex.split(last.removeprefix("look")) == ["recon", "view", "-w", str(root), "--name", "fine"]


def test_demo_takes_what_its_errors_advise(tmp_path, capsys, kept_stages, monkeypatch):
    published = []
    monkeypatch.setattr(
        "viewer.publish.publish", lambda workspace, site, options, progress: published.append((site, options))
    )
    words = ["demo", "--no-view", "-w", str(tmp_path / "w"), "--minutes", "1", "--name", "fine", "--redo"]
    assert cli.main(words) == 0
    assert "--name fine" in capsys.readouterr().err
    [(site, options)] = published
    assert site == tmp_path / "w" / "site" and options.name == "fine"


def test_demo_without_node_says_so_and_shows_the_live_view(tmp_path, capsys, kept_stages, monkeypatch):
    def missing(*_):
        raise MissingPart("Node is missing.")

    shown = []
    monkeypatch.setattr("viewer.publish.publish", missing)
    monkeypatch.setattr("viewer.server.serve", lambda root, options: shown.append(root))
    assert cli.main(["demo", "-w", str(tmp_path / "w")]) == 0
    assert "Node is missing." in capsys.readouterr().err
    assert shown == [tmp_path / "w"]


def test_doctor_says_what_is_there():
    done = recon("doctor", "--json")
    found = {row["subject"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 0, found
    assert int(found["threads"]["found"]) >= 1
    assert found["pycolmap"]["ok"]
    optional = ("onnxruntime", "transformers", "pyliblzfse", "OpenEXR")
    assert all(found[name]["found"] in ("installed", "not installed") for name in optional)


def test_doctor_survives_what_it_looks_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    found = {finding.subject: finding for finding in doctor.findings()}
    assert not found["CUDA"].ok
    assert not found["vector units"].ok
    assert "pip install" in found["CUDA"].advice
    assert found["threads"].ok


def test_a_mesh_from_depth_maps_asks_for_these_first() -> None:
    def order(**options: object) -> tuple[str, ...]:
        return commands._stages(argparse.Namespace(**options))

    assert order(mesh=False, mesh_from="depth") == MAIN_JOB
    assert order(mesh=True, mesh_from="splats") == (*MAIN_JOB, "mesh")
    assert order(mesh=True, mesh_from="depth") == (*MAIN_JOB, "depth", "mesh")


def test_doctor_prints_brackets_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = doctor._optional("no_such_module", "HEIC photos", "heic")
    monkeypatch.setattr(doctor, "findings", lambda: [missing])
    assert doctor.doctor("doctor", "", []) == 0
    assert "recon-scene[heic]" in "".join(capsys.readouterr().out.split())


def test_an_input_that_is_none_leaves_no_folder(tmp_path: Path) -> None:
    done = recon("run", "absent", "-w", "w", cwd=tmp_path)
    assert done.returncode == 2 and not (tmp_path / "w").exists()
    (tmp_path / "mine").mkdir()
    recon("run", "absent", "-w", "mine", cwd=tmp_path)
    assert (tmp_path / "mine").is_dir(), "the user's own folder is gone"


def test_options_are_checked_before_anything_heavy_is_imported() -> None:
    code = "import sys, render.options, recon.commands; sys.exit(int(bool({'torch', 'numba', 'pycolmap'} & set(sys.modules))))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--faces", "1000"], "--faces is an option of `recon mesh`.*add --mesh or"),
        (["--from", "depth"], "--from is an option of `recon mesh`"),
        (["--depth-long-side", "320", "--mesh"], "--depth-long-side is an option of `recon depth`.*--depth-weight"),
        (["--mono", "model.onnx"], "--mono is an option of `recon depth`"),
    ],
)
def test_options_of_stages_that_do_not_run_are_refused(words, told, tmp_path, capsys):
    assert cli.main(["run", str(tmp_path), "-w", str(tmp_path / "w"), *words]) == 2
    assert re.search(told, " ".join(capsys.readouterr().err.split()))
    assert not (tmp_path / "w").exists()
