"""Values of a document that somebody else wrote, read one field at a time, without an exception.

Each reader returns None for what is not of its type or outside its range, so that a caller can say which
field it was. Whole numbers fit 64 bits, real ones are finite, texts are one clean line, bounded.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from nanochat.common.text import UNSAFE, sanitize, valid_text

INT64 = 1 << 63
LATEST = 1e11
"""Unix seconds, in the year 5138: the last moment that every platform's calendar takes."""
MAX_ITEMS = 2_000
"""Entries of a list or object inside a document; what lies beyond is not read."""
MAX_DEPTH = 8
_PIECES = 10_000
"""Names, values and brackets of a JSON document that are made at a time."""
DIGITS = 19
"""Digits that a whole number of 64 bits can have."""


def whole(value: object, low: int = -INT64, high: int = INT64 - 1) -> int | None:
    """A whole number from `low` to `high`, a float without a fraction included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and low <= value <= high else None


def real(value: object, low: float = -math.inf, high: float = math.inf) -> float | None:
    """A finite number from `low` to `high` as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and low <= number <= high else None


def moment(value: object) -> float | None:
    """A time in Unix seconds."""
    return real(value, 0.0, LATEST)


def text(value: object, cap: int = 200) -> str | None:
    """A text as one clean line of at most `cap` characters."""
    return sanitize(value, cap) if isinstance(value, str) else None


def texts(value: object, cap: int = 200, most: int = MAX_ITEMS) -> tuple[str, ...] | None:
    """A list of texts, each one clean line; None when it is none, or longer than `most`."""
    if not isinstance(value, list | tuple) or len(value) > most:
        return None
    lines = [text(item, cap) for item in value]
    return None if None in lines else tuple(line for line in lines if line is not None)


def plain(value: object, cap: int = 2_000, depth: int = MAX_DEPTH) -> Any:
    """Any JSON value made safe: clean texts and names, numbers that fit, at most `depth` levels deep."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return sanitize(value, cap)
    if isinstance(value, int | float):
        number = whole(value) if isinstance(value, int) else real(value)
        return "a number out of range" if number is None else number
    if depth <= 0:
        return "…"
    if isinstance(value, Mapping):
        items = list(value.items())[:MAX_ITEMS]
        return {sanitize(str(name), 200): plain(item, cap, depth - 1) for name, item in items}
    if isinstance(value, list | tuple):
        return [plain(item, cap, depth - 1) for item in value[:MAX_ITEMS]]
    return sanitize(str(value), cap)


def parse_int(word: str) -> int:
    """A whole number that a person or a file spelled. Raises ValueError when it is none, or beyond 64 bits.

    `int` itself takes digits of every script and thousands of them.
    """
    stripped = word.strip()
    digits = stripped.lstrip("+-").replace("_", "")
    if not digits.isascii() or not digits.isdigit() or len(digits.lstrip("0")) > DIGITS:
        raise ValueError(f"not a whole number of 64 bits: {sanitize(stripped, 40)!r}")
    number = int(stripped)
    if not -INT64 <= number < INT64:
        raise ValueError(f"not a whole number of 64 bits: {sanitize(stripped, 40)!r}")
    return number


def parse_toml(text: str) -> dict[str, Any]:
    """A TOML document whose whole numbers fit 64 bits, as the format says. Raises ValueError for any other.

    The standard parser takes numbers of any length, and fails in ways of its own on the longest and deepest.
    """
    try:
        document = tomllib.loads(text)
        _check_numbers(document)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return document


def _check_numbers(value: object) -> None:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _check_numbers(item)
    elif isinstance(value, int) and whole(int(value)) is None:
        raise ValueError("it holds a whole number of more than 64 bits")


def json_int(digits: str) -> int | float:
    """A JSON integer: an int where it fits 64 bits, else the nearest float (infinite beyond its range)."""
    if len(digits) <= DIGITS - 1:
        return int(digits)
    if len(digits) <= DIGITS + 1 and -INT64 <= (number := int(digits)) < INT64:
        return number
    return float(digits)


def json_text(value: object, indent: int | None = 1) -> str:
    """A JSON document that UTF-8 can hold.

    Half a letter, as in a file name of another encoding, becomes U+FFFD: a strange name in a document must
    not cost what it describes.
    """
    return valid_text(json.dumps(value, ensure_ascii=False, indent=indent))


def safe_json(value: object, indent: int | None = None) -> str:
    """A JSON document that is readable in every script and harmless on a terminal: what that would act on, or
    hide, is escaped."""
    return _harmless(json.dumps(value, ensure_ascii=False, indent=indent))


def safe_json_pieces(value: object, indent: int | None = None) -> Iterator[str]:
    """`safe_json` in pieces of some 100 KiB, between which other threads go on."""
    pieces = iter(json.JSONEncoder(ensure_ascii=False, indent=indent).iterencode(value))
    while part := "".join(islice(pieces, _PIECES)):
        yield _harmless(part)


def _harmless(text: str) -> str:
    return UNSAFE.sub(lambda match: match[0] if match[0] == "\n" else _escape(match[0]), text)


def _escape(letter: str) -> str:
    return json.dumps(letter)[1:-1] if ord(letter) != 0x7F else "\\u007f"


_BOM = b"\xef\xbb\xbf"
DECODER = json.JSONDecoder(parse_int=json_int)
"""Of JSON whose whole numbers fit 64 bits."""


def parse_json(raw: bytes | str) -> Any:
    """A JSON text whose whole numbers fit 64 bits. Raises ValueError for what is none, however deep."""
    try:
        text = raw.removeprefix(_BOM).decode("utf-8", "surrogatepass") if isinstance(raw, bytes) else raw
        return DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def json_object(raw: bytes | str) -> dict[str, Any] | None:
    """The JSON object in `raw`, or None when it is none."""
    try:
        found = parse_json(raw)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
