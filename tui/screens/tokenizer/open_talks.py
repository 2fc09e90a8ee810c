"""Which conversations are to be shown: the samples, the items of a task, or what is typed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from textual.app import ComposeResult
from textual.containers import Vertical

from nanochat.common.paths import Layout
from nanochat.common.text import sanitize
from nanochat.config.chat_options import ChatSftOptions
from tui.screens.find_dialog import FindDialog
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

COLUMNS = (Column("name", "name", 16, ideal=20), Column("about", "", 30, grow=1))
Row = tuple[str, str, str]
"""What is typed for it, its name, and what it is."""
SAMPLES: Row = ("samples", "samples", "built-in conversations")
TYPED = "⏎ opens what is typed: the path of a file of JSON, or a mixture such as SmolTalk/test:100,GSM8K"


class OpenTalks(FindDialog[str | None]):
    """Returns what `talks.opened` takes; None when it is cancelled."""

    def __init__(self, layout: Layout) -> None:
        table: VirtualTable[Row] = VirtualTable(COLUMNS, _cells, lambda row: row[0], empty=TYPED)
        super().__init__(table, "a task, a mixture, the path of a file")
        self._layout = layout
        self._rows: list[Row] = [SAMPLES]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog picker") as box:
            box.border_title = "open conversations"
            box.border_subtitle = "⏎ open · ↑ ↓ · type to find, or a path · esc"
            yield self.search
            yield self.table

    def on_mount(self) -> None:
        super().on_mount()
        self.run_worker(self._read(), group="tasks")

    async def _read(self) -> None:
        """Lists the tasks: finding them imports their modules."""
        self._rows = [SAMPLES, *await asyncio.to_thread(_tasks, self._layout)]
        self.find(self.search.value.lower().split())

    def find(self, words: list[str]) -> None:
        found = [row for row in self._rows if all(word in " ".join(row).lower() for word in words)]
        if words:  # those that are called so come first
            found.sort(key=lambda row: not row[1].lower().startswith(words[0]))
        self.table.show(found)
        self.table.action_first()

    def choose(self) -> None:
        typed = self.search.value.strip()
        row = self.table.current
        self.dismiss(typed if row is None else row[0])


def _tasks(layout: Layout) -> list[Row]:
    """What the stages train on unless they are told other tasks, then every task."""
    from nanochat.tasks import stage_mixtures
    from nanochat.tasks.customjson import DEFAULT_NAME
    from nanochat.tasks.registry import task_specs

    identity = "CustomJSON" if (layout.base / DEFAULT_NAME).is_file() else "Identity"
    usual = ChatSftOptions()
    mixtures = {
        "chat_sft": stage_mixtures.chat_sft(usual.mmlu_epochs, usual.gsm8k_epochs),
        "mid_train": stage_mixtures.mid_train(identity),
    }
    return [
        *((",".join(parts), name, f"its mixture: {', '.join(parts)}") for name, parts in mixtures.items()),
        *(
            (spec.name, spec.name, f"{spec.summary} ({', '.join(spec.splits)})")
            for spec in task_specs().values()
        ),
    ]


def _cells(row: Row) -> Mapping[str, Cell]:
    return {"name": (sanitize(row[1], 60), "strong"), "about": (sanitize(row[2], 200), "muted")}
