"""The rows of the table of runs: those that the filter keeps, in order, in groups that fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from remote.filter.run_filter import RunFilter
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


@dataclass(frozen=True)
class _Known:
    """What was found out about a row, for as long as it stays the same object."""

    run: RunRow
    kept: bool
    value: SortValue | None


class RunView:
    """Filters, sorts and groups rows. What it knows of a row that did not change is not asked again."""

    def __init__(self) -> None:
        self.filter = RunFilter()
        self.group_by = ""
        self.folded: set[str] = set()
        self.kept: list[RunRow] = []
        self._known: dict[str, _Known] = {}
        self._how: tuple[object, ...] = ()

    def forget(self) -> None:
        """Asks the filter and the order again about every row: the time has gone on."""
        self._known = {}

    def lines(
        self,
        rows: Sequence[RunRow],
        value: Callable[[RunRow], SortValue | None] | None,
        descending: bool,
    ) -> list[RunRow | RunGroup]:
        """The lines of the table for `rows`, which are newest first; pinned runs come first."""
        how = (self.filter, value)
        if how != self._how:
            self._how, self._known = how, {}
        known = {run.key: self._look(run, value) for run in rows}
        self._known = known
        kept = [run for run in rows if known[run.key].kept]
        if value is not None:
            kept = arranged(kept, lambda run: known[run.key].value, descending)
        self.kept = sorted(kept, key=lambda run: not run.pinned)
        return [*self._grouped(self.kept)] if self.group_by else [*self.kept]

    def _look(self, run: RunRow, value: Callable[[RunRow], SortValue | None] | None) -> _Known:
        known = self._known.get(run.key)
        if known is not None and known.run is run:
            return known
        return _Known(run, self.filter.keeps(run), value(run) if value is not None else None)

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
