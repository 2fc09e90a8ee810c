"""The table of a prompt set as a file: Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nanochat.common.errors import UserError
from nanochat.common.fields import safe_json
from nanochat.common.paths import atomic_write, make_dir
from nanochat.common.text import show_controls
from nanochat.serve.prompt_file import Prompt

FORMAT = "nanochat-prompt-table"
COLUMNS = ("answer", "state", "finish_reason", "tokens", "seconds", "model", "seed", "line")


@dataclass
class Cell:
    """One answer of the table; `line` says what went wrong."""

    state: Literal["waiting", "running", "done", "failed", "stopped"] = "waiting"
    answer: str = ""
    """The text, without tool calls."""
    tokens: int | None = None
    seconds: float | None = None
    finish_reason: str = ""
    model: str = ""
    seed: int | None = None
    line: str = ""


@dataclass(frozen=True)
class PromptTable:
    """A row a prompt, a column a pane."""

    names: Sequence[str]
    settings: Sequence[dict[str, Any]]
    prompts: Sequence[Prompt]
    cells: Sequence[Sequence[Cell]]
    """`cells[prompt][pane]`."""

    def save(self, path: Path) -> None:
        """Writes it by the name's end. Blocks. Raises `UserError`, also where the file is there."""
        write = {".md": self.to_markdown, ".csv": self.to_csv, ".json": self.to_json}.get(path.suffix)
        if write is None:
            raise UserError(f"{path}: a table ends in .md, .csv or .json, not {path.suffix or 'nothing'}")
        if path.exists():
            raise UserError(f"{path} is there already", "choose another name")
        make_dir(path.parent)
        atomic_write(path, write())

    def to_markdown(self) -> str:
        """A table of GitHub's Markdown."""
        lines = [_row(["", *self.names]), _row(["---"] * (len(self.names) + 1))]
        for prompt, cells in zip(self.prompts, self.cells, strict=True):
            lines.append(_row([prompt.question, *(_told(cell) for cell in cells)]))
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """A line an answer, for other programs."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("prompt", "pane", *COLUMNS))
        for prompt, cells in zip(self.prompts, self.cells, strict=True):
            for name, cell in zip(self.names, cells, strict=True):
                values = dataclasses.asdict(cell)
                writer.writerow((prompt.question, name, *(values[column] for column in COLUMNS)))
        return show_controls(out.getvalue())

    def to_json(self) -> str:
        """Everything, prompts with what stands before them."""
        rows = [
            {
                "messages": prompt.before.messages(prompt.question),
                "answers": [dataclasses.asdict(cell) for cell in cells],
            }
            for prompt, cells in zip(self.prompts, self.cells, strict=True)
        ]
        panes = [
            {"name": name, "settings": found} for name, found in zip(self.names, self.settings, strict=True)
        ]
        return safe_json({"format": FORMAT, "version": 1, "panes": panes, "prompts": rows}) + "\n"


def _told(cell: Cell) -> str:
    return cell.answer if cell.state == "done" else f"{cell.answer} ({cell.line or cell.state})".strip()


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """One cell: a table of GitHub's Markdown takes no line ends."""
    safe = show_controls(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return safe.strip().replace("\n", "<br>")
