"""Who is drawn for next, and that the viewer keeps to its share of the CPU while a training runs: on a clock of our own."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from viewer.queue import LEAST_SHARE, SHARE, Budget, Desk, Queue
from viewer.shelf import Shelf


def share(budget: Budget, cpu: float) -> float:
    """CPU seconds as a share of the machine while a training ran; 0 when none ran."""
    return cpu / (budget.cores * budget.seconds) if budget.seconds > 0 else 0.0


class Machine:
    """A clock and a counter of CPU seconds that move when somebody draws or waits."""

    def __init__(self, cores: int = 2) -> None:
        self.desk, self.now, self.cpu, self.drawn = Desk(), 100.0, 50.0, []
        self.desk.budget = Budget(cores)
        self.noise = 0.0
        """CPU seconds a second that the process spends beside pictures."""

    def picture(self, name: str, cost: float) -> Callable[[], None]:
        """A picture that takes `cost` CPU seconds, on one core."""

        def draw() -> None:
            self.drawn.append(name)
            self.pass_time(cost)
            self.cpu += cost

        return draw

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.cpu += self.noise * seconds

    def work(self, seconds: float, *, training: bool, then: Callable[[], None] = lambda: None) -> None:
        """The painter's loop for so many seconds of the clock; `then` is called after each picture."""
        end = self.now + seconds
        while self.now < end:
            draw, wait = self.desk.turn(self.now, self.cpu, training)
            if draw is None:
                self.pass_time(min(1.0 if wait is None else wait, end - self.now + 1e-6))
                continue
            before = self.cpu
            draw()
            self.desk.budget.paid(self.cpu - before)
            then()
        self.desk.budget.look(self.now, self.cpu, training)


@pytest.mark.parametrize("cost", [0.02, 0.3, 4.0])
@pytest.mark.parametrize("cores", [1, 2, 16])
def test_pictures_take_a_tenth_of_the_machine_while_a_training_runs(cost: float, cores: int) -> None:
    machine = Machine(cores)
    machine.cpu = 1e4  # what it spent before is not held against it

    def ask() -> None:
        for client in range(20):
            machine.desk.queue.ask((client, "rest"), machine.picture("x", cost), machine.now)

    ask()
    machine.work(600, training=True, then=ask)
    budget = machine.desk.budget
    assert budget.seconds == pytest.approx(600, rel=0.01) and budget.pictures == len(machine.drawn)
    assert budget.drawn == pytest.approx(len(machine.drawn) * cost)
    most = min(SHARE, 1 / cores)  # one at a time is no more than one core
    assert share(budget, budget.drawn) <= SHARE + cost / (600 * cores) + 1e-6
    assert share(budget, budget.drawn) > 0.9 * most - cost / (600 * cores), "and what may be used is used"


def test_the_rest_of_the_viewer_counts_too() -> None:
    machine = Machine(2)
    machine.noise = 0.1  # a tenth of one core for messages: half of the share

    def ask() -> None:
        machine.desk.queue.ask("a", machine.picture("a", 0.2), machine.now)

    ask()
    machine.work(600, training=True, then=ask)
    assert share(machine.desk.budget, machine.desk.budget.used) == pytest.approx(SHARE, rel=0.03)
    assert share(machine.desk.budget, machine.desk.budget.drawn) == pytest.approx(SHARE / 2, rel=0.12)
    machine.noise, machine.desk.budget = 0.5, Budget(2)
    machine.work(600, training=True, then=ask)
    assert share(machine.desk.budget, machine.desk.budget.drawn) == pytest.approx(LEAST_SHARE, rel=0.3), (
        "somebody is looking"
    )


def test_without_a_training_nobody_waits() -> None:
    machine = Machine()

    def ask() -> None:
        machine.desk.queue.ask("a", machine.picture("a", 0.5), machine.now)

    ask()
    machine.work(10, training=False, then=ask)
    assert len(machine.drawn) == 20 and share(machine.desk.budget, machine.desk.budget.drawn) == 0
    machine.work(9, training=True, then=ask)
    assert len(machine.drawn) - 20 <= 5 and machine.desk.budget.look(machine.now, machine.cpu, True) > 0.5, "it owes"
    before = len(machine.drawn)
    machine.work(10, training=False, then=ask)
    assert len(machine.drawn) - before == 20, "a debt ends with the training"


def test_idle_time_saves_up_for_no_more_than_a_moment() -> None:
    machine = Machine(2)
    machine.work(500, training=True)
    start = machine.now

    def ask() -> None:
        machine.desk.queue.ask("a", machine.picture("a", 0.1), machine.now)

    ask()
    machine.work(5, training=True, then=ask)
    spent = 0.1 * len(machine.drawn)
    assert spent <= SHARE * 2 * (machine.now - start) + SHARE * 2 * 1.0 + 0.1


def test_clients_take_turns_and_the_newest_wish_of_each_counts() -> None:
    queue, drawn = Queue(), []
    for i in range(3):
        queue.ask(("greedy", "rest"), lambda i=i: drawn.append(f"greedy {i}"), 0)
    for what in ("a", "b", "c"):
        queue.ask(("greedy", what), lambda w=what: drawn.append(f"greedy {w}"), 1)
    queue.ask(("modest", "rest"), lambda: drawn.append("modest"), 2)
    queue.ask(("greedy", "now"), lambda: drawn.append("greedy now"), 3, urgent=True)
    queue.ask(("late", "rest"), lambda: drawn.append("late"), 50)
    while draw := queue.take(10):
        draw()
    assert drawn == ["greedy now", "modest", "greedy 2", "greedy a", "greedy b", "greedy c"]
    assert queue.next_due() == 50
    queue.forget(lambda key: key == ("late", "rest"))
    assert queue.next_due() is None and queue.take(100) is None


def test_twenty_clients_are_served_alike() -> None:
    rng, queue, served = np.random.default_rng(0), Queue(), np.zeros(20, int)
    for now in range(2000):
        for client in range(20):
            if client == 0 or rng.random() < 0.5:  # one asks for ever more
                for what in range(5 if client == 0 else 1):
                    queue.ask((client, what), lambda c=client: served.__setitem__(c, served[c] + 1), now)
        draw = queue.take(now)
        assert draw is not None
        draw()
    assert served.sum() == 2000 and served.max() - served.min() <= 8


@dataclass
class Twin:
    value: float


def test_a_picture_that_many_ask_for_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, made, scenes = Shelf(3), [], [Twin(1.0), Twin(1.0)]

    def make(what: str) -> str:
        made.append(what)
        return what

    for _ in range(5):
        for i, scene in enumerate(scenes):  # equal, yet not the same
            assert shelf.get((scene, "photo"), lambda i=i: make(f"scene {i}")) == f"scene {i}"
    assert made == ["scene 0", "scene 1"]
    for name in ("a", "b"):
        shelf.get((scenes[1], name), lambda name=name: make(name))
    shelf.get((scenes[1], "photo"), lambda: make("again"))
    shelf.get((scenes[0], "photo"), lambda: make("anew"))
    assert made[2:] == ["a", "b", "anew"], "what was asked for longest ago goes first"
    gone = weakref.ref(scenes[0])
    scenes.pop(0)
    assert gone() is None, "what a picture shows is not kept alive"
    monkeypatch.setattr("builtins.id", lambda _: 7)
    other = Twin(2.0)
    assert shelf.get((scenes[0], "x"), lambda: "one") == "one" and shelf.get((other, "x"), lambda: "two") == "two"
