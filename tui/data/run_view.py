"""The rows of the table of runs: those that the filter keeps, in order, in groups that fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from remote.filter.kept_runs import RunFilter
from tui.data.ordering import SortValue, arranged

if TYPE_CHECKING:
    from remote.runs import RunRow

GROUPINGS: dict[str, Callable[[RunRow], str]] = {
    "": lambda run: "",
    "plan": lambda run: run.plan_name,
    "stage": lambda run: run.stage,
    "host": lambda run: run.host,
    "tag": lambda run: run.tags[0] if run.tags else "",
}
"""What runs can be grouped by; a run with several tags stands with its first."""


@dataclass(frozen=True)
class RunGroup:
    """Runs under one heading, in order. A run without a value is in the group called ""."""

    by: str
    name: str
    runs: tuple[RunRow, ...]
    folded: bool

    @property
    def key(self) -> str:
        """What tells the group from every run and every other group."""
        return f"{self.by}:{self.name}"


class _Known(NamedTuple):
    """What was found out about a row, for as long as it stays the same object; `value` only of kept ones."""

    key: str
    run: RunRow
    kept: bool
    value: SortValue | None


class RunView:
    """Filters, sorts and groups rows. What it knows of a row that did not change is not asked again.

    `kept` are the rows of the last lines without their groups; `built` counts how often they were put
    together anew, not only replaced by newer ones in their places.
    """

    def __init__(self) -> None:
        self.filter = RunFilter()
        self.group_by = ""
        self.folded: set[str] = set()
        self.kept: list[RunRow] = []
        self._known: dict[str, _Known] = {}
        self._how: tuple[object, ...] = ()
        self._rows: Sequence[RunRow] = ()
        self._at: dict[str, int] = {}
        self.built = 0

    def forget(self) -> None:
        """Asks the filter and the order again about every row: the time has gone on."""
        self._known, self._rows = {}, ()

    def lines(
        self,
        rows: Sequence[RunRow],
        value: Callable[[RunRow], SortValue | None] | None,
        descending: bool,
    ) -> list[RunRow | RunGroup]:
        """The lines of the table for `rows`, which are newest first; pinned runs come first."""
        if (self.filter, value) != self._how[:2]:
            self._known = {}
        how = (self.filter, value, descending)
        if how != self._how or not self._in_place(rows, value, descending):
            self._how = how
            self._build(rows, value, descending)
        self._rows = rows
        return [*self._grouped(self.kept)] if self.group_by else [*self.kept]

    def _build(
        self, rows: Sequence[RunRow], value: Callable[[RunRow], SortValue | None] | None, descending: bool
    ) -> None:
        looked = [self._look(run, value) for run in rows]
        self._known = {known.key: known for known in looked}
        kept = [known for known in looked if known.kept]
        if value is not None:
            kept = arranged(kept, attrgetter("value"), descending)
        if any(known.run.pinned for known in kept):
            kept.sort(key=lambda known: not known.run.pinned)
        self.kept = [known.run for known in kept]
        self._at = {known.key: index for index, known in enumerate(kept)}
        self.built += 1

    def _in_place(
        self, rows: Sequence[RunRow], value: Callable[[RunRow], SortValue | None] | None, descending: bool
    ) -> bool:
        """Puts rows that changed where they stand; False when one of them has to move, come or go."""
        if len(rows) != len(self._rows):
            return False
        changed = [(run, old) for run, old in zip(rows, self._rows, strict=True) if run is not old]
        for run, old in changed:
            known = self._known.get(run.key)
            if run.key != old.key or known is None or run.pinned != old.pinned:
                return False
            new = self._look(run, value)
            if new.kept != known.kept or (new.kept and not self._stays(known, new, descending)):
                return False
            self._known[run.key] = new
            if new.kept:
                self.kept[self._at[run.key]] = run
        return True

    def _stays(self, known: _Known, new: _Known, descending: bool) -> bool:
        """Whether a row stands between its neighbours still."""
        if known.value == new.value:
            return True
        at = self._at[new.run.key]
        before = self._known[self.kept[at - 1].key] if at else None
        after = self._known[self.kept[at + 1].key] if at + 1 < len(self.kept) else None
        pinned = new.run.pinned
        return (before is None or before.run.pinned != pinned or _first(before, new, descending)) and (
            after is None or after.run.pinned != pinned or _first(new, after, descending)
        )

    def _look(self, run: RunRow, value: Callable[[RunRow], SortValue | None] | None) -> _Known:
        key = run.key
        known = self._known.get(key)
        if known is not None and known.run is run:
            return known
        kept = self.filter.keeps(run)
        return _Known(key, run, kept, value(run) if kept and value is not None else None)

    def _grouped(self, runs: Iterable[RunRow]) -> Iterable[RunRow | RunGroup]:
        groups: dict[str, list[RunRow]] = {}
        name_of = GROUPINGS[self.group_by]
        for run in runs:
            groups.setdefault(name_of(run), []).append(run)
        for name in sorted(groups, key=lambda name: not name):  # those without a value last
            group = RunGroup(self.group_by, name, tuple(groups[name]), False)
            folded = group.key in self.folded
            yield RunGroup(self.group_by, name, group.runs, folded)
            if not folded:
                yield from group.runs

    def next_grouping(self) -> str:
        """Groups by the next thing, or not at all; returns what it is."""
        names = list(GROUPINGS)
        self.group_by = names[(names.index(self.group_by) + 1) % len(names)]
        return self.group_by

    def fold(self, key: str) -> None:
        """Folds a group, or unfolds it."""
        self.folded ^= {key}

    def fold_all(self) -> bool:
        """Folds every group that is shown, or unfolds them all if they are; True when they are folded now."""
        name_of = GROUPINGS[self.group_by]
        keys = {RunGroup(self.group_by, name_of(run), (), False).key for run in self.kept}
        folded = not keys <= self.folded
        self.folded = keys if folded else set()
        return folded


def _first(one: _Known, other: _Known, descending: bool) -> bool:
    """Whether one row surely stands before another, whatever their age."""
    if one.value is None or other.value is None:
        return one.value is not None
    if one.value[0] != other.value[0]:
        return one.value[0] < other.value[0]
    return bool(one.value[1] > other.value[1] if descending else one.value[1] < other.value[1])
