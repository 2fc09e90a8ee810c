"""Checkpoints: by host, stage, tag and step, with their scores, their lineage, and who uses them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.text import amount, sanitize, size_bytes, when
from remote.checkpoints.lineage import Family
from remote.checkpoints.table import Row, about, brief, family_of, rows
from tui.data.checkpoints.tree import Line, Tag, kept, lines, tag_of
from tui.keymap import with_keys
from tui.keys import bindings
from tui.screens.checkpoints.actions import CheckpointActions
from tui.widgets.checkpoints.checkpoint_table import CheckpointTable
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.runs import Change

SETTING = "checkpoints"
LOOK_SECONDS = 30.0
"""Hosts are asked again when the screen is shown so long after it asked them last."""
EMPTY = "no checkpoint yet: {app.launch} trains a model"


class CheckpointsScreen(CheckpointActions):
    """Every checkpoint of every host."""

    tab = "checkpoints"
    groups = ("checkpoints", "table")
    about = (
        "Every checkpoint of every host, by stage, tag and step; the one that a name without a step stands "
        "for is first in its tag. {checkpoints.open} tells all about one: its shape, its scores, where it "
        "came from, back to its text and its tokenizer. {checkpoints.chat} talks to it, "
        "{checkpoints.evaluate} evaluates it, {checkpoints.resume} goes on with its training, "
        "{checkpoints.next_stage} trains the next stage from it. {checkpoints.pull} copies one of "
        "another host to this machine, "
        "{checkpoints.push} to another host; a copy that was cut goes on. {checkpoints.delete} deletes it, "
        "unless it is in use: served, evaluated, exported, read or being trained."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("checkpoints")
    AUTO_FOCUS = "#checkpoints"
    pace = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.table = CheckpointTable(unicode=self.room.unicode, id="checkpoints")
        self.detail = Static(id="checkpoint-detail", markup=False)
        self.note = Static(id="checkpoints-note", markup=False)
        self.search.placeholder = "words of a name, a host, a run"
        self.rows: list[Row] = []
        self.family = Family(())
        self.folded: set[Tag] = set()
        self.failed: dict[str, str] = {}
        """Hosts that could not be asked, with the reason."""
        self.waiting: set[str] = set()
        """Hosts that have not answered yet."""
        self._looked = 0.0
        self._read_once = False

    def body(self) -> Iterable[Widget]:
        yield self.table
        yield self.detail
        yield self.note
        yield self.search

    def on_mount(self) -> None:
        known = self.room.setting(SETTING)
        folded = known.get("folded") if isinstance(known, dict) else None
        for tag in folded if isinstance(folded, list) else ():
            if isinstance(tag, list) and len(tag) == 3 and all(isinstance(word, str) for word in tag):
                self.folded.add((tag[0], tag[1], tag[2]))
        self.table.empty = "asking the hosts …"

    def remember(self) -> None:
        """Keeps which tags are folded for the next start."""
        there = {tag_of(row) for row in self.rows}
        self.room.remember(SETTING, {"folded": sorted(map(list, self.folded & there))})

    # ---- data ----------------------------------------------------------------------------------------

    def changed(self, changes: frozenset[Change]) -> None:
        if self.room.frozen:
            return
        ended = {change.host for change in changes if change.kind == "run"}
        if not changes and time.monotonic() - self._looked > LOOK_SECONDS:
            self.look_everywhere()
        elif any(change.kind == "evaluations" for change in changes):
            self.show_rows_soon()
        for host in ended & self._saving(changes):
            self.look_at(host)

    def _saving(self, changes: frozenset[Change]) -> set[str]:
        """Hosts whose runs may have saved a checkpoint: asked at most every few seconds."""
        if time.monotonic() - self._looked < LOOK_SECONDS / 3:
            return set()
        self._looked = time.monotonic()
        return {change.host for change in changes}

    def look_everywhere(self) -> None:
        """Asks every host for its checkpoints; the others do not wait for one."""
        self._looked = time.monotonic()
        for host in self.room.hosts:
            self.look_at(host.name)

    def look_at(self, host: str) -> None:
        """Asks one host, unless it is being asked."""
        if host not in self.waiting:
            self.waiting.add(host)
            self.run_worker(self._look(host), group="look")

    async def _look(self, host: str) -> None:
        try:
            await self.room.fleet.checkpoints.refresh(host)
            self.failed.pop(host, None)
        except UserError as error:
            self.failed[host] = str(error)
        finally:
            self.waiting.discard(host)
        await self._show_rows()

    def show_rows_soon(self) -> None:
        """Makes the rows again, off the loop."""
        self.run_worker(self._show_rows(), group="rows", exclusive=True)

    async def _show_rows(self) -> None:
        fleet, store = self.room.fleet, self.room.store
        order = {host.name: number for number, host in enumerate(self.room.hosts)}

        def read() -> tuple[list[Row], Family]:
            listings = sorted(fleet.checkpoints.known(), key=lambda one: order.get(one.host, len(order)))
            return rows(listings, store.evaluations()), family_of(listings)

        self.rows, self.family = await asyncio.to_thread(read)
        self._read_once = True
        there = {row.one.key for row in self.rows}
        self.table.chosen = frozenset(key for key in self.table.chosen if key in there)
        self.show_filtered()

    def tick(self) -> None:
        links = self.room.links
        for host in [name for name in self.failed if name in links and links[name].status == "up"]:
            del self.failed[host]  # it could not be asked before: its link has come back
            self.look_at(host)

    # ---- the table -----------------------------------------------------------------------------------

    def show_filtered(self) -> None:
        """Shows what the filter keeps, as a tree or in the order of a column."""
        words = self.search.value.lower().split()
        found = kept(self.rows, words)
        folded: Iterable[Tag] = () if words else self.folded
        self.table.empty = self._empty()
        self.table.show_lines(lines(found, frozenset(folded), flat=bool(self.table.order)))
        size = size_bytes(sum(row.one.bytes for row in found))
        parts = [amount(len(found), "checkpoint"), size]
        if len(found) != len(self.rows):
            parts[0] = f"{len(found)} of {amount(len(self.rows), 'checkpoint')}"
        if self.table.chosen:
            parts.append(f"{len(self.table.chosen)} marked")
        self.table.border_title = Content(" · ".join(part for part in parts if part))
        self.show_detail()

    def _empty(self) -> str:
        if not self._read_once or (self.waiting and not self.rows):
            return "asking the hosts …"
        if self.rows:
            return "no checkpoint matches: esc takes the filter away"
        return with_keys(EMPTY, self.room.keymap)

    def show_detail(self) -> None:
        """Tells of the checkpoint under the cursor, and of hosts that do not answer."""
        line = self.table.current
        told = brief(line.row, self.family) if line is not None else []
        width = max((len(heading) for heading, _ in told), default=0) + 2
        text = [f"{heading:<{width}}{sanitize(words, 400)}" for heading, words in told]
        self.detail.update(Content("\n".join(text)))
        if line is not None:
            one = line.row.one
            self.detail.border_title = Content(sanitize(f"{one.name} on {one.host}", 160))
        self.detail.display = bool(told)
        now = time.time()
        notes = []
        for host, why in self.failed.items():
            at = next((one.at for one in self.room.fleet.checkpoints.known() if one.host == host), 0.0)
            age = f" · shown as of {when(at, now)}" if at else ""
            notes.append(f" ✗ {sanitize(host, 40)}: {sanitize(why, 200)}{age}")
        notes += [f" ⇣ {told}" for told in self.copies.values()]
        self.note.update("\n".join(notes))
        self.note.display = bool(notes)

    def line_here(self) -> Line:
        """The line under the cursor. Raises `UserError` when there is none."""
        if self.table.current is None:
            raise UserError("there is no checkpoint here", with_keys(EMPTY, self.room.keymap))
        return self.table.current

    def on_virtual_table_highlighted(self) -> None:
        self.show_detail()

    def on_virtual_table_header_clicked(self, event: VirtualTable.HeaderClicked) -> None:
        self.show_filtered()

    def on_virtual_table_selected(self) -> None:
        self.action_open()

    # ---- keys ----------------------------------------------------------------------------------------

    def default_focus(self) -> Widget:
        return self.table

    def action_open(self) -> None:
        from tui.screens.checkpoints.detail import CheckpointDetail

        line = self.line_here()
        if line.steps:
            self.folded ^= {line.tag}
            self.show_filtered()
            self.remember()
            return
        self.app.push_screen(CheckpointDetail(line.row, about(line.row, self.family, time.time())))

    def action_fold(self) -> None:
        tags = {line.tag for line in lines(self.rows, (), flat=False) if line.steps}
        self.folded = set() if tags <= self.folded else tags
        self.show_filtered()
        self.remember()

    def action_sort(self) -> None:
        """The next column, and after the last the tree again."""
        self.table.action_sort()
        self.show_filtered()

    def action_reverse(self) -> None:
        if self.table.order:
            self.table.action_reverse()
        else:
            self.room.say(with_keys("by stage and tag: {checkpoints.sort} sorts", self.room.keymap))

    def action_look(self) -> None:
        self.room.say("asking every host for its checkpoints")
        self.look_everywhere()

    def is_narrowed(self) -> bool:
        return super().is_narrowed() or bool(self.table.chosen)

    def widen(self) -> None:
        self.table.chosen = frozenset()
