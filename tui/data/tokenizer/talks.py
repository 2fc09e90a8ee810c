"""Conversations to look at: samples, pasted JSON, a file of JSON, items of tasks and mixtures. All blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanochat.common.errors import UserError
from nanochat.common.fields import parse_json
from nanochat.common.text import amount, sanitize

if TYPE_CHECKING:
    from nanochat.common.paths import Layout

Messages = Sequence[dict[str, Any]]

MOST_PASTED = 8 << 20
"""Characters of pasted text."""
MOST_SHOWN = 256 << 10
"""Characters of a conversation: each of its tokens is an object here, and their end would hold the screen."""
_FILE_NAMES = (".json", ".jsonl", ".gz", ".zst", ".xz", ".bz2")
MOST_READ = 2_000
"""Conversations that are read of a file."""

SAMPLES: tuple[tuple[str, Messages], ...] = (
    (
        "a question and a tool call",
        (
            {"role": "user", "content": "How many r are in strawberry?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Python counts them: "},
                    {"type": "python", "text": "'strawberry'.count('r')"},
                    {"type": "python_output", "text": "3"},
                    {"type": "text", "text": " so there are 3."},
                ],
            },
        ),
    ),
    (
        "a system message, two turns",
        (
            {"role": "system", "content": "You are a patient teacher. Answer in one sentence."},
            {"role": "user", "content": "Why is the sky blue?"},
            {"role": "assistant", "content": "Air scatters short wavelengths more than long ones."},
            {"role": "user", "content": "And at sunset?"},
            {"role": "assistant", "content": "The light comes a longer way, and the blue is lost on it."},
        ),
    ),
    (
        "中文",
        (
            {"role": "user", "content": "“分词器”是什么？"},
            {"role": "assistant", "content": "它把文本切成词元 🙂，模型只看见词元的编号。"},
        ),
    ),
)
"""Built in, by name."""


@dataclass(frozen=True)
class Talks:
    """Conversations from one place. `get(i)` reads conversation i, and raises `UserError` where it is none.

    `note` tells what was left out or not read.
    """

    name: str
    count: int
    get: Callable[[int], Messages]
    note: str = ""

    def read(self, index: int) -> Messages:
        """Conversation `index`. Raises `UserError` where it is none, and where it is too long to be shown."""
        messages = self.get(index)
        size = len(str(messages))
        if size > MOST_SHOWN:
            raise UserError(
                f"conversation {index + 1:,} has {size:,} characters: too many to be shown here",
                "nanochat tasks show --tokens prints it",
            )
        return messages


def samples() -> Talks:
    """The built-in conversations."""
    return Talks("samples", len(SAMPLES), lambda index: SAMPLES[index][1])


def pasted(text: str) -> Talks:
    """The conversations in pasted JSON: one, a list of them, or JSON lines, in any form that training reads.

    Raises `UserError` for anything else.
    """
    if len(text) > MOST_PASTED:
        raise UserError(f"the text has {len(text):,} characters", "open it as a file")
    if not text.strip():
        raise UserError("nothing was pasted", 'JSON such as [{"role": "user", "content": "…"}, …]')
    found = [_messages(value, where) for where, value in _json_values(text)]
    return Talks("pasted", len(found), found.__getitem__)


def _json_values(text: str) -> list[tuple[str, object]]:
    """The JSON value of a text, those of its array of conversations, or those of its lines, with where."""
    try:
        whole = parse_json(text)
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not lines[0].lstrip().startswith(("{", "[")):
            raise UserError(f"the text is no valid JSON: {error}") from error
        return [(f"line {number}", _line(number, line)) for number, line in enumerate(lines, 1)]
    is_many = isinstance(whole, list) and whole and not _is_message(whole[0])
    return [(f"record {number}", one) for number, one in enumerate(whole, 1)] if is_many else [("", whole)]


def _line(number: int, line: str) -> object:
    try:
        return parse_json(line)
    except ValueError as error:
        raise UserError(f"line {number} is no valid JSON: {error}") from error


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and bool({"role", "from"} & value.keys())


def _messages(value: object, where: str) -> Messages:
    """The messages of a JSON value. Raises `UserError` that tells `where` it is."""
    from nanochat.tasks.own_formats import Unreadable, messages_of

    try:
        return messages_of(value)
    except Unreadable as error:
        raise UserError(sanitize(f"{where}: {error.detail}".removeprefix(": "), 300)) from error


def from_file(path: Path) -> Talks:
    """The first conversations of a file of JSON lines or of one array, maybe compressed.

    Raises `UserError` for a file that cannot be read, and one that holds no JSON.
    """
    from nanochat.data.unpacked import Damaged
    from nanochat.tasks.customjson import json_values

    found: list[tuple[str, object]] = []
    is_whole = True
    try:
        for where, value in json_values(path):
            if len(found) == MOST_READ:
                is_whole = False
                break
            found.append((where, value))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except Damaged as error:
        raise UserError(f"{path}: damaged {error.kind}") from error
    if not found:
        raise UserError(f"{path} holds no conversation", "a line is one JSON list of messages")
    note = "" if is_whole else f"the first {MOST_READ:,} of the file"
    return Talks(path.name, len(found), lambda index: _of_file(found, index), note)


def _of_file(found: Sequence[tuple[str, object]], index: int) -> Messages:
    from nanochat.tasks.own_formats import Unreadable

    where, value = found[index]
    if isinstance(value, Unreadable):
        raise UserError(sanitize(f"{where}: {value.detail}", 300))
    return _messages(value, where)


def of_tasks(text: str, layout: Layout) -> Talks:
    """The items of a task or a mixture, in the order of training: `GSM8K`, `SmolTalk/test:100,MMLU`.

    Only data that is here is read. Raises `UserError` for an unknown task, and for data that is not here.
    """
    from nanochat.tasks.hub import NotFetchedError
    from nanochat.tasks.mixture import make_mixture, parse_part
    from nanochat.tasks.registry import TaskData

    parts = [parse_part(part) for part in text.split(",") if part.strip()]
    if not parts:
        raise UserError("no task is named", "for example GSM8K, or SmolTalk/test:100,MMLU")
    data = TaskData.at(layout, offline=True)
    # A single task is shown in its own order, by which `nanochat tasks show` counts.
    is_one = len(parts) == 1 and parts[0].epochs == 1
    try:
        mixture = parts[0].make(data) if is_one else make_mixture(parts, data)
    except NotFetchedError as error:
        names = " ".join(dict.fromkeys(part.name for part in parts))
        raise UserError("not all of the data is here", f"fetch it: nanochat tasks fetch {names}") from error
    name = ",".join(map(str, parts))
    return Talks(name, len(mixture), lambda index: mixture[index]["messages"])


def opened(text: str, layout: Layout) -> Talks:
    """What a person typed or chose: nothing (the samples), JSON, the path of a file, else tasks by name.

    Raises `UserError` as the functions above do.
    """
    text = text.strip()
    if not text or text == "samples":
        return samples()
    if text.startswith("[") or (text.startswith("{") and not text.startswith("{base}")):
        return pasted(text)
    path = layout.resolve(text)
    if path.exists() or text.startswith(("/", "~", ".", "{base}")) or path.suffix in _FILE_NAMES:
        return from_file(path)
    return of_tasks(text, layout)


def told(talks: Talks, index: int) -> str:
    """Where in the conversations one is, for a title."""
    here = f"{index + 1:,} of {amount(talks.count, 'conversation')}"
    return f"{sanitize(talks.name, 80)} · {here}" + (f" · {talks.note}" if talks.note else "")
