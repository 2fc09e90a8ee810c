"""How far a stage is: `progress` and `eta_s` in its events, and a bar where a person watches a terminal."""

import contextlib
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from nanochat.common.text import duration, sanitize
from nanochat.run.events import JSON

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from nanochat.run.stage_run import StageRun

EVENT_SECONDS = 0.5
"""At most one event in this time, so that a fast loop does not flood the log."""
SLOW_AFTER, SLOW_EVERY = 10.0, 30.0
"""Seconds until a slow task inside a stage is logged, and between its log lines after that."""


class Progress:
    """Reports to `run` (and a terminal) the share done, `low` to `high` of the stage as a whole.

    `label` says what is being done. A stage of several parts opens one after the other, with shares
    that follow each other.
    """

    def __init__(self, run: "StageRun", label: str, *, low: float = 0.0, high: float = 1.0) -> None:
        self._run = run
        self._label = sanitize(label, 200)
        self._low, self._high = low, high
        self._started = time.monotonic()
        self._last_event = -EVENT_SECONDS
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._run.is_main and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(self._label, total=1.0, note="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with contextlib.suppress(OSError):  # the terminal may be gone
                self._bar.stop()

    def due(self) -> bool:
        """Whether `update` would report now: lets a hot loop skip computing its metrics."""
        return time.monotonic() - self._last_event >= EVENT_SECONDS

    def update(self, share: float, metrics: Mapping[str, JSON] | None = None, note: str = "") -> None:
        """`share` in 0 … 1 of this part is done. Ignored when it comes too soon after the last."""
        now = time.monotonic()
        if now - self._last_event < EVENT_SECONDS:
            return
        self._last_event = now
        share = min(max(share, 0.0), 1.0)
        values: dict[str, JSON] = {"progress": self._low + share * (self._high - self._low)}
        if share > 0:
            values["eta_s"] = (now - self._started) * (1 - share) / share
        self._run.metric(None, {**values, **(metrics or {})})
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=share, note=sanitize(note, 200))


class SlowTaskLog:
    """Logs how far a task inside a stage is, if it turns out slow; a quick one is not mentioned.

    `what` is being done, to `total` of `unit`.
    """

    def __init__(self, run: "StageRun", what: str, total: int, unit: str) -> None:
        self._run, self._what, self._total, self._unit = run, what, total, unit
        self._started = time.monotonic()
        self._due = self._started + SLOW_AFTER

    def done(self, count: int) -> None:
        """`count` of the total are done."""
        now = time.monotonic()
        if now < self._due or not 0 < count < self._total:
            return
        self._due = now + SLOW_EVERY
        left = duration((now - self._started) * (self._total - count) / count)
        self._run.log(f"{self._what}: {count:,} of {self._total:,} {self._unit}, about {left} left")
