"""A file of prompts, asked in every pane, and the answers as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tui.data.chat.pane import Pane


@dataclass(frozen=True)
class Prompt:
    """A question, and what stands before it: messages of a conversation in OpenAI's form."""

    question: str
    before: tuple[dict[str, Any], ...] = ()


def load_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file: `.jsonl` with `prompt` or `messages` a line; else text, one prompt a line, or
    several lines each where lines `---` separate them. Blocks. Raises `UserError` with the line."""
    raise NotImplementedError


@dataclass
class Cell:
    """One answer of the table; `line` says what went wrong."""

    state: Literal["waiting", "running", "done", "failed", "stopped"] = "waiting"
    answer: str = ""
    tokens: int | None = None
    seconds: float | None = None
    finish_reason: str = ""
    model: str = ""
    seed: int | None = None
    line: str = ""


class PromptRun:
    """Asks every prompt in every pane, a few at a time; the panes' conversations stay as they are.

    Every prompt gets one seed for all panes, the pane's own where it has one.
    """

    def __init__(
        self, panes: Sequence[Pane], prompts: Sequence[Prompt], on_change: Callable[[PromptRun], None]
    ) -> None: ...

    names: list[str]
    """Of the columns."""
    prompts: list[Prompt]
    cells: list[list[Cell]]
    """`cells[prompt][pane]`."""
    done: int
    """Cells that are finished, whatever became of them."""
    version: int

    async def run(self) -> None:
        """Runs to the end; cancel it, or `stop()`, to end it early: what came stays."""

    def stop(self) -> None: ...

    def save(self, path: Path) -> None:
        """Writes the table by the name's end: .md, .csv or .json. Blocks. Raises `UserError`."""
