"""The command line: flags from Options, presets, exit codes, sentences instead of tracebacks."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from recon import arguments, cli
from recon.arguments import InWorkspace, Named, Redo, WithInput, WithPreset, WithView
from recon.commands import MAIN_JOB
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
    assert args.input == Path("photos")
    assert args.workspace == Path("d")
    assert arguments.take(OPTIONS[MAIN_JOB.index("train")], args).long_side == 300


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

    monkeypatch.setattr("recon.commands.status", stopped)
    assert cli.main(["status"]) == 130
    assert "goes on where it stopped" in capsys.readouterr().err


def test_doctor_says_what_is_there():
    done = recon("doctor", "--json")
    import json

    found = {row["subject"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 0, found
    assert int(found["threads"]["found"]) >= 1
    assert found["pycolmap"]["ok"]
