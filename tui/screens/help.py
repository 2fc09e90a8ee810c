"""Help: what the screen is for, and every key that works on it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.keymap import hint, keys_text, with_keys
from tui.keys import KEYS
from tui.screens.base import Dialog

TITLES = {
    "app": "Everywhere",
    "runs": "Runs",
    "run": "Run",
    "log": "Log",
    "alerts": "Alerts",
    "hosts": "Hosts",
    "launch": "Launch",
    "plan": "Run a plan",
    "welcome": "First use",
    "compare": "Compare",
    "panes": "Panes",
    "plot": "The focused plot",
    "samples": "Samples",
    "sample": "A sample",
    "report": "A report",
    "gpus": "GPUs",
    "table": "Tables",
    "columns": "Sort by a column",
    "host_columns": "Sort by a column",
    "filter": "The filter",
    "plots": "Plots",
    "chat": "Chat",
    "question": "The question",
    "transcript": "The turns of a pane",
    "lines": "Text",
    "diff": "Difference",
    "prompts": "A set of prompts",
    "evals": "Evals",
    "checkpoints": "Checkpoints",
    "scores": "Scores",
    "items": "Items",
    "item": "An item",
    "paired": "Difference",
    "curve": "Curves of scores",
    "mask": "The mask of a conversation",
    "training": "Train a tokenizer",
    "sweep": "Sweep over vocabulary sizes",
    "data_stats": "Numbers about the data",
    "tokenizer": "Tokenizer",
    "vocabulary": "Vocabulary",
    "token": "A token",
    "heat": "Compression",
    "vocabularies": "Compare tokenizers",
    "text": "The text",
    "split": "The tokens of a pane",
    "replay": "Replay of merges",
}

WIDTH, BORDER = 92, 7
"""Columns of the dialog at most, and how many of them are border, padding and scroll bar."""


class Help(Dialog[None]):
    """The keys of `groups` and those that work everywhere, with the keymap applied."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace,alt+escape,question_mark,q", "dismiss", "close", show=False)
    ]

    def __init__(self, about: str, groups: Iterable[str], keymap: dict[str, str]) -> None:
        super().__init__()
        self._about = about
        self._groups = [*groups, "app"]
        self._keymap = keymap

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog help") as box:
            box.border_title = "help"
            box.border_subtitle = Content(
                f"esc closes · {hint('app.palette', self._keymap)} every action by name"
            )
            yield Static(Content(with_keys(self._about, self._keymap)), classes="about")
            yield Static(self._list())  # one widget: two hundred of them would take half a second to mount

    def _list(self) -> Content:
        """Every group's title, then its keys, a help text that is too wide folded under itself."""
        rows = {
            group: [(keys_text(key, self._keymap), key.help) for key in KEYS[group]] for group in self._groups
        }
        width = max(cell_len(keys) for keys_and_help in rows.values() for keys, _ in keys_and_help)
        room = max(20, min(WIDTH, int(self.app.size.width * 0.96)) - BORDER - width - 4)
        lines: list[Content] = []
        for group, keys_and_help in rows.items():
            lines += [Content(""), Content.styled(TITLES[group], "bold $primary")]
            for keys, text in keys_and_help:
                folded = f"\n{' ' * (width + 4)}".join(textwrap.wrap(text, room))
                pad = " " * (width - cell_len(keys))
                lines.append(Content.assemble((f"  {keys}{pad}  ", "bold $accent"), folded))
        return Content("\n").join(lines[1:])
