"""A file of prompts asked in every pane: one row a prompt, one column a pane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widget import Widget

from nanochat.common.paths import expanded
from nanochat.common.text import amount, clean_text, sanitize
from nanochat.serve.chat_log import FOLDER
from tui.data.chat.prompt_set import Cell as Answered
from tui.data.chat.prompt_set import Prompt, PromptRun
from tui.keymap import hint
from tui.keys import bindings
from tui.screens.base import ControlScreen, Dialog
from tui.widgets.chat.lines_view import LinesView
from tui.widgets.chat.sections import Section, TextSection
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from tui.data.chat.pane import Pane

ROLES = {"waiting": "muted", "running": "live", "done": "", "failed": "bad", "stopped": "warn"}
GLYPHS = {"waiting": "○", "running": "◐", "done": "", "failed": "✗", "stopped": "■"}


class PromptTable(ControlScreen):
    """The table fills while it is watched; leaving the screen ends the run."""

    place = "Prompts"
    groups = ("prompts", "table")
    about = (
        "Every prompt of the file, asked in every pane by itself: the conversations of the panes stay as "
        "they are. {prompts.open} shows the answers to one prompt whole, {prompts.save} saves the table. "
        "Leaving the screen ends what is still coming."
    )
    BINDINGS = bindings("prompts")
    AUTO_FOCUS = "VirtualTable"

    def __init__(self, panes: Sequence[Pane], prompts: Sequence[Prompt], name: str) -> None:
        super().__init__()
        self.name_of_file = name
        self.work = PromptRun(panes, prompts, self._changed)
        columns = [
            Column("number", "#", 4, "right"),
            Column("prompt", "prompt", 16, grow=1),
            *(
                Column(f"pane{number}", sanitize(title, 30), 16, grow=2)
                for number, title in enumerate(self.work.names)
            ),
        ]
        self.table: VirtualTable[int] = VirtualTable(columns, self._cells, str)

    def body(self) -> Iterable[Widget]:
        yield self.table

    def on_mount(self) -> None:
        self._draw()
        self.run_worker(self.work.run(), group="prompts")

    def _changed(self, work: PromptRun) -> None:
        if self.is_attached:
            self._draw()

    def _draw(self) -> None:
        work = self.work
        state = "done" if work.done == work.total else f"{work.done:,} of {work.total:,}"
        self.table.border_title = Content(
            f"{sanitize(self.name_of_file, 60)} · {amount(len(work.prompts), 'prompt')} · {state}"
        )
        keymap = self.room.keymap
        self.table.border_subtitle = Content(
            f"{hint('prompts.open', keymap)} whole answers · {hint('prompts.save', keymap)} save"
        )
        self.table.show(range(len(work.prompts)))
        self.table.refresh()

    def _cells(self, row: int) -> Mapping[str, Cell]:
        work = self.work
        cells: dict[str, Cell] = {
            "number": (str(row + 1), "muted"),
            "prompt": (_flat(work.prompts[row].question), "strong"),
        }
        for number, answer in enumerate(work.cells[row]):
            cells[f"pane{number}"] = (_summary(answer), ROLES[answer.state])
        return cells

    def action_open(self) -> None:
        row = self.table.current
        if row is not None:
            work = self.work
            self.app.push_screen(PromptAnswers(row, work.prompts[row].question, work.names, work.cells[row]))

    def action_stop_asking(self) -> None:
        self.work.stop()
        self._draw()

    def action_save(self) -> None:
        self.room.do(self._save())

    async def _save(self) -> None:
        stem = f"{Path(self.name_of_file).stem}-answers.md"
        name = await self.room.ask("save the table as", ".md, .csv or .json", stem)
        if not name:
            return
        path = await asyncio.to_thread(_save, self.work, self.room.layout.base / FOLDER, name)
        self.room.say(f"saved {self.room.layout.told(path)}")


class PromptAnswers(Dialog[None]):
    """The answers to one prompt, whole, one below the other."""

    BINDINGS = [("escape,backspace,alt+escape,q", "dismiss", "close")]  # noqa: RUF012

    def __init__(self, row: int, question: str, names: Sequence[str], answers: Sequence[Answered]) -> None:
        super().__init__()
        self._question = question
        self._named = list(zip(names, answers, strict=True))
        self.view = AnswersView(self._texts)
        self.view.border_title = Content(f"prompt {row + 1}")
        self.view.border_subtitle = "esc closes"

    def compose(self) -> Iterable[Widget]:
        self.view.add_class("dialog")
        self.view.add_class("answers")
        yield self.view

    def _texts(self, width: int) -> Iterable[Section]:
        yield TextSection(self._question + "\n", width, "question", "› ", "  ")
        for name, answer in self._named:
            yield TextSection(f"{sanitize(name, 80)} · {_figures(answer)}", width, "accent")
            yield TextSection(
                (answer.answer or answer.line or answer.state) + "\n", width, ROLES[answer.state]
            )


class AnswersView(LinesView):
    """Sections that are made for the width there is."""

    def __init__(self, make: Callable[[int], Iterable[Section]]) -> None:
        super().__init__()
        self._make = make

    def on_mount(self) -> None:
        self.focus()

    def rebuild(self) -> None:
        if self.size.width:
            sections = list(self._make(self.text_width))
            self.follow = False
            self.set_sections(sections, sections)


def _save(work: PromptRun, folder: Path, name: str) -> Path:
    """Writes the table to `name`, a relative one under `folder`."""
    path = folder / expanded(name)
    work.save(path)
    return path


def _flat(text: str) -> str:
    return sanitize(" ".join(text[:2_000].split()), 400)


def _summary(answer: Answered) -> str:
    if answer.state == "done":
        return _flat(answer.answer) or "(empty)"
    words = _flat(answer.line or answer.answer or answer.state)
    return f"{GLYPHS[answer.state]} {words}"


def _figures(answer: Answered) -> str:
    parts: list[str] = [answer.state]
    if answer.tokens is not None:
        parts.append(amount(answer.tokens, "token"))
    if answer.seconds is not None:
        parts.append(f"{answer.seconds:.1f} s")
    if answer.finish_reason:
        parts.append(clean_text(answer.finish_reason)[:40])
    return " · ".join(parts)
