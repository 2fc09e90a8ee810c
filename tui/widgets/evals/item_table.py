"""The list of an evaluation's items: drawn where it is in sight, whatever its length."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from textual.message import Message

from nanochat.common.text import sanitize
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from tui.data.evals.item_list import ItemList

RIGHT, WRONG = ("✓ right", "good"), ("✗ wrong", "bad")
NOT_JUDGED = ("– none", "muted")
MATCH = "»"
COLUMNS = (
    Column("item", "item", 8, "right", sort=lambda row: None),
    Column("task", "task", 14, rank=2, ideal=32, sort=lambda row: None),
    Column("subject", "subject", 12, rank=5, ideal=24, sort=lambda row: None),
    Column("verdict", "A", 7, sort=lambda row: None),
    Column("other", "B", 7, rank=1, sort=lambda row: None),
    Column("prediction", "chosen", 10, rank=1, grow=1, ideal=20, sort=lambda row: None),
    Column("gold", "gold", 10, rank=1, grow=1, ideal=20, sort=lambda row: None),
    Column("margin", "margin", 8, "right", rank=4, sort=lambda row: None, descending=False),
    Column("prompt", "prompt", 16, rank=2, grow=6, ideal=60),
)
ANSWERS = ("prediction", "gold")
CHOICE_WIDTH = 6
"""Of the columns of answers, where they hold the number or the letter of a choice."""
PROMPT_CHARACTERS = 400


class ItemTable(VirtualTable[int]):
    """Rows of an `ItemList`. The screen puts them into order: in a thread, as there may be very many.

    `prompts` holds the ends of the prompts in sight, as far as they have been read; `found` the rows that a
    search found.
    """

    class Scrolled(Message):
        """Other rows are in sight."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(COLUMNS, self._item, str, id=id)
        self.list: ItemList | None = None
        self._of_one_task = False
        self.prompts: dict[int, str] = {}
        self.found: Collection[int] = frozenset()

    def open(self, items: ItemList, tasks: int, names: tuple[str, str]) -> None:
        """Shows the items of a list: with the columns that tell something, of one evaluation or of two."""
        self.list = items
        self._of_one_task = tasks == 1
        self.prompts.clear()
        firsts = [items.items.task.index(task) for task in items.items.tasks()]
        told = {
            "task": tasks > 1,
            "subject": any(items.items.subject),
            "other": items.other is not None,
            "margin": any(items.items.margin[row] is not None for row in firsts),  # a task has it or has not
        }
        shown = [column for column in COLUMNS if told.get(column.name, True)]
        if items.other is None:
            shown = [
                Column("verdict", "verdict", 7, sort=column.sort) if column.name == "verdict" else column
                for column in shown
            ]
        self.columns = shown
        self.refresh()

    def _fit_answers(self, rows: Sequence[int]) -> None:
        """Leaves more room to the prompt where all answers are places of choices."""
        if self.list is None or not rows:
            return
        is_choice = self._of_one_task and self.list.items.margin[rows[0]] is not None
        fitting = {column.name: column for column in COLUMNS if column.name in ANSWERS}
        if is_choice:
            fitting = {
                name: replace(column, width=CHOICE_WIDTH, grow=0, ideal=CHOICE_WIDTH)
                for name, column in fitting.items()
            }
        self.columns = [fitting.get(column.name, column) for column in self.columns]

    def show(self, items: Sequence[int]) -> None:
        """Replaces the rows, in the order they come; the cursor stays on its item. With 100,000 of them the
        keys that any table compares would hold the loop."""
        before = self.current
        self.items = rows = list(items)
        self._fit_answers(rows)
        try:
            self.cursor = 0 if before is None else rows.index(before)
        except ValueError:
            self.cursor = max(0, min(self.cursor, len(rows) - 1))
        self._resized()
        self._reveal()
        self.refresh()
        if self.current != before:
            self.post_message(self.Highlighted(self, self.current_key))

    def rearrange(self) -> None:
        """The order is another: the screen sorts, as `Arranged` follows."""

    def action_reverse(self) -> None:
        if self.order:
            super().action_reverse()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.Scrolled())

    def _item(self, row: int) -> Mapping[str, Cell]:
        listed = self.list
        if listed is None or row >= len(listed.items):
            return {}
        items, mark = listed.items, f"{MATCH} " if row in self.found else ""
        margin = items.margin[row]
        is_right = items.correct[row]
        return {
            "item": (f"{mark}{items.index[row]}", "accent" if mark else "muted"),
            "task": (sanitize(items.task[row], 80), ""),
            "subject": (sanitize(items.subject[row], 80).replace("_", " "), "muted"),
            "verdict": RIGHT if is_right else WRONG,
            "other": _verdict(listed.other_correct(row)),
            "prediction": (sanitize(items.prediction[row], 200), "strong"),
            "gold": (sanitize(items.gold[row], 200), ""),
            "margin": ("" if margin is None else f"{margin:+.3f}", "" if is_right else "warn"),
            "prompt": (self.prompts.get(row, ""), "muted"),
        }


def _verdict(correct: bool | None) -> Cell:
    return NOT_JUDGED if correct is None else RIGHT if correct else WRONG


def prompt_end(prompt: str) -> str:
    """The end of a prompt in one line: what is asked, after the examples."""
    last = prompt.rstrip()[-4_000:].rpartition("\n\n")[2]
    return sanitize(" ".join(last.split()), PROMPT_CHARACTERS)
