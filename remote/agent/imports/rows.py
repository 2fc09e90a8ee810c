"""What a reader of a foreign log makes of it: runs that begin and end, and the events between."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    Json = dict[str, Any]

LATEST = 1e11
"""Unix seconds that a time may have at most; later ones are no times."""
MOST_STEP = 1 << 53
LONGEST_TEXT = 8_000
"""Characters of a text that is taken over: a line of an event log is bounded."""
NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,40})(?:\.\d{1,40})?(?:[eE][+-]?\d{1,2})?", re.ASCII)
"""A number of JSON as other programs write one."""
_ODD = {
    "nan": "NaN",
    "inf": "Infinity",
    "infinity": "Infinity",
    "-inf": "-Infinity",
    "-infinity": "-Infinity",
}


class Row(NamedTuple):
    """One event of the run with the number `run` in its source; `data` is its data as JSON text."""

    run: int
    kind: str
    step: int | None
    t: float
    data: str


class Start(NamedTuple):
    """The run with the number `run` begins: its stage, its options, and what is known of it."""

    run: int
    stage: str
    t: float
    name: str
    options: Json


class End(NamedTuple):
    """How a run ended, as far as its log says: succeeded, failed or stopped, and why."""

    run: int
    status: str
    reason: str
    t: float


class Sink:
    """Collects what a reader finds, in order."""

    def __init__(self) -> None:
        self.found: list[Row | Start | End] = []

    def start(self, run: int, stage: str, t: float, name: str = "", options: Json | None = None) -> None:
        self.found.append(Start(run, stage, t, name, options or {}))

    def row(self, run: int, kind: str, step: int | None, t: float, data: Json) -> None:
        text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
        self.found.append(Row(run, kind, step, t, text))

    def attempt(self, run: int, number: int, step: int, total: int, t: float, about: Json) -> None:
        """The stage_start event: a run's first attempt, or one that goes on from `step`."""
        data = {"attempt": number, "from_step": step, "total_steps": total, "unit": "step", **about}
        self.row(run, "stage_start", None, t, data)

    def alert(self, run: int, what: str, message: str, step: int | None, t: float) -> None:
        self.row(run, "alert", step, t, {"level": "warn", "what": what, "message": message[:LONGEST_TEXT]})

    def end(self, run: int, status: str, reason: str, t: float, results: Json | None = None) -> None:
        """The stage_end event, and how the run ended."""
        self.row(run, "stage_end", None, t, {"status": status, "error": reason, "results": results or {}})
        self.found.append(End(run, status, reason, t))


def number_text(text: str) -> str:
    """A number as JSON: as it is spelled, without thousands separators; NaN and infinities as our log
    spells them; "" for what is none."""
    if NUMBER.fullmatch(text):
        return text
    odd = _ODD.get(text.lower().lstrip("+"))
    if odd:
        return f'"{odd}"'
    plain = text.replace(",", "")
    if NUMBER.fullmatch(plain):
        return plain
    try:
        value = float(plain)
    except ValueError:
        return ""
    return repr(value) if math.isfinite(value) else f'"{clean_number(value)}"'


def clean_number(value: float) -> float | str:
    """A number as an event holds it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def whole(value: object, most: int = MOST_STEP) -> int | None:
    """A step: a whole number from 0 on, also spelled as a float; else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and (not math.isfinite(value) or not value.is_integer()):
        return None
    return int(value) if 0 <= value <= most else None
