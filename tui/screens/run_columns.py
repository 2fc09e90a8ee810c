"""The columns of the Runs screen that the user chose, what has to be read for them, and what runs cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from nanochat.common.errors import UserError
from remote.facts.money import total
from remote.filter.fields import OPTION, Vocabulary
from remote.filter.run_columns import BEST, FIGURES, RunColumn, column_called, names_offered
from tui.widgets.run_table import COLUMNS, RunTable

if TYPE_CHECKING:
    from remote.facts.run_facts import RunFacts
    from remote.runs import RunRow
    from tui.room import Room
    from tui.screens.column_dialog import Offer

SECONDS = 2.0
"""Between two readings of what the columns need, and two sums of what runs cost."""
AGAIN = 5.0
"""Seconds after which a name that no run had is looked for again."""
ALWAYS = ("status", "name")
MOST = 24
"""Columns that can be chosen."""


class ChosenColumns:
    """What the user chose to see of `table`, as names; `chosen` are those that a run has something for.

    `wanted` are added to the table's own columns, but for the `hidden` of those.
    """

    def __init__(self, table: RunTable) -> None:
        self.table = table
        self.facts: RunFacts = table.facts
        self.wanted: list[str] = []
        self.hidden: set[str] = set()
        self._known: dict[str, RunColumn] = {}
        self._vocabulary = Vocabulary()
        self._asked = -AGAIN
        self._reading = False
        self._due = False
        self.sum = ""
        """What the runs in sight, or the marked ones, cost together, as summed up last."""

    # ---- kept between starts -------------------------------------------------------------------------

    def load(self, kept: object) -> None:
        """Takes what the settings hold; what makes no sense there is left out."""
        known = kept if isinstance(kept, dict) else {}
        self.wanted = [name for name in _texts(known.get("add")) if len(name) < 200][:MOST]
        own = {column.name for column in COLUMNS}
        self.hidden = {name for name in _texts(known.get("hide")) if name in own and name not in ALWAYS}
        if self.hidden:
            self.table.choose((), self.hidden)

    def kept(self) -> dict[str, Any]:
        """What is to be kept for the next start."""
        return {"add": list(self.wanted), "hide": sorted(self.hidden)}

    # ---- what is shown -------------------------------------------------------------------------------

    @property
    def shown(self) -> set[str]:
        """The names of all columns that are chosen, the table's own among them."""
        return {*self.wanted, *(column.name for column in COLUMNS if column.name not in self.hidden)}

    @property
    def missing(self) -> list[str]:
        """Names that are wanted and that no run had when they were looked for last."""
        return [name for name in self.wanted if name not in self._known]

    @property
    def unasked(self) -> bool:
        """Whether columns are wanted that were never looked for."""
        return bool(self.missing) and self._asked < 0

    def _resolve(self, names: Sequence[str], vocabulary: Vocabulary) -> None:
        """Finds columns, once some run has what they tell."""
        for name in names:
            try:
                self._known[name] = column_called(name, vocabulary, self.facts)
            except UserError:
                continue  # of runs that are not read yet, or gone: it comes back with them
        if any(name in self._known for name in names):
            self._choose()

    def _choose(self) -> None:
        self.table.choose([self._known[name] for name in self.wanted if name in self._known], self.hidden)

    def toggle(self, name: str) -> set[str]:
        """Shows a column that was offered, or hides it; returns what is shown then.

        Raises `UserError` for too many.
        """
        if name in self.wanted:
            self.wanted.remove(name)
            if self.table.wanted_order[0] == name:
                self.table.pending = None
        elif any(column.name == name for column in COLUMNS):
            self.hidden ^= {name}
        elif len(self.wanted) >= MOST:
            raise UserError(f"{MOST} columns are chosen already", "hide one first")
        else:
            self._known[name] = column_called(name, self._vocabulary, self.facts)
            self.wanted.append(name)
        self._choose()
        return self.shown

    def offers(self, rows: Sequence[RunRow], here: RunRow | None) -> list[Offer]:
        """Every column that can be shown, with what it tells of the run `here`: chosen ones first."""
        from tui.screens.column_dialog import Offer

        vocabulary = self._vocabulary = Vocabulary(rows)
        own = {column.name: column.title for column in COLUMNS if column.name not in ALWAYS}
        names = [name for name in names_offered(rows, self.facts) if name not in own]
        found = []
        for name in dict.fromkeys([*self.wanted, *names]):
            try:
                column = column_called(name, vocabulary, self.facts)
            except UserError:
                found.append(Offer(name, "no run has it"))
                continue
            found.append(Offer(name, kind_of(name), column.text(here) if here is not None else ""))
        return [*found, *(Offer(name, "built in", title=title) for name, title in own.items())]

    # ---- what has to be read -------------------------------------------------------------------------

    @property
    def metrics(self) -> set[str]:
        """The metrics whose best has to be read."""
        return {column.metric for column in self.table.extra if column.metric}

    async def read(self, room: Room, summed: Callable[[], Sequence[RunRow]]) -> bool:
        """Reads what the columns need, and sums up what the runs cost that `summed` gives, all in threads.

        False where that is under way already: it is done once more then.
        """
        self._due = True
        if self._reading:
            return False
        self._reading = True
        try:
            while self._due:
                self._due = False
                await self._read(room, summed())
        finally:
            self._reading = False
        return True

    async def _read(self, room: Room, summed: Sequence[RunRow]) -> None:
        rows, names = list(room.rows), self.missing
        if names and rows and time.monotonic() - self._asked > AGAIN:
            self._asked = time.monotonic()
            self._resolve(names, await asyncio.to_thread(Vocabulary, rows))
        metrics = self.metrics
        resumed = self.facts.priced and any(run.attempt > 1 for run in rows)
        if (metrics or resumed) and await asyncio.to_thread(self.facts.fill, room.store, rows, metrics):
            self.table.view.forget()
            self.table.rearrange()
        self.sum = await asyncio.to_thread(self._total, list(summed)) if self.facts.priced else ""

    def _total(self, runs: Sequence[RunRow]) -> str:
        now = time.time()
        return total(self.facts.cost(run, now) for run in runs)


def kind_of(name: str) -> str:
    """What a column is of, in a word."""
    if name.startswith(OPTION):
        return "option"
    if name.startswith(BEST):
        return "best"
    return "metric" if "/" in name else "figure" if name in FIGURES else "result"


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
