"""The machine a run is on: a row per GPU, the host's own load, and a GPU × time heat map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

from nanochat.common.text import duration, harmless, size_bytes
from tui.data.telemetry import BUCKET_SECONDS, Gpu, GpuHistory, Value, gpus, number_in
from tui.keys import bindings
from tui.style.palette import Palette, palette

Line = list[tuple[str, Style]]

NO_GPU = "no NVIDIA GPU seen by NVML"
WAITING = "waiting for the first telemetry…"
NO_TELEMETRY = "no telemetry: this run was not monitored"
BARS = "·▁▂▃▄▅▆▇"
ASCII_BARS = " .:-=+*#"
HOT = 85
"""°C from which a GPU's temperature is shown as a warning: an H100 slows down at about 87."""

_SCALES = {"util": (0.0, 100.0), "temp": (20.0, 95.0)}
_UNITS = {"util": "%", "sm_clock": "MHz", "power": "W", "temp": "°C"}
_NAMES = {"util": "util", "sm_clock": "SM clock", "power": "power", "temp": "temp"}


@dataclass(slots=True)
class Machine:
    """What is known of a host: its latest telemetry and the history of its GPUs.

    `stale` is seconds since the last contact, None while there is contact. `ended`: the run has ended, so no
    more telemetry will come.
    """

    data: Mapping[str, Value] = field(default_factory=dict)
    gpus: list[Gpu] = field(default_factory=list)
    history: GpuHistory = field(default_factory=GpuHistory)
    stale: float | None = None
    ended: bool = False


class GpuGrid(Widget, can_focus=True):
    """GPU table, host panel and heat map from telemetry.

    update_telemetry(t, data)   one telemetry event: unix time and its data
    load(rows)                  many at once, oldest first, when a run is opened
    set_stale(seconds)          dim everything and show how long there is no contact; None if there is
    set_ended(ended)            whether the run has ended
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

    def update_telemetry(self, t: float, data: Mapping[str, Value]) -> None:
        """Take in one telemetry event."""
        self.load([(t, data)])

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
        return machine_lines(self.machine, width, height, colours, self.heat_metric, self.unicode)

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


def machine_lines(
    machine: Machine, width: int, height: int | None, colours: Palette, heat_metric: str, unicode: bool = True
) -> list[Line]:
    """All lines of the panel; with a `height` that is too small the heat map is left out first."""
    if machine.stale is not None:
        colours = colours.dimmed()
    lines: list[Line] = []
    if machine.stale is not None:
        mark = "⚠ " if unicode else "! "
        lines.append([(f"{mark}no contact for {_silence(machine.stale)}", colours.warning)])
    if not machine.data:
        return [*lines, [(NO_TELEMETRY if machine.ended else WAITING, colours.muted)]]
    slow = machine.history.stragglers()
    table = gpu_lines(machine.gpus, slow, width, colours, unicode)
    lines += table or [[(NO_GPU, colours.muted)]]
    lines += host_lines(machine.data, width, colours)
    heat = heat_lines(machine.history, heat_metric, slow, width, colours, unicode)
    if height is None or len(lines) + len(heat) <= height:
        lines += heat
    return lines


def _silence(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else duration(seconds)


def gpu_lines(
    seen: Sequence[Gpu], slow: Mapping[int, str], width: int, colours: Palette, unicode: bool
) -> list[Line]:
    """A header and a row per GPU; problems are named behind the row, or below it where they do not fit."""
    if not seen:
        return []
    wide = width >= 64
    memory, power = (11, 7) if wide else (6, 4)
    clock = 6 if width >= 34 else 0
    bar = max(4, min(20, width - memory - power - clock - 15))
    head = f"{'GPU':<4}{'util':<{bar + 4}} {'mem':>{memory}} {'W':>{power}} {'°C':>3}{'SM':>{clock}}"[:width]
    names = {gpu.name for gpu in seen}
    name = f"  {len(seen)} × {names.pop()}" if len(names) == 1 and seen[0].name else ""
    lines: list[Line] = [[(head + (name if len(head + name) <= width else ""), colours.muted)]]
    for gpu in seen:
        line = _gpu_line(gpu, bar, memory, power, colours, unicode)[: None if clock else -1]
        notes = _gpu_notes(gpu, slow.get(gpu.index, ""), colours, unicode)
        if _length(line) + sum(2 + len(text) for text, _ in notes) <= width:
            lines.append([*line, *((f"  {text}", style) for text, style in notes)])
        else:
            lines += [line, *([(f"    {text}", style)] for text, style in notes)]
    return lines


def _length(line: Line) -> int:
    return sum(len(text) for text, _ in line)


def _gpu_line(gpu: Gpu, bar: int, memory: int, power: int, colours: Palette, unicode: bool) -> Line:
    filled = round(max(0.0, min(100.0, gpu.util or 0.0)) / 100 * bar)
    full, track = ("━", "━") if unicode else ("#", ".")
    clock = "–" if gpu.sm_clock is None else f"{gpu.sm_clock / 1000:.2f}G"
    hot = colours.warning if gpu.temp is not None and gpu.temp >= HOT else colours.text
    return [
        (f"{gpu.index:>3} ", colours.muted),
        (full * filled, colours.line[0]),
        (track * (bar - filled), colours.rule),
        (_whole(gpu.util, 4), colours.title),
        (f" {_of(gpu.mem_used, gpu.mem_total, size_bytes, memory)}", colours.text),
        (f" {_of(gpu.power, gpu.power_limit, '{:.0f}'.format, power)}", colours.text),
        (f" {_whole(gpu.temp, 3)}", hot),
        (f" {clock:>5}", colours.text),
    ]


def _of(used: float | None, total: float | None, show: Callable[[float], str], width: int) -> str:
    """`71.2G/80.0G` where the limit fits, else `71.2G`; a dash for an unreadable value."""
    text = "–" if used is None else show(used)
    full = text if total is None else f"{text}/{show(total)}"
    return (full if len(full) <= width else text).rjust(width)


def _whole(value: float | None, width: int) -> str:
    return ("–" if value is None else f"{value:.0f}").rjust(width)


def _gpu_notes(gpu: Gpu, slow: str, colours: Palette, unicode: bool) -> Line:
    warn, bad = ("⚠", "✖") if unicode else ("!", "X")
    notes: Line = []
    if gpu.ecc:
        notes.append((f"{bad} ECC {gpu.ecc:.0f}", colours.error))
    if gpu.throttled:
        notes.append((f"{warn} throttle: {harmless(gpu.throttle, 60)}", colours.warning))
    if slow:
        notes.append((f"{warn} {slow}", colours.warning))
    return notes


def host_lines(data: Mapping[str, Value], width: int, colours: Palette) -> list[Line]:
    """CPU, load, memory, disk and network of the host, folded to the width."""
    parts: list[Line] = []

    def part(name: str, text: str) -> None:
        parts.append([(f"{name} ", colours.muted), (text, colours.text), ("  ", colours.text)])

    def value(name: str) -> float | None:
        return number_in(data, f"host/{name}")

    if (cpu := value("cpu")) is not None:
        part("cpu", f"{cpu:.0f} %")
    if (load := value("load1")) is not None:
        cores = value("cores")
        part("load", f"{load:.1f}" + (f" of {cores:.0f} cores" if cores else ""))
    for name in ("ram", "disk"):
        used, total = value(f"{name}_used"), value(f"{name}_total")
        if used is not None:
            part(name, size_bytes(used) + (f" of {size_bytes(total)}" if total else ""))
    received, sent = value("net_rx"), value("net_tx")
    if received is not None or sent is not None:
        part("net", f"↓{size_bytes(received or 0)} ↑{size_bytes(sent or 0)}/s")
    if value("in_container"):
        part("in a container:", "its limits, not the node's")
    return _fold([(("host", colours.title), (" ", colours.text)), *map(tuple, parts)], width)


def _fold(parts: Sequence[Sequence[tuple[str, Style]]], width: int) -> list[Line]:
    lines: list[Line] = [[]]
    used = 0
    for part in parts:
        length = sum(len(text) for text, _ in part)
        if used and used + length - 2 > width:
            lines.append([])
            used = 0
        lines[-1].extend(part)
        used += length
    return lines if len(parts) > 1 else []


def heat_lines(
    history: GpuHistory, metric: str, slow: Mapping[int, str], width: int, colours: Palette, unicode: bool
) -> list[Line]:
    """GPU × time, one row a GPU, time to the right: height and lightness both rise with the value."""
    indices = history.indices()
    columns = width - 9
    if not indices or columns < 8:
        return []
    seconds = max(columns * BUCKET_SECONDS, history.span())
    rows = {index: history.row(index, metric, columns, seconds) for index in indices}
    known = [value for row in rows.values() for value in row if value is not None]
    if not known:
        return []
    low, high = _SCALES.get(metric, (0.0, max(known) or 1.0))
    title = f"{_NAMES[metric]} {low:.0f}–{high:.0f} {_UNITS[metric]}, last {duration(seconds)}"
    lines: list[Line] = [[(title, colours.muted)]]
    bars = BARS if unicode else ASCII_BARS
    for index, row in rows.items():
        mark = ("⚠" if unicode else "!") if index in slow else " "
        line: Line = [(f"{index:>3}", colours.muted), (mark, colours.warning)]
        for value in row:
            level = 0 if value is None else max(1, min(7, 1 + int((value - low) / (high - low) * 7)))
            style = colours.warning if index in slow else colours.heat[level]
            line.append((bars[level], style))
        latest = next((value for value in reversed(row) if value is not None), None)
        line.append((f" {_whole(latest, 4)}", colours.text))
        lines.append(line)
    return lines


def _strip(line: Line, width: int, style: Style) -> Strip:
    return Strip([Segment(text, own) for text, own in line]).adjust_cell_length(width, style)
