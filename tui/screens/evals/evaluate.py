"""Which checkpoint is to be evaluated: any of any host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical

from tui.data.chat.target import CheckpointTarget
from tui.screens.chat.picker import ModelPicker

if TYPE_CHECKING:
    from tui.room import Room


class CheckpointPicker(ModelPicker):
    """Returns a checkpoint; `typed` stands in the field at first. None when it is cancelled."""

    def __init__(self, room: Room, typed: str = "") -> None:
        super().__init__(room)
        self.search.placeholder = "base d20 · box:sft/d20@650"
        self.search.value = typed

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog picker") as box:
            box.border_title = "evaluate a checkpoint"
            box.border_subtitle = "⏎ its Launch form, filled in · ↑ ↓ · type to find · esc"
            yield self.search
            yield self.table
            yield self._note

    def on_mount(self) -> None:
        super().on_mount()
        self.find(self.search.value.lower().split())

    def choose(self) -> None:
        choice = self.table.current
        if choice is not None and not isinstance(choice.target, CheckpointTarget):
            self.search.border_subtitle = "an address has no files to evaluate"
            return
        super().choose()
