"""Which runs are compared, and how: letters, order, places."""

import pytest

from nanochat.common.errors import UserError
from remote.runs import RunRow
from tui.data.compare.state import MOST_PLACES, CompareState

ROWS = [RunRow(f"box/r{at}", "box", f"r{at}", name=f"n{at}", stage="base_train") for at in range(9)]


def state(count: int = 3) -> CompareState:
    made = CompareState([f"box/r{at}" for at in range(count)])
    made.see(ROWS)
    return made


def test_a_run_keeps_its_letter_when_the_order_changes() -> None:
    one = state()
    one.rotate()
    assert one.comparison().letters == "BCA" and one.comparison().names == ["n1", "n2", "n0"]
    one.remove("box/r1")
    one.add("box/r7")
    one.see(ROWS)
    assert one.comparison().letters == "CAB"


def test_two_to_six_runs() -> None:
    with pytest.raises(UserError, match="at least two"):
        CompareState(["box/r0"])
    six = state(6)
    with pytest.raises(UserError, match="6 runs are compared already"):
        six.add("box/r8")
    two = state(2)
    with pytest.raises(UserError, match="two runs are the least"):
        two.remove("box/r0")


def test_a_place_is_kept_once_and_the_last_ones_stay() -> None:
    one = state()
    assert one.keep_place("step", 5.0) and not one.keep_place("step", 5.0) and not one.places_on("step")
    for at in range(20):
        one.keep_place("step", float(at))
    assert one.places_on("step") == tuple(float(at) for at in range(20 - MOST_PLACES, 20))


def test_a_place_is_one_of_its_axis() -> None:
    one = state()
    assert one.keep_place("step", 5.0) and one.keep_place("tokens", 5.0)
    one.drop_places("step")
    assert not one.places_on("step") and one.places_on("tokens") == (5.0,)


def test_plots_draw_runs_as_they_are_until_something_is_made_of_them() -> None:
    one = state(6)
    assert one.drawing(one.comparison(), 4) is None
    assert one.colours(one.comparison(), 4) == [0, 1, 2, 3, None, None]
    one.gap = True
    drawing = one.drawing(one.comparison(), 4)
    assert drawing is not None and drawing.labels == ("A", "B-A", "C-A", "D-A", "E-A")
    assert one.colours(one.comparison(), 4) == [None, 0, 1, 2, 3, None]


def test_looks_that_make_no_sense_are_left_out() -> None:
    one = state()
    one.set_looks({"band": "stderr", "differences": True})
    assert (one.band, one.only_differences) == ("stderr", True)
    one.set_looks({"band": "both", "differences": "x"})
    assert (one.band, one.only_differences) == ("stderr", False)
    one.set_looks(None)
