"""The items of one evaluation, or of two beside each other, as rows of a list: which, in which order, found
how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nanochat.evals.items import Items

Only = Literal["all", "wrong", "right", "differing"]
ONLY: tuple[Only, ...] = ("all", "wrong", "right")
ONLY_OF_TWO: tuple[Only, ...] = ("all", "differing", "wrong", "right")
"""What can be kept, in the order of the key. Wrong and right are the first evaluation's."""
SLICE = 2_000
"""Items that are searched before the loop is looked at again."""


@dataclass(frozen=True)
class Wanted:
    """Which items are listed: of one task or of all (""), of one subject or of all."""

    task: str = ""
    subject: str = ""
    only: Only = "all"
    order: str = ""
    descending: bool = False


@dataclass
class ItemList:
    """Items of an evaluation; with `other`, those of a second one, `partner` being its row for a row of the
    first where both judged the same item."""

    items: Items
    other: Items | None = None
    partner: Mapping[int, int] = field(default_factory=dict)

    def rows(self, wanted: Wanted) -> list[int]:
        """The rows that are listed, in order. Some 0.1 s for 100,000 items: call it in a thread."""
        items = self.items
        rows: list[int] = [
            row
            for row in range(len(items))
            if (not wanted.task or items.task[row] == wanted.task)
            and (not wanted.subject or items.subject[row] == wanted.subject)
            and self._is_kept(row, wanted.only)
        ]
        value = self._sort_value(wanted.order)
        if value is None:  # the file has them as they were evaluated: batch by batch
            place = {task: at for at, task in enumerate(items.tasks())}
            return sorted(rows, key=lambda row: (place[items.task[row]], items.index[row]))
        known = [row for row in rows if value(row) is not None]
        unknown = [row for row in rows if value(row) is None]
        known.sort(key=value, reverse=wanted.descending)  # type: ignore[arg-type]
        return [*known, *unknown]

    def _is_kept(self, row: int, only: Only) -> bool:
        if only == "all":
            return True
        if only == "differing":
            return self.differs(row)
        return self.items.correct[row] == (only == "right")

    def differs(self, row: int) -> bool:
        """Whether exactly one of the two evaluations has the item right."""
        other = self.other_correct(row)
        return other is not None and other != self.items.correct[row]

    def other_correct(self, row: int) -> bool | None:
        """Whether the second evaluation has the item right; None where it did not judge it."""
        at = self.partner.get(row)
        return None if at is None or self.other is None else self.other.correct[at]

    def other_row(self, row: int) -> int | None:
        """The row of the second evaluation that is the same item."""
        return self.partner.get(row)

    def prompt(self, row: int) -> str:
        """The prompt of an item, read from the file; of a damaged record that it is damaged.

        Raises `UserError` when the file is gone or another one.
        """
        from nanochat.evals.items import DamagedRecordError

        try:
            return self.items.record(row).prompt
        except DamagedRecordError:
            return "✗ the record is damaged"

    def _sort_value(self, order: str) -> Callable[[int], float | str | bool | None] | None:
        items = self.items
        columns: dict[str, Callable[[int], float | str | bool | None]] = {
            "item": lambda row: items.index[row],
            "task": lambda row: items.task[row],
            "subject": lambda row: items.subject[row],
            "verdict": lambda row: items.correct[row],
            "other": self.other_correct,
            "prediction": lambda row: items.prediction[row],
            "gold": lambda row: items.gold[row],
            "margin": lambda row: items.margin[row],
        }
        return columns.get(order)


@dataclass
class Search:
    """A search through all items, slice by slice: `step` in a thread until `is_done`."""

    items: Items
    text: str
    found: set[int] = field(default_factory=set)
    next: int = 0

    @property
    def is_done(self) -> bool:
        return self.next >= len(self.items)

    @property
    def share(self) -> float:
        """The fraction that has been searched."""
        return self.next / len(self.items) if len(self.items) else 1.0

    def step(self) -> None:
        """Searches the next slice. Raises `UserError` when the file is gone or another one."""
        rows, self.next = self.items.search(self.text, self.next, SLICE)
        self.found.update(rows)


def next_row(rows: Sequence[int], at: int, by: int, is_match: Callable[[int], bool]) -> int | None:
    """The place in `rows` of the first match after place `at`, or before it with `by` < 0; round at the ends,
    to `at` itself at last. None without a match."""
    step = 1 if by > 0 else -1
    around = ((at + step * far) % len(rows) for far in range(1, len(rows) + 1))
    return next((place for place in around if is_match(rows[place])), None)
