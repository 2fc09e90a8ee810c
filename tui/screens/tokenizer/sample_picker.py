"""The samples, and the text that was there before one was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical

from nanochat.common.text import sanitize
from tui.data.tokenizer.samples import SAMPLES
from tui.screens.find_dialog import FindDialog
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

COLUMNS = (Column("name", "sample", 10, ideal=10), Column("text", "begins", 20, grow=1, ideal=80))


@dataclass(frozen=True)
class Sample:
    """A text by name."""

    name: str
    text: str


class SamplePicker(FindDialog[Sample | None]):
    """Returns a sample, or the text written before, when it is given; None when it is cancelled."""

    def __init__(self, written: str = "") -> None:
        table: VirtualTable[Sample] = VirtualTable(
            COLUMNS, self._cells, lambda sample: sample.name, empty="no sample of that name"
        )
        super().__init__(table, "words of a sample")
        self._samples = [Sample(name, text) for name, text in SAMPLES.items()]
        if written:
            self._samples.append(Sample("your text", written))

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog picker") as box:
            box.border_title = "sample texts"
            box.border_subtitle = "⏎ choose · ↑ ↓ · esc"
            yield self.search
            yield self.table

    def find(self, words: list[str]) -> None:
        found = [
            one for one in self._samples if all(word in f"{one.name} {one.text}".lower() for word in words)
        ]
        self.table.show(found)

    def _cells(self, sample: Sample) -> Mapping[str, Cell]:
        return {
            "name": (sample.name, "strong"),
            "text": (sanitize(sample.text.replace("\n", " "), 160), "muted"),
        }

    def choose(self) -> None:
        if self.table.current is not None:
            self.dismiss(self.table.current)
