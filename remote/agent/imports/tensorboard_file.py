"""TensorBoard's event files: records of protobuf, read without TensorBoard.

A record is a length, its masked CRC-32C, the data, and theirs. A program that was resumed leaves a second
file in the folder, which may begin at an earlier step: what came after that step before counts no more.
TensorBoard itself drops those points only after a session log START; PyTorch's writer never writes one, so
the first step of a new file that goes back decides as well.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Iterator

from .history import MOST_NAMES, History, RowBuilder
from .rows import LATEST, number_text
from .wandb_file import Damaged, _fields, _number

if TYPE_CHECKING:
    from .rows import Sink

    Json = dict[str, Any]

_HEAD = 12
_TAIL = 4
MOST_RECORD = 1 << 30
"""Bytes that a record may have. Only the scalars' small ones are parsed."""
MOST_PARSED = 64 * 1024
_START = 1
_FLOAT, _DOUBLE = 1, 2


def _table() -> list[int]:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ 0x82F63B78 if number & 1 else number >> 1
        table.append(number)
    return table


_CRC = _table()


def masked_crc(data: bytes) -> int:
    """The CRC-32C of `data` as these files hold it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(raw: bytes, start: int) -> Iterator[tuple[bytes, int]]:
    """The whole records of `raw`, which lies at byte `start`, each with the offset after it.

    A large record comes as b"": nothing of it is needed. Raises `Damaged`.
    """
    at = 0
    while at + _HEAD <= len(raw):
        length, crc = struct.unpack_from("<QI", raw, at)
        if crc != masked_crc(raw[at : at + 8]) or length > MOST_RECORD:
            raise Damaged(start + at, "the checksum of a record's length is wrong")
        stop = at + _HEAD + length + _TAIL
        if stop > len(raw):
            return
        data = raw[at + _HEAD : stop - _TAIL] if length <= MOST_PARSED else b""
        if data and masked_crc(data) != struct.unpack_from("<I", raw, stop - _TAIL)[0]:
            raise Damaged(start + at, "its checksum is wrong")
        at = stop
        yield data, start + at


class EventFiles:
    """Reads records of the files of one folder, in order, into one run."""

    def __init__(self, memory: Json) -> None:
        self.history = History(memory)
        memory.setdefault("steps", {})
        memory.setdefault("fresh", True)
        self._builder = RowBuilder({})
        self._at: tuple[int, float] | None = None

    def new_file(self) -> None:
        """What follows is of another file."""
        self.history.memory["fresh"] = True

    def take(self, record: bytes, sink: Sink) -> None:
        """One record; what is not for us, or cannot be read, is passed over."""
        try:
            t, step, values, starts = _event(record)
        except (ValueError, IndexError, struct.error):
            return
        memory = self.history.memory
        if starts and memory["run"] >= 0 and step <= memory["last"]:
            self.flush(sink)
            self._restart(step)
        for tag, value in values:
            if memory["fresh"] or memory["steps"].get(tag, -1) > step:
                self.flush(sink)
                if memory["run"] >= 0 and memory["steps"].get(tag, -1) >= step:
                    self._restart(step)
                memory["fresh"] = False
            elif self._at is not None and self._at[0] != step:
                self.flush(sink)
            if tag in memory["steps"] or len(memory["steps"]) < MOST_NAMES:
                memory["steps"][tag] = step
            self._at = (step, t)
            self._builder.put(tag, number_text(repr(value)).strip('"'))

    def _restart(self, step: int) -> None:
        """Every figure begins anew at `step`: those that went further were of the attempt before."""
        memory = self.history.memory
        memory["steps"] = {tag: min(last, step - 1) for tag, last in memory["steps"].items()}
        memory["restart"] = True

    def flush(self, sink: Sink) -> None:
        """Writes the row of the step that was being read."""
        if self._at is None:
            return
        step, t = self._at
        self._at = None
        builder, memory = self._builder, self.history.memory
        if memory.pop("restart", False) and step <= memory["last"]:
            self.history.again(step, sink)
        t = t if 0 < t < LATEST else 0.0
        self.history.add(sink, step, t, builder.metrics, builder.evaluations, in_order=False)
        builder.clear()


def _event(record: bytes) -> tuple[float, int, list[tuple[str, float]], bool]:
    """Time, step, scalars, and whether a session begins with it."""
    t, step, starts = 0.0, 0, False
    values: list[tuple[str, float]] = []
    for number, wire, at, stop in _fields(record, 0, len(record)):
        if number == 1 and wire == 1:
            (t,) = struct.unpack_from("<d", record, at)
        elif number == 2 and wire == 0:
            step = _number(record, 2) or 0
        elif number == 5 and wire == 2:
            for inner, kind, start, end in _fields(record, at, stop):
                if inner == 1 and kind == 2:
                    found = _scalar(record[start:end])
                    if found is not None:
                        values.append(found)
        elif number == 7 and wire == 2:
            starts = _number(record[at:stop], 1) == _START
    return t, step, values, starts


def _scalar(raw: bytes) -> tuple[str, float] | None:
    """Tag and value of a summary's value, in the form of either of TensorBoard's versions."""
    tag, value = "", None
    for number, wire, start, stop in _fields(raw, 0, len(raw)):
        if number == 1 and wire == 2:
            tag = raw[start:stop].decode("utf-8", "replace")[:200]
        elif number == 2 and wire == 5:
            value = _short(raw[start:stop])
        elif number == 8 and wire == 2:
            value = _tensor(raw[start:stop])
    return None if value is None or not tag else (tag, value)


def _tensor(raw: bytes) -> float | None:
    """The one number of a tensor of floats; None for any other tensor."""
    kind, found = 0, None
    for number, wire, start, stop in _fields(raw, 0, len(raw)):
        if number == 1 and wire == 0:
            kind = _number(raw, 1) or 0
        elif number == 2 and wire == 2 and any(_dimensions(raw[start:stop])):
            return None
        elif wire == 2 and number in (4, 5, 6):
            if stop - start == 4 and number != 6:
                found = _short(raw[start:stop])
            elif stop - start == 8 and number != 5:
                (found,) = struct.unpack_from("<d", raw, start)
    return found if kind in (_FLOAT, _DOUBLE) else None


def _dimensions(shape: bytes) -> Iterator[bool]:
    """Whether each dimension has a size other than one."""
    for number, wire, start, stop in _fields(shape, 0, len(shape)):
        if number == 2 and wire == 2:
            yield _number(shape[start:stop], 1) not in (None, 1)


def _short(raw: bytes) -> float:
    """A number of 32 bits with the digits it has: 0.1 and not 0.10000000149011612."""
    value: float = struct.unpack("<f", raw)[0]
    if value != value or value in (float("inf"), float("-inf")):
        return value
    for digits in (7, 8):
        told = float(f"{value:.{digits}g}")
        if struct.pack("<f", told) == raw:
            return told
    return float(f"{value:.9g}")
