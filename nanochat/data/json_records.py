"""Records in JSON: an object a line, or one array of objects; known by the content, not by the name.

C4 and Dolma call files of JSON lines `.json.gz`; other tools write `train.json`, lines or an array.
"""

import codecs
import io
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from nanochat.data.sources import Skips

MAX_LINE = 64 << 20
"""Bytes of a line, and of a record of an array."""
LINES_LOOKED_AT = 8
_PIECE = 1 << 16

Shape = Literal["lines", "array", ""]
Record = dict[str, object]

_WIDE_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def may_be_json(head: bytes) -> bool:
    """Whether a file that begins with `head` can be JSON records, so that it is worth a look."""
    wide = head.startswith(tuple(bom for bom, _ in _WIDE_BOMS))
    first = head.replace(b"\0", b"")[2:] if wide else head.removeprefix(codecs.BOM_UTF8)
    return first.lstrip(b" \t\r\n\xfe\xff").startswith((b"{", b"["))


def as_utf8(stream: io.BufferedReader) -> io.BufferedReader:
    """`stream`, recoded where it begins with the mark of UTF-16 or UTF-32 (as Windows shells write)."""
    head = stream.peek(4)
    for bom, codec in _WIDE_BOMS:
        if head.startswith(bom):
            return io.BufferedReader(_Recoded(stream, codec), 1 << 16)
    return stream


class _Recoded(io.RawIOBase):
    def __init__(self, stream: io.BufferedReader, codec: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(codec)(errors="replace")
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = self._stream.read(1 << 16)
            self._rest = self._decoder.decode(block, final=not block).encode("utf-8", "replace")
            if not block:
                break
        piece, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._stream.close()
        super().close()


def records_shape(stream: io.BufferedReader) -> Shape:
    """How the records in `stream` are written, "" where it holds none; closes the stream.

    Lines: at least half of the first eight are objects. Array: the first element is an object.
    """
    with closing(stream):
        lines = [line for _ in range(LINES_LOOKED_AT) if (line := _next_line(stream))]
        found = sum(isinstance(parse(line), dict) for line in lines)
        if found and 2 * found >= len(lines):
            return "lines"
        start = b"".join(lines)[:4096].lstrip()
        return "array" if start.startswith(b"[") and start[1:].lstrip().startswith(b"{") else ""


def _next_line(stream: io.BufferedReader) -> bytes:
    """The next line that is not blank, without its mark of UTF-8; b"" at the end or after many blanks."""
    for _ in range(1000):
        line = stream.readline(MAX_LINE)
        if not line or line.strip():
            return line.removeprefix(codecs.BOM_UTF8)
    return b""


def parse(line: bytes | str) -> object:
    """The JSON value of `line`, or None where it is not JSON."""
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value


def read_lines(stream: io.BufferedReader, skips: Skips, path: Path) -> Iterator[Record]:
    """The object of each line. Bad lines are counted in `skips`."""
    while line := stream.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE)
            skips.add(f"jsonl line over {MAX_LINE >> 20} MiB", path)
            continue
        line = line.removeprefix(codecs.BOM_UTF8).strip()
        if not line:
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            skips.add("jsonl line that is not JSON", path)
            continue
        if isinstance(record, dict):
            yield record
        else:
            skips.add("jsonl line that is not an object", path)


def read_array(stream: io.BufferedReader, skips: Skips, path: Path) -> Iterator[Record]:
    """The objects of an array, or of arrays that follow each other.

    What is no object is counted in `skips`, and so is, once, where an array breaks off.
    """
    for value in array_values(stream):
        if isinstance(value, dict):
            yield value
        elif value is None:
            skips.add("JSON array that breaks off or is damaged, the rest of it", path)
        else:
            skips.add("element of a JSON array that is not an object", path)


def array_values(stream: io.BufferedReader) -> Iterator[object]:
    """The elements of an array, or of arrays that follow each other, one by one.

    The last is None where an array breaks off, is damaged, or has an element over `MAX_LINE` characters. An
    element `null` is `False`.
    """
    decoder, text = json.JSONDecoder(), io.TextIOWrapper(stream, "utf-8-sig", errors="replace")
    rest, position = text.read(_PIECE).lstrip()[1:], 0
    while True:
        position = _after(rest, position, " \t\r\n,")
        if rest.startswith("]", position):
            rest, position = rest[position + 1 :].lstrip(), 0
            while not rest and (more := text.read(_PIECE)):
                rest = more.lstrip()
            if not rest:
                return
            if rest.startswith("["):
                position = 1
                continue
        try:
            value, position = decoder.raw_decode(rest, position)
        except (ValueError, RecursionError):
            # As much again each time, so that a long element is parsed a few times only.
            more = "" if len(rest) - position > MAX_LINE else text.read(max(_PIECE, len(rest) - position))
            if not more:
                yield None
                return
            rest, position = rest[position:] + more, 0
            continue
        yield False if value is None else value


def _after(text: str, position: int, skipped: str) -> int:
    while position < len(text) and text[position] in skipped:
        position += 1
    return position
