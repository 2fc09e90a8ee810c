"""What an ended run came to: how it ended and why, its best evaluation, its mean speed, its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from nanochat.common.text import duration, number, sanitize, short, size_bytes
from remote.key_metric import KEY_FIGURES, key_figure
from remote.metrics import better
from remote.run_summary import elapsed, extent, mean_speed, reading, speed
from tui.style.status import ROLE_STYLES, status_style

if TYPE_CHECKING:
    from nanochat.run.events import Event
    from remote.runs import RunRow

Value = tuple[str, str]
"""A text and its style."""


@dataclass
class Outcome:
    """What the events of a run tell of its results: evaluations by metric, and the checkpoint saved last."""

    evals: dict[str, list[tuple[int | None, float]]] = field(default_factory=dict)
    checkpoint: str = ""
    checkpoint_bytes: float | None = None

    def add(self, events: Iterable[Event]) -> None:
        """Takes in events in order."""
        for event in events:
            if event.kind == "stage_start":
                self._supersede(event.data.get("from_step"))
            elif event.kind == "eval":
                for name, value in event.data.items():
                    if isinstance(value, int | float) and math.isfinite(value):
                        self.evals.setdefault(name, []).append((event.step, float(value)))
            elif event.kind == "checkpoint":
                self.checkpoint = sanitize(str(event.data.get("path", "")), 300)
                size = event.data.get("bytes")
                self.checkpoint_bytes = float(size) if isinstance(size, int | float) else None

    def _supersede(self, first: object) -> None:
        """A new attempt begins at a step: what an earlier one found from there on no longer counts."""
        if isinstance(first, int):
            self.evals = {
                name: kept
                for name, points in self.evals.items()
                if (kept := [point for point in points if point[0] is None or point[0] < first])
            }


def best_eval(outcome: Outcome) -> tuple[str, int | None, float] | None:
    """(metric, step, value) of the best evaluation, in the metric that the run is judged by, or None."""
    known = [metric for metric, _ in KEY_FIGURES if metric in outcome.evals and better(metric)]
    if not known:
        return None
    metric = known[0]
    step, value = max(outcome.evals[metric], key=lambda point: better(metric) * point[1])
    return metric, step, value


def summary_rows(run: RunRow, outcome: Outcome) -> list[tuple[str, list[Value]]]:
    """A name and a value for each line; what is not known has none."""
    status = status_style(run.status)
    style = ROLE_STYLES[status.role]
    took = duration(elapsed(run, run.ended_at or run.heartbeat or 0.0))
    rows = [
        (
            "ended",
            [(f"{status.glyph} {status.word} ", f"bold {style}"), (f"after {took}" if took else "", "")],
        )
    ]
    attempt = f"attempt {run.attempt}" if run.attempt > 1 else ""
    done = [words for words in ("" if run.partial else extent(run), attempt) if words]
    if done:
        rows.append(("came to", [(" · ".join(done), "")]))
    if run.reason:
        rows.append(("why", [(sanitize(run.reason, 600), style)]))
    if run.partial:
        return [*rows, ("figures", [(reading(run), "$warning")])]
    best = best_eval(outcome)
    if best is not None:
        metric, step, value = best
        rows.append(("best eval", [(f"{metric} {number(value)}", "bold"), _at(step)]))
        last_step, last = outcome.evals[metric][-1]
        if last != value:
            rows.append(("last eval", [(f"{metric} {number(last)}", ""), _at(last_step)]))
    else:
        figure = key_figure(run)
        if figure.text:
            rows.append(("result", [(str(figure), "bold")]))
    mean, rate = mean_speed(run), speed(run)
    if mean is not None:
        rows.append(("mean speed", [(f"{short(mean)} tok/s", "")]))
    elif rate.text:
        rows.append(("last speed", [(f"{rate.text} {rate.name}", "")]))
    if outcome.checkpoint:
        rows.append(("checkpoint", _checkpoint(outcome)))
    return rows


def _at(step: int | None) -> Value:
    return (f" at step {step:,}" if step is not None else "", "$muted")


def _checkpoint(outcome: Outcome) -> list[Value]:
    path = "/".join(outcome.checkpoint.split("/")[-2:])
    return [(path, ""), (f" · {size_bytes(outcome.checkpoint_bytes)}", "$muted")]


class EndedSummary(Static):
    """The summary, hidden while the run is live."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "summary"
        self._shown = Content()

    def show(self, run: RunRow | None, outcome: Outcome) -> None:
        """Shows the end of `run`."""
        self.set_class(run is not None and not run.live, "-ended")
        if run is None or run.live:
            return
        rows = summary_rows(run, outcome)
        width = max(len(name) for name, _ in rows) + 2
        lines = [Content.assemble((name.ljust(width), "$muted"), *values) for name, values in rows]
        text = Content("\n").join(lines)
        if text != self._shown:  # several times a second while a log is read
            same_height = text.plain.count("\n") == self._shown.plain.count("\n") and bool(self._shown)
            self._shown = text
            self.update(text, layout=not same_height)
