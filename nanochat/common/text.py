"""Numbers and foreign text formatted for a terminal: aligned, short, and safe to print."""

from __future__ import annotations

import math
import re
import time
from typing import Any

SGR = re.compile(r"\x1b\[[0-9;:]*m")
UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\u3164\ud800-\udfff\ufeff\uffa0\U000e0000-\U000e007f]"
)
"""Control characters, and those that take no cell, look like nothing, or reorder what is around them."""
_UNSAFE_IN_LINES = re.compile(UNSAFE.pattern.replace("\\x00-\\x1f", "\\x00-\\x08\\x0b-\\x1f"))
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

LINE_CAP = 2_000
_LONGEST = 1e11  # seconds: three thousand years


def sanitize(text: str, cap: int = LINE_CAP) -> str:
    """One line of foreign text, with nothing in it that the terminal would act on.

    Colour sequences are dropped; every other control character is shown as its picture (␛, ␇ …) and
    characters that reorder or hide text as their code point. A line a program redrew with carriage
    returns shows its last state. Longer than `cap` characters is cut and says by how much.
    """
    line = text.rstrip("\r\n")
    if "\r" in line:
        line = line.rsplit("\r", 1)[1]
    over = len(line) - cap
    if over > 0:
        line = line[:cap]
    line = UNSAFE.sub(_picture, SGR.sub("", line.expandtabs(4)))
    return f"{line} … +{over:,} characters" if over > 0 else line


def clean_text(text: str) -> str:
    """Foreign text of several lines: as `sanitize`, but line ends and tabs stay, and so does its length."""
    return _UNSAFE_IN_LINES.sub(_picture, SGR.sub("", text))


def show_controls(text: str) -> str:
    """Foreign text for a text file: what a terminal would act on is dropped or shown as its picture.

    Marks that join or order letters stay, as Persian, Hebrew and emoji need them. Line ends become "\\n".
    """
    return _CONTROL.sub(_picture, SGR.sub("", text.replace("\r\n", "\n")))


def valid_text(text: str) -> str:
    """`text` as UTF-8 can hold it: half a surrogate pair becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def clean_json(value: Any, depth: int = 64) -> Any:
    """A JSON value with `clean_text` on every text in it, names too; what is nested deeper becomes "…"."""
    if isinstance(value, str):
        return clean_text(value)
    if depth <= 0 and isinstance(value, (dict, list)):
        return "…"
    if isinstance(value, dict):
        return {clean_text(name): clean_json(item, depth - 1) for name, item in value.items()}
    if isinstance(value, list):
        return [clean_json(item, depth - 1) for item in value]
    return value


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨{code:04x}⟩"


def duration(seconds: float | None) -> str:
    """`45s`, `3m12s`, `2h14m`, `3d04h`; empty when unknown, or longer than anything takes."""
    if seconds is None or not abs(_float(seconds)) < _LONGEST:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def amount(count: float, unit: str) -> str:
    """`1 item`, `1,024 rows`, `3 matches`. A unit in `s`, as `bytes`, is a plural already."""
    count = _float(count)
    shown = f"{count:,.0f}" if abs(count) < 1e15 else f"{count:.1e}"
    return f"{shown} {unit if count == 1 else _plural(unit)}"


def _plural(unit: str) -> str:
    if unit.endswith(("tch", "sh", "ss", "x")):
        return f"{unit}es"
    return unit if unit.endswith("s") else f"{unit}s"


def number(value: float | str | None) -> str:
    """A metric's value in four significant digits, thousands grouped; NaN and infinities by name."""
    if value is None:
        return ""
    if isinstance(value, str):
        return sanitize(value, 40)
    value = _float(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    value = float(
        f"{value:.12g}"
    )  # a sum made in another order differs in its last bits, and is told the same
    size = abs(value)
    if value == int(value) and size < 1e7:
        return f"{int(value):,}"
    if size >= 1e6:
        return short(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.1f}"
    if size >= 10:
        return f"{value:.2f}"
    if size >= 1:
        return f"{value:.3f}"
    return f"{value:.4f}" if size >= 1e-3 else f"{value:.2e}"


def short(value: float | None) -> str:
    """A magnitude in at most five characters: 812k, 1.98G, 3.2e21."""
    if value is None or not math.isfinite(value := _float(value)):
        return ""
    size = abs(value)
    for scale, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= scale * 1e6 and letter == "T":
            return f"{value:.1e}".replace("e+", "e")
        if size >= scale:
            scaled = value / scale
            digits = 0 if abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2
            return f"{scaled:.{digits}f}{letter}"
    return f"{value:.0f}" if size >= 100 or value == int(value) else f"{value:.1f}"


def size_bytes(value: float | None) -> str:
    """Bytes in powers of 1024: 512B, 71.2G; empty when unknown."""
    if value is None or not math.isfinite(scaled := _float(value)):
        return ""
    for letter in ("B", "K", "M", "G", "T"):
        if abs(scaled) < 1000 or letter == "T":
            return f"{scaled:.0f}{letter}" if letter == "B" or abs(scaled) >= 100 else f"{scaled:.1f}{letter}"
        scaled /= 1024
    raise AssertionError("unreachable")


def percent(fraction: float | None) -> str:
    """A fraction 0..1 as `66%`; empty when unknown."""
    known = fraction is not None and abs(_float(fraction)) < 1e6
    return f"{100 * fraction:.0f}%" if known and fraction is not None else ""


def clock(t: float | None) -> str:
    """Local time of day of a Unix time: `14:02:11`."""
    return "" if t is None else _local("%H:%M:%S", t)


def when(t: float | None, now: float) -> str:
    """Local time, with the date when it was not within the last 20 hours."""
    if not t:
        return ""
    return _local("%H:%M" if abs(now - _float(t)) < 20 * 3600 else "%b %d %H:%M", t)


def _local(pattern: str, t: float) -> str:
    """A Unix time in local time; empty for one that no calendar has."""
    try:
        return time.strftime(pattern, time.localtime(t))
    except (OverflowError, ValueError, OSError):
        return ""


def _float(value: float) -> float:
    """`value` as a float; a whole number of hundreds of digits is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
