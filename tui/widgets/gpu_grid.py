"""The machine a run is on: a row per GPU, the host's own load, and a GPU × time heat map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from tui.data.telemetry import GpuHistory, Value, gpus
from tui.keys import bindings
from tui.style.palette import palette
from tui.widgets.machine_lines import Line, Machine, Panel, machine_lines


class GpuGrid(Widget, can_focus=True):
    """GPU table, host panel and heat map from telemetry.

    load(rows)           telemetry events, oldest first: unix time and data
    set_stale(seconds)   dim everything and say for how long there was no contact; None when there is
    set_ended(ended)     whether the run has ended
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("gpus")]
    DEFAULT_CSS = """
    GpuGrid { height: auto; width: 1fr; min-width: 30; }
    """

    def __init__(self, *, unicode: bool = True, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.machine = Machine()
        self.heat_metric = "util"
        self.unicode = unicode
        self._lines: list[Strip] | None = None

    def load(self, rows: Iterable[tuple[float, Mapping[str, Value]]]) -> None:
        """Take in telemetry events, oldest first."""
        machine = self.machine
        for t, data in rows:
            machine.data, machine.gpus = data, gpus(data)
            machine.history.add(t, machine.gpus)
        self._changed()

    def set_stale(self, seconds: float | None) -> None:
        """Set the seconds since the last contact, None while there is contact."""
        if seconds != self.machine.stale:
            self.machine.stale = seconds
            self._changed()

    def set_ended(self, ended: bool) -> None:
        """Set whether the run has ended, so that no more telemetry comes."""
        if ended != self.machine.ended:
            self.machine.ended = ended
            self._changed()

    def clear(self) -> None:
        """Drop everything, before another run is shown."""
        self.machine = Machine()
        self._changed()

    def action_next_heat(self) -> None:
        order = GpuHistory.METRICS
        self.heat_metric = order[(order.index(self.heat_metric) + 1) % len(order)]
        self._changed()

    def _changed(self) -> None:
        before = len(self._lines or ())
        self._lines = None
        self.refresh(layout=self.is_mounted and self._line_count(self.size.width) != before)

    def _line_count(self, width: int) -> int:
        return len(self._build(width, None))

    def _build(self, width: int, height: int | None) -> list[Line]:
        colours = palette(self.app.current_theme, self.app.theme_variables, self.background_colors[1])
        panel = Panel(width, colours, self.unicode)
        return machine_lines(self.machine, panel, height=height, heat_metric=self.heat_metric)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return self._line_count(width)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._lines = None

    def on_resize(self) -> None:
        self._lines = None

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if self._lines is None:
            lines = self._build(width, self.size.height)
            self._lines = [_strip(line, width, self.rich_style) for line in lines]
        return self._lines[y] if y < len(self._lines) else Strip.blank(width, self.rich_style)


def _strip(line: Line, width: int, style: Style) -> Strip:
    return Strip([Segment(text, own) for text, own in line]).adjust_cell_length(width, style)
