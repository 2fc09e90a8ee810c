"""What the Run screen shows of a run, read from the store in a worker thread: whole once, then the news."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanochat.common.text import harmless

if TYPE_CHECKING:
    from nanochat.run.events import Event
    from remote.store.store import Store

NOTABLE = ("stage_start", "eval", "sample", "checkpoint", "alert", "stage_end")

Row = tuple[int, int | None, float, float, int]
"""A metric point: (seq, step, unix time in s, value, attempt)."""


@dataclass
class News:
    """What is new of a run: points by metric, and notable and telemetry events in order of seq."""

    metrics: dict[str, Sequence[Row]] = field(default_factory=dict)
    notable: list[Event] = field(default_factory=list)
    telemetry: list[Event] = field(default_factory=list)


class RunReader:
    """Reads one run's news. Not for two threads at once."""

    TELEMETRY_KEPT = 1_800
    """Samples read at the start: an hour at one every 2 s."""

    def __init__(self, store: Store, key: str) -> None:
        self.key = key
        self._store = store
        self._seq: dict[str, int] = {}
        self._notable = -1
        self._telemetry = -1

    def read(self) -> News:
        """Everything since the last call."""
        news = News()
        for name in self._store.metric_names(self.key):
            series = self._store.series(self.key, name, self._seq.get(name, -1))
            if len(series):
                self._seq[name] = series.seq[-1]
                news.metrics[harmless(name, 60)] = _rows(series.points())
        news.notable = self._store.events(self.key, self._notable, NOTABLE)
        if news.notable:
            self._notable = news.notable[-1].seq
        if self._telemetry < 0:
            last = self._store.last_telemetry(self.key)
            self._telemetry = max(-1, last.seq - self.TELEMETRY_KEPT) if last is not None else -1
        news.telemetry = self._store.telemetry(self.key, self._telemetry)
        if news.telemetry:
            self._telemetry = news.telemetry[-1].seq
        return news


def _rows(points: Sequence[tuple[int, int, float, float, int]]) -> Sequence[Row]:
    """The store writes step -1 where an event carried none."""
    if not any(point[1] < 0 for point in points):
        return points
    return [(seq, step if step >= 0 else None, t, value, attempt) for seq, step, t, value, attempt in points]
