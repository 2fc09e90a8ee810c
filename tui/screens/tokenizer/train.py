"""Train a tokenizer and watch it: the trainings of every host, and how far the one under the cursor is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.text import number, percent, sanitize, short, when
from remote.run_summary import progress
from tui.actions import run as run_actions
from tui.data.tokenizer import trainings
from tui.keymap import with_keys
from tui.keys import bindings
from tui.screens.base import ControlScreen
from tui.style.status import status_style
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from remote.runs import Change, RunRow
    from tui.data.tokenizer.chosen import Chosen

COLUMNS = (
    Column("status", "status", 11, sort=lambda run: run.status),
    Column("name", "name", 12, grow=1, ideal=30, sort=lambda run: run.label),
    Column("host", "host", 8, rank=3, ideal=14, sort=lambda run: run.host),
    Column("vocabulary", "vocabulary", 10, "right"),
    Column("done", "done", 5, "right", rank=1),
    Column("characters", "characters", 10, "right", rank=2),
    Column("rate", "MB/s", 7, "right", rank=2),
    Column("compression", "bytes/tok", 9, "right", rank=1),
    Column("started", "started", 12, "right", rank=4, ideal=16, sort=lambda run: -run.created_at),
)
EMPTY = "no tokenizer was trained here yet: {training.train} opens the form"
BAR = 30


class TrainScreen(ControlScreen):
    """The table of trainings above, the one under the cursor live below."""

    place = "Train"
    groups = ("training", "table")
    about = (
        "{training.train} opens the Launch form of tok_train, filled in as the training under the cursor: "
        "here or on a host. What runs is shown live: text read, merges done, MB/s. When it has ended the "
        "tokenizer can be chosen for a pane of the Tokenizer screen. {training.open} opens the run, "
        "{training.stop} stops it."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("training")
    AUTO_FOCUS = "#trainings"

    def __init__(self, chosen: Chosen) -> None:
        super().__init__()
        self.table: VirtualTable[RunRow] = VirtualTable(
            COLUMNS, self._cells, lambda run: run.key, id="trainings"
        )
        self.detail = Static(id="training-detail", markup=False)

    def body(self) -> Iterable[Widget]:
        yield self.table
        yield self.detail

    def on_mount(self) -> None:
        self.table.empty = with_keys(EMPTY, self.room.keymap)
        self.table.border_title = "trainings of tokenizers"
        self._show()

    # ---- showing -------------------------------------------------------------------------------------

    def changed(self, changes: frozenset[Change]) -> None:
        if not self.room.frozen:
            self._show()

    def tick(self) -> None:
        here = self.table.current
        if here is not None and here.live and not self.room.frozen:
            self._show_detail()

    def _show(self) -> None:
        if self.is_mounted:
            self.table.show(trainings.trainings(self.room.rows))
            self._show_detail()

    def on_virtual_table_highlighted(self) -> None:
        self._show_detail()

    def _show_detail(self) -> None:
        run = self.table.current
        if run is None:
            self.detail.border_title = ""
            self.detail.update("")
            return
        link = self.room.links.get(run.host)
        self.detail.border_title = Content(trainings.heading(run, link, time.time()))
        lines = [self._bar(one) for one in trainings.bars(run)]
        if told := trainings.outcome(run):
            style = "$success" if run.status == "succeeded" else "$error"
            lines.append(Content.styled(f"{status_style(run.status).glyph} {told}", style))
        if run.live and run.host in self.room.silent_hosts():
            lines.append(
                Content.styled("! the host is out of contact: this is what was heard last", "$warning")
            )
        self.detail.update(Content("\n").join(lines))

    def _bar(self, one: trainings.Bar) -> Content:
        label = (f"{one.label:<12}", "$muted")
        if one.share is None:
            return Content.assemble(label, one.note)
        full, rest = ("█", "░") if self.room.unicode else ("#", ".")
        size = max(10, min(BAR, self.size.width // 4))
        filled = round(size * one.share)
        bar = full * filled + rest * (size - filled)
        return Content.assemble(
            label, (bar, "$primary"), (f" {percent(one.share):>5} ", "bold"), f" {one.note}"
        )

    def _cells(self, run: RunRow) -> Mapping[str, Cell]:
        found = trainings.training(run)
        status = status_style(run.status)
        size = trainings.option(run, "vocab_size")
        return {
            "status": (f"{status.glyph} {status.word}", status.role),
            "name": (sanitize(run.label, 60), "strong"),
            "host": (sanitize(run.host, 40), "muted"),
            "vocabulary": (f"{size:,}" if isinstance(size, int) else "", ""),
            "done": (percent(progress(run)), ""),
            "characters": (short(found.chars), ""),
            "rate": (number(found.rate) if found.rate is not None else "", ""),
            "compression": ("" if found.compression is None else f"{found.compression:.3f}", ""),
            "started": (when(run.created_at, time.time()), "muted"),
        }

    # ---- keys ----------------------------------------------------------------------------------------

    def default_focus(self) -> Widget:
        return self.table

    def on_virtual_table_selected(self, event: VirtualTable.Selected) -> None:
        self.action_open()

    def _chosen(self) -> RunRow:
        run = self.table.current
        if run is None:
            raise UserError(with_keys(EMPTY, self.room.keymap))
        return run

    def action_train(self) -> None:
        run = self.table.current
        host = "" if run is None else run.host
        self.room.launch_with(host, trainings.STAGE, trainings.launch_values(run))

    def action_open(self) -> None:
        self.room.open_run(self._chosen().key)

    def action_stop(self) -> None:
        self.room.do(run_actions.stop(self.room, self._chosen()))

    def action_copy(self) -> None:
        self.room.do(run_actions.copy_command(self.room, self._chosen()))

    def action_sort(self) -> None:
        self.table.action_sort()

    def action_reverse(self) -> None:
        self.table.action_reverse()
