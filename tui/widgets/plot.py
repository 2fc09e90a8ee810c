"""One live plot: a title with the metric and its values, the drawn frame, a cursor, zoom and pan.

The widget never draws: `tui.plots.draw.draw_frame` runs on the plot thread and hands back a finished frame;
`render_line` returns its strips, with the cursor and a dragged range laid over them as styles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.app import RenderResult
from textual.binding import BindingType
from textual.message import Message
from textual.strip import Strip
from textual.timer import Timer
from textual.widget import Widget

from tui.keys import bindings
from tui.plots.draw import draw_frame
from tui.plots.frame import MAX_RUNS, Alert, Frame, PlotSpec, View
from tui.plots.layout import restyle
from tui.plots.raster import submit
from tui.plots.run_metrics import RunMetrics
from tui.plots.title import title
from tui.style.palette import Palette, palette

REDRAW_SECONDS = 0.25
"""Live data redraws at most four times a second: more would flicker in tmux over SSH."""

WAITING = "waiting for the first metric…"
DRAWING = "drawing…"
"""Until the plot thread has given its first picture."""


class Plot(Widget, can_focus=True):
    """A metric of up to four runs over one x axis.

    set_series(metric, runs)   what to draw; the runs belong to the plot thread
    data_changed()             new points were sent to the plot thread: redraw soon
    set_view(view)             axis, limits, log y, smoothing, superseded points
    set_cursor(x)              crosshair at x in data units, None for none
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("plot")]
    DEFAULT_CSS = """
    Plot { height: 1fr; width: 1fr; min-height: 3; min-width: 10; }
    """

    @dataclass
    class CursorMoved(Message):
        """The cursor moved to `x` (data units on the plot's axis), or was removed (None)."""

        plot: Plot
        x: float | None

    @dataclass
    class Zoomed(Message):
        """The x limits asked for changed: None shows the whole run."""

        plot: Plot
        x: tuple[float, float] | None

    @dataclass
    class FullScreen(Message):
        """The plot wants the whole screen, or wants to return it."""

        plot: Plot

    @dataclass
    class Left(Message):
        """Focus is to go to the plot `across` columns and `down` rows from this one."""

        plot: Plot
        across: int
        down: int

    def __init__(self, *, unicode: bool = True, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.metric = ""
        self.runs: tuple[RunMetrics, ...] = ()
        self.view = View()
        self.frame: Frame | None = None
        self.cursor: float | None = None
        self.alerts: tuple[Alert, ...] = ()
        self.derive: Callable[[PlotSpec], PlotSpec] | None = None
        self.unicode = unicode
        self.named = False
        """Whether the title tells the run too: for a plot that has the screen to itself."""
        self.frozen = False
        self.drawn = 0
        self._dirty = False
        self._wanted = False
        self._drawing = False
        self._timer: Timer | None = None
        self._last_draw = 0.0
        self._drag: tuple[int, int] | None = None
        self._title: Strip | None = None
        self._palette: Palette | None = None
        """The colours of the last drawing."""

    # What is shown

    def set_series(
        self,
        metric: str,
        runs: Sequence[RunMetrics],
        derive: Callable[[PlotSpec], PlotSpec] | None = None,
        keep: bool = False,
    ) -> None:
        """Show `metric` of up to four runs, overlaid, or what `derive` makes of any number of runs.

        With `keep` what is drawn stays until the new picture is there. Raises ValueError for more runs.
        """
        if len(runs) > MAX_RUNS and derive is None:
            raise ValueError(f"a plot overlays at most {MAX_RUNS} runs, not {len(runs)}")
        if metric != self.metric or tuple(runs) != self.runs or derive != self.derive:
            self.metric, self.runs, self.derive = metric, tuple(runs), derive
            self.frame = self.frame if keep else None
            self._redraw()

    def set_view(self, view: View) -> None:
        if view != self.view:
            self.view = view
            self._redraw()

    def set_alerts(self, alerts: Sequence[Alert]) -> None:
        if tuple(alerts) != self.alerts:
            self.alerts = tuple(alerts)
            self.data_changed()

    def set_named(self, named: bool) -> None:
        """Tell the run in the title, or not."""
        if named != self.named:
            self.named = named
            self._repaint()

    def set_cursor(self, x: float | None) -> None:
        """Move the crosshair; only styles change, nothing is redrawn."""
        if x != self.cursor:
            self.cursor = x
            self._repaint()

    def data_changed(self) -> None:
        """Redraw within a quarter of a second, unless the display is frozen."""
        self._dirty = True
        if self.frozen or self._drawing or self._timer is not None:
            return
        wait = self._last_draw + REDRAW_SECONDS - monotonic()
        if wait > 0 and self.is_attached:
            self._timer = self.set_timer(wait, self._redraw)
        else:
            self._redraw()

    def freeze(self, frozen: bool) -> None:
        """Keep the frame while data keeps coming; unfreezing shows what came."""
        self.frozen = frozen
        if not frozen and self._dirty:
            self._redraw()

    # Drawing

    def _redraw(self) -> None:
        """Draw now, or again when the current drawing is done."""
        self._wanted = True
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        if self._drawing or not self.is_mounted or not self.display or self.size.height < 2:
            return
        self._drawing = True
        self.run_worker(self._draw(), group="draw")

    async def _draw(self) -> None:
        try:
            while self._wanted:
                self._wanted = self._dirty = False
                self._last_draw = monotonic()
                spec = self.spec
                self._palette = spec.palette
                frame = await asyncio.wrap_future(submit(draw_frame, spec))
                wanted = (self.metric, self.runs, self.derive, self.size.width)
                if (spec.metric, spec.runs, spec.derive, spec.width) == wanted:
                    self.frame = frame
                    self.drawn += 1
                    self._repaint()
        finally:
            self._drawing = False
        if self._dirty:
            self.data_changed()

    @property
    def spec(self) -> PlotSpec:
        """What is drawn, and how: an exported picture is made from it too."""
        return PlotSpec(
            metric=self.metric,
            runs=self.runs,
            view=self.view,
            width=self.size.width,
            height=self.size.height - 1,
            palette=self.palette,
            unicode=self.unicode,
            alerts=self.alerts,
            derive=self.derive,
        )

    @property
    def palette(self) -> Palette:
        """The styles of the app's theme on this widget's background."""
        return palette(self.app.current_theme, self.app.theme_variables, self.background_colors[1])

    def _repaint(self) -> None:
        self._title = None
        self.refresh()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        if self.is_mounted and self.palette != self._palette:  # focus is a change of style too
            self._redraw()

    def on_mount(self) -> None:
        self.call_after_refresh(self._redraw)

    def on_show(self) -> None:
        self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def on_focus(self) -> None:
        self._repaint()

    def on_blur(self) -> None:
        self._repaint()

    # Painting

    def render(self) -> RenderResult:
        return ""

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y == 0:
            if self._title is None:
                self._title = title(
                    self.metric,
                    self.frame,
                    cursor=self.cursor,
                    width=width,
                    colours=self.palette,
                    focused=self.has_focus,
                    run=self.runs[0].label if self.named and len(self.runs) == 1 else "",
                )
            return self._title
        frame = self.frame
        if frame is None or frame.empty:
            return self._message_line(y, frame)
        if y > len(frame.strips):
            return Strip.blank(width, self.palette.text)
        strip = frame.strips[y - 1]
        if y <= frame.rows:
            strip = self._overlay(strip, frame)
        return strip.adjust_cell_length(width, self.palette.text)

    def _message_line(self, y: int, frame: Frame | None) -> Strip:
        colours, width = self.palette, self.size.width
        if y != max(1, self.size.height // 2):
            return Strip.blank(width, colours.text)
        notes = ", ".join(frame.notes) if frame is not None else ""
        waiting = DRAWING if frame is None else WAITING
        text, style = (f"no finite value: {notes}", colours.error) if notes else (waiting, colours.muted)
        return Strip([Segment(text[:width].center(width), style)], width)

    def _overlay(self, strip: Strip, frame: Frame) -> Strip:
        if self._drag is not None:
            first, last = sorted(self._drag)
            strip = restyle(strip, frame.left + first, frame.left + last + 1, self.palette.cursor)
        column = None if self.cursor is None else frame.column_at(self.cursor)
        if column is None:
            return strip
        at = frame.left + column
        crossed = restyle(strip, at, at + 1, self.palette.cursor)
        if crossed.crop(at, at + 1).text in (" ", "┈"):
            line = Strip([Segment("│" if self.unicode else "|", self.palette.cursor)], 1)
            crossed = Strip.join([strip.crop(0, at), line, strip.crop(at + 1)])
        return crossed

    # Keys and mouse

    def action_go(self, across: int, down: int) -> None:
        self.post_message(self.Left(self, across, down))

    def action_zoom_x(self, factor: float) -> None:
        frame = self.frame
        if frame is None or frame.empty:
            return
        centre = self.cursor
        if centre is None or not frame.x[0] <= centre <= frame.x[1]:
            centre = sum(frame.x) / 2
        self._zoom(frame, centre, factor)

    def _zoom(self, frame: Frame, centre: float, factor: float) -> None:
        low, high = frame.x
        self._show(frame, centre - (centre - low) * factor, centre + (high - centre) * factor)

    def _show(self, frame: Frame, low: float, high: float) -> None:
        """Ask for the x limits [low, high], kept within the run and wider than a millionth of it."""
        first, last = frame.extent
        if high - low < (last - first) * 1e-6:
            return
        if high - low >= last - first:
            self.post_message(self.Zoomed(self, None))
            return
        shift = max(0.0, first - low) - max(0.0, high - last)
        self.post_message(self.Zoomed(self, (low + shift, high + shift)))

    def action_pan(self, direction: int) -> None:
        frame = self.frame
        if frame is None or frame.empty:
            return
        low, high = frame.x
        step = (high - low) / 5 * direction
        self._show(frame, low + step, high + step)

    def action_cursor(self, direction: int) -> None:
        """Move the crosshair by columns; the first move puts it on the newest visible column."""
        frame = self.frame
        if frame is None or frame.empty:
            return
        column = None if self.cursor is None else frame.column_at(self.cursor)
        column = frame.columns - 1 if column is None else column + direction
        self.post_message(self.CursorMoved(self, frame.x_at(min(frame.columns - 1, max(0, column)))))

    def action_show_all(self) -> None:
        self.post_message(self.CursorMoved(self, None))
        self.post_message(self.Zoomed(self, None))

    def action_full(self) -> None:
        self.post_message(self.FullScreen(self))

    def _canvas_column(self, event: events.MouseEvent) -> int | None:
        frame = self.frame
        if frame is None or frame.empty:
            return None
        column = event.x - frame.left
        return column if 0 <= column < frame.columns else None

    def on_mouse_move(self, event: events.MouseMove) -> None:
        column = self._canvas_column(event)
        if column is None or self.frame is None:
            return
        if self._drag is not None:
            self._drag = (self._drag[0], column)
            self._repaint()
        self.post_message(self.CursorMoved(self, self.frame.x_at(column)))

    def on_leave(self) -> None:
        if self._drag is None:
            self.post_message(self.CursorMoved(self, None))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        column = self._canvas_column(event)
        if column is not None and event.button == 1 and self.has_focus:
            self._drag = (column, column)
            self.capture_mouse()

    def on_mouse_up(self) -> None:
        drag, self._drag = self._drag, None
        if drag is None:
            return
        self.release_mouse()
        first, last = sorted(drag)
        if self.frame is not None and last > first:
            half = (self.frame.x[1] - self.frame.x[0]) / self.frame.columns / 2
            self._show(self.frame, self.frame.x_at(first) - half, self.frame.x_at(last) + half)
        self._repaint()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self._wheel(event, 1 / 1.4)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self._wheel(event, 1.4)

    def _wheel(self, event: events.MouseEvent, factor: float) -> None:
        column = self._canvas_column(event)
        if column is not None and self.frame is not None:
            event.stop()
            self._zoom(self.frame, self.frame.x_at(column), factor)

    def on_plot_zoomed(self, event: Zoomed) -> None:
        """A plot in a grid leaves the limits to the grid; one on its own follows itself."""
        self.set_view(replace(self.view, x=event.x))

    def on_plot_cursor_moved(self, event: CursorMoved) -> None:
        self.set_cursor(event.x)
