"""A user's own conversations: JSON lines, read strictly.

A line is `[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}, …]`, or an object with
that list under `messages`. Roles alternate, the user first; contents are text; blank lines are skipped.
"""

import json
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError
from nanochat.tasks.base import Conversation, Task
from nanochat.tasks.registry import Request, TaskData, TaskSpec
from nanochat.tokenizer.tokenizer import check_conversation

DEFAULT_NAME = "identity_conversations.jsonl"


class CustomJson(Task):
    """The conversations of a file, in its order. Raises `UserError` that names the first bad line."""

    def __init__(self, path: Path, start: int = 0, stop: int | None = None, step: int = 1) -> None:
        super().__init__(start, stop, step)
        self._conversations = read_conversations(path)

    def num_examples(self) -> int:
        return len(self._conversations)

    def example(self, index: int) -> Conversation:
        return {"messages": self._conversations[index]}


def read_conversations(path: Path) -> list[list[dict[str, Any]]]:
    """Every conversation of the file. Raises `UserError` that names the file and the first bad line."""
    found: list[list[dict[str, Any]]] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    found.append(_conversation(line, f"{path}, line {number}"))
    except OSError as error:
        raise UserError(
            f"cannot read the conversations in {path}: {error.strerror}",
            "one JSON list of messages a line; name the file with --conversations",
        ) from error
    if not found:
        raise UserError(f"{path} holds no conversation", "one JSON list of messages a line")
    return found


def _conversation(line: bytes, where: str) -> list[dict[str, Any]]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: no valid JSON: {error}", "one JSON list of messages a line") from error
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list):
        raise UserError(f"{where}: no list of messages", 'a line is [{"role": …, "content": …}, …]')
    if len(messages) < 2:
        raise UserError(f"{where}: {len(messages)} messages, where at least 2 make a conversation")
    for index, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, str):
            raise UserError(f"{where}: message {index} has no content that is text")
        if message.get("role") == "system":
            raise UserError(
                f"{where}: message {index} is a system message", "put it into the first user message"
            )
    try:
        check_conversation(messages)
    except UserError as error:
        raise UserError(f"{where}: {error.message}") from error
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _build(data: TaskData, request: Request) -> Task:
    path = data.path(data.conversations, DEFAULT_NAME)
    return CustomJson(path, request.start, request.stop, request.step)


SPECS = (TaskSpec("CustomJSON", "your own conversations from a file of JSON lines", ("train",), _build),)
