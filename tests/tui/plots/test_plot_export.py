"""An exported plot shows what the screen shows: limits, ticks, curves, colours, marks, names, title; and its
CSV every point."""

import csv
import io
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.style import Style

from nanochat.common.errors import UserError
from remote.comparison.groups import Group
from remote.export.run_file import write_run
from tests.tui.plots.test_plotting import colours, draw, run_of
from tui.plots.derived import Derivation
from tui.plots.export.drawing import Dots, Drawing, Line, Polygon, Text
from tui.plots.export.picture import CELL, PAD, ROW, hex_of, picture
from tui.plots.export.png import png
from tui.plots.export.svg import svg
from tui.plots.export.values import HEADER, snapshot, table_of
from tui.plots.frame import Alert, Frame, PlotSpec, View
from tui.plots.raster import submit
from tui.plots.run_metrics import RunMetrics
from tui.plots.series import Series
from tui.plots.title import title

LOSS = [3 + 5 * math.exp(-i / 90) + 0.3 * math.sin(7 * i) + (4 if i == 300 else 0) for i in range(600)]
VALUES: list[float | str] = [*LOSS[:420], "NaN", *LOSS[421:]]


def resumed() -> RunMetrics:
    run = RunMetrics("resumed")
    old = [(i, i, 1000.0 + i, value, 1) for i, value in enumerate(LOSS[:400])]
    new = [(400 + i, 200 + i, 2000.0 + i, value - 1, 2) for i, value in enumerate(LOSS[200:500])]
    run.ingest({"train/loss": [*old, *new]})
    return run


def with_axes() -> RunMetrics:
    run = run_of(*VALUES)
    tokens = [(i, i, 1000.0 + i, 512.0 * i, 1) for i in range(600)]
    run.ingest({"train/total_tokens": tokens})
    return run


SPECS = {
    "plain": (View(), (run_of(*LOSS),)),
    "smoothed": (View(smoothing=0.05), (run_of(*VALUES),)),
    "log": (View(log=True), (run_of(*LOSS),)),
    "zoomed": (View(x=(290.0, 340.0)), (run_of(*LOSS),)),
    "within y": (View(y=(3.0, 5.0)), (run_of(*LOSS),)),
    "over tokens": (View(axis="tokens", smoothing=0.05), (with_axes(),)),
    "over the clock": (View(axis="clock"), (run_of(*LOSS),)),
    "sparse": (View(), (run_of(5.0, 4.0, 3.0, 3.5),)),
    "overlaid": (View(smoothing=0.05), (run_of(*LOSS, label="one"), run_of(*LOSS[::-1], label="two"))),
    "resumed": (View(superseded=True), (resumed(),)),
}


ALONE = (Group("one", (0,)), Group("two", (1,)))
DERIVED = {
    "the gap of two runs": Derivation(ALONE, ("one", "two"), gap=True, caption="Δ to one"),
    "the mean of seeds": Derivation((Group("seeds", (0, 1)),), ("seeds",), caption="mean"),
}


def derived(name: str, view: View) -> PlotSpec:
    runs = (run_of(*LOSS, label="one"), run_of(*[value + 1 for value in LOSS], label="two"))
    return PlotSpec("train/loss", runs, view, 90, 20, colours(), derive=DERIVED[name])


@pytest.fixture(params=SPECS)
def spec(request: pytest.FixtureRequest) -> PlotSpec:
    view, runs = SPECS[request.param]
    return PlotSpec("train/loss", runs, view, 90, 20, colours(), alerts=(Alert(250, 1250.0),))


def drawn(spec: PlotSpec) -> Drawing:
    return submit(picture, spec).result(timeout=30)


def texts(drawing: Drawing) -> list[Text]:
    return [shape for shape in drawing.shapes if isinstance(shape, Text)]


def cells(frame: Frame) -> Iterator[tuple[int, int, str, Style]]:
    """(column, row, character, style) of the canvas."""
    for row, strip in enumerate(frame.strips[: frame.rows]):
        at = 0
        for segment in strip:
            for character in segment.text:
                if frame.left <= at < frame.left + frame.columns and segment.style is not None:
                    yield at - frame.left, row, character, segment.style
                at += 1


def heights_on_screen(frame: Frame, colour: str, marks: str = "●") -> dict[int, tuple[int, int]]:
    """By column the uppermost and the lowest row with dots or marks of a colour."""
    found: dict[int, tuple[int, int]] = {}
    for column, row, character, style in cells(frame):
        if (0x2800 < ord(character) < 0x2900 or character in marks) and hex_of(style) == colour:
            top, bottom = found.get(column, (row, row))
            found[column] = min(top, row), max(bottom, row)
    return found


def heights_in_picture(drawing: Drawing, frame: Frame, colour: str) -> dict[int, tuple[float, float]]:
    """The same of the picture's lines, in cells from the top."""
    found: dict[int, tuple[float, float]] = {}
    left, top = PAD + frame.left * CELL, PAD + ROW
    for shape in drawing.shapes:
        if not isinstance(shape, Line) or shape.colour != colour or len(shape.points) < 2:
            continue
        for (x, y), (x2, y2) in zip(shape.points, shape.points[1:], strict=False):
            for part in range(51):  # walked along: a straight line crosses many columns
                at, height = x + (x2 - x) * part / 50, (y + (y2 - y) * part / 50 - top) / ROW
                column = min(frame.columns - 1, int((at - left) / CELL))
                low, high = found.get(column, (height, height))
                found[column] = min(low, height), max(high, height)
    return found


def test_each_column_of_a_curve_is_as_high_as_on_screen(spec: PlotSpec) -> None:
    frame, drawing = draw(spec), drawn(spec)
    for role in range(len(spec.runs)):
        colour = hex_of(spec.palette.line[role])
        shown, made = heights_on_screen(frame, colour), heights_in_picture(drawing, frame, colour)
        assert len(shown) > 0.4 * frame.columns
        # The picture is finer than dots: what a cell shows lies in it or in one beside it.
        for column, (top, bottom) in shown.items():
            high, low = around(made, column)
            assert high < top + 1.3 and low > bottom - 0.3, (column, high, low)
        if role == 0:  # nothing covers the first run's line
            shown = heights_on_screen(frame, colour, "●↑↓")
            for column, (high, low) in made.items():
                top, bottom = around(shown, column)
                assert top < high + 0.3 and bottom > low - 1.3, (column, high, low)


def around(found: Mapping[int, tuple[float, float]], column: int) -> tuple[float, float]:
    """The highest and lowest of a column and its neighbours."""
    near = [found[at] for at in (column - 1, column, column + 1) if at in found]
    return min(top for top, _ in near), max(bottom for _, bottom in near)


def test_ticks_labels_title_and_axis_are_those_of_the_screen(spec: PlotSpec) -> None:
    frame, drawing = draw(spec), drawn(spec)
    words = [text.text for text in texts(drawing)]
    rows = [strip.text for strip in frame.strips]
    y_labels = [word for row in rows[: frame.rows] if (word := row[: frame.left - 1].strip())]
    x_labels = rows[-1].split()
    assert y_labels and len(x_labels) > 3
    assert {*y_labels, *x_labels} <= set(" ".join(words).split())
    left = PAD + frame.left * CELL
    for text in texts(drawing):
        if text.text in y_labels and text.x < left:  # each in the row where the screen has it
            row = (text.y - PAD - ROW) / ROW
            assert any(rows[at][: frame.left - 1].strip() == text.text for at in (int(row), int(row - 0.5)))
    run = spec.runs[0].label if len(spec.runs) == 1 else ""
    head = title(
        spec.metric, frame, cursor=None, width=frame.width, colours=spec.palette, focused=True, run=run
    )
    first = PAD + ROW
    assert (
        " ".join(text.text for text in texts(drawing) if text.y < first).split()
        == head.text.replace("▌", " ").split()
    )


def test_marks_are_where_they_are_on_screen_and_runs_are_named_at_their_line_s_end(spec: PlotSpec) -> None:
    frame, drawing = draw(spec), drawn(spec)
    left, top = PAD + frame.left * CELL, PAD + ROW
    crosses = [shape for shape in drawing.shapes if isinstance(shape, Line) and shape.width == 2.5]
    solid = [shape for shape in drawing.shapes if isinstance(shape, Polygon)]
    discs = [
        at for shape in drawing.shapes if isinstance(shape, Dots) and shape.radius > 3 for at in shape.centres
    ]
    for column, row, character, _ in cells(frame):
        places = {
            "▲": [_centre(shape.points) for shape in solid],
            "↑": [_centre(shape.points) for shape in solid],
            "✖": [_centre(shape.points) for shape in crosses],
            "●": discs,
        }.get(character)
        if places is not None:
            at = (left + (column + 0.5) * CELL, top + (row + 0.5) * ROW)
            assert any(abs(x - at[0]) <= CELL and abs(y - at[1]) <= ROW for x, y in places), character
    if len(spec.runs) > 1:
        margin = PAD + (frame.left + frame.columns) * CELL
        assert {text.text for text in texts(drawing) if text.x > margin and text.y > top} == {"one", "two"}


def _centre(points: tuple[tuple[float, float], ...]) -> tuple[float, float]:
    return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def test_the_best_evaluation_is_starred_and_the_raw_line_is_faint_behind_the_smoothed_one() -> None:
    run = run_of(3.0, 2.0, 2.5, name="val/bpb")
    drawing = drawn(PlotSpec("val/bpb", (run,), View(), 60, 14, colours()))
    (star,) = [shape for shape in drawing.shapes if isinstance(shape, Polygon)]
    assert len(star.points) == 10
    view, runs = SPECS["smoothed"]
    drawing = drawn(PlotSpec("train/loss", runs, view, 60, 14, colours()))
    lines = [shape.colour for shape in drawing.shapes if isinstance(shape, Line) and len(shape.points) > 50]
    faint, bright = hex_of(colours().faint[0]), hex_of(colours().line[0])
    assert set(lines) == {faint, bright}
    assert max(i for i, colour in enumerate(lines) if colour == faint) < lines.index(bright)


@pytest.mark.parametrize("theme", ["dark", "light", "contrast"])
def test_svg_is_vectors_in_the_colours_of_the_theme_and_holds_any_name(theme: str) -> None:
    run = run_of(*LOSS, label='<b>&"\x1b[31m 中文')
    spec = PlotSpec("train/loss", (run,), View(smoothing=0.05), 100, 20, colours(theme))
    text = svg(drawn(spec))
    root = ElementTree.fromstring(text)
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert (
        {"svg", "rect", "polyline", "text"}
        <= names
        <= {"svg", "title", "rect", "polyline", "polygon", "text", "g", "circle"}
    )
    assert "href" not in text and "\x1b" not in text
    assert not any(0x2800 <= ord(character) < 0x2900 for character in text)
    ground = spec.palette.text.bgcolor
    assert ground is not None and root.find("{*}rect").get("fill") == ground.get_truecolor().hex  # type: ignore[union-attr]
    assert hex_of(spec.palette.line[0]) in text and hex_of(spec.palette.faint[0]) in text
    assert '<b>&"' in "".join(root.itertext())


def test_png_is_the_same_drawing_twice_as_large() -> None:
    image_module = pytest.importorskip("PIL.Image")
    view, runs = SPECS["sparse"]
    drawing = drawn(PlotSpec("train/loss", runs, view, 60, 14, colours()))
    image = image_module.open(io.BytesIO(png(drawing)))
    assert image.size == (2 * drawing.width, 2 * drawing.height)
    assert "#{:02x}{:02x}{:02x}".format(*image.getpixel((1, 1))) == drawing.background
    (dots,) = [shape for shape in drawing.shapes if isinstance(shape, Dots)]
    for x, y in dots.centres:
        assert "#{:02x}{:02x}{:02x}".format(*image.getpixel((round(2 * x), round(2 * y)))) == dots.colour
    label = next(text for text in texts(drawing) if text.text == "step")
    box = (2 * label.x, 2 * label.y - 30, 2 * label.x + 2 * label.width, 2 * label.y)
    assert len(image.crop(tuple(map(int, box))).getcolors()) > 5, "text is written"


def test_without_pillow_a_png_is_one_line_that_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    view, runs = SPECS["sparse"]
    drawing = drawn(PlotSpec("train/loss", runs, view, 60, 14, colours()))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UserError, match=r"pip install 'nanochat-control-room\[png\]'"):
        png(drawing)


def test_a_plot_without_a_value_is_one_line() -> None:
    spec = PlotSpec("train/loss", (RunMetrics("new"),), View(), 60, 14, colours())
    for make in (picture, snapshot):
        with pytest.raises(UserError, match="no value"):
            submit(make, spec).result()  # type: ignore[arg-type]


def table(spec: PlotSpec) -> list[dict[str, str]]:
    """The CSV as read back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plot.csv"
        write_run(table_of(submit(snapshot, spec).result(timeout=30)), path, "csv")
        return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_csv_holds_every_point_raw_and_smoothed_with_its_places(spec: PlotSpec) -> None:
    rows = table(spec)
    frame = draw(spec)
    assert tuple(rows[0]) == HEADER
    for run in spec.runs:
        mine = [row for row in rows if row["run"] == run.label and row["superseded"] == "false"]
        series = run.series["train/loss"]
        wanted = [series.at(i) for i in range(len(series))]
        low, high = frame.x
        wanted = [point for point in wanted if low <= run.x_of(point, frame.view.axis) <= high]
        finite = [row for row in mine if row["value"] != "nan"]
        assert [float(row["value"]) for row in finite] == [point.value for point in wanted]
        assert [float(row["step"]) for row in finite] == [point.step for point in wanted]
        assert [float(row["time"]) for row in finite] == [point.t for point in wanted]
        places = [run.x_of(point, frame.view.axis) for point in wanted]
        assert [float(row["x"]) for row in finite] == pytest.approx(places)
        assert len(mine) - len(finite) == len(series.marks)
        if spec.view.smoothing:
            at = series.within(wanted[0].step, wanted[-1].step)
            assert [float(row["smoothed"]) for row in finite] == [series.smoothed_at(i) for i in at]
        else:
            assert {row["smoothed"] for row in mine} == {""}
    superseded = [row for row in rows if row["superseded"] == "true"]
    assert len(superseded) == (200 if spec.view.superseded else 0)


def test_csv_tells_nan_in_its_place_and_tokens_by_interpolation() -> None:
    run = with_axes()
    run.ingest({"val/bpb": [(900, 10, 1010.5, 2.0, 1), (901, 600, 1600.0, 1.5, 1)]})
    spec = PlotSpec("train/loss", (run,), View(), 60, 14, colours())
    rows = table(spec)
    assert [row["value"] for row in rows].index("nan") == 420
    assert rows[420]["step"] == "420" and rows[419]["tokens"] == str(512 * 419)
    evaluated = table(replace(spec, metric="val/bpb"))
    assert [row["tokens"] for row in evaluated] == [str(5120), str(512 * 600)], "the last one lies behind"
    assert [row["flops"] for row in evaluated] == ["", ""]


def test_a_long_average_is_the_same_all_at_once_as_point_by_point() -> None:
    series = Series()
    for index in range(3_000):
        series.append(index, float(index), math.sin(index) + index / 1000)
    series.set_smoothing(1 - 1 / 2000)
    for view in (range(3_000), range(130, 131), range(63, 2_999), range(640, 1_280), range(5, 5)):
        assert list(series.smoothed(view)) == pytest.approx([series.smoothed_at(i) for i in view])


@pytest.mark.parametrize("name", DERIVED)
def test_lines_made_out_of_several_runs_are_exported_as_drawn(name: str) -> None:
    spec = derived(name, View(smoothing=0.05))
    frame, drawing = draw(spec), drawn(spec)
    words = " ".join(text.text for text in texts(drawing))
    assert DERIVED[name].caption in words
    bright, made = hex_of(spec.palette.line[0]), {}
    for column, (top, bottom) in heights_on_screen(frame, bright).items():
        made = made or heights_in_picture(drawing, frame, bright)
        high, low = around(made, column)
        assert high < top + 1.3 and low > bottom - 0.3, (column, high, low)
    rows = table(spec)
    assert len(rows) == len(LOSS) and {row["time"] for row in rows} == {""}
    assert [float(row["x"]) for row in rows] == [float(row["step"]) for row in rows]
    if "gap" in name:
        assert [float(row["value"]) for row in rows] == pytest.approx([1.0] * len(rows))
        assert {row["low"] for row in rows} == {""}
    else:
        (band,) = [shape for shape in drawing.shapes if isinstance(shape, Polygon)]
        assert band.colour == hex_of(spec.palette.faint[0]) and len(band.points) == 2 * len(LOSS)
        assert drawing.shapes.index(band) < next(
            at
            for at, shape in enumerate(drawing.shapes)
            if isinstance(shape, Line) and shape.colour == bright
        )
        widths = [float(row["high"]) - float(row["low"]) for row in rows]
        assert widths == pytest.approx([1.0] * len(rows))
        assert all(float(row["low"]) < float(row["smoothed"]) < float(row["high"]) for row in rows)
