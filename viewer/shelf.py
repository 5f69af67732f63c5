"""Pictures that several clients ask for, drawn once. Used by the painter's thread alone."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Word = (str, int, float, type(None))


class Shelf:
    """The pictures that were asked for last. A key is a tuple of words and of the objects that the picture shows: objects are
    told apart by identity, and are not kept alive."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[Any, ...], tuple[list[Callable[[], Any]], Any]] = OrderedDict()

    def get(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """The picture of this key; made when it is not there."""
        objects = [part for part in key if not isinstance(part, Word)]
        named = tuple(part if isinstance(part, Word) else id(part) for part in key)
        kept = self._kept.get(named)
        if kept is not None and all(seen() is part for seen, part in zip(kept[0], objects, strict=True)):
            self._kept.move_to_end(named)
            return kept[1]
        value = make()
        self._kept[named] = ([weakref.ref(part) for part in objects], value)
        self._kept.move_to_end(named)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value
