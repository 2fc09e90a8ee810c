"""The event log: one append-only JSON Lines file per run, the only thing that screens and reports read.

A line is `{"seq": 17, "t": 1790000000.123, "kind": "metric", "step": 120, "data": {...}}`. `seq` counts
from 0 with no gap and no repeat, also across a resume. A line is one write of at most 64 KiB, ended by
a newline; a reader ignores an incomplete last line until its newline is there.
"""

import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import parse_json

JSON: TypeAlias = str | int | float | bool | list[Any] | dict[str, Any] | None

KINDS = ("stage_start", "metric", "eval", "sample", "checkpoint", "alert", "log", "stage_end")
RENAMED_METRICS = {"rl/mixed": "rl/mixed_reward_fraction", "rl/ended": "rl/finished_fraction"}
"""Metric names of version 0.1.0 and what they are called now; readers see only the new names."""
MAX_LINE = 64 * 1024
"""Bytes of a line, newline included; longer strings are cut, so that a reader can bound its buffer."""
CUT_MARK = " … [cut]"
"""Ends a string that was cut."""


@dataclass(frozen=True)
class Event:
    """One line of the log. `t` is Unix time in seconds; `step` is None where the stage has none."""

    seq: int
    t: float
    kind: str
    step: int | None = None
    data: Mapping[str, JSON] = field(default_factory=dict)

    def line(self) -> bytes:
        """The event as its line, newline included."""
        record: dict[str, JSON] = {"seq": self.seq, "t": round(self.t, 6), "kind": self.kind}
        if self.step is not None:
            record["step"] = self.step
        record["data"] = dict(self.data)
        return (
            json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
                errors="replace"
            )
            + b"\n"
        )


def parse_line(line: bytes | str) -> Event | None:
    """The event on `line`, or None when the line is not an event (incomplete or damaged)."""
    try:
        record = parse_json(line)
        seq, t, kind, step = record["seq"], record["t"], record["kind"], record.get("step")
        data = record.get("data", {})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if type(seq) is not int or isinstance(t, bool) or not isinstance(t, int | float):
        return None
    if not isinstance(kind, str) or not isinstance(data, dict) or type(step) not in (int, type(None)):
        return None
    if not RENAMED_METRICS.keys().isdisjoint(data):
        data = {RENAMED_METRICS.get(name, name): value for name, value in data.items()}
    return Event(seq, float(t), kind, step, data)


def read_events(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """The events of the file from byte `offset` on, and the offset after the last complete line.

    Complete lines that are not events are skipped. A missing file has no events.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            raw = file.read()
    except FileNotFoundError:
        return [], offset
    end = raw.rfind(b"\n") + 1
    events = [event for line in raw[:end].splitlines() if (event := parse_line(line)) is not None]
    return events, offset + end


def finite(value: JSON, on_nonfinite: Callable[[str], None] | None = None) -> JSON:
    """`value` with NaN and infinities as the strings "NaN", "Infinity", "-Infinity", at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        if on_nonfinite is not None:
            on_nonfinite(name)
        return name
    if isinstance(value, Mapping):
        return {str(key): finite(item, on_nonfinite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item, on_nonfinite) for item in value]
    return value


_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def number(value: JSON) -> float | None:
    """An event's value as a number (the inverse of `finite`); None when it is not one."""
    if isinstance(value, str):
        return _NON_FINITE.get(value)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


class EventWriter:
    """Appends events to one file; the only writer of it while open.

    Opening an existing file continues its numbering and removes an incomplete last line, which no reader
    has used. Raises `UserError` when another process writes the file or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(
                f"cannot open the event log {path}: {error.strerror}", exit_code=Exit.FAILED
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise UserError(
                f"another process writes the event log {path}",
                "is this run already running? see `nanochat runs ls`",
            ) from error
        self._next_seq = _recover(self._descriptor)

    def emit(self, kind: str, *, step: int | None = None, data: Mapping[str, JSON] | None = None) -> Event:
        """Writes one event and returns it. Non-finite numbers become strings and raise an alert event."""
        nonfinite: list[str] = []
        names: dict[str, JSON] = {}
        for name, value in (data or {}).items():
            names[name] = finite(value, lambda shown, name=name: nonfinite.append(f"{name} is {shown}"))  # type: ignore[misc]
        event = self._write(kind, step, names)
        if nonfinite and kind != "alert":
            message = "; ".join(nonfinite[:8])
            self._write("alert", step, {"level": "error", "what": "non_finite", "message": message})
        return event

    def _write(self, kind: str, step: int | None, data: dict[str, JSON]) -> Event:
        event = _fit(Event(self._next_seq, time.time(), kind, step, data))
        line = event.line()
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise self._full(error.strerror) from error
        if written != len(line):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise self._full("no space left on device")
        self._next_seq += 1
        return event

    def _full(self, reason: str | None) -> UserError:
        return UserError(f"cannot write the event log {self.path}: {reason}", "free some space", Exit.FAILED)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _recover(descriptor: int) -> int:
    """Removes an incomplete last line and returns the next seq: one more than the last event's."""
    size = os.fstat(descriptor).st_size
    window = MAX_LINE * 2
    start = max(0, size - window)
    tail = os.pread(descriptor, size - start, start)
    complete = tail.rfind(b"\n") + 1
    if complete < len(tail):
        os.ftruncate(descriptor, start + complete)
    for line in reversed(tail[:complete].splitlines()):
        event = parse_line(line)
        if event is not None:
            return event.seq + 1
    return 0


def _fit(event: Event) -> Event:
    """`event`, its longest strings cut until its line holds at most 64 KiB."""
    data = dict(event.data)
    excess = len(event.line()) - MAX_LINE
    while excess > 0:
        texts = [name for name, value in data.items() if isinstance(value, str) and len(value) > 64]
        if not texts:
            return Event(
                event.seq, event.t, event.kind, event.step, {"cut": f"{len(data)} values did not fit"}
            )
        longest = max(texts, key=lambda name: len(str(data[name])))
        text = str(data[longest])
        keep = max(32, min(len(text) - excess - len(CUT_MARK), len(text) * 3 // 4))
        data[longest] = text[:keep] + CUT_MARK
        event = Event(event.seq, event.t, event.kind, event.step, data)
        excess = len(event.line()) - MAX_LINE
    return event
