"""Conversations as other programs write them, brought to a list of user and assistant messages.

Read: `messages` of OpenAI's form, also with a leading system message and with contents that are lists of text
parts; ShareGPT's `conversations` of `from` and `value`; pairs of prompt and completion; Alpaca's instruction,
input and output.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nanochat.common.errors import UserError
from nanochat.tokenizer.conversation import check_conversation

Messages = list[dict[str, Any]]

ROLES = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
"""Other programs' names of the roles. What is not here is a role of its own name."""
_LISTS = ("messages", "conversations", "conversation")
_PAIRS = (("prompt", "completion"), ("prompt", "response"), ("instruction", "output"))
_OUR_PARTS = ("python", "python_output")


class Unreadable(Exception):  # noqa: N818 - a reason to skip a conversation, caught by the task
    """A conversation that cannot be read: the `reason` it is counted under, and the `detail` of this one."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail or reason


def conversation(value: object) -> Messages:
    """The messages of one JSON value, the user first, then by turns; a leading system message joined to the
    first of the user's. Raises `Unreadable`.
    """
    messages = messages_of(value)
    if len(messages) < 2:
        raise Unreadable("fewer than 2 messages", f"{len(messages)} messages, where at least 2 make one")
    known = ("system", "user", "assistant")
    for index, message in enumerate(messages):
        role = message["role"]
        if role not in known:
            raise Unreadable(f"a message of the role {role[:40]!r}", f"turn {index} is from {role[:40]!r}")
        if role == "system" and index:
            raise Unreadable("a system message after the first", f"message {index} is a system message")
    try:
        turns = check_conversation(messages)
    except UserError as error:
        raise Unreadable("roles that do not alternate, user first", error.message) from error
    if len(turns) < 2:
        raise Unreadable("fewer than 2 messages", "a system and a user message, and no answer")
    return [dict(turn) for turn in turns]


def messages_of(value: object) -> Messages:
    """The messages of one JSON value in our form, a system message still apart. Raises `Unreadable` where a
    message has no text; whether they form a conversation is not looked at."""
    return [_message(index, message) for index, message in enumerate(_listed(value))]


def _listed(value: object) -> Sequence[object]:
    """The messages of `value`, whatever form it has."""
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping):
        for name in _LISTS:
            if isinstance(found := value.get(name), list):
                system = value.get("system")
                first = [{"role": "system", "content": system}] if isinstance(system, str) and system else []
                return [*first, *found]
        for asked, answered in _PAIRS:
            if isinstance(value.get(asked), str) and isinstance(value.get(answered), str):
                more = value.get("input")
                question = value[asked] + (f"\n\n{more}" if isinstance(more, str) and more else "")
                return [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": value[answered]},
                ]
    raise Unreadable("no list of messages")


def _message(index: int, message: object) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise Unreadable("a message without text", f"message {index} has no content that is text")
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    if not isinstance(role, str):
        raise Unreadable("a message without a role", f"message {index} has no role")
    role = ROLES.get(role.lower(), role.lower())
    if isinstance(content, list):
        content = _joined(index, role, content)
    elif not isinstance(content, str):
        raise Unreadable("a message without text", f"message {index} has no content that is text")
    texts = [content] if isinstance(content, str) else [part["text"] for part in content]
    if any("\ud800" <= letter <= "\udfff" for text in texts if not text.isascii() for letter in text):
        raise Unreadable("text that is not valid Unicode", f"message {index}: its text is not valid Unicode")
    return {"role": role, "content": content}


def _joined(index: int, role: str, parts: list[Any]) -> str | list[dict[str, str]]:
    """A content in parts as one text; an answer with tool calls keeps its parts."""
    found: list[dict[str, str]] = []
    for part in parts:
        kind, text = ("text", part) if isinstance(part, str) else (None, None)
        if isinstance(part, Mapping):
            kind, text = part.get("type", "text"), part.get("text")
        known = kind in ("text", "input_text", "output_text") or (role == "assistant" and kind in _OUR_PARTS)
        if not known or not isinstance(text, str):
            what = f"a content part of the kind {str(kind)[:40]!r}" if not known else "a message without text"
            raise Unreadable(what, f"message {index} has no content that is text: {what}")
        found.append({"type": kind if kind in _OUR_PARTS else "text", "text": text})
    if not found:
        raise Unreadable("a message without text", f"message {index} has no content that is text")
    if any(part["type"] != "text" for part in found):
        return found
    return "".join(part["text"] for part in found)
