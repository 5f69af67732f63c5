"""Counts, lists of names and commands, as sentences to the user have them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import Any


def count(number: int, noun: str) -> str:
    """ "1 photo", "2 photos"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def command(*words: object) -> str:
    """A command to be copied into a shell, quoted where a word needs it."""
    return shlex.join(map(str, words))


def some(names: Iterable[str], most: int = 3) -> str:
    """The first few names, and dots where there are more."""
    listed = [shown(name) for name in names]
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")


def shown(name: str) -> str:
    """A file name that can be written anywhere, whatever bytes it has."""
    return name.encode("utf-8", "backslashreplace").decode()


def value_shown(value: Any, most: int = 40) -> str:
    """A JSON value in a message, shortened."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= most else text[: most - 3] + "..."
