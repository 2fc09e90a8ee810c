"""A metric series keeps every spike, hides what a later attempt superseded, smooths over all its points."""

import math
import random
import time
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.smoothing import ema
from remote.metrics import better, by_importance
from tui.plots.points import Reading, Row
from tui.plots.pyramid import MinMaxPyramid
from tui.plots.run_metrics import RunMetrics
from tui.plots.series import Series

FINITE = st.floats(-1e12, 1e12, allow_nan=False)
BROKEN = st.sampled_from(["NaN", "Infinity", "-Infinity", math.nan, math.inf, -math.inf])


@st.composite
def logs(draw: st.DrawFn, broken: bool = True) -> list[Row]:
    """A metric's rows as a run with resumes writes them: an attempt starts within the last one."""
    rows: list[Row] = []
    step = draw(st.integers(0, 5))
    for attempt in range(1, draw(st.integers(1, 4)) + 1):
        for _ in range(draw(st.integers(0, 40))):
            value = draw(st.one_of(FINITE, BROKEN) if broken else FINITE)
            rows.append((len(rows), step, 1000.0 + len(rows), value, attempt))
            step += draw(st.integers(0, 9))
        step = draw(st.integers(0, step))
    return rows


def surviving(rows: list[Row]) -> list[Row]:
    """The rows no later attempt, and no step back, superseded: restated without any cleverness."""
    kept: list[Row] = []
    for row in rows:
        if kept and (row[4] > kept[-1][4] or row[1] < kept[-1][1]):
            kept = [old for old in kept if old[1] < row[1]]
        kept.append(row)
    return kept


def finite(rows: list[Row]) -> list[Row]:
    return [row for row in rows if not isinstance(row[3], str) and math.isfinite(row[3])]


def series_of(rows: list[Row]) -> Series:
    series = Series("train/loss")
    series.extend(rows)
    return series


@given(st.lists(FINITE, min_size=1, max_size=20_000), st.data())
def test_extremes_of_any_range_are_those_of_the_values(values: list[float], data: st.DataObject) -> None:
    values = values * (1 + 5000 // len(values))
    pyramid = MinMaxPyramid()
    cut = data.draw(st.integers(0, len(values)))
    pyramid.extend(array("d", values[:cut]))
    for value in values[cut : cut + 200]:
        pyramid.append(value)
    pyramid.extend(array("d", values[cut + 200 :]))
    length = data.draw(st.integers(1, len(values)))
    pyramid.truncate(length)
    start = data.draw(st.integers(0, length - 1))
    stop = data.draw(st.integers(start + 1, length))
    assert pyramid.extremes(start, stop) == (min(values[start:stop]), max(values[start:stop]))


@given(logs(), st.integers(0, 100))
def test_points_a_later_attempt_superseded_leave_the_line_but_are_kept(rows: list[Row], split: int) -> None:
    series = Series()
    series.extend(rows[:split])
    for _seq, step, t, value, attempt in rows[split:]:
        series.append(step, t, value, attempt)
    expected = finite(surviving(rows))
    assert list(series.values) == [row[3] for row in expected]
    assert list(series.steps) == [row[1] for row in expected]
    assert list(series.times) == [row[2] for row in expected]
    aside = [value for part in series.superseded for value in part.values]
    assert sorted(aside + list(series.values)) == sorted(row[3] for row in finite(rows))
    assert len(series.marks) + sum(len(part.marks) for part in series.superseded) == len(rows) - len(
        finite(rows)
    )


@given(logs(), st.sampled_from([0.5, 0.9, 0.99]))
def test_smoothing_goes_over_the_surviving_points_only(rows: list[Row], beta: float) -> None:
    live, late = Series(), series_of(rows)
    live.set_smoothing(beta)
    live.extend(rows)
    late.set_smoothing(beta)
    mean = weight = 0.0
    for index, row in enumerate(finite(surviving(rows))):
        mean, weight = beta * mean + (1 - beta) * row[3], beta * weight + (1 - beta)
        assert late.smoothed_at(index) == pytest.approx(mean / weight, rel=1e-9, abs=1e-3)
        assert live.smoothed_at(index) == pytest.approx(mean / weight, rel=1e-9, abs=1e-3)


@pytest.mark.parametrize("split", [0, 1, 63, 64, 1000, 8_000])
def test_a_long_average_goes_over_blocks_and_draws_the_same(split: int) -> None:
    """A time constant of 2,000 points: kept at every 64th, told at each, wherever points were added."""
    rng, beta = random.Random(split), 1 - 1 / 2000
    values = [2 + 3 * math.exp(-i / 900) + rng.gauss(0, 0.1) for i in range(9_000)]
    rows: list[Row] = [(i, i, float(i), value, 1) for i, value in enumerate(values)]
    series = series_of(rows[:split])
    series.set_smoothing(beta)
    for start in range(split, len(rows), 517):
        series.extend(rows[start : start + 517])
    cut = 7_001
    series.extend([(10_000 + i, cut + i, 10_000.0 + i, 5.0, 2) for i in range(400)])
    kept = values[:cut] + [5.0] * 400
    exact, _, _ = ema(kept, beta)
    worst = max(abs(series.smoothed_at(index) - exact[index]) for index in range(len(kept)))
    assert len(series) == len(kept)
    assert worst < 1e-3, "less than a thousandth of the smallest plot"
    edges = [len(kept) * i / 60 for i in range(61)]
    shrunk = series.downsample(edges, smooth=True)
    exactly = series_of([(i, i, float(i), value, 1) for i, value in enumerate(exact)]).downsample(edges)
    for name in (
        "first",
        "low",
        "high",
        "last",
    ):  # the first points' average is of a few: it jumps in a block
        assert getattr(shrunk, name)[1:] == pytest.approx(getattr(exactly, name)[1:], abs=1e-2)
    assert shrunk.last == pytest.approx(exactly.last, abs=1e-3)


def test_the_average_of_a_constant_is_that_constant_from_the_first_point_on() -> None:
    smoothed, _, _ = ema([3.0] * 50, 0.98)
    assert list(smoothed) == pytest.approx([3.0] * 50)


@given(logs(), st.integers(1, 60), st.data())
def test_every_column_keeps_first_lowest_highest_and_last(
    rows: list[Row], columns: int, data: st.DataObject
) -> None:
    series = series_of(rows)
    low = data.draw(st.integers(-5, 200))
    high = data.draw(st.integers(low + 1, low + 400))
    edges = [low + (high - low) * index / columns for index in range(columns)] + [float(high)]
    shrunk = series.downsample(edges)
    points = finite(surviving(rows))
    seen = {}
    for column in range(columns):
        last = column == columns - 1
        here = [
            p[3]
            for p in points
            if edges[column] <= p[1] and (p[1] < edges[column + 1] or (last and p[1] <= high))
        ]
        if here:
            seen[column] = (here[0], min(here), max(here), here[-1])
    got = zip(shrunk.first, shrunk.low, shrunk.high, shrunk.last, strict=True)
    assert dict(zip(shrunk.column, got, strict=True)) == seen
    before = [(p[1], p[3]) for p in points if p[1] < low]
    assert shrunk.before == (before[-1] if before else None)


@given(logs(), st.integers(1, 30))
def test_a_log_axis_drops_what_it_cannot_show_and_counts_it(rows: list[Row], columns: int) -> None:
    series = series_of(rows)
    points = finite(surviving(rows))
    edges = [1000.0 * index / columns for index in range(columns + 1)]
    shrunk = series.downsample(edges, positive=True)
    assert shrunk.dropped == sum(p[3] <= 0 for p in points)
    assert all(value > 0 for value in (*shrunk.first, *shrunk.low, *shrunk.high, *shrunk.last))
    positives = [p[3] for p in points if p[3] > 0]
    assert max(shrunk.high, default=None) == max(positives, default=None)
    assert min(shrunk.low, default=None) == min(positives, default=None)


@pytest.mark.slow
def test_a_spike_of_one_point_in_a_million_survives() -> None:
    rows = [(i, i, float(i), 2.0, 1) for i in range(1_000_000)]
    rows[654_321] = (654_321, 654_321, 654_321.0, 9.5, 1)
    series = series_of(rows)
    shrunk = series.downsample([i * 1e6 / 160 for i in range(161)])
    assert max(shrunk.high) == 9.5
    assert shrunk.column[shrunk.high.index(9.5)] == int(654_321 / 1e6 * 160)
    stats = series.stats()
    assert stats is not None and stats.highest == Reading(654_321, 654_321, 9.5)


@pytest.mark.slow
def test_a_million_points_shrink_in_milliseconds() -> None:
    rng = random.Random(1)
    series = series_of([(i, i, float(i), rng.random(), 1) for i in range(1_000_000)])
    edges = [i * 1e6 / 400 for i in range(401)]
    series.stats()  # the first look makes the blocks
    started = time.perf_counter()
    series.downsample(edges)
    assert time.perf_counter() - started < 0.05


def test_a_sparse_metric_stays_sparse() -> None:
    series = series_of([(i, i * 250, float(i), 1.0 / (i + 1), 1) for i in range(8)])
    shrunk = series.downsample([i * 10.0 for i in range(201)])
    assert shrunk.column == [0, 25, 50, 75, 100, 125, 150, 175]
    assert shrunk.points == 8


def test_a_broken_value_cuts_the_line_where_it_happened() -> None:
    values: list[float | str] = [1.0, 2.0, "NaN", 3.0, 4.0]
    series = series_of([(i, i, float(i), value, 1) for i, value in enumerate(values)])
    shrunk = series.downsample([0, 1, 2, 3, 4, 5])
    assert shrunk.column == [0, 1, 3, 4]
    assert shrunk.broken == [False, False, True, False]
    assert [(mark.step, mark.kind) for mark in series.marks] == [(2, "NaN")]
    zoomed = series.downsample([3, 4, 5])
    assert zoomed.broken[0], "a zoomed line must not be led across the gap"


@given(logs(broken=False), st.integers(-10, 300))
def test_the_value_at_a_step_is_the_nearest_point(rows: list[Row], step: int) -> None:
    reading = series_of(rows).value_at(step)
    points = surviving(rows)
    if not points:
        assert reading is None
    else:
        assert reading is not None
        assert abs(reading.step - step) == min(abs(p[1] - step) for p in points)
        assert (reading.step, reading.t, reading.value) in [(p[1], p[2], p[3]) for p in points]


@given(logs())
def test_statistics_are_those_of_the_surviving_points(rows: list[Row]) -> None:
    stats = series_of(rows).stats()
    values = [row[3] for row in finite(surviving(rows))]
    if not values:
        assert stats is None
    else:
        assert stats is not None
        assert (stats.count, stats.last.value) == (len(values), values[-1])
        assert (stats.lowest.value, stats.highest.value) == (min(values), max(values))


def test_an_unknown_smoothing_is_refused() -> None:
    with pytest.raises(ValueError, match="decay"):
        Series().set_smoothing(1.0)


def run_of_100_steps() -> RunMetrics:
    run = RunMetrics("d4")
    steps = range(100)
    run.ingest(
        {
            "train/loss": [(i, i, 5000.0 + 2 * i, 3.0 - i / 100, 1) for i in steps],
            "train/total_tokens": [(i, i, 5000.0 + 2 * i, i * 4096, 1) for i in steps],
            "train/total_time": [(i, i, 5000.0 + 2 * i, i * 1.5, 1) for i in steps],
            "gpu/0/util": [(i, None, 5000.0 + 10 * i, 90 + i % 3, 1) for i in range(20)],
        }
    )
    return run


def test_the_x_axes_are_functions_of_the_step() -> None:
    run = run_of_100_steps()
    assert run.axes() == ["step", "tokens", "active time", "clock"]
    assert run.x_range("step") == (0, 99)
    assert run.x_range("tokens") == (0, 99 * 4096)
    assert run.x_range("active time") == (0, 148.5)
    assert run.x_range("clock") == (5000, 5198)
    loss = run.series["train/loss"]
    edges, by = run.edges(loss, "tokens", [0, 2048, 4096 * 50])
    assert (edges, by) == ([0, 0.5, 50], "step")
    assert run.x_of(loss.at(7), "tokens") == 7 * 4096
    assert run.x_of(loss.at(7), "clock") == 5014


def test_telemetry_without_steps_is_placed_by_time() -> None:
    run = run_of_100_steps()
    util = run.series["gpu/0/util"]
    edges, by = run.edges(util, "step", [10, 20])
    assert (edges, by) == ([5020, 5040], "time")
    assert run.x_of(util.at(3), "step") == 15
    assert run.x_of(util.at(3), "tokens") == 15 * 4096


def test_a_resume_supersedes_metrics_that_have_no_new_point_yet() -> None:
    run = RunMetrics()
    run.ingest(
        {"train/loss": [(i, i, float(i), 1.0, 1) for i in range(100)], "val/bpb": [(9, 90, 90.0, 0.5, 1)]}
    )
    run.ingest({"train/loss": [(200, 60, 200.0, 1.5, 2)]})
    assert list(run.series["train/loss"].steps)[-2:] == [59, 60]
    assert len(run.series["val/bpb"]) == 0
    assert [list(part.values) for part in run.series["val/bpb"].superseded] == [[0.5]]
    run.ingest({"val/bpb": [(300, 90, 300.0, 0.4, 2)]})
    assert list(run.series["val/bpb"].values) == [0.4], "the new attempt's own point stays"


def test_the_metrics_people_look_at_come_first() -> None:
    names = ["train/total_flops", "core/arc", "train/mfu", "val/bpb", "train/loss", "gpu/0/util"]
    assert by_importance(names) == [
        "train/loss",
        "val/bpb",
        "train/mfu",
        "core/arc",
        "gpu/0/util",
        "train/total_flops",
    ]
    names = ["train/loss", "rl/pass@1_stderr", "rl/reward", "rl/pass@2", "train/tok_per_sec", "rl/pass@1"]
    assert by_importance(names) == [
        "rl/reward",
        "rl/pass@1",
        "train/loss",
        "train/tok_per_sec",
        "rl/pass@2",
        "rl/pass@1_stderr",
    ]
    assert (better("train/loss"), better("train/mfu"), better("train/lrm")) == (-1, 1, 0)
