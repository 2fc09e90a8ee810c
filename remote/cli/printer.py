"""Runs and their events in words, for a terminal, a pipe or a program; foreign text is sanitized."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TextIO

from nanochat.common.text import amount, clock, duration, number, percent, sanitize, short
from nanochat.run.events import Event
from remote.key_metric import key_figure, told
from remote.run_summary import speed
from remote.runs import RunRow
from remote.store.summary import as_number

GLYPHS = {
    "created": "○",
    "starting": "◐",
    "running": "●",
    "succeeded": "✔",
    "failed": "✖",
    "stopped": "■",
    "lost": "?",
}
_PLAIN_EVERY = 10.0
_FIGURES = (
    ("train/loss", "loss"),
    ("train/tok_per_sec", "tok/s"),
    ("train/mfu", "% MFU"),
    ("tok/merges", "merges"),
    ("tok/mb_per_sec", "MB/s"),
    ("data/docs", "docs"),
)
_UNITS_AFTER = frozenset(("tok/s", "% MFU", "MB/s", "merges", "docs"))


class Printer(Protocol):
    """Where what happens goes."""

    def note(self, text: str) -> None:
        """Something about the connection or the plan."""

    def event(self, run: RunRow, event: Event) -> None:
        """One event of a run, in order."""

    def progress(self, runs: Sequence[RunRow]) -> None:
        """How the live runs stand, a few times a second."""

    def close(self) -> None:
        """Nothing more comes."""


class JsonPrinter:
    """One event a line on standard output, with host, run_id and stage added; notes on standard error."""

    def __init__(self, out: TextIO, err: TextIO) -> None:
        self._out, self._err = out, err

    def note(self, text: str) -> None:
        print(sanitize(text), file=self._err, flush=True)

    def event(self, run: RunRow, event: Event) -> None:
        record = {
            "host": run.host,
            "run_id": run.run_id,
            "stage": run.stage,
            "seq": event.seq,
            "t": event.t,
            "kind": event.kind,
            "step": event.step,
            "data": event.data,
        }
        print(json.dumps(record, separators=(",", ":")), file=self._out, flush=True)

    def progress(self, runs: Sequence[RunRow]) -> None:
        """Programs read the metric events themselves."""

    def close(self) -> None:
        self._out.flush()


class PlainPrinter:
    """Lines for a log file: what matters at once, progress every ten seconds."""

    def __init__(self, err: TextIO) -> None:
        self._err = err
        self._told: dict[str, float] = {}

    def note(self, text: str) -> None:
        self._line(f"{clock(time.time())} {sanitize(text)}")

    def event(self, run: RunRow, event: Event) -> None:
        text = describe(event)
        if text:
            self._line(f"{clock(event.t)} {sanitize(run.name or run.stage or run.run_id, 80)}: {text}")

    def progress(self, runs: Sequence[RunRow]) -> None:
        now = time.monotonic()
        for run in runs:
            known = run.progress is not None or run.latest
            if run.status == "running" and known and now - self._told.get(run.key, -1e9) >= _PLAIN_EVERY:
                self._told[run.key] = now
                self._line(f"{clock(time.time())} {progress_line(run)}")

    def close(self) -> None:
        self._err.flush()

    def _line(self, text: str) -> None:
        print(text, file=self._err, flush=True)


class LivePrinter(PlainPrinter):
    """For a terminal: one line that is rewritten in place, everything else above it."""

    def __init__(self, err: TextIO) -> None:
        super().__init__(err)
        self._shown = ""
        self.paused = False

    def progress(self, runs: Sequence[RunRow]) -> None:
        live = [run for run in runs if run.at_work]
        text = "   ".join(progress_line(run) for run in live)
        text = text[: max(20, shutil.get_terminal_size().columns - 1)]
        if text != self._shown and not self.paused:
            self._err.write(f"\r\x1b[K{text}")
            self._err.flush()
            self._shown = text

    def close(self) -> None:
        self._clear()
        super().close()

    def _clear(self) -> None:
        if self._shown:
            self._err.write("\r\x1b[K")
            self._shown = ""

    def _line(self, text: str) -> None:
        self._clear()
        super()._line(text)


def make_printer(as_json: bool) -> Printer:
    """The printer for where standard output and error go."""
    if as_json:
        return JsonPrinter(sys.stdout, sys.stderr)
    return LivePrinter(sys.stderr) if sys.stderr.isatty() else PlainPrinter(sys.stderr)


def describe(event: Event) -> str:
    """What an event says to a person, "" for those that only move the progress line.

    Log lines repeat in free words what the other events say; samples come at the end.
    """
    data = event.data
    at = "" if event.step is None else f"step {event.step:,}: "
    if event.kind == "stage_start":
        attempt = data.get("attempt")
        again = f", attempt {attempt} from step {data.get('from_step')}" if attempt not in (1, None) else ""
        total, unit = as_number(data.get("total_steps")), str(data.get("unit") or "step")
        return sanitize("started" + again + (f", {amount(total, unit)}" if total else ""))
    if event.kind == "eval":
        return sanitize(at + ", ".join(judged(data)))
    if event.kind == "checkpoint":
        return sanitize(f"{at}saved {data.get('path', '')}")
    if event.kind == "alert":
        return sanitize(f"⚠ {at}{data.get('message') or data.get('what', '')}")
    if event.kind == "stage_end":
        reason = f": {data['error']}" if data.get("error") else ""
        return sanitize(f"{data.get('status', 'ended')}{reason}")
    return ""


def judged(values: Mapping[str, object]) -> list[str]:
    """`name value` of each, with ± where its standard error is there too (as `<name>_stderr`)."""
    shown = []
    for name, value in values.items():
        if isinstance(value, Mapping):  # the same figures as a document
            continue
        if name.endswith(_ERROR) and name.removesuffix(_ERROR) in values:
            continue
        error = values.get(name + _ERROR)
        doubt = f" ± {number(_value(error))}" if error else ""
        text = value if isinstance(value, str) else number(_value(value))
        shown.append(f"{name} {text}{doubt}")
    return shown


_ERROR = "_stderr"


def progress_line(run: RunRow) -> str:
    """`base_train 120/300 40% · bpb 2.31 · loss 3.21 · 12.3k tok/s · 1m20s left`."""
    done = f"{run.step:,}/{run.total_steps:,}" if run.step is not None and run.total_steps else ""
    words = [
        word
        for word in (sanitize(run.name or run.stage or run.run_id, 40), done, percent(run.progress))
        if word
    ]
    parts = [" ".join(words) if len(words) > 1 else f"{words[0]} {run.status}"]
    parts += [word for word in (figures(run),) if word]
    if run.eta_s is not None and run.status == "running":
        parts.append(f"{duration(run.eta_s)} left")
    return " · ".join(parts)


def figures(run: RunRow) -> str:
    """The key figures of a run as screens tell them: `bpb 0.8214 · loss 2.731 · 12.3k tok/s`."""
    key = key_figure(run)
    found = [str(key)] if key.name and key.metric not in dict(_FIGURES) else []
    for name, unit in _FIGURES:
        value = speed(run).value if unit == "tok/s" and name in run.latest else as_number(told(run, name))
        if value is not None:
            found.append(f"{short(value)} {unit}" if unit in _UNITS_AFTER else f"{unit} {number(value)}")
    return " · ".join(found)


def spent(run: RunRow) -> str:
    """How long a run took, or has taken so far: by its host's clock alone, which need not be ours."""
    if run.started_at is None:
        return ""
    end = run.heartbeat if run.live or run.ended_at is None else run.ended_at
    return duration(max(0.0, (end or time.time()) - run.started_at))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under a header in columns as wide as their widest cell; every cell sanitized."""
    cells = [list(header), *([sanitize(cell, 80) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _value(value: object) -> float | str | None:
    return value if isinstance(value, (int, float, str)) or value is None else str(value)


def print_problems(problems: Iterable[str]) -> None:
    """What is wrong with entries of the host book, a line each, beside the answer."""
    for line in problems:
        print(f"nanochat: {line}", file=sys.stderr)


def print_check(level: str, what: str, fix: str) -> None:
    """A line a check: glyph, word, and below it what to do."""
    mark = {"good": "✓ ok  ", "warn": "! warn", "bad": "✗ fail"}[level]
    print(f"{mark}  {sanitize(what)}")
    if fix:
        print(f"        → {sanitize(fix)}")
