"""A set of prompts asked in every pane, and the answers as a table."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from nanochat.common.errors import UserError
from nanochat.serve.chat import SEEDS, Chat
from nanochat.serve.prompt_file import Prompt, load_prompts
from tui.data.chat.coalescer import Coalescer
from tui.data.chat.connection import Connection
from tui.data.chat.pane import Pane
from tui.data.chat.prompt_table import Cell, PromptTable
from tui.data.chat.target import short_name

__all__ = ["AT_ONCE", "Cell", "Prompt", "PromptRun", "load_prompts"]

AT_ONCE = 4
"""Prompts that a pane is asked at a time: a server answers several in one batch."""
CHANGE_SECONDS = 0.1


class PromptRun:
    """Asks every prompt in every pane, a few at a time; the panes' conversations stay as they are.

    Every prompt gets one seed for all panes, where a pane has none of its own. A pane that cannot be opened
    fails its column and no other. `on_change(run)` is called at most ten times a second.
    """

    def __init__(
        self, panes: Sequence[Pane], prompts: Sequence[Prompt], on_change: Callable[[PromptRun], None]
    ) -> None:
        if not panes:
            raise UserError("there is no pane to ask", "open one first")
        self.panes = list(panes)
        self.names = [short_name(pane.target) for pane in panes]
        """Of the columns."""
        self.prompts = list(prompts)
        self.cells = [[Cell() for _ in self.panes] for _ in self.prompts]
        """`cells[prompt][pane]`."""
        self.done = 0
        """Cells that are finished, whatever became of them."""
        self._news: Coalescer[PromptRun] = Coalescer(on_change, CHANGE_SECONDS)
        chosen = random.SystemRandom()
        self._seeds = [chosen.randrange(SEEDS) for _ in self.prompts]
        self._columns: list[asyncio.Task[None]] = []

    @property
    def total(self) -> int:
        """Cells of the table."""
        return len(self.prompts) * len(self.panes)

    async def run(self) -> None:
        """Runs to the end; cancel it, or `stop()`, to end it early: what came stays."""
        self._columns = [asyncio.create_task(self._column(number)) for number in range(len(self.panes))]
        try:
            await asyncio.wait(self._columns)
        finally:
            self.stop()
            ends = await asyncio.gather(*self._columns, return_exceptions=True)
            for cell in (cell for row in self.cells for cell in row):
                if cell.state in ("waiting", "running"):
                    self._finish(cell, "stopped")
        for end in ends:
            if isinstance(end, Exception):
                raise end

    def stop(self) -> None:
        """Ends it."""
        for column in self._columns:
            column.cancel()

    def save(self, path: Path) -> None:
        """Writes the table by the name's end: .md, .csv or .json. Blocks. Raises `UserError`."""
        settings = [vars(pane.settings) for pane in self.panes]
        PromptTable(self.names, settings, self.prompts, self.cells).save(path)

    async def _column(self, number: int) -> None:
        pane = self.panes[number]
        try:
            connection = await pane.ready()
        except UserError as error:
            for row in self.cells:
                row[number].line = str(error)
                self._finish(row[number], "failed")
            return
        waiting = iter(range(len(self.prompts)))

        async def ask_in_turn() -> None:
            for prompt in waiting:
                await self._ask(pane, connection, prompt, self.cells[prompt][number])

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(self.prompts))):
                group.create_task(ask_in_turn())

    async def _ask(self, pane: Pane, connection: Connection, number: int, cell: Cell) -> None:
        prompt, settings = self.prompts[number], pane.settings
        if settings.seed is None:
            settings = dataclasses.replace(settings, seed=self._seeds[number])
        before = prompt.before if prompt.before.system else prompt.before.with_system(pane.system)
        chat = Chat(
            connection.client, connection.model, settings, before, pane.given, continues=connection.is_base
        )
        cell.state = "running"
        self._changed()
        state: Literal["done", "failed", "stopped"] = "stopped"
        try:
            await chat.ask(prompt.question)
            state = "done"
        except UserError as error:
            cell.line, state = str(error), "failed"
        finally:
            answer = chat.latest
            if answer is not None:
                turn = answer.turn
                cell.answer, cell.finish_reason = turn.answer_text, turn.finish_reason
                cell.tokens, cell.seconds = answer.token_count, answer.seconds
                cell.model, cell.seed = answer.model, answer.settings.seed
            self._finish(cell, state)

    def _finish(self, cell: Cell, state: Literal["done", "failed", "stopped"]) -> None:
        cell.state = state
        self.done += 1
        self._changed()

    def _changed(self) -> None:
        self._news.mark(self)
