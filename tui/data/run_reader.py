"""What the Run screen shows of a run, read from the store in a thread: all of it once, then what is new."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nanochat.common.text import sanitize

if TYPE_CHECKING:
    from nanochat.run.events import Event
    from remote.store.series import Series
    from remote.store.store import Store

KEY_EVENTS = ("stage_start", "eval", "sample", "checkpoint", "alert", "stage_end")
"""The kinds of events that the Run screen shows one by one."""


@dataclass
class RunUpdate:
    """What is new of a run: points by metric, and key events and telemetry events in order of seq."""

    metrics: dict[str, Series] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    telemetry: list[Event] = field(default_factory=list)


class RunReader:
    """Reads what is new of one run. Not thread-safe."""

    TELEMETRY_KEPT = 1_800
    """Telemetry samples read at the start: an hour at one every 2 s."""

    def __init__(self, store: Store, key: str) -> None:
        self.key = key
        self._store = store
        self._seq: dict[str, int] = {}
        self._events = -1
        self._telemetry = -1

    def read_metrics(self) -> dict[str, Series]:
        """The points since the last call, by metric."""
        metrics = {}
        for name, series in self._store.all_series(self.key, self._seq).items():
            self._seq[name] = series.seq[-1]
            metrics[sanitize(name, 60)] = series
        return metrics

    def read_update(self) -> RunUpdate:
        """Everything since the last call."""
        update = RunUpdate(self.read_metrics())
        update.events = self._store.events(self.key, self._events, KEY_EVENTS)
        if update.events:
            self._events = update.events[-1].seq
        if self._telemetry < 0:
            last = self._store.last_telemetry(self.key)
            self._telemetry = max(-1, last.seq - self.TELEMETRY_KEPT) if last is not None else -1
        update.telemetry = self._store.telemetry(self.key, self._telemetry)
        if update.telemetry:
            self._telemetry = update.telemetry[-1].seq
        return update
