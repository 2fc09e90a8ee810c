"""A run's events folded into what a table row shows: newest values, progress, attempts, results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nanochat.run.events import Event
from remote.runs import Attempt

_SERIES_KINDS = ("metric", "eval")
_HOW_FAR = ("progress", "eta_s")  # of the run as a whole: shown as they are now, never plotted
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
            results = data.get("results")
            self.results = dict(results) if isinstance(results, Mapping) else {}
            self.eta_s = None

    def _start(self, event: Event) -> None:
        data = event.data
        self.total_steps = _whole(data.get("total_steps"), 0)
        self.unit = str(data.get("unit") or "step")
        self.progress, self.eta_s = None, None
        begun = Attempt(
            attempt=_whole(data.get("attempt"), self.attempt + 1),
            from_step=_whole(data.get("from_step"), 0),
            first_seq=event.seq,
            t=event.t,
            total_steps=self.total_steps,
        )
        self.attempts.append(asdict(begun))

    def _values(self, data: Mapping[str, Any], keep_first: bool) -> None:
        for name, value in data.items():
            if not isinstance(value, (int, float, str)) or isinstance(value, bool):
                continue
            if name == "progress":
                self.progress = as_number(value)
            elif name == "eta_s":
                self.eta_s = as_number(value)
            else:
                self.latest[name] = value
                if keep_first:
                    self.first.setdefault(name, value)


def series_values(event: Event) -> Iterator[tuple[str, float]]:
    """The `(name, value)` pairs an event adds to metric series; text that is no number is left out."""
    if event.kind not in _SERIES_KINDS:
        return
    for name, value in event.data.items():
        number = as_number(value)
        if number is not None and name not in _HOW_FAR:
            yield name, number


def as_number(value: object) -> float | None:
    """A JSON number, or the log's spelling of a non-finite one, as a float; else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value)
    return _NON_FINITE.get(value) if isinstance(value, str) else None


def _whole(value: object, default: int) -> int:
    number = as_number(value)
    return int(number) if number is not None and math.isfinite(number) else default
