"""Pace: how far along its schedules a training run is, when it counts steps and when it counts time.

Progress runs from 0 to 1 and every schedule is a function of it. Counting steps, each step is worth 1 / steps. Counting
time, a step is worth its share of the steps that the remaining time will allow, estimated from the time of the last
steps and from how much dearer later steps will be: so progress grows evenly with steps in both cases, and the end of
the time is always the end of the schedules. A step that took many times as long as its neighbours (the machine slept)
uses up its time but says nothing of the steps to come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

RECENT, FEWEST = 40, 4
"""Steps whose times are averaged, and how many must be known before progress is made."""
OUTLIER = 4.0
"""Times the median beyond which a step's time counts as this much."""
GRID = 100
"""Points at which the cost ahead is sampled."""


@dataclass
class Pace:
    """Mutable. `cost(progress)` is the relative time of a step there, in any unit."""

    steps: int | None
    """Steps in all, or None when time is counted."""
    seconds: float | None
    """Time in all, by the clock; used when steps is None."""
    clock: Callable[[], float]
    cost: Callable[[float], float]
    step: int = 0
    progress: float = 0.0
    spent: float = 0.0
    """Seconds by the clock, resumed time counted in."""
    _units: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    """Seconds that the last steps would have taken where cost is 1."""
    _last: float = 0.0

    def start(self) -> None:
        """Begin, or go on, to count time."""
        self._last = self.clock()

    @property
    def over(self) -> bool:
        return self.progress >= 1

    def tick(self) -> None:
        """One step is done."""
        now = self.clock()
        took, self._last = now - self._last, now
        self.spent += took
        self.step += 1
        if self.steps is not None:
            self.progress = min(1.0, self.step / self.steps)
            return
        assert self.seconds is not None
        self._units.append(took / self.cost(self.progress))
        left = self.seconds - self.spent
        if left > 0 and self.step < FEWEST:
            return
        usual = median(self._units)
        unit = fmean(min(u, OUTLIER * usual) for u in self._units)
        ahead = [self.progress + (i + 0.5) / GRID * (1 - self.progress) for i in range(GRID)]
        mean = sum(self.cost(p) for p in ahead) / GRID
        steps_left = left / max(unit * mean, 1e-9)
        self.progress = 1.0 if steps_left < 1 else min(1.0, self.progress + (1 - self.progress) / (steps_left + 1))

    def state(self) -> dict[str, Any]:
        """JSON values for a checkpoint."""
        return {"step": self.step, "progress": self.progress, "spent": self.spent, "units": list(self._units)}

    def restore(self, state: dict[str, Any]) -> None:
        self.step, self.progress = int(state["step"]), float(state["progress"])
        self.spent = float(state["spent"])
        self._units = deque((float(unit) for unit in state["units"]), maxlen=RECENT)
