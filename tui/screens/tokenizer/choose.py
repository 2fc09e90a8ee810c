"""A dialog that chooses one thing from a list of any kind: a tokenizer, a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content

from nanochat.common.text import sanitize
from tui.screens.find_dialog import FindDialog
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

COLUMNS = (
    Column("name", "name", 20, grow=1, ideal=30),
    Column("group", "", 10, rank=2),
    Column("about", "", 20, grow=2, rank=1, ideal=50),
)


@dataclass(frozen=True)
class Choice:
    """A line: its key, its name, and what is to be known of it."""

    key: str
    name: str
    about: str = ""
    group: str = ""


class Choose(FindDialog[str | None]):
    """Returns the key of a choice; None when it is cancelled."""

    def __init__(self, title: str, choices: Sequence[Choice]) -> None:
        table: VirtualTable[Choice] = VirtualTable(
            COLUMNS if any(one.group for one in choices) else (COLUMNS[0], COLUMNS[2]),
            _cells,
            lambda one: one.key,
            empty="nothing of that name",
        )
        super().__init__(table, "words of its name")
        self._title = title
        self._choices = list(choices)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog picker") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "⏎ choose · ↑ ↓ · type to find · esc"
            yield self.search
            yield self.table

    def find(self, words: list[str]) -> None:
        def text(one: Choice) -> str:
            return f"{one.name} {one.about} {one.group}".lower()

        self.table.show([one for one in self._choices if all(word in text(one) for word in words)])

    def choose(self) -> None:
        if self.table.current is not None:
            self.dismiss(self.table.current_key)


def _cells(one: Choice) -> Mapping[str, Cell]:
    return {
        "name": (sanitize(one.name, 100), "strong"),
        "group": (sanitize(one.group, 30), "muted"),
        "about": (sanitize(one.about, 200), "muted"),
    }
