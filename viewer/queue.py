"""Whose picture is drawn next, and when a training may be disturbed for it. No threads and no clock: times are given.

While a training runs, pictures are paid for in CPU seconds from a purse that fills with a tenth of what the machine has. A
picture may be begun when the purse is not empty, and takes what it cost; what it took too much is waited for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

SHARE = 0.1
"""Of the machine's CPU seconds, for all of the viewer together, while a training runs."""
LEAST_SHARE = 0.02
"""For pictures alone when all else that the viewer does (sending, receiving) has used up the share: somebody is looking."""
SAVED_SECONDS = 1.0
"""Wall seconds whose share can be saved up for the next picture."""
LONGEST_WAIT = 1.0
"""Seconds after which the share is looked at again: what else the process does changes it meanwhile."""


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Wish:
    """A picture that a client wants."""

    due: float
    """Not before, seconds of the caller's clock."""
    draw: Callable[[], None]
    urgent: bool = False
    """Before the client's other wishes that are due: what it looks at in this moment."""


class Queue:
    """One place for each key: the newest wish replaces the one before. Keys are (client, what); any other key is a client too.

    Among the wishes that are due, the client that was served longest ago comes first; of its wishes the urgent ones, and of those
    the one that is due first.
    """

    def __init__(self) -> None:
        self._wishes: dict[Hashable, Wish] = {}
        self._served: dict[Hashable, int] = {}
        self._turn = 0

    def ask(self, key: Hashable, draw: Callable[[], None], due: float, *, urgent: bool = False) -> None:
        self._wishes[key] = Wish(due, draw, urgent)

    def forget(self, matches: Callable[[Hashable], bool]) -> None:
        """Drop the wishes whose key matches."""
        self._wishes = {key: wish for key, wish in self._wishes.items() if not matches(key)}

    def take(self, now: float) -> Callable[[], None] | None:
        """The next picture to draw; None when none is due."""
        due = [key for key, wish in self._wishes.items() if wish.due <= now]
        if not due:
            return None
        wishes = self._wishes
        key = min(due, key=lambda k: (self._served.get(client_of(k), -1), not wishes[k].urgent, wishes[k].due))
        self._turn += 1
        self._served[client_of(key)] = self._turn
        if len(self._served) > 1000:  # clients come and go
            self._served = dict(sorted(self._served.items(), key=lambda row: row[1])[-100:])
        return self._wishes.pop(key).draw

    def next_due(self) -> float | None:
        """When the next wish is due; None without one."""
        return min((wish.due for wish in self._wishes.values()), default=None)


def client_of(key: Hashable) -> Hashable:
    return key[0] if isinstance(key, tuple) and key else key


@dataclass
class Purse:
    """CPU seconds that may be spent, filled at a rate."""

    rate: float
    """CPU seconds a second."""
    level: float = 0.0
    """CPU seconds left; < 0: owed."""

    def note(self, seconds: float, spent: float) -> None:
        """So many seconds went by, and so many CPU seconds were spent in them."""
        self.level = min(self.level + self.rate * seconds - spent, self.rate * SAVED_SECONDS)

    def wait(self) -> float:
        """Seconds until nothing is owed."""
        return max(0.0, -self.level / self.rate)


@dataclass
class Budget:
    """Keeps the viewer to its share of the machine while a training runs, and accounts for what it took."""

    cores: int = field(default_factory=processors)
    training: bool = False
    seconds: float = 0.0
    """Wall seconds of training that were accounted for."""
    drawn: float = 0.0
    """CPU seconds that pictures took in them."""
    used: float = 0.0
    """CPU seconds that the whole process took in them."""
    pictures: int = 0
    """Pictures drawn in them."""

    def __post_init__(self) -> None:
        self._all, self._own = Purse(SHARE * self.cores), Purse(LEAST_SHARE * self.cores)
        self._now: float | None = None
        self._cpu = 0.0

    def look(self, now: float, cpu: float, training: bool) -> float:
        """Seconds to wait before the next picture. now: wall clock; cpu: CPU seconds of this process so far."""
        if self.training and self._now is not None:
            wall, spent = now - self._now, cpu - self._cpu
            self.seconds, self.used = self.seconds + wall, self.used + spent
            self._all.note(wall, spent)
            self._own.note(wall, 0.0)
        elif training:  # what was spent before it began is not held against the viewer
            self._all.level = self._own.level = 0.0
        self.training, self._now, self._cpu = training, now, cpu
        return min(self._all.wait(), self._own.wait()) if training else 0.0

    def paid(self, cpu: float) -> None:
        """A picture took `cpu` seconds."""
        if self.training:
            self._own.level -= cpu
            self.drawn += cpu
            self.pictures += 1


class Desk:
    """The queue and the budget together: says what to draw now, or how long to wait."""

    def __init__(self) -> None:
        self.queue, self.budget = Queue(), Budget()

    def turn(self, now: float, cpu: float, training: bool) -> tuple[Callable[[], None] | None, float | None]:
        """(draw, None), or (None, seconds to wait for something to change; None: until somebody asks)."""
        owed, due = self.budget.look(now, cpu, training), self.queue.next_due()
        if due is None:
            return None, LONGEST_WAIT if training else None
        wait = max(due - now, owed)
        if wait <= 0 and (draw := self.queue.take(now)) is not None:
            return draw, None
        return None, min(max(wait, 0.001), LONGEST_WAIT)
