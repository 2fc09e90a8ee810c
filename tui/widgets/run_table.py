"""The table of runs: its columns, cells and sort orders."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from nanochat.common.text import amount, clock, duration, percent, sanitize, when
from remote.facts.money import forecast_text, spent_text
from remote.facts.run_facts import RunFacts
from remote.key_metric import KEY_FIGURES, Figure, key_figure
from remote.run_summary import elapsed, eta, mfu, mfu_value, progress, said, speed, steps
from remote.runs import host_time
from tui.data.ordering import SortValue, natural
from tui.data.run_view import RunGroup, RunView
from tui.keys import bindings
from tui.style.status import STATUS_STYLES, status_style
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.filter.run_columns import RunColumn
    from remote.runs import Link, RunRow

EMPTY = "no runs here yet: {runs.launch} launches a stage, {runs.plan} runs a plan"
SEVERITY = ("running", "starting", "created", "failed", "lost", "stopped", "succeeded")
"""Statuses in the order in which they want to be looked at."""
_KINDS = [metric for metric, _ in KEY_FIGURES]
_UNITS = ("tok/s", "MB/s")


def _real(value: float | None) -> SortValue | None:
    return None if value is None or math.isnan(value) else (0, value)


def _text(text: str) -> SortValue | None:
    return natural(text) if text else None


def _figure(run: RunRow) -> SortValue | None:
    """The figure that is shown, with its like: a loss is never compared with an accuracy."""
    figure = key_figure(run)
    kind = _KINDS.index(figure.metric) if figure.metric in _KINDS else len(_KINDS)
    return _in_kind(kind, figure)


def _speed(run: RunRow) -> SortValue | None:
    figure = speed(run)
    return _in_kind(_UNITS.index(figure.name) if figure.name in _UNITS else len(_UNITS), figure)


def _in_kind(kind: int, figure: Figure) -> SortValue | None:
    return None if figure.value is None or math.isnan(figure.value) else (kind, figure.value)


def _elapsed(run: RunRow) -> SortValue | None:
    return _real(elapsed(run, host_time(run, None, 0.0)))


ORDERS: dict[str, Callable[[RunRow], SortValue | None]] = {
    "status": lambda run: (0, SEVERITY.index(run.status) if run.status in SEVERITY else len(SEVERITY)),
    "name": lambda run: _text(run.label),
    "stage": lambda run: _text(run.stage),
    "host": lambda run: _text(run.host),
    "step": lambda run: _real(run.step),
    "done": lambda run: _real(progress(run)),
    "figure": _figure,
    "speed": _speed,
    "mfu": lambda run: _real(mfu_value(run)),
    "eta": lambda run: _real(run.eta_s) if eta(run) else None,
    "elapsed": _elapsed,
    "plan": lambda run: _text(run.plan_name),
    "started": lambda run: _real(run.created_at or None),
}
"""What each column sorts by: what it shows. None stands last in both directions."""


def _on_runs(sort: Callable[[RunRow], SortValue | None]) -> Callable[[Any], SortValue | None]:
    """An order of runs for lines that may be groups."""
    return lambda line: None if isinstance(line, RunGroup) else sort(line)


def _column(
    name: str,
    title: str,
    width: int,
    rank: int,
    *,
    ideal: int = 0,
    grow: int = 0,
    right: bool = False,
    descending: bool = False,
    wider: tuple[int, int] = (0, 0),
) -> Column:
    sort = ORDERS.get(name)
    return Column(
        name,
        title,
        width,
        "right" if right else "left",
        grow,
        rank,
        ideal,
        None if sort is None else _on_runs(sort),
        descending,
        name == "name",
        wider,
    )


COLUMNS = (
    _column("status", "status", 11, 0),
    _column("name", "name", 10, 0, ideal=16, grow=2),
    _column("stage", "stage", 10, 2, ideal=13),
    _column("host", "host", 7, 5, ideal=12),
    _column("step", "step", 15, 9, ideal=17, right=True, descending=True),
    _column("done", "done", 5, 1, right=True, descending=True),
    _column("figure", "result", 13, 0, ideal=15),
    _column("speed", "tok/s", 8, 7, right=True, descending=True),
    _column("mfu", "MFU", 4, 10, right=True, descending=True),
    _column("eta", "ETA", 6, 6, right=True),
    _column("elapsed", "time", 6, 8, right=True, descending=True),
    _column("spent", "spent", 7, 5, right=True, descending=True),
    _column("forecast", "forecast", 8, 8, right=True, descending=True),
    _column("plan", "plan", 8, 11, ideal=16, grow=1),
    _column("started", "created", 8, 3, ideal=12, right=True, descending=True),
    _column("note", "reason, note", 18, 4, ideal=48, grow=3, wider=(8, 34)),
)


CHOSEN_RANK = 1
"""Columns that the user chose are shown before those that are there by themselves, but for a run's name,
status and result."""
AFTER = "figure"
"""The column that they stand after."""


def chosen_column(column: RunColumn) -> Column:
    """A column that the user chose, as the table lays it out."""
    title = sanitize(column.title, 24)
    return Column(
        column.name,
        title,
        min(10, max(7, len(title))) if column.is_number else 10,
        "right" if column.is_number else "left",
        0,
        CHOSEN_RANK,
        max(7, len(title)) if column.is_number else 16,
        _on_runs(_by(column)),
        column.is_number,
    )


def _by(column: RunColumn) -> Callable[[RunRow], SortValue | None]:
    """What a chosen column sorts by: numbers first, then texts."""

    def value(run: RunRow) -> SortValue | None:
        found = column.value(run)
        if isinstance(found, str):
            return 1, natural(found)[1]
        return None if found is None else (0, found)

    return value


def ordered(rows: Sequence[RunRow], column: str, descending: bool = False) -> list[RunRow]:
    """`rows` by one column, pinned ones first, those without a value last; equal ones stay as they were."""
    view = RunView()
    view.lines(rows, ORDERS[column], descending)
    return view.kept


def day(t: float, now: float) -> str:
    """Time of day, or the day when it was not within the last 20 hours, with the year when in another."""
    if not t:
        return ""
    if abs(now - t) < 20 * 3600:
        return clock(t)[:5]
    try:
        same_year = time.localtime(t).tm_year == time.localtime(now).tm_year
        return time.strftime("%b %d" if same_year else "%Y-%m", time.localtime(t))
    except (OverflowError, ValueError, OSError):
        return ""


def cells(run: RunRow, silent: bool, link: Link | None = None) -> dict[str, Cell]:
    """One run as cells. `silent`: its host is out of contact, so a live run's state is the last one known."""
    now = time.time()
    status = status_style(run.status)
    stale = silent and run.live
    word = f"{status.word}?" if stale else status.word
    dim = "muted" if stale or run.partial else ""
    rate = speed(run)
    figure: Cell = (str(key_figure(run)), "warn" if run.partial else dim)
    shown = ("⌃ " if run.pinned else "") + ("▫ " if run.archived else "") + sanitize(run.label)
    return {
        "status": (f"{status.glyph} {word}", "muted" if stale else status.role),
        "name": (shown, "muted" if run.archived else dim or "strong"),
        "stage": (sanitize(run.stage), dim),
        "host": (sanitize(run.host), dim),
        "step": (steps(run), dim),
        "done": ("" if run.partial else percent(progress(run)), dim),
        "figure": figure,
        "speed": (f"{rate.text} {rate.name[:2]}" if rate.name == "MB/s" else rate.text, dim),
        "mfu": (mfu(run), dim),
        "eta": (eta(run), dim),
        "elapsed": (duration(elapsed(run, host_time(run, link, now))), dim),
        "plan": (sanitize(run.plan_name), "muted"),
        "started": (when(run.created_at, now), "muted", day(run.created_at, now)),
        "note": (sanitize(said(run)), "bad" if run.reason and run.status in ("failed", "lost") else "muted"),
    }


def group_cells(group: RunGroup) -> dict[str, Cell]:
    """A group as cells: how many runs it has and how they stand."""
    runs = group.runs
    counts = {status: sum(run.status == status for run in runs) for status in SEVERITY}
    standing = " ".join(f"{STATUS_STYLES[status].glyph}{count}" for status, count in counts.items() if count)
    foremost = next((status for status, count in counts.items() if count), "")
    done = [share for share in map(progress, runs) if share is not None]
    name = sanitize(group.name) or f"no {group.by}"
    return {
        "status": (standing, status_style(foremost).role),
        "name": (f"{'▸' if group.folded else '▾'} {name}", "accent"),
        "stage": (amount(len(runs), "run"), "muted"),
        "done": (percent(sum(done) / len(done)) if done else "", "muted"),
        "started": _since(max(run.created_at for run in runs)),
    }


def _since(t: float) -> Cell:
    now = time.time()
    return when(t, now), "muted", day(t, now)


class RunTable(VirtualTable["RunRow | RunGroup"]):
    """The runs that `view` keeps, newest first until sorted otherwise, those of silent hosts dimmed."""

    BINDINGS = bindings("columns")

    def __init__(self, id: str | None = None) -> None:
        super().__init__(
            COLUMNS,
            self._line,
            lambda line: line.key,
            empty=EMPTY,
            order="started",
            keys="columns",
            id=id,
        )
        self.view = RunView()
        self.silent: frozenset[str] = frozenset()
        self.links: Mapping[str, Link] = {}
        self.facts = RunFacts()
        self.extra: tuple[RunColumn, ...] = ()
        self.hidden: frozenset[str] = frozenset()
        money = {"spent": self._spent, "forecast": self._forecast}
        self._own = tuple(
            replace(column, sort=_on_runs(money[column.name])) if column.name in money else column
            for column in COLUMNS
        )
        self._all = self._own
        self._own_orders = {**ORDERS, **money}
        self._orders = self._own_orders
        self._built = (0, "")
        self._drawn: set[str] = set()
        self.pending: tuple[str, bool] | None = None
        """An order by a column that is not there yet, until the user sorts; and whether it descends."""

    def _line(self, line: RunRow | RunGroup) -> Mapping[str, Cell]:
        if isinstance(line, RunGroup):
            return group_cells(line)
        made = cells(line, line.host in self.silent, self.links.get(line.host))
        dim = "muted" if line.partial or (line.live and line.host in self.silent) else ""
        for column in self.extra:
            made[column.name] = (column.text(line), dim)
        if self.facts.priced:
            made |= self._money(line, dim)
        return made

    def _money(self, run: RunRow, dim: str) -> dict[str, Cell]:
        found = self.facts.cost(run, time.time())
        return {
            "spent": (spent_text(found), "muted" if found.spent is None else dim),
            "forecast": (forecast_text(run, found), "muted"),
        }

    def choose(self, extra: Sequence[RunColumn], hidden: Iterable[str] = ()) -> None:
        """Shows these columns too, and of its own all but the `hidden` ones."""
        self.extra, self.hidden = tuple(extra), frozenset(hidden)
        made = [chosen_column(column) for column in self.extra]
        taken = {column.name for column in made}
        own = [column for column in self._own if column.name not in self.hidden | taken]
        at = next((index for index, column in enumerate(own) if column.name == AFTER), 0) + 1
        self._all = (*own[:at], *made, *own[at:])
        self._orders = self._own_orders | {
            column.name: column.sort for column in made if column.sort is not None
        }
        self._built = (-1, "")
        if self.order not in {column.name for column in self._all}:
            self.order, self.descending = "started", True
        self.rearrange()
        self.post_message(self.Arranged(self))
        if self.pending is not None and self.pending[0] in self._orders:
            (name, down), self.pending = self.pending, None
            self.set_order(name, down)

    @property
    def wanted_order(self) -> tuple[str, bool]:
        """The column to sort by and whether it descends, also where that column is not there yet."""
        return self.pending or (self.order, self.descending)

    def action_sort_by(self, name: str) -> None:
        self.pending = None
        super().action_sort_by(name)

    def action_sort(self) -> None:
        self.pending = None
        super().action_sort()

    def action_reverse(self) -> None:
        self.pending = None
        super().action_reverse()

    def _spent(self, run: RunRow) -> SortValue | None:
        return _real(self.facts.cost(run, time.time()).spent)

    def _forecast(self, run: RunRow) -> SortValue | None:
        return _real(self.facts.cost(run, time.time()).forecast)

    @property
    def orders(self) -> Iterable[str]:
        """The columns that can be sorted by."""
        return self._orders

    def in_order(self, items: Sequence[RunRow | RunGroup]) -> list[RunRow | RunGroup]:
        """The lines of the view; `items` are all runs."""
        rows = cast("Sequence[RunRow]", items)
        lines = self.view.lines(rows, self._orders.get(self.order), self.descending)
        if self._built != (self.view.built, self.order):
            self._built = (self.view.built, self.order)
            self._choose_columns(rows)
        return lines

    def _choose_columns(self, rows: Sequence[RunRow]) -> None:
        """Leaves out a column that would tell nothing."""
        told = {
            "host": len({run.host for run in rows}) > 1,
            "plan": any(run.plan_name for run in rows),
            "eta": any(run.live for run in rows),
            "mfu": any("train/mfu" in run.latest for run in rows),
            "spent": self.facts.priced,
            "forecast": self.facts.priced and any(run.status == "running" for run in rows),
        }
        told |= {column.name: True for column in self.extra}
        columns = [column for column in self._all if told.get(column.name, True) or column.name == self.order]
        if columns != self.columns:
            self.columns = columns
            self.refresh()

    def redraw(self, indices: Iterable[int]) -> None:
        chosen = list(indices)
        self._drawn.update(self.items[index].key for index in chosen)
        super().redraw(chosen)

    def tick(self, rows: Sequence[RunRow]) -> None:
        """Draws the live runs in sight again, unless they just were: their time goes on."""
        self._choose_columns(rows)
        drawn, self._drawn = self._drawn, set()
        live = (index for index, line in self.in_sight() if isinstance(line, RunGroup) or line.live)
        VirtualTable.redraw(self, [index for index in live if self.items[index].key not in drawn])

    @property
    def run(self) -> RunRow | None:
        """The run under the cursor; None on a group."""
        line = self.current
        return None if isinstance(line, RunGroup) else line

    @property
    def group(self) -> RunGroup | None:
        """The group under the cursor; None on a run."""
        line = self.current
        return line if isinstance(line, RunGroup) else None

    @property
    def chosen_runs(self) -> list[RunRow]:
        """The marked runs that are shown, else the one under the cursor, else those of the group there."""
        marked = [run for run in self.view.kept if run.key in self.chosen]
        if marked:
            return marked
        if self.group is not None:
            return list(self.group.runs)
        return [self.run] if self.run is not None else []
