"""The machine panel as lines of text: a row per GPU, the host's own load, and a GPU × time heat map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rich.style import Style

from nanochat.common.text import duration, sanitize, size_bytes
from tui.data.telemetry import BUCKET_SECONDS, Gpu, GpuHistory, Value, number_in
from tui.style.palette import Palette

Line = list[tuple[str, Style]]

NO_GPU = "no NVIDIA GPU seen by NVML"
WAITING = "waiting for the first telemetry…"
NO_TELEMETRY = "no telemetry: this run was not monitored"
WHEN_ENDED = "when the run ended"
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


@dataclass(frozen=True, slots=True)
class Panel:
    """What lines are drawn for: the width in cells, the colours, and whether the font has Unicode's bars."""

    width: int
    colours: Palette
    unicode: bool = True


def machine_lines(
    machine: Machine, panel: Panel, *, height: int | None = None, heat_metric: str = "util"
) -> list[Line]:
    """All lines of the panel; with a `height` that is too small the heat map is left out first."""
    lines: list[Line] = []
    if machine.stale is not None:
        panel = replace(panel, colours=panel.colours.dimmed())
        mark = "⚠ " if panel.unicode else "! "
        lines.append([(f"{mark}no contact for {_silence(machine.stale)}", panel.colours.warning)])
    if not machine.data:
        return [*lines, [(NO_TELEMETRY if machine.ended else WAITING, panel.colours.muted)]]
    if machine.ended:
        panel = replace(panel, colours=panel.colours.dimmed())
        lines.append([(WHEN_ENDED, panel.colours.title)])
    slow = machine.history.stragglers()
    lines += gpu_lines(machine.gpus, slow, panel) or [[(NO_GPU, panel.colours.muted)]]
    lines += host_lines(machine.data, panel)
    heat = heat_lines(machine.history, heat_metric, slow, panel)
    if height is None or len(lines) + len(heat) <= height:
        lines += heat
    return lines


def _silence(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else duration(seconds)


@dataclass(frozen=True, slots=True)
class _Widths:
    """Cells of the columns of the GPU table that depend on the panel's width; `clock` 0 leaves it out."""

    bar: int
    memory: int
    power: int
    clock: int

    @classmethod
    def of(cls, width: int) -> _Widths:
        memory, power = (11, 7) if width >= 64 else (6, 4)
        clock = 6 if width >= 34 else 0
        return cls(max(4, min(20, width - memory - power - clock - 15)), memory, power, clock)


def gpu_lines(seen: Sequence[Gpu], slow: Mapping[int, str], panel: Panel) -> list[Line]:
    """A header and a row per GPU; problems are named behind the row, or below it where they do not fit."""
    if not seen:
        return []
    width, widths = panel.width, _Widths.of(panel.width)
    head = f"{'GPU':<4}{'util':<{widths.bar + 4}} {'mem':>{widths.memory}} {'W':>{widths.power}} {'°C':>3}"
    head = (head + "SM".rjust(widths.clock) if widths.clock else head)[:width]
    names = {gpu.name for gpu in seen}
    name = f"  {len(seen)} × {names.pop()}" if len(names) == 1 and seen[0].name else ""
    lines: list[Line] = [[(head + (name if len(head + name) <= width else ""), panel.colours.muted)]]
    for gpu in seen:
        line = _gpu_line(gpu, widths, panel)
        notes = _gpu_notes(gpu, slow.get(gpu.index, ""), panel)
        if _length(line) + sum(2 + len(text) for text, _ in notes) <= width:
            lines.append([*line, *((f"  {text}", style) for text, style in notes)])
        else:
            lines += [line, *([(f"    {text}", style)] for text, style in notes)]
    return lines


def _length(line: Line) -> int:
    return sum(len(text) for text, _ in line)


def _gpu_line(gpu: Gpu, widths: _Widths, panel: Panel) -> Line:
    colours = panel.colours
    filled = round(max(0.0, min(100.0, gpu.util or 0.0)) / 100 * widths.bar)
    full, track = ("━", "━") if panel.unicode else ("#", ".")
    hot = colours.warning if gpu.temp is not None and gpu.temp >= HOT else colours.text
    line = [
        (f"{gpu.index:>3} ", colours.muted),
        (full * filled, colours.line[0]),
        (track * (widths.bar - filled), colours.rule),
        (_whole(gpu.util, 4), colours.title),
        (f" {_of(gpu.mem_used, gpu.mem_total, size_bytes, widths.memory)}", colours.text),
        (f" {_of(gpu.power, gpu.power_limit, '{:.0f}'.format, widths.power)}", colours.text),
        (f" {_whole(gpu.temp, 3)}", hot),
    ]
    if widths.clock:
        clock = "–" if gpu.sm_clock is None else f"{gpu.sm_clock / 1000:.2f}G"
        line.append((f" {clock:>5}", colours.text))
    return line


def _of(used: float | None, total: float | None, show: Callable[[float], str], width: int) -> str:
    """`71.2G/80.0G` where the limit fits, else `71.2G`; a dash for an unreadable value."""
    text = "–" if used is None else show(used)
    full = text if total is None else f"{text}/{show(total)}"
    return (full if len(full) <= width else text).rjust(width)


def _whole(value: float | None, width: int) -> str:
    return ("–" if value is None else f"{value:.0f}").rjust(width)


def _gpu_notes(gpu: Gpu, slow: str, panel: Panel) -> Line:
    colours = panel.colours
    warn, bad = ("⚠", "✖") if panel.unicode else ("!", "X")
    notes: Line = []
    if gpu.ecc:
        notes.append((f"{bad} ECC {gpu.ecc:.0f}", colours.error))
    if gpu.throttled:
        notes.append((f"{warn} throttle: {sanitize(gpu.throttle, 60)}", colours.warning))
    if slow:
        notes.append((f"{warn} {slow}", colours.warning))
    return notes


def host_lines(data: Mapping[str, Value], panel: Panel) -> list[Line]:
    """CPU, load, memory, disk and network of the host, wrapped to the width."""
    colours = panel.colours
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
    return _fold([(("host", colours.title), (" ", colours.text)), *map(tuple, parts)], panel.width)


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


def heat_lines(history: GpuHistory, metric: str, slow: Mapping[int, str], panel: Panel) -> list[Line]:
    """GPU × time, one row a GPU, time to the right: height and lightness both rise with the value."""
    colours, indices = panel.colours, history.indices()
    columns = panel.width - 9
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
    bars = BARS if panel.unicode else ASCII_BARS
    for index, row in rows.items():
        mark = ("⚠" if panel.unicode else "!") if index in slow else " "
        line: Line = [(f"{index:>3}", colours.muted), (mark, colours.warning)]
        for value in row:
            level = 0 if value is None else max(1, min(7, 1 + int((value - low) / (high - low) * 7)))
            style = colours.warning if index in slow else colours.heat[level]
            line.append((bars[level], style))
        latest = next((value for value in reversed(row) if value is not None), None)
        line.append((f" {_whole(latest, 4)}", colours.text))
        lines.append(line)
    return lines
