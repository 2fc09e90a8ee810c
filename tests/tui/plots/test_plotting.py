"""plotext draws exactly the dots it is given, is never fed what kills it, and is imported late."""

import math
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from textual.color import Color

from tests.tui.plots.test_ticks import meaning
from tui.plots.canvas import Band, clip
from tui.plots.draw import draw_frame
from tui.plots.frame import Alert, Frame, PlotSpec, View
from tui.plots.raster import Dot, Polyline, Run, rasterise, submit
from tui.plots.run_metrics import RunMetrics
from tui.plots.scale import fitted
from tui.plots.ticks import LABEL_WIDTH
from tui.plots.title import title
from tui.style.palette import Palette, palette
from tui.style.themes import THEMES

ROOT = Path(__file__).parents[3]

BITS = {
    (0, 3): 0x01,
    (0, 2): 0x02,
    (0, 1): 0x04,
    (1, 3): 0x08,
    (1, 2): 0x10,
    (1, 1): 0x20,
    (0, 0): 0x40,
    (1, 0): 0x80,
}


def colours(theme: str = "dark") -> Palette:
    chosen = THEMES[theme]
    return palette(chosen, chosen.to_color_system().generate(), Color.parse(chosen.background or "#000000"))


def lit(rows: list[list[Run]]) -> dict[Dot, int]:
    """The dots that shine in a drawn canvas, with their roles."""
    dots = {}
    for top, runs in enumerate(rows):
        cells = [(character, role) for text, role in runs for character in text]
        for column, (character, role) in enumerate(cells):
            for (across, up), bit in BITS.items():
                if character != " " and (ord(character) - 0x2800) & bit:
                    dots[2 * column + across, 4 * (len(rows) - 1 - top) + up] = role
    return dots


def draw(spec: PlotSpec) -> Frame:
    return submit(draw_frame, spec).result(timeout=30)


def text(frame: Frame) -> list[str]:
    return [strip.text for strip in frame.strips]


def run_of(*values: float | str, label: str = "d4", name: str = "train/loss") -> RunMetrics:
    run = RunMetrics(label)
    run.ingest({name: [(i, i, 1000.0 + i, value, 1) for i, value in enumerate(values)]})
    return run


def spec(run: RunMetrics, view: View | None = None, *, width: int = 60, height: int = 12) -> PlotSpec:
    return PlotSpec("train/loss", (run,), view or View(), width, height, colours())


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 2), (20, 5), (61, 13), (200, 55)])
def test_every_dot_lands_where_it_was_put(width: int, height: int) -> None:
    rng = random.Random(width)
    for _ in range(30):
        dots = sorted({(rng.randrange(2 * width), rng.randrange(4 * height)) for _ in range(8)})
        rows = submit(rasterise, [Polyline(dots, 3, joined=False)], width, height).result()
        assert lit(rows) == dict.fromkeys(dots, 3)


def test_later_lines_cover_earlier_ones_and_keep_their_role() -> None:
    lines = [Polyline([(0, 0), (39, 0)], 1), Polyline([(0, 2), (39, 2)], 700)]
    rows = submit(rasterise, lines, 20, 2).result()
    assert set(lit(rows).values()) == {700}
    assert set(lit(rows)) == {(x, y) for x in range(40) for y in (0, 2)}


def test_ascii_draws_each_run_with_its_own_character() -> None:
    rows = submit(
        rasterise, [Polyline([(0, 0), (9, 0)], 0), Polyline([(0, 2), (9, 2)], 1)], 10, 3, unicode=False
    )
    lines = ["".join(text for text, _ in runs) for runs in rows.result()]
    assert lines == ["++++++++++", "          ", "**********"]


def test_a_dot_outside_the_canvas_is_refused() -> None:
    for dot in ((-1, 0), (0, -1), (40, 0), (0, 20)):
        with pytest.raises(ValueError, match="outside"):
            submit(rasterise, [Polyline([(0, 0), dot], 0)], 20, 5).result()


def test_jobs_of_many_threads_run_one_after_the_other() -> None:
    order: list[int] = []

    def job(number: int) -> None:
        order.append(number)
        order.append(number)

    with ThreadPoolExecutor(8) as pool:
        for future in list(pool.map(lambda number: submit(job, number), range(200))):
            future.result()
    assert order[::2] == order[1::2]


def test_clipping_keeps_only_what_is_inside_and_joins_what_was_joined() -> None:
    assert clip([(1, 1), (5, 5)], 10, 10) == [[(1, 1), (5, 5)]]
    assert clip([(-5, 5), (5, 5), (5, 50)], 10, 10) == [[(0, 5), (5, 5), (5, 10)]]
    assert clip([(5, 5), (5, 20), (8, 20), (8, 5)], 10, 10) == [[(5, 5), (5, 10)], [(8, 10), (8, 5)]]
    assert clip([(-5, -5), (-1, 20)], 10, 10) == []
    assert clip([(5, 20)], 10, 10) == []


def test_the_frame_fills_exactly_the_size_asked_for() -> None:
    run = run_of(*[3.0 - i / 50 for i in range(100)])
    for width, height in ((20, 4), (8, 1), (10, 2), (40, 8), (79, 23), (200, 59)):
        frame = draw(spec(run, width=width, height=height))
        assert [len(line) for line in text(frame)] == [width] * height


def test_a_cell_of_the_canvas_and_its_data_name_each_other() -> None:
    run = run_of(*[3.0 - i / 500 for i in range(1001)])
    frame = draw(spec(run, width=68))
    assert frame.columns == 60
    for column in range(frame.columns):
        assert frame.column_at(frame.x_at(column)) == column
    assert frame.x_at(-0.5) == 0
    assert frame.x_at(59.5) == pytest.approx(1000)


def test_a_step_function_is_drawn_at_the_rows_of_its_values() -> None:
    run = run_of(*([1.0] * 50 + [2.0] * 50))
    frame = draw(spec(run, View(y=(0.0, 4.0)), width=48, height=8 + 1))
    rows = {index: line[8:].rstrip("┈ ") for index, line in enumerate(text(frame)[: frame.rows])}
    half = frame.columns // 2
    below, above = rows[frame.rows - 1 - frame.rows // 4], rows[frame.rows - 1 - frame.rows // 2]
    assert below.strip("┈ ") and "⠉" not in above[: half - 1].strip("┈ ")
    assert above[half:].strip("┈ ")


def test_a_spike_reaches_the_row_of_its_value() -> None:
    values = [2.0] * 100_000
    values[77_777] = 9.0
    frame = draw(spec(run_of(*values)))
    column = frame.column_at(77_777)
    top = next(i for i, line in enumerate(text(frame)) if line[frame.left + (column or 0)] not in " ┈")
    assert top <= 2


def test_broken_values_are_marked_and_counted_not_drawn() -> None:
    frame = draw(spec(run_of(1.0, 2.0, "NaN", 3.0, "Infinity", 2.0)))
    assert "".join(text(frame)).count("✖") == 2
    assert list(frame.notes) == ["1 Infinity", "1 NaN"]
    only = draw(spec(run_of("NaN", "NaN")))
    assert only.empty and list(only.notes) == ["2 NaN"]


def test_a_log_axis_says_what_it_leaves_out() -> None:
    frame = draw(spec(run_of(1.0, 0.0, -1.0, 100.0), View(log=True)))
    assert list(frame.notes) == ["2 ≤ 0 left out"]
    labels = [line[: frame.left - 1].strip() for line in text(frame)]
    assert [label for label in labels if label][:3] == ["100", "10", "1"]


def test_evaluations_are_marked_and_the_best_starred() -> None:
    run = run_of(3.0, 1.0, 2.0, name="val/bpb")
    frame = draw(PlotSpec("val/bpb", (run,), View(), 60, 12, colours()))
    assert "".join(text(frame)).count("●") == 2
    row = next(line for line in text(frame) if "★" in line)
    assert row.index("★") - frame.left == frame.column_at(1)


def test_a_spike_is_seen_behind_the_smoothed_line() -> None:
    """An average shows a spike of one point in ten thousand as a bump: the raw line shows it as it is."""
    values = [2.0 + 0.01 * math.sin(i * 1.7) for i in range(10_000)]
    values[6_100] = 25.0
    frame = draw(spec(run_of(*values), View(smoothing=0.02)))
    assert frame.legends[0].decay > 0.99
    assert frame.y[1] >= 25
    column = frame.left + (frame.column_at(6_100) or 0)
    top = next(i for i, line in enumerate(text(frame)) if line[column] not in " ┈")
    assert top <= 2
    (segment,) = frame.strips[top].crop(column, column + 1)
    assert segment.style is not None and segment.style.color == colours().faint[0].color


def test_what_lies_outside_of_chosen_limits_is_told_at_the_edge() -> None:
    values = [2.0] * 40
    values[7], values[30] = 9.0, -4.0
    frame = draw(spec(run_of(*values), View(y=(1.0, 3.0))))
    lines = text(frame)
    assert lines[0][frame.left + (frame.column_at(7) or 0)] == "↑"
    assert lines[frame.rows - 1][frame.left + (frame.column_at(30) or 0)] == "↓"
    assert "".join(lines).count("↑") == "".join(lines).count("↓") == 1


@example(105.0, 1.0, 1, True)
@example(-1.0, 1e-6, 26, False)
@given(st.floats(-1e6, 1e6), st.one_of(st.just(0.0), st.floats(1e-6, 1e9)), st.integers(1, 40), st.booleans())
def test_limits_hold_the_values_and_gridlines_stand_on_ticks(
    low: float, span: float, rows: int, log: bool
) -> None:
    if log:
        low = abs(low) + 1e-3
    high = low + span
    scale = fitted(low, high, rows=rows, log=log, width=LABEL_WIDTH)
    slack = 1e-6 * max(abs(low), abs(high))
    assert scale.low <= low + slack and high - slack <= scale.high
    band = Band(1, rows, (scale.low, scale.high), log)
    grid = sorted(scale.grid)
    for row in grid:
        value = meaning(scale.labels[row])
        centre = rows - row - 0.5
        cell = band.row(value) if value > 0 or not log else math.inf
        assert abs(cell - centre) < 0.13 or len(scale.labels[row]) > 4, "a rounded label is near its line"
    apart = {after - before for before, after in pairwise(sorted(scale.labels))}
    if not log and apart:
        uneven = 0 if scale.grid == scale.labels.keys() else 1  # without gridlines at the nearest rows
        assert max(apart) - min(apart) <= uneven, "labels are evenly spaced"
    if rows >= 4 and not log and span > 1e-3 * (abs(low) + abs(high)):
        assert len(scale.labels) >= 2


def test_a_log_axis_holds_whatever_a_double_can_be() -> None:
    for low, high in ((5e-324, 5e-324), (5e-324, 1), (2e-311, 2e-311), (1e-310, 1e308), (1, 1.79e308)):
        for rows in (1, 2, 5, 12, 40):
            scale = fitted(low, high, rows=rows, log=True, width=LABEL_WIDTH)
            assert 0 < scale.low <= low and high <= scale.high and scale.low < scale.high


@pytest.mark.parametrize("rows", range(2, 40))
def test_no_value_is_drawn_under_the_line_of_zero(rows: int) -> None:
    for top in (1.0, 0.3, 7.0, 2.5e5, 1.9e9):
        scale = fitted(0.0, top, rows=rows, log=False, width=LABEL_WIDTH)
        (zero,) = [row for row, label in scale.labels.items() if label == "0"]
        assert zero in scale.grid
        band = Band(2, 4 * rows, (scale.low, scale.high))
        for share in (0.0, 1e-9, 0.01, 0.06, 0.2):
            _, dot = band.dot((0.0, band.row(share * top)))
            assert dot >= 4 * (rows - 1 - zero) + 2, "in the upper half of the line's cell, or above"


def test_a_constant_is_not_blown_up_to_the_height_of_the_plot() -> None:
    scale = fitted(1.0, 1.0, rows=10, log=False, width=LABEL_WIDTH)
    assert scale.high - scale.low > 0.05
    assert "1.00" in scale.labels.values()


@pytest.mark.parametrize(("points", "labels"), [(1, ["0"]), (2, ["0", "1"]), (3, ["0", "1", "2"])])
def test_no_step_lies_between_two_steps(points: int, labels: list[str]) -> None:
    frame = draw(spec(run_of(*[1.0] * points), width=100))
    assert text(frame)[-1].split() == ["step", *labels]


def test_a_wide_plot_has_as_many_x_labels_as_read_well() -> None:
    frame = draw(spec(run_of(*[1.0] * 100_001), width=64))
    labels = text(frame)[-1].split()
    assert labels[:6] == ["step", "0", "20k", "40k", "60k", "80k"]
    for width in (20, 30, 47, 90, 140):
        frame = draw(spec(run_of(*[1.0] * 3_001), width=width))
        found = list(re.finditer(r"\S+", text(frame)[-1]))[1:]
        assert len(found) >= min(6, 1 + frame.columns // 16)
        assert all(after.start() - before.end() >= 2 for before, after in pairwise(found))


def test_an_axis_with_named_places_has_them_as_ticks_and_under_the_cursor() -> None:
    run = RunMetrics("sweep")
    run.ingest(
        {"bytes": [(at, 12_000 + 1000 * at, 0.0, value, 1) for at, value in enumerate((3.0, 3.5, 4.0))]}
    )
    places = ((12_000.0, "4k"), (13_000.0, "8k"), (14_000.0, "16k"))
    view = View(axis_name="ids", places=places)
    frame = draw(PlotSpec("bytes", (run,), view, 60, 12, colours()))
    assert text(frame)[-1].split() == ["ids", "4k", "8k", "16k"]
    strip = title("bytes", frame, cursor=13_000.0, width=60, colours=colours(), focused=False)
    assert strip.text.split() == ["bytes", "ids", "8k", "3.500"]
    narrow = draw(PlotSpec("bytes", (run,), view, 18, 8, colours()))
    assert text(narrow)[-1].split() == ["ids", "4k", "16k"]


def test_alerts_are_marked_at_their_step() -> None:
    alerts = (Alert(50, 1050.0), Alert(1000, 2000.0))
    frame = draw(replace(spec(run_of(*[1.0] * 100)), alerts=alerts))
    assert "".join(text(frame)).count("▲") == 1
    assert text(frame)[0].index("▲") - frame.left == frame.column_at(50)


def test_overlaid_runs_are_named_beside_their_lines() -> None:
    runs = tuple(run_of(*[level] * 50, label=f"run-{level}") for level in (1.0, 2.0, 3.0, 4.0))
    frame = draw(PlotSpec("train/loss", runs, View(), 80, 16, colours()))
    tails = [line[frame.left + frame.columns :].strip("┈ ") for line in text(frame)]
    assert [tail for tail in tails if tail.startswith("run-")] == ["run-4.0", "run-3.0", "run-2.0", "run-1.0"]


def test_a_faint_line_never_covers_a_bright_one() -> None:
    long = run_of(*[3.0 + 0.5 * math.sin(i * 1.7) for i in range(3000)])
    short = run_of(*[3.0] * 150, label="short")
    frame = draw(PlotSpec("train/loss", (long, short), View(smoothing=0.02), 100, 16, colours()))
    assert [legend.decay > 0 for legend in frame.legends] == [True, False]
    seen = {segment.style.color for strip in frame.strips for segment in strip if segment.style}
    assert colours().line[1].color in seen
    height = Band(1, frame.rows, frame.y).row(3.0)
    row = frame.strips[frame.rows - 1 - int(height)].crop(frame.left, frame.left + frame.columns)
    assert colours().faint[0].color not in {segment.style.color for segment in row if segment.style}


def test_superseded_points_are_hidden_until_asked_for() -> None:
    run = run_of(*[5.0] * 100)
    run.ingest({"train/loss": [(200 + i, 50 + i, 2000.0, 1.0, 2) for i in range(50)]})
    hidden, shown = draw(spec(run)), draw(spec(run, View(superseded=True)))
    right = slice(hidden.left + hidden.columns * 3 // 4, None)
    count = [
        sum(c not in " ┈" for line in text(frame)[: frame.rows] for c in line[right])
        for frame in (hidden, shown)
    ]
    assert count[1] > count[0]
    line = hidden.legends[0].line
    assert line is not None and (line.low, line.last, line.high) == (1.0, 1.0, 5.0)


def test_readings_are_the_points_nearest_to_each_column() -> None:
    run = run_of(*[float(i) for i in range(1000)])
    frame = draw(spec(run))
    for column, reading in enumerate(frame.legends[0].readings):
        assert reading is not None
        assert abs(reading.step - frame.x_at(column)) <= 0.5
    longer = run_of(*[1.0] * 2000, label="longer")
    both = draw(PlotSpec("train/loss", (run, longer), View(), 100, 12, colours()))
    assert both.legends[0].readings[-1] is None, "a run that has ended has no value there"


@pytest.mark.parametrize("theme", list(THEMES))
def test_series_colours_stand_out_from_their_background(theme: str) -> None:
    styles = colours(theme)
    for style in (*styles.line[:4], styles.text, styles.error, styles.warning):
        assert style.color is not None and style.bgcolor is not None
        assert contrast(style.color.get_truecolor(), style.bgcolor.get_truecolor()) >= 3


def contrast(first: tuple[int, int, int], second: tuple[int, int, int]) -> float:
    """WCAG 2 contrast ratio."""

    def luminance(colour: tuple[int, int, int]) -> float:
        parts = [
            c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


FUZZ = """
import math, random, sys
from tests.tui.plots.test_plotting import colours, draw
from tui.plots.frame import Alert, PlotSpec, View
from remote.metrics import AXES
from tui.plots.run_metrics import RunMetrics
rng = random.Random(int(sys.argv[1]))
odd = [math.nan, math.inf, -math.inf, "NaN", "Infinity", "junk", 0.0, -0.0]
odd += [5e-324, -5e-324, 1.7e308, -1.7e308, 1e-300, 1]
def value():
    return rng.choice(odd) if rng.random() < 0.3 else rng.gauss(0, 10 ** rng.uniform(-20, 20))
def run():
    made, seq = RunMetrics(rng.choice(["", "d12", "a very long name of a run", "名前"])), 0
    for attempt in range(1, rng.randint(1, 3) + 1):
        step = rng.randrange(50)
        for name in rng.sample(["train/loss", "train/total_tokens", "train/total_time", "gpu/0/util"], 3):
            rows = []
            for _ in range(rng.choice([0, 1, 2, 50, 400])):
                seq += 1
                step += rng.choice([0, 1, 1, 7, 10**9])
                rows.append((seq, None if name.startswith("gpu") else step, 1e9 + seq, value(), attempt))
            made.ingest({name: rows})
    return made
def limits():
    low = value()
    low = low if isinstance(low, float) and math.isfinite(low) and abs(low) < 1e300 else 0.0
    return rng.choice([None, (low, low + abs(rng.gauss(0, 1)) + 1e-3 + abs(low) * 1e-6)])
for _ in range(300):
    runs = tuple(run() for _ in range(rng.randint(0, 4)))
    log = rng.random() < 0.3
    y = None if log else limits()
    looks = (log, rng.choice([0, 0.02, 0.15]), rng.random() < 0.5)
    view = View(rng.choice(AXES), limits(), y, *looks)
    alerts = (Alert(rng.randrange(100), 1e9),) if runs else ()
    size = rng.choice([(1, 1), (3, 2), (20, 4), (60, 12), (200, 50)])
    metric = rng.choice(["train/loss", "gpu/0/util", "none"])
    spec = PlotSpec(metric, runs, view, *size, colours(), rng.random() < 0.8, alerts)
    frame = draw(spec)
    assert frame.empty or [strip.cell_length for strip in frame.strips] == [size[0]] * size[1], (size, spec)
print("drawn")
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_metrics_whatever_can_kill_the_process(seed: int) -> None:
    """plotext aborts the interpreter on bad input, uncatchably: hence a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(seed)], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "drawn\n"), done.stderr[-2000:]


def test_the_first_frame_needs_no_plotext() -> None:
    code = (
        "import sys, tui.widgets.plot_grid, tui.widgets.gpu_grid;"
        "print([name for name in ('plotext', 'numpy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
