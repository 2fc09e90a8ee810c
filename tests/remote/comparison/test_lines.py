"""Lines are compared where both have points, and nowhere else."""

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote.comparison.lines import Line, band, common_range, gap

finite = st.floats(-1e6, 1e6, allow_nan=False)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    steps = sorted(draw(st.sets(st.integers(0, 200), min_size=1, max_size=30)))
    return Line.of(
        [float(step) for step in steps], draw(st.lists(finite, min_size=len(steps), max_size=len(steps)))
    )


def by_hand(line: Line, x: float) -> float:
    """Linear interpolation, spelled out."""
    points = list(zip(line.x, line.y, strict=True))
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= x <= x1:
            return float(y0 + (x - x0) / (x1 - x0) * (y1 - y0))
    return float(points[0][1])


@given(lines(), lines())
def test_a_gap_is_that_of_both_interpolated_and_never_beyond_either(one: Line, other: Line) -> None:
    found = gap(one, other)
    limits = common_range((one, other))
    if limits is None:
        assert not len(found)
        return
    assert (found.first, found.last) == limits
    inside = {x for x in (*one.x, *other.x) if limits[0] <= x <= limits[1]}
    assert set(found.x) == inside | set(limits)
    for x, y in zip(found.x, found.y, strict=True):
        assert y == pytest.approx(by_hand(other, x) - by_hand(one, x), rel=1e-9, abs=1e-6)


@given(lines(), st.floats(-10, 210))
def test_there_is_no_value_before_the_first_point_or_after_the_last(line: Line, x: float) -> None:
    value = line.at(x)
    if line.first <= x <= line.last:
        assert value == pytest.approx(by_hand(line, x), rel=1e-9, abs=1e-6)
    else:
        assert value is None


def test_a_value_between_two_points_is_known_as_interpolated() -> None:
    line = Line.of([0, 50, 100], [3, 2, 1])
    assert line.has(50) and line.at(50) == 2
    assert not line.has(75) and line.at(75) == 1.5


@given(st.lists(lines(), min_size=2, max_size=4))
def test_a_band_holds_the_mean_and_is_what_its_name_says(members: list[Line]) -> None:
    low_high, error = band(members, "range"), band(members, "stderr")
    for at, x in enumerate(low_high.mean.x):
        heights = [by_hand(line, x) for line in members]
        assert low_high.low[at] == pytest.approx(min(heights), rel=1e-9, abs=1e-6)
        assert low_high.high[at] == pytest.approx(max(heights), rel=1e-9, abs=1e-6)
        assert low_high.mean.y[at] == pytest.approx(statistics.mean(heights), rel=1e-9, abs=1e-6)
        half = statistics.stdev(heights) / math.sqrt(len(heights))
        assert error.high[at] - error.mean.y[at] == pytest.approx(half, rel=1e-6, abs=1e-6)


def test_the_band_of_one_line_is_the_line() -> None:
    line = Line.of([0, 1], [5, 6])
    for kind in ("range", "stderr"):
        found = band([line], kind)  # type: ignore[arg-type]
        assert found.count == 1 and list(found.low) == list(found.high) == [5, 6]


def test_lines_that_do_not_overlap_have_neither_gap_nor_band() -> None:
    one, other = Line.of([0, 10], [1, 2]), Line.of([20, 30], [1, 2])
    assert not len(gap(one, other)) and not len(band([one, other], "range").mean)


def test_over_another_axis_heights_stay_and_a_place_that_does_not_rise_is_left_out() -> None:
    line = Line.of([0, 10, 20, 30], [4, 3, 2, 1])
    moved = line.over(Line.of([0, 10, 20, 40], [0, 1000, 1000, 3000]))
    assert list(moved.x) == [0, 1000, 2000] and list(moved.y) == [4, 2, 1]


def test_beyond_the_known_totals_a_place_follows_the_last_step() -> None:
    moved = Line.of([0, 3], [1, 2]).over(Line.of([1, 2], [512, 1024]))
    assert np.allclose(moved.x, [0, 1536])
