"""Scores: tasks down, evaluations across, with a cursor on one cell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.strip import Strip

from tui.data.evals.scores import How, Score, ScoreRow, in_order
from tui.keys import bindings
from tui.widgets.columns import GAP, Cell, Column, Placed, fit
from tui.widgets.evals.score_cells import BAR, NARROWEST, WIDEST_BAR, score_pieces
from tui.widgets.table import CURSOR, VirtualTable

TASK_WIDTH, CATEGORY_WIDTH = 20, 22
LONGEST_TASK = 32
"""`bigbench_language_identification`."""
CELL_WIDTH = NARROWEST + 1 + 1 + BAR
"""A cell with a sign, its standard error and the shortest bar."""
WIDEST_CELL = NARROWEST + 2 + WIDEST_BAR
ROOM_FOR_CATEGORY = 130
"""Columns of the table from which on the categories are shown."""
STEP_CELLS = 9
"""Of a name that is too long, this much of its step at most is kept."""
FOLDED, UNFOLDED = "▸", "▾"


@dataclass(frozen=True)
class Heading:
    """An evaluation as a column: its id, its name, and a line about it with the role of its colour."""

    evaluation: int
    title: str
    note: str = ""
    role: str = "muted"
    sort_down: bool = True
    """Whether the first press sorts the highest to the top."""


def shortened(name: str, width: int) -> str:
    """A checkpoint's name in at most `width` cells: its step stays, which tells it from others."""
    if cell_len(name) <= width:
        return name
    folder, at, step = name.rpartition("@")
    if not at or len(step) > STEP_CELLS or width < len(step) + 5:
        return fit(name, width).rstrip()
    return fit(folder, width - len(step) - 1).rstrip() + at + step


class ScoreTable(VirtualTable[ScoreRow]):
    """The task's name stays in sight; the evaluations that do not fit come into sight as the cursor goes
    there. `how` says which value is shown, `unfolded` which tasks show their subjects."""

    HEADER_LINES: ClassVar[int] = 2
    BINDINGS = bindings("scores")

    class Moved(Message):
        """The cursor is on another column."""

    def __init__(self, *, unicode: bool = True, id: str | None = None) -> None:
        super().__init__((), self._no_cells, lambda row: row.key, id=id)
        self.unicode = unicode
        self.headings: list[Heading] = []
        self.how: How = "centered"
        self.unit = ""
        """What the figures are, in a word below the title of the first column."""
        self.unfolded: Collection[str] = ()
        self.at = 0
        """The column that the cursor is on."""
        self._first = 0
        self._best: dict[str, float] = {}

    def _no_cells(self, row: ScoreRow) -> Mapping[str, Cell]:
        return {}

    # ---- what is shown -------------------------------------------------------------------------------

    def show_scores(self, rows: Sequence[ScoreRow], headings: Sequence[Heading]) -> None:
        """Shows these rows and columns; the cursor stays on its task and its evaluation."""
        here = self.heading
        if list(headings) != self.headings:
            self.headings = list(headings)
            ids = [heading.evaluation for heading in headings]
            if here is not None and here.evaluation in ids:
                self.at = ids.index(here.evaluation)
            self.at = max(0, min(self.at, len(ids) - 1))
            self.columns = [  # `in_order` sorts: here it only is said that one can sort by them
                Column("task", "task", TASK_WIDTH, sort=lambda row: (0, row.title), frozen=True),
                Column("category", "category", CATEGORY_WIDTH, sort=lambda row: (0, row.category)),
                *(
                    Column(
                        str(heading.evaluation),
                        heading.title,
                        CELL_WIDTH,
                        sort=lambda row: None,
                        descending=heading.sort_down,
                    )
                    for heading in headings
                ),
            ]
            if self.order and self._column(self.order) is None:
                self.order = ""
        self._best = {row.key: best for row in rows if (best := self._best_of(row)) is not None}
        self.show(rows)
        self.refresh()

    def _best_of(self, row: ScoreRow) -> float | None:
        """The highest value of a row with several, where higher is better."""
        values = [
            score.value
            for heading in self.headings
            if (score := row.score(heading.evaluation, self.how)) is not None
        ]
        return max(values) if len(values) > 1 and row.has_bar else None

    def in_order(self, items: Sequence[ScoreRow]) -> list[ScoreRow]:
        shown = [row for row in items if not row.parent or row.parent in self.unfolded]
        return in_order(shown, self.order, self.descending, self.how)

    @property
    def heading(self) -> Heading | None:
        """The column under the cursor."""
        return self.headings[self.at] if 0 <= self.at < len(self.headings) else None

    # ---- cursor --------------------------------------------------------------------------------------

    def action_column(self, by: int) -> None:
        self.move_to_column(self.at + by)

    def action_columns(self, by: int) -> None:
        self.action_column(by)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return True

    def move_to_column(self, at: int) -> None:
        """Puts the cursor on a column."""
        at = max(0, min(at, len(self.headings) - 1))
        if at != self.at and self.headings:
            self.at = at
            self.refresh()
            self.post_message(self.Moved())

    def action_sort(self) -> None:
        """By the task's name, by category, by the column under the cursor, or as evaluated."""
        here = "" if self.heading is None else str(self.heading.evaluation)
        orders = ["", "task", "category", *([here] if here else [])]
        at = orders.index(self.order) if self.order in orders else -1
        self._sort_by(orders[(at + 1) % len(orders)])

    def action_sort_by(self, name: str) -> None:
        if name == self.order:
            self.action_reverse()
        else:
            self._sort_by(name)

    def _sort_by(self, name: str) -> None:
        if name:
            self.set_order(name)
            return
        self.order = ""
        self.rearrange()
        self.post_message(self.Arranged(self))

    # ---- drawing -------------------------------------------------------------------------------------

    def _placed(self) -> Placed:
        """The task, the category where there is room, and the evaluations around the cursor."""
        width = self._inner_width
        fixed = [(self.columns[0], TASK_WIDTH)] if self.columns else []
        if width >= ROOM_FOR_CATEGORY and fixed:
            fixed.append((self.columns[1], CATEGORY_WIDTH))
        left = width - sum(size for _, size in fixed) - GAP * (len(fixed) - 1)
        count = max(1, min(len(self.headings), left // (CELL_WIDTH + GAP)))
        self._first = max(min(self._first, self.at), self.at - count + 1, 0)
        self._first = min(self._first, max(0, len(self.headings) - count))
        left -= count * (CELL_WIDTH + GAP)
        if fixed:
            longer = max(0, min(LONGEST_TASK - TASK_WIDTH, left))
            fixed[0] = (fixed[0][0], TASK_WIDTH + longer)
            left -= longer
        wider = min(WIDEST_CELL - CELL_WIDTH, left // count)
        shown = self.columns[2:][self._first : self._first + count]
        return [*fixed, *((column, CELL_WIDTH + max(0, wider)) for column in shown)]

    @property
    def hidden(self) -> tuple[int, int]:
        """How many columns are out of sight at the left and at the right."""
        shown = sum(column.name.isdigit() for column, _ in self._placed())
        return self._first, max(0, len(self.headings) - self._first - shown)

    def _header(self, line: int) -> Strip:
        if line == 0:
            return super()._header(0)
        notes = {str(heading.evaluation): heading for heading in self.headings}
        base = self._style("header")
        segments = [Segment(" ", base)]
        for place, (column, width) in enumerate(self._placed()):
            if place:
                segments.append(Segment(" " * GAP, base))
            heading = notes.get(column.name)
            text = heading.note if heading is not None else self.unit if column.name == "task" else ""
            role = heading.role if heading is not None else "muted"
            segments.append(Segment(fit(text, width), self._look("") + self._role(role)))
        return Strip(segments)

    def _title(self, column: Column, width: int, style: Style) -> list[Segment]:
        here = self.heading
        if here is not None and column.name == str(here.evaluation):
            style += Style(underline=True)
        arrow = column.name == self.order
        return super()._title(replace(column, title=shortened(column.title, width - arrow)), width, style)

    def _row(self, index: int) -> Strip:
        row = self.items[index]
        base = self._look("")
        on_row = index == self.cursor
        if on_row:
            base += self._look("cursor" if self.has_focus else "cursor-blurred")
        segments = [Segment(CURSOR if on_row and self.has_focus else " ", base + self._role("live"))]
        here = self.heading
        for place, (column, width) in enumerate(self._placed()):
            is_here = on_row and here is not None and column.name == str(here.evaluation)
            if place:
                # The cell under the cursor has a mark of its own: a colour alone would not tell it.
                gap = " " * (GAP - 1) + (CURSOR if is_here and self.has_focus else " ")
                segments.append(Segment(gap, base + self._role("accent")))
            if column.name == "task":
                segments.append(Segment(fit(self._row_name(row), width), base + self._name_style(row)))
            elif column.name == "category":
                segments.append(Segment(fit(row.category, width), base + self._role("muted")))
            else:
                segments += self._score(row, int(column.name), width, base)
        return Strip(segments)

    def _row_name(self, row: ScoreRow) -> str:
        if row.parent:
            return f"    {row.title.replace('_', ' ')}"
        if row.subjects:
            mark = UNFOLDED if row.key in self.unfolded else FOLDED
            return f"{mark} {row.title} ({row.subjects} subjects)"
        return row.title

    def _name_style(self, row: ScoreRow) -> Style:
        return self._role("strong" if row.is_mean else "muted" if row.parent else "")

    def _score(self, row: ScoreRow, evaluation: int, width: int, base: Style) -> list[Segment]:
        score: Score | None = row.score(evaluation, self.how)
        is_best = score is not None and score.value == self._best.get(row.key)
        pieces = score_pieces(score, width, unicode=self.unicode, best=is_best or row.is_mean)
        return [Segment(text, base + self._role(role)) for text, role in pieces]

    # ---- mouse ---------------------------------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        at = event.get_content_offset(self)
        name = self._column_at(at.x) if at is not None and at.y >= self.HEADER_LINES else ""
        ids = [str(heading.evaluation) for heading in self.headings]
        if name in ids:
            self.move_to_column(ids.index(name))
