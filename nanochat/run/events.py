"""The event log: one append-only JSON Lines file per run, the only thing that screens and reports read.

A line is `{"seq": 17, "t": 1790000000.123, "kind": "metric", "step": 120, "data": {...}}`. `seq` counts
from 0 with no gap and no repeat, also across a resume. A line is one write of at most 64 KiB, ended by
a newline; a reader ignores an incomplete last line until its newline is there.
"""

import contextlib
import errno
import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
MAX_WAITING = 4096
"""Events that wait for a disk that takes nothing: a few megabytes."""
RETRY_SECONDS = 1.0
"""Between two tries to write what waits."""
CUT_MARK = " … [cut]"
"""Ends a string that was cut."""
_MOST_EVENTS = 1 << 53


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
    has used. Raises `UserError` when the file cannot be opened or another process writes it. Once open, a
    disk that takes nothing costs no more than events: up to `MAX_WAITING` wait for it, metrics are thinned
    out first, and an alert then says what was lost.
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
        self._size = os.fstat(self._descriptor).st_size
        self._torn = False
        self._waiting: list[Event] = []
        self._trouble = ""
        self._retry_at = 0.0
        self._lost: dict[str, int] = {}

    def emit(self, kind: str, *, step: int | None = None, data: Mapping[str, JSON] | None = None) -> None:
        """Writes one event. Non-finite numbers become strings and raise an alert event.

        While the disk takes nothing, events wait, see `trouble`; nothing is raised.
        """
        nonfinite: list[str] = []
        names: dict[str, JSON] = {}
        for name, value in (data or {}).items():
            names[name] = finite(value, lambda shown, name=name: nonfinite.append(f"{name} is {shown}"))  # type: ignore[misc]
        self._add(kind, step, names)
        if nonfinite and kind != "alert":
            message = "; ".join(nonfinite[:8])
            self._add("alert", step, {"level": "error", "what": "non_finite", "message": message})

    @property
    def trouble(self) -> str:
        """Why events wait for the disk; empty while all are written."""
        return self._trouble

    def _add(self, kind: str, step: int | None, data: dict[str, JSON]) -> None:
        self._waiting.append(Event(-1, time.time(), kind, step, data))
        if (self._trouble and time.monotonic() < self._retry_at) or not self.flush():
            self._waiting[-1] = _fit(self._waiting[-1])
            if len(self._waiting) > MAX_WAITING:
                self._thin()

    def flush(self) -> bool:
        """Writes what waits; whether nothing waits any more."""
        done = 0
        try:
            for event in self._waiting:
                self._write(event)
                done += 1
        except OSError as error:
            self._trouble = error.strerror or str(error)
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return False
        finally:
            del self._waiting[:done]
        if self._trouble:
            self._waiting.append(self._gap())
            self._trouble = ""
            self._lost.clear()
            return self.flush()
        return True

    def _gap(self) -> Event:
        """An alert that says what the log lacks since the disk took nothing."""
        lost = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self._lost.items()))
        what = f"lost: {lost} events" if lost else "nothing was lost"
        message = f"the event log could not be written for a while ({self._trouble}): {what}"
        return Event(
            -1, time.time(), "alert", None, {"level": "warn", "what": "events_waited", "message": message}
        )

    def _thin(self) -> None:
        """Drops every second of the events that can be spared most: metrics first, start and end never."""
        tiers: tuple[Callable[[Event], bool], ...] = (
            lambda event: event.kind == "metric",
            lambda event: event.kind in ("log", "sample"),
            lambda event: event.kind not in ("stage_start", "stage_end"),
        )
        for spares in tiers:
            spare = [number for number, event in enumerate(self._waiting) if spares(event)]
            if len(spare) < 2:
                continue
            dropped = set(spare[::2])
            for number in dropped:
                kind = self._waiting[number].kind
                self._lost[kind] = self._lost.get(kind, 0) + 1
            self._waiting = [event for number, event in enumerate(self._waiting) if number not in dropped]
            return

    def _write(self, event: Event) -> None:
        """Appends one event under the next number. OSError when it is not whole on disk."""
        line = _fit(replace(event, seq=self._next_seq)).line()
        if self._torn:
            os.ftruncate(self._descriptor, self._size)
            self._torn = False
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            if error.errno in (errno.ESTALE, errno.EBADF):
                self._reopen()
            raise
        if written != len(line):
            self._torn = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written
        self._next_seq += 1

    def _reopen(self) -> None:
        """Opens the file anew where a network disk has forgotten it; the numbers go on as they are there."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(self._descriptor)
            self._descriptor = descriptor
            self._next_seq = _recover(descriptor)
            self._size = os.fstat(descriptor).st_size

    def settle(self, seconds: float) -> bool:
        """Tries for `seconds` to write what waits; whether all of it is on disk."""
        until = time.monotonic() + seconds
        while not self.flush():
            if time.monotonic() >= until:
                return False
            time.sleep(min(RETRY_SECONDS, seconds))
        return True

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
    """Removes an incomplete last line and returns the next seq: one more than the last event's.

    Damaged lines are passed over, however many of them there are: numbering never begins again.
    """
    end = os.fstat(descriptor).st_size
    rest, last = b"", True
    while end > 0:
        start = max(0, end - 2 * MAX_LINE)
        block = os.pread(descriptor, end - start, start) + rest
        if last:
            complete = block.rfind(b"\n") + 1
            if complete < len(block) and (complete or start == 0):
                os.ftruncate(descriptor, start + complete)
            if complete or start == 0:
                block, last = block[:complete], False
        # The first line may begin in the block before; one too long for any event is given up.
        head = block.find(b"\n") + 1 if start else 0
        for line in reversed(block[head:].splitlines()):
            event = parse_line(line)
            if event is not None and 0 <= event.seq < _MOST_EVENTS:
                return event.seq + 1
        rest, end = (block[:head] if head and head <= MAX_LINE else b""), start
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
