"""A run's events folded into what a table row shows: newest values, progress, attempts, results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Self

from nanochat.common import fields
from nanochat.common.smoothing import RunningAverage
from nanochat.common.text import sanitize
from nanochat.run.events import Event
from remote.runs import Attempt

MOST_METRICS = 2_000
"""Names of metrics of a run that are kept; values under further names are counted in `left_out`."""
MOST_ATTEMPTS = 5_000
_NAME_CAP = 120
_CUT_NOTE = 30
"""Characters that are left to the note on how much of a long name was cut."""
_TEXT_CAP = 500
_INT31 = (1 << 31) - 1

_SERIES_KINDS = ("metric", "eval")
HOW_FAR = ("progress", "eta_s")
"""Of the run as a whole: shown as they are now, never plotted."""
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass
class Summary:
    """The fold's state; kept as JSON beside the run. `attempt` is 0 before the first stage_start."""

    step: int | None = None
    total_steps: int = 0
    unit: str = "step"
    progress: float | None = None
    eta_s: float | None = None
    alerts: int = 0
    latest: dict[str, Any] = field(default_factory=dict)
    first: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0
    averages: dict[str, RunningAverage] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: str) -> Self:
        """The fold that a store holds as JSON; what of it is not of its type begins anew. Never raises."""
        held = fields.json_object(raw) or {}
        started = [item for item in map(_attempt, _list(held.get("attempts"))) if item is not None]
        return cls(
            step=fields.whole(held.get("step")),
            total_steps=fields.whole(held.get("total_steps"), 0) or 0,
            unit=fields.text(held.get("unit"), _NAME_CAP) or "step",
            progress=as_number(held.get("progress")),
            eta_s=as_number(held.get("eta_s")),
            alerts=fields.whole(held.get("alerts"), 0) or 0,
            latest=_kept(held.get("latest")),
            first=_kept(held.get("first")),
            results=_kept(held.get("results")),
            attempts=[asdict(item) for item in started],
            left_out=fields.whole(held.get("left_out"), 0) or 0,
            averages=_averages(held.get("averages")),
        )

    def smooth(self) -> dict[str, float]:
        """The moving averages by metric; a value that is no number is never hidden behind its average."""
        told = {name: as_number(self.latest.get(name)) for name in self.averages}
        return {
            name: average.value
            for name, average in self.averages.items()
            if average.points and (value := told[name]) is not None and math.isfinite(value)
        }

    @property
    def attempt(self) -> int:
        return int(self.attempts[-1]["attempt"]) if self.attempts else 0

    def attempt_list(self) -> list[Attempt]:
        """The attempts, oldest first."""
        return [Attempt(**item) for item in self.attempts]

    def fold(self, event: Event) -> None:
        """Takes one event in; unknown kinds and odd values are passed over, never fatal."""
        data = event.data
        if event.kind == "stage_start":
            self._start(event)
        elif event.kind in _SERIES_KINDS:
            if event.step is not None:
                self.step = event.step
            self._values(data, keep_first=event.kind == "eval")
        elif event.kind == "alert":
            self.alerts += 1
        elif event.kind == "stage_end":
            self.results = _kept(data.get("results"))
            self.eta_s = None

    def _start(self, event: Event) -> None:
        data = event.data
        self.total_steps = _whole(data.get("total_steps"), 0)
        self.unit = fields.text(data.get("unit"), _NAME_CAP) or "step"
        self.progress, self.eta_s = None, None
        self.results = {}  # of the attempt before: what it ended with is no figure of this one
        begun = Attempt(
            attempt=_whole(data.get("attempt"), min(self.attempt + 1, _INT31), _INT31),
            from_step=_whole(data.get("from_step"), 0),
            first_seq=event.seq,
            t=event.t,
            total_steps=self.total_steps,
        )
        self.attempts.append(asdict(begun))
        del self.attempts[:-MOST_ATTEMPTS]

    def _values(self, data: Mapping[str, Any], keep_first: bool) -> None:
        for spelled, value in data.items():
            if not isinstance(value, (int, float, str)) or isinstance(value, bool):
                continue
            name = metric_name(spelled)
            if name == "progress":
                self.progress = as_number(value)
            elif name == "eta_s":
                self.eta_s = as_number(value)
            elif name not in self.latest and len(self.latest) >= MOST_METRICS:
                self.left_out += 1
            else:
                self.latest[name] = sanitize(value, _TEXT_CAP) if isinstance(value, str) else value
                if keep_first:
                    self.first.setdefault(name, self.latest[name])


@lru_cache(maxsize=8192)
def metric_name(name: str) -> str:
    """A metric's name as it is kept: one clean line of bounded length; read again it stays as it is."""
    room = _NAME_CAP if len(name) <= _NAME_CAP else _NAME_CAP - _CUT_NOTE
    return sanitize(name, room)[:_NAME_CAP]


@lru_cache(maxsize=4096)
def stored_summary(raw: str) -> Summary:
    """`Summary.read`, kept for as long as the run does not change. Not to be changed."""
    return Summary.read(raw)


def series_values(event: Event) -> Iterator[tuple[str, float]]:
    """The `(name, value)` pairs an event adds to metric series; text that is no number is left out."""
    if event.kind not in _SERIES_KINDS:
        return
    for name, value in event.data.items():
        number = as_number(value)
        if number is not None and name not in HOW_FAR:
            yield metric_name(name), number


def as_number(value: object) -> float | None:
    """A JSON number, or the log's spelling of a non-finite one, as a float; else None.

    A whole number of hundreds of digits is infinite.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    return _NON_FINITE.get(value) if isinstance(value, str) else None


def _kept(values: object) -> dict[str, Any]:
    """Named values that a table can show: numbers and short texts, at most `MOST_METRICS`."""
    if not isinstance(values, Mapping):
        return {}
    return {
        metric_name(str(name)): fields.plain(value, _TEXT_CAP) if not isinstance(value, float) else value
        for name, value in list(values.items())[:MOST_METRICS]
    }


def _averages(held: object) -> dict[str, RunningAverage]:
    items = held.items() if isinstance(held, Mapping) else ()
    found = {str(name): RunningAverage.read(value) for name, value in items}
    return {name: average for name, average in found.items() if average is not None}


def _attempt(held: object) -> Attempt | None:
    if not isinstance(held, Mapping):
        return None
    t = fields.real(held.get("t"))
    whole = [fields.whole(held.get(name)) for name in ("attempt", "from_step", "first_seq", "total_steps")]
    attempt, from_step, first_seq, total_steps = whole
    if t is None or attempt is None or from_step is None or first_seq is None or total_steps is None:
        return None
    return Attempt(min(max(attempt, 0), _INT31), from_step, first_seq, t, total_steps)


def _list(value: object) -> list[Any]:
    return value[-MOST_ATTEMPTS:] if isinstance(value, list) else []


def _whole(value: object, default: int, most: int = (1 << 53) - 1) -> int:
    """A count from an event: the default for what is none or out of range."""
    number = fields.whole(value, 0, most)
    return default if number is None else number
