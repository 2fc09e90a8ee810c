"""Conversations as tokens: which are placed by code, whose text each is of, and which are trained.

`parts` is the one place where the chat template is written down: `Tokenizer.render_conversation` joins what
it gives, and `annotate` keeps the roles, for people who want to see the mask.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from nanochat.common.errors import UserError
from nanochat.common.text import valid_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_CONVERSATION = 2048
"""Tokens a rendered conversation is truncated to, as in upstream nanochat."""

Message = Mapping[str, Any]
"""`{"role": "system" | "user" | "assistant", "content": str | list of {"type": …, "text": str}}`."""

Role = Literal["document", "system", "user", "assistant", "tool call", "tool output"]
ROLES: tuple[Role, ...] = ("document", "system", "user", "assistant", "tool call", "tool output")
"""Whose a token is. `document` is bos alone; the tokens that open and close a turn are of its role."""

_WRAPPERS: dict[str, tuple[str, Role]] = {
    "text": ("", "assistant"),
    "python": ("python", "tool call"),
    "python_output": ("output", "tool output"),
}
"""Of the parts of an answer: the special tokens around it, `NAME_start` and `NAME_end`, and its role."""


class Encoder(Protocol):
    """What rendering needs of a tokenizer."""

    @property
    def bos_id(self) -> int: ...

    def special_id(self, name: str) -> int: ...

    def encode(self, text: str) -> list[int]: ...


class SpanEncoder(Encoder, Protocol):
    """What annotating needs: where in the text each token ends."""

    def encode_with_offsets(self, text: str) -> "tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64]]": ...


@dataclass(frozen=True)
class Part:
    """Tokens that stand together: `text` encoded, or one special token, which has none."""

    turn: int
    """Which message, after a system message was joined to the first one; −1 for bos."""
    role: Role
    ids: list[int]
    trained: bool
    text: str | None = None


class AnnotatedToken(NamedTuple):
    """A token of a rendered conversation. `raw` has its bytes; of a special token, `is_special`, its name.

    A tuple, which the garbage collector need not look through: there may be hundreds of thousands.
    """

    id: int
    role: Role
    trained: bool
    turn: int
    raw: bytes
    is_special: bool = False


@dataclass(frozen=True)
class Annotated:
    """A rendered conversation: all of its tokens, of which those from `limit` on are cut away."""

    tokens: list[AnnotatedToken]
    limit: int

    @property
    def kept(self) -> list[AnnotatedToken]:
        """The tokens that training gets."""
        return self.tokens[: self.limit]

    @property
    def lost(self) -> list[AnnotatedToken]:
        """The tokens that the limit cuts away."""
        return self.tokens[self.limit :]

    def by_role(self) -> dict[Role, tuple[int, int]]:
        """Kept tokens of each role that there is, and how many of them are trained."""
        found: dict[Role, tuple[int, int]] = {}
        for role in ROLES:
            flags = [token.trained for token in self.kept if token.role == role]
            if flags:
                found[role] = len(flags), sum(flags)
        return found


def parts(encoder: Encoder, messages: Sequence[Message]) -> Iterator[Part]:
    """The conversation piece by piece, in order.

    Trained are the assistant's text, its tool calls and the token that ends its turn, but not the text of
    users and tools. Raises `UserError` when the messages do not form a conversation.
    """
    turns = check_conversation(messages)
    yield Part(-1, "document", [encoder.bos_id], trained=False)
    for turn, message in enumerate(turns):
        role: Role = "assistant" if message["role"] == "assistant" else "user"
        is_trained = role == "assistant"
        yield Part(turn, role, [encoder.special_id(f"{role}_start")], trained=False)
        content = message["content"]
        if isinstance(content, str):
            yield Part(turn, role, encoder.encode(content), is_trained, content)
        else:
            for part in content:
                yield from _content_part(encoder, turn, part, is_trained)
        yield Part(turn, role, [encoder.special_id(f"{role}_end")], is_trained)


def _content_part(encoder: Encoder, turn: int, part: Mapping[str, str], is_trained: bool) -> Iterator[Part]:
    """One part of an answer: text, a tool call, or the tool's output."""
    wrapper, role = _WRAPPERS[part["type"]]
    trained = is_trained and role != "tool output"
    if wrapper:
        yield Part(turn, role, [encoder.special_id(f"{wrapper}_start")], trained)
    yield Part(turn, role, encoder.encode(part["text"]), trained, part["text"])
    if wrapper:
        yield Part(turn, role, [encoder.special_id(f"{wrapper}_end")], trained)


def annotate(
    encoder: SpanEncoder, names: Mapping[int, str], messages: Sequence[Message], max_tokens: int
) -> Annotated:
    """The ids and mask of `render_conversation` with whose text each token is of.

    `names` are those of the special tokens by id. The text of a system message, which is encoded as the
    beginning of the user's, keeps its own role. Raises `UserError` as `parts` does.
    """
    rendered = list(parts(encoder, messages))
    system = _system_bytes(messages)
    tokens: list[AnnotatedToken] = []
    for part in rendered:
        if part.text is None:
            [special] = part.ids
            raw = names[special].encode()
            tokens.append(AnnotatedToken(special, part.role, part.trained, part.turn, raw, is_special=True))
            continue
        text = valid_text(part.text).encode()
        ids, spans = encoder.encode_with_offsets(part.text)
        of_system = system if part.turn == 0 else 0
        for token, (start, end) in zip(ids.tolist(), spans.tolist(), strict=True):
            role: Role = "system" if start < of_system else part.role
            tokens.append(AnnotatedToken(token, role, part.trained, part.turn, text[start:end]))
    return Annotated(tokens, max_tokens)


def _system_bytes(messages: Sequence[Message]) -> int:
    """How many bytes of the first turn are the system message's; 0 without one."""
    first = messages[0]
    return len(valid_text(first["content"]).encode()) if first["role"] == "system" else 0


def check_conversation(messages: Sequence[Message]) -> list[Message]:
    """`messages` with a leading system message joined to the first user message by a blank line.

    Raises `UserError` that names the first message that is wrong: roles must alternate, user first;
    contents are text, or (the assistant's) a list of text, python and python_output parts.
    """
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise UserError("a conversation is a list of messages")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise UserError(f"message {index} has no role and content")
        _check_content(index, message)
    turns = list(messages)
    if turns and turns[0]["role"] == "system":
        if len(turns) < 2 or turns[1]["role"] != "user":
            raise UserError("the system message is not followed by a user message")
        turns[:2] = [{"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}]
    if not turns:
        raise UserError("the conversation is empty")
    for index, message in enumerate(turns):
        wanted = ("user", "assistant")[index % 2]
        if message["role"] != wanted:
            raise UserError(f"turn {index} is from {message['role']!r} where {wanted!r} is due")
    return turns


def _check_content(index: int, message: Message) -> None:
    content = message["content"]
    if isinstance(content, str):
        return
    if message["role"] != "assistant" or not isinstance(content, Sequence):
        raise UserError(f"message {index} ({message['role']}): the content is not text")
    for part in content:
        if not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
            raise UserError(f"message {index}: a part of the content has no text")
        if part.get("type") not in ("text", "python", "python_output"):
            raise UserError(f"message {index}: unknown kind of content part {part.get('type')!r}")
