"""Evals: tables of scores. Tasks down, evaluated checkpoints across, published models at the end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.text import amount, sanitize
from tui.data.evals import board
from tui.data.evals.board import TABLES, Board, kind_of
from tui.data.evals.reading import EvaluationReader
from tui.data.evals.scores import categories, kept_rows, score_rows
from tui.keymap import with_keys
from tui.keys import bindings
from tui.screens.evals import load
from tui.screens.evals.open_actions import OpenActions
from tui.screens.word_filter import WordFilter
from tui.widgets.evals.score_table import Heading, ScoreTable
from tui.widgets.pane_tabs import PaneTabs
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.runs import Change
    from remote.store.evaluations import Evaluation, Kind
    from tui.data.evals.scores import ScoreRow

SETTING = "evals"
LOOK_SECONDS = 60.0
"""Hosts are asked again when the screen is shown so long after it asked them last."""
PAUSE, LONGEST_PAUSE = 4, 5.0
"""While news come, this many times as long as a reading took is waited until the next; seconds at most."""
EMPTY: dict[Kind, str] = {
    "core": "no CORE evaluation yet: {evals.evaluate} evaluates a checkpoint",
    "chat": "no chat evaluation yet: {evals.evaluate} evaluates a checkpoint",
    "bpb": "no bits per byte yet: {evals.evaluate} evaluates a checkpoint",
    "tokenizer": "no tokenizer has been evaluated yet: {evals.evaluate} evaluates one",
}

UNITS: dict[Kind, str] = {"bpb": "lower is better", "tokenizer": ""}


class EvalsScreen(OpenActions, WordFilter):
    """The evaluations of every host, one table for each kind."""

    tab = "evals"
    groups = ("evals", "scores", "table")
    about = (
        "Every evaluation of every host: tasks down, checkpoints across. {evals.next_table} goes from CORE "
        "to chat tasks, bits per byte and tokenizers. {evals.value} shows accuracies, or centered ones, "
        "where guessing is 0. Of what was evaluated with the same settings the newest step is a column; "
        "{evals.columns} chooses others. {evals.open} opens the items behind a cell, {evals.difference} "
        "compares two evaluations on the same items, {evals.curve} draws scores over steps or FLOPs, "
        "{evals.evaluate} evaluates a checkpoint."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("evals")
    AUTO_FOCUS = "#scores"
    pace = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.tabs = PaneTabs([*TABLES], id="evals-tabs", next_key="evals.next_table")
        self.table = ScoreTable(unicode=self.room.unicode, id="scores")
        self.note = Static(id="evals-note", markup=False)
        self.search.placeholder = "words of a task or a category"
        self.kind: Kind = "core"
        self.category = ""
        self.board = Board()
        self.reader = EvaluationReader()
        self.failed: dict[str, str] = {}
        """Hosts that could not be asked, with the reason."""
        self.unread: dict[str, str] = {}
        """Hosts with files of results that cannot be read, a line each."""
        self._headings: list[Heading] = []
        self._rows: list[ScoreRow] = []
        self._is_reading = False
        self._is_due = False
        self._looked = time.monotonic()
        self._is_read = False
        self._is_chosen = False

    def body(self) -> Iterable[Widget]:
        yield self.tabs
        yield self.table
        yield self.note
        yield self.search

    def on_mount(self) -> None:
        kept = self.room.setting(SETTING)
        if isinstance(kept, dict):
            self.kind = kind_of(kept.get("table")) or "core"
            self._is_chosen = True
            self.table.how = "accuracy" if kept.get("how") == "accuracy" else "centered"
            self.table.unfolded = ("MMLU",) if kept.get("unfolded") is True else ()
            self.board.restore(kept.get("columns"))
        self.tabs.show(self.kind)
        self.table.empty = "reading the evaluations …"
        self._look_everywhere()

    def remember(self) -> None:
        """Keeps how the tables are looked at for the next start."""
        kept = {
            "table": self.kind,
            "how": self.table.how,
            "unfolded": bool(self.table.unfolded),
            "columns": self.board.document(),
        }
        if kept != self.room.setting(SETTING):
            self.room.remember(SETTING, kept)

    # ---- data ----------------------------------------------------------------------------------------

    def _look_everywhere(self) -> None:
        """Asks every host: what ran there is known from its events, what else lies there is not."""
        self._looked = time.monotonic()
        for host in self.room.hosts:
            self.run_worker(self._look(host.name), group="look")

    async def _look(self, host: str) -> None:
        """Asks a host what has been evaluated there; the others do not wait for it."""
        try:
            await self.room.fleet.evaluations.refresh(host)
            listed = await asyncio.to_thread(self.room.store.listed, host)
            self.failed.pop(host, None)
            self.unread[host] = "" if listed is None else board.unread(listed)
        except UserError as error:
            self.failed[host] = str(error)
        if self._is_read:
            self.show_note()
        self._read()

    def changed(self, changes: frozenset[Change]) -> None:
        if self.room.frozen:
            return
        self._read()
        if not changes and time.monotonic() - self._looked > LOOK_SECONDS:  # it is shown again
            self._look_everywhere()

    def tick(self) -> None:
        if not self.failed or self.room.frozen:
            return
        up = [
            name for name in self.failed if name in self.room.links and self.room.links[name].status == "up"
        ]
        for name in up:  # it could not be asked before: its link has come back
            del self.failed[name]
            self.run_worker(self._look(name), group="look")

    def _read(self) -> None:
        """Reads once more when a reading is under way: what comes meanwhile may be the last."""
        self._is_due = True
        if not self._is_reading:
            self._is_reading = True
            self.run_worker(self._read_on(), group="read")

    async def _read_on(self) -> None:
        try:
            while self._is_due:
                self._is_due = False
                began = time.monotonic()
                is_new = await asyncio.to_thread(self.reader.read, self.room.store)
                took = time.monotonic() - began
                if is_new or not self._is_read:
                    if not self._is_chosen:
                        self._first_table()
                    if not self._is_read:
                        self.call_after_refresh(self._load_ahead)
                    self._is_read = True
                    self.show_table()
                if self._is_due:  # with thousands of evaluations reading takes long: not all of the time
                    await asyncio.sleep(min(PAUSE * took, LONGEST_PAUSE))
        finally:
            self._is_reading = False

    def _load_ahead(self) -> None:
        self.run_worker(asyncio.to_thread(load), group="load")

    def _first_table(self) -> None:
        """Until a table was chosen once: the first that has something."""
        kinds = {one.kind for one in self.evaluations}
        self.kind = next((kind for kind, _ in TABLES if kind in kinds), self.kind)
        self.tabs.show(self.kind)

    @property
    def evaluations(self) -> list[Evaluation]:
        """Every evaluation, as last read."""
        return self.reader.evaluations

    @property
    def columns(self) -> list[Evaluation]:
        """The evaluations that are columns of the table in front."""
        return self.board.columns(self.evaluations, self.kind)

    # ---- the table -----------------------------------------------------------------------------------

    def show_table(self) -> None:
        """Shows the table of the kind in front."""
        columns = self.columns
        hosts = board.hosts_of(columns)
        self._headings = [
            Heading(one.id, board.title(one), *board.note(one, hosts, columns), sort_down=self.kind != "bpb")
            for one in columns
        ]
        self._rows = score_rows(self.kind, columns)
        self.table.unit = self.table.how if self.kind in ("core", "chat") else UNITS[self.kind]
        counts = Counter(one.kind for one in self.evaluations)
        self.tabs.set_panes([(kind, f"{title} {counts[kind]}") for kind, title in TABLES])
        self.show_filtered()
        self.show_note()

    def show_filtered(self) -> None:
        """Shows what the filter and the category keep of the rows."""
        rows = kept_rows(self._rows, self.search.value, self.category)
        self.table.empty = self._empty()
        self.table.show_scores(rows, self._headings)
        self._show_title(len(rows))

    def _empty(self) -> str:
        if not self._is_read:
            return "reading the evaluations …"
        if self._rows:
            return "no task matches: esc takes the filter away"
        return with_keys(EMPTY[self.kind], self.room.keymap)

    def _show_title(self, rows: int) -> None:
        title = dict(TABLES)[self.kind]
        parts = [title, amount(len(self.table.headings), "evaluation")]
        if self.kind in ("core", "chat"):
            parts.append(self.table.how)
        if rows != len(self._rows):
            parts.append(f"{rows} of {len(self._rows)} rows")
        if self.category:
            parts.append(f"only {self.category}")
        self.table.border_title = Content(" · ".join(parts))

    def show_note(self) -> None:
        """What is told of the column under the cursor, and what lies out of sight."""
        left, right = self.table.hidden
        more = [f"‹ {left} more" if left else "", f"{right} more ›" if right else ""]
        self.table.border_subtitle = Content(" · ".join(part for part in more if part))
        one = self.evaluation_here()
        lines = [] if one is None else [board.about(one, time.time())]
        lines += [f"✗ {host}: {sanitize(line, 200)}" for host, line in self.failed.items()]
        lines += [f"! {host}: {sanitize(line, 200)}" for host, line in self.unread.items() if line]
        self.note.update("\n".join(f" {line}" for line in lines))

    def evaluation_here(self) -> Evaluation | None:
        """The evaluation whose column the cursor is on."""
        here = self.table.heading
        return next((one for one in self.evaluations if here and one.id == here.evaluation), None)

    def on_score_table_moved(self) -> None:
        self.show_note()

    def on_resize(self) -> None:
        self.call_after_refresh(self.show_note)

    def on_virtual_table_arranged(self) -> None:
        self.show_note()

    def on_virtual_table_selected(self, event: VirtualTable.Selected) -> None:
        self.action_open()

    # ---- keys ----------------------------------------------------------------------------------------

    def default_focus(self) -> Widget:
        return self.table

    def on_pane_tabs_picked(self, event: PaneTabs.Picked) -> None:
        self.action_pane(event.pane)

    def action_pane(self, pane: str) -> None:
        """Shows another table."""
        kind = kind_of(pane)
        self._is_chosen = True
        if kind is not None and kind != self.kind:
            self.kind, self.category = kind, ""
            self.table.order = ""
            self.tabs.show(kind)
            self.show_table()
            self.remember()

    def action_next_table(self, by: int) -> None:
        kinds = [kind for kind, _ in TABLES]
        self.action_pane(kinds[(kinds.index(self.kind) + by) % len(kinds)])

    def action_value(self) -> None:
        if self.kind not in ("core", "chat"):
            self.room.say(f"{dict(TABLES)[self.kind]} are not centered")
            return
        self.table.how = "accuracy" if self.table.how == "centered" else "centered"
        self.show_table()
        self.remember()

    def action_fold(self) -> None:
        if not any(row.subjects for row in self._rows):
            self.room.say("there are no subjects here: those of MMLU stand in the chat table")
            return
        self.table.unfolded = () if self.table.unfolded else [row.key for row in self._rows if row.subjects]
        self.table.rearrange()
        self.remember()

    def action_sort(self) -> None:
        self.table.action_sort()

    def action_reverse(self) -> None:
        if self.table.order:
            self.table.action_reverse()
        else:
            self.room.say(with_keys("in the order of evaluation: {evals.sort} sorts", self.room.keymap))

    def action_category(self) -> None:
        known = ["", *categories(self._rows)]
        at = known.index(self.category) if self.category in known else 0
        self.category = known[(at + 1) % len(known)]
        self.show_filtered()

    def action_look(self) -> None:
        self.room.say("asking every host what it has evaluated")
        self._look_everywhere()

    # ---- filter --------------------------------------------------------------------------------------

    def is_narrowed(self) -> bool:
        return super().is_narrowed() or bool(self.category)

    def widen(self) -> None:
        self.category = ""
