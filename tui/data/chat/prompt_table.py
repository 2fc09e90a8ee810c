"""The table of a prompt set as a file: Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.paths import atomic_write, make_dir
from nanochat.common.text import show_controls
from nanochat.serve.chat_log import safe_json

if TYPE_CHECKING:
    from tui.data.chat.prompt_set import Cell, PromptRun

COLUMNS = ("answer", "state", "finish_reason", "tokens", "seconds", "model", "seed", "line")


def write_table(run: PromptRun, path: Path) -> None:
    """Writes the table by the name's end. Blocks. Raises `UserError`, also where the file is there."""
    write = {".md": to_markdown, ".csv": to_csv, ".json": to_json}.get(path.suffix)
    if write is None:
        raise UserError(f"{path}: a table ends in .md, .csv or .json, not {path.suffix or 'nothing'}")
    if path.exists():
        raise UserError(f"{path} is there already", "choose another name")
    make_dir(path.parent)
    atomic_write(path, write(run))


def to_markdown(run: PromptRun) -> str:
    """A row a prompt, a column a pane."""
    lines = [_row(["", *run.names]), _row(["---"] * (len(run.names) + 1))]
    for prompt, cells in zip(run.prompts, run.cells, strict=True):
        lines.append(_row([prompt.question, *(_told(cell) for cell in cells)]))
    return "\n".join(lines) + "\n"


def to_csv(run: PromptRun) -> str:
    """A line an answer, for other programs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("prompt", "pane", *COLUMNS))
    for prompt, cells in zip(run.prompts, run.cells, strict=True):
        for name, cell in zip(run.names, cells, strict=True):
            values = dataclasses.asdict(cell)
            writer.writerow((prompt.question, name, *(values[column] for column in COLUMNS)))
    return show_controls(out.getvalue())


def to_json(run: PromptRun) -> str:
    """Everything, prompts with what stands before them."""
    rows = [
        {
            "messages": prompt.before.messages(prompt.question),
            "answers": [dataclasses.asdict(cell) for cell in cells],
        }
        for prompt, cells in zip(run.prompts, run.cells, strict=True)
    ]
    settings = [vars(pane.settings) for pane in run.panes]
    document = {
        "format": "nanochat-prompt-table",
        "version": 1,
        "panes": [{"name": name, "settings": found} for name, found in zip(run.names, settings, strict=True)],
        "prompts": rows,
    }
    return safe_json(document) + "\n"


def _told(cell: Cell) -> str:
    return cell.answer if cell.state == "done" else f"{cell.answer} ({cell.line or cell.state})".strip()


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(text: str) -> str:
    """One cell: a table of GitHub's Markdown takes no line ends."""
    safe = show_controls(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return safe.strip().replace("\n", "<br>")
