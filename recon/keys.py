"""What a result depends on: the key that tells whether it may be reused, and in words what has changed since."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from recon.files import sha256_json
from recon.stages import Stage, resolve


def key_options(options: Any) -> dict[str, Any]:
    """The fields of an Options dataclass that decide the result; those marked {"key": False} are provenance.

    A field marked {"content": "module:function"} names a file and counts by what function(value) says of its content.
    """
    found = {}
    for field in dataclasses.fields(options):
        value, content = getattr(options, field.name), field.metadata.get("content")
        if field.metadata.get("key", True):
            found[field.name] = plain(resolve(content)(value) if content and value is not None else value)
    return found


def plain(value: Any) -> Any:
    """JSON values, so that what was written compares equal to what was asked; None for numbers that are not finite."""
    return json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)


def stage_key(stage: Stage, options: Any, inputs: Mapping[str, str]) -> str:
    """What a result depends on, as a hash: stage, version, options, and the inputs' results.

    An input counts by its content, not by its key alone: structure from motion run twice may differ in its last bits.
    """
    return sha256_json([stage.name, stage.version, key_options(options), dict(inputs)])


def changes(record: dict[str, Any], stage: Stage, options: Any, inputs: dict[str, str]) -> Iterator[str]:
    """What differs between a result and what is asked now."""
    if record["version"] != stage.version:
        yield f"it was written by another version of the stage ({record['version']}, now {stage.version})"
    before, flags = record["options"], {field.name: flag_of(field) for field in dataclasses.fields(options)}
    for name, value in key_options(options).items():
        if before.get(name) != value:
            yield f"{flags[name]} was {_shown(before.get(name))}, now {_shown(value)}"
    for name, key in inputs.items():
        if name in record["inputs"] and record["inputs"][name] != key:  # options that changed may need other inputs
            yield "the photos have changed" if name == "source" else f"{name} has been remade since"


def flag_of(field: dataclasses.Field[Any]) -> str:
    """How the command line calls a field."""
    return (*field.metadata.get("aliases", ()), f"--{field.name.replace('_', '-')}")[0]


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
