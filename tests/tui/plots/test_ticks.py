"""Ticks sit at 1, 2, 5 × 10ⁿ, their labels differ, fit the gutter and say the value they stand at."""

import math
import re

from hypothesis import assume, given
from hypothesis import strategies as st

from tui.plots.ticks import (
    LABEL_WIDTH,
    Tick,
    clock_ticks,
    duration_ticks,
    linear_ticks,
    log_ticks,
    nice_step,
    number_labels,
)

SUFFIX = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18, "Z": 1e21, "Y": 1e24}


def meaning(label: str) -> float:
    match = re.fullmatch(r"(-?\d+\.?\d*)(?:e(-?\d+))?([kMGTPEZY]?)", label)
    assert match, label
    return float(match[1]) * 10 ** int(match[2] or 0) * SUFFIX[match[3]]


def well_formed(ticks: list[Tick], low: float, high: float) -> None:
    values = [tick.value for tick in ticks]
    slack = (high - low) * 1e-6
    assert all(low - slack <= value <= high + slack for value in values)
    assert values == sorted(set(values))
    labels = [tick.label for tick in ticks]
    assert len(set(labels)) == len(labels)


@given(st.floats(1e-12, 1e15), st.integers(1, 12))
def test_steps_are_1_2_or_5_times_a_power_of_ten(span: float, count: int) -> None:
    step = nice_step(span, count)
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - nice) for nice in (1, 2, 5)) < 1e-6
    assert span / step <= count * (1 + 1e-6)
    assert span / step > count / 2.6, "no coarser than needed"


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(1, 10))
def test_linear_labels_say_where_they_stand(low: float, span: float, count: int) -> None:
    assume(span > 1e-4 * abs(low))
    high = low + span
    ticks = linear_ticks(low, high, count, LABEL_WIDTH)
    well_formed(ticks, low, high)
    assert len(ticks) <= count + 1
    step = nice_step(span, count)
    for tick in ticks:
        assert len(tick.label) <= LABEL_WIDTH
        assert abs(meaning(tick.label) - tick.value) < step / 2
    assert ticks or span < 0.5 * abs(low), "an ordinary range is never left without ticks"


@given(st.floats(1e-9, 1e9), st.floats(1.001, 1e12), st.integers(1, 8))
def test_log_ticks_are_in_range_and_few(low: float, ratio: float, count: int) -> None:
    high = low * ratio
    ticks = log_ticks(low, high, count)
    well_formed(ticks, low, high)
    assert len(ticks) <= count + 4
    for tick in ticks:
        assert meaning(tick.label) == tick.value or abs(meaning(tick.label) / tick.value - 1) < 0.51


def test_labels_read_as_people_write_them() -> None:
    assert number_labels([0, 5000, 10000], 5000) == ["0", "5k", "10k"]
    assert number_labels([800_000, 805_000], 5000) == ["800k", "805k"]
    assert number_labels([0.82, 0.825], 0.005) == ["0.820", "0.825"]
    assert number_labels([1.2e6, 3.4e6], 2e5) == ["1.2M", "3.4M"]
    assert number_labels([-0.5, 0.0, 0.5], 0.5) == ["-0.5", "0", "0.5"]
    assert number_labels([2e-5, 4e-5], 2e-5) == ["2e-5", "4e-5"]
    assert [tick.label for tick in log_ticks(0.5, 20, 6)] == ["0.5", "1", "2", "5", "10", "20"]
    assert [tick.label for tick in log_ticks(1, 1e9, 4)] == ["1", "1k", "1M", "1G"]


def test_spans_of_time_have_ticks_at_whole_minutes_and_hours() -> None:
    assert [tick.label for tick in duration_ticks(0, 8000, 4)] == ["0s", "1h", "2h"]
    assert [tick.label for tick in duration_ticks(0, 100, 4)] == ["0s", "30s", "1m", "1m30"]


def test_clock_ticks_are_at_round_local_times(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    import time

    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        start = 1_790_000_000.0
        ticks = clock_ticks(start, start + 3600, 4)
        assert len(ticks) >= 3
        assert all(re.fullmatch(r"\d\d:(00|15|30|45)", tick.label) for tick in ticks)
        seconds = clock_ticks(start, start + 40, 5)
        assert all(re.fullmatch(r"\d\d:\d\d:[0-5]0", tick.label) for tick in seconds)
    finally:
        monkeypatch.undo()
        time.tzset()
