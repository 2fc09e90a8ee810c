"""An offline run of W&B (`run-ID.wandb`): a LevelDB log of protobuf records, read without W&B.

The file is `:W&B`, a magic number and a version (7 bytes), then blocks of 32 KiB. A chunk in a block is a
CRC-32 of type and data, a length, a type (whole, first, middle, last), and the data. Only what is needed of
the records is parsed: the run, its configuration, its history, and how it ended.
"""

from __future__ import annotations

import binascii
import json
import re
from typing import TYPE_CHECKING, Any, Iterator

from .history import COUNTER, EVALUATION, METRIC, MOST_OPTIONS, STEP, TIME, History, RowBuilder

if TYPE_CHECKING:
    from .rows import Sink

    Json = dict[str, Any]

MAGIC = b":W&B"
HEAD = 7
BLOCK = 32 * 1024
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_SEEDS = [binascii.crc32(bytes([kind])) for kind in range(5)]
MOST_RECORD = 16 << 20
"""Bytes of a record; a larger one (a table, a picture) is passed over."""
_HISTORY, _CONFIG, _RUN, _EXIT = 2, 5, 17, 18
_LENGTH, _VARINT, _FIXED64, _FIXED32 = 2, 0, 1, 5
_PASSED_OVER = tuple(number << 3 | _LENGTH for number in (3, 6, 7, 11, 12, 13))
"""Tags of what most other records are: summaries, files, figures of the machine, printed lines."""
_ITEMS = re.compile(
    r"\n[\x00-\x7f]\x12[\x00-\x7f]([^\x82]{1,127})\x82\x01[\x00-\x7f]"
    r"(-?(?:0|[1-9]\d{0,40})(?:\.\d{1,40})?(?:[eE][+-]?\d{1,2})?)",
    re.ASCII,
)
"""An item of a row as nearly all are: a key of one part, and a number."""
_STEP_FIELD = "\x12"


class Damaged(ValueError):  # noqa: N818 - where reading ends, no failure
    """The bytes at `offset` are not what the format says."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(what)
        self.offset = offset


def check_head(head: bytes) -> str:
    """What is wrong with the first bytes of a file, "" when it is W&B's."""
    if len(head) < HEAD:
        return "it is not whole yet: no header"
    if not head.startswith(MAGIC) or head[4:6] != b"\xe1\xbe":
        return "it is no .wandb file"
    return "" if head[6] == 0 else f"its format version {head[6]} is unknown"


def records(raw: bytes, start: int) -> Iterator[tuple[bytes, int]]:
    """The whole records of `raw`, which lies at byte `start` of the file, each with the offset after it.

    It ends before a record that is not whole yet. Raises `Damaged` at one that cannot be.
    """
    at, size = 0, len(raw)
    parts: list[bytes] = []
    held = 0
    while True:
        left = BLOCK - (start + at) % BLOCK
        if left < HEAD:
            at += left
            continue
        if at + HEAD > size:
            return
        length = raw[at + 4] | raw[at + 5] << 8
        kind = raw[at + 6]
        if not _WHOLE <= kind <= _LAST or length > left - HEAD:
            if not any(raw[at : at + HEAD]) and not any(raw[at:]):
                return  # reserved, not written yet
            raise Damaged(start + at, "no record begins here")
        stop = at + HEAD + length
        if stop > size:
            return
        data = raw[at + HEAD : stop]
        if binascii.crc32(data, _SEEDS[kind]) != int.from_bytes(raw[at : at + 4], "little"):
            raise Damaged(start + at, "its checksum is wrong")
        at = stop
        if kind == _WHOLE:
            if parts:
                raise Damaged(start + at, "a record has no end")
            yield data, start + at
            continue
        if (kind == _FIRST) == bool(parts):
            raise Damaged(start + at, "a record has no end" if parts else "a record has no beginning")
        held += length
        parts.append(data if held <= MOST_RECORD else b"")
        if kind == _LAST:
            yield (b"".join(parts) if held <= MOST_RECORD else b""), start + at
            parts, held = [], 0


class WandbRun:
    """Reads records into the one run of a file; `memory` is kept between readings."""

    def __init__(self, memory: Json) -> None:
        self.history = History(memory)
        self._builder = RowBuilder({})
        self._keys: dict[str, tuple[int, str, str]] = {}

    def take(self, record: bytes, sink: Sink) -> None:
        """One record; what is not for us, or cannot be read, is passed over."""
        try:
            if self._take_usual(record, sink):
                return
            for number, wire, start, stop in _fields(record, 0, len(record)):
                if number == _HISTORY and wire == _LENGTH:
                    self._take_history(record, start, stop, sink)
                elif number == _RUN and wire == _LENGTH:
                    self._take_run(record[start:stop], sink)
                elif number == _CONFIG and wire == _LENGTH:
                    self._take_config(record[start:stop])
                elif number == _EXIT and wire == _LENGTH:
                    self._take_exit(record[start:stop], sink)
        except (IndexError, ValueError):
            return

    def _take_usual(self, record: bytes, sink: Sink) -> bool:
        """A record as nearly all are: its number, then one field that tells what it is."""
        if len(record) < 4 or record[0] != 8:
            return False
        at = 2
        while record[at - 1] > 127:
            at += 1
        tag = record[at]
        if tag in _PASSED_OVER:
            return True
        if tag != _HISTORY << 3 | _LENGTH:
            return False
        length, at = _varint(record, at + 1, len(record))
        if at + length > len(record):
            return False
        self._take_history(record, at, at + length, sink)
        return True

    def _take_history(self, record: bytes, at: int, stop: int, sink: Sink) -> None:
        """A row: nearly all of the file, so that items of the usual form are found by one expression.

        They are taken when they lie side by side from the first byte to the last, or to the row's counter.
        """
        builder, keys = self._builder, self._keys
        builder.clear()
        metrics, evaluations = builder.metrics, builder.evaluations
        span = record[at:stop].decode("latin-1")
        found = _ITEMS.findall(span)
        taken = 7 * len(found)
        for key, text in found:
            taken += len(key) + len(text)
            role, start, name = keys.get(key) or self._learn(key)
            if role == METRIC:
                metrics.append(start + text)
            elif role == TIME:
                builder.t = float(text)
            elif role == COUNTER and text.isdigit() and len(text) < 16:
                builder.counter = int(text)
            elif role == STEP and text.isdigit() and len(text) < 16:
                builder.step = int(text)
            elif role == EVALUATION:
                evaluations.append(start + text)
            elif role:
                builder.put(name, text)
        rest = span[taken:]
        if rest and (rest[0] != _STEP_FIELD or len(rest) != 2 + ord(rest[1:2] or "\0")):
            builder.clear()
            self._take_items(record, at, stop)
        builder.into(self.history, sink)

    def _learn(self, key: str) -> tuple[int, str, str]:
        name = key.encode("latin-1").decode("utf-8", "replace")
        self._builder.put(name, "")
        column = self._builder.columns.get(name)
        found = (0, "", name) if column is None else (column.role, column.start, name)
        if len(self._keys) < 10_000:
            self._keys[key] = found
        return found

    def _take_items(self, record: bytes, at: int, stop: int) -> None:
        """Takes a row of any form. Tables and pictures stand in it by their parts, which are no figures."""
        items: list[tuple[str, str]] = []
        for number, wire, start, end in _fields(record, at, stop):
            if number == 1 and wire == _LENGTH:
                items.append(_item(record[start:end]))
            elif number == 2 and wire == _LENGTH:
                self._builder.counter = _number(record[start:end], 1)
        media = {key[:-6] for key, _ in items if key.endswith("._type")}
        for key, value in items:
            if key and key.rpartition(".")[0] not in media and '"_type"' not in value[:400]:
                self._builder.put(key, value)

    def _take_run(self, raw: bytes, sink: Sink) -> None:
        texts: dict[int, str] = {}
        options: Json = {}
        began = 0.0
        for number, wire, start, stop in _fields(raw, 0, len(raw)):
            part = raw[start:stop]
            if wire != _LENGTH:
                continue
            if number in (1, 3, 7, 8, 13):
                texts[number] = part.decode("utf-8", "replace")[:200]
            elif number == 4:
                options = _options(part)
            elif number == 17:
                began = float(_number(part, 1) or 0) + (_number(part, 2) or 0) / 1e9
        project, job = texts.get(3, ""), texts.get(7, "")
        from .names import stage_of_project

        stage = job or stage_of_project(project)
        name = texts.get(8) or texts.get(1) or ""
        self.history.memory["wandb"] = {"id": texts.get(1, ""), "project": project}
        self.history.begin(sink, stage, began, name, options)

    def _take_config(self, raw: bytes) -> None:
        """Options that were set later: told from the next attempt on."""
        self.history.memory["options"].update(_options(raw))

    def _take_exit(self, raw: bytes, sink: Sink) -> None:
        code = _number(raw, 1) or 0
        if code:
            self.history.end(sink, "failed", f"W&B noted exit code {code}")
        else:
            self.history.end(sink, "succeeded", "")


def _fields(raw: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message: number, wire type, and where the content begins and ends."""
    while at < stop:
        tag, at = _varint(raw, at, stop)
        wire = tag & 7
        if wire == _LENGTH:
            length, at = _varint(raw, at, stop)
            end = at + length
        elif wire == _VARINT:
            _, end = _varint(raw, at, stop)
        elif wire == _FIXED64:
            end = at + 8
        elif wire == _FIXED32:
            end = at + 4
        else:
            raise ValueError("an unknown wire type")
        if end > stop:
            raise ValueError("a field goes beyond its message")
        yield tag >> 3, wire, at, end
        at = end


def _varint(raw: bytes, at: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while at < stop and shift < 70:
        byte = raw[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("a number has no end")


def _number(raw: bytes, wanted: int) -> int | None:
    """The varint field of that number; None where it is not there. Negative numbers count as none."""
    for number, wire, start, stop in _fields(raw, 0, len(raw)):
        if number == wanted and wire == _VARINT:
            value, _ = _varint(raw, start, stop)
            return value if value < 1 << 63 else None
    return None


def _item(raw: bytes) -> tuple[str, str]:
    """Key and JSON value of an item of a history or a configuration; nested keys are joined by dots."""
    keys: list[str] = []
    value = ""
    for number, wire, start, stop in _fields(raw, 0, len(raw)):
        if wire != _LENGTH:
            continue
        if number in (1, 2):
            key = raw[start:stop].decode("utf-8", "replace")
            keys = [key] if number == 1 else [*keys, key]
        elif number == 16:
            value = raw[start:stop].decode("utf-8", "replace")
    return ".".join(keys), value


def _options(raw: bytes) -> Json:
    """A configuration, without what W&B adds to it and without what is no plain value."""
    found: Json = {}
    for number, wire, start, stop in _fields(raw, 0, len(raw)):
        if number != 1 or wire != _LENGTH:
            continue
        key, text = _item(raw[start:stop])
        if not key or key.startswith("_") or len(found) >= MOST_OPTIONS:
            continue
        try:
            value = json.loads(text[:4_000])
        except (ValueError, RecursionError):
            continue
        if isinstance(value, (str, bool, int, float)) and value == value and abs_finite(value):
            found[key[:120]] = value[:500] if isinstance(value, str) else value
    return found


def abs_finite(value: object) -> bool:
    """False for an infinite number, which no JSON of ours holds."""
    return not isinstance(value, float) or value not in (float("inf"), float("-inf"))
