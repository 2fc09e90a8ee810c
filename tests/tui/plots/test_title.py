"""What stands in a plot's title is what is drawn: every figure is a point of the line, within its limits."""

import math
import re
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.style import Style

from nanochat.common.smoothing import RunningAverage, decay
from nanochat.common.text import number
from remote.metrics import evaluated
from tests.tui.plots.test_plotting import colours, draw
from tui.plots.canvas import Band
from tui.plots.frame import Frame, PlotSpec, View
from tui.plots.run_metrics import RunMetrics
from tui.plots.title import title

DARK = colours()
NUMBER = r"-?[\d.,]+(?:e[+-]?\d+|[kMGT])?"
FIGURE = re.compile(
    rf"(?P<word>best |min |max |step )?(?P<value>{NUMBER})"
    rf"(?: \((?P<raw>{NUMBER})\))?(?: @(?P<step>[\d,]+))?(?= |$)"
)


@dataclass
class Drawn:
    """A plot, and its points as this test works them out: (x, value on the bright line, measured value)."""

    frame: Frame
    points: list[tuple[float, float, float]]

    def text(
        self, metric: str, *, focused: bool = False, cursor: float | None = None, width: int = 240
    ) -> str:
        strip = title(metric, self.frame, cursor=cursor, width=width, colours=DARK, focused=focused)
        return strip.text

    def cell(self, x: float, value: float) -> tuple[str, Style | None]:
        """The character and style of the canvas where a value is drawn; blank outside of the limits."""
        column = self.frame.column_at(x)
        low, high = self.frame.y
        if column is None or not low <= value <= high:
            return " ", None
        height = Band(self.frame.columns, self.frame.rows, self.frame.y, self.frame.view.log).row(value)
        row = self.frame.rows - 1 - min(self.frame.rows - 1, int(height + 1e-6))
        at = self.frame.left + column
        (segment,) = self.frame.strips[row].crop(at, at + 1)
        return segment.text, segment.style

    def holds(self, shown: str, *, raw: bool, step: float | None = None) -> bool:
        """Whether one of the points reads `shown` and can be seen at its place in the picture."""
        for x, line, measured in self.points:
            value = measured if raw else line
            if number(value) != shown or (step is not None and x != step):
                continue
            text, style = self.cell(x, value)
            bright = style is not None and style.color == DARK.line[0].color
            if text not in " ┈" and (raw or bright or text in "★●✖↑↓"):
                return True
        return False


def plotted(metric: str, values: list[float], view: View, *, width: int = 60, height: int = 12) -> Drawn:
    run = RunMetrics("d4")
    run.ingest({metric: [(i, i, 1000.0 + i, value, 1) for i, value in enumerate(values)]})
    frame = draw(PlotSpec(metric, (run,), view, width, height, DARK))
    beta, mean, weight, points = frame.legends[0].decay, 0.0, 0.0, []
    for step, value in enumerate(values):
        mean, weight = beta * mean + (1 - beta) * value, beta * weight + (1 - beta)
        if frame.x[0] <= step <= frame.x[1]:
            points.append((float(step), mean / weight, value))
    return Drawn(frame, points)


def curves() -> st.SearchStrategy[list[float]]:
    """Falling, rising and flat curves of any length, with noise and a spike somewhere."""

    def made(args: tuple[int, float, float, float, int, float]) -> list[float]:
        length, start, end, noise, spike, size = args
        values = [
            end + (start - end) * math.exp(-6 * i / length) + noise * math.sin(i * i * 1.7)
            for i in range(length)
        ]
        values[spike % length] += size
        return values

    return st.tuples(
        st.one_of(st.integers(1, 30), st.integers(150, 900)),
        st.floats(-5, 12),
        st.floats(-5, 5),
        st.sampled_from([0.0, 0.01, 0.4]),
        st.integers(0, 10_000),
        st.sampled_from([0.0, 25.0, -3.0, 4000.0]),
    ).map(made)


@settings(max_examples=60, deadline=None)
@example("train/loss", [3.0] * 299 + [40.0], 0.02, False, None, True)
@example("train/loss", [2.225073858507e-311], 0.0, True, None, False)
@given(
    st.sampled_from(["train/loss", "val/bpb", "train/lrm", "train/tok_per_sec", "core/core"]),
    curves(),
    st.sampled_from([0.0, 0.02, 0.05, 0.15]),
    st.booleans(),
    st.one_of(st.none(), st.tuples(st.floats(0, 0.9), st.floats(0.02, 1))),
    st.booleans(),
)
def test_every_number_in_a_title_is_on_the_plot(
    metric: str,
    values: list[float],
    share: float,
    log: bool,
    window: tuple[float, float] | None,
    focused: bool,
) -> None:
    last = len(values) - 1
    x = None if window is None else (window[0] * last, window[0] * last + window[1] * last + 0.5)
    plot = plotted(metric, values, View(x=x, log=log, smoothing=share))
    shown = plot.text(metric, focused=focused)
    figures = shown.split("┃")[0].removeprefix("▌" if focused else " ").removeprefix(metric)
    figures = re.sub(r"⟨.*?⟩|✖ .* left out| log|[▲▼]", "", figures)
    found = list(FIGURE.finditer(figures))
    assert FIGURE.sub("", figures).strip(" ") == "", f"not understood: {figures!r}"
    for part in found:
        step = float(part["step"].replace(",", "")) if part["step"] else None
        assert plot.holds(part["value"], raw=False, step=step), (part[0], shown)
        if part["raw"]:
            assert focused and plot.holds(part["raw"], raw=True), (part[0], shown)
        assert part["word"] != "best " or evaluated(metric)
    visible = [p for p in plot.points if not log or p[1] > 0]
    assert bool(found) == bool(visible)


@settings(max_examples=40, deadline=None)
@given(curves(), st.sampled_from([0.0, 0.02, 0.05]), st.booleans(), st.floats(0, 1), st.booleans())
def test_the_cursor_reads_the_line_that_is_drawn(
    values: list[float], share: float, log: bool, at: float, zoomed: bool
) -> None:
    last = len(values) - 1
    x = (0.3 * last, 0.6 * last + 1) if zoomed else None
    plot = plotted("train/loss", values, View(x=x, log=log, smoothing=share))
    cursor = plot.frame.x[0] + at * (plot.frame.x[1] - plot.frame.x[0])
    shown = plot.text("train/loss", cursor=cursor)
    if "no value here" in shown:
        assert log or not plot.points
        return
    step, figures = re.split(r"step ([\d,]+)", shown)[1:]
    found = list(FIGURE.finditer(figures))
    assert len(found) == 1
    assert plot.holds(found[0]["value"], raw=False, step=float(step.replace(",", "")))
    if found[0]["raw"]:
        assert plot.frame.legends[0].decay
        assert plot.holds(found[0]["raw"], raw=True)


@given(curves())
@settings(max_examples=40, deadline=None)
def test_tables_and_headers_tell_what_the_title_of_the_plot_tells(values: list[float]) -> None:
    average = RunningAverage()
    for start in range(0, len(values), 37):  # as a log is followed: a few points at a time
        average.extend([*values[start : start + 37], math.nan])
    plot = plotted("train/loss", values, View(smoothing=0.02))
    figures = plot.frame.legends[0].line
    assert figures is not None
    assert average.value == pytest.approx(figures.last, rel=1e-9, abs=1e-9)
    told = f" {number(average.value)}" in plot.text("train/loss")
    assert told or abs(average.value) < 1e-9, "what is left of a spike after 25 time constants"


def test_short_runs_are_not_smoothed_and_long_ones_over_a_share_of_what_is_in_view() -> None:
    assert [decay(points) for points in (1, 30, 199)] == [0.0] * 3
    assert decay(200) == 0.5
    assert decay(1_000) == pytest.approx(0.95)
    assert decay(100_000) == pytest.approx(0.9995)
    assert decay(1_000, 0.0) == 0.0
    falling = [10.0 / (1 + i) for i in range(150)]
    short = plotted("train/loss", falling, View(smoothing=0.02))
    assert short.frame.legends[0].decay == 0.0
    assert "ema" not in short.text("train/loss")
    long = plotted("train/loss", [3.0] * 1000, View(smoothing=0.02))
    assert "⟨ema .95⟩" in long.text("train/loss")
    zoomed = plotted("train/loss", [3.0] * 1000, View(x=(0, 249), smoothing=0.02))
    assert "⟨ema .8⟩" in zoomed.text("train/loss")


def test_the_raw_value_stands_in_brackets_where_a_plot_is_focused() -> None:
    values = [3.0] * 999 + [2.0]
    plot = plotted("train/loss", values, View(smoothing=0.02))
    assert "2.950" in plot.text("train/loss")
    assert "(2)" not in plot.text("train/loss")
    assert "2.950 (2)" in plot.text("train/loss", focused=True)
    assert "step 989  3 (3)" in plot.text("train/loss", cursor=990), "the point nearest to the column"


def test_best_is_told_of_evaluations_alone_and_only_in_view() -> None:
    values = [3.0, 1.0, 2.0, 2.5]
    assert "best 1 @1" in plotted("val/bpb", values, View()).text("val/bpb")
    assert "best" not in plotted("train/loss", values, View()).text("train/loss")
    assert "best" not in plotted("val/bpb", values, View(x=(1.5, 3))).text("val/bpb")
    assert not evaluated("chat/ARC-Easy_stderr") or "best" not in plotted(
        "chat/ARC-Easy_stderr", values, View()
    ).text("")


def test_runs_of_different_lengths_are_told_as_smoothed_over_a_share() -> None:
    runs = []
    for length in (300, 3000):
        run = RunMetrics(f"run-{length}")
        run.ingest({"train/loss": [(i, i, float(i), 3.0, 1) for i in range(length)]})
        runs.append(run)
    frame = draw(PlotSpec("train/loss", tuple(runs), View(smoothing=0.02), 100, 12, DARK))
    assert "⟨ema 2 %⟩" in Drawn(frame, []).text("train/loss")


def test_the_cursor_in_a_zoomed_plot_reads_no_point_that_is_out_of_view() -> None:
    run = RunMetrics("d4")
    run.ingest({"val/bpb": [(i, 250 * i, 1000.0 + i, 3.0 - i, 1) for i in range(3)]})
    frame = draw(PlotSpec("val/bpb", (run,), View(x=(120, 260)), 60, 12, DARK))
    assert "step 250  2" in Drawn(frame, []).text("val/bpb", cursor=121)
    empty = draw(PlotSpec("val/bpb", (run,), View(x=(120, 240)), 60, 12, DARK))
    assert "no value here" in Drawn(empty, []).text("val/bpb", cursor=121)


def test_a_name_from_outside_is_cleaned() -> None:
    strip = title("\x1b]0;owned\x07", None, cursor=None, width=40, colours=DARK, focused=False)
    assert strip.text.strip() == "␛]0;owned␇"
