"""JSON Lines files from their end: the last whole line, the last stage_end, and appending with `seq`."""

from __future__ import annotations

import fcntl
import json
import os
import time
from typing import TYPE_CHECKING, Any

from .files import open_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Json = dict[str, Any]

BLOCK = 256 * 1024
LONGEST = 4 * 1024 * 1024
_MOST_SEQ = 1 << 53


def lines_backwards(path: Path, floor: int = 0) -> Iterator[bytes]:
    """The whole lines of `path` that start at or after byte `floor`, last first, without newlines.

    A last line without its newline is torn and left out. Raises OSError.
    """
    with open_bytes(path) as file:
        end = file.seek(0, os.SEEK_END)
        tail = b""
        torn = True
        while end > floor:
            start = max(floor, end - BLOCK)
            file.seek(start)
            parts = (file.read(end - start) + tail).split(b"\n")
            last = len(parts) - 1
            for index in range(last, 0, -1):
                if not (torn and index == last):
                    yield parts[index]
            torn = torn and last == 0
            tail = parts[0]
            if len(tail) > LONGEST:  # no line of ours: it is passed over like a torn one
                tail, torn = b"", True
            end = start
        if not torn:
            yield tail


def whole_size(path: Path) -> int:
    """The bytes of `path` up to and with its last newline; 0 when there is no file."""
    try:
        with open_bytes(path) as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - BLOCK)
                file.seek(start)
                cut = file.read(end - start).rfind(b"\n")
                if cut >= 0:
                    return start + cut + 1
                end = start
    except FileNotFoundError:
        pass
    return 0


def parse(line: bytes) -> Json | None:
    """The event on `line`, or None when it is none."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("data"), dict) else None


def last_stage_end(path: Path, floor: int) -> Json | None:
    """The data of the attempt's stage_end event, or None. `floor`: where the attempt's events begin."""
    try:
        for line in lines_backwards(path, floor):
            if b'"stage_end"' not in line and b'"stage_start"' not in line:
                continue
            event = parse(line)
            if event is None:
                continue
            if event.get("kind") == "stage_start":
                return None
            if event.get("kind") == "stage_end":
                data: Json = event["data"]
                return data
    except OSError:
        return None
    return None


def last_console_line(path: Path, limit: int = 300) -> str:
    """The last line of a console that says something, printable and cut to `limit` characters."""
    try:
        with open_bytes(path) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8192))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    for line in reversed(text.replace("\r", "\n").split("\n")):
        shown = " ".join("".join(c if c.isprintable() else " " for c in line).split())
        if shown:
            return shown if len(shown) <= limit else shown[: limit - 1] + "…"
    return ""


class SeqLog:
    """Appends events to a JSON Lines file: `seq` goes on after what is there, a torn last line is cut.

    One writer at a time (flock). An event that cannot be written whole leaves the file as it was.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(str(path), os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            size = whole_size(path)
            os.ftruncate(self.descriptor, size)
        except OSError:
            os.close(self.descriptor)
            raise
        self.size = size
        self.seq = self._next_seq(path)

    @staticmethod
    def _next_seq(path: Path) -> int:
        for line in lines_backwards(path):
            event = parse(line)
            seq = None if event is None else event.get("seq")
            if type(seq) is int and 0 <= seq < _MOST_SEQ:
                return seq + 1
        return 0

    def append(self, kind: str, data: Json) -> None:
        """Writes one event. Raises OSError, with the file cut back to its last whole line."""
        event = {"seq": self.seq, "t": round(time.time(), 3), "kind": kind, "data": data}
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        raw = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            written = os.write(self.descriptor, raw)
        except OSError:
            os.ftruncate(self.descriptor, self.size)
            raise
        if written != len(raw):
            os.ftruncate(self.descriptor, self.size)
            raise OSError(28, "No space left on device")
        self.size += written
        self.seq += 1

    def close(self) -> None:
        os.close(self.descriptor)
