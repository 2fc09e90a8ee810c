"""Numbers about a corpus: those of `nanochat data stats`, measured from here and kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from nanochat.commands.data_stats_print import as_json
from nanochat.common.errors import UserError
from nanochat.common.text import sanitize, when
from nanochat.config.data_options import DataStatsOptions
from nanochat.config.options import Value
from nanochat.data.stats_document import read_stats
from tui.actions.run import copy_text
from tui.data.tokenizer import stats_lines
from tui.data.tokenizer.corpora import elsewhere
from tui.data.tokenizer.ours import own_folder
from tui.keymap import with_keys
from tui.keys import bindings
from tui.screens.tokenizer.kept_results import KeptResults

if TYPE_CHECKING:
    from nanochat.data.stats import CorpusStats
    from tui.data.tokenizer.chosen import Chosen

KIND = "data_stats"
EMPTY = (
    "nothing was measured yet: {data_stats.run} measures the shards, or files and folders, and "
    "{data_stats.open} opens what `nanochat data stats --json` wrote"
)


class DataStatsScreen(KeptResults["CorpusStats"]):
    """The tables of one result; the others by key."""

    place = "Data"
    groups = ("data_stats",)
    kind = setting = KIND
    noun = "result"
    command = ("data", "stats")
    results = stats_lines.FOLDER
    about = (
        "Documents, bytes, scripts, duplicates, lengths, and the share that a context crops, as "
        "`nanochat data stats` tells them. {data_stats.run} measures on this machine, in a process of its "
        "own that goes on when this screen is left; {data_stats.cancel} cancels it. Results are kept under "
        "the base directory: {data_stats.older} and {data_stats.newer} go through them."
    )
    BINDINGS: ClassVar[list[BindingType]] = bindings("data_stats")
    AUTO_FOCUS = "#data-stats"

    def __init__(self, chosen: Chosen) -> None:
        super().__init__()
        self.text = Static(id="data-stats-text", markup=False)
        self.box = VerticalScroll(self.text, id="data-stats")
        self._tokenizer = own_folder(chosen)

    def body(self) -> Iterable[Widget]:
        yield self.box
        yield self.line

    def on_mount(self) -> None:
        self.text.update("reading …")

    def read_result(self, path: Path) -> CorpusStats:
        return read_stats(path)

    def on_resize(self) -> None:
        self.call_after_refresh(self.show_result)

    # ---- showing -------------------------------------------------------------------------------------

    def show_result(self) -> None:
        here = self.here
        if here is None:
            self.box.border_title = "data"
            self.text.update(Content.styled(with_keys(EMPTY, self.room.keymap), "$muted"))
            return
        count = f"{self.at + 1} of {len(self.known)}"
        told = stats_lines.about(here.document)
        source = here.document.source or here.name
        self.box.border_title = Content(f"{sanitize(source, 60)} · {told} · {count}")
        self.box.border_subtitle = Content(f"{when(here.t, time.time())} · {sanitize(here.name, 40)}")
        width = max(40, self.box.scrollable_content_region.width)
        lines = stats_lines.lines(here.document, width, self.room.unicode)
        self.text.update(Content("\n").join(Content.assemble(*line) for line in lines))

    # ---- keys ----------------------------------------------------------------------------------------

    def default_focus(self) -> Widget:
        return self.box

    def action_go(self, by: int) -> None:
        before = self.at
        super().action_go(by)
        if self.at != before:
            self.box.scroll_home(animate=False)

    async def ask_options(self) -> None:
        from tui.screens.tokenizer.form_dialog import FormDialog, kept_values

        def chosen(options: object) -> None:
            if isinstance(options, DataStatsOptions):
                # Files in place of the shards that the form began with: the command takes one of the two.
                of_files = bool(options.paths) and options.data_dir == found
                self.start(replace(options, data_dir="") if of_files else options)

        is_default = self._tokenizer in (None, self.room.layout.tokenizer)
        here: dict[str, Value] = {} if is_default else {"tokenizer_dir": str(self._tokenizer)}
        found = await asyncio.to_thread(elsewhere, self.room.layout)
        first: dict[str, Value] = {"data_dir": found} if found else {}
        values = first | kept_values(DataStatsOptions, self.room.setting(KIND)) | here
        self.app.push_screen(FormDialog("measure a corpus", DataStatsOptions, values), chosen)

    def action_copy(self) -> None:
        here = self.here
        if here is None:
            raise UserError("there is no result to copy")
        self.room.do(copy_text(self.room, as_json(here.document), "the numbers as JSON"))

    def action_scroll(self, by: int) -> None:
        self.box.scroll_relative(y=by, animate=False)

    def action_page(self, by: int) -> None:
        self.box.scroll_relative(y=by * max(1, self.box.size.height - 1), animate=False)
