"""The table of runs: its columns, cells and sort orders."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from nanochat.common.text import duration, percent, sanitize, when
from remote.key_metric import key_figure
from remote.run_summary import elapsed, eta, mfu, progress, speed, steps
from remote.runs import host_time
from tui.style.status import status_style
from tui.widgets.table import Cell, Column, VirtualTable

if TYPE_CHECKING:
    from remote.runs import Link, RunRow

COLUMNS = (
    Column("status", "status", 11),
    Column("name", "name", 10, grow=3),
    Column("stage", "stage", 10, grow=1),
    Column("host", "host", 7, grow=1, min_table_width=100),
    Column("step", "step", 15, "right", min_table_width=116),
    Column("done", "done", 4, "right"),
    Column("figure", "result", 13),
    Column("speed", "speed", 9, "right"),
    Column("mfu", "MFU %", 5, "right", min_table_width=108),
    Column("eta", "ETA", 6, "right"),
    Column("elapsed", "time", 6, "right", min_table_width=90),
    Column("plan", "plan", 8, grow=1, min_table_width=150),
    Column("started", "started", 12, "right", min_table_width=140),
    Column("note", "note", 10, grow=3, min_table_width=170),
)

Order = Callable[["RunRow"], tuple[int, float | str]]


def _number(value: float | None) -> tuple[int, float]:
    return (1, 0.0) if value is None else (0, -value)


def _value(run: RunRow, metric: str) -> float | None:
    value = run.latest.get(metric)
    return float(value) if isinstance(value, float | int) else None


#: The sort key of each column; the most interesting runs come first.
ORDERS: dict[str, Order] = {
    "started": lambda run: _number(run.created_at),
    "status": lambda run: (
        (0, ("running", "starting", "created", "failed", "lost").index(run.status) * 1.0)
        if run.status in ("running", "starting", "created", "failed", "lost")
        else (1, run.status)
    ),
    "name": lambda run: (0, run.name.lower()),
    "stage": lambda run: (0, run.stage),
    "host": lambda run: (0, run.host),
    "done": lambda run: _number(progress(run)),
    "figure": lambda run: (0, _value(run, "val/bpb") or _value(run, "train/loss") or float("inf")),
    "speed": lambda run: _number(_value(run, "train/tok_per_sec")),
    "mfu": lambda run: _number(_value(run, "train/mfu")),
    "eta": lambda run: (1, 0.0) if run.eta_s is None else (0, run.eta_s),
    "elapsed": lambda run: _number(elapsed(run, run.heartbeat or time.time())),
}


def ordered(rows: Sequence[RunRow], column: str, reverse: bool = False) -> list[RunRow]:
    """`rows` by one column, pinned ones first; equal ones stay newest first."""
    key = ORDERS[column]
    known = sorted(rows, key=key)
    if reverse:
        known.reverse()
    return sorted(known, key=lambda run: not run.pinned)


def cells(run: RunRow, silent: bool, link: Link | None = None) -> dict[str, Cell]:
    """One run as cells. `silent`: its host is out of contact, so a live run's state is the last one known."""
    now = time.time()
    status = status_style(run.status)
    stale = silent and run.live
    word = f"{status.word}?" if stale else status.word
    dim = "muted" if stale else ""
    figure, rate = key_figure(run), speed(run)
    return {
        "status": (f"{status.glyph} {word}", "muted" if stale else status.role),
        "name": (("⌃ " if run.pinned else "") + sanitize(run.label), dim or "strong"),
        "stage": (sanitize(run.stage), dim),
        "host": (sanitize(run.host), dim),
        "step": (steps(run), dim),
        "done": (percent(progress(run)), dim),
        "figure": (str(figure), dim),
        "speed": (f"{rate.text} {rate.name[:2]}" if rate.name == "MB/s" else rate.text, dim),
        "mfu": (mfu(run), dim),
        "eta": (eta(run), dim),
        "elapsed": (duration(elapsed(run, host_time(run, link, now))), dim),
        "plan": (sanitize(run.plan_name), "muted"),
        "started": (when(run.created_at, now), "muted"),
        "note": (sanitize(" ".join([*(f"#{tag}" for tag in run.tags), run.note, run.reason])), "muted"),
    }


class RunTable(VirtualTable["RunRow"]):
    """The runs, with those of silent hosts dimmed."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(
            COLUMNS,
            lambda run: cells(run, run.host in self.silent, self.links.get(run.host)),
            lambda run: run.key,
            empty="no runs here yet: n launches a stage, p runs a plan",
            id=id,
        )
        self.silent: frozenset[str] = frozenset()
        self.links: Mapping[str, Link] = {}
