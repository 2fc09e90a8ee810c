"""Full collections of garbage come while nobody types, and are not put off for ever."""

import gc

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.data import garbage
from tui.data.garbage import APART, DUE, OVERDUE, QUIET, SETTLED, IdleCollector, free_strips


class Collector:
    """Stands in for Python's own: counts what is asked of it."""

    def __init__(self) -> None:
        self.waiting = 0
        self.collected = self.frozen = 0
        self.enabled = True

    def get_count(self) -> tuple[int, int, int]:
        return 0, 0, self.waiting

    def collect(self) -> None:
        self.collected += 1
        self.waiting = 0

    def freeze(self) -> None:
        self.frozen += 1

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = True

    def set_threshold(self, *_: int) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(garbage.time, "monotonic", lambda: now[0])
    return now


def test_it_collects_when_due_and_nobody_types(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    python = Collector()
    monkeypatch.setattr(garbage, "gc", python)
    garbage.hold_collections()
    assert not python.enabled
    idle = IdleCollector()
    assert not python.enabled, "not before the first frame"
    clock[0] += SETTLED + 1
    idle.tick(last_input=clock[0])
    assert python.enabled
    assert (python.collected, python.frozen) == (0, 1), "a key was just pressed"
    idle.tick(last_input=clock[0] - QUIET - 1)
    assert (python.collected, python.frozen) == (1, 2), "what is there by now stays"
    python.waiting = DUE
    idle.tick(last_input=0)
    assert python.collected == 1, "too soon after the last one"
    clock[0] += APART + 1
    idle.tick(last_input=clock[0])
    assert python.collected == 1, "somebody types"
    idle.tick(last_input=0)
    assert python.collected == 2
    python.waiting = OVERDUE
    idle.tick(last_input=clock[0])
    assert python.collected == 3, "not put off any longer"
    idle.tick(last_input=0)
    assert python.collected == 3, "nothing to collect"


def test_a_strip_that_was_painted_is_gone_without_a_collection() -> None:
    free_strips()
    free_strips()  # a second app in a process changes nothing more
    style = Style(bold=True)

    def paint() -> list[str]:
        strip = Strip([Segment("left"), Segment("right", style)])
        same = strip.adjust_cell_length(9).crop_extend(0, 9, style)
        assert same.divide([9]) == [strip] and same.divide([9, 12]) == [strip]
        pieces = [*strip.divide([4, 9]), strip.adjust_cell_length(12, style), strip.crop_extend(2, 11, style)]
        return [piece.text for piece in pieces]

    gc.collect()
    gc.disable()
    try:
        before = sum(type(one) is Strip for one in gc.get_objects())
        assert paint() == ["left", "right", "leftright   ", "ftright  "]
        assert sum(type(one) is Strip for one in gc.get_objects()) == before
    finally:
        gc.enable()
