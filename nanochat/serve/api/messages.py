"""The messages of a chat request as a conversation of the model's template.

A content is text or a list of parts. What the model called the calculator for stays part of the history when
a client sends the assistant's message back with its `executed_tools`, or as the parts of the training data.
"""

from dataclasses import dataclass
from typing import Any

from nanochat.common.errors import UserError
from nanochat.serve.api.errors import refused
from nanochat.serve.api.fields import MISSING, WRONG_TYPE, Fields, clean
from nanochat.tokenizer.conversation import check_conversation
from nanochat.tokenizer.tokenizer import Tokenizer

MAX_MESSAGES = 4096
MAX_PARTS = 1024
WHOLE = 1 << 40
"""More tokens than any conversation has: what is too long is refused, never cut."""
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
ASSISTANT_PARTS = ("text", "python", "python_output")


@dataclass(frozen=True)
class Conversation:
    """Messages that the template takes; with `continue_last` the last one is continued, not answered."""

    messages: tuple[dict[str, Any], ...]
    continue_last: bool = False

    @property
    def characters(self) -> int:
        """Of all contents together."""
        contents = (message["content"] for message in self.messages)
        return sum(
            len(content) if isinstance(content, str) else sum(len(part["text"]) for part in content)
            for content in contents
        )

    def render(self, tokenizer: Tokenizer, generation_prompt: bool) -> list[int]:
        """The token ids, up to where the answer begins (`generation_prompt`) or the last message goes on."""
        ids, _ = tokenizer.render_conversation(self.messages, WHOLE)
        if self.continue_last:
            return ids[:-1]  # without assistant_end
        return [*ids, tokenizer.special_id("assistant_start")] if generation_prompt else ids


def read_conversation(fields: Fields, *, continue_last: bool, must_ask: bool) -> Conversation:
    """The conversation in `messages`. Raises `ApiError` with the first message that does not fit.

    With `must_ask` the last message must leave the answer to the model.
    """
    entries = fields.entries("messages", MAX_MESSAGES)
    if not entries:
        raise refused("messages", "messages is empty: begin with a user's", MISSING)
    messages = [_message(entry) for entry in entries]
    try:
        check_conversation(messages)
    except UserError as error:
        raise refused("messages", f"messages: {error}") from None
    last = messages[-1]["role"]
    if continue_last and last != "assistant":
        raise refused("continue_final_message", "continue_final_message: the last message is the user's")
    if must_ask and last == "assistant" and not continue_last:
        raise refused(
            "messages",
            "messages end with the assistant's: add a user's, or say continue_final_message to extend it",
        )
    return Conversation(tuple(messages), continue_last)


def _message(entry: Fields) -> dict[str, Any]:
    role = entry["role"]
    if not isinstance(role, str):
        raise entry.wrong("role", "a role: system, user or assistant", WRONG_TYPE)
    if role not in ROLES:
        raise entry.wrong("role", "a role that the model knows: system, user or assistant")
    content = entry["content"]
    if isinstance(content, str):
        content = clean(content)
    elif isinstance(content, list):
        content = _parts(entry, ROLES[role])
    elif not (content is None and role == "assistant" and entry.has("executed_tools")):
        raise entry.wrong("content", "a text or a list of parts", WRONG_TYPE)
    if role == "assistant" and entry.has("executed_tools"):
        content = _with_calls(entry, content or "")
    return {"role": ROLES[role], "content": content}


def _parts(entry: Fields, role: str) -> Any:
    """The parts of a content, joined to one text where all are text."""
    parts = []
    for part in entry.entries("content", MAX_PARTS):
        kind = part["type"]
        allowed = ASSISTANT_PARTS if role == "assistant" else ("text",)
        if kind not in allowed:
            raise part.wrong("type", f"a kind of content that the {role} can have: {', '.join(allowed)}")
        if not isinstance(part["text"], str):
            raise part.wrong("text", "a text", WRONG_TYPE)
        parts.append({"type": kind, "text": part.text("text")})
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _with_calls(entry: Fields, content: Any) -> Any:
    """An assistant's text with the calls in `executed_tools` at the places where the model made them."""
    if not isinstance(content, str):
        raise refused(
            entry.path("executed_tools"),
            f"{entry.path('executed_tools')}: the content has parts of its own, give one of the two",
        )
    parts: list[dict[str, str]] = []
    done = 0
    for call in entry.entries("executed_tools", MAX_PARTS):
        offset = call.whole("offset", len(content), 0, len(content))
        if offset < done:
            raise call.wrong("offset", f"at or after that of the call before, {done:,}")
        parts += [{"type": "text", "text": content[done:offset]}] if offset > done else []
        done = offset
        parts.append({"type": "python", "text": call.text("arguments")})
        if call.has("output"):
            parts.append({"type": "python_output", "text": call.text("output")})
    if done < len(content):
        parts.append({"type": "text", "text": content[done:]})
    return parts or content
