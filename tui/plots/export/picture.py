"""A plot as a drawing: the limits, ticks, colours, marks and title of the screen, the curves from the data.

A cell of the screen is 10 × 20 pixels here, so the proportions are those on screen. Curves are drawn through
the first, lowest, highest and last point of each half pixel: of a million points no more can be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from rich.segment import Segment
from rich.style import Style

from nanochat.common.errors import UserError
from tui.plots.canvas import Band, clip, paths
from tui.plots.draw import Arranged, arrange, neighbours, trace_lines
from tui.plots.export.drawing import Dots, Drawing, Line, Point, Polygon, Shape, Text
from tui.plots.export.signs import sign
from tui.plots.frame import PlotSpec
from tui.plots.layout import UNICODE, Layout
from tui.plots.marks import Trace, marks, shows_points
from tui.plots.points import Columns
from tui.plots.title import title

CELL, ROW, PAD = 10, 20, 16
"""Pixels: the width and height of a screen cell, and what is left free around the plot."""
FINE = 2
"""Columns of data in a pixel."""
BASELINE = 15
"""Pixels from the top of a cell to the baseline of its text."""
FONT_SIZE = CELL / 0.602
"""The size at which letters of the common fonts of fixed width are one cell wide."""
BRIGHT, FAINT, RULE = 2.0, 1.0, 1.0
"""Widths of lines."""


def picture(spec: PlotSpec) -> Drawing:
    """The drawing of a plot. Runs on the plot thread. Raises `UserError` where there is nothing to draw."""
    made = arrange(replace(spec, unicode=True))
    if made.layout is None or made.frame.empty:
        raise UserError(f"{spec.metric or 'the plot'} has no value to draw yet", "wait for the first one")
    return _Picture(made, made.layout).draw()


def hex_of(style: Style) -> str:
    """The colour of a style's ink as `#rrggbb`."""
    return style.color.get_truecolor().hex if style.color is not None else "#808080"


class _Picture:
    """The parts of one picture, placed in pixels."""

    def __init__(self, made: Arranged, layout: Layout) -> None:
        self.made, self.layout = made, layout
        self.spec, self.frame = made.spec, made.frame
        self.left = PAD + self.frame.left * CELL
        self.top = PAD + ROW
        self.width, self.height = self.frame.columns * CELL, self.frame.rows * ROW
        self.band = Band(self.width * FINE, self.height, self.frame.y, self.spec.view.log)

    def draw(self) -> Drawing:
        palette, frame = self.spec.palette, self.frame
        ground = palette.text.bgcolor
        run = frame.legends[0].label if len(frame.legends) == 1 else ""
        head = title(
            self.spec.metric,
            frame,
            cursor=None,
            width=frame.width,
            colours=palette,
            focused=True,
            run=run,
        )
        drawing = Drawing(
            width=2 * PAD + frame.width * CELL,
            height=2 * PAD + (1 + frame.height) * ROW,
            background=ground.get_truecolor().hex if ground is not None else "#000000",
            font_size=FONT_SIZE,
            title=" · ".join([self.spec.metric, *(legend.label for legend in frame.legends)]),
        )
        fine = trace_lines(self.spec, frame.x, self.width * FINE)
        drawing.shapes += self._axes()
        drawing.shapes += self._curves(fine)
        drawing.shapes += self._points(fine)
        drawing.shapes += self._marks()
        drawing.shapes += _texts(head, PAD, PAD)
        return drawing

    # ---- places --------------------------------------------------------------------------------------

    def _y(self, height: float) -> float:
        """The y of a height over the canvas's lower edge."""
        return self.top + self.height - height

    def _x(self, value: float) -> float:
        low, high = self.frame.x
        return self.left + (value - low) / (high - low) * self.width

    # ---- around the curves ---------------------------------------------------------------------------

    def _axes(self) -> Iterator[Shape]:
        layout, scale = self.layout, self.made.scale
        assert scale is not None
        rule, text = hex_of(layout.rule), hex_of(layout.text)
        right, bottom = self.left + self.width, self.top + self.height
        for row, label in layout.y_labels.items():
            y = self._y(self.band.row(scale.values[row]))
            if row in layout.grid:
                yield Line(((self.left, y), (right, y)), rule, RULE, dash=3)
            if layout.left:
                yield Line(((self.left - 4, y), (self.left, y)), rule, RULE)
                width = len(label) * CELL
                yield Text(self.left - CELL - width, y + BASELINE - ROW / 2, label, text, width)
        yield Line(((self.left, self.top), (self.left, bottom), (right, bottom)), rule, RULE)
        if not layout.below:
            return
        y = bottom + (ROW if layout.below >= 2 else 0) + BASELINE
        name = layout.axis_name[: max(0, layout.left - 1)]
        yield Text(PAD, y, name, text, len(name) * CELL)
        for tick in self.made.x_ticks.values():
            x, width = self._x(tick.value), len(tick.label) * CELL
            if layout.below >= 2:  # else the labels stand right below
                yield Line(((x, bottom), (x, bottom + 5)), rule, RULE)
            start = min(x - width / 2, PAD + self.frame.width * CELL + PAD / 2 - width)
            yield Text(start, y, tick.label, text, width)

    # ---- curves --------------------------------------------------------------------------------------

    def _curves(self, traces: Sequence[Trace]) -> Iterator[Shape]:
        """In the order of the screen: superseded points, raw lines, then bright ones, the first run last."""
        palette = self.spec.palette
        for trace in traces:
            for columns in trace.superseded:
                places = ((column, low) for column, low in self._single(columns))
                yield Dots(tuple(places), hex_of(palette.muted), 1.0)
        for trace in reversed(traces):
            faint = hex_of(palette.faint[trace.index])
            if trace.series.band(range(0)) is not None:
                yield from self._band(trace.raw, faint)
            elif trace.smooth is not None:
                yield from self._curve(trace, trace.raw, faint, FAINT)
        for trace in reversed(traces):
            bright = trace.raw if trace.smooth is None else trace.smooth
            yield from self._curve(trace, bright, hex_of(palette.line[trace.index]), BRIGHT)

    def _curve(self, trace: Trace, columns: Columns, colour: str, width: float) -> Iterator[Shape]:
        before, after = neighbours(trace, columns, self.band, x=self.frame.x, axis=self.spec.view.axis)
        for path in paths(columns, self.band, before, after):
            for part in clip(path, self.band.columns, self.band.rows):
                points = tuple((self.left + x / FINE, self._y(y)) for x, y in part)
                yield Line(points, colour, width) if len(points) > 1 else Dots(points, colour, width)

    def _band(self, columns: Columns, colour: str) -> Iterator[Shape]:
        """The area that a group of runs reaches over."""
        edges = [
            [
                (self.left + (column + 0.5) / FINE, self._y(min(self.height, max(0.0, self.band.row(value)))))
                for column, value in zip(columns.column, values, strict=True)
            ]
            for values in (columns.high, columns.low)
        ]
        if len(columns.column) > 1:
            yield Polygon((*edges[0], *reversed(edges[1])), colour)

    def _single(self, columns: Columns) -> Iterator[Point]:
        for column, low, high in zip(columns.column, columns.low, columns.high, strict=True):
            for value in {low, high}:
                height = self.band.row(value)
                if 0 <= height <= self.height:
                    yield self.left + (column + 0.5) / FINE, self._y(height)

    # ---- marks ---------------------------------------------------------------------------------------

    def _points(self, fine: Sequence[Trace]) -> Iterator[Shape]:
        """A disc on every point of a sparse line, exactly where it is."""
        for shown, trace in zip(self.made.traces, fine, strict=True):
            if shows_points(shown, self.frame.columns):
                colour = hex_of(self.spec.palette.line[trace.index])
                yield Dots(tuple(self._single(trace.raw)), colour, 3.5)

    def _marks(self) -> Iterator[Shape]:
        """What the screen lays over its canvas: best, spikes out of limits, NaN, alerts, names of runs."""
        for mark in marks(self.spec, self.frame, self.made.traces, UNICODE):
            colour = hex_of(mark.style)
            column, height = mark.exact or (mark.column + 0.5, self.frame.rows - mark.row - 0.5)
            at = (self.left + column * CELL, self._y(height * ROW))
            if mark.column > self.frame.columns:  # in the margin: a run's name
                x = self.left + mark.column * CELL
                y = self.top + mark.row * ROW + BASELINE
                yield from _texts([Segment(mark.glyph, mark.style)], x, y - BASELINE)
            elif mark.glyph != UNICODE.point:
                yield from sign(mark.glyph, at, colour)


def _texts(segments: Iterable[Segment], x: float, top: float) -> Iterator[Text]:
    """A line of styled text as pieces, each at its cell; the mark of focus is left out."""
    for segment in segments:
        width = segment.cell_length * CELL
        words = segment.text.replace("▌", " ")
        if words.strip() and segment.style is not None:
            lead = len(words) - len(words.lstrip(" "))
            kept = Segment(words.strip(" "))
            place = x + lead * CELL
            yield Text(
                place,
                top + BASELINE,
                kept.text,
                hex_of(segment.style),
                kept.cell_length * CELL,
                bool(segment.style.bold),
            )
        x += width
